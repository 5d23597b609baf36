"""A target set on Spark: points near its rows are found as points pass by; its own get parts of their own.

The target is small, as what is given as ``exclude_near`` is: it is read and checked on the driver, and sent to all
executors. Lists of the nearest are merged on these, block by block, and never leave them (`subsel.embeddings.target`,
`subsel.parts.target`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel.board import Counts
from subsel.config import MOST_NEIGHBORS, SelectConfig
from subsel.embeddings.target import TargetLists, merge_lists
from subsel.engines.spark.assembled import USUAL, usual_columns
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.near import read_on_spark, sent_to_all
from subsel.engines.spark.neighbors import Rules
from subsel.engines.spark.output import read_rows, write_rows
from subsel.engines.spark.parcels import PARCEL_SCHEMA, groups_in_arrow, map_in_arrow, place, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.storage import classic
from subsel.engines.spark.together import fits_one_task
from subsel.fixedpoint import FixedPoint, Int64Array, Usual
from subsel.graph import DraftGraph
from subsel.input.reference import TARGET, ReferenceRows, target_mark
from subsel.input.utility import Utility
from subsel.method import FINISH_POINTS
from subsel.parts import assemble
from subsel.parts.pack import Parcel, concatenate, from_rows, of_kind, pack, unpack
from subsel.parts.rows import to_table
from subsel.parts.superstep import pack_graph
from subsel.parts.target import (
    Span,
    beside_target,
    borders,
    columns_of,
    edges_of_lists,
    parts_of_target,
    target_part,
    usual_cover,
)
from subsel.planning import part_points
from subsel.report import GraphReport
from subsel.rundir import TARGET as FOLDER
from subsel.rundir import RunDirectory
from subsel.weighing import needs_graph

#: Rows of the target whose lists are merged in one place.
_LISTS = 1_024
_LIST = "list"
_FOUND = "target bigint, row bigint, importance double, code bigint, similarity float"
_EDGES = f"{_FOUND}, part int, slot bigint"
#: Edges that are sent to all executors rather than sorted with everybody's codes.
_FEW_ROWS = 100_000


class SparkTarget:
    """What is covered instead of the points.

    Args:
        spark: the session.
        given: path, table or DataFrame; None: nothing was given.

    Attributes:
        rows: the target, once it was read.
        edges: of it to points (`subsel.parts.target.EDGES`), once they were found.
        count: how many points it has, once edges were found.
        per_part: how many of these are in a part, likewise.
        alone: whether nothing but covering it needs edges: once it was read.
    """

    def __init__(self, spark: SparkSession, given: Any) -> None:
        self.spark, self.given = spark, given
        self.rows: ReferenceRows | None = None
        self.edges: DataFrame | None = None
        self.count, self.per_part, self.alone = 0, 1, False

    @property
    def parts(self) -> int:
        """How many parts its points have."""
        return parts_of_target(self.count, self.per_part)

    def read(self, inputs: SparkInputs, dimension: int | None) -> str | None:
        """Read the target and check it; return what tells it from others, None if there is none.

        Args:
            inputs: the points.
            dimension: of their embeddings; None where these were not looked at.

        Raises:
            InputError: see `subsel.engines.spark.near.read_on_spark`.
        """
        if self.given is None:
            return None
        config = inputs.config
        entries = MOST_NEIGHBORS if config.neighbors == "auto" else config.neighbors
        self.rows = read_on_spark(TARGET, self.spark, self.given, inputs, dimension, entries).important()
        with_graph = needs_graph(Utility.of(config, inputs.source.schema.names), config)
        self.alone = not with_graph
        return target_mark(self.rows, with_graph)

    def find(
        self,
        points: SparkPoints,
        parcels: DataFrame,
        made: GraphReport,
        k: int,
        config: SelectConfig,
        keep: Callable[[DataFrame], DataFrame],
        rundir: RunDirectory | None,
    ) -> GraphReport:
        """Find the k nearest points of each row, if there is a target; return what is told of the graph beside it.

        Args:
            points: to select from.
            parcels: of kind points: where they are.
            made: how their graph was.
            k: see above.
            config: of the request.
            keep: computes a frame and keeps it.
            rundir: keeps what is found, if there is one.
        """
        if self.rows is None:
            return made
        k = min(k, points.n)
        sent = sent_to_all(self.spark, TargetLists.of(self.rows.rows, config.metric, 0))
        lists = points.map(partial(_search, sent, k, Rules.of(points, config)), PARCEL_SCHEMA)
        merge = partial(_merge, k, self.rows.number, self.rows.importance)
        found = keep(groups_in_arrow(lists.groupBy("part"), _FOUND, merge))
        if classic(self.spark):
            sent.destroy()
        few = F.broadcast(found) if len(self.rows.rows) * k <= _FEW_ROWS else found
        where = groups_in_arrow(parcels.groupBy("part"), "code bigint, part int, slot bigint", _places)
        edges = where.join(few, "code").select(*(one.split()[0] for one in _EDGES.split(", ")))
        if rundir is None:
            self.edges = keep(edges)
        else:
            (folder,) = rundir.begin(FOLDER)
            write_rows(edges, folder)
            self.edges = read_rows(self.spark, _EDGES, folder)
        about = {"target_points": len(self.rows.rows), "target_edges": self.edges.count(), "target_neighbors": k}
        return self._as_made(made.model_copy(update=about), config)

    def load(self, rundir: RunDirectory | None, made: GraphReport, config: SelectConfig) -> None:
        """Take the edges from a run directory, if it has some."""
        if rundir is not None and made.target_points is not None:
            self.edges = read_rows(self.spark, _EDGES, rundir.place.join(FOLDER))
            self._as_made(made, config)

    def _as_made(self, made: GraphReport, config: SelectConfig) -> GraphReport:
        self.count = made.target_points or 0
        self.per_part = part_points(made.dimension or 1, made.target_neighbors or 1, config)
        return made

    def span(self) -> Span | None:
        """Return what `subsel.parts.target.span_of` does, None without a target."""
        if self.edges is None:
            return None
        degree = self.edges.groupBy("part", "slot").agg(F.sum(F.col("similarity").cast("double")).alias("degree"))
        most = self.edges.agg(F.max("similarity"), F.max("importance")).collect()[0]
        values = map_in_arrow(self.edges.select("similarity", "importance"), _usual_covers, USUAL)
        usual = values.agg(*map(F.sum, values.columns)).collect()[0]
        return Span(
            float(degree.agg(F.max("degree")).collect()[0][0] or 0.0),
            float(most[0] or 0.0),
            float(most[1] or 1.0),
            Usual(*(int(one or 0) for one in usual)),
        )

    def engine(
        self,
        graph: DataFrame,
        parts: int,
        scale: FixedPoint,
        config: SelectConfig,
        n: int,
        made: GraphReport,
        run_id: str,
        keep: Callable[[DataFrame], DataFrame],
        recorded: bool,
    ) -> SparkEngine:
        """Return an engine on a graph of points, and of the target's, if there is one, in parts of their own.

        Args:
            graph: parcels of kind graph.
            parts: of it.
            scale: of the engine.
            config: of the request.
            n: points that are selected from.
            made: about the graph.
            run_id: for log lines.
            keep: persists a frame.
            recorded: see `subsel.engines.spark.together.fits_one_task`.
        """
        about = n + self.count, 2 * (made.edges + (made.target_edges or 0))
        if self.edges is not None:
            graph = self._beside(graph, self.edges, parts, len(config.groups), keep)
        return SparkEngine(
            graph,
            parts + self.parts,
            scale,
            finish_points=FINISH_POINTS if config.finish_points is None else config.finish_points,
            run_id=run_id,
            max_similarity=config.max_similarity,
            target_parts=self.parts,
            together=fits_one_task(self.spark, config, *about, recorded=recorded),
            counts=Counts.at_first(n, self.count),
        )

    def _beside(
        self, graph: DataFrame, edges: DataFrame, parts: int, columns: int, keep: Callable[[DataFrame], DataFrame]
    ) -> DataFrame:
        """Return parcels of kind graph with the target's points in them, and in parts of their own."""
        about = parts, self.per_part
        pairs = place(graph, parts).groupBy("part").cogroup(place(edges, parts).groupBy("part"))
        joined = keep(groups_in_arrow(pairs, PARCEL_SCHEMA, partial(_beside, *about)))
        heard = joined.where(F.col("kind") == assemble.BORDER)
        own = groups_in_arrow(heard.groupBy("part"), PARCEL_SCHEMA, partial(_target_part, *about, columns))
        return joined.where(F.col("kind") == assemble.GRAPH).unionByName(own)


