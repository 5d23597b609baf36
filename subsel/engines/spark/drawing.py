"""Drawing points at random before neighbours are searched (``thin``): by a hash of their ids, exactly so many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from subsel import schema
from subsel.codes import THIN_SALT, hash_ids, rehash
from subsel.engines.base import BELOW_ALL
from subsel.engines.spark.ids import kept
from subsel.engines.spark.neighbors import Rules
from subsel.engines.spark.order import COUNTED, kth_value
from subsel.engines.spark.parcels import map_in_arrow, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.source import col, plain_batches
from subsel.fixedpoint import Int64Array
from subsel.input.groups import GroupNumbers
from subsel.input.ids import stored_ids
from subsel.input.rows import RowChecker

_INCLUDED = "_included"
#: The largest lot.
_ALL = 2**63 - 1
#: Of each point and column its group, and its lot.
_LOTS = "column int, group int, lot bigint"


def drawn_rows(
    points: SparkPoints, rules: Rules, count: int, included: DataFrame | None, counts: Sequence[Int64Array] | None
) -> DataFrame:
    """Return the rows of the ``count`` points whose lots are lowest, and of those that are included; not computed yet.

    Args:
        points: checked.
        rules: by which they were.
        count: at most as many as there are.
        included: their ids, one column; None: nobody.
        counts: instead, of each group of each column how many: see `subsel.limits.drawing`; None: groups do not matter.
    """
    frame = points.frame
    if counts is None:
        run = partial(_on_lots, frame, rules)
        last, _, _ = kth_value(run, points.n - count + 1, points.n)
        choose = partial(_chosen, rules, last)
    else:
        choose = partial(_chosen_of_groups, rules, _last_of_groups(frame, rules, counts))
    drawn = map_in_arrow(frame, partial(choose, True), frame.schema)
    if included is None:
        return drawn
    others = map_in_arrow(frame, partial(choose, False), frame.schema)
    assert points.columns.id is not None
    name = kept(col(points.columns.id), points.columns.id_type)
    wished = included.select(F.col(schema.ID).alias(_INCLUDED))
    return drawn.unionByName(others.join(wished, name == F.col(_INCLUDED), "left_semi"))


def _last_of_groups(frame: DataFrame, rules: Rules, counts: Sequence[Int64Array]) -> list[Int64Array]:
    """Return of each group of each column the largest lot that is drawn; of none it is the least there is."""
    wanted = [(column, group, one) for column, all_ in enumerate(counts) for group, one in enumerate(all_.tolist())]
    lots = map_in_arrow(frame, partial(_lots, rules), _LOTS)
    lots = lots.withColumn("place", F.row_number().over(Window.partitionBy("column", "group").orderBy("lot")))
    some = F.broadcast(frame.sparkSession.createDataFrame(wanted, "column int, group int, wanted bigint"))
    found = lots.join(some, ["column", "group"]).where(F.col("place") == F.col("wanted"))
    rows = found.select("column", "group", "lot").toArrow()
    last = [np.where(one > 0, _ALL, BELOW_ALL) for one in counts]  # who has fewer has all drawn
    column, group, lot = (rows.column(name).to_numpy() for name in rows.column_names)
    for number, one in enumerate(last):
        one[group[column == number]] = lot[column == number]
    return last


def _lots(rules: Rules, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the groups and lots of good rows."""
    with task():
        for _, known in rules.columns_of(batches):
            lot, group = rehash(known["code"], THIN_SALT), known["group"]
            for column in range(group.shape[1]):
                arrays = np.full(len(lot), column, np.int32), np.ascontiguousarray(group[:, column]), lot
                yield pa.record_batch([pa.array(one) for one in arrays], names=["column", "group", "lot"])


def _chosen_of_groups(
    rules: Rules, last: Sequence[Int64Array], low: bool, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield the good rows whose lot is drawn in any of their groups, or the others."""
    checker = RowChecker(rules.columns, rules.config, rules.lengths)
    numbers = [GroupNumbers(names) for names in rules.groups]
    with task():
        for batch in batches:
            (plain,) = plain_batches(iter([batch]))
            good = checker.check(plain)
            lot = rehash(hash_ids(good.ids, rules.config.seed, rules.salt), THIN_SALT)
            groups = zip(numbers, good.groups, last, strict=True)
            drawn = np.logical_or.reduce([lot <= one[of.of(values)] for of, values, one in groups])
            yield batch.take(pa.array(good.kept[drawn == low]))


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
