"""Scoring any subset on Spark: tell every part which of its points are members, then sum up (paper §5)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel import schema
from subsel.engines.spark.parcels import BOARD_SCHEMA, groups_in_arrow, plain_ids, task
from subsel.errors import InputError
from subsel.parts import superstep
from subsel.parts.pack import Parcel, from_rows, pack, unpack
from subsel.parts.rows import to_board
from subsel.schema import Status


def places_of(points: DataFrame, ids: DataFrame, n_ids: int | None, what: str) -> tuple[DataFrame, int]:
    """Return where the points with some ids are (``id, part, slot``), and how many there are.

    Args:
        points: parcels of kind points.
        ids: one column, ``id``.
        n_ids: how many there must be; None: as many as there are.
        what: whose ids these are, for messages.

    Raises:
        InputError: an id is no point's, or of another type.
    """
    places = point_places(points, ids.schema[schema.ID].dataType.simpleString())
    return members_of(places, ids, n_ids, what)


def point_places(points: DataFrame, id_type: str) -> DataFrame:
    """Return where all points are (``id, part, slot``): of parcels of kind points, and a type in Spark's words."""
    return groups_in_arrow(points.groupBy("part"), f"id {id_type}, part int, slot int", _places)


def members_of(known: DataFrame, ids: DataFrame, n_ids: int | None, what: str) -> tuple[DataFrame, int]:
    """Return those of the known points that are named, and how many; arguments and errors as `places_of`."""
    members = known.join(ids, schema.ID)
    found = members.count()
    if n_ids is not None and found < n_ids:
        example = ids.join(known, schema.ID, "left_anti").agg(F.min(schema.ID)).head()
        named = "" if example is None else f", such as {example[0]!r}"
        raise InputError(f"{n_ids - found:,} of {n_ids:,} ids of {what} are unknown{named}.")
    return members, found


def decided(places: DataFrame, status: Status) -> DataFrame:
    """Return a parcel to each part that has some of the points at ``places``, which gives them a status.

    A wish of the user's is also what decided them.
    """
    return groups_in_arrow(places.groupBy("part"), BOARD_SCHEMA, _members, status)


def _places(table: pa.Table) -> pa.Table:
    """Return where the points of one part are: id, part, slot."""
    with task():
        (parcel,) = from_rows(table)
        ids = plain_ids(unpack(parcel.payload)[schema.ID])
        slots = pa.array(np.arange(len(ids), dtype=np.int32))
        return pa.table({"id": ids, "part": pa.array(np.full(len(ids), parcel.part, np.int32)), "slot": slots})


def _members(status: Status, table: pa.Table) -> pa.Table:
    with task():
        slot = np.sort(table.column("slot").to_numpy())
        column = np.full(len(slot), status, np.int8)
        names = ("status", "decided_by") if status in (Status.INCLUDED, Status.EXCLUDED) else ("status",)
        payload = pack(slot=slot, **dict.fromkeys(names, column))
        return to_board([Parcel(table.column("part")[0].as_py(), int(status), superstep.FINISHED, payload)])
