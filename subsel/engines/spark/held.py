"""Frames that are kept on executors' disks for as long as something needs them."""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import DataFrame

from subsel.engines.spark.checkpoints import local_checkpoint, release_checkpoint


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

    def close(self) -> None:
        """Let go of all of them."""
        for frame in self._persisted:
            frame.unpersist()
        for frame in self._written:
            release_checkpoint(frame)
        self._persisted, self._written = [], []
