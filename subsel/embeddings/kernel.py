"""Neighbour search on one part: merging cell by cell, neighbour-of-neighbour refinement, symmetrisation.

Pure functions on arrays; compiled by numba. ``best`` and ``score`` are a running top-k: int32 and
float32, (n, k), rows in falling order of score, empty places -1 and -inf. Scores are larger for nearer
points; see `subsel.embeddings.metrics`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.embeddings import lists_kernel as lists
from subsel.threads import over_rows

#: Reverse neighbours looked at per point while refining; hubs have many more, and none of their own needs.
MAX_REVERSE = 20
#: Slots of the table that remembers which candidates of a point were scored: at least so many, a power of two.
MIN_SEEN_SLOTS = 2048
#: Scores that are compared at once while merging.
_RUN = 32
#: Which of them are worth a look, as bits; and where the only bit of 32 stands, by a product (Leiserson et al. 1998).
_BITS = (np.uint32(1) << np.arange(_RUN, dtype=np.uint32)).view(np.int32)
_DE_BRUIJN = np.uint32(0x077CB531)
_PLACES = np.empty(_RUN, np.int64)
_PLACES[(_BITS.view(np.uint32) * _DE_BRUIJN) >> np.uint32(27)] = np.arange(_RUN)


@numba.njit(cache=True, inline="always")
def _insert(best: Any, score: Any, row: int, candidate: int, value: float) -> Any:
    """Insert a candidate that beats the row's last entry and is not in the row; return its place."""
    at = best.shape[1] - 1
    while at > 0 and score[row, at - 1] < value:
        best[row, at], score[row, at] = best[row, at - 1], score[row, at - 1]
        at -= 1
    best[row, at], score[row, at] = candidate, value
    return at


@numba.njit(cache=True, nogil=True)
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
    full = m // _RUN * _RUN
    for i in range(block.shape[0]):
        row, scores = queries[i], block[i]
        threshold = score[row, k - 1]
        for begin in range(0, full, _RUN):
            hits = np.int32(0)
            for j in range(_RUN):  # vector instructions
                hits += np.int32(scores[begin + j] > threshold)
            if hits:  # most runs have none
                for j in range(begin, begin + _RUN):
                    if scores[j] > threshold:
                        _insert(best, score, row, first + j, scores[j])
                        threshold = score[row, k - 1]
        for j in range(full, m):
            if scores[j] > threshold:
                _insert(best, score, row, first + j, scores[j])
                threshold = score[row, k - 1]


@numba.njit(cache=True, nogil=True)
def merge_both(block: Any, queries: Any, first: int, probes: Any, best: Any, score: Any) -> None:
    """Merge the scores of some points against the points of a cell that they probe into the running top-k of both.

    A pair whose ends probe each other's cells is in two products, and counts in one of them. Equal scores are in the
    order of the points' numbers, so the order in which products are merged does not matter.

    Args:
        block: float32, (q, m): score of point ``queries[i]`` against point ``first + j``.
        queries: int32, (q,): all of other cells, or of the same one.
        first: number of the first point of the run, which is in one cell.
        probes: int32, (n, p): the cells that each point probes, its own first.
        best: running top-k, changed in place. Releases the GIL; two threads may merge different points at once.
        score: its scores, changed in place.
    """
    k = best.shape[1]
    m = block.shape[1]
    least = score[first : first + m, k - 1].copy()  # what the run's points have last
    cell = probes[first, 0]
    for i in range(block.shape[0]):
        row, scores = queries[i], block[i]
        home = probes[row, 0]
        threshold = score[row, k - 1]
        for begin in range(0, m, _RUN):
            hits = np.int32(0)
            if m - begin >= _RUN:
                for j in range(_RUN):  # vector instructions
                    hits |= _BITS[j] * np.int32(scores[begin + j] >= min(threshold, least[begin + j]))
            else:
                for j in range(m - begin):
                    hits |= _BITS[j] * np.int32(scores[begin + j] >= min(threshold, least[begin + j]))
            left = np.int64(np.uint32(hits))
            while left:  # few runs have any
                lowest = np.uint32(left & -left)
                left &= left - 1
                j = begin + _PLACES[np.uint32(lowest * _DE_BRUIJN) >> 27]
                value, other = scores[j], first + j
                if other <= row if home == cell else home > cell and _probes(probes, other, home):
                    continue
                if _beats_last(best, score, row, other, value):
                    _insert_in_order(best, score, row, other, value)
                    threshold = score[row, k - 1]
                if _beats_last(best, score, other, row, value):
                    _insert_in_order(best, score, other, row, value)
                    least[j] = score[other, k - 1]


