"""Which points are near any row of a reference: exactly, whatever blocks and matrices they come in.

A product of float32 matrices tells of almost all points. Its last bits depend on the matrices' shapes, though, so pairs
as close to the limit as float32 may err are compared once more, as they were read, in float64 and in one order of
summation. So what comes out depends on the two vectors and on nothing else: it is the same on every engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled
from subsel.config import Metric
from subsel.embeddings.metrics import FloatMatrix, Preparation, score_at
from subsel.embeddings.search import scores
from subsel.threads import blas_threads

BoolArray = npt.NDArray[np.bool_]

#: Points, and rows of the reference, of one product.
_BLOCK, _REFERENCE_BLOCK = 2_048, 4_096
#: Metrics by the numbers that kernels know them by.
METRICS: tuple[Metric, ...] = ("cosine", "inner_product", "l2")


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows that points are compared with.

    Attributes:
        metric: see `subsel.embeddings.metrics`.
        limit: a similarity of at least 0: who is more similar to any row is near.
        rows: float32, (m, d), as checked.
        prepare: what is done to rows before products.
        prepared: float32, (m, d).
        longest: length of the longest prepared row.
    """

    metric: Metric
    limit: float
    rows: FloatMatrix
    prepare: Preparation
    prepared: FloatMatrix
    longest: float

    @classmethod
    def of(cls, rows: FloatMatrix, metric: Metric, limit: float) -> Reference:
        """Return a reference of checked rows, float32, (m, d), m ≥ 1."""
        prepare, prepared = prepared_rows(rows, metric)
        return cls(metric, limit, rows, prepare, prepared, float(lengths_of(prepared).max()))

    @property
    def dimension(self) -> int:
        """Values of each row."""
        return int(self.rows.shape[1])

    def near(self, rows: FloatMatrix) -> BoolArray:
        """Return which of some points, float32, (b, d), as checked, are near: bool, (b,)."""
        out = np.zeros(len(rows), np.bool_)
        with blas_threads(numba.get_num_threads()):
            for begin in range(0, len(rows), _BLOCK):
                out[begin : begin + _BLOCK] = self._near(rows[begin : begin + _BLOCK])
        return out

    def _near(self, rows: FloatMatrix) -> BoolArray:
        found, least = np.zeros(len(rows), np.bool_), self._least_score()
        if least == np.inf:  # no similarity is above the limit
            return found
        prepared = self.prepare.rows(rows)
        squares = np.einsum("ij,ij->i", prepared, prepared) if self.metric == "l2" else None
        margin = self._margin(lengths_of(prepared))
        for begin in range(0, len(self.rows), _REFERENCE_BLOCK):
            some = slice(begin, begin + _REFERENCE_BLOCK)
            block = scores(prepared, self.prepared[some], squares, self.metric)
            best = block.max(axis=1)
            found |= best > least + margin
            close = np.flatnonzero(~found & (best >= least - margin))
            if len(close):
                about = block[close], least - margin[close], METRICS.index(self.metric), self.limit
                found[close] = _any_above(rows[close], self.rows[some], *about)
            if found.all():
                break
        return found

    def _least_score(self) -> float:
        """Return the score at which a similarity is at the limit, finite for the sake of margins."""
        if self.limit <= 0 and self.metric != "l2":  # similarities are cut off there, scores are not
            return self.limit
        return max(score_at(self.limit, self.metric), -np.finfo(np.float64).max / 4)

    def _margin(self, length: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return twice what float32 may err in the scores of prepared rows of some lengths: float64, (b,)."""
        beside = 1e-9 * abs(self._least_score()) if self.metric == "l2" else 0.0
        size = size_of_scores(length, self.longest, self.metric)
        margin: npt.NDArray[np.float64] = error_of_scores(size, self.dimension) + beside
        return margin


def prepared_rows(rows: FloatMatrix, metric: Metric) -> tuple[Preparation, FloatMatrix]:
    """Return what is done to checked rows, float32, (m, d), before products, and these rows, not copied in vain."""
    prepare = Preparation.of_sample(rows, metric)
    return prepare, rows if metric == "inner_product" else prepare.rows(rows)


def size_of_scores(one: Any, other: Any, metric: Metric) -> Any:
    """Return the most that the terms of scores of rows of some lengths sum to, without their signs."""
    return (one + other) ** 2 if metric == "l2" else one * other


def error_of_scores(size: Any, dimension: int) -> Any:
    """Return twice what float32 may err in scores of some sizes (`size_of_scores`).

    A sum of d rounded products errs by at most d units in the last place of the sum of their sizes, whatever its
    order (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), and rounded rows add a few.
    """
    return (dimension + 8) * (2.0**-23 * size + 2.0**-124)


def lengths_of(rows: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the lengths of rows: float64, (b,)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))


@compiled()
def similarity_of_pair(x: Any, y: Any, metric: int) -> Any:
    """Return the similarity of two vectors in float64, summed in one order everywhere, not cut off at 0 and 1.

    Args:
        x: float32, (d,), as checked.
        y: likewise.
        metric: number of the metric in `METRICS`.
    """
    total, xx, yy = np.zeros(4), np.zeros(4), np.zeros(4)
    for j in range(len(x)):
        a, b = np.float64(x[j]), np.float64(y[j])
        lane = j & 3
        if metric == 2:
            total[lane] += (a - b) * (a - b)
        else:
            total[lane] += a * b
        if metric == 0:
            xx[lane] += a * a
            yy[lane] += b * b
    value = (total[0] + total[1]) + (total[2] + total[3])
    if metric == 2:
        return 1.0 / (1.0 + math.sqrt(value))
    if metric == 0:
        return value / math.sqrt(((xx[0] + xx[1]) + (xx[2] + xx[3])) * ((yy[0] + yy[1]) + (yy[2] + yy[3])))
    return value


@compiled(parallel=True)
def _any_above(rows: Any, reference: Any, score: Any, least: Any, metric: int, limit: float) -> Any:
    """Return of each row whether any pair with a score that may be enough is above the limit: bool, (b,).

    Args:
        rows: float32, (b, d), as checked.
        reference: float32, (m, d), likewise.
        score: float32, (b, m).
        least: float64, (b,): scores below are not enough for sure.
        metric: see `similarity_of_pair`.
        limit: similarity.
    """
    out = np.zeros(len(rows), np.bool_)
    for i in numba.prange(len(rows)):
        for j in range(len(reference)):
            if score[i, j] >= least[i] and similarity_of_pair(rows[i], reference[j], metric) > limit:
                out[i] = True
                break
    return out
