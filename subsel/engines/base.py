"""The verbs that drivers speak. An engine holds the parts of a graph and their boards, and runs kernels on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

import numpy.typing as npt

from subsel.board import Board, Counts
from subsel.graph import KernelGraph, PartGraph
from subsel.schema import Status

#: What `kth_largest` returns for k = 0 and for k beyond the number of rows.
ABOVE_ALL = 2**63 - 1
BELOW_ALL = -(2**63)


#: Rows as columns of one length.
Rows = dict[str, npt.NDArray[Any]]

P = ParamSpec("P")
T = TypeVar("T")

#: Work that also runs on a group, points of many parts dealt together: see `Engine.finish` and `Engine.deal`.
GroupKernel = Callable[Concatenate[KernelGraph, Board, P], None]

#: A superstep's work on one part: changes the board in place, and nothing else; what it leaves in `Board.outbox` is in
#: the inboxes of the parts that it names at the next step. It is a module-level function, so
#: that it can be sent to another process by name; it accounts for ``board.news`` before anything else.
Kernel = Callable[Concatenate[PartGraph, Board, P], None]


class GroupEngine(Protocol):
    """The verbs that need no more than a group: those of an engine, or of one group on its own."""

    def step(self, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """See `Engine.step`."""

    def counts(self) -> Counts:
        """See `Engine.counts`."""

    def kth_largest(self, column: Literal["key", "lower"], k: int, among: Sequence[Status]) -> int:
        """See `Engine.kth_largest`."""

    def finish(self, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts | None:
        """See `Engine.finish`."""


class Engine(Protocol):
    """Holds a graph in parts; every method is over all of them.

    Attributes:
        parts: how many.
        finish_points: how many undecided points `finish` takes at most.
        in_one_task: whether one task holds the whole graph, and `drive` runs drivers there.
    """

    parts: int
    finish_points: int

    @property
    def in_one_task(self) -> bool:
        """See above."""

    def drive(self, work: Callable[[Engine], T]) -> T:
        """Run a driver: on this engine, or, where one task holds the whole graph, on an engine that has it there."""

    def step(self, kernel: Kernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """Run one superstep: deliver news and letters, run the kernel on every part, post what changed at borders."""

    def counts(self) -> Counts:
        """Return how many own points have each status."""

    def kth_largest(self, column: Literal["key", "lower"], k: int, among: Sequence[Status]) -> int:
        """Return the exact k-th largest value of a column over own points whose status is in ``among``.

        `ABOVE_ALL` for k <= 0, `BELOW_ALL` where there are fewer than k.
        """

    def kth_place(self, k: int, among: Sequence[Status]) -> tuple[int, int]:
        """Return (key, code) such that exactly k own points of these statuses are at or above it in the total order.

        k is at most their number; the code is `BELOW_ALL` where no other point has the k-th key. For k = 0 both are
        `ABOVE_ALL`.
        """

    def finish(self, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts | None:
        """Run the kernel on the undecided points of all parts as one part, if they are few enough.

        None if they are too many, or if there is one part anyway: then `step` does the same.
        """

    def deal(self, groups: int, salt: int, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """Deal the undecided points into groups at random and run the kernel on each as a part of its own.

        Edges between groups are ignored. Who is in which group follows from codes and ``salt`` alone.
        """

    def merge(self, work: Callable[Concatenate[Rows, P], Rows], /, *args: P.args, **params: P.kwargs) -> Rows:
        """Run ``work`` on what kernels left in `Board.tally` at the last step: on all rows of some slots at a time.

        What it returns is collected: a few rows of each slot at most.
        """

    def keep(self) -> object:
        """Return the present state of all boards, to go `back` to."""

    def back(self, state: object) -> Counts:
        """Go back to a state that `keep` returned, on the whole graph."""

    def whole(self) -> None:
        """Have the next step see all of the graph; edges of decided points may be dropped again after it."""

    def reopen(self) -> None:
        """Bring decided points back in: the next steps see all of the graph, and every ghost as it now is."""
