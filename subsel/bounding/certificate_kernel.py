"""Dual variables of the edges of one part. Pure functions on arrays; compiled by numba.

An edge stands once, with its smaller end, which is an own point; one to a ghost also stands in the ghost's part, where
it moves alike. `number_edges` gives the E edges their order. ``mu`` (of the weights' type, (E,)) has a variable per
edge; ``cap`` is its limit, what the edge weighs less what cliques (`subsel.bounding.clique_kernel`) take of it.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled, inlined
from subsel.fixedpoint import Int64Array, WeightArray
from subsel.schema import Status
from subsel.threads import over_rows

_SELECTED = int(Status.SELECTED)
_DISCARDED = int(Status.DISCARDED)
_INCLUDED = int(Status.INCLUDED)


@inlined()
def _is_free(status: int) -> bool:
    return (status == _SELECTED) | (status == _DISCARDED)


@compiled()
def number_edges(indptr: Any, indices: Any) -> Any:
    """Number a part's edges, each once: by its smaller end, then by the other.

    Args:
        indptr, indices: int64, (n_own+1,), and int32, (m,): rows of half-edges, ascending in each row.

    Returns:
        edge_ptr: int64, (n_own+1,): the run of the edges from each own point to larger numbers.
        small, large: int32, (E,): their ends.
        edge_of: int32, (m,): the edge of each half-edge.
    """
    n_own = len(indptr) - 1
    edge_ptr = np.zeros(n_own + 1, np.int64)
    for v in range(n_own):
        larger = 0
        for e in range(indptr[v], indptr[v + 1]):
            larger += indices[e] > v
        edge_ptr[v + 1] = edge_ptr[v] + larger
    small, large = np.empty(edge_ptr[n_own], np.int32), np.empty(edge_ptr[n_own], np.int32)
    edge_of, told = np.empty(len(indices), np.int32), edge_ptr[:-1].copy()
    for v in range(n_own):
        at = edge_ptr[v]
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if j > v:
                small[at], large[at], edge_of[e] = v, j, at
                at += 1
            else:  # rows ascend, so j's larger neighbours come by in the order in which j has them
                edge_of[e] = told[j]
                told[j] += 1
    return edge_ptr, small, large, edge_of


@compiled(parallel=True)
def free_capacity(indptr: Any, indices: Any, weight: Any, edge_of: Any, edges: int, status: Any) -> Any:
    """Return each edge's weight, 0 where an end is not free: (E,), of the weights' type."""
    cap = np.zeros(edges, weight.dtype)
    for v in numba.prange(len(indptr) - 1):
        if _is_free(status[v]):
            for e in range(indptr[v], indptr[v + 1]):
                if indices[e] > v and _is_free(status[indices[e]]):
                    cap[edge_of[e]] = weight[e]
    return cap


@compiled(parallel=True)
def start(small: Any, large: Any, cap: Any, status: Any) -> Any:
    """Return the edges' variables at their limits inside the subset, 0 elsewhere."""
    mu = np.zeros(len(cap), cap.dtype)
    for e in numba.prange(len(cap)):
        if status[small[e]] == _SELECTED and status[large[e]] == _SELECTED:
            mu[e] = cap[e]
    return mu


@compiled(parallel=True)
def base_values(indptr: Any, indices: Any, weight: Any, first: Any, status: Any) -> Any:
    """Return a_i less the weights to included points, int64, (n_own,)."""
    base = first.copy()
    for v in numba.prange(len(base)):
        for e in range(indptr[v], indptr[v + 1]):
            if status[indices[e]] == _INCLUDED:
                base[v] -= weight[e]
    return base


def weight_to(
    indptr: Int64Array, indices: npt.NDArray[np.int32], weight: WeightArray, chosen: npt.NDArray[np.bool_]
) -> Int64Array:
    """Return the sum of each own point's weights to chosen points: int64, (n_own,)."""
    out = np.zeros(len(indptr) - 1, np.int64)
    over_rows(_weight_to, len(out), indptr, indices, weight, chosen, out)
    return out


@compiled(nogil=True)
def _weight_to(begin: int, end: int, indptr: Any, indices: Any, weight: Any, chosen: Any, out: Any) -> None:
    for v in range(begin, end):
        for e in range(indptr[v], indptr[v + 1]):
            if chosen[indices[e]]:
                out[v] += weight[e]


@compiled(parallel=True)
def slower_paces(small: Any, large: Any, pace: Any) -> Any:
    """Return the pace of the slower end of each edge: float32, (E,)."""
    out = np.empty(len(small), np.float32)
    for e in numba.prange(len(small)):
        out[e] = min(pace[small[e]], pace[large[e]])
    return out


