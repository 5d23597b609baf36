"""What changed from one subset to the next: who came in and who is out, and why."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from subsel import audit as audits
from subsel import schema
from subsel.errors import InputError
from subsel.input.ids import same_type, subset_ids
from subsel.input.source import result_table
from subsel.reports import Location
from subsel.storage import Place, arrow_place, new_file, place_of
from subsel.version import __version__

#: Columns of a table of changes beside the id.
CHANGE, WHY = "change", "why"
IN, OUT = "in", "out"
#: Why a point is out that is in no audit.
GONE = "not in the data"
#: What is read of subsets and audits: columns, and their types where these do not depend on the ids.
_OLD = {schema.ID: None}
_NEW = {schema.ID: None, schema.RANK: pa.int64(), schema.DECIDED_BY: pa.string()}
_AUDIT = {schema.ID: None, audits.REASON: None}


def changes(
    old: Location, new: Location, *, audit: Location | None = None, storage_options: dict[str, Any] | None = None
) -> pa.Table:
    """Return who came in and who is out, from an old subset to a new one. Ids of both are read into memory.

    Args:
        old: a subset, as `subsel.select` wrote it.
        new: another.
        audit: of the new one, which says why points are out.
        storage_options: see `subsel.storage.place_of`.

    Returns:
        Columns ``id``, ``change`` ("in", "out") and ``why``: of those that came in what decided so (`decided_by`), of
        those that are out the audit's reason, or that they are not in the data; null without an audit. Those that came
        in are first, by rank.

    Raises:
        InputError: one is no subset; or their ids are of two types, which no points share.
    """
    was, now = (result_table(place_of(one, storage_options), kinds) for one, kinds in ((old, _OLD), (new, _NEW)))
    now = now.sort_by(schema.RANK)
    kind = now[schema.ID].type
    was, now = (_of_type(one, kind, place) for one, place in ((was, old), (now, new)))
    ids = [subset_ids(one[schema.ID], kind, str(place)) for one, place in ((was, old), (now, new))]
    come = pc.invert(pc.is_in(ids[1], value_set=ids[0]))
    left = pc.invert(pc.is_in(ids[0], value_set=ids[1]))
    why = pa.nulls(int(pc.sum(left).as_py() or 0), pa.string())
    if audit is not None:
        judged = result_table(place_of(audit, storage_options), _AUDIT)
        known = subset_ids(_of_type(judged, kind, audit)[schema.ID], kind, str(audit))
        at = pc.index_in(ids[0].filter(left), value_set=known)
        why = pc.fill_null(judged[audits.REASON].combine_chunks().take(at).cast(pa.string()), GONE)
    sides = [(now, come, IN, now[schema.DECIDED_BY].filter(come)), (was, left, OUT, pa.chunked_array([why]))]
    tables = []
    for side, some, change, reasons in sides:
        names = side[schema.ID].filter(some)
        tables.append(pa.table({schema.ID: names, CHANGE: pa.array([change] * len(names), pa.string()), WHY: reasons}))
    return pa.concat_tables(tables)


def _of_type(table: pa.Table, kind: pa.DataType, place: Location) -> pa.Table:
    """Return rows with ids of a type."""
    theirs = table.schema.field(schema.ID).type
    same_type(theirs, kind, str(place))
    try:
        ids = table[schema.ID].cast(kind)
    except pa.ArrowInvalid as error:
        raise InputError(f"ids of {place} are {theirs}, those of the newer subset {kind}: use one type.") from error
    return table.set_column(table.schema.get_field_index(schema.ID), schema.ID, ids)


def counted(table: pa.Table) -> dict[str, dict[str, int]]:
    """Return how many points came in and are out, by why."""
    found = Counter(zip(table[CHANGE].to_pylist(), table[WHY].to_pylist(), strict=True))
    return {
        change: {why or "unknown": points for (one, why), points in found.most_common() if one == change}
        for change in (IN, OUT)
    }


def write_changes(table: pa.Table, place: Place, *, overwrite: bool) -> None:
    """Write a table of changes to one Parquet file, whole or not at all.

    Raises:
        InputError: see `subsel.storage.check_new`.
        OutputError: it could not be written.
    """
    ours = table.replace_schema_metadata({"subsel": json.dumps({"subsel": __version__, "made_by": "subsel compare"})})
    with new_file(place, overwrite=overwrite) as new:
        there = arrow_place(new)
        pq.write_table(ours, there.path, filesystem=there.filesystem)
