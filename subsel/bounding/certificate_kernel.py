"""Dual variables on one part of a graph. Pure functions on arrays; compiled by numba.

Cliques are rows of ``members`` (int32, (c, CLIQUE_POINTS), -1 beyond ``size``), no two of which share an edge. Each has
two variables, ``clique_mu`` (int64, (c, 2)), for the inequalities s(s-1)/2 >= t s - t(t+1)/2 with the two values of t
in ``turn`` (int64, (c, 2), 0 for none), whose sum is at most ``least``, the weight of its lightest edge. What an edge
weighs beyond that is ``cap``, the limit of its own variable ``mu``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.schema import Status

_SELECTED = int(Status.SELECTED)
_DISCARDED = int(Status.DISCARDED)
_INCLUDED = int(Status.INCLUDED)
#: Neighbours of a point that are looked at for cliques, its heaviest.
_CANDIDATES = 64


@numba.njit(cache=True, inline="always")
def _is_free(status: int) -> bool:
    return status in (_SELECTED, _DISCARDED)


@numba.njit(cache=True, inline="always")
def _edge(indptr: Any, indices: Any, a: int, b: int) -> int:
    """Return the place of the edge from own point a to b, or -1; neighbours ascend in each row."""
    lo, hi = indptr[a], indptr[a + 1]
    at = lo + np.searchsorted(indices[lo:hi], b)
    return at if at < hi and indices[at] == b else -1


@numba.njit(cache=True)
def find_cliques(indptr: Any, indices: Any, weight: Any, usable: Any, largest: int) -> Any:
    """Return cliques of 3 to ``largest`` usable own points, found greedily by weight, no two with a common edge.

    Returns:
        members (int32, (c, largest)), size (int64, (c,)), weight of the lightest edge (int64, (c,)).
    """
    n = len(indptr) - 1
    used = np.zeros(len(indices), np.bool_)
    room = len(indices) // 6 + 1
    members = np.full((room, largest), -1, np.int32)
    size = np.zeros(room, np.int64)
    least = np.zeros(room, np.int64)
    count = 0
    clique = np.empty(largest, np.int32)
    for v in range(n):
        if not usable[v]:
            continue
        while True:
            lo, hi = indptr[v], indptr[v + 1]
            heaviest = lo + np.argsort(weight[lo:hi])[::-1]
            m = 0
            near = np.empty(_CANDIDATES, np.int64)
            for e in heaviest:
                j = indices[e]
                if m < _CANDIDATES and v < j < n and not used[e] and weight[e] > 0 and usable[j]:
                    near[m] = e
                    m += 1
            found = False
            for begin in range(m - 1):
                clique[0], clique[1] = v, indices[near[begin]]
                points, low = 2, np.int64(weight[near[begin]])
                for next_ in range(begin + 1, m):
                    u = indices[near[next_]]
                    lightest = min(low, np.int64(weight[near[next_]]))
                    fits = True
                    for i in range(1, points):
                        e = _edge(indptr, indices, u, clique[i])
                        if e < 0 or used[e]:
                            fits = False
                            break
                        lightest = min(lightest, np.int64(weight[e]))
                    if fits and 2 * lightest >= low:  # one light edge would waste the others' weight
                        clique[points] = u
                        points += 1
                        low = lightest
                        if points == largest:
                            break
                if points >= 3:
                    for i in range(points):
                        for j in range(points):
                            if i != j:
                                used[_edge(indptr, indices, clique[i], clique[j])] = True
                    members[count, :points] = clique[:points]
                    size[count], least[count] = points, low
                    count += 1
                    found = True
                    break
            if not found:
                break
    return members[:count].copy(), size[:count].copy(), least[:count].copy()


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
def take_capacity(indptr: Any, indices: Any, cap: Any, members: Any, size: Any, least: Any) -> None:
    """Subtract each clique's weight from the limits of its edges, in place."""
    for c in range(len(size)):
        for i in range(size[c]):
            for j in range(size[c]):
                if i != j:
                    cap[_edge(indptr, indices, members[c, i], members[c, j])] -= least[c]


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
def clique_turns(members: Any, size: Any, status: Any) -> Any:
    """Return the t of each clique's inequalities: s - 1 and s, with s members in the subset, where they say something.

    Both are tight at s; those with t < 1 or t >= the clique's size say nothing and are 0.
    """
    turn = np.zeros((len(size), 2), np.int64)
    for c in range(len(size)):
        s = 0
        for i in range(size[c]):
            s += status[members[c, i]] == _SELECTED
        if s >= 2:
            turn[c, 0] = s - 1
        if 1 <= s < size[c]:
            turn[c, 1] = s
        if s == 0:
            turn[c, 1] = 1
    return turn


@numba.njit(cache=True)
def clique_start(turn: Any, least: Any) -> Any:
    """Return the cliques' variables at the start: the weight, shared by the inequalities that are tight."""
    mu = np.zeros(turn.shape, np.int64)
    for c in range(len(turn)):
        if turn[c, 0] and turn[c, 1]:
            mu[c, 0] = least[c] // 2
            mu[c, 1] = least[c] - mu[c, 0]
        elif turn[c, 0]:
            mu[c, 0] = least[c]
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


@numba.njit(cache=True)
def move_cliques(members: Any, size: Any, least: Any, turn: Any, mu: Any, x: Any, rate: Any) -> None:
    """Move the cliques' variables by the smoothed t s - t(t+1)/2, then back to where their sum is allowed."""
    for c in range(len(size)):
        s, slowest = 0, rate[members[c, 0]]
        for i in range(size[c]):
            s += x[members[c, i]]
            slowest = min(slowest, rate[members[c, i]])
        for q in range(2):
            t = turn[c, q]
            if t:
                slope = s - 512 * (t + 1)  # (t s - t(t+1)/2) / t
                mu[c, q] = max(0, mu[c, q] + np.int64(np.floor(slope * slowest)))
        over = mu[c, 0] + mu[c, 1] - least[c]
        if over > 0:
            if turn[c, 0] == 0 or mu[c, 1] - (over - over // 2) > least[c]:
                mu[c, 0], mu[c, 1] = 0, least[c]
            elif turn[c, 1] == 0 or mu[c, 0] - over // 2 > least[c]:
                mu[c, 0], mu[c, 1] = least[c], 0
            else:
                mu[c, 0] -= over // 2
                mu[c, 1] = least[c] - mu[c, 0]


@numba.njit(cache=True, parallel=True)
def edge_loads(indptr: Any, mu: Any) -> Any:
    """Return the sum of the variables of each own point's edges: int64, (n_own,)."""
    out = np.zeros(len(indptr) - 1, np.int64)
    for v in numba.prange(len(out)):
        for e in range(indptr[v], indptr[v + 1]):
            out[v] += mu[e]
    return out


@numba.njit(cache=True)
def add_clique_loads(loads: Any, members: Any, size: Any, turn: Any, clique_mu: Any) -> None:
    """Add what its cliques' variables take from each own point, in place."""
    for c in range(len(size)):
        load = clique_mu[c, 0] * turn[c, 0] + clique_mu[c, 1] * turn[c, 1]
        for i in range(size[c]):
            loads[members[c, i]] += load
