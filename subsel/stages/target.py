"""A target set on one machine (``target``): its rows, the points that are near each, and how well these are covered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.config import SelectConfig
from subsel.embeddings.neighbors import neighbor_graph
from subsel.embeddings.recipe import Search
from subsel.embeddings.target import TargetLists
from subsel.errors import InputError
from subsel.graph import NeighborGraph
from subsel.input.given import with_given
from subsel.input.points import Points
from subsel.input.reference import TARGET, ReferenceRows
from subsel.input.source import Source
from subsel.memory import available_memory
from subsel.parts.target import edges_of_lists, to_edges
from subsel.report import GraphReport
from subsel.run import Tell
from subsel.stages.near import read_reference
from subsel.stages.one_part import check_memory
from subsel.weighing import needs_graph

#: Points that all of a target meets at once.
_BLOCK_ROWS = 8_192
#: Bytes of a list's entry: code and similarity.
_ENTRY_BYTES = 12


def read_target(
    data: Any,
    importance: Any,
    source: Source,
    points: Points,
    config: SelectConfig,
    storage_options: Mapping[str, Any] | None,
    made: GraphReport | None,
) -> ReferenceRows | None:
    """Read and check a target set, and leave out what need not be covered, before anything that takes long.

    Args:
        data: as it was given; None if it was not.
        importance: one value for each of its rows; None: a column of it says so, or all count one.
        source: of the points.
        points: as read; without embeddings where a graph is there already.
        config: importance, metric, embedding_column, on_bad_rows.
        storage_options: how paths are opened.
        made: how a graph that a run directory has was made; None: there is none.

    Raises:
        InputError: points have no embeddings, or see `subsel.input.reference.read_rows`.
    """

    def beside(rows: Source, config: SelectConfig) -> tuple[Source, SelectConfig]:
        return with_given(rows, config, None, None, importance, data)

    found = read_reference(TARGET, data, source, points, config, storage_options, made, beside)
    return None if found is None else found.important()


def search_here(
    points: Points, target: ReferenceRows | None, how: Search, config: SelectConfig, tell: Tell
) -> tuple[NeighborGraph, GraphReport, pa.Table | None]:
    """Search neighbours: of points, and of a target's rows among them; takes the points' embeddings away.

    Args:
        points: with embeddings.
        target: its rows; None: there is none.
        how: to search.
        config: metric.
        tell: told what goes on.

    Returns:
        The graph of points, what is told of it, and a target's edges to its nodes (`subsel.parts.target.EDGES`).

    Raises:
        InputError: memory is too little.
    """
    k, dimension = min(how.neighbors, points.n), points.dimension
    near = None if target is None else _nearest(target, points, k, config, tell)
    if needs_graph(points.made_of, config):
        check_memory(points, how.neighbors, config)
        searched = neighbor_graph(points, how, tell)
        graph, made = searched.graph, searched.report
    else:
        graph = _bare(points)
        made = graph.report().model_copy(update={"source": "embeddings", "dimension": dimension})
    if target is None or near is None:
        return graph, made, None
    code = points.code[graph.rows]
    order = np.argsort(code)
    slot = order[np.searchsorted(code[order], near["code"])]
    edges = to_edges(near, np.zeros(len(slot), np.int32), slot)
    return graph, with_target(made, len(target.rows), len(edges), k), edges


def with_target(made: GraphReport, points: int, edges: int, neighbors: int) -> GraphReport:
    """Return what is told of a graph beside a target of so many points, with so many edges to the nearest of each."""
    about = {"target_points": points, "target_edges": edges, "target_neighbors": neighbors}
    return made.model_copy(update=about)


def _nearest(
    target: ReferenceRows, points: Points, k: int, config: SelectConfig, tell: Tell
) -> dict[str, npt.NDArray[Any]]:
    """Return the k nearest points of each row of a target, see `subsel.parts.target.edges_of_lists`."""
    assert points.embeddings is not None
    needed = target.rows.nbytes + _ENTRY_BYTES * len(target.rows) * k
    if needed > available_memory():
        raise InputError(
            f"{target.name} has {len(target.rows):,} rows, which need {needed / 2**30:.1f} GiB more than is available: "
            "give fewer, such as a subset of them."
        )
    lists = TargetLists.of(target.rows, config.metric, k)
    for begin in range(0, points.n, _BLOCK_ROWS):
        some = slice(begin, begin + _BLOCK_ROWS)
        lists.meet(points.code[some], points.vectors(some))
        tell("target", min(1.0, some.stop / points.n))
    return edges_of_lists(0, target.number, target.importance, lists.code, lists.similarity)


def _bare(points: Points) -> NeighborGraph:
    """Return a graph of points without edges, in the order of their codes; takes the points' embeddings away."""
    points.take_embeddings()
    rows = np.argsort(points.code)
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    return NeighborGraph(
        points.ids.take(pa.array(rows)), rows, np.zeros(points.n + 1, np.int64), *nothing, unsigned=points.unsigned
    )
