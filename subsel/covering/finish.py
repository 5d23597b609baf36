"""The last candidates in one place: parts write them to one of them, which decides, and writes back."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from subsel.board import NO_SUMS, Board, Counts
from subsel.covering.part import Covers, CoverView, Gathered
from subsel.engines.base import Engine, Rows
from subsel.graph import SLOT_BITS, SLOT_MASK, GroupGraph, PartGraph, distinct
from subsel.greedy.limited_part import pick
from subsel.limits.capacity import Capacity
from subsel.limits.tables import Known
from subsel.parts.regroup import edges_of
from subsel.schema import Status

#: Edges of candidates that are gathered, for each of `Engine.finish_points`: as many as usual graphs have.
EDGES_PER_POINT = 16


def finish_covering(
    engine: Engine, counts: Counts, capacity: Capacity, *, points: int, budget: int, known: Known | None
) -> Counts | None:
    """Decide the undecided points of all parts in one place, see `subsel.greedy.limited.finish`.

    Whether they are too many their edges say, too: those to points that are decided count, since these are covered.
    """
    few = counts.undecided <= engine.finish_points and counts.sums[0] <= EDGES_PER_POINT * engine.finish_points
    if not few or not counts.sums[0]:  # before the first superstep nothing is known of edges
        return None
    engine.step(settle, capacity=capacity)
    where = int(engine.merge(least)["part"][0])
    engine.step(gather, where=where)
    engine.step(decide, capacity=capacity, points=points, budget=budget, known=known, where=where)
    return engine.step(adopt)


def least(rows: Rows) -> Rows:
    """Return the least number of a part."""
    return {"part": rows["part"].min(keepdims=True)}


def settle(graph: PartGraph, board: Board, /, *, capacity: Capacity) -> None:
    """Hear of all members, leave out who is too alike to one, and tell others how much own points are covered."""
    board.sums = NO_SUMS
    covers = Covers(graph, board)
    view = CoverView(graph, board, capacity, covers)
    view.keep_killed()
    view.leave_out_alike()
    covers.tell(None)
    board.tally = {"slot": np.zeros(1, np.int64), "part": np.array([graph.part])}


def gather(graph: PartGraph, board: Board, /, *, where: int) -> None:
    """Write undecided own points, and whom they could cover or exclude, to one part.

    A letter has a row for each edge, and one for each candidate itself: ``one`` and ``other``, addresses; how much one
    would ``give`` to the other, and how much that is covered; whether they exclude each other; and of candidates
    themselves what they are worth alone, their code, cost and groups.
    """
    board.tally = {}
    covers = Covers(graph, board)
    own = np.flatnonzero(board.status[: graph.n_own] == Status.UNDECIDED)
    if not len(own):
        return
    row, edge = edges_of(graph, own)
    other = graph.indices[edge]
    conflict = graph.conflict[edge] if graph.max_similarity is not None else np.zeros(len(edge), np.bool_)
    some = (covers.gives[edge] > covers.cover[other]) | conflict
    row, edge, other, conflict = row[some], edge[some], other[some], conflict[some]
    vid = graph.vid
    nothing = np.zeros(len(edge), np.int64)
    alone: dict[str, Any] = {"base": covers.base[own], "code": graph.code[own]}
    if graph.cost is not None:
        alone["cost"] = graph.cost[own]
    for column, group in enumerate(() if graph.group is None else graph.group):
        alone[f"group{column}"] = group[own].astype(np.int64)
    board.outbox = {
        "to": np.full(len(own) + len(edge), where),
        "one": np.concatenate([vid[own], vid[own][row]]),
        "other": np.concatenate([vid[own], vid[other]]),
        "gives": np.concatenate([covers.itself[own], covers.gives[edge].astype(np.int64)]),
        "covered": np.concatenate([covers.cover[own], covers.cover[other]]),
        "conflict": np.concatenate([np.zeros(len(own), np.bool_), conflict]),
        **{name: np.concatenate([column, nothing]) for name, column in alone.items()},
    }


def decide(
    graph: PartGraph,
    board: Board,
    /,
    *,
    capacity: Capacity,
    points: int,
    budget: int,
    known: Known | None,
    where: int,
) -> None:
    """On the part that was written to: run greedy on all candidates, and write their fates home."""
    board.tally = {}
    if graph.part != where or not board.inbox:
        return
    rows, board.inbox = board.inbox, {}
    vid, group, covering = gathered(rows, graph, capacity)
    found, view = covering.board, partial(CoverView, covers=covering)
    pick(group, found, view=view, capacity=capacity, points=points, budget=budget, known=known, alone=True)
    own = slice(0, group.n_own)
    board.outbox = {
        "to": vid >> SLOT_BITS,
        "slot": vid & SLOT_MASK,
        "key": found.key[own],
        "lower": found.lower,
        "status": found.status[own],
    }


def adopt(graph: PartGraph, board: Board, /) -> None:
    """Take over the fates of own points."""
    board.tally, board.news = {}, np.empty(0, np.int32)
    if board.inbox:
        slot = board.inbox["slot"]
        board.key[slot], board.lower[slot] = board.inbox["key"], board.inbox["lower"]
        board.status[slot] = board.inbox["status"]


def gathered(rows: Rows, graph: PartGraph, capacity: Capacity) -> tuple[Any, GroupGraph, Gathered]:
    """Return the addresses of candidates, int64, (n,), ascending; the group of them; and whom they could cover."""
    alone = rows["one"] == rows["other"]
    vid = rows["one"][alone]
    order = np.argsort(vid)
    vid, n = vid[order], int(alone.sum())
    edges = ~alone
    others = np.setdiff1d(distinct(rows["other"][edges]), vid, assume_unique=True)
    one = np.searchsorted(vid, rows["one"][edges])
    other = np.searchsorted(vid, rows["other"][edges])
    away = vid[np.minimum(other, n - 1)] != rows["other"][edges]
    other[away] = n + np.searchsorted(others, rows["other"][edges][away])
    by_row = np.argsort(one, kind="stable")
    cover = np.zeros(n + len(others), np.int64)
    cover[:n] = rows["covered"][alone][order]
    np.maximum.at(cover, other, rows["covered"][edges])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(one, minlength=n))]).astype(np.int64)
    indices, gives = other[by_row].astype(np.int32), rows["gives"][edges][by_row]
    names = [f"group{column}" for column in range(len(capacity.groups))]
    group = GroupGraph(
        indptr=indptr,
        indices=indices,
        weight=gives,
        code=np.concatenate([rows["code"][alone][order], np.zeros(len(others), np.int64)]),
        fixed_point=graph.fixed_point,
        cost=None if "cost" not in rows else np.append(rows["cost"][alone][order], np.zeros(len(others), np.int64)),
        group=np.array([rows[name][alone][order] for name in names], np.int32) if names else None,
        conflict=rows["conflict"][edges][by_row] if capacity.max_similarity is not None else np.empty(0, np.bool_),
    )
    status = np.full(n + len(others), Status.DISCARDED, np.int8)
    status[:n] = Status.UNDECIDED
    board = Board(
        key=np.zeros(n + len(others), np.int64),
        status=status,
        lower=np.zeros(n, np.int64),
        decided_by=np.zeros(n, np.int8),
        decided_at=np.zeros(n, np.int32),
        news=np.empty(0, np.int32),
    )
    nothing = np.empty(0, np.int64)  # these rows do not say by whom their points are covered
    about = (indptr, indices), nothing, gives, rows["gives"][alone][order], rows["base"][alone][order], cover
    return vid, group, Gathered(*about, graph.fixed_point.tie_bits, board)
