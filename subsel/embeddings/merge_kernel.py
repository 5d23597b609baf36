"""Merging scores into lists of neighbours.

Pure functions on arrays; compiled by numba. ``best`` and ``score`` are a running top-k: int32 and
float32, (n, k), rows in falling order of score, empty places -1 and -inf. Scores are larger for nearer
points; see `subsel.embeddings.metrics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled, inlined
from subsel.embeddings.compare import RUN, first_of, hits


@inlined()
def _insert(best: Any, score: Any, row: int, candidate: int, value: float) -> Any:
    """Insert a candidate that beats the row's last entry and is not in the row; return its place."""
    at = best.shape[1] - 1
    while at > 0 and score[row, at - 1] < value:
        best[row, at], score[row, at] = best[row, at - 1], score[row, at - 1]
        at -= 1
    best[row, at], score[row, at] = candidate, value
    return at


@compiled(nogil=True)
def merge_among(block: Any, queries: Any, first: int, best: Any, score: Any) -> None:
    """Merge the scores of some queries against a run of points into the running top-k.

    Args:
        block: float32, (q, m): score of query i against point ``first + j``.
        queries: int32 or int64, (q,): rows of ``best``; all different.
        first: number of the run's first point.
        best: running top-k, changed in place. Releases the GIL; two threads may merge different queries at once.
        score: its scores, changed in place.
    """
    k = best.shape[1]
    m = block.shape[1]
    for i in range(block.shape[0]):
        row, scores = queries[i], block[i]
        threshold = score[row, k - 1]
        for begin in range(0, m, RUN):
            left = hits(scores, begin, threshold)
            while left:  # most runs have none
                place, left = first_of(left)
                j = begin + place
                if scores[j] > threshold:
                    _insert(best, score, row, first + j, scores[j])
                    threshold = score[row, k - 1]


@compiled(nogil=True)
def merge_both(block: Any, queries: Any, first: int, probes: Any, least: Any, best: Any, score: Any) -> None:
    """Merge the scores of some points against the points of a cell that they probe into the running top-k of both.

    A pair whose ends probe each other's cells is in two products, and counts in one of them. Equal scores are in the
    order of the points' numbers, so the order in which products are merged does not matter.

    Args:
        block: float32, (q, m): score of point ``queries[i]`` against point ``first + j``.
        queries: int32, (q,): all of other cells, or of the same one.
        first: number of the first point of the run, which is in one cell.
        probes: int32, (n, p): the cells that each point probes, its own first.
        least: float32, (m,): the last score that the run's points have, changed in place.
        best: running top-k, changed in place. Releases the GIL; two threads may merge different points at once.
        score: its scores, changed in place.
    """
    k = best.shape[1]
    m = block.shape[1]
    cell = probes[first, 0]
    for i in range(block.shape[0]):
        row, scores = queries[i], block[i]
        home = probes[row, 0]
        threshold = score[row, k - 1]
        for begin in range(0, m, RUN):
            left = hits(scores, begin, threshold, least)
            while left:  # few runs have any
                place, left = first_of(left)
                j = begin + place
                value, other = scores[j], first + j
                if other <= row if home == cell else home > cell and _probes(probes, other, home):
                    continue
                one: Any = np.int64(row)
                two: Any = other
                for _ in range(2):  # both ends, in one copy of the code
                    if _beats_last(best, score, one, two, value):
                        _insert_in_order(best, score, one, two, value)
                    one, two = two, one
                threshold, least[j] = score[row, k - 1], score[other, k - 1]


@inlined()
def _beats_last(best: Any, score: Any, row: int, candidate: int, value: float) -> bool:
    last = best.shape[1] - 1
    return bool(value > score[row, last] or (value == score[row, last] and candidate < best[row, last]))


@inlined()
def _insert_in_order(best: Any, score: Any, row: int, candidate: int, value: float) -> None:
    """Insert a candidate that beats the row's last entry, equal scores by number."""
    _insert_at(best, score, row, best.shape[1] - 1, candidate, value)


@inlined()
def _insert_at(best: Any, score: Any, row: int, at: int, candidate: int, value: Any) -> None:
    """Put a candidate where it belongs among a row's first entries, which are in order, instead of entry ``at``."""
    while at > 0 and (score[row, at - 1] < value or (score[row, at - 1] == value and best[row, at - 1] > candidate)):
        best[row, at], score[row, at] = best[row, at - 1], score[row, at - 1]
        at -= 1
    best[row, at], score[row, at] = candidate, value


def askers_by_cell(probes: Any, n_cells: int) -> Any:
    """Return which points probe each cell beside their own: int64, (n_cells+1,), and int32, ascending in each run."""
    starts = np.zeros(n_cells + 2, np.int64)  # moved by one place, since filling moves them back
    for cells in probes.T[1:]:
        starts[2:] += np.bincount(cells[cells >= 0], minlength=n_cells)
    np.cumsum(starts, out=starts)
    rows = np.empty(starts[-1], np.int32)
    _put_askers(probes, starts, rows)
    return starts[:-1], rows


@compiled()
def _put_askers(probes: Any, starts: Any, rows: Any) -> None:
    for v in range(probes.shape[0]):
        for a in range(1, probes.shape[1]):
            cell = probes[v, a]
            if cell >= 0:
                rows[starts[cell + 1]] = v
                starts[cell + 1] += 1


@inlined()
def _probes(probes: Any, point: int, cell: int) -> bool:
    """Whether a point probes a cell that is not its own."""
    found = False
    for at in range(1, probes.shape[1]):
        found |= probes[point, at] == cell
    return found
