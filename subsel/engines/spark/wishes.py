"""Wishes and subsets on Spark: whose ids they name, and whether sizes allow them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.engines.spark.ids import kept, kept_kind
from subsel.engines.spark.parcels import map_in_arrow, task
from subsel.engines.spark.source import SparkSource, col, open_on_spark
from subsel.errors import InputError
from subsel.input.ids import same_type
from subsel.input.source import is_location
from subsel.input.wishes import Constraints, Wishes, no_such_wish, wished_column, wished_ids
from subsel.schema import Status


@dataclass(frozen=True, slots=True)
class Wished:
    """The ids that a wish, or a subset, names.

    Attributes:
        what: whose they are, for messages.
        ids: one column ``id``, as ids are kept; not computed yet.
        count: how many there are; None for those that a column of the data names, all of which are known.
    """

    what: str
    ids: DataFrame
    count: int | None

    def checksum(self) -> str:
        """Return their number and a checksum of them: what tells a wish from another."""
        rows = map_in_arrow(self.ids, _code_sums, "n bigint, total bigint").toArrow().to_pylist()
        n, total = (sum(row[name] for row in rows) for name in ("n", "total"))
        return f"{n} ids {total % 2**64:016x}"


def _code_sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        n, total = 0, 0
        for batch in batches:
            n += len(batch)
            total += int(hash_ids(batch.column(0), seed=0).view(np.uint64).sum(dtype=np.uint64))
        yield pa.RecordBatch.from_pydict({"n": [n], "total": pa.array([total % 2**63], pa.int64())})


def subset_on_spark(
    spark: SparkSession, subset: Any, config: SelectConfig, id_type: pa.DataType, what: str = "the subset"
) -> Wished:
    """Return a subset's ids.

    Args:
        spark: the session.
        subset: a path, table or DataFrame with an id column, or whatever `subsel.input.wishes.wished_ids` reads.
        config: names the id column.
        id_type: of the points.
        what: whose ids they are, for messages.

    Raises:
        InputError: it cannot be read, has no id column, or has null or repeated ids, or ids of another type.
    """
    if not (is_location(subset) or hasattr(subset, "mapInArrow")):
        found = wished_ids(subset, config, id_type, what)
        kind = kept_kind(id_type)
        frame = spark.createDataFrame([(one,) for one in found.to_pylist()], f"{schema.ID} {kind}")
        return Wished(what, frame, len(found))
    id_column = config.id_column or schema.ID
    source = open_on_spark(spark, subset, {id_column}.__contains__, what)
    raw = source.select([id_column])
    row = raw.agg(F.count("*"), F.count(col(id_column)), F.countDistinct(col(id_column))).collect()[0]
    rows, known, distinct = (int(value) for value in row)
    if known < rows:
        raise InputError(f"{rows - known:,} of {rows:,} ids of {what} are null.")
    if distinct < rows:
        raise InputError(f"{rows - distinct:,} of {rows:,} ids of {what} repeat another: make them unique.")
    theirs = source.schema.field(id_column).type
    if rows:
        same_type(theirs, id_type, what)
        return Wished(what, raw.select(kept(col(id_column), theirs).alias(schema.ID)), rows)
    return Wished(what, spark.createDataFrame([], f"{schema.ID} {kept_kind(id_type)}"), 0)


def wishes_on_spark(
    spark: SparkSession,
    wishes: Wishes,
    wide: DataFrame,
    columns: pa.Schema,
    config: SelectConfig,
    name: str,
    id_type: pa.DataType,
) -> dict[Status, Wished]:
    """Return the ids of each wish.

    Args:
        spark: the session.
        wishes: of the user.
        wide: the input's rows, of several with one id only the one that stays, with all columns that may be asked for.
        columns: their plain types.
        config: names the id column.
        name: of the input, for messages.
        id_type: of the points.

    Raises:
        InputError: a column is not boolean, a string is neither column nor path, or ids are null, repeated or of
            another type.
    """
    found = {}
    for what, status in (("include", Status.INCLUDED), ("exclude", Status.EXCLUDED)):
        wish = getattr(wishes, what)
        if wish is None:
            continue
        column = wished_column(wish, columns, name, what)
        if column is not None:
            id_column = col(config.id_column or schema.ID)
            chosen = wide.where(col(column) & id_column.isNotNull())
            found[status] = Wished(what, chosen.select(kept(id_column, id_type).alias(schema.ID)), None)
            continue
        try:
            found[status] = subset_on_spark(spark, wish, config, id_type, what)
        except InputError as error:
            if isinstance(wish, str) and "does not exist" in str(error):
                raise no_such_wish(wish, what, name, columns) from error
            raise
    return found


def check_counts(
    sizes: Sequence[int], n: int, numbers: dict[Status, int], ids: dict[Status, DataFrame], near: int = 0
) -> Constraints:
    """Return how many points are wished in and out; `Constraints.check` says what is wrong with that.

    Args:
        sizes: all that will be selected.
        n: points.
        numbers: of points per wish.
        ids: frames with their ids, per wish.
        near: of the excluded those that are out as they are near something.

    Raises:
        ConfigError: wishes contradict each other or a size.
    """
    both, example = 0, None
    if len(ids) == 2:
        shared = ids[Status.INCLUDED].join(ids[Status.EXCLUDED], schema.ID)
        both = shared.count()
        example = shared.agg(F.min(schema.ID)).collect()[0][0] if both else None
    found = Constraints(numbers.get(Status.INCLUDED, 0), numbers.get(Status.EXCLUDED, 0) - near, near=near)
    for k in sizes or [max(1, found.included)]:
        found.check(n, k, both, example)
    return found


def edges_checksum(edges: SparkSource) -> str:
    """Return a checksum of a graph's edges that come from no files: the same for any order of rows."""
    frame = edges.select([schema.SRC, schema.DST, schema.SIMILARITY])
    row = frame.agg(F.count("*"), F.sum(F.xxhash64(*frame.columns).cast("decimal(38,0)"))).collect()[0]
    return f"{row[0]} edges {int(row[1] or 0) % 2**64:016x}"
