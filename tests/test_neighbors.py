from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.demo import demo_points
from subsel.embeddings import cells, kernel, merge_kernel, search
from subsel.embeddings.metrics import Preparation, similarity_of_scores
from tests.reference import exact_neighbors

METRICS = ["cosine", "inner_product", "l2"]


def table(points, ids=None):
    ids = np.arange(len(points)) if ids is None else ids
    return pa.table({"id": ids, "embedding": list(points)})


def descend(X, best, score, passes, metric, improved=None):
    descent = search.Descent(X, best, score, metric, improved)
    for _ in range(passes):
        if descent.step() == 0:
            break
    return descent.best, descent.score


def edge_set(graph):
    return {
        (min(a, b), max(a, b)): s
        for batch in graph.edges()
        for a, b, s in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    }


@pytest.mark.parametrize("metric", METRICS)
def test_searching_every_cell_is_exact(metric, rng):
    points = rng.standard_normal((700, 9))
    X = Preparation.of_sample(points, metric).rows(points)
    quantizer = cells.Quantizer.train(X, 12, metric, 0)
    assigned = cells.assign_cells(lambda a, b: X[a:b], len(X), quantizer, 12)
    best, score = search.search_cells(X[assigned.order], assigned.bounds, assigned.probes, 7, metric)
    assert (best != np.arange(700)[:, None]).all()
    found = similarity_of_scores(score, metric)
    expected = exact_neighbors(X[assigned.order], 7, metric)
    assert found == pytest.approx(expected, abs=2e-6)


@pytest.fixture
def few_cells_are_grouped(monkeypatch):
    monkeypatch.setattr(cells, "TRAINED_AT_ONCE", 8)
    monkeypatch.setattr(cells, "ONE_LEVEL", 8)


@pytest.mark.parametrize("metric", METRICS)
def test_cells_in_groups_are_the_nearest_of_the_groups_probed(metric, rng, monkeypatch, few_cells_are_grouped):
    points = rng.standard_normal((3000, 9))
    X = Preparation.of_sample(points, metric).rows(points)
    quantizer = cells.Quantizer.train(X, 100, metric, 0)
    assert len(quantizer.groups) == 10
    assert len(quantizer.centroids) == 100
    exact = cells.Quantizer(quantizer.centroids, X[:0], metric).nearest(X, 4)
    np.testing.assert_array_equal(quantizer.nearest(X, 4), exact)  # all ten groups are probed
    travelled = pickle.loads(pickle.dumps(quantizer))
    np.testing.assert_array_equal(travelled.nearest(X, 4), exact)
    monkeypatch.setattr(cells, "GROUPS_PROBED", 4)
    some = pickle.loads(pickle.dumps(quantizer)).nearest(X, 4)
    assert (some[:, 0] == exact[:, 0]).mean() > 0.9


def test_a_point_whose_groups_have_no_cells_is_in_the_nearest_cell(monkeypatch):
    monkeypatch.setattr(cells, "GROUPS_PROBED", 1)
    groups = np.array([[0, 0], [10, 0]], np.float32)
    centroids = np.array([[9, 1], [8, 0], [11, 0]], np.float32)
    quantizer = cells.Quantizer(centroids, groups, "l2")
    near = np.array([[1, 0], [10.5, 0]], np.float32)
    assert quantizer.nearest(near, 3).tolist() == [[1, 0, 2], [2, 0, 1]]
    assert cells.Quantizer(centroids[:1], groups, "l2").nearest(near, 2).tolist() == [[0, -1], [0, -1]]


def test_the_graph_by_cells_in_groups_is_as_good_and_the_same_in_any_order(demo_table, rng, few_cells_are_grouped):
    first = subsel.neighbors(demo_table)
    assert first.recall >= 0.95
    second = subsel.neighbors(demo_table.take(rng.permutation(demo_table.num_rows)))
    assert edge_set(first.graph) == edge_set(second.graph)


