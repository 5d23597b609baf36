"""Vectors of a graph that grows: they stay where they are while few join or leave, and are the right ones anyhow."""

from __future__ import annotations

import numpy as np
import pytest

import subsel
from subsel.embeddings.metrics import Preparation
from subsel.growing.stored import PlacedRows, PreparedRows, StoredRows
from tests.test_growing import check_lists, table


def vectors(rng, n, d=9):
    """Some so large or small that 16 bits need a power of two beside them."""
    return (rng.standard_normal((n, d)) * rng.choice([1e-20, 1.0, 1e20], (n, 1))).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_rows_are_the_right_ones_whatever_joins_and_leaves(rng, metric):
    X = vectors(rng, 400)
    prepare, moved = Preparation(metric, np.full(9, 0.5)), []
    placed = PlacedRows.of(StoredRows.of(X))
    for _ in range(40):
        if rng.random() < 0.5:
            more = vectors(rng, rng.integers(0, 40))
            number = rng.permutation(len(X) + len(more))
            placed = placed.joined(StoredRows.of(more), number)
            both, X = np.concatenate([X, more]), np.empty((len(number), 9), np.float32)
            X[number] = both
        else:
            order = rng.permutation(len(X))[: len(X) - rng.integers(0, 30)]
            placed, X = placed.take(order), X[order]
        moved.append(not len(placed.later))
        expected, found = StoredRows.of(X), placed.stored()
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.exponent, expected.exponent)
        wide = PreparedRows(placed, prepare)[:]
        np.testing.assert_array_equal(wide, expected.prepared(prepare, np.arange(len(X))))
        stored = len(placed.first) + len(placed.later)
        assert stored <= len(X) * 9 / 8
    assert 0 < sum(moved) < len(moved)


def test_who_joins_or_leaves_does_not_change_the_graph_that_was(rng):
    points = rng.standard_normal((700, 9))
    graph = subsel.growing_graph(table(points[:600]), neighbors=6, metric="l2", utility="constant")
    state = graph._kept.state
    was = [array.copy() for array in (state.best, state.score, state.home, state.vectors())]
    graph.add(table(points[600:], 600))
    graph.remove(np.arange(0, 700, 2))
    for array, before in zip((state.best, state.score, state.home, state.vectors()), was, strict=True):
        np.testing.assert_array_equal(array, before)


def test_what_was_not_moved_is_written_and_read_in_order(rng, tmp_path):
    points = rng.standard_normal((660, 9)).astype(np.float16).astype(np.float32)
    graph = subsel.growing_graph(table(points[:600]), neighbors=6, metric="l2", utility="constant")
    for begin in (600, 620, 640):
        graph.add(table(points[begin : begin + 20], begin))
    graph.remove([3, 5, 650])
    now = graph._kept.state
    assert len(now.rows.later) == 60 and len(now.rows.first) == 600  # nothing was moved
    graph.save(tmp_path / "graph")
    for state in (now, subsel.open_graph(tmp_path / "graph")._kept.state):
        check_lists(state)
        kept = state.ids.to_numpy()
        assert sorted(kept) == sorted(set(range(660)) - {3, 5, 650})
        np.testing.assert_allclose(state.vectors(), points[kept] - state.center, rtol=1e-6, atol=1e-6)
        named = np.where(state.best >= 0, state.best, 0)
        scores = -np.square(state.vectors()[:, None] - state.vectors()[named]).sum(axis=2)
        np.testing.assert_allclose(
            np.where(state.best < 0, 0, state.score), np.where(state.best < 0, 0, scores), rtol=1e-4
        )
