"""Wishes: which points must be in the subset, or out of it, whatever their gain; and subsets to score.

A string is the name of a column if the data has it, else a path; ``column:NAME`` is a column in any case, and
``./name`` a path. Anything else is ids: written down, or the id column of whatever `subsel.input.source.open_source`
reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.config import SelectConfig
from subsel.errors import ConfigError, InputError, option
from subsel.input.ids import listed_ids, subset_ids
from subsel.input.names import lacking
from subsel.input.source import Source, is_location, iterate_columns, open_source

_COLUMN = "column:"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `select` was given: ids (as `subsel.score` takes a subset), a boolean column's name, or None.

    ``near`` is data that no point may be near to but those that are included, see `subsel.input.near`.
    """

    include: Any = None
    exclude: Any = None
    near: Any = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(one is not None for one in (self.include, self.exclude, self.near))

    def columns(self) -> tuple[str, ...]:
        """Return names that may be columns of the data."""
        given = (self.include, self.exclude)
        return tuple(one.removeprefix(_COLUMN) for one in given if isinstance(one, str))


def wished_column(wish: Any, columns: pa.Schema, name: str, what: str) -> str | None:
    """Return the boolean column that a wish names, None if it names none.

    Args:
        wish: what was given.
        columns: of the data, plain types.
        name: what messages call the data.
        what: "include" or "exclude".

    Raises:
        InputError: the column is not boolean, or there is none of that name.
    """
    if not isinstance(wish, str):
        return None
    column = wish.removeprefix(_COLUMN)
    if column not in columns.names:
        if wish.startswith(_COLUMN):
            raise InputError(f"{what} {wish!r}: {name} has no column {lacking(column, columns)}.")
        return None
    kind = columns.field(column).type
    if not pa.types.is_boolean(kind):
        raise InputError(f"column {column!r} is {kind}, but must be boolean to say who is in or out.")
    return column


def no_such_wish(wish: str, what: str, name: str, columns: pa.Schema) -> InputError:
    """Return the error for a wish that is a string and neither a path nor a column."""
    return InputError(f"{what} {wish!r}: no such path, and {name} has no column {lacking(wish, columns)}.")


def boolean_column(source: Source, column: str) -> npt.NDArray[np.bool_]:
    """Return a boolean column of an input: bool, (rows,); null is False."""
    pieces = [
        batch.column(0).fill_null(False).to_numpy(zero_copy_only=False) for batch in iterate_columns(source, [column])
    ]
    return np.concatenate(pieces) if pieces else np.empty(0, np.bool_)


def is_listed(wish: Any) -> bool:
    """Return whether a wish is ids as such, and not a place or a table that has a column of them."""
    if is_location(wish):
        return False
    # An array of two dimensions is neither: it is refused as a list of ids.
    return not any(hasattr(wish, name) for name in ("columns", "column_names", "schema", "mapInArrow"))


def wished_ids(
    wish: Any,
    config: SelectConfig,
    id_type: pa.DataType | None,
    what: str = "the subset",
    storage_options: Mapping[str, Any] | None = None,
) -> pa.Array:
    """Return the ids of a subset or a wish, as they are kept.

    Args:
        wish: ids in an array, series or iterable, or whatever has a column of them.
        config: its name.
        id_type: of the points, see `subsel.input.ids.subset_ids`.
        what: whose ids they are, for messages.
        storage_options: see `subsel.storage.place_of`.

    Raises:
        InputError: there are none to be had, or see `subsel.input.ids.subset_ids`.
    """
    if is_listed(wish):
        if not (isinstance(wish, Iterable) or hasattr(wish, "__array__")):
            raise InputError(f"{what} of type {type(wish).__name__} is not understood: give ids, or a path.")
        return subset_ids(listed_ids(wish, what), id_type, what)
    if config.id_column is None:
        raise InputError(f"{what} is given as a table, but id_column says that there are no ids: give row numbers.")
    source = open_source(wish, {config.id_column}.__contains__, config, storage_options, what)
    columns = [batch.column(0) for batch in iterate_columns(source, [config.id_column])]
    return subset_ids(columns, id_type, what)


def ids_checksum(count: int, total: int) -> str:
    """Return what tells ids from others: how many they are, and the sum of their codes (`subsel.codes.hash_ids`)."""
    return f"{count} ids {total % 2**64:016x}"


@dataclass(frozen=True, slots=True)
class Constraints:
    """How many points are in the subset, and out of it, by the user's wish; and out of it as outliers, or as near."""

    included: int = 0
    excluded: int = 0
    outliers: int = 0
    near: int = 0

    @property
    def out(self) -> int:
        """Points that are out of the subset for any reason."""
        return self.excluded + self.outliers + self.near

    def check(self, n: int, k: int, both: int, example: Any) -> None:
        """Say what cannot be met.

        Args:
            n: points.
            k: points to select.
            both: points that are included and excluded.
            example: one of these.

        Raises:
            ConfigError: points are on both lists, more are included than selected, or too many excluded.
        """
        include, exclude, size = option("include"), option("exclude"), option("size")
        if both:
            raise ConfigError(f"{both:,} points are in {include} and in {exclude}, such as {example!r}: choose.")
        if self.included > k:
            raise ConfigError(f"{include} has {self.included:,} points, more than the {k:,} to select: raise {size}.")
        left = n - self.out
        if left < k:
            why = [exclude] * (self.excluded > 0) + [option("exclude_near")] * (self.near > 0)
            why += [option("exclude_outliers")] * (self.outliers > 0)
            leave = " and ".join(why) + (" leaves" if len(why) == 1 else " leave")
            raise ConfigError(f"{leave} {left:,} of {n:,} points, fewer than the {k:,} to select: lower {size}.")
