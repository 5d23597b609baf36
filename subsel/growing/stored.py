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

    def joined(self, others: StoredRows, number: Int64Array) -> StoredRows:
        """Return these rows and others where they belong: ``number``, int64, (n + m,), of these first."""
        n, m = len(self.exponent), len(others.exponent)
        values, exponent = np.empty((n + m, self.values.shape[1]), np.float16), np.empty(n + m, np.int16)
        for rows, to in ((self, number[:n]), (others, number[n:])):
            over_rows(kernel.scatter, len(to), to, bits_of(rows.values), bits_of(values))
            exponent[to] = rows.exponent
        return StoredRows(values, exponent)

    def prepared(self, prepare: Preparation, order: Int64Array) -> FloatMatrix:
        """Return rows in an order as they are searched: float32, (m, d); as `Preparation.rows`, but for rounding."""
        return PreparedRows(self, prepare).take(order)


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """Stored rows as they are searched, where they are asked for: all of them would be twice as large."""

    rows: StoredRows
    prepare: Preparation

    @property
    def kept(self) -> tuple[Any, ...]:
        """What `subsel.growing.kernel.widen` takes."""
        unit, center = self.prepare.metric == "cosine", self.prepare.center
        return bits_of(self.rows.values), self.rows.exponent, unit, center

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows.exponent)

    def __getitem__(self, some: slice | npt.NDArray[Any]) -> FloatMatrix:
        """Return some rows: float32, (b, d)."""
        return self.take(np.arange(*some.indices(len(self))) if isinstance(some, slice) else some)

    def take(self, order: Int64Array) -> FloatMatrix:
        """Return rows in an order: float32, (m, d)."""
        out = np.empty((len(order), self.rows.values.shape[1]), np.float32)
        over_rows(kernel.widen, len(order), order, self.kept, out)
        return out
