from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.board import Board
from subsel.engines.local import LocalEngine
from subsel.greedy import kernel
from subsel.greedy.exact import exact_greedy, order_subset
from subsel.input.edges import as_neighbor_graph
from subsel.objective import realised_gains
from subsel.schema import Status
from tests.reference import fixed_objective, float_greedy, make_graph, make_part, plain_greedy
from tests.strategies import problems


def ranked(engine: LocalEngine) -> list[tuple[int, int]]:
    slots = np.flatnonzero(engine.board.status == Status.SELECTED)
    order = sorted(slots, key=lambda v: (engine.board.key[v], engine.graph.code[v]), reverse=True)
    return [(int(v), int(engine.board.key[v])) for v in order]


BATCHES = st.sampled_from([1, 2, 5, kernel.BATCH])


def greedy_in_batches(part, k: int, batch: int) -> LocalEngine:
    """The engine after exact greedy, whose heap holds about so many points."""
    engine = LocalEngine(part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "BATCH", batch)
        result = exact_greedy(engine, k)
    assert result.selected == k
    assert result.supersteps == 1
    return engine


@given(problems(max_n=24), BATCHES)
def test_kernel_equals_plain_greedy_in_set_order_and_keys(problem, batch):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    assert ranked(greedy_in_batches(part, k, batch)) == plain_greedy(part, k)


@given(problems(max_n=16), BATCHES)
def test_three_tie_bits_still_give_a_total_order(problem, batch):
    """With T = 3, equal keys are everywhere, also across edges; the code decides."""
    n, edges, _, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), np.ones(n), alpha, beta, tie_bits=3)
    assert ranked(greedy_in_batches(part, k, batch)) == plain_greedy(part, k)


@given(problems(max_n=16))
def test_gains_are_those_of_the_pick_and_sum_to_the_objective(problem):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    part = make_part(graph, utility, alpha, beta)
    engine = LocalEngine(part)
    exact_greedy(engine, k)
    board = engine.board
    gain = realised_gains(
        part.indptr, part.indices, part.similarity, part.utility, alpha, beta, part.code, board.key, board.status
    )
    members = np.flatnonzero(board.status == Status.SELECTED)
    matrix = sp.csr_matrix((part.similarity, part.indices, part.indptr), shape=(n, n)).toarray()
    expected = alpha * part.utility[members].sum() - beta * matrix[np.ix_(members, members)].sum() / 2
    assert gain.sum() == pytest.approx(expected, abs=1e-9)
    picked_at = (board.key[members] >> part.fixed_point.tie_bits) / part.fixed_point.scale
    assert gain[members] == pytest.approx(picked_at, abs=1e-6)
    assert not gain[board.status != Status.SELECTED].any()


@given(problems(max_n=14))
def test_lower_bounds_hold_and_are_reached_when_all_neighbours_are_in(problem):
    n, edges, utility, alpha, beta, _ = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    board = Board.start(part)
    for v in range(n):
        everyone_else = set(range(n)) - {v}
        with_v, without = fixed_objective(part, range(n)), fixed_objective(part, everyone_else)
        assert board.lower[v] >> part.fixed_point.tie_bits == with_v - without


@given(problems(max_n=14))
def test_order_subset_is_greedy_restricted_to_the_subset(problem):
    n, edges, utility, alpha, beta, _ = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    members = list(range(0, n, 2))
    engine.board.status[:] = Status.DISCARDED
    engine.board.status[members] = Status.ACCEPTED
    order_subset(engine, len(members), restart=True)
    assert ranked(engine) == plain_greedy(part, len(members), candidates=members)
    assert (engine.board.decided_by[members] == Status.ACCEPTED).all()


def test_sorted_chain_of_rising_utilities(rng):
    """Utilities that rise along a chain are the worst case for local dominance; one part must not care."""
    n = 2001
    edges = {(i, i + 1): 0.5 for i in range(n - 1)}
    part = make_part(make_graph(n, edges), np.arange(n) / n, 0.9, 0.1)
    engine = LocalEngine(part)
    exact_greedy(engine, n // 2)
    assert ranked(engine) == plain_greedy(part, n // 2)


@pytest.mark.parametrize("alpha", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_objective_equals_a_float_priority_queue_on_100k_points(alpha, share):
    n = 100_000
    rng = np.random.default_rng(7)
    src = np.repeat(np.arange(n), 10)
    dst = (src + rng.integers(1, 300, len(src))) % n
    matrix = sp.csr_matrix((rng.random(len(src), np.float32), (src, dst)), shape=(n, n))
    graph = as_neighbor_graph(matrix, None, subsel.SelectConfig()).graph
    utility = rng.random(n)
    k = int(share * n)
    selection = subsel.select(
        graph=graph, utility=utility, size=k, alpha=alpha, bounding="off", greedy_direction="forward", refine=0
    )
    rows = float_greedy(graph, utility, k, alpha, 1 - alpha)
    member = np.zeros(n, bool)
    member[rows] = True
    theirs = subsel.score(rows, graph=graph, utility=utility, alpha=alpha).total
    assert selection.objective == pytest.approx(theirs, rel=1e-6)
    assert len(selection.table) == k
