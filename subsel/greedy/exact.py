"""Exact greedy over an engine's parts: the subset of centralised greedy, whatever the parts, by local dominance."""

from __future__ import annotations

import logging

import numpy as np

from subsel.board import Board
from subsel.engines.base import BELOW_ALL, Engine
from subsel.graph import Int32Array, KernelGraph, PartGraph
from subsel.greedy import kernel
from subsel.results import GreedyResult
from subsel.schema import Status

log = logging.getLogger(__name__)


def exact_greedy(engine: Engine, k: int, max_supersteps: int = 50) -> GreedyResult:
    """Select k of the undecided points exactly as centralised greedy does, one superstep after another.

    A point that beats all its undecided neighbours is picked by greedy before any of them, at its present
    gain; so parts can pick such points on their own. Keys at picking fall along greedy's order, hence its
    k picks are the top k by that key. After each superstep, whoever cannot reach the k-th largest lower bound
    any more is discarded. On one part without ghosts this is a single pass.

    Utilities that rise along a chain of points in ever other parts let one point through per superstep. So after
    ``max_supersteps`` gains are rounded down to a few dozen levels, within which the order is random and chains are
    short. The result is then greedy on rounded gains for what was left; log, report and closing table say so.

    Args:
        engine: holds the graph and what bounding left undecided; on return nothing is undecided.
        k: points to select, 0 <= k <= number undecided.
        max_supersteps: supersteps before gains are rounded.
    """
    shift, rounded_after = 0, None
    counts = engine.step(pick, limit=k, prune_below=BELOW_ALL)
    supersteps = 1
    while counts.undecided:
        log.info("greedy superstep %d: selected %d, undecided %d", supersteps, counts.selected, counts.undecided)
        finished = engine.finish(pick, limit=k, prune_below=BELOW_ALL, shift=shift)
        if finished is None:
            # No final key of the k best is below the k-th largest lower bound: final keys are >= lower bounds. Where
            # the k best are all that there are it prunes nobody.
            rounds_now = rounded_after is None and supersteps >= max_supersteps
            floor = BELOW_ALL
            if rounds_now or counts.undecided + counts.selected > k:
                floor = engine.kth_largest("lower", k, (Status.UNDECIDED, Status.SELECTED))
            if rounds_now:
                shift, rounded_after = _rounding(engine, floor), supersteps
                log.warning(
                    "greedy is not done after %d supersteps: gains are rounded from here on, so what it picks, or in "
                    "which order, is no longer centralised greedy's (raise max_supersteps or finish_points for that)",
                    supersteps,
                )
            finished = engine.step(pick, limit=k, prune_below=floor, shift=shift)
        counts = finished
        supersteps += 1
    if counts.selected > k:  # each part may have picked up to k
        key, code = engine.kth_place(k, (Status.SELECTED,))
        counts = engine.step(cut, key=key, code=code)
    log.info("greedy superstep %d: selected %d, undecided %d", supersteps, counts.selected, counts.undecided)
    return GreedyResult(counts.selected, supersteps, rounded_after)


def _rounding(engine: Engine, floor: int) -> int:
    """Return how many low bits of keys to drop so that 16 to 32 levels are left from the largest key to ``floor``."""
    largest = engine.kth_largest("key", 1, (Status.UNDECIDED,))
    return max(1, max(largest - floor, 1).bit_length() - 5)


def order_subset(engine: Engine, k: int, *, restart: bool, max_supersteps: int = 50) -> int | None:
    """Bring the subset's keys to those at which greedy, restricted to the subset, picks its points.

    Ranks are then the order of the keys, and gains sum to the objective. Where greedy alone made the
    subset its keys are those already, and ``restart`` is False; refinement counts keys anew even if nobody moves.

    Returns:
        The superstep after which gains were rounded, so that ranks are no longer greedy's; None: they were not.
    """
    engine.reopen()
    if not restart:
        engine.step(keep_decisions)
        return None
    engine.step(start_over)
    return exact_greedy(engine, k, max_supersteps).rounded_after


def pick(graph: KernelGraph, board: Board, /, *, limit: int, prune_below: int, shift: int = 0) -> None:
    """One part's share of a superstep: hear the news, prune, pick what is final."""
    board.absorb_news(graph)
    own = slice(0, graph.n_own)
    if prune_below != BELOW_ALL:
        hopeless = (board.status[own] == Status.UNDECIDED) & (board.key[own] >> shift < prune_below >> shift)
        pruned = np.flatnonzero(hopeless).astype(np.int32)
        board.status[pruned] = Status.DISCARDED
        board.spread(graph, pruned)
    decided = pick_dominant(graph, board, limit, shift)
    if (board.status[own] == Status.UNDECIDED).any():  # else nobody's bound is of use
        board.spread(graph, decided[board.status[decided] == Status.DISCARDED])


def pick_dominant(graph: KernelGraph, board: Board, limit: int, shift: int = 0) -> Int32Array:
    """Run `kernel.pick_dominant` on a part; return the own points decided."""
    room = kernel.Room.of(board.status[: graph.n_own], kernel.BATCH)
    count = kernel.pick_dominant(
        graph.indptr,
        graph.indices,
        graph.weight,
        graph.fixed_point.tie_bits,
        graph.code,
        board.key,
        board.status,
        board.lower,
        limit,
        shift,
        room,
    )
    decided: Int32Array = room.decided[:count]
    return decided


def cut(graph: KernelGraph, board: Board, /, *, key: int, code: int) -> None:
    """Keep the selected points down to (key, code), the k-th of all; discard those after it."""
    board.absorb_news(graph)
    cut_below(graph, board, key, code)


def cut_below(graph: KernelGraph, board: Board, key: int, code: int) -> None:
    """Discard what is selected and comes after (key, code) in the total order."""
    after = (board.key < key) | ((board.key == key) & (graph.code < code))
    board.status[(board.status == Status.SELECTED) & after] = Status.DISCARDED


def start_over(graph: PartGraph, board: Board, /) -> None:
    """Begin anew on the subset, see `Board.restart`."""
    board.restart(graph)


def keep_decisions(graph: PartGraph, board: Board, /) -> None:
    """Remember what selected each point; statuses stay."""
    board.note_decided(graph)