@pytest.mark.parametrize("metric", METRICS)
def test_refinement_only_improves_and_reaches_the_exact_neighbours(metric, rng):
    points = rng.standard_normal((600, 6))
    X = Preparation.of_sample(points, metric).rows(points)
    quantizer = cells.Quantizer.train(X, 10, metric, 0)
    assigned = cells.assign_cells(lambda a, b: X[a:b], len(X), quantizer, 3)
    Y = X[assigned.order]
    best, score = search.search_cells(Y, assigned.bounds, assigned.probes, 8, metric)
    better, better_score = descend(Y, best, score, 8, metric)
    assert (better_score >= score).all()
    assert (np.diff(better_score, axis=1) <= 0).all()
    for row in better:
        assert len(set(row.tolist())) == len(row)
    exact = exact_neighbors(Y, 8, metric)
    found = similarity_of_scores(better_score.copy(), metric)
    recall = (found >= exact[:, -1:] - 1e-6).mean()
    # by inner product, points of small norm are nobody's neighbours, so few paths lead to them
    assert recall > (0.9 if metric == "inner_product" else 0.99)
    sample = np.arange(600)
    assert search.estimate_recall(Y, better_score, sample, metric) == pytest.approx(recall, abs=0.005)


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("dimension", [1, 7, 64, 100, 384])
def test_a_pair_has_one_score_whoever_scores_it(dimension, l2, rng):
    """To the last bit: refinement and `rescore` run in different parts, from either end."""
    n, k = 400, 6
    X = rng.standard_normal((n, dimension), np.float32)
    best = np.array([rng.choice(np.delete(np.arange(n), v), k, replace=False) for v in range(n)], np.int32)
    score = np.empty((n, k), np.float32)
    kernel.rescore(X, best, score, l2)
    better, better_score = descend(X, best, score, 2, "l2" if l2 else "inner_product")
    assert (better != best).any()
    pairs = {}
    for listed, scores in ((best, score), (better, better_score)):
        for v in range(n):
            for j, value in zip(listed[v].tolist(), scores[v].tolist(), strict=True):
                assert pairs.setdefault((min(v, j), max(v, j)), value) == value
    exact = {(v, j): -np.square(X[v] - X[j]).sum() if l2 else X[v] @ X[j] for v, j in pairs}
    np.testing.assert_allclose(list(pairs.values()), list(exact.values()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("probes", [1, 3, 12])
def test_points_meet_where_either_probes_the_others_cell(metric, probes, rng, monkeypatch):
    """Against all pairs, with locks and products of few points; ties, and a cell of duplicates."""
    points = np.round(rng.standard_normal((500, 3)), 1) + 0.05
    points[:60] = points[0]
    X = Preparation.of_sample(points, metric).rows(points)
    quantizer = cells.Quantizer.train(X, 12, metric, 0)
    assigned = cells.assign_cells(lambda a, b: X[a:b], len(X), quantizer, probes, reach=0.5)
    Y, probed = X[assigned.order], assigned.probes
    for name, value in {"_LOCKED_ROWS": 90, "_PRODUCT_ROWS": 17, "TILE_ROWS": 16}.items():
        monkeypatch.setattr(search, name, value)
    best, score = search.search_cells(Y, assigned.bounds, probed, 6, metric)
    asks = (probed[:, :, None] == probed[None, :, :1].transpose(0, 2, 1)).any(axis=1)
    meet = (asks | asks.T) & ~np.eye(len(Y), dtype=bool)
    squares = np.einsum("ij,ij->i", Y, Y)
    every = np.where(meet, search.scores(Y, Y, squares, metric), -np.inf)
    expected = -np.sort(-every, axis=1)[:, :6]
    np.testing.assert_allclose(score, expected, atol=2e-5)
    for v, row in enumerate(best):
        found = row[row >= 0]
        assert len(set(found.tolist())) == len(found) == min(6, meet[v].sum())
        assert meet[v, found].all()


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
def test_of_equal_scores_the_smaller_numbers_stay_whatever_the_threads(metric, rng, monkeypatch):
    """Whole numbers, whose scores are exact; a cell that is nobody's home, but probed; several threads and locks."""
    X = rng.integers(-3, 4, (400, 2)).astype(np.float32)
    home = np.sort(rng.choice([0, 1, 2, 4, 5], len(X)))
    bounds = np.searchsorted(home, np.arange(8))  # cells 3 and 6 are empty
    probed = np.array([[own, *rng.permutation(np.delete(np.arange(7), own))[:2]] for own in home], np.int32)
    probed[rng.random(len(X)) < 0.3, 2] = -1
    for name, value in {"_LOCKED_ROWS": 30, "_PRODUCT_ROWS": 17, "TILE_ROWS": 16}.items():
        monkeypatch.setattr(search, name, value)
    asks = (probed[:, :, None] == probed[None, :, :1].transpose(0, 2, 1)).any(axis=1)
    meet = (asks | asks.T) & ~np.eye(len(X), dtype=bool)
    every = np.where(meet, search.scores(X, X, np.einsum("ij,ij->i", X, X), metric), -np.inf)
    expected = np.argsort(-every, axis=1, kind="stable")[:, :6]
    monkeypatch.setattr(search.numba, "get_num_threads", lambda: 4)
    for _ in range(5):
        best, _ = search.search_cells(X, bounds, probed, 6, metric)
        np.testing.assert_array_equal(best, expected)


def test_a_visitor_is_not_refined(rng):
    points = rng.standard_normal((600, 12))
    X = Preparation.of_sample(points, "cosine").rows(points)
    quantizer = cells.Quantizer.train(X, 30, "cosine", 0)
    assigned = cells.assign_cells(lambda a, b: X[a:b], len(X), quantizer, 2)
    Y = X[assigned.order]
    lists = search.search_cells(Y, assigned.bounds, assigned.probes, 8, "cosine")
    improved = rng.random(600) < 0.5
    refined, _ = descend(Y, *lists, 1, "cosine", improved=improved)
    np.testing.assert_array_equal(refined[~improved], lists[0][~improved])
    assert (refined[improved] != lists[0][improved]).any()
    everyone, _ = descend(Y, *lists, 1, "cosine")
    np.testing.assert_array_equal(refined[improved], everyone[improved])


def test_recall_on_demo_data_at_default_settings():
    """The data of `subsel demo`."""
    points, _ = demo_points(50_000, 64)
    assert subsel.neighbors(points).recall >= 0.95


def test_more_probes_find_more():
    points, _ = demo_points(6000, 24)
    recalls = [subsel.neighbors(points, probes=p, descent_passes=0, recall_sample=1000).recall for p in (1, 4, 16)]
    assert recalls[0] < recalls[1] < recalls[2]


@pytest.mark.parametrize("metric", METRICS)
def test_permuting_rows_leaves_the_graph_unchanged(metric, demo_table, rng):
    one = edge_set(subsel.neighbors(demo_table, metric=metric).graph)
    shuffled = demo_table.take(pa.array(rng.permutation(len(demo_table))))
    assert edge_set(subsel.neighbors(shuffled, metric=metric).graph) == one


def test_similarities_are_those_of_the_metric(rng):
    points = rng.standard_normal((300, 5)).astype(np.float32)
    for metric in METRICS:
        matrix = subsel.neighbors(points, metric=metric, probes=50).graph.to_scipy()
        a, b = matrix.nonzero()
        x, y = points[a].astype(float), points[b].astype(float)
        dot = (x * y).sum(1)
        expected = {
            "cosine": dot / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1),
            "inner_product": dot,
            "l2": 1 / (1 + np.linalg.norm(x - y, axis=1)),
        }[metric]
        assert matrix.data[matrix.data > 0].min() > 0
        assert np.asarray(matrix[a, b]).ravel() == pytest.approx(np.maximum(expected, 0), abs=1e-5)
        assert abs(matrix - matrix.T).max() == 0
        assert matrix.diagonal().sum() == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_widths(dtype, rng):
    points = rng.standard_normal((200, 8)).astype(dtype)
    half = subsel.neighbors(points).graph.to_scipy()
    full = subsel.neighbors(points.astype(np.float32)).graph.to_scipy()
    assert abs(half - full).max() < 1e-6


def test_masses_of_duplicates_are_split_and_find_each_other(rng):
    points = np.concatenate([np.tile(rng.standard_normal((1, 8)), (3000, 1)), rng.standard_normal((1000, 8))])
    found = subsel.neighbors(points.astype(np.float32), recall_sample=500)
    assert found.recall > 0.9
    matrix = found.graph.to_scipy()
    assert matrix[:3000].max(axis=1).toarray().min() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 11])
