"""Ids: which types there are, how they are kept, and how the user's type comes back.

Kept are int64 (unsigned ones by their bits), large_string or large_binary; everything between input and output sees
these.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from subsel.codes import repeated_rows
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.input.types import as_plain, in_pieces, is_uuid, plain_type

#: Digits that int64 holds whatever they are; decimals of more must not be negative (Spark reads uint64 as 20 digits).
_DIGITS = 18
#: Ids are few among so many times as many.
_FEW = 4


def storage_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which ids of a plain type are kept.

    Raises:
        InputError: ids of that type are not supported.
    """
    kind = plain_type(kind)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return pa.int64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.large_string()
    if (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or is_uuid(kind)
    ):
        return pa.large_binary()
    raise InputError(
        f"ids are {kind}, but must be integers or strings (or UUIDs, bytes, decimals): cast the id column."
    )


def is_unsigned(kind: pa.DataType) -> bool:
    """Return whether kept integers are the bits of unsigned ones."""
    return bool(pa.types.is_uint64(kind) or (pa.types.is_decimal(kind) and kind.precision - kind.scale > _DIGITS))


def stored_ids(ids: pa.Array) -> pa.Array:
    """Return ids as they are kept; nulls stay.

    Raises:
        InputError: their type is not supported, decimals have fractions, or integers more than 64 bits.
    """
    ids = as_plain(ids, plain_type(ids.type))
    kind, kept = ids.type, storage_type(ids.type)
    if pa.types.is_uint64(kind):
        return ids.view(pa.int64())
    if pa.types.is_decimal(kind):
        return _whole(ids)
    if is_uuid(kind):
        ids = ids.storage
    return ids.cast(kept)


def has_fractions(kind: pa.DataType) -> InputError:
    """Return the error for decimal ids that are no integers."""
    return InputError(f"ids are {kind} and have fractions, or more than 38 digits: cast them to strings.")


def out_of_range(kind: pa.DataType) -> InputError:
    """Return the error for decimal ids that 64 bits do not hold."""
    return InputError(f"ids are {kind} and lie outside 0…2^64-1: cast them to strings.")


def _whole(ids: pa.Array) -> pa.Array:
    try:
        digits = ids.cast(pa.decimal128(38, 0))
    except pa.ArrowInvalid:
        raise has_fractions(ids.type) from None
    if not is_unsigned(ids.type):
        return digits.cast(pa.int64())
    words = np.frombuffer(digits.buffers()[1], np.uint64)[2 * digits.offset : 2 * (digits.offset + len(digits))]
    low, high = words[::2].copy(), words[1::2]
    null = digits.is_null().to_numpy(zero_copy_only=False)
    if (high[~null] != 0).any():
        raise out_of_range(ids.type)
    return pa.array(low.view(np.int64), mask=null)


def given_back(ids: pa.Array, kind: pa.DataType) -> pa.ChunkedArray:
    """Return kept ids in the user's plain type; in several pieces where one does not hold all of their text."""
    binary = is_uuid(kind) or pa.types.is_fixed_size_binary(kind)
    pieces = in_pieces(ids, pa.binary()) if binary else [ids]
    return pa.chunked_array([one for piece in pieces for one in _given_back(piece, kind)], kind)


def _given_back(ids: pa.Array, kind: pa.DataType) -> list[pa.Array]:
    if pa.types.is_null(kind):
        return [pa.nulls(len(ids))]
    if pa.types.is_uint64(kind):
        return [ids.view(pa.uint64())]
    if pa.types.is_decimal(kind) and is_unsigned(kind):
        words = np.zeros(2 * len(ids), np.uint64)
        words[::2] = ids.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
        there = ids.is_valid().buffers()[1] if ids.null_count else None
        ids = pa.Array.from_buffers(pa.decimal128(38, 0), len(ids), [there, pa.py_buffer(words)])
    elif pa.types.is_decimal(kind):
        ids = ids.cast(pa.decimal128(38, 0))
    elif is_uuid(kind):
        return [pa.ExtensionArray.from_storage(kind, ids.cast(kind.storage_type))]
    return in_pieces(ids, kind)


def shown(ids: pa.Array, kind: pa.DataType | None = None) -> list[Any]:
    """Return a few kept ids as Python values of the user's type, for messages."""
    values = (given_back(ids, kind) if kind is not None else ids).to_pylist()
    return [int(one) if isinstance(one, Decimal) else one for one in values]


def smallest(ids: pa.Array, kind: pa.DataType, count: int) -> list[Any]:
    """Return the smallest of kept ids, each once, as Python values of the user's type; nulls last."""
    unique = ids.unique()
    if pa.types.is_int64(unique.type) and is_unsigned(kind):
        return shown(unique.view(pa.uint64()).sort()[:count].view(pa.int64()), kind)
    return shown(unique.sort()[:count], kind)


