"""Ids of every type: kept apart, given back in their own type, found again when they are wished for or scored."""

from __future__ import annotations

import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import InputError, codes
from subsel.codes import hash_ids, unique_codes
from subsel.input.ids import given_back, storage_type, stored_ids
from subsel.input.types import plain_type

N = 8
UUIDS = [uuid.UUID(int=i << 90 | 7) for i in range(N)]
IDS = {
    "int8": pa.array(range(-4, 4), pa.int8()),
    "int32": pa.array(range(N), pa.int32()),
    "int64": pa.array([*range(N - 2), 2**63 - 1, -(2**63)]),
    "uint8": pa.array(range(248, 256), pa.uint8()),
    "uint32": pa.array(range(2**32 - N, 2**32), pa.uint32()),
    "uint64": pa.array([*range(N - 2), 2**63, 2**64 - 1], pa.uint64()),
    "decimal(20,0)": pa.array([Decimal(2**64 - 1 - i) for i in range(N)], pa.decimal128(20, 0)),
    "decimal(10,0)": pa.array([Decimal(i - 4) for i in range(N)], pa.decimal128(10, 0)),
    "decimal(12,2)": pa.array([Decimal(f"{i}.00") for i in range(N)], pa.decimal128(12, 2)),
    "string": pa.array([f"é{i}\n" for i in range(N)]),
    "empty string": pa.array(["", *(f"{i}" for i in range(1, N))]),
    "large string": pa.array([f"{i}" for i in range(N)], pa.large_string()),
    "binary": pa.array([bytes([255, 0, i]) for i in range(N)]),
    "large binary": pa.array([bytes([255, 0, i]) for i in range(N)], pa.large_binary()),
    "fixed binary": pa.array([bytes([255, 0, i]) for i in range(N)], pa.binary(3)),
    "uuid": pa.array([one.bytes for one in UUIDS], pa.uuid()),
    "dictionary": pa.array([f"p{i}" for i in range(N)]).dictionary_encode(),
    "dictionary of integers": pa.array(range(N)).dictionary_encode(),
    "string view": pa.array([f"p{i}" for i in range(N)], pa.string_view()),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array(range(1, N + 1), pa.int32()), pa.array(range(N))),
}


def points(ids):
    rng = np.random.default_rng(1)
    X = pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(2 * N).astype(np.float32)), 2)
    return pa.table({"id": ids, "embedding": X, "utility": rng.random(N)})


@pytest.mark.parametrize("kind", IDS)
def test_every_type_comes_back_and_is_found_again(kind, tmp_path):
    ids = IDS[kind]
    plain = plain_type(ids.type)
    table = points(ids)
    selection = subsel.select(table, size=3, output=tmp_path / "subset.parquet")
    found = selection.table["id"]
    assert found.type == plain
    assert set(found.to_pylist()) <= set(ids.to_pylist())
    assert pq.read_table(tmp_path / "subset.parquet")["id"].to_pylist() == found.to_pylist()
    wished = found[0].as_py()
    assert wished not in subsel.select(table, size=4, exclude=[wished]).table["id"].to_pylist()
    assert wished in subsel.select(table, size=1, include=found.slice(0, 1)).table["id"].to_pylist()
    scores = [subsel.score(one, points=table).total for one in (found, found.to_pylist(), tmp_path / "subset.parquet")]
    assert scores == pytest.approx([selection.objective] * 3)
    with pytest.raises(InputError, match=r"1 of 9 rows: repeated id \(ids "):
        subsel.select(pa.concat_tables([table, table.slice(2, 1)]), size=3)


@pytest.mark.parametrize("kind", ["uint64", "decimal(20,0)", "string", "uuid", "dictionary"])
def test_graphs_and_flags_go_by_ids_of_any_type(kind):
    ids = IDS[kind]
    table = points(ids).drop_columns("embedding").append_column("keep", pa.array([i == 5 for i in range(N)]))
    names = ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids
    take = [names.take(pa.array(some)) for some in ([0, 1, 7], [7, 2, 6])]
    edges = pa.table({"src": take[0], "dst": take[1], "similarity": [1.0, 0.5, 0.25]})
    selection = subsel.select(table, graph=edges, size=4, include="keep", refine=0)
    assert names[5].as_py() in selection.table["id"].to_pylist()
    rows = {one: row for row, one in enumerate(names.to_pylist())}
    matrix = selection.graph.to_scipy().toarray()
    order = [rows[one] for one in names.take(pa.array(selection.graph.rows)).to_pylist()]
    expected = np.zeros((N, N))
    for a, b, s in ((0, 7, 1.0), (1, 2, 0.5), (7, 6, 0.25)):
        expected[a, b] = expected[b, a] = s
    np.testing.assert_array_equal(matrix, expected[np.ix_(order, order)])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array([1.0, 2.0]), "ids are double, but must be integers or strings"),
        (pa.array([True, False]), "ids are bool, but"),
        (pa.array([[1], [2]]), "ids are list"),
        (pa.array([Decimal("1.5"), Decimal("2.0")], pa.decimal128(12, 2)), "have fractions"),
        (pa.array([Decimal(-1), Decimal(2)], pa.decimal128(20, 0)), r"lie outside 0…2\^64-1"),
        (pa.array([Decimal(2**64), Decimal(2)], pa.decimal128(20, 0)), r"lie outside 0…2\^64-1"),
        (pa.array([1, 2], pa.timestamp("us")), "ids are timestamp"),
    ],
)
def test_what_is_no_id(ids, message):
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(pa.table({"id": ids, "embedding": [[1.0], [2.0]]}), size=1)
    assert "\n" not in str(caught.value)


