"""Vectors as a graph keeps them: 16 bits a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from subsel.embeddings.metrics import FloatMatrix, Preparation, rows_per_block
from subsel.fixedpoint import Int64Array
from subsel.growing import kernel
from subsel.halves import bits_of
from subsel.threads import over_rows

#: Rows whose largest value is in between are kept as they are: what is of 16 bits or fewer already loses nothing.
_LEAST, _MOST = 2.0**-6, 2.0**15


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows in 16 bits a value: ``values`` times two to the power of ``exponent``.

    Attributes:
        values: float16, (n, d).
        exponent: int16, (n,): 0 unless a row's values would be too large or too small.
    """

    values: npt.NDArray[np.float16]
    exponent: npt.NDArray[np.int16]

    @classmethod
    def of(cls, rows: npt.NDArray[Any]) -> Self:
        """Return rows, float32 or float16, (n, d), finite, rounded to 16 bits."""
        values, exponent = np.empty(rows.shape, np.float16), np.zeros(len(rows), np.int16)
        step = rows_per_block(rows.shape[1])
        for begin in range(0, len(rows), step):
            some = slice(begin, begin + step)
            X = rows[some].astype(np.float32, copy=False)
            most = np.abs(X).max(axis=1, initial=0.0)
            beyond = (most > 0) & ((most < _LEAST) | (most >= _MOST))
            exponent[some] = np.where(beyond, np.frexp(most)[1], 0)
            values[some] = np.ldexp(X, -exponent[some, None]) if beyond.any() else X
        return cls(values, exponent)

    def take(self, order: Int64Array) -> StoredRows:
        """Return rows in an order."""
        return StoredRows(self.values.take(order, axis=0), self.exponent[order])

    def beside(self, others: StoredRows) -> StoredRows:
        """Return these rows and others after them."""
        return StoredRows(
            np.concatenate([self.values, others.values]), np.concatenate([self.exponent, others.exponent])
        )

    def prepared(self, prepare: Preparation, order: Int64Array) -> FloatMatrix:
        """Return rows in an order as they are searched: float32, (m, d); as `Preparation.rows`, but for rounding."""
        out = np.empty((len(order), self.values.shape[1]), np.float32)
        about = order, bits_of(self.values), self.exponent, prepare.metric == "cosine", prepare.center
        over_rows(kernel.widen, len(order), *about, out)
        return out
