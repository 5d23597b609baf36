"""A whole graph in one task: drivers run there, on the local engine, in one job instead of one for each superstep.

Each driver is a task that reads the joined graph and the last joined board, and writes the next board and the driver's
result. The first has parts, which it joins (`subsel.parts.join`), and writes what comes of that, too. The parts hear of
it when somebody asks for their boards.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel.board import Board, Counts
from subsel.config import SelectConfig
from subsel.cost import AT_REST, one_task_bytes
from subsel.engines.base import Engine
from subsel.engines.local import LocalEngine
from subsel.engines.spark.checkpoints import checkpoint_at_first_use, release_checkpoint
from subsel.engines.spark.parcels import BOARD_SCHEMA, map_in_arrow, task
from subsel.engines.spark.storage import classic
from subsel.engines.spark.supersteps import PartWork
from subsel.fixedpoint import FixedPoint
from subsel.graph import PartGraph
from subsel.memory import available_memory
from subsel.parts.assemble import GRAPH
from subsel.parts.join import join_all, join_beside, join_boards, take_apart
from subsel.parts.pack import CHUNK_BYTES, Parcel, from_rows, of_kind, pack, unpack
from subsel.parts.rows import COLUMNS, COUNTS, to_board, to_board_batches
from subsel.parts.superstep import BOARD, pack_board, unpack_board, unpack_graph

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Kinds of parcels: the joined board; which points of it are whose; what a driver returned.
_JOINED, _PLACES, _RESULT = "joined", "places", "result"
#: Bytes of a batch on its way to the JVM, which holds it whole, and its rows, if these are parcels.
_BATCH_BYTES = 32 << 20
_ROWS = max(1, _BATCH_BYTES // CHUNK_BYTES)

#: Bytes of a directed edge where a graph travels.
PAYLOAD = 8
#: Where a session does not bound the bytes of Arrow batches (before Spark 4.1), one batch has all of a task's rows,
#: and 2 GiB at most.
ONE_BATCH = 1 << 30
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def fits_one_task(
    spark: SparkSession, config: SelectConfig, points: int, half_edges: int, *, recorded: bool = False
) -> bool:
    """Return whether drivers run on a whole graph in one task.

    Not where similarity is limited and answers are recorded: members that are too alike without an edge leave in the
    parts, between two drivers, and another run goes on from there.

    Args:
        spark: the session.
        config: of the request; without `finish_points` as many are decided in one task as its memory holds.
        points: of the graph.
        half_edges: of it, two for each edge.
        recorded: whether a run directory keeps what the engine answers.
    """
    needed = one_task_bytes(config, points, half_edges)
    if needed is None or (config.max_similarity is not None and recorded):
        return False
    if not needed:
        return True
    if PAYLOAD * half_edges > ONE_BATCH and spark.conf.get("spark.sql.execution.arrow.maxBytesPerBatch", None) is None:
        return False
    return needed <= task_memory(spark)


def task_memory(spark: SparkSession, at_once: int = 1) -> int:
    """Return the bytes that one task's Python worker may take for data.

    That is of what the session grants (`worker_limit`); else, in this process' machine, of half of what is free; on a
    cluster of its share of what executors have beside the heap.

    Args:
        spark: the session.
        at_once: tasks that share this machine, where that is all there is.
    """
    asked = spark.conf.get
    limit = worker_limit(spark)
    if limit is not None:
        return limit - AT_REST
    if classic(spark) and str(asked("spark.master", "")).split("[")[0] == "local":
        return available_memory() // 2 // at_once - AT_REST
    given = asked("spark.executor.memoryOverhead", None)
    if given is None:
        share = float(asked("spark.executor.memoryOverheadFactor", None) or 0.1)
        found = max(384 << 20, int(share * in_bytes(asked("spark.executor.memory", None) or "1g")))
    else:
        found = in_bytes(given)
    slots = int(asked("spark.executor.cores", None) or 1) // int(asked("spark.task.cpus", None) or 1)
    return found // max(1, slots) - AT_REST


def worker_limit(spark: SparkSession) -> int | None:
    """Return the bytes that a Python worker may take, where the session says so: Spark divides them by cores."""
    memory = spark.conf.get("spark.executor.pyspark.memory", None)
    return None if memory is None else in_bytes(memory) // int(spark.conf.get("spark.executor.cores", None) or 1)


def in_bytes(text: str) -> int:
    """Return what Spark means by an amount of an executor's memory, such as ``512m`` or ``2g``; MiB without a unit."""
    text = text.strip().lower().removesuffix("b")
    unit = text[-1:] if text[-1:] in _UNITS else "m"
    return int(float(text.rstrip("".join(_UNITS))) * _UNITS[unit])


