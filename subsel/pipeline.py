"""The pipeline on one screen: read, neighbours, bounding, greedy, score, write; the same on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from subsel.bounding.approximate import bound_approximately
from subsel.bounding.driver import BoundingResult, bound
from subsel.config import SelectConfig, resolve_size
from subsel.constraints import Constraints
from subsel.engines.base import Engine
from subsel.greedy.exact import GreedyResult, order_subset
from subsel.greedy.partitioned import partitioned_greedy
from subsel.greedy.refine import RefineResult, refine
from subsel.greedy.reverse import directed_greedy, resolve_direction
from subsel.report import (
    BoundingReport,
    ConstraintsReport,
    FixedPointReport,
    GraphReport,
    GreedyReport,
    InputReport,
    ObjectiveReport,
    RefineReport,
    Report,
)
from subsel.run import Run, Tell
from subsel.version import __version__

T = TypeVar("T")


class Stages(Protocol):
    """What differs between engines: where points and graph live, and how they get there and out again."""

    name: str

    def read(self, tell: Tell) -> InputReport:
        """Read and check the points."""

    def neighbors(self, tell: Tell) -> GraphReport:
        """Make the neighbour graph, or take the user's."""

    def engine(self, k: int) -> tuple[Engine, FixedPointReport]:
        """Put the graph into parts with boards that have nothing decided; k is what will be selected."""

    def constrain(self, k: int) -> Constraints:
        """Put the user's wishes on the boards, unless a finished stage has: include and exclude.

        Raises:
            InputError: ids are unknown, or wishes contradict each other or the size.
        """

    def once(self, stage: str, kind: type[T], drive: Callable[[], T], *, resumable: bool = True) -> T:
        """Run a stage's driver, or return what a finished run of it recorded in the run directory.

        Args:
            stage: its name.
            kind: of its result.
            drive: the driver.
            resumable: whether the driver gives the same result if it starts from a board in the midst of a run.
        """

    def score(self, k: int) -> ObjectiveReport:
        """Rank the subset that the engine's boards hold, compute its gains and what it is compared with."""

    def write(self, report: Report, output: Path | None, *, overwrite: bool) -> None:
        """Write the ranked subset, if an output is given."""


def run_pipeline(
    stages: Stages,
    config: SelectConfig,
    run: Run,
    output: Path | None,
    *,
    overwrite: bool,
) -> Report:
    """Select a subset and write it.

    Raises:
        InputError: the input or the request is wrong; nothing was written.
        OutputError: the subset could not be written; nothing was left behind.
    """
    with run.stage("read") as tell:
        points = stages.read(tell)
        k = resolve_size(config.size, points.points, points.name)
    with run.stage("neighbors") as tell:
        graph = stages.neighbors(tell)
        engine, fixed_point = stages.engine(k)
        wishes = stages.constrain(k)
    with run.stage("bounding") as tell:
        tell("rounds", 0)
        drive_bounding = partial(run_bounding, engine, k - wishes.included, config)
        resumable = config.bounding == "exact"
        bounds = stages.once("bounding", BoundingResult, drive_bounding, resumable=resumable)
    with run.stage("greedy") as tell:
        tell("supersteps", 0)
        left = points.points - wishes.included - wishes.excluded - bounds.accepted - bounds.discarded
        needed = k - wishes.included - bounds.accepted
        direction = resolve_direction(config.greedy_direction, needed, left)
        drive_greedy = partial(run_greedy, engine, needed, config, direction)
        resumable = config.greedy == "exact" and direction == "forward"
        picked = stages.once("greedy", GreedyResult, drive_greedy, resumable=resumable)
    with run.stage("refine") as tell:
        tell("passes", 0)
        refined = stages.once("refine", RefineResult, partial(run_refine, engine, config), resumable=False)
    with run.stage("rank"):
        as_picked = picked.selected == k and picked.direction == "forward" and picked.rounded_after is None
        restart = not as_picked or refined.exchanged > 0 or config.greedy != "exact"
        order_subset(engine, k, restart=restart, max_supersteps=config.max_supersteps)
    with run.stage("score"):
        scores = stages.score(k)
    report = Report(
        subsel=__version__,
        run_id=run.id,
        engine=stages.name,
        config=config,
        k=k,
        input=points,
        graph=graph,
        fixed_point=fixed_point,
        constraints=ConstraintsReport(**asdict(wishes)),
        bounding=BoundingReport(method=config.bounding, **asdict(bounds)),
        greedy=GreedyReport(method=config.greedy, **asdict(picked)),
        refine=RefineReport(
            passes=refined.passes,
            exchanged=refined.exchanged,
            gained=math.ldexp(refined.gained, -fixed_point.fraction_bits),
        ),
        objective=scores,
        seconds=dict(run.seconds),
    )
    with run.stage("write"):
        stages.write(report, output, overwrite=overwrite)
    return report.model_copy(update={"seconds": dict(run.seconds)})


def run_bounding(engine: Engine, k: int, config: SelectConfig) -> BoundingResult:
    """Bound by the method of the config."""
    tight = config.bounding_rank == "tight"
    match config.bounding:
        case "exact":
            return bound(engine, k, tight=tight)
        case "approximate":
            return bound_approximately(
                engine,
                k,
                share=config.sample_share,
                weighted=config.sampling == "weighted",
                seed=config.seed,
                tight=tight,
            )
        case "off":
            return BoundingResult(0, 0, 0)


def run_greedy(engine: Engine, k: int, config: SelectConfig, direction: str) -> GreedyResult:
    """Select k of the undecided points by the method of the config."""
    if config.greedy == "exact":
        return directed_greedy(engine, k, direction, config.max_supersteps)
    assert config.partitions is not None
    return partitioned_greedy(
        engine,
        k,
        partitions=config.partitions,
        rounds=config.rounds,
        adaptive=config.adaptive,
        gamma=config.gamma,
        seed=config.seed,
    )


def run_refine(engine: Engine, config: SelectConfig) -> RefineResult:
    """Refine the subset by swaps, if the config says so."""
    if config.refine:
        engine.reopen()
    return refine(engine, config.refine)
