"""Limits on Spark: what all points cost, what there is in each group to select from, and tables of quotas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial, reduce

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel.config import SelectConfig
from subsel.engines.spark.groups import sum_groups
from subsel.engines.spark.parcels import map_in_arrow, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.source import col, open_on_spark, plain_batches
from subsel.fixedpoint import exact_sum
from subsel.input.groups import MOST_GROUPS, GroupNames
from subsel.input.quotas import TABLE, group_tables
from subsel.input.rows import RowChecker
from subsel.limits.amounts import Amounts
from subsel.limits.build import capacity_of
from subsel.limits.capacity import Capacity
from subsel.limits.quotas import GroupTable, quota_table
from subsel.report import GraphReport, InputReport

_WIDE = "decimal(38,0)"


def cost_of_all(points: SparkPoints, config: SelectConfig) -> int | None:
    """Return what all points cost; None where nothing costs. Where rows were dropped, they are checked again."""
    column = points.columns.cost
    if column is None:
        return None
    if points.dropped:
        rows = map_in_arrow(
            points.frame, partial(_paid, RowChecker(points.columns, config, points.lengths)), "paid string"
        )
        return sum(int(row[0]) for row in rows.collect())
    return int(points.frame.agg(F.sum(col(column).cast(_WIDE))).collect()[0][0] or 0)


def capacity_on_spark(
    spark: SparkSession,
    config: SelectConfig,
    size: int | None,
    points: DataFrame,
    names: Sequence[GroupNames],
    parts: int,
    excluded: Sequence[DataFrame],
    found: InputReport,
    made: GraphReport,
) -> tuple[Capacity, list[GroupTable]]:
    """Return the limits of a request, and what there is in each group to select from.

    Args:
        spark: the session.
        config: of the request.
        size: points to select; None where only a budget says how much.
        points: parcels of kind points, assembled.
        names: of each column's groups.
        parts: how many.
        excluded: parcels of kind `subsel.parts.superstep.FINISHED` that name who may not be selected.
        found: what was read.
        made: how the graph was.

    Raises:
        ConfigError, InputError: see `subsel.limits.build.capacity_of`.
    """
    copies = found.copies > 0 and made.drawn is None
    # Wishes and outliers come from one source: their number tells them apart.
    apart = [one.withColumn("number", F.lit(number)) for number, one in enumerate(excluded)]
    sums = sum_groups(points, names, parts, reduce(DataFrame.unionByName, apart) if apart else None)
    everyone = sum_groups(points, names, parts) if (copies and names) or (excluded and config.budget) else None
    tables = group_tables(names, sums, everyone if copies else None, with_cost=config.cost is not None)
    left = (found.cost or 0) - (0 if everyone is None else everyone.all_cost - sums.all_cost)
    return capacity_of(config, size, tables, left, partial(quotas_on_spark, spark)), tables


def quotas_on_spark(spark: SparkSession, place: str) -> Amounts:
    """Return the quotas of a table with columns group and quota."""
    source = open_on_spark(spark, place, TABLE.__contains__, "quotas")
    table = source.select(TABLE).limit(MOST_GROUPS + 1).toArrow()
    return quota_table(table.column(TABLE[0]), table.column(TABLE[1]), f"quotas {place}")


def _paid(checker: RowChecker, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for batch in plain_batches(batches):
            cost = checker.check(batch).cost
            assert cost is not None
            yield pa.record_batch([pa.array([str(exact_sum(cost))])], names=["paid"])
