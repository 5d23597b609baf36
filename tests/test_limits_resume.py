"""Limits with run directories, wishes, several sizes and dirty inputs: the same on both engines, going on or not."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import demo, pipeline
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


ASKED = {
    "wishes": {"size": 40, "include": "wanted", "exclude": "banned", "certify": 3},
    "limits": {**LIMITS, "include": "wanted", "exclude": "banned", "certify": 3},
    "least": {"size": 60, "groups": "kind", "at_least": {"c": 9}, "include": "wanted", "certify": 2},
    "alike": {"size": 40, "include": "wanted", "max_similarity": 0.9, "refine": 2, "certify": 2},
    "covers": {"size": 40, "include": "wanted", "objective": "coverage", "groups": "kind", "quotas": "balanced"},
    "warm": {"exclude": "banned", "certify": 2, **LIMITS},
}


@pytest.mark.parametrize("stage", ["run_greedy", "run_refine", "run_certify", "certificate_of"])
@pytest.mark.parametrize("kind", ASKED)
def test_what_a_stopped_run_decided_is_no_wish(points, tmp_path, monkeypatch, kind, stage):
    """What is left beside wishes is known of these alone, when others have been selected, too."""
    table = pq.read_table(points)
    number = np.arange(len(table))
    table = table.append_column("wanted", pa.array(number % 40 == 3)).append_column(
        "banned", pa.array(number % 10 == 7)
    )
    asked = {"progress": False, **ASKED[kind]}
    if kind == "warm":
        asked["warm_start"] = table["id"].to_pylist()[::11]
    expected = subsel.select(table, **asked)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, stage, lambda *_, **__: 1 / 0)
        with suppress(ZeroDivisionError):  # not all kinds have all stages
            subsel.select(table, run_dir=tmp_path / "run", **asked)
    found = subsel.select(table, run_dir=tmp_path / "run", resume=True, **asked)
    assert found.table.equals(expected.table)
    for section in ("objective", "certificate", "limits", "constraints", "bounding", "refine"):
        assert getattr(found.report, section) == getattr(expected.report, section)


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


def test_another_table_of_quotas_is_another_run(points, tmp_path):
    quotas = pa.table({"group": ["a", "b"], "quota": [10, 20]})
    pq.write_table(quotas, tmp_path / "quotas.parquet")
    asked = {"size": 40, "groups": "kind", "quotas": str(tmp_path / "quotas.parquet"), "progress": False}
    first = subsel.select(points, run_dir=tmp_path / "run", **asked)
    assert {one.name: one.most for one in first.report.limits.columns[0].groups}["a"] == 10
    again = subsel.select(points, run_dir=tmp_path / "run", resume=True, **asked)
    assert again.table.equals(first.table)
    pq.write_table(pa.table({"group": ["a", "b"], "quota": [5, 20]}), tmp_path / "quotas.parquet")
    with pytest.raises(subsel.InputError, match="is of quotas"):
        subsel.select(points, run_dir=tmp_path / "run", resume=True, **asked)


def test_wishes_that_contradict_each_other_under_a_budget(points):
    ids = pq.read_table(points)["id"].to_pylist()
    with pytest.raises(subsel.ConfigError, match="are in include and in exclude"):
        subsel.select(points, budget="10%", cost="tokens", include=ids[:2], exclude=ids[1:3], progress=False)
    with pytest.raises(subsel.ConfigError, match="leaves 0 of"):
        subsel.select(points, budget="10%", cost="tokens", exclude=ids, progress=False)


def test_minima_beside_included_points(points):
    table = pq.read_table(points)
    a = [one for one, kind in zip(table["id"].to_pylist(), table["kind"].to_pylist(), strict=True) if kind == "a"]
    with pytest.raises(subsel.InputError, match="at_least cannot be met beside what include names"):
        subsel.select(points, size=10, groups="kind", at_least={"b": 5}, include=a[:8], progress=False)


def test_costs_that_have_much_in_common(points):
    table = pq.read_table(points)
    plain = subsel.select(table, budget="20%", cost="tokens", progress=False)
    large = table["tokens"].to_numpy() * 10**13
    found = subsel.select(table, budget="20%", cost=large, progress=False)
    assert found.ids.tolist() == plain.ids.tolist()


def test_best_by_gain_ranks_as_gain_does(points):
    by_gain = subsel.select(points, budget="60%", cost="tokens", order="gain", progress=False)
    best = subsel.select(points, budget="60%", cost="tokens", order="best", progress=False)
    by_ratio = subsel.select(points, budget="60%", cost="tokens", progress=False)
    assert best.objective >= max(by_gain.objective, by_ratio.objective) - 1e-6
    same = by_gain if set(best.ids) == set(by_gain.ids) else by_ratio
    assert best.ids.tolist() == same.ids.tolist()
    assert np.allclose(best.table["gain"], same.table["gain"])
