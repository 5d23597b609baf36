"""Selecting on Spark, from opening a session to letting go of what was persisted; and its stages as jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from subsel.bounding.driver import BoundingResult
from subsel.config import SelectConfig, resolve_size
from subsel.constraints import Wishes
from subsel.engines.spark.session import session_for
from subsel.engines.spark.stages import SparkStages
from subsel.errors import ConfigError
from subsel.objective import Score
from subsel.pipeline import run_bounding, run_pipeline
from subsel.report import GraphReport, Report
from subsel.run import Run
from subsel.rundir import RunDirectory
from subsel.storage import Place


@contextmanager
def spark_stages(
    engine: Any,
    master: str | None,
    data: Any,
    graph: Any,
    config: SelectConfig,
    run: Run,
    rundir: RunDirectory | None,
    wishes: Wishes = Wishes(),  # noqa: B008  (frozen)
) -> Iterator[SparkStages]:
    """Yield stages in a session, and leave nothing of theirs in it."""
    with session_for(engine, master) as spark:
        stages = SparkStages(spark, data, graph, config, run.id, rundir, wishes)
        try:
            yield stages
        finally:
            stages.close()


def select_on_spark(
    engine: Any,
    master: str | None,
    data: Any,
    graph: Any,
    sizes: Sequence[tuple[SelectConfig, Place | None]],
    run: Run,
    *,
    overwrite: bool,
    rundir: RunDirectory | None,
    wishes: Wishes,
) -> list[Report]:
    """Run the pipeline in a Spark session and leave the session as it was.

    Raises:
        ConfigError: there is no output, or no data.
        InputError: the input is wrong; the message is the local engine's.
        OutputError: the subset could not be written.
    """
    if any(output is None for _, output in sizes):
        raise ConfigError("on Spark the subset is written, never collected: give an output.")
    with spark_stages(engine, master, data, graph, sizes[0][0], run, rundir, wishes) as stages:
        return run_pipeline(stages, sizes, run, overwrite=overwrite)


def build_graph(
    engine: Any, data: Any, graph: Any, config: SelectConfig, run: Run, rundir: RunDirectory
) -> GraphReport:
    """Run the pipeline's first two stages into a run directory."""
    with spark_stages(engine, None, data, graph, config, run, rundir) as stages:
        with run.stage("read") as tell:
            stages.read(tell)
        with run.stage("neighbors") as tell:
            return stages.neighbors(tell)


def bound_points(
    engine: Any, data: Any, graph: Any, config: SelectConfig, run: Run, rundir: RunDirectory, wishes: Wishes
) -> BoundingResult:
    """Run the pipeline up to bounding into a run directory; finished stages are taken over."""
    with spark_stages(engine, None, data, graph, config, run, rundir, wishes) as stages:
        with run.stage("read") as tell:
            points = stages.read(tell)
            k = resolve_size(config.size, points.points, points.name)
            stages.check_wishes([k])
        with run.stage("neighbors") as tell:
            stages.neighbors(tell)
            spark_engine, scale = stages.engine(k)
            needed = k - stages.constrain([k]).included
        with run.stage("bounding"):
            resumable = config.bounding == "exact"
            drive = partial(run_bounding, spark_engine, needed, config, scale.tie_bits)
            return stages.once("bounding", BoundingResult, drive, resumable=resumable)


def score_on_spark(
    engine: Any,
    master: str | None,
    subsets: Sequence[Any],
    data: Any,
    graph: Any,
    config: SelectConfig,
    run: Run,
    rundir: RunDirectory | None,
) -> list[Score]:
    """Score subsets on a graph, given or in the run directory, in a Spark session."""
    with spark_stages(engine, master, data, graph, config, run, rundir) as stages:
        with run.stage("read") as tell:
            stages.read(tell)
        with run.stage("neighbors") as tell:
            stages.neighbors(tell)
        with run.stage("score"):
            return [stages.score_ids(subset) for subset in subsets]
