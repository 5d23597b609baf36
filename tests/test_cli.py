from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from rich.console import Console

from subsel import InputError
from subsel.cli import main, shell
from subsel.cli.shell import Command
from subsel.cli.tables import pairs_table, report_table
from subsel.config_file import default_toml
from subsel.declare import GROUPS
from subsel.errors import option
from subsel.report import Report
from subsel.text import amount, count


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
    for expected in (
        "3,000 from",
        "300 (10.0%)",
        "recall@20",
        "weights",
        "diversity 0.5",
        "accepted",
        "top utility",
        "random",
        "seconds",
    ):
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
    run("neighbors", points, tmp_path / "graph.parquet", "--overwrite", "--neighbors", "3", "--quiet")
    assert one_line(run("neighbors", points, points, "--overwrite", exit_code=2))
    assert pq.read_metadata(points).num_rows == 3000


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


def test_options_stand_under_headings_those_that_matter_first(run):
    said = run("select", "--help").output
    headings = [f"{name}:" for name in (*GROUPS, "Other")]
    assert sorted(headings, key=said.index) == headings
    assert said.index("--size ") < said.index("--keep-columns") < said.index("Objective:")
    assert "[default: density" not in said
    assert "from the diversity" in said
    assert "--adaptive / --fixed-partitions" in said


def test_config_prints_a_file_to_start_from(run, points, tmp_path):
    (tmp_path / "my.toml").write_text(run("config").stdout)
    assert (tmp_path / "my.toml").read_text() == default_toml()
    run("select", points, tmp_path / "out", "--config", tmp_path / "my.toml")