INTEGERS = {kind: (0, 2 ** int(kind[4:]) - 1) for kind in ("uint8", "uint16", "uint32", "uint64")}
INTEGERS |= {f"int{b}": (-(2 ** (b - 1)), 2 ** (b - 1) - 1) for b in (8, 16, 32, 64)}


@given(st.sampled_from(sorted(INTEGERS)), st.data())
def test_integers_are_kept_one_to_one(kind, data):
    values = data.draw(st.lists(st.none() | st.integers(*INTEGERS[kind]), max_size=6))
    ids = pa.array([None, *values, None], getattr(pa, kind)()).slice(1, len(values))
    kept = stored_ids(ids)
    assert kept.type == storage_type(ids.type) == pa.int64()
    assert len(kept.unique()) == len(set(values))
    assert given_back(kept, ids.type).to_pylist() == values
    wide = pa.array([None if v is None else Decimal(v) for v in values], pa.decimal128(20, 0))
    if kind == "uint64":
        assert stored_ids(wide).equals(kept)
        assert given_back(kept.drop_null(), wide.type).to_pylist() == wide.drop_null().to_pylist()


def test_one_number_is_one_id_whatever_its_width():
    table = points(pa.array(range(N), pa.uint64()))
    expected = subsel.select(table, size=4).ids.tolist()
    for kind in (pa.int8(), pa.int64(), pa.uint16(), pa.decimal128(5, 0), pa.decimal128(20, 0)):
        ids = pa.array([Decimal(i) for i in range(N)], kind) if pa.types.is_decimal(kind) else pa.array(range(N), kind)
        assert [int(one) for one in subsel.select(points(ids), size=4).table["id"].to_pylist()] == expected
    wide = points(IDS["uint64"])
    assert subsel.select(wide, size=1, include=[2**64 - 1]).table["id"].to_pylist() == [2**64 - 1]


def listed(**values):
    import pandas as pd

    return [
        (pd.Series([3, 5]), None),
        (pd.Series([3, 5], dtype="Int64"), None),
        ({3, 5}, None),
        (frozenset({3, 5}), None),
        (range(3, 6, 2), None),
        ((i for i in (3, 5)), None),
        (iter([3, 5]), None),
        ({3: "a", 5: "b"}.keys(), None),
        (np.array([3, 5], np.uint8), None),
        ([np.int32(3), 5], None),
        (pa.array([3, 5], pa.int16()), None),
        (pa.chunked_array([[3], [5]]), None),
        ([2**63], "unknown, such as 9223372036854775808"),
        ([-1, 3], "1 of 2 ids of include are unknown, such as -1"),
        ([2**70], "include has integers beyond 64 bits"),
        ([[3], [5]], "include is a list of list<.*>, but must be a list of ids"),
        (np.array([[3, 5]]), "include"),
        ([3.0, 5.0], "ids are double|ids of include are double"),
        (["3", "5"], "use one type"),
        ([3, "5"], "include is no list of ids of one type"),
        ([None, 3], "1 of 2 ids of include are null"),
        (pd.Series([3, None], dtype="Int64"), "1 of 2 ids of include are null"),
        ([3, 3], "1 of 2 ids of include repeat another"),
        (7, "include of type int is not understood"),
        (True, "include"),
        (b"35", "include"),
        ({"id": [3, 5]}, "include"),
    ]


@pytest.mark.parametrize("case", range(27))
def test_wishes_are_written_down_in_many_ways(case):
    wish, message = listed()[case]
    table = points(pa.array(range(N)))
    if message is None:
        assert set(subsel.select(table, size=2, include=wish).ids.tolist()) == {3, 5}
        return
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(table, size=2, include=wish)
    assert "\n" not in str(caught.value)


def test_an_exhausted_generator_is_not_read_twice():
    both = subsel.select_sizes(points(pa.array(range(N))), sizes=[2, 3], include=(i for i in (3, 5)))
    assert all({3, 5} <= set(one.ids.tolist()) for one in both)


