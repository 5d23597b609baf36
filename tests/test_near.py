"""Nothing near a given set (``exclude_near``): by brute force, and as if excluded by name; on both engines."""

from __future__ import annotations

import json
import logging
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import ConfigError, InputError, SelectConfig
from subsel.cli.commands import main
from subsel.embeddings import near as kernels
from subsel.embeddings.near import Reference, similarity_of_pair
from subsel.request import Request
from subsel.stages.local import LocalStages

QUIET = {"progress": False, "recall_sample": 0, "coverage_sample": 0}
METRICS = ("cosine", "inner_product", "l2")


def slow_similarity(x, y, metric):
    """The similarity of two vectors, in Python's floats."""
    x, y = [float(v) for v in x], [float(v) for v in y]
    if metric == "l2":
        return 1 / (1 + math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y, strict=True))))
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot if metric == "inner_product" else dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def slow_near(X, R, metric, limit):
    return np.array([any(slow_similarity(x, y, metric) > limit for y in R) for x in X], bool)


def table(vectors, ids=None, **columns):
    ids = pa.array(range(len(vectors))) if ids is None else ids
    listed = [None if one is None else [float(v) for v in one] for one in vectors]
    return pa.table({"id": ids, "embedding": pa.array(listed, pa.list_(pa.float64())), **columns})


def reference(vectors):
    return table(vectors).drop_columns(["id"])