def test_quiet_prints_nothing_and_verbose_may_come_last(run, points, tmp_path):
    quiet = run("select", points, tmp_path / "out", "--size", "10", "--quiet")
    assert quiet.output == ""
    assert pq.read_table(tmp_path / "out").num_rows == 10
    for number, arguments in enumerate((["select", "-v"], ["-v", "select"])):
        run(*arguments, points, tmp_path / str(number), "--size", "10", "--quiet")
        assert logging.getLogger().level == logging.INFO


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["select", "POINTS", "out", "--size", "4000"],
            "--size 4,000 exceeds the 3,000 points of POINTS: lower --size.",
        ),
        (["select", "POINTS", "out", "--size", "1", "--alpha", "-1"], "--alpha: Input should be greater than or equal"),
        (
            ["select", "POINTS", "out", "--size", "1", "--resume"],
            "--resume goes on from a run directory: give --run-dir.",
        ),
        (["select", "POINTS", "out", "--size", "1", "--keep-columns", "rank"], "--keep-columns may not name rank"),
        (["score", "SUBSET"], "give a --graph, or --points."),
        (["plan", "POINTS", "--size", "1", "--embedding-column", "e"], "name the right one with --embedding-column."),
        (["validate", "POINTS", "--config", "CONFIG"], "option 'neighbors': Input should be"),  # no --neighbors here
    ],
)
def test_errors_name_options_as_the_shell_has_them(run, points, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("neighbors = 0\n")
    places = {"POINTS": "points.parquet", "CONFIG": "config.toml"}
    result = run(*(places.get(argument, argument) for argument in arguments), exit_code=2)
    assert message.replace("POINTS", "points.parquet") in one_line(result)


def test_one_message_has_two_spellings():
    error = InputError(f"{option('resume', True)}, set {option('on_bad_rows', 'drop')} or {option('id_column')}")
    assert str(error) == "resume=True, set on_bad_rows='drop' or id_column"
    flags = {"on_bad_rows": "--on-bad-rows", "resume": "--resume"}
    assert error.for_shell(flags.get) == "--resume, set --on-bad-rows drop or id_column"

    @click.command(cls=Command)
    @click.argument("run_dir")
    def fail(run_dir):
        raise InputError(f"{option('run_dir')} {run_dir} is none\nof ours")

    result = CliRunner().invoke(fail, ["\x1b[31m[/x]"])
    assert one_line(result) == r"subsel: RUN_DIR \x1b[31m[/x] is none\nof ours"


def test_markup_and_escape_codes_in_ids_and_paths_are_text(run, tmp_path, demo_table):
    ids = ["[/x]\x1b[31m\n"] * 2 + [f":smile:{row}" for row in range(len(demo_table) - 2)]
    folder = tmp_path / "p\x1b[" / "y]"
    folder.mkdir(parents=True)
    pq.write_table(demo_table.set_column(0, "id", pa.array(ids)), folder / "points.parquet")
    for command in (["validate", folder], ["select", folder, tmp_path / "out", "--size", "5"]):
        said = run(*command, "--on-bad-rows", "drop").output
        assert "repeated id" in said
        assert "\x1b" not in said
    assert "\x1b" not in one_line(run("validate", folder, exit_code=2))


def test_tables_print_text(run, points, tmp_path):
    run("select", points, tmp_path / "out", "--size", "5")
    report = Report.model_validate_json((tmp_path / "out" / "_manifest.json").read_text())
    report.input.dropped_rows["such as [/x]\x1b]0;title\x07"] = 1
    for table, expected in (
        (report_table(report, {}.get), r"1 row: such as [/x]\x1b]0;title\x07"),
        (pairs_table({"[/x]": "[bold]\x9b :smile:"}), r"[bold]\x9b :smile:"),
    ):
        with (console := Console(width=200)).capture() as said:
            console.print(table)
        assert expected in said.get()


def test_numbers_in_words():
    assert [count(1, "part"), count(2000, "part"), count(1, "pass"), count(0, "pass")] == [
        *("1 part", "2,000 parts", "1 pass", "0 passes"),
    ]
    assert [amount(size) for size in (0, 5 << 20, 3 << 29)] == ["1 MiB", "5 MiB", "1.5 GiB"]


def test_storage_options_are_pairs(run, points, monkeypatch):
    given = {}
    monkeypatch.setattr("subsel.api.validate", lambda data, **options: given.update(options) or 1 / 0)
    pairs = ["--storage-option", "endpoint_override=localhost:9000", "--storage-option", "a=b=c"]
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(main, ["validate", str(points), *pairs], catch_exceptions=False)
    assert given == {"storage_options": {"endpoint_override": "localhost:9000", "a": "b=c"}}
    assert "'key' is not KEY=VALUE" in run("validate", points, "--storage-option", "key", exit_code=2).stderr


_WAITS = """
import sys, time
from pathlib import Path
import click
from subsel.cli.shell import Group

@click.group(cls=Group)
def main(): pass

@main.command()
@click.option("--run-dir", default="run")
@click.option("--resume", is_flag=True)
def wait(run_dir, resume):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

main()
"""


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_in_order_in_one_line(number, status, word):
    with subprocess.Popen(
        [sys.executable, "-c", _WAITS, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (status, "cleaned up\n")
    assert err == f"subsel: {word}: go on from where it was with --resume.\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_that_a_callback_swallows_is_heard_all_the_same():
    """numba's compiler calls Python from C, where an exception cannot be raised."""
    code = """
import ctypes, os, signal, time
import click
from subsel.cli.shell import Command
@click.command(cls=Command)
def run():
    calls = []
    def back():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        return 0
    ctypes.CFUNCTYPE(ctypes.c_int)(back)()
    time.sleep(20)
run()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stderr) == (143, "subsel: terminated.\n")


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt(), 130), (shell._Terminated(143), 143)])
def test_a_signal_that_c_code_turned_into_another_error_is_one(raised, status, capsys):
    """numba's dispatcher makes a SystemError of what a signal raises inside it."""
    context = click.Context(click.Command("select"))
    with pytest.raises(SystemExit) as ended, shell.show_errors(context):
        raise SystemError("returned a result with an exception set") from raised
    assert ended.value.code == status
    assert capsys.readouterr().err.startswith("subsel: ")
    with pytest.raises(SystemError, match="of its own"), shell.show_errors(context):
        raise SystemError("of its own")
