"""The audit on Spark: why each point of the input is in the subset or is not, judged part by part (`subsel.audit`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from subsel import audit, schema
from subsel.audit import STAGES, BoolArray, Reason, Room, audit_schema, group_column, in_order, judge, words_of
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.ids import given, kept_kind
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.neighbors import Rules
from subsel.engines.spark.parcels import map_in_arrow, plain_ids, task
from subsel.engines.spark.ranking import ROWS_PER_FILE
from subsel.graph import PartGraph
from subsel.input.copies import OF
from subsel.input.groups import GroupNames
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, of_kind, unpack

_VID, _NEAREST, _NEAR, _ALIKE = "_vid", "_nearest", "_near", "_alike"


@dataclass(frozen=True, slots=True)
class Inside:
    """Points of the graph, as the engine's boards know them when all is done.

    Attributes:
        points: parcels of kind points.
        utilities: parcels of kind utility, where some points were left out as outliers.
        groups: of each column.
        ranked: members, see `subsel.engines.spark.ranking.rank_subset`.
    """

    points: DataFrame
    utilities: DataFrame | None
    groups: Sequence[GroupNames]
    ranked: DataFrame


def audited(
    engine: SparkEngine,
    inside: Inside,
    inputs: SparkInputs,
    lost: DataFrame | None,
    near: DataFrame | None,
    room: Room,
    keep: Callable[[DataFrame], DataFrame],
    *,
    inside_points: int,
    points: int,
) -> tuple[DataFrame, dict[str, int]]:
    """Return the audit by id, and how many points have each reason.

    Args:
        engine: whose boards hold the subset, with the whole graph.
        inside: points of the graph.
        inputs: of the request.
        lost: who was merged into whom, see `subsel.engines.spark.copies.Merged`.
        near: ids of those who were left out for being near what was given as `exclude_near`; None: nothing was.
        room: what limits have left.
        keep: persists a frame; called twice.
        inside_points: how many are in the graph; where others are not, all are read once more.
        points: of the input.
    """
    kind, cost, columns = kept_kind(inputs.id_type), inputs.config.cost is not None, range(len(inside.groups))
    beside = [f"{audit.COST} bigint"] * cost + [f"{_group(i)} string" for i in columns]
    shape = (
        f"{schema.ID} {kind}, {_VID} bigint, {_NEAREST} bigint, {_ALIKE} boolean, {audit.NEAREST_SIMILARITY} double, "
    )
    shape += f"{audit.SELECTED} boolean, {audit.REASON} string, `{audit.LIMIT}` string, {audit.STAGE} string"
    parcels = inside.points if inside.utilities is None else inside.points.unionByName(inside.utilities)
    judged = partial(_judged, room, tuple(inside.groups), cost)
    rows = keep(with_near(engine.on_parts(parcels, judged, ", ".join([shape, *beside])), near))
    members = rows.where(audit.SELECTED).select(F.col(_VID).alias(_NEAREST), F.col(schema.ID).alias(audit.NEAREST))
    alike = F.col(_ALIKE)
    found = (
        rows.join(members, _NEAREST, "left")
        .join(inside.ranked.select(schema.ID, schema.RANK, schema.GAIN), schema.ID, "left")
        .withColumn(audit.OF, F.when(alike, F.col(audit.NEAREST)))
        .withColumn(audit.OF_SIMILARITY, F.when(alike, F.col(audit.NEAREST_SIMILARITY)))
    )
    if inside_points < points:
        outside = _outside(inputs, rows.select(schema.ID), lost, ", ".join([f"{schema.ID} {kind}", *beside]))
        found = found.unionByName(outside, allowMissingColumns=True)
    found = keep(found)
    counts = {row[0]: row[1] for row in found.groupBy(audit.REASON).count().collect()}
    assert sum(counts.values()) == points, "every point is judged once"
    in_type = inputs.source.frame.schema[inputs.config.id_column or schema.ID].dataType
    ids = {name: given(F.col(name), inputs.id_type, in_type) for name in (schema.ID, audit.OF, audit.NEAREST)}
    names = audit_schema(pa.null(), cost=cost, groups=[_group(i) for i in columns]).names
    told = found.select(*(ids.get(name, F.col(name)).alias(name) for name in names))
    told = told.repartitionByRange(max(1, -(-points // ROWS_PER_FILE)), schema.ID).sortWithinPartitions(schema.ID)
    told = told.toDF(*names[: len(names) - len(columns)], *(group_column(one.column) for one in inside.groups))
    return told, in_order(counts)


def with_near(rows: DataFrame, near: DataFrame | None) -> DataFrame:
    """Return the rows with those who were excluded for being near something named so."""
    if near is None:
        return rows
    both = rows.join(near.select(schema.ID, F.lit(True).alias(_NEAR)), schema.ID, "left")
    excluded = (F.col(audit.REASON) == Reason.EXCLUDED.word) & F.col(_NEAR)
    reason = F.when(excluded, Reason.NEAR.word).otherwise(F.col(audit.REASON))
    return both.withColumn(audit.REASON, reason).drop(_NEAR)


def _group(number: int) -> str:
    """Return what a column of groups is called until the end: its own name may be any."""
    return f"_group_{number}"


def outliers_of(graph: PartGraph, parcels: list[Parcel]) -> BoolArray:
    """Return which points of a part were left out as outliers, where it was sent its utilities: bool, (n_points,)."""
    outlier = np.zeros(graph.n_points, np.bool_)
    for parcel in of_kind(parcels, assemble.UTILITY):
        outlier = unpack(parcel.payload)["outlier"]
    return outlier


def _judged(room: Room, groups: Sequence[GroupNames], cost: bool, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's own points with what is said of them."""
    board, _ = superstep.deliver(graph, parcels)
    ids = unpack(of_kind(parcels, assemble.POINTS)[0].payload)["id"]
    judged = judge(graph, board, outliers_of(graph, parcels), room)
    words = words_of(judged.reason, judged.limit, room)
    alone, vid = judged.nearest < 0, graph.vid
    columns = {
        schema.ID: plain_ids(ids),
        _VID: pa.array(vid[: graph.n_own]),
        _NEAREST: pa.array(vid[np.maximum(judged.nearest, 0)], mask=alone),
        _ALIKE: pa.array(judged.alike),
        audit.NEAREST_SIMILARITY: pa.array(judged.similarity, mask=alone),
        audit.SELECTED: words.selected,
        audit.REASON: words.reason,
        audit.LIMIT: words.limit,
        audit.STAGE: words.stage,
    }
    if cost:
        assert graph.cost is not None
        columns[audit.COST] = pa.array(graph.cost[: graph.n_own])
    for number, names in enumerate(groups):
        assert graph.group is not None
        columns[_group(number)] = names.of_rows(graph.group[number]).cast(pa.string())
    return pa.table(columns)


