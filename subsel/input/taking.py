"""Some rows of an input, and of a matrix of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.fixedpoint import Int64Array
from subsel.input.source import Source, iterate_columns
from subsel.input.types import in_pieces

_BLOCK_ROWS = 8_192


def iterate_rows(source: Source, columns: list[str], rows: Int64Array) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield some columns of some input rows (int64, ascending) in batches, and where in ``rows`` each begins."""
    begin = 0
    for batch in iterate_columns(source, columns):
        lo, hi = np.searchsorted(rows, [begin, begin + len(batch)]).tolist()
        if lo < hi:
            yield lo, batch.take(pa.array(rows[lo:hi] - begin))
        begin += len(batch)


def take_rows(source: Source, columns: list[str], rows: Int64Array) -> list[pa.RecordBatch]:
    """Return some columns of some input rows (int64, ascending), in batches."""
    return [batch for _, batch in iterate_rows(source, columns, rows)]


def kept_columns(source: Source, columns: list[str], rows: Int64Array) -> pa.Table:
    """Return columns of some input rows, in the order of ``rows`` (int64, any order); text of any length."""
    order = np.argsort(rows)
    parts = take_rows(source, columns, rows[order])
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    if not parts:
        return pa.table({column: pa.array([], source.schema.field(column).type) for column in columns})
    table = pa.Table.from_batches(parts)
    wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}  # taking may join more than 2 GiB
    kinds = pa.schema([pa.field(field.name, wide.get(field.type, field.type)) for field in table.schema])
    taken = table.cast(kinds).take(pa.array(place))
    arrays = [
        pa.chunked_array([one for chunk in column.chunks for one in in_pieces(chunk, field.type)], field.type)
        for column, field in zip(taken.columns, table.schema, strict=True)
    ]
    return pa.table(arrays, table.schema)


def stay_in(matrix: npt.NDArray[Any], keep: Int64Array) -> npt.NDArray[Any]:
    """Return some rows, int64, ascending, of a matrix that is given up: moved within it where most of them stay."""
    if 2 * len(keep) < len(matrix):
        return matrix[keep]
    for begin in range(0, len(keep), _BLOCK_ROWS):  # keep[i] >= i
        chunk = keep[begin : begin + _BLOCK_ROWS]
        matrix[begin : begin + len(chunk)] = matrix[chunk]
    return matrix[: len(keep)]