@pytest.fixture(scope="module")
def cloud():
    """400 points in 6 dimensions, and 30 rows that are each near a few of them."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((400, 6)).astype(np.float32)
    return X, (X[:30] + 0.1 * rng.standard_normal((30, 6))).astype(np.float32)


# -- who is near ------------------------------------------------------------------------------------------------------

whole = st.integers(-3, 3)
vectors = st.lists(st.lists(whole, min_size=3, max_size=3).filter(any), min_size=1, max_size=9)


@given(
    vectors, vectors, st.sampled_from(METRICS), st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.6, 0.8, 2.0, 3.0, 0.99999])
)
def test_near_is_what_a_loop_says(X, R, metric, limit):
    """Sums of small integers are exact, so similarities at the limit, which are not near, are told apart as well."""
    X, R = np.array(X, np.float32), np.array(R, np.float32)
    found = Reference.of(R, metric, limit).near(X)
    assert found.tolist() == slow_near(X, R, metric, limit).tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e12])
def test_decisions_do_not_depend_on_blocks(monkeypatch, rng, metric, scale):
    """As many pairs as possible are as close to the limit as float32 can tell, or closer."""
    d, limit = 96, 0.9
    R = rng.standard_normal((40, d))
    R /= np.linalg.norm(R, axis=1, keepdims=True)
    aside = rng.standard_normal((40, d))
    aside -= (aside * R).sum(axis=1, keepdims=True) * R
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    X = limit * R + math.sqrt(1 - limit**2) * aside
    X, R = (X * scale).astype(np.float32), (R * scale).astype(np.float32)
    if metric == "inner_product":
        limit *= scale**2
    if metric == "l2":
        limit = 1 / (1 + scale * math.sqrt(2 - 2 * limit))
    pairs = [[similarity_of_pair(x, y, METRICS.index(metric)) for y in R] for x in X]
    expected = (np.array(pairs) > limit).any(axis=1)
    assert 0 < expected.sum() < len(X)
    for rows, others in ((1, 1), (7, 3), (40, 11), (2048, 4096)):
        monkeypatch.setattr(kernels, "_BLOCK", rows)
        monkeypatch.setattr(kernels, "_REFERENCE_BLOCK", others)
        assert np.array_equal(Reference.of(R, metric, limit).near(X), expected)
        order = rng.permutation(len(R))
        assert np.array_equal(Reference.of(R[order], metric, limit).near(X[order]), expected[order])


def test_far_from_the_origin(rng):
    """Under L2 float32 products cancel there; the limit is kept all the same."""
    X = (1000 + 0.01 * rng.standard_normal((200, 4))).astype(np.float32)
    R = X[:5] + np.float32(0.001)
    limit = 1 / (1 + 0.012)
    assert Reference.of(R, "l2", limit).near(X).tolist() == slow_near(X, R, "l2", limit).tolist()


# -- what becomes of them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "options"),
    [
        (None, {"size": 100}),
        (0.95, {"size": 300, "metric": "cosine"}),
        (6.0, {"size": 120, "metric": "inner_product"}),
        (0.6, {"size": 150, "metric": "l2"}),
        (0.9, {"size": 80, "utility": "density+u", "exclude_outliers": 0.1}),
        (0.9, {"budget": "20%", "cost": "tokens"}),
        (0.9, {"size": 90, "groups": "kind", "quotas": "balanced"}),
        (0.9, {"size": 90, "groups": "kind", "quotas": {"a": "20%"}, "other": 30}),
        (0.9, {"size": 20, "thin": 5}),
        (0.9, {"size": 60, "exclude": list(range(10, 50)), "include": [399, 20 * 17]}),
    ],
)
def test_they_are_as_excluded_by_name(cloud, limit, options):
    X, R = cloud
    columns = {
        "u": (np.arange(400) % 7) / 7,
        "tokens": np.arange(400) % 11 + 1,
        "kind": ["abc"[i % 3] for i in range(400)],
    }
    data, metric = table(X, **columns), options.get("metric", "cosine")
    near = slow_near(X, R, metric, 0.9 if limit is None else limit)
    assert 20 < near.sum() < 200
    near[options.get("include", [])] = False
    ids = np.union1d(np.flatnonzero(near), np.array(options.get("exclude", []), np.int64))
    options = QUIET | options
    found = subsel.select(data, exclude_near=R, near=limit, **options)
    named = subsel.select(data, **options | {"exclude": ids.tolist()})
    assert found.table.equals(named.table)
    wishes, others = found.report.constraints, named.report.constraints
    assert (wishes.excluded + wishes.near, wishes.outliers) == (others.excluded, others.outliers)
    if "thin" not in options:
        assert wishes.near == len(ids) - len(options.get("exclude", []))
        assert wishes.excluded == len(options.get("exclude", []))
    assert found.report.weights == named.report.weights
    assert found.report.limits == named.report.limits


def test_included_points_stay_with_a_warning(cloud, caplog):
    X, R = cloud
    near = slow_near(X, R, "cosine", 0.9)
    inside = np.flatnonzero(near)[:3].tolist() + np.flatnonzero(~near)[:2].tolist()
    found = subsel.select(X, size=200, exclude_near=R, include=inside, **QUIET)
    assert set(inside) <= set(found.ids.tolist())
    assert found.report.constraints.near == near.sum() - 3
    assert "include has 3 points that are nearer than 0.9 to given data (exclude_near): all of them stay" in caplog.text


def test_copies_are_out_with_the_point_that_stays_for_them(rng):
    some = rng.standard_normal((60, 5))
    X = np.concatenate([some, some[:20], 2 * some[:10]])
    found = subsel.select(X, size=55, exclude_near=some[:5], near=0.9999, **QUIET)
    assert (found.report.input.copies, found.report.constraints.near) == (30, 5)
    assert not set(found.ids.tolist()) & {*range(5), *range(60, 65), *range(80, 85)}
    kept = subsel.select(X, size=75, exclude_near=some[:5], near=0.9999, copies="keep", **QUIET)
    assert kept.report.constraints.near == 15
    assert set(kept.ids.tolist()) == set(range(90)) - {*range(5), *range(60, 65), *range(80, 85)}


def test_a_reference_may_be_whatever_data_may_be(cloud, tmp_path):
    X, R = cloud
    rows = reference(R)
    pq.write_table(rows, tmp_path / "eval.parquet")
    np.save(tmp_path / "eval.npy", R)
    expected = subsel.select(X, size=100, exclude_near=R, **QUIET)
    (tmp_path / "parts").mkdir()
    for i in range(3):
        pq.write_table(rows[i * 10 : i * 10 + 10], tmp_path / "parts" / f"{i}.parquet")
    for one in (
        rows,
        rows.to_pandas(),
        tmp_path / "eval.parquet",
        str(tmp_path / "eval.npy"),
        tmp_path / "parts",
        [tmp_path / "parts" / f"{i}.parquet" for i in range(3)],
        R.astype(np.float64),
    ):
        found = subsel.select(X, size=100, exclude_near=one, **QUIET)
        assert found.table.equals(expected.table)
    named = subsel.select(X, size=100, exclude_near=tmp_path / "eval.parquet", **QUIET).report.config
    assert named.exclude_near == str(tmp_path / "eval.parquet")
    again = subsel.select(X, config=named, **{"progress": False})
    assert again.table.equals(expected.table)
    with pytest.raises(ConfigError, match="config is of a call that was given data as exclude_near: give it"):
        subsel.select(X, config=expected.report.config)


# -- what is wrong with it --------------------------------------------------------------------------------------------

GOOD = [[1.0, 0, 0], [0, 1.0, 0]]
NAN, FAR = float("nan"), [1e30, 0, 0]
DIRTY = {
    "null": ([None], "1 of 3 rows: null embedding"),
    "nan": ([[NAN, 0, 1], [1, NAN, 1]], "2 of 4 rows: NaN or infinite embedding value"),
    "length": ([[1.0, 2.0]], r"1 of 3 rows: embedding of another length than most \(3\)"),
    "zero": ([[0.0, 0, 0]], "1 of 3 rows: zero vector, which has no cosine"),
    "several": ([None, [NAN, 0, 1], None], "1 of 5 rows: NaN or infinite embedding value; 2 of 5 rows: null embedding"),
}
CASES = {
    **{
        name: (GOOD + more, {}, InputError, rf"exclude_near .*: {message}. Mend")
        for name, (more, message) in DIRTY.items()
    },
    "long": ([*GOOD, FAR], {"metric": "l2", "near": 0.1}, InputError, "1 of 3 rows: vector longer than 1e17"),
    "none": ([None, None], {"on_bad_rows": "drop"}, InputError, "exclude_near .* has no good row left: 2 of 2 rows"),
    "empty": ([], {}, InputError, "exclude_near .* is empty: there is nothing to be near to"),
    "dimension": (
        [[1.0, 0]],
        {},
        InputError,
        "exclude_near .* has vectors of 2 values, .* of 3: give vectors of the same",
    ),
    "column": (
        GOOD,
        {"rename": True},
        InputError,
        "exclude_near .* has no embedding column 'embedding'; it has vector",
    ),
    "left": (GOOD, {"near": 0.0}, ConfigError, "exclude_near leaves 9 of 40 points, fewer than the 10 to select"),
    "both": (GOOD, {"near": 0.0, "exclude": [39]}, ConfigError, "exclude and exclude_near leave 8 of 40 points"),
}


def points_and_reference(tmp_path, rows, rename=False):
    """40 points in 3 dimensions, of which 9 have no positive similarity to the good rows; and a reference."""
    rng = np.random.default_rng(2)
    X = np.abs(rng.standard_normal((40, 3)))
    X[31:] *= [-1, -1, 1]
    pq.write_table(table(X), tmp_path / "points.parquet")
    found = reference(rows)
    pq.write_table(found.rename_columns(["vector"]) if rename else found, tmp_path / "eval.parquet")
    return tmp_path / "points.parquet", tmp_path / "eval.parquet"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["local", pytest.param("spark", marks=pytest.mark.slow)])
def test_what_is_wrong_is_told_before_the_graph(request, tmp_path, monkeypatch, engine, case):
    rows, options, error, message = CASES[case]
    options = QUIET | options
    points, path = points_and_reference(tmp_path, rows, options.pop("rename", False))
    where = request.getfixturevalue("spark") if engine == "spark" else "local"
    for stages in ("subsel.stages.local.LocalStages", "subsel.stages.spark.SparkStages"):
        if engine in stages:
            monkeypatch.setattr(f"{stages}.neighbors", lambda self, tell, k: pytest.fail("too late"))
    with pytest.raises(error, match=message):
        subsel.select(points, size=10, exclude_near=path, engine=where, output=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_bad_rows_may_be_dropped(cloud, caplog):
    X, R = cloud
    clean = subsel.select(X, size=100, exclude_near=R, **QUIET)
    rows = [None, *R[:10], [1.0], *R[10:], [0.0] * 6, [NAN] * 6]
    found = subsel.select(X, size=100, exclude_near=reference(rows), on_bad_rows="drop", **QUIET)
    assert found.table.equals(clean.table)
    assert "exclude_near the table: dropped 1 of 34 rows: NaN or infinite embedding value; 1 of 34" in caplog.text
    short = [[1.0], *rows]  # the first batch alone would take 1 for the length of all
    assert subsel.select(X, size=100, exclude_near=reference(short), on_bad_rows="drop", **QUIET).table.equals(
        clean.table
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"near": 0.8}, "near=0.8 says how near to exclude_near points may be, and there is none: give exclude_near"),
        ({"near": -0.1, "exclude_near": "x"}, "'near': Input should be greater than or equal to 0"),
        (
            {"near": 1.0, "exclude_near": "x"},
            "near=1.0 leaves nothing out: no similarity of metric='cosine' is above 1",
        ),
        ({"near": 1.5, "exclude_near": "x", "metric": "l2"}, "no similarity of metric='l2' is above 1: lower it"),
        ({"near": "a", "exclude_near": "x"}, "'near': Input should be a valid number"),
        ({"exclude_near": 5}, "'exclude_near': Input should be a valid string"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError) as error:
        SelectConfig(size=5, **options)
    assert message in str(error.value)


def test_options_that_go_together():
    assert SelectConfig(size=5, exclude_near="x", near=1.5, metric="inner_product").near_limit == 1.5
    assert SelectConfig(size=5, exclude_near="x").near_limit == 0.9


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(5), r"exclude_near has shape \(5,\), but must be \(m, d\)"),
        ("nowhere.parquet", "exclude_near nowhere.parquet does not exist"),
        (7, "exclude_near of type int is not understood"),
    ],
)
def test_what_is_no_reference(cloud, data, message):
    with pytest.raises(InputError, match=message):
        subsel.select(cloud[0], size=10, exclude_near=data, **QUIET)


# -- with a graph, and from a run directory ---------------------------------------------------------------------------


@pytest.fixture
def files(cloud, tmp_path):
    """Points, a reference and a graph as files; the graph's points in another order."""
    X, R = cloud
    pq.write_table(table(X), tmp_path / "points.parquet", row_group_size=70)
    pq.write_table(reference(R), tmp_path / "eval.parquet")
    graph = subsel.neighbors(X, neighbors=5, progress=False).graph
    graph.to_parquet(tmp_path / "graph.parquet")
    return tmp_path


