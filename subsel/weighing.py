"""How much utility and similarity weigh, and what utility is once it is known who is near whom.

The diversity D says what a selected neighbour costs, as a share of the spread of utilities::

    beta / alpha = D / (1 - D) * spread / s      spread = q95 - q05 of utilities, s = mean similarity of an edge

Both scales come from order statistics and an exact sum, so they do not depend on how the graph lies in parts; and
utilities or similarities times a power of two give the same subset, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled
from subsel.config import SelectConfig
from subsel.fixedpoint import UNIT_BITS, Int64Array
from subsel.input.utility import DENSITY, Utility
from subsel.ranks import mean_ranks, quantile, quantile_number
from subsel.report import WeightsReport
from subsel.threads import over_rows, row_for, sort

#: The spread of utilities is that between these of their quantiles.
LOW, HIGH = 0.05, 0.95
#: Neighbours of a point that its density goes by, at least.
_FEWEST = 10


@dataclass(frozen=True, slots=True)
class Spread:
    """Order statistics of the utilities of points that may be selected: two quantiles, and the extremes."""

    low: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, utility: npt.NDArray[np.float64]) -> Spread:
        """Return the order statistics of utilities: float64, (n,), n ≥ 1."""
        return cls(quantile(utility, LOW), quantile(utility, HIGH), float(utility.min()), float(utility.max()))

    @property
    def width(self) -> float:
        """q95 - q05; where that is 0 the whole range; 0 where all utilities are equal."""
        return self.high - self.low or self.most - self.least


@dataclass(frozen=True, slots=True)
class Weights:
    """α and β of f; and β/α where the diversity gave them, which the arithmetic then goes by."""

    alpha: float
    beta: float
    ratio: float | None = None

    @classmethod
    def of(cls, diversity: float, spread: Spread, mean_similarity: float) -> Weights:
        """Return the weights that a diversity comes to.

        Args:
            diversity: D in [0, 1).
            spread: of utilities.
            mean_similarity: of the graph's edges; 0 where there are none.
        """
        if mean_similarity == 0:
            return cls(1.0, 0.0)
        if spread.width == 0:
            return cls(0.0, 1.0)
        ratio = diversity / (1 - diversity) * spread.width / mean_similarity
        alpha = 1 / (1 + ratio)
        return cls(alpha, ratio * alpha, ratio)


def needs_density(utility: Utility, config: SelectConfig) -> bool:
    """Return whether points' densities are needed: for their utility, or to tell outliers."""
    return config.exclude_outliers > 0 or any(one.kind == DENSITY for one in utility.ingredients)


def needs_graph(utility: Utility, config: SelectConfig) -> bool:
    """Return whether points' neighbours are needed: beside a target only for densities, and for who excludes whom."""
    return config.target is None or config.max_similarity is not None or needs_density(utility, config)


def density_neighbors(n: int, k: int | None, most: int) -> int:
    """Return of how many nearest neighbours the mean similarity is a point's density: max(10, n/2k), at most ``most``.

    ``most`` are the neighbours that points have; in a graph of the user's, its median degree. Where k is not known: 10.
    """
    wanted = _FEWEST if k is None else max(_FEWEST, -(-n // (2 * k)))
    return max(1, min(wanted, most))


def densities(indptr: Int64Array, similarity: npt.NDArray[Any], m: int) -> npt.NDArray[np.float64]:
    """Return the sum of the m largest similarities of each point's edges, missing ones being 0, by m: float64, (n,).

    Summed in falling order, so the result does not depend on the order in which a part keeps its edges.
    """
    out = np.zeros(len(indptr) - 1, np.float64)
    over_rows(_densities, len(out), indptr, similarity, m, out, scratch=row_for(indptr))
    return out


@compiled(nogil=True)
def _densities(begin: int, end: int, indptr: Any, similarity: Any, m: int, out: Any, scratch: Any) -> None:
    for v in range(begin, end):
        first, degree = indptr[v], indptr[v + 1] - indptr[v]
        row = scratch[:degree]
        for i in range(degree):
            row[i] = similarity[first + i]
        sort(row)
        total = 0.0
        for i in range(min(m, degree)):
            total += row[degree - 1 - i]
        out[v] = total / m


def mean_of(total: int, count: int) -> float:
    """Return a mean of ``count`` numbers whose sum is ``total`` (`subsel.fixedpoint.exact_total`); 0 of none."""
    return float(Fraction(total, count << UNIT_BITS)) if count else 0.0


def median_degree(degree: npt.NDArray[np.int64]) -> int:
    """Return the ⌈n/2⌉-th smallest of degrees: int64, (n,), n ≥ 1."""
    at = quantile_number(0.5, len(degree)) - 1
    return int(np.partition(degree, at)[at])


def mixed(
    utility: Utility,
    stored: npt.NDArray[np.float64],
    density: npt.NDArray[np.float64] | None,
    selectable: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Return utilities made of ranks among all points: float64, (n,).

    Args:
        utility: what they are made of.
        stored: float64, (c, n): values of the ingredients that each row has.
        density: float64, (n,): see `densities`; None where it is not needed.
        selectable: bool, (n,): among whom ranks are.
    """
    return mean_of_ranks([mean_ranks(values, selectable) for values in values_of(utility, stored, density)])


def values_of(
    utility: Utility, stored: npt.NDArray[np.float64], density: npt.NDArray[np.float64] | None
) -> list[npt.NDArray[np.float64]]:
    """Return the values of all ingredients in their order; arguments as `mixed`."""
    found, rows = [], iter(stored)
    for one in utility.ingredients:
        if one.kind == DENSITY:
            assert density is not None
            found.append(density)
        else:
            found.append(next(rows) if one.stored else np.ones(stored.shape[1]))
    return found


def mean_of_ranks(ranks: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return the mean of ranks, summed in the order of the ingredients."""
    total = ranks[0].copy()
    for one in ranks[1:]:
        total += one
    return total / len(ranks)


def outlier_count(share: float, n: int) -> int:
    """Return how many of n points a share of them is, rounded down: 0.05 of 100 are 5."""
    return int(Fraction(str(share)) * n)


def report_of(
    utility: Utility,
    config: SelectConfig,
    spread: Spread | None,
    mean_similarity: float,
    *,
    neighbors: int | None,
    outliers: int,
    warning: str | None,
) -> WeightsReport:
    """Return what the objective weighs.

    Args:
        utility: what it is made of.
        config: diversity, or α and β.
        spread: of utilities; None where α and β are given.
        mean_similarity: of the graph's edges.
        neighbors: that densities go by, None where there are none.
        outliers: points left out.
        warning: see `subsel.input.utility.Utility.warning`.
    """
    if config.weights is not None:
        weights, scales = Weights(*config.weights), None
    else:
        assert spread is not None
        weights, scales = Weights.of(config.diversity, spread, mean_similarity), spread.width
    return WeightsReport(
        utility=str(utility),
        alpha=weights.alpha,
        beta=weights.beta,
        ratio=weights.ratio,
        diversity=None if scales is None else config.diversity,
        spread=scales,
        mean_similarity=mean_similarity,
        density_neighbors=neighbors,
        outliers=outliers,
        warning=warning,
    )
