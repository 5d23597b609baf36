"""Metrics: how points are prepared, scored while searching, and how a score becomes a similarity.

=============  =======================  =====================  ==============================
metric         rows of X                score (larger: nearer)  similarity s >= 0
=============  =======================  =====================  ==============================
cosine         of length 1              x.y                    max(0, min(1, x.y))
inner_product  as given                 x.y                    max(0, x.y)
l2             less a common mean       -|x-y|^2               1 / (1 + |x-y|)
=============  =======================  =====================  ==============================
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import faiss
import numba
import numpy as np
import numpy.typing as npt

from subsel.config import Metric
from subsel.fixedpoint import Int64Array

FloatMatrix = npt.NDArray[np.float32]
S = TypeVar("S", bound=npt.NDArray[Any])


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to every row before it is searched.

    Attributes:
        metric: see the module.
        center: float64, (d,): subtracted under L2, where it changes no distance but keeps float32 from cancelling on
            data far from the origin; zeros otherwise.
    """

    metric: Metric
    center: npt.NDArray[np.float64]

    @classmethod
    def of_sample(cls, rows: npt.NDArray[Any], metric: Metric) -> Preparation:
        """Return the preparation that fits a sample of raw rows, (m, d)."""
        mean = rows.mean(axis=0, dtype=np.float64) if metric == "l2" and len(rows) else np.zeros(rows.shape[1])
        return cls(metric, mean)

    def factor(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return what each row is multiplied by: float64, (b,).

        Args:
            rows: float32 or float64, (b, d); finite, and for cosine not zero.
        """
        if self.metric != "cosine":
            return np.ones(len(rows))
        return np.asarray(1 / np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))

    def rows(self, rows: npt.NDArray[Any], out: FloatMatrix | None = None) -> FloatMatrix:
        """Return rows as float32, C order: for cosine of length 1, for L2 centred. A copy, unless told where to write.

        Args:
            rows: float16, float32 or float64, (b, d); finite, and for cosine not zero.
            out: float32, (b, d): where they are written; the rows themselves will do.
        """
        if out is None:
            out = np.empty(rows.shape, np.float32)
        if rows.dtype == np.float16:
            rows = rows.astype(np.float32)
        if self.metric == "cosine":
            np.multiply(rows, self.factor(rows)[:, None], out=out, casting="same_kind")
        elif self.metric == "l2":
            np.subtract(rows, self.center, out=out, casting="same_kind")
        elif out is not rows:
            out[:] = rows
        return out


def rows_per_block(dimension: int) -> int:
    """Return how many rows to copy at a time: 16 MiB of float32, whatever the dimension."""
    return max(16, (4 << 20) // max(dimension, 1))


def copy_rows(rows: Callable[[Int64Array], FloatMatrix], order: Int64Array, dimension: int) -> FloatMatrix:
    """Return rows in an order, block by block, by as many threads as numba is given.

    Args:
        rows: returns float32, (b, d), of b row numbers.
        order: int64, (n,): row numbers.
        dimension: d.
    """
    X = np.empty((len(order), dimension), np.float32)
    threads = numba.get_num_threads()
    step = max(16, rows_per_block(dimension) // threads)  # what they hold beside X does not grow with threads

    def copy(begin: int) -> None:
        X[begin : begin + step] = rows(order[begin : begin + step])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(copy, range(0, len(order), step)))
    return X


def with_themselves(X: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the inner product of each row with itself: float64, (n,), the same however rows are cut into blocks."""
    out = np.empty(len(X), np.float64)
    step = rows_per_block(X.shape[1])
    for begin in range(0, len(X), step):
        out[begin : begin + step] = np.square(X[begin : begin + step], dtype=np.float64).sum(axis=1)
    return out


def faiss_metric(metric: Metric) -> int:
    """Return faiss' constant for the metric's score."""
    return int(faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def score_at(similarity: float, metric: Metric) -> float:
    """Return the score above which `similarity_of_scores` is above a similarity: -inf where all are, inf where none."""
    if metric != "inner_product" and similarity >= 1:
        return np.inf
    if similarity < 0 or (metric == "l2" and similarity == 0):
        return -np.inf
    return similarity if metric != "l2" else -((1 / similarity - 1) ** 2)


def similarity_of_scores(score: S, metric: Metric) -> S:
    """Turn scores (float32 or float64) into similarities, in place; -inf (no neighbour) becomes 0."""
    if metric == "l2":
        np.negative(score, out=score)
        np.maximum(score, 0, out=score)
        np.sqrt(score, out=score)
        np.add(score, 1, out=score)
        np.reciprocal(score, out=score)
    else:
        np.clip(score, 0, 1 if metric == "cosine" else None, out=score)
    return score
