"""Limits on one machine: what there is to select from, and tables of quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.config import SelectConfig
from subsel.fixedpoint import Int64Array
from subsel.input.groups import sum_groups
from subsel.input.points import Points
from subsel.input.quotas import group_tables, read_quota_table
from subsel.limits.amounts import Amounts
from subsel.limits.build import capacity_of, check_precision
from subsel.limits.capacity import Capacity
from subsel.limits.quotas import GroupTable
from subsel.schema import Status


def capacity_here(
    points: Points,
    rows: Int64Array,
    status: npt.NDArray[np.int8],
    config: SelectConfig,
    size: int | None,
    *,
    copies: bool,
    storage_options: Mapping[str, Any] | None,
) -> tuple[Capacity, list[GroupTable]]:
    """Return the limits of a request, and what there is in each group to select from.

    Args:
        points: all.
        rows: int64, (n,): of each node, which of the points it is.
        status: int8, (n,): of each node, once wishes are on the board.
        config: of the request.
        size: points to select; None where only a budget says how much.
        copies: whether some were merged into these.
        storage_options: by which a table of quotas is opened.

    Raises:
        ConfigError, InputError: see `subsel.limits.build.capacity_of`.
    """
    cost, group = points.limits(rows)
    found = sum_groups(points.groups, cost, group, status != Status.EXCLUDED)
    everyone = sum_groups(points.groups, cost, group, np.ones(len(rows), np.bool_)) if copies else None
    tables = group_tables(points.groups, found, everyone, with_cost=cost is not None)

    def read(place: str) -> Amounts:
        return read_quota_table(place, config, storage_options)

    capacity = capacity_of(config, size, tables, found.all_cost, read)
    check_precision(capacity, found.all_points, found.all_cost)
    return capacity, tables
