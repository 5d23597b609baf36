"""The local engine: the whole graph as one part without ghosts, in this process' memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Concatenate, Generic, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from subsel.board import NO_SUMS, Board, Counts
from subsel.engines.base import ABOVE_ALL, BELOW_ALL, Engine, GroupKernel, P, Rows
from subsel.graph import KernelGraph, PartGraph
from subsel.parts import regroup
from subsel.schema import Status

G = TypeVar("G", bound=KernelGraph)
T = TypeVar("T")


class OnePart(Generic[G]):
    """Runs kernels on one part, or on one group. Implements `subsel.engines.base.GroupEngine`."""

    def __init__(self, graph: G, board: Board) -> None:
        self.graph, self.board = graph, board

    def step(self, kernel: Callable[Concatenate[G, Board, P], None], /, *args: P.args, **params: P.kwargs) -> Counts:
        """Run the kernel; there are no other parts to post to, only this one."""
        board = self.board
        board.sums = NO_SUMS
        board.inbox = {name: column for name, column in board.outbox.items() if name != "to"}
        board.outbox = {}
        kernel(self.graph, self.board, *args, **params)
        return self.counts()

    def counts(self) -> Counts:
        """Return how many points have each status."""
        return Counts.of(self.board, self.graph.n_own)

    def kth_largest(self, column: Literal["key", "lower"], k: int, among: Sequence[Status]) -> int:
        """Return the k-th largest value by selection on a copy of the rows that count: O(n)."""
        if k <= 0:
            return ABOVE_ALL
        values = getattr(self.board, column)[_among(self.board.status, among)]
        if k > len(values):
            return BELOW_ALL
        return int(np.partition(values, len(values) - k)[len(values) - k])

    def kth_place(self, k: int, among: Sequence[Status]) -> tuple[int, int]:
        """Return the place of the k-th point in the total order."""
        if k == 0:
            return ABOVE_ALL, ABOVE_ALL
        key = self.kth_largest("key", k, among)
        rows = _among(self.board.status, among)
        needed = k - int(np.count_nonzero(rows & (self.board.key > key)))
        codes = np.sort(self.graph.code[rows & (self.board.key == key)])[::-1]
        return key, BELOW_ALL if needed == len(codes) else int(codes[needed - 1])

    def finish(self, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts | None:
        """Return None: one part is one place already."""
        return None


class LocalEngine(OnePart[PartGraph]):
    """Runs kernels on a whole graph. Implements `subsel.engines.base.Engine`.

    Args:
        graph: all of it.
        board: to go on from; None: nothing is decided.
        steps: whether the board counts steps, and notes at which a point was decided; for run directories.
    """

    parts = 1
    finish_points = 0
    in_one_task = False

    def __init__(self, graph: PartGraph, board: Board | None = None, *, steps: bool = False) -> None:
        super().__init__(graph, Board.start(graph) if board is None else board)
        self.steps = steps

    def drive(self, work: Callable[[Engine], T]) -> T:
        """Run a driver: the whole graph is here."""
        return work(self)

    def step(
        self, kernel: Callable[Concatenate[PartGraph, Board, P], None], /, *args: P.args, **params: P.kwargs
    ) -> Counts:
        """Run the kernel, see `OnePart.step`."""
        if not self.steps:
            return super().step(kernel, *args, **params)
        before = self.board.status.copy()
        found = super().step(kernel, *args, **params)
        self.board.count_step(before)
        return found

    def merge(self, work: Callable[Concatenate[Rows, P], Rows], /, *args: P.args, **params: P.kwargs) -> Rows:
        """Run the work on this part's rows."""
        return work(self.board.tally, *args, **params)

    def deal(self, groups: int, salt: int, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """Run the kernel on one group after the other."""
        bound = partial(cast(Any, kernel), *args, **params)
        for _, rows in regroup.split(self.graph, self.board, groups, salt):
            for _, decisions in regroup.run(rows, bound, self.graph.fixed_point):
                regroup.adopt(self.board, decisions)
        return self.counts()

    def keep(self) -> object:
        """Return a copy of the board."""
        return deepcopy(self.board)

    def back(self, state: object) -> Counts:
        """Take a copy of a kept board."""
        assert isinstance(state, Board)
        self.board = deepcopy(state)
        return self.counts()

    def whole(self) -> None:
        """Do nothing: the whole graph is always there."""

    def reopen(self) -> None:
        """Do nothing: the whole graph is always there."""


def _among(status: npt.NDArray[np.int8], among: Sequence[Status]) -> npt.NDArray[np.bool_]:
    """Return who has one of some statuses: by comparisons of bytes, far faster than `numpy.isin`."""
    found = np.zeros(len(status), np.bool_)
    for one in among:
        found |= status == int(one)  # an enumeration's member would make int64 of every byte
    return found
