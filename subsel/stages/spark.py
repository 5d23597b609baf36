"""The stages on Spark: nothing of the size of the data or of the subset is ever on the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from subsel.audit import Room
from subsel.coverage import own_similarity
from subsel.embeddings.recipe import Search
from subsel.engines.base import Engine
from subsel.engines.replay import Replay
from subsel.engines.spark import neighbors
from subsel.engines.spark.alike import SparkAlike
from subsel.engines.spark.assembled import Assembled, utility_sums
from subsel.engines.spark.audit import Inside, audited
from subsel.engines.spark.copies import keep_lost, kept_lost, merge_on_spark, wished_again
from subsel.engines.spark.coverage import SparkCover
from subsel.engines.spark.covering import expected_cover, graph_to_select, most_itself
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.groups import group_classes
from subsel.engines.spark.held import Held
from subsel.engines.spark.ids import kept_kind
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.limits import capacity_on_spark, quotas_on_spark
from subsel.engines.spark.near import SparkNear
from subsel.engines.spark.neighbors import Assembling, Rules
from subsel.engines.spark.output import write_frame
from subsel.engines.spark.parcels import plain_errors
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.ranking import Summed, objective_of, rank_subset, top_of
from subsel.engines.spark.resume import go_on_last, keep_utilities, kept_utilities, run_once
from subsel.engines.spark.scoring import decided, places_of
from subsel.engines.spark.searched import Searched
from subsel.engines.spark.sketch import sketch_on_spark, tell_beside
from subsel.engines.spark.target import SparkTarget
from subsel.engines.spark.weighing import Weighing, adopt_wishes, outlier_marks
from subsel.engines.spark.wishes import Wished
from subsel.errors import ConfigError
from subsel.greedy.room import make_room
from subsel.input.utility import Utility
from subsel.input.wishes import Constraints
from subsel.limits.build import tables_checksum
from subsel.limits.capacity import Capacity
from subsel.limits.quotas import GroupTable
from subsel.objective import expected_random
from subsel.parts import assemble
from subsel.report import (
    AlikeReport,
    CoverageReport,
    FixedPointReport,
    GraphReport,
    InputReport,
    ObjectiveReport,
    Report,
    WeightsReport,
)
from subsel.request import Request
from subsel.run import Tell
from subsel.rundir import NEIGHBORS, RunDirectory
from subsel.schema import Status
from subsel.sketch import PointMap, Sketch
from subsel.sketching import Bins
from subsel.stages.base import T, asked_alike, settle_copies
from subsel.storage import Place
from subsel.weighing import mean_of


class SparkStages:
    """Implements `subsel.stages.base.Stages` on a Spark session, which it neither stops nor reconfigures."""

    name, old = "spark", None

    def __init__(self, spark: SparkSession, request: Request, run_id: str, rundir: RunDirectory | None = None) -> None:
        if request.data is None:
            raise ConfigError("on Spark data is needed, with a graph too: its ids say which points there are.")
        self.spark, self.run_id, self.rundir = spark, run_id, rundir
        self.data, self.user_graph, self.call = request.data, request.graph, request.call
        self.config, self.wishes = request.config, request.wishes
        self.inputs: SparkInputs
        self.points: SparkPoints
        self.graph: Assembled
        self.input: InputReport
        self.made: GraphReport
        self.weights: WeightsReport
        self.utilities: DataFrame | None = None
        self.totals: dict[str, Any]
        self.map: PointMap | None = None
        self.wished: Mapping[Status, Wished] = {}
        self.near, self.target = SparkNear(spark, request.wishes.near), SparkTarget(spark, request.target)
        self.members: dict[Status, tuple[DataFrame, int]] = {}
        self.tables: Sequence[GroupTable] = ()
        self.spark_engine: SparkEngine | None = None
        self.lost: DataFrame | None = None
        self.held, self.held_for_size = Held(), Held()

    @property
    def n(self) -> int:
        """Points that are selected from: all that differ, or those that were drawn."""
        return self.made.drawn or self.input.distinct

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
            if done is None:
                self.points = self.inputs.with_groups(self.points)
            mark = self.target.read(self.inputs, self._dimension(done))
            if self.rundir is not None:
                self.rundir.identify(target=mark)
        self.input = self.inputs.report(self.points) if done is None else InputReport.model_validate(done["input"])
        return self.input

    def _dimension(self, done: dict[str, Any] | None) -> int | None:
        return done["graph"]["dimension"] if done else self.points.dimension or None

    def _identify(self, data: Any) -> None:
        """Say what the run directory's run is of, before anything long."""
        assert self.rundir is not None
        self.rundir.identify(engine=self.name, input=data, graph=self.inputs.identity_of_graph(), utility=None)
        self.rundir.identify(quotas=tables_checksum(self.config, partial(quotas_on_spark, self.spark)))

    def check_wishes(self, sizes: Sequence[int]) -> None:
        """Look up the ids that the user wants in or out; where the graph is there `constrain` comes right after."""
        with plain_errors():
            self.wished = self.inputs.wished(self.input.dropped_rows)
            done = self.rundir.finished("graph") if self.rundir else None
            near = self.near.read(self.inputs, self._dimension(done))
            if self.rundir is not None:
                marks = {one.what: one.checksum() for one in self.wished.values()}
                self.rundir.identify(**{"include": None, "exclude": None} | marks, exclude_near=near)
            if self.wished and done is None:
                self.inputs.check_wished(self.wished, sizes, self.points)

    def merge(self, tell: Tell, sizes: Sequence[int]) -> InputReport:
        """Merge points of equal vectors, if they are to be; a run directory with a graph has who was."""
        if self.config.copies == "keep" or self.inputs.edges is not None:
            return self.input
        rundir, id_type = self.rundir, self.inputs.id_type
        with plain_errors():
            if rundir is not None and rundir.finished("graph") is not None:
                if self.input.copies:
                    self.lost = kept_lost(self.spark, rundir, id_type)
                    self.wished = wished_again(self.wished, self.lost, id_type)
                return self.input
            tell("copies", 0)
            keep = self.held.write_down if rundir is None else partial(keep_lost, self.spark, rundir, id_type)
            classes = group_classes if self.config.groups else None
            found = merge_on_spark(self.points, Rules.of(self.points, self.config), self.wished, keep, classes)
            self.points, self.wished, self.lost = found.points, found.wished, found.lost
            self.input = settle_copies(self.input, found.count, found.wishful, sizes)
            if rundir is not None:
                rundir.include_matters |= found.wishful.kept > 0
            if found.count and self.wished:
                self.inputs.check_wished(self.wished, sizes, self.points)
        return self.input

    def leave_near(self, tell: Tell, sizes: Sequence[int]) -> None:
        """Find points that are near the reference, if there is one; they are excluded with those that wishes name."""
        points = None if self.rundir and self.rundir.finished("graph") else self.points
        with plain_errors():
            self.near.find(self.inputs, self.input, points, self.wished, sizes, self.held.write_down, tell)

    def neighbors(self, tell: Tell, k: int | None) -> GraphReport:
        """Route, search, merge and assemble, or spread the user's edges; persist what comes out."""
        done = self.rundir.finished("graph") if self.rundir else None
        if done is not None:
            assert self.rundir is not None
            self.made = GraphReport.model_validate(done["graph"])
            self.graph = Assembled.kept(self.spark, self.rundir, self.made.parts)
            self.target.load(self.rundir, self.made, self.config)
            return self.made
        config = self.config
        how, count = Search.of(config, self.points.n, k), config.drawn(self.points.n, k)
        with plain_errors():
            if count is not None:
                tell("drawing", 0)
                among = self.points, count, k or 0, self.input.cost, self.wished.get(Status.INCLUDED)
                self.points = self.inputs.draw(*among, self.held.write_down)
            elif self.input.copies:
                self.points = self.inputs.sample(self.points)
            searched = None if self.rundir is None else Searched(self.spark, self.rundir, self.run_id)
            about = self.points, self.inputs.edges, how, config, None if self.target.alone else searched
            found = neighbors.assembling(*about, lambda what: tell(what, 0), alone=self.target.alone)
            self._assemble(found)
            drawn = None if count is None else self.points.n
            made = neighbors.describe(self.graph, self.points, how, found, drawn=drawn)
            keep, parcels = self.held.write_down, self.graph.points
            self.made = self.target.find(self.points, parcels, made, how.neighbors, config, keep, self.rundir)
        if self.rundir is not None:
            self.rundir.finish("graph", {"input": self.input.model_dump(), "graph": self.made.model_dump()})
            self.rundir.begin(NEIGHBORS)
        return self.made

    def _assemble(self, found: Assembling) -> None:
        """Compute the graph and keep it: in the run directory if there is one.

        Raises:
            InputError: its points are not those that were checked.
        """
        about = self.points.groups, self.spark, self.rundir, self.held, self.config, found.parts
        self.graph = Assembled.of(found.frame, *about, about=(self.points.n, found.half_edges))
        assemble.check_unchanged(self.graph.shapes, self.points.n, self.points.code_sum, self.points.name)

    def weigh(self, tell: Tell, k: int | None, most: int | None) -> WeightsReport:
        """Make utilities in the parts, find outliers, and say what utility and similarity weigh."""
        tell("utilities", 0)
        done = None if self.rundir is None else self.rundir.finished("utility")
        with plain_errors():
            if done is not None and self.rundir is not None:
                self.weights = WeightsReport.model_validate(done)
                self.utilities = kept_utilities(self.spark, self.rundir)
            else:
                self._weigh(k, most)
            self.utility_sum, self.range = utility_sums(self.graph.shapes, self.utilities)
            self._bins = Bins.over(*self.range[:2], self.graph.largest)
        return self.weights

    def _weigh(self, k: int | None, most: int | None) -> None:
        config, utility = self.config, Utility.of(self.config, self.inputs.source.schema.names)
        if self.wishes and (config.weights is None or config.exclude_outliers or utility.ranked):
            self._find_members()
        told = utility.warning(k, self.input.points)
        about = self.members, self.held.keep, self.near.count
        weighing = Weighing(self.graph.frame, self.graph.parts, utility, config, *about)
        total, count = self.graph.total("similarity"), self.graph.total("half_edges")
        with closing(weighing):
            found = weighing.run(self.n, mean_of(total, count), self.made.neighbors, k=k, most=most, warning=told)
        self.weights, self.utilities = found.report, found.utilities
        if self.rundir is not None and "utility" in self.rundir.stages:
            keep_utilities(self.rundir, self.weights, self.utilities)

    def _find_members(self) -> None:
        """Look up where the points are that the user wants in or out."""
        if not self.members:
            points = self.graph.points
            for status, one in self.wished.items():
                all_there = self.made.drawn is None or status == Status.INCLUDED  # whoever is included was drawn
                self.members[status] = places_of(points, one.ids, one.count if all_there else None, one.what)
            self.near.place(points, self.members, self.config)

    def engine(self, k: int) -> tuple[SparkEngine, FixedPointReport]:
        """Persist the graph by part, start the boards, and note where the top k by utility end."""
        self._forget_size()
        own = most_itself(self.graph.shapes, self._own_similarity()) if self.config.covers else None
        origin = self.config.origin(self.range[0])
        scale = assemble.scale_of(self.graph.shapes, self.weights, self.range, origin, own, self.target.span())
        graph = graph_to_select(self.graph.frame, self.utilities, own, self.graph.parts)
        about = self.graph.parts, scale, self.config, self.n, self.made, self.run_id, self.held_for_size.keep
        self.spark_engine = self.target.engine(graph, *about, recorded=self.rundir is not None)
        self.top, self.top_points = top_of(self.spark_engine, k), k if self.weights.alpha else 0
        self._resumed = self.rundir is not None and go_on_last(self.spark, self.rundir, self.spark_engine)
        self.replay = Replay(self.spark_engine)
        return self.spark_engine, FixedPointReport.of(scale)

    def constrain(self, sizes: Sequence[int]) -> Constraints:
        """Decide the points that the user wants in or out."""
        engine = self.spark_engine
        assert engine is not None
        outliers = self.weights.outliers
        if not self.wishes and not outliers:
            return Constraints()
        with plain_errors():
            self._find_members()
            found = replace(self.near.check(sizes, self.n, self.members), outliers=outliers)
            if not self._resumed:
                places = {status: found for status, (found, _) in self.members.items()}
                adopt_wishes(engine, places, self.utilities if outliers else None)
        return found

    def capacity(self, size: int | None) -> Capacity:
        """Return the limits, made of what is not excluded."""
        with plain_errors():
            out = self.members.get(Status.EXCLUDED)
            marks = [] if out is None else [decided(out[0], Status.EXCLUDED)]
            marks += [outlier_marks(one) for one in [self.utilities] if one is not None and self.weights.outliers]
            about = self.graph.points, self.graph.groups, self.graph.parts, marks, self.input, self.made
            found, self.tables = capacity_on_spark(self.spark, self.config, size, *about)
        return found

    def part_alike(self) -> AlikeReport | None:
        """Compare members by their vectors, which are read again."""
        if not self.made.dimension:
            return None
        assert self.spark_engine is not None
        about = self.spark_engine, self.graph.points, kept_kind(self.inputs.id_type), self.config, self.made
        with plain_errors(), closing(SparkAlike(*about, self.inputs.all_vectors(self.input.dropped_rows))) as alike:
            return asked_alike(self.replay, lambda: alike.part(make_room))

    def once(self, stage: str, kind: type[T], drive: Callable[[Engine], T]) -> T:
        """Run a stage's driver with its boards in the run directory, or return what it recorded."""
        return run_once(self.spark, self.rundir, self.replay, stage, kind, drive)

    def expected_random(self, k: int) -> float:
        """Return the expectation of f over all subsets of k points."""
        if self.config.covers:
            return expected_cover(self.spark_engine, self.n, k)
        edges, weights = self.graph.total("similarity_sum") / 2, self.weights
        return expected_random(self.n, k, self.utility_sum, edges, weights.alpha, weights.beta)

    def score(self, k: int, random: float, page: Room | None = None) -> ObjectiveReport:
        """Compute the gains of the subset, rank it by a distributed sort, and sum up what it is compared with."""
        assert self.spark_engine is not None
        alone = page if not self.weights.outliers and self.near.ids is None else None
        with plain_errors():
            beside = tell_beside(alone, self._bins, k, examples=self.config.examples)
            about = self.summed(k), self.graph.points, kept_kind(self.inputs.id_type), self.held_for_size.keep
            self.ranked, self.totals, self.told = rank_subset(self.spark_engine, *about, beside)
        return objective_of(self.totals, random, with_top=k == self.top_points)

    def cover(self, k: int, *, mapped: bool) -> CoverageReport:
        """Measure coverage and redundancy of the subset on the boards, and map points."""
        assert self.spark_engine is not None
        graph = self.totals["coverage"], self.totals["random_coverage"]
        if self.target.edges is not None:
            return CoverageReport(sample=0, graph=graph[0], random_graph=graph[1])
        with plain_errors():
            ids, rows = kept_kind(self.inputs.id_type), self.inputs.vectors(self.input.dropped_rows)
            about = self.spark_engine, self.graph.points, ids, rows, self.config
            cover = SparkCover(*about, n=self.n, k=k, mapped=mapped)
            found, self.map = cover.report(*graph, self.weights, self.made.dimension), cover.map
            return found

    def keep_room(self, room: Room) -> None:
        """Note in the run directory what limits have left."""
        if self.rundir is not None:
            self.rundir.keep_room(room.to_json())

    def audit(self, report: Report, room: Room, place: Place, *, overwrite: bool) -> Report:
        """Judge all points in their parts, and write what comes of it."""
        assert self.spark_engine is not None
        with plain_errors():
            about = self.spark_engine, self._inside(), self.inputs, self.lost, self.near.ids, room
            rows, counts = audited(*about, self.held_for_size.keep, inside_points=self.n, points=self.input.points)
            report = report.model_copy(update={"audit": counts})
            write_frame(rows, report, place, overwrite=overwrite)
        return report

    def _inside(self) -> Inside:
        outliers = self.utilities if self.weights.outliers else None
        return Inside(self.graph.points, outliers, self.graph.groups, self.ranked)

    def has_pages(self, output: Place | None) -> bool:
        """Return whether a report has a place: a subset is always a folder here."""
        return output is not None

    def sketch(self, report: Report, room: Room) -> Sketch:
        """Count what is drawn in the parts; what is collected does not grow with points or members."""
        assert self.spark_engine is not None
        with plain_errors():
            about = self.spark_engine, self._inside(), self.inputs, self.near.ids, room, report
            found = sketch_on_spark(*about, self._bins, self.told)
        return found.model_copy(update={"call": self.call, "map": self.map})

    def write(self, report: Report, output: Place | None, pages: Mapping[str, str], *, overwrite: bool) -> None:
        """Join the kept columns back and write, in rank order."""
        if output is None:
            raise ConfigError("on Spark the subset is written, never collected: give an output.")
        with plain_errors():
            rows = self.inputs.subset(self.ranked, report.k, self.input.dropped_rows)
            write_frame(rows, report, output, overwrite=overwrite, pages=pages)
        if self.rundir is not None:
            self.rundir.keep_pages(pages)

    def summed(self, k: int) -> Summed:
        """Return what totals of k points are summed up over."""
        return Summed(self.top, self.n, k, self._own_similarity(), self.target.count or self.n)

    def close(self) -> None:
        """Unpersist all that was persisted."""
        self._forget_size()
        self.held.close()

    def _forget_size(self) -> None:
        """Let go of what was kept for one size: its engine and its ranked subset."""
        if self.spark_engine is not None:
            self.spark_engine.close()
        self.held_for_size.close()

    def _own_similarity(self) -> float:
        return own_similarity(self.config.metric, self.graph.largest, searched=self.inputs.edges is None)
