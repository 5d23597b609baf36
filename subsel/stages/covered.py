"""Coverage and redundancy on one machine: the executor of the rules in `subsel.coverage`.

Embeddings are gone once their neighbours are known, so the input's rows are read again, twice, batch by batch: for the
vectors of sampled points, and for those of all members.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from subsel.codes import RANDOM_SALT, draw
from subsel.config import SelectConfig
from subsel.coverage import (
    CHANGED,
    BoolArray,
    Sample,
    own_similarity,
    report_of,
    sampled,
    tenth,
    vector_checker,
)
from subsel.covering.value import cover_shares
from subsel.embeddings.metrics import FloatMatrix
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph, PartGraph
from subsel.input.points import Points
from subsel.input.source import Source
from subsel.input.taking import iterate_rows
from subsel.ranks import at_or_below, lowest_place
from subsel.report import CoverageReport, GraphReport, WeightsReport
from subsel.sketch import MAP_MEMBERS, MAP_POINTS, PointMap
from subsel.sketching import map_of
from subsel.stages.ranked import members_of
from subsel.weighing import densities

log = logging.getLogger(__name__)


def cover_here(
    source: Source,
    points: Points,
    part: PartGraph,
    graph: NeighborGraph,
    member: BoolArray,
    config: SelectConfig,
    made: GraphReport,
    weights: WeightsReport,
    *,
    mapped: bool = False,
) -> tuple[CoverageReport, PointMap | None]:
    """Measure a subset, and map points if that is asked for and vectors are read.

    Args:
        source: of the points.
        points: without their embeddings.
        part: their graph, as the engine has it: with a target nothing else is measured.
        graph: of them.
        member: bool, (n,), in node order: the subset.
        config: coverage_sample, metric, embedding_column.
        made: how the graph was.
        weights: whether densities were needed.
        mapped: whether points are mapped.
    """
    n, k = graph.n, int(member.sum())
    subset, random = graph_coverage(part, graph, np.flatnonzero(member), config, made)
    if part.target is not None:
        return CoverageReport(sample=0, graph=subset, random_graph=random), None

    def measure() -> Sample | None:
        if not made.dimension:
            return None
        return _measure(source, points, graph.rows[member], config, made.dimension, mapped=mapped)

    sparsest = None
    if config.coverage_sample and weights.density_neighbors is not None and tenth(n):
        density, code = densities(graph.indptr, graph.similarity, weights.density_neighbors), points.code[graph.rows]
        sparse = at_or_below(density, code, lowest_place(density, code, tenth(n)))
        sparsest = int((sparse & member).sum()) / k
    report, found, wrong = report_of(
        measure, config.coverage_sample, graph=subset, random_graph=random, sparsest=sparsest
    )
    if wrong is not None:
        log.warning("coverage was measured on the graph only: %s", wrong)
    return report, found


def graph_coverage(
    part: PartGraph, graph: NeighborGraph, nodes: Int64Array, config: SelectConfig, made: GraphReport
) -> tuple[float, float]:
    """Return coverage on the graph by some nodes, and its expectation for as many random ones."""
    member = members_of(part, nodes)
    largest, searched = float(graph.similarity.max(initial=0.0)), made.source == "embeddings"
    own = own_similarity(config.metric, largest, searched=searched)
    subset, random = cover_shares(part, member, n=graph.n, k=len(nodes), own=own)
    of = made.target_points or graph.n
    return subset / of, random / of


def _measure(
    source: Source, points: Points, members: Int64Array, config: SelectConfig, dimension: int, *, mapped: bool
) -> Sample:
    """Sample, and let all members pass by; ``members`` are numbers of points."""
    code, n, k = points.code, points.n, len(members)
    member = np.zeros(n, np.bool_)
    member[members] = True
    random = draw(code, k, RANDOM_SALT)
    asked = np.zeros(n, np.bool_)
    for some in (np.ones(n, np.bool_), member, random):
        asked[sampled(code, some, config.coverage_sample)] = True
    if mapped:
        asked[sampled(code, np.ones(n, np.bool_), MAP_POINTS)] = True
        asked[sampled(code, member, MAP_MEMBERS)] = True
    found = list(read_vectors(source, points, asked, config, dimension))
    which, X = (np.concatenate([one[i] for one in found]) for i in range(2))
    sample = Sample(code[which], X, member[which], random[which], config.metric, count=config.coverage_sample, n=n, k=k)
    if mapped:
        sample.map = map_of(code[which], X, member[which], config.metric)
    for which, X in read_vectors(source, points, member | random, config, dimension):
        sample.update(code[which], X, member[which], random[which])
    return sample


def read_vectors(
    source: Source, points: Points, some: BoolArray, config: SelectConfig, dimension: int
) -> Iterator[tuple[Int64Array, FloatMatrix]]:
    """Yield numbers of some points, int64, (b,), and their embeddings, float32, (b, d), in the order of input rows.

    Raises:
        InputError: the input cannot be read any more, or is not what it was.
    """
    chosen = np.flatnonzero(some)
    chosen = chosen[np.argsort(points.rows[chosen])]
    name = config.embedding_column
    checker = vector_checker(name, config, dimension)
    for begin, batch in iterate_rows(source, [name], points.rows[chosen]):
        good = checker.check(batch)
        if good.embeddings is None or len(good.embeddings) < len(batch):
            raise InputError(f"{points.name}: {CHANGED}")
        yield chosen[begin : begin + len(batch)], good.embeddings
