"""Scoring any subset, on both engines, also on the graph of a run directory."""

from __future__ import annotations

import importlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import ConfigError, InputError, SelectConfig
from subsel.cli.commands import main
from subsel.objective import Score


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring")
    rng = np.random.default_rng(5)
    n = 400
    src = np.repeat(np.arange(n), 4)
    dst = (src + rng.integers(1, 40, len(src))) % n
    ids = np.array([f"p{i}" for i in rng.permutation(n)])
    pq.write_table(pa.table({"id": ids, "utility": rng.random(n)}), folder / "points.parquet")
    edges = {"src": ids[src], "dst": ids[dst], "similarity": rng.random(len(src))}
    pq.write_table(pa.table(edges), folder / "graph.parquet")
    pq.write_table(pa.table({"id": rng.choice(ids, 137, replace=False)}), folder / "subset.parquet")
    return folder


def paths(problem):
    return {"points": str(problem / "points.parquet"), "graph": str(problem / "graph.parquet")}


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 4])
def test_spark_scores_like_local(spark, problem, parts):
    subset = str(problem / "subset.parquet")
    local = subsel.score(subset, engine="local", alpha=0.3, **paths(problem))
    ours = subsel.score(subset, engine=spark, alpha=0.3, part_points=-(-400 // parts), **paths(problem))
    for name in ("total", "utility", "similarity", "coverage"):
        assert getattr(ours, name) == pytest.approx(getattr(local, name), rel=1e-12)
    assert local.similarity > 0


@pytest.mark.parametrize("engine", ["local", pytest.param("spark", marks=pytest.mark.slow)])
def test_several_subsets_on_one_graph(request, problem, monkeypatch, engine):
    where = request.getfixturevalue("spark") if engine == "spark" else "local"
    made = []
    for stages in ("subsel.stages.local.LocalStages", "subsel.stages.spark.SparkStages"):
        module, name = stages.rsplit(".", 1)
        neighbors = getattr(importlib.import_module(module), name).neighbors
        monkeypatch.setattr(f"{stages}.neighbors", lambda *a, plain=neighbors: made.append(1) or plain(*a))
    subset = str(problem / "subset.parquet")
    ids = pq.read_table(subset)["id"]
    if engine == "spark":
        pq.write_table(pa.table({"id": ids[:40]}), problem / "half.parquet")
    half = str(problem / "half.parquet") if engine == "spark" else ids[:40].to_pylist()
    both = subsel.score_subsets([subset, half], engine=where, **paths(problem))
    assert len(made) == 1
    alone = [subsel.score(one, engine="local", **paths(problem)).total for one in (subset, ids[:40].to_pylist())]
    assert [one.total for one in both] == pytest.approx(alone)


def test_bad_subsets_on_spark(spark, problem, tmp_path):
    """On the graph that is there already."""
    from subsel.request import Request
    from subsel.stages.base import make_ready
    from subsel.stages.on_spark import score_ids
    from subsel.stages.spark import SparkStages

    request = Request(*paths(problem).values(), sizes=((SelectConfig(size=10), None),))
    stages = SparkStages(spark, request, "test")
    try:
        make_ready(stages, stages.config)
        for number, (ids, message) in enumerate(
            (
                (["p1", "p2", "who"], "1 of 3 ids of the subset are unknown, such as 'who'"),
                (["p1", "p1"], "1 of 2 ids of the subset repeat another"),
                (["p1", None], "1 of 2 ids of the subset are null"),
                ([1, 2], "use one type"),
                (pa.array([], pa.string()), "the subset is empty"),
            )
        ):
            pq.write_table(pa.table({"id": ids}), tmp_path / f"{number}.parquet")
            with pytest.raises(InputError, match=message) as caught:
                score_ids(stages, str(tmp_path / f"{number}.parquet"))
            assert "\n" not in str(caught.value)
    finally:
        stages.close()


@pytest.mark.parametrize("engine", ["local", pytest.param("spark", marks=pytest.mark.slow)])
def test_the_graph_of_a_run_directory(request, tmp_path, demo_table, engine):
    points = tmp_path / "points.parquet"
    pq.write_table(demo_table, points)
    where = request.getfixturevalue("spark") if engine == "spark" else "local"
    options = {"run_dir": tmp_path / "run", "engine": where, "part_points": 1000}
    selection = subsel.select(points, size="10%", output=tmp_path / "subset", **options)
    found = subsel.score(tmp_path / "subset", points=points, **options)
    assert found.total == pytest.approx(selection.objective)
    again = subsel.select(points, size="10%", output=tmp_path / "again", resume=True, **options)
    assert again.table.equals(selection.table)  # the finished stages are still there


def test_without_a_graph_neighbours_are_computed(demo_table):
    selection = subsel.select(demo_table, size="10%")
    assert subsel.score(selection.ids, points=demo_table, size="10%").total == pytest.approx(selection.objective)


def test_normalised_scores():
    score = Score(30.0, 40.0, 10.0)
    assert score.normalised(50, 10) == 50
    assert score.normalised(30, -7) == 100
    with pytest.raises(ConfigError, match="no scale"):
        score.normalised(3, 3)


def test_the_command_line_normalises(problem, tmp_path):
    points, graph = paths(problem).values()
    best = subsel.select(points, graph=graph, size=137, output=tmp_path / "best")
    subset = str(problem / "subset.parquet")
    worst = subsel.score(subset, points=points, graph=graph).total - 1
    common = ["--points", points, "--graph", graph]
    result = CliRunner().invoke(
        main, ["score", subset, *common, "--reference", str(tmp_path / "best"), "--worst", str(worst)]
    )
    assert result.exit_code == 0, result.output
    assert f"{100 / (best.objective - worst):.2f} (reference 100, worst 0)" in result.output
    half = CliRunner().invoke(main, ["score", subset, *common, "--worst", "0"])
    assert half.exit_code == 2
    assert "needs both" in half.output
