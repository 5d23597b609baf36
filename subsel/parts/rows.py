"""Parcels as rows of tables: what engines move about and run directories keep.

A row holds a piece of a parcel's payload, because a cell of much more than a few MiB costs the JVM several copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from subsel.board import NO_SUMS, Counts
from subsel.parts.pack import CHUNK_BYTES, Parcel, chunks, from_rows
from subsel.schema import Status

#: Columns of `subsel.board.Counts`, set on a part's board and 0 elsewhere.
COUNTS = (*(status.name.lower() for status in Status), "news")
#: Columns of its sums.
SUMS = ("sum_0", "sum_1", "sum_2", "sum_3")
_SUM = pa.decimal128(38, 0)

_ARROW_PARCELS = pa.schema(
    [
        ("part", pa.int32()),
        ("source", pa.int32()),
        ("kind", pa.string()),
        ("number", pa.int32()),
        ("chunk", pa.int32()),
        ("payload", pa.binary()),
    ]
)

#: Names of the columns of a row.
COLUMNS = tuple(_ARROW_PARCELS.names)
#: A row: part, source, kind, number, chunk, payload.
_Row = tuple[int, int, str, int, int, memoryview]

#: Pieces from so many bytes on are batches of their own, which cost less than a copy.
_ALONE = 256 << 10

#: Pieces in one Arrow array, whose offsets end at 2 GiB.
_PIECES = (2**31 - 1) // CHUNK_BYTES


def to_board(parcels: Iterable[Parcel], counts: Counts | None = None) -> pa.Table:
    """Return parcels as rows of the board schema, the counts on the first of them."""
    return _with_counts(to_table(parcels), counts)


def to_board_batches(parcels: Iterable[Parcel]) -> Iterator[pa.RecordBatch]:
    """Yield parcels as rows of the board schema without counts, large pieces as `to_batches` does."""
    return map(_with_counts, to_batches(parcels))


def _with_counts(rows: Any, counts: Counts | None = None) -> Any:
    count = len(rows)
    for name in COUNTS:
        value = 0 if counts is None else getattr(counts, name)
        rows = rows.append_column(name, pa.array([value] + [0] * (count - 1), pa.int64()))
    for name, value in zip(SUMS, NO_SUMS if counts is None else counts.sums, strict=True):
        rows = rows.append_column(name, pa.array([Decimal(value)] + [Decimal(0)] * (count - 1), _SUM))
    return rows


def to_table(parcels: Iterable[Parcel]) -> pa.Table:
    """Return parcels as rows."""
    columns: list[list[Any]] = [[], [], [], [], []]
    pieces: list[memoryview] = []
    for number, parcel in enumerate(parcels):
        for chunk, piece in enumerate(chunks(parcel.payload)):
            for column, value in zip(columns, (parcel.part, parcel.source, parcel.kind, number, chunk), strict=True):
                column.append(value)
            pieces.append(piece)
    payloads = [_binary(pieces[begin : begin + _PIECES]) for begin in range(0, len(pieces), _PIECES)]
    return pa.table([*columns, pa.chunked_array(payloads, pa.binary())], schema=_ARROW_PARCELS)


def to_batches(parcels: Iterable[Parcel], first: int = 0) -> Iterator[pa.RecordBatch]:
    """Yield parcels as rows while they are made, numbered from ``first`` on; a large piece alone, and not copied."""
    held: list[_Row] = []
    size = 0
    for number, parcel in enumerate(parcels, first):
        for chunk, piece in enumerate(chunks(parcel.payload)):
            row = parcel.part, parcel.source, parcel.kind, number, chunk, piece
            if len(piece) >= _ALONE:
                yield _batch([row])
                continue
            held.append(row)
            size += len(piece)
            if size >= CHUNK_BYTES:
                yield _batch(held)
                held, size = [], 0
    if held:
        yield _batch(held)


def _batch(rows: Sequence[_Row]) -> pa.RecordBatch:
    *columns, pieces = zip(*rows, strict=True)
    return pa.record_batch([*map(list, columns), _binary(pieces)], schema=_ARROW_PARCELS)


def _binary(pieces: Sequence[memoryview]) -> pa.Array:
    """Return pieces as a binary array, one alone as it lies in memory, of several each copied once.

    `pa.array` copies as often as its memory has to grow.
    """
    ends = np.cumsum([0, *map(len, pieces)], dtype=np.int32)
    if len(pieces) == 1:
        return pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(ends), pa.py_buffer(pieces[0])])
    data = pa.allocate_buffer(int(ends[-1]))
    with pa.FixedSizeBufferWriter(data) as sink:
        for piece in pieces:
            sink.write(piece)
    return pa.Array.from_buffers(pa.binary(), len(pieces), [None, pa.py_buffer(ends), data])


def parcels_in(batches: Iterable[pa.RecordBatch]) -> Iterator[Parcel]:
    """Yield the parcels that rows hold, a part at a time; a part's rows follow each other."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        part = batch.column("part").to_numpy()
        for begin, end in pairwise([0, *(np.flatnonzero(np.diff(part)) + 1), len(part)] if len(part) else [0]):
            if held and held[0].column("part")[0].as_py() != part[begin]:
                yield from from_rows(pa.Table.from_batches(held))
                held = []
            held.append(batch.slice(begin, end - begin))
    if held:
        yield from from_rows(pa.Table.from_batches(held))
