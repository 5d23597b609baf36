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
    """Write points with ids from 1000 on, unless other ones are given."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])
    table = pa.table({"id": np.arange(len(X)) + 1000, "embedding": vectors} | columns)
    pq.write_table(table, path)
    return path


def repeated(rng, centers: int, copies: int, d: int = 32) -> np.ndarray:
    X = np.repeat(rng.standard_normal((centers, d)).astype(np.float32), copies, 0)
    return (X + 1e-3 * rng.standard_normal(X.shape)).astype(np.float32)


def both(spark, tmp_path, path, monkeypatch, finish_points=0, **asked):
    """Select on both engines, along one graph, as if each had made it of the vectors itself."""
    needs_spark()
    from subsel.stages.local import LocalStages
    from subsel.stages.spark import SparkStages

    X = np.stack(pq.read_table(path)["embedding"].to_numpy())
    subsel.neighbors(path, neighbors=10, progress=False).graph.to_parquet(tmp_path / "graph.parquet")
    for kind in (LocalStages, SparkStages):

        def part_alike(self, plain=kind.part_alike):
            made = self.made
            self.made = made.model_copy(update={"dimension": X.shape[1], "neighbors": 10})
            try:
                return plain(self)
            finally:
                self.made = made

        monkeypatch.setattr(kind, "part_alike", part_alike)
    asked = {"graph": tmp_path / "graph.parquet", "progress": False, **asked}
    here = subsel.select(path, **asked)
    options = {"engine": spark, "output": tmp_path / "there", "part_points": 700, "finish_points": finish_points}
    there = subsel.select(path, **asked, **options)
    assert there.report.graph.parts > 1
    return here, there


@pytest.mark.parametrize("finish_points", [0, None], ids=["parts", "one task"])
def test_one_of_each_mass_on_both_engines(spark, rng, tmp_path, monkeypatch, finish_points, caplog):
    path = write(repeated(rng, 100, 40), tmp_path / "points.parquet")
    monkeypatch.setattr(on_spark, "_LEADERS_BYTES", 4 * 32 * 60)  # several blocks
    with caplog.at_level("INFO", logger="subsel"):
        asked = {"size": 100, "max_similarity": 0.99, "finish_points": finish_points}
        here, there = both(spark, tmp_path, path, monkeypatch, **asked)
    assert ("decided in one task" in caplog.text) == (finish_points is None)
    assert there.table.equals(here.table)
    assert there.report.limits == here.report.limits
    assert here.report.limits.alike.left > 0
    assert len(set(((here.ids - 1000) // 40).tolist())) == 100


def test_one_of_each_mass_along_a_graph_of_many_parts(spark, rng, tmp_path):
    needs_spark()
    path = write(repeated(rng, 100, 40), tmp_path / "points.parquet")
    asked = {"size": 100, "max_similarity": 0.99, "neighbors": 10, "progress": False}
    options = {"engine": spark, "output": tmp_path / "parts", "part_points": 1000}
    found = subsel.select(path, **asked, **options)
    assert found.report.graph.parts > 2
    assert len(set(((found.ids - 1000) // 40).tolist())) == 100


def test_all_limits_together_on_several_parts(spark, rng, tmp_path, monkeypatch):
    X = masses(rng, 3, 300, 600)
    n = len(X)
    kind = pa.array(rng.choice(["a", "b", "c"], n))
    names = [f"point {i}" for i in range(n)]
    tokens = pa.array(rng.integers(1, 100, n))
    path = write(X, tmp_path / "points.parquet", id=names, tokens=tokens, kind=kind)
    inside = [600, 603, 604, 605]  # the first and others of a mass
    asked = {
        "budget": 6_000,
        "cost": "tokens",
        "groups": "kind",
        "quotas": {"a": 0.2},
        "max_similarity": 0.99,
        "include": [names[i] for i in inside],
    }
    here, there = both(spark, tmp_path, path, monkeypatch, **asked)
    assert there.table.equals(here.table)
    assert there.report.limits == here.report.limits
    limits = here.report.limits
    assert limits.alike.left > 0
    at = np.array([names.index(one) for one in here.table["id"].to_pylist()])
    assert set(inside) <= set(at.tolist())
    near = similarities(X[at], "cosine") > 0.9901
    both_in = np.ix_(np.isin(at, inside), np.isin(at, inside))
    assert near[both_in].any(axis=1).sum() - 1 == limits.alike.together > 0
    near[both_in] = False
    assert not near.any()
    assert 5_900 < limits.totals[0].spent <= 6_000


def test_beyond_the_exact_limit_a_search_finds_them(spark, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(alike, "MOST_COMPARED", 50)
    X = np.concatenate([repeated(rng, 60, 30), rng.standard_normal((600, 32)).astype(np.float32)])
    path = write(X, tmp_path / "points.parquet")
    asked = {"size": 500, "max_similarity": 0.99, "neighbors": 10, "include": [1000, 1001]}
    needs_spark()
    here = subsel.select(path, **asked, progress=False)
    options = {"engine": spark, "output": tmp_path / "out", "part_points": 900, "finish_points": 0}
    there = subsel.select(path, **asked, **options, progress=False)
    for found in (here, there):
        told = found.report.limits.alike
        assert not told.exact
        assert told.compared == len(found.ids) == 500
        assert told.sample == 500
        assert told.left > 0
        assert told.together == 1
        assert told.pairs == np.triu(similarities(X[found.ids - 1000], "cosine") > 0.99).sum() - 1 == 0
    assert there.report.graph.parts > 1


class KilledError(Exception):
    pass


def test_a_run_goes_on_where_rows_were_dropped(spark, rng, tmp_path, monkeypatch):
    needs_spark()
    X = masses(rng, 2, 100, 100, d=16)
    X[7] = 0  # bad under cosine
    path = write(X, tmp_path / "points.parquet")
    table = pq.read_table(path)
    ids = table["id"].to_pylist()
    ids[150] = None
    table = table.set_column(0, "id", pa.array(ids))
    pq.write_table(pa.concat_tables([table, table.slice(160, 3)]), path)
    asked = {"size": 90, "max_similarity": 0.99, "neighbors": 10, "on_bad_rows": "drop", "progress": False}
    expected = subsel.select(path, **asked, engine=spark, output=tmp_path / "expected")
    assert expected.report.limits.alike.left > 0
    assert not (similarities(X[expected.ids - 1000], "cosine") > 0.9901).any()
    options = {"engine": spark, "run_dir": tmp_path / "run"}
    with monkeypatch.context() as patch:

        def killed(self, make_room):
            raise KilledError

        patch.setattr(on_spark.SparkAlike, "part", killed)
        with pytest.raises(KilledError):
            subsel.select(path, **asked, **options, output=tmp_path / "killed")
    for name in ("resumed", "again"):
        found = subsel.select(path, **asked, **options, output=tmp_path / name, resume=True)
        assert found.table.equals(expected.table)
        assert found.report.limits == expected.report.limits


def test_a_graph_of_the_users_is_limited_along_its_edges(spark, rng, tmp_path):
    needs_spark()
    X = masses(rng, 1, 50, 100)
    path = write(X, tmp_path / "points.parquet")
    subsel.neighbors(path, neighbors=5, progress=False).graph.to_parquet(tmp_path / "graph.parquet")
    options = {"engine": spark, "output": tmp_path / "out", "progress": False}
    found = subsel.select(path, graph=tmp_path / "graph.parquet", size=60, max_similarity=0.99, **options)
    assert found.report.limits.alike is None
