"""Parcels as rows of a DataFrame (`subsel.parts.rows`), and functions of parts as Spark functions of groups."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame

from subsel.engines.spark.failures import MARK
from subsel.engines.spark.failures import plain_errors as plain_errors  # noqa: PLC0414  (goes with `task`)
from subsel.errors import SubselError
from subsel.fixedpoint import Int64Array
from subsel.parts.pack import Parcel, from_rows
from subsel.parts.rows import COUNTS, SUMS, to_batches, to_table

log = logging.getLogger(__name__)

#: `number` tells parcels of one source and kind apart, `chunk` orders a parcel's pieces.
PARCEL_SCHEMA = "part int, source int, kind string, number int, chunk int, payload binary"
BOARD_SCHEMA = PARCEL_SCHEMA + "".join(
    [*(f", {name} bigint" for name in COUNTS), *(f", {name} decimal(38,0)" for name in SUMS)]
)

#: Ids that are brought to Spark's width at once.
_IDS = 1 << 18

#: What runs on the batches of a partition.
BatchFunction = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
PartFunction = Callable[[int, list[Parcel]], Iterable[Parcel]]


def plain_ids(ids: Any) -> pa.Array:
    """Return unpacked ids as Spark knows them: with offsets of 32 bits."""
    if isinstance(ids, np.ndarray):
        return pa.array(ids)
    if pa.types.is_int64(ids.type):
        return ids
    return ids.cast(pa.string() if pa.types.is_large_string(ids.type) else pa.binary())


def taken(ids: Any, slots: Int64Array) -> pa.ChunkedArray:
    """Return some of unpacked ids as `plain_ids`, in pieces that its offsets reach the end of."""
    if isinstance(ids, np.ndarray):
        ids = pa.array(ids)
    pieces = (pa.array(slots[begin : begin + _IDS]) for begin in range(0, max(1, len(slots)), _IDS))
    return pa.chunked_array([plain_ids(ids.take(piece)) for piece in pieces])


def place(frame: DataFrame, parts: int) -> DataFrame:
    """Put every part into a partition of its own, or, before Spark 4.1, where its hash leads (parts may share one)."""
    if hasattr(frame, "repartitionById"):
        return frame.repartitionById(parts, "part")
    log.warning("this Spark has no repartitionById (4.1+): parts are placed by hash, some tasks get several")
    return frame.repartition(parts, "part")


def exchange(frame: DataFrame, function: PartFunction, parts: int, *, full: bool = False) -> DataFrame:
    """Deliver parcels to their parts and run a function on each part; return what it sends.

    Args:
        frame: parcels.
        function: of a part's number and its parcels.
        parts: how many there may be.
        full: whether there is something for most of them. Then a partition is a part, where `place` can have it so, and
            nothing groups rows, which would sort them first; but workers also hear of partitions that have none.
    """
    placed = place(frame, parts)
    if full and hasattr(frame, "repartitionById"):
        return map_in_arrow(placed, partial(_run_partition, function), PARCEL_SCHEMA)
    return groups_in_arrow(placed.groupBy("part"), PARCEL_SCHEMA, _run_part, function)


def map_in_arrow(frame: DataFrame, function: BatchFunction, schema: Any) -> DataFrame:
    """Run a function on the batches of every partition, as `DataFrame.mapInArrow`, in the session's width."""
    names = frame.columns
    if any("." in name or "`" in name for name in names):  # which mapInArrow takes for syntax
        frame = frame.toDF(*(f"_{i}" for i in range(len(names))))
    return frame.mapInArrow(lambda batches: map(_in_width, function(_named(names, batches))), schema)


def groups_in_arrow(groups: Any, schema: str, function: Callable[..., pa.Table], /, *first: Any) -> DataFrame:
    """Run a function on every group's table, or two tables of a cogroup, as `applyInArrow`, in the session's width.

    Args:
        groups: what `DataFrame.groupBy` or `GroupedData.cogroup` return.
        schema: of what the function returns.
        function: takes ``first``, then the table, or the two tables.
        first: what goes before them.
    """

    # Spark counts arguments, and 4.3 misreads the hints of a partial: so functions of their own.
    def of_one(table: pa.Table) -> pa.Table:
        return _in_width(function(*first, table))

    def of_two(left: pa.Table, right: pa.Table) -> pa.Table:
        return _in_width(function(*first, left, right))

    frame: DataFrame = groups.applyInArrow(of_one if hasattr(groups, "cogroup") else of_two, schema)
    return frame


def _named(names: list[str], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch if batch.schema.names == names else batch.rename_columns(names)


def _in_width(rows: Any) -> Any:
    """Return rows with offsets of 64 bits where ``spark.sql.execution.arrow.useLargeVarTypes`` asks for them."""
    context = TaskContext.get()
    if context is None or context.getLocalProperty("spark.sql.execution.arrow.useLargeVarTypes") != "true":
        return rows
    wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    return rows.cast(pa.schema([(field.name, wide.get(field.type, field.type)) for field in rows.schema]))


def _run_part(function: PartFunction, table: pa.Table) -> pa.Table:
    with task():
        return to_table(function(table.column("part")[0].as_py(), from_rows(table)))


def _run_partition(function: PartFunction, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        held = [batch for batch in batches if len(batch)]
        if held:
            parcels = from_rows(pa.Table.from_batches(held))
            (part,) = {parcel.part for parcel in parcels}
            yield from to_batches(function(part, parcels))


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
