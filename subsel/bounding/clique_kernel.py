"""Cliques and their dual variables on one part of a graph. Pure functions on arrays; compiled by numba.

Cliques are columns of ``members`` (int32, (CLIQUE_POINTS, c), own points and ghosts, -1 for none; rows while they are
being found). The first is one that proposed it: which of several depends on parts, so nothing but who counts a clique
may follow from the order. Each has two variables, ``mu`` ((2, c), of the weights' type), for the inequalities
s(s-1)/2 >= t s - t(t+1)/2 with the two values of t in ``turn`` (int8, (2, c), 0 for none), whose sum is at most
``least``, the weight that the clique takes from each of its edges. What edges, numbered as in
`subsel.bounding.certificate_kernel`, have left is ``cap``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.compiling import compiled, inlined
from subsel.schema import Status

_SELECTED = int(Status.SELECTED)
#: Largest clique that gets variables of its own.
CLIQUE_POINTS = 5
#: Of an edge's weight, what must be left for it to be looked at, as one over this.
_WORN = 5
#: Threads take the points in so many chunks, each with a table of all points.
_CHUNKS = 64


@inlined()
def _edge(edge_ptr: Any, large: Any, a: int, b: int) -> int:
    """Return the edge from an own point a to a larger number b, or -1."""
    lo, hi = edge_ptr[a], edge_ptr[a + 1]
    at = lo + np.searchsorted(large[lo:hi], b)
    return at if at < hi and large[at] == b else -1


@compiled(parallel=True)
def pick_edges(indptr: Any, indices: Any, weight: Any, edge_of: Any, cap: Any, near: Any, code: Any, most: int) -> Any:
    """Pick edges between near points that have enough left, at most ``most`` of a point: those with most left.

    Ties go to the larger code of the other end.

    Returns:
        begin, end: int64, (n_own,): the run of each own point's picks.
        others: int32: the other ends of the picks, in each run by falling ``room``; anything between runs.
        room: of the weights' type: what these edges have left.
    """
    n_own = len(indptr) - 1
    begin = np.zeros(n_own + 1, np.int64)
    for v in range(n_own):
        begin[v + 1] = begin[v] + (min(indptr[v + 1] - indptr[v], most) if near[v] else 0)
    end = begin[:-1].copy()
    others, room = np.zeros(begin[n_own], np.int32), np.zeros(begin[n_own], cap.dtype)
    chunks = min(_CHUNKS, n_own)
    for chunk in numba.prange(chunks):
        point, left, rank = np.empty(most, np.int32), np.empty(most, cap.dtype), np.empty(most, np.int32)
        for v in range(chunk * n_own // chunks, (chunk + 1) * n_own // chunks):
            if not near[v]:
                continue
            first = last = begin[v]
            count, few = 0, indptr[v + 1] - indptr[v] <= most
            for e in range(indptr[v], indptr[v + 1]):
                j, mine = indices[e], cap[edge_of[e]]
                if not (mine > 0 and near[j] and np.int64(mine) * _WORN >= weight[e]):
                    continue
                if few:
                    point[count], left[count] = j, mine
                    count += 1
                else:
                    last = _insert(others, room, first, last, first + most, j, mine, code)
            if few:
                equal = 0
                for i in range(count):  # vector instructions, and no branch to foresee
                    ahead = 0
                    for other in range(count):
                        ahead += left[other] > left[i]
                        equal += left[other] == left[i]
                    rank[i] = ahead
                for i in range(count):
                    if equal == count:
                        others[first + rank[i]], room[first + rank[i]] = point[i], left[i]
                    else:
                        _insert(others, room, first, first + i, first + most, point[i], left[i], code)
                last = first + count
            end[v] = last
    return begin[:-1], end, others, room


@inlined()
def _insert(others: Any, room: Any, first: int, last: int, limit: int, point: int, left: int, code: Any) -> int:
    """Insert a pick into the run that ends before ``last``, unless it comes after ``limit``; return the new end."""
    at = last
    while at > first and (left > room[at - 1] or (left == room[at - 1] and code[point] > code[others[at - 1]])):
        at -= 1
    if at == limit:
        return last
    last = min(last + 1, limit)
    for later in range(last - 1, at, -1):
        others[later], room[later] = others[later - 1], room[later - 1]
    others[at], room[at] = point, left
    return last


@compiled(parallel=True)
def propose(begin: Any, end: Any, others: Any, room: Any, n_own: int, largest: int, most: int) -> Any:
    """Return a clique of 3 to ``largest`` points for each own point, grown greedily from its edge with most left.

    A point joins if all that are in have picked its edge. A next edge is tried where that one is in no triangle.

    Args:
        begin, end: int64, (n_own + n_ghost,): the run of each point's picks.
        others, room: the other ends of picks and what they have left, which falls in each run.
        n_own: number of own points.
        largest: of points in a clique.
        most: picks of a point, 63 at most.

    Returns:
        int32, (n_own, largest): the point itself first, -1 beyond the clique's size, or throughout.
    """
    found = np.full((n_own, largest), -1, np.int32)
    chunks = min(_CHUNKS, n_own)
    for chunk in numba.prange(chunks):
        place = np.full(len(begin), -1, np.int8)  # of each point among the picks of v
        both = np.empty(
            most, np.int64
        )  # which of v's picks each of them has picked too, as bits; -1: not looked at yet
        between = np.empty((most, most), room.dtype)  # what these have left
        inside = np.empty(largest, np.int64)
        for v in range(chunk * n_own // chunks, (chunk + 1) * n_own // chunks):
            lo, m = begin[v], end[v] - begin[v]
            if m < 2:
                continue
            for i in range(m):
                place[others[lo + i]] = i
                both[i] = -1
            for seed in range(m - 1):
                inside[0] = seed
                count, low = 1, room[lo + seed]  # members beside v
                _look(begin, end, others, room, others[lo + seed], seed, place, both, between)
                open_ = both[seed] >> (seed + 1) << (seed + 1)
                for u in range(seed + 1, m):
                    if not open_ >> u & 1:
                        continue
                    least = room[lo + u]
                    for i in range(count):
                        least = min(least, between[inside[i], u])
                    if 2 * np.int64(least) >= low:  # one light edge would waste the others' weight
                        inside[count] = u
                        count += 1
                        low = min(low, least)
                        if count == largest - 1:
                            break
                        _look(begin, end, others, room, others[lo + u], u, place, both, between)
                        open_ &= both[u]
                if count >= 2:
                    found[v, 0] = v
                    for i in range(count):
                        found[v, i + 1] = others[lo + inside[i]]
                    break
            for i in range(m):
                place[others[lo + i]] = -1
    return found


@inlined()
def _look(
    begin: Any, end: Any, others: Any, room: Any, point: int, at: int, place: Any, both: Any, between: Any
) -> None:
    """Note which of v's picks the ``at``-th of them, a point, has picked too, and what these edges have left."""
    if both[at] < 0:
        bits = np.int64(0)
        for e in range(begin[point], end[point]):
            b = place[others[e]]
            if b >= 0:
                bits |= np.int64(1) << b
                between[at, b] = room[e]
        both[at] = bits


