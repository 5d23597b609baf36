"""A graph in this process' memory: whether it fits, and as the one part of the local engine."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from subsel import objective
from subsel.config import FEWEST_NEIGHBORS, SelectConfig
from subsel.coverage import own_similarity
from subsel.errors import InputError, option
from subsel.fixedpoint import FixedPoint, cover_range
from subsel.graph import NeighborGraph, PartGraph
from subsel.input.points import Points
from subsel.memory import available_memory
from subsel.planning import local_bytes
from subsel.report import WeightsReport

log = logging.getLogger(__name__)


def check_memory(points: Points, neighbors: int, config: SelectConfig) -> None:
    """Say before anything long that memory is too little for the neighbours that follow from the size.

    Raises:
        InputError: see above; neighbours that were asked for by number are taken to be meant, and only warned of.
    """
    assert points.embeddings is not None
    needed = local_bytes(points.n, points.embeddings.shape[1], neighbors, points.n) - points.embeddings.nbytes
    available = available_memory()
    if needed <= available:
        return
    told = (
        f"{neighbors} neighbours of {points.n:,} points need {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are "
        f"available"
    )
    if config.neighbors != "auto":
        log.warning("%s", told)
        return
    thin = "" if config.thin is not None else f", or {option('thin', 20)} to draw points first"
    raise InputError(f"{told}: give fewer by {option('neighbors', FEWEST_NEIGHBORS)}{thin}, or select on Spark.")


def whole_part(
    graph: NeighborGraph,
    points: Points,
    utility: npt.NDArray[np.float64],
    weights: WeightsReport,
    config: SelectConfig,
    *,
    searched: bool,
) -> PartGraph:
    """Return a graph of points as one part, with the scale that fits its values; utilities are in node order.

    ``searched``: whether the graph was, among embeddings.
    """
    origin = config.origin(float(utility.min()))
    largest = float(graph.similarity.max(initial=0.0))
    degree = float(objective.weighted_degrees(graph.indptr, graph.similarity).max())
    importance = itself = None
    if config.covers:
        assert points.counted is not None
        importance, itself = points.counted[graph.rows], itself_of(graph, config, largest, searched=searched)
        degree, largest = cover_range(degree, largest, float(itself.max()), float(importance.max()))
    scale = FixedPoint.choose(
        weights.alpha,
        weights.beta,
        max_utility=float(np.abs(utility - origin).max()),
        max_degree=degree,
        max_similarity=largest,
        ratio=weights.ratio,
        origin=origin,
    )
    limits = points.limits(graph.rows)
    part = PartGraph.whole(graph, utility, points.code[graph.rows], scale, *limits, importance, itself)
    return replace(part, max_similarity=config.max_similarity)


def itself_of(graph: NeighborGraph, config: SelectConfig, largest: float, *, searched: bool) -> npt.NDArray[np.float64]:
    """Return the similarity of each node to itself: float64, (n,); see `subsel.coverage.own_similarity`."""
    if graph.itself is not None:
        return graph.itself
    return np.full(graph.n, own_similarity(config.metric, largest, searched=searched))