@numba.njit(cache=True, inline="always")
def _beats_last(best: Any, score: Any, row: int, candidate: int, value: float) -> bool:
    last = best.shape[1] - 1
    return bool(value > score[row, last] or (value == score[row, last] and candidate < best[row, last]))


@numba.njit(cache=True, inline="always")
def _insert_in_order(best: Any, score: Any, row: int, candidate: int, value: float) -> None:
    """Insert a candidate that beats the row's last entry, equal scores by number."""
    _insert_at(best, score, row, best.shape[1] - 1, candidate, value)


@numba.njit(cache=True, inline="always")
def _insert_at(best: Any, score: Any, row: int, at: int, candidate: int, value: Any) -> None:
    """Put a candidate where it belongs among a row's first entries, which are in order, instead of entry ``at``."""
    while at > 0 and (score[row, at - 1] < value or (score[row, at - 1] == value and best[row, at - 1] > candidate)):
        best[row, at], score[row, at] = best[row, at - 1], score[row, at - 1]
        at -= 1
    best[row, at], score[row, at] = candidate, value


@numba.njit(cache=True)
def askers_by_cell(probes: Any, n_cells: int) -> Any:
    """Return which points probe each cell beside their own: int64, (n_cells+1,), and int32, ascending in each run."""
    n, p = probes.shape
    starts = np.zeros(n_cells + 2, np.int64)  # moved by one place, since filling moves them back
    for v in range(n):
        for a in range(1, p):
            if probes[v, a] >= 0:
                starts[probes[v, a] + 2] += 1
    for cell in range(n_cells):
        starts[cell + 2] += starts[cell + 1]
    rows = np.empty(starts[n_cells + 1], np.int32)
    for v in range(n):
        for a in range(1, p):
            cell = probes[v, a]
            if cell >= 0:
                rows[starts[cell + 1]] = v
                starts[cell + 1] += 1
    return starts[:-1], rows


@numba.njit(cache=True, inline="always")
def _probes(probes: Any, point: int, cell: int) -> bool:
    """Whether a point probes a cell that is not its own."""
    found = False
    for at in range(1, probes.shape[1]):
        found |= probes[point, at] == cell
    return found


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _score(X: Any, a: int, b: int, l2: bool) -> Any:
    """Score two points; the same bits for (a, b) and (b, a).

    A function of its own, not written into its callers (``inline``), where it would lose ``fastmath``.
    """
    total = np.float32(0)
    if l2:
        for d in range(X.shape[1]):
            difference = X[a, d] - X[b, d]
            total += difference * difference
        return -total
    for d in range(X.shape[1]):
        total += X[a, d] * X[b, d]
    return total


def rescore(X: Any, best: Any, score: Any, l2: bool) -> None:
    """Replace scores by those of `_score`, and sort each row by falling score, equal scores by number.

    A matrix product's rounding depends on the product's shape; this does not.
    """
    over_rows(_rescore, len(best), X, best, score, l2)


@numba.njit(cache=True, nogil=True)
def _rescore(begin: int, end: int, X: Any, best: Any, score: Any, l2: bool) -> None:
    for v in range(begin, end):
        for a in range(best.shape[1]):
            j, value = best[v, a], np.float32(-np.inf)
            if j >= 0:
                value = _score(X, v, j, l2)
            _insert_at(best, score, v, a, j, value)


@numba.njit(cache=True, parallel=True)
def score_pairs(X: Any, l2: bool) -> Any:
    """Score each row of the first half of X, (2 m, d), with that of the second: float32, (m,), by `_score`."""
    m = len(X) // 2
    out = np.empty(m, np.float32)
    for pair in numba.prange(m):
        out[pair] = _score(X, pair, m + pair, l2)
    return out


@numba.njit(cache=True)
def reverse_lists(best: Any, width: int) -> Any:
    """Return up to ``width`` points that have each point among their neighbours, best placed first.

    Returns:
        int32, (n, width); empty places -1.
    """
    n, k = best.shape
    reverse = np.full((n, width), -1, np.int32)
    filled = np.zeros(n, np.int32)
    for a in range(k):  # by place in the list: a reverse neighbour's first choices come first
        for v in range(n):
            j = best[v, a]
            if j >= 0 and filled[j] < width:
                reverse[j, filled[j]] = v
                filled[j] += 1
    return reverse