@compiled()
def homes(part: Any) -> Any:
    """Return each row of ``part`` once for every part in it, -1 for none: (row, part), int64, by row."""
    count = 0
    row, to = np.empty(part.size, np.int64), np.empty(part.size, np.int64)
    for i in range(len(part)):
        for column in range(part.shape[1]):
            home = part[i, column]
            new = home >= 0
            for before in range(column):
                new &= part[i, before] != home
            if new:
                row[count], to[count] = i, home
                count += 1
    return row[:count], to[:count]


@compiled(parallel=True)
def first_proposals(members: Any, n: int) -> Any:
    """Return which rows are the first of their clique: a point proposes once, but its members may propose the same.

    Args:
        members: int32, (c, most): proposals, ascending by the address of who proposes, so that all parts keep the same.
        n: number of points, ghosts included.

    Returns:
        bool, (c,).
    """
    row = np.full(n, len(members), np.int32)
    for c in numba.prange(len(members)):
        row[members[c, 0]] = c
    first = np.ones(len(members), np.bool_)
    for c in numba.prange(len(members)):
        for u in members[c, 1:]:
            if u >= 0 and row[u] < c and _same(members[row[u]], members[c]):
                first[c] = False
    return first


@inlined()
def _same(a: Any, b: Any) -> bool:
    """Whether two rows have the same points."""
    for u in a:
        found = False
        for v in b:
            found |= u == v
        if not found:
            return False
    return bool(np.count_nonzero(a >= 0) == np.count_nonzero(b >= 0))


