"""Pages of reports: what stands in them is what was measured, on either engine; nothing is fetched."""

from __future__ import annotations

import json
import logging
import re
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import InputError, MissingPackageError, SelectConfig, demo
from subsel.cli.commands import main
from subsel.pages import charts, page
from subsel.pages.notes import warnings_in
from subsel.pages.page import files_of
from subsel.report import Report
from subsel.reports import compare, make_page, read_report
from subsel.run import Run
from subsel.sketch import Sketch
from subsel.sketching import curve_ranks, map_of
from subsel.storage import place_of

PAGES = True
N = 400
QUIET = {"progress": False, "neighbors": 10}
EVIL = "<script>alert(1)</script>"
LIMITS = {"budget": "30%", "cost": "tokens", "groups": "kind", "quotas": {"<b>a</b>": "50%"}, "max_similarity": 0.9}


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """Points with copies, markup in ids, texts and groups, and costs; as a file."""
    rng = np.random.default_rng(3)
    table = demo.demo_table(N, 8)
    table = pa.concat_tables([table, table.slice(0, 20)])
    n = len(table)
    columns = {
        "id": pa.array([f"{EVIL}{i:03}" for i in range(n)]),
        "embedding": table["embedding"],
        "utility": table["utility"],
        "tokens": pa.array(rng.integers(1, 60, n)),
        "kind": pa.array(np.array(["<b>a</b>", "b"])[rng.integers(0, 2, n)]),
        "text": pa.array([f"{EVIL} & text {i}" if i % 7 else None for i in range(n)]),
        "number": pa.array(np.arange(n)),
        "out": pa.array(np.arange(n) % 17 == 3),
    }
    path = tmp_path_factory.mktemp("points") / "points.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def limited(points, tmp_path_factory):
    """A selection within limits, with its audit."""
    folder = tmp_path_factory.mktemp("limited")
    keep = {"keep_columns": ["text", "number"], "exclude": "out"}
    return subsel.select(points, output=folder / "subset", audit=folder / "why", **LIMITS, **keep, **QUIET)


@pytest.fixture(scope="module")
def plain(points, tmp_path_factory):
    """A selection without limits, with a run directory."""
    folder = tmp_path_factory.mktemp("plain")
    return subsel.select(points, size="10%", output=folder / "subset", run_dir=folder / "run", **QUIET)


def page_of(selection):
    return (selection.path / "_report.html").read_text()


def numbers_of(selection):
    return json.loads((selection.path / "_report.json").read_text())


# ------------------------------------------------------------------ the page
@pytest.mark.parametrize("which", ["limited", "plain"])
def test_nothing_is_fetched_and_no_script_is_there(which, request):
    page = page_of(request.getfixturevalue(which))
    assert "<script" not in page.lower()
    assert all(one.startswith('"#') for one in re.findall(r"(?:src|href)\s*=\s*(.{2})", page))
    assert not re.findall(r"url\((?!#)|@import|<link|<iframe|<object|<embed", page)
    assert "http" not in page
    targets = set(re.findall(r"(?:href=\"|url\()#([\w-]+)", page))
    ids = re.findall(r"\sid=\"([^\"]+)\"", page)
    assert targets
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))


def test_ids_texts_and_groups_are_text(limited):
    page = page_of(limited)
    assert EVIL not in page
    assert "<b>a</b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; text" in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page
    assert '<td class="text">None' not in page  # a null is empty


def test_pictures_take_the_pages_colours(plain):
    page = page_of(plain)
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == page.count("<figcaption>") == 5
    for one in pictures:
        assert "var(--ink)" in one
        assert not set(re.findall(r"(?:fill|stroke): ?(#\w+)", one))  # what is no variable is the same in the dark
        assert 'role="img" aria-label="' in one
    assert "prefers-color-scheme: dark" in page


def test_what_is_not_asked_to_be_drawn_is_said(plain, monkeypatch):
    report, sketch = plain.report, read_report(plain.path).sketch
    monkeypatch.setattr(charts, "find_spec", lambda name: None)
    page = files_of(report, sketch)["_report.html"]
    assert "<svg" not in page
    assert "pip install &#39;subsel[report]&#39;" in page or "pip install 'subsel[report]'" in page
    assert f"{report.objective.total:,.5g}" in page


