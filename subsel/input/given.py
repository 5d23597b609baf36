"""Columns that the user gave as arrays beside the data: of what points cost, of their groups and of
how much it counts that they are covered, one value per row each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from subsel.config import SelectConfig
from subsel.errors import InputError
from subsel.input.groups import as_groups, content_of
from subsel.input.points import array_checksum, check_index
from subsel.input.source import Source, require_columns
from subsel.input.types import as_plain, plain_type

#: What messages call columns, and data beside the points', that have no name of their own.
COST, GROUPS, IMPORTANCE, NEAR = "given cost", "given groups", "given importance", "given data"
#: And options that may be data as such, not only the place where it is.
OF_DATA = ("exclude_near", "target")
_BATCH_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class GivenColumns:
    """A source with more columns, which implements `subsel.input.source.Source`; ``given`` are of plain types."""

    source: Source
    given: dict[str, pa.Array]

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    @property
    def schema(self) -> pa.Schema:
        """Plain types of all columns."""
        found = self.source.schema
        for name, values in self.given.items():
            found = found.append(pa.field(name, values.type))
        return found

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.source.rows

    def check_present(self, columns: Sequence[str]) -> None:
        """Refuse columns that some files lack."""
        require_columns(self.source, [name for name in columns if name not in self.given])

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows, see `Source`."""
        inner = [name for name in columns if name not in self.given]
        begin = 0
        for batch in self.source.batches(inner) if inner else self._empty():
            some = slice(begin, begin + len(batch))
            arrays = [self.given[name][some] if name in self.given else batch.column(name) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            begin = some.stop

    def _empty(self) -> Iterator[pa.RecordBatch]:
        """Yield batches that nothing is asked of but their length."""
        for begin in range(0, self.rows, _BATCH_ROWS):
            yield pa.record_batch([pa.nulls(min(_BATCH_ROWS, self.rows - begin))], names=[""])

    def identity(self) -> dict[str, Any] | None:
        """Return what tells the source from another; `given_checksum` tells what was given."""
        return self.source.identity()


def with_given(
    source: Source, config: SelectConfig, cost: Any, groups: Mapping[str, Any] | None, importance: Any, data: Any
) -> tuple[Source, SelectConfig]:
    """Return a source with the columns that were given beside it, and a config that names them.

    Args:
        source: of the data.
        config: of the request.
        cost: one value per row; None: not given.
        groups: by name, likewise.
        importance: as ``cost``.
        data: as it was given: a pandas series must have its index.

    Raises:
        InputError: values are too many or too few, of several types, or nested; or the source has a column of that
            name.
    """
    given = {} if cost is None else {COST: _column(cost, "cost", source, data)}
    for name, values in (groups or {}).items():
        given[name] = _column(values, "groups" if name == GROUPS else f"groups[{name!r}]", source, data)
    if importance is not None:
        given[IMPORTANCE] = _column(importance, "importance", source, data)
    if not given:
        return source, config
    for name in given:
        if name in source.schema.names:
            raise InputError(
                f"{source.name} has a column {name!r} that is read, too: call the given values something else."
            )
    alone = {"cost": (cost, COST), "importance": (importance, IMPORTANCE)}
    update: dict[str, Any] = {name: column for name, (values, column) in alone.items() if values is not None}
    update |= {} if groups is None else {"groups": tuple(groups)}
    return GivenColumns(source, given), config.model_copy(update=update)


def of_columns(config: SelectConfig, cost: Any, groups: Mapping[str, Any] | None, importance: Any) -> SelectConfig:
    """Return a config that names the data's own columns only; arguments as for `with_given`."""
    alone = {"cost": cost, "importance": importance}
    given: dict[str, Any] = {name: None for name, values in alone.items() if values is not None}
    return config.model_copy(update=given if groups is None else given | {"groups": ()})


def given_checksum(source: Source) -> str | None:
    """Return what tells the columns that were given beside a source from others; None if none were."""
    if not isinstance(source, GivenColumns):
        return None
    return array_checksum(list(source.given), content_of(None, [as_groups(one) for one in source.given.values()]))


def _column(values: Any, what: str, source: Source, data: Any) -> pa.Array:
    """Return one value per row as an array of a plain type."""
    check_index(values, data, what)
    if hasattr(values, "to_arrow"):  # polars
        values = values.to_arrow()
    elif not hasattr(values, "dtype") and not isinstance(values, pa.ChunkedArray | pa.Array):
        values = list(values[:]) if hasattr(values, "__getitem__") else list(values)
    if getattr(values, "ndim", 1) != 1:
        raise InputError(f"{what} has shape {values.shape}, but must be one value per row.")
    try:
        whole = isinstance(values, pa.ChunkedArray | pa.Array)
        found = values if whole else pa.array(values, from_pandas=True)
        pieces = found.chunks if isinstance(found, pa.ChunkedArray) else [found]
        plain = pa.chunked_array([as_plain(one, plain_type(found.type)) for one in pieces], plain_type(found.type))
        column = pa.concat_arrays(plain.chunks) if plain.num_chunks else pa.array([], plain.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what} is no array of values of one type: {str(error).splitlines()[0]}.") from error
    if pa.types.is_nested(column.type):
        raise InputError(f"{what} has values of {column.type}, but must be one value per row.")
    if len(column) != source.rows:
        raise InputError(
            f"{what} has {len(column):,} values, but {source.name} has {source.rows:,} rows: give one per row."
        )
    return column
