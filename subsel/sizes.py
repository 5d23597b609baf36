"""Sizes, budgets and quotas as users write them: an amount, a fraction, a percentage; with K, M, B or T, too."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from subsel.errors import ConfigError, option

MISSING_SIZE = (
    f"{option('size')} is missing: say how many points to select, as a count, 0.1 or '10%', or give a "
    f"{option('budget')}."
)

#: No limit: more than any input has. Amounts above it are the same.
UNLIMITED = 2**62
#: Powers of ten that letters after a number stand for.
_LETTERS = {"k": 3, "m": 6, "b": 9, "t": 12}
#: A number whose thousands are set apart by commas, as far as these go.
_SET_APART = re.compile(r"\A[+-]?[1-9]\d{0,2}(,\d{3})+(?![\d,])")
#: Digits of the largest amount with a letter; more than any int64 has.
_MOST_DIGITS = 20


def parse_amount(value: Any, what: str, *, noun: str = "count", least: int = 1) -> int | float:
    """Return a number of something as an amount (int) or as a fraction of all (float in (0, 1]).

    An int or a whole float above 1 is an amount, any other float a fraction: 1 is one, 1.0 is all. Text may be a
    percentage, have underscores or commas between thousands, and end in K, M, B or T, which are decimal.

    >>> parse_amount("1.5B", "budget"), parse_amount("1,000", "size"), parse_amount(1e6, "size")
    (1500000000, 1000, 1000000)
    >>> parse_amount("10%", "size"), parse_amount("0%", "a quota", least=0)
    (0.1, 0)

    Args:
        value: what the user wrote.
        what: begins the message.
        noun: what the message calls an amount.
        least: the smallest amount, 0 or 1.

    Raises:
        ValueError: it is none of these.
    """
    value = value.item() if isinstance(value, np.generic) else value
    number: int | float | str = value
    if isinstance(value, str):
        with suppress(ValueError, ArithmeticError):
            number = _number(value)
    if isinstance(number, int | float) and not isinstance(number, bool):
        if number == 0 or (number > 1 and math.isfinite(number) and number == int(number)):
            number = int(number)
        if number >= least if isinstance(number, int) else 0 < number <= 1:
            return min(number, UNLIMITED)
    raise ValueError(
        f"{what} {value!r} is neither a {noun} of at least {least}, a fraction in (0, 1], nor a percentage like '10%'"
    )


def parse_size(size: Any) -> int | float:
    """Return a size as a count (int) or as a fraction (float in (0, 1]), see `parse_amount`.

    >>> parse_size("10%"), parse_size("2500"), parse_size("10K"), parse_size(0.5)
    (0.1, 2500, 10000, 0.5)

    Raises:
        ValueError: it is neither a count of at least 1 nor a fraction in (0, 1].
    """
    return parse_amount(size, option("size"))


def parse_budget(budget: Any) -> int | float:
    """Return a budget as a cost (int) or as a fraction of all costs (float in (0, 1]), see `parse_amount`.

    Raises:
        ValueError: it is neither a cost of at least 1 nor a fraction in (0, 1].
    """
    return parse_amount(budget, option("budget"), noun="cost")


def parse_share(share: Any) -> Any:
    """Return a share of something as a float where it is written as a percentage or as text; else as it is.

    >>> parse_share("5%"), parse_share(0.05)
    (0.05, 0.05)
    """
    if not isinstance(share, str):
        return share
    try:
        return _number(share)
    except (ValueError, ArithmeticError):
        return share  # whoever checks its type says so


def _number(text: str) -> int | float:
    """Return the number that a text is, a percentage as a fraction.

    Raises:
        ValueError: it is none, above 100 %, or so much of a thousand that it is not whole.
        ArithmeticError: it is none.
    """
    text = _SET_APART.sub(lambda found: found[0].replace(",", ""), text.strip().replace("_", ""))
    if text.endswith("%"):
        share = float(Decimal(text[:-1]) / 100)  # in floats "0.7%" would not be 0.007
        if share > 1:  # else "300%" would be three
            raise ValueError(text)
        return share
    power = _LETTERS.get(text[-1:].lower())
    if power is None:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    number = Decimal(text[:-1]).scaleb(power)
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS or number != int(number):
        raise ValueError(text)
    return int(number)


def exact_fraction(fraction: float) -> Fraction:
    """Return a fraction as it was written: 0.1 is a tenth, not the float nearest to it.

    >>> exact_fraction(0.1)
    Fraction(1, 10)
    """
    return Fraction(repr(fraction))


def canonical_amount(value: Any) -> Any:
    """Return one value for all ways to write a number of something: amounts as int, fractions in percent.

    Fractions are text, as 1.0 is all and 1 is one, yet 1 == 1.0. Of a mapping, all values, in the order of their names;
    text that is no number stays what it is, and so does None.

    >>> canonical_amount(0.5), canonical_amount("50.0%"), canonical_amount(1.0), canonical_amount("1_000")
    ('50%', '50%', '100%', 1000)
    >>> canonical_amount({"web": "0.5", "books": 1e3, "code": {"c": 1.0}}), canonical_amount("sqrt")
    ({'books': 1000, 'code': {'c': '100%'}, 'web': '50%'}, 'sqrt')
    """
    if isinstance(value, Mapping):
        return {name: canonical_amount(one) for name, one in sorted(value.items())}
    try:
        parsed = parse_amount(value, "", least=0)
    except ValueError:
        return value
    return parsed if isinstance(parsed, int) else f"{(Decimal(repr(parsed)) * 100).normalize():f}%"


def count_of(parsed: int | float, n: int) -> int:
    """Return the count that a parsed size means for n points: fractions to the nearest, at least 1."""
    return parsed if isinstance(parsed, int) else max(1, round(parsed * n))


def resolve_size(size: int | float | str | None, n: int, where: str) -> int:
    """Return the count that ``size`` means for ``n`` points: fractions to the nearest, at least 1.

    Raises:
        ConfigError: no size was given, or it exceeds n.
    """
    if size is None:
        raise ConfigError(MISSING_SIZE)
    try:
        parsed = parse_size(size)
    except ValueError as error:
        raise ConfigError(f"{error}.") from None
    count = count_of(parsed, n)
    if count > n:
        raise ConfigError(f"{option('size')} {count:,} exceeds the {n:,} points of {where}: lower {option('size')}.")
    return count


def resolve_budget(budget: int | float | str, total: int) -> int:
    """Return the cost that ``budget`` means where all points cost ``total``: fractions are rounded down.

    >>> resolve_budget("1K", 10**6), resolve_budget("12.5%", 100)
    (1000, 12)

    Raises:
        ConfigError: it is no budget.
    """
    try:
        parsed = parse_budget(budget)
    except ValueError as error:
        raise ConfigError(f"{error}.") from None
    return parsed if isinstance(parsed, int) else int(exact_fraction(parsed) * total)
