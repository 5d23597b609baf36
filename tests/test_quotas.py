"""What quotas and minima come to: against a slow twin in fractions, in tables of examples, and every refusal."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel import ConfigError, InputError, SelectConfig
from subsel.limits.quotas import UNLIMITED, GroupTable, quota_maxima, quota_minima, quota_table, water_fill


def slow_fill(whole, weights, available):
    """Water-filling as one would by hand: give everyone a share, and begin again without those that it overfills."""
    shares, open_, left = [0] * len(weights), [at for at, one in enumerate(available) if one], whole
    while open_:
        total = sum(weights[at] for at in open_)
        share = {at: Fraction(left * weights[at], total) for at in open_}
        over = [at for at in open_ if share[at] >= available[at]]
        if not over:
            for at in open_:
                shares[at] = int(share[at])
            missing = left - sum(int(one) for one in share.values())
            for at in sorted(open_, key=lambda at: (int(share[at]) - share[at], at))[:missing]:
                shares[at] += 1
            break
        for at in over:
            shares[at] = available[at]
        left -= sum(available[at] for at in over)
        open_ = [at for at in open_ if at not in over]
    return shares


@st.composite
def fills(draw):
    """(whole, weights, available): few values, so that they tie; and huge ones."""
    small = st.tuples(st.integers(1, 6), st.integers(0, 6))
    large = st.tuples(st.integers(1, 2**40), st.integers(0, 2**52))
    groups = draw(st.lists(draw(st.sampled_from([small, large])), min_size=1, max_size=8))
    weights, available = map(list, zip(*groups, strict=True))
    return draw(st.integers(0, sum(available) + 3)), weights, available


@given(fills())
def test_water_filling_is_what_one_does_by_hand(problem):
    whole, weights, available = problem
    found = water_fill(whole, weights, np.array(available)).tolist()
    assert found == slow_fill(whole, weights, available)
    assert sum(found) == min(whole, sum(available))
    assert all(0 <= one <= most for one, most in zip(found, available, strict=True))
    for a in range(len(found)):
        for b in range(len(found)):
            if weights[a] >= weights[b] and available[a] >= available[b]:
                assert found[a] >= found[b] - (weights[a] == weights[b] and a > b)


@given(fills(), st.integers(0, 5))
def test_a_larger_whole_takes_from_nobody_but_a_rounding(problem, more):
    whole, weights, available = problem
    less, larger = (water_fill(one, weights, np.array(available)) for one in (whole, whole + more))
    assert (larger >= less - 1).all()


def test_the_first_of_equal_remainders_are_rounded_up():
    assert water_fill(5, [1, 1, 1], np.array([9, 9, 9])).tolist() == [2, 2, 1]
    assert water_fill(5, [2, 1, 1, 2], np.array([9, 9, 9, 9])).tolist() == [2, 1, 1, 1]
    assert water_fill(10, [1, 1, 1], np.array([1, 9, 9])).tolist() == [1, 5, 4]
    assert water_fill(10, [], np.array([], np.int64)).tolist() == []
    assert water_fill(10, [0, 3], np.array([0, 4])).tolist() == [0, 4]


def test_as_many_groups_as_there_may_be():
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 2**40, 100_000)
    available = rows // rng.integers(1, 5, len(rows))
    whole = int(available.sum()) // 2
    found = water_fill(whole, rows.tolist(), available)
    assert int(found.sum()) == whole
    assert (found <= available).all()
    free = found < available
    level = found[free] / rows[free]
    assert np.ptp(level * rows[free].min()) < 2  # all that are not empty are as full, but for the rounding


def table(points=(60, 30, 10), rows=None, cost=None, names=("books", "code", "web")):
    as_array = [None if one is None else np.array(one, np.int64) for one in (points, rows or points, cost)]
    return GroupTable("source", names, *as_array)


def maxima(quotas, groups, size=None, budget=None, other=None, **options):
    costs = {"cost": "tokens"} if budget is not None or options.get("quotas_by") == "cost" else {}
    config = SelectConfig(groups="source", quotas=quotas, other=other, size=size, budget=budget, **costs, **options)
    config.check_complete()
    most, unit = quota_maxima(config, groups, config.quotas_of("source"), size=size, budget=budget)
    assert most.dtype == np.int64
    return most.tolist(), unit


@pytest.mark.parametrize(
    ("quotas", "size", "expected"),
    [
        ("proportional", 50, [30, 15, 5]),
        ("proportional", 51, [31, 15, 5]),
        ("sqrt", 20, [9, 7, 4]),  # 9.46, 6.69, 3.86
        ("balanced", 20, [7, 7, 6]),
        ("balanced", 60, [25, 25, 10]),
        ("balanced", 95, [55, 30, 10]),
        ("balanced", 500, [60, 30, 10]),
        ({"web": 5}, 50, [UNLIMITED, UNLIMITED, 5]),
        ({"web": 0, "code": "1K"}, 50, [UNLIMITED, 1000, 0]),
        ({"web": 0.5, "books": "50%"}, 101, [51, UNLIMITED, 50]),
        ("web=20%", 101, [UNLIMITED, UNLIMITED, 20]),
        ({"books": 1, "code": 1.0}, 7, [1, 7, UNLIMITED]),
        ({"books": 0.1, "code": 0.2, "web": 0.7}, 10, [1, 2, 7]),  # no float has these; tenths are exact
        ({"books": 1 / 3, "code": 1 / 3, "web": 1 / 3}, 30, [10, 10, 10]),  # a little less than a third each
    ],
)
def test_quotas_in_points(quotas, size, expected):
    assert maxima(quotas, table(), size) == (expected, "points")


def test_proportional_goes_by_rows_and_fills_by_points():
    groups = table(points=(10, 10, 10), rows=(100, 10, 10))
    assert maxima("proportional", groups, 12) == ([10, 1, 1], "points")
    assert maxima("proportional", groups, 15) == ([10, 3, 2], "points")


def test_other_is_the_quota_of_each_that_is_not_named():
    assert maxima({"web": 3}, table(), 50, other=7) == ([7, 7, 3], "points")
    assert maxima("web=3", table(), 50, other="5%") == ([2, 2, 3], "points")
    assert maxima("web=3", table(), 50, other=0) == ([0, 0, 3], "points")


def test_quotas_in_cost():
    groups = table(cost=(600, 3000, 400))
    assert maxima({"web": 0.5, "code": 10}, groups, 5, 1001, quotas_by="cost") == ([UNLIMITED, 10, 500], "cost")
    assert maxima({"code": 10}, groups, 5, quotas_by="cost") == ([UNLIMITED, 10, UNLIMITED], "cost")
    assert maxima("balanced", groups, None, 1500, quotas_by="cost") == ([550, 550, 400], "cost")
    assert maxima("proportional", groups, None, 1000) == ([600, 300, 100], "cost")  # of a budget alone
    assert maxima({"web": "10%", "code": 0}, groups, None, 1000) == ([UNLIMITED, 0, 100], "cost")
    assert maxima({"web": 10}, groups, None, 1000) == ([UNLIMITED, UNLIMITED, 10], "points")
    assert maxima({"web": 0.5}, groups, 50, 1000) == ([UNLIMITED, UNLIMITED, 25], "points")
    with pytest.raises(ConfigError, match="without size, fractions of quotas are of the budget, and amounts count poi"):
        maxima({"web": 0.5, "code": 10}, groups, None, 1000)
    with pytest.raises(ConfigError, match="without size, fractions of quotas"):
        maxima({"web": 0.5}, groups, None, 1000, other=10)


def test_square_roots_are_exact_where_they_are_whole():
    rows = [one * one for one in (1, 2, 3, 2**20)]
    groups = GroupTable("g", tuple("abcd"), np.array(rows), np.array(rows))
    config = SelectConfig(groups="g", quotas="sqrt", size=1)
    most, _ = quota_maxima(config, groups, "sqrt", size=sum(map(isqrt, rows)) // 2 * 2)
    assert most.tolist() == [1, 2, 3, 2**20]


@given(st.lists(st.integers(0, 40).map(lambda one: one / 40), min_size=3, max_size=3), st.integers(1, 200))
def test_fractions_are_rounded_to_a_sum_that_is_rounded_down(fractions, size):
    names = ("books", "code", "web")
    found, _ = maxima(dict(zip(names, fractions, strict=True)), table(), size)
    exact = [Fraction(round(one * 40), 40) * size for one in fractions]
    assert sum(found) == int(sum(exact))
    assert all(int(want) <= one < want + 1 for one, want in zip(found, exact, strict=True))


def test_unknown_names_tell_the_closest():
    with pytest.raises(InputError) as caught:
        maxima("wbe=3,x=4", table(), 50)
    assert str(caught.value) == (
        "quotas name groups that column 'source' does not have: 'wbe' (did you mean 'web'?), 'x'; it has 'books', "
        "'code', 'web'. Correct the names, or leave them out."
    )
    many = table([1] * 1000, names=tuple(f"{at:03}" for at in range(1000)))
    with pytest.raises(InputError, match="and 15 more; it has '000', '001', '002', '003', '004' and 995 more"):
        maxima({f"x{at}": 1 for at in range(20)}, many, 50)
    with pytest.raises(InputError, match="at_least name groups that"):
        minima({"wbe": 1})


def test_null_is_a_group_and_text_null_another():
    nulls = table(names=("books", "web", "null"))
    assert maxima({None: 3}, nulls, 50) == maxima("null=3", nulls, 50) == ([UNLIMITED, UNLIMITED, 3], "points")
    both = table(names=("books", "null", "null"))
    with pytest.raises(InputError, match="'source' has both nulls and the text 'null': rename the text"):
        maxima("null=3", both, 50)
    assert maxima("balanced", both, 30) == ([10, 10, 10], "points")


def minima(at_least, most=None, size=50, groups=None):
    config = SelectConfig(groups="source", at_least=at_least, size=size)
    most = None if most is None else np.array(most, np.int64)
    return quota_minima(config, groups or table(), config.minima, most, size=size).tolist()


def test_minima():
    assert minima({"web": 5}) == [0, 0, 5]
    assert minima("web=10%,code=20", size=50) == [0, 20, 5]
    assert minima("balanced", size=45) == [18, 17, 10]
    assert minima({"web": 5}, most=[UNLIMITED, 1, 5]) == [0, 0, 5]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"at_least": {"web": 11, "code": 31}},
            "'code' wants 31 and has 30, 'web' wants 11 and has 10. Lower at_least.",
        ),
        (
            {"at_least": {"web": 5}, "most": [1, 2, 3]},
            "'web' wants 5 and its quota is 3. Lower at_least or raise quotas.",
        ),
        (
            {"at_least": {"web": 10, "code": 15, "books": 26}},
            "'books' 26, 'code' 15, 'web' 10 are 51 together, and 50 are to be selected. Lower at_least or raise size.",
        ),
        (
            {"at_least": dict.fromkeys(map(str, range(9)), 2), "groups": table([1] * 9, names=tuple("012345678"))},
            "'4' wants 2 and has 1 and 4 more. Lower at_least.",
        ),
    ],
)
def test_minima_that_cannot_be_met_name_their_groups(asked, message):
    with pytest.raises(InputError) as caught:
        minima(**asked)
    assert str(caught.value).startswith("at_least of column 'source' cannot be met: ")
    assert str(caught.value).endswith(message)
    assert "\n" not in str(caught.value)


def test_tables_of_quotas():
    assert quota_table(pa.array(["web", None]), pa.array(["50%", "1K"]), "q") == {"web": 0.5, "null": 1000}
    assert quota_table(pa.array([2, 10]), pa.chunked_array([[0], [3]]), "q") == {"2": 0, "10": 3}
    assert quota_table(pa.array(["a", "b"]).dictionary_encode(), pa.array([0.5, 2.0]), "q") == {"a": 0.5, "b": 2}
    for groups, quotas, message in (
        (pa.array(["a", "a", "b"]), pa.array([1, 2, 3]), "q.csv has more than one quota of 'a': leave one."),
        (pa.array(["a"]), pa.array(["much"]), "q.csv: the quota of 'a', 'much' is neither a quota of at least 0"),
        (pa.array(["a"]), pa.array([None], pa.int64()), "q.csv: the quota of 'a', None is neither"),
        (pa.array(["a"]), pa.array([-1]), "q.csv: the quota of 'a', -1 is neither"),
        (pa.array([], pa.string()), pa.array([], pa.int64()), "q.csv is empty: give a row for each group"),
        (pa.array([["a"]]), pa.array([1]), "q.csv: column group is of type list"),
    ):
        with pytest.raises(InputError) as caught:
            quota_table(groups, quotas, "q.csv")
        assert message in str(caught.value)


def test_what_a_table_says_is_read_like_what_the_config_says():
    config = SelectConfig(groups="source", quotas="quotas.parquet", other=1, size=10)
    config.check_complete()
    spec = quota_table(pa.array(["web"]), pa.array(["50%"]), "quotas.parquet")
    assert quota_maxima(config, table(), spec, size=10)[0].tolist() == [1, 1, 5]
    by_cost = SelectConfig(groups="source", quotas="quotas.parquet", quotas_by="cost", cost="tokens", size=10)
    with pytest.raises(ConfigError, match="fractions and rules of quotas are of the budget"):
        quota_maxima(by_cost, table(cost=(1, 2, 3)), spec, size=10)
