"""Merging neighbour lists and ordering half-edges inside one part. Pure functions on arrays; compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled

#: Rows of at most so many entries are sorted by insertion.
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
    ends = np.zeros(n + 1, np.int64)
    for r in row:
        ends[r + 1] += 1
    ends = np.cumsum(ends)
    order, fill = np.empty(len(row), np.int64), ends[:-1].copy()
    for entry in range(len(row)):
        order[fill[row[entry]]] = entry
        fill[row[entry]] += 1
    for r in range(n):
        begin, end = ends[r], ends[r + 1]
        if end - begin > _SHORT:
            entries = order[begin:end].copy()
            order[begin:end] = entries[np.argsort(value[entries], kind="mergesort")]
            continue
        for place in range(begin + 1, end):
            entry = order[place]
            at = place
            while at > begin and value[order[at - 1]] > value[entry]:
                order[at] = order[at - 1]
                at -= 1
            order[at] = entry
    return order
