"""k nearest neighbours inside one part: cell by cell as matrix products, then neighbour-of-neighbour refinement."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import faiss
import numba
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from subsel.config import Metric
from subsel.embeddings import kernel
from subsel.embeddings.metrics import FloatMatrix, faiss_metric
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array

#: Queries of one block: enough for large matrix products, few enough for scores to stay in cache until merged.
_BLOCK_ROWS = 4096

Progress = Callable[[float], None]


def search_cells(
    X: FloatMatrix,
    bounds: Int64Array,
    probes: npt.NDArray[np.int32],
    k: int,
    metric: Metric,
    progress: Progress = lambda share: None,
) -> tuple[Int32Array, npt.NDArray[np.float32]]:
    """Return each point's k nearest among the points of the cells that it probes.

    All points of a block that probe a cell meet all of the cell's points in one matrix product, merged into
    a running top-k. Never one query at a time: that is what makes it several times faster than an
    inverted-file index (docs/benchmarks.md). Blocks run on as many threads as numba is given, each with
    single-threaded BLAS; the result does not depend on their number.

    Args:
        X: float32, (n, d), prepared rows sorted by cell.
        bounds: int64, (n_cells+1,): the run of each cell in X.
        probes: int32, (n, p): cells that each point searches; -1 for none; no repeats in a row.
        k: neighbours wanted.
        metric: see `subsel.embeddings.metrics`.
        progress: called now and then with the share done.

    Returns:
        best (int32, (n, k), -1 where fewer were met) and score (float32, (n, k), -inf there), sorted.
    """
    n = len(X)
    best = np.full((n, k), -1, np.int32)
    score = np.full((n, k), -np.inf, np.float32)
    squares = np.einsum("ij,ij->i", X, X) if metric == "l2" else None

    def search_block(begin: int) -> None:
        end = min(begin + _BLOCK_ROWS, n)
        asked = probes[begin:end]
        by_cell = np.argsort(asked, axis=None, kind="stable")
        queries = (begin + by_cell // asked.shape[1]).astype(np.int32)
        cells, starts = np.unique(asked.ravel()[by_cell], return_index=True)
        for cell, start, stop in zip(cells, starts, [*starts[1:], len(queries)], strict=True):
            if cell < 0:
                continue
            first, last = int(bounds[cell]), int(bounds[cell + 1])
            rows = queries[start:stop]
            block = X[rows] @ X[first:last].T
            if squares is not None:
                block *= 2
                block -= squares[rows, None]
                block -= squares[None, first:last]
            kernel.merge_block(block, rows, first, best, score)

    blocks = range(0, n, _BLOCK_ROWS)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for done, _ in enumerate(pool.map(search_block, blocks), 1):
            progress(done / len(blocks))
    kernel.rescore(X, best, score, metric == "l2")
    return best, score


def descend(
    X: FloatMatrix,
    best: Int32Array,
    score: npt.NDArray[np.float32],
    passes: int,
    metric: Metric,
    progress: Progress = lambda share: None,
) -> tuple[Int32Array, npt.NDArray[np.float32]]:
    """Improve neighbours by looking at neighbours of neighbours, ``passes`` times or until nothing changes.

    This is what embeddings of high intrinsic dimension need, where near points often lie in cells that
    neither probes (NN-descent, Dong et al. 2011).

    Args:
        X: float32, (n, d), prepared rows in cell order.
        best: int32, (n, k), as `search_cells` returns it.
        score: float32, (n, k).
        passes: upper limit, 0 for none.
        metric: see `subsel.embeddings.metrics`.
        progress: called after each pass with the share done.
    """
    fresh = np.ones(best.shape, np.bool_)
    width = min(kernel.MAX_REVERSE, 2 * best.shape[1])
    for number in range(passes):
        reverse = kernel.reverse_lists(best, width)
        new = np.empty_like(best), np.empty_like(score), np.empty_like(fresh)
        changed = kernel.descend(X, best, score, reverse, fresh, metric == "l2", *new)
        best, score, fresh = new
        progress((number + 1) / passes)
        if changed == 0:
            break
    return best, score


def estimate_recall(
    X: FloatMatrix, best: Int32Array, score: npt.NDArray[np.float32], sample: Int64Array, metric: Metric
) -> float:
    """Return recall@k on a sample: the share of exact neighbours that were found, by exact search over X.

    A found point as near as the k-th exact one counts, so that ties and duplicates do.

    Args:
        X: float32, (n, d), prepared rows.
        best: int32, (n, k).
        score: float32, (n, k), of ``best``.
        sample: int64, (q,): the points asked about.
        metric: see `subsel.embeddings.metrics`.
    """
    k = min(best.shape[1], len(X) - 1)
    if k == 0 or len(sample) == 0:
        return 1.0
    queries = np.ascontiguousarray(X[sample])
    _, found = faiss.knn(queries, X, k + 1, metric=faiss_metric(metric))
    # faiss finds the point itself too, unless duplicates crowd it out; either way k others remain.
    exact = np.empty((len(sample), k), np.int32)
    for i, row in enumerate(found):
        others = row[row != sample[i]]
        exact[i] = others[:k]
    exact_score = np.zeros(exact.shape, np.float32)
    _score_pairs(X, sample, exact, exact_score, metric)
    kth = exact_score.min(axis=1)
    return float((score[sample, :k] >= kth[:, None] - 1e-6 * np.abs(kth[:, None])).mean())


def _score_pairs(
    X: FloatMatrix, points: Int64Array, others: Int32Array, out: npt.NDArray[np.float32], metric: Metric
) -> None:
    for i, point in enumerate(points):
        rows = X[others[i]]
        out[i] = -np.square(rows - X[point]).sum(axis=1) if metric == "l2" else rows @ X[point]
