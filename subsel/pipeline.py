"""The pipeline on one screen: read, neighbours, bounding, greedy, score, write; the same on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from subsel.bounding.approximate import bound_approximately
from subsel.bounding.driver import BoundingResult, bound
from subsel.config import SelectConfig, resolve_size
from subsel.engines.base import Engine
from subsel.greedy.exact import GreedyResult, exact_greedy, order_subset
from subsel.greedy.partitioned import partitioned_greedy
from subsel.report import (
    BoundingReport,
    FixedPointReport,
    GraphReport,
    GreedyReport,
    InputReport,
    ObjectiveReport,
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

    def once(self, stage: str, kind: type[T], drive: Callable[[], T]) -> T:
        """Run a stage's driver, or return what a finished run of it recorded in the run directory."""

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
    with run.stage("bounding") as tell:
        tell("rounds", 0)
        bounds = stages.once("bounding", BoundingResult, partial(run_bounding, engine, k, config))
    with run.stage("greedy") as tell:
        tell("supersteps", 0)
        picked = stages.once("greedy", GreedyResult, partial(run_greedy, engine, k - bounds.accepted, config))
        restart = bounds.accepted > 0 or picked.rounded_after is not None or config.greedy != "exact"
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
        bounding=BoundingReport(method=config.bounding, **asdict(bounds)),
        greedy=GreedyReport(method=config.greedy, **asdict(picked)),
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


def run_greedy(engine: Engine, k: int, config: SelectConfig) -> GreedyResult:
    """Select k of the undecided points by the method of the config."""
    if config.greedy == "exact":
        return exact_greedy(engine, k, config.max_supersteps)
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
