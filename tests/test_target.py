"""Coverage of a target set: a slow twin, the same subset on any parts and engine, and what is told and refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel.covering.bound import cover_bound
from subsel.covering.greedy import COVERAGE
from subsel.embeddings.near import METRICS, similarity_of_pair
from subsel.embeddings.target import TargetLists, merge_lists
from subsel.engines.local import LocalEngine
from subsel.fixedpoint import FixedPoint, cover_range
from subsel.graph import SLOT_BITS, DraftGraph
from subsel.greedy.limited import limited_greedy
from subsel.limits.capacity import Capacity
from subsel.parts import superstep
from subsel.parts.pack import concatenate
from subsel.parts.target import beside_target, borders, edges_of_lists, span_of, target_part, with_target
from subsel.schema import Status
from tests.limited_reference import Coverage, plain_limited
from tests.split_engine import SplitEngine

QUIET = {"progress": False, "recall_sample": 0, "objective": "coverage"}


def similarities(X, T, metric):
    """Of each row of a target to each point: float32, (m, n)."""
    found = [[similarity_of_pair(t, x, METRICS.index(metric)) for x in X] for t in T]
    return np.clip(np.array(found), 0, None if metric == "inner_product" else 1).astype(np.float32)


def plain_cover(X, T, k, metric, neighbors, importance=None):
    """What greedy's gains are, on the nearest points of each row: in float64, without ties of importance."""
    S = similarities(X, T, metric).astype(np.float64)
    for row in S:
        row[np.argsort(-row, kind="stable")[neighbors:]] = 0
    weight = np.ones(len(T)) if importance is None else importance
    cover, out = np.zeros(len(T)), []
    for _ in range(k):
        gain = (weight[:, None] * np.maximum(0, S - cover[:, None])).sum(axis=0)
        gain[out] = -1
        out.append(int(gain.argmax()))
        cover = np.maximum(cover, S[:, out[-1]])
    return out, float((weight * cover).sum())


@pytest.mark.parametrize("metric", METRICS)
def test_lists_are_the_nearest_whatever_blocks_points_come_in(metric):
    rng = np.random.default_rng(METRICS.index(metric))
    X, T = (rng.standard_normal((n, 12)).astype(np.float32) for n in (900, 17))
    T[:5], X[100:200] = X[:5], X[:100]
    code = rng.integers(-(2**62), 2**62, len(X))
    whole = TargetLists.of(T, metric, 30)
    whole.meet(code, X)
    some, others = whole.empty(30), whole.empty(30)
    for begin in range(0, 900, 70):
        (some if begin % 140 else others).meet(code[begin : begin + 70], X[begin : begin + 70])
    merge_lists(others.code, others.similarity, some.code, some.similarity)
    for t, row in enumerate(similarities(X, T, metric)):
        nearest = np.lexsort((~code, -row))[:30]
        assert (whole.code[t] == code[nearest]).all() and (whole.similarity[t] == row[nearest]).all()
    assert (some.code == whole.code).all() and (some.similarity == whole.similarity).all()


@st.composite
def problems(draw):
    """Points, a target's edges to them, and limits: ties, points that nobody is near, more to select than cover."""
    n, m = draw(st.integers(1, 9)), draw(st.integers(1, 8))
    level = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0])
    similarity = np.array(draw(st.lists(level, min_size=n * m, max_size=n * m)), np.float32).reshape(m, n)
    importance = np.array(draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=m, max_size=m)))
    code = np.array(draw(st.permutations(range(-n, n))))[:n].astype(np.int64) * 2**50
    edges = edges_of_lists(0, np.arange(m), importance, np.tile(code, (m, 1)), similarity)
    edges["slot"] = np.nonzero(similarity > 0)[1]
    utility = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))) / 4
    weight = draw(st.sampled_from([0.0, 0.0, 0.5]))
    limit = draw(st.sampled_from([None, 0.5]))
    pairs = np.triu(np.array(draw(st.lists(level, min_size=n * n, max_size=n * n)), np.float32).reshape(n, n), 1)
    pairs = pairs + pairs.T if limit is not None else pairs * 0
    cost = np.array(draw(st.lists(st.sampled_from([1, 2, 5]), min_size=n, max_size=n)), np.int64)
    budget = draw(st.none() | st.integers(1, 12))
    capacity = Capacity(draw(st.integers(1, n)), budget, per_cost=budget is not None, max_similarity=limit)
    degree, largest, most = span_of(edges)
    scale = FixedPoint.choose(weight, 1.0, float(utility.max()), *cover_range(degree, largest, 0.0, most))
    return code, utility, cost if budget is not None else None, pairs, edges, m, scale, capacity


