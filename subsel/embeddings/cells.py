"""Cells: coarse k-means on a bounded sample, and which cells each point is in or probes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numba
import numpy as np
import numpy.typing as npt

from subsel.config import Metric
from subsel.embeddings.kmeans import kmeans, nearest_rows
from subsel.embeddings.metrics import FloatMatrix, faiss_metric, rows_per_block
from subsel.embeddings.rows import Rows
from subsel.fixedpoint import Int64Array

#: Sample rows per cell that k-means sees: enough for stable cells, and the sample stays bounded.
SAMPLE_PER_CELL = 40
#: More cells than this are trained group by group: much faster, and their sizes differ less.
TRAINED_AT_ONCE = 1024
#: More cells than this stay in groups, of which so many are looked into for a point's nearest cells; up to here
#: comparing with all of them is as fast, and exact.
ONE_LEVEL = 4096
GROUPS_PROBED = 16
#: Rows of a sample that are asked where their neighbours are, and of those whose neighbour is in a cell that they could
#: probe, the share for which it must be within reach.
_ASKED = 1000
_FOUND = 0.99


def cell_count(n: int, probes: int) -> int:
    """Return how many cells a search should use: 0.5·√(probes·n), and at least 64 points per cell.

    A point costs one score per cell to assign and probes·n/cells scores to search; the sum is least at
    √(probes·n). Fewer and larger cells cost more scores, but make larger matrix products and miss fewer
    neighbours.
    """
    return int(max(1, min(0.5 * np.sqrt(probes * n), n // 64)))


def fullest_cell(n: int, n_cells: int) -> int:
    """Return how many of n points may be in one cell: beyond that it is split."""
    return max(1024, 4 * n // n_cells)


@dataclass(frozen=True)
class Quantizer:
    """The centroids of cells, and which are nearest to a point.

    Where they are many, they are in groups: a point is compared with the centroids of groups, and then with those of
    the nearest groups only, so that its cost grows with the root of the number of cells.

    Attributes:
        centroids: float32, (c, d).
        groups: float32, (g, d): centroids of groups of cells; none where there is one level.
        metric: see `subsel.embeddings.metrics`.
    """

    centroids: FloatMatrix
    groups: FloatMatrix
    metric: Metric

    @classmethod
    def train(
        cls, sample: FloatMatrix, n_cells: int, metric: Metric, seed: int, at_once: int | None = None
    ) -> Quantizer:
        """Make cells by k-means of a sample: spherical for cosine and inner product.

        The sample's order decides the start, so give it in an order that does not depend on the input's (subsel sorts
        by code).

        Args:
            sample: float32, (m, d), prepared rows.
            n_cells: wanted; as many as rows at most.
            metric: see `subsel.embeddings.metrics`.
            seed: of k-means.
            at_once: more cells than this are trained group by group; `TRAINED_AT_ONCE` by default.
        """
        at_once = TRAINED_AT_ONCE if at_once is None else at_once
        n_cells = min(n_cells, len(sample))
        none = np.empty((0, sample.shape[1]), np.float32)
        if n_cells <= at_once:
            return cls(kmeans(sample, n_cells, metric, seed), none, metric)
        groups = kmeans(sample, round(np.sqrt(n_cells)), metric, seed)
        group = nearest_rows(sample, groups, 1, metric)[1].ravel()
        ends = np.cumsum(np.bincount(group, minlength=len(groups)))
        # Each group's cells by its share of the sample, so that they add up.
        shares = np.diff(np.rint(ends * (n_cells / len(sample))).astype(np.int64), prepend=0)
        members = np.split(sample[np.argsort(group, kind="stable")], ends[:-1])
        found = [kmeans(rows, share, metric, seed) for rows, share in zip(members, shares, strict=True)]
        return cls(np.concatenate(found), groups if n_cells > ONE_LEVEL else none, metric)

    def nearest(self, X: FloatMatrix, count: int) -> npt.NDArray[np.int64]:
        """Return each point's nearest cells, nearest first: int64, (b, count), -1 where fewer than that were met."""
        return self.nearest_and_lag(X, count)[0]

    def nearest_and_lag(self, X: FloatMatrix, count: int) -> tuple[npt.NDArray[np.int64], FloatMatrix]:
        """Return each point's nearest cells as `nearest` does, and how far their scores are below the first's.

        The second is float32, (b, count): 0 and rising, inf where there is no cell; by inner product as a share of the
        point's length, which all its scores are in proportion to.
        """
        if len(self.groups) == 0:
            score, found = nearest_rows(X, self.centroids, count, self.metric)
        else:
            score, found = self._index.search(X, count)
            lost = found[:, 0] < 0  # all groups that it looked into are without cells
            if lost.any():
                score[lost], found[lost] = nearest_rows(X[lost], self.centroids, count, self.metric)
        lag = np.abs(score - score[:, :1])
        if self.metric == "inner_product":
            lag /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.asarray(found, np.int64), np.where(found < 0, np.inf, lag).astype(np.float32)

    @cached_property
    def _index(self) -> faiss.IndexIVFFlat:
        dimension = self.centroids.shape[1]
        groups = faiss.IndexFlat(dimension, faiss_metric(self.metric))
        groups.add(self.groups)
        index = faiss.IndexIVFFlat(groups, dimension, len(self.groups), faiss_metric(self.metric))
        index.nprobe = GROUPS_PROBED
        index.add(self.centroids)
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes without the index."""
        return Quantizer, (self.centroids, self.groups, self.metric)


def each_alone() -> ThreadPoolExecutor:
    """Return threads each of which is faiss' only one: for much work that is little at a time.

    Those that faiss starts itself wait for each other in loops, which takes the processor's time, most of it where
    others want it, too.
    """
    return ThreadPoolExecutor(numba.get_num_threads(), initializer=faiss.omp_set_num_threads, initargs=(1,))


def neighbor_pairs(sample: FloatMatrix, n: int, neighbors: int, metric: Metric) -> tuple[FloatMatrix, FloatMatrix]:
    """Return some rows of a sample and, for each, one as far as its last neighbour among all points: (q, d) each.

    In a sample of m of n points the last of ``neighbors`` neighbours is about the neighbors·m/n-th; where that is less
    than one, the nearest row is farther than all neighbours.

    Args:
        sample: float32, (m, d), prepared rows in an order that is random; none are asked where m < 2.
        n: points that it is a sample of.
        neighbors: wanted per point.
        metric: see `subsel.embeddings.metrics`.
    """
    if len(sample) < 2:
        return sample[:0], sample[:0]
    asked = sample[:_ASKED].copy()  # a view would keep all of the sample
    rank = min(-(-neighbors * len(sample) // n), len(sample) - 1)
    near = nearest_rows(asked, sample, rank + 1, metric)[1]
    itself = near == np.arange(len(asked))[:, None]
    last = np.where(itself.any(axis=1), near[:, rank], near[:, rank - 1])  # among duplicates it may not be listed
    last = np.where(itself[:, rank], near[:, rank - 1], last)
    return asked, sample[last]


def covering_reach(least: npt.NDArray[np.float32], share: float) -> float:
    """Return the least reach at which so large a share of pairs meet, of those that can: inf where none can.

    A little more, so that a score's rounding, which depends on how rows are batched, does not matter to these pairs.

    Args:
        least: float32, (q,): at which reach each pair meets, inf for never.
        share: between 0 and 1.
    """
    finite = least[np.isfinite(least)]
    return 1.0001 * float(np.quantile(finite, share, method="higher")) if len(finite) else np.inf


def probe_reach(quantizer: Quantizer, pairs: tuple[FloatMatrix, FloatMatrix], probes: int) -> float:
    """Return how far below its nearest cell's score a cell's may be for a point to probe it.

    So far that of nearly all pairs of a sampled row and its neighbour that could meet, either still probes the other's
    cell (docs/decisions/0010-reach.md). Who probes all cells wants exact search: then any distance.

    Args:
        quantizer: of the cells.
        pairs: see `neighbor_pairs`.
        probes: cells searched per point at most.
    """
    rows, others = pairs
    if len(rows) == 0 or probes >= len(quantizer.centroids):
        return np.inf
    (mine, my_lag), (theirs, their_lag) = (quantizer.nearest_and_lag(X, probes) for X in (rows, others))
    least = np.minimum(
        np.where(mine == theirs[:, :1], my_lag, np.float32(np.inf)).min(axis=1),
        np.where(theirs == mine[:, :1], their_lag, np.float32(np.inf)).min(axis=1),
    )
    return covering_reach(least, _FOUND)


@dataclass(frozen=True, slots=True)
class Cells:
    """Points by cell.

    Attributes:
        order: int64, (n,): the points sorted by their cell, in a cell in the order in which they came.
        bounds: int64, (n_cells+1,): the run of each cell in that order.
        probes: int32, (n, probes): the cells that each point (in that order) searches; -1 for none.
        home: int32, (n,): the cell of the quantizer that each point is in, before large ones were split.
    """

    order: Int64Array
    bounds: Int64Array
    probes: npt.NDArray[np.int32]
    home: npt.NDArray[np.int32]

    def probing(self, X: Rows, quantizer: Quantizer, probes: int, reach: float) -> Cells:
        """Return the same cells with other cells to probe; ``X``, (n, d), are the rows in their order."""
        again = assign_cells(lambda begin, end: X[begin:end], len(X), quantizer, probes, reach, self.home)
        # Rows come cell by cell and in the same order inside each, so they stay where they are.
        assert (again.bounds == self.bounds).all()
        return Cells(self.order, self.bounds, again.probes, self.home)


def assign_cells(
    rows: Callable[[int, int], FloatMatrix],
    n: int,
    quantizer: Quantizer,
    probes: int,
    reach: float = np.inf,
    home: npt.NDArray[np.int32] | None = None,
) -> Cells:
    """Assign every point to its nearest cell, and find the cells that it probes.

    Args:
        rows: ``rows(begin, end)`` returns prepared rows, float32, (end-begin, d).
        n: number of points.
        quantizer: of the cells.
        probes: cells searched per point at most, its own among them.
        reach: see `probe_reach`.
        home: int32, (n,): the cell that each point is in already: of two equally near, scores' rounding might now
            choose the other.
    """
    n_cells, dimension = quantizer.centroids.shape
    probes = min(probes, n_cells)
    nearest = np.empty((n, probes), np.int32)
    step = rows_per_block(dimension)
    for begin in range(0, n, step):
        end = min(begin + step, n)
        found, lag = quantizer.nearest_and_lag(rows(begin, end), probes)
        nearest[begin:end] = np.where(lag <= reach, found, -1)
    if home is not None:
        moved = np.flatnonzero(nearest[:, 0] != home)
        for column in range(probes - 1, 0, -1):
            nearest[moved, column] = np.where(nearest[moved, column] == home[moved], -1, nearest[moved, column])
        if probes > 1:
            nearest[moved, 1] = nearest[moved, 0]  # hardly farther, so its second in any case
        nearest[moved, 0] = home[moved]
    return _split_oversized(nearest, n_cells)


def _split_oversized(nearest: npt.NDArray[np.int32], n_cells: int) -> Cells:
    """Sort points by cell; a cell of far more than the mean size becomes several of its own points in turn.

    Such cells are masses of near duplicates that no k-means divides. Their points find each other in any
    share of them; without the split a cell of m points would cost m^2.
    """
    n, probes = nearest.shape
    counts = np.bincount(nearest[:, 0], minlength=n_cells)
    cap = fullest_cell(n, n_cells)
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
    return Cells(order, bounds.astype(np.int64), visited, home.copy())
