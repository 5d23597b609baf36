"""Upper bounds hold: against brute force, for any variables, on any parts, with wishes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.board import hear_wishes
from subsel.bounding import certificate_kernel, clique_kernel, cliques
from subsel.bounding.certificate import arm, certify, descend, free_bound, tell_degree
from subsel.bounding.cliques import cliques_of, find_cliques
from subsel.bounding.driver import bound
from subsel.bounding.edges import edges_of_part
from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy
from subsel.schema import Status
from tests.reference import all_optima, fixed_objective, make_graph, make_part
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems


def optimum(part, k, included=(), excluded=()):
    free = [v for v in range(part.n_own) if v not in included and v not in excluded]
    subsets = itertools.combinations(free, k - len(included))
    return max(fixed_objective(part, {*subset, *included}) for subset in subsets)


def with_subset(engine, subset):
    status = engine.board.status
    status[:] = [Status.SELECTED if v in subset else Status.DISCARDED for v in range(len(status))]
    return engine


def some_huge(edges, data):
    """One similarity far above the others, now and then: weights are int64 then."""
    if edges and data.draw(st.booleans()):
        edges[data.draw(st.sampled_from(sorted(edges)))] = 1e9


@given(problems(max_n=12), st.integers(0, 30), st.data())
def test_the_bound_is_above_the_optimum(problem, iterations, data):
    n, edges, utility, alpha, beta, k = problem
    some_huge(edges, data)
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    subset = set(data.draw(st.permutations(range(n)))[:k])
    engine = with_subset(LocalEngine(part), subset)
    result = certify(engine, iterations, part.fixed_point.tie_bits)
    best = optimum(part, k)
    assert result.bound >= best
    assert engine.board.extra == {}
    start = with_subset(LocalEngine(part), subset)
    assert result.bound <= certify(start, 0, part.fixed_point.tie_bits).bound


def with_cliques(engine, k):
    """Greedy's subset, and all cliques that are found with every point open."""
    exact_greedy(engine, k)
    engine.reopen()
    engine.step(tell_degree)
    engine.step(arm)
    find_cliques(engine, 0, 2**62)
    return engine


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5, 1e30])
def test_moves_are_those_of_the_formula(rng, wide, scale):
    """By whole numbers of any size, one variable after the other."""
    n, count, largest = 50, 400, 2**54 if wide else 2**30
    kind, real, most = (np.int64, np.float64, 2.0**60) if wide else (np.int32, np.float32, 2.0**30 - 64)
    x = np.append(rng.choice([0, 1024, *range(3, 1000, 90)], n), 0).astype(np.int32)
    step = real(scale * 1000)
    cap = rng.choice([0, 1, 5, 10**6, largest], count).astype(kind)
    pace = rng.random(count).astype(np.float32)

    def moved(slope, own_pace):
        return min(max(math.floor(np.float32(slope) * (step * own_pace)), -int(most)), int(most))

    ends = rng.integers(0, n, (2, count), np.int32)
    mu = np.floor(rng.random(count) * cap).astype(kind)
    expected = [
        min(max(int(m) + moved(int(x[a]) + int(x[b]) - 1024, p), 0), int(c))
        for m, a, b, p, c in zip(mu, *ends, pace, cap, strict=True)
    ]
    certificate_kernel.move_edges(*ends, cap, mu, x, pace, step, real(most))
    assert mu.tolist() == expected

    members = rng.integers(0, n, (5, count), np.int32)
    members[4, ::2] = members[3, ::4] = -1
    turn = rng.integers(0, 5, (2, count), np.int8)
    mu = np.zeros((2, count), kind)
    mu[0] = np.floor(rng.random(count) * cap) * (turn[0] > 0)
    mu[1] = np.floor(rng.random(count) * (cap - mu[0])) * (turn[1] > 0)
    expected = []
    for c in range(count):
        s = sum(int(x[v]) for v in members[:, c] if v >= 0)
        a, b = (
            max(int(m) + moved(s - 512 * (int(t) + 1), pace[c]), 0) if t else 0
            for m, t in zip(mu[:, c], turn[:, c], strict=True)
        )
        over = a + b - int(cap[c])
        if over > 0:
            a = min(max(a - over // 2, 0), int(cap[c]))
            b = int(cap[c]) - a
        expected.append((a, b))
    clique_kernel.move_cliques(members, cap, turn, mu, x, pace, step, real(most))
    assert list(zip(*mu.tolist(), strict=True)) == expected


@given(problems(max_n=12), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_any_variables_are_valid(problem, seed, threads):
    """Random variables within their limits, not ones that an iteration would choose."""
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    rng = np.random.default_rng(seed)
    engine = with_cliques(LocalEngine(part), k)
    cap = engine.board.extra["cap"]
    members, turn, clique_mu, least = cliques_of(engine.board)
    assert (cap >= 0).all()
    edges = edges_of_part(part, engine.board)
    mu = np.floor(rng.random(len(cap)) * (cap + 1)).astype(cap.dtype)
    turn = rng.integers(0, 6, turn.shape, np.int8)
    clique_mu = np.zeros(turn.shape, np.int64)
    clique_mu[0] = np.floor(rng.random(len(least)) * (least + 1))
    clique_mu[1] = np.floor(rng.random(len(least)) * (least - clique_mu[0] + 1))
    bits = part.fixed_point.tie_bits
    first = part.fixed_point.keys(part.utility, part.code) >> bits
    edge_load, clique_load = np.full((threads, n), -1), np.full((4 - threads, n), -1)
    certificate_kernel.load_edges(edges.small, edges.large, mu, edge_load)
    clique_kernel.load_cliques(members, turn, clique_mu, clique_load)
    key = np.empty(n, np.int64)
    loads = (certificate_kernel.sum_loads(load, n) for load in (edge_load, clique_load))
    certificate_kernel.set_keys(first, *loads, part.code, bits, key)
    value = key >> bits
    constant = certificate_kernel.wide(*clique_kernel.sum_cliques(members, turn, clique_mu, n))
    assert constant == int((clique_mu * (turn.astype(np.int64) * (turn + 1) // 2)).sum())
    paid_twice = certificate_kernel.wide(*certificate_kernel.sum_edges(edges.large, mu, n))
    assert paid_twice == 2 * int(mu.sum())
    found = paid_twice // 2 + constant + int(np.sort(value)[::-1][:k].sum())
    assert found >= optimum(part, k)


def test_cliques_are_cliques_and_share_their_edges(rng):
    n = 300
    edges = {(int(a), int(b)): 1 + float(rng.random()) for a, b in rng.integers(0, 40, (2 * n, 2)) if a != b}
    part = make_part(make_graph(n, edges), rng.random(n), 0.5, 0.5)
    board = with_cliques(LocalEngine(part), 100).board
    members, _, _, least = cliques_of(board)
    edges = edges_of_part(part, board)
    sizes = (members >= 0).sum(axis=0)
    assert len(least) > 30
    assert set(sizes.tolist()) == {3, 4, 5}
    left = np.zeros(len(edges.small), np.int64)
    left[edges.edge_of] = part.weight
    for clique, points, weight in zip(members.T, sizes, least, strict=True):
        assert weight > 0
        assert (clique[points:] == -1).all()
        for a, b in itertools.combinations(sorted(clique[:points].tolist()), 2):
            e = clique_kernel._edge(edges.first, edges.large, a, b)
            assert e >= 0
            left[e] -= weight
    np.testing.assert_array_equal(left, board.extra["cap"])
    assert (left >= 0).all()


def slow_clique(v, picks, left, largest):
    near = picks[v]
    for begin, first in enumerate(near):
        clique, low = [v, first], left[v, first]
        for u in near[begin + 1 :]:
            if len(clique) < largest and all(u in picks[member] for member in clique):
                lightest = min([low, *(left[u, member] for member in clique)])
                if 2 * lightest >= low:
                    clique, low = [*clique, u], lightest
        if len(clique) >= 3:
            return clique
    return None


def slow_cliques(part, rounds=4, most=16, largest=5):
    """The rule of `subsel.bounding.cliques`, with dictionaries: [(codes, ascending; weight taken)]."""
    n = part.n_own
    weight = {}
    for v in range(n):
        for e in range(part.indptr[v], part.indptr[v + 1]):
            weight[v, int(part.indices[e])] = int(part.weight[e])
    left, found = dict(weight), []
    for _ in range(rounds):
        picks = {}
        for v in range(n):
            near = [j for a, j in left if a == v and left[v, j] > 0 and weight[v, j] <= 5 * left[v, j]]
            picks[v] = sorted(near, key=lambda j: (left[v, j], part.code[j]), reverse=True)[:most]
        grown = (slow_clique(v, picks, left, largest) for v in range(n))
        asking = {frozenset(clique) for clique in grown if clique}  # however many of its members propose it
        wanted = {}
        for clique in asking:
            for pair in itertools.permutations(clique, 2):
                wanted[pair] = wanted.get(pair, 0) + 1
        least = [min(left[pair] // wanted[pair] for pair in itertools.permutations(c, 2)) for c in asking]
        for clique, taken in zip(asking, least, strict=True):
            if taken > 0:
                found.append((tuple(sorted(int(part.code[v]) for v in clique)), taken))
                for pair in itertools.permutations(clique, 2):
                    left[pair] -= taken
    return sorted(found)


def test_a_heavy_edge_after_a_light_one_does_not_raise_the_bar():
    rooms = {(0, 1): 10, (0, 2): 9.5, (0, 3): 9, (0, 4): 8.5, (1, 2): 5, (1, 3): 9, (2, 3): 9, (1, 4): 4, (2, 4): 8.5}
    part = make_part(make_graph(5, rooms | {(3, 4): 8.5}), np.ones(5), 0.5, 0.5)
    board = with_cliques(LocalEngine(part), 2).board
    members, _, _, least = cliques_of(board)
    assert (members >= 0).all(axis=0).any()  # all five are a clique
    found = [tuple(sorted(int(part.code[v]) for v in clique if v >= 0)) for clique in members.T]
    assert sorted(zip(found, least.tolist(), strict=True)) == slow_cliques(part)


@given(problems(max_n=16), st.data())
def test_cliques_are_those_of_the_rule_on_any_parts(problem, data):
    n, edges, utility, alpha, beta, k = problem
    part_of_node = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    graph = make_graph(n, edges)
    part = make_part(graph, utility, alpha, beta)
    most = data.draw(st.sampled_from([1, 2, 3, 5, 16]))
    expected = slow_cliques(part, most=most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cliques, "_EDGES", most)
        split = with_cliques(SplitEngine(parts_of(graph, utility, 0, part_of_node), alpha, beta), k)
        local = with_cliques(LocalEngine(part), k)
    for boards in ([(part, local.board)], list(split._boards())):
        found = []
        for own, board in boards:
            members, _, _, least = cliques_of(board)
            mine = members[0] < own.n_own
            codes = [tuple(sorted(own.code[v] for v in clique if v >= 0)) for clique in members.T[mine]]
            found += zip(codes, least[mine].tolist(), strict=True)
        assert sorted(found) == expected


@given(problems(max_n=11), st.data())
def test_wishes_are_part_of_the_problem(problem, data):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    order = data.draw(st.permutations(range(n)))
    n_in = data.draw(st.integers(0, k))
    n_out = data.draw(st.integers(0, n - k))
    included, excluded = set(order[:n_in]), set(order[n - n_out :])
    best = optimum(part, k, included, excluded)

    engine = LocalEngine(part)
    engine.board.status[list(included)] = Status.INCLUDED
    engine.board.status[list(excluded)] = Status.EXCLUDED
    engine.step(hear_wishes)
    bits = part.fixed_point.tie_bits
    assert free_bound(engine, k - n_in, bits) >= best
    accepted = bound(engine, k - n_in).accepted
    assert free_bound(engine, k - n_in - accepted, bits) >= best
    found = set(np.flatnonzero(engine.board.status == Status.ACCEPTED).tolist())
    out = set(np.flatnonzero(engine.board.status == Status.DISCARDED).tolist())
    for subset in itertools.combinations([v for v in range(n) if v not in included | excluded], k - n_in):
        if fixed_objective(part, {*subset, *included}) == best:  # bounding agrees with every constrained optimum
            assert found <= set(subset)
            assert not out & set(subset)

    whole = set(order[:k])
    engine = with_subset(LocalEngine(part), whole)
    engine.board.status[list(included)] = Status.INCLUDED
    engine.board.status[list(excluded)] = Status.EXCLUDED
    assert certify(engine, 12, bits).bound >= best


@given(problems(max_n=16), st.data())
def test_the_bound_does_not_depend_on_parts(problem, data):
    n, edges, utility, alpha, beta, k = problem
    some_huge(edges, data)
    part_of_node = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    graph = make_graph(n, edges)
    part = make_part(graph, utility, alpha, beta)
    results = []
    for engine in (LocalEngine(part), SplitEngine(parts_of(graph, utility, 0, part_of_node), alpha, beta)):
        exact_greedy(engine, k)
        engine.reopen()
        results.append(certify(engine, 9, part.fixed_point.tie_bits))
    assert results[0] == results[1]


def test_variables_of_wide_weights_are_wide():
    edges = dict.fromkeys(itertools.combinations(range(5), 2), 1.0) | {(0, 5): 1e9}
    graph = make_graph(6, edges)
    part = make_part(graph, np.ones(6), 0.5, 0.5)
    assert part.fixed_point.wide
    for engine in (LocalEngine(part), SplitEngine(parts_of(graph, np.ones(6), 0, np.arange(6) % 3), 0.5, 0.5)):
        with_cliques(engine, 3)
        assert certify(engine, 20, part.fixed_point.tie_bits).bound >= optimum(part, 3)
    board = with_cliques(LocalEngine(part), 3).board
    assert len(board.extra["least"]) > 0
    assert {board.extra[name].dtype for name in ("cap", "mu", "least", "clique_mu")} == {np.dtype(np.int64)}


@given(problems(max_n=11))
def test_what_bounding_proves(problem):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    bits = part.fixed_point.tie_bits
    before = free_bound(engine, k, bits)
    accepted = bound(engine, k).accepted
    after = free_bound(engine, k - accepted, bits)
    best = fixed_objective(part, all_optima(part, k)[0])
    assert before >= after >= best


@given(problems(max_n=11), st.integers(0, 12))
def test_after_bounding_without_refinement(problem, iterations):
    n, edges, utility, alpha, beta, k = problem
    part = make_part(make_graph(n, edges), utility, alpha, beta)
    engine = LocalEngine(part)
    accepted = bound(engine, k).accepted
    exact_greedy(engine, k - accepted)
    engine.reopen()
    assert certify(engine, iterations, part.fixed_point.tie_bits).bound >= optimum(part, k)
    assert (engine.board.status >= Status.ACCEPTED).sum() == k


def test_select_reports_the_certificate(demo_table):
    options = {"size": "10%", "alpha": 0.9, "neighbors": 10}
    plain = subsel.select(demo_table, **options)
    proved = subsel.select(demo_table, certify=100, **options)
    loose = subsel.select(demo_table, certify=100, certify_gap=0.12, **options)
    assert proved.ids.tolist() == plain.ids.tolist()
    assert plain.objective < proved.upper_bound < plain.upper_bound
    found = proved.report.certificate
    assert found.iterations == 100
    assert found.gap == pytest.approx(proved.upper_bound - proved.objective)
    random = proved.report.objective.random
    assert found.share == pytest.approx((proved.objective - random) / (proved.upper_bound - random))
    assert found.share > 0.9
    assert 0 < loose.report.certificate.iterations < 100
    assert 0.88 <= loose.report.certificate.share < found.share


@pytest.mark.parametrize("triangles", [False, True])
def test_cliques_get_turns_where_there_are_any(triangles, rng, monkeypatch):
    n = 200
    edges = {(v, v + far): 0.5 + rng.random() for far in (1, 2)[: 1 + triangles] for v in range(n - far)}
    turns = []

    def noted(graph, board, /, **how):
        turns.append(how["turn"])
        descend(graph, board, **how)

    monkeypatch.setattr("subsel.bounding.certificate.descend", noted)
    part = make_part(make_graph(n, edges), rng.random(n), 0.1, 0.9)
    certify(with_subset(LocalEngine(part), set(range(0, n, 2))), 20, part.fixed_point.tie_bits)
    assert len(turns) == 21
    assert set(turns[:6]) == {"edges"}
    assert turns[:-1].count("cliques") == (7 if triangles else 0)  # the last only measures


def test_measuring_does_not_move():
    part = make_part(make_graph(3, {(0, 1): 1.0, (1, 2): 0.5, (0, 2): 0.7}), [1.0, 2.0, 3.0], 0.5, 0.5)
    engine = with_subset(LocalEngine(part), {2})
    engine.step(tell_degree)
    engine.step(arm)
    before = engine.board.key.copy()
    threshold = engine.kth_largest("key", 1, (Status.SELECTED, Status.DISCARDED))
    engine.step(descend, threshold=threshold, width=0)
    np.testing.assert_array_equal(engine.board.key, before)


@pytest.mark.parametrize("objective", ["pairwise", "coverage"])
@pytest.mark.parametrize("n", [1, 2, 500])
def test_all_points_are_certified_to_be_the_best(n, objective):
    points = np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)
    found = subsel.select(points, size=n, objective=objective, certify=5, progress=False)
    assert found.report.certificate.share == 1.0
