"""The paper's multi-round partitioned greedy (Alg. 6), as a baseline and for whoever wants the published method.

Every round deals the remaining points into random partitions, runs centralised greedy in each without the edges between
them, and keeps what these picked. `subsel.greedy.exact` gives centralised greedy's subset instead.
"""

from __future__ import annotations

import logging
import math
from fractions import Fraction

from subsel.board import Board
from subsel.codes import rehash
from subsel.engines.base import Engine
from subsel.graph import KernelGraph, PartGraph
from subsel.greedy.exact import cut_below, pick_dominant
from subsel.results import GreedyResult
from subsel.schema import Status

log = logging.getLogger(__name__)


def round_target(n: int, k: int, round_: int, rounds: int, gamma: float) -> int:
    """Return how many points are to be left after a round (from 1): ⌈γ(R-r)(n-k)/R⌉ + k, so k after the last.

    Args:
        n: points before the first round.
        k: points to select.
        round_: r, from 1.
        rounds: R.
        gamma: γ; taken as the decimal that it is written as, so that ⌈⌉ is exact.
    """
    return math.ceil(Fraction(str(gamma)) * (rounds - round_) * (n - k) / rounds) + k


def round_partitions(n: int, left: int, partitions: int, *, adaptive: bool) -> int:
    """Return a round's number of partitions: m, or, adaptive, as many as its input needs at ⌈n/m⌉ points each.

    The paper's listing divides the size wanted after the round; its figures fit the size of the round's input.

    Args:
        n: points before the first round.
        left: points before this one.
        partitions: m.
        adaptive: whether partitions keep their size rather than their number.
    """
    return -(-left // -(-n // partitions)) if adaptive else partitions


def partition_target(size: int, left: int, target: int) -> int:
    """Return how many points a partition keeps: its share of the target, ⌈target·size/left⌉.

    ⌈target/m⌉ where partitions are of equal size, as in the paper; random ones are nearly, and with fixed targets
    the smallest could run out of points.
    """
    return -(-target * size // left)


def partitioned_greedy(
    engine: Engine,
    k: int,
    *,
    partitions: int,
    rounds: int = 1,
    adaptive: bool = True,
    gamma: float = 0.75,
    seed: int = 0,
) -> GreedyResult:
    """Select k of the undecided points by Algorithm 6 (see `subsel.config` for the parameters).

    Every round's greedy begins from the gains that accepted points leave; what earlier rounds picked only says who is
    still there. Partitions are drawn from codes, so the subset does not depend on the engine or its parts.

    Args:
        engine: holds the graph and what bounding left undecided; on return nothing is undecided.
        k: points to select, 0 <= k <= number undecided.
        partitions: m, at least 1. One partition is a part of the engine's: its points are held by one task.
        rounds: R, at least 1.
        adaptive: keep partitions' size over the rounds rather than their number.
        gamma: γ of the targets between n and k, in (0, 1].
        seed: of partitions and of the last sample.
    """
    counts = engine.counts()
    n = counts.undecided
    for number in range(1, rounds + 1):
        left = counts.undecided
        target = min(left, round_target(n, k, number, rounds, gamma))
        if left == 0:
            break
        groups = round_partitions(n, left, partitions, adaptive=adaptive)
        counts = engine.deal(groups, _salt(seed, number), keep_best, left=left, target=target)
        log.info("greedy round %d: %d of %d points kept in %d partitions", number, counts.undecided, left, groups)
    if counts.undecided:
        # ⌈⌉ may have kept a few too many: a uniform sample of them.
        engine.step(draw, salt=_salt(seed, 0))
        key, code = engine.kth_place(k, (Status.UNDECIDED,))
        counts = engine.step(select_from, key=key, code=code)
    return GreedyResult(counts.selected, rounds)


def _salt(seed: int, round_: int) -> int:
    """Return what makes the draws of a round its own: different for any two rounds and for most pairs of seeds."""
    return (seed * 1_000_003 + round_ + 1) % 2**63


def keep_best(graph: KernelGraph, board: Board, /, *, left: int, target: int) -> None:
    """Run greedy in one partition; what it picks stays undecided, at its old gain."""
    before = board.key.copy()
    pick_dominant(graph, board, partition_target(graph.n_own, left, target))
    board.key[:] = before
    board.status[board.status == Status.SELECTED] = Status.UNDECIDED


def draw(graph: PartGraph, board: Board, /, *, salt: int) -> None:
    """Give every undecided own point a random key."""
    board.absorb_news(graph)
    own = slice(0, graph.n_own)
    undecided = board.status[own] == Status.UNDECIDED
    board.key[own][undecided] = rehash(graph.code[own][undecided], salt)


def select_from(graph: PartGraph, board: Board, /, *, key: int, code: int) -> None:
    """Select the undecided own points from (key, code) up, and discard the others."""
    board.absorb_news(graph)
    own = board.status[: graph.n_own]
    own[own == Status.UNDECIDED] = Status.SELECTED
    cut_below(graph, board, key, code)
