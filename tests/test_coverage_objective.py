"""Coverage as the objective of a selection: on both engines, under limits, resumed, and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

import subsel
from subsel.errors import ConfigError, InputError
from tests.spark_fixtures import needs_spark
from tests.test_limits import same_proof

N = 1500
KINDS = {
    "size": {"size": "4%"},
    "many": {"size": "30%"},
    "utility": {"size": "4%", "utility": "q", "utility_weight": 0.5},
    "importance": {"size": "4%", "importance": "w"},
    "budget": {"budget": "10%", "cost": "tokens", "utility": "q", "utility_weight": 0.1},
    "all": {
        "budget": "20%",
        "cost": "tokens",
        "groups": "source",
        "quotas": "balanced",
        "max_similarity": 0.9,
        "importance": "w",
    },
    "wishes": {"size": 80, "include": list(range(10)), "exclude": list(range(10, 60))},
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Points with negative utilities, weights of which some are zero, copies, and a graph of them."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((N, 12)).astype(np.float32)
    X[700:760] = X[:60]
    table = pa.table(
        {
            "id": np.arange(N),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 12),
            "q": rng.standard_normal(N),
            "w": rng.choice([0.0, 0.5, 1.0, 7.0], N),
            "tokens": rng.integers(1, 50, N),
            "source": np.array(list("abcd"))[rng.choice(4, N, p=[0.6, 0.2, 0.15, 0.05])],
        }
    )
    folder = tmp_path_factory.mktemp("texts")
    pq.write_table(table, folder / "points.parquet")
    subsel.neighbors(folder / "points.parquet", neighbors=8).graph.to_parquet(folder / "graph.parquet")
    return folder


def asked(texts, kind, **more):
    return {
        "data": texts / "points.parquet",
        "graph": texts / "graph.parquet",
        "copies": "keep",
        "objective": "coverage",
        **KINDS[kind],
        **more,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_gains_sum_to_what_is_reported_below_what_is_proved(texts, kind):
    found = subsel.select(**asked(texts, kind))
    score, proof = found.report.objective, found.report.certificate
    lift = found.report.weights.alpha * found.report.fixed_point.origin * found.report.k
    assert score.total == pytest.approx(score.covered + score.utility)
    assert found.table["gain"].to_numpy().sum() == pytest.approx(score.total)
    f = score.total - lift if found.report.limits is not None else score.total
    assert f <= proof.upper_bound and proof.gap == pytest.approx(proof.upper_bound - f)
    better = subsel.select(**asked(texts, kind, certify=20)).report.certificate
    assert f <= better.upper_bound <= proof.upper_bound
    assert better.iterations == 20
    if kind in ("size", "many", "importance"):
        about = {name: value for name, value in asked(texts, kind).items() if name != "size"}
        about["points"] = about.pop("data")
        assert subsel.score(found.table.select(["id"]), **about).total == pytest.approx(score.total)
        assert score.total > score.random


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        pytest.param(
            kind,
            parts,
            marks=pytest.mark.slow if parts == 7 and kind == "all" else pytest.mark.long,
        )
        for kind in ("size", "importance", "budget", "wishes", "all")
        for parts in (1, 7, 32)
        if parts == 7 or kind == "all"
    ],
)
def test_spark_selects_the_same(spark, texts, tmp_path, kind, parts):
    needs_spark()
    expected = subsel.select(**asked(texts, kind, certify=2))
    found = subsel.select(
        **asked(texts, kind, certify=2),
        engine=spark,
        output=tmp_path / "subset",
        part_points=max(10, -(-N // parts)),
        finish_points=0 if parts == 1 else 60,
    )
    assert found.table.equals(expected.table)
    assert found.report.limits == expected.report.limits
    assert found.report.objective.model_dump() == pytest.approx(expected.report.objective.model_dump())
    same_proof(found.report.certificate, expected.report.certificate)


@pytest.mark.slow
def test_spark_counts_copies_as_the_local_engine_does(spark, texts, tmp_path):
    """Each point counts as often as the rows that it stands for: f is about the same, by a graph of other cells."""
    needs_spark()
    about = {"objective": "coverage", "size": 60, "neighbors": 8, "probes": 1000, "importance": "w"}
    expected = subsel.select(texts / "points.parquet", **about)
    more = {"engine": spark, "output": tmp_path / "subset", "part_points": 300}
    found = subsel.select(texts / "points.parquet", **about, **more)
    assert found.report.input.copies == expected.report.input.copies > 0
    assert found.report.objective.total == pytest.approx(expected.report.objective.total, rel=0.01)
    plain = subsel.select(texts / "points.parquet", **about | {"copies": "keep"}).report.objective
    assert expected.report.objective.random == pytest.approx(plain.random, rel=0.2)


@pytest.mark.slow
def test_lengths_count_under_inner_products(spark, tmp_path):
    """A point covers itself as much as its vector's square, on both engines and from a run directory."""
    needs_spark()
    rng = np.random.default_rng(8)
    X = np.abs(rng.standard_normal((600, 6))).astype(np.float32)
    table = pa.table({"id": np.arange(600), "embedding": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 6)})
    pq.write_table(table, tmp_path / "points.parquet")
    about = {"objective": "coverage", "size": 30, "neighbors": 6, "probes": 1000, "metric": "inner_product"}
    expected = subsel.select(tmp_path / "points.parquet", **about, run_dir=tmp_path / "run")
    again = subsel.select(tmp_path / "points.parquet", **about, run_dir=tmp_path / "run", resume=True)
    assert again.table.equals(expected.table) and again.report.objective == expected.report.objective
    W = expected.graph.to_scipy().toarray().astype(np.float64)
    np.fill_diagonal(W, np.square(X, dtype=np.float64).sum(axis=1))
    assert expected.report.objective.total == pytest.approx(W[:, expected.table["id"].to_numpy()].max(axis=1).sum())
    more = {"engine": spark, "output": tmp_path / "subset", "part_points": 200}
    found = subsel.select(tmp_path / "points.parquet", **about, **more)
    assert found.table["id"][0] == expected.table["id"][0]  # graphs of inner products are found in other cells there
    assert found.report.objective.total == pytest.approx(expected.report.objective.total, rel=0.01)


