"""Steps that take a graph's parts apart and make edges of lists: pure functions, compiled by numba.

``best`` and ``score`` are lists as in `subsel.growing.kernel`.
"""

from __future__ import annotations

from typing import Any

from subsel.compiling import compiled


@compiled(nogil=True)
def who_else(rows: Any, best: Any, number: Any, out: Any) -> int:
    """Write whom the lists of some points name beside these, each once, and return how many that are.

    Args:
        rows: int64, (m,): the points.
        best: lists.
        number: int32, (n + others,): -1 but for these points; -2 is written for whom is found.
        out: int32, (n + others,), written.
    """
    count = 0
    for v in rows:
        for a in range(best.shape[1]):
            j = best[v, a]
            if j >= 0 and number[j] == -1:
                number[j], out[count] = -2, j
                count += 1
    return count


@compiled(nogil=True)
def copy_lists(rows: Any, number: Any, best: Any, score: Any, new_best: Any, new_score: Any) -> None:
    """Write the lists of some points, int64, (m,), by other numbers, int32, (n + others,): (m, k) each."""
    for at in range(len(rows)):
        v = rows[at]
        for a in range(best.shape[1]):
            j = best[v, a]
            new_best[at, a], new_score[at, a] = number[j] if j >= 0 else -1, score[v, a]


@compiled(nogil=True)
def edges(best: Any, score: Any, k: int, own: Any, other: Any, most: Any) -> int:
    """Write the pairs of lists, each once, by its first end with the larger score of both; return how many they are.

    Args:
        best: lists; of points that are not here (from n) there are none.
        score: of these.
        k: entries of a list that are pairs.
        own: int32, (n * k,), written: whose list names ``other``, ascending.
        other: int32, (n * k,), written.
        most: float32, (n * k,), written.
    """
    count = 0
    for v in range(len(best)):
        for a in range(k):
            j, value, there = best[v, a], score[v, a], False
            if j < 0:
                continue
            if j < len(best):
                for b in range(k):
                    if best[j, b] == v:
                        there, value = True, max(value, score[j, b])
            if not there or v < j:
                own[count], other[count], most[count] = v, j, value
                count += 1
    return count
