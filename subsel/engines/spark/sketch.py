"""What a report's page draws, on Spark: the executor of the rules in `subsel.sketching`.

The parts count, in one pass, and counts add up; what is collected besides are a few examples, and gains at some ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from subsel import audit, schema
from subsel.audit import Reason, Room
from subsel.engines.spark.audit import Inside, outliers_of, with_near
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.ids import kept, kept_kind
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.parcels import groups_in_arrow, plain_ids, task
from subsel.engines.spark.source import col
from subsel.fixedpoint import Int64Array
from subsel.graph import SLOT_BITS, SLOT_MASK, PartGraph
from subsel.input.ids import shown, storage_type
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, from_rows, of_kind, unpack
from subsel.report import Report
from subsel.sketch import EXAMPLES, Example, Examples, Gains, Sketch
from subsel.sketching import Bins, Tally, curve_ranks, example_ranks, reasons_of, shortened, tally, text_columns

#: Columns of what a part tells: of counts which, where and how many; of examples all that is said of them.
_WHAT, _AT, _COUNT, _CODE, _NEAREST = "what", "at", "count", "code", "nearest_vid"
_MEMBER, _OTHER = "member", "other"


def sketch_on_spark(
    engine: SparkEngine,
    inside: Inside,
    inputs: SparkInputs,
    near: DataFrame | None,
    room: Room,
    keep: Callable[[DataFrame], DataFrame],
    report: Report,
    bins: Bins,
) -> Sketch:
    """Return what is drawn, but for the map.

    Args:
        engine: whose boards hold the subset, with the whole graph.
        inside: points of the graph.
        inputs: of the request.
        near: ids of those who were left out for being near what was given as `exclude_near`; None: nothing was.
        room: what limits have left.
        keep: persists a frame.
        report: of the selection.
        bins: of all parts.
    """
    ranks, first = curve_ranks(report.k), example_ranks(report.k) if report.config.examples else []
    ranked = inside.ranked.where(F.col(schema.RANK).isin(sorted({*ranks, *first})))
    members = {row[schema.RANK]: row for row in ranked.collect()}
    kind = kept_kind(inputs.id_type)
    shape = f"{_WHAT} string, {_AT} int, {_COUNT} bigint, {schema.ID} {kind}, {_CODE} bigint, {audit.REASON} string, "
    shape += f"`{audit.LIMIT}` string, {_NEAREST} bigint, {audit.NEAREST_SIMILARITY} double"
    wanted = pa.array([_hashable(members[rank][schema.ID]) for rank in first], storage_type(inputs.id_type))
    work = partial(_told, room, bins, wanted if report.config.examples else None)
    parcels = inside.points if inside.utilities is None else inside.points.unionByName(inside.utilities)
    rows = keep(engine.on_parts(parcels, work, shape))
    counts = {name: np.zeros(length, np.int64) for name, length in Tally.shapes().items()}
    for what, at, count in rows.where(F.col(_AT).isNotNull()).groupBy(_WHAT, _AT).agg(F.sum(_COUNT)).collect():
        counts[what][at] = count
    examples = None
    if report.config.examples:
        others = with_near(rows.where(F.col(_WHAT) == _OTHER), near).orderBy(F.desc(_CODE)).limit(EXAMPLES).collect()
        by_id = {_hashable(row[schema.ID]): row for row in rows.where(F.col(_WHAT) == _MEMBER).collect()}
        chosen = [by_id[_hashable(members[rank][schema.ID])] for rank in first]
        told = _examples(inside, inputs, [*chosen, *reversed(others)], report)
        at = zip(told[: len(first)], first, strict=True)
        more = [one.model_copy(update={"rank": rank, "gain": members[rank][schema.GAIN]}) for one, rank in at]
        examples = Examples(selected=more, rejected=told[len(first) :])
    found = Tally(**counts)
    return Sketch(
        run_id=report.run_id,
        gains=Gains(ranks=ranks, gains=[members[rank][schema.GAIN] for rank in ranks]),
        utility=found.utility(bins),
        nearest=found.nearest(bins),
        reasons=reasons_of(found.reasons, report),
        examples=examples,
    )


def _hashable(one: Any) -> Any:
    return bytes(one) if isinstance(one, bytearray) else one


def _told(room: Room, bins: Bins, wanted: pa.Array | None, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's counts, and what is said of members with ``wanted`` ids and of a few others; None: of nobody."""
    board, _ = superstep.deliver(graph, parcels)
    found, judged, others = tally(graph, board, outliers_of(graph, parcels), room, bins)
    counts = [getattr(found, one.name) for one in fields(found)]
    tables = [
        pa.table(
            {
                _WHAT: pa.array([one.name for one in fields(found)], pa.string()).take(
                    pa.array(np.repeat(np.arange(len(counts)), [len(one) for one in counts]))
                ),
                _AT: pa.array(np.concatenate([np.arange(len(one)) for one in counts]), pa.int32()),
                _COUNT: pa.array(np.concatenate(counts)),
            }
        )
    ]
    ids = plain_ids(unpack(of_kind(parcels, assemble.POINTS)[0].payload)["id"])
    shape = _shape(ids.type)
    if wanted is not None:
        inside = pc.is_in(ids, value_set=wanted.cast(ids.type))
        for what, slots in ((_MEMBER, np.flatnonzero(inside.to_numpy(zero_copy_only=False))), (_OTHER, others)):
            alone = judged.nearest[slots] < 0
            columns = {
                _WHAT: pa.array([what] * len(slots), pa.string()),
                schema.ID: ids.take(pa.array(slots)),
                _CODE: pa.array(graph.code[slots]),
                audit.REASON: pa.array([Reason(one).word for one in judged.reason[slots].tolist()], pa.string()),
                audit.LIMIT: pa.array([room.name(one) for one in judged.limit[slots].tolist()], pa.string()),
                _NEAREST: pa.array(graph.vid[np.maximum(judged.nearest[slots], 0)], mask=alone),
                audit.NEAREST_SIMILARITY: pa.array(judged.similarity[slots], mask=alone),
            }
            tables.append(pa.table(columns))
    whole = [
        pa.table([one[name] if name in one.column_names else pa.nulls(len(one), kind) for name, kind in shape], names)
        for one in tables
        for names in [[name for name, _ in shape]]
    ]
    return pa.concat_tables(whole).combine_chunks()


