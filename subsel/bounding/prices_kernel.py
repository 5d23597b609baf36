"""Prices of limits on one part: what points are charged, and where they stand by value per unit of what they take.

Pure functions on arrays; compiled by numba. Values and prices are in the units of keys, 2^-tie_bits of a gain's.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.compiling import compiled, inlined, inner

#: More than any value (`subsel.fixedpoint.FixedPoint.choose`): who is charged so much is not worth it, whatever else.
MOST = 2**61
#: Bins of one search: of ratios of all sizes, by their first 7 bits; then of one such bin, into 2^12. Their numbers are
#: below `STRIDE`, and a bin above all others says that a ratio is above the bin that is looked into.
STRIDE = 1 << 13
_LEADING, _FINER = 6, 12
TOP = (1 << _FINER) + 1


@inner()
def _times(price: Any, amount: Any) -> Any:
    return MOST if amount > 0 and price > MOST // amount else price * amount


@compiled(parallel=True)
def charges(of_cost: int, of_slot: Any, slot: Any, by_cost: Any, cost: Any, n_own: int) -> Any:
    """Return what each own point is charged, `MOST` at most: int64, (n_own,).

    Args:
        of_cost: price of a unit of cost.
        of_slot: int64, (slots,): of what a point takes of its groups.
        slot: int32, (columns, n_own): the group of each point in each column, numbered through all columns.
        by_cost: bool, (columns,): whether a point takes its cost, or one.
        cost: int64, (n_own or more,); (0,) where nothing costs.
        n_own: number of own points.
    """
    out = np.zeros(n_own, np.int64)
    for v in numba.prange(n_own):
        total: Any = np.int64(0)
        if len(cost):
            total += _times(of_cost, cost[v])
        for j in range(len(by_cost)):
            total = min(total + _times(of_slot[slot[j, v]], cost[v] if by_cost[j] else np.int64(1)), MOST)
        out[v] = total
    return out


@inlined()
def _bits(x: int) -> int:
    count = 0
    while x > 0:
        x >>= 1
        count += 1
    return count


@compiled(parallel=True)
def place(value: Any, amount: Any, slot: Any, low: Any, shift: Any) -> Any:
    """Return ratios, value per amount rounded up, and their bins: int64, (m,); int64, (m,), -1 where they do not count.

    Args:
        value: int64, (m,).
        amount: int64, (m,), >= 0.
        slot: int64, (m,).
        low, shift: int64, (slots,): of each slot the bin that is looked into, ``low`` and 2^shift ratios from there on;
            (0,): all are.
    """
    ratio, found = np.zeros(len(value), np.int64), np.full(len(value), -1, np.int64)
    for v in numba.prange(len(value)):
        if value[v] <= 0 or amount[v] == 0:
            continue
        ratio[v] = (value[v] - 1) // amount[v] + 1
        if len(low) == 0:
            over = max(_bits(ratio[v]) - _LEADING - 1, 0)
            found[v] = (over << _LEADING) + (ratio[v] >> over)
        elif ratio[v] >= low[slot[v]]:
            finer = (ratio[v] - low[slot[v]]) >> max(shift[slot[v]] - _FINER, 0)
            found[v] = min(finer, TOP) if ratio[v] - low[slot[v]] < np.int64(1) << shift[slot[v]] else TOP
    return ratio, found


def bin_begins(number: Any) -> Any:
    """Return where first bins begin, and how many bits of a ratio each leaves open: int64, int64, as ``number``."""
    over = np.maximum((number >> _LEADING) - 1, 0)
    return (number - (over << _LEADING)) << over, over


@compiled()
def gather(index: Any, amount: Any, ratio: Any, size: int) -> Any:
    """Return for each index the sum of the amounts and the largest ratio: int64, (size,), each."""
    total, largest = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for v in range(len(index)):
        total[index[v]] += amount[v]
        largest[index[v]] = max(largest[index[v]], ratio[v])
    return total, largest


@compiled()
def cap(slot: Any, amount: Any, most: Any) -> Any:
    """Return what is left of amounts, by slot and in falling order in each, where slots take at most so much in all.

    Args:
        slot: int64, (m,), ascending.
        amount: int64, (m,).
        most: int64, (slots,).

    Returns:
        int64, (m,).
    """
    out = np.zeros(len(slot), np.int64)
    through: Any = np.int64(0)
    for at in range(len(slot)):
        if at == 0 or slot[at] != slot[at - 1]:
            through = np.int64(0)
        out[at] = min(amount[at], most[slot[at]] - through)
        through += out[at]
    return out
