"""The embedding stage on one machine: points to cells to neighbours to a symmetric graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from subsel.embeddings import kernel, search
from subsel.embeddings.metrics import FloatMatrix, Preparation, similarity_of_scores, with_themselves
from subsel.embeddings.recipe import Found, Search, StepProgress, find_neighbors, sample_rows
from subsel.embeddings.rows import Rows, prepared, reordered
from subsel.errors import ConfigError, option
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph
from subsel.input.points import Points
from subsel.report import GraphReport


@dataclass(frozen=True, slots=True)
class NeighborResult:
    """A graph and how it was made.

    Attributes:
        report: the graph in numbers, and what the search took.
    """

    report: GraphReport
    _graph: NeighborGraph | None = None

    @property
    def graph(self) -> NeighborGraph:
        """The graph.

        Raises:
            ConfigError: it was made on Spark, where it is never in one place.
        """
        if self._graph is None:
            raise ConfigError(
                f"on Spark the graph stays in its parts: select with the same {option('run_dir')} and "
                f"{option('resume', True)}."
            )
        return self._graph

    @property
    def recall(self) -> float | None:
        """The estimated share of exact neighbours found; None if the estimate is off."""
        return self.report.recall

    @property
    def neighbors(self) -> int | None:
        """Neighbours per point before symmetrisation: n-1 where that is less than asked for."""
        return self.report.neighbors

    @property
    def cells(self) -> int | None:
        """Cells of the search."""
        return self.report.cells

    @property
    def probes(self) -> int | None:
        """Cells that each point was compared with, at most."""
        return self.report.probes

    @property
    def passes(self) -> int | None:
        """Passes over neighbours of neighbours."""
        return self.report.passes

    @property
    def dimension(self) -> int | None:
        """Dimension of the embeddings."""
        return self.report.dimension

    @property
    def target(self) -> float | None:
        """The recall that it was to have; None if the search was told what to take."""
        return self.report.target


class Searched(NamedTuple):
    """What a search ends with: lists by node, the input row of each node (int64, (n,)), and how rows are prepared."""

    found: Found
    rows: Int64Array
    prepare: Preparation


def neighbor_graph(
    points: Points,
    how: Search,
    progress: StepProgress = lambda what, share: None,
    keep: Callable[[Searched], None] = lambda searched: None,
) -> NeighborResult:
    """Return the symmetrised k-nearest-neighbour graph of points; takes the points' embeddings away.

    Everything works on the points in the order of their codes, so permuting the input's rows changes nothing.

    Args:
        points: with embeddings.
        how: to search.
        progress: told what goes on.
        keep: told what the search ends with; what it wants of that it must copy, as scores become similarities next.
    """
    embeddings = points.take_embeddings()
    n, dimension = embeddings.shape
    metric = how.metric
    by_code = np.argsort(points.code)
    itself = with_themselves(embeddings) if points.importance is not None and metric == "inner_product" else None

    progress("k-means", 0.0)
    prepare = Preparation.of_sample(embeddings[by_code[: sample_rows(n, how.probes)]], metric)
    X = prepared(embeddings, prepare)
    del embeddings
    k = min(how.neighbors, n - 1)
    may_ask = np.ones(n, np.bool_)
    may_ask[max(0, n - how.sample) :] = n <= how.sample  # the others are asked how it went
    access = partial(_taken, X, by_code), partial(_reordered, X, by_code)
    found = find_neighbors(*access, n, k, how, may_ask=may_ask, progress=progress)
    best, score = found.best[:, :k], found.score[:, :k]
    rows = by_code[found.order]
    recall = None
    if how.sample:
        progress("recall", 0.0)
        # The points with the largest codes: a uniform sample, none of them in the k-means sample for n large.
        asked = np.flatnonzero(found.order >= n - how.sample)
        recall = search.estimate_recall(found.X, score, asked, metric)
    keep(Searched(found, rows, prepare))
    told: dict[str, Any] = {"cells": found.cells, "probes": found.probes, "passes": found.passes}
    told |= {"source": "embeddings", "neighbors": k, "dimension": dimension, "recall": recall, "target": how.recall}
    del X, access, found
    progress("symmetrise", 0.0)
    best, score = np.ascontiguousarray(best), np.ascontiguousarray(score)
    indptr, indices, similarity = kernel.symmetrize(best, similarity_of_scores(score, metric))
    ids = points.ids.take(pa.array(rows))
    graph = NeighborGraph(ids, rows, indptr, indices, similarity, unsigned=points.unsigned)
    if itself is not None:
        graph = replace(graph, itself=itself[rows])
    return NeighborResult(graph.report().model_copy(update=told), graph)


def _taken(X: Rows, order: Int64Array, begin: int, end: int) -> FloatMatrix:
    return X.take(order[begin:end], axis=0)


def _reordered(X: Rows, order: Int64Array, again: Int64Array) -> Rows:
    return reordered(X, order[again])
