"""Going on from an old subset: what of it may stay, and renewal, in which a part makes room and greedy fills it again.

Swaps alone stay near where they begin, since they exchange points that stand on either side of one threshold. Here the
members that add least all leave at once, and greedy picks among all that are out, these among them. More and more of
them leave until the subset is worth no less than greedy's own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from subsel.board import Board
from subsel.engines.base import Engine
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph
from subsel.greedy.limited import Moves, ranks_as_keys, spent_by_groups
from subsel.limits.capacity import Capacity
from subsel.schema import KEPT, Status

log = logging.getLogger(__name__)

#: Shares of the members that make room in a round: the next one where the one before gains no more and is not enough.
SHARES = (0.5, 0.6, 0.8)
_GAINED = 4
#: Rounds of one share, at most.
ROUNDS = 16


def worth_of(engine: Engine, capacity: Capacity | None, moves: Moves) -> tuple[int, ...]:
    """Return what subsets are compared by: minima that are met, points where a size is to be filled, and 2 f.

    Args:
        engine: its boards hold a subset.
        capacity: limits; None: none but a size, which is filled.
        moves: what f is.
    """
    value = moves.value(engine)
    if capacity is None:
        return 0, 0, value
    spent, totals = spent_by_groups(engine, capacity)
    least = capacity.least
    missing = int(np.maximum(least - spent["points"][: len(least)], 0).sum())
    return -missing, totals["points"] if capacity.size is not None and capacity.fill else 0, value


def take_old(engine: Engine, old: Int64Array, fill: Callable[[int], object], k: int, *, limited: bool) -> int:
    """Make members of an old subset's points, of as many as may be, which greedy chooses; return how many are.

    Args:
        engine: what bounding left; on return whoever is no member and may be one is undecided.
        old: the points, on the one part that there is.
        fill: selects so many of the undecided points, or as many as limits allow.
        k: points to select.
        limited: whether there are limits.
    """
    before = engine.counts().accepted
    there = engine.step(set_aside, stay=old, recount=not limited).undecided
    fill(min(k, there))
    return engine.step(accept, recount=not limited).accepted - before


def renew(
    engine: Engine,
    fill: Callable[[int], object],
    worth: Callable[[], tuple[int, ...]],
    least: tuple[int, ...],
    slack: int,
    capacity: Capacity | None,
) -> bool:
    """Let the members that add least make room for others, as long as that gains; return whether it is enough.

    Args:
        engine: its boards hold a subset, and nothing is undecided. On return likewise, of a worth that is no less.
        fill: selects so many of the undecided points, or as many as limits allow.
        worth: of the subset, see `worth_of`.
        least: what is enough.
        slack: of 2 f: a round that gains less than a part in `_GAINED` of it is a share's last.
        capacity: limits; None: but the size there are none.
    """
    value = worth()
    engine.step(free)
    for share in SHARES:
        for number in range(ROUNDS):
            if capacity is not None:
                ranks_as_keys(engine, capacity)
            before, members = engine.keep(), engine.counts().selected
            leave = round(share * members)
            key, code = engine.kth_place(members - leave, (Status.SELECTED,))
            engine.step(make_room, key=key, code=code, recount=capacity is None)
            fill(leave)
            now = worth()
            engine.step(free)
            if now <= value:
                engine.back(before)
                break
            log.info("renewal %d: %d members made room", number + 1, leave)
            gained, value = now[-1] - value[-1], now
            if gained * _GAINED < slack:
                break
        if value >= least:
            return True
    return False


def set_aside(graph: PartGraph, board: Board, /, *, stay: Int64Array, recount: bool) -> None:
    """Discard whoever is undecided, but for some points; ``recount``: and count gains afresh, as in what follows."""
    aside = board.status == Status.UNDECIDED
    aside[stay] = False
    board.status[aside] = Status.DISCARDED
    if recount:
        board.recount(graph, bounds=False)


def accept(graph: PartGraph, board: Board, /, *, recount: bool) -> None:
    """Make members of those that were selected, as bounding does, and let all others choose anew."""
    chosen = board.status == Status.SELECTED
    board.decided_by[chosen[: graph.n_own]] = KEPT
    board.status[chosen] = Status.ACCEPTED
    _open(graph, board, recount=recount)


def make_room(graph: PartGraph, board: Board, /, *, key: int, code: int, recount: bool) -> None:
    """Put own members out that add less than the place (key, code), and let all choose anew that are out.

    Those that stay are members as bounding accepts them; gains of the others count from there.
    """
    status = board.status
    may = status == Status.SELECTED
    stays = (board.key > key) | ((board.key == key) & (graph.code >= code))
    board.decided_by[(may & ~stays)[: graph.n_own]] = Status.LEAVING
    status[may & stays] = Status.ACCEPTED
    status[may & ~stays] = Status.DISCARDED
    _open(graph, board, recount=recount)


def free(graph: PartGraph, board: Board, /) -> None:
    """Let members that were accepted be as those that were selected: free to leave."""
    board.note_decided(graph)
    board.status[board.status == Status.ACCEPTED] = Status.SELECTED


def _open(graph: PartGraph, board: Board, *, recount: bool) -> None:
    board.status[board.status == Status.DISCARDED] = Status.UNDECIDED
    board.news = np.empty(0, np.int32)
    if recount:
        board.recount(graph, bounds=False)
