"""Swap refinement: exchange members for better outsiders, many at once, until nothing is gained (docs/greedy.md)."""

from __future__ import annotations

import logging

import numpy as np

from subsel.board import Board
from subsel.engines.base import BELOW_ALL, Engine
from subsel.fixedpoint import exact_sum
from subsel.graph import PartGraph
from subsel.greedy import kernel
from subsel.greedy.limited_kernel import beside as too_similar
from subsel.results import RefineResult
from subsel.schema import FIRST_MEMBER, Status

log = logging.getLogger(__name__)

_FREE = (Status.SELECTED, Status.DISCARDED)


def refine(engine: Engine, passes: int) -> RefineResult:
    """Exchange members of the subset for outsiders until nothing is gained any more, or ``passes`` times.

    m(v) is what v adds to the other members, whether it is one of them or not. If the top |S| by m are not S, some
    members are below the threshold at which S ends and as many outsiders above it: movers. A mover moves only if it
    is farther from the threshold than all movers next to it, so no two that move touch, and exchanging equal
    numbers changes f by exactly Σ m(in) - Σ m(out) > 0. Each pass is two supersteps. What the user included or
    excluded stays.

    Args:
        engine: holds the whole graph (`Engine.reopen`); nothing is undecided. On return its boards have the new subset.
        passes: upper limit, 0 for none.
    """
    if passes == 0:
        return RefineResult(0, 0, 0)
    counts = engine.step(settle)
    before = start = _objective_twice(counts.sums)
    free = counts.selected
    done = exchanged = 0
    while done < passes and free:
        key, code = engine.kth_place(free, _FREE)
        marked = engine.step(mark_movers, key=key, code=code)
        better_in, better_out = marked.sums[:2]
        # Pairs of movers that are both on the threshold gain nothing: those above it and those below it decide.
        pairs = min(marked.joining, marked.leaving, max(better_in, better_out))
        joining = engine.kth_place(pairs, (Status.JOINING,))
        staying = engine.kth_place(marked.leaving - pairs, (Status.LEAVING,))
        counts = engine.step(settle, joining=joining, staying=staying)
        after = _objective_twice(counts.sums)
        log.info("refinement pass %d: %d of %d movers exchanged", done + 1, 2 * pairs, marked.joining + marked.leaving)
        if pairs == 0:
            break
        if after <= before:
            raise AssertionError(f"refinement lowered f from {before} to {after} (twice, in fixed point)")
        before = after
        done += 1
        exchanged += pairs
    return RefineResult(done, exchanged, (before - start) // 2)


def settle(
    graph: PartGraph,
    board: Board,
    /,
    *,
    joining: tuple[int, int] | None = None,
    staying: tuple[int, int] | None = None,
) -> None:
    """Carry out the exchange, and compute m of every own point; 2 f is the sum of `Board.sums`.

    Args:
        graph: the whole of this part.
        board: its board.
        joining: (key, code) of the last that joins; None: nobody moves.
        staying: (key, code) of the last that stays though it was about to leave.
    """
    board.note_decided(graph)
    status = board.status
    if joining is not None and staying is not None:
        joins = (status == Status.JOINING) & _from(board, graph, joining)
        leaves = (status == Status.LEAVING) & ~_from(board, graph, staying)
        out = leaves | ((status == Status.JOINING) & ~joins)
        status[joins | ((status == Status.LEAVING) & ~leaves)] = Status.SELECTED
        status[out] = Status.DISCARDED
        own = slice(0, graph.n_own)
        board.decided_by[joins[own]] = Status.JOINING
        board.decided_by[leaves[own]] = Status.LEAVING
    else:
        status[(status == Status.ACCEPTED) | (status == Status.LEAVING)] = Status.SELECTED
        status[status == Status.JOINING] = Status.DISCARDED
    board.recount(graph)
    members = np.flatnonzero(status[: graph.n_own] >= FIRST_MEMBER)
    bits = graph.fixed_point.tie_bits
    first = graph.fixed_point.keys(graph.utility[members], graph.code[members])
    # f = Σ a - Σ w inside, and Σ (a - m) over members counts each w inside twice.
    board.sums = (exact_sum(first >> bits), exact_sum(board.key[members] >> bits), 0, 0)
    if graph.max_similarity is not None:  # who is too similar to a member cannot join: below all others
        beside = too_similar(graph.indptr, graph.indices, graph.conflict, status, FIRST_MEMBER, max(Status))
        board.key[: graph.n_own][beside & (status[: graph.n_own] == Status.DISCARDED)] = BELOW_ALL


def mark_movers(graph: PartGraph, board: Board, /, *, key: int, code: int) -> None:
    """Mark the own movers that are farther from the threshold, the place (key, code), than all movers next to them."""
    board.news = np.empty(0, np.int32)  # m was counted with these
    better_in, better_out = kernel.mark_movers(
        graph.indptr,
        graph.indices,
        graph.weight,
        graph.conflict,
        graph.fixed_point.tie_bits,
        graph.code,
        board.key,
        board.status,
        key,
        code,
        np.empty(len(board.status), np.int64),
    )
    board.sums = (better_in, better_out, 0, 0)


def _objective_twice(sums: tuple[int, int, int, int]) -> int:
    return sums[0] + sums[1]


def _from(board: Board, graph: PartGraph, place: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return who is at a place of the total order or above."""
    key, code = place
    return np.asarray((board.key > key) | ((board.key == key) & (graph.code >= code)))