def test_a_graph_needs_vectors_beside_it(files, cloud):
    X, R = cloud
    near = slow_near(X, R, "cosine", 0.9)
    options = {"graph": files / "graph.parquet", "size": 100, "exclude_near": files / "eval.parquet"} | QUIET
    found = subsel.select(files / "points.parquet", **options)
    assert found.report.constraints.near == near.sum()
    named = subsel.select(files / "points.parquet", **options | {"exclude_near": None, "exclude": np.flatnonzero(near)})
    assert found.table.equals(named.table)
    bare = table(X).drop_columns(["embedding"])
    with pytest.raises(InputError, match="exclude_near compares vectors, and the table has no embedding column"):
        subsel.select(bare, **options)
    with pytest.raises(InputError, match="exclude_near compares vectors, and the table has no embedding column"):
        subsel.select(**options)
    broken = table([*X[:398], None, [NAN] * 6])
    for more in ({}, {"on_bad_rows": "drop"}):
        with pytest.raises(InputError, match=r"points without good ones: 1 of 400 rows: NaN .*; 1 of 400 rows: null"):
            subsel.select(broken, **options | more)
    with pytest.raises(InputError, match="exclude_near has vectors of 6 values, the table of 4"):
        subsel.select(table(X[:, :4]), **options)


def test_a_run_goes_on_with_the_same_reference_only(files, cloud):
    _, R = cloud
    options = {"size": 100, "exclude_near": files / "eval.parquet", "run_dir": files / "run"} | QUIET
    first = subsel.select(files / "points.parquet", **options)
    pq.write_table(reference(R[::-1]), files / "moved.parquet")  # what it holds counts, not where it is
    again = subsel.select(files / "points.parquet", resume=True, **options | {"exclude_near": files / "moved.parquet"})
    assert again.table.equals(first.table)
    assert again.report.constraints == first.report.constraints
    same = subsel.select(files / "points.parquet", resume=True, near=0.9, **options)
    assert same.table.equals(first.table)
    for more, message in (
        ({"near": 0.8}, "its utility is of exclude_near 30 rows [0-9a-f]{16} above 0.9, not 30 rows .* above 0.8"),
        ({"exclude_near": R[:29]}, "its utility is of exclude_near 30 rows .*, not 29 rows"),
        ({"exclude_near": None}, "its utility is of exclude_near 30 rows .*, not none"),
    ):
        with pytest.raises(InputError, match=message):
            subsel.select(files / "points.parquet", resume=True, **options | more)
    plain = {"run_dir": files / "plain", "size": 100} | QUIET
    subsel.select(files / "points.parquet", **plain)
    with pytest.raises(InputError, match="its utility is of exclude_near none, not 30 rows"):
        subsel.select(files / "points.parquet", resume=True, exclude_near=R, **plain)


