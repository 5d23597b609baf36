"""A run directory's stages on Spark: boards written there, and drivers that go on from the last of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from pyspark.sql import DataFrame, SparkSession

from subsel.board import Counts
from subsel.engines.base import Engine
from subsel.engines.replay import Replay, run_recorded
from subsel.engines.spark.checkpoints import checkpoint_at_first_use
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.output import read_rows, write_rows
from subsel.engines.spark.parcels import BOARD_SCHEMA, PARCEL_SCHEMA
from subsel.report import WeightsReport
from subsel.rundir import RunDirectory

log = logging.getLogger(__name__)

T = TypeVar("T")


class SparkBoards:
    """Boards of a stage, each of which is written down by its superstep. Implements `subsel.engines.replay.Boards`.

    Args:
        spark: the session.
        rundir: where they go.
        engine: whose they are.
        stage: its name.
    """

    def __init__(self, spark: SparkSession, rundir: RunDirectory, engine: SparkEngine, stage: str) -> None:
        self.spark, self.rundir, self.engine, self.stage = spark, rundir, engine, stage
        self.written: list[int] = []

    def checkpoint(self, frame: DataFrame, number: int) -> DataFrame:
        """Write a board to the run directory and read it back."""
        place = self.rundir.board(self.stage, number)
        place.remove()
        write_rows(frame, place)
        self.written.append(number)
        return read_rows(self.spark, BOARD_SCHEMA, place)

    def write(self, *, now: bool) -> int | None:
        """Return the present board's number: each is written down as it is made, but that which a stage begins with."""
        if now:
            self.engine.settle()
        if now and not self.written:
            self.engine.restate()
        return self.written[-1] if self.written else None

    def state(self) -> dict[str, Any]:
        """See `SparkEngine.state`."""
        return self.engine.state()

    def take(self, number: int, state: dict[str, Any]) -> None:
        """Go on from a board."""
        self.engine.checkpoint = checkpoint_at_first_use  # it is there
        go_on(self.spark, self.rundir, self.engine, self.stage, number, **state)
        self.engine.checkpoint = self.checkpoint

    def back(self, number: int) -> Counts:
        """Go back to a board."""
        return self.engine.back(read_rows(self.spark, BOARD_SCHEMA, self.rundir.board(self.stage, number)))


def run_once(
    spark: SparkSession,
    rundir: RunDirectory | None,
    replay: Replay,
    stage: str,
    kind: type[T],
    drive: Callable[[Engine], T],
) -> T:
    """Run a stage's driver with its boards in the run directory, or return what it recorded.

    Args:
        spark: the session.
        rundir: whose run may be about this stage; None: nothing is written down.
        replay: of the engine whose boards these are.
        stage: its name.
        kind: of its result.
        drive: the driver.
    """
    engine = cast(SparkEngine, replay.engine)
    if rundir is None or stage not in rundir.stages:
        return drive(engine)
    boards = SparkBoards(spark, rundir, engine, stage)
    engine.checkpoint = boards.checkpoint
    try:
        return run_recorded(rundir, stage, kind, drive, replay, boards, engine.scale)
    finally:
        engine.checkpoint = checkpoint_at_first_use


def go_on_last(spark: SparkSession, rundir: RunDirectory, engine: SparkEngine) -> bool:
    """Go on from the board of the last stage that is finished; return whether one is."""
    for stage in ("certify", "refine", "greedy", "bounding"):
        if rundir.finished(stage):
            go_on(spark, rundir, engine, stage, rundir.boards(stage)[-1])
            return True
    return False


def go_on(
    spark: SparkSession, rundir: RunDirectory, engine: SparkEngine, stage: str, number: int, **state: bool
) -> None:
    """Take a board of a stage from the run directory."""
    last = rundir.board(stage, number)
    engine.resume(read_rows(spark, BOARD_SCHEMA, last), number, **state)
    log.info("[%s] going on from %s", engine.run_id, last)


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
