"""Limits with run directories, wishes, several sizes and dirty inputs: the same on both engines, going on or not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import demo
from subsel.engines.local import LocalEngine
from tests.spark_fixtures import needs_spark

N = 400
LIMITS = {"budget": "30%", "cost": "tokens", "groups": "kind", "quotas": {"a": "40%", "b": 0.3}, "other": "20%"}


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    rng = np.random.default_rng(9)
    table = demo.demo_table(N, 8)
    kind = np.array(["a", "b", "c", None], object)[rng.choice(4, N, p=[0.5, 0.3, 0.15, 0.05])]
    table = table.append_column("tokens", pa.array(rng.integers(0, 500, N))).append_column("kind", pa.array(kind))
    path = tmp_path_factory.mktemp("resume") / "points.parquet"
    pq.write_table(table, path)
    return path


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", [1, 2, 4])
def test_one_machine_goes_on(points, tmp_path, monkeypatch, moment):
    expected = subsel.select(points, progress=False, **LIMITS)
    plain, steps = LocalEngine.step, []

    def step(self, kernel, /, *args, **params):
        steps.append(kernel)
        if len(steps) == moment:
            raise KilledError
        return plain(self, kernel, *args, **params)

    monkeypatch.setattr(LocalEngine, "step", step)
    with pytest.raises(KilledError):
        subsel.select(points, progress=False, run_dir=tmp_path / "run", **LIMITS)
    monkeypatch.setattr(LocalEngine, "step", plain)
    found = subsel.select(points, progress=False, run_dir=tmp_path / "run", resume=True, **LIMITS)
    assert found.table.equals(expected.table)
    assert found.report.limits == expected.report.limits
    again = subsel.select(points, progress=False, run_dir=tmp_path / "run", resume=True, **LIMITS)
    assert again.table.equals(expected.table)


@pytest.mark.slow
def test_spark_goes_on_and_agrees(spark, points, tmp_path):
    needs_spark()
    graph = subsel.neighbors(points, neighbors=6, progress=False).graph
    graph.to_parquet(tmp_path / "graph.parquet")
    asked = {"data": points, "graph": tmp_path / "graph.parquet", "progress": False, **LIMITS}
    expected = subsel.select(**asked)
    options = {"engine": spark, "run_dir": tmp_path / "run", "part_points": 100, "finish_points": 0}
    first = subsel.select(**asked, **options, output=tmp_path / "first")
    again = subsel.select(**asked, **options, output=tmp_path / "again", resume=True)
    for found in (first, again):
        assert found.table.equals(expected.table)
        assert found.report.limits == expected.report.limits


@pytest.mark.slow
def test_wishes_and_bad_rows_on_both_engines(spark, points, tmp_path):
    needs_spark()
    table = pq.read_table(points)
    tokens = table["tokens"].to_numpy().copy()
    ids = table["id"].to_pylist()
    wrong = pa.array([None if i in (3, 50) else int(-1 if i == 7 else t) for i, t in enumerate(tokens)])
    dirty = table.set_column(table.schema.get_field_index("tokens"), "tokens", wrong)
    pq.write_table(pa.concat_tables([dirty, dirty.slice(20, 5)]), tmp_path / "dirty.parquet")
    subsel.neighbors(dirty, neighbors=6, on_bad_rows="drop", progress=False).graph.to_parquet(
        tmp_path / "graph.parquet"
    )
    asked = {
        "data": tmp_path / "dirty.parquet",
        "graph": tmp_path / "graph.parquet",
        "include": [ids[0], ids[1]],
        "exclude": ids[100:140],
        "on_bad_rows": "drop",
        "max_similarity": 0.7,
        "progress": False,
        **LIMITS,
    }
    expected = subsel.select(**asked)
    found = subsel.select(**asked, engine=spark, output=tmp_path / "out", part_points=100, finish_points=0)
    assert found.table.equals(expected.table)
    assert found.report.limits == expected.report.limits
    assert found.report.input.dropped_rows == expected.report.input.dropped_rows


def test_several_sizes_share_a_graph(points, tmp_path):
    sizes = [20, 60]
    limits = {"groups": "kind", "quotas": "balanced"}
    several = subsel.select_sizes(points, sizes=sizes, progress=False, **limits)
    for size, found in zip(sizes, several, strict=True):
        assert found.report.k == size
        counts = [group.selected for group in found.report.limits.columns[0].groups]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    "limits",
    [
        {
            "budget": 1,
            "cost": "tokens",
            "quotas": {"a": 0, "b": 0, "c": 0, "null": 0},
            "groups": "kind",
            "quotas_by": "cost",
        },
        {"budget": 10**12, "cost": "tokens"},
        {"size": 5, "groups": "kind", "quotas": {"a": 0, "b": 0}, "other": 0},
    ],
)
def test_limits_that_leave_all_or_nothing(points, limits, tmp_path):
    found = subsel.select(points, output=tmp_path / "out", progress=False, **limits)
    total = pq.read_table(points)["tokens"].to_numpy()
    if limits.get("budget") == 10**12:
        assert len(found.table) == found.report.input.distinct
    else:
        assert len(found.table) <= (total == 0).sum()
    assert pq.read_table(tmp_path / "out").num_rows == len(found.table)
