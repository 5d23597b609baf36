"""Packs: named arrays of any lengths as the bytes of an Arrow stream. What parts send and engines keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Larger packs are kept in pieces: an engine's row of much more than this costs it several copies.
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Parcel:
    """A pack addressed to ``part``; ``source`` is the part (or task) it comes from, ``kind`` what it holds."""

    part: int
    source: int
    kind: str
    payload: bytes | pa.Buffer


def of_kind(parcels: Iterable[Parcel], kind: str) -> list[Parcel]:
    """Return the parcels of one kind, by source, so that what is made of them does not depend on their arrival."""
    return sorted((parcel for parcel in parcels if parcel.kind == kind), key=lambda parcel: parcel.source)


def by_part(part: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield each part from 0 on that something goes to, ascending, and what: places in ``part``, ascending."""
    short = part.astype(np.int16) if part.max(initial=0) < 2**15 else part  # numpy counts 16 bits, and compares more
    order = np.argsort(short, kind="stable")
    ordered = part[order]
    for some in np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1):
        if len(some) and part[some[0]] >= 0:
            yield int(part[some[0]]), some


def pack(**columns: npt.NDArray[Any] | pa.Array) -> pa.Buffer:
    """Return arrays as bytes; matrices are flattened in C order."""
    lists = []
    for column in columns.values():
        values = pa.array(column.reshape(-1)) if isinstance(column, np.ndarray) else column
        lists.append(pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values))
    batch = pa.record_batch(lists, names=list(columns))
    counter = pa.MockOutputStream()  # first its size: a buffer that grows is copied, and ends up to twice as large
    _write(counter, batch)
    buffer = pa.allocate_buffer(counter.size())
    with pa.FixedSizeBufferWriter(buffer) as sink:
        _write(sink, batch)
    return buffer


def _write(sink: Any, batch: pa.RecordBatch) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)


def unpack(payload: bytes | pa.Buffer, *, views: bool = False) -> dict[str, Any]:
    """Return the arrays of a pack: writable numpy arrays, and Arrow arrays for text and bytes.

    With ``views`` numpy arrays are read-only views of the payload: for large arrays that are copied elsewhere anyway.
    """
    with pa.ipc.open_stream(payload) as reader:
        batch = reader.read_next_batch()
    out: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = column.flatten()
        if pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type):
            out[name] = values
        else:
            view = values.to_numpy(zero_copy_only=False)
            out[name] = view if views else np.array(view)  # a copy: numba compiles read-only arrays a second time
    return out


def concatenate(packs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return packs of the same names one after the other."""
    packs = list(packs)
    out = {}
    for name, first in packs[0].items():
        join = np.concatenate if isinstance(first, np.ndarray) else pa.concat_arrays
        out[name] = join([one[name] for one in packs])
    return out


def from_rows(table: pa.Table) -> list[Parcel]:
    """Return the parcels that rows ``part, source, kind, number, chunk, payload`` hold, in any order of rows."""
    pieces: dict[tuple[int, int, str, int], list[tuple[int, pa.Buffer]]] = {}
    names = ("part", "source", "kind", "number", "chunk")
    payloads = (payload for chunk in table.column("payload").chunks for payload in _payloads(chunk))
    for part, source, kind, number, chunk, payload in zip(
        *(table.column(name).to_pylist() for name in names), payloads, strict=True
    ):
        pieces.setdefault((part, source, kind, number), []).append((chunk, payload))
    return [
        Parcel(
            part,
            source,
            kind,
            _joined([piece for _, piece in sorted(found, key=itemgetter(0))]),
        )
        for (part, source, kind, _), found in sorted(pieces.items())
    ]


def _payloads(values: pa.Array) -> Iterator[pa.Buffer]:
    """Yield binary values, none of them null, as slices of the array's memory: its scalars would be copies."""
    if len(values):
        _, ends, data = values.buffers()
        kind = np.int64 if pa.types.is_large_binary(values.type) else np.int32
        bounds = np.frombuffer(ends, kind)[values.offset : values.offset + len(values) + 1].tolist()
        yield from (data.slice(begin, end - begin) for begin, end in pairwise(bounds))


def _joined(pieces: list[pa.Buffer]) -> bytes | pa.Buffer:
    """Return pieces as one, not copied where they follow each other in memory, as those of one file do."""
    if len(pieces) == 1:
        return pieces[0]
    if all(one.address + one.size == other.address for one, other in pairwise(pieces)):
        return pa.foreign_buffer(pieces[0].address, sum(one.size for one in pieces), base=pieces)
    return b"".join(pieces)


def chunks(payload: bytes | pa.Buffer) -> list[memoryview]:
    """Return a payload in pieces of at most `CHUNK_BYTES`, none of them copied."""
    view = memoryview(payload)
    return [view[begin : begin + CHUNK_BYTES] for begin in range(0, len(view), CHUNK_BYTES)]
