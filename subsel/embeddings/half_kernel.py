"""Compiled loops on rows, and on rows that are kept as 16 bits a value; see `subsel.embeddings.rows`.

``values`` (uint16, (n, d)) are the bits of float16, ``center`` (float64, (d,)) is subtracted of each row, which
is multiplied by ``factor`` (float64, (n,)) and rounded to float32 then: what `Preparation.rows` does, to the last bit.
Functions with ``begin`` and ``end`` are for `subsel.threads.over_rows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled, inlined
from subsel.embeddings.kernel import _score
from subsel.embeddings.merge_kernel import _insert_at
from subsel.halves import from_bits


@inlined()
def _unpack_row(values: Any, center: Any, factor: Any, row: int, out: Any, at: int) -> None:
    times = factor[row]
    for d in range(values.shape[1]):
        out[at, d] = np.float32((np.float64(from_bits(values[row, d])) - center[d]) * times)


@compiled(nogil=True)
def unpack(values: Any, center: Any, factor: Any, rows: Any, out: Any) -> None:
    """Write some rows (int32 or int64, (b,)) as they are searched: float32, (b, d)."""
    for i in range(len(rows)):
        _unpack_row(values, center, factor, rows[i], out, i)


@compiled(nogil=True)
def rescore(
    begin: int, end: int, values: Any, center: Any, factor: Any, best: Any, score: Any, l2: bool, pair: Any
) -> None:
    """Do to lists what `subsel.embeddings.kernel.rescore` does; ``pair``, float32, (2, d), is for two rows."""
    for v in range(begin, end):
        _unpack_row(values, center, factor, v, pair, 0)
        for a in range(best.shape[1]):
            j, value = best[v, a], np.float32(-np.inf)
            if j >= 0:
                _unpack_row(values, center, factor, j, pair, 1)
                value = _score(pair, 0, 1, l2)
            _insert_at(best, score, v, a, j, value)


@compiled(nogil=True)
def permute(X: Any, order: Any, first: int, last: int, done: Any, kept: Any) -> None:
    """Put rows in an order within their array, in columns from ``first`` to ``last``: row i becomes that of order[i].

    Args:
        X: (n, d), changed in place. Releases the GIL; two threads may permute different columns at once.
        order: int64, (n,): a permutation.
        first: column.
        last: column after the last.
        done: bool, (n,): False.
        kept: (last-first,), of the type of ``X``.
    """
    for start in range(len(order)):
        if done[start] or order[start] == start:
            continue
        for d in range(first, last):
            kept[d - first] = X[start, d]
        at = start
        while order[at] != start:
            done[at] = True
            for d in range(first, last):
                X[at, d] = X[order[at], d]
            at = order[at]
        done[at] = True
        for d in range(first, last):
            X[at, d] = kept[d - first]