def test_a_picture_that_fails_does_not_cost_the_page(plain, monkeypatch, caplog):
    from matplotlib.axes import Axes

    def fail(*given, **more):
        raise RuntimeError("no ink")

    monkeypatch.setattr(Axes, "stairs", fail)
    page = files_of(plain.report, read_report(plain.path).sketch)["_report.html"]
    assert page.count("<svg") == 3
    assert "no ink" in caplog.text


# ------------------------------------------------------------------ the numbers
@pytest.mark.parametrize("which", ["limited", "plain"])
def test_numbers_are_those_of_the_manifest(which, request):
    selection = request.getfixturevalue(which)
    numbers, page = numbers_of(selection), page_of(selection)
    manifest = json.loads((selection.path / "_manifest.json").read_text())
    assert numbers["format"] == 1
    assert {**numbers["report"], "files": manifest["files"]} == manifest
    report = selection.report
    for value in (report.objective.total, report.objective.random):
        assert f"{value:,.5g}" in page
    for value in (report.certificate.share, *([] if report.limits else [report.k / report.input.points])):
        assert f"{value:.1%}" in page
    for value in (report.coverage.subset.mean, report.coverage.random_redundancy.mean, report.graph.recall):
        assert f"{value:.3f}" in page
    for stage in report.peaks.keys() - {"report", "write"}:
        assert f"<th>{stage}</th>" in page
        assert report.peaks[stage] > 1 << 20


def test_pictures_count_what_a_slow_twin_counts(limited):
    sketch, graph, report = Sketch.model_validate(numbers_of(limited)["sketch"]), limited.graph, limited.report
    ids = graph.ids.to_pylist()
    member = np.isin(ids, list(limited.table["id"].to_pylist()))
    best = {"before": [], "others": [], "selected": []}
    without = dict.fromkeys(best, 0)
    for v in range(graph.n):
        row = slice(graph.indptr[v], graph.indptr[v + 1])
        near = list(zip(graph.indices[row].tolist(), graph.similarity[row].tolist(), strict=True))
        for name, some in (
            ("before", near),
            ("selected" if member[v] else "others", [e for e in near if member[e[0]]]),
        ):
            without[name] += not some
            best[name] += [max(s for _, s in some)] if some else []
    assert sketch.nearest.without == without
    for name, values in best.items():
        assert sketch.nearest.counts[name] == np.histogram(values, sketch.nearest.edges)[0].tolist()
    utility = dict(
        zip(*(pq.read_table(limited.report.input.name)[c].to_pylist() for c in ("id", "utility")), strict=True)
    )
    for name, some in (("all", ids), ("selected", [one for one, inside in zip(ids, member, strict=True) if inside])):
        values = [utility[one] for one in some]
        assert sum(sketch.utility.counts[name]) == len(some)
        assert sketch.utility.counts[name] == np.histogram(values, sketch.utility.edges)[0].tolist()
    assert sketch.gains.ranks[0] == 0
    assert sketch.gains.ranks[-1] == report.k - 1
    assert sketch.gains.gains == limited.table["gain"].to_numpy()[sketch.gains.ranks].tolist()


def test_reasons_are_the_audits(limited):
    sketch = Sketch.model_validate(numbers_of(limited)["sketch"])
    assert sketch.reasons == limited.report.audit
    assert len(sketch.reasons) >= 4
    why = {row["id"]: row for row in limited.audit.to_table().to_pylist()}
    rows = {row["id"]: row for row in pq.read_table(limited.report.input.name).to_pylist()}
    assert len(sketch.examples.selected) == len(sketch.examples.rejected) == 10
    assert [one.rank for one in sketch.examples.selected][::9] == [0, limited.report.k - 1]
    for one in sketch.examples.selected + sketch.examples.rejected:
        told = why[one.id]
        assert (one.reason, one.limit, one.rank) == (told["reason"], told["limit"], told["rank"])
        assert (one.nearest, one.similarity) == (told["nearest"], told["nearest_similarity"])
        assert one.texts == {"text": rows[one.id]["text"]}  # kept texts only


def test_points_near_a_reference_have_their_reason(points, tmp_path):
    reference = pq.read_table(points).slice(30, 5)
    near = {"exclude_near": reference, "near": 0.95, "exclude": "out"}
    found = subsel.select(points, size=40, output=tmp_path / "s", audit=tmp_path / "why", **near, **QUIET)
    sketch = Sketch.model_validate(numbers_of(found)["sketch"])
    assert found.report.constraints.near > 0
    assert sketch.reasons == found.report.audit
    assert sketch.call["data"] == str(points)


