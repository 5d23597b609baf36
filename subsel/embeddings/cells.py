"""Cells: coarse k-means on a bounded sample, and which cells each point is in or probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from subsel.config import Metric
from subsel.embeddings.metrics import FloatMatrix, faiss_metric, rows_per_block
from subsel.fixedpoint import Int64Array

#: Sample rows per cell that k-means sees: enough for stable cells, and the sample stays bounded.
SAMPLE_PER_CELL = 40
_ITERATIONS = 8


def cell_count(n: int, probes: int) -> int:
    """Return how many cells a search should use: 0.4·√(probes·n), and at least 64 points per cell.

    A point costs one score per cell to assign and probes·n/cells scores to search; the sum is least at
    √(probes·n). Fewer and larger cells cost more scores, but make larger matrix products and miss fewer
    neighbours.
    """
    return int(max(1, min(0.4 * np.sqrt(probes * n), n // 64)))


def train_cells(sample: FloatMatrix, n_cells: int, metric: Metric, seed: int) -> FloatMatrix:
    """Return k-means centroids of a sample: float32, (n_cells, d).

    Spherical for cosine and inner product. The sample's order decides the start, so give it in an order that
    does not depend on the input's (subsel sorts by code).
    """
    n_cells = min(n_cells, len(sample))
    kmeans = faiss.Kmeans(
        sample.shape[1],
        n_cells,
        niter=_ITERATIONS,
        seed=seed % 2**31,
        spherical=metric != "l2",
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )
    kmeans.train(sample)
    return np.ascontiguousarray(kmeans.centroids)


@dataclass(frozen=True, slots=True)
class Cells:
    """Points by cell.

    Attributes:
        order: int64, (n,): the points sorted by their cell, in a cell in the order in which they came.
        bounds: int64, (n_cells+1,): the run of each cell in that order.
        probes: int32, (n, probes): the cells that each point (in that order) searches; -1 for none.
    """

    order: Int64Array
    bounds: Int64Array
    probes: npt.NDArray[np.int32]


def assign_cells(
    rows: Callable[[int, int], FloatMatrix],
    n: int,
    centroids: FloatMatrix,
    probes: int,
    metric: Metric,
) -> Cells:
    """Assign every point to its nearest cell, and find the cells that it probes.

    Args:
        rows: ``rows(begin, end)`` returns prepared rows, float32, (end-begin, d).
        n: number of points.
        centroids: float32, (n_cells, d).
        probes: cells searched per point, its own among them.
        metric: see `subsel.embeddings.metrics`.
    """
    n_cells = len(centroids)
    probes = min(probes, n_cells)
    nearest = np.empty((n, probes), np.int32)
    step = rows_per_block(centroids.shape[1])
    for begin in range(0, n, step):
        end = min(begin + step, n)
        _, found = faiss.knn(rows(begin, end), centroids, probes, metric=faiss_metric(metric))
        nearest[begin:end] = found
    return _split_oversized(nearest, n_cells)


def _split_oversized(nearest: npt.NDArray[np.int32], n_cells: int) -> Cells:
    """Sort points by cell; a cell of far more than the mean size becomes several of its own points in turn.

    Such cells are masses of near duplicates that no k-means divides. Their points find each other in any
    share of them; without the split a cell of m points would cost m^2.
    """
    n, probes = nearest.shape
    counts = np.bincount(nearest[:, 0], minlength=n_cells)
    cap = max(1024, 4 * n // n_cells)
    shares = np.maximum(1, -(-counts // cap))
    first_share = np.concatenate([[0], np.cumsum(shares)])
    order = np.argsort(nearest[:, 0], kind="stable")
    nearest = nearest[order]
    visited = np.empty((n, probes), np.int32)
    for p in range(probes):  # a visitor sees one share of a split cell
        cell = nearest[:, p]
        visited[:, p] = np.where(cell < 0, -1, first_share[cell] + np.arange(n) % shares[cell])
    home = nearest[:, 0]
    place = np.arange(n) - np.concatenate([[0], np.cumsum(counts)])[home]
    visited[:, 0] = first_share[home] + place * shares[home] // np.maximum(counts[home], 1)
    bounds = np.searchsorted(visited[:, 0], np.arange(first_share[-1] + 1))
    return Cells(order, bounds.astype(np.int64), visited)
