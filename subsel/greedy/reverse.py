"""Reverse greedy: start from everything and remove what is missed least. The same greedy, on what removing gains.

Removing v from the set R of those that are left changes f by -m(v), m(v) = a(v) - Σ over neighbours in R of w, and
raises its neighbours' m. So removing the point of least m is picking the point of largest a'(v) = -m(v), and a pick
lowers its neighbours' gain by w: greedy on a' with the same weights (docs/greedy.md).
"""

from __future__ import annotations

import numpy as np

from subsel.board import Board
from subsel.engines.base import Engine
from subsel.graph import PartGraph
from subsel.greedy.exact import exact_greedy
from subsel.greedy.refine import settle
from subsel.results import GreedyResult
from subsel.schema import Status

#: Share of points above which removing and swapping is better than adding and swapping, or nearly as good where utility
#: dominates (benchmarks/beyond_greedy.py).
REVERSE_ABOVE = 0.25


def reverse_greedy(engine: Engine, k: int, max_supersteps: int = 50) -> GreedyResult:
    """Remove undecided points, the one that is missed least first, until k of them are left, which are selected.

    Exactly centralised reverse greedy, on any parts, for the reasons in `exact_greedy`.

    Args:
        engine: holds the graph and what bounding left undecided; on return nothing is undecided.
        k: points to select, 0 <= k <= number undecided.
        max_supersteps: see `exact_greedy`.
    """
    undecided = engine.counts().undecided
    engine.step(turn)
    result = exact_greedy(engine, undecided - k, max_supersteps)
    engine.step(turn_back)
    return GreedyResult(k, result.supersteps, result.rounded_after, "reverse")


def resolve_direction(direction: str, k: int, undecided: int) -> str:
    """Return the direction that "auto" means: reverse if more than `REVERSE_ABOVE` of the points are selected."""
    if direction != "auto":
        return direction
    return "reverse" if k > REVERSE_ABOVE * undecided else "forward"


def directed_greedy(engine: Engine, k: int, direction: str, max_supersteps: int = 50) -> GreedyResult:
    """Select k of the undecided points by forward or reverse greedy, or by the better of both.

    Args:
        engine: see `exact_greedy`.
        k: see `exact_greedy`.
        direction: "forward", "reverse" or "best".
        max_supersteps: see `exact_greedy`.
    """
    if direction == "forward":
        return exact_greedy(engine, k, max_supersteps)
    if direction == "reverse":
        return reverse_greedy(engine, k, max_supersteps)
    start = engine.keep()
    forward = exact_greedy(engine, k, max_supersteps)
    added, f_added = engine.keep(), objective_twice(engine)
    engine.back(start)
    reverse = reverse_greedy(engine, k, max_supersteps)
    if f_added >= objective_twice(engine):
        engine.back(added)
        return forward
    return reverse


def objective_twice(engine: Engine) -> int:
    """Return 2 f of the members, in fixed point."""
    engine.reopen()
    return sum(engine.step(settle).sums)


def turn(graph: PartGraph, board: Board, /) -> None:
    """Make every undecided own point's gain that of removing it: key and lower bound change places and signs.

    Those that are out already are put aside as excluded, to be told from those that are removed.
    """
    board.absorb_news(graph)
    board.reset_lower(graph)
    own = slice(0, graph.n_own)
    bits = graph.fixed_point.tie_bits
    status, key = board.status[own], board.key[own]
    status[status == Status.DISCARDED] = Status.EXCLUDED
    undecided = status == Status.UNDECIDED
    tie = key[undecided] & ((1 << bits) - 1)
    most, least = key[undecided] >> bits, board.lower[undecided] >> bits
    key[undecided] = (-least << bits) | tie
    board.lower[undecided] = (-most << bits) | tie


def turn_back(graph: PartGraph, board: Board, /) -> None:
    """Select who was not removed."""
    board.news = np.empty(0, np.int32)
    status = board.status[: graph.n_own]
    removed, stays = status == Status.SELECTED, status == Status.DISCARDED
    aside = (status == Status.EXCLUDED) & (board.decided_by != Status.EXCLUDED)
    status[removed | aside] = Status.DISCARDED
    status[stays] = Status.SELECTED
