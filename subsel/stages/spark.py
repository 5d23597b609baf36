"""The stages on Spark: nothing of the size of the data or of the subset is ever on the driver. And these as jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.board import hear_wishes
from subsel.config import resolve_size
from subsel.engines.spark import neighbors
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.ids import given, kept_kind
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.output import read_rows, write_frame, write_rows
from subsel.engines.spark.parcels import PARCEL_SCHEMA, plain_errors
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.ranking import ROWS_PER_FILE, rank_subset, sum_up
from subsel.engines.spark.resume import go_on, run_once
from subsel.engines.spark.scoring import decided, places_of
from subsel.engines.spark.searched import Searched
from subsel.engines.spark.session import session_for
from subsel.engines.spark.source import col
from subsel.engines.spark.storage import place_in
from subsel.engines.spark.wishes import check_counts, subset_on_spark
from subsel.errors import ConfigError, InputError, option
from subsel.input.wishes import Constraints
from subsel.objective import Score, expected_random
from subsel.parts import assemble, route
from subsel.parts.pack import Parcel, from_rows, unpack
from subsel.pipeline import run_bounding, run_pipeline
from subsel.plan import part_points
from subsel.report import FixedPointReport, GraphReport, InputReport, ObjectiveReport, Report
from subsel.request import Places, Request, places_for
from subsel.results import BoundingResult
from subsel.run import Run, Tell
from subsel.rundir import NEIGHBORS, STAGES, RunDirectory, open_run
from subsel.schema import Status
from subsel.stages.base import T
from subsel.storage import Place


class SparkStages:
    """Implements `subsel.stages.base.Stages` on a Spark session, which it neither stops nor reconfigures."""

    name = "spark"

    def __init__(self, spark: SparkSession, request: Request, run_id: str, rundir: RunDirectory | None = None) -> None:
        if request.data is None:
            raise ConfigError("on Spark data is needed, with a graph too: its ids say which points there are.")
        self.spark, self.run_id, self.rundir = spark, run_id, rundir
        self.data, self.user_graph = request.data, request.graph
        self.config, self.wishes = request.config, request.wishes
        self.inputs: SparkInputs
        self.points: SparkPoints
        self.input: InputReport
        self.parts = 1
        self.spark_engine: SparkEngine | None = None
        self._persisted: list[DataFrame] = []
        self._of_size: list[DataFrame] = []

    def read(self, tell: Tell) -> InputReport:
        """Check every row in one scan, and draw the samples that parts and recall need; unless that is done."""
        tell("opening", 0)
        with plain_errors():
            self.inputs = SparkInputs(self.spark, self.data, self.user_graph, self.config, self.wishes)
            self.config = self.inputs.config
            identity = self.inputs.source.identity()
            with_content = self.rundir is not None and identity is None
            if self.rundir is not None and identity is not None:
                self._identify(identity)
            done = self.rundir.finished("graph") if self.rundir else None
            if done is None or with_content:
                tell("checking rows", 0)
                self.points = self.inputs.check(with_content=with_content)
            if self.rundir is not None and with_content:
                self._identify(self.points.content)
                done = self.rundir.finished("graph")
        if done is not None:
            self.input = InputReport.model_validate(done["input"])
            return self.input
        self.part_points = part_points(self.points.dimension, self.config)
        self.input = InputReport(
            name=self.points.name,
            points=self.points.n,
            id_type=str(self.points.columns.id_type),
            utility=self.points.columns.utility_source,
            dropped_rows=self.points.dropped,
        )
        return self.input

    def _identify(self, data: Any) -> None:
        """Say what the run directory's run is of, before anything long."""
        assert self.rundir is not None
        self.rundir.identify(engine=self.name, input=data, graph=self.inputs.identity_of_graph(), utility=None)

    def check_wishes(self, sizes: Sequence[int]) -> None:
        """Look up the ids that the user wants in or out; where the graph is there `constrain` comes right after."""
        with plain_errors():
            self.wished = self.inputs.wished(self.input.dropped_rows)
            if self.rundir is not None:
                names = {status: one.checksum() for status, one in self.wished.items()}
                self.rundir.identify(include=names.get(Status.INCLUDED), exclude=names.get(Status.EXCLUDED))
            if self.wished and not (self.rundir and self.rundir.finished("graph")):
                self.inputs.check_wished(self.wished, sizes, self.points)

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
        dropped: dict[str, int] = {}
        with plain_errors():
            if self.inputs.edges is None:
                tell("k-means", 0)
                part_map = route.PartMap.plan(points.sample, points.n, self.part_points, config)
                self.parts, cells = part_map.parts, len(part_map.quantizer.centroids)
                tell(f"{self.parts} parts", 0)
                searched = None if self.rundir is None else Searched(self.spark, self.rundir, self.run_id)
                assembled = neighbors.assembled_from_embeddings(points, part_map, config, searched)
            else:
                self.parts = max(1, -(-points.n // self.part_points))
                tell(f"{self.parts} parts", 0)
                assembled, dropped = neighbors.assembled_from_edges(points, self.inputs.edges, self.parts, config)
            self._assemble(assembled)
        half_edges = sum(shape["half_edges"] for shape in self.shapes)
        found = self.inputs.edges is None
        report = GraphReport(
            source="embeddings" if found else "given",
            edges=int(half_edges) // 2,
            mean_degree=round(half_edges / points.n, 2),
            max_degree=int(max(shape["max_degree"] for shape in self.shapes)),
            dropped_edges=dropped,
            parts=self.parts,
            neighbors=config.neighbors if found else None,
            dimension=points.dimension if found else None,
            cells=cells,
            recall=self._recall() if found and len(points.asked_code) else None,
        )
        if self.rundir is not None:
            self.rundir.finish("graph", {"input": self.input.model_dump(), "graph": report.model_dump()})
            self.rundir.begin(NEIGHBORS)
        return report

    def _assemble(self, assembled: DataFrame) -> None:
        """Compute the graph and keep it: in the run directory if there is one.

        Raises:
            InputError: its points are not those that were checked.
        """
        if self.rundir is None:
            self.assembled = self._keep(assembled)
            self._read_shapes()
        else:
            held = self._keep(assembled)
            graph, ids = self.rundir.begin("graph", "points")
            write_rows(held.where(F.col("kind") != assemble.POINTS), graph)
            write_rows(held.where(F.col("kind") == assemble.POINTS), ids)
            held.unpersist()
            self._load()
        points, found = self.points, sum(int(shape["points"]) for shape in self.shapes)
        code_sum = sum(int(shape["code_sum"]) for shape in self.shapes) % assemble.CODE_SUM
        if found != points.n or (points.code_sum is not None and points.code_sum != code_sum):
            raise InputError(f"{points.name}: {assemble.CHANGED}")

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
            members = {status: places_of(points, one.ids, one.count, one.what) for status, one in self.wished.items()}
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
        with plain_errors():
            before = len(self._persisted)
            self.ranked = rank_subset(engine, self._points_parcels(), k, kept_kind(self.inputs.id_type), self._keep)
            self._of_size = self._persisted[before:]
            totals = sum_up(engine, self.top)
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
        ranked, id_column = self.ranked, self.config.id_column or schema.ID
        type_in = self.inputs.source.frame.schema[id_column].dataType
        ranked = ranked.withColumn(schema.ID, given(F.col(schema.ID), self.inputs.id_type, type_in))
        with plain_errors():
            if self.config.keep_columns:
                names = [col(name) for name in self.config.keep_columns]
                rows = self.inputs.rows(self.input.dropped_rows).select(col(id_column).alias(schema.ID), *names)
                files = -(-report.k // ROWS_PER_FILE)
                ranked = ranked.join(rows, schema.ID).repartitionByRange(files, schema.RANK)
                ranked = ranked.sortWithinPartitions(schema.RANK)
            write_frame(ranked, report, output, overwrite=overwrite)

    def score_ids(self, subset: Any) -> Score:
        """Return f of a subset: a Parquet path or DataFrame with an id column.

        Raises:
            InputError: it cannot be read, or its ids are null, repeated, unknown or of another type.
        """
        with plain_errors():
            found = subset_on_spark(self.spark, subset, self.config, self.inputs.id_type)
            k = found.count
            if not k:
                raise InputError("the subset is empty: there is nothing to score.")
            if k > self.input.points:
                raise InputError(f"the subset has {k:,} ids, the input {self.input.points:,}: some are unknown.")
            engine, _ = self.engine(k)
            members, _ = places_of(self._points_parcels(), found.ids, k, found.what)
            engine.adopt(decided(members, Status.SELECTED))
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
        folders = (self.rundir.place.join(name) for name in ("graph", "points"))
        self.assembled = read_rows(self.spark, PARCEL_SCHEMA, *folders)
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
def spark_stages(
    request: Request, run: Run, *, resume: bool, stages: Iterable[str]
) -> Iterator[tuple[SparkStages, Places]]:
    """Yield stages in a session and where results go, and leave nothing of theirs in the session.

    Args:
        request: what is asked for.
        run: of it.
        resume: whether the run directory may have some stages already.
        stages: those that the run is about.
    """
    with session_for(request.engine, request.master) as spark, plain_errors():
        places = places_for(request, partial(place_in, spark))
        with open_run(places.run_dir, request.config, run.id, resume=resume, stages=stages) as rundir:
            found = SparkStages(spark, request, run.id, rundir)
            try:
                yield found, places
            finally:
                found.close()


def select_on_spark(request: Request, run: Run) -> list[tuple[Report, Place | None]]:
    """Run the pipeline in a Spark session and leave the session as it was; return each size's report and place.

    Raises:
        ConfigError: there is no output, or no data.
        InputError: the input is wrong; the message is the local engine's.
        OutputError: the subset could not be written.
    """
    if request.output is None:
        raise ConfigError(f"on Spark the subset is written, never collected: give an {option('output')}.")
    with spark_stages(request, run, resume=request.resume, stages=request.stages) as (stages, places):
        wanted = [(config, place) for (config, _), place in zip(request.sizes, places.outputs, strict=True)]
        reports = run_pipeline(stages, wanted, run, overwrite=request.overwrite)
    return list(zip(reports, places.outputs, strict=True))


def build_graph(request: Request, run: Run) -> GraphReport:
    """Run the pipeline's first two stages, into the run directory."""
    with spark_stages(request, run, resume=True, stages=["graph"]) as (stages, _):
        return _with_graph(stages, run)


def bound_points(request: Request, run: Run) -> BoundingResult:
    """Run the pipeline up to bounding, into the run directory; finished stages are taken over."""
    with spark_stages(request, run, resume=True, stages=STAGES) as (stages, _):
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


def score_on_spark(request: Request, subsets: Sequence[Any], run: Run) -> list[Score]:
    """Score subsets on a graph, given or in the run directory, in a Spark session."""
    with spark_stages(request, run, resume=True, stages=["graph"]) as (stages, _):
        _with_graph(stages, run)
        with run.stage("score"):
            return [stages.score_ids(subset) for subset in subsets]


def _with_graph(stages: SparkStages, run: Run) -> GraphReport:
    with run.stage("read") as tell:
        stages.read(tell)
    with run.stage("neighbors") as tell:
        return stages.neighbors(tell)