def test_a_kept_graph_serves_any_reference(files, cloud):
    """Vectors are read again, and copies are out with the point that stays for them."""
    X, R = cloud
    doubled = np.concatenate([X, X[:50]])
    pq.write_table(table(doubled), files / "doubled.parquet")
    asked, where = {"sizes": [100, 120]} | QUIET, {"run_dir": files / "run"}
    subsel.select_sizes(files / "doubled.parquet", **asked, **where)
    again = subsel.select_sizes(files / "doubled.parquet", resume=True, exclude_near=R, **asked, **where)
    fresh = subsel.select_sizes(files / "doubled.parquet", exclude_near=R, **asked)
    for one, other in zip(again, fresh, strict=True):
        assert one.table.equals(other.table)
        assert one.report.constraints == other.report.constraints
    changed = np.array(doubled)
    changed[7] = np.nan
    data = doubled, changed
    stages = [
        LocalStages(Request.of(one, [(100, None)], purpose="select from", exclude_near=R, **QUIET)) for one in data
    ]
    stages[0].read(lambda what, share: None)
    stages[0].points.take_embeddings()
    stages[0].check_wishes([100])
    stages[0].source = subsel.input.source.open_source(changed, lambda name: True, SelectConfig())
    with pytest.raises(InputError, match="not what"):
        stages[0].leave_near(lambda what, share: None, [100])