def shown_one(value: Any, kind: pa.DataType) -> Any:
    """Return an id that Spark gave, as `shown` shows those of a type."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else value
    if isinstance(value, bytes | bytearray):
        return uuid.UUID(bytes=bytes(value)) if is_uuid(kind) else bytes(value)
    return value


def same_type(ids: pa.DataType, points: pa.DataType, what: str) -> None:
    """Refuse ids that are kept in another type than those of the points.

    Raises:
        InputError: see above.
    """
    if storage_type(ids) != storage_type(points):
        raise InputError(f"ids of {what} are {ids}, those of the points {points}: use one type.")


def known_places(
    ids: pa.Array, known: pa.Array, what: str, kind: pa.DataType | None = None, *, all_known: bool = True
) -> Int64Array:
    """Return where kept ids stand among those that are known: int64.

    Args:
        ids: kept ids.
        known: kept ids, each once.
        what: whose ids they are, for messages.
        kind: the user's type of ``known``.
        all_known: whether others are an error; they are left out if not.

    Raises:
        InputError: types differ, or an id is not known.
    """
    if ids.type != known.type:
        raise InputError(f"ids of {what} are {ids.type}, those of the points {kind or known.type}: use one type.")
    among = np.arange(0)
    if _FEW * len(ids) < len(known):  # a table of the few, not of the many
        among = np.flatnonzero(pc.is_in(known, value_set=ids).to_numpy(zero_copy_only=False))
        known = known.take(pa.array(among))
    places = pc.index_in(ids, value_set=known)
    if not all_known:
        places = places.drop_null()
    if places.null_count:
        example = shown(ids.filter(places.is_null())[:1], kind)[0]
        raise InputError(f"{places.null_count:,} of {len(ids):,} ids of {what} are unknown, such as {example!r}.")
    found = np.asarray(places.to_numpy(), np.int64)
    return among[found] if len(among) else found


def listed_ids(values: Any, what: str) -> pa.ChunkedArray:
    """Return ids that the user wrote down, in an array, a series or any iterable, as Arrow values.

    Raises:
        InputError: they are of several types, nested, or no ids.
    """
    if isinstance(values, pa.ChunkedArray):
        return values
    if isinstance(values, pa.Array):
        return pa.chunked_array([values])
    if hasattr(values, "to_arrow"):  # polars
        return pa.chunked_array([values.to_arrow()])
    if not hasattr(values, "dtype"):
        values = [_plain_value(one) for one in values]
    elif getattr(values, "ndim", 1) != 1:
        raise InputError(f"{what} has {values.ndim} dimensions, but must be a list of ids.")
    elif values.dtype == object:
        values = [_plain_value(one) for one in values]
    try:
        found = pa.array(values, from_pandas=True)
    except OverflowError:
        found = None
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{what} is no list of ids of one type: {str(error).splitlines()[0]}") from error
    if found is None:
        try:
            found = pa.array(values, pa.uint64())
        except (pa.ArrowException, OverflowError, TypeError):
            raise InputError(f"{what} has integers beyond 64 bits: no id is as large.") from None
    if pa.types.is_nested(found.type):
        raise InputError(f"{what} is a list of {found.type}, but must be a list of ids.")
    return pa.chunked_array([found]) if isinstance(found, pa.Array) else found


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value.bytes if isinstance(value, uuid.UUID) else value


def subset_ids(chunks: pa.ChunkedArray | Iterable[pa.Array], kind: pa.DataType | None, what: str) -> pa.Array:
    """Return the ids of a subset or a wish as they are kept.

    Args:
        chunks: as the user gave them.
        kind: type of the points' ids, in which integers must lie; None if there is none to compare with.
        what: whose ids they are, for messages.

    Raises:
        InputError: ids are null, repeated, of no type that ids have, or negative where the points' are unsigned.
    """
    pieces = chunks.chunks if isinstance(chunks, pa.ChunkedArray) else list(chunks)
    pieces = [piece for piece in pieces if len(piece)]
    if not pieces:
        return pa.array([], storage_type(kind) if kind is not None else pa.int64())
    theirs = pieces[0].type
    ids = pa.concat_arrays([stored_ids(piece) for piece in pieces])
    if ids.null_count:
        raise InputError(f"{ids.null_count:,} of {len(ids):,} ids of {what} are null.")
    repeats = len(repeated_rows(ids))
    if repeats:
        raise InputError(f"{repeats:,} of {len(ids):,} ids of {what} repeat another: make them unique.")
    if kind is not None:
        same_type(theirs, kind, what)
        if pa.types.is_int64(ids.type) and is_unsigned(theirs) != is_unsigned(kind):
            beyond = ids.filter(pc.less(ids, 0))
            if len(beyond):
                example = shown(beyond[:1], theirs)[0]
                raise InputError(f"{len(beyond):,} of {len(ids):,} ids of {what} are unknown, such as {example!r}.")
    return ids
