"""The stages on Spark: nothing of the size of the data or of the subset is ever on the driver."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel, TaskContext
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.board import hear_wishes
from subsel.config import SelectConfig
from subsel.constraints import Constraints, Wishes
from subsel.engines.spark import neighbors
from subsel.engines.spark.engine import SparkEngine, local_checkpoint, scale_of
from subsel.engines.spark.output import write_frame
from subsel.engines.spark.parcels import BOARD_SCHEMA, PARCEL_SCHEMA, plain_errors, task
from subsel.engines.spark.points import SparkPoints, check_points, open_frame
from subsel.engines.spark.scoring import check_wished, decided, open_subset, places_of, stored_ids, wished
from subsel.errors import ConfigError, InputError
from subsel.greedy import kernel as greedy_kernel
from subsel.objective import Score, expected_random, score_subset
from subsel.output import remove
from subsel.parts import assemble, route, superstep
from subsel.parts.pack import Parcel, from_rows, of_kind, unpack
from subsel.pipeline import T
from subsel.plan import part_points
from subsel.report import FixedPointReport, GraphReport, InputReport, ObjectiveReport, Report
from subsel.run import Tell
from subsel.rundir import RunDirectory
from subsel.schema import DECIDED_BY_NAMES, Status
from subsel.storage import Place

log = logging.getLogger(__name__)

#: Rows of one file of the subset.
_ROWS_PER_FILE = 500_000
_SUM_COLUMNS = ("gain", "utility", "similarity", "top_utility")


class SparkStages:
    """Implements `subsel.pipeline.Stages` on a Spark session, which it neither stops nor reconfigures."""

    name = "spark"

    def __init__(
        self,
        spark: SparkSession,
        data: Any,
        graph: Any,
        config: SelectConfig,
        run_id: str,
        rundir: RunDirectory | None = None,
        wishes: Wishes = Wishes(),  # noqa: B008  (frozen)
    ) -> None:
        if data is None:
            raise ConfigError("on Spark data is needed, with a graph too: its ids say which points there are.")
        self.spark, self.data, self.user_graph, self.config, self.run_id = spark, data, graph, config, run_id
        self.rundir, self.wishes = rundir, wishes
        self.points: SparkPoints
        self.input: InputReport
        self.parts = 1
        self.spark_engine: SparkEngine | None = None
        self._persisted: list[DataFrame] = []
        self._of_size: list[DataFrame] = []

    def read(self, tell: Tell) -> InputReport:
        """Check every row in one scan, and draw the samples that parts and recall need."""
        done = self.rundir.finished("graph") if self.rundir else None
        if done is not None:
            self.input = InputReport.model_validate(done["input"])
            return self.input
        tell("checking rows", 0)
        self.points = check_points(
            self.spark,
            self.data,
            self.config,
            with_embeddings=self.user_graph is None,
            sample_rows=lambda n, dimension: route.sample_rows(n, dimension, part_points(dimension, self.config)),
        )
        self.part_points = part_points(self.points.dimension, self.config)
        self.input = InputReport(
            name=self.points.name,
            points=self.points.n,
            id_type=str(self.points.columns.id_type),
            utility=self.points.columns.utility_source,
            dropped_rows=self.points.dropped,
        )
        return self.input

    def check_wishes(self, sizes: Sequence[int]) -> None:
        """Look up the ids that the user wants in or out among the input's.

        Where rows were dropped as bad only `constrain` knows whose; where the graph is there it comes right after.
        """
        if not self.wishes or self.input.dropped_rows or (self.rundir and self.rundir.finished("graph")):
            return
        with plain_errors():
            source, _ = open_frame(self.spark, self.data)
            known = stored_ids(source.select(F.col(self.config.id_column).alias(schema.ID)))
            wishes = self._wished()
            numbers = {status: check_wished(known, ids, n_ids, what) for status, what, ids, n_ids in wishes}
            self._check(sizes, numbers, {status: ids for status, _, ids, _ in wishes})

    def _wished(self) -> list[tuple[Status, str, DataFrame, int | None]]:
        """Return what is wished: the status, its name for messages, ids, and their number if that is known."""
        return [
            (status, what, *wished(self.spark, getattr(self.wishes, what), self.data, self.config, what))
            for what, status in (("include", Status.INCLUDED), ("exclude", Status.EXCLUDED))
            if getattr(self.wishes, what) is not None
        ]

    def _check(self, sizes: Sequence[int], numbers: dict[Status, int], ids: dict[Status, DataFrame]) -> Constraints:
        both, example = 0, None
        if len(ids) == 2:
            shared = ids[Status.INCLUDED].join(ids[Status.EXCLUDED], schema.ID)
            both = shared.count()
            example = shared.limit(1).collect()[0][0] if both else None
        found = Constraints(numbers.get(Status.INCLUDED, 0), numbers.get(Status.EXCLUDED, 0))
        for k in sizes:
            found.check(self.input.points, k, both, example)
        return found

    def neighbors(self, tell: Tell) -> GraphReport:
        """Route, search, merge and assemble, or spread the user's edges; persist what comes out."""
        done = self.rundir.finished("graph") if self.rundir else None
        if done is not None:
            self._load()
            report = GraphReport.model_validate(done["graph"])
            self.parts = report.parts
            return report
        config, points = self.config, self.points
        cells = None
        if self.user_graph is None:
            tell("k-means", 0)
            part_map = route.PartMap.plan(points.sample, points.n, self.part_points, config)
            self.parts, cells = part_map.parts, len(part_map.quantizer.centroids)
            assembled = neighbors.assembled_from_embeddings(points, part_map, config)
        else:
            self.parts = max(1, -(-points.n // self.part_points))
            assembled = neighbors.assembled_from_edges(self.spark, points, self.user_graph, self.parts, config)
        tell(f"{self.parts} parts", 0)
        with plain_errors():
            if self.rundir is None:
                self.assembled = self._keep(assembled)
                self._read_shapes()
            else:
                kept = self._keep(assembled)
                graph, ids = self.rundir.begin("graph", "graph", "points")
                kept.where(F.col("kind") != assemble.POINTS).write.parquet(str(graph))
                kept.where(F.col("kind") == assemble.POINTS).write.parquet(str(ids))
                kept.unpersist()
                self._load()
        half_edges = sum(shape["half_edges"] for shape in self.shapes)
        found = self.user_graph is None
        report = GraphReport(
            source="embeddings" if found else "given",
            edges=int(half_edges) // 2,
            mean_degree=round(half_edges / points.n, 2),
            max_degree=int(max(shape["max_degree"] for shape in self.shapes)),
            parts=self.parts,
            neighbors=config.neighbors if found else None,
            dimension=points.dimension if found else None,
            cells=cells,
            recall=self._recall() if found and len(points.asked_code) else None,
        )
        if self.rundir is not None:
            self.rundir.finish("graph", {"input": self.input.model_dump(), "graph": report.model_dump()})
        return report

    def engine(self, k: int) -> tuple[SparkEngine, FixedPointReport]:
        """Persist the graph by part, start the boards, and note where the top k by utility end."""
        if self.spark_engine is not None:  # of another size
            self.spark_engine.close()
            for frame in self._of_size:
                frame.unpersist()
                self._persisted.remove(frame)
            self._of_size = []
        scale = scale_of(self.shapes, self.config.alpha, self.config.similarity_weight)
        self.spark_engine = SparkEngine(
            self.assembled.where(F.col("kind") == assemble.GRAPH),
            self.parts,
            scale,
            finish_points=self.config.finish_points,
            run_id=self.run_id,
        )
        self.top = self.spark_engine.kth_place(k, (Status.UNDECIDED,))
        done = [
            stage
            for stage in ("bounding", "greedy", "refine", "certify")
            if self.rundir and self.rundir.finished(stage)
        ]
        self._resumed = bool(done)
        if done:
            self._go_on(done[-1])
        return self.spark_engine, FixedPointReport(fraction_bits=scale.fraction_bits, tie_bits=scale.tie_bits)

    def constrain(self, sizes: Sequence[int]) -> Constraints:
        """Decide the points that the user wants in or out."""
        engine, wishes = self.spark_engine, self.wishes
        assert engine is not None
        if not wishes:
            return Constraints()
        points = self.assembled.where(F.col("kind") == assemble.POINTS)
        with plain_errors():
            members = {status: places_of(points, ids, n_ids, what) for status, what, ids, n_ids in self._wished()}
            places = {status: found for status, (found, _) in members.items()}
            found = self._check(sizes, {status: number for status, (_, number) in members.items()}, places)
            if not self._resumed:
                for status, place in places.items():
                    engine.adopt(decided(place, status))
                engine.step(hear_wishes)
        return found

    def once(self, stage: str, kind: type[T], drive: Callable[[], T], *, resumable: bool = True) -> T:
        """Run a stage's driver with its boards in the run directory, or return what it recorded."""
        engine = self.spark_engine
        assert engine is not None
        if self.rundir is None or stage not in self.rundir.stages:
            return drive()
        done = self.rundir.finished(stage)
        if done is None:
            if resumable and self.rundir.boards(stage) and self.rundir.begun_alike(stage):
                self._go_on(stage)
            else:
                remove(self.rundir.path / stage)
                self.rundir.mark_begun(stage)
            engine.checkpoint = partial(_write_board, self.spark, self.rundir, stage)
            result = drive()
            # Whoever resumes after this stage starts from its last board, also if it took no superstep.
            if not self.rundir.boards(stage):
                engine.restate()
            done = asdict(result)  # type: ignore[call-overload]
            self.rundir.finish(stage, done, asdict(engine.scale))
            engine.checkpoint = local_checkpoint
        return kind(**done)

    def _go_on(self, stage: str) -> None:
        """Take the last board of a stage from the run directory."""
        assert self.rundir is not None and self.spark_engine is not None
        last = self.rundir.boards(stage)[-1]
        board = self.spark.read.schema(BOARD_SCHEMA).parquet(str(last))
        self.spark_engine.resume(board, int(last.name.removeprefix("board-")))
        log.info("[%s] going on from %s", self.run_id, last)

    def expected_random(self, k: int) -> float:
        """Return the expectation of f over all subsets of k points."""
        utility, edges = (sum(shape[name] for shape in self.shapes) for name in ("utility_sum", "similarity_sum"))
        config = self.config
        return expected_random(self.input.points, k, utility, edges / 2, config.alpha, config.similarity_weight)

    def score(self, k: int) -> ObjectiveReport:
        """Compute the gains of the subset, rank it by a distributed sort, and sum up what it is compared with."""
        engine = self.spark_engine
        assert engine is not None
        ids = self.assembled.where(F.col("kind") == assemble.POINTS)
        id_type = "string" if _is_text(self.input) else "bigint"
        rows = f"{schema.ID} {id_type}, key bigint, code bigint, {schema.GAIN} double, {schema.DECIDED_BY} string"
        with plain_errors():
            # Kept twice: sorting samples its input first, and both jobs after it must see the same partitions.
            picked = self._keep(engine.on_parts(ids, _picked, rows))
            order = F.desc("key"), F.desc("code")
            picked = self._keep(picked.repartitionByRange(-(-k // _ROWS_PER_FILE), *order).sortWithinPartitions(*order))
            self._of_size = self._persisted[-2:]
            per_partition = picked.groupBy(F.spark_partition_id().alias("p")).count().toArrow()
            counts = dict(zip(*(per_partition.column(i).to_pylist() for i in (0, 1)), strict=True))
            first, begin = {}, 0
            for partition in sorted(counts):
                first[partition], begin = begin, begin + counts[partition]
            ranked = f"{schema.ID} {id_type}, {schema.RANK} bigint, {schema.GAIN} double, {schema.DECIDED_BY} string"
            self.ranked = picked.mapInArrow(partial(_rank, first), ranked)
            totals = self._totals(engine)
        if begin != k:
            raise AssertionError(f"{begin} points are selected, not {k}")
        return ObjectiveReport(
            total=totals["utility"] - totals["similarity"],
            utility=totals["utility"],
            similarity=totals["similarity"],
            random=self.expected_random(k),
            top_utility=totals["top_utility"],
        )

    def write(self, report: Report, output: Place | None, *, overwrite: bool) -> None:
        """Join the kept columns back and write, in rank order."""
        if output is None:
            raise ConfigError("on Spark the subset is written, never collected: give an output.")
        ranked = self.ranked
        source, _ = open_frame(self.spark, self.data)
        type_in = source.schema[self.config.id_column].dataType
        ranked = ranked.withColumn(schema.ID, F.col(schema.ID).cast(type_in))
        if self.config.keep_columns:
            kept = source.select(F.col(self.config.id_column).alias(schema.ID), *self.config.keep_columns)
            if self.input.dropped_rows:
                kept = kept.dropDuplicates([schema.ID])
            files = -(-report.k // _ROWS_PER_FILE)
            ranked = ranked.join(kept, schema.ID).repartitionByRange(files, schema.RANK)
            ranked = ranked.sortWithinPartitions(schema.RANK)
        with plain_errors():
            write_frame(ranked, report, output, overwrite=overwrite)

    def score_ids(self, subset: Any) -> Score:
        """Return f of a subset: a Parquet path or DataFrame with an id column.

        Raises:
            InputError: it cannot be read, or its ids are null, repeated, unknown or of another type.
        """
        with plain_errors():
            ids, k = open_subset(self.spark, subset, self.config.id_column)
            if k == 0:
                raise InputError("the subset is empty: there is nothing to score.")
            if k > self.input.points:
                raise InputError(f"the subset has {k:,} ids, the input {self.input.points:,}: some are unknown.")
            engine, _ = self.engine(k)
            points = self.assembled.where(F.col("kind") == assemble.POINTS)
            engine.adopt(decided(places_of(points, ids, k, "the subset")[0], Status.SELECTED))
            totals = self._totals(engine)
        return Score(totals["utility"] - totals["similarity"], totals["utility"], totals["similarity"])

    def close(self) -> None:
        """Unpersist all that was persisted."""
        if self.spark_engine is not None:  # of another size
            self.spark_engine.close()
            for frame in self._of_size:
                frame.unpersist()
                self._persisted.remove(frame)
            self._of_size = []
        for frame in self._persisted:
            frame.unpersist()
        self._persisted = []

    def _totals(self, engine: SparkEngine) -> Row:
        sums = engine.on_parts(None, partial(_sums, self.top), ", ".join(f"{name} double" for name in _SUM_COLUMNS))
        return sums.agg(*(F.sum(name).alias(name) for name in _SUM_COLUMNS)).collect()[0]

    def _load(self) -> None:
        """Take the graph and its points from the run directory."""
        assert self.rundir is not None
        folders = (self.rundir.path / name for name in ("graph", "points"))
        graph, ids = (self.spark.read.schema(PARCEL_SCHEMA).parquet(str(folder)) for folder in folders)
        self.assembled = graph.unionByName(ids)
        self._read_shapes()

    def _read_shapes(self) -> None:
        shapes = self._collect(assemble.SHAPE)
        self.shapes = [{name: float(v[0]) for name, v in unpack(parcel.payload).items()} for parcel in shapes]

    def _keep(self, frame: DataFrame) -> DataFrame:
        self._persisted.append(frame.persist(StorageLevel.DISK_ONLY))
        return self._persisted[-1]

    def _collect(self, kind: str) -> list[Parcel]:
        """Bring the parcels of a kind that has little per part to the driver."""
        return from_rows(self.assembled.where(F.col("kind") == kind).toArrow())

    def _recall(self) -> float:
        parcels = self._collect(route.EXACT) + self._collect(route.FOUND)
        return route.recall_of(parcels, self.points.asked_code, self.config.neighbors)


def _is_text(points: InputReport) -> bool:
    return "int" not in points.id_type


def _write_board(spark: SparkSession, rundir: RunDirectory, stage: str, frame: DataFrame, number: int) -> DataFrame:
    """Write a board to the run directory and read it back; then remove those before the last."""
    place = rundir.path / stage / f"board-{number:06d}"
    remove(place)
    frame.write.parquet(str(place))
    for old in rundir.boards(stage)[:-2]:
        remove(old)
    return spark.read.schema(BOARD_SCHEMA).parquet(str(place))


def _picked(graph: Any, parcels: list[Parcel]) -> pa.Table:
    """Return a part's selected points with their ids, keys and gains."""
    board, _ = superstep.deliver(graph, parcels)
    points = unpack(of_kind(parcels, assemble.POINTS)[0].payload)
    scale = graph.fixed_point
    gain = greedy_kernel.realised_gains(
        graph.indptr,
        graph.indices,
        graph.similarity,
        graph.utility,
        scale.alpha,
        scale.beta,
        graph.code,
        board.key,
        board.status,
    )
    slots = np.flatnonzero(board.status[: graph.n_own] == Status.SELECTED)
    names = np.array([DECIDED_BY_NAMES.get(Status(s), "") for s in range(len(Status))])
    ids = points["id"]
    return pa.table(
        {
            schema.ID: pa.array(ids[slots])
            if isinstance(ids, np.ndarray)
            else ids.take(pa.array(slots)).cast(pa.string()),
            "key": board.key[slots],
            "code": graph.code[slots],
            schema.GAIN: gain[slots],
            schema.DECIDED_BY: pa.array(names[board.decided_by[slots]], pa.string()),
        }
    )


def _sums(top: tuple[int, int], graph: Any, parcels: list[Parcel]) -> pa.Table:
    """Return a part's share of the objective's terms, and of f of the top k by utility; each edge half."""
    board, _ = superstep.deliver(graph, parcels)
    scale = graph.fixed_point
    key = scale.keys(graph.utility, graph.code)
    top_members = (key > top[0]) | ((key == top[0]) & (graph.code >= top[1]))
    scores = []
    for member in (board.status == Status.SELECTED, top_members):
        own = member[: graph.n_own]
        utility = scale.alpha * float(graph.utility[: graph.n_own][own].sum())
        edges = score_subset(
            graph.indptr, graph.indices, graph.similarity, graph.utility * 0, member, scale.alpha, scale.beta
        )
        scores.append((utility, edges.similarity))
    (utility, similarity), (top_utility, top_similarity) = scores
    values = (utility - similarity, utility, similarity, top_utility - top_similarity)
    return pa.table({name: [value] for name, value in zip(_SUM_COLUMNS, values, strict=True)})


def _rank(first: dict[int, int], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Number sorted rows from 0 over all partitions."""
    with task():
        context = TaskContext.get()
        begin = first.get(context.partitionId() if context is not None else 0, 0)
        for batch in batches:
            rank = pa.array(np.arange(begin, begin + len(batch)))
            begin += len(batch)
            columns = [batch.column(schema.ID), rank, batch.column(schema.GAIN), batch.column(schema.DECIDED_BY)]
            names = [schema.ID, schema.RANK, schema.GAIN, schema.DECIDED_BY]
            yield pa.RecordBatch.from_arrays(columns, names=names)
