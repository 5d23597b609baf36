"""Frames that are kept on executors' disks for as long as something needs them."""

from __future__ import annotations

import gc

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from subsel.engines.spark.checkpoints import checkpoint_at_first_use, local_checkpoint, release_checkpoint
from subsel.engines.spark.storage import classic


class Held:
    """Keeps frames until `close`."""

    def __init__(self) -> None:
        self._persisted: list[DataFrame] = []
        self._written: list[DataFrame] = []

    def keep(self, frame: DataFrame) -> DataFrame:
        """Persist a frame: it is computed when it is first used."""
        self._persisted.append(frame.persist(StorageLevel.DISK_ONLY))
        return self._persisted[-1]

    def write_down(self, frame: DataFrame) -> DataFrame:
        """Compute a frame now, and forget how."""
        self._written.append(local_checkpoint(frame, 0))
        return self._written[-1]

    def write_down_at_first_use(self, frame: DataFrame) -> DataFrame:
        """Have a frame computed by the first job that reads all of it, and forget how then."""
        self._written.append(checkpoint_at_first_use(frame, 0))
        return self._written[-1]

    def release(self, frame: DataFrame) -> None:
        """Let go of one of them."""
        self._let_go(frame)
        for frames in (self._persisted, self._written):
            frames[:] = [one for one in frames if one is not frame]

    def close(self) -> None:
        """Let go of all of them."""
        for frame in self._persisted + self._written:
            self._let_go(frame)
        self._persisted, self._written = [], []

    def _let_go(self, frame: DataFrame) -> None:
        if any(frame is one for one in self._persisted):
            frame.unpersist()
        else:
            release_checkpoint(frame)


def free_shuffled(spark: SparkSession) -> None:
    """Have Spark delete what was shuffled for frames that nobody has any more, now.

    It does so when the driver's JVM happens to collect these frames as garbage, every half an hour at the least: on a
    long run after the disks are full. On Connect the server's collector must do.
    """
    gc.collect()
    if classic(spark):
        jvm = spark.sparkContext._jvm
        assert jvm is not None
        jvm.System.gc()
