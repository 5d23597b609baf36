"""Where undecided points of groups stand, and who fits: kernels of `subsel.limits.tables`, compiled by numba.

Arrays are of rows by slot and falling place: ``index``, the slot's number; ``rank`` and ``code`` of the place;
``amount``, what is taken down to there from the row before; ``largest`` of these amounts, where that is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled
from subsel.fixedpoint import beats

#: Amounts, each at most half of the one before, of which it is known from which place down nobody fits who takes it.
LEVELS = 12
#: A place before all others, and after.
ABOVE, BELOW = 2**63 - 1, -(2**63)


@compiled()
def down_to(index: Any, rank: Any, code: Any, amount: Any, left: Any) -> Any:
    """Return for each slot the last place down to which amounts fit into what is left.

    `ABOVE` where the first does not, `BELOW` where all do. Rows of one place fit together or not at all.
    """
    ranks, codes = np.full(len(left), BELOW, np.int64), np.full(len(left), BELOW, np.int64)
    at = 0
    while at < len(index):
        slot, through = index[at], np.int64(0)
        last_rank, last_code = ABOVE, ABOVE
        while at < len(index) and index[at] == slot:
            end, together = at, np.int64(0)
            while end < len(index) and index[end] == slot and rank[end] == rank[at] and code[end] == code[at]:
                together += amount[end]
                end += 1
            through += together
            if through > left[slot]:
                ranks[slot], codes[slot] = last_rank, last_code
                while at < len(index) and index[at] == slot:
                    at += 1
                break
            last_rank, last_code = rank[at], code[at]
            at = end
    return ranks, codes


@compiled()
def leave_out(
    index: Any,
    rank: Any,
    code: Any,
    amount: Any,
    largest: Any,
    sure_index: Any,
    sure_rank: Any,
    sure_code: Any,
    sure_amount: Any,
    sure_largest: Any,
    left: Any,
) -> Any:
    """Find single points that surely do not fit when their turn comes; set their ``amount`` to 0.

    Those that are picked if they fit, ``sure_``, and come before one leave less than it takes; or one of them has been
    passed over, and less is left than that takes, which is no more than this one. The first five
    arrays are of kind `subsel.limits.tables.UPPER`, those named ``sure_`` of kind `LOWER`.

    Returns:
        int64, (LEVELS, slots) each: their ranks and codes, `BELOW` from where there are no more.
    """
    ranks = np.full((LEVELS, len(left)), BELOW, np.int64)
    codes = ranks.copy()
    before, level = 0, 0
    through, most, slot = np.int64(0), np.int64(0), np.int64(-1)
    for at in range(len(index)):
        if index[at] != slot:
            slot, through, most, level = index[at], np.int64(0), np.int64(0), 0
            while before < len(sure_index) and sure_index[before] < slot:
                before += 1
        while before < len(sure_index) and sure_index[before] == slot:
            if not beats(sure_rank[before], sure_code[before], rank[at], code[at]):
                break
            through += sure_amount[before]
            most = max(most, sure_largest[before])
            before += 1
        alone = amount[at] == largest[at] and level < LEVELS
        if alone and amount[at] >= most and amount[at] > left[slot] - through:
            amount[at] = 0
            ranks[level, slot], codes[level, slot] = rank[at], code[at]
            level += 1
    return ranks, codes


@compiled()
def floors(index: Any, rank: Any, code: Any, amount: Any, largest: Any, left: Any) -> Any:
    """Return for each slot places below which nobody fits who takes some amount or more: int64, (LEVELS, slots) each.

    Points that are picked if they fit, and together take what is left, leave nothing; or one of them was passed over,
    and less is left than that takes: less than the ``largest`` of them does. All count at level 0, at each further
    level those that take at most half as much. They count from the top, whatever was said of levels before: a point
    may be picked above the place at which it counts. Places are `BELOW` where they never take all that is left.
    """
    ranks = np.full((LEVELS, len(left)), BELOW, np.int64)
    codes, most = ranks.copy(), np.zeros((LEVELS, len(left)), np.int64)
    begin = 0
    while begin < len(index):
        slot, end, top = index[begin], begin, np.int64(0)
        while end < len(index) and index[end] == slot:
            top = max(top, largest[end])
            end += 1
        for level in range(LEVELS if left[slot] > 0 else 0):
            through, seen, at_most = np.int64(0), np.int64(0), top >> level
            for at in range(begin, end):
                if not 0 < largest[at] <= at_most:
                    continue
                through += amount[at]
                seen = max(seen, largest[at])
                if through >= left[slot]:
                    ranks[level, slot], codes[level, slot], most[level, slot] = rank[at], code[at], seen
                    break
        begin = end
    return ranks, codes, most


@compiled()
def beyond(index: Any, amount: Any, most: Any, reserved: Any) -> Any:
    """Return what each row takes beyond what is reserved for its slot, which takes ``most`` in all."""
    out = np.zeros(len(index), np.int64)
    through = np.zeros(len(most), np.int64)
    for at in range(len(index)):
        slot = index[at]
        before = max(min(through[slot], most[slot]) - reserved[slot], 0)
        through[slot] += amount[at]
        out[at] = max(min(through[slot], most[slot]) - reserved[slot], 0) - before
    return out


@compiled()
def taken_at(index: Any, rank: Any, code: Any, amount: Any, wanted: Any) -> Any:
    """Return for each slot the place at which amounts reach what is wanted: int64, (slots,) each.

    `ABOVE` where nothing is, `BELOW` where they never do.
    """
    ranks, codes = np.full(len(wanted), BELOW, np.int64), np.full(len(wanted), BELOW, np.int64)
    through, slot = np.int64(0), np.int64(-1)
    for at in range(len(index)):
        if index[at] != slot:
            slot, through = index[at], np.int64(0)
        before, through = through, through + amount[at]
        if before < wanted[slot] <= through:
            ranks[slot], codes[slot] = rank[at], code[at]
    for at in range(len(wanted)):
        if wanted[at] <= 0:
            ranks[at], codes[at] = ABOVE, ABOVE
    return ranks, codes
