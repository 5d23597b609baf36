"""A graph that no task holds, in as few parts as tasks do hold: fewer borders to post over, and fewer supersteps.

The parts in which neighbours are searched are small, so that their vectors fit anywhere. A graph takes far less than
the vectors did, so its parts are joined before anything is weighed or decided. What is decided is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel.config import SelectConfig
from subsel.cost import task_bytes
from subsel.engines.spark.parcels import exchange
from subsel.engines.spark.storage import classic
from subsel.engines.spark.together import ONE_BATCH, PAYLOAD, fits_one_task, task_memory
from subsel.parts import assemble
from subsel.parts.join import Joint, join_graphs, join_points
from subsel.parts.pack import Parcel, of_kind, pack

log = logging.getLogger(__name__)


def joint_of(
    spark: SparkSession, config: SelectConfig, parts: int, shapes: Mapping[int, assemble.Shape], *, recorded: bool
) -> Joint | None:
    """Return which parts become one; None where all stay.

    They stay where the user says how large they are, where one task holds all of them as they are, and where a task
    does not hold even two.

    Args:
        spark: the session.
        config: of the request.
        parts: how many.
        shapes: of those that have points, by number.
        recorded: see `subsel.engines.spark.together.fits_one_task`.
    """
    points, half_edges = np.zeros(parts, np.int64), np.zeros(parts, np.int64)
    for part, shape in shapes.items():
        points[part], half_edges[part] = shape.points, shape.half_edges
    about = int(points.sum()), int(half_edges.sum())
    if config.part_points is not None or not classic(spark):
        return None
    if fits_one_task(spark, config, *about, recorded=recorded):
        return None
    tasks = spark.sparkContext.defaultParallelism
    room = task_memory(spark, at_once=tasks)
    if room <= 0:
        return None
    size = [task_bytes(*one) for one in zip(points.tolist(), half_edges.tolist(), strict=True)]
    least = max(tasks, -(-sum(size) // room), -(-PAYLOAD * about[1] // ONE_BATCH))
    if 2 * least > parts:
        return None
    found = Joint.of(points.tolist(), size, least)
    log.info("%d parts are joined into %d: a task has %d MiB for one", parts, found.parts, room >> 20)
    return found


def joined(assembled: DataFrame, joint: Joint) -> DataFrame:
    """Return an assembled graph with its parts joined; parcels beyond all parts stay beyond them."""
    number = F.element_at(F.lit([*joint.into.tolist(), joint.parts]), F.col("part") + 1)
    renumbered = assembled.withColumn("part", number.cast("int"))
    return exchange(renumbered, partial(_join, joint), joint.parts + 1, full=True)


def _join(joint: Joint, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    if part == joint.parts:
        return parcels
    graphs, points = ([one.payload for one in of_kind(parcels, kind)] for kind in (assemble.GRAPH, assemble.POINTS))
    return [
        Parcel(part, part, assemble.POINTS, join_points(points)),
        Parcel(part, part, assemble.GRAPH, pack(**join_graphs(graphs, part, joint))),
        *of_kind(parcels, assemble.SHAPE),
    ]
