"""How many points of each group are drawn first (``thin``) where there are quotas or minima: one rule for engines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from subsel.config import SelectConfig
from subsel.fixedpoint import Int64Array
from subsel.limits.build import ReadTable, capacity_of
from subsel.limits.quotas import GroupTable
from subsel.sizes import UNLIMITED


def draws_by_group(
    config: SelectConfig,
    k: int,
    groups: Sequence[tuple[str, tuple[str, ...], Sequence[int]]],
    cost: int,
    read: ReadTable,
) -> list[Int64Array] | None:
    """Return how many points of each group are drawn: `thin` times what may be selected of it, at most all.

    A group without a quota is drawn from by its share of the points. With several columns a point is drawn that is
    among those of any of its groups. What a quota of cost is in points follows from what points cost on average.

    Args:
        config: of the request.
        k: points to select, or about as many as a budget pays for.
        groups: of each column its name, the names of its groups, and the points of each.
        cost: what all points cost; 0 where nothing costs.
        read: reads a table of quotas.

    Returns:
        int64, (groups,), for each column; None: groups do not matter.

    Raises:
        ConfigError, InputError: see `subsel.limits.build.capacity_of`.
    """
    assert config.thin is not None, "points are drawn"
    if config.quotas is None and config.at_least is None:
        return None
    tables = []
    for column, names, count in groups:
        rows = np.array(count, np.int64)
        n = max(int(rows.sum()), 1)
        paid = None if config.cost is None else np.array([one * cost // n for one in rows.tolist()], np.int64)
        tables.append(GroupTable(column, names, rows, rows, paid))
    capacity = capacity_of(config, None if config.size is None else k, tables, cost, read)
    draws = []
    for table, limit in zip(tables, capacity.groups, strict=True):
        n = max(int(table.rows.sum()), 1)
        wanted = []
        least = np.zeros(len(table.rows), np.int64) if limit.least is None else limit.least
        for rows, most, minimum in zip(table.rows.tolist(), limit.most.tolist(), least.tolist(), strict=True):
            share = -(-k * rows // n)
            if most < UNLIMITED:
                share = -(-most * n // max(cost, 1)) if limit.by_cost else most
            wanted.append(min(rows, config.thin * max(share, minimum)))
        draws.append(np.array(wanted, np.int64))
    return draws
