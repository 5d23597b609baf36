"""Warm starts on one machine: a selection goes on from an old subset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from subsel.board import hear_wishes
from subsel.config import SelectConfig
from subsel.engines.local import LocalEngine
from subsel.errors import InputError
from subsel.graph import NeighborGraph
from subsel.input.ids import known_places
from subsel.input.points import Points
from subsel.input.wishes import wished_ids
from subsel.schema import KEPT, Status

_WHAT = "warm_start"


def warm_here(
    old: Any,
    room: int,
    points: Points,
    graph: NeighborGraph,
    engine: LocalEngine,
    config: SelectConfig,
    storage_options: Mapping[str, Any] | None,
) -> int:
    """Put an old subset's points on the board, see `subsel.stages.base.Stages.warm`; those that are gone are left out.

    Args:
        old: the subset, see `subsel.input.wishes.wished_ids`.
        room: points to select beside those that are members.
        points: their ids' type.
        graph: whose nodes they are.
        engine: what bounding left.
        config: names the id column.
        storage_options: how paths are opened.

    Raises:
        InputError: it cannot be read, or names no point of the graph.
    """
    ids = wished_ids(old, config, points.id_type, _WHAT, storage_options)
    places = known_places(ids, graph.ids, _WHAT, points.id_type, all_known=False)
    if not len(places):
        raise InputError(
            f"{_WHAT}: none of its {len(ids):,} points is among the {graph.n:,} to select from: leave it out."
        )
    board = engine.board
    open_ones = places[board.status[places] == Status.UNDECIDED]
    if len(open_ones) > room:
        aside = board.status == Status.UNDECIDED
        aside[open_ones] = False
        board.status[aside] = Status.DISCARDED
        open_ones = open_ones[:0]
    else:
        # As bounding's, until swaps begin: then they are free to leave.
        board.status[open_ones], board.decided_by[open_ones] = Status.ACCEPTED, KEPT
        board.decided_at[open_ones] = board.steps + 1
    engine.step(hear_wishes)
    return len(open_ones)
