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
from subsel.engines.spark.parcels import BOARD_SCHEMA, of_group, task, to_board
from subsel.engines.spark.points import open_frame
from subsel.errors import InputError
from subsel.parts import superstep
from subsel.parts.pack import Parcel, from_rows, pack, unpack
from subsel.schema import Status


def open_subset(spark: SparkSession, subset: Any, id_column: str) -> tuple[DataFrame, int]:
    """Return a subset's ids as a DataFrame of one column ``id``, and their number.

    Raises:
        InputError: it cannot be read, has no id column, is empty, or has null or repeated ids.
    """
    frame, name = open_frame(spark, subset, "subset")
    if id_column not in frame.columns:
        raise InputError(f"{name} has no column {id_column!r}; it has {', '.join(frame.columns)}.")
    ids = frame.select(F.col(id_column).alias(schema.ID))
    kind = "bigint" if pa.types.is_int64(id_storage_type(to_arrow_schema(ids.schema).field(0).type)) else "string"
    ids = ids.select(F.col(schema.ID).cast(kind))
    row = ids.agg(F.count("*"), F.count(schema.ID), F.countDistinct(schema.ID)).collect()[0]
    rows, known, distinct = (int(value) for value in row)
    if rows == 0:
        raise InputError("the subset is empty: there is nothing to score.")
    if known < rows:
        raise InputError(f"{rows - known:,} of {rows:,} ids of the subset are null.")
    if distinct < rows:
        raise InputError(f"{rows - distinct:,} of {rows:,} ids of the subset repeat another: make them unique.")
    return ids, rows


def wished(spark: SparkSession, wish: Any, data: Any, config: SelectConfig) -> tuple[DataFrame, int]:
    """Return the ids that a wish names, by a boolean column of the data or by ids, and their number.

    Raises:
        InputError: the column is not boolean, or ids are null or repeated.
    """
    if isinstance(wish, str) and "/" not in wish:
        source, name = open_frame(spark, data)
        if wish in source.columns:
            kind = source.schema[wish].dataType.simpleString()
            if kind != "boolean":
                raise InputError(f"column {wish!r} is {kind}, but must be boolean to say who is in or out.")
            return _count_ids(source.where(F.col(wish)).select(F.col(config.id_column).alias(schema.ID)))
        if not Path(wish).exists():
            raise InputError(f"{name} has no column {wish!r}; it has {', '.join(source.columns)}.")
    if not isinstance(wish, str | Path) and not hasattr(wish, "mapInArrow"):
        ids = pa.array(np.asarray(wish))
        kind = "string" if len(ids) and pa.types.is_string(ids.type) else "bigint"
        return _count_ids(spark.createDataFrame([(one,) for one in ids.to_pylist()], f"{schema.ID} {kind}"))
    return open_subset(spark, wish, config.id_column)


def _count_ids(ids: DataFrame) -> tuple[DataFrame, int]:
    distinct = ids.distinct()
    return distinct, distinct.count()


def membership(points: DataFrame, ids: DataFrame, n_ids: int, status: Status = Status.SELECTED) -> DataFrame:
    """Return a parcel to each part that has points among some ids, which gives them a status.

    Args:
        points: parcels of kind points.
        ids: one column, ``id``.
        n_ids: how many.
        status: of the points; what decided them, too, if it is a wish of the user's.

    Raises:
        InputError: an id is no point's, or of another type.
    """
    kind = ids.schema[schema.ID].dataType.simpleString()
    places = points.groupBy("part").applyInArrow(of_group(_places, kind), f"id {kind}, part int, slot int")
    members = places.join(ids, schema.ID)
    found = members.count()
    if found < n_ids:
        example = ids.join(places, schema.ID, "left_anti").head()
        named = "" if example is None else f", such as {example[0]!r}"
        raise InputError(f"{n_ids - found:,} of {n_ids:,} ids of the subset are unknown{named}.")
    return members.groupBy("part").applyInArrow(of_group(_members, status), BOARD_SCHEMA)


def _places(kind: str, table: pa.Table) -> pa.Table:
    """Return where the points of one part are: id, part, slot."""
    with task():
        (parcel,) = from_rows(table)
        ids = unpack(parcel.payload)[schema.ID]
        if isinstance(ids, np.ndarray) != (kind == "bigint"):
            raise InputError(f"ids of the subset are {kind}, those of the points are not: use one type.")
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
