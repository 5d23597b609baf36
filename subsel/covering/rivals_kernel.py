"""What parts tell each other of candidates under coverage, see `subsel.covering.kernel`; compiled by numba."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.compiling import compiled
from subsel.covering.kernel import NOBODY
from subsel.fixedpoint import beats
from subsel.schema import Status

_UNDECIDED = int(Status.UNDECIDED)


@compiled(parallel=True)
def rivals_of_own(
    indptr: Any, indices: Any, takes: Any, code: Any, rank: Any, status: Any, cover: Any
) -> tuple[Any, Any]:
    """Return the best open ghost that could raise each own point's cover: int64 ranks and codes, (n_own,) each."""
    n_own = len(indptr) - 1
    best_rank, best_code = np.full(n_own, NOBODY, np.int64), np.zeros(n_own, np.int64)
    for v in numba.prange(n_own):
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            raises = j >= n_own and status[j] == _UNDECIDED and takes[e] > cover[v]
            if raises and beats(rank[j], code[j], best_rank[v], best_code[v]):
                best_rank[v], best_code[v] = rank[j], code[j]
    return best_rank, best_code


@compiled()
def tell_ghosts(
    indptr: Any,
    indices: Any,
    takes: Any,
    itself: Any,
    code: Any,
    rank: Any,
    status: Any,
    cover: Any,
    home: Any,
    slot: Any,
    to: Any,
) -> tuple[Any, Any, Any]:
    """Return what other parts must know of own points: rivals and nearest candidates that are not those parts' own.

    Args:
        indptr: and all but the following as in `rivals_of_own`.
        home: int64, (n_ghost,): the part of each ghost.
        slot: int64, (n,): an own point.
        to: int64, (n,): a part that has it as a ghost.

    Returns:
        Rank and code of the best open candidate that could raise it, and the largest amount of any, of those whose home
        is not ``to``: int64, (n,) each.
    """
    n_own = len(indptr) - 1
    best_rank, best_code = np.full(len(slot), NOBODY, np.int64), np.zeros(len(slot), np.int64)
    near = np.zeros(len(slot), np.int64)
    for i in range(len(slot)):
        v = slot[i]
        if status[v] == _UNDECIDED:
            near[i] = itself[v]
            if itself[v] > cover[v]:
                best_rank[i], best_code[i] = rank[v], code[v]
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] != _UNDECIDED or (j >= n_own and home[j - n_own] == to[i]):
                continue
            near[i] = max(near[i], np.int64(takes[e]))
            if takes[e] > cover[v] and beats(rank[j], code[j], best_rank[i], best_code[i]):
                best_rank[i], best_code[i] = rank[j], code[j]
    return best_rank, best_code, near
