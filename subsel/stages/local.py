"""The stages on one machine: one matrix, one graph, one part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel import objective, output, schema
from subsel.audit import Room
from subsel.board import hear_wishes
from subsel.embeddings.recipe import Search
from subsel.engines.base import Engine
from subsel.engines.local import LocalEngine
from subsel.engines.replay import Replay
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph, PartGraph
from subsel.input.edges import COLUMNS, KnownPoints, as_neighbor_graph, is_edges
from subsel.input.given import with_given
from subsel.input.near import mark_of
from subsel.input.points import Points, given_utility, read_points
from subsel.input.reference import NEAR, ReferenceRows, target_mark
from subsel.input.rows import may_be_read
from subsel.input.source import Source, open_source, require_columns
from subsel.input.taking import kept_columns
from subsel.input.utility import Utility
from subsel.input.wishes import Constraints
from subsel.limits.capacity import Capacity
from subsel.limits.quotas import GroupTable
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
from subsel.rundir import RunDirectory
from subsel.schema import Status
from subsel.selection import Chosen
from subsel.sketch import PointMap, Sketch
from subsel.stages.alike import part_alike
from subsel.stages.audited import Everyone, audit_table
from subsel.stages.base import T, asked_alike, settle_copies
from subsel.stages.covered import cover_here, graph_coverage
from subsel.stages.kept import KeptRun
from subsel.stages.limited import capacity_here, drawn_here
from subsel.stages.merged import merge_here
from subsel.stages.near import find_near, leave_out, read_reference
from subsel.stages.one_part import points_of_graph, whole_part
from subsel.stages.ranked import expected_here, objective_here, ranked_table, score_here
from subsel.stages.sketched import sketch_here
from subsel.stages.target import read_target, search_here
from subsel.stages.warm import mark_of_old, nodes_of_old, read_old
from subsel.stages.weighed import weigh_here
from subsel.stages.wished import find_wishes, nodes_of_subset
from subsel.storage import Place
from subsel.weighing import needs_graph


class LocalStages:
    """Implements `subsel.stages.base.Stages` in this process' memory.

    Args:
        request: what is asked for.
        rundir: where finished stages are kept, if anywhere.
    """

    name = "local"

    def __init__(self, request: Request, rundir: RunDirectory | None = None) -> None:
        self.data, self.user_graph, self.storage_options = request.data, request.graph, request.storage_options
        self.given_target, importance = request.target, request.importance
        self.given_columns = request.cost, request.groups, importance if request.target is None else None
        self.given_importance, self.own_columns = importance, request.kept_config
        self.tables: Sequence[GroupTable] = ()
        self.utility, self.config, self.wishes = request.utility, request.config, request.wishes
        self.kept = None if rundir is None else KeptRun(rundir)
        self.asked_audit, self.call, self.warm_start = request.audit is not None, request.call, request.warm_start
        self.everyone: Everyone | None = None
        self.source: Source
        self.points: Points
        self.graph: NeighborGraph
        self.wished: dict[Status, Int64Array] = {}
        self.reference: ReferenceRows | None = None
        self.target: ReferenceRows | None = None
        self.target_edges: pa.Table | None = None
        self.near: Int64Array = np.empty(0, np.int64)
        self.input: InputReport
        self.utilities: npt.NDArray[np.float64]
        self.outlier: npt.NDArray[np.bool_]
        self.weights: WeightsReport
        self.ranked: Int64Array
        self.dropped_edges: dict[str, int] = {}
        self.part: PartGraph
        self.local: LocalEngine
        self.replay: Replay
        self.table: pa.Table
        self.map: PointMap | None = None
        self.old: Callable[[], Int64Array] | None = None
        self.written: Callable[[Chosen], None] = lambda chosen: None

    def read(self, tell: Tell) -> InputReport:
        """Read points, and a target if there is one; what a run directory has is not read again."""
        found = self._read(tell)
        about = self.source, self.points, self.config, self.storage_options, self._made_before
        self.target = read_target(self.given_target, self.given_importance, *about)
        if self.kept is not None:
            mark = self.target and target_mark(self.target, needs_graph(self.points.made_of, self.config))
            self.kept.rundir.identify(target=mark)
        return found

    @property
    def _made_before(self) -> GraphReport | None:
        """How the graph was made that the run directory has, if it has one."""
        return self.kept.graph_report() if self.kept is not None and self.kept.has_graph else None

    def _read(self, tell: Tell) -> InputReport:
        """Read points; with a graph, only ids and utilities."""
        wanted = may_be_read(self.own_columns, self.wishes.columns())
        edges = self.user_graph is not None and is_edges(self.user_graph)
        given = self.user_graph
        if edges:
            self.user_graph = given = open_source(self.user_graph, wanted, self.config, self.storage_options, "graph")
            require_columns(given, COLUMNS)
        if self.data is None:
            self.data, self.user_graph, self.dropped_edges = points_of_graph(self.user_graph, self.config)
        source = open_source(self.data, wanted, self.config, self.storage_options)
        self.source, self.config = with_given(source, self.config, *self.given_columns, self.data)
        utility, about = self._given_utility(), (self.source, self.config, self.storage_options)
        if self.kept is not None and self.source.identity() is not None:
            self.kept.identify(self.source.identity(), given, utility, *about)
            if self.kept.has_graph:
                return self._take_kept()
        self.points = self._read_points(lambda share: tell("rows", share))
        if self.asked_audit:
            self.everyone = Everyone.of(self.points)
        if self.kept is not None and self.source.identity() is None:
            self.kept.identify(self.points.checksum(), given, utility, *about)
            if self.kept.has_graph:
                return self._take_kept()
        self.input = self.points.report()
        return self.input

    def _read_points(self, progress: Callable[[float], None]) -> Points:
        return read_points(
            self.source,
            self.config,
            with_embeddings=self.user_graph is None,
            utility=self._given_utility(),
            wishes=self.wishes.columns(),
            progress=progress,
        )

    def _given_utility(self) -> npt.NDArray[np.float64] | None:
        return None if self.utility is None else given_utility(self.utility, self.data)

    def _take_kept(self) -> InputReport:
        assert self.kept is not None
        name = self.config.id_column
        id_type = pa.int64() if name is None else self.source.schema.field(name).type
        made_of = Utility.of(self.config, self.source.schema.names, given=self.utility is not None)
        self.points, self.graph, self.input = self.kept.graph(id_type, made_of)
        return self.input

    def neighbors(self, tell: Tell, k: int | None) -> GraphReport:
        """Search neighbours, or take the user's graph, or the run directory's."""
        if self.kept is not None and self.kept.has_graph:
            self.made, self.target_edges = self.kept.graph_report(), self.kept.target()
            return self.made
        if self.user_graph is not None:
            tell("checking edges", 0)
            points = self.points
            known = KnownPoints(points.ids, points.id_type, points.rows, points.source_rows)
            found = as_neighbor_graph(self.user_graph, known, self.config)
            self.graph = found.graph
            self.made = self.graph.report().model_copy(update={"dropped_edges": found.dropped | self.dropped_edges})
        else:
            self.made = self._search(tell, k)
        if self.kept is not None:
            self.kept.keep_graph(self.points, self.graph, self.input, self.made, self.target_edges)
        return self.made

    def _search(self, tell: Tell, k: int | None) -> GraphReport:
        """Search the neighbours of all points, or of those that are drawn first.

        Raises:
            InputError: as many neighbours as follow from the size do not fit into memory.
        """
        config, drawn = self.config, None
        how, count = Search.of(config, self.points.n, k), config.drawn(self.points.n, k)
        if count is not None:
            assert k is not None
            self._draw(count, k)
            drawn = self.points.n
        self.graph, made, self.target_edges = search_here(self.points, self.target, how, config, tell)
        return made.model_copy(update={"drawn": drawn})

    def _draw(self, count: int, k: int) -> None:
        """Go on with so many points, drawn by a hash of their ids, and with those that are included."""
        drawn = drawn_here(self.points, self.config, count, k, self.input, self.storage_options)
        drawn[self.wished.get(Status.INCLUDED, [])] = True
        number = np.cumsum(drawn) - 1
        self.points.keep(drawn)
        self.wished = {status: number[wish[drawn[wish]]] for status, wish in self.wished.items()}
        self.near = number[self.near[drawn[self.near]]]

    def weigh(self, tell: Tell, k: int | None, most: int | None) -> WeightsReport:
        """Make utilities in node order, find outliers, and say what utility and similarity weigh."""
        kept = None if self.kept is None else self.kept.weights()
        if kept is not None:
            self.weights, self.utilities, self.outlier = kept
            return self.weights
        tell("utilities", 0)
        node = np.argsort(self.graph.rows)
        wished = {status: node[points] for status, points in self.wished.items()}
        told = self.points.made_of.warning(k, self.input.points)
        about = self.points, self.graph, self.made.neighbors, self.config, wished
        found = weigh_here(*about, k=k, most=most, warning=told, near=len(self.near))
        self.weights, self.utilities, self.outlier = found
        if self.kept is not None:
            self.kept.keep_weights(*found)
        return self.weights

    def engine(self, k: int) -> tuple[LocalEngine, FixedPointReport]:
        """Make the whole graph one part, with the last board of the run directory, if that has one."""
        about = self.graph, self.points, self.utilities, self.weights, self.config
        self.part = whole_part(*about, self.made, self.target_edges)
        board = None if self.kept is None else self.kept.last_board()
        self._resumed = board is not None
        self.top_points = k
        self.local = LocalEngine(self.part, board, steps=self.kept is not None)
        self.replay = Replay(self.local)
        return self.local, FixedPointReport.of(self.part.fixed_point)

    def check_wishes(self, sizes: Sequence[int]) -> None:
        """Find the points that the user wants in or out."""
        made = self._made_before
        about = self.wishes, self.source, self.points, self.config, self.storage_options
        found = find_wishes(*about, drawn=made is not None and made.drawn is not None)
        self.wished = found.places
        for k in self._least(sizes):
            self._constraints().check(self.points.n, k, found.both, found.example)
        self.reference = read_reference(NEAR, self.wishes.near, *about[1:], made)
        if (old := read_old(self.warm_start, *about[2:])) is not None:
            self.old = lambda: nodes_of_old(old, self.points, self.graph)
        if self.kept is not None:
            near = self.reference and mark_of(self.reference, self.config)
            self.kept.rundir.identify(**found.marks, **mark_of_old(old), exclude_near=near)

    def merge(self, tell: Tell, sizes: Sequence[int]) -> InputReport:
        """Merge points of equal vectors, if they are to be and no finished stage has."""
        given = self.user_graph is not None or (self.kept is not None and self.kept.has_graph)
        if given or self.config.copies == "keep":
            return self.input
        tell("copies", 0)
        before = self.points.n
        self.wished, wishful = merge_here(self.points, self.config.metric, self.wished, self.points.classes())
        if self.kept is not None:
            self.kept.rundir.include_matters |= wishful.kept > 0
        self.input = settle_copies(self.input, before - self.points.n, wishful, sizes)
        for k in self._least(sizes):
            self._constraints().check(self.points.n, k, 0, None)
        return self.input

    def leave_near(self, tell: Tell, sizes: Sequence[int]) -> None:
        """Exclude points that are near the reference, if there is one."""
        if self.reference is None:
            return
        about = self.reference, self.source, self.points, self.config
        found = find_near(*about, given=self.user_graph is not None, tell=tell)
        self.wished, self.near = leave_out(found, self.wished, self.config, self.input.name)
        for k in self._least(sizes):
            self._constraints().check(self.points.n, k, 0, None)

    def _constraints(self) -> Constraints:
        """Return how many points are wished in and out."""
        included, out = (len(self.wished.get(status, [])) for status in (Status.INCLUDED, Status.EXCLUDED))
        return Constraints(included, out - len(self.near), near=len(self.near))

    def _least(self, sizes: Sequence[int]) -> Sequence[int]:
        """Return how many points must be left: where only a budget says how much, those included, and one."""
        return sizes or [max(1, self._constraints().included)]

    def constrain(self, sizes: Sequence[int]) -> Constraints:
        """Decide the points that the user wants in or out."""
        if not self.wished:
            self.check_wishes(sizes)
        wished = {status: np.argsort(self.graph.rows)[points] for status, points in self.wished.items()}
        found = replace(self._constraints(), outliers=int(self.outlier.sum()))
        if self.outlier.any():
            wished[Status.EXCLUDED] = np.union1d(wished[Status.EXCLUDED], np.flatnonzero(self.outlier))
        if (found.included or found.out) and not self._resumed:
            board = self.local.board
            for status, nodes in wished.items():
                board.status[nodes] = board.decided_by[nodes] = status
                board.decided_at[nodes] = board.steps + 1  # by the step that hears of it
            self.local.step(hear_wishes)
        return found

    def capacity(self, size: int | None) -> Capacity:
        """Return the limits, made of who may be selected."""
        about = self.points, self.graph.rows, self.local.board.status[: self.graph.n], self.config, size
        capacity, self.tables = capacity_here(*about, self.input, self.made, self.storage_options)
        return capacity

    def part_alike(self) -> AlikeReport | None:
        """Compare members by their vectors, which are read again."""
        if not self.made.dimension:
            return None
        about = self.source, self.points, self.graph, self.local, self.config, self.made
        return asked_alike(self.replay, lambda: part_alike(*about))

    def once(self, stage: str, kind: type[T], drive: Callable[[Engine], T]) -> T:
        """Run a stage's driver with its boards in the run directory, or return what it recorded."""
        return drive(self.local) if self.kept is None else self.kept.once(stage, kind, drive, self.replay)

    def expected_random(self, k: int) -> float:
        """Return the expectation of f over all subsets of k points."""
        return expected_here(self.part, k)

    def score(self, k: int, random: float, page: Room | None = None) -> ObjectiveReport:
        """Rank by key, compute gains; score the subset and the top k by utility, expect the random ones."""
        part, board = self.part, self.local.board
        self.ranked, self.table = ranked_table(part, board, self.graph.ids, self.points.id_type)
        return objective_here(part, self.ranked, self.table, random, with_top=k == self.top_points)

    def cover(self, k: int, *, mapped: bool) -> CoverageReport:
        """Measure coverage and redundancy of the subset on the board, and map points."""
        member = self.local.board.status[: self.graph.n] == Status.SELECTED
        given = self.source, self.points, self.part, self.graph, member, self.config, self.made, self.weights
        found, self.map = cover_here(*given, mapped=mapped)
        return found

    def keep_room(self, room: Room) -> None:
        """Note in the run directory what limits have left."""
        if self.kept is not None:
            self.kept.rundir.keep_room(room.to_json())

    def audit(self, report: Report, room: Room, place: Place, *, overwrite: bool) -> Report:
        """Judge all points, and write what comes of it; those that a run directory does not have are read again."""
        inside = Everyone(self.graph.ids, *self.points.limits(self.graph.rows), self.points.groups)
        some = self.input.copies or self.made.drawn is not None
        if self.everyone is None:
            self.everyone = Everyone.of(self._read_points(lambda share: None)) if some else inside
        near = np.isin(self.graph.rows, self.near)
        about = self.points.id_type, self.points.copies, self.part, self.local.board, self.outlier, near
        found = self.table[schema.GAIN].to_numpy()
        table, counts = audit_table(self.everyone, inside, *about, self.ranked, found, room)
        assert len(table) == self.input.points, "every point is judged once"
        report = report.model_copy(update={"audit": counts})
        output.write_subset(table, report, place, overwrite=overwrite)
        return report

    def has_pages(self, path: Place | None) -> bool:
        """Return whether a report has a place: beside the subset, if that is a folder, or in the run directory."""
        return (path is not None and output.is_folder(path)) or (self.kept is not None and self.kept.rundir.has_pages)

    def sketch(self, report: Report, room: Room) -> Sketch:
        """Count what is drawn."""
        about = self.graph, self.points.id_type, self.outlier, np.isin(self.graph.rows, self.near), room
        take = self._kept_columns if self.config.examples else None
        found = sketch_here(report, self.part, self.local.board, *about, self.ranked, self.table, take)
        return found.model_copy(update={"call": self.call, "map": self.map})

    def _kept_columns(self, nodes: Int64Array) -> pa.Table:
        """Return the kept columns of some nodes."""
        names = list(self.config.keep_columns)
        return kept_columns(self.source, names, self.points.rows[self.graph.rows[nodes]]) if names else pa.table({})

    def write(self, report: Report, path: Place | None, pages: Mapping[str, str], *, overwrite: bool) -> None:
        """Join the kept columns back and write."""
        kept = self._kept_columns(self.ranked)
        for name in kept.column_names:
            self.table = self.table.append_column(kept.schema.field(name), kept[name])
        if path is not None:
            output.write_subset(self.table, report, path, overwrite=overwrite, pages=pages)
        if self.kept is not None:
            self.kept.rundir.keep_pages(pages)
        rows = self.points.rows[self.graph.rows[self.ranked]]
        self.written(Chosen(self.table, rows, self.points.source_rows, self.utilities, self.ranked))

    def score_ids(self, subset: Any) -> objective.Score:
        """Return f of a subset, see `subsel.input.wishes.wished_ids`.

        Raises:
            InputError: it is empty, or ids are null, repeated or unknown.
        """
        about = self.points, self.graph.ids, self.config, self.storage_options
        nodes = nodes_of_subset(subset, *about)
        coverage, _ = graph_coverage(self.part, self.graph, nodes, self.config, self.made)
        return replace(score_here(self.part, nodes), coverage=coverage)
