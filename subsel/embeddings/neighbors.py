"""The embedding stage on one machine: points to cells to neighbours to a symmetric graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from subsel.embeddings import kernel, search
from subsel.embeddings.metrics import FloatMatrix, Preparation, copy_rows, similarity_of_scores, with_themselves
from subsel.embeddings.recipe import Search, StepProgress, find_neighbors, sample_rows
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph
from subsel.input.points import Points
from subsel.report import GraphReport


@dataclass(frozen=True, slots=True)
class NeighborResult:
    """A graph and how it was made.

    ``recall`` is the estimated share of exact neighbours found (None if the estimate is off); ``neighbors``
    the number per point before symmetrisation, which is n-1 where that is less than asked for; ``probes`` and
    ``passes`` what the search took; ``target`` the recall that it was to have, None if it was told what to take.
    """

    graph: NeighborGraph
    recall: float | None
    neighbors: int
    cells: int
    probes: int
    passes: int
    dimension: int
    target: float | None

    @property
    def report(self) -> GraphReport:
        """The graph in numbers."""
        return self.graph.report().model_copy(
            update={
                "source": "embeddings",
                "neighbors": self.neighbors,
                "dimension": self.dimension,
                "cells": self.cells,
                "probes": self.probes,
                "passes": self.passes,
                "recall": self.recall,
                "target": self.target,
            }
        )


def neighbor_graph(points: Points, how: Search, progress: StepProgress = lambda what, share: None) -> NeighborResult:
    """Return the symmetrised k-nearest-neighbour graph of points; takes the points' embeddings away.

    Everything works on the points in the order of their codes, so permuting the input's rows changes nothing.

    Args:
        points: with embeddings.
        how: to search.
        progress: told what goes on.
    """
    embeddings = points.take_embeddings()
    n, dimension = embeddings.shape
    metric = how.metric
    by_code = np.argsort(points.code)
    itself = with_themselves(embeddings) if points.importance is not None and metric == "inner_product" else None

    progress("k-means", 0.0)
    prepare = Preparation.of_sample(embeddings[by_code[: sample_rows(n, how.probes)]], metric)
    # The name that is deleted below is not undefined where the lambda uses it (F821).
    held = [copy_rows(lambda some: prepare.rows(embeddings.take(some, axis=0)), by_code, dimension)]  # noqa: F821
    del embeddings

    def give(order: Int64Array) -> FloatMatrix:
        ordered = held.pop()
        return copy_rows(lambda some: ordered.take(some, axis=0), order, dimension)

    k = min(how.neighbors, n - 1)
    may_ask = np.ones(n, np.bool_)
    may_ask[max(0, n - how.sample) :] = n <= how.sample  # the others are asked how it went
    found = find_neighbors(lambda begin, end: held[0][begin:end], give, n, k, how, may_ask=may_ask, progress=progress)
    X, best, score = found.X, found.best, found.score
    rows = by_code[found.order]
    recall = None
    if how.sample:
        progress("recall", 0.0)
        # The points with the largest codes: a uniform sample, none of them in the k-means sample for n large.
        asked = np.flatnonzero(found.order >= n - how.sample)
        recall = search.estimate_recall(X, score, asked, metric)
    about = found.cells, found.probes, found.passes
    del X, found
    progress("symmetrise", 0.0)
    indptr, indices, similarity = kernel.symmetrize(best, similarity_of_scores(score, metric))
    graph = NeighborGraph(points.ids.take(pa.array(rows)), rows, indptr, indices, similarity)
    if itself is not None:
        graph = replace(graph, itself=itself[rows])
    return NeighborResult(graph, recall, k, *about, dimension, how.recall)