def test_fewer_points_than_neighbours(n, rng):
    found = subsel.neighbors(rng.standard_normal((n, 4)).astype(np.float32), metric="l2")
    assert found.neighbors == min(10, n - 1)
    assert found.graph.n_edges == n * (n - 1) // 2


def test_number_of_threads_changes_nothing(demo_table):
    import numba

    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = subsel.neighbors(demo_table).graph
    finally:
        numba.set_num_threads(before)
    many = subsel.neighbors(demo_table).graph
    assert (one.indices == many.indices).all()
    assert (one.similarity == many.similarity).all()


@given(st.data())
def test_symmetrize_equals_a_dictionary(data):
    n = data.draw(st.integers(1, 8))
    rows = [
        data.draw(st.lists(st.sampled_from([j for j in range(n) if j != v]), unique=True, max_size=3)) if n > 1 else []
        for v in range(n)
    ]
    best = np.full((n, 3), -1, np.int32)
    score = np.zeros((n, 3), np.float32)
    expected: dict[tuple[int, int], float] = {}
    for v, row in enumerate(rows):
        for a, j in enumerate(row):
            best[v, a], score[v, a] = j, data.draw(st.integers(0, 4)) / 4
            for pair in ((v, j), (j, v)):
                expected[pair] = max(expected.get(pair, 0.0), float(score[v, a]))
    indptr, indices, values = kernel.symmetrize(best, score)
    found = [((v, int(indices[e])), float(values[e])) for v in range(n) for e in range(indptr[v], indptr[v + 1])]
    assert found == sorted(expected.items())


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
def test_merge_among_equals_sorting(m, k, seed):
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 6, (3, m)).astype(np.float32)
    best, score = np.full((50, k), -1, np.int32), np.full((50, k), -np.inf, np.float32)
    merge_kernel.merge_among(block, np.array([4, 6, 49], np.int32), 5, best, score)
    for i, row in enumerate((4, 6, 49)):
        candidates = sorted(block[i].tolist(), reverse=True)[:k]
        assert score[row][: len(candidates)].tolist() == candidates


