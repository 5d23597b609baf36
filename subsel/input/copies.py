"""Copies: points of equal vectors are one point, of which the best stays. The rules, and their numpy executor.

Vectors are equal if they are once prepared. Under cosine, where only direction counts: values over their length, as
float32 rounded to `MANTISSA_BITS`; a vector times a power of two is always a copy of it, times another number only
where float32's own rounding does not show. Under the other metrics: float32 as it is. 0.0 and -0.0 are equal.

Of equal points the one of the largest utility stays (of several things that it is made of the first decides; of those
that nothing stores none does), then the one of the largest code. Points that are included stay in any case, and a set
that has some loses all others. Excluding a point excludes its copies, but those that are included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsel.codes import GOLDEN, finalize, rows_with_equal_codes
from subsel.compiling import compiled, inlined, inner
from subsel.config import Metric
from subsel.errors import ConfigError, InputError, option
from subsel.fixedpoint import Int64Array
from subsel.halves import bits_of, number
from subsel.input.checked import CheckedBatch
from subsel.input.ids import shown
from subsel.report import InputReport
from subsel.threads import over_rows

#: Bits of the mantissa by which directions are compared; float32 has 23.
MANTISSA_BITS = 20
#: Beside the id of a point that was merged, in a run directory's table of them: that of the point that stays for it.
OF = "of"

#: Returns a number for each row of a batch, int64, (b,): rows of different numbers are never copies of each other.
Classes = Callable[[CheckedBatch], Int64Array]

_HALF, _ROUNDED = np.uint64(1 << (22 - MANTISSA_BITS)), np.uint64(2**32 - (1 << (23 - MANTISSA_BITS)))
_NO_SIGN = np.uint64(2**31 - 1)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x9FB21C651E98DF25)


@dataclass(frozen=True, slots=True)
class Copies:
    """Points that were merged into others.

    Attributes:
        ids: (c,), as they are kept.
        code: int64, (c,): see `subsel.codes`.
        rows: int64, (c,): of the input.
        of: (c,): ids of the points that stay for them.
    """

    ids: pa.Array
    code: Int64Array
    rows: Int64Array
    of: pa.Array

    def place(self, ids: pa.Array) -> Int64Array:
        """Return which of these copies some ids name: int64, ascending."""
        found = pc.index_in(ids, value_set=self.ids).drop_null()
        return np.sort(np.asarray(found.to_numpy(), np.int64))

    def stand_ins(self, some: Int64Array, ids: pa.Array) -> Int64Array:
        """Return where, among the ids of points, those are that stay for some copies: int64, ascending, each once."""
        found = pc.index_in(self.of.take(pa.array(some)), value_set=ids).drop_null()
        return np.unique(np.asarray(found.to_numpy(), np.int64))

    def multiplicity(self, ids: pa.Array) -> Int64Array:
        """Return how many points each point with an id stands for, itself among them: int64, (n,)."""
        found = pc.index_in(self.of, value_set=ids).drop_null()
        return np.bincount(np.asarray(found.to_numpy(), np.int64), minlength=len(ids)).astype(np.int64) + 1

    def refuse(self, some: Int64Array, count: int, what: str, kind: pa.DataType, remedy: str) -> None:
        """Raise if some copies are named where only points can be.

        Args:
            some: which.
            count: ids that were named with them.
            what: whose ids, for messages.
            kind: the user's type of ids.
            remedy: see `merged_away`.

        Raises:
            InputError: there are any.
        """
        if len(some):
            one, other = (shown(ids[int(some[0]) : int(some[0]) + 1], kind)[0] for ids in (self.ids, self.of))
            raise merged_away(what, len(some), count, one, other, remedy)


#: What to do about copies that are named in a subset to score, and among points that a run directory's graph lacks.
SCORE_POINTS = f"give the points that stay, or score with {option('copies', 'keep')}"
MAKE_ANEW = f"choose another {option('run_dir')}, so that they stay"


def merged_away(what: str, found: int, count: int | None, one: Any, other: Any, remedy: str) -> InputError:
    """Return the error for ids of copies where only points can be.

    Args:
        what: whose ids.
        found: how many.
        count: of how many; None: not known.
        one: an example.
        other: what it is a copy of.
        remedy: what to do.
    """
    of = "" if count is None else f" of {count:,}"
    return InputError(
        f"{found:,}{of} ids of {what} are of points that were merged into others of equal vectors, such as {one!r}, a "
        f"copy of {other!r}: {remedy}."
    )


@dataclass(frozen=True, slots=True)
class Wishful:
    """What wishes have to do with copies.

    Attributes:
        kept: included points that stay by that alone.
        twins: included points that are copies of other included ones.
        spared: included points that are copies of excluded ones.
    """

    kept: int = 0
    twins: int = 0
    spared: int = 0

    def warning(self) -> str | None:
        """Return what to say of it, if anything."""
        told = [f"{self.twins:,} points that are copies of each other"] * (self.twins > 0)
        told += [f"{self.spared:,} that are copies of points in {option('exclude')}"] * (self.spared > 0)
        return f"{option('include')} has {' and '.join(told)}: all of them stay" if told else None


def check_left(points: InputReport, k: int) -> None:
    """Say that fewer points are left than the most that will be selected.

    Raises:
        ConfigError: see above.
    """
    if points.distinct < k:
        raise ConfigError(
            f"{points.name} has {points.distinct:,} points that differ, and {points.copies:,} copies of them, but "
            f"{k:,} are to be selected: lower {option('size')}, or count copies as points by "
            f"{option('copies', 'keep')}."
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Who is lost of n points, and to whom.

    Attributes:
        lost: int64, (c,), ascending.
        of: int64, (c,): who stays for each.
        wishful: what wishes have to do with that; of ``spared`` nothing is known here.
    """

    lost: Int64Array
    of: Int64Array
    wishful: Wishful


