"""Which files an input is: folders, partitions, patterns, lists; and what their columns are together."""

from __future__ import annotations

import datetime
import mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import InputError, SelectConfig
from subsel.input.source import iterate_columns, open_source


def write(path, ids, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = ids if isinstance(ids, pa.Array) else pa.array(ids)
    pq.write_table(pa.table({"id": ids} | columns), path)


def read(where, columns=("id",), wanted=None):
    source = open_source(where, wanted or (lambda name: name in columns), SelectConfig())
    batches = list(iterate_columns(source, list(columns)))
    table = pa.Table.from_batches(batches) if batches else pa.table({name: [] for name in columns})
    return table[columns[0]].to_pylist() if len(columns) == 1 else table


def test_a_folder_is_all_its_files_that_count(tmp_path):
    write(tmp_path / "b.parquet", [3, 4])
    write(tmp_path / "a" / "deep" / "x.parquet", [1, 2])
    write(tmp_path / "no-suffix", [5])
    for name in (".hidden.parquet", "_metadata", "_temporary/x.parquet", ".git/y.parquet", "a/_old/z.parquet"):
        write(tmp_path / name, [99])
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "nothing").mkdir()
    assert read(tmp_path) == [1, 2, 3, 4, 5]
    assert read(f"file://{tmp_path}/") == [1, 2, 3, 4, 5]
    assert open_source(tmp_path, lambda name: True, SelectConfig()).rows == 5


def test_files_without_rows_and_nothing_else(tmp_path):
    write(tmp_path / "a.parquet", pa.array([], pa.int64()))
    write(tmp_path / "b.parquet", [1])
    assert read(tmp_path) == [1]
    (tmp_path / "c").touch()
    for where, message in (
        (tmp_path / "c", "is empty, not Parquet"),
        (tmp_path / "none", "does not exist: give a Parquet file or a folder of them"),
        (str(tmp_path / "n*"), "does not exist"),
        ([tmp_path / "b.parquet", tmp_path / "none"], "none does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            read(where)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no Parquet files"):
        read(tmp_path / "folder")


def test_one_file_that_is_not_parquet_is_named(tmp_path):
    for number in range(6):
        write(tmp_path / f"{number}.parquet", [number])
    (tmp_path / "readme.txt").write_text("no Parquet")
    message = r"readme\.txt cannot be read as Parquet: .* such as folder/\*\.parquet"
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert read(str(tmp_path / "*.parquet")) == list(range(6))
    (tmp_path / "3.parquet").write_bytes((tmp_path / "3.parquet").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"3\.parquet cannot be read as Parquet"):
        read(str(tmp_path / "*.parquet"))


@pytest.mark.parametrize("name", ["embedding", "element", "tag"])
def test_a_name_that_is_no_text_is_told(tmp_path, name):
    table = pa.table({"id": [1, 2], "embedding": [[1.0, 2.0], [2.0, 3.0]], "tag": ["a", "b"]})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=False)
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(name.encode(), name[:-1].encode() + b"\xff"))
    for ask in (lambda: subsel.validate(tmp_path / "a.parquet"), lambda: subsel.plan(tmp_path / "a.parquet", size=1)):
        with pytest.raises(InputError, match="has a column whose name is not UTF-8") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_patterns(tmp_path):
    for number, name in enumerate(("a.parquet", "ab.parquet", "b.parquet", "sub/a.parquet", "sub/deep/a.parquet")):
        write(tmp_path / name, [number])
    for pattern, expected in (
        ("*.parquet", [0, 1, 2]),
        ("?.parquet", [0, 2]),
        ("[!a]*.parquet", [2]),
        ("[a-b].parquet", [0, 2]),
        ("**/a.parquet", [0, 3, 4]),
        ("*/a.parquet", [3]),
        ("{a,b}.parquet", [0, 2]),
        ("{sub,none}", [3, 4]),
        ("s*", [3, 4]),
        ("**", [0, 1, 2, 3, 4]),
        ("sub/**/*.parquet", [3, 4]),
    ):
        assert read(str(tmp_path / pattern)) == expected, pattern
        assert read(f"file://{tmp_path}/{pattern}") == expected, pattern


@pytest.mark.parametrize("name", ["a[0]", "{x,y}", "b*?", "a b%20c", "é=1,2", "x=y", "[", "{", "~a", "-", "#q?"])
def test_names_are_names_before_they_are_patterns(tmp_path, name):
    write(tmp_path / name / "p.parquet", [1])
    write(tmp_path / "a0" / "p.parquet", [2])
    write(tmp_path / "x" / "p.parquet", [3])
    assert read(tmp_path / name) == [1]
    assert read(str(tmp_path / name / "p.parquet")) == [1]


