"""The steps that make a symmetric graph of directed neighbour lists, see `subsel.embeddings.kernel.symmetrize`.

Pure functions on arrays; compiled by numba. Those with ``begin`` and ``end`` are for `subsel.threads.over_rows`.
"""

from __future__ import annotations

from typing import Any

import numba


@numba.njit(cache=True, nogil=True)
def look_back(begin: int, end: int, best: Any, back: Any, indptr: Any) -> None:
    """Note in which place each neighbour lists the point, -1 for none; and how many neighbours the point lists."""
    for v in range(begin, end):
        for a in range(best.shape[1]):
            j, back[v, a] = best[v, a], -1
            if j >= 0:
                indptr[v + 1] += 1
                for b in range(best.shape[1]):
                    if best[j, b] == v:
                        back[v, a] = b
                        break


@numba.njit(cache=True)
def count_askers(best: Any, back: Any, askers: Any) -> None:
    """Count who lists each point without being listed."""
    for v in range(best.shape[0]):
        for a in range(best.shape[1]):
            if best[v, a] >= 0 and back[v, a] < 0:
                askers[best[v, a]] += 1


@numba.njit(cache=True)
def put_askers(best: Any, back: Any, similarity: Any, end: Any, indices: Any, values: Any) -> None:
    """Write who lists each point without being listed, ascending; move the ends of its row."""
    for v in range(best.shape[0]):
        for a in range(best.shape[1]):
            j = best[v, a]
            if j >= 0 and back[v, a] < 0:
                indices[end[j]], values[end[j]] = v, similarity[v, a]
                end[j] += 1


@numba.njit(cache=True, nogil=True)
def put_own(
    begin: int, end: int, best: Any, back: Any, similarity: Any, indptr: Any, filled: Any, indices: Any, values: Any
) -> None:
    """Write each point's own neighbours after those before them, each in its place."""
    for v in range(begin, end):
        last = filled[v]
        for a in range(best.shape[1]):
            j, value = best[v, a], similarity[v, a]
            if j < 0:
                continue
            if back[v, a] >= 0:
                value = max(value, similarity[j, back[v, a]])
            at = last
            while at > indptr[v] and indices[at - 1] > j:
                indices[at], values[at] = indices[at - 1], values[at - 1]
                at -= 1
            indices[at], values[at] = j, value
            last += 1
