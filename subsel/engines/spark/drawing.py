"""Drawing points at random before neighbours are searched (``thin``): by a hash of their ids, exactly so many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel import schema
from subsel.codes import THIN_SALT, hash_ids, rehash
from subsel.engines.spark.ids import kept
from subsel.engines.spark.neighbors import Rules
from subsel.engines.spark.order import COUNTED, kth_value
from subsel.engines.spark.parcels import map_in_arrow, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.source import col, plain_batches
from subsel.fixedpoint import Int64Array
from subsel.input.ids import stored_ids

_INCLUDED = "_included"


def drawn_rows(points: SparkPoints, rules: Rules, count: int, included: DataFrame | None) -> DataFrame:
    """Return the rows of the ``count`` points whose lots are lowest, and of those that are included; not computed yet.

    Args:
        points: checked.
        rules: by which they were.
        count: at most as many as there are.
        included: their ids, one column; None: nobody.
    """
    frame = points.frame
    run = partial(_on_lots, frame, rules)
    last, _, _ = kth_value(run, points.n - count + 1, points.n)
    drawn = map_in_arrow(frame, partial(_chosen, rules, last, True), frame.schema)
    if included is None:
        return drawn
    others = map_in_arrow(frame, partial(_chosen, rules, last, False), frame.schema)
    assert points.columns.id is not None
    name = kept(col(points.columns.id), points.columns.id_type)
    wished = included.select(F.col(schema.ID).alias(_INCLUDED))
    return drawn.unionByName(others.join(wished, name == F.col(_INCLUDED), "left_semi"))


def _on_lots(frame: DataFrame, rules: Rules, work: Callable[[Int64Array], pa.Table]) -> DataFrame:
    return map_in_arrow(frame, partial(_work_on_lots, rules, work), COUNTED)


def _work_on_lots(
    rules: Rules, work: Callable[[Int64Array], pa.Table], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    with task():
        for _, code in rules.good(batches):
            yield from work(rehash(code, THIN_SALT)).to_batches()


def _chosen(rules: Rules, last: int, low: bool, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows whose lot is at most ``last``, or the others; never those without an id."""
    with task():
        for batch in batches:
            (plain,) = plain_batches(iter([batch]))
            ids = stored_ids(plain.column(rules.columns.id))
            there = np.flatnonzero(ids.is_valid().to_numpy(zero_copy_only=False))
            code = hash_ids(ids.take(pa.array(there)), rules.config.seed, rules.salt)
            chosen = there[(rehash(code, THIN_SALT) <= last) == low]
            yield batch.take(pa.array(chosen))