def rows_of(pairs, own):
    """Rows of some points as a draft has them; neighbours are numbered over all."""
    row, column = np.nonzero(pairs[own] > 0)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(own)))]).astype(np.int64)
    return indptr, column, pairs[own][row, column]


def whole(problem):
    code, utility, cost, pairs, edges, m, scale, capacity = problem
    draft = DraftGraph(0, *rows_of(pairs, np.arange(len(code))), utility, code, np.empty(0, np.int64), cost)
    packed = superstep.pack_graph(with_target(draft, edges, m))
    return superstep.unpack_graph(0, packed, scale, capacity.max_similarity)


class Parts(SplitEngine):
    """Points and a target's points in parts of their own, as Spark has them."""

    def __init__(self, problem, where, per_part, finish_points):
        code, utility, cost, pairs, edges, _, self.scale, capacity = problem
        parts = int(where.max()) + 1
        slot = np.array([int((where[:v] == p).sum()) for v, p in enumerate(where)])
        vid = (where << SLOT_BITS) | slot
        drafts, heard = [], {}
        for part in range(parts):
            own = np.flatnonzero(where == part)
            if not len(own):
                continue
            indptr, column, similarity = rows_of(pairs, own)
            order = np.array(sorted(set(column[where[column] != part].tolist()), key=lambda v: vid[v]), np.int64)
            index = np.array(
                [slot[v] if where[v] == part else len(own) + int(np.flatnonzero(order == v)[0]) for v in column],
                np.int32,
            )
            everybody = np.concatenate([own, order])
            about = utility[everybody], code[everybody], vid[order], None if cost is None else cost[everybody]
            draft = DraftGraph(part, indptr, index, similarity, *about)
            mine = where[edges["slot"]] == part
            some = {name: column[mine] for name, column in edges.items()}
            some["slot"] = slot[some["slot"]]
            drafts.append(beside_target(draft, some, parts, per_part))
            for to, rows in borders(draft, some, parts, per_part):
                heard.setdefault(to, []).append(rows)
        drafts += [target_part(to, concatenate(rows), parts, per_part, 0) for to, rows in sorted(heard.items())]
        self.graphs = {
            one.part: superstep.unpack_graph(one.part, superstep.pack_graph(one), self.scale, capacity.max_similarity)
            for one in drafts
        }
        self.parts, self.whole_graphs = max(2, len(self.graphs)), dict(self.graphs)
        self.finish_points, self.compact_always, self.steps = finish_points, False, 0
        self._take(superstep.start(graph) for graph in self.graphs.values())


def plain(part, capacity, n):
    return dict(plain_limited(part, capacity, candidates=range(n), gains=Coverage))


@given(problems(), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 4]), st.data())
def test_one_part_and_many_equal_the_rule(problem, parts, per_part, finish_points, data):
    code, capacity = problem[0], problem[-1]
    n, part = len(code), whole(problem)
    expected = plain(part, capacity, n)
    alone = LocalEngine(part)
    where = np.array([data.draw(st.integers(0, parts - 1)) for _ in range(n)])
    where = np.unique(where, return_inverse=True)[1]
    several = Parts(problem, where, per_part, finish_points)
    for engine in (alone, several):
        limited_greedy(engine, capacity, moves=COVERAGE)
        assert engine.counts().undecided == 0
    board = alone.board
    assert {int(v): int(board.key[v]) for v in np.flatnonzero(board.status == Status.SELECTED)} == expected
    node = {int(c): v for v, c in enumerate(code)}
    assert {node[c]: key for c, (key, _) in several.result().items()} == expected
    free = Capacity(size=capacity.size, budget=capacity.budget, per_cost=capacity.per_cost)
    bounds = [cover_bound(one, free, part.fixed_point.tie_bits, 3) for one in (alone, several)]
    assert bounds[0] == bounds[1]