@compiled(parallel=True)
def degrees_of_membership(key: Any, status: Any, tie_bits: int, level: int, width: int) -> Any:
    """Return how far each free point is among the k largest, in 1024ths: int32, (n + 1,).

    0 below the width around the threshold ``level``, 1024 above it; 0 for points that are not free, and for one more
    that is none, which stands where a clique has no further member.
    """
    x = np.zeros(len(key) + 1, np.int32)
    scale = 512.0 / width
    for v in numba.prange(len(key)):  # vector instructions, so no branches
        distance = np.floor(np.float64((key[v] >> tie_bits) - level) * scale)
        x[v] = np.int32(min(max(distance, -512.0), 512.0) + 512.0) * _is_free(status[v])
    return x


@compiled(parallel=True)
def sum_above(key: Any, status: Any, tie_bits: int, level: int, n_own: int) -> Any:
    """Return what own free points have above the threshold ``level``, summed: see `wide`."""
    high, low = np.int64(0), np.int64(0)
    for v in numba.prange(n_own):
        over: Any = np.int64(0)
        if _is_free(status[v]):
            over = max((key[v] >> tie_bits) - level, 0)
        high += over >> 32
        low += over & 0xFFFFFFFF
    return high, low


def wide(high: int, low: int) -> int:
    """Return a sum of int64 values, of any size, from those of their halves."""
    return (int(high) << 32) + int(low)


@compiled(parallel=True)
def move_edges(small: Any, large: Any, cap: Any, mu: Any, x: Any, pace: Any, step: float, most: float) -> None:
    """Move every edge's variable by the smoothed x_i + x_j - 1, as far as its limit.

    Args:
        small, large, cap: of the edges.
        mu: changed in place.
        x: `degrees_of_membership`.
        pace: `slower_paces`.
        step: how far a whole 1024th moves a variable of pace 1; float32, or float64 where weights are int64.
        most: how far any variable moves, of the type of ``step``.
    """
    kind = mu.dtype.type
    for e in numba.prange(len(mu)):  # vector instructions, of as many variables as fit: all stays of their type
        slope = np.int32(x[np.uint32(small[e])] + x[np.uint32(large[e])] - 1024)
        move = np.floor(np.float32(slope) * (step * pace[e]))
        moved = kind(mu[e] + kind(min(max(move, -most), most)))
        mu[e] = kind(min(kind(max(moved, kind(0))), cap[e]))


@compiled(parallel=True)
def load_edges(small: Any, large: Any, mu: Any, load: Any) -> None:
    """Set the loads of points to the variables of their edges.

    Args:
        small, large, mu: of the edges.
        load: int64, (threads, n_own + n_ghost), written: each row takes a share of the edges, so that no two threads
            write to one place. See `sum_loads`.
    """
    shares = len(load)
    for share in numba.prange(shares):
        load[share] = 0
        for e in range(len(mu) * share // shares, len(mu) * (share + 1) // shares):
            load[share, np.uint32(small[e])] += mu[e]
            load[share, np.uint32(large[e])] += mu[e]


@compiled(parallel=True)
def sum_loads(load: Any, n_own: int) -> Any:
    """Return the sums over the rows of ``load``, of own points: int64, (n_own,)."""
    out = np.empty(n_own, np.int64)
    for v in numba.prange(n_own):
        total = np.int64(0)
        for share in range(len(load)):
            total += load[share, v]
        out[v] = total
    return out


@compiled(parallel=True)
def sum_edges(large: Any, mu: Any, n_own: int) -> Any:
    """Return the sum of the variables over own ends of edges: see `wide`."""
    high, low = np.int64(0), np.int64(0)
    for e in numba.prange(len(mu)):
        paid = np.int64(mu[e]) * (2 if large[e] < n_own else 1)
        high += paid >> 32
        low += paid & 0xFFFFFFFF
    return high, low


@compiled(parallel=True)
def set_keys(base: Any, edge_load: Any, clique_load: Any, code: Any, bits: int, key: Any) -> None:
    """Set own points' keys to what they add, less what the variables of their edges and cliques take.

    Args:
        base: int64, (n_own,).
        edge_load, clique_load: int64, (n_own,).
        code: of own points and ghosts; its last ``bits`` are the tie of a key.
        key: changed in place.
    """
    for v in numba.prange(len(base)):
        value = base[v] - edge_load[v] - clique_load[v]
        key[v] = (value << bits) | (code[v] & ((1 << bits) - 1))