def _shape(id_type: pa.DataType) -> list[tuple[str, pa.DataType]]:
    numbers = [(_WHAT, pa.string()), (_AT, pa.int32()), (_COUNT, pa.int64()), (schema.ID, id_type)]
    texts = [(audit.REASON, pa.string()), (audit.LIMIT, pa.string())]
    return [*numbers, (_CODE, pa.int64()), *texts, (_NEAREST, pa.int64()), (audit.NEAREST_SIMILARITY, pa.float64())]


def _examples(inside: Inside, inputs: SparkInputs, rows: list[Row], report: Report) -> list[Example]:
    """Return what is said of a few points, with names of their nearest members and texts."""
    vids = [row[_NEAREST] for row in rows]
    names = _names(inside.points, {one for one in vids if one is not None}, inputs)
    texts = _texts(inputs, [row[schema.ID] for row in rows], report.input.dropped_rows)
    own = _shown([row[schema.ID] for row in rows], inputs)
    return [
        Example(
            id=own[i],
            reason=row[audit.REASON],
            limit=row[audit.LIMIT],
            nearest=None if vids[i] is None else names[vids[i]],
            similarity=row[audit.NEAREST_SIMILARITY],
            texts=shortened(texts.get(_hashable(row[schema.ID]), {})),
        )
        for i, row in enumerate(rows)
    ]


def _shown(ids: Iterable[Any], inputs: SparkInputs) -> list[str]:
    kind = storage_type(inputs.id_type)
    return [str(one) for one in shown(pa.array([_hashable(one) for one in ids], kind), inputs.id_type)]


def _names(points: DataFrame, vids: set[int], inputs: SparkInputs) -> dict[int, str]:
    """Return the ids of points by address: of a few parts, whose ids are read."""
    if not vids:
        return {}
    parts = points.where(F.col("part").isin(sorted({vid >> SLOT_BITS for vid in vids})))
    shape = f"{_NEAREST} bigint, {schema.ID} {kept_kind(inputs.id_type)}"
    found = groups_in_arrow(parts.groupBy("part"), shape, _named, np.array(sorted(vids))).collect()
    return dict(zip([row[0] for row in found], _shown((row[1] for row in found), inputs), strict=True))


def _named(vids: Int64Array, table: pa.Table) -> pa.Table:
    with task():
        (parcel,) = from_rows(table)
        ids = plain_ids(unpack(parcel.payload)[schema.ID])
        mine = vids[vids >> SLOT_BITS == parcel.part]
        return pa.table({_NEAREST: pa.array(mine), schema.ID: ids.take(pa.array(mine & SLOT_MASK))})


def _texts(inputs: SparkInputs, ids: list[Any], dropped: Mapping[str, int]) -> dict[Any, dict[str, Any]]:
    """Return the kept texts of points by id: one more scan of these columns, if there are any."""
    kept_ones = [inputs.source.schema.field(name) for name in inputs.config.keep_columns]
    names = text_columns(pa.schema(kept_ones))
    if not names:
        return {}
    id_column = kept(col(inputs.config.id_column or schema.ID), inputs.id_type)
    rows = inputs.rows(dropped).select(id_column.alias("_id"), *(col(name) for name in names))
    found = rows.where(F.col("_id").isin(ids)).collect()
    return {_hashable(row[0]): dict(zip(names, row[1:], strict=True)) for row in found}
