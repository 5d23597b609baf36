"""Scoring any subset on Spark: tell every part which of its points are members, then sum up (paper §5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from subsel import schema
from subsel.codes import id_storage_type
from subsel.config import SelectConfig
from subsel.constraints import no_such_wish, not_boolean
from subsel.embeddings.readers import subset_ids
from subsel.engines.spark.parcels import BOARD_SCHEMA, of_group, task, to_board
from subsel.engines.spark.points import open_frame
from subsel.errors import InputError
from subsel.parts import superstep
from subsel.parts.pack import Parcel, from_rows, pack, unpack
from subsel.schema import Status


def open_subset(spark: SparkSession, subset: Any, id_column: str, what: str = "the subset") -> tuple[DataFrame, int]:
    """Return a subset's ids as a DataFrame of one column ``id``, and their number.

    Raises:
        InputError: it cannot be read, has no id column, or has null or repeated ids.
    """
    frame, name = open_frame(spark, subset, what)
    if id_column not in frame.columns:
        raise InputError(f"{name} has no column {id_column!r}; it has {', '.join(frame.columns)}.")
    ids = stored_ids(frame.select(F.col(id_column).alias(schema.ID)))
    row = ids.agg(F.count("*"), F.count(schema.ID), F.countDistinct(schema.ID)).collect()[0]
    rows, known, distinct = (int(value) for value in row)
    if known < rows:
        raise InputError(f"{rows - known:,} of {rows:,} ids of {what} are null.")
    if distinct < rows:
        raise InputError(f"{rows - distinct:,} of {rows:,} ids of {what} repeat another: make them unique.")
    return ids, rows


def stored_ids(ids: DataFrame) -> DataFrame:
    """Return a column of ids in the type in which ids are kept."""
    kind = "bigint" if pa.types.is_int64(id_storage_type(to_arrow_schema(ids.schema).field(0).type)) else "string"
    return ids.select(F.col(schema.ID).cast(kind))


def wished(spark: SparkSession, wish: Any, data: Any, config: SelectConfig, what: str) -> tuple[DataFrame, int | None]:
    """Return the ids that a wish names, by a boolean column of the data or by ids, and their number.

    The number is None for a column: some of its rows may have been dropped.

    Raises:
        InputError: the column is not boolean, it is neither column nor path, or ids are null or repeated.
    """
    if isinstance(wish, str) and "://" not in wish and not Path(wish).exists():
        source, name = open_frame(spark, data)
        if wish not in source.columns:
            raise InputError(no_such_wish(wish, what, name, source.columns))
        kind = source.schema[wish].dataType.simpleString()
        if kind != "boolean":
            raise InputError(not_boolean(wish, kind))
        chosen = source.where(F.col(wish) & F.col(config.id_column).isNotNull())
        return stored_ids(chosen.select(F.col(config.id_column).alias(schema.ID))).distinct(), None
    if isinstance(wish, str | Path) or hasattr(wish, "mapInArrow"):
        return open_subset(spark, wish, config.id_column, what)
    ids = subset_ids(wish, config, what)
    kind = "bigint" if pa.types.is_int64(ids.type) else "string"
    return spark.createDataFrame([(one,) for one in ids.to_pylist()], f"{schema.ID} {kind}"), len(ids)


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
    kind = ids.schema[schema.ID].dataType.simpleString()
    places = points.groupBy("part").applyInArrow(
        of_group(_places, kind, what, n_ids != 0), f"id {kind}, part int, slot int"
    )
    return _members_of(places, ids, n_ids, what)


def check_wished(known: DataFrame, ids: DataFrame, n_ids: int | None, what: str) -> int:
    """Return how many of some ids are points', whose ids are ``known``; other arguments and errors as `places_of`."""
    theirs, ours = (frame.schema[schema.ID].dataType.simpleString() for frame in (ids, known))
    if n_ids is None:  # of a column of the same rows
        return ids.count()
    if n_ids == 0:
        return 0
    if theirs != ours:
        raise InputError(f"ids of {what} are {theirs}, those of the points {ours}: use one type.")
    return _members_of(known, ids, n_ids, what)[1]


def _members_of(known: DataFrame, ids: DataFrame, n_ids: int | None, what: str) -> tuple[DataFrame, int]:
    members = known.join(ids, schema.ID)
    found = members.count()
    if n_ids is not None and found < n_ids:
        example = ids.join(known, schema.ID, "left_anti").head()
        named = "" if example is None else f", such as {example[0]!r}"
        raise InputError(f"{n_ids - found:,} of {n_ids:,} ids of {what} are unknown{named}.")
    return members, found


def decided(places: DataFrame, status: Status) -> DataFrame:
    """Return a parcel to each part that has some of the points at ``places``, which gives them a status.

    A wish of the user's is also what decided them.
    """
    return places.groupBy("part").applyInArrow(of_group(_members, status), BOARD_SCHEMA)


def _places(kind: str, what: str, any_: bool, table: pa.Table) -> pa.Table:
    """Return where the points of one part are: id, part, slot."""
    with task():
        (parcel,) = from_rows(table)
        ids = unpack(parcel.payload)[schema.ID]
        if isinstance(ids, np.ndarray) != (kind == "bigint"):
            if not any_:  # an empty list has no type
                return pa.table(
                    {"id": pa.array([], pa.int64()), "part": pa.array([], pa.int32()), "slot": pa.array([], pa.int32())}
                )
            raise InputError(f"ids of {what} are {kind}, those of the points are not: use one type.")
        column = pa.array(ids) if isinstance(ids, np.ndarray) else ids.cast(pa.string())
        slots = pa.array(np.arange(len(ids), dtype=np.int32))
        return pa.table({"id": column, "part": pa.array(np.full(len(ids), parcel.part, np.int32)), "slot": slots})


def _members(status: Status, table: pa.Table) -> pa.Table:
    with task():
        slot = np.sort(table.column("slot").to_numpy())
        column = np.full(len(slot), status, np.int8)
        names = ("status", "decided_by") if status in (Status.INCLUDED, Status.EXCLUDED) else ("status",)
        payload = pack(slot=slot, **dict.fromkeys(names, column))
        return to_board([Parcel(table.column("part")[0].as_py(), int(status), superstep.FINISHED, payload)])
