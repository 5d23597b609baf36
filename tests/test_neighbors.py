from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.demo import demo_points
from subsel.embeddings import cells, kernel, merge_kernel, rows, search
from subsel.embeddings.metrics import Preparation, similarity_of_scores
from subsel.embeddings.neighbors import neighbor_graph
from subsel.embeddings.recipe import Search
from subsel.input.points import read_points
from subsel.input.source import open_source
from tests.reference import exact_neighbors

METRICS = ["cosine", "inner_product", "l2"]
CONFIG = subsel.SelectConfig()


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


@pytest.mark.parametrize("metric", METRICS)
def test_halves_are_searched_as_what_they_are_in_float32(metric, rng):
    """Rows to the last bit, and so scores: of the smallest halves, the largest, and zeros with a sign."""
    halves = rng.standard_normal((500, 37)).astype(np.float16)
    halves[3, :5] = [6e-8, -6e-8, 65504, -0.0, 6.1e-5]
    whole = halves.astype(np.float32)
    prepare = Preparation.of_sample(whole[:100], metric)
    expected = prepare.rows(whole)
    packed = rows.prepared(halves.copy(), prepare)
    assert isinstance(packed, rows.HalfRows)
    assert packed.shape == halves.shape
    some = np.array([3, 0, 499], np.int32)
    for found, wanted in ((packed[7:300], expected[7:300]), (packed.take(some), expected[some])):
        np.testing.assert_array_equal(found.view(np.uint32) << 1, wanted.view(np.uint32) << 1)  # zeros of either sign
    quantizer = cells.Quantizer.train(expected, 10, metric, 0)
    assigned = cells.assign_cells(lambda a, b: packed[a:b], len(packed), quantizer, 4)
    packed, Y = rows.reordered(packed, assigned.order), expected[assigned.order]
    lists = [search.search_cells(X, assigned.bounds, assigned.probes, 6, metric) for X in (packed, Y)]
    for one, other in zip(*lists, strict=True):
        np.testing.assert_array_equal(one, other)
    descent = search.Descent(packed, *(one.copy() for one in lists[0]), metric)
    assert descent.step() > 0
    best, score = descent.lists()
    again = best.copy(), np.empty_like(score)
    kernel.rescore(Y, *again, metric == "l2")
    np.testing.assert_array_equal(again[1], score)
    assert (score >= lists[0][1]).all()
    assert (score.sum() - descend(Y, *lists[1], 1, metric)[1].sum()) == pytest.approx(0, abs=1e-3)
    asked = np.arange(0, 500, 9)
    exact = [search.exact_neighbors(X, asked, 5, metric).score for X in (packed, Y)]
    np.testing.assert_array_equal(*exact)


def test_a_selection_of_halves_is_that_of_the_same_numbers(rng):
    """Copies among them, which are hashed; and the checksum by which a run directory knows its input."""
    halves = (rng.standard_normal((40, 24))[rng.integers(0, 40, 3000)] + 0.3 * rng.standard_normal((3000, 24))).astype(
        "f2"
    )
    halves[50:60] = 2 * halves[50]
    one, other = (subsel.select(points, size=0.1) for points in (halves, halves.astype(np.float32)))
    assert one.report.objective.total == other.report.objective.total
    np.testing.assert_array_equal(np.sort(one.ids), np.sort(other.ids))
    assert one.report.input.copies == other.report.input.copies > 0
    read = [
        read_points(open_source(X, lambda name: True, CONFIG), CONFIG, with_embeddings=True)
        for X in (halves, halves.astype("f4"))
    ]
    assert [points.embeddings.dtype for points in read] == [np.float16, np.float32]
    assert read[0].checksum() == read[1].checksum()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_search_works_in_the_memory_that_points_were_read_into(dtype, rng):
    source = open_source(rng.standard_normal((800, 70)).astype(dtype), lambda name: True, CONFIG)
    points, kept = read_points(source, CONFIG, with_embeddings=True), list[bool]()
    memory = points.embeddings

    def keep(searched):
        X = searched.found.X
        kept.append(np.shares_memory(getattr(X, "values", X), memory))

    neighbor_graph(points, Search.of(CONFIG, 800, 80), keep=keep)
    assert kept == [True]
    assert points.embeddings is None


@given(st.integers(1, 30), st.integers(1, 300), st.integers(0, 3), st.booleans())
def test_rows_are_reordered_where_they_are(n, d, seed, halves):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float16 if halves else np.float32)
    order = rng.permutation(n)
    expected = X[order]
    prepare = Preparation.of_sample(X, "inner_product")
    found = rows.reordered(rows.prepared(X, prepare), order)
    np.testing.assert_array_equal(found[:], expected.astype(np.float32))
    assert np.shares_memory(found.values if halves else found, X)


@pytest.mark.parametrize("metric", METRICS)
def test_exact_neighbours_are_those_of_sorting_whatever_the_threads(metric, rng, monkeypatch):
    points = np.round(rng.standard_normal((700, 3)), 1) + 0.05  # ties
    X = Preparation.of_sample(points, metric).rows(points)
    monkeypatch.setattr(search, "_PRODUCT_ROWS", 64)
    asked, found = np.arange(0, 700, 13), []
    for threads in (1, 3, 20):
        monkeypatch.setattr(search.numba, "get_num_threads", lambda threads=threads: threads)
        found.append(search.exact_neighbors(X, asked, 9, metric))
    for one in found[1:]:
        np.testing.assert_array_equal(one.which, found[0].which)
        np.testing.assert_array_equal(one.score, found[0].score)
    assert similarity_of_scores(found[0].score, metric) == pytest.approx(exact_neighbors(X, 9, metric)[asked], abs=2e-6)
    assert (found[0].which != asked[:, None]).all()


def test_long_lists_are_made_symmetric(rng):
    """Against a matrix: lists of many, of few and of none, whose directions disagree."""
    n, k = 300, 100
    W = np.zeros((n, n))
    best, similarity = np.full((n, k), -1, np.int32), np.zeros((n, k), np.float32)
    for v in range(n):
        count = [0, 3, k][v % 3]
        best[v, :count] = rng.permutation(np.delete(np.arange(n), v))[:count]
        similarity[v, :count] = np.sort(rng.random(count, np.float32))[::-1] + np.float32(0.01)
        W[v, best[v, :count]] = similarity[v, :count]
    kept = best.copy(), similarity.copy()
    indptr, indices, values = kernel.symmetrize(best, similarity)
    expected = sp.csr_matrix(np.maximum(W, W.T))
    np.testing.assert_array_equal(indptr, expected.indptr)
    np.testing.assert_array_equal(indices, expected.indices)
    np.testing.assert_array_equal(values, expected.data.astype(np.float32))
    np.testing.assert_array_equal(best, kept[0])
    np.testing.assert_array_equal(similarity, kept[1])


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
    drawn = [
        data.draw(st.lists(st.sampled_from([j for j in range(n) if j != v]), unique=True, max_size=3)) if n > 1 else []
        for v in range(n)
    ]
    best = np.full((n, 3), -1, np.int32)
    score = np.zeros((n, 3), np.float32)
    expected: dict[tuple[int, int], float] = {}
    for v, row in enumerate(drawn):
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
