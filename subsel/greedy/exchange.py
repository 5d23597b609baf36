"""Swaps where groups count: members are exchanged for outsiders of the same groups, so every maximum and minimum holds.

A *cell* is all points of the same group in every column. In each cell the outsiders that add most stand against the
members that add least: as many as gain by it propose to move, at most some. Who is next to one that gains more gives
way, so no two that move touch; then equal numbers of both move in each cell, and f rises by exactly what they differ.
"""

from __future__ import annotations

import logging
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from subsel.board import NO_SUMS, Board
from subsel.compiling import compiled
from subsel.engines.base import BELOW_ALL, Engine, Rows
from subsel.fixedpoint import Int64Array, beats
from subsel.graph import PartGraph
from subsel.greedy.refine import settle
from subsel.limits.capacity import Capacity
from subsel.results import RefineResult
from subsel.schema import Status

log = logging.getLogger(__name__)

#: So many pairs of a cell are exchanged in one pass at most: then a part tells of no more points than that.
PAIRS = 1024
_JOINING, _LEAVING = int(Status.JOINING), int(Status.LEAVING)

BoolArray = npt.NDArray[np.bool_]


def exchange(engine: Engine, capacity: Capacity, passes: int) -> RefineResult:
    """Exchange members for outsiders inside cells until nothing is gained any more, or ``passes`` times.

    Four supersteps a pass. What the user included or excluded stays; who is too similar to a member does not join.

    Args:
        engine: holds the whole graph (`Engine.reopen`); nothing is undecided. On return its boards have the new subset.
        capacity: limits of groups, by points.
        passes: upper limit, 0 for none.
    """
    if passes == 0:
        return RefineResult(0, 0, 0)
    before = start = sum(engine.step(compare, capacity=capacity).sums[:2])  # 2 f
    done = exchanged = 0
    while done < passes:
        cuts = engine.merge(better)
        if not cuts or not len(cuts["slot"]):
            break
        engine.step(propose, capacity=capacity, cuts=cuts)
        engine.step(give_way, capacity=capacity)
        cuts = engine.merge(paired)
        engine.step(move, capacity=capacity, cuts=cuts)
        after = sum(engine.step(compare, capacity=capacity).sums[:2])
        pairs = int(cuts["pairs"].sum()) if cuts else 0
        log.info("refinement pass %d: %d pairs exchanged inside groups", done + 1, pairs)
        if pairs == 0:
            break
        if after <= before:
            raise AssertionError(f"refinement lowered f from {before} to {after} (twice, in fixed point)")
        before = after
        done += 1
        exchanged += pairs
    return RefineResult(done, exchanged, (before - start) // 2)


def compare(graph: PartGraph, board: Board, /, *, capacity: Capacity) -> None:
    """Compute what every own point adds; tell the outsiders that add most of each cell, and the members that add least.

    2 f is the sum of `Board.sums`.
    """
    settle(graph, board)
    own, bits = slice(0, graph.n_own), graph.fixed_point.tie_bits
    status, gain = board.status[own], board.key[own] >> bits
    joins = (status == Status.DISCARDED) & (board.key[own] != BELOW_ALL)
    leaves = status == Status.SELECTED
    board.tally = _told(graph, capacity, joins, leaves, np.where(joins, gain, -gain))


def propose(graph: PartGraph, board: Board, /, *, capacity: Capacity, cuts: Rows) -> None:
    """Mark own points that gain by moving, JOINING or LEAVING, with how far they are from where those end as keys.

    Args:
        graph: the whole of this part.
        board: its board.
        capacity: limits of groups.
        cuts: of cells with such points: see `better`.
    """
    board.news, board.sums, board.tally = np.empty(0, np.int32), NO_SUMS, {}
    own, bits = slice(0, graph.n_own), graph.fixed_point.tie_bits
    status, gain = board.status[own], board.key[own] >> bits
    row, there = _rows_of(graph, capacity, cuts)
    joins = there & (status == Status.DISCARDED) & (board.key[own] != BELOW_ALL)
    joins &= _at_or_above(gain, graph, cuts, "join", row)
    leaves = there & (status == Status.SELECTED) & _at_or_above(-gain, graph, cuts, "leave", row)
    status[joins], status[leaves] = Status.JOINING, Status.LEAVING
    moves = joins | leaves
    board.key[own][moves] = np.abs(gain - cuts["level"][row])[moves]


def give_way(graph: PartGraph, board: Board, /, *, capacity: Capacity) -> None:
    """Leave out own movers next to one that is farther; tell of each cell those that are left."""
    board.news, board.sums = np.empty(0, np.int32), NO_SUMS
    own = slice(0, graph.n_own)
    first = _first(graph.indptr, graph.indices, graph.weight, graph.conflict, graph.code, board.key, board.status)
    status = board.status[own]
    status[~first & (status == Status.JOINING)] = Status.DISCARDED
    status[~first & (status == Status.LEAVING)] = Status.SELECTED
    joins, leaves = status == Status.JOINING, status == Status.LEAVING
    board.tally = _told(graph, capacity, joins, leaves, board.key[own])


def move(graph: PartGraph, board: Board, /, *, capacity: Capacity, cuts: Rows) -> None:
    """Carry out the exchange; ``cuts``: of cells where points move, see `paired`."""
    board.news, board.sums, board.tally = np.empty(0, np.int32), NO_SUMS, {}
    own = slice(0, graph.n_own)
    status, far = board.status[own], board.key[own]
    joining, leaving = status == Status.JOINING, status == Status.LEAVING
    joins = leaves = np.zeros(graph.n_own, np.bool_)
    if cuts:
        row, there = _rows_of(graph, capacity, cuts)
        joins = joining & there & _at_or_above(far, graph, cuts, "join", row)
        leaves = leaving & there & _at_or_above(far, graph, cuts, "leave", row)
    out = leaves | (joining & ~joins)
    status[joins | (leaving & ~leaves)] = Status.SELECTED
    status[out] = Status.DISCARDED
    board.decided_by[joins] = Status.JOINING
    board.decided_by[out] = 0


def better(rows: Rows) -> Rows:
    """Return of each cell where its movers end: as many outsiders, from the best, as add more than the worst members.

    Args:
        rows: of all parts, of some cells: ``slot``, ``joins``, ``value`` (of members with the opposite sign), ``code``.

    Returns:
        Columns of int64, a row per cell that has some: ``slot``; ``join_value, join_code``: of the last that joins;
        ``leave_value, leave_code``: of the last that leaves; ``level``: what that outsider adds; ``pairs``: how many.
    """
    return _ends(rows, gain_only=True)


def paired(rows: Rows) -> Rows:
    """Return of each cell where the pairs end that move: as `better`, of those that are left of its movers."""
    return _ends(rows, gain_only=False)


def _told(graph: PartGraph, capacity: Capacity, joins: BoolArray, leaves: BoolArray, value: Int64Array) -> Rows:
    """Return rows of the first points of each cell, of both kinds, by falling (value, code)."""
    some = np.flatnonzero(joins | leaves)
    rows = {
        "slot": _cells(graph, capacity)[some],
        "joins": joins[some].astype(np.int64),
        "value": value[some],
        "code": graph.code[some],
    }
    return _first_of_each(rows)


def _first_of_each(rows: Rows) -> Rows:
    """Return the first `PAIRS` rows of each cell and kind, by cell, kind and falling (value, code)."""
    order = np.lexsort((~rows["code"], ~rows["value"], rows["joins"], rows["slot"]))
    rows = {name: column[order] for name, column in rows.items()}
    kind = rows["slot"] * 2 + rows["joins"]
    begins = np.flatnonzero(np.append(True, kind[1:] != kind[:-1])[: len(kind)])
    number = np.arange(len(kind)) - np.repeat(begins, np.diff(np.append(begins, len(kind))))
    return {name: column[number < PAIRS] for name, column in rows.items()}


def _ends(rows: Rows, *, gain_only: bool) -> Rows:
    rows = _first_of_each(rows)
    kind = rows["slot"] * 2 + rows["joins"]
    kinds, begin, length = np.unique(kind, return_index=True, return_counts=True)
    here = np.flatnonzero((kinds[1:] == kinds[:-1] + 1) & (kinds[1:] % 2 == 1))  # cells with both kinds
    leave, join, pairs = begin[:-1][here], begin[1:][here], np.minimum(length[:-1], length[1:])[here]
    if gain_only:
        # Number by number the best against the worst; members' values are negative, so a sum is what is gained.
        at = np.repeat(np.arange(len(here)), pairs)
        number = np.arange(len(at)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
        gains = rows["value"][join[at] + number] + rows["value"][leave[at] + number] > 0
        pairs = np.bincount(at[gains], minlength=len(here))
        some = pairs > 0
        leave, join, pairs, here = leave[some], join[some], pairs[some], here[some]
    join, leave = join + pairs - 1, leave + pairs - 1
    return {
        "slot": kinds[here] // 2,
        "join_value": rows["value"][join],
        "join_code": rows["code"][join],
        "leave_value": rows["value"][leave],
        "leave_code": rows["code"][leave],
        "level": rows["value"][join],
        "pairs": pairs.astype(np.int64),
    }


def _cells(graph: PartGraph, capacity: Capacity) -> Int64Array:
    """Return the cell of each own point: int64, (n_own,)."""
    assert graph.group is not None
    cell = np.zeros(graph.n_own, np.int64)
    for group, one in zip(graph.group, capacity.groups, strict=True):
        cell = cell * len(one.most) + group
    return cell


def _rows_of(graph: PartGraph, capacity: Capacity, cuts: Rows) -> tuple[Int64Array, BoolArray]:
    """Return the row of cuts of each own point's cell, and whether there is one."""
    cell = _cells(graph, capacity)
    order = np.argsort(cuts["slot"])
    at = np.minimum(np.searchsorted(cuts["slot"], cell, sorter=order), len(order) - 1)
    row = order[at] if len(order) else np.zeros(graph.n_own, np.int64)
    return row, cuts["slot"][row] == cell if len(order) else np.zeros(graph.n_own, np.bool_)


def _at_or_above(value: Int64Array, graph: PartGraph, cuts: Rows, what: str, row: Int64Array) -> BoolArray:
    """Return whose (value, code) is that of a cut, or above."""
    if not len(cuts["slot"]):
        return np.zeros(graph.n_own, np.bool_)
    last, code = cuts[f"{what}_value"][row], cuts[f"{what}_code"][row]
    return np.asarray((value > last) | ((value == last) & (graph.code[: graph.n_own] >= code)))


@compiled(parallel=True)
def _first(indptr: Any, indices: Any, weight: Any, conflict: Any, code: Any, key: Any, status: Any) -> Any:
    """Return which own movers are farther, or of larger code, than all movers next to them: bool, (n_own,)."""
    first = np.zeros(len(indptr) - 1, np.bool_)
    for v in numba.prange(len(first)):
        if status[v] != _JOINING and status[v] != _LEAVING:
            continue
        first[v] = True
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] != _JOINING and status[j] != _LEAVING:
                continue
            joined = weight[e] > 0 or (len(conflict) > 0 and conflict[e])
            if joined and beats(key[j], code[j], key[v], code[v]):
                first[v] = False
                break
    return first
