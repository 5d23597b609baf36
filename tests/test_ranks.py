"""Ranks and order statistics: by their definitions, and the same bits on any parts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subsel.parts import ranks as parts_ranks
from subsel.parts.pack import Parcel, unpack
from subsel.ranks import (
    LAST_CODE,
    as_ordered,
    at_or_below,
    from_ordered,
    lowest_place,
    mean_ranks,
    quantile,
    quantile_number,
    rank_of,
)
from tests.split_engine import deliver

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
#: Few values, so that many tie, both zeros among them; or any.
VALUES = st.one_of(st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1e300]), FLOATS)


@st.composite
def points(draw, most_components=1, min_n=1):
    """Values, (components, n), and who is selectable."""
    n = draw(st.integers(min_n, 40))
    c = draw(st.integers(1, most_components))
    pool = draw(st.sampled_from(["any", "equal"]))
    if pool == "equal":
        values = np.full((c, n), draw(VALUES))
    else:
        values = np.array(draw(st.lists(VALUES, min_size=c * n, max_size=c * n))).reshape(c, n)
    selectable = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_)
    return values, selectable


def ranks_by_definition(values, selectable):
    """One point after the other, in fractions."""
    among = [float(x) for x, counts in zip(values, selectable, strict=True) if counts]
    out = []
    for x in values:
        if len(among) <= 1:
            out.append(0.5)
            continue
        below, equal = sum(y < x for y in among), sum(y == x for y in among)
        count = min(below + Fraction(max(equal - 1, 0), 2), len(among) - 1)
        out.append(float(count / (len(among) - 1)))
    return np.array(out)


def split_ranks(values, selectable, part_of, parts, sample_size):
    """Ranks of points that are spread over parts, and the most that any bucket got, in values of one component."""
    own = [np.flatnonzero(part_of == part) for part in range(parts)]
    payloads = [parts_ranks.pack_values(values[:, mine], selectable[mine]) for mine in own]
    splitters = []
    for i in range(len(values)):
        samples = [parts_ranks.sample(part, values[i, mine], sample_size) for part, mine in enumerate(own)]
        weights = np.concatenate([np.full(len(sample), weight) for sample, weight in samples])
        splitters.append(parts_ranks.splitters(np.concatenate([sample for sample, _ in samples]), weights, parts))
    asked = deliver(
        parcel
        for part, payload in enumerate(payloads)
        for parcel in parts_ranks.ask(part, *parts_ranks.unpack_values(payload, len(values)), splitters, parts)
    )
    total = np.zeros((parts, len(values)), np.int64)
    for bucket, parcels in asked.items():
        total[bucket] = parts_ranks.counts(parcels)
    below = np.cumsum(total, axis=0) - total
    n_selectable = int(selectable.sum())
    assert (total.sum(axis=0) == n_selectable).all()
    answered = deliver(
        parcel
        for bucket, parcels in asked.items()
        for parcel in parts_ranks.answer(bucket, parcels[::-1], below[bucket], n_selectable)
    )
    out = np.full(values.shape, np.nan)
    for part, mine in enumerate(own):
        out[:, mine] = parts_ranks.take(values[:, mine], answered.get(part, []))
    received = [sum(unpack(p.payload)["length"] for p in parcels).max() for parcels in asked.values()]
    return out, max(received, default=0)


@given(points())
@example((np.zeros((1, 1)), np.array([True])))
@example((np.zeros((1, 2)), np.array([False, False])))
@example((np.array([[1.0, 2.0, 3.0]]), np.array([True, True, False])))  # above all that count: 1, not more
def test_ranks_are_by_definition(problem):
    (values,), selectable = problem
    ours = mean_ranks(values, selectable)
    assert ours.dtype == np.float64
    np.testing.assert_array_equal(ours, ranks_by_definition(values, selectable))


def test_ranks_of_distinct_values_and_of_ties():
    everyone = np.ones(5, np.bool_)
    assert mean_ranks(np.array([3.0, 1.0, 2.0, 5.0, 4.0]), everyone).tolist() == [0.5, 0, 0.25, 1, 0.75]
    assert mean_ranks(np.array([0.0, -0.0, 0.0, 0.0, -0.0]), everyone).tolist() == [0.5] * 5
    assert mean_ranks(np.array([1.0, 1.0, 2.0, 2.0, 2.0]), everyone).tolist() == [0.125, 0.125, 0.75, 0.75, 0.75]
    others = np.array([True, True, False, False, False])
    assert mean_ranks(np.array([1.0, 2.0, 0.0, 1.5, 3.0]), others).tolist() == [0, 1, 0, 1, 1]


@given(points(3, min_n=0), st.integers(1, 7), st.sampled_from([1, 2, 1000]), st.data())
def test_any_parts_give_the_same_bits(problem, parts, sample_size, data):
    values, selectable = problem
    n = len(selectable)
    part_of = np.array(data.draw(st.lists(st.integers(0, parts - 1), min_size=n, max_size=n)), np.int64)
    ours, _ = split_ranks(values, selectable, part_of, parts, sample_size)
    local = np.array([mean_ranks(component, selectable) for component in values]).reshape(values.shape)
    np.testing.assert_array_equal(ours, local)


@pytest.mark.parametrize("layout", ["random", "sorted", "equal parts"])
def test_a_bucket_gets_about_a_parts_share(rng, layout):
    n, parts = 50_000, 25
    values = rng.normal(size=(1, n)) ** 3
    part_of = np.arange(n) % parts
    if layout == "sorted":
        part_of = np.argsort(np.argsort(values[0])) // (n // parts)
    if layout == "equal parts":
        values = np.repeat(values[:, : n // parts], parts, axis=1)
    ours, most = split_ranks(values, np.ones(n, np.bool_), part_of, parts, 100)
    np.testing.assert_array_equal(ours[0], mean_ranks(values[0], np.ones(n, np.bool_)))
    assert most <= 1.5 * n / parts


def test_points_that_tie_are_one_entry_of_their_part():
    n, parts = 10_000, 7
    ours, most = split_ranks(np.full((1, n), 0.3), np.ones(n, np.bool_), np.arange(n) % parts, parts, 100)
    assert (ours == 0.5).all()
    assert most == parts


def test_samples_and_splitters():
    values = np.arange(1000.0)
    for part in range(50):
        sample, weight = parts_ranks.sample(part, values, 30)
        assert len(sample) == 30
        assert weight == 1000 / 30
        assert set(np.diff(from_ordered(sample))) == {33, 34}
    assert len({tuple(parts_ranks.sample(part, values, 30)[0]) for part in range(50)}) > 25
    sample, weight = parts_ranks.sample(3, np.array([2.0, 2.0, -0.0, 0.0]), 2)
    assert (from_ordered(sample).tolist(), weight) == ([0, 2], 1)
    # A part of three times as many points has three times the weight.
    found = parts_ranks.splitters(np.array([0, 1, 2, 3, 10, 11, 12, 13]), np.repeat([3.0, 1.0], 4), 4)
    assert found.tolist() == [1, 2, 10]
    assert parts_ranks.splitters(np.full(5, 7), np.ones(5), 4).tolist() == [7]
    assert parts_ranks.splitters(np.empty(0, np.int64), np.empty(0), 4).tolist() == []


@given(st.lists(st.one_of(VALUES, st.sampled_from([np.inf, -np.inf, 5e-324, -5e-324])), min_size=1))
def test_ordered_integers_keep_the_order(values):
    array = np.array(values)
    ordered = as_ordered(array)
    np.testing.assert_array_equal(array[:, None] < array, ordered[:, None] < ordered)
    np.testing.assert_array_equal(array[:, None] == array, ordered[:, None] == ordered)
    back = from_ordered(ordered)
    np.testing.assert_array_equal(back, array)
    assert not np.signbit(back[back == 0]).any()


@given(st.lists(VALUES, min_size=1), st.integers(0, 20))
def test_quantiles_are_order_statistics(values, twentieths):
    expected = sorted(values)[max(1, -(-twentieths * len(values) // 20)) - 1]
    found = quantile(np.array(values), twentieths / 20)
    assert found == expected
    assert not (found == 0 and np.signbit(found))


def test_quantile_numbers_are_of_the_number_that_is_written():
    assert quantile_number(0.05, 20) == 1
    assert quantile_number(0.05, 21) == 2
    assert quantile_number(0.95, 20) == 19  # 0.95 * 20 in floats is 19
    assert quantile_number(0.55, 100) == 55  # 55.00000000000001 in floats
    assert quantile_number(0.05, 10**18) == 5 * 10**16
    assert quantile_number(np.float64(0.55), 100) == 55
    assert quantile_number(0, 3) == 1
    assert quantile_number(1, 3) == 3


@given(st.lists(VALUES, max_size=30), st.data())
def test_exactly_k_points_are_at_or_below_a_place(values, data):
    array = np.array(values, np.float64)
    n = len(values)
    codes = np.array(data.draw(st.permutations(range(n))), np.int64) - n // 2
    k = data.draw(st.integers(0, n))
    place = lowest_place(array, codes, k)
    first = sorted(range(n), key=lambda i: (values[i], codes[i]))[:k]
    assert np.flatnonzero(at_or_below(array, codes, place)).tolist() == sorted(first)


def test_ranks_of_huge_counts_are_rounded_once():
    n = 10**12 + 1
    below, equal = np.array([10**12 // 3, n - 2]), np.array([2, 1])
    expected = [float(Fraction(2 * int(b) + int(e) - 1, 2 * (n - 1))) for b, e in zip(below, equal, strict=True)]
    assert rank_of(below, equal, n).tolist() == expected


@pytest.fixture
def on_spark(spark):
    """Put values of points that are spread over parts on Spark, persisted."""
    from subsel.engines.spark.parcels import PARCEL_SCHEMA, place
    from subsel.parts.rows import to_table

    frames = []

    def put(values, selectable, codes, part_of, parts):
        parcels = []
        for part in range(parts):
            mine = np.flatnonzero(part_of == part)
            payload = parts_ranks.pack_values(values[:, mine], selectable[mine], codes[mine])
            parcels.append(Parcel(part, part, parts_ranks.VALUES, payload))
        frame = spark.createDataFrame(to_table(parcels).to_pandas(), PARCEL_SCHEMA)
        frames.append(place(frame, parts).sortWithinPartitions("part", "chunk").persist())
        return frames[-1]

    yield put
    for frame in frames:
        frame.unpersist()


def test_ranks_on_spark(spark, on_spark, rng, monkeypatch):
    from subsel.engines.spark.order import rank_frame
    from subsel.parts import pack as pack_module
    from subsel.parts.pack import from_rows
    from tests.test_spark import exchanges, persisted

    monkeypatch.setattr(pack_module, "CHUNK_BYTES", 700)  # parts' values are in pieces
    n, parts = 600, 4
    values = np.stack([rng.normal(size=n), rng.integers(-2, 3, n) * -0.0 + rng.integers(0, 3, n)])
    selectable = rng.random(n) < 0.8
    part_of = rng.integers(0, parts - 1, n)  # the last part has no points
    frame = on_spark(values, selectable, np.arange(n), part_of, parts)
    frame.count()
    before = persisted(spark)
    ranked = rank_frame(frame, parts, 2, int(selectable.sum()))
    try:
        parcels = from_rows(ranked.toArrow())
        assert len(persisted(spark)) == len(before) + 1  # what was asked is let go of
    finally:
        ranked.unpersist()
    assert {(parcel.part, parcel.kind) for parcel in parcels} == {(part, parts_ranks.RANKS) for part in range(parts)}
    for parcel in parcels:
        mine = np.flatnonzero(part_of == parcel.part)
        ours = unpack(parcel.payload)["rank"].reshape(2, -1)
        local = [mean_ranks(component, selectable)[mine] for component in values]
        np.testing.assert_array_equal(ours, np.array(local).reshape(2, -1))
    with pytest.raises(AssertionError, match=r"points are selectable, not 3"):
        rank_frame(frame, parts, 2, 3)
    assert persisted(spark) == before
    assert exchanges(frame.groupBy("part").count()) == 0  # so that values do not move


def test_order_statistics_on_spark(on_spark, rng, monkeypatch):
    from subsel.engines.spark import order

    n, parts = 300, 3
    values = np.stack([rng.normal(size=n), rng.integers(-2, 3, n) / 2])
    selectable = rng.random(n) < 0.7
    codes = rng.permutation(n) - n // 2
    frame = on_spark(values, selectable, codes, rng.integers(0, parts, n), parts)
    number = int(selectable.sum())
    few = 10  # after radix passes
    for component, k in ((0, 7), (1, number // 3), (1, 0), (1, 20), (1, number)):
        monkeypatch.setattr(order, "_FEW", few)
        place = order.place_of_values(frame, component, k, number)
        assert place == lowest_place(values[component][selectable], codes[selectable], k)
        few = 1 << 20 if component else few  # from then on collected at once
    assert place[1] == LAST_CODE
    assert order.kth_of_values(frame, 0, 3, number) == np.sort(values[0][selectable])[-3]
