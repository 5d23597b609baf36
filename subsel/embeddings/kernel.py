"""Neighbour search on one part: exact scores, neighbour-of-neighbour refinement, symmetrisation.

Pure functions on arrays; compiled by numba. ``best`` and ``score`` are lists as in `subsel.embeddings.merge_kernel`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.compiling import compiled, inlined, inner
from subsel.embeddings import lists_kernel as lists
from subsel.embeddings.merge_kernel import _insert, _insert_at, _probes
from subsel.halves import from_bits
from subsel.threads import over_rows

#: Reverse neighbours looked at per point while refining; hubs have many more, and none of their own needs.
MAX_REVERSE = 20
#: Slots of the table that remembers which candidates of a point were scored: at least so many, a power of two.
MIN_SEEN_SLOTS = 2048


@inner(fastmath={"reassoc", "contract"})
def _score(X: Any, a: int, b: int, l2: bool) -> Any:
    """Score two points; the same bits for (a, b) and (b, a)."""
    return _score_of(X, a, X, b, l2)


@inner(fastmath={"reassoc", "contract"})
def _score_of(X: Any, a: int, Y: Any, b: int, l2: bool) -> Any:
    """Score a row with one that may be of another array, (m, d); the same bits either way round.

    A function of its own, not written into its callers (``inline``), where it would lose ``fastmath``.
    """
    total = np.float32(0)
    if l2:
        for d in range(X.shape[1]):
            difference = X[a, d] - Y[b, d]
            total += difference * difference
        return -total
    for d in range(X.shape[1]):
        total += X[a, d] * Y[b, d]
    return total


@inner(fastmath={"reassoc", "contract"})
def _half_score(mine: Any, halves: Any, j: int, l2: bool) -> Any:
    """Score a row, float32, (d,), with one that is kept as halves, as they are: near enough to look for neighbours."""
    total = np.float32(0)
    if l2:
        for d in range(len(mine)):
            difference = mine[d] - from_bits(halves[j, d])
            total += difference * difference
        return -total
    for d in range(len(mine)):
        total += mine[d] * from_bits(halves[j, d])
    return total


def rescore(X: Any, best: Any, score: Any, l2: bool) -> None:
    """Replace scores by those of `_score`, and sort each row by falling score, equal scores by number.

    A matrix product's rounding depends on the product's shape; this does not.
    """
    over_rows(_rescore, len(best), X, best, score, l2)


@compiled(nogil=True)
def _rescore(begin: int, end: int, X: Any, best: Any, score: Any, l2: bool) -> None:
    for v in range(begin, end):
        for a in range(best.shape[1]):
            j, value = best[v, a], np.float32(-np.inf)
            if j >= 0:
                value = _score(X, v, j, l2)
            _insert_at(best, score, v, a, j, value)


@compiled(parallel=True)
def score_pairs(X: Any, l2: bool) -> Any:
    """Score each row of the first half of X, (2 m, d), with that of the second: float32, (m,), by `_score`."""
    m = len(X) // 2
    out = np.empty(m, np.float32)
    for pair in numba.prange(m):
        out[pair] = _score(X, pair, m + pair, l2)
    return out


@compiled()
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


@compiled(parallel=True)
def descend(
    X: Any,
    best: Any,
    score: Any,
    reverse: Any,
    fresh: Any,
    improved: Any,
    l2: bool,
    slots: int,
    new: Any,
    halves: Any,
    probes: Any,
) -> Any:
    """One pass of neighbour-of-neighbour refinement (NN-descent, Dong et al. 2011), reading old, writing new.

    Candidates of v are the neighbours of its neighbours and of its reverse neighbours. Pairs of edges that
    are both older than the last pass were looked at then and are passed over; so are points that have met.

    Args:
        X: float32, (n, d), rows in an order in which near points are near; (0, d) where they are halves.
        best, score: neighbours so far, scored by `_score`.
        reverse: see `reverse_lists`.
        fresh: bool, (n, k): entries that the last pass found (all, before the first pass).
        improved: bool, (n,): whose lists are refined; the others stay as they are.
        l2: score by negative squared distance instead of the inner product.
        slots: of the table of candidates, a power of two; half of it is filled at most, then a point has had enough.
        new: lists, their scores, and which entries this pass found: written.
        halves: uint16, (n, d) or (0, d), and float32, (n,) or (0,): rows as the bits of float16, and what these are
            multiplied by; their scores are by `_half_score`.
        probes: int32, (n, p): the cells that each point probes, its own first; two points have met if either probes
            the other's cell. (n, 0): nobody has.

    Returns:
        int, entries that changed.
    """
    n, k = best.shape
    width = reverse.shape[1]
    bits, factor = halves
    new_best, new_score, new_fresh = new
    chunk = 256
    shift = 32
    while (1 << (32 - shift)) < slots:
        shift -= 1
    changed = np.zeros((n + chunk - 1) // chunk, np.int64)
    for c in numba.prange((n + chunk - 1) // chunk):
        seen = np.full(slots, -1, np.int32)
        stamp = np.full(slots, -1, np.int32)
        mine = np.empty(bits.shape[1], np.float32)
        for v in range(c * chunk, min(n, (c + 1) * chunk)):
            for a in range(k):
                new_best[v, a], new_score[v, a], new_fresh[v, a] = best[v, a], score[v, a], False
            if not improved[v]:
                continue
            if len(bits):
                for d in range(bits.shape[1]):
                    mine[d] = from_bits(bits[v, d])
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
                    if _met(probes, v, j):
                        continue
                    if len(bits):
                        value = _half_score(mine, bits, j, l2) * (factor[v] * factor[j])
                    else:
                        value = _score(X, v, j, l2)
                    last, last_score = new_best[v, k - 1], new_score[v, k - 1]
                    if value > last_score or (value == last_score and j < last):
                        at = _insert(new_best, new_score, v, j, value)
                        for later in range(k - 1, at, -1):
                            new_fresh[v, later] = new_fresh[v, later - 1]
                        new_fresh[v, at] = True
                        changed[c] += 1
    return changed.sum()


@inlined()
def _met(probes: Any, one: int, other: int) -> bool:
    if probes.shape[1] == 0:
        return False
    home, there = probes[one, 0], probes[other, 0]
    return bool(home == there or _probes(probes, one, there) or _probes(probes, other, home))


@inlined()
def _is_fresh(best: Any, fresh: Any, row: int, point: int) -> bool:
    for a in range(best.shape[1]):
        if best[row, a] == point:
            return bool(fresh[row, a])
    return False


@inlined()
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
    n = len(best)
    starts = np.zeros(n + 2, np.int64)  # moved by one place: filling moves them back
    lists.count_askers(best, starts)
    np.cumsum(starts, out=starts)
    askers, asked = np.empty(starts[-1], np.int32), np.empty(starts[-1], similarity.dtype)
    lists.put_askers(best, similarity, starts, askers, asked)
    indptr = np.zeros(n + 1, np.int64)
    over_rows(lists.count_union, n, best, starts, askers, indptr, scratch=lambda: np.full(n, -1, np.int32))
    np.cumsum(indptr, out=indptr)
    indices, values = np.empty(indptr[n], np.int32), np.empty(indptr[n], similarity.dtype)
    about = best, similarity, starts, askers, asked, indptr, indices, values
    over_rows(lists.put_union, n, *about, scratch=lambda: np.empty(best.shape[1], np.int64))
    return indptr, indices, values
