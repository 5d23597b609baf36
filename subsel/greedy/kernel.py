"""Priority-queue greedy on one part of a graph. Pure functions on arrays; compiled by numba.

Arrays over "own and ghosts" have the part's own points first; see `subsel.graph.PartGraph` and `Board`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled, inner
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


class Room(NamedTuple):
    """What `pick_dominant` and its like write to: kernels that make arrays take longer to compile.

    Attributes:
        batch: about how many points the heap holds; results do not depend on it.
        pool: int32, (u,): undecided own points, ascending; at first none is in the heap.
        heap_key: int64, (u,).
        heap_slot: int32, (u,).
        decided: int32, (u,).
        held_back: bool, (n_own,): nobody.
        sample: int64, (1024,): for a batch's floor.
    """

    batch: int
    pool: Any
    heap_key: Any
    heap_slot: Any
    decided: Any
    held_back: Any
    sample: Any

    @classmethod
    def of(cls, status: npt.NDArray[np.int8], batch: int) -> Self:
        """Return what the own points of a status, int8, (n_own,), need."""
        pool = np.flatnonzero(status == Status.UNDECIDED).astype(np.int32)
        heap_key, heap_slot, decided = np.empty(len(pool), np.int64), np.empty_like(pool), np.empty_like(pool)
        held_back, sample = np.zeros(len(status), np.bool_), np.empty(_SAMPLE, np.int64)
        return cls(batch, pool, heap_key, heap_slot, decided, held_back, sample)


#: First position of a heap; a literal would compile what takes it once more.
TOP: Any = np.int64(0)


@inner()
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


@compiled()
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
    room: Room,
) -> int:
    """Select every point that greedy picks before all of its undecided neighbours; at most ``limit``.

    Points are taken in falling order of (key, code) from a lazy heap, which is filled batch by batch from the top, so
    that it stays in cache: whoever falls below a batch's floor waits for a later one. A point is final if none of its
    undecided neighbours beats it: neither an own point that was itself held back, nor a ghost with its last known
    key. Otherwise it is held back, and holds back the neighbours that it beats. A final point's key is the
    gain at which centralised greedy picks it: gains only fall, and until the first of a neighbourhood is
    picked nothing in it changes. On a part without ghosts nothing is held back and this is plain
    lazy greedy (Minoux 1978), in O((k + m_k) log n) and a look at all that wait per batch.

    With ``shift`` > 0 keys are compared without so many low bits: greedy on rounded gains, whose many ties break the
    long chains that rising utilities make (`subsel.greedy.exact`).

    Final points get ``status`` SELECTED and ``lower`` = key. What is left after ``limit`` final points has a
    smaller key than all of those, so it is in no top ``limit``: DISCARDED.

    Returns:
        how many own points are decided here, the first of ``room.decided``, discarded ones last. The keys of their
        undecided neighbours are up to date; the lower bounds around discarded ones are for `Board.spread`.
    """
    n_own = len(indptr) - 1
    batch, pool, heap_key, heap_slot, decided, held_back, sample = room
    left, size = len(pool), 0  # the pool's first are not in the heap: their keys are below its floor
    batch = max(batch, left // _MOST_BATCHES)
    floor = np.int64(-(2**63))
    n_decided = 0
    while size + left > 0 and n_decided < limit:
        if size == 0:
            floor = floor_of_batch(pool, left, key, shift, batch, sample)
            left, size = fill_heap(pool, left, heap_key, heap_slot, key, shift, floor)
            for at in range(size // 2 - 1, -1, -1):
                sift_down(heap_key, heap_slot, size, code, at)
        v = heap_slot[0]
        now = key[v] >> shift
        if heap_key[0] != now and now >= floor:  # stale: a neighbour was picked since; gains only fall
            heap_key[0] = now
            sift_down(heap_key, heap_slot, size, code, TOP)
            continue
        fallen = heap_key[0] != now
        size -= 1
        heap_key[0], heap_slot[0] = heap_key[size], heap_slot[size]
        sift_down(heap_key, heap_slot, size, code, TOP)
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
    return n_decided


@inner()
def floor_of_batch(pool: Any, left: int, key: Any, shift: int, batch: int, sample: Any) -> Any:
    """Return a key that about ``batch`` of the pool's first points reach, at least one; judged by some of them."""
    if left <= 2 * batch:
        return np.int64(-(2**63))
    for i in range(_SAMPLE):
        sample[i] = key[pool[i * left // _SAMPLE]] >> shift
    sort(sample)
    return sample[_SAMPLE - 1 - _SAMPLE * batch // left]


@inner()
def fill_heap(pool: Any, left: int, heap_key: Any, heap_slot: Any, key: Any, shift: int, floor: Any) -> Any:
    """Move the points that reach the floor from the pool to the empty heap; return how many are in each."""
    kept = size = 0
    for i in range(left):
        v = pool[i]
        now = key[v] >> shift
        if now >= floor:
            heap_key[size], heap_slot[size] = now, v
            size += 1
        else:
            pool[kept] = v
            kept += 1
    return kept, size


@compiled()
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
    distance: Any,
) -> Any:
    """Mark own movers that no mover next to them outdoes: JOINING or LEAVING.

    A mover is a member below the place (at_key, at_code), or an outsider at it or above. How far its gain is from that
    of the place says who outdoes whom, equal ones by code.

    Args:
        conflict: bool, (m,): edges whose ends exclude each other; (0,) where none do.
        key: what each point adds to the members; of ghosts, too, exactly.
        status: SELECTED and DISCARDED may move, others stay. Changed in place.
        distance: int64, (n_own + n_ghost,): written to.

    Returns:
        int, int: how many marked JOINING and LEAVING have a gain other than that of the place.
    """
    n_own = len(indptr) - 1
    n = len(status)
    threshold = at_key >> tie_bits
    for v in range(n):
        distance[v] = -1  # no mover
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
