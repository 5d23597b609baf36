"""Quotas meet the input: the groups that there are, and tables of quotas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from subsel.config import SelectConfig
from subsel.errors import InputError, option
from subsel.input.groups import GroupNames, GroupSums
from subsel.input.source import iterate_columns, open_source, require_columns
from subsel.limits.amounts import Amounts
from subsel.limits.quotas import GroupTable, quota_table

#: Columns of a table of quotas.
TABLE = ("group", "quota")


def group_tables(
    names: Sequence[GroupNames], sums: GroupSums, everyone: GroupSums | None, *, with_cost: bool
) -> list[GroupTable]:
    """Return what there is to select from in each group of each column.

    Args:
        names: of each column's groups.
        sums: of points that may be selected.
        everyone: of all points, where copies were merged into some; None: all rows are points.
        with_cost: whether points cost anything.
    """
    tables = []
    for at, one in enumerate(names):
        copies = 0 if everyone is None else np.array(one.rows, np.int64) - everyone.points[at]
        cost = sums.cost[at] if with_cost else None
        tables.append(GroupTable(one.column, one.names, sums.points[at], sums.points[at] + copies, cost))
    return tables


def read_quota_table(place: str, config: SelectConfig, storage_options: Mapping[str, Any] | None) -> Amounts:
    """Return the quotas of a table with columns group and quota.

    Raises:
        InputError: it is not there, or has no such columns, or what is in them are no quotas.
    """
    what = f"quotas {place}"
    try:
        source = open_source(place, TABLE.__contains__, config, dict(storage_options or {}), "quotas")
    except InputError as error:
        raise InputError(f"{option('quotas')}: {error}") from error
    require_columns(source, list(TABLE))
    batches = list(iterate_columns(source, list(TABLE)))
    table = pa.Table.from_batches(batches)
    return quota_table(table.column(TABLE[0]), table.column(TABLE[1]), what)
