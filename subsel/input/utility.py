"""Utility from class probabilities: how much a model would learn from a point."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

UtilityFrom = Literal["margin", "entropy", "least_confidence"]


def utility_of_probabilities(probabilities: npt.NDArray[np.float64], how: UtilityFrom) -> npt.NDArray[np.float64]:
    """Return the uncertainty of each row of class probabilities: float64, (b,).

    - ``margin``: 1 - (p1 - p2), p1 and p2 being the two largest (the paper's utility); in [0, 1].
    - ``entropy``: -Σ p ln p, in nats; in [0, ln C].
    - ``least_confidence``: 1 - p1; in [0, 1 - 1/C].

    Args:
        probabilities: float64, (b, C), C >= 2, rows that sum to 1.
        how: which of the three.
    """
    if how == "entropy":
        logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
        return np.asarray(-(probabilities * logs).sum(axis=1))
    two = np.partition(probabilities, probabilities.shape[1] - 2, axis=1)[:, -2:]
    return 1 - two[:, 1] if how == "least_confidence" else 1 - (two[:, 1] - two[:, 0])


def valid_probabilities(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which rows are probabilities: finite, ≥ 0, summing to 1 within 1e-3 (half precision has that)."""
    with np.errstate(invalid="ignore"):
        sums = np.abs(probabilities.sum(axis=1) - 1) <= 1e-3
        return np.asarray(sums & (probabilities >= 0).all(axis=1))
