"""Run directories of the local engine: whose they are, what they refuse, and that a run goes on from every stage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import ConfigError, InputError
from subsel.cli.commands import main
from subsel.kept_rows import rows_of
from subsel.rundir import FORMAT, RunDirectory, open_to_score
from subsel.storage import LOCK, place_of

OPTIONS = {"size": 60, "alpha": 0.9, "certify": 2, "engine": "local"}
STAGES = ["graph", "utility", "bounding", "greedy", "refine", "certify"]


@pytest.fixture(scope="module")
def points(tmp_path_factory, demo_table):
    folder = tmp_path_factory.mktemp("rundir") / "points"
    folder.mkdir()
    table = demo_table.slice(0, 300)
    pq.write_table(table.slice(0, 150), folder / "a.parquet")
    pq.write_table(table.slice(150), folder / "b.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(points):
    return subsel.select(points, **OPTIONS).table


@pytest.fixture(scope="module")
def finished(points, expected, tmp_path_factory):
    """A finished run, not to be changed: its folder."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert subsel.select(points, run_dir=folder, **OPTIONS).table.equals(expected)
    return folder


class KilledError(Exception):
    pass


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_going_on_from_every_stage(points, expected, tmp_path, monkeypatch, stage, before):
    plain = RunDirectory.finish

    def finish(self, name, *args, **more):
        if name == stage and before:
            raise KilledError
        plain(self, name, *args, **more)
        if name == stage:
            raise KilledError

    monkeypatch.setattr(RunDirectory, "finish", finish)
    with pytest.raises(KilledError):
        subsel.select(points, run_dir=tmp_path / "run", output=tmp_path / "out", **OPTIONS)
    monkeypatch.undo()
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "run" / LOCK).exists()
    if stage != "graph" or not before:
        done = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]
        assert list(done) == STAGES[: STAGES.index(stage) + (not before)]
        with pytest.raises(InputError, match=r"holds a run: resume it .resume=True"):
            subsel.select(points, run_dir=tmp_path / "run", **OPTIONS)
    resumed = subsel.select(points, run_dir=tmp_path / "run", output=tmp_path / "out", resume=True, **OPTIONS)
    assert resumed.table.equals(expected)
    assert subsel.select(points, run_dir=tmp_path / "run", resume=True, **OPTIONS).table.equals(expected)


def test_a_finished_graph_is_not_searched_again(points, expected, finished, monkeypatch):
    monkeypatch.setattr("subsel.stages.local.read_points", lambda *a, **o: pytest.fail("read again"))
    monkeypatch.setattr("subsel.stages.target.neighbor_graph", lambda *a, **o: pytest.fail("searched again"))
    assert subsel.select(points, run_dir=finished, resume=True, **OPTIONS).table.equals(expected)


def test_kept_columns_and_wishes_of_a_resumed_run(points, tmp_path):
    more = {"keep_columns": ("source",), "include": [1000007], "exclude": [1000014], "run_dir": tmp_path / "run"}
    ids = pq.read_table(points)["id"].to_pylist()
    more |= {"include": ids[3:5], "exclude": ids[5:9]}
    first = subsel.select(points, **more, **OPTIONS)
    again = subsel.select(points, resume=True, **more, **OPTIONS)
    assert again.table.equals(first.table)
    assert again.report.constraints == first.report.constraints
    for change in ({"include": ids[3:4]}, {"exclude": None}):
        with pytest.raises(InputError, match=f"utility is of {next(iter(change))} .*, not .*: choose another run_dir"):
            subsel.select(points, resume=True, **(more | change), **OPTIONS)