def test_drawn_points_and_outliers_are_counted_too(points, tmp_path):
    more = {"thin": 4, "exclude_outliers": 0.05, "include": pq.read_table(points).slice(50, 3)}
    found = subsel.select(points, size=30, output=tmp_path / "s", audit=tmp_path / "why", **more, **QUIET)
    assert Sketch.model_validate(numbers_of(found)["sketch"]).reasons == found.report.audit
    assert {"not-drawn", "outlier", "included"} <= found.report.audit.keys()


def test_the_map_finds_the_plane_that_points_lie_in():
    rng = np.random.default_rng(0)
    plane, _ = np.linalg.qr(rng.standard_normal((7, 2)))
    X = (rng.standard_normal((500, 2)) * [5, 2] @ plane.T).astype(np.float32)
    code = rng.permutation(500).astype(np.int64)
    found = map_of(code, X, code % 9 == 0, "inner_product")
    assert sum(found.share) == pytest.approx(1, abs=1e-6)
    at = np.argsort(code)
    assert np.std(found.x) == pytest.approx(np.sqrt(np.linalg.eigvalsh(np.cov(X.T, bias=True))[-1]), rel=1e-3)
    assert found.member == (code[at] % 9 == 0).tolist()
    assert map_of(code[:1], X[:1], code[:1] > 0, "cosine") is None  # one point has no direction
    assert map_of(code, np.ones_like(X), code > 0, "l2") is None


def test_curves_have_first_and_last():
    for k in (1, 2, 3, 199, 200, 201, 10**12):
        ranks = curve_ranks(k)
        assert ranks == sorted(set(ranks))
        assert (ranks[0], ranks[-1], len(ranks)) == (0, k - 1, min(k, 200))


# ------------------------------------------------------------------ how to make it again
def test_the_command_and_the_call_select_the_same(limited, points, tmp_path):
    import html

    page = page_of(limited)
    text = html.unescape(re.search(r"<pre class=\"wrap\"><code>(.*?)</code>", page, re.DOTALL)[1])
    words = shlex.split(text)
    assert words[:3] == ["subsel", "select", str(points)]
    words[words.index("OUTPUT")] = str(tmp_path / "again")
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, result.output
    assert f"report: {tmp_path / 'again' / '_report.html'}" in result.output
    assert pq.read_table(tmp_path / "again")["id"].to_pylist() == limited.table["id"].to_pylist()
    call = html.unescape(re.search(r"<pre><code>(.*?)</code>", page, re.DOTALL)[1])
    names = {}
    exec(
        call.replace("subsel.select(", "found = subsel.select(").replace("'OUTPUT'", repr(str(tmp_path / "call"))),
        names,
    )
    assert names["found"].table["id"].to_pylist() == limited.table["id"].to_pylist()


def test_what_was_in_memory_is_named_and_secrets_are_not(plain):
    call = {"data": "<Table>", "graph": "s3://user:word@bucket/e?secret_key=abc", "utility": "<ndarray>"}
    sketch = read_report(plain.path).sketch.model_copy(update={"call": call})
    page = files_of(plain.report, sketch)["_report.html"]
    assert "subsel select" not in page
    assert "data: &lt;Table&gt;" in page
    assert "utility=utility," in page
    from subsel.request import _spelled

    assert _spelled(call["graph"]) == "s3://bucket/e?secret_key=…"
    assert _spelled("abfs://box@account.dfs.core.windows.net/e") == "abfs://box@account.dfs.core.windows.net/e"


# ------------------------------------------------------------------ warnings first
def test_warnings_that_were_logged_are_told_once(points, tmp_path, caplog):
    table = pq.read_table(points)
    bad = table.slice(0, 3).set_column(2, "utility", pa.array([None] * 3, pa.float64()))
    bad = bad.set_column(0, "id", pa.array(["x", "y", "z"]))
    whole = pa.concat_tables([table, bad])
    found = subsel.select(whole, size=40, on_bad_rows="drop", output=tmp_path / "s", **QUIET)
    assert [one for one in found.report.warnings if "dropped" in one]
    assert not logging.getLogger("subsel").handlers
    page = page_of(found)
    assert page.index("Warnings</strong>") < page.index("How good it is")
    short = found.report.graph.model_copy(update={"recall": 0.5, "target": 0.9})
    twice = found.report.model_copy(update={"graph": short})
    told = warnings_in(twice)
    assert len([one for one in told if "recall 0.500 is below the 0.9" in one]) == 1
    assert warnings_in(twice.model_copy(update={"warnings": told})) == told


