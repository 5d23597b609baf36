"""Greedy of coverage on one part of a graph. Pure functions on arrays; compiled by numba.

    f(S) = Σ_v importance(v) · max_{s in S} sim(v, s) + λ Σ_{s in S} u(s)

Every point v is *covered* by its most similar member, as much as ``cover`` says. A candidate x is worth what it would
raise covers by, and λu. It is final if no other open candidate beats it that could raise the cover of a point which x
could raise, too: gains only fall, so until one of these is picked none of their gains changes.

Amounts are integers in the units of `subsel.graph.PartGraph.weight`: of row v and its neighbour j, ``takes`` is how
much j would cover v, ``gives`` how much v would cover j; they are one array where all points matter alike. Arrays over
"own and ghosts" have the part's own points first. What a part cannot see of a ghost v is told by v's home: its cover,
its *rival*, the best open candidate that is not this part's own, and ``near``, how much any such would cover it at
most. They were true when they were told: covers only rise and gains only fall, so rivals are upper bounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from subsel.compiling import compiled, inlined
from subsel.fixedpoint import beats
from subsel.greedy.kernel import TOP, sift_down
from subsel.greedy.limited_kernel import Left, Mode, Quotas, has_room, hold_back, rank_of, surely_fits, take_room
from subsel.schema import FIRST_MEMBER, Status

_UNDECIDED = int(Status.UNDECIDED)
_DISCARDED = int(Status.DISCARDED)
_SELECTED = int(Status.SELECTED)
_FIRST_MEMBER = int(FIRST_MEMBER)
#: The rank of no rival.
NOBODY = -(2**63)


@compiled(parallel=True)
def raise_covers(indptr: Any, indices: Any, takes: Any, gives: Any, itself: Any, status: Any, cover: Any) -> None:
    """Raise the covers of own points and ghosts to what members that this part knows cover them by.

    Args:
        indptr: int64, (n_own + 1,).
        indices: int32, (m,): neighbours of own points.
        takes: int, (m,), see above.
        gives: int, (m,), see above.
        itself: int64, (n_own,): how much each own point covers itself.
        status: int8, (n_own + n_ghost,).
        cover: int64, (n_own + n_ghost,). Changed in place.
    """
    n_own = len(indptr) - 1
    for v in numba.prange(n_own):
        most = cover[v]
        if status[v] >= _FIRST_MEMBER:
            most = max(most, itself[v])
        for e in range(indptr[v], indptr[v + 1]):
            if status[indices[e]] >= _FIRST_MEMBER:
                most = max(most, np.int64(takes[e]))
        cover[v] = most
    for v in range(n_own):  # few: the borders of members
        if status[v] >= _FIRST_MEMBER:
            for e in range(indptr[v], indptr[v + 1]):
                if indices[e] >= n_own:
                    cover[indices[e]] = max(cover[indices[e]], np.int64(gives[e]))


@inlined()
def gain_of(v: Any, indptr: Any, indices: Any, gives: Any, itself: Any, cover: Any) -> Any:
    """Return how much an own point would raise covers by."""
    gain = max(np.int64(0), itself[v] - cover[v])
    for e in range(indptr[v], indptr[v + 1]):
        gain += max(np.int64(0), np.int64(gives[e]) - cover[indices[e]])
    return gain


@compiled(parallel=True)
def count_gains(
    indptr: Any, indices: Any, gives: Any, itself: Any, cover: Any, base: Any, tie_bits: int, some: Any, key: Any
) -> None:
    """Set the keys of some own points to what they would add.

    Args:
        indptr: and the next four as in `raise_covers`.
        indices: see there.
        gives: see there.
        itself: see there.
        cover: see there.
        base: int64, (n_own,): keys of what points are worth by themselves, λu, with ties.
        tie_bits: of keys.
        some: bool, (n_own,).
        key: int64, (n_own + n_ghost,). Changed in place.
    """
    begun = cover.any()  # else gains are sums of rows, and who is in them does not matter
    for v in numba.prange(len(indptr) - 1):
        if some[v] and begun:
            key[v] = base[v] + (gain_of(v, indptr, indices, gives, itself, cover) << tie_bits)
        elif some[v]:
            gain = itself[v]
            for e in range(indptr[v], indptr[v + 1]):
                gain += np.int64(gives[e])
            key[v] = base[v] + (gain << tie_bits)


@compiled()
def nearest_open(
    indptr: Any, indices: Any, takes: Any, gives: Any, itself: Any, status: Any, near: Any
) -> tuple[Any, Any, Any]:
    """Return the two largest amounts by which open candidates would cover each point, and the first of these.

    Args:
        indptr: and the next five as in `raise_covers`.
        indices: see there.
        takes: see there.
        gives: see there.
        itself: see there.
        status: see there.
        near: int64, (n_ghost,): the largest of candidates that this part does not see.

    Returns:
        int64, int64, int32, (n_own + n_ghost,) each; the first's number, -1 for one that is not seen.
    """
    n_own, n = len(indptr) - 1, len(status)
    most, second = np.zeros(n, np.int64), np.zeros(n, np.int64)
    first = np.full(n, -1, np.int32)
    most[n_own:] = near
    for v in range(n_own):
        opened = status[v] == _UNDECIDED
        if opened:
            _enter(v, itself[v], v, most, second, first)
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] == _UNDECIDED:
                _enter(v, np.int64(takes[e]), j, most, second, first)
            if opened and j >= n_own:
                _enter(j, np.int64(gives[e]), v, most, second, first)
    return most, second, first


@inlined()
def _enter(v: Any, amount: Any, who: Any, most: Any, second: Any, first: Any) -> None:
    if amount > most[v]:
        second[v], most[v], first[v] = most[v], amount, who
    elif amount > second[v]:
        second[v] = amount


@compiled(parallel=True)
def least_gains(
    indptr: Any,
    indices: Any,
    gives: Any,
    itself: Any,
    cover: Any,
    most: Any,
    second: Any,
    first: Any,
    base: Any,
    tie_bits: int,
    some: Any,
    lower: Any,
) -> None:
    """Set ``lower`` of some own points to the least that their keys can become: if all other candidates were picked.

    Args:
        indptr: and all but the following as in `raise_covers`, `nearest_open` and `count_gains`.
        lower: int64, (n_own,). Changed in place.
    """
    for x in numba.prange(len(indptr) - 1):
        if not some[x]:
            continue
        others = second[x] if first[x] == x else most[x]
        gain = max(np.int64(0), itself[x] - max(cover[x], others))
        for e in range(indptr[x], indptr[x + 1]):
            v = indices[e]
            others = second[v] if first[v] == x else most[v]
            gain += max(np.int64(0), np.int64(gives[e]) - max(cover[v], others))
        lower[x] = base[x] + (gain << tie_bits)


class Covering(NamedTuple):
    """Who covers whom how much.

    Attributes:
        indptr: int64, (n_own + 1,).
        indices: int32, (m,): neighbours of own points.
        takes: int, (m,): how much each neighbour would cover the row's point; (0,) where rows do not say all.
        gives: int, (m,): how much each row's point would cover its neighbour.
        itself: int64, (n_own,): how much each own point covers itself.
        base: int64, (n_own,): keys of what points are worth by themselves, with ties.
        tie_bits: of keys.
        conflict: bool, (m,): edges whose ends exclude each other; (0,) where none do.
    """

    indptr: Any
    indices: Any
    takes: Any
    gives: Any
    itself: Any
    base: Any
    tie_bits: int
    conflict: Any


class Candidates(NamedTuple):
    """Own points and ghosts as candidates: int64 or int8, (n_own + n_ghost,) each; ``lower`` of own points.

    Attributes:
        code: see `subsel.codes`.
        key: exact for own undecided points, given what is covered. Changed, like the next three.
        rank: of the keys; ``key`` itself where gains rank.
        status: picked: SELECTED; excluded, or no longer fitting: DISCARDED.
        lower: of picked ones, their keys.
    """

    code: Any
    key: Any
    rank: Any
    status: Any
    lower: Any


class Rivals(NamedTuple):
    """The best open candidates of other parts that could raise the cover of own points and ghosts.

    Attributes:
        rank: int64, (n_own + n_ghost,), `NOBODY` where there is none.
        code: int64, (n_own + n_ghost,).
    """

    rank: Any
    code: Any


@inlined()
def _raise(v: Any, amount: Any, covering: Any, cover: Any, status: Any, told: bool, key: Any) -> None:
    """Raise a point's cover, if it is lower; where all are ``told``, keys lose what candidates add there no more."""
    before = cover[v]
    if amount <= before:
        return
    cover[v] = amount
    if not told:
        return
    if status[v] == _UNDECIDED and covering.itself[v] > before:
        key[v] -= (min(covering.itself[v], amount) - before) << covering.tie_bits
    for e in range(covering.indptr[v], covering.indptr[v + 1]):
        y, takes = covering.indices[e], np.int64(covering.takes[e])
        if takes > before and status[y] == _UNDECIDED:
            key[y] -= (min(takes, amount) - before) << covering.tie_bits


