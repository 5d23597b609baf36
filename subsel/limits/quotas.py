"""What quotas and minima, as users write them, come to for the groups of a column: pure rules, the same everywhere.

All is computed in whole numbers, so that it depends on no order of summation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.config import SelectConfig
from subsel.errors import InputError, did_you_mean, option
from subsel.fixedpoint import Int64Array
from subsel.limits.amounts import NULL, RULES, Amounts, Spec, Unit
from subsel.sizes import UNLIMITED, exact_fraction, parse_amount

__all__ = ["UNLIMITED", "GroupTable", "quota_maxima", "quota_minima", "quota_table", "water_fill"]

#: Names in a message at most.
_SHOWN = 5
#: Fractions whose sum differs from 1 by one such part are all there is: three floats 1/3 are a little less.
_ALMOST = 10**9
#: Square roots are taken to so many binary places.
_ROOT_BITS = 32


@dataclass(frozen=True, slots=True, eq=False)
class GroupTable:
    """The groups of one column, in the order of their names.

    Attributes:
        column: its name.
        names: of the groups, (G,), in order; null is last, and written ``null``.
        points: int64, (G,): points that can be selected.
        rows: int64, (G,): points with all their copies, at least as many.
        cost: int64, (G,): what these points cost together; None without costs.
    """

    column: str
    names: tuple[str, ...]
    points: Int64Array
    rows: Int64Array
    cost: Int64Array | None = None

    def available(self, unit: Unit) -> Int64Array:
        """Return what each group has to offer: int64, (G,), points or their cost."""
        if unit == "points":
            return self.points
        assert self.cost is not None, "quotas by cost come with costs"
        return self.cost


def quota_maxima(
    config: SelectConfig,
    table: GroupTable,
    spec: Spec,
    *,
    size: int | None = None,
    budget: int | None = None,
) -> tuple[Int64Array, Unit]:
    """Return the quotas of a column's groups, and what they count.

    A named rule divides all there is to select, and what a group cannot fill goes to the others (`water_fill`). Amounts
    by name are never exceeded and go to nobody else. Fractions are rounded down; what is then missing of their sum goes
    to the largest remainders, one each, so that 50% and 50% of 101 are 51 and 50.

    Args:
        config: says what quotas count, and the quota of groups that are not named.
        table: the groups.
        spec: of this column: ``config.quotas_of(table.column)``, or what its file has (`quota_table`).
        size: points to select, where the config has a size.
        budget: what they may cost, where the config has a budget.

    Returns:
        int64, (G,), `UNLIMITED` where there is none; and their unit, that of `SelectConfig.unit_of`.

    Raises:
        ConfigError: see `SelectConfig.unit_of`.
        InputError: a name is of no group.
    """
    unit = config.unit_of(spec)
    whole = budget if unit == "cost" else size
    if isinstance(spec, str):
        return _by_rule(spec, table, whole, unit), unit
    most = np.full(len(table.names), UNLIMITED, np.int64)
    if config.other is not None:
        assert not isinstance(config.other, str), "amounts are parsed"
        most[:] = _amounts([config.other], whole)[0]
    _assign(most, spec, table, whole, option("quotas"))
    return most, unit


def quota_minima(
    config: SelectConfig, table: GroupTable, spec: Spec, most: Int64Array | None = None, *, size: int
) -> Int64Array:
    """Return how many points of each group there are at least, rules and fractions as in `quota_maxima`.

    Args:
        config: of the request.
        table: the groups.
        spec: of this column: ``config.minima``, or what its file has (`quota_table`).
        most: int64, (G,): the groups' quotas in points; None: there are none.
        size: points to select.

    Returns:
        int64, (G,), 0 where there is none.

    Raises:
        InputError: a name is of no group, or minima cannot be met: the message names their groups.
    """
    least = np.zeros(len(table.names), np.int64)
    if isinstance(spec, str):
        least[:] = _by_rule(spec, table, size, "points")
    else:
        _assign(least, spec, table, size, option("at_least"))
    at_least = option("at_least")
    limits = [(table.points, "has", at_least)]
    if most is not None:
        limits.append((most, "its quota is", f"{at_least} or raise {option('quotas')}"))
    for limit, words, which in limits:
        short = np.flatnonzero(least > limit)
        if len(short):
            told = [f"{table.names[at]!r} wants {least[at]:,} and {words} {limit[at]:,}" for at in short[:_SHOWN]]
            raise InputError(
                f"{at_least} of column {table.column!r} cannot be met: {_listed(told, len(short))}. Lower {which}."
            )
    total = sum(least.tolist())
    if total > size:
        largest = np.argsort(-least, kind="stable")[:_SHOWN]
        told = [f"{table.names[at]!r} {least[at]:,}" for at in largest]
        raise InputError(
            f"{at_least} of column {table.column!r} cannot be met: {_listed(told, int(np.count_nonzero(least)))} are "
            f"{total:,} together, and {size:,} are to be selected. Lower {at_least} or raise {option('size')}."
        )
    return least


def quota_table(groups: pa.Array | pa.ChunkedArray, quotas: pa.Array | pa.ChunkedArray, where: str) -> Amounts:
    """Return the amounts by name of a table.

    Args:
        groups: names, in any type that can be text; null is the group of null.
        quotas: of each, integers, floats or text as in `subsel.sizes.parse_amount`.
        where: names the table in messages.

    Raises:
        InputError: there are none, a group has two, or one is no amount.
    """
    try:
        names = [NULL if one is None else one for one in groups.cast(pa.string()).to_pylist()]
    except pa.ArrowInvalid as error:
        raise InputError(f"{where}: column group is of type {groups.type}, which is no text: {error}.") from None
    except pa.ArrowNotImplementedError:
        raise InputError(f"{where}: column group is of type {groups.type}: give names or numbers.") from None
    if not names:
        raise InputError(f"{where} is empty: give a row for each group that has a quota.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"{where} has more than one quota of {_listed(map(repr, twice[:_SHOWN]), len(twice))}: leave one."
        )
    try:
        return {
            name: parse_amount(one, f"{where}: the quota of {name!r},", noun="quota", least=0)
            for name, one in zip(names, quotas.to_pylist(), strict=True)
        }
    except ValueError as error:
        raise InputError(f"{error}.") from None


def water_fill(whole: int, weights: Sequence[int], available: Int64Array) -> Int64Array:
    """Divide a whole among groups by weight; what a group has not got goes to the others, by weight.

    Largest remainders are rounded up, of equal ones the first.

    Args:
        whole: at least 0.
        weights: (G,), above 0 wherever something is available.
        available: int64, (G,): at most so much goes to each.

    Returns:
        int64, (G,), at most ``available``; together ``whole``, or all there is.
    """
    have = available.tolist()
    bits = 2 * max(weights, default=1).bit_length()  # quotients by such numbers are equal, or differ by more
    empty_at = [(stock << bits) // weight if weight else -1 for stock, weight in zip(have, weights, strict=True)]
    order = sorted(range(len(have)), key=empty_at.__getitem__)
    shares = [0] * len(have)
    left, weight = whole, sum(weights)
    for place, at in enumerate(order):
        if have[at] * weight > left * weights[at]:  # from here on all have more than their share
            rest = sorted(order[place:])
            for one, share in zip(rest, _apportion([left * weights[one] for one in rest], weight), strict=True):
                shares[one] = share
            break
        shares[at] = have[at]
        left, weight = left - have[at], weight - weights[at]
    return np.array(shares, np.int64)


def _by_rule(rule: str, table: GroupTable, whole: int | None, unit: Unit) -> Int64Array:
    """Return what a named rule gives to each group: int64, (G,)."""
    assert rule in RULES, "a table is read before it says anything"
    assert whole is not None, "rules divide what a size or a budget says"
    return water_fill(whole, _weights(rule, table.rows), table.available(unit))


def _weights(rule: str, rows: Int64Array) -> list[int]:
    """Return the groups' weights by a rule."""
    if rule == "balanced":
        return [1] * len(rows)
    if rule == "sqrt":
        return [math.isqrt(one << 2 * _ROOT_BITS) for one in rows.tolist()]
    return [int(one) for one in rows.tolist()]


