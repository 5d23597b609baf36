"""What a report's page draws, on Spark: the executor of the rules in `subsel.sketching`.

The parts count, in one pass, and counts add up; what is collected are these, a few examples of each part, and gains at
some ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel import audit, schema
from subsel.audit import Reason, Room
from subsel.engines.spark.audit import Inside, outliers_of, with_near
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.ids import kept, kept_kind
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.parcels import groups_in_arrow, plain_ids, task
from subsel.engines.spark.ranking import Beside
from subsel.engines.spark.source import col
from subsel.fixedpoint import Int64Array
from subsel.graph import SLOT_BITS, SLOT_MASK, PartGraph
from subsel.input.ids import shown, storage_type
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, from_rows, of_kind, unpack
from subsel.report import Report
from subsel.sketch import EXAMPLES, Example, Examples, Gains, Sketch
from subsel.sketching import Bins, Tally, curve_ranks, example_ranks, reasons_of, shortened, tally, text_columns

#: Columns of what a part tells, beside those of an audit: of its counts all, as `Tally` has them; of examples the rest.
_COUNTS, _MEMBER, _CODE, _NEAREST = "counts", "member", "code", "nearest_vid"


@dataclass(frozen=True, slots=True)
class Told:
    """What a page is made of: members at some ranks with id, rank and gain; and what the parts tell, see `_told_of`."""

    members: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]


def tell_beside(room: Room | None, bins: Bins, k: int, *, examples: bool) -> Beside | None:
    """Return what tells of a whole graph where its subset is ranked, None without ``room``; see `sketch_on_spark`."""
    if room is None:
        return None
    return partial(_told_beside, room, bins, curve_ranks(k), example_ranks(k) if examples else None)


def _told_beside(
    room: Room,
    bins: Bins,
    ranks: Sequence[int],
    first: Sequence[int] | None,
    graph: PartGraph,
    parcels: list[Parcel],
    ranked: pa.Table,
    slots: Int64Array,
) -> Told:
    """Return what is told; ``ranked`` are all members by rank, at ``slots``."""
    some = ranked.select([schema.ID, schema.RANK, schema.GAIN]).take(sorted({*ranks, *(first or [])}))
    shown = None if first is None else np.sort(slots[np.asarray(first, np.int64)])
    return Told(some.to_pylist(), _told_of(room, bins, shown, graph, parcels).to_pylist())


def sketch_on_spark(
    engine: SparkEngine,
    inside: Inside,
    inputs: SparkInputs,
    near: DataFrame | None,
    room: Room,
    report: Report,
    bins: Bins,
    told: Told | None,
) -> Sketch:
    """Return what is drawn, but for the map.

    Args:
        engine: whose boards hold the subset, with the whole graph.
        inside: points of the graph.
        inputs: of the request.
        near: ids of those who were left out for being near what was given as `exclude_near`; None: nothing was.
        room: what limits have left.
        report: of the selection.
        bins: of all parts.
        told: of them, where the subset was ranked (`tell_beside`); None: they are asked.
    """
    ranks, first = curve_ranks(report.k), example_ranks(report.k) if report.config.examples else []
    if told is None:
        told = _asked(engine, inside, inputs, near, room, bins, sorted({*ranks, *first}), first)
    members = {row[schema.RANK]: row for row in told.members}
    by_part = [row[_COUNTS] for row in told.rows if row[_COUNTS] is not None]
    ends = np.cumsum(list(Tally.shapes().values()))
    counts = dict(zip(Tally.shapes(), np.split(np.sum(by_part, axis=0, dtype=np.int64), ends[:-1]), strict=True))
    examples = None
    if report.config.examples:
        by_id = {row[schema.ID]: row for row in told.rows if row[_MEMBER]}
        others = sorted((row for row in told.rows if row[_MEMBER] is False), key=itemgetter(_CODE))
        chosen = [by_id[_hashable(members[rank][schema.ID])] for rank in first]
        about = _examples(inside, inputs, [*chosen, *others[-EXAMPLES:]], report)
        at = zip(about[: len(first)], first, strict=True)
        more = [one.model_copy(update={"rank": rank, "gain": members[rank][schema.GAIN]}) for one, rank in at]
        examples = Examples(selected=more, rejected=about[len(first) :])
    found = Tally(**counts)
    return Sketch(
        run_id=report.run_id,
        gains=Gains(ranks=ranks, gains=[members[rank][schema.GAIN] for rank in ranks]),
        utility=found.utility(bins),
        nearest=found.nearest(bins),
        reasons=reasons_of(found.reasons, report),
        examples=examples,
    )


def _asked(
    engine: SparkEngine,
    inside: Inside,
    inputs: SparkInputs,
    near: DataFrame | None,
    room: Room,
    bins: Bins,
    ranks: Sequence[int],
    first: Sequence[int],
) -> Told:
    """Ask the parts: of counts, of members at the ``first`` ranks, if any, and of a few others."""
    members = [row.asDict() for row in inside.ranked.where(F.col(schema.RANK).isin(ranks)).collect()]
    ids = {row[schema.RANK]: _hashable(row[schema.ID]) for row in members}
    kind = kept_kind(inputs.id_type)
    shape = f"{_COUNTS} array<bigint>, {schema.ID} {kind}, {_CODE} bigint, {_MEMBER} boolean, {audit.REASON} string, "
    shape += f"`{audit.LIMIT}` string, {audit.NEAREST} {kind}, {_NEAREST} bigint, {audit.NEAREST_SIMILARITY} double"
    wanted = pa.array([ids[rank] for rank in first], storage_type(inputs.id_type)) if first else None
    work = partial(_told, room, bins, wanted)
    parcels = inside.points if inside.utilities is None else inside.points.unionByName(inside.utilities)
    return Told(members, with_near(engine.on_whole(parcels, work, shape), near).toArrow().to_pylist())


def _hashable(one: Any) -> Any:
    return bytes(one) if isinstance(one, bytearray) else one


def _told(room: Room, bins: Bins, wanted: pa.Array | None, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return what a part tells, see `_told_of`, of members with ``wanted`` ids; None: of nobody."""
    if wanted is None:
        return _told_of(room, bins, None, graph, parcels)
    ids = _ids_in(parcels)
    members = np.flatnonzero(pc.is_in(ids, value_set=wanted.cast(ids.type)).to_numpy(zero_copy_only=False))
    return _told_of(room, bins, members, graph, parcels)