class Scale(NamedTuple):
    """What makes weights and conflicts of similarities: see `subsel.engines.spark.engine.SparkEngine`."""

    scale: FixedPoint
    max_similarity: float | None


class Together:
    """The joined graph, and its board after the last driver.

    Args:
        graph: parcels of all parts' graphs, wherever they are.
        scale: of its keys and weights.
        run_id: for log lines.

    Attributes:
        ahead: whether the parts have not heard yet what was decided.
    """

    def __init__(self, graph: DataFrame, scale: Scale, run_id: str) -> None:
        self.scale, self.run_id, self.ahead = scale, run_id, False
        self._parts = graph
        self._first: DataFrame | None = None  # what the first driver left: the joined graph, too
        self._board: DataFrame | None = None

    def forget(self) -> None:
        """Let go of the joined board: the parts have gone on without it."""
        if self._board is not None and self._board is not self._first:
            release_checkpoint(self._board)
        self._board, self.ahead = None, False

    @property
    def begun(self) -> bool:
        """Whether there is a joined board."""
        return self._board is not None

    def drive(self, boards: DataFrame | None, work: Callable[[Engine], T]) -> tuple[T, Counts]:
        """Run a driver in a task; return its result, and the counts after it.

        Args:
            boards: parcels of all parts' boards, with all news accounted for; None: go on from the joined one, or from
                where nothing is decided.
            work: the driver. It and its result travel as Spark's functions and results do.
        """
        begin = time.perf_counter()
        drive = _join if self._first is None else _drive
        rows = map_in_arrow(self._rows(boards), partial(drive, work, self.scale), BOARD_SCHEMA)
        found = checkpoint_at_first_use(rows, 0)
        is_result = F.col("kind") == _RESULT
        of_result = F.when(is_result, F.col("payload")).alias("payload")
        few = found.where(is_result | ((F.col("kind") == _JOINED) & (F.col("chunk") == 0)))
        told = few.select("kind", "chunk", of_result, *COUNTS).collect()
        self.forget()  # what it is made of, until now
        self._first = found if self._first is None else self._first
        self._board, self.ahead = found, True
        pieces = sorted((row["chunk"], bytes(row["payload"])) for row in told if row["kind"] == _RESULT)
        result = pickle.loads(b"".join(piece for _, piece in pieces))
        (first,) = (row for row in told if row["kind"] == _JOINED)
        numbers: dict[str, Any] = {name: int(first[name]) for name in COUNTS}
        took = time.perf_counter() - begin
        counts = Counts(**numbers)
        log.info("[%s] decided in one task: undecided %d, %.1f s", self.run_id, counts.undecided, took)
        return cast(T, result), counts

    def run(self, parcels: DataFrame | None, work: PartWork, schema: str) -> DataFrame:
        """Run work on the joined graph as on a part, with its board and what is addressed to all parts.

        Args:
            parcels: of kinds points and utility, of all parts, which are joined, too; None: none.
            work: see above.
            schema: of its rows.
        """
        rows = self._rows(None, [] if parcels is None else [parcels])
        return map_in_arrow(rows, partial(_run, work, self.scale), schema)

    def _rows(self, boards: DataFrame | None, more: Sequence[DataFrame] = ()) -> DataFrame:
        """Return what a task reads: the joined graph or its parts, the board or those of which it is made, and more."""
        board = self._board if boards is None else boards
        rows = self._parts.select(*COLUMNS) if self._first is None else self._of(self._first, GRAPH)
        if board is not None and boards is None:
            board = self._of(board, _JOINED)
        for frame in [*([] if board is None else [board]), *more]:
            rows = rows.unionByName(frame.select(*rows.columns))
        return rows.coalesce(1)

    def decisions(self) -> DataFrame:
        """Return what the joined board decided: parcels of kind FINISHED, to all parts."""
        assert self._board is not None and self._first is not None
        rows = self._of(self._first, _PLACES).unionByName(self._of(self._board, _JOINED)).coalesce(1)
        self.ahead = False
        return map_in_arrow(rows, _take_apart, BOARD_SCHEMA)

    @staticmethod
    def _of(frame: DataFrame, kind: str) -> DataFrame:
        return frame.where(F.col("kind") == kind).select(*COLUMNS)

    def close(self) -> None:
        """Let go of all."""
        self.forget()
        if self._first is not None:
            release_checkpoint(self._first)


