"""Spark gives the local engine's subset, bit for bit, and leaves the session as it was."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import InputError
from subsel.schema import Status


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """A graph of 2,000 points with three kinds of utility, as Parquet."""
    folder = tmp_path_factory.mktemp("problem")
    rng = np.random.default_rng(3)
    n = 2000
    src = np.repeat(np.arange(n), 4)
    dst = (src + rng.integers(1, 80, len(src))) % n
    similarity = rng.integers(1, 17, len(src)) / 16
    ids = rng.permutation(n) * 3
    points = pa.table(
        {"id": ids, "uniform": rng.random(n), "constant": np.ones(n), "levels": rng.integers(0, 10, n) / 10}
    )
    pq.write_table(points, folder / "points.parquet", row_group_size=300)
    pq.write_table(pa.table({"src": ids[src], "dst": ids[dst], "similarity": similarity}), folder / "graph.parquet")
    return folder


def both(spark, problem, output, **options):
    points, graph = problem / "points.parquet", str(problem / "graph.parquet")
    local = subsel.select(str(points), graph=graph, engine="local", **options)
    ours = subsel.select(str(points), graph=graph, engine=spark, output=output, **options)
    return local, ours


@pytest.mark.parametrize(
    ("parts", "size", "alpha", "utility", "finish"),
    [
        (1, 0.1, 0.9, "uniform", 0),
        (3, 0.5, 0.5, "constant", 300),
        (7, 0.9, 0.1, "levels", 300),
        (7, 0.05, 0.5, "uniform", 0),
        (32, 0.1, 0.9, "levels", 300),
    ],
)
def test_any_number_of_parts_gives_the_local_result(spark, problem, tmp_path, parts, size, alpha, utility, finish):
    local, ours = both(
        spark,
        problem,
        tmp_path / "out",
        size=size,
        alpha=alpha,
        utility=utility,
        part_points=-(-2000 // parts),
        finish_points=finish,
    )
    assert ours.table.equals(local.table)
    assert ours.report.graph.parts == parts
    for name in ("total", "utility", "similarity", "random", "top_utility"):
        one, two = getattr(ours.report.objective, name), getattr(local.report.objective, name)
        assert one == pytest.approx(two, rel=1e-12, abs=1e-9)


def test_bounding_decides_alike(spark, problem, tmp_path):
    local, ours = both(spark, problem, tmp_path / "out", size=0.8, alpha=0.97, utility="uniform", part_points=500)
    assert local.report.bounding.accepted > 0
    assert ours.report.bounding.accepted == local.report.bounding.accepted
    assert ours.report.bounding.discarded == local.report.bounding.discarded
    assert ours.table.equals(local.table)
    assert set(ours.table["decided_by"].to_pylist()) == {"bounding", "greedy"}


@pytest.mark.parametrize("parts", [1, 3])
def test_the_certificate(spark, problem, tmp_path, parts):
    options = {"size": 0.5, "alpha": 0.5, "utility": "uniform", "certify": 6}
    local, ours = both(spark, problem, tmp_path / "out", part_points=-(-2000 // parts), **options)
    assert ours.table.equals(local.table)
    found = ours.report.certificate
    assert found.iterations == 6
    assert ours.objective < ours.upper_bound
    assert ours.upper_bound == local.upper_bound


@pytest.mark.parametrize(
    "method",
    [
        {"bounding": "approximate", "sampling": "weighted"},
        {"greedy": "partitioned", "partitions": 5, "rounds": 3},
        {"config": Path(__file__).parent.parent / "configs" / "paper.toml", "rounds": 2},
    ],
    ids=["approximate", "partitioned", "paper"],
)
def test_the_papers_methods_give_the_local_result(spark, problem, tmp_path, method):
    options = {"size": 0.4, "alpha": 0.9, "utility": "uniform", "part_points": 700} | method
    local, ours = both(spark, problem, tmp_path / "out", **options)
    assert ours.table.equals(local.table)
    # Rounds of exact bounding and supersteps of exact greedy depend on the parts; the paper's methods are synchronous.
    if ours.report.bounding.method == "approximate":
        assert ours.report.bounding == local.report.bounding
    if ours.report.greedy.method == "partitioned":
        assert ours.report.greedy == local.report.greedy


def test_end_to_end_from_embeddings(spark, tmp_path, demo_table):
    pq.write_table(demo_table, tmp_path / "points.parquet", row_group_size=400)
    ours = subsel.select(
        tmp_path / "points.parquet",
        size="10%",
        engine=spark,
        output=tmp_path / "out",
        part_points=500,
        keep_columns=("source",),
    )
    local = subsel.select(demo_table, size="10%")
    assert ours.report.graph.recall > 0.9
    assert ours.report.graph.parts >= 5
    assert ours.objective == pytest.approx(local.objective, rel=0.01)
    points = demo_table.drop_columns("embedding")
    assert subsel.score(ours.ids, graph=local.graph, data=points).total == pytest.approx(ours.objective, rel=0.01)
    assert ours.objective > ours.report.objective.top_utility
    table = ours.table
    assert table.column_names == ["id", "rank", "gain", "decided_by", "source"]
    assert table["rank"].to_pylist() == list(range(300))
    wanted = dict(zip(demo_table["id"].to_pylist(), demo_table["source"].to_pylist(), strict=True))
    assert [wanted[i] for i in table["id"].to_pylist()] == table["source"].to_pylist()
    assert table["gain"].to_numpy().sum() == pytest.approx(ours.objective)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert subsel.Report.model_validate(manifest).engine == "spark"


def test_one_part_has_the_local_graph(spark, tmp_path, demo_table):
    """On one part nothing travels; the search is the local one, up to the sample of k-means."""
    pq.write_table(demo_table, tmp_path / "points.parquet")
    ours = subsel.select(
        tmp_path / "points.parquet", size=100, engine=spark, output=tmp_path / "out", probes=1000, recall_sample=100
    )
    local = subsel.select(demo_table, size=100, probes=1000)
    assert ours.report.graph.recall == 1.0
    assert ours.report.graph.edges == local.report.graph.edges
    assert ours.ids.tolist() == local.ids.tolist()


def test_dataframes_string_ids_and_double_embeddings(spark, tmp_path, demo_table):
    frame = spark.createDataFrame(
        [
            (f"é{i}", [float(x) for x in e], float(u))
            for i, e, u in zip(
                demo_table["id"].to_pylist()[:400],
                demo_table["embedding"].to_pylist()[:400],
                demo_table["utility"].to_pylist()[:400],
                strict=True,
            )
        ],
        "id string, embedding array<double>, utility double",
    )
    one = subsel.select(frame, size=40, output=tmp_path / "one", part_points=150)
    two = subsel.select(frame.repartition(7), size=40, engine="auto", output=tmp_path / "two", part_points=150)
    assert one.report.engine == "spark"
    assert one.table["id"].type == pa.string()
    assert one.table.equals(two.table)


def test_batch_size_does_not_matter(spark, problem, tmp_path):
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(key)
    tables = []
    try:
        for size in ("2", "10000"):
            spark.conf.set(key, size)
            _, ours = both(spark, problem, tmp_path / size, size=100, utility="uniform", part_points=700)
            tables.append(ours.table)
    finally:
        spark.conf.set(key, before)
    assert tables[0].equals(tables[1])


def persisted(spark) -> list[str]:
    """What Spark keeps, persisted frames and checkpoints, in words; its collector of garbage is not called."""
    return [rdd.toString() for rdd in spark.sparkContext._jsc.getPersistentRDDs().values()]


def test_the_session_is_left_as_it_was(spark, problem, tmp_path):
    before = {row.key: row.value for row in spark.sql("SET").collect()}
    kept = persisted(spark)
    options = {"alpha": 0.97, "utility": "uniform", "part_points": 1000, "finish_points": 0}
    both(spark, problem, tmp_path / "one", size=0.8, **options)
    both(spark, problem, tmp_path / "two", size=0.2, greedy_direction="best", **options)
    assert set(persisted(spark)) <= set(kept)
    assert {row.key: row.value for row in spark.sql("SET").collect()} == before
    assert not spark.sparkContext._jsc.sc().isStopped()


def exchanges(frame) -> int:
    """Count the exchanges of a plan that are not inside what is persisted already."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        frame.explain()
    count, skip = 0, None
    for line in text.getvalue().splitlines():
        depth = len(re.match(r"[ :+\-*|]*", line)[0])
        if skip is not None and depth > skip:
            continue
        skip = depth if "InMemoryRelation" in line else None
        count += "Exchange" in line
    return count


