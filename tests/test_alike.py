"""Members that are too alike though no edge joins them are found by their vectors, and make room for others."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import subsel
from subsel.cli.tables import report_table
from subsel.config import SelectConfig
from subsel.embeddings import alike
from subsel.embeddings.alike import Alike, Counted, Leaders, member_search
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


METRICS = st.sampled_from(["cosine", "inner_product", "l2"])


@given(st.integers(1, 30), st.integers(1, 30), METRICS, st.floats(-1, 3), st.integers(0, 2**32 - 1))
def test_who_is_alike_is_that_of_each_pair(q, m, metric, limit, seed):
    rng = np.random.default_rng(seed)
    X = (rng.integers(-2, 3, (q + m, 3)) + 0.25).astype(np.float32)  # pairs at the limit itself, and copies
    prepare = Preparation.of_sample(X, metric)
    one = Alike(prepare, limit)
    rows = prepare.rows(X)
    found = one.mask(rows[:q], rows[q:])
    pairs = [[one.mask(rows[[i]], rows[[j]])[0, 0] for j in range(q, q + m)] for i in range(q)]
    assert (found == np.array(pairs)).all()
    exact = rows.astype(np.float64)
    if metric == "l2":
        s = 1 / (1 + np.sqrt(np.square(exact[:q, None] - exact[None, q:]).sum(2)))
    else:
        s = np.clip(exact[:q] @ exact[q:].T, 0, 1 if metric == "cosine" else None)
    clear = np.abs(s - limit) > 1e-3
    assert (found == (s > limit))[clear].all()


@given(st.integers(2, 60), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_pairs_that_a_search_finds_part_members_as_all_pairs_do(n, fixed, seed):
    rng = np.random.default_rng(seed)
    X = (rng.integers(-2, 3, (n, 3)) + 0.25).astype(np.float32)
    fixed = min(fixed, n)
    config = SelectConfig(size=1, max_similarity=0.95)
    one = Alike(Preparation.of_sample(X, "cosine"), 0.95)
    rows, code = one.prepare.rows(X), rng.permutation(n)
    how = member_search(config, n, n)  # everybody's neighbours are all others
    first, together = one.first_of_each(rows, fixed)
    by_pairs, also = one.first_of_found(rows, code, fixed, how)
    assert (first == by_pairs).all()
    assert together == also


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_pairs_with_a_sample_are_counted_once(k, q, seed):
    rng = np.random.default_rng(seed)
    X = (rng.integers(-2, 3, (k, 3)) + 0.25).astype(np.float32)
    one = Alike(Preparation.of_sample(X, "cosine"), 0.9)
    rows, code, included = one.prepare.rows(X), rng.permutation(k), rng.random(k) < 0.3
    some = np.argsort(code)[-q:]
    near = one.mask(rows, rows)
    pairs = {
        frozenset((i, j)) for i in some for j in range(k) if i != j and near[i, j] and not (included[i] and included[j])
    }
    counted = Counted(one, code[some], rows[some], included[some])
    begin = rng.integers(0, k + 1)
    parts = (slice(0, begin), slice(begin, k))
    assert sum(counted.pairs(code[at], rows[at], included[at]) for at in parts) == len(pairs)


def test_leaders_in_cells_miss_few_and_invent_nobody(rng):
    X = rng.standard_normal((3000, 16)).astype(np.float32)
    near = (X[rng.integers(0, 3000, 2000)] + 0.01 * rng.standard_normal((2000, 16))).astype(np.float32)
    one = Alike(Preparation.of_sample(X, "cosine"), 0.99)
    rows, others = one.prepare.rows(X), one.prepare.rows(np.concatenate([near, X[:500] + 5]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "_BLOCK", 700)
        found, all_of_them = Leaders(one, rows, seed=0).beside(others), Leaders(one, rows).beside(others)
    assert Leaders(one, rows, seed=0).cells is not None
    assert not (found & ~all_of_them).any()
    assert found.sum() > 0.99 * all_of_them.sum() >= 0.99 * 2000


@pytest.mark.parametrize("include", [[], [700, 1601, 1602]])
def test_beyond_the_exact_limit_a_search_finds_near_copies(rng, monkeypatch, include, caplog):
    monkeypatch.setattr(alike, "MOST_COMPARED", 50)
    X = masses(rng, 4, 400, 600)
    found = subsel.select(X, size=400, max_similarity=0.99, neighbors=10, include=include or None, progress=False)
    told = found.report.limits.alike
    assert told.compared == told.sample == len(found.ids) == 400
    assert not told.exact
    assert told.left > 0
    near = similarities(X[found.ids], "cosine") > 0.99
    inside = np.isin(found.ids, include)
    near[np.ix_(inside, inside)] = False
    assert told.pairs == near.sum() // 2 == 0
    assert told.together == max(len(include) - 2, 0)
    assert f"that a search finds; {told.left:,} near copies made room; 0 pairs of 400" in text_of(found.report)


def test_pairs_that_the_search_misses_are_told(rng, monkeypatch, caplog):
    monkeypatch.setattr(alike, "MOST_COMPARED", 50)
    monkeypatch.setattr(Alike, "first_of_found", lambda self, rows, code, fixed, how: (np.arange(len(rows)), 0))
    X = masses(rng, 1, 300, 100)
    found = subsel.select(X, size=100, max_similarity=0.99, neighbors=5, progress=False)
    pairs = found.report.limits.alike.pairs
    assert pairs == (similarities(X[found.ids], "cosine") > 0.99).sum() // 2 > 0
    assert f"{pairs:,} pairs of members are more alike than max_similarity allows" in caplog.text


def text_of(report) -> str:
    console = Console(width=1_000, record=True, file=io.StringIO())
    console.print(report_table(report, lambda name: name))
    return console.export_text()
