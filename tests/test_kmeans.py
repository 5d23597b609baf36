"""k-means, nearest rows, and what a search does with who has met."""

from __future__ import annotations

import numpy as np
import pytest

from subsel.embeddings import cells, kmeans, recipe, search
from subsel.embeddings.metrics import Preparation
from subsel.embeddings.recipe import Search
from subsel.embeddings.rows import HalfRows, prepared

METRICS = ["cosine", "inner_product", "l2"]


def score_of(X, Y, metric):
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    return -np.square(X[:, None] - Y).sum(axis=2) if metric == "l2" else X @ Y.T


@pytest.mark.parametrize("metric", METRICS)
def test_nearest_rows_are_those_of_sorting_in_blocks_of_any_size(metric, rng, monkeypatch):
    monkeypatch.setattr(kmeans, "_OTHERS", 16)
    X, others = (rng.integers(-3, 4, (count, 4)).astype(np.float32) for count in (600, 70))  # exact, and many are equal
    score, which = kmeans.nearest_rows(X, others, 9, metric)
    expected = score_of(X, others, metric)
    np.testing.assert_array_equal(which, np.argsort(-expected, axis=1, kind="stable")[:, :9])
    np.testing.assert_array_equal(score, np.take_along_axis(expected, which.astype(np.int64), axis=1))
    score, which = kmeans.nearest_rows(X, others[:3], 5, metric)
    assert (which[:, 3:] == -1).all()
    assert (score[:, 3:] == -np.inf).all()
    assert kmeans.nearest_rows(X[:0], others, 2, metric)[1].shape == (0, 2)
    assert (kmeans.nearest_rows(X[:4], others[:0], 2, metric)[1] == -1).all()


@pytest.mark.parametrize("metric", METRICS)
def test_kmeans_finds_what_is_apart_on_any_threads(metric, rng, monkeypatch):
    middles = 10 * np.eye(6, 8)
    points = (middles[rng.integers(0, 6, 900)] + 0.1 * rng.standard_normal((900, 8))).astype(np.float32)
    X = Preparation("cosine", np.zeros(8)).rows(points) if metric == "cosine" else points
    found = []
    for count in (1, 4):
        monkeypatch.setattr(search.numba, "get_num_threads", lambda count=count: count)
        found.append(kmeans.kmeans(X, 40, metric, 3))
    np.testing.assert_array_equal(*found)
    assert found[0].shape == (40, 8)
    if metric != "l2":
        np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, rtol=1e-5)
    home = kmeans.nearest_rows(X, found[0], 1, metric)[1].ravel()
    best = score_of(found[0][home], middles.astype(np.float32), metric).argmax(axis=1)
    np.testing.assert_array_equal(best, score_of(X, middles.astype(np.float32), metric).argmax(axis=1))


def test_a_cell_that_nobody_is_in_takes_half_of_a_full_one(rng):
    spread = rng.standard_normal((1000, 8)).astype(np.float32)
    X = np.concatenate([np.ones((4000, 8), np.float32), spread])  # most of the first centroids are the same
    centroids = kmeans.kmeans(X, 20, "l2", 0)
    counts = np.bincount(kmeans.nearest_rows(spread, centroids, 1, "l2")[1].ravel(), minlength=20)
    assert (counts > 0).sum() >= 18
    same = kmeans.kmeans(np.ones((50, 3), np.float32), 7, "cosine", 0)
    assert np.isfinite(same).all()
    assert kmeans.kmeans(X[:2], 7, "cosine", 0).shape == (2, 8)
    assert kmeans.kmeans(X[:0], 7, "cosine", 0).shape == (0, 8)


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
@pytest.mark.parametrize("half", [False, True])
def test_who_has_met_is_not_compared_again_and_lists_are_the_same(metric, half, rng):
    """Whole numbers, so that scores are exact whoever computes them."""
    points = rng.integers(-9, 10, (1500, 12)).astype(np.float16 if half else np.float32)
    X = points.astype(np.float32)
    quantizer = cells.Quantizer.train(X, 25, metric, 0)
    assigned = cells.assign_cells(lambda a, b: X[a:b], len(X), quantizer, 3, reach=40.0)
    Y = prepared(points[assigned.order], Preparation(metric, np.zeros(12)))
    assert isinstance(Y, HalfRows) == half
    lists = search.search_cells(Y, assigned.bounds, assigned.probes, 8, metric)
    everyone, others = (
        search.Descent(Y, lists[0].copy(), lists[1].copy(), metric, probes=probes) for probes in (None, assigned.probes)
    )
    for _ in range(3):
        assert everyone.step() == others.step()
        np.testing.assert_array_equal(everyone.score, others.score)
        np.testing.assert_array_equal(everyone.best, others.best)
    assert (others.best != lists[0]).any()


def test_cells_to_probe_follow_from_what_meets_neighbours(rng):
    """As many as meet the recall that is aimed at, if that is affordable, and at most twice as many the next time."""
    points = rng.standard_normal((4000, 12)).astype(np.float32)
    X = Preparation("cosine", np.zeros(12)).rows(points)
    quantizer = cells.Quantizer.train(X, 60, "cosine", 0)
    how = Search("cosine", 10, 2, None, 0.95, 256, 0)
    asked = recipe._Asked.of(X, 10, how, None, None).met_by(X, quantizer, 60)
    assert asked.met[0] == 0
    assert asked.met[60] == 1
    assert (np.diff(asked.met) >= 0).all()
    assigned = cells.assign_cells(lambda a, b: X[a:b], len(X), quantizer, 5)
    _, score = search.search_cells(X[assigned.order], assigned.bounds, assigned.probes, 10, "cosine")
    place = np.argsort(assigned.order)
    found = search.recall_of_scores(score[place[asked.rows]], asked.exact)
    assert asked.met[5] == pytest.approx(found, abs=0.002)
    probes = asked.first_probes(1.0, 2)
    assert asked.met[probes - 1] < asked.aim <= asked.met[probes]
    half = asked.first_probes(1e9, 2)
    assert asked.met[half] >= 0.5
    assert half < probes
    assert asked.first_probes(1.0, 40) == 40
    assert asked.more_probes(probes - 1) == probes
    assert asked.more_probes(2) == 4
    assert asked.more_probes(probes) == 2 * probes
