"""Many parts in one process: what an engine with parts must do, with nothing but dictionaries.

It finds bugs in parts, packs and drivers in milliseconds, where Spark takes seconds.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from subsel.board import Counts
from subsel.codes import codes_of
from subsel.engines.base import ABOVE_ALL, BELOW_ALL
from subsel.fixedpoint import FixedPoint
from subsel.graph import NeighborGraph
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, pack
from subsel.schema import Status


def deliver(parcels):
    """Sort parcels by the part that they are addressed to, like a shuffle."""
    by_part: dict[int, list[Parcel]] = {}
    for parcel in parcels:
        by_part.setdefault(parcel.part, []).append(parcel)
    return by_part


def parts_of(graph: NeighborGraph, utility, seed: int, part_of_node, cost=None, group=None) -> dict:
    """Points and half-edges of a graph, as parcels by part; ``cost`` (n,), ``group`` (columns, n)."""
    code = codes_of(graph.ids, seed)
    parcels = []
    src = np.repeat(np.arange(graph.n), np.diff(graph.indptr))
    for part in np.unique(part_of_node).tolist():
        mine = np.flatnonzero(part_of_node == part)
        ids = graph.ids.take(mine)
        limits = {} if cost is None else {"cost": cost[mine]}
        limits |= {} if group is None else {"group": group[:, mine].T}
        known = pack(code=code[mine], utility=np.asarray(utility)[mine], id=ids, **limits)
        parcels.append(Parcel(part, 0, assemble.POINTS, known))
        edge = part_of_node[src] == part
        other = graph.indices[edge]
        payload = assemble.pack_edges(code[src[edge]], part_of_node[other], code[other], graph.similarity[edge])
        parcels.append(Parcel(part, 0, assemble.EDGES, payload))
    return deliver(parcels)


class SplitEngine:
    """Implements `subsel.engines.base.Engine` over parts in memory; `finish_points` as on Spark."""

    in_one_task = False

    def __init__(
        self,
        by_part,
        alpha,
        beta,
        *,
        finish_points=0,
        tie_bits=None,
        compact=False,
        max_similarity=None,
        limits=None,
        scale=None,
    ):
        gathered = deliver(p for part, parcels in by_part.items() for p in assemble.gather(part, parcels))
        resolved = [assemble.resolve(part, parcels) for part, parcels in gathered.items()]
        shapes = [shape for _, shape in resolved]
        scale = scale or FixedPoint.choose(
            alpha,
            beta,
            max(max(abs(s.least_utility), abs(s.most_utility)) for s in shapes),
            max(s.max_weighted_degree for s in shapes),
            max(s.max_similarity for s in shapes),
        )
        if tie_bits is not None:
            scale = FixedPoint(alpha, beta, scale.fraction_bits, tie_bits)
        self.scale = scale
        drafts = [graph if limits is None else limits(graph) for graph, _ in resolved]
        self.graphs = {
            graph.part: superstep.unpack_graph(graph.part, superstep.pack_graph(graph), scale, max_similarity)
            for graph in drafts
        }
        self.parts = len(self.graphs)
        self.whole_graphs = dict(self.graphs)
        self.finish_points, self.compact_always = finish_points, compact
        self.steps = 0
        self._take(superstep.start(graph) for graph in self.graphs.values())

    def _take(self, states):
        states = list(states)
        self.tallies = [[p for p in state.parcels if p.kind == superstep.TALLY] for state in states]
        self.boards = deliver(p for state in states for p in state.parcels if p.kind != superstep.TALLY)
        totals = {
            name: sum(getattr(s.counts, name) for s in states) for name in Counts.__dataclass_fields__ if name != "sums"
        }
        self._counts = Counts(**totals, sums=tuple(map(sum, zip(*(s.counts.sums for s in states), strict=True))))
        self.steps += 1

    def step(self, kernel, /, *args, **params):
        bound, before = partial(kernel, **params), self._counts.undecided
        self._take(superstep.superstep(g, self.boards[p], bound) for p, g in self.graphs.items())
        if self.compact_always and 0 < self._counts.undecided <= before:  # see SparkEngine.step
            self.graphs = {p: superstep.compact(g, self.boards[p]) for p, g in self.graphs.items()}
        return self._counts

    def drive(self, work):
        return work(self)

    def counts(self):
        return self._counts

    def _boards(self):
        for part, graph in self.graphs.items():
            state = next(p for p in self.boards[part] if p.kind == superstep.BOARD)
            yield graph, superstep.unpack_board(state.payload)

    def kth_largest(self, column, k, among):
        if k <= 0:
            return ABOVE_ALL
        values = sorted((v for _, b in self._boards() for v in superstep.values_of(b, column, among)), reverse=True)
        return BELOW_ALL if k > len(values) else int(values[k - 1])

    def kth_place(self, k, among):
        places = sorted(
            (int(board.key[v]), int(graph.code[v]))
            for graph, board in self._boards()
            for v in np.flatnonzero(np.isin(board.status[: graph.n_own], among))
        )
        return places[-k] if k else (ABOVE_ALL, ABOVE_ALL)

    def finish(self, kernel, /, *args, **params):
        if self._counts.undecided > self.finish_points:
            return None
        return self._in_groups(1, 0, partial(kernel, **params))

    def deal(self, groups, salt, kernel, /, *args, **params):
        return self._in_groups(groups, salt, partial(kernel, **params))

    def _in_groups(self, groups, salt, kernel):
        rows = deliver(
            parcel for p, g in self.graphs.items() for parcel in superstep.grouped_rows(g, self.boards[p], groups, salt)
        )
        for parcels in rows.values():
            for parcel in superstep.run_group(parcels, kernel, self.scale):
                self.boards[parcel.part].append(parcel)
        return self.step(superstep.nothing)

    def merge(self, work, /, *args, **params):
        shares = deliver(p for parcels in self.tallies for p in parcels)
        found = [superstep.merged(parcels, partial(work, **params), *args) for parcels in shares.values()]
        return {} if not found else {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def keep(self):
        return self.boards

    def back(self, state):
        self.boards = {part: list(parcels) for part, parcels in state.items()}
        self.reopen()
        return self._counts

    def whole(self):
        self.reopen()

    def reopen(self):
        self.graphs = dict(self.whole_graphs)
        self._take(
            superstep.superstep(g, self.boards[p], superstep.nothing, repost=True) for p, g in self.graphs.items()
        )

    def result(self):
        """{code: (key, decided_by)} of the selected points."""
        out = {}
        for part, graph in self.graphs.items():
            board, _ = superstep.deliver(graph, self.boards[part])
            for v in np.flatnonzero(board.status[: graph.n_own] == Status.SELECTED):
                out[int(graph.code[v])] = (int(board.key[v]), int(board.decided_by[v]))
        return out
