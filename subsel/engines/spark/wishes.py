"""The user's wishes on Spark: whose ids they name, and whether sizes allow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from subsel import schema
from subsel.config import SelectConfig
from subsel.input.wishes import Constraints, Wishes
from subsel.engines.spark.scoring import wished
from subsel.schema import Status


def wishes_of(
    spark: SparkSession, wishes: Wishes, data: Any, config: SelectConfig
) -> list[tuple[Status, str, DataFrame, int | None]]:
    """Return what is wished: the status, its name for messages, ids, and their number if that is known."""
    return [
        (status, what, *wished(spark, getattr(wishes, what), data, config, what))
        for what, status in (("include", Status.INCLUDED), ("exclude", Status.EXCLUDED))
        if getattr(wishes, what) is not None
    ]


def check_counts(sizes: Sequence[int], n: int, numbers: dict[Status, int], ids: dict[Status, DataFrame]) -> Constraints:
    """Return how many points are wished in and out; `Constraints.check` says what is wrong with that.

    Args:
        sizes: all that will be selected.
        n: points.
        numbers: of points per wish.
        ids: frames with their ids, per wish.

    Raises:
        ConfigError: wishes contradict each other or a size.
    """
    both, example = 0, None
    if len(ids) == 2:
        shared = ids[Status.INCLUDED].join(ids[Status.EXCLUDED], schema.ID)
        both = shared.count()
        example = shared.limit(1).collect()[0][0] if both else None
    found = Constraints(numbers.get(Status.INCLUDED, 0), numbers.get(Status.EXCLUDED, 0))
    for k in sizes:
        found.check(n, k, both, example)
    return found
