"""What one part does in greedy of coverage: hear of covers and rivals, count gains, pick, bound, tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from subsel.board import Board
from subsel.bounding.edges import derived
from subsel.covering import kernel, rivals_kernel
from subsel.fixedpoint import Int64Array, WeightArray, exact_sum
from subsel.graph import SLOT_BITS, KernelGraph, PartGraph
from subsel.greedy import limited_kernel
from subsel.greedy.limited_part import open_who_fits
from subsel.greedy.limited_view import KILLED, OPEN, View, beside
from subsel.limits.capacity import Capacity
from subsel.limits.tables import Known, Rows
from subsel.schema import FIRST_MEMBER, Status

#: Columns of `Board.extra`: how much own points and ghosts are covered; rivals and nearest candidates of ghosts.
_COVER, _RIVAL_RANK, _RIVAL_CODE, _NEAR = "cover", "rival_rank", "rival_code", "near"
#: Before anything was heard of a ghost: somebody may beat everybody, and cover it by any amount.
_UNKNOWN = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Gathered:
    """Candidates of all parts in one place, and whom they could cover: what `Covers` says of a part, of these.

    Own points are the candidates, and ghosts all others that they could cover. Arrays are as in `kernel.Covering`.
    """

    edges: tuple[Int64Array, npt.NDArray[np.int32]]
    takes: Int64Array
    gives: Int64Array
    itself: Int64Array
    base: Int64Array
    cover: Int64Array
    tie_bits: int
    board: Board

    def count(self, some: npt.NDArray[np.bool_]) -> None:
        """Set the keys of some candidates, bool, (n_own,), to what they would add."""
        kernel.count_gains(
            *self.edges, self.gives, self.itself, self.cover, self.base, self.tie_bits, some, self.board.key
        )

    @property
    def amounts(self) -> Amounts:
        """Who covers whom how much."""
        return Amounts(self.takes, self.gives, self.itself, self.base)

    def rivals(self, rank: Int64Array) -> kernel.Rivals:
        """Return that there are none elsewhere; ``rank``: of candidates and others, (n,)."""
        return _no_rivals(len(rank))


class Amounts(NamedTuple):
    """Who covers whom how much on a part, whatever is decided: see `kernel.Covering`, and ``takes`` in its module."""

    takes: WeightArray
    gives: WeightArray
    itself: Int64Array
    base: Int64Array


def amounts_of(graph: PartGraph, board: Board) -> Amounts:
    """Return the amounts of a part, made once where its board stays."""
    takes, gives = derived(board, ["takes", "gives"], lambda: amounts(graph))
    return Amounts(takes, gives, *derived(board, ["itself", "base"], lambda: worth_alone(graph)))


class Covers:
    """One part's covers and gains.

    Args:
        graph: the whole part: decided points are covered, too.
        board: of it. What it knows of covers is forgotten where that is asked for.
        afresh: whether it is.
    """

    def __init__(self, graph: PartGraph, board: Board, *, afresh: bool = False) -> None:
        self.graph, self.board = graph, board
        self.amounts = amounts_of(graph, board)
        self.takes, self.gives, self.itself, self.base = self.amounts
        board.news = np.empty(0, np.int32)  # statuses are all that is needed of it
        if afresh or _COVER not in board.extra:
            ghosts = len(graph.ghost_vid)
            board.extra[_COVER] = np.zeros(graph.n_own + ghosts, np.int64)
            for name in (_RIVAL_RANK, _RIVAL_CODE, _NEAR):
                board.extra[name] = np.full(ghosts, _UNKNOWN, np.int64)
        elif board.inbox:
            ghost = graph.local(board.inbox["vid"])
            cover = board.extra[_COVER]
            cover[ghost] = np.maximum(cover[ghost], board.inbox[_COVER])
            for name in (_RIVAL_RANK, _RIVAL_CODE, _NEAR):
                board.extra[name][ghost - graph.n_own] = board.inbox[name]
        self.cover: Int64Array = board.extra[_COVER]
        if (board.status >= FIRST_MEMBER).any():
            kernel.raise_covers(*self.edges, self.takes, self.gives, self.itself, board.status, self.cover)

    @property
    def edges(self) -> tuple[Int64Array, npt.NDArray[np.int32]]:
        """Offsets of rows, and neighbours."""
        return self.graph.indptr, self.graph.indices

    def count(self, some: npt.NDArray[np.bool_]) -> None:
        """Set the keys of some own points, bool, (n_own,), to what they would add."""
        tie_bits = self.graph.fixed_point.tie_bits
        about = *self.edges, self.gives, self.itself, self.cover, self.base
        kernel.count_gains(*about, tie_bits, some, self.board.key)

    def bound(self, some: npt.NDArray[np.bool_]) -> None:
        """Set the lower bounds of some own points: bool, (n_own,)."""
        board = self.board
        near = kernel.nearest_open(*self.edges, self.takes, self.gives, self.itself, board.status, board.extra[_NEAR])
        about = *self.edges, self.gives, self.itself, self.cover, *near, self.base
        kernel.least_gains(*about, self.graph.fixed_point.tie_bits, some, board.lower)

    def rivals(self, rank: Int64Array) -> kernel.Rivals:
        """Return who of other parts could raise the covers of own points and ghosts; ``rank``: of these."""
        extra = self.board.extra
        own = rivals_kernel.rivals_of_own(*self.edges, self.takes, self.graph.code, rank, self.board.status, self.cover)
        ghosts = extra[_RIVAL_RANK], extra[_RIVAL_CODE]
        return kernel.Rivals(*(np.concatenate(pair) for pair in zip(own, ghosts, strict=True)))

    def tell(self, rank: Int64Array | None) -> None:
        """Tell other parts of own points that they have as ghosts; ``rank`` None: of their covers only."""
        graph, board = self.graph, self.board
        to, slot = graph.hosts(np.ones(graph.n_own, np.bool_))
        if not len(to):
            return
        if rank is None:
            unknown = np.full(len(to), _UNKNOWN, np.int64)
            told = unknown, unknown, unknown
        else:
            about = graph.code, rank, board.status, self.cover, graph.ghost_vid >> SLOT_BITS, slot, to
            told = rivals_kernel.tell_ghosts(*self.edges, self.takes, self.itself, *about)
        names = (_RIVAL_RANK, _RIVAL_CODE, _NEAR)
        vid = (graph.part << SLOT_BITS) | slot
        board.outbox = {"to": to, "vid": vid, _COVER: self.cover[slot], **dict(zip(names, told, strict=True))}


class CoverView(View):
    """A part as its limits see it, where gains are of coverage; or a place where all candidates are."""

    def __init__(self, graph: KernelGraph, board: Board, capacity: Capacity, covers: Covers | Gathered) -> None:
        super().__init__(graph, board, capacity)
        self.covers = covers

    def hear(self) -> None:
        """Account for the news: who is out, and what all others would add."""
        self.keep_killed()
        self.leave_out_alike()
        self.covers.count(self.undecided)

    def discard(self, some: npt.NDArray[np.bool_]) -> None:
        """Discard own undecided points."""
        self.board.status[: self.n_own][some] = Status.DISCARDED

    def run(self, quotas: limited_kernel.Quotas, left: limited_kernel.Left, mode: limited_kernel.Mode) -> None:
        """Run the kernel."""
        graph, board, covers = self.graph, self.board, self.covers
        rank = self.ranks
        rivals = _no_rivals(len(rank)) if mode.whole else covers.rivals(rank)
        killed = kernel.pick_fitting(
            kernel.Covering(*covers.edges, *covers.amounts, graph.fixed_point.tie_bits, self.conflict),
            rivals,
            kernel.Candidates(graph.code, board.key, rank, board.status, board.lower),
            covers.cover,
            self.price,
            np.empty(0, np.int64) if graph.cost is None else graph.cost,
            quotas,
            left,
            mode,
        )
        if len(killed):
            board.extra[KILLED][killed - self.n_own] = True

    def at_their_turn(self) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
        """Return the least keys of undecided points at their turn, and who excludes nobody that is undecided."""
        return self.board.lower, ~beside(self.graph, self.board, OPEN)

    def tell(self, known: Known | None, points: int, budget: int) -> Rows:
        """Return what other parts need to know of this one's points, and write them of their ghosts.

        Sums say how many edges undecided points have.
        """
        assert isinstance(self.covers, Covers)
        self.covers.bound(self.undecided)
        self.covers.tell(self.ranks)
        self.board.sums = (int(np.diff(self.graph.indptr)[self.undecided].sum()), 0, 0, 0)
        return super().tell(known, points, budget)


def _no_rivals(n: int) -> kernel.Rivals:
    return kernel.Rivals(np.full(n, kernel.NOBODY), np.zeros(n, np.int64))


def amounts(graph: PartGraph) -> tuple[WeightArray, WeightArray]:
    """Return of each edge from v to j how much j would cover v, and how much v would cover j: int, (m,) each."""
    importance = graph.importance
    if importance is None or (importance == 1).all():
        return graph.weight, graph.weight
    return graph.weight, graph.fixed_point.weights(graph.similarity * importance[graph.indices])


def worth_alone(graph: PartGraph) -> tuple[Int64Array, Int64Array]:
    """Return how much own points cover themselves, and keys of what they are worth beside covers: int64, (n_own,)."""
    own = slice(0, graph.n_own)
    one = np.ones(graph.n_own) if graph.itself is None else graph.itself
    counted = one if graph.importance is None else one * graph.importance[own]
    scale = graph.fixed_point
    return scale.weights(counted).astype(np.int64), scale.keys(graph.utility[own], graph.code[own])


def begin(graph: PartGraph, board: Board, /, *, capacity: Capacity, points: int, budget: int) -> None:
    """Begin a phase, see `subsel.greedy.limited_part.begin`: nobody is covered but by members."""
    covers = Covers(graph, board, afresh=True)
    if len(graph.ghost_vid):  # where points are ghosts, these are bounds of their gains from now on
        covers.count(board.status[: graph.n_own] < FIRST_MEMBER)
    open_who_fits(graph, board, capacity=capacity, points=points, budget=budget)
    covers.tell(None)


def view(graph: KernelGraph, board: Board, capacity: Capacity) -> CoverView:
    """Return a part as its limits see it, with what it heard."""
    assert isinstance(graph, PartGraph)
    return CoverView(graph, board, capacity, Covers(graph, board))


def hear(graph: PartGraph, board: Board, /) -> None:
    """Hear of the last members: whom they cover; leave as sums how much of all is covered, and what members are worth.

    The sums are in units of gains.
    """
    covers = Covers(graph, board, afresh=True)  # what was picked may have been left out again
    own = slice(0, graph.n_own)
    member = board.status[own] >= FIRST_MEMBER
    worth = covers.base[member] >> graph.fixed_point.tie_bits
    board.sums = (exact_sum(covers.cover[own]), exact_sum(worth), 0, 0)
