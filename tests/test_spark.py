"""Spark gives the local engine's subset, bit for bit, and leaves the session as it was."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import InputError, Selection
from subsel.schema import Status

ROOT = Path(__file__).parent.parent
N = 500


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """A graph of 500 points with three kinds of utility and wishes, as Parquet."""
    folder = tmp_path_factory.mktemp("problem")
    rng = np.random.default_rng(3)
    n = N
    src = np.repeat(np.arange(n), 4)
    dst = (src + rng.integers(1, 40, len(src))) % n
    similarity = rng.integers(1, 17, len(src)) / 16
    ids = rng.permutation(n) * 3
    utilities = {"uniform": rng.random(n), "constant": np.ones(n), "levels": rng.integers(0, 10, n) / 10}
    wishes = {"wanted": np.arange(n) % 50 == 3, "banned": np.arange(n) % 10 == 7}
    pq.write_table(pa.table({"id": ids} | utilities | wishes), folder / "points.parquet", row_group_size=100)
    pq.write_table(pa.table({"src": ids[src], "dst": ids[dst], "similarity": similarity}), folder / "graph.parquet")
    return folder


def both(spark, problem, output, **options):
    points, graph = problem / "points.parquet", str(problem / "graph.parquet")
    local = subsel.select(str(points), graph=graph, engine="local", **options)
    ours = subsel.select(str(points), graph=graph, engine=spark, output=output, **options)
    return local, ours


def persisted(spark) -> list[str]:
    """What Spark keeps, persisted frames and checkpoints, in words; its collector of garbage is not called."""
    return [rdd.toString() for rdd in spark.sparkContext._jsc.getPersistentRDDs().values()]


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


@dataclass
class Seen:
    """One run on many parts, and what its session held before and after."""

    local: Selection
    ours: Selection
    settings: list[dict[str, str]]
    held: list[list[str]]
    plans: list[tuple[int, int]]  # of supersteps: exchanges, lines


@pytest.fixture(scope="module")
def run(spark, problem, tmp_path_factory):
    """A given graph on four parts with all stages, wishes and many supersteps."""
    from subsel.engines.spark import engine as engine_module
    from subsel.greedy.exact import pick

    plans = []
    plain = engine_module.SparkEngine.step

    def step(self, kernel, /, *args, **params):
        if kernel is pick:
            frame = self.superstep_frame(engine_module.partial(kernel, **params))
            text = io.StringIO()
            with contextlib.redirect_stdout(text):
                frame.explain()
            plans.append((exchanges(frame), text.getvalue().count("\n")))
        return plain(self, kernel, *args, **params)

    settings = [{row.key: row.value for row in spark.sql("SET").collect()}]
    held = [persisted(spark)]
    options = {"size": 0.5, "alpha": 0.9, "utility": "uniform", "include": "wanted", "exclude": "banned"}
    options |= {"refine": 2, "certify": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module.SparkEngine, "step", step)
        output = tmp_path_factory.mktemp("run") / "out"
        local, ours = both(spark, problem, output, part_points=-(-N // 4), finish_points=0, **options)
    settings.append({row.key: row.value for row in spark.sql("SET").collect()})
    held.append(persisted(spark))
    return Seen(local, ours, settings, held, plans)


def test_many_parts_give_the_local_subset(run):
    local, ours = run.local, run.ours
    assert ours.report.graph.parts == 4
    assert ours.table.equals(local.table)
    assert set(ours.table["decided_by"].to_pylist()) == {"include", "bounding", "greedy", "refine"}
    for name in ("total", "utility", "similarity", "random", "top_utility"):
        one, two = getattr(ours.report.objective, name), getattr(local.report.objective, name)
        assert one == pytest.approx(two, rel=1e-12, abs=1e-9)
    for name in ("graph", "random_graph"):
        one, two = getattr(ours.report.coverage, name), getattr(local.report.coverage, name)
        assert one == pytest.approx(two, rel=1e-12)
    for report in (ours.report, local.report):
        assert (report.constraints.included, report.constraints.excluded) == (10, 50)
    assert local.report.bounding.accepted > 0
    assert ours.report.bounding.accepted == local.report.bounding.accepted
    assert ours.report.bounding.discarded == local.report.bounding.discarded
    assert ours.report.certificate.iterations == 2
    assert ours.objective < ours.upper_bound
    assert ours.upper_bound == local.upper_bound


def test_the_session_is_left_as_it_was(spark, run):
    assert set(run.held[1]) <= set(run.held[0])
    assert run.settings[0] == run.settings[1]
    assert not spark.sparkContext._jsc.sc().isStopped()


def test_a_superstep_shuffles_the_board_and_not_the_graph(run):
    assert len(run.plans) >= 3
    assert {count for count, _ in run.plans} == {1}
    lines = [lines for _, lines in run.plans]
    assert max(lines) <= 3 * min(lines)  # plans do not grow


@pytest.mark.parametrize(
    ("parts", "size", "alpha", "utility", "finish"),
    [
        pytest.param(1, 0.1, 0.9, "uniform", 0, marks=pytest.mark.slow),
        pytest.param(3, 0.5, 0.5, "constant", 80, marks=pytest.mark.slow),
        pytest.param(7, 0.9, 0.1, "levels", 80, marks=pytest.mark.slow),
        pytest.param(7, 0.05, 0.5, "uniform", 0, marks=pytest.mark.long),
        pytest.param(32, 0.1, 0.9, "levels", 80, marks=pytest.mark.long),
    ],
)
def test_any_number_of_parts_gives_the_local_subset(spark, problem, tmp_path, parts, size, alpha, utility, finish):
    options = {"size": size, "alpha": alpha, "utility": utility, "part_points": -(-N // parts), "finish_points": finish}
    local, ours = both(spark, problem, tmp_path / "out", certify=6, **options)
    assert ours.table.equals(local.table)
    assert ours.report.graph.parts == parts
    assert ours.upper_bound == local.upper_bound


@pytest.mark.parametrize(
    "method",
    [
        pytest.param({"bounding": "approximate", "sampling": "weighted"}, id="approximate", marks=pytest.mark.slow),
        pytest.param({"greedy": "partitioned", "partitions": 5, "rounds": 3}, id="partitioned", marks=pytest.mark.slow),
        pytest.param({"config": ROOT / "configs" / "paper.toml", "rounds": 2}, id="paper", marks=pytest.mark.slow),
        pytest.param({"greedy_direction": "best"}, id="best", marks=pytest.mark.slow),
    ],
)
def test_other_methods_give_the_local_subset(spark, problem, tmp_path, method):
    options = {"size": 0.4, "alpha": 0.9, "utility": "uniform", "part_points": 180, "finish_points": 0} | method
    local, ours = both(spark, problem, tmp_path / "out", **options)
    assert ours.table.equals(local.table)
    # Rounds of exact bounding and supersteps of exact greedy depend on the parts; the paper's methods are synchronous.
    if ours.report.bounding.method == "approximate":
        assert ours.report.bounding == local.report.bounding
    if ours.report.greedy.method == "partitioned":
        assert ours.report.greedy == local.report.greedy


@pytest.fixture(scope="module")
def dirty(tmp_path_factory, demo_table):
    """500 demo points in two files, with bad rows, repeats of which others are better, and a column to keep."""
    folder = tmp_path_factory.mktemp("dirty")
    table = demo_table.slice(0, N).select(["id", "embedding", "utility", "source"])
    flat = table["embedding"].combine_chunks().flatten().to_numpy().reshape(N, -1).copy()
    names, utility = [f"é{i}" for i in table["id"].to_pylist()], table["utility"].to_numpy().copy()
    flat[5], flat[6, 0], utility[7] = 0, np.nan, np.inf
    names[8] = None
    names[450:460] = names[:10]  # repeats of good rows and bad ones
    utility[450], utility[451] = utility[0] + 1, utility[1]
    flat[451] = flat[1]
    columns = {
        "id": pa.array(names),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1]),
        "utility": utility,
        "url": [f"u{i % 7}.\n[{i}]" for i in range(N)],
    }
    whole = pa.table(columns)
    pq.write_table(whole.slice(0, 300), folder / "a.parquet", row_group_size=70)
    (folder / "sub").mkdir()
    pq.write_table(whole.slice(300), folder / "sub" / "b.parquet", row_group_size=70)
    return folder


def test_end_to_end_from_embeddings(spark, dirty, tmp_path):
    options = {"size": "10%", "keep_columns": ("url", "utility"), "on_bad_rows": "drop"}
    ours = subsel.select(dirty, engine=spark, output=tmp_path / "out", part_points=120, **options)
    local = subsel.select(dirty, engine="local", **options)
    assert ours.report.input.dropped_rows == local.report.input.dropped_rows
    assert set(local.report.input.dropped_rows) == {
        "NaN or infinite embedding value",
        "null id",
        "null, NaN or infinite utility",
        "repeated id",
        "zero vector, which has no cosine",
    }
    assert ours.report.graph.recall > 0.9
    assert ours.report.graph.parts >= 4
    # By the one graph, which has the edges that parts lost: what random subsets have is below zero here.
    scored = subsel.score(tmp_path / "out", points=dirty, neighbors=ours.report.graph.neighbors, on_bad_rows="drop")
    random = local.report.objective.random
    assert scored.total - random > 0.96 * (local.objective - random)
    assert ours.objective > ours.report.objective.top_utility
    table = ours.table
    assert table.column_names == ["id", "rank", "gain", "decided_by", "url", "utility"]
    assert table["rank"].to_pylist() == list(range(ours.report.k))
    assert table["gain"].to_numpy().sum() == pytest.approx(ours.objective)
    rows = pq.read_table(dirty / "a.parquet").to_pylist() + pq.read_table(dirty / "sub").to_pylist()
    best = {}
    for row in rows:
        if np.isfinite(row["utility"]) and row["utility"] > best.get(row["id"], row)["utility"] - 1e-12:
            best.setdefault(row["id"], row)
            best[row["id"]] = max(best[row["id"]], row, key=lambda one: one["utility"])
    assert any(row["id"] == "é" + rows[0]["id"][1:] and row["utility"] > 1 for row in table.to_pylist())
    chosen = {one["id"]: one for one in local.table.to_pylist()}
    for one in table.to_pylist():
        assert one["utility"] == best[one["id"]]["utility"]
        assert one["url"] == chosen.get(one["id"], one)["url"]
        assert any(row["id"] == one["id"] and row["url"] == one["url"] for row in rows)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert subsel.Report.model_validate(manifest).engine == "spark"


@pytest.mark.slow
def test_one_part_has_the_local_graph(spark, dirty, tmp_path):
    """On one part nothing travels; the search is the local one, up to the sample of k-means. From a frame, too."""
    options = {"size": 100, "probes": 1000, "recall_sample": 100, "on_bad_rows": "drop", "keep_columns": ("url",)}
    frame = spark.read.option("recursiveFileLookup", "true").parquet(str(dirty))
    frame = frame.withColumn("embedding", frame.embedding.cast("array<double>")).repartition(3)
    ours = subsel.select(frame, output=tmp_path / "out", **options)
    local = subsel.select(dirty, engine="local", **options)
    assert ours.report.engine == "spark"
    assert ours.report.graph.recall == 1.0
    assert ours.report.graph.edges == local.report.graph.edges
    assert ours.report.input.dropped_rows == local.report.input.dropped_rows
    for name in ("id", "rank", "decided_by", "url"):
        assert ours.table[name].equals(local.table[name])
    assert ours.table["gain"].to_numpy() == pytest.approx(local.table["gain"].to_numpy(), abs=1e-6)


@pytest.mark.slow
def test_batch_size_does_not_matter(spark, problem, tmp_path):
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(key)
    tables = []
    try:
        for size in ("2", "10000"):
            spark.conf.set(key, size)
            _, ours = both(spark, problem, tmp_path / size, size=100, utility="uniform", part_points=180)
            tables.append(ours.table)
    finally:
        spark.conf.set(key, before)
    assert tables[0].equals(tables[1])


def test_kth_largest_is_exact(spark, problem, monkeypatch):
    from subsel.config import SelectConfig
    from subsel.engines.spark import order
    from subsel.request import Request
    from subsel.stages.base import make_ready
    from subsel.stages.spark import SparkStages

    config = SelectConfig(size=10, utility="levels", alpha=0.9, part_points=100)
    inputs = str(problem / "points.parquet"), str(problem / "graph.parquet")
    request = Request(*inputs, sizes=((config, None),))
    stages = SparkStages(spark, request, "test")
    try:
        make_ready(stages, stages.config)
        engine, _ = stages.engine(10)
        from subsel.stages.local import LocalStages

        local = LocalStages(request)
        make_ready(local, local.config)
        one, _ = local.engine(10)
        among = (Status.UNDECIDED,)
        for few in (10, 1 << 20):  # after radix passes, or collected at once
            monkeypatch.setattr(order, "_FEW", few)
            for column, ks in (("key", (0, 1, N)), ("lower", (N // 2, N + 1))):
                for k in ks:
                    assert engine.kth_largest(column, k, among) == one.kth_largest(column, k, among)
            # Ten levels of utility and T tie bits: keys differ, the codes of parts do not matter.
            assert engine.kth_place(170, among) == one.kth_place(170, among)
        assert engine.kth_largest("key", 1, (Status.SELECTED,)) == one.kth_largest("key", 1, (Status.SELECTED,))
    finally:
        stages.close()


GOOD = {"id": [1, 2, 3, 4], "embedding": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]], "utility": [1.0] * 4}


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
