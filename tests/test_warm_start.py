"""Warm starts: what they begin with, that swaps only gain, what they refuse; and what changed, with its reason."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import InputError, drivers
from subsel.cli.commands import main

OPTIONS = {"utility": "density", "report": False, "engine": "local"}


@pytest.fixture(scope="module")
def grown(demo_table):
    """The graph of 1,500 points, of which 1,400 were there first, and what was selected of those: ids."""
    rng = np.random.default_rng(4)
    points = (rng.standard_normal((1500, 16)) / np.sqrt(np.arange(1, 17))).astype(np.float32)
    table = demo_table.slice(0, 1500).set_column(1, "embedding", pa.array(list(points)))
    table = table.append_column("tokens", pa.array(rng.integers(1, 30, 1500)))
    graph = subsel.growing_graph(table.slice(0, 1400), neighbors=8)
    old = subsel.select(table.slice(0, 1400), size=140, graph=graph.graph, **OPTIONS).ids
    graph.add(table.slice(1400))
    return table, graph.graph, old


def nearly(warm, fresh):
    """Whether a warm start is worth what was selected without, but for a thousandth of what that has beyond random."""
    lost = 0.001 * (fresh.objective - fresh.report.objective.random)
    return warm.objective >= fresh.objective - lost and warm.upper_bound >= max(warm.objective, fresh.objective)


def test_it_goes_on_from_the_old_subset_and_only_gains(grown):
    table, graph, old = grown
    about = {"size": 150, "graph": graph, **OPTIONS}
    warm = subsel.select(table, warm_start=old, **about)
    stayed = subsel.select(table, include=old, refine=0, bounding="off", **about)
    assert 100 < warm.report.greedy.kept <= 140
    assert len(set(warm.ids)) == 150 and warm.objective >= stayed.objective
    decided = warm.table["decided_by"].to_pylist()
    kept = {one for one, by in zip(warm.ids, decided, strict=True) if by == "warm_start"}
    assert kept <= set(old.tolist()) and len(kept) > 50
    assert subsel.score(warm.ids, points=table, size=150, graph=graph, utility="density").total == pytest.approx(
        warm.objective
    )
    fresh = subsel.select(table, **about)
    assert nearly(warm, fresh)
    assert len(np.intersect1d(old, warm.ids)) > len(np.intersect1d(old, fresh.ids))
    assert subsel.select(table, warm_start=fresh.ids, **about).objective >= fresh.objective - 1e-9


def test_an_old_subset_that_stays_behind_is_given_up(demo_table):
    table = demo_table.slice(0, 1500)
    about = {"neighbors": 8, **OPTIONS}
    old = subsel.select(table.slice(0, 1400), size=140, **about).ids
    fresh, warm = (subsel.select(table, size=150, **about, **more) for more in ({}, {"warm_start": old}))
    assert warm.report.greedy.kept == 0 and set(warm.ids) == set(fresh.ids)
    assert set(warm.table["decided_by"].to_pylist()) <= {"greedy", "bounding"}


def test_of_an_old_subset_that_is_too_large_greedy_chooses(grown):
    table, graph, old = grown
    about = {"size": 100, "graph": graph, "bounding": "off", **OPTIONS}
    warm = subsel.select(table, warm_start=old, **about)
    assert warm.report.greedy.kept == 100 and len(warm) == 100
    among = subsel.select(
        table,
        exclude=np.setdiff1d(table["id"].to_numpy(), old),
        refine=0,
        alpha=warm.report.weights.alpha,
        beta=warm.report.weights.beta,
        **about,
    )
    assert warm.objective >= among.objective - 1e-9


LIMITS = {
    "budget": {"budget": "20%", "cost": "tokens"},
    "best": {"budget": "20%", "cost": "tokens", "order": "best"},
    "quotas of cost": {
        "budget": "20%",
        "cost": "tokens",
        "groups": "source",
        "other": "30%",
        "quotas": {"web": "20%"},
        "quotas_by": "cost",
    },
    "minima": {"size": 150, "groups": "source", "at_least": {"web": 60}},
    "two columns": {"size": 150, "groups": ["source", "half"], "quotas": {"source": {"web": 40}, "half": {"0": 70}}},
    "similarity": {"size": 150, "max_similarity": 0.8, "graph": None},  # without one vectors are compared, too
    "coverage": {"size": 150, "objective": "coverage", "utility": None},
}


QUICK = ("budget", "minima", "coverage")


@pytest.mark.parametrize(
    "limits", [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in LIMITS]
)
def test_every_limit_holds_from_an_old_subset_on(grown, limits):
    table, graph, _ = grown
    table = table.append_column("half", pa.array([str(one % 2) for one in range(1500)]))
    about = OPTIONS | {"graph": graph} | LIMITS[limits]
    old = subsel.select(table.slice(0, 1400), **about | {"graph": None, "neighbors": 8}).ids
    fresh, warm = (subsel.select(table, **about | more) for more in ({}, {"warm_start": old}))
    assert nearly(warm, fresh)
    if limits in {"budget", "quotas of cost"}:  # of so few points renewal may not get there
        assert warm.report.greedy.kept or set(warm.ids) == set(fresh.ids)
    else:
        assert warm.report.greedy.kept > 40
        assert len(np.intersect1d(old, warm.ids)) > len(np.intersect1d(old, fresh.ids))
    assert sum(warm.report.greedy.model_dump()[name] for name in ("kept", "selected")) == len(warm)
    mine = warm.filter(table)
    if "budget" in about:
        assert pa.compute.sum(mine["tokens"]).as_py() <= 0.2 * pa.compute.sum(table["tokens"]).as_py()
    else:
        assert len(warm) == 150
    web = pa.compute.equal(mine["source"], "web")
    if limits == "quotas of cost":
        assert pa.compute.sum(mine.filter(web)["tokens"]).as_py() <= 0.04 * pa.compute.sum(table["tokens"]).as_py() + 1
    if limits == "minima":
        assert pa.compute.sum(web).as_py() >= 60
    if limits == "two columns":
        assert pa.compute.sum(web).as_py() <= 40 and mine["half"].to_pylist().count("0") <= 70
    if limits == "similarity":
        points = np.array(mine["embedding"].to_pylist())
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        assert (points @ points.T - 2 * np.eye(len(points))).max() <= 0.8 + 1e-6


def test_a_run_directory_keeps_the_old_subset_apart(grown, tmp_path, monkeypatch):
    table, graph, old = grown
    about = {"size": 150, "graph": graph, "warm_start": old, **OPTIONS}
    plain = subsel.select(table, **about)
    calls, fill = [], drivers.run_greedy

    def killed(*given):
        calls.append(given)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return fill(*given)

    with monkeypatch.context() as patch:
        patch.setattr(drivers, "run_greedy", killed)
        with pytest.raises(KeyboardInterrupt):
            subsel.select(table, run_dir=tmp_path / "run", **about)
    for _ in range(2):
        again = subsel.select(table, run_dir=tmp_path / "run", resume=True, **about)
        assert again.table.equals(plain.table)
    with pytest.raises(InputError, match=r"its greedy is of warm_start .*choose another run_dir"):
        subsel.select(table, run_dir=tmp_path / "run", resume=True, **about | {"warm_start": old[1:]})
    with pytest.raises(InputError, match=r"its greedy is of warm_start .*choose another run_dir"):
        subsel.select(table, run_dir=tmp_path / "run", resume=True, **about | {"warm_start": None})


def test_new_utilities_on_the_same_graph_search_nothing(grown, monkeypatch):
    table, graph, old = grown
    for name in ("recipe.find_neighbors", "neighbors.find_neighbors", "kernel.symmetrize"):
        monkeypatch.setattr(f"subsel.embeddings.{name}", lambda *a, **o: pytest.fail("searched"))
    scores = np.random.default_rng(0).random(1500)
    anew = subsel.select(table, size=150, graph=graph, utility=scores, report=False)
    warm = subsel.select(table, size=150, graph=graph, utility=scores, report=False, warm_start=old)
    assert warm.report.greedy.kept > 100 and warm.objective > 0.9 * anew.objective


def test_new_utilities_by_the_command_line_search_nothing(grown, tmp_path, monkeypatch):
    table, _, _ = grown
    monkeypatch.chdir(tmp_path)
    subsel.growing_graph(table.slice(0, 300), neighbors=8, output="graph")
    pq.write_table(table.slice(0, 300).append_column("score", pa.array(np.arange(300.0))), "points.parquet")
    before = {file: file.read_bytes() for file in Path("graph").rglob("*") if file.is_file()}
    monkeypatch.setattr("subsel.embeddings.neighbors.find_neighbors", lambda *a, **o: pytest.fail("searched"))
    words = ["-q", "select", "points.parquet", "--size", "30", "--graph", "graph", "--no-report"]
    for more in (["old", "--utility", "density"], ["new", "--utility", "score", "--warm-start", "old"]):
        done = CliRunner().invoke(main, [*words, *more])
        assert done.exit_code == 0, done.output
    assert before == {file: file.read_bytes() for file in Path("graph").rglob("*") if file.is_file()}
    told = json.loads(Path("new/_manifest.json").read_text())
    assert told["graph"]["source"] == "given" and told["greedy"]["kept"] is not None


def test_quotas_hold_from_an_old_subset_on(grown):
    table, graph, _ = grown
    about = {"graph": graph, "groups": "source", "quotas": {"web": "30%"}, "other": "30%", **OPTIONS}
    old = subsel.select(
        table.slice(0, 1400), size=140, **OPTIONS, groups="source", quotas={"web": "30%"}, other="30%"
    ).ids
    warm = subsel.select(table, size=150, warm_start=old, **about)
    sources = pa.table({"s": warm.filter(table)["source"]}).group_by("s").aggregate([("s", "count")])
    assert max(sources["s_count"].to_pylist()) <= 45
    tight = about | {"quotas": {"web": "20%"}, "other": "20%"}  # the old subset takes more than that
    assert nearly(subsel.select(table, size=150, warm_start=old, **tight), subsel.select(table, size=150, **tight))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "spark"}, "goes on from an old subset on one machine only"),
        ({"warm_start": [1, 2]}, "none of its 2 points is among the 1,500 to select from"),
    ],
)
def test_what_it_refuses(grown, options, told):
    table, graph, old = grown
    with pytest.raises(InputError, match=told):
        subsel.select(table, **{"size": 150, "graph": graph, "warm_start": old, **OPTIONS} | options)


def test_what_changed_is_told_with_its_reason(grown, tmp_path, monkeypatch):
    table, graph, _ = grown
    monkeypatch.chdir(tmp_path)
    subsel.select(table.slice(0, 1400), size=140, output="old", neighbors=8, **OPTIONS)
    graph.to_parquet("edges.parquet")
    pq.write_table(table.slice(0, 1500).filter(pa.array([i % 40 != 0 for i in range(1500)])), "points.parquet")
    words = ["select", "points.parquet", "new", "--size", "150", "--warm-start", "old", "--audit", "why", "--graph"]
    words += ["edges.parquet", "--on-bad-rows", "drop", "--utility", "density", "--no-report"]
    done = CliRunner().invoke(main, ["-q", *words])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["compare", "old", "new", "--changes", "changes.parquet", "--audit", "why"])
    assert done.exit_code == 0, done.output
    found = pq.read_table("changes.parquet").to_pydict()
    old, new = (set(pq.read_table(one)["id"].to_pylist()) for one in ("old", "new"))
    told = dict(zip(found["id"], zip(found["change"], found["why"], strict=True), strict=True))
    assert {one for one, (change, _) in told.items() if change == "in"} == new - old
    assert {one for one, (change, _) in told.items() if change == "out"} == old - new
    data = set(pq.read_table("points.parquet")["id"].to_pylist())
    for one, (change, why) in told.items():
        assert why in (
            {"greedy", "refine", "bounding"}
            if change == "in"
            else {"left", "gained-less", "not in the data", "discarded"}
        )
        assert change == "in" or (why == "not in the data") == (one not in data)
    assert any(why == "not in the data" for _, why in told.values())
    assert re.search(r"changes: \S*changes.parquet", done.output)
    done = CliRunner().invoke(main, ["compare", "old", "new", "--changes", "changes.parquet", "--page", "both.html"])
    assert done.exit_code == 2 and "exists" in done.output and not Path("both.html").exists()
    assert subsel.changes("old", "new").filter(pa.compute.field("change") == "out")["why"].null_count == len(old - new)
    for name, kind in (("narrow", pa.int32()), ("wide", pa.uint64())):  # written by another version of the data
        shutil.copytree("old", name)
        for file in Path(name).glob("*.parquet"):
            rows = pq.read_table(file)
            pq.write_table(rows.set_column(0, "id", rows["id"].cast(kind)), file)
        manifest = json.loads(Path(name, "_manifest.json").read_text())
        sizes = {one: Path(name, one).stat().st_size for one in manifest["files"]}
        Path(name, "_manifest.json").write_text(json.dumps(manifest | {"files": sizes}))
        assert subsel.changes(name, "new", audit="why").equals(subsel.changes("old", "new", audit="why"))
    done = CliRunner().invoke(main, ["compare", "old", "new", "--audit", "why"])
    assert done.exit_code == 2 and "give --changes, too" in done.output


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda content: content[:-1] + b"2", "cannot be read"),
        (lambda content: content.replace(b"rank", b"ra\xffk"), "not UTF-8"),
        (lambda content: content.replace(b"rank", b"rang"), "no column 'rank'"),
        (lambda content: content.replace(b"decided_by", b"decided_bi"), "no column 'decided_by'"),
    ],
)
def test_what_is_no_subset_or_damaged_is_one_line(demo_table, tmp_path, monkeypatch, harm, told):
    monkeypatch.chdir(tmp_path)
    for name, size in (("old", 5), ("new", 6)):
        subsel.select(demo_table.slice(0, 60), size=size, output=name, neighbors=4, **OPTIONS)
    changed = subsel.changes("old", "new")
    kinds = [("id", pa.int64()), ("rank", pa.int32()), ("gain", pa.float32()), ("decided_by", pa.large_string())]
    wide = pq.read_table("new").cast(pa.schema(kinds))  # as another program may have written it again
    pq.write_table(wide, "again.parquet")
    assert subsel.changes("old", "again.parquet").equals(changed)
    for file in Path("new").glob("*.parquet"):
        file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(InputError, match=told) as caught:
        subsel.changes("old", "new")
    assert "\n" not in str(caught.value)
    pq.write_table(demo_table.select(["id"]), "points.parquet")
    with pytest.raises(InputError, match="has no column 'rank'"):
        subsel.changes("old", "points.parquet")
