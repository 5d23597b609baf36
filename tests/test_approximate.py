"""Approximate bounding: the schedule of the paper, by a slow twin; never too much; the same on any parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel.bounding.approximate import bound_approximately
from subsel.bounding.driver import bound
from subsel.engines.local import LocalEngine
from subsel.schema import Status
from tests.reference import all_optima, make_graph, make_part
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems

SHARES = st.sampled_from([0.1, 0.3, 0.7, 1.0])
MASK = (1 << 64) - 1


def mixed(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def sampled_edges(part, share, weighted, seed):
    """{point: neighbours that count}, in Python integers."""
    out = {}
    for v in range(part.n_own):
        row = range(part.indptr[v], part.indptr[v + 1])
        out[v] = set()
        for e in row:
            j = int(part.indices[e])
            limit = share
            total = sum(int(part.weight[i]) for i in row)
            if weighted and total:
                limit = share * int(part.weight[e]) / (total / len(row))
            low, high = sorted([int(part.code[v]), int(part.code[j])])
            step = ((seed + 1) * 0x9E3779B97F4A7C15) & MASK
            draw = mixed(mixed((low + step) & MASK) ^ (high & MASK))
            if (draw >> 11) * 2.0**-53 < limit:
                out[v].add(j)
    return out


def slow_bounding(part, k, share, weighted, seed, tight):
    """Algorithms 3 to 5 with sets: (accepted, discarded, grow rounds, shrink rounds)."""
    gain = [int(x) for x in part.fixed_point.keys(part.utility, part.code) >> part.fixed_point.tie_bits]
    weight = {
        (v, int(part.indices[e])): int(part.weight[e])
        for v in range(part.n_own)
        for e in range(part.indptr[v], part.indptr[v + 1])
    }
    counts = sampled_edges(part, share, weighted, seed)
    accepted, discarded, left = set(), set(), set(range(part.n_own))

    def bounds():
        upper = {v: gain[v] - sum(w for (a, j), w in weight.items() if a == v and j in accepted) for v in left}
        lower = {v: upper[v] - sum(weight[v, j] for j in counts[v] & left) for v in left}
        return upper, lower

    rounds = {"shrink": 0, "grow": 0}
    while True:
        changed = False
        for phase in ("shrink", "grow"):
            while left:
                upper, lower = bounds()
                needed = k - len(accepted)
                if phase == "shrink":
                    ranked = sorted(lower.values(), reverse=True)
                    limit = ranked[needed - 1] if 0 < needed <= len(ranked) else (np.inf if needed == 0 else -np.inf)
                    decided = {v for v in left if upper[v] < limit}
                    discarded |= decided
                else:
                    ranked, rank = sorted(upper.values(), reverse=True), needed + tight
                    limit = ranked[rank - 1] if 0 < rank <= len(ranked) else (np.inf if rank == 0 else -np.inf)
                    decided = {v for v in left if lower[v] > limit}
                    accepted |= decided
                left -= decided
                if not decided:
                    break
                rounds[phase] += 1
                changed = True
        if not changed or not left:
            return accepted, discarded, rounds["grow"], rounds["shrink"]


@given(problems(max_n=14), SHARES, st.booleans(), st.integers(0, 3), st.booleans())
def test_it_follows_the_papers_schedule(problem, share, weighted, seed, tight):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    result = bound_approximately(engine, k, share=share, weighted=weighted, seed=seed, tight=tight)
    accepted, discarded, grow, shrink = slow_bounding(part, k, share, weighted, seed, tight)
    assert set(np.flatnonzero(engine.board.status == Status.ACCEPTED).tolist()) == accepted
    assert set(np.flatnonzero(engine.board.status == Status.DISCARDED).tolist()) == discarded
    assert (result.accepted, result.discarded) == (len(accepted), len(discarded))
    assert (result.grow_rounds, result.shrink_rounds) == (grow, shrink)
    assert result.accepted <= k
    assert result.discarded <= n - k


@given(problems(max_n=20), SHARES, st.booleans(), st.data())
def test_any_parts_decide_alike(problem, share, weighted, data):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    part = make_part(graph, utility, alpha, beta)
    local = LocalEngine(part)
    expected = bound_approximately(local, k, share=share, weighted=weighted)
    part_of_node = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    engine = SplitEngine(parts_of(graph, utility, 0, part_of_node), alpha, beta, compact=data.draw(st.booleans()))
    assert bound_approximately(engine, k, share=share, weighted=weighted) == expected
    ours = {
        int(g.code[v]): (int(b.status[v]), int(b.key[v]), int(b.lower[v]))
        for g, b in engine._boards()
        for v in range(g.n_own)
    }
    for v in range(n):
        status, key, lower = ours[int(part.code[v])]
        assert status == local.board.status[v]
        if status == Status.UNDECIDED:  # and greedy goes on from exact bounds
            assert (key, lower) == (local.board.key[v], local.board.lower[v])


@given(problems(max_n=11), st.booleans())
def test_all_neighbours_give_exact_bounding(problem, tight):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    one, two = LocalEngine(part), LocalEngine(part)
    bound_approximately(one, k, share=1.0, tight=tight)
    bound(two, k, tight=tight)
    np.testing.assert_array_equal(one.board.status, two.board.status)
    for optimum in all_optima(part, k):
        assert set(np.flatnonzero(one.board.status == Status.ACCEPTED).tolist()) <= optimum


@pytest.mark.parametrize("weighted", [False, True])
def test_about_the_share_counts(rng, weighted):
    n = 4000
    pairs = rng.integers(0, n, (8 * n, 2)).tolist()
    edges = {(a, b): float(s) for (a, b), s in zip(pairs, rng.random(8 * n), strict=True) if a != b}
    part = make_part(make_graph(n, edges), rng.random(n), 0.5, 0.5)
    counted = sampled_edges(part, 0.3, weighted, 0)
    sizes = np.array([len(found) for found in counted.values()])
    degrees = np.diff(part.indptr)
    assert sizes.sum() / degrees.sum() == pytest.approx(0.3, abs=0.01)
    if weighted:
        row = np.repeat(np.arange(n), degrees)
        counts = [int(j) in counted[v] for v, j in zip(row, part.indices, strict=True)]
        assert part.similarity[counts].mean() > 1.2 * part.similarity.mean()


def test_less_sampling_decides_more(rng):
    n = 3000
    edges = {(int(a), int(b)): 0.5 for a, b in rng.integers(0, n, (5 * n, 2)) if a != b}
    part = make_part(make_graph(n, edges), rng.random(n), 0.9, 0.1)
    decided = []
    for share in (1.0, 0.7, 0.3):
        result = bound_approximately(LocalEngine(part), n // 10, share=share)
        decided.append(result.accepted + result.discarded)
    assert decided[0] < decided[1] < decided[2]