def test_sizes_do_not_share_their_warnings(points, tmp_path):
    more = {"groups": "kind", "quotas": {"<b>a</b>": 5, "b": 5}, **QUIET}
    small, large = subsel.select_sizes(points, sizes=[100, 8], output=tmp_path, **more)
    assert any("points asked for" in one for one in small.report.warnings)
    assert not any("points asked for" in one for one in large.report.warnings)
    assert (large.path / "_report.html").exists()


def test_who_listens_hears_its_own_thread_and_keeps_pythons_last_resort(capsys):
    heard = Run(show=False)
    log = logging.getLogger("subsel.somewhere")
    with heard.listening():
        log.warning("one %d", 1)
        log.warning("one %d", 1)
        log.info("two")
    log.warning("three")
    assert heard.warnings == ["one 1"]


# ------------------------------------------------------------------ options and places
def test_no_report_and_no_examples(points, plain, tmp_path):
    words = ["select", str(points), str(tmp_path / "s"), "--size", "10%", "--neighbors", "10", "--overwrite"]
    run = CliRunner().invoke
    assert run(main, [*words, "--no-examples"]).exit_code == 0
    told = read_report(tmp_path / "s")
    assert told.sketch.examples is None
    assert "Examples" not in (tmp_path / "s/_report.html").read_text()
    result = run(main, [*words, "--no-report"])
    assert result.exit_code == 0
    assert "report:" not in result.output
    assert sorted(one.name for one in (tmp_path / "s").iterdir() if one.name.startswith("_")) == ["_manifest.json"]
    assert read_report(tmp_path / "s").sketch is None
    again = run(main, ["report", str(plain.path), "--no-examples"])
    assert again.exit_code == 0
    assert read_report(plain.path).sketch.examples is None


def test_a_page_of_the_manifest_alone(points, tmp_path):
    found = subsel.select(points, size="10%", output=tmp_path / "s", report=False, **QUIET)
    result = CliRunner().invoke(main, ["report", str(found.path)])
    assert "_report.html" in result.output
    page = page_of(found)
    assert "only the manifest was at hand" in page
    assert f"{found.report.objective.total:,.5g}" in page
    assert pq.read_table(found.path)["id"].to_pylist() == found.table["id"].to_pylist()  # readers pass the page by


def test_what_another_run_left_is_not_this_ones(points, plain, tmp_path):
    found = subsel.select(points, size=30, output=tmp_path / "s", **QUIET)
    (found.path / "_report.json").write_text((plain.path / "_report.json").read_text())
    told = read_report(found.path)
    assert (told.report.k, told.sketch) == (30, None)


def test_the_run_directory_has_the_page_too(plain):
    run = plain.path.parent / "run"
    assert (run / "_report.html").read_text() == page_of(plain) or (run / "_report.html").exists()
    assert make_page(run).uri == str(run / "_report.html")
    assert read_report(run).report.k == plain.report.k


def test_places_without_a_report(points, plain, tmp_path):
    def refused(place):
        result = CliRunner().invoke(main, ["report", str(place)])
        assert result.exit_code == 2
        assert len(result.output.splitlines()) == 1
        return result.output

    assert "there is nothing at" in refused(tmp_path / "none")
    assert "is no subset: it has no _manifest.json" in refused(tmp_path)
    assert "subsel did not write it" in refused(points)
    subsel.neighbors(points, **QUIET).graph.to_parquet(tmp_path / "g.parquet")
    assert "is no" in refused(tmp_path / "g.parquet")
    subsel.select(points, size=30, output=tmp_path / "one.parquet", run_dir=tmp_path / "run", report=False, **QUIET)
    assert "select into a folder" in refused(tmp_path / "one.parquet")
    assert "has no report" in refused(tmp_path / "run")
    demo.write_demo(tmp_path / "demo", 100)
    assert "no report of a selection" in refused(tmp_path / "demo")
    other = json.loads((plain.path / "_report.json").read_text()) | {"format": 9}
    (tmp_path / "run" / "_report.json").write_text(json.dumps(other))
    assert "not of this version's format" in refused(tmp_path / "run")


@pytest.mark.parametrize("where", ["local", "memory"])  # what renames, and what writes where files stay
def test_a_page_goes_and_comes_with_its_subset(where, points, tmp_path, request):
    place = place_of(tmp_path if where == "local" else request.getfixturevalue(where)).join("reported")
    table = pq.read_table(points)
    more = {"size": 30, "output": place, "overwrite": True, **QUIET}
    subsel.select(table, **more)
    first = read_report(place)
    assert first.sketch is not None
    subsel.select(table, **more | {"size": 20})
    assert read_report(place).sketch.gains.ranks[-1] == 19
    subsel.select(table, **more, report=False)
    assert not place.join("_report.html").exists()
    assert not place.join("_report.json").exists()


