"""Ranks and order statistics of values: exact, so that one machine and many parts give the same bits.

What the ranks of many points need of each distinct value is two counts, of the values below it and of those equal to
it. Both are integers, and one division makes a rank of them; so it does not matter who counts (`subsel.parts.ranks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from subsel.fixedpoint import Int64Array

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: A point's place in an ascending order: its value, then its code.
Place = tuple[float, int]
#: Codes before and after all others.
FIRST_CODE, LAST_CODE = -(2**63), 2**63 - 1

_ALL_BUT_SIGN = np.int64(2**63 - 1)


@dataclass(frozen=True, slots=True)
class Ties:
    """The distinct values of some points, and who has them.

    Attributes:
        value: int64, (m,), ascending: the distinct values, `as_ordered`.
        count: int64, (m,): selectable points of each; 0 where only others have it.
        index: int64, (n,): where each point's value is in ``value``.
    """

    value: Int64Array
    count: Int64Array
    index: Int64Array


def as_ordered(values: FloatArray) -> Int64Array:
    """Return int64 in the order of float64 values, equal where they are equal (−0.0 is 0.0); none may be NaN."""
    bits = (values + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    return np.where(bits < 0, bits ^ _ALL_BUT_SIGN, bits)  # larger magnitudes of negative floats come first


def from_ordered(ordered: Int64Array) -> FloatArray:
    """Return the values that `as_ordered` was given."""
    return np.where(ordered < 0, ordered ^ _ALL_BUT_SIGN, ordered).view(np.float64)


def ties(values: FloatArray, selectable: BoolArray) -> Ties:
    """Return the distinct values of n points and how many selectable ones have each; both arguments are (n,)."""
    value, index = np.unique(as_ordered(values), return_inverse=True)
    return Ties(value, np.bincount(index[selectable], minlength=len(value)).astype(np.int64), index)


def rank_of(below: Int64Array, equal: Int64Array, n_selectable: int) -> FloatArray:
    """Return the ranks in [0, 1] of values: (below + (equal − 1) / 2) / (n_selectable − 1), 0.5 where that is 0 / 0.

    Args:
        below: int64: selectable points whose value is smaller.
        equal: int64, same shape: those that have the value; 0 for a value that only other points have, whose rank is
            that of the gap where it is, at most 1.
        n_selectable: of all; 0.5 is every rank where it is 0 or 1.
    """
    if n_selectable <= 1:
        return np.full(below.shape, 0.5)
    last = 2 * (n_selectable - 1)
    doubled: Int64Array = np.minimum(2 * below + np.maximum(equal - 1, 0), last)
    return doubled / last  # whole numbers below 2^53: rounded once


def mean_ranks(values: FloatArray, selectable: BoolArray) -> FloatArray:
    """Return each point's rank among the selectable ones, in [0, 1]; tied values get the mean of their ranks.

    Args:
        values: float64, (n,), no NaN.
        selectable: bool, (n,); other points are ranked, too, but do not count.

    Returns:
        float64, (n,), see `rank_of`.
    """
    tied = ties(values, selectable)
    below = np.cumsum(tied.count) - tied.count
    return rank_of(below, tied.count, int(np.count_nonzero(selectable)))[tied.index]


def quantile_number(p: float, n: int) -> int:
    """Return which of n ascending values, counted from 1, quantile p in [0, 1] is: ⌈p·n⌉, at least 1.

    p is what it reads as: 0.05 of 20 values is the first, though the float is a little more than 1/20.
    """
    exact = Fraction(str(p)) * n
    return max(1, -(-exact.numerator // exact.denominator))


def quantile(values: FloatArray, p: float) -> float:
    """Return the ⌈p·n⌉-th smallest of values: float64, (n,), n ≥ 1, no NaN."""
    at = quantile_number(p, len(values)) - 1
    return float(np.partition(values, at)[at]) + 0.0


def lowest_place(values: FloatArray, codes: Int64Array, k: int) -> Place:
    """Return a place such that exactly k points are at or below it (`at_or_below`): smallest values, ties by code.

    Args:
        values: float64, (n,), no NaN.
        codes: int64, (n,), distinct.
        k: from 0 to n.

    Returns:
        The k-th smallest value; and of the points that have it, the last code that is taken, `LAST_CODE` where all
        are. For k = 0: −∞ and `FIRST_CODE`.
    """
    if k == 0:
        return -np.inf, FIRST_CODE
    value = float(np.partition(values, k - 1)[k - 1]) + 0.0
    equal = codes[values == value]
    needed = k - int(np.count_nonzero(values < value))
    return value, LAST_CODE if needed == len(equal) else int(np.partition(equal, needed - 1)[needed - 1])


def at_or_below(values: FloatArray, codes: Int64Array, place: Place) -> BoolArray:
    """Return which points are at or below a place: bool, (n,); arguments as `lowest_place`."""
    value, code = place
    inside: BoolArray = (values < value) | ((values == value) & (codes <= code))
    return inside
