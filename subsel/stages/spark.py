"""The stages on Spark: nothing of the size of the data or of the subset is ever on the driver. And these as jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.board import hear_wishes
from subsel.config import resolve_size
from subsel.constraints import Constraints
from subsel.engines.spark import neighbors
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.output import write_frame
from subsel.engines.spark.parcels import PARCEL_SCHEMA, plain_errors
from subsel.engines.spark.points import SparkPoints, check_points, open_frame
from subsel.engines.spark.ranking import ROWS_PER_FILE, rank_subset, sum_up
from subsel.engines.spark.resume import go_on, run_once
from subsel.engines.spark.scoring import check_wished, decided, open_subset, places_of, stored_ids
from subsel.engines.spark.session import session_for
from subsel.engines.spark.wishes import check_counts, wishes_of
from subsel.errors import ConfigError, InputError
from subsel.objective import Score, expected_random
from subsel.parts import assemble, route
from subsel.parts.pack import Parcel, from_rows, unpack
from subsel.pipeline import run_bounding, run_pipeline
from subsel.plan import part_points
from subsel.report import FixedPointReport, GraphReport, InputReport, ObjectiveReport, Report
from subsel.request import Request
from subsel.results import BoundingResult
from subsel.run import Run, Tell
from subsel.rundir import RunDirectory
from subsel.schema import Status
from subsel.stages.base import T


class SparkStages:
    """Implements `subsel.stages.base.Stages` on a Spark session, which it neither stops nor reconfigures."""

    name = "spark"

    def __init__(self, spark: SparkSession, request: Request, run_id: str, rundir: RunDirectory | None = None) -> None:
        if request.data is None:
            raise ConfigError("on Spark data is needed, with a graph too: its ids say which points there are.")
        self.spark, self.run_id, self.rundir = spark, run_id, rundir
        self.data, self.user_graph = request.data, request.graph
        self.config, self.wishes = request.config, request.wishes
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
            check_counts(sizes, self.input.points, numbers, {status: ids for status, _, ids, _ in wishes})

    def _wished(self) -> list[tuple[Status, str, DataFrame, int | None]]:
        return wishes_of(self.spark, self.wishes, self.data, self.config)

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
        self._forget_size()
        scale = assemble.scale_of(self.shapes, self.config.alpha, self.config.similarity_weight)
        self.spark_engine = SparkEngine(
            self.assembled.where(F.col("kind") == assemble.GRAPH),
            self.parts,
            scale,
            finish_points=self.config.finish_points,
            run_id=self.run_id,
        )
        self.top = self.spark_engine.kth_place(k, (Status.UNDECIDED,))
        self._resumed = False
        for stage in ("certify", "refine", "greedy", "bounding"):
            if self.rundir and self.rundir.finished(stage):
                go_on(self.spark, self.rundir, self.spark_engine, stage)
                self._resumed = True
                break
        return self.spark_engine, FixedPointReport(fraction_bits=scale.fraction_bits, tie_bits=scale.tie_bits)

    def constrain(self, sizes: Sequence[int]) -> Constraints:
        """Decide the points that the user wants in or out."""
        engine = self.spark_engine
        assert engine is not None
        if not self.wishes:
            return Constraints()
        points = self._points_parcels()
        with plain_errors():
            members = {status: places_of(points, ids, n_ids, what) for status, what, ids, n_ids in self._wished()}
            places = {status: found for status, (found, _) in members.items()}
            numbers = {status: number for status, (_, number) in members.items()}
            found = check_counts(sizes, self.input.points, numbers, places)
            if not self._resumed:
                for status, place in places.items():
                    engine.adopt(decided(place, status))
                engine.step(hear_wishes)
        return found

    def once(self, stage: str, kind: type[T], drive: Callable[[], T], *, resumable: bool = True) -> T:
        """Run a stage's driver with its boards in the run directory, or return what it recorded."""
        if self.rundir is None or stage not in self.rundir.stages:
            return drive()
        assert self.spark_engine is not None
        return run_once(self.spark, self.rundir, self.spark_engine, stage, kind, drive, resumable=resumable)

    def expected_random(self, k: int) -> float:
        """Return the expectation of f over all subsets of k points."""
        utility, edges = (sum(shape[name] for shape in self.shapes) for name in ("utility_sum", "similarity_sum"))
        config = self.config
        return expected_random(self.input.points, k, utility, edges / 2, config.alpha, config.similarity_weight)

    def score(self, k: int) -> ObjectiveReport:
        """Compute the gains of the subset, rank it by a distributed sort, and sum up what it is compared with."""
        engine = self.spark_engine
        assert engine is not None
        id_type = "bigint" if "int" in self.input.id_type else "string"
        with plain_errors():
            before = len(self._persisted)
            self.ranked = rank_subset(engine, self._points_parcels(), k, id_type, self._keep)
            self._of_size = self._persisted[before:]
            totals = sum_up(engine, self.top)
        return ObjectiveReport(
            total=totals["utility"] - totals["similarity"],
            utility=totals["utility"],
            similarity=totals["similarity"],
            random=self.expected_random(k),
            top_utility=totals["top_utility"],
        )

    def write(self, report: Report, output: Path | None, *, overwrite: bool) -> None:
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
            files = -(-report.k // ROWS_PER_FILE)
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
            engine.adopt(decided(places_of(self._points_parcels(), ids, k, "the subset")[0], Status.SELECTED))
            totals = sum_up(engine, self.top)
        return Score(totals["utility"] - totals["similarity"], totals["utility"], totals["similarity"])

    def close(self) -> None:
        """Unpersist all that was persisted."""
        self._forget_size()
        for frame in self._persisted:
            frame.unpersist()
        self._persisted = []

    def _forget_size(self) -> None:
        """Let go of what was kept for one size: its engine and its ranked subset."""
        if self.spark_engine is not None:
            self.spark_engine.close()
        for frame in self._of_size:
            frame.unpersist()
            self._persisted.remove(frame)
        self._of_size = []

    def _points_parcels(self) -> DataFrame:
        return self.assembled.where(F.col("kind") == assemble.POINTS)

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


@contextmanager
def spark_stages(request: Request, run: Run, rundir: RunDirectory | None) -> Iterator[SparkStages]:
    """Yield stages in a session, and leave nothing of theirs in it."""
    with session_for(request.engine, request.master) as spark:
        stages = SparkStages(spark, request, run.id, rundir)
        try:
            yield stages
        finally:
            stages.close()


def select_on_spark(request: Request, run: Run, rundir: RunDirectory | None) -> list[Report]:
    """Run the pipeline in a Spark session and leave the session as it was.

    Raises:
        ConfigError: there is no output, or no data.
        InputError: the input is wrong; the message is the local engine's.
        OutputError: the subset could not be written.
    """
    if any(output is None for _, output in request.sizes):
        raise ConfigError("on Spark the subset is written, never collected: give an output.")
    with spark_stages(request, run, rundir) as stages:
        return run_pipeline(stages, request.sizes, run, overwrite=request.overwrite)


def build_graph(request: Request, run: Run, rundir: RunDirectory | None) -> GraphReport:
    """Run the pipeline's first two stages, into the run directory."""
    with spark_stages(request, run, rundir) as stages:
        return _with_graph(stages, run)


def bound_points(request: Request, run: Run, rundir: RunDirectory | None) -> BoundingResult:
    """Run the pipeline up to bounding, into the run directory; finished stages are taken over."""
    with spark_stages(request, run, rundir) as stages:
        with run.stage("read") as tell:
            points = stages.read(tell)
            k = resolve_size(request.config.size, points.points, points.name)
            stages.check_wishes([k])
        with run.stage("neighbors") as tell:
            stages.neighbors(tell)
            engine, scale = stages.engine(k)
            needed = k - stages.constrain([k]).included
        with run.stage("bounding"):
            resumable = request.config.bounding == "exact"
            drive = partial(run_bounding, engine, needed, request.config, scale.tie_bits)
            return stages.once("bounding", BoundingResult, drive, resumable=resumable)


def score_on_spark(request: Request, subsets: Sequence[Any], run: Run, rundir: RunDirectory | None) -> list[Score]:
    """Score subsets on a graph, given or in the run directory, in a Spark session."""
    with spark_stages(request, run, rundir) as stages:
        _with_graph(stages, run)
        with run.stage("score"):
            return [stages.score_ids(subset) for subset in subsets]


def _with_graph(stages: SparkStages, run: Run) -> GraphReport:
    with run.stage("read") as tell:
        stages.read(tell)
    with run.stage("neighbors") as tell:
        return stages.neighbors(tell)
