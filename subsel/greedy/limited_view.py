"""A part as its limits see it: who fits, who surely does, and what other parts need to know."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.board import Board
from subsel.fixedpoint import Int64Array
from subsel.graph import KernelGraph
from subsel.greedy import limited_kernel
from subsel.greedy.kernel import BATCH, Room
from subsel.limits import tables
from subsel.limits.capacity import Capacity
from subsel.limits.tables import LOWER, PLACES, UPPER, Known, Rows
from subsel.limits.tables_kernel import ABOVE
from subsel.schema import FIRST_MEMBER, Status
from subsel.sizes import UNLIMITED

MEMBERS = (int(FIRST_MEMBER), max(map(int, Status)))
OPEN = (int(Status.UNDECIDED), int(Status.UNDECIDED))
#: On a board: who was a member before the phase, and which ghosts are too similar to one picked here.
BEFORE, KILLED = "before", "killed"
#: Places that a part tells of at once of size and budget.
MANY_PLACES = 1024
#: What is left of a budget that there is not: more than all costs together.
NO_END = 2**63 - 1

BoolArray = npt.NDArray[np.bool_]


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
        return np.asarray((self.board.status[: self.n_own] == Status.SELECTED) & ~self.board.extra[BEFORE])

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

    def hear(self) -> None:
        """Account for the news."""
        graph, board = self.graph, self.board
        self.keep_killed()
        board.absorb_news(graph)
        self.leave_out_alike()

    def leave_out_alike(self) -> None:
        """Discard who is too similar to a member."""
        if self.capacity.max_similarity is not None:
            self.discard(self.undecided & beside(self.graph, self.board, MEMBERS))

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
        out, killed = limited_kernel.pick_fitting(
            self._edges,
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
            Room.of(board.status[: self.n_own], BATCH),
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
        base, fits, lower = self._sure(known)
        rooms, places = self._rooms(taken, known, points, budget), max(PLACES, MANY_PLACES // max(len(taken), 1))
        for column, one in enumerate(capacity.groups):
            slot, amount = self.slot[column].astype(np.int64), self.amount(by_cost=one.by_cost)
            rows.append(tables.listed(UPPER, slot[undecided], rank, code, amount[undecided], rooms, places)[0])
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
                    rows.append(tables.listed(LOWER, slot, *of, rooms, MANY_PLACES)[0])
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
    def _edges(self) -> limited_kernel.Edges:
        graph = self.graph
        return limited_kernel.Edges(
            graph.indptr, graph.indices, graph.weight, self.conflict, graph.fixed_point.tie_bits
        )

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
        found = self.under(rank, known.end) | np.isin(self._code, known.out)
        if not self.capacity.fill:
            found |= self.board.key[: self.n_own] < 0
        floors = [known.floor_of(level) for level in range(len(known.floors))]
        for slot, one in zip(self.slot, self.capacity.groups, strict=True):
            amount = self.amount(by_cost=one.by_cost)
            late = amount > room[slot]
            for floor_rank, floor_code, largest in floors if one.by_cost else floors[:1]:
                late |= self.under(rank, (floor_rank[slot], floor_code[slot])) & (amount >= largest[slot])
            found |= (amount > 0) & late
        if self.capacity.certain:
            no_place = known.reserved_rank[self.slot[0]], known.reserved_code[self.slot[0]]
            found |= self.under(rank, known.free_until) & self.under(rank, no_place)
        return found

    def at_their_turn(self) -> tuple[Int64Array, BoolArray]:
        """Return the least keys of undecided points at their turn, and who comes to one, see the kernel."""
        graph, board = self.graph, self.board
        found: tuple[Int64Array, BoolArray] = limited_kernel.at_their_turn(
            self._edges, graph.code, board.key, self.ranks, board.status, self.price, self.n_own
        )
        return found

    def _sure(self, known: Known | None) -> tuple[BoolArray, BoolArray, Int64Array]:
        """Return who is picked if it fits, whatever comes, who surely fits each column's quotas, and at what rank.

        Bool, (n_own,); bool, (columns, n_own); int64, (n_own,): the least that they can rank at their turn.
        """
        least, comes = self.at_their_turn()
        base = self.undecided & comes
        if not self.capacity.fill:
            base &= least >= 0
        lower = self._ranks(least)
        fits = np.zeros((len(self.slot), self.n_own), np.bool_)
        if known is not None:
            for column, slot in enumerate(self.slot):
                fits[column] = ~self.under(lower, (known.sure_rank[slot], known.sure_code[slot]))
        return base, fits, lower


def beside(graph: KernelGraph, board: Board, statuses: tuple[int, int]) -> BoolArray:
    """Return which own points are too similar to one whose status is in a range."""
    found: BoolArray = limited_kernel.beside(graph.indptr, graph.indices, graph.conflict, board.status, *statuses)
    return found
