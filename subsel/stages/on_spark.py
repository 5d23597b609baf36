"""What is asked of Spark, from a session to the result: selections, scores, and the stages as jobs of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from subsel.config import SelectConfig, resolve_size
from subsel.drivers import run_bounding
from subsel.engines.spark.changing import change_on_spark, make_on_spark
from subsel.engines.spark.copies import subset_to_score
from subsel.engines.spark.parcels import plain_errors
from subsel.engines.spark.ranking import score_of, sum_up
from subsel.engines.spark.scoring import decided, places_of
from subsel.engines.spark.session import session_for
from subsel.engines.spark.storage import place_in
from subsel.errors import ConfigError, InputError, option
from subsel.growing.place import KeptGraph, is_graph_place
from subsel.growing.revision import Revision
from subsel.objective import Score
from subsel.pipeline import run_pipeline
from subsel.report import GraphReport, Report
from subsel.request import Location, Places, Request, places_for
from subsel.results import BoundingResult
from subsel.run import Run
from subsel.rundir import STAGES, RunDirectory, open_run, open_to_score
from subsel.schema import Status
from subsel.stages.base import known_count, note_graph
from subsel.stages.spark import SparkStages
from subsel.storage import Place

#: Holds a run directory, if there is one, for a config and a run.
_Opener = Callable[[Place | None, SelectConfig, str], AbstractContextManager[RunDirectory | None]]


@contextmanager
def spark_stages(request: Request, run: Run, opener: _Opener) -> Iterator[tuple[SparkStages, Places]]:
    """Yield stages in a session and where results go, and leave nothing of theirs in the session.

    Args:
        request: what is asked for.
        run: of it.
        opener: `open_run` with what it is to be resumed and is about, or `open_to_score`.
    """
    with session_for(request.engine, request.master, request.config.log_level) as spark, plain_errors():
        places = places_for(request, partial(place_in, spark))
        with opener(places.run_dir, request.kept_config, run.id) as rundir:
            found = SparkStages(spark, request, run.id, rundir)
            try:
                yield found, places
            finally:
                found.close()


def select_on_spark(request: Request, run: Run) -> list[tuple[Report, Place | None, Place | None]]:
    """Run the pipeline in a Spark session and leave it as it was; return each size's report, place and audit's place.

    Raises:
        ConfigError: there is no output, or no data.
        InputError: the input is wrong; the message is the local engine's.
        OutputError: the subset could not be written.
    """
    if request.output is None:
        raise ConfigError(f"on Spark the subset is written, never collected: give an {option('output')}.")
    opener = partial(open_run, resume=request.resume, stages=request.stages)
    with spark_stages(request, run, opener) as (stages, places):
        reports = run_pipeline(stages, places.of_sizes(request), run, overwrite=request.overwrite)
    return list(zip(reports, places.outputs, places.audits, strict=True))


def build_graph(request: Request, run: Run) -> GraphReport:
    """Run the pipeline's first two stages, into the run directory.

    Raises:
        ConfigError: points are to be drawn, which those who are included have a say in.
    """
    if request.config.thin is not None:
        raise ConfigError(
            f"{option('thin')} draws points with regard to those that are included, which a graph alone does not know: "
            "select with a run directory instead."
        )
    with spark_stages(request, run, partial(open_run, resume=True, stages=["graph"])) as (stages, _):
        return _with_graph(request, stages, run)


def bound_points(request: Request, run: Run) -> BoundingResult:
    """Run the pipeline up to bounding, into the run directory; finished stages are taken over."""
    if request.config.limited:
        raise ConfigError(f"under {option(request.config.limits[0])} bounds decide nothing: select without this job.")
    with spark_stages(request, run, partial(open_run, resume=True, stages=STAGES)) as (stages, _):
        with run.stage("read") as tell:
            points = stages.read(tell)
            k = resolve_size(request.config.size, points.points, points.name)
            stages.check_wishes([k])
            stages.merge(tell, [k])
            stages.leave_near(tell, [k])
        with run.stage("neighbors") as tell:
            note_graph(stages.neighbors(tell, k))
        with run.stage("utility") as tell:
            stages.weigh(tell, k, k)
            _, scale = stages.engine(k)
            needed = k - stages.constrain([k]).included
        with run.stage("bounding"):
            bounds = partial(run_bounding, k=needed, config=request.config, tie_bits=scale.tie_bits, left=None)
            return stages.once("bounding", BoundingResult, lambda engine: engine.drive(bounds))


def score_on_spark(request: Request, subsets: Sequence[Any], run: Run) -> list[Score]:
    """Score subsets on a graph, given or in the run directory, in a Spark session."""
    with spark_stages(request, run, open_to_score) as (stages, _):
        _with_graph(request, stages, run)
        points = stages.input
        k = known_count(request.config, points.points, points.name, points.cost)
        with run.stage("score") as tell:
            stages.weigh(tell, k, None)
            return [score_ids(stages, subset) for subset in subsets]


def change_graph(
    graph: Location,
    data: Any,
    remove: Any,
    config_of: Callable[[SelectConfig], SelectConfig],
    run: Run,
    *,
    engine: Any,
    master: str | None,
    log_level: str,
    replace: bool,
) -> tuple[KeptGraph, list[Revision], Place]:
    """Let points leave and join a graph in a Spark session, see `subsel.engines.spark.changing.change_on_spark`."""
    with session_for(engine, master, log_level) as spark, plain_errors():
        where = place_in(spark, graph)
        return *change_on_spark(spark, where, data, remove, config_of, run, replacing=replace), where


def make_graph(
    graph: Location,
    data: Any,
    config: SelectConfig,
    run: Run,
    engine: Any,
    master: str | None,
    *,
    overwrite: bool,
) -> GraphReport:
    """Make a graph that grows in a Spark session, see `subsel.engines.spark.changing.make_on_spark`."""
    with session_for(engine, master, config.log_level) as spark, plain_errors():
        where = place_in(spark, graph)
        if not is_graph_place(where):
            raise InputError(f"{where} is one file, which has edges only: give a folder.")
        report = make_on_spark(spark, where, data, config, run, overwrite=overwrite).report
    note_graph(report)
    return report


def score_ids(stages: SparkStages, subset: Any) -> Score:
    """Return f of a subset: a Parquet path or DataFrame with an id column.

    Raises:
        InputError: it cannot be read, or its ids are null, repeated, unknown or of another type.
    """
    with plain_errors():
        found, k = subset_to_score(stages.inputs, subset, stages.input.points, stages.lost)
        members, _ = places_of(stages.graph.points, found.ids, k, found.what)
        engine, _ = stages.engine(k)
        engine.adopt(decided(members, Status.SELECTED))
        totals = sum_up(engine, stages.summed(k))
    return score_of(totals)


def _with_graph(request: Request, stages: SparkStages, run: Run) -> GraphReport:
    with run.stage("read") as tell:
        points = stages.read(tell)
        k = known_count(request.config, points.points, points.name, points.cost)
        stages.merge(tell, [])
    with run.stage("neighbors") as tell:
        graph = stages.neighbors(tell, k)
        note_graph(graph)
        return graph
