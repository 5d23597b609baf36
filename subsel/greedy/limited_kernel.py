"""Greedy under limits on one part of a graph. Pure functions on arrays; compiled by numba.

The rule: points are taken in falling order of (rank, code). One that no longer fits a limit is passed over for good and
lowers nobody; any other is picked: its neighbours' gains fall, and those too similar to it are out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from subsel.compiling import compiled, inlined, inner
from subsel.fixedpoint import beats
from subsel.greedy.kernel import TOP, Room, fill_heap, floor_of_batch, sift_down
from subsel.schema import Status

_UNDECIDED = int(Status.UNDECIDED)
_DISCARDED = int(Status.DISCARDED)
_SELECTED = int(Status.SELECTED)
#: Keys have 62 bits: what costs nothing ranks above all quotients, or below them where it gains nothing either.
_FREE = 1 << 62


@inlined()
def rank_of(key: int, cost: int) -> int:
    """Return gain per cost: floor(key / cost), which falls as the key does; of what costs nothing see `_FREE`."""
    if cost == 0:
        return key + _FREE if key >= 0 else key - _FREE
    return key // cost


@compiled(parallel=True)
def ranks(key: Any, cost: Any) -> Any:
    """Return `rank_of` many points: int64, (n,)."""
    out = np.empty(len(key), np.int64)
    for v in numba.prange(len(key)):
        out[v] = rank_of(key[v], cost[v])
    return out


class Edges(NamedTuple):
    """The part's edges: indptr, indices, weight, tie_bits as in `subsel.greedy.kernel`, conflict.

    ``conflict``, bool, (m,): edges whose ends exclude each other; (0,) where none do.
    """

    indptr: Any
    indices: Any
    weight: Any
    conflict: Any
    tie_bits: int


class Quotas(NamedTuple):
    """The groups of points and what they have left, see `subsel.limits.tables.merge`.

    Attributes:
        slot: int32, (columns, n_own): the group of each point in each column, numbered through all columns.
        by_cost: bool, (columns,): whether a point takes its cost, or one.
        room: int64, (slots,): what members leave. Changed in place.
        reserved: int64, (slots,): what they leave of the minima; (0,) without. Changed in place.
        foreign: int64, (slots,): what undecided points of other parts would take.
        sure_rank, sure_code: int64, (slots,): the place from which up everything undecided fits together.
        certain_rank, certain_code: int64, (slots,): the same for what is reserved.
    """

    slot: Any
    by_cost: Any
    room: Any
    reserved: Any
    foreign: Any
    sure_rank: Any
    sure_code: Any
    certain_rank: Any
    certain_code: Any


class Left(NamedTuple):
    """What is left in all.

    Attributes:
        points: that may be selected.
        budget: that they may cost.
        free: places that no minimum reserves.
        free_rank, free_code: the place from which up there are such places for all.
    """

    points: int
    budget: int
    free: int
    free_rank: int
    free_code: int


class Mode(NamedTuple):
    """What holds here.

    Attributes:
        fill: whether points are picked whose gain is negative.
        alone: whether all undecided points are here: then nothing is unsure.
        whole: whether points and budget are limits, as on one part; else they say from where on all that is left comes
            after the end, which is cut later.
    """

    fill: bool
    alone: bool
    whole: bool


@inner()
def has_room(v: int, price: Any, free: Any, quotas: Quotas) -> bool:
    """Return whether the groups of a point have room for it, as far as this part knows."""
    slot, by_cost, room, reserved = quotas.slot, quotas.by_cost, quotas.room, quotas.reserved
    for j in range(len(by_cost)):
        need = price if by_cost[j] else np.int64(1)
        if need != 0 and need > room[slot[j, v]]:
            return False
    return len(reserved) == 0 or reserved[slot[0, v]] > 0 or free > 0


@inner()
def surely_fits(v: int, price: Any, rank: Any, code: Any, held: Any, quotas: Quotas, left: Left) -> bool:
    """Return whether nothing that may still come before a point, here or elsewhere, can take its room.

    ``held``, int64, (slots,): what points of this part take that were held back.
    """
    slot, by_cost, room, foreign, reserved = quotas.slot, quotas.by_cost, quotas.room, quotas.foreign, quotas.reserved
    for j in range(len(by_cost)):
        at = slot[j, v]
        need = price if by_cost[j] else np.int64(1)
        if need == 0 or foreign[at] + held[at] + need <= room[at]:
            continue
        if beats(quotas.sure_rank[at], quotas.sure_code[at], rank, code):
            return False
    if len(reserved) == 0:
        return True
    at = slot[0, v]
    by_right = foreign[at] + held[at] < reserved[at]
    by_right = by_right or not beats(quotas.certain_rank[at], quotas.certain_code[at], rank, code)
    return by_right or not beats(left.free_rank, left.free_code, rank, code)


@inner()
def hold_back(v: int, price: Any, held: Any, quotas: Quotas) -> None:
    """Count what a point takes that was held back."""
    for j in range(len(quotas.by_cost)):
        held[quotas.slot[j, v]] += price if quotas.by_cost[j] else np.int64(1)


@inner()
def take_room(v: int, price: Any, quotas: Quotas) -> int:
    """Take the room of a point that is picked; return how many places it takes that nothing reserves."""
    for j in range(len(quotas.by_cost)):
        quotas.room[quotas.slot[j, v]] -= price if quotas.by_cost[j] else np.int64(1)
    if len(quotas.reserved) == 0:
        return 0
    if quotas.reserved[quotas.slot[0, v]] > 0:
        quotas.reserved[quotas.slot[0, v]] -= 1
        return 0
    return 1


@compiled()
def pick_fitting(
    edges: Edges,
    code: Any,
    key: Any,
    rank: Any,
    status: Any,
    lower: Any,
    per_cost: Any,
    cost: Any,
    quotas: Quotas,
    left_in_all: Left,
    mode: Mode,
    room: Room,
) -> Any:
    """Select every point that the rule surely picks, knowing of other parts only what was heard last.

    Points are taken from a lazy heap as in `subsel.greedy.kernel.pick_dominant`. One is final if none of its undecided
    neighbours beats it and it surely fits: nothing that may still come before it can take its room in any group.

    Args:
        edges: of the part.
        code: int64, (n_own + n_ghost,).
        key: changed in place.
        rank: int64, (n_own + n_ghost,): of the keys; changed in place. ``key`` itself where gains rank.
        status, lower: changed in place.
        per_cost: int64, (n_own + n_ghost,): what keys are divided by; (0,) where gains rank.
        cost: int64, (n_own,): what points take of the budget and of slots by cost; (0,) where that is one each.
        quotas: of groups.
        left_in_all: of size and budget.
        mode: how much of that holds here.
        room: what it writes to.

    Returns:
        int32, (n_out,): own points that were discarded; int32, (n_killed,): ghosts that were.
    """
    indptr, indices, weight, conflict, tie_bits = edges
    points, free = left_in_all.points, left_in_all.free
    budget: Any = left_in_all.budget
    fill, alone, whole = mode
    n_own = len(indptr) - 1
    conflicts, costs = len(conflict) > 0, len(cost) > 0
    batch, pool, heap_key, heap_slot, out, held_back, sample = room
    left = len(pool)
    cheapest: Any = np.int64(2**62)
    for v in pool:
        cheapest = min(cheapest, cost[v] if costs else 1)
    killed = np.zeros(len(status) - n_own, np.bool_)
    batch = max(batch, left // 64)
    floor = np.int64(-(2**63))
    size = n_out = n_killed = 0
    held = np.zeros(len(quotas.room), np.int64)
    while size + left > 0:
        if points <= 0 or (budget < cheapest if whole else budget < 0):
            break
        if size == 0:
            floor = floor_of_batch(pool, left, rank, 0, batch, sample)
            left, size = fill_heap(pool, left, heap_key, heap_slot, rank, 0, floor)
            for at in range(size // 2 - 1, -1, -1):
                sift_down(heap_key, heap_slot, size, code, at)
        v = heap_slot[0]
        now = rank[v]
        open_ = status[v] == _UNDECIDED
        if open_ and heap_key[0] != now and now >= floor:
            heap_key[0] = now
            sift_down(heap_key, heap_slot, size, code, TOP)
            continue
        fallen = heap_key[0] != now
        size -= 1
        heap_key[0], heap_slot[0] = heap_key[size], heap_slot[size]
        sift_down(heap_key, heap_slot, size, code, TOP)
        if not open_:  # too similar to one that was picked
            continue
        if fallen:
            pool[left] = v
            left += 1
            continue

        price: Any = cost[v] if costs else np.int64(1)
        fits = (fill or key[v] >= 0) and not (whole and price > budget) and has_room(v, price, free, quotas)
        if not fits:
            status[v] = _DISCARDED
            out[n_out] = v
            n_out += 1
            continue

        final = True
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] != _UNDECIDED:
                continue
            if held_back[j] if j < n_own else beats(rank[j], code[j], rank[v], code[v]):
                final = False
                break
        if final and not alone:
            final = surely_fits(v, price, rank[v], code[v], held, quotas, left_in_all)
        if not final:
            held_back[v] = True
            hold_back(v, price, held, quotas)
            continue

        status[v] = _SELECTED
        lower[v] = key[v]
        points -= 1
        if costs:
            budget -= price
        free -= take_room(v, price, quotas)
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] != _UNDECIDED:
                continue
            if conflicts and conflict[e]:
                status[j] = _DISCARDED
                if j < n_own:
                    out[n_out] = j
                    n_out += 1
                else:
                    killed[j - n_own] = True
                    n_killed += 1
            elif j < n_own:
                key[j] -= np.int64(weight[e]) << tie_bits
                if len(per_cost):
                    rank[j] = rank_of(key[j], per_cost[j])
    pool[left : left + size] = heap_slot[:size]
    for v in pool[: left + size]:
        if status[v] == _UNDECIDED:
            status[v] = _DISCARDED
            out[n_out] = v
            n_out += 1
    ghosts = np.empty(n_killed, np.int32)
    n_killed = 0
    for g in range(len(killed)):
        if killed[g]:
            ghosts[n_killed] = n_own + g
            n_killed += 1
    return out[:n_out], ghosts


@compiled(parallel=True)
def beside(indptr: Any, indices: Any, conflict: Any, status: Any, least: int, most: int) -> Any:
    """Return who of the own points has an edge of conflict to one whose status is in a range: bool, (n_own,)."""
    found = np.zeros(len(indptr) - 1, np.bool_)
    for v in numba.prange(len(found)):
        for e in range(indptr[v], indptr[v + 1]):
            if conflict[e] and least <= status[indices[e]] <= most:
                found[v] = True
                break
    return found


@compiled(parallel=True)
def at_their_turn(edges: Edges, code: Any, key: Any, rank: Any, status: Any, per_cost: Any, n_own: int) -> Any:
    """Return the least key that each own undecided point can have at its turn, and whether it comes to one.

    What is picked before a point ranked above it then. So nobody takes anything from it but neighbours that may rank
    above what is left of it by others who do: the least set of neighbours that is closed under that.

    Args:
        edges: of the part; their weights are not negative.
        code, key, rank, status: int64, (n_own + n_ghost,): of own points, and of ghosts at most.
        per_cost: see `pick_fitting`.
        n_own: own points.

    Returns:
        int64, (n_own,): keys; bool, (n_own,): whether nobody who excludes it may come before. Of others than undecided
        points neither says anything.
    """
    indptr, indices, weight, conflict, tie_bits = edges
    least = key[:n_own].copy()
    comes = np.ones(n_own, np.bool_)
    for v in numba.prange(n_own):
        if status[v] != _UNDECIDED:
            continue
        before = -1
        while True:
            place = rank_of(least[v], per_cost[v]) if len(per_cost) else least[v]
            taken, number = np.int64(0), 0
            for e in range(indptr[v], indptr[v + 1]):
                j = indices[e]
                if status[j] != _UNDECIDED or not beats(rank[j], code[j], place, code[v]):
                    continue
                number += 1
                if len(conflict) and conflict[e]:
                    comes[v] = False
                else:
                    taken += np.int64(weight[e])
            if number == before:
                break
            before = number
            least[v] = key[v] - (taken << tie_bits)
    return least, comes
