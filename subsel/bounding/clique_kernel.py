"""Cliques and their dual variables on one part of a graph. Pure functions on arrays; compiled by numba.

Cliques are rows of ``members`` (int32, (c, CLIQUE_POINTS), own points and ghosts, -1 beyond ``size``); the first is one
that proposed it: which of several depends on parts, so nothing but who counts a clique may follow from the order. Each
has two variables, ``clique_mu`` ((c, 2), of the weights' type), for the inequalities s(s-1)/2 >= t s - t(t+1)/2 with
the two values of t in ``turn`` (int8, (c, 2), 0 for none), whose sum is at most ``least``, the weight that the clique
takes from each of its edges. What these have left is ``cap``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.schema import Status

_SELECTED = int(Status.SELECTED)
#: Of an edge's weight, what must be left for it to be looked at, as one over this.
_WORN = 5
#: Threads take the points in so many chunks, each with a table of all points.
_CHUNKS = 64


@numba.njit(cache=True, inline="always")
def _edge(indptr: Any, indices: Any, a: int, b: int) -> int:
    """Return the place of the edge from a to b in a's row, or -1; neighbours ascend in each row."""
    lo, hi = indptr[a], indptr[a + 1]
    at = lo + np.searchsorted(indices[lo:hi], b)
    return at if at < hi and indices[at] == b else -1


@numba.njit(cache=True, parallel=True)
def pick_edges(indptr: Any, indices: Any, weight: Any, cap: Any, near: Any, code: Any, most: int) -> Any:
    """Return which half-edges between near points have enough left, at most ``most`` in a row: those with most left.

    Ties go to the larger code of the other end.

    Returns:
        bool, (m,).
    """
    picks = np.zeros(len(indices), np.bool_)
    for v in numba.prange(len(indptr) - 1):
        if near[v]:
            best = np.empty(most, np.int64)
            count = 0
            for e in range(indptr[v], indptr[v + 1]):
                if not (near[indices[e]] and cap[e] > 0 and cap[e] * _WORN >= weight[e]):
                    continue
                if count == most:
                    if not _before(cap, code, indices, e, best[most - 1]):
                        continue
                    count -= 1
                at = count
                while at > 0 and _before(cap, code, indices, e, best[at - 1]):
                    best[at] = best[at - 1]
                    at -= 1
                best[at] = e
                count += 1
            for at in range(count):
                picks[best[at]] = True
    return picks


@numba.njit(cache=True, inline="always")
def _before(room: Any, code: Any, indices: Any, a: int, b: int) -> Any:
    """Whether edge a has more left than edge b of the same row, or as much and the larger code."""
    return room[a] > room[b] or (room[a] == room[b] and code[indices[a]] > code[indices[b]])


