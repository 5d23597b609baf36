"""Parts that too many points would visit, such as where half of the data is in a few cells: only the nearest do."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

#: Parts that a point is in on average, its own among them, where near points are in many directions
#: (benchmarks/visits.py). Memory is planned for that.
MOST_TRAVEL = 3.6
#: A part holds no more points than that many times what it is to own, or than so many times the average part.
_CROWDED = 2.0


def find_crowded(
    to: npt.NDArray[np.int32], lag: npt.NDArray[np.float32], parts: int, part_points: int, each: float
) -> tuple[dict[int, float], int]:
    """Return how far visitors of crowded parts come from, by part, and how many points the largest part holds then.

    Args:
        to: int32, (m, visits): where the rows of a sample go, home first, -1 for none.
        lag: float32, (m, visits): how much farther than its own each cell is.
        parts: how many.
        part_points: points wanted per part.
        each: points that a row stands for.
    """
    inside = np.bincount(to[to >= 0], minlength=parts)
    most = max(MOST_TRAVEL * part_points / each, _CROWDED * inside.mean())
    reach: dict[int, float] = {}
    for part in np.flatnonzero(inside > most).tolist():
        visitors = np.sort(lag[:, 1:][to[:, 1:] == part])
        owned = int(inside[part]) - len(visitors)
        room = max(0, int(most) - owned)
        if room < len(visitors):
            reach[part] = float(np.nextafter(visitors[room], np.float32(-1)))  # whoever is as far as the first one out
            inside[part] = owned + np.searchsorted(visitors, visitors[room])
    if reach:
        log.info("%d parts would be crowded: only the nearest points visit them", len(reach))
    return reach, round(float(inside.max()) * each)