def test_cells_stay_where_they_are_when_more_are_probed(rng):
    """Of points as near to two centroids, rounding may choose either; their first choice holds."""
    X = Preparation.of_sample(rng.standard_normal((900, 6)), "cosine").rows(rng.standard_normal((900, 6)))
    quantizer = cells.Quantizer.train(X, 12, "cosine", 0)
    first = cells.assign_cells(lambda a, b: X[a:b], len(X), quantizer, 3)
    Y = X[first.order]
    wider = first.probing(Y, quantizer, 8, np.inf)
    np.testing.assert_array_equal(wider.bounds, first.bounds)
    np.testing.assert_array_equal(wider.probes[:, :3], first.probes)
    moved = first.home.copy()
    moved[7] = quantizer.nearest(Y[7:8], 2)[0, 1]  # its second choice, as if that had been as near
    order = np.argsort(moved, kind="stable")
    swapped = cells.assign_cells(lambda a, b: Y[order][a:b], len(Y), quantizer, 4, home=moved[order])
    np.testing.assert_array_equal(swapped.order, np.arange(len(Y)))
    row = swapped.probes[np.flatnonzero(order == 7)[0]]
    assert row[0] == moved[7]
    assert row[1] == first.home[7]
    assert len(set(row[row >= 0].tolist())) == (row >= 0).sum()
