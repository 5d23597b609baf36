"""The board: what one part of a graph knows about its own points and its ghosts, and how it is kept exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array, KernelGraph, PartGraph
from subsel.schema import FIRST_MEMBER, KEPT, Status
from subsel.threads import over_rows

_UNDECIDED = int(Status.UNDECIDED)
_FIRST_MEMBER = int(FIRST_MEMBER)
#: Where one of so many points is a member or fewer, members tell their neighbours, and not every point asks its own.
_FEW = 4
#: Statuses of points whose fate is not decided.
_OPEN = (Status.UNDECIDED, Status.JOINING, Status.LEAVING)

#: Ways into the subset, as `Board.decided_by` notes them.
_WAYS_IN = (Status.ACCEPTED, Status.SELECTED, Status.INCLUDED, Status.JOINING, KEPT)

#: In `Board.extra`: bool, (n_own,): who is too alike to a member, though no edge says so, and out for good.
BARRED = "barred"

#: What a board's sums are before a kernel sets them.
NO_SUMS = (0, 0, 0, 0)


@dataclass(slots=True)
class Board:
    """The state of one part. Kernels change it in place.

    Attributes:
        key: int64, (n_own + n_ghost,): gain given what is in the subset so far, and tie
            (`subsel.fixedpoint`). A ghost's is the last one heard of: an upper bound, since gains only fall.
        status: int8, (n_own + n_ghost,): `Status`.
        lower: int64, (n_own,): the least the key can become: key - Σ weights of undecided neighbours
            (U_min of the paper, Def. 4.1). A stale one is too low, so still a lower bound.
        decided_by: int8, (n_own,): of members the status at which each joined the subset; of the others `EXCLUDED`,
            `DISCARDED` where bounding discarded it, `LEAVING` where refinement took it out, else 0. Kept when `restart`
            forgets statuses.
        decided_at: int32, (n_own,): the step at which a point's fate was last decided, where steps are counted; else 0.
        steps: steps so far, on engines of many parts.
        news: int32, (n_news,): ghosts (numbered from n_own) that were decided since the last step and are
            not yet accounted for.
        sums: what a kernel wants summed over all parts: integers of any size, gone with the next step.
        outbox: flat arrays of one length that go to other parts, or this one, row by row; ``to`` (int64) says to which.
        inbox: what kernels of the last step wrote to this part, in the order of the parts that wrote.
        tally: flat arrays of one length that are merged over all parts, rows of one ``slot`` together
            (`subsel.engines.base.Engine.merge`); gone with the next step.
        extra: flat arrays that only one algorithm knows, kept from step to step, such as dual variables; that of
            `BARRED` is kept to the end.
        scratch: arrays that follow from the graph and the rest; gone where a board travels, and made anew.
    """

    key: Int64Array
    status: npt.NDArray[np.int8]
    lower: Int64Array
    decided_by: npt.NDArray[np.int8]
    decided_at: Int32Array
    news: Int32Array
    sums: tuple[int, int, int, int] = NO_SUMS
    outbox: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    inbox: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    tally: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    extra: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    scratch: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    steps: int = 0

    @classmethod
    def start(cls, graph: PartGraph) -> Board:
        """Return the board before anything is decided: every key at α·u; who is of a target set is out."""
        board = cls(
            key=graph.fixed_point.keys(graph.utility, graph.code),
            status=np.zeros(len(graph.code), np.int8),
            lower=np.empty(graph.n_own, np.int64),
            decided_by=np.zeros(graph.n_own, np.int8),
            decided_at=np.zeros(graph.n_own, np.int32),
            news=np.empty(0, np.int32),
        )
        if graph.target is not None:
            board.status[graph.target] = Status.EXCLUDED
        board.reset_lower(graph)
        return board

    def reset_lower(self, graph: KernelGraph) -> None:
        """Compute every own point's ``lower`` afresh from keys and statuses."""
        over_rows(
            _lower_bounds,
            len(graph.indptr) - 1,
            graph.indptr,
            graph.indices,
            graph.weight,
            graph.fixed_point.tie_bits,
            self.key,
            self.status,
            self.lower,
        )

    def absorb_news(self, graph: KernelGraph) -> None:
        """Account for ghosts that were decided elsewhere, in the rows of own undecided points."""
        if len(self.news):
            _absorb(
                graph.indptr,
                graph.indices,
                graph.weight,
                graph.fixed_point.tie_bits,
                self.key,
                self.status,
                self.lower,
                self.news,
            )
            self.news = np.empty(0, np.int32)

    def spread(self, graph: KernelGraph, decided: Int32Array) -> None:
        """Account for own points that were just decided, in the rows of their own undecided neighbours."""
        if len(decided):
            _spread(
                graph.indptr,
                graph.indices,
                graph.weight,
                graph.fixed_point.tie_bits,
                self.key,
                self.status,
                self.lower,
                decided,
            )

    def recount(self, graph: PartGraph, *, bounds: bool = True) -> None:
        """Compute keys of own points afresh, what each adds to the members, whoever decided these; and lower bounds.

        Without ``bounds`` these stay as they are: on a graph in one part greedy looks at none.
        """
        self.news = np.empty(0, np.int32)
        self.key[: graph.n_own] = graph.fixed_point.keys(graph.utility[: graph.n_own], graph.code[: graph.n_own])
        arrays = graph.indptr, graph.indices, graph.weight, graph.fixed_point.tie_bits, self.key
        members = np.flatnonzero(self.status >= FIRST_MEMBER)
        # In one part all have rows here; under coverage these are not symmetric.
        whole = len(self.status) == graph.n_own and graph.importance is None
        if whole and _FEW * len(members) < graph.n_own:
            _subtract_few(*arrays, members)
        else:
            over_rows(_subtract_members, graph.n_own, *arrays, self.status)
        if bounds and (self.status == _UNDECIDED).any():
            self.reset_lower(graph)
        elif bounds:
            self.lower[:] = self.key[: graph.n_own]

    def count_step(self, before: npt.NDArray[np.int8]) -> None:
        """Count a step, and note it for own points whose fate it decided; ``before`` are their statuses before it."""
        after = self.status[: len(before)]
        self.steps += 1
        self.decided_at[(after != before) & np.isin(before, _OPEN) & ~np.isin(after, _OPEN)] = self.steps

    def note_decided(self, graph: PartGraph) -> None:
        """Remember how each member joined the subset, where that is not known yet."""
        own = self.status[: graph.n_own]
        member = (own >= FIRST_MEMBER) & (own <= Status.INCLUDED)  # who is about to move is none, or known already
        fresh = np.flatnonzero(member & ~np.isin(self.decided_by, _WAYS_IN))
        self.decided_by[fresh] = own[fresh]

    def forget_extra(self) -> None:
        """Drop what only one algorithm knows."""
        self.extra = {name: self.extra[name] for name in (BARRED,) if name in self.extra}

    def restart(self, graph: PartGraph) -> None:
        """Begin anew on the present subset: its points become undecided at α·u, all others are discarded."""
        members = self.status >= FIRST_MEMBER
        self.note_decided(graph)
        self.status[:] = np.where(members, Status.UNDECIDED, Status.DISCARDED)
        self.key[:] = graph.fixed_point.keys(graph.utility, graph.code)
        self.news = np.empty(0, np.int32)
        self.reset_lower(graph)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many points of the whole graph have each status, how much news the last step delivered, and its sums.

    ``sums`` are the totals over all parts of what the kernel left in `Board.sums`: exact, of any size.
    """

    undecided: int
    discarded: int
    excluded: int
    accepted: int
    selected: int
    included: int
    joining: int
    leaving: int
    news: int = 0
    sums: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def of(cls, board: Board, n_own: int, news: int = 0) -> Counts:
        """Return the counts of one part."""
        own = board.status[:n_own]
        counts = {status.name.lower(): int(np.count_nonzero(own == int(status))) for status in Status}
        return cls(**counts, news=news, sums=board.sums)

    @classmethod
    def at_first(cls, points: int, excluded: int) -> Counts:
        """Return the counts before anything is decided; ``excluded``: points of a target set."""
        return cls(points, discarded=0, excluded=excluded, accepted=0, selected=0, included=0, joining=0, leaving=0)


def hear_wishes(graph: PartGraph, board: Board, /) -> None:
    """The kernel after points were included or excluded: gains and bounds of the others follow."""
    board.recount(graph)


@compiled(nogil=True)
def _lower_bounds(
    begin: int, end: int, indptr: Any, indices: Any, weight: Any, tie_bits: int, key: Any, status: Any, lower: Any
) -> None:
    """Set ``lower`` of own points: its key less the weights of all its undecided neighbours.

    No later key of the point is below it (U_min of the paper, Def. 4.1, on the present A and U).
    """
    for v in range(begin, end):
        penalty = np.int64(0)
        for e in range(indptr[v], indptr[v + 1]):
            if status[indices[e]] == _UNDECIDED:
                penalty += weight[e]
        lower[v] = key[v] - (penalty << tie_bits)


@compiled(nogil=True)
def _subtract_members(
    begin: int, end: int, indptr: Any, indices: Any, weight: Any, tie_bits: int, key: Any, status: Any
) -> None:
    """Subtract from own points' keys the weights of its neighbours that are members."""
    for v in range(begin, end):
        penalty = np.int64(0)
        for e in range(indptr[v], indptr[v + 1]):
            if status[indices[e]] >= _FIRST_MEMBER:
                penalty += weight[e]
        key[v] -= penalty << tie_bits


