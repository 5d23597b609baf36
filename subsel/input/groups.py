"""What points cost, and the groups that they are in: columns of which types, how groups are numbered, and their sums.

A group's number is its place among the names of all groups of its column, which are in order: engines agree on it
whatever the rows' order. Null is a group of its own, the last one, also beside one that is called "null".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsel.codes import hash_ids, rehash
from subsel.errors import InputError, option
from subsel.fixedpoint import Int64Array

Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]

#: What a point may cost at most, so that two costs add up to what int64 holds.
MOST_COST = 2**62
#: Groups of a column, at most: their names are in one place.
MOST_GROUPS = 1_000_000
#: What the group of rows without a value is called.
NULL = "null"
#: What sums are made of, for one part of the points and the column of this number, or (-1) for all of its points; costs
#: in two halves, the lower of 31 bits, whose sums int64 holds.
SUMMED = pa.schema([(name, pa.int64()) for name in ("column", "group", "points", "rows", "low", "high")])
_HALF = 31


@dataclass(frozen=True, slots=True)
class GroupColumn:
    """A column whose values are groups; ``whole`` says that these are integers, ordered as such."""

    name: str
    whole: bool

    @classmethod
    def of(cls, column: str, kind: pa.DataType, name: str) -> GroupColumn:
        """Return a column of a plain type.

        Args:
            column: its name.
            kind: its type.
            name: what messages call the input.

        Raises:
            InputError: values of that type are no groups.
        """
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if not (text or _is_whole(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind)):
            raise InputError(
                f"column {column!r} of {name} is {kind}, but groups are text, integers, booleans or dates: cast it."
            )
        return cls(column, _is_whole(kind) and not pa.types.is_null(kind))


@dataclass(frozen=True, slots=True)
class GroupNames:
    """The groups of a column.

    Attributes:
        column: its name.
        names: of its groups, each in the place of its number: integers in their order, other values in that of their
            text, null last.
        null: number of the group of rows without a value, if there are any.
        rows: points of each group, copies among them.
    """

    column: str
    names: tuple[str, ...]
    null: int | None = None
    rows: tuple[int, ...] = ()

    @classmethod
    def of(cls, column: GroupColumn, values: pa.Array, counts: Int64Array, name: str) -> GroupNames:
        """Return the groups of a column.

        Args:
            column: which.
            values: large_string, (G,): the text of its values, each once, null among them if some rows have none.
            counts: int64, (G,): rows that have each.
            name: what messages call the input.

        Raises:
            InputError: there are too many.
        """
        if len(values) > MOST_GROUPS:
            raise too_many(column.name, len(values), name)
        rows = dict(zip(values.to_pylist(), counts.tolist(), strict=True))
        names = sorted(values.drop_null().to_pylist(), key=int if column.whole else None)
        null = len(names) if values.null_count else None
        last = [] if null is None else [rows[None]]
        return cls(column.name, (*names, *(NULL for _ in last)), null, (*(rows[one] for one in names), *last))

    @property
    def texts(self) -> pa.Array:
        """Names of groups that have a value: large_string."""
        return pa.array(self.names[: self.null], pa.large_string())

    def of_rows(self, numbers: Int32Array) -> pa.Array:
        """Return the group of each row by its number: large_string, null where that is."""
        return self.texts.take(pa.array(numbers, mask=numbers == (-1 if self.null is None else self.null)))


def too_many(column: str, count: int, name: str) -> InputError:
    """Return the error for more groups than are kept apart."""
    return InputError(
        f"column {column!r} of {name} has {count:,} groups, but at most {MOST_GROUPS:,} are kept apart: name a coarser "
        f"column with {option('groups')}, or leave it out."
    )


class GroupNumbers:
    """Numbers the groups of rows."""

    def __init__(self, names: GroupNames) -> None:
        self.names, self._texts = names, names.texts

    def of(self, values: pa.DictionaryArray) -> Int32Array:
        """Return the group of each row: int32, (b,).

        Args:
            values: see `as_groups`.

        Raises:
            InputError: one is of no group that is known.
        """
        index = values.indices.fill_null(-1).to_numpy()
        place = pc.index_in(values.dictionary, value_set=self._texts).fill_null(-1).to_numpy()
        number = np.append(place, -1 if self.names.null is None else self.names.null).astype(np.int32)[index]
        unknown = int(np.count_nonzero(number < 0))
        if unknown:
            raise InputError(
                f"column {self.names.column!r} has other values in {unknown:,} rows than when it was first read: write "
                "it to Parquet, or cache it, if it is computed by something random."
            )
        return np.asarray(number)


def as_groups(column: pa.Array) -> pa.DictionaryArray:
    """Return a column of a plain type as text, dictionary-encoded: int32 indices, null where it is, large_string."""
    if pa.types.is_null(column.type):
        nothing = pa.nulls(len(column), pa.int32())
        return pa.DictionaryArray.from_arrays(nothing, pa.array([], pa.large_string()))
    if pa.types.is_date64(column.type):
        column = column.cast(pa.date32())
    found = column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(found.indices, found.dictionary.cast(pa.large_string()))


def numbered(
    column: GroupColumn, pieces: Sequence[pa.DictionaryArray], keep: Int64Array | None, name: str
) -> tuple[GroupNames, Int32Array]:
    """Return the groups of a column and each row's number, int32, (n,).

    Args:
        column: which.
        pieces: of it, see `as_groups`.
        keep: int64, (n,): rows that count; None: all.
        name: what messages call the input.

    Raises:
        InputError: there are too many groups.
    """
    values = pa.concat_arrays(pa.chunked_array(pieces).unify_dictionaries().chunks)
    if keep is not None:
        values = values.take(pa.array(keep))
    names = GroupNames.of(column, *distinct_values(values), name)
    return names, GroupNumbers(names).of(values)


def distinct_values(values: pa.DictionaryArray) -> tuple[pa.Array, Int64Array]:
    """Return the text of a column's values, large_string, (G,), null among them, and how many rows have each."""
    counted = values.indices.value_counts()
    return values.dictionary.take(counted.field("values")), counted.field("counts").to_numpy()


