"""The command line's ways: JSON, options anywhere, the environment, one table, stage lines, doctor, warm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import click
import numba
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import kernels
from subsel.cli import jobs, main
from subsel.cli.machine import java
from subsel.declare import GROUPS
from subsel.run import Run


@pytest.fixture
def run():
    def invoke(*args, exit_code=0, **more):
        result = CliRunner().invoke(main, [str(arg) for arg in args], **more)
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@pytest.fixture(scope="module")
def folder(tmp_path_factory, demo_table):
    """Points, a run and its subset."""
    folder = tmp_path_factory.mktemp("shell")
    pq.write_table(demo_table, folder / "points.parquet")
    done = CliRunner().invoke(
        main, ["select", f"{folder}/points.parquet", f"{folder}/subset", "--size", "30", "--run-dir", f"{folder}/run"]
    )
    assert done.exit_code == 0, done.output
    return folder


def test_every_command_says_its_result_as_json(run, folder, tmp_path):
    points = folder / "points.parquet"
    member = pq.read_table(folder / "subset")["id"][0].as_py()
    selected = json.loads(run("select", points, tmp_path / "one", "--size", "10", "--json").stdout)
    assert (selected["k"], selected["output"]) == (10, str(tmp_path / "one"))
    several = json.loads(run("--json", "select", points, tmp_path / "more", "--sizes", "1%,2%").stdout)
    assert [one["k"] for one in several] == [30, 60]
    graph = json.loads(run("neighbors", points, tmp_path / "graph.parquet", "--json", "--quiet").stdout)
    assert graph["graph"]["edges"] > 0
    score = json.loads(run("score", folder / "subset", "--points", points, "--size", "30", "--json").stdout)
    assert score["objective"] == pytest.approx(
        json.loads((folder / "subset/_manifest.json").read_text())["objective"]["total"]
    )
    assert json.loads(run("plan", points, "--size", "10%", "--json").stdout)["k"] == 300
    assert json.loads(run("validate", points, "--json").stdout)["points"] == 3000
    assert json.loads(run("explain", member, folder / "run", "--json").stdout)["selected"] is True
    assert "numba" in json.loads(run("doctor", "--json").stdout)


def test_options_for_all_commands_stand_before_them_or_after(run, folder, tmp_path):
    for place, words in enumerate((["-q", "select"], ["select", "--quiet"])):
        done = run(*words, folder / "points.parquet", tmp_path / str(place), "--size", "5")
        assert done.output == ""


def test_several_sizes_are_one_table(run, folder, tmp_path):
    done = run("select", folder / "points.parquet", tmp_path / "out", "--sizes", "1%,2%", env={"COLUMNS": "200"})
    assert done.stdout.count("certified") == 1
    lines = [line.split() for line in done.stdout.splitlines() if line.strip().startswith(("1%", "2%"))]
    assert [(line[0], line[1]) for line in lines] == [("1%", "30"), ("2%", "60")]
    assert str(tmp_path / "out" / "1pct") in done.stdout


def test_options_come_from_the_environment(run, folder, tmp_path):
    done = run("select", folder / "points.parquet", tmp_path / "a", "--json", env={"SUBSEL_SELECT_SIZE": "7"})
    assert json.loads(done.stdout)["k"] == 7
    done = run(
        "select", folder / "points.parquet", tmp_path / "b", "--size", "8", "--json", env={"SUBSEL_SELECT_SIZE": "7"}
    )
    assert json.loads(done.stdout)["k"] == 8
    said = run("--help").output
    assert "SUBSEL_SELECT_SIZE=10%" in said
    assert "_SUBSEL_COMPLETE=bash_source" in said


def test_completion_is_there():
    done = subprocess.run(
        [sys.executable, "-c", "from subsel.cli import main; main(prog_name='subsel')"],
        env=os.environ
        | {"_SUBSEL_COMPLETE": "bash_complete", "COMP_WORDS": "subsel select --max-s", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "--max-similarity" in done.stdout


COMMANDS = dict(main.commands) | {name: one for name, one in vars(jobs).items() if isinstance(one, click.Command)}


def help_of(command):
    context = click.Context(command, info_name=command.name, terminal_width=80)
    records = [(one, one.get_help_record(context)) for one in command.params if isinstance(one, click.Option)]
    return command.get_help(context).splitlines(), [(one, *record) for one, record in records if record is not None]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_what_is_needed(name):
    lines, _ = help_of(COMMANDS[name])
    headings = [at for at, line in enumerate(lines) if re.fullmatch(r"[A-Z][A-Za-z ]+:", line)]
    assert [lines[at] for at in headings] == sorted(
        (lines[at] for at in headings), key=[f"{one}:" for one in (*GROUPS, "Other")].index
    )
    assert len(headings) < 2 or headings[1] <= 60


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_every_default_and_of_every_number_its_range(name):
    fields = subsel.SelectConfig.model_fields
    for one, spelled, said in help_of(COMMANDS[name])[1]:
        default = fields[one.name].default if one.name in fields else one.default
        if isinstance(default, int | float | str) and (default is not False or one.secondary_opts):
            assert "[default: " in said, spelled
        if re.search("INTEGER|FLOAT|N[|]", spelled):
            assert re.search(r"x[<>]=?\d|\d<=?x|any number", said), spelled
        assert not spelled.endswith(" TEXT"), f"{spelled}: say what it is"


def test_stages_are_lines_where_stderr_is_no_terminal(run, folder, tmp_path, capsys):
    done = run("select", folder / "points.parquet", tmp_path / "out", "--size", "5")
    lines = [line for line in done.stderr.splitlines() if kernels.COMPILING not in line]
    assert all(re.fullmatch(r"subsel: \w+: \d+\.\d s", line) for line in lines)
    assert any(line.startswith("subsel: neighbors: ") for line in lines)
    subsel.select(folder / "points.parquet", size=5, engine="local")  # the library is silent unless it is asked
    assert capsys.readouterr().err == ""


def test_a_kernel_that_is_compiled_is_told_of_once(capsys):
    def add(a):
        return a + 1

    add.__module__ = "subsel.nowhere"
    kernel, other = numba.njit(add), numba.njit(lambda a: a)
    run = Run(True)
    with run.stage("one"):
        kernel(1)
        kernel(1.0)
        kernel(2)
        other(1)
    with run.stage("two"):
        kernel(True)
    lines = capsys.readouterr().err.splitlines()
    assert [lines[0], *(line.split(":")[1] for line in lines[1:])] == [f"subsel: {kernels.COMPILING}", " one", " two"]
    with Run(True).stage("three"):
        kernel(3)
    assert kernels.COMPILING not in capsys.readouterr().err


def test_demo_says_what_next(run, tmp_path):
    done = run("demo", tmp_path / "demo", "--points", "1000", "--dimension", "8")
    assert re.findall(r"rank (\d): id \d+ from (?:web|books|code), gain", done.stdout) == ["0", "1", "2"]
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("next: subsel select ")
    assert f"{tmp_path}/demo/points" in last


def test_neighbors_says_where_the_graph_goes(run, folder):
    assert "give GRAPH" in run("neighbors", folder / "points.parquet", exit_code=2).stderr
    assert "give GRAPH, a folder, or --run-dir" in run("neighbors", "in", "--engine", "spark", exit_code=2).stderr


@pytest.mark.parametrize("words", [["selct"], ["select", "--sise", "3"]])
def test_commands_and_options_ask_what_was_meant(run, words):
    assert "Did you mean" in run(*words, exit_code=2).stderr


def test_doctor_finds_kernels_and_says_what_is_missing(run, monkeypatch, tmp_path):
    said = run("doctor", env={"COLUMNS": "200"}).output
    for expected in ("memory", "faiss-cpu", "java", "kernels", "space in "):
        assert expected in said
    found = kernels.kernel_cache()
    assert 0 < found.compiled <= found.kernels
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "does not run" in java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert java() is None
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    assert "11.0.2" in java()
    assert "too old, Spark needs 17" in java()


@pytest.fixture(scope="module")
def warmed(tmp_path_factory):
    """What `subsel warm` says where nothing is compiled, and the environment with its kernels."""
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    done = subprocess.run(
        [sys.executable, "-m", "subsel", "warm", "--json"], env=env, capture_output=True, text=True, check=True
    )
    assert "WARNING" not in done.stderr
    return json.loads(done.stdout), env


@pytest.mark.slow
def test_nothing_that_selects_compiles_after_warm(warmed):
    _, env = warmed
    code = "import numpy as np, subsel; subsel.select(np.random.default_rng(0).random((900, 5)), size=9, progress=True)"
    again = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "subsel: neighbors: " in again.stderr
    assert kernels.COMPILING not in again.stderr


@pytest.mark.slow
@pytest.mark.xfail(reason="warm selects on one machine: kernels of many parts are not called yet", strict=True)
def test_warm_compiles_every_kernel(warmed):
    found, _ = warmed
    assert found["compiled"] == found["kernels"]


@pytest.mark.slow
def test_a_session_of_our_own_is_quiet(folder, tmp_path):
    pytest.importorskip("pyspark")
    if java() is None:
        pytest.skip("no Java")
    words = ["select", folder / "points.parquet", tmp_path / "out", "--size", "9", "--master", "local[2]"]
    done = subprocess.run(
        [sys.executable, "-m", "subsel", *map(str, words), "--engine", "spark", "--quiet"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) < 15, done.stderr
