"""Exact bounding to its fixpoint, over an engine's parts (paper §4, Algs 3-5, with tight ranks)."""

from __future__ import annotations

import logging

import numpy as np

from subsel.board import Board, Counts
from subsel.bounding import kernel
from subsel.engines.base import GroupEngine
from subsel.engines.local import OnePart
from subsel.graph import KernelGraph
from subsel.results import BoundingResult
from subsel.schema import Status

log = logging.getLogger(__name__)


def bound(engine: GroupEngine, k: int, *, tight: bool = True) -> BoundingResult:
    """Accept and discard points until neither is possible any more; every optimum keeps its points.

    With A accepted, U undecided and k' = k - |A|: a point of U is accepted if its U_min exceeds the
    (k'+1)-th largest U_max, and discarded if its U_max is below the k'-th largest U_min. The paper's Grow
    uses the k'-th largest U_max, which is valid but one rank weaker. Growing and shrinking in the same round
    is safe, since each conclusion holds for all optima; so is acting on bounds that do not know other
    parts' latest decisions yet, since stale bounds are wider. The fixpoint is unique (docs/bounding.md).

    Args:
        engine: holds the graph; on return its boards carry the decisions.
        k: size of the subset, 1 <= k <= n.
        tight: False for the paper's rank.
    """
    counts = engine.counts()
    rounds = 0
    while counts.undecided:
        needed = k - counts.accepted
        finished = engine.finish(bound_here, needed=needed, tight=tight)
        if finished is not None:
            counts = finished
            rounds += 1
            break
        upper = engine.kth_largest("key", needed + tight, (Status.UNDECIDED,))
        lower = engine.kth_largest("lower", needed, (Status.UNDECIDED,))
        before = counts
        counts = engine.step(decide, accept_above=upper, discard_below=lower)
        rounds += 1
        _log_round(rounds, before, counts)
        # A round that decides nothing but hears news has new bounds to try.
        if counts.undecided == before.undecided and not counts.news:
            break
    return BoundingResult(counts.accepted, counts.discarded, rounds)


def bound_here(graph: KernelGraph, board: Board, /, *, needed: int, tight: bool) -> None:
    """Bound the points of one part that has no ghosts to the fixpoint, ``needed`` of them being still needed."""
    bound(OnePart(graph, board), needed, tight=tight)


def decide(graph: KernelGraph, board: Board, /, *, accept_above: int, discard_below: int) -> None:
    """One part's share of a round."""
    board.absorb_news(graph)
    room = np.empty(len(board.lower), np.int32)
    about = graph.fixed_point.tie_bits, board.key, board.status, board.lower
    decided = room[: kernel.decide(*about, accept_above, discard_below, room)]
    board.decided_by[decided[board.status[decided] == Status.DISCARDED]] = Status.DISCARDED
    board.spread(graph, decided)


def _log_round(round_: int, before: Counts, after: Counts) -> None:
    log.info(
        "bounding round %d: accepted %d, discarded %d, undecided %d",
        round_,
        after.accepted - before.accepted,
        after.discarded - before.discarded,
        after.undecided,
    )
