"""What one part does in greedy under limits: the kernels of `subsel.greedy.limited`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from subsel.board import BARRED, NO_SUMS, Board
from subsel.fixedpoint import exact_sum
from subsel.graph import KernelGraph, PartGraph
from subsel.greedy.limited_view import BEFORE, KILLED, MANY_PLACES, MEMBERS, NO_END, View, beside
from subsel.limits import tables
from subsel.limits.capacity import Capacity
from subsel.limits.tables import LOWER, UPPER, Known, Place
from subsel.schema import FIRST_MEMBER, Status


def measure(graph: PartGraph, board: Board, /, *, first: bool) -> None:
    """Leave as sums how many points are members, and what they cost; ``first``: before the first phase."""
    board.absorb_news(graph)
    if first:
        board.extra.pop(BEFORE, None)
    board.tally = {}
    member = board.status[: graph.n_own] >= FIRST_MEMBER
    spent = 0 if graph.cost is None else exact_sum(graph.cost[: graph.n_own][member])
    board.sums = (int(member.sum()), spent, 0, 0)


def begin(graph: PartGraph, board: Board, /, *, capacity: Capacity, points: int, budget: int) -> None:
    """Begin a phase: whoever is no member and may still fit is undecided again.

    Args:
        graph: the whole of this part.
        board: its board; in the first phase only the undecided count, in later ones also what was discarded.
        capacity: the limits.
        points: that may still be selected.
        budget: what is left of it.
    """
    member = board.status[: graph.n_own] >= FIRST_MEMBER
    picked_at = board.key[: graph.n_own][member]
    board.recount(graph)
    board.key[: graph.n_own][member] = picked_at
    open_who_fits(graph, board, capacity=capacity, points=points, budget=budget)


def open_who_fits(graph: PartGraph, board: Board, /, *, capacity: Capacity, points: int, budget: int) -> None:
    """Make everybody undecided who may still be picked in a phase; arguments as `begin`."""
    own = slice(0, graph.n_own)
    status = board.status[own]
    member = status >= FIRST_MEMBER
    out = status == Status.EXCLUDED
    if BEFORE not in board.extra:
        out |= status == Status.DISCARDED
    if BARRED in board.extra:
        out |= board.extra[BARRED]
    board.extra |= {BEFORE: member, KILLED: np.zeros(len(graph.ghost_vid), np.bool_)}
    fits = np.full(graph.n_own, points > 0)
    if graph.cost is not None:
        fits &= graph.cost[own] <= budget
    if capacity.max_similarity is not None:
        fits &= ~beside(graph, board, MEMBERS)
    status[~member & ~out] = Status.DISCARDED
    status[~member & ~out & fits] = Status.UNDECIDED


def hear(graph: PartGraph, board: Board, /, *, capacity: Capacity) -> None:
    """Hear the news, leave out who is too similar to a member, and tell others of it."""
    board.sums, board.tally = NO_SUMS, {}
    View(graph, board, capacity).hear()


def pick(
    graph: KernelGraph,
    board: Board,
    /,
    *,
    view: Callable[[KernelGraph, Board, Capacity], View],
    capacity: Capacity,
    points: int,
    budget: int,
    known: Known | None = None,
    alone: bool = False,
    whole: bool = False,
) -> None:
    """One part's share of a superstep: hear the news, leave out who cannot be picked, pick who surely is, tell of it.

    Args:
        graph: a part, or a group of points of many.
        board: its board.
        view: returns it as its limits see it, by what gains are.
        capacity: the limits.
        points: that may be selected in this phase.
        budget: that these may cost.
        known: what all parts told last; None: nothing yet.
        alone: whether all undecided points are here.
        whole: whether all points are here.
    """
    board.sums, board.tally = NO_SUMS, {}
    seen = view(graph, board, capacity)
    seen.hear()
    if known is not None or alone or not capacity.groups:
        seen.pick(points, budget, known, alone=alone, whole=whole)
    if not alone:
        board.tally = seen.tell(known, points, budget)


def cut(graph: PartGraph, board: Board, /, *, capacity: Capacity, rank: int, code: int) -> None:
    """Discard what this phase selected, from a place on."""
    board.tally = {}
    board.absorb_news(graph)
    view = View(graph, board, capacity)
    status = board.status[: graph.n_own]
    status[view.picked & ~view.over(view.rank, (rank, code))] = Status.DISCARDED


def tell_unit(graph: PartGraph, board: Board, /) -> None:
    """Tell what all costs are multiples of."""
    board.absorb_news(graph)
    assert graph.cost is not None
    board.tally = {"slot": np.zeros(1, np.int64), "unit": np.gcd.reduce(graph.cost[: graph.n_own], keepdims=True)}


def tell_groups(graph: PartGraph, board: Board, /, *, capacity: Capacity, included: bool = False) -> None:
    """Tell how many members, or of these the included, each group has, what they cost, and gained by their keys."""
    board.absorb_news(graph)
    status = board.status[: graph.n_own]
    member = status == Status.INCLUDED if included else status >= FIRST_MEMBER
    gain = (board.key[: graph.n_own][member] >> graph.fixed_point.tie_bits).astype(np.float64)
    view = View(graph, board, capacity)
    cost = np.zeros(int(member.sum()), np.int64) if graph.cost is None else graph.cost[: graph.n_own][member]
    totals = {"points": np.ones(len(cost), np.int64), "cost": cost, "gain": gain}
    columns = {name: np.zeros(capacity.slots, values.dtype) for name, values in totals.items()}
    for slot in view.slot:
        for name, values in totals.items():
            np.add.at(columns[name], slot[member], values)
    some = np.flatnonzero(columns["points"])
    board.sums = (len(cost), exact_sum(cost), 0, 0)
    board.tally = {"slot": some, **{name: column[some] for name, column in columns.items()}}


def keys_to_ranks(graph: PartGraph, board: Board, /, *, capacity: Capacity) -> None:
    """Replace the keys of own members by their ranks."""
    board.absorb_news(graph)
    member = board.status[: graph.n_own] >= FIRST_MEMBER
    board.key[: graph.n_own][member] = View(graph, board, capacity).rank[member]


def tell_places(
    graph: PartGraph, board: Board, /, *, capacity: Capacity, by_cost: bool, above: Place, below: Place
) -> None:
    """Tell where what this phase selected stands below one place, down to another.

    Rows of slot 0 count from where they surely stand, those of slot 1 from where they may. Sums are of what stands
    above that, and how many rows are of several points.
    """
    board.absorb_news(graph)
    view = View(graph, board, capacity)
    amount = view.amount(by_cost=by_cost)
    before = view.picked & ~view.under(view.rank, above)
    some = view.picked & view.under(view.rank, above) & ~view.under(view.rank, below)
    of = view.rank[some], graph.code[: graph.n_own][some], amount[some]
    slot, all_of_it = np.zeros(int(some.sum()), np.int64), [np.full(2, NO_END)]
    rows, exact = tables.listed(LOWER, slot, *of, all_of_it, MANY_PLACES)
    more, _ = tables.listed(UPPER, slot + 1, *of, all_of_it, MANY_PLACES)
    board.tally = tables.joined([rows, more])
    board.sums = (exact_sum(amount[before]), int(not exact), 0, 0)