@compiled(parallel=True)
def edges_of(edge_ptr: Any, large: Any, members: Any) -> Any:
    """Return the edges of cliques that stand in this part, those with an own end: int32, (c, pairs), -1 for none."""
    n_own, most = len(edge_ptr) - 1, members.shape[1]
    edges = np.full((len(members), most * (most - 1) // 2), -1, np.int32)
    for c in numba.prange(len(members)):
        pair = 0
        for i in range(most):
            for j in range(i):
                a, b = min(members[c, i], members[c, j]), max(members[c, i], members[c, j])
                if 0 <= a < n_own:
                    edges[c, pair] = _edge(edge_ptr, large, a, b)
                pair += 1
    return edges


@compiled(parallel=True)
def shares(edges: Any, cap: Any) -> Any:
    """Return the least that an edge of this part leaves to each clique: int64, (c,).

    An edge divides what it has left by the number of these cliques that have it; all that do are among them.

    Args:
        edges: `edges_of`; each clique has an own point, so it has some.
        cap: what edges have left.
    """
    count = np.zeros(len(cap), np.int32)
    for row in edges:
        for e in row:
            if e >= 0:
                count[e] += 1
    least = np.full(len(edges), np.iinfo(np.int64).max, np.int64)
    for c in numba.prange(len(edges)):
        for e in edges[c]:
            if e >= 0:
                least[c] = min(least[c], cap[e] // count[e])
    return least


@compiled()
def take_capacity(edges: Any, cap: Any, least: Any) -> None:
    """Subtract each clique's weight from the limits of its edges, in place."""
    for c, row in enumerate(edges):
        for e in row:
            if e >= 0:
                cap[e] -= least[c]


@compiled()
def clique_turns(members: Any, status: Any) -> Any:
    """Return the t of each clique's inequalities: s - 1 and s, with s members in the subset, where they say something.

    Both are tight at s; those with t < 1 or t >= the clique's size say nothing and are 0.
    """
    turn = np.zeros((2, members.shape[1]), np.int8)
    for c in range(members.shape[1]):
        s = size = 0
        for v in members[:, c]:
            if v >= 0:
                s += status[v] == _SELECTED
                size += 1
        if s >= 2:
            turn[0, c] = s - 1
        if 1 <= s < size:
            turn[1, c] = s
        if s == 0:
            turn[1, c] = 1
    return turn


@compiled()
def clique_start(turn: Any, least: Any) -> Any:
    """Return the cliques' variables at the start: the weight, shared by the inequalities that are tight."""
    mu = np.zeros(turn.shape, least.dtype)
    for c in range(len(least)):
        if turn[0, c] and turn[1, c]:
            mu[0, c] = least[c] // 2
            mu[1, c] = least[c] - mu[0, c]
        elif turn[0, c]:
            mu[0, c] = least[c]
    return mu


@compiled(parallel=True)
def clique_paces(members: Any, pace: Any) -> Any:
    """Return the slowest pace of each clique's points: float32, (c,)."""
    out = np.empty(members.shape[1], np.float32)
    for c in numba.prange(members.shape[1]):
        out[c] = pace[members[0, c]]
        for v in members[1:, c]:
            if v >= 0:
                out[c] = min(out[c], pace[v])
    return out


@compiled(parallel=True)
def move_cliques(members: Any, least: Any, turn: Any, mu: Any, x: Any, pace: Any, step: float, most: float) -> None:
    """Move the cliques' variables by the smoothed t s - t(t+1)/2, then back to where their sum is allowed.

    ``x``, ``step`` and ``most`` as in `subsel.bounding.certificate_kernel.move_edges`; ``pace``: `clique_paces`; ``mu``
    is changed in place.
    """
    kind = mu.dtype.type
    for c in numba.prange(len(least)):  # vector instructions, of as many variables as fit: no branches, and one type
        s = np.int32(0)
        for i in range(CLIQUE_POINTS):
            s = np.int32(s + x[members[i, c]])  # the last of x, -1, is nobody's
        go = step * pace[c]
        t, u = np.int32(turn[0, c]), np.int32(turn[1, c])
        move_a = np.floor(np.float32(np.int32(s - 512 * (t + 1))) * go)  # the slope is (t s - t(t+1)/2) / t
        move_b = np.floor(np.float32(np.int32(s - 512 * (u + 1))) * go)
        a = kind(max(kind(mu[0, c] + kind(min(max(move_a, -most), most))), kind(0)))
        b = kind(max(kind(mu[1, c] + kind(min(max(move_b, -most), most))), kind(0)))
        a = a if t > 0 else kind(0)
        b = b if u > 0 else kind(0)
        over = kind(kind(a - least[c]) + b)
        # Of the points where the sum is what is allowed, the nearest.
        nearest = kind(min(kind(max(kind(a - kind(over >> 1)), kind(0))), least[c]))
        mu[0, c] = nearest if over > 0 else a
        mu[1, c] = kind(least[c] - nearest) if over > 0 else b


@compiled(parallel=True)
def load_cliques(members: Any, turn: Any, mu: Any, load: Any) -> None:
    """Set the loads of points to what the variables of their cliques take from them.

    ``load`` as in `subsel.bounding.certificate_kernel.load_edges`.
    """
    shares, count = len(load), members.shape[1]
    for share in numba.prange(shares):
        load[share] = 0
        for c in range(count * share // shares, count * (share + 1) // shares):
            taken = np.int64(mu[0, c]) * turn[0, c] + np.int64(mu[1, c]) * turn[1, c]
            for i in range(CLIQUE_POINTS):
                if members[i, c] >= 0:
                    load[share, np.uint32(members[i, c])] += taken


@compiled(parallel=True)
def sum_cliques(members: Any, turn: Any, mu: Any, n_own: int) -> Any:
    """Return what the cliques' variables add to the bound: see `subsel.bounding.certificate_kernel.wide`.

    Of cliques whose first member is an own point: the others count where that is one.
    """
    high, low = np.int64(0), np.int64(0)
    for c in numba.prange(members.shape[1]):
        t, u = np.int64(turn[0, c]), np.int64(turn[1, c])
        adds = mu[0, c] * (t * (t + 1) // 2) + mu[1, c] * (u * (u + 1) // 2)
        adds = adds if members[0, c] < n_own else 0
        high += adds >> 32
        low += adds & 0xFFFFFFFF
    return high, low
