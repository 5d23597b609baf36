"""Ids on Spark: the types in which `subsel.input.ids` keeps them, as expressions of Spark's."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from subsel.input.ids import has_fractions, is_unsigned, out_of_range, storage_type

_WIDE = "decimal(20,0)"


def _all() -> Column:
    """Return 2^64, which the JVM takes as text only."""
    return F.lit(str(2**64)).cast(_WIDE)


def kept_kind(id_type: pa.DataType) -> str:
    """Return the Spark type in which ids of a type are kept."""
    kept = storage_type(id_type)
    return "bigint" if pa.types.is_int64(kept) else "string" if pa.types.is_large_string(kept) else "binary"


def kept(ids: Column, id_type: pa.DataType) -> Column:
    """Return a column of ids as they are kept; unsigned ones by their bits."""
    if kept_kind(id_type) == "bigint" and is_unsigned(id_type):
        wide = ids.cast(_WIDE)
        return F.when(wide > F.lit(2**63 - 1), wide - _all()).otherwise(wide).cast("bigint")
    return ids.cast(kept_kind(id_type))


def refuse_decimals(rows: DataFrame, columns: dict[str, pa.DataType]) -> None:
    """Refuse decimals that no ids are, as `subsel.input.ids.stored_ids` does, where no task looks at them first.

    Args:
        rows: without nulls in these columns.
        columns: names, which must be plain words, and types in the input.

    Raises:
        InputError: see above.
    """
    wrong = []
    for name, kind in columns.items():
        if pa.types.is_decimal(kind):
            wrong.append((F.col(name) % 1 != 0, has_fractions(kind)))
            if is_unsigned(kind):
                wrong.append(((F.col(name) < 0) | (F.col(name) >= F.lit(2.0**64)), out_of_range(kind)))
    if wrong:
        found = rows.agg(*(F.max(where) for where, _ in wrong)).collect()[0]
        for is_so, (_, error) in zip(found, wrong, strict=True):
            if is_so:
                raise error


def given(ids: Column, id_type: pa.DataType, target: T.DataType) -> Column:
    """Return kept ids in the type that they have in the input."""
    if kept_kind(id_type) == "bigint" and is_unsigned(id_type):
        wide = ids.cast(_WIDE)
        ids = F.when(wide < 0, wide + _all()).otherwise(wide)
    return ids.cast(target)
