"""Dual variables of the edges of one part. Pure functions on arrays; compiled by numba.

``mu`` (int64, (m,)) has a variable per half-edge, the same for both of its directions; ``cap`` (int64, (m,)) is its
limit, what the edge weighs less what cliques (`subsel.bounding.clique_kernel`) take of it.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.schema import Status

_SELECTED = int(Status.SELECTED)
_DISCARDED = int(Status.DISCARDED)
_INCLUDED = int(Status.INCLUDED)


@numba.njit(cache=True, inline="always")
def _is_free(status: int) -> bool:
    return status in (_SELECTED, _DISCARDED)


@numba.njit(cache=True)
def free_capacity(indptr: Any, indices: Any, weight: Any, status: Any) -> Any:
    """Return each half-edge's weight, 0 where an end is not free: int64, (m,)."""
    cap = weight.astype(np.int64)
    for v in range(len(indptr) - 1):
        for e in range(indptr[v], indptr[v + 1]):
            if not (_is_free(status[v]) and _is_free(status[indices[e]])):
                cap[e] = 0
    return cap


@numba.njit(cache=True)
def start(indptr: Any, indices: Any, cap: Any, status: Any) -> Any:
    """Return the edges' variables at their limits inside the subset, 0 elsewhere: int64, (m,)."""
    mu = np.zeros(len(cap), np.int64)
    for v in range(len(indptr) - 1):
        for e in range(indptr[v], indptr[v + 1]):
            if status[v] == _SELECTED and status[indices[e]] == _SELECTED:
                mu[e] = cap[e]
    return mu


@numba.njit(cache=True)
def base_values(indptr: Any, indices: Any, weight: Any, first: Any, status: Any) -> Any:
    """Return a_i less the weights to included points, int64, (n_own,)."""
    base = first.copy()
    for v in range(len(base)):
        for e in range(indptr[v], indptr[v + 1]):
            if status[indices[e]] == _INCLUDED:
                base[v] -= weight[e]
    return base


@numba.njit(cache=True)
def weight_to(indptr: Any, indices: Any, weight: Any, chosen: Any) -> Any:
    """Return the sum of each own point's weights to chosen points: int64, (n_own,)."""
    out = np.zeros(len(indptr) - 1, np.int64)
    for v in range(len(out)):
        for e in range(indptr[v], indptr[v + 1]):
            if chosen[indices[e]]:
                out[v] += weight[e]
    return out


@numba.njit(cache=True, parallel=True)
def move_edges(indptr: Any, indices: Any, cap: Any, mu: Any, x: Any, rate: Any) -> None:
    """Move every half-edge's variable by the smoothed x_i + x_j - 1, by the same for both of its directions.

    ``rate``: float64, (n_own + n_ghost,): the step of a point; that of an edge is the less of its ends'.
    """
    for v in numba.prange(len(indptr) - 1):
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            step = np.int64(np.floor((x[v] + x[j] - 1024) * min(rate[v], rate[j])))
            mu[e] = min(max(mu[e] + step, 0), cap[e])


@numba.njit(cache=True, parallel=True)
def edge_loads(indptr: Any, mu: Any) -> Any:
    """Return the sum of the variables of each own point's edges: int64, (n_own,)."""
    out = np.zeros(len(indptr) - 1, np.int64)
    for v in numba.prange(len(out)):
        for e in range(indptr[v], indptr[v + 1]):
            out[v] += mu[e]
    return out
