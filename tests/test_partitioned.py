"""Algorithm 6: worked examples of its formulas, a slow twin, and the same subset on any parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel.bounding.driver import bound
from subsel.codes import groups_of, rehash
from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy, order_subset
from subsel.greedy.partitioned import (
    _salt,
    partition_target,
    partitioned_greedy,
    round_partitions,
    round_target,
)
from subsel.schema import Status
from tests.reference import make_graph, make_part, plain_greedy
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems


@pytest.mark.parametrize(
    ("n", "k", "rounds", "gamma", "targets"),
    [
        (1000, 100, 1, 0.75, [100]),
        (1000, 100, 2, 0.75, [438, 100]),  # 0.75 · 1/2 · 900 = 337.5
        (1000, 100, 3, 0.75, [550, 325, 100]),
        (1000, 100, 4, 1.0, [775, 550, 325, 100]),
        (50_000, 5000, 8, 0.75, [34_532, 30_313, 26_094, 21_875, 17_657, 13_438, 9219, 5000]),
        (10, 3, 2, 0.1, [4, 3]),  # 0.1 · 7/2 = 0.35
        (11, 1, 10, 0.3, [4, 4, 4, 3, 3, 3, 2, 2, 2, 1]),  # 2.7, 2.4, 2.1, 1.8, 1.5, 1.2, 0.9, 0.6, 0.3, 0
        (7, 7, 3, 0.75, [7, 7, 7]),
    ],
)
def test_targets_of_rounds(n, k, rounds, gamma, targets):
    assert [round_target(n, k, r, rounds, gamma) for r in range(1, rounds + 1)] == targets


@pytest.mark.parametrize(
    ("n", "left", "partitions", "adaptive", "expected"),
    [
        (1000, 1000, 8, True, 8),
        (1000, 438, 8, True, 4),  # 438 / 125
        (1000, 125, 8, True, 1),
        (1000, 126, 8, True, 2),
        (1000, 438, 8, False, 8),
        (1001, 1001, 8, True, 8),  # cap 126
        (10, 10, 32, True, 10),  # cap 1
        (10, 10, 32, False, 32),
    ],
)
def test_partitions_of_rounds(n, left, partitions, adaptive, expected):
    assert round_partitions(n, left, partitions, adaptive=adaptive) == expected


def test_targets_of_partitions():
    assert partition_target(125, 1000, 438) == 55  # ⌈438 / 8⌉
    assert partition_target(250, 1000, 100) == 25
    assert partition_target(130, 1000, 100) == 13
    assert partition_target(131, 1000, 100) == 14
    assert partition_target(1, 1000, 100) == 1
    sizes = [13, 7, 9, 11]
    assert sum(partition_target(size, 40, 39) for size in sizes) >= 39
    assert all(partition_target(size, 40, 40) == size for size in sizes)


def slow_partitioned(part, k, partitions, rounds, adaptive, gamma, seed, taken, left):
    """Algorithm 6 with sets."""
    n = len(left)
    for r in range(1, rounds + 1 if left else 1):
        target = round_target(n, k, r, rounds, gamma)
        groups = round_partitions(n, len(left), partitions, adaptive=adaptive)
        group = groups_of(part.code, groups, _salt(seed, r))
        kept = set()
        for g in range(groups):
            members = {v for v in left if group[v] == g}
            if members:
                kept |= pick_in(part, members, partition_target(len(members), len(left), target), taken)
        left = kept
    draws = rehash(part.code, _salt(seed, 0))
    return set(sorted(left, key=lambda v: draws[v], reverse=True)[:k])


def pick_in(part, members, target, taken):
    return {v for v, _ in plain_greedy(part, target, taken=taken, candidates=members | set(taken))}


METHOD = st.fixed_dictionaries(
    {
        "partitions": st.integers(1, 5),
        "rounds": st.integers(1, 4),
        "adaptive": st.booleans(),
        "gamma": st.sampled_from([0.3, 0.75, 1.0]),
        "seed": st.integers(0, 3),
    }
)


@given(problems(max_n=14), METHOD, st.booleans())
def test_it_is_algorithm_6(problem, method, bounding):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    accepted = bound(engine, k).accepted if bounding else 0
    taken = np.flatnonzero(engine.board.status == Status.ACCEPTED).tolist()
    left = set(np.flatnonzero(engine.board.status == Status.UNDECIDED).tolist())
    expected = slow_partitioned(part, k - accepted, taken=taken, left=left, **method)
    result = partitioned_greedy(engine, k - accepted, **method)
    assert set(np.flatnonzero(engine.board.status == Status.SELECTED).tolist()) == expected
    assert result.selected == k - accepted
    assert not (engine.board.status == Status.UNDECIDED).any()


@given(problems(max_n=20), METHOD, st.booleans(), st.data())
def test_any_parts_give_the_same_subset(problem, method, bounding, data):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    part_of_node = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    split = SplitEngine(parts_of(graph, utility, 0, part_of_node), alpha, beta, compact=data.draw(st.booleans()))
    part = make_part(graph, utility, alpha, beta)
    local = LocalEngine(part)
    for engine in (local, split):
        accepted = bound(engine, k).accepted if bounding else 0
        partitioned_greedy(engine, k - accepted, **method)
        order_subset(engine, k, restart=True)
    board = local.board
    selected = np.flatnonzero(board.status == Status.SELECTED)
    assert split.result() == {int(part.code[v]): (int(board.key[v]), int(board.decided_by[v])) for v in selected}


@given(problems(max_n=16), st.integers(1, 4), st.integers(0, 3))
def test_one_partition_is_centralised_greedy(problem, rounds, seed):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    one, two = LocalEngine(part), LocalEngine(part)
    partitioned_greedy(one, k, partitions=1, rounds=rounds, seed=seed)
    exact_greedy(two, k)
    np.testing.assert_array_equal(one.board.status, two.board.status)
