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
from subsel.engines.spark.parcels import BOARD_SCHEMA
from subsel.output import remove
from subsel.rundir import RunDirectory

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
        if resumable and rundir.boards(stage) and rundir.begun_alike(stage):
            go_on(spark, rundir, engine, stage)
        else:
            remove(rundir.path / stage)
            rundir.mark_begun(stage)
        engine.checkpoint = partial(_write_board, spark, rundir, stage)
        result = drive()
        # Whoever resumes after this stage starts from its last board, also if it took no superstep.
        if not rundir.boards(stage):
            engine.restate()
        done = asdict(result)  # type: ignore[call-overload]
        rundir.finish(stage, done, asdict(engine.scale))
        engine.checkpoint = local_checkpoint
    return kind(**done)


def go_on(spark: SparkSession, rundir: RunDirectory, engine: SparkEngine, stage: str) -> None:
    """Take the last board of a stage from the run directory."""
    last = rundir.boards(stage)[-1]
    board = spark.read.schema(BOARD_SCHEMA).parquet(str(last))
    engine.resume(board, int(last.name.removeprefix("board-")))
    log.info("[%s] going on from %s", engine.run_id, last)


def _write_board(spark: SparkSession, rundir: RunDirectory, stage: str, frame: DataFrame, number: int) -> DataFrame:
    """Write a board to the run directory and read it back; then remove those before the last."""
    place = rundir.path / stage / f"board-{number:06d}"
    remove(place)
    frame.write.parquet(str(place))
    for old in rundir.boards(stage)[:-2]:
        remove(old)
    return spark.read.schema(BOARD_SCHEMA).parquet(str(place))
