"""The embedding stage on one machine: points to cells to neighbours to a symmetric graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from subsel.config import SelectConfig
from subsel.embeddings import kernel, search
from subsel.embeddings.metrics import FloatMatrix, Preparation, copy_rows, similarity_of_scores
from subsel.embeddings.recipe import StepProgress, find_neighbors, sample_rows
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph
from subsel.input.points import Points


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
    prepare = Preparation.of_sample(embeddings[by_code[: sample_rows(n, config.probes)]], metric)
    # The name that is deleted below is not undefined where the lambda uses it (F821).
    held = [copy_rows(lambda some: prepare.rows(embeddings.take(some, axis=0)), by_code, dimension)]  # noqa: F821
    del embeddings

    def give(order: Int64Array) -> FloatMatrix:
        ordered = held.pop()
        return copy_rows(lambda some: ordered.take(some, axis=0), order, dimension)

    k = min(config.neighbors, n - 1)
    order, X, best, score, n_cells = find_neighbors(
        lambda begin, end: held[0][begin:end], give, n, k, config, progress=progress
    )
    rows = by_code[order]
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
    return NeighborResult(graph, recall, k, n_cells, dimension)