@compiled()
def pick_fitting(
    covering: Covering,
    rivals: Rivals,
    candidates: Candidates,
    cover: Any,
    per_cost: Any,
    cost: Any,
    quotas: Quotas,
    left_in_all: Left,
    mode: Mode,
) -> Any:
    """Select every own candidate that the rule surely picks before all that share a point with it.

    Candidates are taken in falling order of (rank, code) from a lazy heap: a gain is counted anew when its turn comes,
    and goes back if it fell (Minoux 1978). Where nobody is a ghost gains are up to date instead: a point whose cover
    rises knows who loses by it. One that a rival beats at a point whose cover it could raise, or which it excludes, is
    held back, and holds back all that come later at its points. On one part this is plain greedy.

    Args:
        covering: of the part.
        rivals: of other parts.
        candidates: own points and ghosts. Changed in place.
        cover: int64, (n_own + n_ghost,). Raised in place, by what is picked.
        per_cost: and the next four as in `subsel.greedy.limited_kernel.pick_fitting`.
        cost: see there.
        quotas: see there.
        left_in_all: see there.
        mode: see there.

    Returns:
        int32, (n_killed,): ghosts that were excluded.
    """
    indptr, indices, takes, gives, itself, base, tie_bits, conflict = covering
    code, key, rank, status, lower = candidates
    points, free = left_in_all.points, left_in_all.free
    budget: Any = left_in_all.budget
    fill, alone, whole = mode
    n_own = len(indptr) - 1
    conflicts, costs = len(conflict) > 0, len(cost) > 0
    told = n_own == len(status) and len(takes) == len(indices)
    size = 0
    cheapest: Any = np.int64(2**62)
    for v in range(n_own):
        if status[v] == _UNDECIDED:
            size += 1
            cheapest = min(cheapest, cost[v] if costs else 1)
    heap_key, heap_slot = np.empty(size, np.int64), np.empty(size, np.int32)
    size = 0
    for v in range(n_own):
        if status[v] == _UNDECIDED:
            heap_key[size], heap_slot[size] = rank[v], v
            size += 1
    for at in range(size // 2 - 1, -1, -1):
        sift_down(heap_key, heap_slot, size, code, at)
    blocked, held_back = np.zeros(len(status), np.bool_), np.zeros(n_own, np.bool_)
    held, killed = np.zeros(len(quotas.room), np.int64), np.zeros(len(status) - n_own, np.bool_)
    while size > 0:
        if points <= 0 or (budget < cheapest if whole else budget < 0):
            break
        x = heap_slot[0]
        open_ = status[x] == _UNDECIDED
        if open_:
            if not told:
                key[x] = base[x] + (gain_of(x, indptr, indices, gives, itself, cover) << tie_bits)
            rank[x] = rank_of(key[x], per_cost[x]) if len(per_cost) else key[x]
            if heap_key[0] != rank[x]:
                heap_key[0] = rank[x]
                sift_down(heap_key, heap_slot, size, code, TOP)
                continue
        size -= 1
        heap_key[0], heap_slot[0] = heap_key[size], heap_slot[size]
        sift_down(heap_key, heap_slot, size, code, TOP)
        if not open_:  # too similar to one that was picked
            continue
        price: Any = cost[x] if costs else np.int64(1)
        if not ((fill or key[x] >= 0) and not (whole and price > budget) and has_room(x, price, free, quotas)):
            status[x] = _DISCARDED
            continue

        raises = itself[x] > cover[x]
        final = not (raises and (blocked[x] or beats(rivals.rank[x], rivals.code[x], rank[x], code[x])))
        for e in range(indptr[x], indptr[x + 1]):
            v = indices[e]
            if gives[e] > cover[v] and (blocked[v] or beats(rivals.rank[v], rivals.code[v], rank[x], code[x])):
                final = False
                break
            alike = conflicts and conflict[e] and status[v] == _UNDECIDED
            if alike and (held_back[v] if v < n_own else beats(rank[v], code[v], rank[x], code[x])):
                final = False
                break
        if final and not alone:
            final = surely_fits(x, price, rank[x], code[x], held, quotas, left_in_all)
        if not final:
            held_back[x] = True
            hold_back(x, price, held, quotas)
            blocked[x] = blocked[x] or raises
            for e in range(indptr[x], indptr[x + 1]):
                blocked[indices[e]] = blocked[indices[e]] or gives[e] > cover[indices[e]]
            continue

        status[x] = _SELECTED
        lower[x] = key[x]
        points -= 1
        if costs:
            budget -= price
        free -= take_room(x, price, quotas)
        _raise(x, itself[x], covering, cover, status, told, key)
        for e in range(indptr[x], indptr[x + 1]):
            v = indices[e]
            _raise(v, np.int64(gives[e]), covering, cover, status, told, key)
            if conflicts and conflict[e] and status[v] == _UNDECIDED:
                status[v] = _DISCARDED
                if v >= n_own:
                    killed[v - n_own] = True
    for at in range(size):
        if status[heap_slot[at]] == _UNDECIDED:
            status[heap_slot[at]] = _DISCARDED
    return np.flatnonzero(killed).astype(np.int32) + np.int32(n_own)
