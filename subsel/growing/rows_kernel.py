"""Steps on rows of a graph that are kept as 16 bits a value: pure functions, compiled by numba.

Functions with ``begin`` and ``end`` are for `subsel.threads.over_rows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from subsel.compiling import compiled, inlined, inner
from subsel.halves import from_bits


@compiled(nogil=True)
def widen(begin: int, end: int, order: Any, kept: Any, out: Any) -> None:
    """Write rows of 16 bits a value as they are searched; see `subsel.growing.stored`.

    Args:
        begin: first of ``order``.
        end: after the last.
        order: int64, (m,): the rows.
        kept: what `widen_row` takes first.
        out: float32, (m, d), written.
    """
    place, first, first_exponent, later, later_exponent, unit, center = kept
    for at in range(begin, end):
        row = place[order[at]]  # as `widen_row`, but for a quarter of its time, which goes by counting references
        if row < len(first):
            values, exponent = first[row], first_exponent[row]
        else:
            values, exponent = later[row - len(first)], later_exponent[row - len(first)]
        if unit:
            _widen_to_unit(values, out[at])
        else:
            _widen_less(values, exponent, center, out[at])


@inlined()
def widen_row(
    place: Any,
    first: Any,
    first_exponent: Any,
    later: Any,
    later_exponent: Any,
    unit: bool,
    center: Any,
    v: int,
    out: Any,
) -> None:
    """Write one row as it is searched; it has the same bits wherever it is asked for.

    Kernels take the tuple of its first arguments apart once: doing so for each row takes a fifth as long as the row.

    Args:
        place: int32, (n,): where each row stands among two runs of rows.
        first: uint16, (a, d): of the first run the bits of values of 16 bits, all finite.
        first_exponent: int16, (a,): the power of two that a row is multiplied with.
        later: of the second run.
        later_exponent: likewise.
        unit: whether rows are to be of length 1.
        center: float64, (d,): else subtracted.
        v: the row.
        out: float32, (d,), written.
    """
    row = place[v]
    if row < len(first):
        values, exponent = first[row], first_exponent[row]
    else:
        values, exponent = later[row - len(first)], later_exponent[row - len(first)]
    if unit:
        _widen_to_unit(values, out)
    else:
        _widen_less(values, exponent, center, out)


@inner(fastmath={"reassoc", "contract"})
def _widen_to_unit(values: Any, out: Any) -> None:
    """Make a row of length 1, whatever power of two it is multiplied with."""
    squares, length = np.float32(0), len(out)
    for d in range(length):
        value = from_bits(values[d])
        squares += value * value
        out[d] = value
    factor = np.float32(1.0 / np.sqrt(np.float64(squares)))
    for d in range(length):
        out[d] *= factor


@inner(fastmath={"reassoc", "contract"})
def _widen_less(values: Any, exponent: int, center: Any, out: Any) -> None:
    power = 2.0 ** np.float64(exponent)
    for d in range(len(out)):
        out[d] = np.float64(from_bits(values[d])) * power - center[d]


@compiled(nogil=True)
def gather(
    begin: int,
    end: int,
    place: Any,
    first: Any,
    first_exponent: Any,
    later: Any,
    later_exponent: Any,
    values: Any,
    exponent: Any,
) -> None:
    """Put rows that stand in two runs in their order, see `widen_row`: uint16, (n, d), and int16, (n,), are written."""
    for v in range(begin, end):
        at = place[v]
        if at < len(first):
            values[v], exponent[v] = first[at], first_exponent[at]
        else:
            values[v], exponent[v] = later[at - len(first)], later_exponent[at - len(first)]