def _outside(inputs: SparkInputs, inside: DataFrame, lost: DataFrame | None, shape: str) -> DataFrame:
    """Return the points that are not in the graph: copies, and those that were not drawn; not computed yet."""
    points = inputs.everyone()
    read = map_in_arrow(points.frame, partial(_beside, Rules.of(points, inputs.config)), shape)
    found = read.join(inside, schema.ID, "left_anti")
    of = F.lit(None).cast(inside.schema[schema.ID].dataType)
    if lost is not None:
        found = found.join(lost.select(schema.ID, F.col(OF).alias(audit.OF)), schema.ID, "left")
        of = F.col(audit.OF)

    def told(what: Callable[[Reason], str]) -> Column:
        return F.when(of.isNotNull(), what(Reason.COPY)).otherwise(what(Reason.NOT_DRAWN))

    reason, stage = told(lambda one: one.word), told(lambda one: STAGES[one])
    more = {audit.OF: of, audit.SELECTED: F.lit(False), audit.REASON: reason, audit.STAGE: stage}
    return found.withColumns(more)


def _beside(rules: Rules, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the good rows' ids, costs and groups."""
    with task():
        for good, _ in rules.good(batches):
            columns = {schema.ID: good.ids if pa.types.is_int64(good.ids.type) else plain_ids(good.ids)}
            if good.cost is not None:
                columns[audit.COST] = pa.array(good.cost)
            for number, values in enumerate(good.groups):
                columns[_group(number)] = values.dictionary.take(values.indices).cast(pa.string())
            yield pa.record_batch(columns)
