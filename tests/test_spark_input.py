"""The rules of points and edges on Spark: what is bad and what stays are those of the Arrow executor, word for word."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsel import InputError, SelectConfig
from subsel.input.edges import KnownPoints, as_neighbor_graph
from subsel.input.points import read_points
from subsel.input.rows import may_be_read
from subsel.input.source import open_source
from subsel.input.taking import kept_columns
from subsel.input.wishes import Wishes

NAN = float("nan")

#: Every kind of badness, repeats of good and of bad rows, and ties that only the kept column decides.
ROWS = [
    (1, [1.0, 0.0], 1.0, "a"),
    (None, [1.0, 0.0], 1.0, "a"),
    (2, None, 1.0, "a"),
    (3, [NAN, 0.0], 1.0, "a"),
    (4, [0.0, 0.0], 1.0, "a"),
    (5, [1.0], 1.0, "a"),
    (6, [1.0, None], 1.0, "a"),
    (7, [1.0, 1.0], NAN, "a"),
    (8, [1.0, 1.0], None, "a"),
    (9, [1.0, 2.0], 1.0, "low"),
    (9, [1.0, 2.0], 2.0, "high"),
    (9, [0.0, 0.0], 9.0, "bad"),
    (10, [1.0, 2.0], 1.0, "y"),
    (10, [1.0, 2.0], 1.0, "x"),
    (10, [1.0, 2.0], 1.0, None),
    (11, [1.0, 3.0], 1.0, "a"),
    (11, [3.0, 1.0], 1.0, "b"),
    (12, None, 1.0, "a"),
    (12, None, 1.0, "a"),
]
KINDS = {"id": pa.int64(), "embedding": pa.list_(pa.float32()), "utility": pa.float64(), "url": pa.string()}


def table_of(rows):
    columns = zip(KINDS.items(), zip(*rows, strict=True), strict=True)
    return pa.table({name: pa.array(values, kind) for (name, kind), values in columns})


def inputs_of(spark, data, graph=None, **options):
    from subsel.engines.spark.inputs import SparkInputs

    return SparkInputs(spark, data, graph, SelectConfig(recall_sample=10, **options), Wishes())


def here(path, *, with_embeddings=True, **options):
    config = SelectConfig(**options)
    source = open_source(path, may_be_read(config), config)
    return read_points(source, config, with_embeddings=with_embeddings), source


def test_dirty_rows(spark, tmp_path):
    """Odd lists first, in files and batches of any order."""
    rows = table_of(ROWS[5:6] + ROWS[:5] + ROWS[6:])
    pq.write_table(rows.slice(0, 4), tmp_path / "a.parquet", row_group_size=2)
    pq.write_table(rows.slice(4), tmp_path / "b.parquet", row_group_size=3)
    options = {"keep_columns": ("url",), "on_bad_rows": "drop"}
    local, source = here(tmp_path, **options)
    points = inputs_of(spark, tmp_path, **options).check(with_content=True)
    assert points.n == local.n == 4
    assert points.dropped == local.dropped
    assert sum(local.dropped.values()) == len(ROWS) - 4
    url = kept_columns(source, ["url"], local.rows)["url"].to_pylist()
    expected = zip(local.ids.to_pylist(), local.utility.tolist(), local.embeddings.tolist(), url, strict=True)
    good = [row for row in points.wide.collect() if row.id in (1, 9, 10, 11)]
    assert sorted((row.id, row.utility, row.embedding, row.url) for row in good) == sorted(expected)
    messages = []
    for engine in (lambda: here(tmp_path), lambda: inputs_of(spark, tmp_path).check()):
        with pytest.raises(InputError) as caught:
            engine()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]


def test_clean_rows_are_the_same_in_any_batches(spark, tmp_path, demo_table):
    """Content, codes and samples do not depend on files, batches or partitions; nor on the width of numbers."""
    pq.write_table(demo_table.slice(0, 200), tmp_path / "a.parquet", row_group_size=30)
    local, _ = here(tmp_path)
    one = inputs_of(spark, tmp_path).check(with_content=True)
    assert (one.n, one.content) == (200, local.checksum())
    frame = spark.read.parquet(str(tmp_path)).repartition(3)
    frame = frame.withColumn("embedding", frame.embedding.cast("array<double>"))
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(key)
    spark.conf.set(key, "2")
    try:
        two = inputs_of(spark, frame).check(with_content=True)
    finally:
        spark.conf.set(key, before)
    assert (two.n, two.content, two.code_sum) == (one.n, one.content, one.code_sum)
    np.testing.assert_array_equal(one.sample, two.sample)
    np.testing.assert_array_equal(one.asked_code, two.asked_code)
    np.testing.assert_array_equal(one.asked, two.asked)


IDS = {
    "uint64": pa.array([1, 2**63, 2**64 - 1], pa.uint64()),
    "decimal(20,0)": pa.array([Decimal(1), Decimal(2**63), Decimal(2**64 - 1)], pa.decimal128(20, 0)),
    "decimal(12,2)": pa.array([Decimal("1.00"), Decimal("-2.00"), Decimal("3.00")], pa.decimal128(12, 2)),
    "uint32": pa.array([0, 1, 2**32 - 1], pa.uint32()),
    "uuid": pa.array([bytes([i] * 16) for i in range(3)], pa.uuid()),
    "binary": pa.array([b"", b"\xff\x00", b"a"]),
    "fixed binary": pa.array([b"abc", b"\xff\x00\x01", b"def"], pa.binary(3)),
    "string": pa.array(["", "é\n", "[/x]"]),
}


def test_ids_of_every_type_are_kept_alike(spark, tmp_path):
    """In one input: what is text, bytes or a number to one engine is that to the other."""
    from subsel.engines.spark.ids import given, kept
    from subsel.engines.spark.source import col, open_on_spark
    from subsel.input.ids import given_back, stored_ids
    from subsel.input.types import plain_type

    pq.write_table(pa.table(IDS), tmp_path / "ids.parquet")
    source = open_on_spark(spark, str(tmp_path / "ids.parquet"), lambda name: True)
    columns = []
    for name, ids in IDS.items():
        kind = source.schema.field(name).type
        assert kind == plain_type(ids.type)
        as_kept = kept(col(name), kind)
        columns += [as_kept.alias(name), given(as_kept, kind, source.frame.schema[name].dataType).alias(name + " back")]
    found = source.frame.select(*columns).toArrow()
    for name, ids in IDS.items():
        held = stored_ids(ids)
        assert found[name].to_pylist() == held.to_pylist(), name
        assert given_back(held, plain_type(ids.type)).combine_chunks().equals(ids), name
        back = found[name + " back"].to_pylist()
        assert back == (ids.storage.to_pylist() if name == "uuid" else ids.to_pylist()), name


def test_unsigned_ids_that_repeat_are_named_as_they_are(spark, tmp_path):
    ids = pa.array([2**64 - 1, 5, 2**64 - 1, 5, 5], pa.uint64())
    pq.write_table(pa.table({"id": ids, "embedding": [[1.0], [2.0], [1.5], [2.5], [0.5]]}), tmp_path / "p.parquet")
    messages = []
    for engine in (lambda: here(tmp_path), lambda: inputs_of(spark, tmp_path).check()):
        with pytest.raises(InputError, match=rf"3 of 5 rows: repeated id \(ids 5, {2**64 - 1}\)") as caught:
            engine()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


EDGES = [
    (1, 2, 0.5),
    (2, 1, 0.75),
    (1, None, 0.5),
    (None, 2, None),
    (2, 2, 0.5),
    (9, 9, 0.5),
    (2, 3, -0.5),
    (2, 3, NAN),
    (3, 1, float("inf")),
    (9, 3, -1.0),
    (3, 9, 0.5),
    (8, 9, 0.5),
    (3, 4, 0.0),
]


def edge_table(rows, kind=None):
    src, dst, similarity = zip(*rows, strict=True)
    kind = kind or pa.int64()
    columns = {"src": pa.array(src, kind), "dst": pa.array(dst, kind), "similarity": pa.array(similarity, pa.float64())}
    return pa.table(columns)


def checked_edges(spark, points, graph, config):
    from subsel.engines.spark.neighbors import Rules, check_edges, known_ids

    inputs = inputs_of(spark, points, graph, on_bad_rows=config.on_bad_rows)
    found = inputs.check()
    return check_edges(inputs.edges, known_ids(found, Rules.of(found, inputs.config)), inputs.id_type, inputs.config)


def both_edges(spark, tmp_path, table, **options):
    """Return each engine's good edges and dropped ones, or its error."""
    pq.write_table(pa.table({"id": pa.array([1, 2, 3, 4, 4], pa.int32())}), tmp_path / "points.parquet")
    pq.write_table(table, tmp_path / "graph.parquet")
    config = SelectConfig(**options)
    known = pa.array([1, 2, 3, 4])
    points = KnownPoints(known, pa.int32(), np.arange(4), 5)
    out = []
    try:
        wanted = {"src", "dst", "similarity"}.__contains__
        found = as_neighbor_graph(
            open_source(tmp_path / "graph.parquet", wanted, config, None, "graph"), points, config
        )
        matrix = found.graph.to_scipy().toarray()
        out.append((matrix.tolist(), found.dropped))
    except InputError as error:
        out.append(str(error))
    try:
        good, dropped = checked_edges(spark, tmp_path / "points.parquet", str(tmp_path / "graph.parquet"), config)
        matrix = np.zeros((4, 4))
        for src, dst, similarity in good.collect():
            for a, b in ((src - 1, dst - 1), (dst - 1, src - 1)):
                matrix[a, b] = max(matrix[a, b], similarity)
        out.append((matrix.tolist(), dropped))
    except InputError as error:
        out.append(str(error))
    return out


