"""Swaps and removals: f rises by exactly what is predicted, nothing else changes, and parts do not matter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy, order_subset
from subsel.greedy.refine import mark_movers, refine, settle
from subsel.greedy.reverse import directed_greedy, reverse_greedy
from subsel.schema import Status
from tests.reference import fixed_objective, make_graph, make_part
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems


def members(engine):
    return set(np.flatnonzero(engine.board.status >= Status.ACCEPTED).tolist())


def slow_pass(part, subset):
    """One pass of refinement with sets: (who joins, who leaves)."""
    bits = part.fixed_point.tie_bits
    n = part.n_own
    weight = {
        (v, int(part.indices[e])): int(part.weight[e])
        for v in range(n)
        for e in range(part.indptr[v], part.indptr[v + 1])
    }
    first = part.fixed_point.keys(part.utility, part.code)
    m = [int(first[v] >> bits) - sum(w for (a, j), w in weight.items() if a == v and j in subset) for v in range(n)]
    tie = [int(first[v]) & ((1 << bits) - 1) for v in range(n)]
    code = [int(c) for c in part.code]
    order = sorted(range(n), key=lambda v: (m[v], tie[v], code[v]), reverse=True)
    k = len(subset)
    top, threshold = set(order[:k]), m[order[k - 1]]
    movers = top ^ subset
    far = {v: (abs(m[v] - threshold), code[v]) for v in movers}
    first_ones = {v for v in movers if all(far[j] < far[v] for j in movers if weight.get((v, j), 0) > 0)}
    joining = sorted(first_ones - subset, key=order.index)
    leaving = sorted(first_ones & subset, key=order.index, reverse=True)
    better = max(sum(far[v][0] > 0 for v in joining), sum(far[v][0] > 0 for v in leaving))
    pairs = min(len(joining), len(leaving), better)
    joining, leaving = joining[:pairs], leaving[:pairs]
    return set(joining), set(leaving), sum(m[v] for v in joining) - sum(m[v] for v in leaving)


@given(problems(max_n=14), st.data())
def test_every_pass_gains_what_it_predicts(problem, data):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    subset = set(data.draw(st.permutations(range(n)))[:k])
    engine = LocalEngine(part)
    engine.board.status[:] = [Status.SELECTED if v in subset else Status.DISCARDED for v in range(n)]
    total = 0
    for passes in range(1, 20):
        joining, leaving, predicted = slow_pass(part, subset)
        before = fixed_objective(part, subset)
        subset = (subset - leaving) | joining
        assert len(subset) == k
        assert fixed_objective(part, subset) == before + predicted
        if not joining:
            break
        assert predicted > 0
        total += predicted
        one = LocalEngine(part)
        one.board.status[:] = engine.board.status
        assert refine(one, passes).gained == total
        assert members(one) == subset
    result = refine(engine, 100)
    assert members(engine) == subset
    assert result.gained == total
    assert refine(engine, 5).passes == 0  # a fixpoint


@given(problems(max_n=18), st.data(), st.sampled_from(["forward", "reverse", "best"]), st.integers(0, 3))
def test_any_parts_give_the_same_refined_subset(problem, data, direction, passes):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    part = make_part(graph, utility, alpha, beta)
    part_of_node = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    split = SplitEngine(
        parts_of(graph, utility, 0, part_of_node),
        alpha,
        beta,
        finish_points=data.draw(st.sampled_from([0, 3, 100])),
        compact=data.draw(st.booleans()),
    )
    local = LocalEngine(part)
    results = []
    for engine in (local, split):
        greedy = directed_greedy(engine, k, direction)
        engine.reopen()
        refined = refine(engine, passes)
        order_subset(engine, k, restart=True)
        results.append((greedy.direction, refined))
    assert results[0] == results[1]
    board = local.board
    selected = np.flatnonzero(board.status == Status.SELECTED)
    assert split.result() == {int(part.code[v]): (int(board.key[v]), int(board.decided_by[v])) for v in selected}


@given(problems(max_n=14))
def test_reverse_greedy_removes_the_least_missed(problem):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    reverse_greedy(engine, k)
    bits = part.fixed_point.tie_bits
    first = part.fixed_point.keys(part.utility, part.code)
    left = set(range(n))
    while len(left) > k:

        def missed(v):
            row = range(part.indptr[v], part.indptr[v + 1])
            inside = sum(int(part.weight[e]) for e in row if int(part.indices[e]) in left)
            return -(int(first[v] >> bits) - inside), int(first[v]) & ((1 << bits) - 1), int(part.code[v])

        left.remove(max(left, key=missed))
    assert members(engine) == left


@given(problems(max_n=14))
def test_best_is_the_better_of_both(problem):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    found = {}
    for direction in ("forward", "reverse", "best"):
        engine = LocalEngine(part)
        result = directed_greedy(engine, k, direction)
        found[direction] = fixed_objective(part, members(engine))
        assert len(members(engine)) == k
    assert found["best"] == max(found["forward"], found["reverse"])
    assert found[result.direction] == found["best"]


def test_members_that_the_user_chose_stay(rng):
    n = 200
    edges = {(int(a), int(b)): 0.5 for a, b in rng.integers(0, n, (3 * n, 2)) if a != b}
    part = make_part(make_graph(n, edges), rng.random(n), 0.5, 0.5)
    engine = LocalEngine(part)
    engine.board.status[:] = Status.DISCARDED
    engine.board.status[:50] = Status.SELECTED
    engine.board.status[:10] = Status.INCLUDED
    engine.board.status[150:] = Status.EXCLUDED
    result = refine(engine, 50)
    assert result.passes > 0
    assert (engine.board.status[:10] == Status.INCLUDED).all()
    assert (engine.board.status[150:] == Status.EXCLUDED).all()
    assert (engine.board.status >= Status.ACCEPTED).sum() == 50


def test_it_beats_centralised_greedy(rng):
    n = 3000
    near = (np.arange(n)[:, None] + rng.integers(1, 40, (n, 8))) % n
    edges = {(min(i, j), max(i, j)): float(rng.random()) for i in range(n) for j in near[i].tolist()}
    part = make_part(make_graph(n, edges), rng.random(n), 0.5, 0.5)
    for share in (0.5, 0.8):  # at 10 % of this graph greedy's subset is a fixpoint
        engine = LocalEngine(part)
        exact_greedy(engine, round(share * n))
        before = fixed_objective(part, members(engine))
        assert refine(engine, 8).gained > 0
        assert fixed_objective(part, members(engine)) > before


def test_marking_and_settling_need_no_news():
    part = make_part(make_graph(2, {(0, 1): 1.0}), [1.0, 2.0], 0.5, 0.5)
    engine = LocalEngine(part)
    engine.board.status[:] = [Status.SELECTED, Status.DISCARDED]
    counts = engine.step(settle)
    assert sum(counts.sums) == 2 * fixed_objective(part, {0})
    counts = engine.step(mark_movers, key=int(engine.board.key.max()), code=-(2**63))
    # Both would move, and they touch: only one does, so nothing is exchanged.
    assert counts.joining + counts.leaving == 1
