"""Plain types: what is left of Arrow's many ways to hold one value, so that the rules know few."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_NO_HALF = b"\x00\x7e"  # a float16 that is NaN
_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_FLOATS = (pa.float16(), pa.float32(), pa.float64())


def plain_type(kind: pa.DataType) -> pa.DataType:  # noqa: PLR0911  (a table)
    """Return the plain type of a type: no dictionaries, runs, views, and no extensions but UUIDs."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind if is_uuid(kind) else plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind) or pa.types.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    if pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    return kind


def is_uuid(kind: pa.DataType) -> bool:
    """Return whether a type is Arrow's extension type of UUIDs."""
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def as_plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column as a plain type, the one that follows from its own or one that this was unified to."""
    while True:
        if isinstance(column, pa.ExtensionArray) and not is_uuid(column.type):
            column = column.storage
        elif pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif pa.types.is_run_end_encoded(column.type):
            column = pc.run_end_decode(column)
        else:
            break
    if column.type.equals(kind):
        return column
    if is_uuid(kind) and not is_uuid(column.type):
        return pa.ExtensionArray.from_storage(kind, column.cast(kind.storage_type))
    if pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type):
        column = _without_view(column)
    if pa.types.is_fixed_size_list(column.type) and not pa.types.is_fixed_size_list(kind):
        column = column.cast(pa.large_list(column.type.value_type))  # Arrow has no direct way to lists of another type
    return column.cast(kind)


def _without_view(column: pa.Array) -> pa.Array:
    """Return a list view as lists; Arrow's own cast loses the last end of them (pyarrow 26)."""
    lengths = pc.list_value_length(column)
    ends = np.concatenate([[0], np.cumsum(lengths.fill_null(0).to_numpy(zero_copy_only=False))]).astype(np.int64)
    null = np.append(column.is_null().to_numpy(zero_copy_only=False), False)
    return pa.LargeListArray.from_arrays(pa.array(ends, mask=null), column.flatten())


def unified(one: pa.DataType, two: pa.DataType) -> pa.DataType | None:
    """Return the narrowest plain type that holds all values of two, None if there is none."""
    if one.equals(two) or pa.types.is_null(two):
        return one
    if pa.types.is_null(one):
        return two
    lists = [_item(kind) for kind in (one, two)]
    if lists[0] is not None and lists[1] is not None:
        inner = unified(lists[0], lists[1])
        return None if inner is None else _list_of(inner, one, two)
    for small, large in ((pa.string(), pa.large_string()), (pa.binary(), pa.large_binary())):
        if {one, two} == {small, large}:
            return large
    return _number(one, two)


def _item(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return kind.value_type
    return None


def _list_of(inner: pa.DataType, one: pa.DataType, two: pa.DataType) -> pa.DataType:
    if pa.types.is_fixed_size_list(one) and pa.types.is_fixed_size_list(two) and one.list_size == two.list_size:
        return pa.list_(inner, one.list_size)
    return pa.large_list(inner)


def _number(one: pa.DataType, two: pa.DataType) -> pa.DataType | None:
    for family in (_SIGNED, _UNSIGNED, _FLOATS):
        if one in family and two in family:
            return family[max(family.index(one), family.index(two))]
    integers = [kind in _SIGNED or kind in _UNSIGNED for kind in (one, two)]
    if all(integers):
        signed, unsigned = (one, two) if one in _SIGNED else (two, one)
        place = max(_SIGNED.index(signed), _UNSIGNED.index(unsigned) + 1)
        return _SIGNED[place] if place < len(_SIGNED) else pa.decimal128(38, 0)
    decimals = [pa.types.is_decimal(kind) for kind in (one, two)]
    if all(decimals):
        scale = max(one.scale, two.scale)
        digits = max(one.precision - one.scale, two.precision - two.scale) + scale
        return pa.decimal128(digits, scale) if digits <= 38 else None
    if any(decimals) and any(integers):
        return pa.decimal128(38, (one if decimals[0] else two).scale)
    numbers = [
        integer or decimal or kind in _FLOATS
        for integer, decimal, kind in zip(integers, decimals, (one, two), strict=True)
    ]
    return pa.float64() if all(numbers) else None


def flat_lists(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Return how long each list is (-1 where it is null), and the values of all, one after the other; nulls become NaN.

    Lists of lists count as one list each, of all their values. Halves that came as two bytes each, which is how Spark
    reads them, become float16.
    """
    if pa.types.is_null(column.type):
        return np.full(len(column), -1, np.int64), np.empty(0, np.float32)
    fixed = pa.types.is_fixed_size_list(column.type)
    lengths = np.array(pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    flat = column.flatten()  # without what null lists hold
    while pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
        inner = np.maximum(pc.list_value_length(flat).fill_null(0).to_numpy(zero_copy_only=False), 0)
        ends = np.concatenate([[0], np.cumsum(inner)])
        stops = np.cumsum(np.maximum(lengths, 0))
        lengths = np.where(lengths < 0, -1, ends[stops] - ends[stops - np.maximum(lengths, 0)])
        flat, fixed = flat.flatten(), False
    if pa.types.is_binary(flat.type) or pa.types.is_large_binary(flat.type):
        flat = pa.array(np.frombuffer(b"".join(v or _NO_HALF for v in flat.to_pylist()), np.float16))
    if fixed and column.null_count == 0:
        size = column.type.list_size
        flat = column.values.slice(column.offset * size, len(column) * size)
    if pa.types.is_null(flat.type):
        flat = flat.cast(pa.float32())
    if pa.types.is_decimal(flat.type):  # uint64, as Spark reads it
        flat = flat.cast(pa.float64())
    return lengths, flat.to_numpy(zero_copy_only=False)


def in_pieces(column: pa.Array, kind: pa.DataType) -> list[pa.Array]:
    """Return a column as another type, in as many pieces as it takes: an array of ``string`` ends at 2 GiB of text.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit the type.
    """
    try:
        return [column.cast(kind)]
    except pa.ArrowInvalid:
        if len(column) < 2:
            raise
        # Copied, not sliced: a slice keeps its offsets into all of the text.
        halves = np.array_split(np.arange(len(column)), 2)
        return [piece for rows in halves for piece in in_pieces(column.take(pa.array(rows)), kind)]


def value_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of a list's innermost values; None if it is no list."""
    found = None
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        found = kind = kind.value_type
    return found


def is_floating(kind: pa.DataType | None) -> bool:
    """Return whether values are floats, or all null."""
    return kind is not None and bool(pa.types.is_floating(kind) or pa.types.is_null(kind))


def is_numeric(kind: pa.DataType | None) -> bool:
    """Return whether values are floats or integers, or all null."""
    return kind is not None and bool(is_floating(kind) or pa.types.is_integer(kind))