def test_dirty_edges(spark, tmp_path):
    local, ours = both_edges(spark, tmp_path, edge_table(EDGES), on_bad_rows="drop")
    assert local == ours
    assert list(local[1].values()) == [2, 2, 4, 2]  # null, loop, wrong, unknown: each edge once
    assert local[0][0][1] == local[0][1][0] == 0.75
    pq.write_table(pa.table({"id": [1, 2, 3, 4]}), tmp_path / "clean.parquet")
    graph = str(tmp_path / "graph.parquet")
    with pytest.raises(InputError) as caught:
        checked_edges(spark, tmp_path / "clean.parquet", graph, SelectConfig())
    points = KnownPoints(pa.array([1, 2, 3, 4]), pa.int64(), np.arange(4), 4)
    source = open_source(graph, {"src", "dst", "similarity"}.__contains__, SelectConfig(), None, "graph")
    with pytest.raises(
        InputError, match=r"4 of 13 edges: negative.*2 of 13 edges: an end .* unknown id such as 8"
    ) as one:
        as_neighbor_graph(source, points, SelectConfig())
    assert str(caught.value) == str(one.value)
    assert "\n" not in str(one.value)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"src": ["a"], "dst": ["b"], "similarity": [0.5]}, "use one type"),
        ({"src": ["a"], "dst": [1], "similarity": [0.5]}, "src is string and dst int64: use one type"),
        ({"src": [1], "dst": [2]}, "has no column 'similarity'"),
        ({"src": [1], "dst": [2], "similarity": ["x"]}, "must be numbers"),
        (edge_table(EDGES).slice(0, 0), "the graph has no edges"),
    ],
)
def test_wrong_edges(spark, tmp_path, edges, message):
    local, ours = both_edges(spark, tmp_path, pa.table(edges), on_bad_rows="drop")
    assert message in ours.replace("large_string", "string")
    assert local == ours
    assert "\n" not in ours


