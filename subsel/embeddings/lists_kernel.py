"""The steps that make a symmetric graph of directed neighbour lists, see `subsel.embeddings.kernel.symmetrize`.

Pure functions on arrays; compiled by numba. Those with ``begin`` and ``end`` are for `subsel.threads.over_rows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled
from subsel.threads import sort


@compiled()
def count_askers(best: Any, starts: Any) -> None:
    """Count who lists each point, two places after it."""
    for v in range(best.shape[0]):
        for a in range(best.shape[1]):
            if best[v, a] >= 0:
                starts[best[v, a] + 2] += 1


@compiled()
def put_askers(best: Any, similarity: Any, starts: Any, askers: Any, values: Any) -> None:
    """Write who lists each point, ascending, and how near; move the starts of its run back by one place."""
    for v in range(best.shape[0]):
        for a in range(best.shape[1]):
            j = best[v, a]
            if j >= 0:
                at = starts[j + 1]
                askers[at], values[at] = v, similarity[v, a]
                starts[j + 1] = at + 1


@compiled(nogil=True)
def count_union(begin: int, end: int, best: Any, starts: Any, askers: Any, indptr: Any, lister: Any) -> None:
    """Count who each point lists or is listed by, one place after it; ``lister``, int32, (n,), are -1."""
    for v in range(begin, end):
        for a in range(best.shape[1]):
            if best[v, a] >= 0:
                lister[best[v, a]] = v
                indptr[v + 1] += 1
        for at in range(starts[v], starts[v + 1]):
            indptr[v + 1] += np.int64(lister[askers[at]] != v)


@compiled(nogil=True)
def put_union(
    begin: int,
    end: int,
    best: Any,
    similarity: Any,
    starts: Any,
    askers: Any,
    asked: Any,
    indptr: Any,
    indices: Any,
    values: Any,
    mine: Any,
) -> None:
    """Merge each point's own list, sorted by number here, and who lists it; ``asked`` is how near these are.

    ``mine``, int64, (k,), is for the own list: number and place.
    """
    k = best.shape[1]
    for v in range(begin, end):
        found = 0
        for a in range(k):
            if best[v, a] >= 0:
                mine[found] = (np.int64(best[v, a]) << 32) | a
                found += 1
        sort(mine[:found])
        at, other = indptr[v], starts[v]
        for one in range(found):
            j, value = mine[one] >> 32, similarity[v, mine[one] & 0xFFFFFFFF]
            while other < starts[v + 1] and askers[other] < j:
                indices[at], values[at] = askers[other], asked[other]
                at += 1
                other += 1
            if other < starts[v + 1] and askers[other] == j:
                value = max(value, asked[other])
                other += 1
            indices[at], values[at] = j, value
            at += 1
        while other < starts[v + 1]:
            indices[at], values[at] = askers[other], asked[other]
            at += 1
            other += 1
