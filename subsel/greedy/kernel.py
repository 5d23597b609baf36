"""Priority-queue greedy on one part of a graph. Pure functions on arrays; compiled by numba.

Arrays over "own and ghosts" have the part's own points first; see `subsel.graph.PartGraph` and `Board`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.fixedpoint import beats
from subsel.schema import Status
from subsel.threads import sort

_UNDECIDED = int(Status.UNDECIDED)
_DISCARDED = int(Status.DISCARDED)
_SELECTED = int(Status.SELECTED)
_JOINING = int(Status.JOINING)
_LEAVING = int(Status.LEAVING)
#: Points that the heap holds at once, or this share of all if that is more: filling it looks at all that wait.
BATCH = 8192
_MOST_BATCHES = 64
#: Points by which a batch's floor is judged.
_SAMPLE = 1024


@numba.njit(cache=True)
def sift_down(heap_key: Any, heap_slot: Any, size: int, code: Any, at: int) -> None:
    """Restore the max-heap below position ``at``."""
    key, slot = heap_key[at], heap_slot[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (  # codes are looked at only where keys tie
            heap_key[right] > heap_key[child]
            or (heap_key[right] == heap_key[child] and code[heap_slot[right]] > code[heap_slot[child]])
        ):
            child = right
        if heap_key[child] < key or (heap_key[child] == key and code[heap_slot[child]] < code[slot]):
            break
        heap_key[at], heap_slot[at] = heap_key[child], heap_slot[child]
        at = child
    heap_key[at], heap_slot[at] = key, slot


@numba.njit(cache=True)
def pick_dominant(
    indptr: Any,
    indices: Any,
    weight: Any,
    tie_bits: int,
    code: Any,
    key: Any,
    status: Any,
    lower: Any,
    limit: int,
    shift: int,
    batch: int,
) -> Any:
    """Select every point that greedy picks before all of its undecided neighbours; at most ``limit``.

    Points are taken in falling order of (key, code) from a lazy heap, which is filled batch by batch from the top, so
    that it stays in cache: whoever falls below a batch's floor waits for a later one. A point is final if none of its
    undecided neighbours beats it: neither an own point that was itself held back, nor a ghost with its last known
    key. Otherwise it is held back, and holds back the neighbours that it beats. A final point's key is the
    gain at which centralised greedy picks it: gains only fall, and until the first of a neighbourhood is
    picked nothing in it changes. On a part without ghosts nothing is held back and this is plain
    lazy greedy (Minoux 1978), in O((k + m_k) log n) and a look at all that wait per batch.

    With ``shift`` > 0 keys are compared without so many low bits: greedy on rounded gains, whose many ties break the
    long chains that rising utilities make (`subsel.greedy.exact`). ``batch`` is about how many points the heap holds;
    the result does not depend on it.

    Final points get ``status`` SELECTED and ``lower`` = key. What is left after ``limit`` final points has a
    smaller key than all of those, so it is in no top ``limit``: DISCARDED.

    Returns:
        int32, (n_decided,): the own points decided here, discarded ones last. The keys of their undecided
        neighbours are up to date; the lower bounds around discarded ones are for `Board.spread`.
    """
    n_own = len(indptr) - 1
    left = 0
    for v in range(n_own):
        left += status[v] == _UNDECIDED
    pool = np.empty(left, np.int32)  # undecided points that are not in the heap: their keys are below its floor
    heap_key = np.empty(left, np.int64)
    heap_slot = np.empty(left, np.int32)
    decided = np.empty(left, np.int32)
    left = 0
    for v in range(n_own):
        if status[v] == _UNDECIDED:
            pool[left] = v
            left += 1
    batch = max(batch, left // _MOST_BATCHES)
    floor = floor_of_batch(pool[:0], key, shift, batch)
    size = 0

    held_back = np.zeros(n_own, np.bool_)
    n_decided = 0
    while size + left > 0 and n_decided < limit:
        if size == 0:
            floor = floor_of_batch(pool[:left], key, shift, batch)
            left, size = fill_heap(pool, left, heap_key, heap_slot, key, shift, floor)
            for at in range(size // 2 - 1, -1, -1):
                sift_down(heap_key, heap_slot, size, code, at)
        v = heap_slot[0]
        now = key[v] >> shift
        if heap_key[0] != now and now >= floor:  # stale: a neighbour was picked since; gains only fall
            heap_key[0] = now
            sift_down(heap_key, heap_slot, size, code, 0)
            continue
        fallen = heap_key[0] != now
        size -= 1
        heap_key[0], heap_slot[0] = heap_key[size], heap_slot[size]
        sift_down(heap_key, heap_slot, size, code, 0)
        if fallen:
            pool[left] = v
            left += 1
            continue

        final = True
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] != _UNDECIDED:
                continue
            # An own point held back was popped before v, so it beats v; a ghost's stale key is an upper bound.
            blocked = held_back[j] if j < n_own else beats(key[j] >> shift, code[j], key[v] >> shift, code[v])
            if blocked:
                final = False
                break
        if not final:
            held_back[v] = True
            continue

        status[v] = _SELECTED
        lower[v] = key[v]
        decided[n_decided] = v
        n_decided += 1
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if j < n_own and status[j] == _UNDECIDED:
                key[j] -= np.int64(weight[e]) << tie_bits
    if n_decided == limit:
        for i in range(left + size):
            v = pool[i] if i < left else heap_slot[i - left]
            status[v] = _DISCARDED
            decided[n_decided] = v
            n_decided += 1
    return decided[:n_decided]


@numba.njit(cache=True)
def floor_of_batch(pool: Any, key: Any, shift: int, batch: int) -> Any:
    """Return a key that about ``batch`` points of the pool reach, at least one; judged by some of them."""
    if len(pool) <= 2 * batch:
        return np.int64(-(2**63))
    sample = np.empty(_SAMPLE, np.int64)
    for i in range(_SAMPLE):
        sample[i] = key[pool[i * len(pool) // _SAMPLE]] >> shift
    sort(sample)
    return sample[_SAMPLE - 1 - _SAMPLE * batch // len(pool)]


@numba.njit(cache=True)
def fill_heap(pool: Any, left: int, heap_key: Any, heap_slot: Any, key: Any, shift: int, floor: Any) -> Any:
    """Move the points that reach the floor from the pool to the empty heap; return how many are in each."""
    kept = size = 0
    for v in pool[:left]:
        now = key[v] >> shift
        if now >= floor:
            heap_key[size], heap_slot[size] = now, v
            size += 1
        else:
            pool[kept] = v
            kept += 1
    return kept, size


@numba.njit(cache=True)
def mark_movers(
    indptr: Any,
    indices: Any,
    weight: Any,
    conflict: Any,
    tie_bits: int,
    code: Any,
    key: Any,
    status: Any,
    at_key: int,
    at_code: int,
) -> Any:
    """Mark own movers that no mover next to them outdoes: JOINING or LEAVING.

    A mover is a member below the place (at_key, at_code), or an outsider at it or above. How far its gain is from that
    of the place says who outdoes whom, equal ones by code.

    Args:
        conflict: bool, (m,): edges whose ends exclude each other; (0,) where none do.
        key: what each point adds to the members; of ghosts, too, exactly.
        status: SELECTED and DISCARDED may move, others stay. Changed in place.

    Returns:
        int, int: how many marked JOINING and LEAVING have a gain other than that of the place.
    """
    n_own = len(indptr) - 1
    n = len(status)
    threshold = at_key >> tie_bits
    distance = np.full(n, -1, np.int64)  # of movers
    for v in range(n):
        above = not beats(at_key, at_code, key[v], code[v])
        if (status[v] == _DISCARDED and above) or (status[v] == _SELECTED and not above):
            distance[v] = abs((key[v] >> tie_bits) - threshold)
    better_in = better_out = 0
    for v in range(n_own):
        if distance[v] < 0:
            continue
        first = True
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            joined = weight[e] > 0 or (len(conflict) > 0 and conflict[e])
            if joined and distance[j] >= 0 and beats(distance[j], code[j], distance[v], code[v]):
                first = False
                break
        if not first:
            continue
        if status[v] == _DISCARDED:
            status[v] = _JOINING
            better_in += distance[v] > 0
        else:
            status[v] = _LEAVING
            better_out += distance[v] > 0
    return better_in, better_out
