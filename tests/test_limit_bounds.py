"""Upper bounds under limits: above all subsets that keep them, as low as the formula allows, the same on any parts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsel.board import hear_wishes
from subsel.bounding import prices_kernel
from subsel.bounding.certificate import certify
from subsel.bounding.prices import Prices, capped, filled, limited_bound, measure_priced
from subsel.engines.local import LocalEngine
from subsel.greedy.limited import limited_greedy, spent_by_groups
from subsel.limits import tables
from subsel.limits.capacity import Capacity, GroupLimit
from subsel.limits.tables import LOWER, UPPER, joined, listed, merge
from subsel.limits.tables_kernel import BELOW, LEVELS
from subsel.sizes import UNLIMITED
from tests.limited_reference import limited_problems
from tests.reference import fixed_objective, make_graph, make_part
from tests.test_limited import include, limited_part, on_parts, subsets


def include_some(engine, part, capacity, taken):
    """Include some points; return what these leave of the limits."""
    engine.step(include, codes={int(part.code[v]) for v in taken})
    engine.step(hear_wishes)
    return capacity.less(*spent_by_groups(engine, capacity))


def keeps(part, capacity, taken, some):
    """Whether a subset takes no more beside included points than these leave."""
    cost = np.ones(part.n_own, np.int64) if part.cost is None else part.cost

    def fits(limit, amounts, inside):
        of_taken = sum(int(amounts[v]) for v in taken if inside(v))
        return sum(int(amounts[v]) for v in some if inside(v)) <= max(limit - of_taken, 0)

    if capacity.size is not None and not fits(capacity.size, np.ones_like(cost), lambda v: True):
        return False
    if capacity.budget is not None and not fits(capacity.budget, cost, lambda v: True):
        return False
    return all(
        fits(int(most), cost if one.by_cost else np.ones_like(cost), lambda v, g=g, group=group: group[v] == g)
        for group, one in zip([] if part.group is None else part.group, capacity.groups, strict=True)
        for g, most in enumerate(one.most.tolist())
    )


def best_beside(part, capacity, taken):
    """f of the best subset that has the included points and keeps what they leave."""
    free = [v for v in range(part.n_own) if v not in taken]
    found = fixed_objective(part, taken)
    for number in range(1 << len(free)):
        some = [v for at, v in enumerate(free) if number >> at & 1]
        if keeps(part, capacity, taken, some):
            found = max(found, fixed_objective(part, {*some, *taken}))
    return found


@given(
    limited_problems(max_n=8),
    st.integers(1, 4),
    st.sampled_from([0, 1, 2, 9, 20]),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_bounds_hold_on_any_parts(problem, parts, iterations, random, data):
    part = limited_part(problem)
    capacity, bits = problem.capacity, part.fixed_point.tie_bits
    taken = data.draw(st.lists(st.integers(0, problem.n - 1), unique=True, max_size=3))
    best = best_beside(part, capacity, taken)
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    found = []
    for engine in (LocalEngine(part), on_parts(problem, where)[0]):
        left = include_some(engine, part, capacity, taken)
        found.append([limited_bound(engine, left, bits)])
        limited_greedy(
            engine, replace(capacity, groups=left.groups and tuple(replace(g, least=None) for g in capacity.groups))
        )
        engine.reopen()
        found[-1].append(certify(engine, iterations, bits, left=left).bound)
    assert found[0] == found[1]
    assert min(found[0]) >= best


@given(limited_problems(max_n=10), st.integers(0, 2**32 - 1))
def test_no_price_is_wrong(problem, seed):
    """Random prices, not ones that a search would find: none gives a bound below the best."""
    part = limited_part(problem)
    capacity, bits = problem.capacity, part.fixed_point.tie_bits
    best = max(fixed_objective(part, some) for some in subsets(part, replace(capacity, max_similarity=None)))
    rng = np.random.default_rng(seed)
    engine = LocalEngine(part)
    for _ in range(20):
        size, budget, *quotas = (int(x) for x in 2.0 ** rng.uniform(-1, 61, 2 + capacity.slots))
        group = np.where(capacity.most < UNLIMITED, np.array(quotas, np.int64), 0)
        prices = Prices(size if capacity.size is not None else 0, budget if capacity.budget is not None else 0, group)
        above = engine.step(measure_priced, left=capacity, prices=prices).sums[0]
        assert prices.paid(capacity, bits) + above >= best


def plain(n, utility, cost=None, group=None):
    part = make_part(make_graph(n, {}), utility, 1.0, 0.0)
    return replace(part, cost=cost, group=group)


def worths(part):
    return [int(x) for x in part.fixed_point.keys(part.utility, part.code) >> part.fixed_point.tie_bits]


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_a_budget_is_bounded_as_by_the_best_price(n, seed, ties):
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, rng.choice([2, 10, 10**6]), n)
    part = plain(n, rng.integers(0, 4, n) / 4 if ties else rng.random(n), cost)
    budget = int(rng.integers(0, cost.sum() + 2))
    gain = worths(part)
    prices = [Fraction(0), *(Fraction(r, int(c)) for r, c in zip(gain, cost, strict=True) if c)]
    best = min(
        price * budget + sum(max(Fraction(0), r - price * int(c)) for r, c in zip(gain, cost, strict=True))
        for price in prices
    )
    found = limited_bound(LocalEngine(part), Capacity(budget=budget), part.fixed_point.tie_bits)
    assert best <= found <= best * (1 + Fraction(1, 2**17)) + n + 1


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_quotas_are_bounded_as_by_the_best_of_each_group(n, seed, ties, sized):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 6))
    group = rng.integers(0, groups, n).astype(np.int32)
    most = np.where(rng.random(groups) < 0.2, UNLIMITED, rng.integers(0, n // 2 + 1, groups))
    part = plain(n, rng.integers(0, 4, n) / 4 if ties else rng.random(n), group=group[None, :])
    size = int(rng.integers(1, n + 1)) if sized else None
    gain = worths(part)
    tops = [
        r for g in range(groups) for r in sorted((gain[v] for v in range(n) if group[v] == g), reverse=True)[: most[g]]
    ]
    best = sum(sorted(tops, reverse=True)[:size])
    capacity = Capacity(size=size, groups=(GroupLimit("g", most),))
    found = limited_bound(LocalEngine(part), capacity, part.fixed_point.tie_bits)
    assert best <= found <= best + (best >> 17) + n + 1


@given(st.integers(0, 2**32 - 1))
def test_with_size_and_budget_the_bound_is_that_of_either_or_less(seed):
    rng = np.random.default_rng(seed)
    n = 60
    cost, bits = rng.integers(1, 50, n), None
    part = plain(n, rng.random(n), cost)
    bits = part.fixed_point.tie_bits
    size, budget = int(rng.integers(1, n)), int(rng.integers(1, cost.sum()))
    both, by_size, by_budget = (
        limited_bound(LocalEngine(part), one, bits)
        for one in (Capacity(size=size, budget=budget), Capacity(size=size), Capacity(budget=budget))
    )
    assert both <= min(by_size, by_budget) * (1 + 2**-16) + n


@given(st.lists(st.integers(1, 2**61), min_size=1, max_size=50))
def test_bins_are_where_they_begin(ratios):
    value = np.array(sorted(ratios))
    ones, zeros, empty = np.ones_like(value), np.zeros_like(value), np.empty(0, np.int64)
    ratio, number = prices_kernel.place(value, ones, zeros, empty, empty)
    assert ratio.tolist() == value.tolist()
    assert (np.diff(number) >= 0).all()
    assert number.max() < prices_kernel.STRIDE
    begin, open_bits = prices_kernel.bin_begins(number)
    for r, b, o in zip(value.tolist(), begin.tolist(), open_bits.tolist(), strict=True):
        assert b <= r < b + 2**o
        assert b >= 2 ** (o + 6) or o == 0
    _, finer = prices_kernel.place(value, ones, zeros, begin[:1], open_bits[:1])
    end = int(begin[0]) + (1 << int(open_bits[0]))
    for r, at in zip(value.tolist(), finer.tolist(), strict=True):
        width = max(int(open_bits[0]) - 12, 0)
        assert at == (prices_kernel.TOP if r >= end else (r - int(begin[0])) >> width)


@given(st.data())
def test_bins_of_parts_merge_as_those_of_one(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    m, slots = int(rng.integers(0, 30)), int(rng.integers(1, 4))
    rows = {
        "slot": rng.integers(0, slots, m),
        "bin": rng.integers(0, 6, m),
        "amount": rng.integers(1, 5, m),
        "largest": rng.integers(1, 99, m),
    }
    limit = rng.integers(0, 30, slots)
    expected, taken = {}, {}
    for g in range(slots):
        through = 0
        for b in range(5, -1, -1):
            here = (rows["slot"] == g) & (rows["bin"] == b)
            amount = int(rows["amount"][here].sum())
            if amount and through + amount > limit[g] and g not in expected:
                expected[g] = (b, int(rows["largest"][here].max()))
            fits = min(amount, int(limit[g]) - through) if through < limit[g] else 0
            taken[b] = taken.get(b, 0) + fits
            through += fits
    found = filled(rows, limit)
    assert {
        s: (b, x) for s, b, x in zip(*(found[name].tolist() for name in ("slot", "bin", "largest")), strict=True)
    } == expected
    capped_rows = capped(rows, limit)
    assert {b: a for b, a in zip(capped_rows["bin"].tolist(), capped_rows["amount"].tolist(), strict=True) if a} == {
        b: a for b, a in taken.items() if a
    }


@settings(max_examples=200)
@given(st.data(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 40), st.booleans())
def test_cut_lists_only_decide_later(data, parts, places, limit, by_size):
    """What lists of some places say of who fits is never more than what lists of all places say."""
    n = data.draw(st.integers(1, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    part, slot, rank, code = rng.integers(0, parts, n), rng.integers(0, 2, n), rng.integers(0, 9, n), rng.permutation(n)
    amount, lower = rng.integers(0, 9, n), rank - rng.integers(0, 3, n)

    def merged(places):
        rows = []
        for one in range(parts):
            mine = part == one
            of = slot[mine], code[mine], amount[mine]
            rooms = [np.full(2, limit)]
            rows.append(listed(UPPER, of[0], rank[mine], *of[1:], rooms, places)[0])
            rows.append(listed(LOWER, of[0], lower[mine], *of[1:], rooms, places, by_size=by_size)[0])
        return merge(joined(rows), np.full(2, limit), np.empty(0, np.int64))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FIRST", 2)
        cut = merged(places)
        patch.setattr(tables, "FIRST", n)
        whole = merged(n)
    level_0 = [np.flatnonzero(found["level"] == 0) for found in (cut, whole)]
    assert np.array_equal(cut["slot"][level_0[0]], whole["slot"][level_0[1]])
    for numbers in zip(*level_0, strict=True):
        found = [(told, int(at)) for told, at in zip((cut, whole), numbers, strict=True)]
        sure = [(int(one["sure_rank"][at]), int(one["sure_code"][at])) for one, at in found]
        assert sure[0] >= sure[1]
        below = [(int(one["floor_rank"][at]), int(one["floor_code"][at])) for one, at in found]
        assert below[0] <= below[1]
    for at in range(len(cut["slot"])):
        assert cut["level"][at] < LEVELS
        floor = int(cut["floor_rank"][at]), int(cut["floor_code"][at])
        if floor > (BELOW, BELOW):  # who counts may be picked anywhere above, and takes all that is left
            above = (lower > floor[0]) | ((lower == floor[0]) & (code >= floor[1]))
            small = amount <= cut["largest"][at]
            assert amount[above & small & (slot == cut["slot"][at])].sum() >= limit
        if cut["out_rank"][at] == BELOW:
            continue
        (one,) = np.flatnonzero(code == cut["out_code"][at])
        before = (lower > rank[one]) | ((lower == rank[one]) & (code > code[one]))
        taken = before & (slot == slot[one]) & (amount <= amount[one])
        assert slot[one] == cut["slot"][at] and amount[one] > limit - amount[taken].sum()