def _assign(into: Int64Array, spec: Amounts, table: GroupTable, whole: int | None, what: str) -> None:
    """Write the amounts of named groups into an array of all: int64, (G,).

    Raises:
        InputError: a name is of no group, or of two.
    """
    places = {name: at for at, name in enumerate(table.names)}
    unknown = [name for name in spec if name not in places]
    if unknown:
        raise InputError(_strange(unknown, table, what))
    if NULL in spec and NULL in table.names[:-1] and table.names[-1] == NULL:
        raise InputError(
            f"{what} name {NULL!r}, and column {table.column!r} has both nulls and the text {NULL!r}: rename the text."
        )
    named = sorted(spec, key=places.__getitem__)
    into[[places[name] for name in named]] = _amounts([spec[name] for name in named], whole)


def _amounts(given: Sequence[int | float], whole: int | None) -> npt.NDArray[np.int64]:
    """Return amounts as they are, and fractions of a whole so that their sum is rounded down, each to a neighbour."""
    found = np.array([one if isinstance(one, int) else 0 for one in given], np.int64)
    fractions = {at: exact_fraction(one) for at, one in enumerate(given) if isinstance(one, float)}
    if fractions:
        assert whole is not None, "fractions are of what a size or a budget says"
        unit = math.lcm(*(one.denominator for one in fractions.values()))
        parts = [one.numerator * (unit // one.denominator) for one in fractions.values()]
        if abs(sum(parts) - unit) * _ALMOST <= unit:
            unit = sum(parts)
        found[list(fractions)] = _apportion([part * whole for part in parts], unit)
    return found


def _apportion(parts: Sequence[int], unit: int) -> list[int]:
    """Round parts, counted in 1/unit, to a sum that is theirs rounded down: largest remainders up, the first first."""
    whole = [part // unit for part in parts]
    remainders = [part % unit for part in parts]
    for at in sorted(range(len(parts)), key=lambda at: -remainders[at])[: sum(remainders) // unit]:
        whole[at] += 1
    return whole


def _strange(unknown: Sequence[str], table: GroupTable, what: str) -> str:
    """Say which names are of no group, and which are close."""
    told = [f"{name!r}{did_you_mean(name, table.names)}" for name in unknown[:_SHOWN]]
    groups = _listed(map(repr, table.names[:_SHOWN]), len(table.names))
    return (
        f"{what} name groups that column {table.column!r} does not have: {_listed(told, len(unknown))}; it has "
        f"{groups or 'none'}. Correct the names, or leave them out."
    )


def _listed(told: Iterable[Any], count: int) -> str:
    """Return some of many things, and how many more there are."""
    told = list(told)
    more = f" and {count - len(told):,} more" if count > len(told) else ""
    return f"{', '.join(told)}{more}"
