"""Sizes as users write them: a count, a fraction, a percentage."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from subsel.errors import ConfigError, option

MISSING_SIZE = f"{option('size')} is missing: say how many points to select, as a count, 0.1 or '10%'."


def parse_size(size: int | float | str) -> int | float:
    """Return a size as a count (int) or as a fraction (float in (0, 1]).

    >>> parse_size("10%"), parse_size("2500"), parse_size(0.5)
    (0.1, 2500, 0.5)

    Raises:
        ValueError: it is neither a count of at least 1 nor a fraction in (0, 1].
    """
    size = size.item() if isinstance(size, np.generic) else size
    message = (
        f"{option('size')} {size!r} is neither a count of at least 1, a fraction in (0, 1], nor a percentage like '10%'"
    )
    if isinstance(size, bool):
        raise ValueError(message)
    if isinstance(size, str):
        try:
            size = _number(size)
        except (ValueError, InvalidOperation):
            raise ValueError(message) from None
    if isinstance(size, int):
        if size < 1:
            raise ValueError(message)
        return size
    if not (math.isfinite(size) and 0 < size <= 1):
        raise ValueError(message)
    return float(size)


def parse_share(share: Any) -> Any:
    """Return a share of something as a float where it is written as a percentage or as text; else as it is.

    >>> parse_share("5%"), parse_share(0.05)
    (0.05, 0.05)
    """
    if not isinstance(share, str):
        return share
    try:
        return _number(share)
    except (ValueError, InvalidOperation):
        return share  # whoever checks its type says so


def _number(text: str) -> int | float:
    """Return the number that a text is, a percentage as a fraction."""
    text = text.strip().replace("_", "")
    if text.endswith("%"):
        return float(Decimal(text[:-1]) / 100)  # in floats "0.7%" would not be 0.007
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def canonical_size(size: int | float | str) -> int | str:
    """Return one value for all ways to write a size: counts as int, fractions in percent.

    Fractions are text, as 1.0 is all points and 1 is one, yet 1 == 1.0.

    >>> canonical_size(0.5), canonical_size("50.0%"), canonical_size(1.0), canonical_size("1_000")
    ('50%', '50%', '100%', 1000)
    """
    parsed = parse_size(size)
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
