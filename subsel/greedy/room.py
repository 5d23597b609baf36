"""What one part does where members of the subset leave because they are too alike to others: a kernel."""

from __future__ import annotations

import numpy as np

from subsel.board import BARRED, NO_SUMS, Board
from subsel.graph import PartGraph
from subsel.schema import FIRST_MEMBER, Status


def make_room(graph: PartGraph, board: Board, /) -> None:
    """Let members leave, and open the rest: greedy goes on from those that stay.

    Letters name own points by ``slot`` (int); where ``left`` (bool) they leave if they are members, else they are just
    too alike to one that stays. All of them are out from here on, but for members that stay.
    """
    board.absorb_news(graph)
    board.sums, board.tally = NO_SUMS, {}
    status = board.status[: graph.n_own]
    barred = board.extra.get(BARRED, np.zeros(graph.n_own, np.bool_))
    if board.inbox:
        slot, left = board.inbox["slot"], board.inbox["left"]
        status[slot[left]] = Status.DISCARDED
        board.decided_by[slot[left]] = 0
        barred[slot] = True
    board.extra[BARRED] = barred & (status < FIRST_MEMBER)
    status[(status == Status.DISCARDED) & ~board.extra[BARRED]] = Status.UNDECIDED
