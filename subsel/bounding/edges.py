"""What follows from a part's graph and its board's variables: made where it is missing, and never sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from subsel.board import Board
from subsel.bounding.certificate_kernel import number_edges, slower_paces, weight_to
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.graph import Int32Array, PartGraph


class PartEdges(NamedTuple):
    """The edges of a part, each once, see `subsel.bounding.certificate_kernel.number_edges`."""

    first: Int64Array
    small: Int32Array
    large: Int32Array
    edge_of: Int32Array


def edges_of_part(graph: PartGraph, board: Board) -> PartEdges:
    """Return the numbered edges of a part's whole graph."""
    names = [f"edge_{name}" for name in PartEdges._fields]
    return PartEdges(*derived(board, names, lambda: number_edges(graph.indptr, graph.indices)))


def edge_paces(board: Board, edges: PartEdges) -> npt.NDArray[np.float32]:
    """Return the pace of each edge, that of its slower end."""
    return derived(board, ["edge_pace"], lambda: (slower_paces(edges.small, edges.large, board.extra["pace"]),))[0]


def derived(
    board: Board, names: Sequence[str], make: Callable[[], tuple[npt.NDArray[Any], ...]]
) -> list[npt.NDArray[Any]]:
    """Return arrays of a board's scratch, made by a function if they are not there."""
    if names[0] not in board.scratch:
        board.scratch |= dict(zip(names, make(), strict=True))
    return [board.scratch[name] for name in names]


def twice_f(graph: PartGraph, members: npt.NDArray[np.bool_]) -> int:
    """Return this part's share of twice f of some points; ``members``: bool, (n_own + n_ghost,)."""
    own, bits = slice(0, graph.n_own), graph.fixed_point.tie_bits
    first = graph.fixed_point.keys(graph.utility[own], graph.code[own]) >> bits
    inside = weight_to(graph.indptr, graph.indices, graph.weight, members)
    return exact_sum((2 * first - inside)[members[own]])