def check_cost_type(column: str, kind: pa.DataType, name: str) -> None:
    """Refuse a column of costs that is not of integers.

    Raises:
        InputError: see above.
    """
    if not _is_whole(kind):
        raise InputError(f"column {column!r} of {name} is {kind}, but costs are integers from 0: cast it.")


def costs_of(column: pa.Array) -> tuple[Int64Array, dict[str, BoolArray]]:
    """Return costs, int64, (b,), 0 where they are bad; and by reason which those are: bool, (b,) each."""
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.decimal128(38, 0))
    elif not pa.types.is_uint64(column.type):
        column = column.cast(pa.int64())
    low, high = (pa.scalar(value).cast(column.type) for value in (0, MOST_COST))
    bad = {
        "null cost": column.is_null(),
        "negative cost": pc.less(column, low).fill_null(False),
        "cost above 2^62": pc.greater(column, high).fill_null(False),
    }
    reasons = {reason: where.to_numpy(zero_copy_only=False) for reason, where in bad.items()}
    wrong = pa.array(np.logical_or.reduce(list(reasons.values())))
    return np.asarray(pc.if_else(wrong, low, column).cast(pa.int64()).to_numpy()), reasons


def content_of(
    cost: Int64Array | None,
    groups: Sequence[pa.DictionaryArray],
    importance: npt.NDArray[np.float64] | None = None,
) -> Int64Array | None:
    """Return a hash of each row's cost, groups and importance: int64, (b,); None where rows have none of them."""
    found = None if cost is None else rehash(cost, 1)
    for values in groups:
        code = np.append(hash_ids(values.dictionary, seed=0), 0)[values.indices.fill_null(-1).to_numpy()]
        found = rehash(code if found is None else code ^ found, 2)
    if importance is not None:
        bits = importance.view(np.int64)
        found = rehash(bits if found is None else bits ^ found, 3)
    return found