def _search(sent: Any, k: int, rules: Rules, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Let a partition's points pass by the target; yield lists of the nearest."""
    with task():
        lists: TargetLists = sent.value.empty(k)
        for good, code in rules.good(batches):
            assert good.embeddings is not None
            lists.meet(code, good.embeddings)
        context = TaskContext.get()
        source = context.partitionId() if context is not None else 0
        for number, begin in enumerate(range(0, len(lists.rows), _LISTS)):
            some = slice(begin, begin + _LISTS)
            payload = pack(code=lists.code[some].ravel(), similarity=lists.similarity[some].ravel())
            yield from to_table([Parcel(number, source, _LIST, payload)]).to_batches()


def _merge(k: int, row: Int64Array, importance: npt.NDArray[np.float64], table: pa.Table) -> pa.Table:
    """Merge the lists of a block of rows; return edges."""
    with task():
        parcels = from_rows(table)
        first = parcels[0].part * _LISTS
        some = slice(first, first + _LISTS)
        code, similarity = np.zeros((len(row[some]), k), np.int64), np.zeros((len(row[some]), k), np.float32)
        for parcel in of_kind(parcels, _LIST):
            one = unpack(parcel.payload)
            merge_lists(one["code"].reshape(-1, k), one["similarity"].reshape(-1, k), code, similarity)
        return pa.table(edges_of_lists(first, row[some], importance[some], code, similarity))


def _places(table: pa.Table) -> pa.Table:
    """Return where the points of a part are, by code."""
    with task():
        (parcel,) = from_rows(table)
        code = unpack(parcel.payload)["code"]
        part = pa.array(np.full(len(code), parcel.part, np.int32))
        return pa.table({"code": code, "part": part, "slot": np.arange(len(code))})


def _beside(parts: int, per_part: int, left: pa.Table, right: pa.Table) -> pa.Table:
    """Return a part with the target's points as ghosts, and what their parts must know of it."""
    with task():
        (parcel,) = from_rows(left)
        edges = columns_of(right)
        draft = _draft(parcel)
        told = [
            Parcel(to, parcel.part, assemble.BORDER, pack(**rows))
            for to, rows in borders(draft, edges, parts, per_part)
        ]
        graph = pack_graph(beside_target(draft, edges, parts, per_part))
        return to_table([Parcel(parcel.part, parcel.part, assemble.GRAPH, graph), *told])


def _target_part(parts: int, per_part: int, columns: int, table: pa.Table) -> pa.Table:
    """Return a part of the target's points."""
    with task():
        parcels = from_rows(table)
        part = parcels[0].part
        heard = concatenate(unpack(parcel.payload) for parcel in of_kind(parcels, assemble.BORDER))
        graph = target_part(part, heard, parts, per_part, columns)
        return to_table([Parcel(part, part, assemble.GRAPH, pack_graph(graph))])


def _draft(parcel: Parcel) -> DraftGraph:
    arrays = unpack(parcel.payload)
    if "group" in arrays:
        arrays["group"] = arrays["group"].reshape(-1, len(arrays["indptr"]) - 1)
    return DraftGraph(part=parcel.part, **arrays)


def _usual_covers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Take batches of edges to how large what they cover usually is, a row each."""
    for batch in batches:
        found = usual_cover(*(column.to_numpy() for column in batch.columns))
        yield pa.RecordBatch.from_pydict(usual_columns(found))
