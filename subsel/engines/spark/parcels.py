"""Parcels as rows of a DataFrame, and functions of parts as Spark functions of groups.

A row holds a piece of a parcel's payload, because a cell of much more than a few MiB costs the JVM several copies.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame

from subsel.board import NO_SUMS, Counts
from subsel.engines.spark.failures import MARK
from subsel.engines.spark.failures import plain_errors as plain_errors  # noqa: PLC0414  (goes with `task`)
from subsel.errors import SubselError
from subsel.parts.pack import CHUNK_BYTES, Parcel, chunks, from_rows
from subsel.schema import Status

log = logging.getLogger(__name__)

#: Columns of `subsel.board.Counts`, set on a part's board and 0 elsewhere.
COUNTS = (*(status.name.lower() for status in Status), "news")
#: Columns of its sums.
SUMS = ("sum_0", "sum_1", "sum_2", "sum_3")
_SUM = pa.decimal128(38, 0)

#: `number` tells parcels of one source and kind apart, `chunk` orders a parcel's pieces.
PARCEL_SCHEMA = "part int, source int, kind string, number int, chunk int, payload binary"
BOARD_SCHEMA = PARCEL_SCHEMA + "".join(
    [*(f", {name} bigint" for name in COUNTS), *(f", {name} decimal(38,0)" for name in SUMS)]
)

_ARROW_PARCELS = pa.schema(
    [
        ("part", pa.int32()),
        ("source", pa.int32()),
        ("kind", pa.string()),
        ("number", pa.int32()),
        ("chunk", pa.int32()),
        ("payload", pa.binary()),
    ]
)

#: What runs on the batches of a partition.
BatchFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
PartFunction = Callable[[int, list[Parcel]], Iterable[Parcel]]

#: Pieces in one Arrow array, whose offsets end at 2 GiB.
_PIECES = (2**31 - 1) // CHUNK_BYTES


def to_board(parcels: Iterable[Parcel], counts: Counts | None = None) -> pa.Table:
    """Return parcels as rows of the board schema, the counts on the first of them."""
    table = to_table(parcels)
    rows = len(table)
    for name in COUNTS:
        value = 0 if counts is None else getattr(counts, name)
        table = table.append_column(name, pa.array([value] + [0] * (rows - 1), pa.int64()))
    for name, value in zip(SUMS, NO_SUMS if counts is None else counts.sums, strict=True):
        table = table.append_column(name, pa.array([Decimal(value)] + [Decimal(0)] * (rows - 1), _SUM))
    return table


def to_table(parcels: Iterable[Parcel]) -> pa.Table:
    """Return parcels as rows."""
    columns: list[list[Any]] = [[], [], [], [], []]
    pieces: list[memoryview] = []
    for number, parcel in enumerate(parcels):
        for chunk, piece in enumerate(chunks(parcel.payload)):
            for column, value in zip(columns, (parcel.part, parcel.source, parcel.kind, number, chunk), strict=True):
                column.append(value)
            pieces.append(piece)
    payloads = [_binary(pieces[begin : begin + _PIECES]) for begin in range(0, len(pieces), _PIECES)]
    return pa.table([*columns, pa.chunked_array(payloads, pa.binary())], schema=_ARROW_PARCELS)


def _binary(pieces: Sequence[memoryview]) -> pa.Array:
    """Return pieces as a binary array, each copied once: `pa.array` copies as often as its memory has to grow."""
    ends = np.cumsum([0, *map(len, pieces)], dtype=np.int32)
    data = pa.allocate_buffer(int(ends[-1]))
    with pa.FixedSizeBufferWriter(data) as sink:
        for piece in pieces:
            sink.write(piece)
    return pa.Array.from_buffers(pa.binary(), len(pieces), [None, pa.py_buffer(ends), data])


def plain_ids(ids: Any) -> pa.Array:
    """Return unpacked ids as Spark knows them: with offsets of 32 bits."""
    if isinstance(ids, np.ndarray):
        return pa.array(ids)
    return ids.cast(pa.string() if pa.types.is_large_string(ids.type) else pa.binary())


def place(frame: DataFrame, parts: int) -> DataFrame:
    """Put every part into a partition of its own, or, before Spark 4.1, where its hash leads (parts may share one)."""
    if hasattr(frame, "repartitionById"):
        return frame.repartitionById(parts, "part")
    log.warning("this Spark has no repartitionById (4.1+): parts are placed by hash, some tasks get several")
    return frame.repartition(parts, "part")


def exchange(frame: DataFrame, function: PartFunction, parts: int) -> DataFrame:
    """Deliver parcels to their parts and run a function on each part; return what it sends."""
    grouped = place(frame, parts).groupBy("part")
    return grouped.applyInArrow(of_group(_run_part, function), PARCEL_SCHEMA)


def map_in_arrow(frame: DataFrame, function: BatchFunction, schema: Any) -> DataFrame:
    """Run a function on the batches of every partition, as `DataFrame.mapInArrow`, in the width that the session wants."""
    return frame.mapInArrow(lambda batches: map(_in_width, function(batches)), schema)


def _in_width(rows: Any) -> Any:
    """Return rows for Spark with offsets of 64 bits where ``spark.sql.execution.arrow.useLargeVarTypes`` asks for them."""
    context = TaskContext.get()
    if context is None or context.getLocalProperty("spark.sql.execution.arrow.useLargeVarTypes") != "true":
        return rows
    wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    return rows.cast(pa.schema([(field.name, wide.get(field.type, field.type)) for field in rows.schema]))


def of_group(function: Callable[..., pa.Table], *first: Any) -> Callable[[pa.Table], pa.Table]:
    """Bind all but the last argument. Spark counts arguments, and 4.3 misreads the hints of a partial: so a lambda."""
    return lambda table: _in_width(function(*first, table))


def of_cogroup(function: Callable[..., pa.Table], *first: Any) -> Callable[[pa.Table, pa.Table], pa.Table]:
    """Bind all but the last two arguments, see `of_group`."""
    return lambda left, right: _in_width(function(*first, left, right))


def _run_part(function: PartFunction, table: pa.Table) -> pa.Table:
    with task():
        return to_table(function(table.column("part")[0].as_py(), from_rows(table)))


class task:  # noqa: N801  (a context manager that reads as a word)
    """What every task does around its work: use its own cores only, and make errors survive the way to the driver."""

    def __enter__(self) -> None:
        import faiss  # noqa: PLC0415  (executors pay for it when a task needs it)
        import numba  # noqa: PLC0415

        context = TaskContext.get()
        cores = context.cpus() if context is not None else 1
        numba.set_num_threads(max(1, min(cores, numba.get_num_threads())))
        faiss.omp_set_num_threads(max(1, cores))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        _settle()
        if isinstance(error, SubselError) and MARK not in str(error):
            raise type(error)(f"{MARK}{json.dumps([type(error).__name__, str(error)])}{MARK}") from error


_tasks_to_settle = 8


def _settle() -> None:
    """Keep Spark's collection of garbage between tasks from walking over numba and faiss each time.

    A Python worker collects garbage after every task (pyspark's daemon.py). With compiled kernels loaded that takes
    longer than a small superstep. What a worker's first tasks load stays for good, so it is put out of the collector's
    sight; later tasks' garbage is collected as ever (docs/decisions/0004-gc-freeze.md).
    """
    global _tasks_to_settle  # noqa: PLW0603  (one worker process runs one task at a time)
    if _tasks_to_settle > 0:
        _tasks_to_settle -= 1
        gc.freeze()


def parcels_in(batches: Iterable[pa.RecordBatch]) -> Iterator[Parcel]:
    """Yield the parcels that rows hold, a part at a time; a part's rows follow each other."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        part = batch.column("part").to_numpy()
        for begin, end in pairwise([0, *(np.flatnonzero(np.diff(part)) + 1), len(part)] if len(part) else [0]):
            if held and held[0].column("part")[0].as_py() != part[begin]:
                yield from from_rows(pa.Table.from_batches(held))
                held = []
            held.append(batch.slice(begin, end - begin))
    if held:
        yield from from_rows(pa.Table.from_batches(held))


def batches_of(batches: Iterator[pa.RecordBatch], budget: int) -> Iterator[pa.RecordBatch]:
    """Join batches until they hold about ``budget`` bytes, so that parcels do not get tiny."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if len(batch):
            held.append(batch)
            size += batch.nbytes
        if size >= budget:
            yield pa.concat_batches(held)
            held, size = [], 0
    if held:
        yield pa.concat_batches(held)