def test_ids_that_collide_are_two_points(spark, tmp_path, monkeypatch):
    """The salt follows from all ids."""
    from subsel.engines.spark import points as points_module

    names = [f"p{i}" for i in range(9)]
    pq.write_table(pa.table({"id": [*names, "p3"], "utility": [1.0] * 10}), tmp_path / "p.parquet")
    monkeypatch.setattr(points_module, "_with_codes", _weak_codes)
    found = points_module.check_points(
        spark,
        _source(spark, tmp_path),
        SelectConfig(on_bad_rows="drop"),
        with_embeddings=False,
        sample_rows=lambda n, d: 0,
    )
    assert (found.salt, found.n, found.dropped) == (1, 9, {"repeated id": 1})


@pytest.mark.parametrize("name", ["a.b", "a`b", "a b"])
def test_columns_of_any_name(spark, name):
    frame = spark.createDataFrame([(1, [1.0, 2.0], 1.0), (1, [1.0, 3.0], 2.0)], "id long, e array<double>, u double")
    frame = frame.toDF(f"{name} id", f"{name} e", f"{name} u")
    options = {"id_column": f"{name} id", "embedding_column": f"{name} e", "utility": f"{name} u"}
    points = inputs_of(spark, frame, keep_columns=(f"{name} u",), on_bad_rows="drop", **options).check()
    assert [row[2] for row in points.wide.collect()] == [2.0]


def _source(spark, path):
    from subsel.engines.spark.source import open_on_spark

    return open_on_spark(spark, path, {"id", "utility"}.__contains__)


def _weak_codes(seed, salt, batches):
    from subsel.codes import hash_ids
    from subsel.input.ids import stored_ids

    for batch in batches:
        code = hash_ids(stored_ids(batch.column(0)), seed, salt)
        yield pa.RecordBatch.from_arrays(
            [batch.column(0), pa.array(code % 4 if salt == 0 else code)], names=["_code_id", "_code"]
        )


def test_frames_that_are_none(spark):
    frame = spark.readStream.format("rate").load()
    with pytest.raises(InputError, match="is a stream, which ends at no time"):
        inputs_of(spark, frame, id_column="value")
    twice = spark.sql("select 1 id, 2 id, array(1.0D) embedding")
    with pytest.raises(InputError, match="2 columns 'id'"):
        inputs_of(spark, twice)
    cases = spark.sql("select 1 id, 2 ID, array(1.0D) embedding")
    with pytest.raises(InputError, match="in other cases"):
        inputs_of(spark, cases).check()


def test_row_numbers_go_over_all_files_in_order(spark, tmp_path):
    for name, rows in (("a b", 3), ("b%20", 2), ("c", 4)):
        pq.write_table(pa.table({"embedding": [[1.0 + i] for i in range(rows)]}), tmp_path / f"{name}.parquet")
    inputs = inputs_of(spark, tmp_path, id_column=None)
    numbered = inputs.source.frame.select("id", "embedding").collect()
    assert sorted((row.id, row.embedding[0]) for row in numbered) == [
        (i, value) for i, value in enumerate([1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0])
    ]
