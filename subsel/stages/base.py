"""The stages' protocol, which the pipeline runs: one implementation per engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from subsel.audit import Room
from subsel.config import SelectConfig, resolve_size
from subsel.engines.base import Engine
from subsel.engines.replay import Replay
from subsel.errors import in_library
from subsel.fixedpoint import Int64Array
from subsel.input.copies import Wishful, check_left
from subsel.input.wishes import Constraints
from subsel.limits.capacity import Capacity
from subsel.limits.quotas import GroupTable
from subsel.report import (
    AlikeReport,
    CoverageReport,
    FixedPointReport,
    GraphReport,
    InputReport,
    ObjectiveReport,
    Report,
    WeightsReport,
)
from subsel.run import Tell
from subsel.sizes import resolve_budget
from subsel.sketch import Sketch
from subsel.storage import Place
from subsel.told import graph_warnings

log = logging.getLogger(__name__)

T = TypeVar("T")


class Stages(Protocol):
    """What differs between engines: where points and graph live, and how they get there and out again."""

    name: str
    #: Of each column of groups, from `capacity` on.
    tables: Sequence[GroupTable]

    @property
    def old(self) -> Callable[[], Int64Array] | None:
        """Returns the numbers of an old subset's points, from which greedy is to go on; None: there is none.

        It raises `subsel.InputError` where no point is left of it.
        """

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

    def merge(self, tell: Tell, sizes: Sequence[int]) -> InputReport:
        """Let one of all points of equal vectors stand for them, unless copies are kept or a graph is given.

        Args:
            tell: told what goes on.
            sizes: all that will be selected, for which enough points must be left.

        Returns:
            What was read, with how many points were merged.

        Raises:
            ConfigError: fewer are left.
        """

    def leave_near(self, tell: Tell, sizes: Sequence[int]) -> None:
        """Exclude points that are near a reference, if one is given, but those that are included.

        Args and Raises: see `merge`; what is wrong with the reference itself `check_wishes` says.
        """

    def neighbors(self, tell: Tell, k: int | None) -> GraphReport:
        """Make the neighbour graph, or take the user's.

        Args:
            tell: told what goes on.
            k: the fewest that will be selected, by which neighbours may be chosen; None: not known.
        """

    def weigh(self, tell: Tell, k: int | None, most: int | None) -> WeightsReport:
        """Make utilities of what rows and graph have, leave outliers out, and say what utility and similarity weigh.

        Args:
            tell: told what goes on.
            k: the fewest that will be selected; None: not known.
            most: the most, which must be left; None: nothing will be selected.

        Raises:
            ConfigError: fewer are left.
        """

    def engine(self, k: int) -> tuple[Engine, FixedPointReport]:
        """Put the graph into parts with boards that have nothing decided; k is what will be selected."""

    def constrain(self, sizes: Sequence[int]) -> Constraints:
        """Put the user's wishes on the boards, unless a finished stage has: include and exclude.

        Args and Raises: see `check_wishes`.
        """

    def capacity(self, size: int | None) -> Capacity:
        """Return the limits of a selection, made of what may be selected once wishes are on the boards.

        Args:
            size: points to select; None where only a budget says how much.

        Raises:
            ConfigError: quotas and what they count do not go together.
            InputError: quotas name groups that there are not, or minima cannot be met.
        """

    def part_alike(self) -> AlikeReport | None:
        """Put members out of the subset that are too alike to others of it by their vectors, whatever edges say.

        They are out then, as is whoever is too alike to those that stay; others that were discarded are undecided.
        None where there are no vectors.
        """

    def once(self, stage: str, kind: type[T], drive: Callable[[Engine], T]) -> T:
        """Run a stage's driver, or return what a finished run of it recorded in the run directory.

        What an unfinished run was answered there is heard again, up to its last board.

        Args:
            stage: its name.
            kind: of its result.
            drive: the driver, of the engine that it is given.
        """

    def expected_random(self, k: int) -> float:
        """Return the expectation of f over all subsets of k points."""

    def score(self, k: int, random: float, page: Room | None = None) -> ObjectiveReport:
        """Rank the subset that the engine's boards hold, compute its gains and what it is compared with.

        Args:
            k: its members.
            random: `expected_random` of as many points.
            page: what limits have left, where `sketch` will be asked for, too; None where it will not.
        """

    def cover(self, k: int, *, mapped: bool) -> CoverageReport:
        """Measure how well the subset that was scored last covers the points, and how redundant it is.

        Args:
            k: its members.
            mapped: whether points are mapped, too, for `sketch`.
        """

    def has_pages(self, output: Place | None) -> bool:
        """Return whether a report of the selection that goes to ``output`` has a place."""

    def sketch(self, report: Report, room: Room) -> Sketch:
        """Count and collect what the report's page draws of the subset that was scored last.

        Args:
            report: of that.
            room: what limits have left.
        """

    def keep_room(self, room: Room) -> None:
        """Note in the run directory, if there is one, what limits have left: `subsel.explain` asks for it."""

    def audit(self, report: Report, room: Room, place: Place, *, overwrite: bool) -> Report:
        """Write why each point of the input is in the subset that was scored last, or is not.

        Args:
            report: of that.
            room: what limits have left.
            place: where it goes.
            overwrite: whether one that subsel wrote is replaced.

        Returns:
            The report, with how many points have each reason.
        """

    def write(self, report: Report, output: Place | None, pages: Mapping[str, str], *, overwrite: bool) -> None:
        """Write the ranked subset, if an output is given, and its report's pages, texts by name."""


