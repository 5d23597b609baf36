"""Groups of points on Spark: their names, collected once, and what the points of each add up to over all parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel.config import SelectConfig
from subsel.engines.spark.output import write_rows
from subsel.engines.spark.parcels import PARCEL_SCHEMA, groups_in_arrow, map_in_arrow, place, plain_ids, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.source import col, plain_batches
from subsel.fixedpoint import Int64Array
from subsel.input.checked import CheckedBatch
from subsel.input.groups import (
    MOST_GROUPS,
    SUMMED,
    GroupColumn,
    GroupNames,
    GroupSums,
    as_groups,
    content_of,
    distinct_values,
    part_sums,
    too_many,
)
from subsel.input.rows import RowChecker
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, from_rows, of_kind, unpack
from subsel.parts.rows import to_table
from subsel.schema import Status
from subsel.storage import Place

_NAMED = "column int, value string, count bigint"
_SUMMED = ", ".join(f"`{name}` bigint" for name in SUMMED.names)


def group_names(points: SparkPoints, config: SelectConfig) -> tuple[GroupNames, ...]:
    """Return the groups of each column, of the rows that are points.

    Where rows were dropped, they are checked again to leave those out; else only these columns are read.

    Args:
        points: checked.
        config: by which they were.

    Raises:
        InputError: a column has too many.
    """
    groups = points.columns.groups
    if not groups:
        return ()
    frame, checker = points.frame, None
    if points.dropped:
        checker = RowChecker(points.columns, config, points.lengths)
    else:
        frame = frame.select(*(col(one.name) for one in groups))
    rows = map_in_arrow(frame, partial(_values, groups, checker), _NAMED)
    rows = rows.groupBy("column", "value").agg(F.sum("count").alias("count"))
    most = MOST_GROUPS * len(groups)
    found = rows.limit(most + 1).toArrow()
    if len(found) > most:
        column, count = rows.groupBy("column").count().orderBy(F.desc("count"), "column").head() or (0, 0)
        raise too_many(groups[column].name, count, points.name)
    names = []
    for number, column in enumerate(groups):
        mine = found.filter(pc.equal(found.column("column"), number))
        values = mine.column("value").cast(pa.large_string()).combine_chunks()
        names.append(GroupNames.of(column, values, mine.column("count").to_numpy(), points.name))
    return tuple(names)


def _values(
    groups: Sequence[GroupColumn], checker: RowChecker | None, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield the values of each batch's groups, each once, and how many rows have it."""
    with task():
        for batch in plain_batches(batches):
            if checker is None:
                columns = tuple(as_groups(batch.column(one.name)) for one in groups)
            else:
                columns = checker.check(batch).groups
            for number, values in enumerate(columns):
                texts, counts = distinct_values(values)
                column = pa.array(np.full(len(texts), number, np.int32))
                arrays = [column, plain_ids(texts), pa.array(counts)]
                yield pa.RecordBatch.from_arrays(arrays, names=["column", "value", "count"])


def group_classes(batch: CheckedBatch) -> Int64Array:
    """Return a number for each row that those of the same groups share: int64, (b,)."""
    found = content_of(None, batch.groups)
    assert found is not None, "rows have groups"
    return found


def write_graph(
    spark: SparkSession, assembled: DataFrame, names: Sequence[GroupNames], graph: Place, points: Place
) -> None:
    """Write an assembled graph, with the names of groups beside it, and its points, each into a folder."""
    write_rows(assembled.where(F.col("kind") != assemble.POINTS), graph)
    write_rows(assembled.where(F.col("kind") == assemble.POINTS), points)
    if names:
        parcels = [Parcel(0, i, assemble.GROUPS, assemble.pack_names(one)) for i, one in enumerate(names)]
        rows = [tuple(row.values()) for row in to_table(parcels).to_pylist()]
        write_rows(spark.createDataFrame(rows, PARCEL_SCHEMA).coalesce(1), graph)


def sum_groups(
    points: DataFrame, groups: Sequence[GroupNames], parts: int, decided: DataFrame | None = None
) -> GroupSums:
    """Return what the points add up to that may be selected: one aggregation.

    Args:
        points: parcels of kind points, assembled.
        groups: of each column.
        parts: how many.
        decided: parcels of kind `superstep.FINISHED`, of which those from `Status.EXCLUDED` name who may not be.

    Raises:
        InputError: what all points cost is more than int64 holds.
    """
    work = partial(_part_sums, tuple(groups))
    if decided is None:
        sums = groups_in_arrow(points.groupBy("part"), _SUMMED, work)
    else:
        some = decided.select("part", "source", "kind", "number", "chunk", "payload")
        pair = place(points, parts).groupBy("part").cogroup(place(some, parts).groupBy("part"))
        sums = groups_in_arrow(pair, _SUMMED, work)
    totals = (F.sum(name).alias(name) for name in SUMMED.names[2:])
    return GroupSums.of(groups, sums.groupBy("column", "group").agg(*totals).toArrow())


def _part_sums(groups: Sequence[GroupNames], left: pa.Table, right: pa.Table | None = None) -> pa.Table:
    with task():
        points = unpack(of_kind(from_rows(left), assemble.POINTS)[0].payload)
        n = len(points["code"])
        selectable = np.ones(n, np.bool_)
        for parcel in of_kind([] if right is None else from_rows(right), superstep.FINISHED):
            if parcel.source == Status.EXCLUDED:
                selectable[unpack(parcel.payload)["slot"]] = False
        group = np.ascontiguousarray(points["group"].reshape(n, -1).T) if "group" in points else None
        return part_sums(groups, points.get("cost"), group, selectable)
