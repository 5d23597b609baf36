"""The stages on one machine: one matrix, one graph, one part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsel import objective, output, schema
from subsel.board import hear_wishes
from subsel.config import SelectConfig
from subsel.constraints import Constraints
from subsel.embeddings.neighbors import NeighborResult, neighbor_graph
from subsel.embeddings.readers import Points, boolean_column, kept_columns, read_points, subset_ids
from subsel.embeddings.user_graph import as_neighbor_graph, in_memory, open_graph
from subsel.engines.local import LocalEngine
from subsel.errors import InputError
from subsel.fixedpoint import FixedPoint, Int64Array
from subsel.graph import NeighborGraph, PartGraph
from subsel.report import FixedPointReport, GraphReport, InputReport, ObjectiveReport, Report
from subsel.request import Request
from subsel.run import Tell
from subsel.schema import DECIDED_BY_NAMES, Status
from subsel.stages.base import T


class LocalStages:
    """Implements `subsel.stages.base.Stages` in this process' memory."""

    name = "local"

    def __init__(self, request: Request) -> None:
        self.data, self.user_graph = in_memory(request.data), in_memory(request.graph)
        self.utility, self.config, self.wishes = request.utility, request.config, request.wishes
        self.points: Points
        self.graph: NeighborGraph
        self.wished: dict[Status, Int64Array] = {}
        self.ranked_rows: Int64Array
        self.dropped_edges: dict[str, int] = {}
        self.part: PartGraph
        self.local: LocalEngine
        self.table: pa.Table
        self.written: Callable[[pa.Table], None] = lambda table: None

    def read(self, tell: Tell) -> InputReport:
        """Read points; with a graph, only ids and utilities."""
        with_graph = self.user_graph is not None
        if self.data is None:
            found = as_neighbor_graph(self.user_graph, None, None, self.config)
            # Utilities follow the rows that the graph was made from, not the order of its nodes.
            by_row = pa.array(np.argsort(found.graph.rows))
            self.data = pa.table({self.config.id_column: found.graph.ids.take(by_row)})
            self.user_graph, self.dropped_edges = found.graph, found.dropped
        elif with_graph:
            open_graph(self.user_graph)
        self.points = read_points(
            self.data,
            self.config,
            with_embeddings=not with_graph,
            utility=self.utility,
            progress=lambda share: tell("rows", share),
        )
        return InputReport(
            name=self.points.name,
            points=self.points.n,
            id_type=str(self.points.id_type),
            utility=self.points.utility_source,
            dropped_rows=self.points.dropped,
        )

    def neighbors(self, tell: Tell) -> GraphReport:
        """Search neighbours, or take the user's graph."""
        if self.user_graph is not None:
            tell("checking edges", 0)
            found = as_neighbor_graph(self.user_graph, self.points.ids, self.points.rows, self.config)
            self.graph = found.graph
            return graph_report(self.graph, None, found.dropped | self.dropped_edges)
        searched = neighbor_graph(self.points, self.config, tell)
        self.graph = searched.graph
        return graph_report(searched.graph, searched, {})

    def engine(self, k: int) -> tuple[LocalEngine, FixedPointReport]:
        """Make the whole graph one part."""
        self.part = whole_part(self.graph, self.points, self.config)
        self.local = LocalEngine(self.part)
        scale = self.part.fixed_point
        return self.local, FixedPointReport(fraction_bits=scale.fraction_bits, tie_bits=scale.tie_bits)

    def check_wishes(self, sizes: Sequence[int]) -> None:
        """Find the points that the user wants in or out."""
        inside, outside = (self._wished(getattr(self.wishes, what), what) for what in ("include", "exclude"))
        both = np.intersect1d(inside, outside)
        example = self.points.ids[int(both[0])].as_py() if len(both) else None
        for k in sizes:
            Constraints(len(inside), len(outside)).check(self.points.n, k, len(both), example)
        self.wished = {Status.INCLUDED: inside, Status.EXCLUDED: outside}

    def constrain(self, sizes: Sequence[int]) -> Constraints:
        """Decide the points that the user wants in or out."""
        if not self.wished:
            self.check_wishes(sizes)
        if self.wishes:
            node = np.empty(self.points.n, np.int64)
            node[self.graph.rows] = np.arange(self.points.n)
            for status, points in self.wished.items():
                self.local.board.status[node[points]] = self.local.board.decided_by[node[points]] = status
            self.local.step(hear_wishes)
        return Constraints(len(self.wished[Status.INCLUDED]), len(self.wished[Status.EXCLUDED]))

    def _wished(self, wish: Any, what: str) -> Int64Array:
        """Return the points that a wish names, by a boolean column or by ids.

        Raises:
            InputError: the column is not boolean, or ids are unknown or repeated.
        """
        if wish is None:
            return np.empty(0, np.int64)
        if isinstance(wish, str) and self.data is not None and not Path(wish).exists():
            return np.flatnonzero(boolean_column(self.data, self.config, wish, what)[self.points.rows])
        ids = subset_ids(wish, self.config, what)
        return _find(ids, self.points.ids, what) if len(ids) else np.empty(0, np.int64)

    def once(self, stage: str, kind: type[T], drive: Callable[[], T], *, resumable: bool = True) -> T:
        """Run a stage's driver: on one machine stages take seconds, and none is kept."""
        return drive()

    def expected_random(self, k: int) -> float:
        """Return the expectation of f over all subsets of k points."""
        part, scale = self.part, self.part.fixed_point
        utility, edges = float(part.utility.sum()), float(part.similarity.sum(dtype=np.float64)) / 2
        return objective.expected_random(self.points.n, k, utility, edges, scale.alpha, scale.beta)

    def score(self, k: int) -> ObjectiveReport:
        """Rank by key, compute gains; score the subset and the top k by utility, expect the random ones."""
        part, board = self.part, self.local.board
        alpha, beta = part.fixed_point.alpha, part.fixed_point.beta
        slots = np.flatnonzero(board.status == Status.SELECTED)
        ranked = slots[np.lexsort((part.code[slots], board.key[slots]))[::-1]]
        gain = objective.realised_gains(
            part.indptr,
            part.indices,
            part.similarity,
            part.utility,
            alpha,
            beta,
            part.code,
            board.key,
            board.status,
        )
        names = np.array([DECIDED_BY_NAMES.get(Status(s), "") for s in range(len(Status))])
        self.table = pa.table(
            [
                self.graph.ids.take(pa.array(ranked)).cast(self.points.id_type),
                pa.array(np.arange(k)),
                pa.array(gain[ranked]),
                pa.array(names[board.decided_by[ranked]]),
            ],
            schema=schema.subset_schema(self.points.id_type),
        )
        self.ranked_rows = self._input_rows(ranked)
        start = part.fixed_point.keys(part.utility, part.code)
        by_utility = np.lexsort((part.code, start))[::-1][:k]
        own = self._score_of(ranked)
        return ObjectiveReport(
            total=own.total,
            utility=own.utility,
            similarity=own.similarity,
            random=self.expected_random(k),
            top_utility=self._score_of(by_utility).total,
        )

    def write(self, report: Report, path: Path | None, *, overwrite: bool) -> None:
        """Join the kept columns back and write."""
        if self.config.keep_columns:
            kept = kept_columns(self.data, self.config, self.ranked_rows)
            for name in self.config.keep_columns:
                self.table = self.table.append_column(kept.schema.field(name), kept[name])
        if path is not None:
            output.write_subset(self.table, report, path, overwrite=overwrite)
        self.written(self.table)

    def score_ids(self, ids: pa.Array) -> objective.Score:
        """Return f of the points with these ids.

        Raises:
            InputError: an id is unknown.
        """
        return self._score_of(_find(ids, self.graph.ids, "the subset"))

    def _input_rows(self, nodes: Int64Array) -> Int64Array:
        return self.points.rows[self.graph.rows[nodes]]

    def _score_of(self, nodes: Int64Array) -> objective.Score:
        member = np.zeros(self.points.n, np.bool_)
        member[nodes] = True
        part = self.part
        return objective.score_subset(
            part.indptr,
            part.indices,
            part.similarity,
            part.utility,
            member,
            part.fixed_point.alpha,
            part.fixed_point.beta,
        )


