"""Greedy under limits: a slow twin, and the same subset, order and gains on any parts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel.board import hear_wishes
from subsel.bounding.certificate import certify, free_bound
from subsel.bounding.prices import limited_bound
from subsel.codes import codes_of
from subsel.engines.local import LocalEngine
from subsel.errors import InputError
from subsel.greedy import limited_view
from subsel.greedy.exchange import PAIRS, exchange
from subsel.greedy.limited import limited_greedy, order_limited, ranks_as_keys, spent_by_groups
from subsel.greedy.limited_part import begin as begin_phase
from subsel.greedy.limited_view import NO_END, View
from subsel.greedy.refine import refine
from subsel.greedy.room import make_room
from subsel.limits import tables
from subsel.limits.build import check_reserved
from subsel.limits.capacity import Capacity, GroupLimit
from subsel.schema import Status
from tests.limited_reference import Limited, limited_problems, plain_limited, random_limited, rank_of
from tests.reference import fixed_objective, make_graph, make_part
from tests.split_engine import SplitEngine, parts_of


def limited_part(problem, tie_bits=None):
    part = make_part(
        make_graph(problem.n, problem.edges), problem.utility, problem.alpha, problem.beta, tie_bits=tie_bits
    )
    return replace(part, cost=problem.cost, group=problem.group, max_similarity=problem.capacity.max_similarity)


def on_parts(problem, part_of_node, **more):
    graph = make_graph(problem.n, problem.edges)
    node = {int(code): v for v, code in enumerate(codes_of(graph.ids, 0))}

    def limits(draft):
        at = [node[int(code)] for code in draft.code]
        own = at[: len(draft.indptr) - 1]
        return replace(
            draft,
            cost=None if problem.cost is None else problem.cost[at],
            group=None if problem.group is None else np.ascontiguousarray(problem.group[:, own]),
        )

    by_part = parts_of(graph, problem.utility, 0, part_of_node)
    tau = problem.capacity.max_similarity
    return SplitEngine(by_part, problem.alpha, problem.beta, max_similarity=tau, limits=limits, **more), node


@given(limited_problems(max_n=16))
def test_one_part_equals_the_rule(problem):
    part = limited_part(problem)
    engine = LocalEngine(part)
    result = limited_greedy(engine, problem.capacity)
    found = {int(v): int(engine.board.key[v]) for v in np.flatnonzero(engine.board.status == Status.SELECTED)}
    assert found == dict(plain_limited(part, problem.capacity))
    assert result.selected == len(found)
    assert not (engine.board.status == Status.UNDECIDED).any()


@given(
    limited_problems(max_n=14),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
    st.sampled_from([0, 0, 3, 100]),
    st.booleans(),
    st.sampled_from([None, 3]),
)
def test_any_parts_equal_the_rule(problem, parts, random, finish_points, compact, tie_bits):
    part = limited_part(problem, tie_bits)
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    engine, node = on_parts(problem, where, finish_points=finish_points, compact=compact, tie_bits=tie_bits)
    if len(set(where.tolist())) == 1:
        engine.parts = 2  # all that only several parts do, on one
    limited_greedy(engine, problem.capacity)
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(part, problem.capacity))


@given(limited_problems(max_n=24), st.integers(1, 4), st.randoms(use_true_random=False), st.sampled_from([1, 1, 2, 3]))
def test_lists_of_few_places_err_on_the_safe_side(problem, parts, random, places):
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    engine, node = on_parts(problem, where)
    if len(set(where.tolist())) == 1:
        engine.parts = 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FIRST", 2)
        patch.setattr(limited_view, "PLACES", places)
        patch.setattr(limited_view, "MANY_PLACES", places)
        limited_greedy(engine, problem.capacity)
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(limited_part(problem), problem.capacity))


@given(limited_problems(max_n=16), st.randoms(use_true_random=False))
def test_nobody_has_less_at_its_turn_than_is_said(problem, random):
    """Whoever is passed over: here by lot."""
    part, capacity = limited_part(problem), problem.capacity
    engine = LocalEngine(part)
    engine.step(begin_phase, capacity=capacity, points=problem.n, budget=NO_END)
    board = engine.board
    board.reset_lower(part)
    view = View(part, board, capacity)
    least, comes = view.at_their_turn()
    left = set(np.flatnonzero(board.status == Status.UNDECIDED).tolist())
    assert all(board.lower[v] <= least[v] <= board.key[v] for v in left)
    key = [int(x) for x in board.key]
    cost = None if part.cost is None else part.cost.tolist()

    def place(v):
        return (rank_of(key[v], cost[v], capacity.unit) if capacity.per_cost else key[v], int(part.code[v]))

    while left:
        v = max(left, key=place)
        left.remove(v)
        assert key[v] >= least[v]
        if random.random() < 0.3:
            continue
        for e in range(part.indptr[v], part.indptr[v + 1]):
            j = int(part.indices[e])
            if len(view.conflict) and view.conflict[e]:
                assert j not in left or not comes[j]
                left.discard(j)
            else:
                key[j] -= int(part.weight[e]) << part.fixed_point.tie_bits


def test_only_what_comes_before_a_point_takes_from_it():
    """A chain of falling utilities: each loses what its better neighbour takes, and nothing by the worse one."""
    part = make_part(make_graph(4, {(0, 1): 0.5, (1, 2): 0.25, (2, 3): 0.125}), np.array([4.0, 3, 2, 1]), 1.0, 1.0)
    engine = LocalEngine(part)
    least, comes = View(part, engine.board, Capacity(size=4)).at_their_turn()
    unit = 1 << part.fixed_point.fraction_bits
    assert (least >> part.fixed_point.tie_bits).tolist() == [4 * unit, int(2.5 * unit), int(1.75 * unit), unit * 7 // 8]
    assert comes.all()


def write_letters(graph, board, /, *, left, barred):
    """Write each part a letter of who is out, by code: a kernel."""
    board.absorb_news(graph)
    slot = np.flatnonzero(np.isin(graph.code[: graph.n_own], [*left, *barred]))
    leaves = np.isin(graph.code[slot], list(left))
    board.outbox = {"to": np.full(len(slot), graph.part), "slot": slot, "left": leaves} if len(slot) else {}


@given(
    limited_problems(max_n=14), st.integers(1, 5), st.randoms(use_true_random=False), st.sampled_from([0, 0, 3, 100])
)
def test_any_parts_go_on_where_members_leave(problem, parts, random, finish_points):
    part = limited_part(problem)
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    several, node = on_parts(problem, where, finish_points=finish_points)
    code = {v: code for code, v in node.items()}
    out: set[int] = set()
    members = {v for v, _ in plain_limited(part, problem.capacity)}
    engines = LocalEngine(part), several
    for engine in engines:
        limited_greedy(engine, problem.capacity)
        engine.reopen()
    for _ in range(2):
        left = {v for v in members if random.random() < 0.3}
        barred = {v for v in range(problem.n) if random.random() < 0.3}
        out |= left | (barred - members)
        stay = members - left
        picks = plain_limited(part, problem.capacity, stay, set(range(problem.n)) - out)
        members = stay | {v for v, _ in picks}
        for engine in engines:
            engine.step(write_letters, left={code[v] for v in left}, barred={code[v] for v in barred})
            engine.step(make_room)
            limited_greedy(engine, problem.capacity)
        board = engines[0].board
        found = {int(v): int(board.key[v]) for v in np.flatnonzero(board.status == Status.SELECTED)}
        assert {v: found.pop(v) for v, _ in picks} == dict(picks)
        assert found.keys() == stay
        there = {node[code]: key for code, (key, _) in several.result().items()}
        assert there == {v: int(board.key[v]) for v in members}


@pytest.mark.parametrize(
    "kinds",
    [
        {"similar"},
        {"size", "similar"},
        {"size", "budget"},
        {"size", "budget", "similar"},
        {"two"},
        {"quotas", "similar"},
        {"budget", "two"},
        {"minima", "similar"},
    ],
    ids=lambda kinds: " ".join(sorted(kinds)),  # in one order, whatever the hashes of a process
)
@given(data=st.data())
def test_each_kind_on_many_parts(kinds, data):
    """Every point in one of several parts, no end in one place, and soon beyond the supersteps that are expected."""
    problem = data.draw(limited_problems(max_n=14, kinds=kinds))
    part = limited_part(problem)
    where = np.array(data.draw(st.lists(st.integers(0, 3), min_size=problem.n, max_size=problem.n)))
    engine, node = on_parts(problem, where)
    limited_greedy(engine, problem.capacity, max_supersteps=data.draw(st.sampled_from([1, 3])))
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(part, problem.capacity))


@pytest.mark.parametrize("seed", [0, 1, 7, 8, 9, 11, 17, 18, 19, 20, 28, 31, 33, 48, 58, 62, 82, 97, 99, 125, 257, 349])
def test_problems_that_wrong_rules_fail(seed):
    """Each tells a wrong rule from the right one: signs, floors, what included points spend, tables at the end."""
    problem, where, taken, how = random_limited(seed)
    part = limited_part(problem)
    engine, node = on_parts(problem, where, **how)
    if taken:
        engine.step(include, codes={code for code, v in node.items() if v in taken})
        engine.step(hear_wishes)
    limited_greedy(engine, problem.capacity, max_supersteps=3)
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(part, problem.capacity, taken=taken))


def chosen(names, edges, part_of, capacity, cost=None, taken=(), **how):
    """Select from points of these utilities on parts; return the names of those selected, checked against the rule."""
    at = {name: number for number, name in enumerate(names)}
    edges = {(at[a], at[b]): similarity for (a, b), similarity in edges.items()}
    cost = None if cost is None else np.array([cost[name] for name in names])
    group = np.zeros((1, len(names)), np.int32) if capacity.groups else None
    problem = Limited(len(names), edges, [float(u) for u in names.values()], 1.0, 1.0, cost, group, capacity)
    engine, node = on_parts(problem, np.array([part_of[name] for name in names]), **how)
    engine.step(include, codes={code for code, v in node.items() if list(names)[v] in taken})
    engine.step(hear_wishes)
    limited_greedy(engine, capacity)
    found = {list(names)[node[code]] for code in engine.result()}
    expected = plain_limited(limited_part(problem), capacity, taken=[at[name] for name in taken])
    assert found == {list(names)[v] for v, _ in expected}
    return found


def test_an_early_end_leaves_alone_who_is_held_back():
    """v waits for g of another part, which h excludes there: v comes before what its own part picks meanwhile."""
    names = {"h": 10, "g": 9, "v": 8, "u": 7, "w": 6}
    edges = {("h", "g"): 1.0, ("g", "v"): 0.01}
    part_of = {"h": 1, "g": 1, "v": 0, "u": 0, "w": 0}
    assert chosen(names, edges, part_of, Capacity(size=2, max_similarity=0.9)) == {"h", "v"}


def test_one_that_was_excluded_here_is_not_reopened_by_what_its_part_posts():
    """v excludes g while g's own part posts it once more, for h lowers it. Counted twice, g would raise the least that
    x can add, and with it the floor below which z is left out; y, which comes before both, waits for a chain of others.
    """
    names = {"v": 20, "h": 19, "g": 18, "q4": 15, "q3": 14, "q2": 13, "q1": 12, "y": 11, "x": 10, "z": 9.5}
    part_of = {"v": 0, "h": 1, "g": 1, "q4": 1, "q3": 0, "q2": 1, "q1": 0, "y": 1, "x": 0, "z": 0}
    chain = dict.fromkeys([("q4", "q3"), ("q3", "q2"), ("q2", "q1"), ("q1", "y"), ("y", "z")], 0.001)
    edges = {("v", "g"): 1.0, ("h", "g"): 0.5, ("y", "x"): 0.8, ("x", "g"): 0.85} | chain
    assert chosen(names, edges, part_of, Capacity(size=8, max_similarity=0.9)) == names.keys() - {"g", "x"}


def test_a_floor_spares_who_costs_less_than_those_above():
    """a takes 6 of 10, b would take 6 more and is passed over: c, below the place at which 10 are taken, fits."""
    names, cost = {"a": 3, "b": 2, "c": 1}, {"a": 6, "b": 6, "c": 4}
    capacity = Capacity(groups=(GroupLimit("g", np.array([10]), by_cost=True),))
    assert chosen(names, {}, {"a": 0, "b": 1, "c": 1}, capacity, cost) == {"a", "c"}


def test_nothing_is_finished_before_parts_told_what_members_took():
    capacity = Capacity(groups=(GroupLimit("g", np.array([1])),))
    where = {"m": 0, "u": 1, "v": 1}
    assert chosen({"m": 1, "u": 2, "v": 3}, {}, where, capacity, taken=("m",), finish_points=100) == set()


def subsets(part, capacity):
    """Every subset that keeps all limits, largest first."""
    cost = np.ones(part.n_own, np.int64) if part.cost is None else part.cost
    for size in range(part.n_own, -1, -1):
        for some in itertools.combinations(range(part.n_own), size):
            chosen = np.array(some, np.int64)
            if capacity.size is not None and size > capacity.size:
                continue
            if capacity.budget is not None and cost[chosen].sum() > capacity.budget:
                continue
            if any(
                (
                    np.bincount(group[chosen], (cost if one.by_cost else np.ones_like(cost))[chosen], len(one.most))
                    > one.most
                ).any()
                for group, one in zip([] if part.group is None else part.group, capacity.groups, strict=True)
            ):
                continue
            rows = np.repeat(np.arange(part.n_own), np.diff(part.indptr))
            inside = np.isin(rows, chosen) & np.isin(part.indices, chosen)
            if capacity.max_similarity is not None and (part.similarity[inside] > capacity.max_similarity).any():
                continue
            yield some


@given(limited_problems(max_n=8, minima=False), st.sampled_from([0, 3, 30]))
def test_bounds_are_above_the_best_subset_that_keeps_all_limits(problem, iterations):
    part = limited_part(problem)
    capacity = problem.capacity
    best = max(fixed_objective(part, some) for some in subsets(part, capacity))
    engine = LocalEngine(part)
    bits = part.fixed_point.tie_bits
    found = limited_bound(engine, capacity, bits)
    assert found >= best
    if capacity.size is not None:
        free = free_bound(engine, capacity.size, bits, fewer=True)
        assert free >= best
        assert found <= free + 1 + (free >> 17)
    limited_greedy(engine, capacity)
    certified = certify(engine, iterations, bits, left=capacity) if iterations else None
    assert certified is None or certified.bound >= best


@given(limited_problems(max_n=14), st.integers(1, 4), st.integers(1, 4), st.randoms(use_true_random=False))
def test_swaps_keep_similarity_and_only_gain(problem, parts, passes, random):
    capacity = replace(problem.capacity, budget=None, groups=(), size=problem.capacity.size or 3, per_cost=False)
    problem.capacity, problem.cost, problem.group = capacity, None, None
    part = limited_part(problem)
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    engine, node = on_parts(problem, where)
    limited_greedy(engine, capacity)
    before = {node[code] for code in engine.result()}
    engine.reopen()
    result = refine(engine, passes)
    after = {node[code] for code in engine.result()}
    assert len(after) == len(before)
    assert fixed_objective(part, after) - fixed_objective(part, before) == result.gained
    assert result.gained >= 0
    assert tuple(sorted(after)) in set(subsets(part, replace(capacity, size=len(after))))
    alone = LocalEngine(part)
    limited_greedy(alone, capacity)
    refine(alone, passes)
    assert set(np.flatnonzero(alone.board.status == Status.SELECTED).tolist()) == after


def slow_exchange(part, capacity, subset, stay):
    """One pass of swaps inside cells, with sets: (who joins, who leaves, what is gained)."""
    bits, n = part.fixed_point.tie_bits, part.n_own
    edges = {(v, int(part.indices[e])): e for v in range(n) for e in range(part.indptr[v], part.indptr[v + 1])}
    weight = {pair: int(part.weight[e]) for pair, e in edges.items()}
    tau = capacity.max_similarity
    near = {pair for pair, e in edges.items() if tau is not None and part.similarity[e] > tau}
    first = part.fixed_point.keys(part.utility, part.code)
    code = [int(c) for c in part.code]
    m = [int(first[v] >> bits) - sum(w for (a, j), w in weight.items() if a == v and j in subset) for v in range(n)]
    cell = [tuple(part.group[:, v].tolist()) for v in range(n)]
    far = {}
    for c in set(cell):
        out = [v for v in range(n) if cell[v] == c and v not in subset and not any((v, j) in near for j in subset)]
        out.sort(key=lambda v: (m[v], code[v]), reverse=True)
        inside = sorted((v for v in subset - stay if cell[v] == c), key=lambda v: (-m[v], code[v]), reverse=True)
        pairs = [(j, i) for j, i in zip(out[:PAIRS], inside[:PAIRS], strict=False) if m[j] > m[i]]
        if pairs:
            far |= {v: (abs(m[v] - m[pairs[-1][0]]), code[v]) for pair in pairs for v in pair}
    first_ones = {v for v in far if all(far[j] < far[v] for j in far if weight.get((v, j), 0) > 0 or (v, j) in near)}
    joins, leaves = set(), set()
    for c in set(cell):
        here = sorted((v for v in first_ones if cell[v] == c), key=far.get, reverse=True)
        out, inside = [v for v in here if v not in subset], [v for v in here if v in subset]
        for j, i in zip(out, inside, strict=False):
            joins.add(j)
            leaves.add(i)
    return joins, leaves, sum(m[v] for v in joins) - sum(m[v] for v in leaves)


@given(
    limited_problems(max_n=14),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1, 2, 1024]),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_swaps_inside_groups_keep_every_limit_and_only_gain(problem, parts, passes, most, random, data):
    capacity = problem.capacity
    if not capacity.groups or not replace(capacity, budget=None).swaps:
        return
    problem.cost, problem.capacity = None, replace(capacity, budget=None, size=capacity.size or 3, per_cost=False)
    capacity, part = problem.capacity, limited_part(problem)
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    split, node = on_parts(problem, where)
    alone = LocalEngine(part)
    taken = data.draw(st.lists(st.integers(0, problem.n - 1), unique=True, max_size=2))
    if refused(problem, taken):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subsel.greedy.exchange.PAIRS", most)
        patch.setitem(slow_exchange.__globals__, "PAIRS", most)
        results = []
        for engine in (alone, split):
            engine.step(include, codes={int(part.code[v]) for v in taken})
            engine.step(hear_wishes)
            limited_greedy(engine, capacity)
            engine.reopen()
            if engine is alone:
                before = set(np.flatnonzero(alone.board.status >= Status.SELECTED).tolist())
            results.append(exchange(engine, capacity, passes))
        expected, gained = before, 0
        for _ in range(passes):
            joins, leaves, more = slow_exchange(part, capacity, expected, set(taken))
            expected, gained = (expected - leaves) | joins, gained + more
            assert more > 0 or not joins
    after = set(np.flatnonzero(alone.board.status == Status.SELECTED).tolist()) | set(taken)
    assert after == expected
    assert {node[code] for code in split.result()} | set(taken) == after
    assert results[0] == results[1]
    assert results[0].gained == gained == fixed_objective(part, after) - fixed_objective(part, before)
    for group, one in zip(part.group, capacity.groups, strict=True):
        count = [np.bincount(group[sorted(some)], minlength=len(one.most)).tolist() for some in (before, after)]
        assert count[0] == count[1]
    if capacity.max_similarity is not None and not taken:
        assert tuple(sorted(after)) in set(subsets(part, replace(capacity, size=len(after))))


@given(limited_problems(max_n=12, minima=False), st.integers(1, 4), st.randoms(use_true_random=False), st.booleans())
def test_the_subset_is_put_into_the_order_of_picking(problem, parts, random, restart):
    part = limited_part(problem)
    picks = plain_limited(part, problem.capacity)
    if restart:  # greedy on the subset alone
        picks = plain_limited(
            part,
            Capacity(per_cost=problem.capacity.per_cost, unit=problem.capacity.unit),
            candidates=[v for v, _ in picks],
        )
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    engine, node = on_parts(problem, where)
    limited_greedy(engine, problem.capacity)
    order_limited(engine, problem.capacity, restart=restart)
    spent, totals = spent_by_groups(engine, problem.capacity)
    assert totals["points"] == len(picks)
    ranks_as_keys(engine, problem.capacity)
    placed = sorted(((key, code) for code, (key, _) in engine.result().items()), reverse=True)
    assert [node[code] for _, code in placed] == [v for v, _ in picks]
    for column, (one, begin) in enumerate(
        zip(problem.capacity.groups, problem.capacity.offsets.tolist(), strict=False)
    ):
        counted = np.bincount(problem.group[column][[v for v, _ in picks]], minlength=len(one.most))
        assert spent["points"][begin : begin + len(one.most)].tolist() == counted.tolist()


@given(limited_problems(max_n=12, minima=False), st.integers(1, 4), st.randoms(use_true_random=False), st.data())
def test_members_that_are_there_spend_and_exclude(problem, parts, random, data):
    part = limited_part(problem)
    taken = data.draw(st.lists(st.integers(0, problem.n - 1), unique=True, max_size=3))
    if refused(problem, taken) or (problem.capacity.size is not None and problem.capacity.size < len(taken)):
        return
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    engine, node = on_parts(problem, where, finish_points=data.draw(st.sampled_from([0, 5])))
    codes = {code for code, v in node.items() if v in taken}
    engine.step(include, codes=codes)
    engine.step(hear_wishes)
    limited_greedy(engine, problem.capacity)
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(part, problem.capacity, taken=taken))


def refused(problem, taken):
    """Whether the pipeline refuses minima beside included points before anything is selected."""
    capacity = problem.capacity
    if not capacity.certain:
        return False
    count = np.bincount(problem.group[0, taken], minlength=len(capacity.least))
    try:
        check_reserved(capacity, [str(one) for one in range(len(count))], count)
    except InputError:
        return True
    return False


def include(graph, board, /, *, codes):
    """A kernel: include own points of some codes."""
    own = np.isin(graph.code[: graph.n_own], list(codes))
    board.status[: graph.n_own][own] = Status.INCLUDED
