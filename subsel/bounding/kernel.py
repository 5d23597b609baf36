"""Bounding on one part of a graph. Pure functions on arrays; compiled by numba."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.codes import GOLDEN, finalize
from subsel.compiling import compiled
from subsel.schema import Status

_UNDECIDED = int(Status.UNDECIDED)
_DISCARDED = int(Status.DISCARDED)
_ACCEPTED = int(Status.ACCEPTED)


@compiled()
def decide(
    tie_bits: int, key: Any, status: Any, lower: Any, accept_above: int, discard_below: int, decided: Any
) -> int:
    """Accept and discard own points by two thresholds; write those decided, int32, and return how many they are.

    ``key`` carries U_max and ``lower`` U_min. Accept if U_min > ``accept_above``, discard if U_max <
    ``discard_below``, both compared strictly and as gains, without their ties, so that a decision holds for
    every optimum. No point can meet both.
    """
    count = 0
    for v in range(len(lower)):
        if status[v] != _UNDECIDED:
            continue
        if lower[v] >> tie_bits > accept_above >> tie_bits:
            status[v] = _ACCEPTED
        elif key[v] >> tie_bits < discard_below >> tie_bits:
            status[v] = _DISCARDED
        else:
            continue
        decided[count] = v
        count += 1
    return count


@compiled(parallel=True)
def sampled_lower(
    indptr: Any,
    indices: Any,
    weight: Any,
    mean_weight: Any,
    code: Any,
    tie_bits: int,
    key: Any,
    status: Any,
    lower: Any,
    share: float,
    weighted: bool,
    seed: int,
) -> None:
    """Set ``lower`` of undecided own points to key - Σ weights over a sample of undecided neighbours (Def. 4.5).

    An edge is drawn once and for all, from the codes of its ends and the seed: it counts if its draw, in [0, 1), is
    below ``share``, or, if ``weighted``, below share · weight / mean weight of the point's edges, so that about
    the same share of edges counts, similar neighbours more often. What is accepted is in ``key`` already.
    """
    step = (np.uint64(seed) + np.uint64(1)) * GOLDEN
    for v in numba.prange(len(indptr) - 1):
        if status[v] != _UNDECIDED:
            continue
        penalty = np.int64(0)
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] != _UNDECIDED:
                continue
            limit = share
            if weighted and mean_weight[v] > 0:
                limit = share * weight[e] / mean_weight[v]
            low, high = min(code[v], code[j]), max(code[v], code[j])
            draw = finalize(finalize(np.uint64(low) + step) ^ np.uint64(high))
            if (draw >> np.uint64(11)) * 2.0**-53 < limit:
                penalty += weight[e]
        lower[v] = key[v] - (penalty << tie_bits)