@numba.njit(cache=True, parallel=True)
def descend(
    X: Any,
    best: Any,
    score: Any,
    reverse: Any,
    fresh: Any,
    improved: Any,
    l2: bool,
    slots: int,
    new_best: Any,
    new_score: Any,
    new_fresh: Any,
) -> Any:
    """One pass of neighbour-of-neighbour refinement (NN-descent, Dong et al. 2011), reading old, writing new.

    Candidates of v are the neighbours of its neighbours and of its reverse neighbours. Pairs of edges that
    are both older than the last pass were looked at then and are passed over.

    Args:
        X: float32, (n, d), rows in an order in which near points are near.
        best, score: neighbours so far, scored by `_score`.
        reverse: see `reverse_lists`.
        fresh: bool, (n, k): entries that the last pass found (all, before the first pass).
        improved: bool, (n,): whose lists are refined; the others stay as they are.
        l2: score by negative squared distance instead of the inner product.
        slots: of the table of candidates, a power of two; half of it is filled at most, then a point has had enough.
        new_best, new_score, new_fresh: written.

    Returns:
        int, entries that changed.
    """
    n, k = best.shape
    width = reverse.shape[1]
    chunk = 256
    shift = 32
    while (1 << (32 - shift)) < slots:
        shift -= 1
    changed = np.zeros((n + chunk - 1) // chunk, np.int64)
    for c in numba.prange((n + chunk - 1) // chunk):
        seen = np.full(slots, -1, np.int32)
        stamp = np.full(slots, -1, np.int32)
        for v in range(c * chunk, min(n, (c + 1) * chunk)):
            for a in range(k):
                new_best[v, a], new_score[v, a], new_fresh[v, a] = best[v, a], score[v, a], False
            if not improved[v]:
                continue
            room = slots // 2
            for a in range(-1, k):  # what v has already, and v itself
                j = v if a < 0 else best[v, a]
                if j >= 0:
                    _remember(seen, stamp, shift, v, j)
                    room -= 1
            for a in range(k + width):
                middle = best[v, a] if a < k else reverse[v, a - k]
                if middle < 0:
                    continue
                first_fresh = fresh[v, a] if a < k else _is_fresh(best, fresh, middle, v)
                for b in range(k):
                    j = best[middle, b]
                    if j < 0 or not (first_fresh or fresh[middle, b]) or room == 0:
                        continue
                    if not _remember(seen, stamp, shift, v, j):
                        continue
                    room -= 1
                    value = _score(X, v, j, l2)
                    last, last_score = new_best[v, k - 1], new_score[v, k - 1]
                    if value > last_score or (value == last_score and j < last):
                        at = _insert(new_best, new_score, v, j, value)
                        for later in range(k - 1, at, -1):
                            new_fresh[v, later] = new_fresh[v, later - 1]
                        new_fresh[v, at] = True
                        changed[c] += 1
    return changed.sum()


@numba.njit(cache=True, inline="always")
def _is_fresh(best: Any, fresh: Any, row: int, point: int) -> bool:
    for a in range(best.shape[1]):
        if best[row, a] == point:
            return bool(fresh[row, a])
    return False


@numba.njit(cache=True, inline="always")
def _remember(seen: Any, stamp: Any, shift: int, v: int, j: int) -> bool:
    """Put j into v's set (open addressing; a slot counts if stamped v); return whether it was new."""
    slot = ((np.int64(j) * 2654435761) & 0xFFFFFFFF) >> shift  # the top bits of 32
    while stamp[slot] == v:
        if seen[slot] == j:
            return False
        slot = (slot + 1) & (len(seen) - 1)
    stamp[slot] = v
    seen[slot] = j
    return True


def symmetrize(best: Any, similarity: Any) -> Any:
    """Return the union of directed neighbour lists as a symmetric CSR matrix; the larger similarity counts.

    Args:
        best: int32, (n, k): neighbours, no repeats in a row, no self; -1 for none.
        similarity: float32 or float64, (n, k).

    Returns:
        indptr (int64, (n+1,)), indices (int32, (m,), ascending in each row), similarity ((m,)).
    """
    n, k = best.shape
    back = np.empty((n, k), np.int32)
    indptr = np.zeros(n + 1, np.int64)
    over_rows(lists.look_back, n, best, back, indptr)
    end = np.zeros(n, np.int64)
    lists.count_askers(best, back, end)
    indptr[1:] += end
    np.cumsum(indptr, out=indptr)
    end[:] = indptr[:-1]
    indices, values = np.empty(indptr[n], np.int32), np.empty(indptr[n], similarity.dtype)
    lists.put_askers(best, back, similarity, end, indices, values)
    over_rows(lists.put_own, n, best, back, similarity, indptr, end, indices, values)
    return indptr, indices, values
