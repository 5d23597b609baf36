"""Vectors as a graph keeps them: 16 bits a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from subsel.embeddings.metrics import FloatMatrix, Preparation
from subsel.embeddings.search import blocks
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array
from subsel.growing import rows_kernel
from subsel.halves import bits_of
from subsel.threads import over_rows

#: Rows whose largest value is in between are kept as they are: what is of 16 bits or fewer already loses nothing.
_LEAST, _MOST = 2.0**-6, 2.0**15
#: Rows stay where they are while no more than one in so many has joined or left.
_MOVED = 8


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

        def put(some: slice) -> None:
            X = rows[some].astype(np.float32, copy=False)
            most = np.abs(X).max(axis=1, initial=0.0)
            beyond = (most > 0) & ((most < _LEAST) | (most >= _MOST))
            exponent[some] = np.where(beyond, np.frexp(most)[1], 0)
            values[some] = np.ldexp(X, -exponent[some, None]) if beyond.any() else X

        with blocks() as run:
            run(put, len(rows))
        return cls(values, exponent)

    def __len__(self) -> int:
        return len(self.exponent)

    def take(self, order: Int64Array) -> StoredRows:
        """Return rows in an order."""
        return StoredRows(self.values.take(order, axis=0), self.exponent[order])

    def and_then(self, others: StoredRows) -> StoredRows:
        """Return these rows and others behind them."""
        values, exponent = (self.values, others.values), (self.exponent, others.exponent)
        return StoredRows(np.concatenate(values), np.concatenate(exponent))

    def prepared(self, prepare: Preparation, order: Int64Array) -> FloatMatrix:
        """Return rows in an order as they are searched: float32, (m, d); as `Preparation.rows`, but for rounding."""
        return PreparedRows(PlacedRows.of(self), prepare).take(order)


@dataclass(frozen=True, slots=True)
class PlacedRows:
    """Rows in an order that they do not stand in: where few join or leave, nothing else is moved.

    Attributes:
        first: many of them, and some that have left.
        later: those that have joined since these stood in order, and left.
        place: int32, (n,): where each stands among both, those of ``later`` behind those of ``first``.
    """

    first: StoredRows
    later: StoredRows
    place: Int32Array

    @classmethod
    def of(cls, rows: StoredRows) -> Self:
        """Return rows as they stand."""
        return cls(rows, StoredRows(rows.values[:0], rows.exponent[:0]), np.arange(len(rows), dtype=np.int32))

    def __len__(self) -> int:
        return len(self.place)

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return int(self.first.values.shape[1])

    def take(self, order: Int64Array) -> PlacedRows:
        """Return rows in an order."""
        return replace(self, place=self.place[order])._tidy()

    def joined(self, others: StoredRows, number: Int64Array) -> PlacedRows:
        """Return these rows and others where they belong: ``number``, int64, (n + m,), of these first."""
        end = len(self.first) + len(self.later)
        place = np.empty(len(number), np.int32)
        place[number] = np.concatenate([self.place, np.arange(end, end + len(others), dtype=np.int32)])
        return PlacedRows(self.first, self.later.and_then(others), place)._tidy()

    def stored(self) -> StoredRows:
        """Return the rows so that they stand in their order: themselves if they do."""
        n = len(self)
        if n == len(self.first) and (self.place == np.arange(n)).all():
            return self.first
        values, exponent = np.empty((n, self.dimension), np.float16), np.empty(n, np.int16)
        over_rows(rows_kernel.gather, n, *self._arrays(), bits_of(values), exponent)
        return StoredRows(values, exponent)

    def kept(self, prepare: Preparation) -> tuple[Any, ...]:
        """Return what `subsel.growing.rows_kernel.widen_row` takes first."""
        return *self._arrays(), prepare.metric == "cosine", prepare.center

    def _tidy(self) -> PlacedRows:
        """Return rows that stand in their order if many do not, or many have left."""
        gone = len(self.first) + len(self.later) - len(self)
        return PlacedRows.of(self.stored()) if _MOVED * (len(self.later) + gone) > len(self) else self

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        both = self.first.values, self.first.exponent, self.later.values, self.later.exponent
        return self.place, *(_read_only(bits_of(one)) for one in both)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view that is not written to: for compiled loops that is a type of its own, and all are to be of one."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """Rows of a graph as they are searched, where they are asked for: all of them would be twice as large."""

    rows: PlacedRows
    prepare: Preparation

    @property
    def kept(self) -> tuple[Any, ...]:
        """What `subsel.growing.rows_kernel.widen_row` takes first."""
        return self.rows.kept(self.prepare)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, some: slice | npt.NDArray[Any]) -> FloatMatrix:
        """Return some rows: float32, (b, d)."""
        return self.take(np.arange(*some.indices(len(self))) if isinstance(some, slice) else some)

    def take(self, order: Int64Array) -> FloatMatrix:
        """Return rows in an order: float32, (m, d)."""
        out = np.empty((len(order), self.rows.dimension), np.float32)
        over_rows(rows_kernel.widen, len(order), order, self.kept, out)
        return out
