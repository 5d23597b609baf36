"""Dual variables of the edges of one part. Pure functions on arrays; compiled by numba.

``mu`` (of the weights' type, (m,)) has a variable per half-edge, the same for both of its directions; ``cap`` is its
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
    """Return each half-edge's weight, 0 where an end is not free."""
    cap = weight.copy()
    for v in range(len(indptr) - 1):
        for e in range(indptr[v], indptr[v + 1]):
            if not (_is_free(status[v]) and _is_free(status[indices[e]])):
                cap[e] = 0
    return cap


@numba.njit(cache=True)
def start(indptr: Any, indices: Any, cap: Any, status: Any) -> Any:
    """Return the edges' variables at their limits inside the subset, 0 elsewhere."""
    mu = np.zeros(len(cap), cap.dtype)
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
def degrees_of_membership(key: Any, status: Any, tie_bits: int, level: int, width: int) -> Any:
    """Return how far each free point is among the k largest, in 1024ths: int16, (n,).

    0 below the width around the threshold ``level``, 1024 above it; 0 for points that are not free.
    """
    x = np.zeros(len(key), np.int16)
    for v in numba.prange(len(key)):
        if _is_free(status[v]):
            distance = min(max((key[v] >> tie_bits) - level, -width), width)
            x[v] = min(max(512 + distance * 512 // width, 0), 1024)
    return x


@numba.njit(cache=True, parallel=True)
def above(key: Any, status: Any, tie_bits: int, level: int, n_own: int) -> Any:
    """Return how far each own free point is above the threshold ``level``: int64, (n_own,), 0 below it."""
    out = np.zeros(n_own, np.int64)
    for v in numba.prange(n_own):
        if _is_free(status[v]):
            out[v] = max((key[v] >> tie_bits) - level, 0)
    return out


@numba.njit(cache=True, parallel=True)
def move_edges(indptr: Any, indices: Any, cap: Any, mu: Any, x: Any, pace: Any, step: float) -> Any:
    """Move every half-edge's variable by the smoothed x_i + x_j - 1, by the same for both of its directions.

    Args:
        indptr, indices, cap: of the part's half-edges.
        mu: changed in place.
        x: `degrees_of_membership`.
        pace: float32, (n_own + n_ghost,): of a point; an edge goes at that of the slower end.
        step: how far a whole 1024th moves a point of pace 1.

    Returns:
        int64, (n_own,): the sum of the variables of each own point's edges.
    """
    load = np.zeros(len(indptr) - 1, np.int64)
    for v in numba.prange(len(load)):
        total, mine, own_pace = np.int64(0), np.int32(x[v]) - np.int32(1024), pace[v]
        for e in range(indptr[v], indptr[v + 1]):
            j = np.uint32(indices[e])  # a signed index costs a test for negative ones
            move = np.int64(np.floor((mine + np.int32(x[j])) * (step * min(own_pace, pace[j]))))
            mu[e] = min(max(np.int64(mu[e]) + move, np.int64(0)), np.int64(cap[e]))
            total += mu[e]
        load[v] = total
    return load


@numba.njit(cache=True, parallel=True)
def edge_loads(indptr: Any, mu: Any) -> Any:
    """Return the sum of the variables of each own point's edges: int64, (n_own,)."""
    out = np.zeros(len(indptr) - 1, np.int64)
    for v in numba.prange(len(out)):
        for e in range(indptr[v], indptr[v + 1]):
            out[v] += mu[e]
    return out
