"""What limits a selection, made of the options and of what there is to select from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from subsel.config import SelectConfig
from subsel.errors import ConfigError, InputError, option
from subsel.fixedpoint import Int64Array
from subsel.limits.amounts import Amounts, Spec, is_table
from subsel.limits.capacity import Capacity, GroupLimit
from subsel.limits.quotas import GroupTable, quota_maxima, quota_minima
from subsel.sizes import UNLIMITED, resolve_budget

#: Reads the amounts by name of a table of quotas, of which this is the place.
ReadTable = Callable[[str], Amounts]

#: Costs of so many bits on average leave gains per cost 24 bits.
_COST_BITS = 38


def capacity_of(
    config: SelectConfig, size: int | None, groups: Sequence[GroupTable], all_cost: int, read: ReadTable
) -> Capacity:
    """Return the limits of a request.

    Args:
        config: of the request.
        size: points to select; None where only a budget says how much.
        groups: of each column.
        all_cost: what all points cost that may be selected; 0 where nothing costs.
        read: reads a table of quotas.

    Raises:
        ConfigError: quotas and what they count do not go together.
        InputError: quotas name groups that there are not, or minima cannot be met.
    """
    budget = None if config.budget is None else resolve_budget(config.budget, all_cost)
    limits = []
    for table in groups:
        most, by_cost, least = np.full(len(table.names), UNLIMITED, np.int64), False, None
        quotas, minima = _read(config.quotas_of(table.column), read), _read(config.minima, read)
        if quotas is not None:
            most, unit = quota_maxima(config, table, quotas, size=size, budget=budget)
            by_cost = unit == "cost"
        if minima is not None:
            assert size is not None, "minima come with a size"
            least = quota_minima(config, table, minima, None if quotas is None else most, size=size)
        limits.append(GroupLimit(table.column, most, by_cost, least))
    return Capacity(
        size=size,
        budget=budget,
        per_cost=budget is not None and config.order != "gain",
        fill=config.fill,
        groups=tuple(limits),
        max_similarity=config.max_similarity,
    )


def tables_checksum(config: SelectConfig, read: ReadTable) -> str | None:
    """Return what tells the tables of quotas and minima from others; None without."""
    places = [config.quotas_of(column) for column in config.groups] + [config.minima]
    tables = [read(one) for one in places if isinstance(one, str) and is_table(one)]
    if not tables:
        return None
    return hashlib.sha256(repr([sorted(one.items()) for one in tables]).encode()).hexdigest()[:16]


def check_precision(capacity: Capacity, points: int, all_cost: int) -> None:
    """Check that gains per cost can be told apart.

    Raises:
        ConfigError: costs are too large for that.
    """
    if capacity.per_cost and all_cost > (capacity.unit * points) << _COST_BITS:
        raise ConfigError(
            f"points cost {all_cost // points:,} on average: too much to tell gains per cost apart. Give "
            f"{option('cost')} in larger units, or {option('order', 'gain')}."
        )


def check_reserved(capacity: Capacity, names: Sequence[str], taken: Int64Array) -> None:
    """Check that what minima reserve is left by included points.

    Args:
        capacity: with minima.
        names: of the groups.
        taken: int64, (groups,): included points of each.

    Raises:
        InputError: it is not.
    """
    assert capacity.size is not None
    needed = int(np.maximum(capacity.least, taken).sum())
    if needed > capacity.size:
        over = [f"{names[at]!r} {taken[at]:,}" for at in np.flatnonzero(taken > capacity.least)[:5]]
        raise InputError(
            f"{option('at_least')} cannot be met beside what {option('include')} names ({', '.join(over)}): together "
            f"they need {needed:,} of {capacity.size:,} points. Lower one of them, or raise {option('size')}."
        )


def _read(spec: Spec | None, read: ReadTable) -> Spec | None:
    return read(spec) if isinstance(spec, str) and is_table(spec) else spec