@numba.njit(cache=True, parallel=True)
def propose(indptr: Any, indices: Any, room: Any, code: Any, n_own: int, largest: int, most: int) -> Any:
    """Return a clique of 3 to ``largest`` points for each own point, grown greedily from its edge with most left.

    A point joins if all that are in have picked its edge. A next edge is tried where that one is in no triangle.

    Args:
        indptr, indices, room: picked edges of own points and ghosts, ascending in each row, and what they have left.
        code: of own points and ghosts.
        n_own: number of own points.
        largest: of points in a clique.
        most: edges in a row.

    Returns:
        int32, (n_own, largest): the point itself first, -1 beyond the clique's size, or throughout.
    """
    found = np.full((n_own, largest), -1, np.int32)
    chunks = min(_CHUNKS, n_own)
    for chunk in numba.prange(chunks):
        place = np.full(len(indptr) - 1, -1, np.int8)
        order = np.empty(most, np.int64)
        picked_by = np.empty(most, np.int64)
        least = np.empty(most, np.int64)
        inside = np.empty(largest, np.int64)
        for v in range(chunk * n_own // chunks, (chunk + 1) * n_own // chunks):
            lo, m = indptr[v], indptr[v + 1] - indptr[v]
            if m < 2:
                continue
            for i in range(m):  # insertion sort of a few
                at = i
                while at > 0 and _before(room, code, indices, lo + i, lo + order[at - 1]):
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = i
                place[indices[lo + i]] = i
            for begin in range(m - 1):
                picked_by[:m] = 1  # by v
                least[:m] = room[lo : lo + m]
                inside[0] = order[begin]
                others, low = 1, room[lo + inside[0]]  # members beside v
                _note_picks(indptr, indices, room, indices[lo + inside[0]], 1, place, picked_by, least)
                for u in order[begin + 1 : m]:
                    if picked_by[u] > others and 2 * least[u] >= low:  # one light edge would waste the others' weight
                        inside[others] = u
                        others += 1
                        low = min(low, least[u])
                        if others == largest - 1:
                            break
                        _note_picks(indptr, indices, room, indices[lo + u], others, place, picked_by, least)
                if others >= 2:
                    found[v, 0] = v
                    for i in range(others):
                        found[v, i + 1] = indices[lo + inside[i]]
                    break
            for i in range(m):
                place[indices[lo + i]] = -1
    return found


@numba.njit(cache=True, inline="always")
def _note_picks(
    indptr: Any, indices: Any, room: Any, member: int, before: int, place: Any, picked_by: Any, least: Any
) -> None:
    """Count a new member's picks, where all ``before`` it picked the same, and what the lightest edge has left."""
    for e in range(indptr[member], indptr[member + 1]):
        b = place[indices[e]]
        if b >= 0 and picked_by[b] == before:
            picked_by[b] += 1
            least[b] = min(least[b], room[e])


@numba.njit(cache=True, parallel=True)
def first_proposals(members: Any, n: int) -> Any:
    """Return which rows are the first of their clique: a point proposes once, but its members may propose the same.

    Args:
        members: int32, (c, most): proposals, ascending by the address of who proposes, so that all parts keep the same.
        n: number of points, ghosts included.

    Returns:
        bool, (c,).
    """
    row = np.full(n, len(members), np.int64)
    for c in range(len(members)):
        row[members[c, 0]] = c
    first = np.ones(len(members), np.bool_)
    for c in numba.prange(len(members)):
        for u in members[c, 1:]:
            if u >= 0 and row[u] < c and _same(members[row[u]], members[c]):
                first[c] = False
    return first


@numba.njit(cache=True, inline="always")
def _same(a: Any, b: Any) -> bool:
    """Whether two rows have the same points."""
    for u in a:
        found = False
        for v in b:
            found |= u == v
        if not found:
            return False
    return bool(np.count_nonzero(a >= 0) == np.count_nonzero(b >= 0))


@numba.njit(cache=True, parallel=True)
def edge_places(indptr: Any, indices: Any, members: Any, size: Any, both: bool) -> Any:
    """Return where the edges of cliques stand in the rows of their first ends, own points; -1 for none.

    Args:
        indptr, indices: the part's rows.
        members, size: of the cliques.
        both: both directions of an edge, or only that from the smaller number, which is an own point if either is.

    Returns:
        int32, (c, most, most): counted from where the row begins.
    """
    n_own = len(indptr) - 1
    most = members.shape[1]
    places = np.full((len(size), most, most), -1, np.int32)
    for c in numba.prange(len(size)):
        for i in range(size[c]):
            v = members[c, i]
            if v < n_own:
                for j in range(size[c]):
                    if i != j and (both or v < members[c, j]):
                        places[c, i, j] = _edge(indptr, indices, v, members[c, j]) - indptr[v]
    return places


@numba.njit(cache=True, parallel=True)
def shares(indptr: Any, members: Any, places: Any, cap: Any) -> Any:
    """Return the least that an edge of an own point leaves to each clique: int64, (c,); ``places`` of one direction.

    An edge divides what it has left by the number of these cliques that have it; all that do are among them.
    """
    count = np.zeros(len(cap), np.int64)
    most = members.shape[1]
    for c in range(len(members)):
        for i in range(most):
            for j in range(most):
                if places[c, i, j] >= 0:
                    count[indptr[members[c, i]] + places[c, i, j]] += 1
    least = np.full(len(members), np.iinfo(np.int64).max, np.int64)
    for c in numba.prange(len(members)):
        for i in range(most):
            for j in range(most):
                if places[c, i, j] >= 0:
                    e = indptr[members[c, i]] + places[c, i, j]
                    least[c] = min(least[c], cap[e] // count[e])
    return least


@numba.njit(cache=True)
def take_capacity(indptr: Any, members: Any, places: Any, cap: Any, least: Any) -> None:
    """Subtract each clique's weight from the limits of its edges, in place."""
    most = members.shape[1]
    for c in range(len(members)):
        for i in range(most):
            for j in range(most):
                if places[c, i, j] >= 0:
                    cap[indptr[members[c, i]] + places[c, i, j]] -= least[c]


@numba.njit(cache=True)
def clique_turns(members: Any, size: Any, status: Any) -> Any:
    """Return the t of each clique's inequalities: s - 1 and s, with s members in the subset, where they say something.

    Both are tight at s; those with t < 1 or t >= the clique's size say nothing and are 0.
    """
    turn = np.zeros((len(size), 2), np.int8)
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
    mu = np.zeros(turn.shape, least.dtype)
    for c in range(len(turn)):
        if turn[c, 0] and turn[c, 1]:
            mu[c, 0] = least[c] // 2
            mu[c, 1] = least[c] - mu[c, 0]
        elif turn[c, 0]:
            mu[c, 0] = least[c]
    return mu


@numba.njit(cache=True)
def clique_paces(members: Any, size: Any, pace: Any) -> Any:
    """Return the slowest pace of each clique's points: float32, (c,)."""
    out = np.empty(len(size), np.float32)
    for c in range(len(size)):
        out[c] = pace[members[c, 0]]
        for i in range(1, size[c]):
            out[c] = min(out[c], pace[members[c, i]])
    return out


@numba.njit(cache=True, parallel=True)
def move_cliques(members: Any, size: Any, least: Any, turn: Any, mu: Any, x: Any, pace: Any, step: float) -> None:
    """Move the cliques' variables by the smoothed t s - t(t+1)/2, then back to where their sum is allowed.

    ``x`` and ``step`` as in `subsel.bounding.certificate_kernel.move_edges`; ``pace``: `clique_paces`; ``mu`` is
    changed in place.
    """
    for c in numba.prange(len(size)):
        s = np.int64(0)
        for i in range(size[c]):
            s += x[np.uint32(members[c, i])]
        t, u = np.int64(turn[c, 0]), np.int64(turn[c, 1])
        a, b, most = np.int64(mu[c, 0]), np.int64(mu[c, 1]), np.int64(least[c])
        if t:  # the slope is (t s - t(t+1)/2) / t
            a = max(np.int64(0), a + np.int64(np.floor((s - 512 * (t + 1)) * (step * pace[c]))))
        if u:
            b = max(np.int64(0), b + np.int64(np.floor((s - 512 * (u + 1)) * (step * pace[c]))))
        over = a + b - most
        if over > 0:
            if t == 0 or b - (over - over // 2) > most:
                a, b = np.int64(0), most
            elif u == 0 or a - over // 2 > most:
                a, b = most, np.int64(0)
            else:
                a -= over // 2
                b = most - a
        mu[c, 0], mu[c, 1] = a, b


@numba.njit(cache=True, parallel=True)
def clique_loads(turn: Any, mu: Any) -> Any:
    """Return what each clique's variables take from each of its points: int64, (c,)."""
    load = np.empty(len(mu), np.int64)
    for c in numba.prange(len(mu)):
        load[c] = np.int64(mu[c, 0]) * turn[c, 0] + np.int64(mu[c, 1]) * turn[c, 1]
    return load


@numba.njit(cache=True, parallel=True)
def clique_constants(members: Any, turn: Any, mu: Any, n_own: int) -> Any:
    """Return what each clique's variables add to the bound: int64, (c,).

    0 where the clique's first member, whose part counts it, is a ghost.
    """
    constant = np.zeros(len(mu), np.int64)
    for c in numba.prange(len(mu)):
        if members[c, 0] < n_own:
            t, u = np.int64(turn[c, 0]), np.int64(turn[c, 1])
            constant[c] = mu[c, 0] * (t * (t + 1) // 2) + mu[c, 1] * (u * (u + 1) // 2)
    return constant


@numba.njit(cache=True, parallel=True)
def set_keys(
    base: Any, edge_load: Any, load: Any, of_point_ptr: Any, of_point: Any, code: Any, bits: int, key: Any
) -> None:
    """Set own points' keys to what they add, less what the variables of their edges and cliques take.

    Args:
        base, edge_load: int64, (n_own,).
        load: `clique_loads`.
        of_point_ptr, of_point: int64, (n_own+1,), and int32: the cliques of each own point.
        code: of own points and ghosts; its last ``bits`` are the tie of a key.
        key: changed in place.
    """
    for v in numba.prange(len(base)):
        value = base[v] - edge_load[v]
        for at in range(of_point_ptr[v], of_point_ptr[v + 1]):
            value -= load[np.uint32(of_point[at])]
        key[v] = (value << bits) | (code[v] & ((1 << bits) - 1))


@numba.njit(cache=True)
def cliques_of_points(members: Any, n_own: int) -> Any:
    """Return the cliques of each own point, ascending: int64, (n_own+1,), and int32."""
    ptr = np.zeros(n_own + 1, np.int64)
    for row in members:
        for v in row:
            if 0 <= v < n_own:
                ptr[v + 1] += 1
    ptr = np.cumsum(ptr)
    out, fill = np.empty(ptr[-1], np.int32), ptr[:-1].copy()
    for c, row in enumerate(members):
        for v in row:
            if 0 <= v < n_own:
                out[fill[v]] = c
                fill[v] += 1
    return ptr, out