@compiled()
def _subtract_few(indptr: Any, indices: Any, weight: Any, tie_bits: int, key: Any, members: Any) -> None:
    """Subtract from the keys of members' neighbours what these take away: all edges are in rows of theirs, too."""
    for v in members:
        for e in range(indptr[v], indptr[v + 1]):
            key[indices[e]] -= np.int64(weight[e]) << tie_bits


@compiled()
def _absorb(
    indptr: Any, indices: Any, weight: Any, tie_bits: int, key: Any, status: Any, lower: Any, news: Any
) -> None:
    """Account for ghosts that were decided elsewhere since the last step, ``news``.

    A neighbour that joined the subset lowers a point's key (``lower`` had counted it already); one that was
    discarded raises ``lower`` (it can take nothing away any more).
    """
    n_own = len(indptr) - 1
    is_news = np.zeros(len(status) - n_own, np.bool_)
    for g in news:
        is_news[g - n_own] = True
    for v in range(n_own):
        if status[v] != _UNDECIDED:
            continue
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if j >= n_own and is_news[j - n_own]:
                if status[j] < _FIRST_MEMBER:
                    lower[v] += np.int64(weight[e]) << tie_bits
                else:
                    key[v] -= np.int64(weight[e]) << tie_bits


@compiled()
def _spread(
    indptr: Any, indices: Any, weight: Any, tie_bits: int, key: Any, status: Any, lower: Any, decided: Any
) -> None:
    """Account for own points that were just decided, in the rows of their own undecided neighbours."""
    n_own = len(indptr) - 1
    for v in decided:
        out = status[v] < _FIRST_MEMBER
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if j < n_own and status[j] == _UNDECIDED:
                w = np.int64(weight[e]) << tie_bits
                if out:
                    lower[j] += w
                else:
                    key[j] -= w