def score_here(request: Request, subsets: Sequence[Any]) -> list[objective.Score]:
    """Return f of each of some subsets, on one graph in memory.

    Raises:
        InputError: a subset is empty or names unknown or repeated ids, or something of the input is wrong.
    """
    stages = LocalStages(request)
    stages.read(lambda what, share: None)
    stages.neighbors(lambda what, share: None)
    stages.engine(1)
    found = [subset_ids(subset, request.config) for subset in subsets]
    if any(len(ids) == 0 for ids in found):
        raise InputError("the subset is empty: there is nothing to score.")
    return [stages.score_ids(ids) for ids in found]


def _find(ids: pa.Array, known: pa.Array, what: str) -> Int64Array:
    """Return where ids stand among those that are known."""
    if ids.type != known.type:
        raise InputError(f"ids of {what} are {ids.type}, those of the points {known.type}: use one type.")
    places = pc.index_in(ids, value_set=known)
    if places.null_count:
        example = ids.filter(places.is_null())[0].as_py()
        raise InputError(f"{places.null_count:,} of {len(ids):,} ids of {what} are unknown, such as {example!r}.")
    return np.asarray(places.to_numpy(), np.int64)


def whole_part(graph: NeighborGraph, points: Points, config: SelectConfig) -> PartGraph:
    """Return a graph as one part, with utilities and codes in node order and the scale that fits its values."""
    utility = points.utility[graph.rows]
    has_edges = len(graph.similarity) > 0
    degrees = objective.weighted_degrees(graph.indptr, graph.similarity)
    scale = FixedPoint.choose(
        config.alpha,
        config.similarity_weight,
        max_utility=float(np.abs(utility).max()),
        max_degree=float(degrees.max()),
        max_similarity=float(graph.similarity.max()) if has_edges else 0.0,
    )
    return PartGraph.whole(graph, utility, points.code[graph.rows], scale)


def graph_report(graph: NeighborGraph, found: NeighborResult | None, dropped: dict[str, int]) -> GraphReport:
    """Describe a graph; ``found`` is None for the user's own."""
    degrees = np.diff(graph.indptr)
    return GraphReport(
        source="embeddings" if found else "given",
        edges=graph.n_edges,
        mean_degree=round(float(degrees.mean()), 2),
        max_degree=int(degrees.max()),
        dropped_edges=dropped,
        neighbors=None if found is None else found.neighbors,
        dimension=None if found is None else found.dimension,
        cells=None if found is None else found.cells,
        recall=None if found is None else found.recall,
    )
