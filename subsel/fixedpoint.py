"""Exact arithmetic: gains, weights and ties as int64 fixed point.

One int64 *key* per point carries its gain and breaks ties::

    key = round(gain x 2^F) << T | low T bits of code

Sums of keys and weights are sums of integers, so they do not depend on order: the same subset comes out
for any number of parts, workers and batches. Comparing two keys compares the gains first, then the ties.
Two points with equal keys are ordered by their whole *code*, a seeded 64-bit hash of the user's id that is
unique to it; so the order is total, and never that of the rows (docs/decisions/0001-ties.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled, inlined
from subsel.errors import InputError, option

#: Two of an int64's 64 bits are left unused: the sign, and one so that a sum of two keys cannot overflow.
_KEY_BITS = 62
_MAX_TIE_BITS = 31
_MIN_TIE_BITS = 8
#: Finer than any data; it keeps 2^F a float64.
_MAX_FRACTION_BITS = 512
#: 2^F must be a float64 in any case.
_MAX_EXPONENT = 1000
#: The binary exponent of the least number, and one less.
_LEAST_EXPONENT = -1074
#: More points than there will be: sums over so many are float64s.
_MANY_POINTS = 2.0**44
#: Weights are int32, at most 2^30, where that leaves this many fractional bits; else int64.
_NARROW_WEIGHT_BITS = 30
_ENOUGH_FRACTION_BITS = 24
#: A usual gain has so many units at least, or others than the largest could not be told apart.
_LEAST_UNITS = 2.0**8
#: That is refused where a value is so many times the usual one: all values of a graph may be tiny.
_DWARFS = 2.0**20

#: `exact_total` counts in units of 2^-1074, the least float64 above 0.
UNIT_BITS = 1074

Int64Array = npt.NDArray[np.int64]
WeightArray = npt.NDArray[np.int32] | npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """The scale of one run: how floats become keys. Recorded in the manifest.

    Keys and weights count f divided by ``unit``: where α and β follow from their ratio, gains are u - ratio·Σ s, so
    that utilities or similarities times a power of two make the same integers.

    Attributes:
        alpha: weight of utility, α ≥ 0.
        beta: weight of similarity, β ≥ 0.
        fraction_bits: F; may be negative where utilities are huge.
        tie_bits: T.
        wide: whether weights are int64 instead of int32, as one similarity far above the others needs.
        ratio: β/α, where α = 1/(1 + ratio) follows from it; None: α and β were given.
        origin: of utilities: gains count what they have above it. 0 but for budgets, which their origin must not move.
    """

    alpha: float
    beta: float
    fraction_bits: int
    tie_bits: int
    wide: bool = False
    ratio: float | None = None
    origin: float = 0.0

    @classmethod
    def choose(
        cls,
        alpha: float,
        beta: float,
        max_utility: float,
        max_degree: float,
        max_similarity: float,
        ratio: float | None = None,
        origin: float = 0.0,
    ) -> FixedPoint:
        """Choose the bits from the largest values of a graph, so that no key and no weight overflows.

        Args:
            alpha: α ≥ 0.
            beta: β ≥ 0.
            max_utility: largest |u(v) - origin|.
            max_degree: largest Σ s over the edges of one point.
            max_similarity: largest s.
            ratio: β/α, where they follow from it.
            origin: see `FixedPoint`.

        Raises:
            InputError: a gain could be beyond float64.
        """
        # |gain| <= α|u| + βΣs at every moment: gains start at αu and lose each edge at most once.
        one, other = (alpha, beta) if ratio is None else (1.0, ratio)
        largest = one * max_utility + other * max_degree
        if not math.isfinite(largest):
            raise InputError(f"the largest possible gain, {largest}, is no finite number: scale the utilities down.")
        # With a ratio all is relative to the largest gain, so that its scale does not matter.
        shift = 0 if ratio is None else max(_bits(largest), -_MAX_FRACTION_BITS)
        gain_bits = _bits(largest) - shift + 1
        fraction_bits = min(_KEY_BITS - _MIN_TIE_BITS - gain_bits, _MAX_FRACTION_BITS)
        wide = False
        if other * max_similarity > 0:
            narrow = _NARROW_WEIGHT_BITS - _bits(other * max_similarity) + shift
            wide = narrow < min(fraction_bits, _ENOUGH_FRACTION_BITS)
            fraction_bits = min(fraction_bits, _NARROW_WEIGHT_BITS if wide else narrow)
        tie_bits = min(_MAX_TIE_BITS, _KEY_BITS - gain_bits - fraction_bits)
        return cls(alpha, beta, min(fraction_bits - shift, _MAX_EXPONENT), tie_bits, wide, ratio, origin)

    @property
    def unit(self) -> float:
        """What 2^fraction_bits units of keys and weights are worth in f."""
        return 1.0 if self.ratio is None else self.alpha

    @property
    def scale(self) -> float:
        """2^F."""
        return math.ldexp(1.0, self.fraction_bits)

    def weights(self, similarity: npt.NDArray[Any]) -> WeightArray:
        """Return β·s / unit in fixed point, not shifted: int32 (int64 if ``wide``), ≥ 0, shaped as ``similarity``."""
        out: WeightArray = np.empty(similarity.shape, np.int64 if self.wide else np.int32)
        weight = self.beta if self.ratio is None else self.ratio
        for begin in range(0, len(similarity), 1 << 20):  # a float64 copy of a block, not of the graph
            block = similarity[begin : begin + (1 << 20)].astype(np.float64)
            out[begin : begin + (1 << 20)] = np.rint(block * weight * self.scale)
        return out

    def keys(self, utility: npt.NDArray[np.float64], code: Int64Array) -> Int64Array:
        """Return the key of each point at gain α·u / unit: int64, shape of ``utility``."""
        above = utility - self.origin if self.origin else utility
        weighed = above * self.alpha if self.ratio is None else above
        gain = np.rint(weighed * self.scale).astype(np.int64)
        return (gain << self.tie_bits) | (code & ((1 << self.tie_bits) - 1))


@dataclass(frozen=True, slots=True)
class Usual:
    """How large values usually are, whatever a few are, very large or next to nothing: by the mean of 32nd roots.

    Attributes:
        bits: sum of 2^(exponent/32) over all values but 0, by their binary exponents, in units of 2^-40: exact.
        some: how many these are.
        n: how many there are in all.
    """

    bits: int = 0
    some: int = 0
    n: int = 0

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Usual:
        """Return that of values of any shape."""
        some = values[values != 0]
        count = np.bincount(np.frexp(some)[1] - _LEAST_EXPONENT)
        here = np.flatnonzero(count).tolist()
        bits = sum(int(count[at]) * round(2.0 ** ((at + _LEAST_EXPONENT) / 32 + 40)) for at in here)
        return cls(bits, len(some), values.size)

    def __add__(self, other: Usual) -> Usual:
        return Usual(self.bits + other.bits, self.some + other.some, self.n + other.n)

    @property
    def size(self) -> float:
        """That mean's 32nd power, within a factor of 2; 0.0 where most are 0."""
        if 2 * self.some < self.n or not self.some:
            return 0.0
        return math.ldexp(1.0, min(round(32 * (math.log2(self.bits / self.some) - 40)), _MAX_EXPONENT))


