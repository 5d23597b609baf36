"""A graph in this process' memory: whether it fits, whose it is, and as the one part of the local engine."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel import objective, schema
from subsel.config import FEWEST_NEIGHBORS, SelectConfig
from subsel.coverage import own_similarity
from subsel.errors import InputError, option
from subsel.fixedpoint import FixedPoint, Usual, check_resolution, cover_range
from subsel.graph import DraftGraph, NeighborGraph, PartGraph
from subsel.input.edges import as_neighbor_graph
from subsel.input.points import Points
from subsel.memory import available_memory
from subsel.parts.superstep import pack_graph, unpack_graph
from subsel.parts.target import columns_of, span_of, with_target
from subsel.planning import local_bytes
from subsel.report import GraphReport, WeightsReport

log = logging.getLogger(__name__)


def check_memory(points: Points, neighbors: int, config: SelectConfig) -> None:
    """Say before anything long that memory is too little for the neighbours that follow from the size.

    Raises:
        InputError: see above; neighbours that were asked for by number are taken to be meant, and only warned of.
    """
    assert points.embeddings is not None
    about = points.embeddings.shape[1], neighbors, points.n, points.embeddings.itemsize
    needed = local_bytes(points.n, *about) - points.embeddings.nbytes
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
    made: GraphReport,
    target: pa.Table | None = None,
) -> PartGraph:
    """Return a graph of points as one part, with the scale that fits its values.

    Args:
        graph: of points.
        points: without their embeddings.
        utility: float64, (n,), in node order.
        weights: of the objective.
        config: of the request.
        made: how the graph was.
        target: edges to points of a target, see `subsel.parts.target.EDGES`; None: there is none.
    """
    edges = None if target is None else columns_of(target)
    origin = config.origin(float(utility.min()))
    largest = float(graph.similarity.max(initial=0.0))
    degrees = objective.weighted_degrees(graph.indptr, graph.similarity)
    degree, usual = float(degrees.max()), Usual.of(degrees)
    importance = itself = most = None
    if edges is not None:
        degree, largest, most, usual = span_of(edges)
        degree, largest = cover_range(degree, largest, 0.0, most)
    elif config.covers:
        assert points.counted is not None
        importance, itself = points.counted[graph.rows], itself_of(graph, config, largest, made)
        with np.errstate(over="ignore"):  # which is refused below
            most, usual = float(importance.max()), Usual.of(degrees * importance)
        degree, largest = cover_range(degree, largest, float(itself.max()), most)
    most_utility = float(np.abs(utility - origin).max())
    scale = FixedPoint.choose(
        weights.alpha,
        weights.beta,
        max_utility=most_utility,
        max_degree=degree,
        max_similarity=largest,
        ratio=weights.ratio,
        origin=origin,
    )
    check_resolution(scale, (most_utility, Usual.of(utility)), (degree, usual), most)
    limits = points.limits(graph.rows)
    if edges is not None:
        assert made.target_points is not None
        arrays = graph.indptr, graph.indices, graph.similarity, utility, points.code[graph.rows]
        draft = with_target(DraftGraph(0, *arrays, np.empty(0, np.int64), *limits), edges, made.target_points)
        return unpack_graph(0, pack_graph(draft), scale, config.max_similarity)
    part = PartGraph.whole(graph, utility, points.code[graph.rows], scale, *limits, importance, itself)
    return replace(part, max_similarity=config.max_similarity)


def itself_of(graph: NeighborGraph, config: SelectConfig, largest: float, made: GraphReport) -> npt.NDArray[np.float64]:
    """Return the similarity of each node to itself: float64, (n,); see `subsel.coverage.own_similarity`."""
    if graph.itself is not None:
        return graph.itself
    return np.full(graph.n, own_similarity(config.metric, largest, searched=made.source == "embeddings"))


def points_of_graph(graph: Any, config: SelectConfig) -> tuple[pa.Table, NeighborGraph, dict[str, int]]:
    """Return the ids of a user's graph as the input that it is of, the graph, and its dropped edges by reason.

    Raises:
        InputError: the graph is wrong.
    """
    found = as_neighbor_graph(graph, None, config)
    # Utilities follow the rows that the graph was made from, not the order of its nodes.
    ids = found.graph.user_ids.take(pa.array(np.argsort(found.graph.rows)))
    return pa.table({config.id_column or schema.ID: ids}), found.graph, found.dropped
