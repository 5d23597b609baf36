"""A run goes on from its run directory, whatever moment it was killed at."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

import subsel
from subsel import ConfigError, InputError
from subsel.engines.spark.engine import SparkEngine

OPTIONS = {"size": 0.5, "alpha": 0.9, "part_points": 700, "finish_points": 0}


@pytest.fixture(scope="module")
def points(tmp_path_factory, demo_table):
    path = tmp_path_factory.mktemp("resume") / "points.parquet"
    pq.write_table(demo_table.slice(0, 1200), path)
    return path


@pytest.fixture(scope="module")
def expected(spark, points, tmp_path_factory):
    output = tmp_path_factory.mktemp("resume") / "subset"
    return subsel.select(points, engine=spark, output=output, **OPTIONS).table


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", [1, 3, 6])
def test_resuming_gives_the_same_subset(spark, points, expected, tmp_path, monkeypatch, moment):
    plain, steps = SparkEngine.step, []

    def step(self, kernel, /, *args, **params):
        steps.append(kernel)
        if len(steps) == moment:
            raise KilledError
        return plain(self, kernel, *args, **params)

    arguments = {"engine": spark, "output": tmp_path / "subset", "run_dir": tmp_path / "run", **OPTIONS}
    monkeypatch.setattr(SparkEngine, "step", step)
    with pytest.raises(KilledError):
        subsel.select(points, **arguments)
    monkeypatch.setattr(SparkEngine, "step", plain)
    assert not (tmp_path / "subset").exists()
    with pytest.raises(InputError, match="holds a run: resume it"):
        subsel.select(points, **arguments)
    before = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]
    assert "graph" in before
    resumed = subsel.select(points, resume=True, **arguments)
    assert resumed.table.equals(expected)
    if moment == 6:
        again = subsel.select(points, resume=True, **(arguments | {"output": tmp_path / "again"}))
        assert again.table.equals(expected)


def test_another_config_or_input_is_refused(spark, points, tmp_path):
    arguments = {"engine": spark, "output": tmp_path / "subset", "run_dir": tmp_path / "run", **OPTIONS}
    subsel.select(points, **arguments)
    retry = arguments | {"output": tmp_path / "again", "resume": True}
    with pytest.raises(InputError, match="other graph options"):
        subsel.select(points, **(retry | {"neighbors": 5}))
    with pytest.raises(InputError, match="another size or objective"):
        subsel.select(points, **(retry | {"size": 0.2}))
    with pytest.raises(InputError, match=r"is of .*points.parquet, not of .*other.parquet"):
        subsel.select(tmp_path / "other.parquet", **retry)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"has other things in it, such as notes.txt"):
        subsel.select(points, **(retry | {"run_dir": tmp_path / "mine", "resume": False}))
    with pytest.raises(ConfigError, match="give run_dir"):
        subsel.select(points, size=1, engine=spark, output=tmp_path / "x", resume=True)
    with pytest.raises(ConfigError, match="run_dir is for Spark"):
        subsel.select(points, size=1, engine="local", run_dir=tmp_path / "x")
