"""Order on Spark: the k-th of values that are spread over parts, and the ranks of all of them (`subsel.parts.ranks`).

Values are persisted parcels of kind `VALUES`, one of each part, its rows after each other in one partition, as
`exchange` leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from operator import attrgetter

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel.engines.base import ABOVE_ALL, BELOW_ALL
from subsel.engines.spark import supersteps
from subsel.engines.spark.parcels import PARCEL_SCHEMA, groups_in_arrow, map_in_arrow, place, plain_errors, task
from subsel.fixedpoint import Int64Array
from subsel.parts import ranks
from subsel.parts.pack import Parcel, from_rows, of_kind, pack, unpack
from subsel.parts.rows import parcels_in, to_table
from subsel.ranks import FIRST_CODE, LAST_CODE, BoolArray, FloatArray, Place, as_ordered, from_ordered

#: What runs on the values of every part and returns rows `COUNTED`.
ValuesWork = Callable[[Int64Array], pa.Table]
RunOnValues = Callable[[ValuesWork], DataFrame]
#: The rows of `subsel.engines.spark.supersteps.histogram` and `matching`.
COUNTED = "value bigint, count bigint"

#: So many values, 8 MiB, are collected to end a radix search; their number does not grow with the data.
_FEW = 1 << 20
#: So many values of all parts, 20 MiB, are collected to say where buckets begin.
_SAMPLE = 1 << 20


def kth_value(run: RunOnValues, k: int, number: int) -> tuple[int, int, int]:
    """Return the k-th largest value, how many of its equals belong to the top k, and how many there are.

    In one job if there are few values, else by radix passes of 16 bits. `ABOVE_ALL` for k <= 0, `BELOW_ALL` where there
    are fewer than k.

    Args:
        run: runs a function of values on every part and returns its rows.
        k: from 1.
        number: of values.
    """
    if k <= 0:
        return ABOVE_ALL, 0, 0
    if k > number:
        return BELOW_ALL, 0, 0
    high, shift = 0, 64
    with plain_errors():
        while number > _FEW and shift > 0:
            above = None if shift == 64 else high
            shift -= supersteps.RADIX_BITS
            counted = (
                run(partial(supersteps.histogram, above, shift)).groupBy("value").agg(F.sum("count").alias("count"))
            )
            found = counted.toArrow().sort_by([("value", "descending")])
            bucket, count = (found.column(name).to_numpy() for name in ("value", "count"))
            at = int(np.searchsorted(np.cumsum(count), k))
            k -= int(count[:at].sum())
            high, number = int(bucket[at]), int(count[at])
        if shift == 0:
            return high, k, number
        inside = None if shift == 64 else high
        left = run(partial(supersteps.matching, inside, shift)).select("value").toArrow().column("value").to_numpy()
    value = int(np.partition(left, number - k)[number - k])
    return value, k - int((left > value).sum()), int((left == value).sum())


def kth_of_values(values: DataFrame, component: int, k: int, number: int) -> float:
    """Return the exact k-th largest value of the selectable points.

    Args:
        values: see above.
        component: which of each point's values.
        k: from 1 to ``number``.
        number: of selectable points.
    """
    return _as_float(kth_value(partial(_on_values, values, component), k, number)[0])


def place_of_values(values: DataFrame, component: int, k: int, number: int) -> Place:
    """Return a place such that exactly k selectable points are at or below it, as `subsel.ranks.lowest_place`.

    Args:
        values: see above, with codes; these are looked at only where values tie.
        component: which of each point's values.
        k: from 0 to ``number``.
        number: of selectable points.
    """
    if k == 0:
        return -np.inf, FIRST_CODE
    value, needed, equal = kth_value(partial(_on_values, values, component), number - k + 1, number)
    if needed == 1:  # the last of its equals
        return _as_float(value), LAST_CODE
    code, _, _ = kth_value(partial(_on_codes, values, component, value), needed, equal)
    return _as_float(value), code


def rank_frame(values: DataFrame, parts: int, components: int, n_selectable: int) -> DataFrame:
    """Return the ranks of all points, as `subsel.ranks.mean_ranks`, in parcels of kind `RANKS` to their parts.

    Two exchanges: of distinct values with counts to buckets, as many as parts, and of their ranks back.

    Args:
        values: see above; to have them not move at all, placed in ``parts`` partitions.
        parts: how many.
        components: values of each point, ranked each on their own.
        n_selectable: selectable points, of all parts.

    Returns:
        Computed and persisted parcels, which the caller lets go of. Payload ``rank``: float64, (components, n_own).
    """
    with plain_errors():
        splitters = _splitters(values, parts, components)
        questions = _by_part(values, partial(_ask, splitters, parts, components), PARCEL_SCHEMA)
        asked = place(questions, parts).sortWithinPartitions("part", "chunk").persist(StorageLevel.DISK_ONLY)
        try:
            below = _below(asked, parts, components, n_selectable)
            answers = _by_part(asked, partial(_answer, below, n_selectable), PARCEL_SCHEMA)
            groups = values.groupBy("part").cogroup(place(answers, parts).groupBy("part"))
            ranked = groups_in_arrow(groups, PARCEL_SCHEMA, _take, components)
            return _computed(ranked.persist(StorageLevel.DISK_ONLY))
        finally:
            asked.unpersist()


def _computed(frame: DataFrame) -> DataFrame:
    """Compute a frame that was to be persisted, and let go of it if that fails."""
    try:
        frame.count()
    except BaseException:
        frame.unpersist()
        raise
    return frame


def _splitters(values: DataFrame, parts: int, components: int) -> list[Int64Array]:
    """Return where the buckets of each component begin, from a sample of every part's values."""
    size = max(1, _SAMPLE // (parts * components))
    sampled = _by_part(values, partial(_sample, size, components), "component int, value bigint, weight double")
    rows = sampled.toArrow()
    component, value, weight = (rows.column(name).to_numpy() for name in ("component", "value", "weight"))
    return [ranks.splitters(value[component == i], weight[component == i], parts) for i in range(components)]


def _below(asked: DataFrame, parts: int, components: int, n_selectable: int) -> Int64Array:
    """Return how many selectable points are in the buckets before each: int64, (parts, components)."""
    rows = _by_part(asked, _counts, "bucket int, component int, count bigint").toArrow()
    bucket, component, count = (rows.column(name).to_numpy() for name in ("bucket", "component", "count"))
    total = np.zeros((parts, components), np.int64)
    total[bucket, component] = count
    if (total.sum(axis=0) != n_selectable).any():
        raise AssertionError(f"{total.sum(axis=0).tolist()} points are selectable, not {n_selectable}")
    return np.cumsum(total, axis=0) - total


def _by_part(frame: DataFrame, function: Callable[[int, list[Parcel]], pa.Table], schema: str) -> DataFrame:
    """Run a function on every part's parcels, where they are."""
    return map_in_arrow(frame, partial(_run_by_part, function), schema)


def _run_by_part(
    function: Callable[[int, list[Parcel]], pa.Table], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    with task():
        for part, parcels in groupby(parcels_in(batches), attrgetter("part")):
            yield from function(part, list(parcels)).to_batches()


def _sample(size: int, components: int, part: int, parcels: list[Parcel]) -> pa.Table:
    values, _ = _values_of(parcels, components)
    samples = [ranks.sample(part, component, size) for component in values]
    lengths = [len(sample) for sample, _ in samples]
    return pa.table(
        {
            "component": np.repeat(np.arange(components, dtype=np.int32), lengths),
            "value": np.concatenate([sample for sample, _ in samples]),
            "weight": np.repeat([weight for _, weight in samples], lengths),
        }
    )


def _ask(splitters: list[Int64Array], buckets: int, components: int, part: int, parcels: list[Parcel]) -> pa.Table:
    values, selectable = _values_of(parcels, components)
    return to_table(ranks.ask(part, values, selectable, splitters, buckets))


def _counts(bucket: int, parcels: list[Parcel]) -> pa.Table:
    count = ranks.counts(parcels)
    return pa.table(
        {
            "bucket": np.full(len(count), bucket, np.int32),
            "component": np.arange(len(count), dtype=np.int32),
            "count": count,
        }
    )


def _answer(below: Int64Array, n_selectable: int, bucket: int, parcels: list[Parcel]) -> pa.Table:
    return to_table(ranks.answer(bucket, parcels, below[bucket], n_selectable))


def _take(components: int, left: pa.Table, right: pa.Table) -> pa.Table:
    """Return a part's ranks: its values are on the left, what buckets answered on the right."""
    with task():
        mine = from_rows(left)
        values, _ = _values_of(mine, components)
        part = mine[0].part
        return to_table([Parcel(part, part, ranks.RANKS, pack(rank=ranks.take(values, from_rows(right))))])


def _values_of(parcels: list[Parcel], components: int) -> tuple[FloatArray, BoolArray]:
    return ranks.unpack_values(of_kind(parcels, ranks.VALUES)[0].payload, components)


def _on_values(values: DataFrame, component: int, work: ValuesWork) -> DataFrame:
    """Run a function on the selectable points' values, as int64 in their order."""
    return _by_part(values, partial(_work_on_values, work, component), COUNTED)


def _work_on_values(work: ValuesWork, component: int, part: int, parcels: list[Parcel]) -> pa.Table:
    return work(_ordered(parcels, component)[0])


def _on_codes(values: DataFrame, component: int, value: int, work: ValuesWork) -> DataFrame:
    """Run a function on the codes of the selectable points that have one value."""
    return _by_part(values, partial(_work_on_codes, work, component, value), COUNTED)


def _work_on_codes(work: ValuesWork, component: int, value: int, part: int, parcels: list[Parcel]) -> pa.Table:
    values, codes = _ordered(parcels, component)
    return work(codes[values == value])


def _ordered(parcels: list[Parcel], component: int) -> tuple[Int64Array, Int64Array]:
    """Return the selectable points' values of one component, as int64 in their order, and their codes if sent."""
    arrays = unpack(of_kind(parcels, ranks.VALUES)[0].payload, views=True)
    selectable = arrays["selectable"]
    n = len(selectable)
    values = as_ordered(arrays["value"][component * n : (component + 1) * n][selectable])
    return values, arrays["code"][selectable] if "code" in arrays else np.empty(0, np.int64)


def _as_float(ordered: int) -> float:
    return float(from_ordered(np.array([ordered], np.int64))[0])
