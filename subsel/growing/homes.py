"""Cells of points that join: the nearest ones of each, and those that have grown too large and are divided."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from subsel.embeddings.cells import SAMPLE_PER_CELL, Quantizer, each_alone, fullest_cell
from subsel.embeddings.metrics import FloatMatrix
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array
from subsel.growing.state import Division, GraphState
from subsel.growing.stored import StoredRows

#: Points whose cells a thread looks for at once, whatever their number: rounding may depend on it.
_AT_ONCE = 1_024


class Near(NamedTuple):
    """The cells that are nearest to some points, the nearest first, and how far behind these the others are.

    ``cell`` is int64, (m, p), -1 for none, ``lag`` float32, see `Quantizer.nearest_and_lag`.
    """

    cell: npt.NDArray[np.int64]
    lag: FloatMatrix

    @classmethod
    def of(cls, quantizer: Quantizer, X: FloatMatrix, count: int) -> Near:
        """Look for so many cells of each point, float32, (m, d)."""
        if not len(quantizer.groups):
            return cls(*quantizer.nearest_and_lag(X, count))  # on threads of its own
        cell, lag = np.empty((len(X), count), np.int64), np.empty((len(X), count), np.float32)

        def look(begin: int) -> None:
            some = slice(begin, begin + _AT_ONCE)
            cell[some], lag[some] = quantizer.nearest_and_lag(X[some], count)

        with each_alone() as pool:
            list(pool.map(look, range(0, len(X), _AT_ONCE)))
        return cls(cell, lag)

    def take(self, order: Int64Array) -> Near:
        """Return those of points in an order."""
        return Near(self.cell[order], self.lag[order])


def split(state: GraphState, rows: StoredRows, home: Int32Array) -> tuple[Quantizer, Division | None, Int32Array, int]:
    """Return the cells of a graph and more points; some that had grown beyond their share are several now.

    Args:
        state: the graph.
        rows: of points that join it.
        home: int32, (n + m,): the cell of each; changed in place.

    Returns:
        The cells, the division of these in parts, the home of each point, and the number of cells that were split.
        Masses of near duplicates, which no k-means divides, stay.
    """
    quantizer, division, done = state.quantizer, state.division, 0
    n_cells = len(quantizer.centroids)
    large = np.flatnonzero(np.bincount(home, minlength=n_cells) > fullest_cell(len(home), n_cells))

    def divide(cell: int) -> tuple[int, Int64Array, FloatMatrix, Int64Array]:
        members = np.flatnonzero(home == cell)
        old = np.searchsorted(members, state.n)
        X = np.concatenate([state.wide[members[:old]], rows.prepared(state.prepare, members[old:] - state.n)])
        wanted = -(-len(members) * n_cells // len(home))
        parts = Quantizer.train(X[: wanted * SAMPLE_PER_CELL], wanted, state.metric, 0)
        return cell, members, parts.centroids, parts.nearest(X, 1)[:, 0]

    for cell, members, centroids, inside in [divide(one) for one in large.tolist()]:
        if len(centroids) < 2 or np.bincount(inside).max() > 0.9 * len(members):
            continue
        home[members] = np.where(inside == 0, cell, len(quantizer.centroids) + inside - 1)
        more = np.concatenate([quantizer.centroids, centroids[1:]])
        more[cell] = centroids[0]
        quantizer, done = Quantizer(more, quantizer.groups, state.metric), done + 1
        if division is not None:
            where = np.full(len(centroids) - 1, division.part[cell], np.int32)
            division = replace(division, part=np.concatenate([division.part, where]))
    return quantizer, division, home, done
