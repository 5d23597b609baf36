"""The embedding stage on one machine: points to cells to neighbours to a symmetric graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from subsel.config import SelectConfig
from subsel.embeddings import cells, kernel, search
from subsel.embeddings.metrics import Preparation, copy_rows, similarity_of_scores
from subsel.input.points import Points
from subsel.graph import NeighborGraph

#: Called with the name of what is being done and the share of it that is done.
StepProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class NeighborResult:
    """A graph and how it was made.

    ``recall`` is the estimated share of exact neighbours found (None if the estimate is off); ``neighbors``
    the number per point before symmetrisation, which is n-1 where that is less than asked for.
    """

    graph: NeighborGraph
    recall: float | None
    neighbors: int
    cells: int
    dimension: int


def neighbor_graph(
    points: Points, config: SelectConfig, progress: StepProgress = lambda what, share: None
) -> NeighborResult:
    """Return the symmetrised k-nearest-neighbour graph of points; takes the points' embeddings away.

    Everything works on the points in the order of their codes, so permuting the input's rows changes nothing.

    Args:
        points: with embeddings.
        config: metric, neighbors, probes, descent_passes, recall_sample, seed.
        progress: told what goes on.
    """
    embeddings = points.take_embeddings()
    n, dimension = embeddings.shape
    metric = config.metric
    by_code = np.argsort(points.code)

    progress("k-means", 0.0)
    n_cells = cells.cell_count(n, config.probes)
    sample_rows = n_cells * cells.SAMPLE_PER_CELL
    prepare = Preparation.of_sample(embeddings[by_code[:sample_rows]], metric)
    # The names that are deleted below are not undefined where lambdas use them (F821).
    ordered = copy_rows(lambda some: prepare.rows(embeddings.take(some, axis=0)), by_code, dimension)  # noqa: F821
    del embeddings
    quantizer = cells.Quantizer.train(ordered[:sample_rows], n_cells, metric, config.seed)
    reach = cells.probe_reach(quantizer, ordered[:sample_rows], n, config.neighbors, config.probes)
    progress("cells", 0.0)
    assigned = cells.assign_cells(lambda begin, end: ordered[begin:end], n, quantizer, config.probes, reach)  # noqa: F821
    X = copy_rows(lambda some: ordered.take(some, axis=0), assigned.order, dimension)  # noqa: F821
    del ordered
    rows = by_code[assigned.order]

    k = min(config.neighbors, n - 1)
    best, score = search.search_cells(
        X, assigned.bounds, assigned.probes, k, metric, lambda share: progress("search", share)
    )
    best, score = search.descend(
        X, best, score, config.descent_passes, metric, lambda share: progress("refinement", share)
    )
    recall = None
    if config.recall_sample:
        progress("recall", 0.0)
        # The points with the largest codes: a uniform sample, none of them in the k-means sample for n large.
        asked = np.sort(np.argsort(points.code[rows])[-config.recall_sample :])
        recall = search.estimate_recall(X, best, score, asked, metric)
    del X
    progress("symmetrise", 0.0)
    indptr, indices, similarity = kernel.symmetrize(best, similarity_of_scores(score, metric))
    graph = NeighborGraph(points.ids.take(pa.array(rows)), rows, indptr, indices, similarity)
    return NeighborResult(graph, recall, k, len(quantizer.centroids), dimension)