def _all(batches: Iterator[pa.RecordBatch]) -> list[Parcel]:
    """Return the parcels of a task, however their rows lie."""
    return from_rows(pa.Table.from_batches(batches))


def _join(
    work: Callable[[Engine], object], scale: Scale, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Join the parts and their boards, if they have some, and run the first driver."""
    with task():
        parcels = _all(batches)
        graphs, boards = of_kind(parcels, GRAPH), of_kind(parcels, BOARD)
        arrays, offset = join_all(graphs)
        part = np.array(sorted(parcel.part for parcel in graphs))
        del parcels, graphs
        graph = Parcel(0, 0, GRAPH, pack(**arrays))
        del arrays
        yield from to_board_batches([graph, Parcel(0, 0, _PLACES, pack(part=part, offset=offset))])
        opened = _opened(scale, [graph, *boards])
        del graph, boards
        yield from _driven(work, opened)


def _opened(scale: Scale, parcels: list[Parcel]) -> tuple[PartGraph, Board]:
    """Return the joined graph and its board: the joined one, or that of all parts, or one with nothing decided."""
    (graph,) = of_kind(parcels, GRAPH)
    part, joined, boards = unpack_graph(0, graph.payload, *scale), of_kind(parcels, _JOINED), of_kind(parcels, BOARD)
    if joined:
        return part, unpack_board(joined[0].payload)
    return part, join_boards(boards) if boards else Board.start(part)


def _drive(
    work: Callable[[Engine], object], scale: Scale, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    with task():
        yield from _driven(work, _opened(scale, _all(batches)))


def _driven(work: Callable[[Engine], object], opened: tuple[PartGraph, Board]) -> Iterator[pa.RecordBatch]:
    """Run a driver; yield the board that it leaves, and its result."""
    engine = LocalEngine(*opened, steps=True)
    result = work(engine)
    yield from to_board([Parcel(0, 0, _JOINED, pack_board(engine.board))], engine.counts()).to_batches(_ROWS)
    yield from to_board([Parcel(0, 0, _RESULT, pickle.dumps(result))]).to_batches(_ROWS)


def _run(work: PartWork, scale: Scale, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        parcels = _all(batches)
        graph, board = _opened(scale, parcels)
        beside = [Parcel(0, 0, BOARD, pack_board(board)), *join_beside(parcels)]
        del parcels, board
        found = work(graph, beside)
        yield from found.to_batches(max(1, _BATCH_BYTES * len(found) // max(1, found.nbytes)))


def _take_apart(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        parcels = _all(batches)
        places = unpack(of_kind(parcels, _PLACES)[0].payload)
        board = unpack_board(of_kind(parcels, _JOINED)[0].payload)
        for parcel in take_apart(board, places["part"], places["offset"]):
            yield from to_board([parcel]).to_batches(_ROWS)