def test_a_superstep_shuffles_the_board_and_not_the_graph(spark, problem, tmp_path, monkeypatch):
    from subsel.engines.spark import engine as engine_module
    from subsel.greedy.exact import pick

    seen = []
    plain = engine_module.SparkEngine.step

    def step(self, kernel, /, *args, **params):
        if kernel is pick:
            frame = self.superstep_frame(engine_module.partial(kernel, **params))
            text = io.StringIO()
            with contextlib.redirect_stdout(text):
                frame.explain()
            seen.append((exchanges(frame), text.getvalue().count("\n")))
        return plain(self, kernel, *args, **params)

    monkeypatch.setattr(engine_module.SparkEngine, "step", step)
    both(spark, problem, tmp_path / "out", size=0.5, alpha=0.5, utility="uniform", part_points=1000, finish_points=0)
    assert len(seen) >= 3
    assert {count for count, _ in seen} == {1}
    assert max(lines for _, lines in seen) <= 3 * min(lines for _, lines in seen)  # plans do not grow


@pytest.mark.parametrize("few", [10, 1 << 20])
def test_kth_largest_is_exact(spark, problem, monkeypatch, few):
    from subsel.config import SelectConfig
    from subsel.engines.spark import engine as engine_module
    from subsel.request import Request
    from subsel.stages.spark import SparkStages

    monkeypatch.setattr(engine_module, "_FEW", few)  # collected at once, or after radix passes
    config = SelectConfig(size=10, utility="levels", part_points=400)
    inputs = str(problem / "points.parquet"), str(problem / "graph.parquet")
    request = Request(*inputs, sizes=((config, None),))
    stages = SparkStages(spark, request, "test")
    try:
        stages.read(lambda *_: None)
        stages.neighbors(lambda *_: None)
        engine, _ = stages.engine(10)
        from subsel.stages.local import LocalStages

        local = LocalStages(request)
        local.read(lambda *_: None)
        local.neighbors(lambda *_: None)
        one, _ = local.engine(10)
        among = (Status.UNDECIDED,)
        for column in ("key", "lower"):
            for k in (0, 1, 1000, 2000, 2001):
                assert engine.kth_largest(column, k, among) == one.kth_largest(column, k, among)
        for k in (1, 700, 2000):  # ten levels of utility and T tie bits: keys differ, the codes of parts do not matter
            assert engine.kth_place(k, among) == one.kth_place(k, among)
        assert engine.kth_largest("key", 1, (Status.SELECTED,)) == one.kth_largest("key", 1, (Status.SELECTED,))
    finally:
        stages.close()