def test_codes_of_text_are_siphash_with_a_key_of_seed_and_salt():
    ids = pa.array(["", "a", "aaaaaaa", "aaaaaaaa", "aaaaaaaaa", "é" * 100])
    for kind in (pa.large_string(), pa.binary(), pa.large_binary()):
        np.testing.assert_array_equal(hash_ids(ids.cast(kind), 3), hash_ids(ids, 3))
    np.testing.assert_array_equal(hash_ids(ids.slice(2, 3), 3), hash_ids(ids, 3)[2:5])
    every = [hash_ids(ids, seed, salt) for seed in (0, 1) for salt in (0, 1, 2)]
    assert len(np.unique(np.concatenate(every))) == 6 * len(ids)
    # SipHash-1-3 of the bytes 0…7 under the key 0…15, by the reference implementation.
    key = np.frombuffer(bytes(range(16)), np.uint64)
    text, bounds = np.arange(8, dtype=np.uint8), np.array([0, 8, 8])
    assert [hex(one) for one in codes._siphash(text, bounds, *key).tolist()] == [
        hex(siphash(bytes(range(8)))),
        hex(siphash(b"")),
    ]


def siphash(data, key=bytes(range(16))):
    """SipHash-1-3 in Python's integers."""
    mask = 2**64 - 1
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turn(x, b):
        return (x << b | x >> (64 - b)) & mask

    def step():
        v[0] = (v[0] + v[1]) & mask
        v[1] = turn(v[1], 13) ^ v[0]
        v[0] = turn(v[0], 32)
        v[2] = (v[2] + v[3]) & mask
        v[3] = turn(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & mask
        v[3] = turn(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & mask
        v[1] = turn(v[1], 17) ^ v[2]
        v[2] = turn(v[2], 32)

    data = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for begin in range(0, len(data), 8):
        word = int.from_bytes(data[begin : begin + 8], "little")
        v[3] ^= word
        step()
        v[0] ^= word
    v[2] ^= 255
    for _ in range(3):
        step()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def collide(monkeypatch, *salts):
    """Make the codes of all text equal under some salts."""
    plain = codes._siphash

    def weak(text, bounds, k0, k1):
        spoiled = {int(codes._mix(np.array([2 * salt], np.uint64), np.uint64(0))[0]) for salt in salts}
        out = plain(text, bounds, k0, k1)
        return out % np.uint64(2) if int(k0) in spoiled else out

    monkeypatch.setattr(codes, "_siphash", weak)


def test_ids_that_collide_take_the_next_salt_all_of_them(monkeypatch):
    ids = pa.array([f"p{i}" for i in range(9)])
    collide(monkeypatch, 0, 1)
    code, salt = unique_codes(ids, 0)
    assert salt == 2
    np.testing.assert_array_equal(code, hash_ids(ids, 0, 2))
    order = np.arange(9)[::-1].copy()
    again, salt = unique_codes(ids.take(pa.array(order)), 0)
    assert salt == 2
    np.testing.assert_array_equal(again, code[order])
    with pytest.raises(InputError, match="1 of 10 rows repeat the id of an earlier row, such as 'p3'"):
        unique_codes(pa.concat_arrays([ids, ids.slice(3, 1)]), 0)


def test_points_whose_codes_collide_are_all_selected(monkeypatch):
    collide(monkeypatch, 0)
    names = [f"p{i}" for i in range(N)]
    selection = subsel.select(points(pa.array(names)), size=N)
    assert sorted(selection.table["id"].to_pylist()) == names
    again = pa.concat_tables([points(pa.array(names)), points(pa.array(names)).slice(2, 1)])
    with pytest.raises(InputError, match=r"1 of 9 rows: repeated id \(ids 'p2'\)"):
        subsel.select(again, size=2)


@pytest.mark.parametrize("first", [0, 2**63 - 20], ids=["small", "across 2^63"])
def test_a_written_graph_names_unsigned_ids_as_the_input_does(tmp_path, rng, first):
    ids = pa.array(np.arange(40, dtype=np.uint64) + np.uint64(first))
    table = pa.table({"id": ids, "embedding": list(rng.standard_normal((40, 4)).astype(np.float32))})
    graph = subsel.neighbors(table, progress=False).graph
    graph.to_parquet(tmp_path / "g.parquet")
    assert pq.read_schema(tmp_path / "g.parquet").field("src").type == pa.uint64()
    wanted = subsel.select(table, graph=graph, size=5, progress=False).table
    for data in (table, None):
        for own in (graph, tmp_path / "g.parquet"):
            assert subsel.select(data, graph=own, size=5, progress=False).table.equals(wanted)
    signed = table.set_column(0, "id", pa.array(ids.to_numpy().view(np.int64)))
    if first:
        with pytest.raises(InputError, match="20 of the graph's 40 points are not in the data"):
            subsel.select(signed, graph=graph, size=5, progress=False)
    else:
        assert subsel.select(signed, graph=graph, size=5, progress=False).ids.tolist() == wanted["id"].to_pylist()