def test_the_mark_and_the_format(finished):
    mark = json.loads((finished / ".subsel-run.json").read_text())
    assert (mark["format"], mark["subsel"]) == (FORMAT, subsel.__version__)
    assert set(mark["folders"]) == {"points", *STAGES}
    assert {path.name for path in finished.iterdir()} == {".subsel-run.json", "manifest.json", "points", *STAGES}
    for stage in STAGES[2:]:
        note = json.loads((finished / stage / "boards.json").read_text())
        assert [f"board-{number:06d}" for number in note["boards"]] == sorted(
            path.name for path in (finished / stage).iterdir() if path.is_dir()
        )
    entries = json.loads((finished / "manifest.json").read_text())["stages"]
    assert entries["graph"]["of"]["engine"] == "local"
    assert entries["graph"]["of"]["input"]["rows"] == 300
    assert len(entries["graph"]["of"]["input"]["files"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"neighbors": 5},
            r"its graph was made with neighbors='auto', now it is neighbors=5: give neighbors='auto', or",
        ),
        ({"metric": "l2"}, r"its graph was made with metric='cosine', now it is metric='l2'"),
        ({"seed": 1}, r"its graph was made with seed=0, now it is seed=1"),
        ({"size": 61}, r"its utility was made with size=60, now it is size=61"),
        ({"alpha": 0.5}, r"its utility was made with alpha=0\.9, now it is alpha=0\.5"),
        ({"refine": 1}, r"its refine was made with refine=8, now it is refine=1"),
        ({"certify": 3}, r"its certify was made with certify=2, now it is certify=3"),
    ],
)
def test_other_options_are_named_with_both_values(points, finished, change, message):
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(points, run_dir=finished, resume=True, **(OPTIONS | change))
    assert "\n" not in str(caught.value)


def test_the_shell_names_options_its_own_way(points, finished):
    words = [
        "select",
        str(points),
        "--size",
        "60",
        "--alpha",
        "0.5",
        "--run-dir",
        str(finished),
        "--resume",
        "--certify",
        "2",
    ]
    result = CliRunner().invoke(main, [*words[:2], str(finished.parent / "out"), *words[2:]])
    assert result.exit_code == 2
    assert "--alpha 0.9, now it is --alpha 0.5" in result.stderr


def test_changed_files_are_named(tmp_path, demo_table):
    folder = tmp_path / "points"
    folder.mkdir()
    for name, rows in (("a", demo_table.slice(0, 50)), ("b", demo_table.slice(50, 50))):
        pq.write_table(rows, folder / f"{name}.parquet")
    options = {"size": 10, "run_dir": tmp_path / "run", "engine": "local"}
    subsel.select(folder, **options)
    before = (folder / "b.parquet").stat()
    pq.write_table(demo_table.slice(100, 50), folder / "b.parquet")
    if (folder / "b.parquet").stat().st_mtime_ns == before.st_mtime_ns:
        os.utime(folder / "b.parquet", ns=(0, 0))
    with pytest.raises(InputError, match=r"100 rows of 2 files then, 100 of 2 now, and \S*b\.parquet has changed"):
        subsel.select(folder, resume=True, **options)
    (folder / "b.parquet").unlink()
    with pytest.raises(InputError, match=r"b\.parquet is gone"):
        subsel.select(folder, resume=True, **options)
    pq.write_table(demo_table.slice(50, 50), folder / "c.parquet")
    with pytest.raises(InputError, match=r"b\.parquet is gone|c\.parquet is new"):
        subsel.select(folder, resume=True, **options)


def test_tables_in_memory_go_by_their_content(tmp_path, demo_table):
    table = demo_table.slice(0, 100)
    options = {"size": 10, "run_dir": tmp_path / "run"}
    first = subsel.select(table, **options)
    assert subsel.select(table.to_pandas(), resume=True, **options).table.equals(first.table)
    changed = table.set_column(2, table.column_names[2], table[2])
    utility = table["utility"].to_numpy().copy()
    utility[3] += 1
    changed = changed.set_column(changed.schema.get_field_index("utility"), "utility", pa.array(utility))
    for other in (changed, table.slice(1)):
        with pytest.raises(InputError, match=r"graph is of input .*, not "):
            subsel.select(other, resume=True, **options)
    with pytest.raises(InputError, match=r"graph is of (input|utility) .*, not "):
        subsel.select(table, utility=np.ones(100), resume=True, **options)