NAN = float("nan")
GOOD = {"id": [1, 2, 3, 4], "embedding": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]], "utility": [1.0] * 4}
BAD = {
    "null id": ({"id": [1, None, 3, 4]}, "1 of 4 rows: null id"),
    "repeated id": ({"id": [1, 2, 2, 2]}, r"2 of 4 rows: repeated id \(ids 2\)"),
    "NaN": ({"embedding": [[1.0, NAN], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]}, "1 of 4 rows: NaN or infinite emb"),
    "zero": ({"embedding": [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]}, "zero vector"),
    "dimension": ({"embedding": [[1.0, 0.0], [0.0], [1.0, 1.0], [0.5, 1.0]]}, "another length than"),
    "null embedding": ({"embedding": [[1.0, 0.0], None, [1.0, 1.0], [0.5, 1.0]]}, "null embedding"),
    "utility": ({"utility": [1.0, NAN, 1.0, 1.0]}, "null, NaN or infinite utility"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_get_the_local_error(spark, tmp_path, case):
    changes, message = BAD[case]
    pq.write_table(pa.table(GOOD | changes), tmp_path / "points.parquet")
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(tmp_path / "points.parquet", size=1, engine=spark, output=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["points.parquet"]
    dropped = subsel.select(
        tmp_path / "points.parquet", size=1, engine=spark, output=tmp_path / "out", on_bad_rows="drop"
    )
    assert dropped.report.input.points == 4 - sum(dropped.report.input.dropped_rows.values()) < 4


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"src": [1, 2], "dst": [2, 3], "similarity": [0.5, -0.5]}, "1 of 2 edges: negative, NaN or infinite"),
        ({"src": [1, 2], "dst": [2, 3], "similarity": [0.5, NAN]}, "1 of 2 edges: negative, NaN or infinite"),
        ({"src": [1, 2], "dst": [2, 2], "similarity": [0.5, 0.5]}, "1 of 2 edges: self loops"),
        (
            {"src": [1, 2], "dst": [2, 9], "similarity": [0.5, 0.5]},
            "1 of 2 edges: ends that are unknown ids such as 9",
        ),
        ({"src": ["a"], "dst": ["b"], "similarity": [0.5]}, "use one type"),
        ({"src": [1], "dst": [2]}, "has no column 'similarity'"),
    ],
)
def test_bad_edges_get_one_line(spark, tmp_path, edges, message):
    pq.write_table(pa.table(GOOD), tmp_path / "points.parquet")
    pq.write_table(pa.table(edges), tmp_path / "graph.parquet")
    arguments = {"graph": str(tmp_path / "graph.parquet"), "size": 2, "engine": spark, "output": tmp_path / "out"}
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(tmp_path / "points.parquet", **arguments)
    assert "\n" not in str(caught.value)
    if "edges:" in message:
        dropped = subsel.select(tmp_path / "points.parquet", on_bad_rows="drop", **arguments)
        assert dropped.report.graph.edges == 1


def test_bad_requests(spark, tmp_path):
    pq.write_table(pa.table(GOOD), tmp_path / "points.parquet")
    points = tmp_path / "points.parquet"
    for arguments, message in (
        ({"size": 1}, "give an output"),
        ({"size": 5, "output": tmp_path / "out"}, "exceeds the 4 points"),
        ({"size": 1, "output": tmp_path / "out", "utility": [1.0] * 4}, "a column's name"),
        ({"size": 1, "output": tmp_path / "out", "embedding_column": "e"}, "has no embedding column 'e'"),
        ({"size": 1, "output": tmp_path / "out", "master": "local[1]"}, "master cannot be chosen"),
    ):
        with pytest.raises(InputError, match=message):
            subsel.select(points, engine=spark, **arguments)
    with pytest.raises(InputError, match="does not exist"):
        subsel.select(tmp_path / "none", size=1, engine=spark, output=tmp_path / "out")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        subsel.select(tmp_path / "text.parquet", size=1, engine=spark, output=tmp_path / "out")