# -- on Spark ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Points with copies, bad rows, a repeated id and text ids, in several files; and a reference with bad rows."""
    folder = tmp_path_factory.mktemp("near")
    rng = np.random.default_rng(9)
    X = rng.standard_normal((700, 12)).astype(np.float32)
    X[650:] = X[:50]
    vectors = [list(map(float, row)) for row in X]
    utility = rng.random(700)
    vectors[100], vectors[101], vectors[102], utility[103] = None, [NAN] * 12, [0.0] * 12, NAN
    ids = [f"id{i:03}" for i in range(700)]
    ids[650] = "id600"  # one row more of an id; of the two the one of less utility is no point
    R = [*(X[:60] + 0.2 * rng.standard_normal((60, 12))), *X[100:104], *X[:6]]  # bad rows would be near
    (folder / "points").mkdir()
    points = table(vectors, pa.array(ids), utility=utility)
    for i, begin in enumerate(range(0, 700, 200)):
        pq.write_table(points[begin : begin + 200], folder / "points" / f"{i}.parquet")
    pq.write_table(reference([*R, None, [1.0], [NAN] * 12]), folder / "eval.parquet")
    return folder


DIRTY_OPTIONS = {"near": 0.93, "on_bad_rows": "drop", "alpha": 0.9, "beta": 0.0, "part_points": 150} | QUIET