def test_a_run_directory_goes_on(texts, tmp_path):
    first = subsel.select(**asked(texts, "all", run_dir=tmp_path / "run", certify=3))
    again = subsel.select(**asked(texts, "all", run_dir=tmp_path / "run", certify=3, resume=True))
    assert again.table.equals(first.table)
    assert again.report.certificate == first.report.certificate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.9}, "objective='coverage' does not have alpha"),
        ({"diversity": 0.3}, "does not have diversity"),
        ({"greedy": "partitioned", "partitions": 4}, "does not have greedy"),
        ({"greedy_direction": "reverse"}, "does not have greedy_direction"),
        ({"bounding": "approximate"}, "does not have bounding"),
        ({"bounding_rank": "paper"}, "does not have bounding_rank"),
        ({"sampling": "weighted"}, "does not have sampling"),
        ({"sample_share": 0.5}, "does not have sample_share"),
        ({"partitions": 4, "gamma": 0.5}, "does not have partitions and gamma"),
        ({"refine": 3}, "does not have refine"),
        ({"utility": "q"}, "utility_weight=1"),
        ({"objective": "pairwise", "importance": "w"}, "does not have importance"),
        ({"objective": "pairwise", "utility_weight": 2.0}, "does not have utility_weight"),
        ({"utility_weight": -1}, "utility_weight"),
        ({"objective": "cover"}, "objective"),
    ],
)
def test_what_does_not_go_together_is_said(texts, options, message):
    with pytest.raises(ConfigError, match=message):
        subsel.select(**asked(texts, "size", **options))


def test_a_utility_that_would_not_count_and_weights_that_do_not_are_refused(texts):
    about = {"size": 5, "objective": "coverage"}
    X = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    with pytest.raises(ConfigError, match="utility_weight=1"):
        subsel.select(X, **about, utility=np.arange(200.0))
    with pytest.raises(InputError, match="importance goes up to"):
        subsel.select(X, **about, importance=np.full(200, 1e307))
    one = np.zeros(200)
    one[7] = 1
    with pytest.raises(InputError, match="nothing to cover"):
        subsel.select(X, size=2, objective="coverage", importance=one, thin=2)
    tiny = subsel.select(X, **about, importance=np.full(200, 2.0**-40))
    assert tiny.ids.tolist() == subsel.select(X, **about).ids.tolist()


def test_a_diagonal_says_how_similar_points_are_to_themselves():
    """Points without an entry cover themselves as much as the most similar two do; other objectives leave it out."""
    W = sp.csr_matrix(np.array([[0.2, 0.5, 0, 0], [0.5, 0, 0, 0], [0, 0, 3.0, 0.1], [0, 0, 0.1, 0.3]]))
    first = subsel.select(None, graph=W, size=1, objective="coverage")
    assert first.ids.tolist() == [2] and first.objective == pytest.approx(3.1)
    two = subsel.select(None, graph=W, size=2, objective="coverage")
    assert (
        two.objective == pytest.approx(3.1 + 1.0) and 1 in two.ids.tolist()
    )  # 1 covers itself by 0.5, the largest edge
    W[2, 2] = np.inf
    with pytest.raises(InputError, match="diagonal"):
        subsel.select(None, graph=W, size=1, objective="coverage")


def test_negative_utilities_count_from_the_least(texts):
    """f must not fall where a point joins; which points come out depends on no such shift."""
    report = subsel.select(**asked(texts, "utility")).report
    q = pq.read_table(texts / "points.parquet")["q"].to_numpy()
    assert report.fixed_point.origin == q.min()
    assert report.objective.utility == pytest.approx(
        0.5 * q[subsel.select(**asked(texts, "utility")).table["id"].to_numpy()].sum()
    )
