"""Parts that too many points would visit, such as where half of the data is in a few cells: only the nearest do."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

#: Parts that a point is in on average, its own among them, where near points are in many directions
#: (benchmarks/visits.py). Memory is planned for that.
MOST_TRAVEL = 3.6
#: A part holds no more points than that many times what it is to own, or than so many times the average part.
_CROWDED = 2.0
#: Centroids that differ by no more than this share of the largest coordinate are equal.
_EQUAL = 1e-6


def without_twins(centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return centroids without those that equal an earlier one but for rounding, as k-means makes of equal points.

    Which of such is nearest is anybody's guess, so a cell that is shared by many parts would be mistaken for its twin,
    which is in one.

    Args:
        centroids: float32, (c, d).
    """
    rows = centroids.astype(np.float64)
    along = rows @ np.sin(np.arange(1, rows.shape[1] + 1))
    order = np.argsort(along, kind="stable")
    near = _EQUAL * max(float(np.abs(rows).max(initial=0)), 1e-30)
    stays, step = np.ones(len(rows), np.bool_), 1
    while step < len(rows):
        one, other = order[:-step], order[step:]
        close = np.abs(along[other] - along[one]) <= near * rows.shape[1]
        if not close.any():
            break
        one, other = one[close], other[close]
        equal = np.abs(rows[one] - rows[other]).max(axis=1) <= near
        stays[np.maximum(one, other)[equal]] = False
        step += 1
    return centroids[stays]


def find_crowded(
    to: npt.NDArray[np.int32], lag: npt.NDArray[np.float32], parts: int, part_points: int, each: float
) -> tuple[dict[int, float], int]:
    """Return how far visitors of crowded parts come from, by part, and how many points the largest part holds then.

    Args:
        to: int32, (m, visits): where the rows of a sample go, home first, -1 for none.
        lag: float32, (m, visits): how much farther than its own each cell is.
        parts: how many.
        part_points: points wanted per part.
        each: points that a row stands for.
    """
    inside = np.bincount(to[to >= 0], minlength=parts)
    most = max(MOST_TRAVEL * part_points / each, _CROWDED * inside.mean())
    reach: dict[int, float] = {}
    for part in np.flatnonzero(inside > most).tolist():
        visitors = np.sort(lag[:, 1:][to[:, 1:] == part])
        owned = int(inside[part]) - len(visitors)
        room = max(0, int(most) - owned)
        if room < len(visitors):
            stay = int(np.searchsorted(visitors, visitors[room]))  # none of those that are as far as the first one out
            reach[part] = float(visitors[stay - 1]) if stay else -1.0
            inside[part] = owned + stay
    if reach:
        log.info("%d parts would be crowded: only the nearest points visit them", len(reach))
    return reach, round(float(inside.max()) * each)
