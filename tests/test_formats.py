"""docs/formats.md: what versions wrote is read, goes on to the same subset, or is refused in one line."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest

import subsel
from subsel import InputError
from subsel.version import __version__
from tests import formats

VERSIONS = sorted(one.name for one in formats.FOLDER.iterdir())


@pytest.fixture(params=VERSIONS)
def written(request, tmp_path):
    """A copy of what a version wrote, since a run that goes on writes there."""
    shutil.copytree(formats.FOLDER / request.param, tmp_path / "was")
    return tmp_path / "was", json.loads((tmp_path / "was" / "expected.json").read_text()), request.param


def change(place, **what):
    found = json.loads(place.read_text())
    place.write_text(json.dumps(found | what))


def test_what_this_version_writes_is_kept_and_small():
    assert __version__ in VERSIONS
    assert sum(one.stat().st_size for one in formats.FOLDER.rglob("*") if one.is_file()) < 200_000


def test_subsets_graphs_and_audits_are_read(written):
    folder, expected, _ = written
    points = pq.read_table(folder / "points.parquet")
    asked = {"points": points, "neighbors": 4, "progress": False}
    for name in ("subset", "subset.parquet"):
        assert pq.read_table(folder / name)["id"].to_pylist() == expected["ids"]
        on_graph = {"graph": folder / "graph.parquet"}
        found = subsel.score(folder / name, **asked | on_graph)
        assert found.total == subsel.score(expected["ids"], **asked | on_graph).total
    manifest = json.loads((folder / "subset" / "_manifest.json").read_text())
    assert subsel.Report.model_validate(manifest).k == len(expected["ids"])
    again = subsel.select(points, graph=folder / "graph.parquet", **expected["asked"])
    assert sorted(again.ids.tolist()) == sorted(expected["ids"])
    assert pq.read_table(folder / "audit").num_rows == points.num_rows


def test_a_graph_that_grows_is_read_and_grows(written):
    folder, expected, _ = written
    points = pq.read_table(folder / "points.parquet")
    asked = expected["asked"]
    on_graph = subsel.select(points, graph=folder / "growing", **asked)
    graph = subsel.open_graph(folder / "growing")
    assert len(graph) == points.num_rows
    assert subsel.select(points, graph=graph.graph, **asked).ids.tolist() == on_graph.ids.tolist()
    some = points.slice(0, 5)
    assert graph.remove(some["id"]).left == 5
    assert graph.add(some).joined == 5
    graph.save()
    again = subsel.select(points, graph=folder / "growing", **asked)
    assert len(again) == len(on_graph)


def test_a_run_goes_on_to_the_same_subset_or_is_refused(written):
    folder, expected, version = written
    points = pq.read_table(folder / "points.parquet")
    asked = expected["asked"] | {"run_dir": folder / "run", "resume": True}
    if version != __version__:
        with pytest.raises(InputError, match=f"is of subsel {version}, this is {__version__}"):
            subsel.select(points, **asked)
        return
    assert subsel.select(points, **asked).ids.tolist() == expected["ids"]
    assert subsel.explain(folder / "run", expected["ids"][0])
    shutil.rmtree(folder / "run" / "greedy")  # all of a stage, as if it had never begun
    manifest = folder / "run" / "manifest.json"
    stages = json.loads(manifest.read_text())["stages"]
    change(manifest, stages={name: stages[name] for name in ("graph", "utility", "bounding")})
    assert subsel.select(points, **asked).ids.tolist() == expected["ids"]


@pytest.mark.parametrize("name", [".subsel-run.json", "manifest.json"])
@pytest.mark.parametrize("what", [{"format": 1}, {"format": 99}, {"subsel": "0.0.9"}, {"format": "2"}])
def test_another_version_is_refused_in_one_line(written, name, what):
    folder, expected, _ = written
    change(folder / "run" / name, **what)
    before = {one: one.stat().st_mtime_ns for one in folder.rglob("*")}
    with pytest.raises(
        InputError, match=r"^run directory .* is of .*, this is .*: choose another|is not of subsel"
    ) as caught:
        subsel.select(
            pq.read_table(folder / "points.parquet"), **expected["asked"], run_dir=folder / "run", resume=True
        )
    assert "\n" not in str(caught.value)
    assert {one: one.stat().st_mtime_ns for one in folder.rglob("*")} == before


@pytest.mark.parametrize("what", [{"format": 99}, {"format": 2}])
def test_a_subset_of_a_later_format_is_refused_in_one_line(written, what):
    folder, _, _ = written
    change(folder / "subset" / "_manifest.json", **what)
    with pytest.raises(
        InputError, match=r"is of format \d+, by subsel .*, and this version reads 1: read it with"
    ) as caught:
        subsel.score(folder / "subset", graph=folder / "graph.parquet", progress=False)
    assert "\n" not in str(caught.value)