def _ids_in(parcels: list[Parcel]) -> pa.Array:
    return plain_ids(unpack(of_kind(parcels, assemble.POINTS)[0].payload)["id"])


def _told_of(room: Room, bins: Bins, members: Int64Array | None, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's counts, and what is said of some members, by slot, and of a few others; None: of nobody.

    A nearest member that is the part's own is named; of another the address is said.
    """
    board, _ = superstep.deliver(graph, parcels)
    found, judged, others = tally(graph, board, outliers_of(graph, parcels), room, bins)
    counts = np.concatenate([getattr(found, one.name) for one in fields(found)])
    ids = _ids_in(parcels)
    slots = np.empty(0, np.int64) if members is None else np.concatenate([members, others])
    inside = np.arange(len(slots)) < (0 if members is None else len(members))
    nearest = judged.nearest[slots]
    alone = nearest < 0
    columns = {
        _COUNTS: pa.array([None] * len(slots), pa.list_(pa.int64())),
        schema.ID: ids.take(pa.array(slots)),
        _CODE: pa.array(graph.code[slots]),
        _MEMBER: pa.array(inside),
        audit.REASON: pa.array([Reason(one).word for one in judged.reason[slots].tolist()], pa.string()),
        audit.LIMIT: pa.array([room.name(one) for one in judged.limit[slots].tolist()], pa.string()),
        audit.NEAREST: ids.take(pa.array(np.maximum(nearest, 0), mask=alone | (nearest >= graph.n_points))),
        _NEAREST: pa.array(graph.vid[np.maximum(nearest, 0)], mask=alone),
        audit.NEAREST_SIMILARITY: pa.array(judged.similarity[slots], mask=alone),
    }
    counted = pa.table({_COUNTS: pa.array([counts.tolist()], pa.list_(pa.int64()))})
    return pa.concat_tables([pa.table(columns), counted], promote_options="default").combine_chunks()


def _examples(inside: Inside, inputs: SparkInputs, rows: Sequence[Mapping[str, Any]], report: Report) -> list[Example]:
    """Return what is said of a few points, with names of their nearest members and texts."""
    vids = [row[_NEAREST] for row in rows]
    known = [(row[_NEAREST], row[audit.NEAREST]) for row in rows if row[audit.NEAREST] is not None]
    names = dict(zip((vid for vid, _ in known), _shown((one for _, one in known), inputs), strict=True))
    names |= _names(inside.points, {one for one in vids if one is not None} - names.keys(), inputs)
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