def find_copies(
    X: npt.NDArray[Any],
    utility: npt.NDArray[np.float64],
    code: Int64Array,
    included: npt.NDArray[np.bool_],
    metric: Metric,
    classes: Int64Array | None = None,
) -> Found | None:
    """Return who is a copy of whom; None where nobody is.

    Candidates have one hash; whether they are equal is then looked at, so that points which differ are never merged.

    Args:
        X: float32 or float16, (n, d), as checked.
        utility: float64, (n,): the first thing that it is made of.
        code: int64, (n,), unique.
        included: bool, (n,): who stays in any case.
        metric: see above.
        classes: int64, (n,): points of different classes are no copies of each other; None: all are of one.
    """
    some = np.empty(0, np.int64) if classes is None else classes
    marks = fingerprints(X, metric == "cosine", some)
    suspects = rows_with_equal_codes(marks[0].view(np.int64))
    if not suspects.size:
        return None
    member = suspects[np.lexsort((marks[1][suspects], marks[0][suspects]))]
    equal = np.zeros(len(member), np.bool_)
    about = bits_of(X), member, metric == "cosine", some, equal
    over_rows(_like_the_one_before, len(member), *about, scratch=partial(_rows_and_bits, 2, X.shape[1]))
    number = np.cumsum(~equal) - 1  # of each one's set
    keys, wished = (code[member], utility[member]), included[member]
    best = member[_last_of_each(number, *keys, wished)][number]
    alone = member[_last_of_each(number, *keys)][number]
    away = (best != member) & ~wished
    twin = wished & (np.bincount(number, wished)[number] > 1)
    if not (away.any() or twin.any()):
        return None
    wishful = Wishful(kept=int((wished & (alone != member)).sum()), twins=int(twin.sum()))
    order = np.argsort(member[away])
    return Found(member[away][order], best[away][order], wishful)


def _last_of_each(number: Int64Array, *keys: Any) -> Int64Array:
    """Return where the largest of each set is, by keys of which the last matters most: int64, (sets,)."""
    order = np.lexsort((*keys, number))
    last: Int64Array = order[np.append(np.diff(number[order]) > 0, True)]
    return last


def _rows_and_bits(count: int, dimension: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """Return room for rows as they are compared, and the same as bits: (count, d)."""
    rows = np.empty((count, dimension), np.float32)
    return rows, rows.view(np.uint32)


@inner()
def _prepare(row: Any, cosine: bool, out: Any) -> None:
    """Write a row as it is compared, but for rounding; summed in one order on every machine."""
    for j in range(len(row)):
        out[j] = number(row[j])
    length = 1.0
    if cosine:
        a = b = c = d = 0.0
        whole = len(row) - len(row) % 4
        for j in range(0, whole, 4):
            a += np.float64(out[j]) * np.float64(out[j])
            b += np.float64(out[j + 1]) * np.float64(out[j + 1])
            c += np.float64(out[j + 2]) * np.float64(out[j + 2])
            d += np.float64(out[j + 3]) * np.float64(out[j + 3])
        for j in range(whole, len(row)):
            a += np.float64(out[j]) * np.float64(out[j])
        length = math.sqrt((a + b) + (c + d))
    for j in range(len(row)):
        out[j] = np.float64(out[j]) / length


@inlined()
def _word(bits: Any, cosine: bool) -> Any:
    """Return a value's bits as they are compared: rounded, where directions are, and zero without a sign."""
    word = np.uint64(bits)
    if cosine:
        word = (word + _HALF) & _ROUNDED
    return word if word & _NO_SIGN else np.uint64(0)


def fingerprints(X: npt.NDArray[Any], cosine: bool, classes: Int64Array) -> npt.NDArray[np.uint64]:
    """Return a hash of 128 bits of each vector as it is compared, and of its class: uint64, (2, n).

    Args:
        X: float32 or float16, (n, d).
        cosine: whether directions are compared.
        classes: int64, (n,), or empty where all are of one.
    """
    out = np.empty((2, len(X)), np.uint64)
    over_rows(_fingerprints, len(X), bits_of(X), cosine, classes, out, scratch=partial(_rows_and_bits, 1, X.shape[1]))
    return out


@compiled(nogil=True)
def _fingerprints(begin: int, end: int, X: Any, cosine: bool, classes: Any, out: Any, scratch: Any) -> None:
    rows, bits = scratch
    for i in range(begin, end):
        _prepare(X[i], cosine, rows[0])
        kind = np.uint64(classes[i]) if len(classes) else np.uint64(0)
        one = finalize(kind + GOLDEN)
        two = finalize(one + GOLDEN)
        for word_of in bits[0]:
            word = _word(word_of, cosine)
            one = (one ^ word) * _MIX_1
            one ^= one >> np.uint64(32)
            two = (two ^ word) * _MIX_2
            two ^= two >> np.uint64(29)
        out[0, i], out[1, i] = finalize(one), finalize(two)


@compiled(nogil=True)
def _like_the_one_before(
    begin: int, end: int, X: Any, order: Any, cosine: bool, classes: Any, out: Any, scratch: Any
) -> None:
    """Write of rows in an order whether each is compared equal to the one before: bool, (m,)."""
    rows, bits = scratch
    for i in range(max(1, begin), end):
        a, b = order[i - 1], order[i]
        if len(classes) and classes[a] != classes[b]:
            continue
        _prepare(X[a], cosine, rows[0])
        _prepare(X[b], cosine, rows[1])
        equal = True
        for j in range(X.shape[1]):
            if _word(bits[0, j], cosine) != _word(bits[1, j], cosine):
                equal = False
                break
        out[i] = equal