@pytest.mark.slow
def test_both_engines_decide_alike(spark, dirty, tmp_path, caplog):
    """All that may be selected is, so who is left out shows; then the run goes on, with rows that are checked anew."""
    options = {"exclude_near": dirty / "eval.parquet", "include": ["id002", "id400"], "exclude": ["id010", "id500"]}
    options |= DIRTY_OPTIONS
    probe = subsel.select(dirty / "points", size=100, engine="local", **options).report
    left = probe.input.distinct - probe.constraints.near - probe.constraints.excluded
    assert 20 < probe.constraints.near < 100
    local = subsel.select(dirty / "points", size=left, engine="local", **options)
    with pytest.raises(ConfigError, match="exclude and exclude_near leave"):
        subsel.select(dirty / "points", size=left + 1, engine="local", **options)
    caplog.clear()
    run = {"engine": spark, "run_dir": tmp_path / "run", "output": tmp_path / "one", "refine": 0}
    ours = subsel.select(dirty / "points", size=left, **options | run)
    assert set(ours.ids.tolist()) == set(local.ids.tolist())
    assert ours.report.constraints == local.report.constraints
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("include has 1 points that are nearer than 0.93 to" in one for one in warnings)
    assert any("dropped 1 of 73 rows: NaN" in one and "1 of 73 rows: null embedding" in one for one in warnings)
    again = subsel.select(dirty / "points", size=left, resume=True, **options | run | {"output": tmp_path / "two"})
    assert again.table.equals(ours.table)
    assert again.report.constraints == ours.report.constraints
    with pytest.raises(InputError, match=r"is of exclude_near 70 rows [0-9a-f]{16} above 0.93, not 70 .* above 0.92"):
        subsel.select(
            dirty / "points", size=left, resume=True, **options | run | {"near": 0.92, "output": tmp_path / "x"}
        )


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"exclude_outliers": 0.05}, marks=pytest.mark.slow),
        pytest.param({}, marks=pytest.mark.long),
        pytest.param({"budget": "30%", "cost": "tokens"}, marks=pytest.mark.long),
    ],
)
def test_both_engines_select_alike_on_a_graph(spark, files, cloud, tmp_path, more):
    X, _ = cloud
    pq.write_table(table(X, tokens=np.arange(400) % 9 + 1), files / "points.parquet")
    options = {"graph": str(files / "graph.parquet"), "exclude_near": str(files / "eval.parquet")} | QUIET | more
    options |= {} if "budget" in more else {"size": 90}
    local = subsel.select(files / "points.parquet", engine="local", **options)
    for number, data in enumerate((options["exclude_near"], spark.read.parquet(options["exclude_near"]))):
        where = {"engine": spark, "output": tmp_path / str(number), "part_points": 10_000}
        ours = subsel.select(files / "points.parquet", **options | where | {"exclude_near": data})
        assert ours.table.equals(local.table)
        assert ours.report.constraints == local.report.constraints
    broken = table([*X[:398], None, [NAN] * 6], tokens=np.arange(400) % 9 + 1)
    pq.write_table(broken, files / "broken.parquet")
    with pytest.raises(InputError, match=r"points without good ones: 1 of 400 rows: NaN .*; 1 of 400 rows: null"):
        subsel.select(files / "broken.parquet", engine=spark, output=tmp_path / "x", **options)


