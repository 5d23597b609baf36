"""Steps on lists of neighbours of which some rows are new or have lost entries: pure functions, compiled by numba.

``best`` and ``score`` are lists as in `subsel.embeddings.kernel`: int32 and float32, (n, k), rows in falling order of
score, equal scores by number. Places that are empty come last: -1, and what one must score more than to be there.
Functions with ``begin`` and ``end`` are for `subsel.threads.over_rows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled, inlined
from subsel.embeddings.compare import RUN, first_of, hits
from subsel.embeddings.kernel import _score_of
from subsel.embeddings.merge_kernel import _beats_last, _insert_at, _insert_in_order
from subsel.growing.ahead import ask_for
from subsel.growing.rows_kernel import widen_row


@inlined()
def _lists(best: Any, row: int, point: int) -> bool:
    found = False
    for a in range(best.shape[1]):
        found |= best[row, a] == point
    return found


@compiled(nogil=True)
def meet(
    block: Any, some: Any, rows: Any, mine: Any, floor: Any, first: int, hears: Any, best: Any, score: Any, heard: Any
) -> None:
    """Merge the scores of some points against a run of points into the lists of the former, and of who hears of it.

    Args:
        block: float32, (q, m): score of the i-th point against point ``first + j``.
        some: int64, (q,): which of ``rows`` the points are.
        rows: int64, (r,): numbers of points that do not hear.
        mine: their lists and the scores of these, (r, k), changed in place.
        floor: float32, (r,): what the last in each of their lists scores at least once those of all threads are
            merged, -inf at first; raised in place, by any thread.
        first: number of the run's first point.
        hears: bool, (n,): which points of the run are offered the others, too.
        best: lists of these, changed in place. Releases the GIL; two threads may merge different runs at once, each
            with lists of its own of the rows.
        score: their scores, changed in place.
        heard: bool, (n,): who has heard, whatever it was; marked in place.
    """
    own, value_of = mine
    last, m = best.shape[1] - 1, block.shape[1]
    least, tops = np.full(m, np.inf, np.float32), np.empty(2 * RUN, np.float32)
    for j in range(m):
        if hears[first + j]:
            least[j] = score[first + j, last]
    for i in range(block.shape[0]):
        at, scores = some[i], block[i]
        row, threshold = rows[at], max(value_of[at, last], floor[at])
        if threshold == -np.inf:
            threshold = _reached(scores, last + 2, tops)  # by so many others, and maybe by the point itself
        for begin in range(0, m, RUN):
            left = hits(scores, begin, threshold, least)
            while left:  # most runs have none
                place, left = first_of(left)
                j = begin + place
                other, value = first + j, scores[j]
                if other == row:
                    continue
                listed = value < threshold or _lists(own, at, other)
                if not listed and _beats_last(own, value_of, at, other, value):
                    _insert_in_order(own, value_of, at, other, value)
                    threshold = max(threshold, value_of[at, last])
                if hears[other] and _beats_last(best, score, other, row, value) and not _lists(best, other, row):
                    _insert_in_order(best, score, other, row, value)
                    least[j] = score[other, last]
                    heard[other] = True
        floor[at] = max(floor[at], threshold)


@inlined()
def _reached(scores: Any, count: int, tops: Any) -> Any:
    """Return what so many scores reach, float32: of the largest of each 32nd of them, or -inf; ``tops`` is scratch."""
    if count > RUN or len(scores) < 2 * RUN:
        return np.float32(-np.inf)
    for lane in range(RUN):
        tops[lane] = scores[lane]
    for begin in range(RUN, len(scores) - RUN + 1, RUN):
        for lane in range(RUN):
            tops[lane] = max(tops[lane], scores[begin + lane])
    for lane in range(RUN):  # the first of them in falling order
        value, at = tops[lane], RUN + min(lane, count)
        while at > RUN and tops[at - 1] < value:
            tops[at] = tops[at - 1]
            at -= 1
        tops[at] = value
    return tops[RUN + count - 1]


@compiled(nogil=True)
def rescore(
    begin: int, end: int, rows: Any, kept: Any, mine: Any, known: Any, number: Any, best: Any, score: Any, l2: bool
) -> None:
    """Compute the scores of pairs that were not known before, pair by pair, and sort rows; those of others stay.

    A matrix product's rounding depends on the product's shape; this does not.

    Args:
        begin: first of ``rows``.
        end: after the last.
        rows: int64, (m,): whose lists.
        kept: what `subsel.growing.rows_kernel.widen_row` takes first.
        mine: float32, (m, d): their vectors.
        known: int32, (m, k): what their lists named before.
        number: int32, (n + others,): which of these a point is, -1 for others.
        best: lists.
        score: of these, written.
        l2: score by negative squared distance instead of the inner product.
    """
    place, first, first_exponent, later, later_exponent, unit, center = kept
    other = np.empty((1, mine.shape[1]), np.float32)
    for at in range(begin, end):
        v = rows[at]
        for a in range(best.shape[1]):
            _ask_for_row(place, first, later, best[v, a])
        for a in range(best.shape[1]):
            j, value = best[v, a], score[v, a]
            if j < 0:
                continue  # it stays behind all others
            if j < len(best) and not _lists(known, at, j):
                if number[j] >= 0:
                    value = _score_of(mine, at, mine, number[j], l2)
                else:
                    widen_row(place, first, first_exponent, later, later_exponent, unit, center, j, other[0])
                    value = _score_of(mine, at, other, 0, l2)
            _insert_at(best, score, v, a, j, value)


@compiled(nogil=True)
def rescore_heard(
    heard: Any,
    hears: Any,
    first: int,
    there: Any,
    mine: Any,
    known: Any,
    number: Any,
    best: Any,
    score: Any,
    l2: bool,
) -> None:
    """Do what `rescore` does to the lists of those who heard of ``mine`` in one run of points.

    Args:
        heard: bool, (n,): who has.
        hears: bool, (n,): who may have; nobody whom ``number`` has: a smaller array to look at.
        first: number of the run's first point.
        there: float32, (c, d): the run's vectors.
        mine: see `rescore`; so are all others.
        known: of ``mine``.
        number: which of ``mine`` a point is.
        best: lists.
        score: of these, written. Releases the GIL; two threads may do different runs at once.
        l2: see `rescore`.
    """
    for i in range(len(there)):
        v = first + i
        if not heard[v]:
            continue
        for a in range(best.shape[1]):
            j, value = best[v, a], score[v, a]
            if j < 0:
                continue
            if j < len(best) and not hears[j] and number[j] >= 0 and not _lists(known, number[j], v):
                value = _score_of(there, i, mine, number[j], l2)
            _insert_at(best, score, v, a, j, value)


@compiled(nogil=True)
def look_around(  # noqa: PLR0917  (rows of threads come first)
    begin: int,
    end: int,
    rows: Any,
    kept: Any,
    best: Any,
    score: Any,
    home: Any,
    met: Any,
    gone: Any,
    hears: Any,
    l2: bool,
    slots: int,
    new_best: Any,
    new_score: Any,
    offered: Any,
    offer: Any,
    k: int,
) -> None:
    """Compare some points with the neighbours of their neighbours; lists are read, new ones written apart.

    Args:
        begin: first of ``rows``.
        end: after the last.
        rows: int64, (m,): the points.
        kept: what `subsel.growing.rows_kernel.widen_row` takes first.
        best: int32, (n, width); may list points that are gone, whose neighbours are looked at as well, and others that
            are not here (from n), which stay.
        score: float32, (n, width).
        home: int32, (n,): the cell of each point.
        met: int64, (m, p): cells all of whose points each of ``rows`` was compared with, -1 for none; p may be 0.
        gone: bool, (n + others,): who may be in no new list; (0,) where nobody is gone.
        hears: bool, (n,): to whom points are offered that belong in their lists.
        l2: score by negative squared distance instead of the inner product.
        slots: of the table of candidates, a power of two; half of it is filled at most.
        new_best: int32, (m, width), written.
        new_score: float32, (m, width), written.
        offered: int32, (m, c), written: points in whose lists the point belongs, -1 after the last; c may be 0.
        offer: float32, (m, c), written: their scores.
        k: entries of a list that are looked at; others are in reserve.
    """
    width = best.shape[1]
    place, first, first_exponent, later, later_exponent, unit, center = kept
    pair = np.empty((2, first.shape[1]), np.float32)
    seen = np.full(slots, -1, np.int32)
    stamp = np.full(slots, -1, np.int32)
    cell_met = np.full(home[-1] + 1 if len(home) else 0, -1, np.int32)  # for which row: home is ascending
    todo = np.empty(slots, np.int32)
    for at in range(begin, end):
        v, filled, count, found, some = rows[at], 0, 0, 0, len(gone) > 0
        for a in range(k if at + 1 < end else 0):
            j = best[rows[at + 1], a]
            if 0 <= j < len(best):
                ask_for(best, j)
        for a in range(width):
            new_best[at, a], new_score[at, a] = -1, -np.inf
        for c in range(offered.shape[1]):
            offered[at, c] = -1
        for a in range(width):  # what it has stays
            j = best[v, a]
            if j >= 0 and not (some and gone[j]):
                new_best[at, filled], new_score[at, filled] = j, score[v, a]
                filled += 1
        for a in range(met.shape[1]):
            if 0 <= met[at, a] < len(cell_met):
                cell_met[met[at, a]] = at
        room = slots // 2
        widen_row(place, first, first_exponent, later, later_exponent, unit, center, v, pair[0])
        for a in range(-1, width):
            j = v if a < 0 else best[v, a]
            if j >= 0:
                _note(seen, stamp, at, j)
                room -= 1
        for a in range(k):
            middle = best[v, a]
            if middle < 0 or middle >= len(best):
                continue
            for b in range(-1, k):
                j = middle if b < 0 else best[middle, b]
                if j < 0 or j >= len(best) or room == 0 or (some and gone[j]):
                    continue
                if cell_met[home[j]] == at or not _note(seen, stamp, at, j):
                    continue
                _ask_for_row(place, first, later, j)
                room -= 1
                todo[found] = j
                found += 1
        for i in range(found):
            j = todo[i]
            widen_row(place, first, first_exponent, later, later_exponent, unit, center, j, pair[1])
            value = _score_of(pair, 0, pair, 1, l2)
            if _beats_last(new_best, new_score, at, j, value):
                _insert_in_order(new_best, new_score, at, j, value)
            if hears[j] and count < offered.shape[1] and _beats_last(best, score, j, v, value):
                offered[at, count], offer[at, count] = j, value
                count += 1


@inlined()
def _ask_for_row(place: Any, first: Any, later: Any, v: int) -> None:
    """Ask for what `widen_row` reads of a row, if it is here."""
    if 0 <= v < len(place):
        if place[v] < len(first):
            ask_for(first, place[v])
        else:
            ask_for(later, place[v] - len(first))


@inlined()
def _note(seen: Any, stamp: Any, mark: int, point: int) -> bool:
    """Put a point into the set of a mark (open addressing; a slot counts if stamped so); return whether it was new."""
    slot = ((np.int64(point) * 2654435761) & 0xFFFFFFFF) % len(seen)
    while stamp[slot] == mark:
        if seen[slot] == point:
            return False
        slot = (slot + 1) % len(seen)
    stamp[slot] = mark
    seen[slot] = point
    return True


@compiled()
def take_offers(rows: Any, offered: Any, offer: Any, best: Any, score: Any) -> None:
    """Put points into the lists of those to whom they were offered, see `look_around`; in whatever order they come."""
    for at in range(len(rows)):
        for c in range(offered.shape[1]):
            j = offered[at, c]
            if j < 0:
                break
            v, value = rows[at], offer[at, c]
            if _beats_last(best, score, j, v, value) and not _lists(best, j, v):
                _insert_in_order(best, score, j, v, value)


@compiled()
def take_lists(rows: Any, other: Any, value: Any, best: Any, score: Any) -> None:
    """Merge lists that were found elsewhere into those of some points, in whatever order they come.

    Args:
        rows: int64, (m,): the points.
        other: int32, (m, w): whom the list found of each names; -1 for none.
        value: float32, (m, w): their scores.
        best: lists, changed in place.
        score: their scores, changed in place.
    """
    for at in range(len(rows)):
        v = rows[at]
        for a in range(other.shape[1]):
            j = other[at, a]
            if j >= 0 and _beats_last(best, score, v, j, value[at, a]) and not _lists(best, v, j):
                _insert_in_order(best, score, v, j, value[at, a])


@compiled(nogil=True)
def renumber(
    begin: int, end: int, number: Any, best: Any, score: Any, new_best: Any, new_score: Any, place: Any
) -> None:
    """Call neighbours by new numbers (int64, (n + others,), -1: gone); lists close up behind those that are gone.

    Whom a list does not name scores no more than its last entry did, which is noted in the places that are empty now.

    Args:
        begin: first row.
        end: after the last.
        number: see above.
        best: lists.
        score: of these.
        new_best: where they are written.
        new_score: likewise.
        place: int64, (n,): which row a list becomes; -1: none.
    """
    for v in range(begin, end):
        to, filled, last = place[v], 0, score[v, best.shape[1] - 1]
        if to < 0:
            continue
        for a in range(best.shape[1]):
            j = number[best[v, a]] if best[v, a] >= 0 else -1
            if j >= 0:
                new_best[to, filled], new_score[to, filled] = j, score[v, a]
                filled += 1
        for a in range(filled, best.shape[1]):
            new_best[to, a], new_score[to, a] = -1, last


@compiled(nogil=True)
def falls_short(begin: int, end: int, gone: Any, best: Any, least: int, out: Any) -> None:
    """Say whose lists name points that are gone, and fewer than ``least`` others: bool, (n,), into ``out``."""
    for v in range(begin, end):
        named = left = 0
        for a in range(best.shape[1]):
            if best[v, a] >= 0:
                named += 1
                left += not gone[best[v, a]]
        out[v] = left < named and left < least
