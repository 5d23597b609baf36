"""Names of columns, as messages list them: those of the whole input, though only wanted columns are looked at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from subsel.errors import InputError, did_you_mean

_KEY, _MOST = b"subsel.names", 20


@contextmanager
def names_are_text(name: str) -> Iterator[None]:
    """Where columns are opened and their names looked at, inside of nested ones too: Arrow decodes some only then.

    Args:
        name: what messages call the input.

    Raises:
        InputError: one is not UTF-8.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} has a column whose name is not UTF-8: it is damaged, or written by a program that does not "
            "keep to Parquet; write it again."
        ) from error


def with_names(columns: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Return a schema of wanted columns that knows the names of all."""
    return columns.with_metadata({_KEY: json.dumps(list(dict.fromkeys(names))).encode()})


def all_names(columns: pa.Schema) -> list[str]:
    """Return the names of all columns of an input, wanted or not, each once."""
    known = (columns.metadata or {}).get(_KEY)
    return list(dict.fromkeys(columns.names if known is None else json.loads(known)))


def name_list(columns: pa.Schema) -> str:
    """Return names for a message: those of all columns, or the first of many."""
    names = all_names(columns)
    more = f" and {len(names) - _MOST:,} more" if len(names) > _MOST else ""
    return ", ".join(map(_shown, names[:_MOST])) + more if names else "no columns"


def lacking(column: str, columns: pa.Schema, *more: str) -> str:
    """Return a name for a message that says that no column has it: the closest of those that there are, and all these.

    Args:
        column: that is missing.
        columns: those that there are.
        *more: what else might have been meant.
    """
    return f"{column!r}{did_you_mean(column, [*all_names(columns), *more])}; it has {name_list(columns)}"


def _shown(name: str) -> str:
    return name if name.isprintable() and name.strip() == name and name else repr(name)


def require_named(name: str, schema: pa.Schema, columns: Iterable[str]) -> None:
    """Refuse columns that a schema lacks, or has twice.

    Args:
        name: what messages call the input.
        schema: of its columns.
        columns: that are asked for.

    Raises:
        InputError: see above.
    """
    for column in columns:
        found = schema.names.count(column)
        if found == 0:
            raise InputError(f"{name} has no column {lacking(column, schema)}.")
        if found > 1:
            raise InputError(f"{name} has {found} columns {column!r}: rename all but one.")
