"""Coverage: a slow twin, and the same subset, order and gains on any parts, under any limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel.board import hear_wishes
from subsel.codes import codes_of
from subsel.covering.bound import cover_bound
from subsel.covering.greedy import COVERAGE, twice_covered
from subsel.engines.local import LocalEngine
from subsel.fixedpoint import FixedPoint
from subsel.graph import row_weights
from subsel.greedy.limited import limited_greedy, order_limited
from subsel.limits.capacity import Capacity
from subsel.schema import Status
from tests.limited_reference import Coverage, limited_problems, plain_limited
from tests.reference import make_graph, make_part
from tests.split_engine import SplitEngine, parts_of
from tests.test_limited import include, refused, subsets


@st.composite
def covering_problems(draw, max_n=14, **kinds):
    """A part under coverage, its edges and its limits: ties, points of no importance, hubs, isolated ones."""
    problem = draw(limited_problems(max_n=max_n, **kinds))
    n = problem.n
    some = st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.0])
    importance = np.ones(n) if draw(st.booleans()) else np.array(draw(st.lists(some, min_size=n, max_size=n)))
    itself = np.ones(n) if draw(st.booleans()) else np.array(draw(st.lists(some, min_size=n, max_size=n)))
    weight = draw(st.sampled_from([0.0, 0.0, 0.5, 2.0]))
    part = make_part(make_graph(n, problem.edges), problem.utility, problem.alpha, problem.beta)
    row = np.repeat(np.arange(n), np.diff(part.indptr))
    gives = part.similarity * importance[part.indices]
    most = np.bincount(row, gives, n) + importance * itself
    largest = max(float(gives.max(initial=0)), float((importance * itself).max()))
    scale = FixedPoint.choose(weight, 1.0, float(np.abs(part.utility).max()), float(most.max()), largest)
    tie_bits = draw(st.sampled_from([None, None, 3]))
    if tie_bits is not None:
        scale = replace(scale, tie_bits=tie_bits)
    limits = {"cost": problem.cost, "group": problem.group, "max_similarity": problem.capacity.max_similarity}
    covering = {"importance": importance, "itself": itself}
    weights = row_weights(part.indptr, part.similarity, scale, importance)
    return replace(part, weight=weights, fixed_point=scale, **limits, **covering), problem.edges, problem.capacity


def on_parts(part, edges, where, **more):
    graph = make_graph(part.n_own, edges)
    node = {int(code): v for v, code in enumerate(codes_of(graph.ids, 0))}

    def known(draft):
        at = np.array([node[int(code)] for code in draft.code], np.int64)
        own = at[: len(draft.indptr) - 1]
        return replace(
            draft,
            cost=None if part.cost is None else part.cost[at],
            group=None if part.group is None else np.ascontiguousarray(part.group[:, own]),
            importance=part.importance[at],
            itself=part.itself[own],
        )

    by_part = parts_of(graph, part.utility, 0, where)
    scale = part.fixed_point
    more |= {"max_similarity": part.max_similarity, "limits": known, "scale": scale}
    engine = SplitEngine(by_part, scale.alpha, scale.beta, **more)
    if len(set(where.tolist())) == 1:
        engine.parts = 2  # all that only several parts do, on one
    return engine, node


@given(covering_problems())
def test_one_part_equals_the_rule(problem):
    part, _, capacity = problem
    engine = LocalEngine(part)
    result = limited_greedy(engine, capacity, moves=COVERAGE)
    found = {int(v): int(engine.board.key[v]) for v in np.flatnonzero(engine.board.status == Status.SELECTED)}
    assert found == dict(plain_limited(part, capacity, gains=Coverage))
    assert result.selected == len(found)
    assert not (engine.board.status == Status.UNDECIDED).any()


@given(covering_problems(), st.integers(1, 6), st.randoms(use_true_random=False), st.sampled_from([0, 3, 100]))
def test_any_parts_equal_the_rule(problem, parts, random, finish_points):
    part, edges, capacity = problem
    where = np.array([random.randrange(parts) for _ in range(part.n_own)])
    engine, node = on_parts(part, edges, where, finish_points=finish_points)
    limited_greedy(engine, capacity, moves=COVERAGE)
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(part, capacity, gains=Coverage))


@given(st.data(), st.integers(1, 6), st.randoms(use_true_random=False))
@pytest.mark.parametrize(
    "kinds", [{"size"}, {"similar"}, {"size", "budget", "quotas"}], ids=lambda k: "+".join(sorted(k))
)
def test_each_kind_on_many_parts(kinds, data, parts, random):
    part, edges, capacity = data.draw(covering_problems(max_n=24, kinds=kinds))
    where = np.array([random.randrange(parts) for _ in range(part.n_own)])
    engine, node = on_parts(part, edges, where, finish_points=data.draw(st.sampled_from([0, 6])))
    limited_greedy(engine, capacity, moves=COVERAGE)
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(part, capacity, gains=Coverage))


@given(covering_problems(max_n=12), st.integers(1, 4), st.randoms(use_true_random=False), st.data())
def test_members_that_are_there_cover_spend_and_exclude(problem, parts, random, data):
    part, edges, capacity = problem
    n = part.n_own
    most = n if capacity.size is None else capacity.size
    taken = data.draw(st.lists(st.integers(0, n - 1), max_size=min(3, most), unique=True))
    if refused(replace_problem(part, capacity), taken):
        return
    where = np.array([random.randrange(parts) for _ in range(n)])
    expected = dict(plain_limited(part, capacity, taken, gains=Coverage))
    codes = {int(part.code[v]) for v in taken}
    alone, (several, node) = LocalEngine(part), on_parts(part, edges, where)
    for engine in (alone, several):
        engine.step(include, codes=codes)
        engine.step(hear_wishes)
        limited_greedy(engine, capacity, moves=COVERAGE)
    board = alone.board
    assert {int(v): int(board.key[v]) for v in np.flatnonzero(board.status == Status.SELECTED)} == expected
    assert {node[code]: key for code, (key, _) in several.result().items()} == expected


def replace_problem(part, capacity):
    """What `refused` looks at."""

    class Problem:
        pass

    found = Problem()
    found.capacity, found.group, found.n, found.cost = capacity, part.group, part.n_own, part.cost
    return found


@given(covering_problems(max_n=12), st.integers(1, 4), st.randoms(use_true_random=False), st.booleans())
def test_the_subset_is_put_into_the_order_of_picking(problem, parts, random, restart):
    part, edges, capacity = problem
    where = np.array([random.randrange(parts) for _ in range(part.n_own)])
    several, node = on_parts(part, edges, where)
    picks = plain_limited(part, capacity, gains=Coverage)
    if restart:
        everything = Capacity(per_cost=capacity.per_cost, unit=capacity.unit)
        picks = plain_limited(part, everything, candidates=[v for v, _ in picks], gains=Coverage)
    value = Coverage(part)
    for v, _ in picks:
        value.join(v)
    f = sum(value.cover) + sum(value.base[v] >> value.bits for v, _ in picks)
    for engine in (LocalEngine(part), several):
        limited_greedy(engine, capacity, moves=COVERAGE)
        assert twice_covered(engine) == 2 * f
        order_limited(engine, capacity, moves=COVERAGE, restart=restart)
        assert twice_covered(engine) == 2 * f
        if engine is several:
            assert {node[code]: key for code, (key, _) in engine.result().items()} == dict(picks)


def free_limits(part, capacity):
    """A size where there is no limit that has a price."""
    return capacity if capacity.priced or capacity.size is not None else replace(capacity, size=part.n_own)


@given(
    covering_problems(max_n=8, minima=False), st.integers(1, 4), st.randoms(use_true_random=False), st.integers(0, 6)
)
def test_bounds_are_above_the_best_subset_and_the_same_on_any_parts(problem, parts, random, iterations):
    part, edges, capacity = problem
    where = np.array([random.randrange(parts) for _ in range(part.n_own)])
    several, _ = on_parts(part, edges, where)
    found = []
    for engine in (LocalEngine(part), several):
        limited_greedy(engine, capacity, moves=COVERAGE)
        kept = engine.result() if engine is several else engine.board.key.copy()
        found.append(cover_bound(engine, free_limits(part, capacity), part.fixed_point.tie_bits, iterations))
        again = engine.result() if engine is several else engine.board.key
        assert kept == again if engine is several else (kept == again).all()
    assert found[0] == found[1]
    best = 0
    for subset in subsets(part, capacity):
        value = Coverage(part)
        for v in subset:
            value.join(v)
        best = max(best, sum(value.cover) + sum(value.base[v] >> value.bits for v in subset))
    assert found[0].bound >= best