def check_resolution(
    scale: FixedPoint, utility: tuple[float, Usual], degree: tuple[float, Usual], importance: float | None = None
) -> None:
    """Refuse values beside which those of most points would be rounded away.

    Args:
        scale: that the largest fit.
        utility: the largest |u|, and how large they are usually.
        degree: likewise Σ s over the edges of one point; under coverage, what it covers, of a target usually by one.
        importance: under coverage, the largest.

    Raises:
        InputError: a usual gain has too few units; the message names the value that dwarfs it.
    """
    one, other = (scale.alpha, scale.beta) if scale.ratio is None else (1.0, scale.ratio)
    terms = [one * utility[1].size, other * degree[1].size]
    # Weights that follow from the data are for both to count; given ones may leave either out.
    usual = sum(terms) if scale.ratio is None else min((term for term in terms if term), default=0.0)
    largest_term = max(one * utility[0], other * degree[0])
    if usual == 0 or usual * scale.scale >= _LEAST_UNITS or largest_term < _DWARFS * usual:
        return
    # The scale may follow from the value that dwarfs: so what is named is what is largest beside its like.
    weighed = (one, utility), (other, degree)
    beyond = [most / many.size if many.size else weight * most / usual for weight, (most, many) in weighed]
    if beyond[0] >= beyond[1]:
        what, largest = "a utility", utility[0]
    else:
        what, largest = "a point's sum of similarities", degree[0]
        if importance is not None:
            what = f"what a point covers, with {option('importance')} up to {importance:g},"
    raise InputError(
        f"{what} is {largest:.4g}, and most are far smaller: beside it, what other points gain could not be told "
        "apart. Leave out or clip rows with values so large."
    )


def _bits(value: float) -> int:
    """Return the smallest b with value <= 2^b (0 for value 0)."""
    if value == 0:
        return 0
    mantissa, exponent = math.frexp(value)
    return exponent - 1 if mantissa == 0.5 else exponent


def cover_range(degree: float, similarity: float, itself: float, importance: float) -> tuple[float, float]:
    """Return the most that a point covers in all, and of one, by the largest values of a graph.

    Args:
        degree: Σ s over the edges of one point.
        similarity: of an edge.
        itself: of a point to itself.
        importance: of a point.

    Raises:
        InputError: nobody's cover counts, or sums of many such could be beyond float64.
    """
    if importance == 0:
        raise InputError(f"{option('importance')} is 0 for all points that are left: there is nothing to cover.")
    if not math.isfinite((degree + itself) * importance * _MANY_POINTS):
        raise InputError(f"{option('importance')} goes up to {importance:g}, so sums are no finite numbers: scale it.")
    return (degree + itself) * importance, max(similarity, itself) * importance


def exact_sum(values: Int64Array) -> int:
    """Return the sum of int64 values, of any size."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def exact_total(similarity: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> int:
    """Return the sum of similarities (≥ 0, finite), exactly, in units of 2^-1074."""
    narrow = similarity.dtype == np.float32
    mantissa, least = (23, 149) if narrow else (52, 1074)
    low, high = np.zeros(2048, np.int64), np.zeros(2048, np.int64)
    _sums(np.ascontiguousarray(similarity).view(np.uint32 if narrow else np.uint64), mantissa, low, high)
    total = sum((((int(h) << 32) + int(w)) << e) for e, (w, h) in enumerate(zip(low, high, strict=True)) if w or h)
    return total << (UNIT_BITS - least)


@compiled()
def _sums(bits: Any, mantissa: int, low: Any, high: Any) -> None:
    """Sum floats by exponent, of which bit patterns are given: the low 32 bits of their mantissas, and the others."""
    for e in range(len(bits)):
        exponent, value = np.int64(bits[e]) >> mantissa, np.int64(bits[e]) & ((1 << mantissa) - 1)
        if exponent > 0:
            value, exponent = value | (1 << mantissa), exponent - 1
        low[exponent] += value & 0xFFFFFFFF
        high[exponent] += value >> 32


@inlined()
def beats(key_a: int, code_a: int, key_b: int, code_b: int) -> bool:
    """Return whether a comes before b in the total order: by key, equal keys by code."""
    return key_a > key_b or (key_a == key_b and code_a > code_b)