@dataclass(frozen=True, slots=True)
class GroupSums:
    """What there is to select from, in each group and in all.

    Attributes:
        points: int64, (G,), for each column: points in each group.
        rows: likewise: rows of the input that they stand for.
        cost: likewise: what they cost; 0 where points have no cost.
        all_points: points in all.
        all_rows: rows that they stand for.
        all_cost: what they cost.
    """

    points: tuple[Int64Array, ...]
    rows: tuple[Int64Array, ...]
    cost: tuple[Int64Array, ...]
    all_points: int
    all_rows: int
    all_cost: int

    @classmethod
    def of(cls, groups: Sequence[GroupNames], parts: pa.Table) -> GroupSums:
        """Return what `part_sums` of one part says, or what those of all parts add up to.

        Raises:
            InputError: what all points cost is more than int64 holds.
        """
        column, group, points, rows, low, high = (parts.column(name).to_numpy() for name in SUMMED.names)
        whole = np.flatnonzero(column < 0)
        totals = [sum(values[whole].tolist()) for values in (points, rows, low, high)]
        cost = (totals[3] << _HALF) + totals[2]
        if cost >= 2**63:
            raise InputError(
                f"what the points cost adds up to {cost:,}, which 64 bits do not hold: give {option('cost')} in larger "
                "units."
            )

        def by_group(values: Int64Array) -> tuple[Int64Array, ...]:
            found = []
            for number, names in enumerate(groups):
                mine = np.flatnonzero(column == number)
                found.append(np.zeros(len(names.names), np.int64))
                found[-1][group[mine]] = values[mine]
            return tuple(found)

        paid = by_group((high << _HALF) + low)
        return cls(by_group(points), by_group(rows), paid, totals[0], totals[1], cost)


def part_sums(
    groups: Sequence[GroupNames],
    cost: Int64Array | None,
    group: Int32Array | None,
    selectable: BoolArray,
    multiplicity: Int64Array | None = None,
) -> pa.Table:
    """Return what the selectable points of a part add up to, in rows `SUMMED`.

    Args:
        groups: of each column.
        cost: int64, (n,).
        group: int32, (columns, n).
        selectable: bool, (n,).
        multiplicity: int64, (n,): rows that each point stands for; None: one.
    """
    some = np.flatnonzero(selectable)
    paid = np.zeros(len(some), np.int64) if cost is None else cost[some]
    times = np.ones(len(some), np.int64) if multiplicity is None else multiplicity[some]
    values = np.ones(len(some), np.int64), times, paid & ((1 << _HALF) - 1), paid >> _HALF
    whole = [np.full(1, -1), np.zeros(1, np.int64), *(one.sum(keepdims=True) for one in values)]
    pieces = [whole]
    for number, names in enumerate(groups):
        assert group is not None
        sums = np.zeros((4, len(names.names)), np.int64)
        for total, one in zip(sums, values, strict=True):
            np.add.at(total, group[number][some], one)
        there = np.flatnonzero(sums[0])
        pieces.append([np.full(len(there), number), there, *sums[:, there]])
    return pa.table([np.concatenate(columns) for columns in zip(*pieces, strict=True)], schema=SUMMED)


def sum_groups(
    groups: Sequence[GroupNames],
    cost: Int64Array | None,
    group: Int32Array | None,
    selectable: BoolArray,
    multiplicity: Int64Array | None = None,
) -> GroupSums:
    """Return what points add up to that are in one place, see `part_sums`.

    Raises:
        InputError: what all points cost is more than int64 holds.
    """
    return GroupSums.of(groups, part_sums(groups, cost, group, selectable, multiplicity))


def _is_whole(kind: pa.DataType) -> bool:
    """Return whether values are integers (Spark has uint64 as decimals), or all null."""
    decimal = pa.types.is_decimal(kind) and kind.scale == 0 and kind.precision <= 38
    return bool(pa.types.is_integer(kind) or pa.types.is_null(kind) or decimal)
