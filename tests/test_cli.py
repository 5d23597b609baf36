from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from subsel.cli import main


@pytest.fixture
def run():
    def invoke(*args, exit_code=0):
        result = CliRunner().invoke(main, [str(arg) for arg in args])
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture
def points(tmp_path, demo_table):
    pq.write_table(demo_table, tmp_path / "points.parquet")
    return tmp_path / "points.parquet"


def one_line(result):
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_select_prints_the_closing_table_and_writes(run, points, tmp_path):
    result = run("select", points, tmp_path / "out", "--size", "10%", "--keep-columns", "source,utility")
    for expected in ("3,000 from", "300 (10.0%)", "recall@10", "accepted", "top utility", "random", "seconds"):
        assert expected in result.output
    assert str(tmp_path / "out") in result.output
    table = pq.read_table(tmp_path / "out")
    assert table.column_names == ["id", "rank", "gain", "decided_by", "source", "utility"]


def test_neighbors_then_select_and_score_on_its_graph(run, points, tmp_path):
    run("neighbors", points, tmp_path / "graph.parquet", "--probes", "4", "--neighbors", "5")
    run("select", points, tmp_path / "out", "--size", "30", "--graph", tmp_path / "graph.parquet", "--alpha", "0.5")
    objective = json.loads((tmp_path / "out" / "_manifest.json").read_text())["objective"]["total"]
    scored = run("score", tmp_path / "out", "--graph", tmp_path / "graph.parquet", "--points", points, "--alpha", "0.5")
    assert f"{objective:,.6f}" in scored.output
    again = run("neighbors", points, tmp_path / "graph.parquet", exit_code=2)
    assert "exists" in one_line(again)


def test_validate(run, points, tmp_path):
    assert "3,000 x 16" in run("validate", points).output
    bad = pa.table({"id": [1, 1], "embedding": [[1.0], [2.0]]})
    pq.write_table(bad, tmp_path / "bad.parquet")
    assert "repeated id" in one_line(run("validate", tmp_path / "bad.parquet", exit_code=2))
    assert "dropped, repeated id" in run("validate", tmp_path / "bad.parquet", "--on-bad-rows", "drop").output


def test_demo(run, tmp_path):
    folder = tmp_path / "demo"
    first = run("demo", folder, "--points", "2000", "--dimension", "8")
    assert "subset of 200 points" in first.output
    assert "exists" in one_line(run("demo", folder, exit_code=2))
    run("demo", folder, "--points", "1000", "--overwrite")
    assert pq.read_table(folder / "subset").num_rows == 100


def test_config_file_and_its_override(run, points, tmp_path):
    (tmp_path / "config.toml").write_text('size = "5%"\nalpha = 0.5\nneighbors = 4\n')
    run("select", points, tmp_path / "out", "--config", tmp_path / "config.toml", "--alpha", "0.7")
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert (manifest["k"], manifest["config"]["alpha"], manifest["config"]["neighbors"]) == (150, 0.7, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "out", "--size", "1"], "input nowhere does not exist"),
        (["POINTS", "out", "--size", "4000"], "size 4,000 exceeds the 3,000 points"),
        (["POINTS", "out"], "size is missing"),
        (["POINTS", "out", "--size", "1", "--config", "CONFIG"], "unknown option 'neighbours'"),
        (["POINTS", "out", "--size", "1", "--utility", "u"], "has no utility column 'u'"),
    ],
)
def test_wrong_requests_end_in_one_line_and_exit_2(run, points, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("neighbours = 3\n")
    before = sorted(tmp_path.iterdir())
    places = {"POINTS": points, "CONFIG": "config.toml"}
    result = run("select", *(places.get(argument, argument) for argument in arguments), exit_code=2)
    assert message in one_line(result)
    assert sorted(tmp_path.iterdir()) == before


def test_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "subsel", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("subsel, version")
