"""A run directory's stages on Spark: boards written there, and drivers that go on from the last of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TypeVar

from pyspark.sql import DataFrame, SparkSession

from subsel.engines.spark.checkpoints import local_checkpoint
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.output import read_rows, write_rows
from subsel.engines.spark.parcels import BOARD_SCHEMA, PARCEL_SCHEMA
from subsel.report import WeightsReport
from subsel.rundir import BOARDS, RunDirectory

log = logging.getLogger(__name__)

T = TypeVar("T")


def run_once(
    spark: SparkSession,
    rundir: RunDirectory,
    engine: SparkEngine,
    stage: str,
    kind: type[T],
    drive: Callable[[], T],
    *,
    resumable: bool,
) -> T:
    """Run a stage's driver with its boards in the run directory, or return what it recorded.

    Args:
        spark: the session.
        rundir: whose run is about this stage.
        engine: whose boards these are.
        stage: its name.
        kind: of its result.
        drive: the driver.
        resumable: whether the driver gives the same result if it starts from a board in the midst of a run.
    """
    done = rundir.finished(stage)
    if done is None:
        if resumable and rundir.boards(stage):
            go_on(spark, rundir, engine, stage)
        else:
            rundir.begin(stage)
        engine.checkpoint = partial(_write_board, spark, rundir, stage)
        result = drive()
        # Whoever resumes after this stage starts from its last board, also if it took no superstep.
        if not rundir.boards(stage):
            engine.restate()
        done = asdict(result)  # type: ignore[call-overload]
        rundir.finish(stage, done, asdict(engine.scale))
        engine.checkpoint = local_checkpoint
    return kind(**done)


def go_on_last(spark: SparkSession, rundir: RunDirectory, engine: SparkEngine) -> bool:
    """Go on from the board of the last stage that is finished; return whether one is."""
    for stage in ("certify", "refine", "greedy", "bounding"):
        if rundir.finished(stage):
            go_on(spark, rundir, engine, stage)
            return True
    return False


def go_on(spark: SparkSession, rundir: RunDirectory, engine: SparkEngine, stage: str) -> None:
    """Take the last board of a stage from the run directory."""
    number = rundir.boards(stage)[-1]
    last = rundir.board(stage, number)
    engine.resume(read_rows(spark, BOARD_SCHEMA, last), number)
    log.info("[%s] going on from %s", engine.run_id, last)


def _write_board(spark: SparkSession, rundir: RunDirectory, stage: str, frame: DataFrame, number: int) -> DataFrame:
    """Write a board to the run directory and read it back; then remove those before the last."""
    place = rundir.board(stage, number)
    place.remove()
    write_rows(frame, place)
    boards = [one for one in rundir.boards(stage) if one != number]
    rundir.note(stage, BOARDS, boards=[*boards[-1:], number])
    for old in boards[:-1]:
        rundir.board(stage, old).remove()
    return read_rows(spark, BOARD_SCHEMA, place)


def keep_utilities(rundir: RunDirectory, report: WeightsReport, utilities: DataFrame | None) -> None:
    """Note in a run directory what utility and similarity weigh, with parcels of utilities, if there are any."""
    (folder,) = rundir.begin("utility")
    if utilities is not None:
        write_rows(utilities, folder)
    rundir.finish("utility", report.model_dump())


def kept_utilities(spark: SparkSession, rundir: RunDirectory) -> DataFrame | None:
    """Return the parcels of utilities that a run directory has, if it has any."""
    folder = rundir.place.join("utility")
    return read_rows(spark, PARCEL_SCHEMA, folder) if folder.exists() else None
