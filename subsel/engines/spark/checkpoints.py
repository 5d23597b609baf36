"""How boards are written down between supersteps, so that their history is forgotten."""

from __future__ import annotations

from collections.abc import Callable

from pyspark import StorageLevel
from pyspark.sql import DataFrame

#: Writes a board down so that its history is forgotten: gets the frame and the superstep's number.
Checkpoint = Callable[[DataFrame, int], DataFrame]


def local_checkpoint(frame: DataFrame, number: int) -> DataFrame:
    """Keep a frame on the executors' disks (fast; lost with its executor)."""
    return frame.localCheckpoint(eager=True, storageLevel=StorageLevel.DISK_ONLY)


def checkpoint_at_first_use(frame: DataFrame, number: int) -> DataFrame:
    """Keep a frame as `local_checkpoint` does, by the first job that reads all of it: no job of its own."""
    return frame.localCheckpoint(eager=False, storageLevel=StorageLevel.DISK_ONLY)


def release_checkpoint(frame: DataFrame) -> None:
    """Free what `local_checkpoint` keeps on the executors' disks, now.

    No DataFrame call does: Spark frees it when the driver's JVM happens to collect the frame as garbage, on a long run
    perhaps after the disks are full. A classic session gives access to the checkpoint's own `unpersist`; on Connect
    the server's collector must do. Frames that were read from files have nothing to free.
    """
    if hasattr(frame, "_jdf"):
        plan = frame._jdf.queryExecution().logical()
        if plan.getClass().getSimpleName() == "LogicalRDD":
            plan.rdd().unpersist(False)
