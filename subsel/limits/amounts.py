"""Quotas and minima as users write them: a rule's name, amounts by name, or the place of a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

from subsel.sizes import parse_amount

#: Named ways to divide a whole among groups.
Rule = Literal["proportional", "sqrt", "balanced"]
RULES: tuple[Rule, ...] = get_args(Rule)
#: What quotas count: points, or what these cost.
Unit = Literal["points", "cost"]
#: By group: points or cost (int), or a fraction of the whole (float).
Amounts = dict[str, int | float]
#: What the groups of one column get: a rule's name, amounts, or the place of a table of these.
Spec = str | Amounts
#: The same for all columns, as the config has it: by column where there are several.
Quotas = dict[str, int | float | str | dict[str, int | float]] | str
#: How null, a group of its own, is written.
NULL = "null"


def is_table(spec: Spec | None) -> bool:
    """Return whether a spec is the place of a table, which is read before it says anything (`subsel.limits.quotas`)."""
    return isinstance(spec, str) and spec not in RULES


def read_quotas(value: Any, what: str, *, columns: bool = True) -> Any:
    """Return quotas as users write them: a rule's name, the place of a table, or amounts in the order of their names.

    Args:
        value: text, a path, or a mapping, of which also every value may be one of these.
        what: begins messages.
        columns: whether values may be more than amounts: those of several columns.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str):
        value = value.strip()
        if _is_whole(value):
            return value
        value = _pairs(value, what)
    if not isinstance(value, Mapping) or not value:
        raise _unread(value, what)
    read: dict[str, Any] = {}
    for key, one in value.items():
        name = NULL if key is None else str(key).lower() if isinstance(key, bool) else str(key)  # as Arrow has it
        if name in read:
            raise ValueError(f"{what} name {name!r} twice: leave one out")
        read[name] = _read_one(one, f"{what} of {name!r}", columns=columns)
    return dict(sorted(read.items()))


def _read_one(value: Any, what: str, *, columns: bool) -> Any:
    """Return the value of one name, an amount or what a column gets, with arguments and errors of `read_quotas`."""
    several = isinstance(value, Mapping | os.PathLike) or (
        isinstance(value, str) and ("=" in value or _is_whole(value))
    )
    if columns and several:
        return read_quotas(value, what, columns=False)
    return parse_amount(value, what, noun="quota", least=0)


def _is_whole(text: str) -> bool:
    """Whether a text stands for all quotas of a column: a rule's name, or the place of a table.

    A place has a slash or a dot, and is no number. Names of groups may have slashes too, but their amounts have none.
    """
    amount = text.rpartition("=")[2]
    return text.strip() in RULES or "/" in amount or ("." in amount and "=" not in text and not _is_amount(text))


def _is_amount(text: str) -> bool:
    try:
        parse_amount(text, "", least=0)
    except ValueError:
        return False
    return True


def _unread(value: Any, what: str) -> ValueError:
    """Return the error of what is no quotas in any form."""
    forms = f"a rule ({', '.join(RULES)}), amounts by name such as web=50%, nor the path of a table"
    return ValueError(f"{what} {value!r} is neither {forms}")


def _pairs(text: str, what: str) -> dict[str, str]:
    """Return what is written as NAME=AMOUNT,NAME=AMOUNT; names may have an equals sign, but no comma.

    Raises:
        ValueError: a part of it is not of this form, or a name repeats.
    """
    if "=" not in text:
        raise _unread(text, what)
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, _, amount = part.rpartition("=")
        name = name.strip()
        if not name:
            raise ValueError(
                f"{what} {text!r}: {part!r} is not NAME=AMOUNT; names and amounts with commas go into a config file"
            )
        if name in pairs:
            raise ValueError(f"{what} name {name!r} twice: leave one out")
        pairs[name] = amount
    return pairs
