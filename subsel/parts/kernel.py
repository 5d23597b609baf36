"""Merging neighbour lists and ordering half-edges inside one part. Pure functions on arrays; compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled, inner

#: Rows of at most so many entries are sorted by insertion alone.
_SHORT = 64


@compiled()
def merge_lists(row: Any, other: Any, other_part: Any, score: Any, best: Any, best_part: Any, best_score: Any) -> None:
    """Merge lists of neighbours into the running top-k of their points; a neighbour found several times counts once.

    Args:
        row: int64, (m,): rows of ``best``, repeats allowed.
        other: int64, (m, k): codes of each list's neighbours, those of falling score first.
        other_part: int32, (m, k): the parts in which they live.
        score: float32, (m, k): -inf from where there are no more.
        best: int64, (n, k): running top-k, changed in place: codes in falling order of score, equal ones by code.
        best_part: int32, (n, k), changed in place.
        best_score: float32, (n, k), changed in place; -inf where there is none yet.
    """
    k = best.shape[1]
    for i in range(len(row)):
        v = row[i]
        for j in range(score.shape[1]):
            value, code = score[i, j], other[i, j]
            if value == -np.inf or value < best_score[v, k - 1]:
                break  # nor do those that follow
            last = k - 1  # the place that is given up
            for at in range(k):
                if best_score[v, at] > -np.inf and best[v, at] == code:
                    last = at if value > best_score[v, at] else -1
            if last < 0 or (value == best_score[v, last] and code >= best[v, last]):
                continue
            at = last
            while at > 0 and (
                best_score[v, at - 1] < value or (best_score[v, at - 1] == value and best[v, at - 1] > code)
            ):
                best[v, at], best_part[v, at] = best[v, at - 1], best_part[v, at - 1]
                best_score[v, at] = best_score[v, at - 1]
                at -= 1
            best[v, at], best_part[v, at], best_score[v, at] = code, other_part[i, j], value


@compiled()
def order_by_row(row: Any, n: int, value: Any) -> Any:
    """Return the order of entries by row, and inside a row by value, equals as they came: what `numpy.lexsort` does.

    Rows are counted, not compared, and most are short, so it takes a fraction of the time.

    Args:
        row: int64, (m,), from 0 to n-1.
        n: number of rows.
        value: int64, (m,).
    """
    fill = np.zeros(n + 1, np.int64)
    for r in row:
        fill[r + 1] += 1
    fill = np.cumsum(fill)
    order, values = np.empty(len(row), np.int64), np.empty(len(row), np.int64)
    for entry in range(len(row)):
        at = fill[row[entry]]
        order[at], values[at] = entry, value[entry]
        fill[row[entry]] += 1
    for r in range(n):  # a row begins where the one before it ends now
        begin, end = fill[r - 1] if r else 0, fill[r]
        _sort_row(values[begin:end], order[begin:end])
    return order


@inner()
def _sort_row(values: Any, order: Any) -> None:
    """Sort the entries of a row by value, equals by entry (Shell 1959): see `subsel.threads.sort`."""
    gap = 1
    while len(values) > _SHORT * gap:
        gap = 3 * gap + 1
    while gap > 0:
        for place in range(gap, len(values)):
            value, entry, at = values[place], order[place], place
            while at >= gap and (values[at - gap] > value or (values[at - gap] == value and order[at - gap] > entry)):
                values[at], order[at] = values[at - gap], order[at - gap]
                at -= gap
            values[at], order[at] = value, entry
        gap //= 3


@compiled()
def find(codes: Any, wanted: Any, places: Any) -> int:
    """Find codes among others; return how many are not there.

    Codes are hashes: where one is follows from its highest bits but for a step or two, which a binary search of all
    takes for each of its bits.

    Args:
        codes: int64, (n,), ascending.
        wanted: int64, (m,).
        places: int64, (m,), written: where each is, -1 where it is not.
    """
    bits = 1
    while (1 << bits) < len(codes):
        bits += 1
    shift, sign = np.uint64(64 - bits), np.uint64(1) << np.uint64(63)  # in the order of signed numbers
    starts = np.zeros((1 << bits) + 1, np.int64)
    for code in codes:
        starts[np.int64((np.uint64(code) ^ sign) >> shift) + 1] += 1
    for one in range(1 << bits):
        starts[one + 1] += starts[one]
    missing = 0
    for i in range(len(wanted)):
        code = wanted[i]
        bucket = np.int64((np.uint64(code) ^ sign) >> shift)
        low, high = starts[bucket], starts[bucket + 1]
        while low < high:
            middle = (low + high) // 2
            if codes[middle] < code:
                low = middle + 1
            else:
                high = middle
        if low < starts[bucket + 1] and codes[low] == code:
            places[i] = low
        else:
            places[i] = -1
            missing += 1
    return missing
