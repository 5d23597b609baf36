"""Codes: a seeded 64-bit hash of each user id, unique to it.

Everything random in subsel (ties, samples, starts) is drawn from codes, never from row positions, so that
the order of the rows and the layout of the files do not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsel.compiling import compiled, inlined
from subsel.errors import InputError

Int64Array = npt.NDArray[np.int64]

#: Of the codes by which points are drawn before anything else, and by which the random subset is that ours is beside.
THIN_SALT, RANDOM_SALT = 1 << 32, (1 << 32) + 1

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def unique_codes(ids: pa.Array | pa.ChunkedArray, seed: int) -> tuple[Int64Array, int]:
    """Return the codes of user ids, int64, (n,), uniform over all 64 bits and unique, and the salt they were made with.

    Integer ids go through a bijection (SplitMix64's finaliser), so they cannot collide. Text and bytes are hashed by
    SipHash-1-3, whose key is made of seed and salt: no two ids collide under all keys. Should two collide under one
    salt, the next is taken, for all ids; so the salt depends on the ids and not on their order.

    Raises:
        InputError: an id is null or occurs twice.
    """
    salt = 0
    while True:
        codes = hash_ids(ids, seed, salt)
        suspects = rows_with_equal_codes(codes)
        if not suspects.size:
            return codes, salt
        repeats = _repeats(ids, suspects)
        if repeats.size:
            some = ", ".join(repr(name) for name in pc.take(ids, pa.array(repeats[:3])).to_pylist())
            raise InputError(
                f"{repeats.size:,} of {len(codes):,} rows repeat the id of an earlier row, such as {some}."
            )
        salt += 1


def codes_of(ids: pa.Array | pa.ChunkedArray, seed: int) -> Int64Array:
    """Return the codes of user ids, see `unique_codes`."""
    return unique_codes(ids, seed)[0]


def repeated_rows(ids: pa.Array | pa.ChunkedArray) -> Int64Array:
    """Return the rows whose id stands in an earlier row too: int64, ascending."""
    return _repeats(ids, rows_with_equal_codes(hash_ids(ids, seed=0)))


def hash_ids(ids: pa.Array | pa.ChunkedArray, seed: int, salt: int = 0) -> Int64Array:
    """Return the 64-bit hash of each id, int64, (n,), without looking for duplicates or collisions.

    Args:
        ids: integers, strings or bytes.
        seed: of the run.
        salt: see `unique_codes`.

    Raises:
        InputError: an id is null, or they are of a type that no ids have.
    """
    if ids.null_count:
        raise InputError(f"{ids.null_count:,} of {len(ids):,} ids are null: give every point an id.")
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    parts = [_hash_chunk(chunk, seed, salt) for chunk in chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _hash_chunk(chunk: pa.Array, seed: int, salt: int) -> Int64Array:
    if pa.types.is_integer(chunk.type):
        raw = chunk.cast(pa.int64()).to_numpy(zero_copy_only=False).view(np.uint64)
        return _mix(raw, np.uint64(seed)).view(np.int64)
    text = pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)
    if not text and not (pa.types.is_binary(chunk.type) or pa.types.is_large_binary(chunk.type)):
        raise InputError(f"ids are {chunk.type}, but must be integers or strings (or bytes): cast the id column.")
    chunk = chunk.cast(pa.large_string() if text else pa.large_binary())
    _, offsets, data = chunk.buffers()
    content = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    bounds = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    keys = _mix(np.array([2 * salt, 2 * salt + 1], np.uint64), np.uint64(seed))
    codes: Int64Array = _siphash(content, bounds, keys[0], keys[1]).view(np.int64)
    return codes


@inlined()
def _rotate(x: np.uint64, bits: int) -> np.uint64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@inlined()
def _sip_round(v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64) -> Any:
    v0 += v1
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 += v3
    v3 = _rotate(v3, 16) ^ v2
    v0 += v3
    v3 = _rotate(v3, 21) ^ v0
    v2 += v1
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


@compiled()
def _siphash(text: Any, bounds: Any, k0: np.uint64, k1: np.uint64) -> Any:
    """SipHash-1-3 (Aumasson and Bernstein, 2012) of each ``text[bounds[i]:bounds[i + 1]]``: uint64."""
    out = np.empty(len(bounds) - 1, np.uint64)
    for i in range(len(out)):
        begin, length = bounds[i], bounds[i + 1] - bounds[i]
        v0, v1 = k0 ^ np.uint64(0x736F6D6570736575), k1 ^ np.uint64(0x646F72616E646F6D)
        v2, v3 = k0 ^ np.uint64(0x6C7967656E657261), k1 ^ np.uint64(0x7465646279746573)
        for block in range(length // 8 + 1):
            word = np.uint64(0)
            for b in range(min(8, length - 8 * block)):
                word |= np.uint64(text[begin + 8 * block + b]) << np.uint64(8 * b)
            if block == length // 8:
                word |= np.uint64(length & 0xFF) << np.uint64(56)
            v3 ^= word
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
            v0 ^= word
        v2 ^= np.uint64(0xFF)
        for _ in range(3):
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        out[i] = v0 ^ v1 ^ v2 ^ v3
    return out


@compiled()
def hash_rows(words: Any, number: Any) -> Any:
    """Return a hash of what each row holds: uint64, (b,).

    Args:
        words: uint32, (b, d): the bits of its embedding; d may be 0.
        number: uint64, (b,): the bits of its utility.
    """
    out = np.empty(len(number), np.uint64)
    for i in range(len(out)):
        h = finalize(number[i] + GOLDEN)
        for j in range(words.shape[1]):
            h = (h ^ np.uint64(words[i, j])) * _MIX_1
            h ^= h >> np.uint64(32)
        out[i] = finalize(h)
    return out


def rehash(code: Int64Array, salt: int) -> Int64Array:
    """Return other codes for the same points, int64, as unlike the old ones as another seed's; unique where those are.

    Whatever is drawn anew each round is drawn from them.
    """
    return _mix(code.view(np.uint64), np.uint64(salt)).view(np.int64)


def draw(code: Int64Array, count: int, salt: int) -> npt.NDArray[np.bool_]:
    """Draw ``count`` (from 1) of some points, those of the lowest `rehash`: bool, (n,); another salt draws others."""
    chosen = np.zeros(len(code), np.bool_)
    chosen[np.argpartition(rehash(code, salt), count - 1)[:count]] = True
    return chosen


def draw_of_groups(code: Int64Array, group: npt.NDArray[Any], counts: Int64Array, salt: int) -> npt.NDArray[np.bool_]:
    """Draw of each group as many points as ``counts`` says, (groups,), or all it has, likewise: bool, (n,)."""
    order = np.lexsort((rehash(code, salt), group))
    begins = np.searchsorted(group[order], np.arange(len(counts)))
    place = np.arange(len(code)) - begins[group[order]]
    chosen = np.zeros(len(code), np.bool_)
    chosen[order] = place < counts[group[order]]
    return chosen


def groups_of(code: Int64Array, groups: int, salt: int) -> Int64Array:
    """Deal points into groups at random: int64, from 0; another salt deals them anew."""
    return (rehash(code, salt).view(np.uint64) % np.uint64(groups)).astype(np.int64)


@inlined()
def finalize(z: np.uint64) -> np.uint64:
    """SplitMix64's finaliser: a bijection that leaves no trace of the order of its arguments."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def _mix(raw: npt.NDArray[np.uint64], seed: np.uint64) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser, twice, of id and seed: a bijection for each seed."""
    raw = raw.view()
    raw.flags.writeable = False  # as ids in Arrow's memory are: one kernel for both
    out = np.empty(len(raw), np.uint64)
    _mixed(raw, seed, out)
    return out


@compiled()
def _mixed(raw: Any, seed: np.uint64, out: Any) -> None:
    step = (seed + np.uint64(1)) * GOLDEN
    for i in range(len(raw)):
        out[i] = finalize(finalize(raw[i] + step) + step)


def rows_with_equal_codes(codes: Int64Array) -> Int64Array:
    """Return the rows whose code another row has, too: int64, ascending; ``codes`` are int64, (n,)."""
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
