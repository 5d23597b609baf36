"""k nearest neighbours inside one part: cell by cell as matrix products, then neighbour-of-neighbour refinement."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from subsel.config import Metric
from subsel.embeddings import kernel
from subsel.embeddings.metrics import FloatMatrix
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array

#: Points of one block, enough for large matrix products; and at least so many blocks, for threads to share. Both follow
#: from the data alone, so the graph does.
_BLOCK_ROWS = 16_384
_BLOCKS = 32
#: Queries of one matrix product, so that its scores take little memory where all of a block probe one cell.
_PRODUCT_ROWS = 4096

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

    All points of a block that probe a cell meet all of the cell's points in one matrix product, merged into a
    running top-k. Never one query at a time, as an inverted-file index does. Blocks run on as many threads as numba
    is given, each with single-threaded BLAS; the result does not depend on their number.

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

    step = max(1, min(_BLOCK_ROWS, -(-n // _BLOCKS)))

    def search_block(begin: int) -> None:
        end = min(begin + step, n)
        asked = probes[begin:end]
        by_cell = np.argsort(asked, axis=None, kind="stable")
        queries = (begin + by_cell // asked.shape[1]).astype(np.int32)
        cells, starts = np.unique(asked.ravel()[by_cell], return_index=True)
        for cell, start, stop in zip(cells, starts, [*starts[1:], len(queries)], strict=True):
            if cell < 0:
                continue
            first, last = int(bounds[cell]), int(bounds[cell + 1])
            for at in range(start, stop, _PRODUCT_ROWS):
                rows = queries[at : min(at + _PRODUCT_ROWS, stop)]
                block = scores(X[rows], X[first:last], None if squares is None else squares[rows], metric)
                kernel.merge_block(block, rows, first, best, score)

    blocks = range(0, n, step)
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
    improved: npt.NDArray[np.bool_] | None = None,
) -> tuple[Int32Array, npt.NDArray[np.float32]]:
    """Improve neighbours: offer each point to its neighbours, then look at neighbours of neighbours.

    The latter ``passes`` times or until nothing changes: it is what embeddings of high intrinsic dimension need, where
    near points often lie in cells that neither probes (NN-descent, Dong et al. 2011).

    Args:
        X: float32, (n, d), prepared rows in cell order.
        best: int32, (n, k), as `search_cells` returns it.
        score: float32, (n, k).
        passes: upper limit; 0 offers points to their neighbours only.
        metric: see `subsel.embeddings.metrics`.
        progress: called after each pass with the share done.
        improved: bool, (n,): whose neighbours of neighbours to look at; everybody's if None.
    """
    improved = np.ones(len(X), np.bool_) if improved is None else improved
    fresh = np.ones(best.shape, np.bool_)
    k = best.shape[1]
    width = min(kernel.MAX_REVERSE, 2 * k)
    back = np.empty_like(best), np.empty_like(score)
    kernel.take_back(best, score, kernel.reverse_lists(best, width), *back)
    best, score = back
    slots = max(kernel.MIN_SEEN_SLOTS, 1 << (16 * k - 1).bit_length())
    for number in range(passes):
        reverse = kernel.reverse_lists(best, width)
        new = np.empty_like(best), np.empty_like(score), np.empty_like(fresh)
        changed = kernel.descend(X, best, score, reverse, fresh, improved, metric == "l2", slots, *new)
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
    squares = np.square(queries).sum(axis=1) if metric == "l2" else None
    exact = np.full((len(sample), k), -np.inf, np.float32)
    for first in range(0, len(X), _PRODUCT_ROWS):
        rows = X[first : first + _PRODUCT_ROWS]
        block = scores(queries, rows, squares, metric)
        inside = np.flatnonzero((sample >= first) & (sample < first + len(rows)))
        block[inside, sample[inside] - first] = -np.inf  # a point is no neighbour of itself
        merge_scores(block, exact)
    kth = exact[:, -1:]
    return float((score[sample, :k] >= kth - 1e-5 * np.maximum(np.abs(kth), 1e-3)).mean())


def merge_scores(block: npt.NDArray[np.float32], best: npt.NDArray[np.float32]) -> None:
    """Merge scores, (q, m), into the running top-k scores ``best``, (q, k), in place."""
    q = len(block)
    which = np.empty(best.shape, np.int32)  # which points they are of is not needed
    kernel.merge_block(block, np.arange(q, dtype=np.int32), q, which, best)


def scores(
    queries: FloatMatrix, rows: FloatMatrix, squares: npt.NDArray[np.float32] | None, metric: Metric
) -> npt.NDArray[np.float32]:
    """Return the scores of some points against others, (q, m), as one matrix product.

    ``squares``: float32, (q,), squared lengths of the queries; needed for l2 only.
    """
    block = queries @ rows.T
    if squares is not None and metric == "l2":
        block *= 2
        block -= squares[:, None]
        block -= np.einsum("ij,ij->i", rows, rows)
    return block
