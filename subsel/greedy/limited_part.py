"""What one part does in greedy under limits: the kernels of `subsel.greedy.limited`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.board import BARRED, NO_SUMS, Board
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.graph import KernelGraph, PartGraph
from subsel.greedy import limited_kernel
from subsel.greedy.kernel import BATCH
from subsel.limits import tables
from subsel.limits.capacity import Capacity
from subsel.limits.tables import ABOVE, BELOW, LOWER, PLACES, UPPER, Known, Place, Rows
from subsel.schema import FIRST_MEMBER, Status
from subsel.sizes import UNLIMITED

_MEMBERS = (int(FIRST_MEMBER), max(map(int, Status)))
_OPEN = (int(Status.UNDECIDED), int(Status.UNDECIDED))
#: On a board: who was a member before the phase, and which ghosts are too similar to one picked here.
_BEFORE, KILLED = "before", "killed"
#: Places that a part tells of at once of size and budget.
_PLACES = 1024
#: What is left of a budget that there is not: more than all costs together.
NO_END = 2**63 - 1

BoolArray = npt.NDArray[np.bool_]


def measure(graph: PartGraph, board: Board, /, *, first: bool) -> None:
    """Leave as sums how many points are members, and what they cost; ``first``: before the first phase."""
    board.absorb_news(graph)
    if first:
        board.extra.pop(_BEFORE, None)
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
    if _BEFORE not in board.extra:
        out |= status == Status.DISCARDED
    if BARRED in board.extra:
        out |= board.extra[BARRED]
    board.extra |= {_BEFORE: member, KILLED: np.zeros(len(graph.ghost_vid), np.bool_)}
    fits = np.full(graph.n_own, points > 0)
    if graph.cost is not None:
        fits &= graph.cost[own] <= budget
    if capacity.max_similarity is not None:
        fits &= ~_beside(graph, board, _MEMBERS)
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
    capacity: Capacity,
    points: int,
    budget: int,
    known: Known | None = None,
    fresh: bool = False,
    alone: bool = False,
    whole: bool = False,
) -> None:
    """One part's share of a superstep: hear the news, leave out who cannot be picked, pick who surely is, tell of it.

    Args:
        graph: a part, or a group of points of many.
        board: its board.
        capacity: the limits.
        points: that may be selected in this phase.
        budget: that these may cost.
        known: what all parts told last; None: nothing yet.
        fresh: whether a phase begins.
        alone: whether all undecided points are here.
        whole: whether all points are here.
    """
    how: dict[str, Any] = {
        "points": points,
        "budget": budget,
        "known": known,
        "fresh": fresh,
        "alone": alone,
        "whole": whole,
    }
    pick_in_view(View(graph, board, capacity), **how)


def pick_in_view(
    view: View, *, points: int, budget: int, known: Known | None, fresh: bool, alone: bool, whole: bool
) -> None:
    """Do what `pick` does, whatever gains are."""
    view.board.sums, view.board.tally = NO_SUMS, {}
    view.hear(fresh=fresh)
    if known is not None or alone or not view.capacity.groups:
        view.pick(points, budget, known, alone=alone, whole=whole)
    if not alone:
        view.board.tally = view.tell(known, points, budget)


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


def tell_groups(graph: PartGraph, board: Board, /, *, capacity: Capacity) -> None:
    """Tell how many members each group has, what they cost, and what they gained by their keys."""
    board.absorb_news(graph)
    member = board.status[: graph.n_own] >= FIRST_MEMBER
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
    rows, exact = tables.listed(LOWER, slot, *of, all_of_it, _PLACES)
    more, _ = tables.listed(UPPER, slot + 1, *of, all_of_it, _PLACES)
    board.tally = tables.joined([rows, more])
    board.sums = (exact_sum(amount[before]), int(not exact), 0, 0)


class View:
    """A part as its limits see it. Arrays are of own points, where nothing else is said.

    Attributes:
        rank: int64, (n_own,): of keys.
        slot: int32, (columns, n_own): each point's group in each column, numbered through all columns.
    """

    def __init__(self, graph: KernelGraph, board: Board, capacity: Capacity) -> None:
        self.graph, self.board, self.capacity = graph, board, capacity
        self.n_own = graph.n_own
        self.price = np.empty(0, np.int64)  # of own points and ghosts: what keys are divided by
        if capacity.per_cost:
            assert graph.cost is not None
            self.price = graph.cost // capacity.unit
        columns = len(capacity.groups)
        self.slot = np.empty((0, self.n_own), np.int32)
        if columns:
            assert graph.group is not None
            self.slot = (graph.group + capacity.offsets[:columns, None]).astype(np.int32)

    @property
    def undecided(self) -> BoolArray:
        """Who is undecided."""
        return np.asarray(self.board.status[: self.n_own] == Status.UNDECIDED)

    @property
    def picked(self) -> BoolArray:
        """Who was selected in this phase."""
        return np.asarray((self.board.status[: self.n_own] == Status.SELECTED) & ~self.board.extra[_BEFORE])

    @property
    def rank(self) -> Int64Array:
        """Ranks of keys."""
        return self._ranks(self.board.key[: self.n_own])

    def amount(self, *, by_cost: bool) -> Int64Array:
        """Return what each point takes."""
        if by_cost and self.graph.cost is not None:
            return self.graph.cost[: self.n_own]
        return np.ones(self.n_own, np.int64)

    def over(self, rank: Int64Array, place: tuple[Any, Any]) -> BoolArray:
        """Return who stands above a place, or one place for each."""
        return np.asarray((rank > place[0]) | ((rank == place[0]) & (self._code > place[1])))

    def under(self, rank: Int64Array, place: tuple[Any, Any]) -> BoolArray:
        """Return who stands below a place, or one place for each."""
        return np.asarray((rank < place[0]) | ((rank == place[0]) & (self._code < place[1])))

    def hear(self, *, fresh: bool = False) -> None:
        """Account for the news; ``fresh``: of boards whose bounds are not known yet."""
        graph, board = self.graph, self.board
        self.keep_killed()
        board.absorb_news(graph)
        if fresh:
            board.reset_lower(graph)
        self.leave_out_alike()

    def leave_out_alike(self) -> None:
        """Discard who is too similar to a member."""
        if self.capacity.max_similarity is not None:
            self.discard(self.undecided & _beside(self.graph, self.board, _MEMBERS))

    def keep_killed(self) -> None:
        """Keep ghosts out that are too similar to one picked here: a part that has not heard yet posts its own anew."""
        if KILLED in self.board.extra:
            status = self.board.status[self.n_own :]
            status[self.board.extra[KILLED] & (status == Status.UNDECIDED)] = Status.DISCARDED

    def discard(self, some: BoolArray) -> None:
        """Discard own undecided points."""
        out = np.flatnonzero(some).astype(np.int32)
        self.board.status[out] = Status.DISCARDED
        self.board.spread(self.graph, out)

    def pick(self, points: int, budget: int, known: Known | None, *, alone: bool, whole: bool) -> None:
        """Leave out who cannot be picked, then pick who surely is: see the kernel ``pick``."""
        board, capacity = self.board, self.capacity
        least = capacity.least
        taken = self._summed(board.status[: self.n_own] >= FIRST_MEMBER) if known is None else known.taken
        room = capacity.most - taken
        reserved = np.maximum(least - taken[: len(least)], 0)
        nowhere = np.full(len(room), ABOVE)
        sure, certain, free_from, foreign = (nowhere, nowhere), (nowhere, nowhere), (ABOVE, ABOVE), nowhere
        free = capacity.free - int(np.maximum(taken[: len(least)] - least, 0).sum())
        if known is not None:
            foreign = known.open - self._summed(self.undecided)
            sure, certain = (known.sure_rank, known.sure_code), (known.certain_rank, known.certain_code)
            free_from = known.free_from
            self.discard(self.undecided & self._hopeless(known, room))
        points = UNLIMITED if capacity.certain and not whole else points
        self.run(
            limited_kernel.Quotas(self.slot, capacity.by_cost, room, reserved, foreign, *sure, *certain),
            limited_kernel.Left(points, budget, free, *free_from),
            limited_kernel.Mode(capacity.fill, alone, whole),
        )

    @property
    def conflict(self) -> BoolArray:
        """Edges whose ends exclude each other: bool, (m,); (0,) where all that is there fits.

        So it is when a subset is put in order: included points may be alike.
        """
        return self.graph.conflict if self.capacity.max_similarity is not None else np.empty(0, np.bool_)

    @property
    def ranks(self) -> Int64Array:
        """Ranks of own points and ghosts, which kernels change; the keys themselves where gains rank."""
        if not len(self.price):
            return self.board.key
        found: Int64Array = limited_kernel.ranks(self.board.key, self.price)
        return found

    def run(self, quotas: limited_kernel.Quotas, left: limited_kernel.Left, mode: limited_kernel.Mode) -> None:
        """Run the kernel, and account for whom it left out."""
        graph, board = self.graph, self.board
        edges = graph.indptr, graph.indices, graph.weight, self.conflict, graph.fixed_point.tie_bits
        out, killed = limited_kernel.pick_fitting(
            limited_kernel.Edges(*edges),
            graph.code,
            board.key,
            self.ranks,
            board.status,
            board.lower,
            self.price,
            np.empty(0, np.int64) if graph.cost is None else graph.cost,
            quotas,
            left,
            mode,
            BATCH,
        )
        if not self.undecided.any():  # nobody's bound is of use
            return
        board.spread(graph, out)
        if len(killed):
            board.extra[KILLED][killed - self.n_own] = True
            board.news = killed
            board.absorb_news(graph)

    def tell(self, known: Known | None, points: int, budget: int) -> Rows:
        """Return what other parts need to know of this one's points."""
        board, capacity = self.board, self.capacity
        undecided = self.undecided
        member = board.status[: self.n_own] >= FIRST_MEMBER
        taken, open_ = self._summed(member), self._summed(undecided)
        some = np.flatnonzero((taken > 0) | (open_ > 0))
        rows = [tables.sums(some, taken[some], open_[some])]
        rank, code = self.rank[undecided], self._code[undecided]
        base, fits = self._sure(known)
        lower = self._ranks(board.lower)
        rooms, places = self._rooms(taken, known, points, budget), max(PLACES, _PLACES // max(len(taken), 1))
        for column, one in enumerate(capacity.groups):
            slot, amount = self.slot[column].astype(np.int64), self.amount(by_cost=one.by_cost)
            rows.append(tables.listed(UPPER, slot[undecided], rank, code, amount[undecided], rooms, places)[0])
            if not capacity.certain:
                counted = base & fits[np.arange(len(fits)) != column].all(axis=0)
                of = lower[counted], self._code[counted], amount[counted]
                rows.append(tables.listed(LOWER, slot[counted], *of, rooms, places, by_size=one.by_cost)[0])
        if not capacity.certain:
            picked = self.picked
            counted = (base & fits.all(axis=0)) | picked
            place = np.where(picked, self.rank, lower)[counted]
            for number, by_cost in enumerate((False, True)):
                if (capacity.budget if by_cost else capacity.size) is not None:
                    slot = np.full(int(counted.sum()), len(taken) + number)
                    amount = self.amount(by_cost=by_cost)[counted]
                    of = place, self._code[counted], amount
                    rows.append(tables.listed(LOWER, slot, *of, rooms, _PLACES)[0])
        return tables.joined(rows)

    def _rooms(self, taken: Int64Array, known: Known | None, points: int, budget: int) -> list[Int64Array]:
        """Return what is left of limits, as far as it is known here, see `subsel.limits.tables.listed`."""
        capacity, least = self.capacity, self.capacity.least
        taken = taken if known is None else np.maximum(known.taken, taken)
        totals = np.array([points, min(budget, NO_END - 1) + 1])
        left = capacity.most - taken
        if not capacity.certain:
            return [np.concatenate([left, totals])]
        reserved = np.zeros(len(left), np.int64)
        reserved[: len(least)] = np.maximum(least - taken[: len(least)], 0)
        free = capacity.free - int(np.maximum(taken[: len(least)] - least, 0).sum())
        left = np.minimum(left, reserved + free)
        return [np.concatenate([left, totals]), np.concatenate([reserved, totals])]

    @property
    def _code(self) -> Int64Array:
        return self.graph.code[: self.n_own]

    def _ranks(self, key: Int64Array) -> Int64Array:
        if not len(self.price):
            return key
        found: Int64Array = limited_kernel.ranks(key, self.price[: self.n_own])
        return found

    def _summed(self, some: BoolArray) -> Int64Array:
        """Return what some points take, by slot."""
        total = np.zeros(self.capacity.slots, np.int64)
        for slot, one in zip(self.slot, self.capacity.groups, strict=True):
            np.add.at(total, slot[some], self.amount(by_cost=one.by_cost)[some])
        return total

    def _hopeless(self, known: Known, room: Int64Array) -> BoolArray:
        """Return who cannot be picked any more in this phase."""
        rank = self.rank
        found = self.under(rank, known.end) | np.isin(self._code, known.out_code[known.out_rank > BELOW])
        if not self.capacity.fill:
            found |= self.board.key[: self.n_own] < 0
        for slot, one in zip(self.slot, self.capacity.groups, strict=True):
            amount = self.amount(by_cost=one.by_cost)
            late = amount > room[slot]
            for floor_rank, floor_code, largest in zip(known.floor_rank, known.floor_code, known.largest, strict=True):
                late |= self.under(rank, (floor_rank[slot], floor_code[slot])) & (amount >= largest[slot])
            found |= (amount > 0) & late
        return found

    def _sure(self, known: Known | None) -> tuple[BoolArray, BoolArray]:
        """Return who is picked if it fits, whatever comes: bool, (n_own,); and who surely fits, (columns, n_own).

        That is, whoever is undecided and excludes none that is, at the least that it can rank.
        """
        board = self.board
        base = self.undecided
        if self.capacity.max_similarity is not None:
            base &= ~_beside(self.graph, board, _OPEN)
        if not self.capacity.fill:
            base &= board.lower >= 0
        fits = np.zeros((len(self.slot), self.n_own), np.bool_)
        if known is not None:
            lower = self._ranks(board.lower)
            for column, slot in enumerate(self.slot):
                fits[column] = ~self.under(lower, (known.sure_rank[slot], known.sure_code[slot]))
        return base, fits


def _beside(graph: KernelGraph, board: Board, statuses: tuple[int, int]) -> BoolArray:
    """Return which own points are too similar to one whose status is in a range."""
    found: BoolArray = limited_kernel.beside(graph.indptr, graph.indices, graph.conflict, board.status, *statuses)
    return found
