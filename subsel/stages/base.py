"""The stages' protocol, which the pipeline runs: one implementation per engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from subsel.engines.base import Engine
from subsel.input.wishes import Constraints
from subsel.report import FixedPointReport, GraphReport, InputReport, ObjectiveReport, Report
from subsel.run import Tell
from subsel.storage import Place

T = TypeVar("T")


class Stages(Protocol):
    """What differs between engines: where points and graph live, and how they get there and out again."""

    name: str

    def read(self, tell: Tell) -> InputReport:
        """Read and check the points."""

    def check_wishes(self, sizes: Sequence[int]) -> None:
        """Find what is wrong with the user's wishes before anything that takes long.

        Args:
            sizes: all that will be selected, each of which the wishes must allow.

        Raises:
            InputError: ids are unknown or repeated, or a column is not boolean.
            ConfigError: wishes contradict each other or a size.
        """

    def neighbors(self, tell: Tell) -> GraphReport:
        """Make the neighbour graph, or take the user's."""

    def engine(self, k: int) -> tuple[Engine, FixedPointReport]:
        """Put the graph into parts with boards that have nothing decided; k is what will be selected."""

    def constrain(self, sizes: Sequence[int]) -> Constraints:
        """Put the user's wishes on the boards, unless a finished stage has: include and exclude.

        Args and Raises: see `check_wishes`.
        """

    def once(self, stage: str, kind: type[T], drive: Callable[[], T], *, resumable: bool = True) -> T:
        """Run a stage's driver, or return what a finished run of it recorded in the run directory.

        Args:
            stage: its name.
            kind: of its result.
            drive: the driver.
            resumable: whether the driver gives the same result if it starts from a board in the midst of a run.
        """

    def expected_random(self, k: int) -> float:
        """Return the expectation of f over all subsets of k points."""

    def score(self, k: int) -> ObjectiveReport:
        """Rank the subset that the engine's boards hold, compute its gains and what it is compared with."""

    def write(self, report: Report, output: Place | None, *, overwrite: bool) -> None:
        """Write the ranked subset, if an output is given."""
