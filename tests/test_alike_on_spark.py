"""Near copies among members on Spark: the subset of one machine where all pairs are compared, no pair in any case."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel.embeddings import alike
from subsel.engines.spark import alike as on_spark
from tests.spark_fixtures import needs_spark
from tests.test_alike import masses, similarities

pytestmark = pytest.mark.slow


def write(X: np.ndarray, path, **columns):
    """Write points with ids from 1000 on."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])
    table = pa.table({"id": np.arange(len(X)) + 1000, "embedding": vectors, **columns})
    pq.write_table(table, path)
    return path


def repeated(rng, centers: int, copies: int, d: int = 32) -> np.ndarray:
    X = np.repeat(rng.standard_normal((centers, d)).astype(np.float32), copies, 0)
    return (X + 1e-3 * rng.standard_normal(X.shape)).astype(np.float32)


def both(spark, tmp_path, path, **asked):
    """Select on both engines along one graph, that of a run directory; the search has its own tests."""
    needs_spark()
    options = {"engine": spark, "output": tmp_path / "there", "progress": False, "overwrite": True}
    there = subsel.select(path, **asked, **options)
    here = subsel.select(path, **asked, progress=False)
    return here, there


def test_one_of_each_mass_on_both_engines(spark, rng, tmp_path, monkeypatch):
    path = write(repeated(rng, 100, 40), tmp_path / "points.parquet")
    monkeypatch.setattr(on_spark, "_LEADERS_BYTES", 4 * 32 * 30)  # several blocks
    asked = {"size": 100, "max_similarity": 0.99, "neighbors": 10}
    here, there = both(spark, tmp_path, path, **asked)  # one part: the same graph
    assert there.table.equals(here.table)
    assert there.report.limits == here.report.limits
    assert here.report.limits.alike.left > 0
    for found in (here, there):
        assert len(set(((found.ids - 1000) // 40).tolist())) == 100
    options = {"engine": spark, "output": tmp_path / "parts", "progress": False}
    parts = subsel.select(path, **asked, **options, part_points=700, finish_points=0)
    assert parts.report.graph.parts > 3
    assert len(set(((parts.ids - 1000) // 40).tolist())) == 100


def test_all_limits_together_on_several_parts(spark, rng, tmp_path):
    X = masses(rng, 3, 300, 300)
    n = len(X)
    kind = pa.array(rng.choice(["a", "b", "c"], n))
    path = write(X, tmp_path / "points.parquet", tokens=pa.array(rng.integers(1, 100, n)), kind=kind)
    asked = {
        "budget": 6_000,
        "cost": "tokens",
        "groups": "kind",
        "quotas": {"a": 0.2},
        "max_similarity": 0.99,
        "include": [1300, 1301, 1303, 1304],  # the first and others of a mass
        "neighbors": 10,
    }
    here, there = both(spark, tmp_path, path, **asked)
    assert there.table.equals(here.table)
    assert there.report.limits == here.report.limits
    options = {"engine": spark, "output": tmp_path / "parts", "progress": False, "part_points": 300}
    parts = subsel.select(path, **asked, **options, finish_points=0)
    assert parts.report.graph.parts > 1
    for found in (here, parts):
        limits = found.report.limits
        assert limits.alike.left > 0
        assert set(asked["include"]) <= set(found.ids.tolist())
        at = found.ids - 1000
        near = similarities(X[at], "cosine") > 0.9901
        inside = np.isin(found.ids, asked["include"])
        assert near[np.ix_(inside, inside)].any(axis=1).sum() - 1 == limits.alike.together
        near[np.ix_(inside, inside)] = False
        assert not near.any()
        assert 5_900 < limits.totals[0].spent <= 6_000


def test_beyond_the_exact_limit_a_search_finds_them(spark, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(alike, "MOST_COMPARED", 50)
    X = np.concatenate([repeated(rng, 60, 30), rng.standard_normal((600, 32)).astype(np.float32)])
    path = write(X, tmp_path / "points.parquet")
    asked = {"size": 500, "max_similarity": 0.99, "neighbors": 10, "include": [1000, 1001]}
    here, there = both(spark, tmp_path, path, **asked, part_points=400, finish_points=0)
    for found in (here, there):
        told = found.report.limits.alike
        assert not told.exact
        assert told.compared == len(found.ids) == 500
        assert told.sample == 500
        assert told.left > 0
        assert told.together == 1
        assert told.pairs == np.triu(similarities(X[found.ids - 1000], "cosine") > 0.99).sum() - 1 == 0
    assert there.report.graph.parts > 1


def test_dirty_rows_and_a_run_directory(spark, rng, tmp_path):
    needs_spark()
    X = masses(rng, 3, 200, 200, d=16)
    X[7] = 0  # bad under cosine
    path = write(X, tmp_path / "points.parquet")
    table = pq.read_table(path)
    ids = table["id"].to_pylist()
    ids[300] = None
    table = table.set_column(0, "id", pa.array(ids))
    pq.write_table(pa.concat_tables([table, table.slice(210, 3)]), path)
    asked = {"size": 150, "max_similarity": 0.99, "neighbors": 10, "on_bad_rows": "drop", "progress": False}
    here = subsel.select(path, **asked)
    options = {"engine": spark, "run_dir": tmp_path / "run"}
    first = subsel.select(path, **asked, **options, output=tmp_path / "first")
    graph_only = subsel.select(
        path, **asked, **options | {"run_dir": tmp_path / "other"}, output=tmp_path / "x", stages=["graph", "utility"]
    )
    again = subsel.select(path, **asked, **options, output=tmp_path / "again", resume=True)
    later = subsel.select(
        path, **asked, **options | {"run_dir": tmp_path / "other"}, output=tmp_path / "later", resume=True
    )
    assert here.report.limits.alike.left > 0
    for found in (first, graph_only, again, later):
        assert found.table.equals(here.table)
        assert found.report.limits == here.report.limits


def test_a_graph_of_the_users_is_limited_along_its_edges(spark, rng, tmp_path):
    needs_spark()
    X = masses(rng, 1, 50, 100)
    path = write(X, tmp_path / "points.parquet")
    subsel.neighbors(path, neighbors=5, progress=False).graph.to_parquet(tmp_path / "graph.parquet")
    options = {"engine": spark, "output": tmp_path / "out", "progress": False}
    found = subsel.select(path, graph=tmp_path / "graph.parquet", size=60, max_similarity=0.99, **options)
    assert found.report.limits.alike is None
