"""Coverage and redundancy: against all pairs and all subsets, and the same whatever the input looks like."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import InputError
from subsel.cli.commands import main
from subsel.cli.tables import report_table
from subsel.codes import RANDOM_SALT, codes_of, draw, rehash
from subsel.coverage import CHANGED, Nearest, Sample, covered, estimate, expected_cover
from subsel.embeddings.metrics import Preparation
from subsel.report import Report
from tests.reference import make_graph
from tests.strategies import problems

METRICS = ("cosine", "inner_product", "l2")


def all_pairs(X: np.ndarray, metric: str) -> np.ndarray:
    """Similarities of all rows to all, their own included, in float64."""
    X = X.astype(np.float64)
    if metric == "l2":
        return 1 / (1 + np.sqrt(np.square(X[:, None] - X[None]).sum(2)))
    if metric == "cosine":
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return np.clip(X @ X.T, 0, 1 if metric == "cosine" else None)


def plain_estimates(X, code, member, metric, count):
    """Coverage, that of the random subset, redundancy, and that of the random subset: (mean, error) or None."""
    s, n, k = all_pairs(X, metric), len(X), int(member.sum())
    lot_order = np.argsort(rehash(code, (1 << 32) + 1))
    random = np.zeros(n, bool)
    random[lot_order[:k]] = True
    found = []
    for itself in (True, False):
        for some in (member, random):
            asked = [v for v in np.argsort(code) if itself or some[v]][-count:]
            values = [max((s[v, j] for j in np.flatnonzero(some) if itself or j != v), default=None) for v in asked]
            of = n if itself else k
            if None in values:
                found.append(None)
                continue
            error = np.std(values, ddof=1) * np.sqrt((1 - len(values) / of) / len(values)) if len(values) > 1 else None
            found.append((np.mean(values), 0.0 if len(values) == of else error))
    return found


def estimates_of(coverage):
    parts = coverage.subset, coverage.random, coverage.redundancy, coverage.random_redundancy
    return [None if one is None else (one.mean, one.error) for one in parts]


def check(found, expected, rel=1e-5):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        for a, b in zip(one or (), other or (), strict=True):
            assert a is b is None or a == pytest.approx(b, rel=rel, abs=1e-5)


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=14),
    st.sampled_from(METRICS),
    st.data(),
)
def test_a_sample_equals_all_pairs(vectors, metric, data):
    X = np.array(vectors, np.float32)
    X[~X.any(axis=1)] = 1  # no zero vector has a cosine
    n = len(X)
    k = data.draw(st.sampled_from(sorted({1, n, max(1, n // 2)})))
    count, step = data.draw(st.integers(1, n + 2)), data.draw(st.sampled_from([1, 3, 100]))
    code = codes_of(pa.array(np.arange(n)), data.draw(st.integers(0, 50)))
    member = np.zeros(n, bool)
    member[data.draw(st.permutations(range(n)))[:k]] = True
    random = draw(code, k, RANDOM_SALT)
    order = np.array(data.draw(st.permutations(range(n))))
    asked = order  # of whom too many are offered
    sample = Sample(code[asked], X[asked], member[asked], random[asked], metric, count=count, n=n, k=k)
    other = Sample(code[asked], X[asked], member[asked], random[asked], metric, count=count, n=n, k=k)
    passing = order[(member | random)[order]]
    for i, begin in enumerate(range(0, len(passing), step)):
        some = passing[begin : begin + step]
        (sample, other)[i % 2].update(code[some], X[some], member[some], random[some])
    sample.take(other.best)  # as parts do
    found = [None if one is None else (one.mean, one.error) for one in sample.estimates()]
    check(found, plain_estimates(X, code, member, metric, count))


def test_what_is_missing_is_noticed():
    code, X, member = np.arange(4), np.eye(4, dtype=np.float32), np.array([True, True, False, False])
    with pytest.raises(InputError, match=CHANGED):
        Sample(code, X, member, member, "cosine", count=5, n=5, k=2)
    sample = Sample(code, X, member, member, "cosine", count=4, n=4, k=2)
    sample.update(code[:1], X[:1], member[:1], member[:1])
    with pytest.raises(InputError, match=CHANGED):
        sample.estimates()


def test_equal_vectors_far_from_the_origin_are_equal(rng):
    X = rng.normal(size=(40, 8)).astype(np.float32) + 1000
    X[20:] = X[:20]
    prepared = Preparation.of_sample(X, "l2").rows(X)
    nearest = Nearest(np.arange(40), prepared, "l2", itself=False)
    nearest.update(np.arange(40), prepared)
    assert (nearest.best == 1).all()


def test_errors_know_how_many_there_are():
    assert estimate(np.array([1.0, 2.0]), 2).error == 0
    assert estimate(np.array([1.0]), 2).error is None
    assert estimate(np.array([1.0, 2.0]), 4).error == pytest.approx(np.sqrt(0.5) * np.sqrt(0.5 / 2))


@given(problems(max_n=7), st.sampled_from([0.0, 1.0, 2.0]))
def test_coverage_on_a_graph_equals_all_subsets(problem, own):
    n, edges, _, _, _, k = problem
    graph = make_graph(n, edges)
    s = np.zeros((n, n))
    for (a, b), value in edges.items():
        s[a, b] = s[b, a] = value
    everything = []
    for subset in itertools.combinations(range(n), k):
        member = np.isin(np.arange(n), subset)
        everything.append(np.maximum(np.where(member, own, 0), s[:, member].max(axis=1)))
        found = covered(graph.indptr, graph.indices, graph.similarity, np.full(n, own), member)
        assert np.array_equal(found, everything[-1])
    found = expected_cover(graph.indptr, graph.similarity, np.full(n, own), n, k)
    assert found == pytest.approx(np.mean(everything, axis=0), abs=1e-12)


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(11)
    X = rng.normal(size=(10, 6))[rng.integers(0, 10, 700)] + 0.3 * rng.normal(size=(700, 6))
    X[650:] = X[:50]  # some twice
    return pa.table({"id": rng.permutation(7000)[:700], "embedding": list(X.astype(np.float32)), "x": rng.random(700)})


def matrix(table):
    return np.stack(table["embedding"].to_numpy())


def expect(table, selection, metric="cosine", count=100):
    member = np.isin(table["id"].to_numpy(), selection.ids)
    return plain_estimates(matrix(table), codes_of(table["id"].combine_chunks(), 0), member, metric, count)


@pytest.mark.parametrize("metric", METRICS)
def test_a_selection_reports_it(points, metric):
    selection = subsel.select(points, size=70, utility="x", metric=metric, coverage_sample=100, copies="keep")
    coverage = selection.report.coverage
    assert coverage.sample == 100
    check(estimates_of(coverage), expect(points, selection, metric))
    assert coverage.sparsest is None
    if metric != "inner_product":  # there a graph's members count with the largest similarity of all
        assert coverage.graph <= coverage.subset.mean + 5 * coverage.subset.error


def test_the_order_of_rows_does_not_matter(points, tmp_path):
    shuffled = points.take(np.random.default_rng(0).permutation(len(points)))
    pq.write_table(shuffled, tmp_path / "points.parquet", row_group_size=97)
    some = [subsel.select(one, size="10%", coverage_sample=50) for one in (points, tmp_path / "points.parquet")]
    one, other = (selection.report.coverage for selection in some)
    assert estimates_of(one) == estimates_of(other)
    assert (one.graph, one.sparsest) == pytest.approx((other.graph, other.sparsest), rel=1e-12)
    assert 0 < one.sparsest < 1


@pytest.mark.parametrize(("size", "sample"), [(1, 10), (1.0, 10), (2, 1), (700, 10_000)])
def test_extreme_sizes(points, size, sample):
    selection = subsel.select(points, size=size, utility="x", coverage_sample=sample, copies="keep")
    coverage = selection.report.coverage
    check(estimates_of(coverage), expect(points, selection, count=sample))
    assert (coverage.redundancy is None) == (selection.report.k == 1)
    if selection.report.k == 700:
        assert (coverage.subset.mean, coverage.graph, coverage.random_graph) == pytest.approx((1, 1, 1))


def test_thinned_and_dropped_points_are_left_out(points):
    bad = pa.table({"id": [-1, None], "embedding": [[0.0] * 6, [1.0] * 6], "x": [1.0, 1.0]}, schema=points.schema)
    mixed = pa.concat_tables([bad, points[:300], points[:5], bad, points[300:]])
    thin = subsel.select(mixed, size=10, thin=20, utility="x", on_bad_rows="drop", coverage_sample=60)
    drawn = np.sort(thin.graph.ids.to_numpy())
    assert len(drawn) == 200
    some = points.filter(pa.array(np.isin(points["id"].to_numpy(), drawn)))
    check(estimates_of(thin.report.coverage), expect(some, thin, count=60))


def test_the_user_s_graph_has_coverage_of_its_edges_only(points):
    graph = subsel.neighbors(points).graph
    selection = subsel.select(points, graph=graph, size=70, utility="x")
    coverage = selection.report.coverage
    assert (coverage.sample, *estimates_of(coverage)) == (0, None, None, None, None)
    s = graph.to_scipy().toarray()
    member = np.isin(points["id"].to_numpy(), selection.ids)
    expected = np.where(member, s.max(), np.where(member[None, :], s, 0).max(axis=1))
    assert coverage.graph == pytest.approx(expected.mean())
    found = subsel.score(selection.ids, points=points, graph=graph, utility="x")
    assert found.coverage == pytest.approx(coverage.graph)


def test_it_can_be_turned_off(points):
    coverage = subsel.select(points, size=70, coverage_sample=0).report.coverage
    assert (coverage.sample, coverage.sparsest, *estimates_of(coverage)) == (0, None, None, None, None, None)
    assert coverage.graph > coverage.random_graph > 0


def test_a_resumed_run_has_it_too(points, tmp_path):
    pq.write_table(points, tmp_path / "points.parquet")
    options = {"size": 70, "run_dir": tmp_path / "run"}
    one = subsel.select(tmp_path / "points.parquet", **options)
    two = subsel.select(tmp_path / "points.parquet", resume=True, **options)
    assert two.report.coverage == one.report.coverage
    assert one.report.coverage.sample == 256


def test_an_input_that_is_gone_does_not_cost_the_subset(points, tmp_path, monkeypatch, caplog):
    def gone(*args):
        raise InputError("points cannot be read")
        yield

    monkeypatch.setattr("subsel.stages.covered.iterate_rows", gone)
    selection = subsel.select(points, size=70, output=tmp_path / "subset")
    assert selection.report.coverage.sample == 0
    assert "coverage was measured on the graph only: points cannot be read" in caplog.text
    assert len(pq.read_table(tmp_path / "subset")) == 70


def test_it_is_shown(points, tmp_path):
    pq.write_table(points, tmp_path / "points.parquet")
    where = str(tmp_path / "points.parquet")
    result = CliRunner().invoke(main, ["select", where, str(tmp_path / "out"), "--size", "10%"])
    assert result.exit_code == 0, result.output
    for name in ("coverage", "redundancy", "sparsest"):
        assert name in result.output
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["coverage"]["sample"] == 256
    del manifest["coverage"]  # as those have it that were written before
    manifest.pop("files", None)
    assert report_table(Report.model_validate(manifest), lambda name: None) is not None
    result = CliRunner().invoke(main, ["score", str(tmp_path / "out"), "--points", where])
    assert "on the graph" in result.output


@pytest.fixture(scope="module")
def awkward(points, tmp_path_factory):
    """Points with text ids; and these as a file that has rows to drop and repeated ones, too."""
    names = pa.array([f"p{i}" for i in points["id"].to_pylist()])
    texts = points.set_column(0, "id", names).drop(["x"])
    bad = pa.table({"id": ["bad", None], "embedding": [[0.0] * 6, [1.0] * 6]}, schema=texts.schema)
    path = tmp_path_factory.mktemp("awkward") / "points.parquet"
    pq.write_table(pa.concat_tables([bad, texts, texts[:5]]), path, row_group_size=150)
    return texts, path


#: What is quick on Spark, too.
QUICK = {
    "size": 70,
    "probes": 1000,
    "recall_sample": 0,
    "coverage_sample": 100,
    "bounding": "off",
    "refine": 0,
    "copies": "keep",
}


@pytest.mark.slow
def test_spark_reports_the_same(spark, awkward, tmp_path):
    """On several parts, whose graph is not quite the local one; on graphs that are see test_spark and below."""
    texts, path = awkward
    options = QUICK | {"on_bad_rows": "drop"}
    ours = subsel.select(path, output=tmp_path / "out", engine=spark, part_points=400, **options)
    assert ours.report.graph.parts > 1
    coverage = ours.report.coverage
    check(estimates_of(coverage), expect(texts, ours))
    theirs = subsel.select(path, engine="local", **options).report.coverage
    assert coverage.random.mean == pytest.approx(theirs.random.mean, rel=1e-6)
    assert (coverage.graph, coverage.random_graph) == pytest.approx((theirs.graph, theirs.random_graph), rel=1e-2)
    assert coverage.sparsest == pytest.approx(theirs.sparsest, abs=3.5 / 70)


@pytest.mark.slow
@pytest.mark.parametrize("dirty", [False, True])
def test_spark_goes_on_and_reports_the_same(spark, awkward, tmp_path, caplog, dirty):
    """But where rows were left out: nobody wants to check all of them again."""
    texts, path = awkward
    if not dirty:
        path = tmp_path / "points.parquet"
        pq.write_table(texts, path)
    options = QUICK | {"on_bad_rows": "drop", "engine": spark, "run_dir": tmp_path / "run"}
    local = subsel.select(path, **(options | {"engine": "local", "run_dir": None})).report.coverage
    one = subsel.select(path, output=tmp_path / "one", **options).report.coverage
    two = subsel.select(path, output=tmp_path / "two", resume=True, **options).report.coverage
    check(estimates_of(one), estimates_of(local))  # one part has the local graph
    assert (one.graph, one.random_graph, one.sparsest) == pytest.approx(
        (local.graph, local.random_graph, local.sparsest)
    )
    if dirty:
        assert two.sample == 0
        assert "does not know which" in caplog.text
    else:
        check(estimates_of(one), estimates_of(two))
    assert (one.graph, one.random_graph, one.sparsest) == pytest.approx((two.graph, two.random_graph, two.sparsest))
    score = subsel.score(str(tmp_path / "one"), points=path, **options)
    assert score.coverage == pytest.approx(one.graph)