def test_lists_in_the_order_of_names_each_file_once(tmp_path):
    for name, ids in (("b", [2]), ("a", [1]), ("c/x", [3])):
        write(tmp_path / f"{name}.parquet", ids)
    given = [tmp_path / "c", str(tmp_path / "b.parquet"), tmp_path / "a.parquet", str(tmp_path / "*.parquet")]
    assert read(given) == read(tuple(given[::-1])) == [1, 2, 3]


def test_relative_paths(tmp_path, monkeypatch):
    write(tmp_path / "p" / "a.parquet", [1])
    monkeypatch.chdir(tmp_path)
    assert read("p") == read("./p/") == read("p/*") == read("*/a.parquet") == [1]


def test_partitions(tmp_path):
    for folder, ids in (("_c=1/d=x y", [1]), ("_c=20/d=é%3D", [2]), ("_c=-3/d=__HIVE_DEFAULT_PARTITION__", [3])):
        write(tmp_path / folder / "p.parquet", ids)
    table = read(tmp_path, ("id", "_c", "d"))
    rows = sorted(zip(*(table[name].to_pylist() for name in ("id", "_c", "d")), strict=True))
    assert rows == [(1, 1, "x y"), (2, 20, "é="), (3, -3, None)]
    write(tmp_path / "_c=01" / "d=z" / "p.parquet", [4])  # not a number as it stands: all are text
    assert sorted(read(tmp_path, ("_c", "id"))["_c"].to_pylist()) == ["-3", "01", "1", "20"]
    assert read(tmp_path / "_c=1", ("id", "d"))["d"].to_pylist() == ["x y"]


def test_types_are_the_widest(tmp_path):
    lists = [pa.array([[1.0, 2.0]], pa.list_(kind)) for kind in (pa.float16(), pa.float64(), pa.int8())]
    ids = [pa.array([1], pa.int8()), pa.array([2**31 - 1], pa.int32()), pa.array([2**63 - 1], pa.int64())]
    utility = [pa.array([1], pa.int64()), pa.array([0.5], pa.float32()), pa.nulls(1)]
    for number in range(3):
        write(tmp_path / f"{number}.parquet", ids[number], embedding=lists[number], utility=utility[number])
    source = open_source(tmp_path, lambda name: True, SelectConfig())
    assert source.schema.field("id").type == pa.int64()
    assert source.schema.field("embedding").type.value_type == pa.float64()
    assert source.schema.field("utility").type == pa.float64()
    assert read(tmp_path) == [1, 2**31 - 1, 2**63 - 1]
    with pytest.raises(InputError, match=r"1 of 3 rows: null, NaN or infinite utility .ids 9223372036854775807"):
        subsel.select(tmp_path, size=1)
    assert subsel.select(tmp_path, size=2, on_bad_rows="drop", copies="keep").report.input.points == 2


@pytest.mark.parametrize(
    ("one", "two", "joint"),
    [
        (pa.uint64(), pa.int64(), pa.decimal128(38, 0)),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.decimal128(5, 0), pa.decimal128(10, 0), pa.decimal128(10, 0)),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
        (pa.null(), pa.int16(), pa.int16()),
    ],
)
def test_types_that_go_together(tmp_path, one, two, joint):
    text = pa.types.is_dictionary(one) or pa.types.is_string(one)
    values = ["a"] if text else [None] if pa.types.is_null(one) else [1]
    write(tmp_path / "a.parquet", pa.array(values, pa.string()).cast(one) if text else pa.array(values, one))
    write(tmp_path / "b.parquet", pa.array(["b"] if text else [2], two))
    assert open_source(tmp_path, lambda name: True, SelectConfig()).schema.field("id").type == joint
    assert [None if v is None else str(v) for v in read(tmp_path)] == [
        None if values[0] is None else str(values[0]),
        "b" if text else "2",
    ]


def test_types_that_do_not_name_both_files_if_asked_for(tmp_path):
    write(tmp_path / "a.parquet", [1], embedding=[[1.0]], other=["x"])
    write(tmp_path / "b.parquet", ["b"], embedding=[[1.0]], other=[datetime.date(2020, 1, 1)])
    with pytest.raises(InputError, match=r"'id' of .* is int64 in a\.parquet and string in b\.parquet: write it with"):
        subsel.select(tmp_path, size=1)
    write(tmp_path / "b.parquet", [2], embedding=[[-1.0]], other=[datetime.date(2020, 1, 1)])
    assert subsel.select(tmp_path, size=2).report.input.points == 2
    with pytest.raises(InputError, match="column 'other' of"):
        subsel.select(tmp_path, size=1, keep_columns=("other",))