def asked_alike(replay: Replay, work: Callable[[], AlikeReport]) -> AlikeReport:
    """Return what comparing members found, or what it found before a run was broken off."""
    return AlikeReport.model_validate(replay.ask("part_alike", lambda: work().model_dump()))


def note_graph(graph: GraphReport) -> None:
    """Log what a graph has to be warned of."""
    for warning in graph_warnings(graph):
        log.warning("%s", in_library(warning))


def known_count(config: SelectConfig, n: int, name: str, all_cost: int | None) -> int | None:
    """Return how many of the n points of an input a config selects; None, which is logged, where it does not say.

    A budget alone is taken for as many points as it pays for on average; ``all_cost`` is what all cost.
    """
    if config.size is not None:
        return resolve_size(config.size, n, name)
    if config.budget is not None:
        total = all_cost or 0
        budget = resolve_budget(config.budget, total)
        return n if budget >= total else min(n, max(1, -(-budget * n // total)))
    log.info("no size is known: points have %d neighbours, and densities go by these", config.degree(n, None))
    return None


def settle_copies(found: InputReport, copies: int, wishful: Wishful, sizes: Sequence[int]) -> InputReport:
    """Return what was read, with how many points were merged; say that, and what wishes have to do with it.

    Args:
        found: what was read.
        copies: points that were merged into others.
        wishful: see `subsel.input.copies.Wishful`.
        sizes: all that will be selected.

    Raises:
        ConfigError: fewer points are left than one of them.
    """
    now = found.model_copy(update={"copies": copies})
    if copies:
        log.info("%s: %s of %s points are copies of others", found.name, f"{copies:,}", f"{found.points:,}")
    told = wishful.warning()
    if told is not None:
        log.warning("%s", in_library(told))
    for k in sizes:
        check_left(now, k)
    return now


def make_ready(stages: Stages, config: SelectConfig, tell: Tell = lambda what, share: None) -> GraphReport:
    """Read points, make their graph and weigh them, for whoever selects nothing: to score, or to measure.

    Args:
        stages: of an engine.
        config: of the request; its size, if it says one, is what neighbours and densities go by.
        tell: told what goes on.
    """
    points = stages.read(tell)
    k = known_count(config, points.points, points.name, points.cost)
    stages.merge(tell, [])
    graph = stages.neighbors(tell, k)
    note_graph(graph)
    stages.weigh(tell, k, None)
    return graph
