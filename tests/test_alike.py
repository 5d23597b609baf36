"""Members that are too alike though no edge joins them are found by their vectors, and make room for others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.embeddings import alike
from subsel.embeddings.alike import Alike
from subsel.embeddings.metrics import Preparation


def similarities(X: np.ndarray, metric: str) -> np.ndarray:
    """All pairs' similarities in float64; 0 on the diagonal."""
    X = X.astype(np.float64)
    if metric == "l2":
        s = 1 / (1 + np.sqrt(np.square(X[:, None] - X[None]).sum(2)))
    else:
        X = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == "cosine" else X
        s = np.maximum(X @ X.T, 0)
    np.fill_diagonal(s, 0)
    return s


def masses(rng, centers: int, copies: int, alone: int, d: int = 32) -> np.ndarray:
    """Masses of near copies, and points that are alone."""
    X = rng.standard_normal((alone + centers, d)).astype(np.float32)
    near = np.repeat(X[:centers], copies, 0) + 1e-3 * rng.standard_normal((centers * copies, d)).astype(np.float32)
    return np.concatenate([X, near]).astype(np.float32)


@pytest.mark.parametrize(("metric", "limit"), [("cosine", 0.99), ("l2", 0.9), ("inner_product", 60.0)])
def test_no_two_members_are_too_alike_of_all_pairs(rng, metric, limit):
    X = masses(rng, 3, 900, 600)
    found = subsel.select(X, size=500, metric=metric, max_similarity=limit, progress=False)
    s = similarities(X[found.ids], metric)
    assert (s > limit * 1.0001).sum() == 0
    assert found.report.limits.alike.compared == len(found.ids)
    assert found.report.limits.alike.left > 0 or metric == "inner_product"
    assert np.isclose(found.table["gain"].to_numpy().sum(), found.objective)
    assert found.report.k == len(found.table) == (500 if metric != "inner_product" else found.report.k)


def test_one_of_each_mass(rng):
    X = np.repeat(rng.standard_normal((100, 32)).astype(np.float32), 40, 0)
    X += 1e-3 * rng.standard_normal(X.shape).astype(np.float32)
    found = subsel.select(X, size=100, max_similarity=0.99, progress=False)
    assert len(set((found.ids // 40).tolist())) == 100
    more = subsel.select(X, size=150, max_similarity=0.99, progress=False)  # no more than one of each fits
    assert len(more.ids) == 100
    assert more.report.limits.short == 50


def test_included_members_stay_together_and_nobody_is_beside_them(rng, caplog):
    X = masses(rng, 2, 300, 200)
    inside = [202, 203, 204]  # of one mass
    found = subsel.select(X, size=150, max_similarity=0.99, include=inside, neighbors=3, progress=False)
    assert set(inside) <= set(found.ids.tolist())
    s = similarities(X[found.ids], "cosine") > 0.9901
    place = {int(one): at for at, one in enumerate(found.ids)}
    s[np.ix_([place[i] for i in inside], [place[i] for i in inside])] = False
    assert not s.any()
    assert found.report.limits.alike.together > 0
    assert "points of include are more alike to others of it than max_similarity allows" in caplog.text


def test_included_points_that_exceed_a_budget_are_warned_of(rng, caplog):
    X = masses(rng, 1, 5, 60)
    cost = np.full(len(X), 10)
    found = subsel.select(X, budget=15, cost=cost, include=[1, 2, 3], progress=False)
    assert sorted(found.ids) == [1, 2, 3]
    assert "include takes 30 of budget 15 (cost): nothing else fits" in caplog.text


def test_budgets_and_quotas_hold_when_near_copies_make_room(rng):
    X = masses(rng, 3, 500, 400)
    n = len(X)
    table = pa.table(
        {
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1]),
            "tokens": rng.integers(1, 100, n),
            "kind": rng.choice(["a", "b", "c"], n),
        }
    )
    asked = {"budget": 8_000, "cost": "tokens", "groups": "kind", "quotas": {"a": 0.2}, "max_similarity": 0.99}
    found = subsel.select(table, id_column=None, progress=False, **asked)
    at = found.ids
    assert found.report.limits.alike.left > 0
    assert not (similarities(X[at], "cosine") > 0.9901).any()
    tokens, kind = table["tokens"].to_numpy()[at], np.array(table["kind"].to_pylist())[at]
    assert 7_900 < tokens.sum() <= 8_000
    assert tokens[kind == "a"].sum() <= 1_600


def test_a_graph_without_vectors_is_limited_along_its_edges(rng):
    X = masses(rng, 1, 50, 100)
    graph = subsel.neighbors(X, neighbors=5, progress=False).graph
    found = subsel.select(X, graph=graph, size=60, max_similarity=0.99, progress=False)
    assert found.report.limits.alike is None


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 64]))
def test_who_stays_is_the_first_of_each(n, fixed, seed, block):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (n, 2)).astype(np.float32) + 0.25
    fixed, limit = min(fixed, n), 0.95
    prepare = Preparation.of_sample(X, "cosine")
    near = similarities(X, "cosine") > limit
    stays: list[bool] = []
    for i in range(n):
        stays.append(i < fixed or not any(near[i, j] and stays[j] for j in range(i)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "_BLOCK", block)
        first, together = Alike(prepare, limit).first_of_each(prepare.rows(X), fixed)
    assert (first == np.arange(n)).tolist() == stays
    assert together == sum(any(near[i, j] for j in range(i)) for i in range(fixed))
    for i in range(n):  # whoever left did so for one that stays
        assert stays[i] or (near[i, first[i]] and stays[first[i]])


@pytest.mark.parametrize("seed", range(6))
def test_pairs_at_the_limit_itself_do_not_go_on_for_ever(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((300, 8)).astype(np.float32)
    Z = X / np.linalg.norm(X, axis=1, keepdims=True)
    close = np.sort((Z @ Z.T)[np.triu_indices(300, 1)])[-40:]  # float32 products: the graph's may be an ulp off
    for limit in close[::10]:
        found = subsel.select(X, size=250, max_similarity=float(limit), neighbors=10, progress=False)
        assert (similarities(X[found.ids], "cosine") > limit * (1 + 1e-6)).sum() == 0


def test_nothing_fits(rng):
    X = masses(rng, 1, 30, 60)
    cost = np.full(len(X), 10)
    found = subsel.select(X, budget=5, cost=cost, max_similarity=0.99, progress=False)
    assert len(found.table) == 0
    assert found.report.limits.alike.compared == 0
