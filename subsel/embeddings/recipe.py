"""The neighbour search's recipe, the same for all points on one machine and for those of one part.

k-means on a sample makes cells, a reach says how far points probe them, those that meet are compared, and neighbours of
neighbours refine what that finds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from subsel.config import SelectConfig
from subsel.embeddings import cells, search
from subsel.embeddings.metrics import FloatMatrix
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array

#: Called with the name of what is being done and the share of it that is done.
StepProgress = Callable[[str, float], None]


class Found(NamedTuple):
    """What a search found; all arrays but ``order`` are in the order of cells.

    ``order`` (int64, (n,)) are the rows in that order, ``X`` (float32, (n, d)) their vectors. ``best`` (int32, (n, k),
    -1 for none) are places in ``X``, ``score`` (float32, (n, k), -inf there) falls in each row. ``cells`` were made.
    """

    order: Int64Array
    X: FloatMatrix
    best: Int32Array
    score: FloatMatrix
    cells: int


def sample_rows(n: int, probes: int) -> int:
    """Return of how many of n rows, the first ones, cells are made."""
    return min(n, cells.cell_count(n, probes) * cells.SAMPLE_PER_CELL)


def find_neighbors(
    block: Callable[[int, int], FloatMatrix],
    give: Callable[[Int64Array], FloatMatrix],
    n: int,
    k: int,
    config: SelectConfig,
    *,
    resident: npt.NDArray[np.bool_] | None = None,
    progress: StepProgress = lambda what, share: None,
) -> Found:
    """Find the k nearest of each of n rows among all of them.

    Args:
        block: returns the prepared rows from one number up to another.
        give: returns all rows in an order; nothing is asked for after that, so whoever gives may let go of them.
        n: rows.
        k: neighbours wanted of each.
        config: metric, neighbors, probes, descent_passes, seed.
        resident: bool, (n,): whose lists are refined; everybody's if None.
        progress: told what goes on.
    """
    metric = config.metric
    sample = block(0, sample_rows(n, config.probes))
    quantizer = cells.Quantizer.train(sample, cells.cell_count(n, config.probes), metric, config.seed)
    reach = cells.probe_reach(quantizer, sample, n, config.neighbors, config.probes)
    del sample  # a view keeps the rows that are given away below
    progress("cells", 0.0)
    assigned = cells.assign_cells(block, n, quantizer, config.probes, reach)
    X = give(assigned.order)  # the only copy from here on
    best, score = search.search_cells(
        X, assigned.bounds, assigned.probes, k, metric, lambda share: progress("search", share)
    )
    improved = None if resident is None else resident[assigned.order]
    refining = config.descent_passes, metric, lambda share: progress("refinement", share)
    best, score = search.descend(X, best, score, *refining, improved=improved)
    return Found(assigned.order, X, best, score, len(quantizer.centroids))
