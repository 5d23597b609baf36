"""How many points cover each further than is granted, for `subsel.covering.bound`; compiled by numba."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.compiling import compiled


@compiled(parallel=True)
def surplus(indptr: Any, indices: Any, takes: Any, itself: Any, granted: Any, some: Any) -> Any:
    """Return how many of some points would cover each own point beyond an amount, less one: int64, (n_own,).

    Args:
        indptr: int64, (n_own + 1,).
        indices: int32, (m,).
        takes: int, (m,).
        itself: int64, (n_own,).
        granted: int64, (n_own + n_ghost,): the amounts.
        some: int8, (n_own + n_ghost,): 1 for those that count.
    """
    out = np.empty(len(indptr) - 1, np.int64)
    for v in numba.prange(len(out)):
        count = np.int64(-1)
        if some[v] and itself[v] > granted[v]:
            count += 1
        for e in range(indptr[v], indptr[v + 1]):
            if some[indices[e]] and takes[e] > granted[v]:
                count += 1
        out[v] = count
    return out


@compiled(parallel=True)
def most_of_rows(indptr: Any, takes: Any) -> Any:
    """Return the largest of each row: int64, (n_own,), 0 for an empty one."""
    out = np.zeros(len(indptr) - 1, np.int64)
    for v in numba.prange(len(out)):
        for e in range(indptr[v], indptr[v + 1]):
            out[v] = max(out[v], np.int64(takes[e]))
    return out
