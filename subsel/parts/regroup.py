"""Points of many parts as parts of other kinds: all undecided ones in one place, or dealt into groups at random.

An address (``vid``) says where a point is at home: part << 32 | slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from subsel.board import Board
from subsel.codes import groups_of
from subsel.fixedpoint import FixedPoint, Int64Array
from subsel.graph import SLOT_BITS, SLOT_MASK, GroupGraph, KernelGraph, PartGraph, distinct
from subsel.schema import Status

Rows = dict[str, Any]

#: A kernel for groups with its parameters bound.
BoundGroupKernel = Callable[[KernelGraph, Board], None]


def split(graph: PartGraph, board: Board, groups: int, salt: int) -> Iterator[tuple[int, Rows]]:
    """Yield each group's undecided own points of a part, with their edges to undecided points of the same group.

    Rows are ``vid, key, lower, code, degree`` (a value per point) and ``neighbor`` (vid), ``weight`` (per edge, point
    by point); and, where points have them, ``cost``, and ``group``, point by point, and ``conflict``, per edge.

    Args:
        graph: a part.
        board: its board, with all news on it.
        groups: how many; a point's is drawn from its code.
        salt: deals them differently.
    """
    group = groups_of(graph.code, groups, salt) if groups > 1 else np.zeros(len(graph.code), np.int64)
    slots = np.flatnonzero(board.status[: graph.n_own] == Status.UNDECIDED)
    slots = slots[np.argsort(group[slots], kind="stable")]
    row, edge = edges_of(graph, slots)
    other = graph.indices[edge]
    keep = (board.status[other] == Status.UNDECIDED) & (group[other] == group[slots][row])
    row, edge, other = row[keep], edge[keep], other[keep]
    vid = graph.vid
    degree = np.bincount(row, minlength=len(slots))
    for number in distinct(group[slots]).tolist():
        lo, hi = np.searchsorted(group[slots], [number, number + 1])
        begin, end = np.searchsorted(row, [lo, hi])
        mine = slots[lo:hi]
        yield (
            number,
            {
                "vid": vid[mine],
                "key": board.key[mine],
                "lower": board.lower[mine],
                "code": graph.code[mine],
                "degree": degree[lo:hi],
                "neighbor": vid[other[begin:end]],
                "weight": graph.weight[edge[begin:end]],
                **_limits(graph, mine, edge[begin:end]),
            },
        )


def edges_of(graph: PartGraph, slots: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the edges of some own points, point by point: at which of these each is, and its number."""
    first, count = graph.indptr[slots], np.diff(graph.indptr)[slots]
    row = np.repeat(np.arange(len(slots)), count)
    return row, np.arange(len(row)) + np.repeat(first - np.cumsum(count) + count, count)


def _limits(graph: PartGraph, slots: Int64Array, edges: Int64Array) -> Rows:
    """Return what limits need of some own points and edges."""
    found: Rows = {} if graph.cost is None else {"cost": graph.cost[slots]}
    if graph.group is not None:
        found["group"] = graph.group[:, slots].T.ravel()
    if graph.max_similarity is not None:
        found["conflict"] = graph.similarity[edges] > graph.max_similarity
    return found


def run(rows: Rows, kernel: BoundGroupKernel, fixed_point: FixedPoint) -> Iterator[tuple[int, Rows]]:
    """Run a kernel on rows as one part; yield what it decided, ``slot, key, status, lower``, by home part.

    And ``decided_by``, where the kernel noted that.
    """
    vid, graph, board = _as_group(rows, fixed_point)
    kernel(graph, board)
    noted = {"decided_by": board.decided_by} if board.decided_by.any() else {}
    part = vid >> SLOT_BITS
    for number in distinct(part).tolist():
        mine = part == number
        yield (
            number,
            {
                "slot": (vid[mine] & SLOT_MASK).astype(np.int32),
                "key": board.key[mine],
                "status": board.status[mine],
                "lower": board.lower[mine],
                **{name: column[mine] for name, column in noted.items()},
            },
        )


def adopt(board: Board, decisions: Rows) -> None:
    """Put decisions that were made elsewhere, such as `run`'s, on the board of their home part."""
    for column in decisions.keys() - {"slot"}:
        getattr(board, column)[decisions["slot"]] = decisions[column]


def _as_group(rows: Rows, fixed_point: FixedPoint) -> tuple[Int64Array, GroupGraph, Board]:
    """Return rows as a group with its board, its points in the order of their addresses."""
    order = np.argsort(rows["vid"])
    vid = rows["vid"][order]
    row = np.empty(len(vid), np.int64)
    row[order] = np.arange(len(vid))
    edge_row = np.repeat(row, rows["degree"])
    edge_order = np.argsort(edge_row, kind="stable")
    n = len(vid)
    graph = GroupGraph(
        indptr=np.concatenate([[0], np.cumsum(np.bincount(edge_row, minlength=n))]).astype(np.int64),
        indices=np.searchsorted(vid, rows["neighbor"][edge_order]).astype(np.int32),
        weight=rows["weight"][edge_order],
        code=rows["code"][order],
        fixed_point=fixed_point,
        cost=rows["cost"][order] if "cost" in rows else None,
        group=np.ascontiguousarray(rows["group"].reshape(n, -1)[order].T) if "group" in rows else None,
        conflict=rows["conflict"][edge_order] if "conflict" in rows else np.empty(0, np.bool_),
    )
    board = Board(
        key=rows["key"][order],
        status=np.zeros(n, np.int8),
        lower=rows["lower"][order],
        decided_by=np.zeros(n, np.int8),
        decided_at=np.zeros(n, np.int32),
        news=np.empty(0, np.int32),
    )
    return vid, graph, board
