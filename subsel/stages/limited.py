"""Limits on one machine: what there is to select from, and tables of quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.codes import THIN_SALT, draw, draw_of_groups
from subsel.config import SelectConfig
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.input.groups import sum_groups
from subsel.input.points import Points
from subsel.input.quotas import group_tables, read_quota_table
from subsel.limits.amounts import Amounts
from subsel.limits.build import capacity_of
from subsel.limits.capacity import Capacity
from subsel.limits.drawing import draws_by_group
from subsel.limits.quotas import GroupTable
from subsel.report import GraphReport, InputReport
from subsel.schema import Status


def drawn_here(
    points: Points,
    config: SelectConfig,
    count: int,
    k: int,
    found: InputReport,
    storage_options: Mapping[str, Any] | None,
) -> npt.NDArray[np.bool_]:
    """Return which points are drawn first, of which k will be selected: bool, (n,); see `subsel.limits.drawing`.

    Args:
        points: all that differ.
        config: of the request.
        count: how many, where groups do not matter.
        k: see above.
        found: what was read.
        storage_options: by which a table of quotas is opened.

    Raises:
        ConfigError, InputError: see `subsel.limits.build.capacity_of`.
    """
    groups = [(one.column, one.names, one.rows) for one in points.groups]

    def read(place: str) -> Amounts:
        return read_quota_table(place, config, storage_options)

    counts = draws_by_group(config, k, groups, found.cost or 0, read)
    if counts is None:
        return draw(points.code, count, THIN_SALT)
    assert points.group is not None
    columns = zip(points.group, counts, strict=True)
    chosen = np.zeros(points.n, np.bool_)
    for group, one in columns:
        chosen |= draw_of_groups(points.code, group, one, THIN_SALT)
    return chosen


def capacity_here(
    points: Points,
    rows: Int64Array,
    status: npt.NDArray[np.int8],
    config: SelectConfig,
    size: int | None,
    found: InputReport,
    made: GraphReport,
    storage_options: Mapping[str, Any] | None,
) -> tuple[Capacity, list[GroupTable]]:
    """Return the limits of a request, and what there is in each group to select from.

    Args:
        points: all.
        rows: int64, (n,): of each node, which of the points it is.
        status: int8, (n,): of each node, once wishes are on the board.
        config: of the request.
        size: points to select; None where only a budget says how much.
        found: what was read.
        made: how the graph was.
        storage_options: by which a table of quotas is opened.

    Raises:
        ConfigError, InputError: see `subsel.limits.build.capacity_of`.
    """
    cost, group = points.limits(rows)
    sums = sum_groups(points.groups, cost, group, status != Status.EXCLUDED)
    everyone = None
    if found.copies and made.drawn is None:
        everyone = sum_groups(points.groups, cost, group, np.ones(len(rows), np.bool_))
    tables = group_tables(points.groups, sums, everyone, with_cost=cost is not None)

    def read(place: str) -> Amounts:
        return read_quota_table(place, config, storage_options)

    excluded = 0 if cost is None else exact_sum(cost[status == Status.EXCLUDED])
    return capacity_of(config, size, tables, (found.cost or 0) - excluded, read), tables