def test_given_graphs_are_part_of_what_a_run_is_of(tmp_path):
    table = pa.table({"id": range(5), "utility": [1.0, 2.0, 3.0, 4.0, 5.0]})
    edges = pa.table({"src": [0, 1], "dst": [1, 2], "similarity": [0.5, 0.25]})
    options = {"size": 2, "run_dir": tmp_path / "run"}
    first = subsel.select(table, graph=edges, **options)
    assert subsel.select(table, graph=edges, resume=True, **options).table.equals(first.table)
    other = edges.set_column(2, "similarity", pa.array([0.5, 0.5]))
    with pytest.raises(InputError, match=r"graph is of graph .*, not "):
        subsel.select(table, graph=other, resume=True, **options)


def test_strange_things_are_left_alone(points, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"has other things in it, such as notes.txt: choose another, or an empty one"):
        subsel.select(points, run_dir=tmp_path / "mine", **OPTIONS)
    with pytest.raises(InputError, match="has other things in it"):
        subsel.select(points, run_dir=tmp_path / "mine", resume=True, **OPTIONS)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="is a file: choose another"):
        subsel.select(points, run_dir=tmp_path / "mine" / "notes.txt", **OPTIONS)
    with pytest.raises(ConfigError, match="give run_dir"):
        subsel.select(points, resume=True, **OPTIONS)


def test_a_folder_that_no_run_made_is_not_removed(points, tmp_path):
    (tmp_path / "run").mkdir()
    mark = {"subsel": subsel.__version__, "format": FORMAT, "run": "x", "made": "now", "folders": []}
    (tmp_path / "run" / ".subsel-run.json").write_text(json.dumps(mark))
    (tmp_path / "run" / "graph").mkdir()
    (tmp_path / "run" / "graph" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="was not made by a run: move it away"):
        subsel.select(points, run_dir=tmp_path / "run", resume=True, **OPTIONS)
    assert (tmp_path / "run" / "graph" / "mine.txt").read_text() == "mine"


def test_inputs_and_outputs_stay_outside(tmp_path, demo_table):
    """As `--run-dir w` with points in `w/points` once deleted them."""
    (tmp_path / "w" / "points").mkdir(parents=True)
    pq.write_table(demo_table.slice(0, 50), tmp_path / "w" / "points" / "p.parquet")
    before = sorted(tmp_path.rglob("*"))
    inputs = [tmp_path / "w" / "points", tmp_path / "w" / "points" / "p.parquet", str(tmp_path / "w" / "poi*")]
    for data in (*inputs, [tmp_path / "w" / "points" / "p.parquet"]):
        for resume in (False, True):
            with pytest.raises(InputError, match=r"would mix with the input .*: choose another run_dir"):
                subsel.select(data, size=5, run_dir=tmp_path / "w", resume=resume)
    with pytest.raises(InputError, match="would mix with the input"):
        subsel.select(inputs[0], size=5, run_dir=tmp_path / "w" / "points" / "run")
    with pytest.raises(InputError, match="would mix with the output"):
        subsel.select(inputs[0], size=5, run_dir=tmp_path / "run", output=tmp_path / "run" / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_one_run_at_a_time(points, finished, tmp_path):
    from subsel.storage import lock, place_of

    (tmp_path / "run").mkdir()
    with (
        lock(place_of(tmp_path / "run"), "run directory"),
        pytest.raises(InputError, match=r"run directory .*run") as caught,
    ):
        subsel.select(points, run_dir=tmp_path / "run", **OPTIONS)
    assert "\n" not in str(caught.value)
    assert str(os.getpid()) in str(caught.value)
    subsel.select(points, run_dir=tmp_path / "run", **OPTIONS)


@pytest.mark.parametrize("name", [".subsel-run.json", "manifest.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1, "subs', "json"),
        ("", "json"),
        ("[1, 2]", "is not of subsel: choose another run_dir"),
        ('{"name": "of another program"}', "is not of subsel: choose another run_dir"),
        (
            json.dumps({"format": FORMAT + 1, "subsel": subsel.__version__, "stages": {}}),
            f"format {FORMAT + 1}, this is",
        ),
        (json.dumps({"format": FORMAT, "subsel": "9.9", "stages": {}}), "is of subsel 9.9, this is"),
    ],
)
def test_truncated_and_foreign_files_are_one_line(points, tmp_path, name, text, message):
    (tmp_path / "run").mkdir()
    good = {"subsel": subsel.__version__, "format": FORMAT, "run": "x", "made": "now", "folders": []}
    (tmp_path / "run" / ".subsel-run.json").write_text(json.dumps(good))
    (tmp_path / "run" / name).write_text(text)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(points, run_dir=tmp_path / "run", resume=True, **OPTIONS)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def cut(file):
    file.write_bytes(file.read_bytes()[:100])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, "is damaged: {} has 1 files of 100 bytes, and 1 files of"),
        (flip, "cannot be read"),
        (Path.unlink, "is damaged: {} has 0 files of 0 bytes, and 1 files of"),
        (lambda file: shutil.copy(file, file.with_name("more.parquet")), "is damaged: {} has 2 files"),
    ],
)
def test_damaged_files_are_one_line(points, finished, tmp_path, harm, message):
    for folder in ("graph", "points", "certify"):
        run = tmp_path / folder
        shutil.copytree(finished, run)
        for file in list((run / folder).rglob("*.parquet")):
            harm(file)
        with pytest.raises(InputError, match=message.format(rf"{folder}\S*")) as caught:
            subsel.select(points, run_dir=run, resume=True, **OPTIONS)
        assert "\n" not in str(caught.value)


