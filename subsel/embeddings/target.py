"""The nearest points of each row of a target set: exactly, whatever blocks and matrices points come in.

As in `subsel.embeddings.near`, a product of float32 matrices tells of almost all pairs; those that may be among the
nearest are compared once more, as they were read, in float64 and in one order of summation. So what comes out depends
on the vectors and on nothing else: it is the same on every engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled, inlined
from subsel.config import Metric
from subsel.embeddings.metrics import FloatMatrix, Preparation
from subsel.embeddings.near import (
    METRICS,
    error_of_scores,
    lengths_of,
    prepared_rows,
    similarity_of_pair,
    size_of_scores,
)
from subsel.embeddings.search import scores
from subsel.fixedpoint import Int64Array
from subsel.threads import blas_threads

#: Points, and rows of the target, of one product.
_BLOCK, _TARGET_BLOCK = 2_048, 4_096
#: How much below a similarity another may be that float32 rounds to the same.
_SAME = 1.0 - 2.0**-22


@dataclass(frozen=True, slots=True)
class TargetLists:
    """The nearest points of each row of a target set, among those that it has met.

    Attributes:
        metric: see `subsel.embeddings.metrics`.
        rows: float32, (m, d), as checked.
        prepare: what is done to rows before products.
        prepared: float32, (m, d).
        length: float64, (m,): lengths of prepared rows.
        code: int64, (m, k): codes of the nearest points (`subsel.codes`).
        similarity: float32, (m, k), falling, equal ones by falling code; 0 where there are fewer points that are
            similar at all.
    """

    metric: Metric
    rows: FloatMatrix
    prepare: Preparation
    prepared: FloatMatrix
    length: npt.NDArray[np.float64]
    code: Int64Array
    similarity: FloatMatrix

    @classmethod
    def of(cls, rows: FloatMatrix, metric: Metric, k: int) -> TargetLists:
        """Return empty lists of k points each for checked rows, float32, (m, d), m ≥ 1."""
        prepare, prepared = prepared_rows(rows, metric)
        lists = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k), np.float32)
        return cls(metric, rows, prepare, prepared, lengths_of(prepared), *lists)

    def empty(self, k: int) -> TargetLists:
        """Return empty lists of k points each for the same rows."""
        lists = np.zeros((len(self.rows), k), np.int64), np.zeros((len(self.rows), k), np.float32)
        return replace(self, code=lists[0], similarity=lists[1])

    def meet(self, code: Int64Array, rows: FloatMatrix) -> None:
        """Compare with more points: int64, (b,), and float32, (b, d), as checked."""
        with blas_threads(numba.get_num_threads()):
            for begin in range(0, len(rows), _BLOCK):
                self._meet(code[begin : begin + _BLOCK], rows[begin : begin + _BLOCK])

    def _meet(self, code: Int64Array, rows: FloatMatrix) -> None:
        prepared = self.prepare.rows(rows)
        length = lengths_of(prepared)
        for begin in range(0, len(self.rows), _TARGET_BLOCK):
            some = slice(begin, begin + _TARGET_BLOCK)
            mine = self.prepared[some]
            squares = np.einsum("ij,ij->i", mine, mine) if self.metric == "l2" else None
            score = scores(mine, prepared, squares, self.metric)
            error = error_of_scores(
                size_of_scores(self.length[some, None], length[None, :], self.metric), rows.shape[1]
            )
            found = self.code[some], self.similarity[some]
            _keep_nearest(self.rows[some], rows, code, score, error, METRICS.index(self.metric), *found)


@inlined()
def _enter(value: Any, who: Any, code: Any, similarity: Any) -> None:
    """Put a point at its place in one list, if it has one there."""
    at = len(similarity)
    while at > 0 and (similarity[at - 1] < value or (similarity[at - 1] == value and code[at - 1] < who)):
        at -= 1
    for place in range(len(similarity) - 1, at, -1):
        similarity[place], code[place] = similarity[place - 1], code[place - 1]
    if at < len(similarity):
        similarity[at], code[at] = value, who


@compiled(parallel=True)
def _keep_nearest(
    target: Any, rows: Any, who: Any, score: Any, error: Any, metric: int, code: Any, similarity: Any
) -> None:
    """Enter points into lists.

    Args:
        target: float32, (m, d), as checked.
        rows: float32, (b, d), likewise: the points.
        who: int64, (b,): their codes.
        score: float32, (m, b).
        error: float64, (m, b): what scores may err.
        metric: see `subsel.embeddings.near.similarity_of_pair`.
        code: int64, (m, k). Changed in place.
        similarity: float32, (m, k). Changed in place.
    """
    for t in numba.prange(len(target)):
        for j in range(len(rows)):
            least: Any = np.float64(similarity[t, -1]) * _SAME
            if metric == 2:  # score_at
                least = -((1.0 / least - 1.0) ** 2) * (1 + 1e-9) if least > 0 else -np.inf
            if score[t, j] < least - error[t, j]:
                continue
            value = similarity_of_pair(target[t], rows[j], metric)
            if metric == 0:
                value = min(value, 1.0)
            near = np.float32(value)
            if near > 0:
                _enter(near, who[j], code[t], similarity[t])


@compiled(parallel=True)
def merge_lists(other_code: Any, other: Any, code: Any, similarity: Any) -> None:
    """Enter what other lists of the same rows have, of other points, into lists.

    Args:
        other_code: int64, (m, k).
        other: float32, (m, k): similarities.
        code: int64, (m, k). Changed in place.
        similarity: float32, (m, k). Changed in place.
    """
    for t in numba.prange(len(code)):
        for j in range(other.shape[1]):
            if other[t, j] > 0:
                _enter(other[t, j], other_code[t, j], code[t], similarity[t])
