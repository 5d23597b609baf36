"""What was found in the parts, kept in a run directory by groups of parts: the longest stage goes on from there."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel.embeddings.recipe import Search
from subsel.engines.spark.output import read_rows, write_rows
from subsel.engines.spark.parcels import PARCEL_SCHEMA, PartFunction, exchange, place
from subsel.parts.route import PartMap
from subsel.rundir import NEIGHBORS, RunDirectory

log = logging.getLogger(__name__)

_NOTE = "searched.json"
#: Groups are of so many parts at the least, and there are so many of them at the most: each ends with the slowest part.
PARTS_PER_GROUP, MOST_GROUPS = 8, 16


class Searched:
    """Keeps what searching finds.

    Args:
        spark: the session.
        rundir: where it is kept.
        run_id: for log lines.
    """

    def __init__(self, spark: SparkSession, rundir: RunDirectory, run_id: str) -> None:
        self.spark, self.rundir, self.run_id = spark, rundir, run_id

    def all(self, parcels: DataFrame, search: PartFunction, part_map: PartMap, how: Search) -> DataFrame:
        """Return what searching all parts finds; parts that an earlier run has searched are not searched again.

        Points are sent to parts once more by another run, but only to those that are left. Groups are remembered with
        the map of parts: where another machine's k-means gives another, all are searched anew.

        Args:
            parcels: addressed to parts, the last of which is no part but what recall is estimated from.
            search: of a part.
            part_map: where points belong.
            how: to search.
        """
        parts = part_map.parts + 1
        groups = max(1, min(MOST_GROUPS, parts // PARTS_PER_GROUP))
        mark = [parts, groups, _checksum(part_map), how.neighbors]
        noted = self.rundir.noted(NEIGHBORS, _NOTE)
        done: list[int] = noted["done"] if noted is not None and noted["map"] == mark else []
        if not done:
            self.rundir.begin(NEIGHBORS)
            self.rundir.note(NEIGHBORS, _NOTE, map=mark, done=[])
        left = [group for group in range(groups) if group not in done]
        if done:
            log.info("[%s] going on with %d of %d groups of parts", self.run_id, len(left), groups)
        group_of = F.col("part") % groups
        sent = place(parcels.where(group_of.isin(left)), parts).persist(StorageLevel.DISK_ONLY)
        for group in left:
            folder = self.rundir.place.join(NEIGHBORS, f"group-{group:03d}")
            folder.remove()
            write_rows(exchange(sent.where(group_of == group), search, parts), folder)
            done = sorted([*done, group])
            self.rundir.note(NEIGHBORS, _NOTE, map=mark, done=done)
            log.info("[%s] searched group %d of %d", self.run_id, len(done), groups)
        sent.unpersist()
        return read_rows(
            self.spark, PARCEL_SCHEMA, *(self.rundir.place.join(NEIGHBORS, f"group-{g:03d}") for g in done)
        )


def _checksum(part_map: PartMap) -> str:
    found = hashlib.sha256()
    crowded = [*part_map.crowded, *part_map.crowded.values()]
    numbers = np.array([part_map.reach, part_map.visits, *crowded])
    for array in (part_map.quantizer.centroids, part_map.first_part, part_map.shares, numbers):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]
