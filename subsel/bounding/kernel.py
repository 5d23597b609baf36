"""Bounding on one part of a graph. Pure functions on arrays; compiled by numba."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from subsel.schema import Status

_UNDECIDED = int(Status.UNDECIDED)
_DISCARDED = int(Status.DISCARDED)
_ACCEPTED = int(Status.ACCEPTED)


@numba.njit(cache=True)
def decide(tie_bits: int, key: Any, status: Any, lower: Any, accept_above: int, discard_below: int) -> Any:
    """Accept and discard own points by two thresholds; return those decided, int32, (n_decided,).

    ``key`` carries U_max and ``lower`` U_min. Accept if U_min > ``accept_above``, discard if U_max <
    ``discard_below``, both compared strictly and as gains, without their ties, so that a decision holds for
    every optimum. No point can meet both.
    """
    decided = np.empty(len(lower), np.int32)
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
    return decided[:count]