@pytest.mark.parametrize("column", ["utility", "embedding", "id", "url"])
def test_a_column_that_some_files_lack_is_an_error(tmp_path, column):
    columns = {"embedding": [[1.0]], "utility": [1.0], "url": ["x"]}
    write(tmp_path / "a.parquet", [1], **columns)
    lacking = pa.table({"id": [2]} | columns).drop_columns(column)
    pq.write_table(lacking, tmp_path / "b.parquet")
    pq.write_table(lacking.slice(0, 0), tmp_path / "c.parquet")  # without rows it lacks nothing
    with pytest.raises(InputError, match=rf"1 of 3 files of .* have no column '{column}', such as b\.parquet"):
        subsel.select(tmp_path, size=1, keep_columns=("url",))


def test_a_result_is_read_by_its_manifest(tmp_path, demo_table):
    subsel.select(demo_table, size=20, output=tmp_path / "subset", keep_columns=("embedding",))
    pq.write_table(pa.table({"id": [1]}), tmp_path / "subset" / "stray.parquet")
    assert len(read(tmp_path / "subset")) == 20


@pytest.mark.parametrize(("mark", "name"), [(".hoodie/x", "Hudi"), ("metadata/v1.metadata.json", "Iceberg")])
def test_tables_of_other_formats_are_named(tmp_path, mark, name):
    write(tmp_path / "p.parquet", [1])
    (tmp_path / mark).parent.mkdir()
    (tmp_path / mark).write_text("{}")
    with pytest.raises(subsel.SubselError, match=f"is an? {name} table, not a folder of Parquet files") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_numpy_files(tmp_path, rng):
    X = rng.standard_normal((30, 4)).astype(np.float16)
    np.save(tmp_path / "x.npy", X)
    assert subsel.select(tmp_path / "x.npy", size=5).ids.tolist() == subsel.select(X, size=5).ids.tolist()
    np.savez(tmp_path / "x.npz", x=X)
    with pytest.raises(InputError, match="holds several arrays"):
        subsel.select(tmp_path / "x.npz", size=5)
    (tmp_path / "y.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"y\.npy cannot be read as a numpy array"):
        subsel.select(tmp_path / "y.npy", size=5)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="this system has no such advice")
def test_of_a_mapped_file_no_more_stays_in_memory_than_a_batch(tmp_path):
    X = np.random.default_rng(0).standard_normal((50_000, 64), np.float32)
    np.save(tmp_path / "x.npy", X)
    source = open_source(tmp_path / "x.npy", lambda name: True, SelectConfig())
    seen, begin = [], 0
    for batch in source.batches(["embedding"]):
        values = batch.column(0).flatten().to_numpy()
        np.testing.assert_array_equal(values.reshape(-1, 64), X[begin : begin + len(batch)])
        seen.append(_resident(tmp_path / "x.npy"))
        begin += len(batch)
    assert begin == len(X)
    assert max(seen) < X.nbytes / 2
    assert _resident(tmp_path / "x.npy") == 0


def _resident(path):
    """Return the bytes of a mapped file that this process has in memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    maps = [at for at, line in enumerate(lines) if line.endswith(str(path))]
    return sum(1024 * int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1]) for at in maps)


def test_a_column_whose_name_begins_like_another_is_read_alone(tmp_path):
    """Names with dots, which a reader of Parquet could take for fields of another column; lists and structs."""
    table = pa.table(
        {
            "a": [1, 2, 3],
            "a.b": ["x", "y", "z"],
            "s": [{"a": 1}, {"a": 2}, None],
            "l": [[1.0], [], None],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    source = open_source(tmp_path / "t.parquet", lambda name: True, SelectConfig())
    for names in (["a"], ["a.b"], ["l", "a"], ["a.b", "a"], ["s"]):
        found = pa.Table.from_batches(list(source.batches(names)))
        assert found.column_names == names
        assert found.to_pylist() == table.select(names).to_pylist()


def test_frames_of_every_library(tmp_path, demo_table):
    import pandas as pd
    import polars as pl

    table = demo_table.slice(0, 60).select(["id", "embedding", "utility"])
    expected = subsel.select(table, size=9).ids.tolist()
    frame = pd.DataFrame(
        {
            "id": pd.array(table["id"].to_pylist(), dtype="Int64"),
            "embedding": [
                np.array([v], np.float32) if i % 2 else v for i, v in enumerate(table["embedding"].to_pylist())
            ],
            "utility": table["utility"].to_numpy(),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    for data in (
        frame,
        pl.from_arrow(table),
        pl.from_arrow(table).lazy(),
        pl.scan_parquet(tmp_path / "p.parquet"),
        table.to_batches()[0],
        table.to_reader(),
        pads.dataset(tmp_path),
    ):
        assert subsel.select(data, size=9).ids.tolist() == expected
    with pytest.raises(InputError, match="is an open file: give its path"), (tmp_path / "p.parquet").open("rb") as file:
        subsel.select(file, size=9)
