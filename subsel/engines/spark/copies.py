"""Copies on Spark: the executor of the rules in `subsel.input.copies`.

One scan hashes every vector to 128 bits, and one exchange of these says which come more than once. Vectors of one
hash are taken to be equal: of 10^12 that differ two have one with a probability of 10^-15. Only where there are copies,
these are told apart by utility, code and wish, and points are read without those that are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.engines.spark.ids import kept, kept_kind
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.neighbors import Rules
from subsel.engines.spark.output import read_rows, write_rows
from subsel.engines.spark.parcels import plain_ids, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.source import col
from subsel.engines.spark.wishes import Wished, subset_on_spark
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.input.copies import MAKE_ANEW, OF, SCORE_POINTS, Classes, Wishful, fingerprints, merged_away
from subsel.input.ids import shown, storage_type
from subsel.rundir import COPIES, RunDirectory
from subsel.schema import Status

_HASH = ["high", "low"]
_LOST, _STAYS = "_lost", "_stays"
#: Of each point that is left how many rows it stands for, see `subsel.input.rows.Columns`.
_TIMES = "_times"
#: So many rows are sent to all executors rather than sorted with everybody's.
_FEW_ROWS = 100_000


#: Keeps a frame for as long as points are needed.
Keep = Callable[[DataFrame], DataFrame]


@dataclass(frozen=True, slots=True)
class Merged:
    """Points without copies.

    Attributes:
        points: those that stay; samples are of all still, see `subsel.engines.spark.points.sample_anew`.
        wished: ids of all that are wished in or out of these.
        lost: ids of points that were merged into others and, as ``of``, of those that stay for them, both as they are
            kept; None where there are none.
        count: how many were.
        wishful: what wishes have to do with that.
    """

    points: SparkPoints
    wished: Mapping[Status, Wished]
    lost: DataFrame | None = None
    count: int = 0
    wishful: Wishful = field(default_factory=Wishful)


def merge_on_spark(
    points: SparkPoints, rules: Rules, wished: Mapping[Status, Wished], keep: Keep, classes: Classes | None = None
) -> Merged:
    """Leave out points that are copies of others.

    Args:
        points: checked.
        rules: by which they were.
        wished: ids of points that are wished in or out.
        keep: keeps the frame of those that are lost, and returns it.
        classes: see `subsel.input.copies.Classes`; None: all points are of one class.
    """
    included = wished.get(Status.INCLUDED)
    lost, wishful = find_lost(points, rules, None if included is None else included.ids, keep, classes)
    count = 0 if lost is None else lost.count()
    if lost is None or not count:
        return Merged(points, wished, wishful=wishful)
    assert points.columns.id is not None
    away = _sent_if_few(lost.select(F.col(schema.ID).alias(_LOST)), count)
    frame = points.frame.join(away, kept(col(points.columns.id), points.columns.id_type) == F.col(_LOST), "left_anti")
    now, spared = excluded_too(wished, lost)
    left = replace(points, frame=frame, n=points.n - count, code_sum=None)
    if rules.config.covers:
        left = _with_times(left, lost, count)
    return Merged(left, now, lost, count, replace(wishful, spared=spared))


def _with_times(points: SparkPoints, lost: DataFrame, count: int) -> SparkPoints:
    """Return points that know how many rows each of them stands for.

    Args:
        points: those that stay.
        lost: see `Merged`.
        count: how many were.
    """
    assert points.columns.id is not None
    times = lost.groupBy(F.col(OF).alias(_STAYS)).agg((F.count("*") + 1).alias(_TIMES))
    stays = kept(col(points.columns.id), points.columns.id_type) == F.col(_STAYS)
    joined = points.frame.join(_sent_if_few(times, count), stays, "left")
    columns = [col(name) for name in points.columns.names]
    frame = joined.select(*columns, F.coalesce(_TIMES, F.lit(1)).cast("bigint").alias(_TIMES))
    return replace(points, frame=frame, columns=replace(points.columns, times=_TIMES))


def find_lost(
    points: SparkPoints,
    rules: Rules,
    included: DataFrame | None,
    keep: Keep,
    classes: Classes | None = None,
) -> tuple[DataFrame | None, Wishful]:
    """Return who is lost to whom, see `Merged`, and what wishes have to do with it; None where no vectors are equal.

    Arguments as those of `merge_on_spark`; ``included`` are ids as they are kept.
    """
    shape = f"{schema.ID} {kept_kind(points.columns.id_type)}, high bigint, low bigint, code bigint, utility double"
    prints = points.map(partial(_prints, rules, classes), shape).persist(StorageLevel.DISK_ONLY)
    try:
        several = prints.groupBy(_HASH).count().where("count > 1")
        sets = several.count()
        if not sets:
            return None, Wishful()
        members = prints.join(_sent_if_few(several.select(_HASH), sets), _HASH, "left_semi")
        inside = F.lit(False)
        if included is not None:
            members = members.join(included.select(schema.ID, F.lit(True).alias("_in")), schema.ID, "left")
            inside = F.coalesce("_in", inside)
        members = members.withColumn("included", inside)
        best = members.groupBy(_HASH).agg(
            F.max(F.struct("included", "utility", "code", schema.ID)).alias("best"),
            F.max(F.struct("utility", "code")).alias("alone"),
            F.sum(F.col("included").cast("int")).alias("inside"),
        )
        members = members.join(_sent_if_few(best, sets), _HASH)
        away = ~F.col("included") & (F.col("code") != F.col("best.code"))
        lost = keep(members.where(away).select(schema.ID, F.col(f"best.{schema.ID}").alias(OF)))
        wishful = Wishful()
        if included is not None:
            some = members.where("included")
            alone, twin = F.col("code") != F.col("alone.code"), F.col("inside") > 1
            row = some.agg(F.sum(alone.cast("bigint")), F.sum(twin.cast("bigint"))).collect()[0]
            wishful = Wishful(kept=row[0] or 0, twins=row[1] or 0)
        return lost, wishful
    finally:
        prints.unpersist()


def excluded_too(wished: Mapping[Status, Wished], lost: DataFrame) -> tuple[dict[Status, Wished], int]:
    """Return wishes that exclude those who stay for excluded copies, and how many that spared as they are included.

    Args:
        wished: ids of points, lost ones among them.
        lost: see `Merged`.
    """
    now = dict(wished)
    out, inside = (wished.get(status) for status in (Status.EXCLUDED, Status.INCLUDED))
    if out is None:
        return now, 0
    spared, of = 0, out.ids.join(lost, schema.ID).select(F.col(OF).alias(schema.ID)).distinct()
    if inside is not None:
        spared = of.join(inside.ids, schema.ID, "left_semi").count()
        of = of.join(inside.ids, schema.ID, "left_anti")
    ids = out.ids.join(lost, schema.ID, "left_anti").unionByName(of).distinct()
    now[Status.EXCLUDED] = replace(out, ids=ids, count=None if out.count is None else ids.count())
    return now, spared


def wished_again(wished: Mapping[Status, Wished], lost: DataFrame, id_type: pa.DataType) -> dict[Status, Wished]:
    """Return wishes for points among which some were merged when their graph was made; see `excluded_too`.

    Raises:
        InputError: points that are included were.
    """
    if Status.INCLUDED in wished:
        refuse_lost(wished[Status.INCLUDED], lost, id_type, MAKE_ANEW)
    return excluded_too(wished, lost)[0]


def refuse_lost(one: Wished, lost: DataFrame, id_type: pa.DataType, remedy: str) -> None:
    """Raise if a wish or a subset names points that were merged into others.

    Args:
        one: ids.
        lost: see `Merged`.
        id_type: the user's type of ids.
        remedy: see `subsel.input.copies.merged_away`.

    Raises:
        InputError: see above.
    """
    found = one.ids.join(lost, schema.ID).agg(F.count("*"), F.min(F.struct(schema.ID, OF))).collect()[0]
    if found[0]:
        values = (bytes(value) if isinstance(value, bytearray) else value for value in found[1])
        name, of = shown(pa.array(values, storage_type(id_type)), id_type)
        raise merged_away(one.what, found[0], one.count, name, of, remedy)


def subset_to_score(inputs: SparkInputs, subset: Any, n: int, lost: DataFrame | None) -> tuple[Wished, int]:
    """Return a subset's ids, and how many these are.

    Args:
        inputs: the points.
        subset: see `subsel.engines.spark.wishes.subset_on_spark`.
        n: how many points there are.
        lost: see `Merged`.

    Raises:
        InputError: it cannot be read, is empty, or has ids that are null, repeated or of another type, or of points
            that were merged into others.
    """
    found = subset_on_spark(inputs.spark, subset, inputs.config, inputs.id_type)
    k = found.count
    if not k:
        raise InputError("the subset is empty: there is nothing to score.")
    if k > n:
        raise InputError(f"the subset has {k:,} ids, the input {n:,}: some are unknown.")
    if lost is not None:
        refuse_lost(found, lost, inputs.id_type, SCORE_POINTS)
    return found, k


def keep_lost(spark: SparkSession, rundir: RunDirectory, id_type: pa.DataType, lost: DataFrame) -> DataFrame:
    """Write down in a run directory who was lost to whom, and return that as it is read back."""
    (folder,) = rundir.begin(COPIES)
    write_rows(lost, folder)
    return kept_lost(spark, rundir, id_type)


def kept_lost(spark: SparkSession, rundir: RunDirectory, id_type: pa.DataType) -> DataFrame:
    """Return what `keep_lost` wrote."""
    kind = kept_kind(id_type)
    return read_rows(spark, f"{schema.ID} {kind}, {OF} {kind}", rundir.place.join(COPIES))


def _sent_if_few(frame: DataFrame, rows: int) -> DataFrame:
    """Return a frame that is joined with by sending it to all executors, where it has few rows."""
    return F.broadcast(frame) if rows <= _FEW_ROWS else frame


def _prints(rules: Rules, classes: Classes | None, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield of the good rows ids, hashes of vectors, codes, and the first thing that utility is made of."""
    with task():
        for good, code in rules.good(batches):
            assert good.embeddings is not None
            some: Int64Array = np.empty(0, np.int64) if classes is None else classes(good)
            marks = fingerprints(good.embeddings, rules.config.metric == "cosine", some).view(np.int64)
            utility = good.utility + 0.0  # -0.0 is 0.0
            ids = good.ids if pa.types.is_int64(good.ids.type) else plain_ids(good.ids)
            columns = [ids, *map(pa.array, (marks[0], marks[1], code, utility))]
            yield pa.RecordBatch.from_arrays(columns, names=[schema.ID, *_HASH, "code", "utility"])