def test_ids_of_every_kind_come_back_from_a_run(tmp_path):
    from tests.test_ids import IDS
    from tests.test_ids import points as points_of

    for number, kind in enumerate(("uint64", "decimal(20,0)", "uuid", "fixed binary", "dictionary", "string")):
        table = points_of(IDS[kind])
        options = {"size": 3, "run_dir": tmp_path / str(number)}
        first = subsel.select(table, **options).table
        assert subsel.select(table, resume=True, **options).table.equals(first), kind


def test_rows_of_a_folder_are_those_that_fit(tmp_path):
    for number in range(3):
        rows = {"part": [number] * 4 + [7], "slot": [0, 1, 2, 3, number], "name": list("abcde")}
        pq.write_table(pa.table(rows), tmp_path / f"{number}.parquet", row_group_size=2)
    (tmp_path / "_SUCCESS").write_text("no Parquet")
    place = place_of(tmp_path)
    assert rows_of(place).num_rows == 15
    assert rows_of(place, ["name"], {"part": 1, "slot": [1, 3]})["name"].to_pylist() == ["b", "d"]
    assert rows_of(place, where={"part": pa.array([7])})["slot"].to_pylist() == [0, 1, 2]
    nobody = rows_of(place, ["slot"], {"part": 9})
    assert nobody.num_rows == 0 and nobody.column_names == ["slot"]
    with pytest.raises(InputError, match="cannot be read"):
        rows_of(place.join("gone"))


def test_explaining_from_a_local_run(points, expected, finished):
    from subsel.explaining import explain

    chosen = set(expected["id"].to_pylist())
    for one in pq.read_table(points)["id"].to_pylist()[:10]:
        found = explain(finished, one)
        assert found.selected == (one in chosen)
        assert found.fates
    result = CliRunner().invoke(main, ["explain", str(expected["id"][0]), str(finished)])
    assert result.exit_code == 0, result.output
    assert "selected" in result.output


def test_a_budget_is_compared_as_the_size_is(tmp_path):
    place = place_of(tmp_path / "run")
    made = subsel.SelectConfig(size=10, budget="1K", cost="tokens")
    RunDirectory(place, made, "1", resume=False).finish("utility", {})

    def resume(**options):
        RunDirectory(place, subsel.SelectConfig(cost="tokens", **options), "2", resume=True).identify()

    resume(size=10, budget=1000)
    for options, message in (
        ({"size": 10, "budget": 999}, "with budget=1000, now it is budget=999"),
        ({"budget": 1000}, "with size=10, now it is size=None"),
    ):
        with pytest.raises(InputError, match=message):
            resume(**options)
    with open_to_score(place, subsel.SelectConfig(cost="tokens", budget=5), "3") as found:
        found.identify()
