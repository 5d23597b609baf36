"""The rules of rows, on the rule set and its Arrow executor: order, batches and encodings of a table change nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel import InputError, SelectConfig
from subsel.input.findings import Findings
from subsel.input.points import read_points
from subsel.input.rows import Columns, RowChecker, flat_lists, may_be_read
from subsel.input.source import open_source
from subsel.input.taking import kept_columns
from subsel.input.types import as_plain, plain_type

NAN = float("nan")
VALUES = [[1.0, 0.0, 2.0, 0.5], [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.5, 0.25], [0.5, 1.0, 0.25, 2.0]]


def read(table, *, with_embeddings=True, **options):
    config = SelectConfig(**options)
    source = open_source(table, may_be_read(config), config)
    return read_points(source, config, with_embeddings=with_embeddings), source


def checker_of(table, **options):
    config = SelectConfig(**options)
    kinds = pa.schema([(field.name, plain_type(field.type)) for field in table.schema])
    return RowChecker(Columns.of(kinds, config, "it", with_embeddings=True, given=False), config)


def check(checker, table):
    """Run batches of any types through a checker."""
    found = []
    for batch in table.to_batches():
        arrays = [as_plain(column, plain_type(column.type)) for column in batch.columns]
        found.append(checker.check(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)))
    return found


def runs(values):
    """One run a value."""
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(values) + 1), pa.int32()), values)


def dictionary(values):
    return pa.DictionaryArray.from_arrays(pa.array(range(len(values)), pa.int8()), values)


F32 = pa.array(VALUES, pa.list_(pa.float32()))
EMBEDDINGS = {
    "list": F32,
    "sliced": pa.array([[9.0], *VALUES, None], pa.list_(pa.float32())).slice(1, 4),
    "large list": pa.array(VALUES, pa.large_list(pa.float32())),
    "fixed list": pa.array(VALUES, pa.list_(pa.float32(), 4)),
    "sliced fixed list": pa.array([[9.0] * 4, *VALUES, None], pa.list_(pa.float32(), 4)).slice(1, 4),
    "list view": pa.array(VALUES, pa.list_view(pa.float32())),
    "large list view": pa.array(VALUES, pa.large_list_view(pa.float32())),
    "halves": pa.array([np.array(v, np.float16) for v in VALUES], pa.list_(pa.float16())),
    "doubles": pa.array(VALUES, pa.list_(pa.float64())),
    "dictionary": dictionary(F32),
    "runs": runs(F32),
    "nested": pa.array([[v[:2], v[2:]] for v in VALUES], pa.list_(pa.list_(pa.float32()))),
    "ragged inside": pa.array([[v[:1], [], v[1:]] for v in VALUES], pa.list_(pa.list_(pa.float64()))),
    "nested fixed": pa.array([[v[:2], v[2:]] for v in VALUES], pa.list_(pa.list_(pa.float32(), 2), 2)),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.array(VALUES, np.float32).reshape(4, 2, 2)),
}
IDS = {
    "string": pa.array(["a", "b", "c", "d"]),
    "large string": pa.array(["a", "b", "c", "d"], pa.large_string()),
    "string view": pa.array(["a", "b", "c", "d"], pa.string_view()),
    "dictionary": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
    "runs": runs(pa.array(["a", "b", "c", "d"])),
}


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_embeddings_of_every_encoding(kind):
    points, _ = read(pa.table({"id": [1, 2, 3, 4], "embedding": EMBEDDINGS[kind]}))
    assert points.embeddings.dtype == (np.float16 if kind == "halves" else np.float32)
    assert points.embeddings.tolist() == VALUES


def test_halves_that_spark_read_as_two_bytes_each():
    halves = pa.table({"id": [1, 2, 3, 4], "embedding": EMBEDDINGS["halves"]})
    lists = [[np.float16(x).tobytes() for x in v] for v in VALUES[:3]] + [[b"\0\0", None, b"\0\0", b"\0\0"]]
    checker = checker_of(halves)
    (found,) = check(checker, halves.set_column(1, "embedding", pa.array(lists, pa.list_(pa.binary()))))
    assert found.embeddings.tolist() == VALUES[:3]
    assert checker.findings.counts == {"NaN or infinite embedding value": 1}


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "uint64"])
def test_embeddings_of_integers(kind):
    lists = [[1, 0], [2, 3], [0, 7]]
    points, _ = read(pa.table({"id": [1, 2, 3], "embedding": pa.array(lists, pa.list_(getattr(pa, kind)()))}))
    assert points.embeddings.tolist() == lists


@pytest.mark.parametrize("kind", IDS)
def test_ids_and_utilities_of_every_encoding(kind):
    utility = pa.array([1.0, 2.0, 0.5, 0.25])
    for encoded in (utility, utility.dictionary_encode(), runs(utility), utility.cast(pa.float16())):
        points, _ = read(pa.table({"id": IDS[kind], "embedding": F32, "utility": encoded}))
        assert points.ids.to_pylist() == ["a", "b", "c", "d"]
        assert points.utility.tolist() == utility.to_pylist()


@pytest.mark.parametrize(
    ("utility", "expected"),
    [
        (pa.array([True, False, True]), [1, 0, 1]),
        (pa.array([2**60 + 1, 1, 0]), [2.0**60, 1, 0]),
        (pa.array([1, 2, 3], pa.uint8()), [1, 2, 3]),
        (pa.array(["1.25", "2.50", "0.00"]).cast(pa.decimal128(5, 2)), [1.25, 2.5, 0]),
    ],
)
def test_utilities_are_numbers_of_any_kind(utility, expected):
    points, _ = read(pa.table({"id": [1, 2, 3], "utility": utility}), with_embeddings=False)
    assert points.utility.tolist() == expected


def test_columns_without_any_value():
    good = {"id": [1, 2], "embedding": [[1.0], [2.0]], "utility": [1.0, 2.0]}
    for column, message in (
        ("id", "2 of 2 rows: null id"),
        ("embedding", "2 of 2 rows: null embedding"),
        ("utility", "2 of 2 rows: null, NaN or infinite utility"),
    ):
        with pytest.raises(InputError, match=message):
            read(pa.table(good | {column: pa.nulls(2)}))
        with pytest.raises(InputError, match=f"no good row left: {message}"):
            read(pa.table(good | {column: pa.nulls(2)}), on_bad_rows="drop")


def test_a_row_has_the_first_reason_that_holds():
    rows = {
        "id": [None, 1, 2, 3, 4, 5, None, 6],
        "utility": [NAN, None, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        "embedding": [None, None, None, [1.0], [NAN, 1.0], [0.0, 0.0], [1.0, 1.0], [1.0, 2.0]],
    }
    points, _ = read(pa.table(rows), on_bad_rows="drop")
    assert points.ids.to_pylist() == [6]
    assert points.dropped == {
        "NaN or infinite embedding value": 1,
        "embedding of another length than most (2)": 1,
        "null embedding": 1,
        "null id": 2,
        "null, NaN or infinite utility": 1,
        "zero vector, which has no cosine": 1,
    }
    with pytest.raises(InputError, match=r"1 of 8 rows: null embedding \(ids 2\); 2 of 8 rows: null id; 1 of 8 rows"):
        read(pa.table(rows))


def test_a_bad_row_is_not_a_repeated_one_and_takes_nobodys_place():
    rows = {
        "id": [7, 7, 7, 8],
        "utility": [NAN, 1.0, 9.0, 1.0],
        "embedding": [[1.0, 1.0], [2.0, 1.0], None, [3.0, 1.0]],
    }
    points, _ = read(pa.table(rows), on_bad_rows="drop")
    assert points.dropped == {"null embedding": 1, "null, NaN or infinite utility": 1}
    assert list(zip(points.ids.to_pylist(), points.utility.tolist(), strict=True)) == [(7, 1.0), (8, 1.0)]


def test_an_id_that_repeats_often_is_named_once():
    table = pa.table({"id": [5, 2, 2, 2, 9, 9, 5, 1, 1, 0, 0], "utility": [1.0] * 11})
    with pytest.raises(InputError, match=r"6 of 11 rows: repeated id \(ids 0, 1, 2\)"):
        read(table, with_embeddings=False)


def test_cosine_needs_a_direction_and_no_length():
    doubles = [[1e300, 1e300], [-3e-320, 0.0], [3e38, 4e38], [1e-30, 1e-30], [1.0, 2.0]]
    table = pa.table({"id": range(5), "embedding": pa.array(doubles, pa.list_(pa.float64()))})
    X = read(table)[0].embeddings.astype(np.float64)
    exact = np.array([[1, 1], [-1, 0], [3, 4], [1, 1], [1, 2]]) / np.sqrt([[2], [1], [25], [2], [5]])
    np.testing.assert_allclose(X / np.linalg.norm(X, axis=1, keepdims=True), exact, rtol=1e-6)
    for metric in ("l2", "inner_product"):
        with pytest.raises(InputError, match=rf"2 of 5 rows: vector longer than 1e17, too long for {metric} .ids 0, 2"):
            read(table, metric=metric)
    with pytest.raises(InputError, match="1 of 2 rows: NaN or infinite embedding value"):
        read(pa.table({"id": [1, 2], "embedding": [[1e300, float("inf")], [1.0, 1.0]]}), metric="l2")


LENGTHS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@given(LENGTHS, st.randoms(use_true_random=False), st.integers(1, 12))
def test_lists_are_as_long_as_most_in_any_order_and_batches(lengths, random, rows):
    table = pa.table(
        {"id": range(len(lengths)), "embedding": pa.array([[1.0] * n for n in lengths], pa.list_(pa.float32()))}
    )
    often = {n: lengths.count(n) for n in lengths}
    most = max(often, key=lambda n: (often[n], n))
    order = list(range(len(lengths)))
    random.shuffle(order)
    shuffled = pa.Table.from_batches(table.take(order).combine_chunks().to_batches(max_chunksize=rows))
    if most == 0:
        with pytest.raises(InputError, match="its lists are empty"):
            read(shuffled, on_bad_rows="drop")
        return
    points, _ = read(shuffled, on_bad_rows="drop")
    assert sorted(points.ids.to_pylist()) == [i for i, n in enumerate(lengths) if n == most]
    assert points.embeddings.shape[1] == most
    wrong = len(lengths) - often[most]
    assert points.dropped == ({f"embedding of another length than most ({most})": wrong} if wrong else {})


REPEATS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([0.0, 1.0, NAN]),
        st.sampled_from([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], None]),
        st.sampled_from(["x", "y", None]),
    ),
    min_size=1,
    max_size=10,
)


@given(REPEATS, st.randoms(use_true_random=False), st.integers(1, 10))
def test_which_of_repeated_rows_stays_is_decided_by_what_they_hold(rows, random, size):
    def winners(rows):
        names = ("id", "utility", "embedding", "url")
        kinds = (pa.int64(), pa.float64(), pa.list_(pa.float32()), pa.string())
        columns = zip(names, zip(*rows, strict=True), kinds, strict=True)
        table = pa.table({name: pa.array(values, kind) for name, values, kind in columns})
        table = pa.Table.from_batches(table.to_batches(max_chunksize=size))
        points, source = read(table, on_bad_rows="drop", keep_columns=("url",))
        url = kept_columns(source, ["url"], points.rows)["url"].to_pylist()
        found = zip(points.ids.to_pylist(), points.utility.tolist(), points.embeddings.tolist(), url, strict=True)
        return sorted(found, key=repr), points.dropped, points.checksum()

    good = [row for row in rows if row[1] == row[1] and row[2] not in ([0.0, 0.0], None)]
    if not good:
        with pytest.raises(InputError, match="no good row left"):
            winners(rows)
        return
    first = winners(rows)
    for one in first[0]:
        assert one in good
        assert one[1] == max(row[1] for row in good if row[0] == one[0])
    assert len(first[0]) == len({row[0] for row in good})
    assert first[1].get("repeated id", 0) == len(good) - len(first[0])
    random.shuffle(rows)
    assert winners(rows) == first


@given(REPEATS, st.integers(0, 10))
def test_findings_of_pieces_are_those_of_the_whole(rows, cut):
    def table(rows):
        names, kinds = ("id", "utility", "embedding"), (pa.int64(), pa.float64(), pa.list_(pa.float32()))
        columns = zip(*rows, strict=True) if rows else [[]] * 4
        return pa.table({name: pa.array(v, kind) for name, v, kind in zip(names, columns, kinds, strict=False)})

    whole = checker_of(table(rows))
    check(whole, table(rows))
    joined = Findings()
    for piece in (rows[cut:], rows[:cut]):
        part = checker_of(table(piece))
        check(part, table(piece))
        joined.merge(part.findings)
    assert joined.describe(9) == whole.findings.describe(9)
    assert joined.length_of_most() == whole.findings.length_of_most()


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_what_was_given_is_not_changed(metric):
    given = np.array([[1e30, 1.0], [1e-30, 0.0], [1.0, 2.0]], np.float32)[:, :] * np.float32(
        1 if metric == "cosine" else 0.5
    )
    if metric != "cosine":
        given[0] = 1
    before = given.copy()
    read(given, metric=metric)
    np.testing.assert_array_equal(given, before)


def test_flat_lists_without_what_null_lists_hold():
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], pa.int32()), pa.array([1.0, 2.0, 3.0, 4.0, None]), mask=pa.array([False, True, False])
    )
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2, mask=pa.array([True, False]))
    lengths, flat = flat_lists(hidden)
    assert lengths.tolist() == [2, -1, 1]
    assert flat[:2].tolist() == [1.0, 2.0] and np.isnan(flat[2])
    lengths, flat = flat_lists(fixed)
    assert (lengths.tolist(), flat.tolist()) == ([-1, 2], [3.0, 4.0])


def test_columns_that_nobody_asks_for_may_hold_anything():
    import datetime

    odd = {"map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), "when": [datetime.timedelta(1), None]}
    points, _ = read(pa.table({"id": [1, 2], "embedding": [[1.0], [2.0]]} | odd))
    assert points.n == 2


def test_rows_are_numbered_where_there_is_no_id_column():
    table = pa.table({"id": ["x", "x", "x"], "embedding": [[1.0], None, [2.0]]})
    points, _ = read(table, id_column=None, on_bad_rows="drop")
    assert points.ids.to_pylist() == [0, 2]