@pytest.mark.slow
def test_spark_says_what_it_cannot_send(spark, files, tmp_path, monkeypatch):
    monkeypatch.setattr("subsel.engines.spark.near.MOST_BYTES", 2 * 4 * 6 * 20)
    options = {"size": 50, "engine": spark, "output": tmp_path / "out"} | QUIET
    with pytest.raises(InputError, match=r"has 30 rows of 6 values, and 20 are what Spark can send .* max_similarity"):
        subsel.select(files / "points.parquet", exclude_near=files / "eval.parquet", **options)
    with pytest.raises(InputError, match="exclude_near of type ndarray is not understood on Spark"):
        subsel.select(files / "points.parquet", exclude_near=np.zeros((3, 6)), **options)


# -- command line -----------------------------------------------------------------------------------------------------


def test_command_line(files, cloud):
    X, R = cloud
    near = int(slow_near(X, R, "cosine", 0.95).sum())
    asked = ["select", str(files / "points.parquet"), str(files / "out"), "--size", "50", "--recall-sample", "0"]
    told = [*asked, "--exclude-near", str(files / "eval.parquet"), "--near", "0.95"]
    run = CliRunner().invoke(main, told, env={"COLUMNS": "300"})
    assert run.exit_code == 0, run.output
    assert f"{near} points left out: nearer than 0.95 to {files / 'eval.parquet'}" in run.output
    manifest = json.loads((files / "out" / "_manifest.json").read_text())
    assert manifest["constraints"] == {"included": 0, "excluded": 0, "outliers": 0, "near": near}
    (files / "my.toml").write_text(f'exclude_near = "{files / "eval.parquet"}"\nnear = 0.95\n')
    run = CliRunner().invoke(main, [*asked, "--overwrite", "--config", str(files / "my.toml")], env={"COLUMNS": "300"})
    assert f"{near} points left out: nearer than 0.95" in run.output
    run = CliRunner().invoke(main, [*asked, "--overwrite", "--near", "0.95"])
    assert run.exit_code == 2
    assert "--near 0.95 says how near to --exclude-near points may be, and there is none" in run.output
    pq.write_table(reference([*R, None]), files / "bad.parquet")
    for command in (["validate", str(files / "points.parquet")], [*asked, "--overwrite"]):
        run = CliRunner().invoke(main, [*command, "--exclude-near", str(files / "bad.parquet")])
        assert run.exit_code == 2
        told = f"--exclude-near {files / 'bad.parquet'}: 1 of 31 rows: null embedding."
        assert f"{told} Mend them, or set --on-bad-rows drop" in run.output
    run = CliRunner().invoke(
        main, ["validate", str(files / "points.parquet"), "--exclude-near", str(files / "eval.parquet")]
    )
    assert run.exit_code == 0
    plan = ["plan", str(files / "points.parquet"), "--size", "50"]
    run = CliRunner().invoke(main, [*plan, "--exclude-near", str(files / "eval.parquet")], env={"COLUMNS": "300"})
    assert ", near 1 s" in run.output
    assert ", near" not in CliRunner().invoke(main, plan, env={"COLUMNS": "300"}).output


def test_progress_is_told(cloud):
    X, R = cloud
    stages = LocalStages(Request.of(X, [(100, None)], purpose="select from", exclude_near=R, **QUIET))
    told = []
    stages.read(lambda what, share: None)
    stages.check_wishes([100])
    stages.leave_near(lambda what, share: told.append((what, share)), [100])
    assert told[-1] == ("near", 1.0)
