"""Approximate bounding: U_min over a sample of undecided neighbours (paper Def. 4.5, schedule of Algs 3-5)."""

from __future__ import annotations

import logging

from subsel.board import Board, Counts
from subsel.bounding import kernel
from subsel.bounding.driver import decide
from subsel.engines.base import ABOVE_ALL, BELOW_ALL, Engine
from subsel.graph import PartGraph
from subsel.results import BoundingResult
from subsel.schema import Status

log = logging.getLogger(__name__)


def bound_approximately(
    engine: Engine, k: int, *, share: float, weighted: bool = False, seed: int = 0, tight: bool = True
) -> BoundingResult:
    """Shrink until nothing is discarded, grow until nothing is accepted, and again until neither changes.

    With few neighbours counted, U_min is too high and more is decided than is certain: the decisions need not
    agree with any optimum. Rounds are synchronous (every part knows all earlier decisions before a threshold is taken),
    because here what is decided depends on the order; so it is the same on any parts. Each round is two
    supersteps. The sample is drawn once, from codes, so there is a fixpoint.

    More than k are never accepted, nor more than n - k discarded: a sampled U_min is at most U_max, so fewer than
    ``needed`` + 1 points have a U_min above the (needed + 1)-th largest U_max, and the ``needed`` points of largest
    U_min are not below that of the last of them. A result that is too large and has to be cut back, as
    the paper describes, does not occur.

    Args:
        engine: holds the graph; on return its boards carry the decisions.
        k: size of the subset, 1 <= k <= n.
        share: p, of the undecided neighbours that count, in (0, 1]; 1 is exact bounding on the paper's schedule.
        weighted: draw neighbours by their similarity instead of uniformly.
        seed: of the sample.
        tight: False for the paper's rank in Grow, which is one weaker.
    """
    rounds = {"shrink": 0, "grow": 0}
    counts = engine.counts()
    quiet, phase = 0, "shrink"
    while quiet < 2 and counts.undecided:
        decided = 0
        while counts.undecided:
            before = engine.step(refresh, share=share, weighted=weighted, seed=seed)
            needed = k - before.accepted
            above, below = ABOVE_ALL, BELOW_ALL
            if phase == "shrink":
                below = engine.kth_largest("lower", needed, (Status.UNDECIDED,))
            else:
                above = engine.kth_largest("key", needed + tight, (Status.UNDECIDED,))
            counts = engine.step(decide, accept_above=above, discard_below=below)
            if counts.undecided == before.undecided:
                break
            decided += before.undecided - counts.undecided
            rounds[phase] += 1
            _log_round(phase, rounds[phase], before, counts)
        quiet = 0 if decided else quiet + 1
        phase = "grow" if phase == "shrink" else "shrink"
    counts = engine.step(restore)
    return BoundingResult(counts.accepted, counts.discarded, sum(rounds.values()), rounds["grow"], rounds["shrink"])


def refresh(graph: PartGraph, board: Board, /, *, share: float, weighted: bool, seed: int) -> None:
    """Hear the news, and compute every undecided own point's U_min over its sample."""
    board.absorb_news(graph)
    kernel.sampled_lower(
        graph.indptr,
        graph.indices,
        graph.weight,
        graph.mean_weight,
        graph.code,
        graph.fixed_point.tie_bits,
        board.key,
        board.status,
        board.lower,
        share,
        weighted,
        seed,
    )


def restore(graph: PartGraph, board: Board, /) -> None:
    """Hear the news, and go back to bounds that are certain, which greedy prunes by."""
    board.absorb_news(graph)
    board.reset_lower(graph)


def _log_round(phase: str, round_: int, before: Counts, after: Counts) -> None:
    log.info(
        "bounding, %s round %d: accepted %d, discarded %d, undecided %d",
        phase,
        round_,
        after.accepted - before.accepted,
        after.discarded - before.discarded,
        after.undecided,
    )
