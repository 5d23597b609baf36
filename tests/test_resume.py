"""A run on Spark goes on from its run directory, whatever moment it was killed at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import ConfigError, InputError
from subsel.engines.spark.engine import SparkEngine

OPTIONS = {"size": 0.5, "alpha": 0.9, "part_points": 250, "finish_points": 0, "refine": 2}


@pytest.fixture(scope="module")
def points(tmp_path_factory, demo_table):
    path = tmp_path_factory.mktemp("resume") / "points.parquet"
    pq.write_table(demo_table.slice(0, 500), path)
    return path


@pytest.fixture(scope="module")
def expected(spark, points, tmp_path_factory):
    output = tmp_path_factory.mktemp("resume") / "subset"
    return subsel.select(points, engine=spark, output=output, **OPTIONS).table


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    file.with_name(f".{file.name}.crc").unlink()  # Hadoop's own; storage that is not a local disk has none


@pytest.mark.slow
def test_damage_is_told(spark, points, tmp_path):
    """Files that are gone by their count, damage that shows in no size by its page's checksum."""
    run = tmp_path / "run"
    arguments = {"engine": spark, "output": tmp_path / "subset", "run_dir": run, "overwrite": True, **OPTIONS}
    subsel.select(points, **arguments)
    for folder, harm, message in (
        ("points", Path.unlink, r"is damaged: points has \d+ files of [\d,]+ bytes, and \d+ files of [\d,]+ bytes"),
        ("graph", flip, r"Spark failed: \S*/graph/part\S*parquet is damaged: bring it back"),
    ):
        file = max((run / folder).glob("*.parquet"), key=lambda file: file.stat().st_size)
        whole, summed = file.read_bytes(), file.with_name(f".{file.name}.crc").read_bytes()
        harm(file)
        with pytest.raises(InputError, match=message) as caught:
            subsel.select(points, resume=True, **arguments)
        assert "\n" not in str(caught.value)
        file.write_bytes(whole)
        file.with_name(f".{file.name}.crc").write_bytes(summed)
    subsel.select(points, resume=True, **arguments)


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "moment",
    [pytest.param(moment, marks=pytest.mark.long if moment == 3 else pytest.mark.slow) for moment in (1, 3, 6)],
)
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


@pytest.fixture(scope="module")
def killed(spark, tmp_path_factory):
    """A run on a given graph that was killed in its midst: its input, and its options."""
    folder = tmp_path_factory.mktemp("killed")
    rng = np.random.default_rng(5)
    src = np.repeat(np.arange(400), 4)
    dst = (src + rng.integers(1, 40, len(src))) % 400
    pq.write_table(pa.table({"id": np.arange(400), "utility": rng.random(400)}), folder / "points.parquet")
    edges = {"src": src, "dst": dst, "similarity": rng.random(len(src))}
    pq.write_table(pa.table(edges), folder / "graph.parquet")
    options = {"graph": str(folder / "graph.parquet"), "run_dir": folder / "run"} | OPTIONS
    plain, steps = SparkEngine.step, []

    def step(self, kernel, /, *args, **params):
        steps.append(kernel)
        if len(steps) == 6:
            raise KilledError
        return plain(self, kernel, *args, **params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparkEngine, "step", step)
        with pytest.raises(KilledError):
            subsel.select(folder / "points.parquet", engine=spark, output=folder / "subset", **options)
    assert not (folder / "subset").exists()
    return folder / "points.parquet", options


def test_another_config_or_input_is_refused(spark, tmp_path, killed):
    points, options = killed
    retry = {"engine": spark, "output": tmp_path / "again", "resume": True, **options}
    for change, message in (
        ({"seed": 1}, "its graph was made with seed=0, now it is seed=1"),
        ({"part_points": 300}, "its graph was made with part_points=250, now it is part_points=300"),
        ({"engine": "local", "output": None}, "graph is of engine spark, not local"),
        ({"resume": False}, "holds a run: resume it"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            subsel.select(points, **(retry | change))
        assert "\n" not in str(caught.value)
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(points).slice(1), other)
    with pytest.raises(InputError, match=r"400 rows of 1 files then, 399 of 1 now, and .*\.parquet is (new|gone)"):
        subsel.select(other, **retry)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"has other things in it, such as notes.txt"):
        subsel.select(points, **(retry | {"run_dir": tmp_path / "mine", "resume": False}))
    with pytest.raises(ConfigError, match="give run_dir"):
        subsel.select(points, size=1, engine=spark, output=tmp_path / "x", resume=True)


@pytest.mark.slow
def test_going_on_gives_the_uninterrupted_subset(spark, tmp_path, killed):
    points, options = killed
    resumed = subsel.select(points, engine=spark, output=tmp_path / "subset", resume=True, **options)
    local = subsel.select(points, engine="local", **{k: v for k, v in options.items() if k != "run_dir"})
    assert resumed.table.equals(local.table)
