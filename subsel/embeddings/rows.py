"""The rows that a search works on: prepared once, or kept as the 16 bits that they came as and prepared as needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt

from subsel.embeddings import half_kernel
from subsel.embeddings.metrics import FloatMatrix, Preparation, rows_per_block
from subsel.fixedpoint import Int64Array
from subsel.halves import bits_of
from subsel.threads import over_rows

#: Columns that are worth a thread's passage through a permutation: a few cache lines of each row.
_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class HalfRows:
    """Rows of float16, which become what a `Preparation` makes of them, to the last bit, where they are asked for.

    Attributes:
        values: uint16, (n, d): the bits of the rows as they were given.
        center: float64, (d,): subtracted of each.
        factor: float64, (n,): what each is multiplied by then.
    """

    values: npt.NDArray[np.uint16]
    center: npt.NDArray[np.float64]
    factor: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.values.shape

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    def __getitem__(self, some: slice | npt.NDArray[Any]) -> FloatMatrix:
        """Return some rows, prepared: float32, (b, d)."""
        return self.take(np.arange(len(self))[some])

    def take(self, some: npt.NDArray[Any], axis: int = 0) -> FloatMatrix:
        """Return some rows, prepared, as an array's ``take`` does: float32, (b, d)."""
        assert axis == 0
        out = np.empty((len(some), self.values.shape[1]), np.float32)
        half_kernel.unpack(self.values, self.center, self.factor, some, out)
        return out

    def rescore(self, best: npt.NDArray[np.int32], score: FloatMatrix, l2: bool) -> None:
        """See `subsel.embeddings.kernel.rescore`."""
        packed = self.values, self.center, self.factor
        pair = partial(np.empty, (2, self.values.shape[1]), np.float32)
        over_rows(half_kernel.rescore, len(best), *packed, best, score, l2, scratch=pair)


#: Prepared rows: as they are, or as they came.
Rows = FloatMatrix | HalfRows


class Readable(Protocol):
    """Prepared rows in whatever form: some of them are float32, (b, d)."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: Any, /) -> Any: ...


def prepared(embeddings: npt.NDArray[Any], prepare: Preparation) -> Rows:
    """Return rows as they are searched, in the memory that they are in; the embeddings are gone then.

    Args:
        embeddings: float32 or float16, (n, d), changed in place if float32.
        prepare: what is done to them.
    """
    step = rows_per_block(embeddings.shape[1])
    blocks = [slice(begin, begin + step) for begin in range(0, len(embeddings), step)]
    if embeddings.dtype == np.float16:
        factor = np.ones(len(embeddings))
        for some in blocks:
            factor[some] = prepare.factor(embeddings[some].astype(np.float32))
        return HalfRows(bits_of(embeddings), prepare.center, factor)
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        list(pool.map(lambda some: prepare.rows(embeddings[some], embeddings[some]), blocks))
    return embeddings


def reordered(rows: Rows, order: Int64Array) -> Rows:
    """Return rows in an order, a permutation, in the memory that they are in; the order before is gone then."""
    values = rows.values if isinstance(rows, HalfRows) else rows
    threads = max(1, min(numba.get_num_threads(), values.shape[1] // _COLUMNS))
    cuts = [values.shape[1] * one // threads for one in range(threads + 1)]

    def permute(first: int, last: int) -> None:
        kept = np.empty(last - first, values.dtype)
        half_kernel.permute(values, order, first, last, np.zeros(len(order), np.bool_), kept)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda cut: permute(*cut), pairwise(cuts)))
    return HalfRows(rows.values, rows.center, rows.factor[order]) if isinstance(rows, HalfRows) else rows
