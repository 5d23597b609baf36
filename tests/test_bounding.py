from __future__ import annotations

import numpy as np
from hypothesis import given

from subsel.bounding.driver import bound
from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy
from subsel.schema import Status
from tests.reference import all_optima, make_graph, make_part, plain_greedy
from tests.strategies import problems


@given(problems(max_n=11))
def test_every_decision_agrees_with_every_optimum(problem):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    result = bound(engine, k)
    accepted = set(np.flatnonzero(engine.board.status == Status.ACCEPTED).tolist())
    discarded = set(np.flatnonzero(engine.board.status == Status.DISCARDED).tolist())
    assert (len(accepted), len(discarded)) == (result.accepted, result.discarded)
    for optimum in all_optima(part, k):
        assert accepted <= optimum
        assert not discarded & optimum


@given(problems(max_n=16))
def test_it_stops_at_a_fixpoint_with_exact_bounds(problem):
    """Recomputed from scratch, no undecided point meets either rule any more."""
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    bound(engine, k)
    board, bits = engine.board, part.fixed_point.tie_bits
    key = part.fixed_point.keys(part.utility, part.code)
    status = board.status
    left = np.flatnonzero(status == Status.UNDECIDED)
    upper, lower = {}, {}
    for v in left:
        row = slice(part.indptr[v], part.indptr[v + 1])
        taken = int(part.weight[row][status[part.indices[row]] == Status.ACCEPTED].sum())
        open_ = int(part.weight[row][status[part.indices[row]] == Status.UNDECIDED].sum())
        upper[v] = (int(key[v]) >> bits) - taken
        lower[v] = upper[v] - open_
        assert board.key[v] >> bits == upper[v]
        assert board.lower[v] >> bits == lower[v]
    needed = k - int((status == Status.ACCEPTED).sum())
    assert 0 <= needed <= len(left)
    if 0 < needed < len(left):
        grow = sorted(upper.values(), reverse=True)[needed]
        shrink = sorted(lower.values(), reverse=True)[needed - 1]
        assert not any(value > grow for value in lower.values())
        assert not any(value < shrink for value in upper.values())
    else:
        assert len(left) == 0


@given(problems(max_n=14))
def test_greedy_after_bounding_continues_from_the_accepted(problem):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    bounds = bound(engine, k)
    accepted = np.flatnonzero(engine.board.status == Status.ACCEPTED).tolist()
    undecided = np.flatnonzero(engine.board.status == Status.UNDECIDED).tolist()
    exact_greedy(engine, k - bounds.accepted)
    selected = set(np.flatnonzero(engine.board.status == Status.SELECTED).tolist())
    expected = plain_greedy(part, k - bounds.accepted, taken=accepted, candidates=undecided)
    assert selected == {v for v, _ in expected}


def test_it_decides_much_where_utility_dominates(rng):
    n = 2000
    edges = {(int(a), int(b)): 0.5 for a, b in rng.integers(0, n, (4 * n, 2)) if a < b}
    part = make_part(make_graph(n, edges), rng.random(n), 0.99, 0.01)
    result = bound(LocalEngine(part), n // 10)
    assert result.accepted > n // 20
    assert result.discarded > n // 2


def test_without_edges_it_decides_everything(rng):
    part = make_part(make_graph(50, {}), rng.random(50), 0.9, 0.1)
    assert bound(LocalEngine(part), 7).accepted == 7
