from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.codes import codes_of, hash_ids, repeated_rows
from subsel.errors import InputError
from subsel.fixedpoint import FixedPoint, Usual

positive = st.floats(0, 1e12, allow_subnormal=False)


@given(positive, positive, st.integers(1, 100_000), st.floats(0, 10), st.floats(0, 10))
def test_no_key_and_no_weight_overflows(utility, similarity, degree, alpha, beta):
    scale = FixedPoint.choose(alpha, beta, utility, similarity * degree, similarity)
    weight = int(np.rint(similarity * beta * scale.scale))
    assert 0 <= weight <= (2**53 if scale.wide else 2**30)
    assert 8 <= scale.tie_bits <= 31
    for gain in (alpha * utility, -alpha * utility - beta * similarity * degree):
        assert abs(int(gain * scale.scale) << scale.tie_bits) < 2**62


def test_usual_data_keeps_24_fractional_bits():
    scale = FixedPoint.choose(0.9, 0.1, max_utility=1.0, max_degree=40.0, max_similarity=1.0)
    assert scale.fraction_bits >= 24
    assert scale.tie_bits >= 20


def test_hub_of_a_million_neighbours_keeps_its_precision():
    scale = FixedPoint.choose(0.5, 0.5, max_utility=1.0, max_degree=1e6, max_similarity=1.0)
    assert scale.fraction_bits >= 24


def test_key_carries_gain_and_tie():
    scale = FixedPoint(alpha=0.5, beta=0.5, fraction_bits=20, tie_bits=7)
    key = scale.keys(np.array([-3.0, 3.0]), np.array([-1, 5]))
    assert (key >> 7).tolist() == [-(3 << 19), 3 << 19]
    assert (key & 127).tolist() == [127, 5]


def test_gain_beyond_float64_is_an_error():
    with pytest.raises(InputError, match="scale the utilities down"):
        FixedPoint.choose(10.0, 0.0, 1e308, 0.0, 0.0)


def test_one_far_larger_similarity_does_not_coarsen_the_others():
    scale = FixedPoint.choose(0.9, 0.1, max_utility=1.0, max_degree=1e9, max_similarity=1e9)
    assert scale.wide
    assert scale.fraction_bits >= 22
    assert scale.weights(np.array([1e9, 0.5])).dtype == np.int64


def test_tiny_and_huge_values_keep_relative_precision():
    for magnitude in (1e-200, 1e-9, 1e9, 1e200):
        scale = FixedPoint.choose(1.0, 1.0, magnitude, magnitude, magnitude)
        weight = scale.weights(np.array([magnitude / 3]))[0]
        assert weight / scale.scale == pytest.approx(magnitude / 3, rel=2**-24)


def test_codes_do_not_depend_on_row_order_chunks_or_string_type():
    names = [f"point-{i}" for i in range(1000)]
    one = codes_of(pa.array(names), 3)
    two = codes_of(pa.chunked_array([names[:10], names[10:]]), 3)
    large = codes_of(pa.array(names, pa.large_string()).slice(5), 3)
    assert (one == two).all()
    assert (one[5:] == large).all()
    assert (codes_of(pa.array(names[::-1]), 3)[::-1] == one).all()
    assert (codes_of(pa.array(names), 4) != one).all()


def test_integer_widths_agree():
    small, wide = pa.array([1, 2, 3], pa.int8()), pa.array([1, 2, 3], pa.int64())
    assert (codes_of(small, 0) == codes_of(wide, 0)).all()


def test_codes_look_uniform():
    codes = codes_of(pa.array(np.arange(100_000)), 0)
    assert len(np.unique(codes)) == 100_000
    for bit in range(64):
        assert abs(((codes >> bit) & 1).mean() - 0.5) < 0.01


def test_duplicates_and_nulls():
    assert repeated_rows(pa.array(["a", "b", "a", "a"])).tolist() == [2, 3]
    with pytest.raises(InputError, match=r"2 of 4 rows repeat the id of an earlier row, such as 'a'"):
        codes_of(pa.array(["a", "b", "a", "a"]), 0)
    with pytest.raises(InputError, match="1 of 2 ids are null"):
        hash_ids(pa.array([1, None]), 0)


@given(st.lists(st.floats(-1e300, 1e300, allow_subnormal=False), min_size=1, max_size=20), st.integers(0, 19))
def test_how_large_values_usually_are_does_not_depend_on_parts(values, at):
    values = np.array(values)
    whole = Usual.of(values)
    assert Usual.of(values[:at]) + Usual.of(values[at:]) == whole
    if whole.some * 2 >= whole.n:
        exact = (np.abs(values[values != 0]) ** (1 / 32)).mean() ** 32
        assert exact / 2.1 <= whole.size <= exact * 4.2


@pytest.mark.parametrize("more", [{"alpha": 0.9}, {}, {"objective": "coverage", "utility_weight": 1.0}])
def test_a_utility_beside_which_others_would_not_count_is_refused(more):
    rng = np.random.default_rng(0)
    points, utility = rng.standard_normal((300, 8)).astype(np.float32), rng.random(300)
    about = {"size": 30, "neighbors": 5, "progress": False, **more}
    utility[5] = 1e12
    assert 5 in subsel.select(points, utility=utility, **about).ids.tolist()
    utility[5] = 1e18
    with pytest.raises(InputError, match="a utility is 1e"):
        subsel.select(points, utility=utility, **about)


@pytest.mark.parametrize("more", [{"alpha": 0.9}, {}])
def test_a_similarity_beside_which_others_would_not_count_is_refused(more):
    rng = np.random.default_rng(0)
    similarity = rng.random(300)
    similarity[7] = 1e20
    edges = pa.table({"src": np.arange(300), "dst": (np.arange(300) + 1) % 300, "similarity": similarity})
    points = pa.table({"id": np.arange(300), "utility": rng.random(300)})
    with pytest.raises(InputError, match="a point's sum of similarities is 1e"):
        subsel.select(points, graph=edges, size=30, progress=False, **more)


def test_the_largest_floats_are_usual_too():
    assert Usual.of(np.full(5, 1.7e308)).size > 1e300
    points = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert len(subsel.select(points, utility=np.full(50, 1e306), size=5, alpha=1.0, beta=0.0, progress=False)) == 5
