"""k-means, and the nearest of some rows, as blocks of matrix products on as many threads as numba is given.

Not faiss', whose package for Python brings matrix products of 2021: on processors that are newer they run on the
instructions of older ones (docs/decisions/0037-products-of-numpy.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from subsel.config import Metric
from subsel.embeddings import merge_kernel
from subsel.embeddings.metrics import FloatMatrix
from subsel.embeddings.search import blocks, scores

#: More of them make no better lists.
_ITERATIONS = 5
#: Rows that a block of others meets in one product: the scores stay in cache.
_OTHERS = 1024
#: By how much the centroids of a cell that is cut in two differ.
_NUDGE = np.float32(1 / 1024)


def nearest_rows(
    X: FloatMatrix, others: FloatMatrix, count: int, metric: Metric
) -> tuple[FloatMatrix, npt.NDArray[np.int32]]:
    """Return the nearest of some rows to each row of X.

    Args:
        X: float32, (b, d), prepared rows.
        others: float32, (c, d), likewise.
        count: how many are wanted.
        metric: see `subsel.embeddings.metrics`.

    Returns:
        Scores, float32, (b, count), falling, and numbers of rows, int32, of equal scores the smaller first; -inf and -1
        where there are fewer.
    """
    which, score = np.full((len(X), count), -1, np.int32), np.full((len(X), count), -np.inf, np.float32)

    def meet(some: slice) -> None:
        squares = np.einsum("ij,ij->i", X[some], X[some]) if metric == "l2" else None
        for first in range(0, len(others), _OTHERS):
            block = scores(X[some], others[first : first + _OTHERS], squares, metric)
            merge_kernel.merge_among(block, np.arange(len(block)), first, which[some], score[some])

    if count:
        with blocks() as run:
            run(meet, len(X))
    return score, which


def kmeans(sample: FloatMatrix, k: int, metric: Metric, seed: int) -> FloatMatrix:
    """Return k centroids of a sample, or of as many as it has rows: float32, (k, d); of length 1 unless for L2.

    Lloyd's iterations from rows of the sample; a cell that becomes empty takes half of one of the fullest.

    Args:
        sample: float32, (m, d), prepared rows.
        k: wanted.
        metric: see `subsel.embeddings.metrics`.
        seed: of the rows to begin with.
    """
    m = len(sample)
    k = min(k, m)
    centroids = _scaled(sample[np.random.default_rng(seed).choice(m, k, replace=False)], metric)
    apart = 1 + np.where(np.arange(sample.shape[1]) % 2, _NUDGE, -_NUDGE)
    for _ in range(_ITERATIONS if k else 0):
        cell = nearest_rows(sample, centroids, 1, metric)[1].ravel()
        counts = np.bincount(cell, minlength=k)
        ends = np.concatenate([[0], np.cumsum(counts)])
        members = csr_matrix((np.ones(m, np.float32), np.argsort(cell, kind="stable"), ends), (k, m))
        centroids = np.asarray(members @ sample / np.maximum(counts, 1)[:, None], np.float32)
        empty = np.flatnonzero(counts == 0)
        full = np.argsort(-counts, kind="stable")[: min(len(empty), int((counts > 1).sum()))]
        centroids[empty[: len(full)]] = centroids[full] * apart
        centroids[full] *= 2 - apart
        centroids = _scaled(centroids, metric)
    return centroids


def _scaled(centroids: FloatMatrix, metric: Metric) -> FloatMatrix:
    """Return centroids as they are compared with: float32, (k, d), in C order."""
    if metric == "l2":
        return np.ascontiguousarray(centroids)
    length = np.linalg.norm(centroids, axis=1, keepdims=True)
    return np.ascontiguousarray(centroids / np.maximum(length, np.finfo(np.float32).tiny))
