"""Parquet files that tasks read themselves: each row once, the values of Spark's reader, and plain files only."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsel.input.files import files_of, footers
from subsel.input.parquet import read_file
from subsel.input.types import flat_lists
from subsel.storage import place_of
from tests.spark_fixtures import needs_spark

pieces = pytest.importorskip("subsel.engines.spark.pieces", reason="no pyspark")


def write(folder, name="a.parquet", rows=700, **columns):
    rng = np.random.default_rng(rows)
    table = {"id": np.arange(rows), "utility": rng.random(rows), "embedding": list(rng.random((rows, 3), np.float32))}
    pq.write_table(pa.table(table | columns), folder / name, row_group_size=60)


@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("size", [100, 3_000, 1 << 20])
def test_each_row_is_in_one_piece(tmp_path, monkeypatch, size, use_dictionary):
    monkeypatch.setattr(pieces, "_PIECE_BYTES", size)
    table = pa.table({"id": np.arange(1000) // 2, "text": [f"number {i}" for i in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=70, use_dictionary=use_dictionary)
    (file,) = files_of(str(tmp_path), place_of)
    (footer,) = footers([file])
    kinds = {"text": pa.string(), "id": pa.int64()}
    spans = pieces._spans(file.info.size)
    assert len(spans) == max(1, round(file.info.size / size))
    assert footer.rows == 1000
    found = [batch for span in spans for batch in read_file(file, kinds, 32, span)]
    assert pa.Table.from_batches(found).equals(table.select(["text", "id"]))


def opened(spark, folder, *names, **options):
    from subsel.engines.spark.source import open_on_spark

    source = open_on_spark(spark, str(folder), lambda name: True, **options)
    frame = source.select(names)
    return frame, pieces.Pieces.of(source, frame)


def told(batches):
    for batch in batches:
        yield pa.record_batch([pa.array([repr(row) for row in batch.to_pylist()])], names=["row"])


def test_tasks_read_what_spark_reads(spark, tmp_path, monkeypatch):
    needs_spark()
    monkeypatch.setattr(pieces, "_PIECE_BYTES", 4_000)
    lists = [None, [], [1.5, None], [float("nan")]] * 175
    write(tmp_path, doubles=pa.array(lists, pa.list_(pa.float64())), name_of=[None, "é"] * 350)
    write(tmp_path, "b.parquet", 70, doubles=pa.array(lists[:70], pa.list_(pa.float64())), name_of=["x", "y"] * 35)
    write(tmp_path, "empty.parquet", 0)  # without some columns: it has no rows
    frame, found = opened(spark, tmp_path, "id", "utility", "embedding", "doubles", "name_of")
    assert found is not None
    assert len(found.pieces) > 4
    rows = sorted(row[0] for row in found.map(told, "row string").collect())
    assert rows == sorted(row[0] for row in pieces.map_in_arrow(frame, told, "row string").collect())
    assert len(rows) == 770
    left = frame.where("id > 10")  # other rows than the files': these are not read in their stead
    assert pieces.map_rows(found, left, told, "row string").count() == 748


def lists_told(batches):
    for batch in batches:
        lengths, flat = flat_lists(batch.column(1))
        kinds = [str(flat.dtype)] * len(batch)
        ends = np.cumsum(np.maximum(lengths, 0))[:-1]
        lists = [f"{n} {one.astype(float).tolist()}" for n, one in zip(lengths, np.split(flat, ends), strict=True)]
        yield pa.record_batch([batch.column(0), pa.array(kinds), pa.array(lists)], names=["id", "kind", "list"])


@pytest.mark.parametrize("kind", [pa.list_(pa.float16()), pa.list_(pa.float16(), 2)], ids=str)
def test_lists_of_halves_are_read_by_tasks_as_spark_reads_them(spark, tmp_path, kind):
    needs_spark()
    lists = [None, [2.0**-24, None], [np.nan, np.inf], [-65504.0, -0.0], [0.1, 1.0]] * 140
    lists = [one and [None if value is None else np.float16(value) for value in one] for one in lists]
    write(tmp_path, halves=pa.array(lists, kind))
    frame, found = opened(spark, tmp_path, "id", "halves")
    assert found is not None
    schema = "id bigint, kind string, list string"
    (here, there) = (
        sorted(map(str, one.collect()))
        for one in (found.map(lists_told, schema), pieces.map_in_arrow(frame, lists_told, schema))
    )
    assert here == there
    assert "float16" in here[0]


def test_files_that_spark_reads_otherwise_are_its_own(spark, tmp_path):
    needs_spark()
    for what, values in {
        "unsigned": pa.array(np.arange(700), pa.uint64()),
        "times": pa.array(np.arange(700), pa.timestamp("us")),
        "halves": pa.array([np.float16(1.0)] * 700, pa.float16()),
    }.items():
        (tmp_path / what).mkdir()
        write(tmp_path / what, column=values)
        assert opened(spark, tmp_path / what, "id", "column")[1] is None
        assert opened(spark, tmp_path / what, "id")[1] is not None
    folder = tmp_path / "several"
    (folder / "kind=a").mkdir(parents=True)
    write(folder / "kind=a", column=np.arange(700))
    assert opened(spark, folder, "id", "kind")[1] is None
    write(folder / "kind=a", "b.parquet", column=np.arange(700) / 2)
    assert opened(spark, folder, "column")[1] is None  # of two types
    assert opened(spark, folder, "number", row_numbers="number")[1] is None
    assert opened(spark, folder, "id", row_numbers="number")[1] is not None
