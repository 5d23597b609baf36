"""Renewal: part of a subset makes room, and greedy fills it again; while that gains.

Swaps alone stay near where they begin, since they exchange points that stand on either side of one threshold. Here the
members that add least all leave at once, and greedy picks among all that are out, these among them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from subsel.board import Board
from subsel.engines.base import Engine
from subsel.graph import PartGraph
from subsel.greedy.reverse import objective_twice
from subsel.schema import Status

log = logging.getLogger(__name__)

#: Share of the members that make room in a round, and how many rounds there are at most.
SHARE, ROUNDS = 0.4, 16


def renew(engine: Engine, fill: Callable[[int], object]) -> int:
    """Let the members that add least make room for others, as long as f rises; return in how many rounds it did.

    Args:
        engine: its boards hold a subset, and nothing is undecided. On return likewise, of an f that is no less.
        fill: selects so many of the undecided points.
    """
    value, rounds = objective_twice(engine), 0
    while rounds < ROUNDS:
        before, counts = engine.keep(), engine.counts()
        leave = round(SHARE * counts.selected)
        if not leave:
            return rounds
        key, code = engine.kth_place(counts.selected - leave, (Status.SELECTED,))
        engine.step(make_room, key=key, code=code)
        fill(leave)
        now = objective_twice(engine)
        log.info("renewal %d: %d members made room", rounds + 1, leave)
        if now <= value or engine.counts().selected < counts.selected:
            engine.back(before)
            return rounds
        value, rounds = now, rounds + 1
    return rounds


def make_room(graph: PartGraph, board: Board, /, *, key: int, code: int) -> None:
    """Put own members out that add less than the place (key, code), and let all choose anew that are out.

    Those that stay are members as bounding accepts them; gains of the others count from there.
    """
    status, own = board.status, slice(0, graph.n_own)
    stays = (board.key > key) | ((board.key == key) & (graph.code >= code))
    leaves = (status == Status.SELECTED) & ~stays
    board.decided_by[leaves[own]] = Status.LEAVING
    status[(status == Status.SELECTED) & stays] = Status.ACCEPTED
    status[leaves | (status == Status.DISCARDED)] = Status.UNDECIDED
    board.news = np.empty(0, np.int32)
    board.recount(graph)