# ------------------------------------------------------------------ two side by side
def test_compare(limited, plain, tmp_path):
    shared = set(limited.table["id"].to_pylist()) & set(plain.table["id"].to_pylist())
    page = tmp_path / "both.html"
    words = ["compare", str(limited.path), str(plain.path), "--page", str(page)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert re.search(rf"in both +{len(shared)} +[\d.]+% of either", result.output)
    assert f"{limited.report.objective.total:,.4f}" in result.output
    text = page.read_text()
    assert f"<b>{len(shared)}</b><span>points in both" in text
    assert "&lt;b&gt;a&lt;/b&gt;" in text
    assert "<b>a</b>" not in text
    assert "http" not in text
    ids = re.findall(r"\sid=\"([^\"]+)\"", text)
    assert len(ids) == len(set(ids))
    assert text.count("<svg") == 10
    assert CliRunner().invoke(main, words).exit_code == 2
    assert CliRunner().invoke(main, [*words, "--overwrite"]).exit_code == 0
    page.write_text("mine")
    refused = CliRunner().invoke(main, [*words, "--overwrite"])
    assert refused.exit_code == 2
    assert page.read_text() == "mine"
    same = compare(plain.path, plain.path)
    assert (same.both.shared, same.both.share) == (plain.report.k, 1.0)


def test_what_cannot_be_compared(plain, tmp_path):
    numbers = subsel.select(demo.demo_table(N, 8), size=20, output=tmp_path / "n", report=False, **QUIET)
    with pytest.raises(InputError, match="use one type"):
        compare(plain.path, numbers.path)
    with pytest.raises(InputError, match="is a run directory"):
        compare(plain.path, plain.path.parent / "run")
    assert compare(numbers.path, numbers.path).page().count("<svg") == 2


# ------------------------------------------------------------------ Spark
@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [{"size": 50, "bounding": "off", "refine": 0}, LIMITS],
    ids=["size", "limits"],
)
def test_both_engines_draw_the_same_on_one_graph(how, points, tmp_path, spark):
    subsel.neighbors(points, **QUIET).graph.to_parquet(tmp_path / "edges.parquet")
    about = {"keep_columns": ["text"], "exclude": "out", "graph": tmp_path / "edges.parquet"} | how
    sketches = []
    for engine, parts in (("local", {}), (spark, {"part_points": 250})):
        place = tmp_path / f"s{len(sketches)}"
        found = subsel.select(points, engine=engine, output=place, progress=False, **about, **parts)
        sketches.append(read_report(place).sketch.model_dump(exclude={"run_id", "call"}))
        assert (place / "_report.html").exists()
    assert found.report.graph.parts > 1
    assert sketches[0]["examples"] is not None
    assert sketches[0] == sketches[1]


@pytest.mark.slow
def test_spark_maps_points_as_one_machine_does(points, tmp_path, spark):
    more = {"size": "10%", "neighbors": 10, "include": "out", "progress": False}
    maps = []
    for engine in ("local", spark):
        place = tmp_path / f"s{len(maps)}"
        subsel.select(points, engine=engine, output=place, run_dir=tmp_path / f"run{len(maps)}", **more)
        told = read_report(place)
        maps.append(told.sketch.map)
        assert sum(told.sketch.reasons.values()) == told.report.input.points
        assert read_report(tmp_path / f"run{len(maps) - 1}").sketch == told.sketch
    assert maps[0].member == maps[1].member
    np.testing.assert_allclose([maps[0].x, maps[0].y], [maps[1].x, maps[1].y], atol=2e-3)


def test_options_are_fields(points):
    assert SelectConfig().report
    assert SelectConfig().examples
    assert Report.model_fields["warnings"].default_factory is list


def test_a_package_without_templates_is_told_before_anything_is_read(points, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "files", lambda package: tmp_path)
    page._environment.cache_clear()
    try:
        with pytest.raises(MissingPackageError, match=r"ship the whole wheel, or turn report off\.") as told:
            subsel.select(points, size=5, output=tmp_path / "subset", engine="local")
        assert told.value.__cause__ is not None
        assert not (tmp_path / "subset").exists()
    finally:
        page._environment.cache_clear()
