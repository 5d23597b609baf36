"""Codes: a seeded 64-bit hash of each user id, unique to it.

Everything random in subsel (ties, samples, starts) is drawn from codes, never from row positions, so that
the order of the rows and the layout of the files do not matter.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsel.errors import InputError

Int64Array = npt.NDArray[np.int64]

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def codes_of(ids: pa.Array | pa.ChunkedArray, seed: int) -> Int64Array:
    """Return the codes of user ids: int64, (n,), uniform over all 64 bits, unique where the ids are.

    Integer ids go through a bijection (SplitMix64's finaliser), so they cannot collide. Strings are hashed
    (FNV-1a, then the same finaliser); should two different strings collide, the later in string order
    moves to the next free code.

    Raises:
        InputError: an id is null or occurs twice, or ids are neither integers nor strings.
    """
    codes = hash_ids(ids, seed)
    suspects = _rows_with_equal_codes(codes)
    if suspects.size:
        repeats = _repeats(ids, suspects)
        if repeats.size:
            some = ", ".join(repr(name) for name in pc.take(ids, pa.array(repeats[:3])).to_pylist())
            raise InputError(
                f"{repeats.size:,} of {len(codes):,} rows repeat the id of an earlier row, such as {some}: "
                "make ids unique, or set on_bad_rows='drop' to keep the first row of each."
            )
        _move_collisions(ids, codes, suspects)
    return codes


def repeated_rows(ids: pa.Array | pa.ChunkedArray) -> Int64Array:
    """Return the rows whose id stands in an earlier row too: int64, ascending."""
    return _repeats(ids, _rows_with_equal_codes(hash_ids(ids, seed=0)))


def hash_ids(ids: pa.Array | pa.ChunkedArray, seed: int) -> Int64Array:
    """Return the 64-bit hash of each id, int64, (n,), without looking for duplicates.

    Raises:
        InputError: an id is null, or ids are neither integers nor strings.
    """
    if ids.null_count:
        raise InputError(f"{ids.null_count:,} of {len(ids):,} ids are null: give every point an id.")
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    parts = [_hash_chunk(chunk, seed) for chunk in chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def id_storage_type(id_type: pa.DataType) -> pa.DataType:
    """Return the type in which ids of ``id_type`` are kept: int64 or large_string.

    Raises:
        InputError: ids of that type are not supported.
    """
    if pa.types.is_dictionary(id_type):
        return id_storage_type(id_type.value_type)
    if pa.types.is_integer(id_type):
        return pa.int64()
    if pa.types.is_string(id_type) or pa.types.is_large_string(id_type) or pa.types.is_string_view(id_type):
        return pa.large_string()
    raise InputError(f"ids are {id_type}, but must be integers or strings: cast the id column.")


def _hash_chunk(chunk: pa.Array, seed: int) -> Int64Array:
    chunk = chunk.cast(id_storage_type(chunk.type))
    if pa.types.is_int64(chunk.type):
        raw = chunk.to_numpy(zero_copy_only=False).view(np.uint64)
    else:
        _, offsets, data = chunk.buffers()
        text = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        bounds = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        raw = _fnv1a(text, bounds)
    return _mix(raw, np.uint64(seed)).view(np.int64)


@numba.njit(cache=True)
def _fnv1a(text: npt.NDArray[np.uint8], bounds: Int64Array) -> npt.NDArray[np.uint64]:
    out = np.empty(len(bounds) - 1, np.uint64)
    for i in range(len(out)):
        h = _FNV_OFFSET
        for p in range(bounds[i], bounds[i + 1]):
            h = (h ^ np.uint64(text[p])) * _FNV_PRIME
        out[i] = h
    return out


def rehash(code: Int64Array, salt: int) -> Int64Array:
    """Return other codes for the same points, int64, as unlike the old ones as another seed's; unique where those are.

    Whatever is drawn anew each round is drawn from them.
    """
    return _mix(code.view(np.uint64), np.uint64(salt)).view(np.int64)


def groups_of(code: Int64Array, groups: int, salt: int) -> Int64Array:
    """Deal points into groups at random: int64, from 0; another salt deals them anew."""
    return (rehash(code, salt).view(np.uint64) % np.uint64(groups)).astype(np.int64)


@numba.njit(cache=True, inline="always")
def finalize(z: np.uint64) -> np.uint64:
    """SplitMix64's finaliser: a bijection that leaves no trace of the order of its arguments."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True)
def _mix(raw: npt.NDArray[np.uint64], seed: np.uint64) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser, twice, of id and seed: a bijection for each seed."""
    out = np.empty(len(raw), np.uint64)
    step = (seed + np.uint64(1)) * GOLDEN
    for i in range(len(raw)):
        out[i] = finalize(finalize(raw[i] + step) + step)
    return out


def _rows_with_equal_codes(codes: Int64Array) -> Int64Array:
    order = np.argsort(codes, kind="stable")
    equal = np.flatnonzero(codes[order[1:]] == codes[order[:-1]])
    return np.unique(np.concatenate([order[equal], order[equal + 1]]))


def _repeats(ids: pa.Array | pa.ChunkedArray, suspects: Int64Array) -> Int64Array:
    seen: set[object] = set()
    repeats = []
    for row, name in zip(suspects.tolist(), pc.take(ids, pa.array(suspects)).to_pylist(), strict=True):
        if name in seen:
            repeats.append(row)
        seen.add(name)
    return np.array(repeats, np.int64)


def _move_collisions(ids: pa.Array | pa.ChunkedArray, codes: Int64Array, suspects: Int64Array) -> None:
    """Give different ids of equal codes the next free ones, in the order of the ids."""
    names = pc.take(ids, pa.array(suspects)).to_pylist()
    kept: set[int] = set()
    for _, row in sorted(zip(names, suspects.tolist(), strict=True)):
        code = int(codes[row])
        if code in kept:
            while bool((codes == code).any()):
                code = code + 1 if code < np.iinfo(np.int64).max else np.iinfo(np.int64).min
            codes[row] = code
        kept.add(code)
