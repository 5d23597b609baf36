"""Some rows of an input, and of a matrix of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.fixedpoint import Int64Array
from subsel.input.source import Source, iterate_columns

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


def stay_in(matrix: npt.NDArray[np.float32], keep: Int64Array) -> npt.NDArray[np.float32]:
    """Return some rows, int64, ascending, of a matrix that is given up: moved within it where most of them stay."""
    if 2 * len(keep) < len(matrix):
        return matrix[keep]
    for begin in range(0, len(keep), _BLOCK_ROWS):  # keep[i] >= i
        chunk = keep[begin : begin + _BLOCK_ROWS]
        matrix[begin : begin + len(chunk)] = matrix[chunk]
    return matrix[: len(keep)]
