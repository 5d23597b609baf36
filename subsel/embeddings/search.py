"""k nearest neighbours inside one part: cell by cell as matrix products, then neighbour-of-neighbour refinement."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from subsel.config import Metric
from subsel.embeddings import kernel, merge_kernel
from subsel.embeddings.metrics import FloatMatrix, rows_per_block
from subsel.embeddings.rows import HalfRows, Readable, Rows
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array
from subsel.threads import PerThread, blas_threads

#: Points that meet a cell in one matrix product: enough for BLAS, and so that the scores stay in cache.
_PRODUCT_ROWS = 512
#: Points of a cell that meet those from there to the cell's end in one product.
TILE_ROWS = 256
#: Points whose lists one lock guards.
_LOCKED_ROWS = 16_384

Progress = Callable[[float], None]
#: Calls a function with each block of so many rows.
Blocks = Callable[[Callable[[slice], None], int], None]


def search_cells(
    X: Rows,
    bounds: Int64Array,
    probes: npt.NDArray[np.int32],
    k: int,
    metric: Metric,
    progress: Progress = lambda share: None,
) -> tuple[Int32Array, npt.NDArray[np.float32]]:
    """Return each point's k nearest among the points that it meets: two points meet if either probes the other's cell.

    All points that probe a cell meet all of its points in one matrix product, or a few, merged into the running top-k
    of both ends. Never one query at a time, as an inverted-file index does. Cells run on as many threads as numba is
    given, each with single-threaded BLAS; locks keep the lists of points whole, and the order of merging does not
    matter, so the result does not depend on the threads.

    Args:
        X: float32, (n, d), prepared rows sorted by cell.
        bounds: int64, (n_cells+1,): the run of each cell in X.
        probes: int32, (n, p): cells that each point probes, its own first; -1 for none; no repeats in a row.
        k: neighbours wanted.
        metric: see `subsel.embeddings.metrics`.
        progress: called now and then with the share done.

    Returns:
        best (int32, (n, k), -1 where fewer were met) and score (float32, (n, k), -inf there), sorted.
    """
    n = len(X)
    best = np.full((n, k), -1, np.int32)
    score = np.full((n, k), -np.inf, np.float32)
    if k == 0:
        return best, score
    squares = _squares(X) if metric == "l2" else None
    starts, askers = merge_kernel.askers_by_cell(probes, len(bounds) - 1)
    locks = [Lock() for _ in range(0, n, _LOCKED_ROWS)]

    def meet(rows: npt.NDArray[np.int32], queries: FloatMatrix, others: FloatMatrix, first: int) -> None:
        """Score rows, ascending, against others, the first of which is so; merge those that share locks at once."""
        block = scores(queries, others, None if squares is None else squares[rows], metric)
        last = first + len(others)
        cuts = np.flatnonzero(np.diff(rows // _LOCKED_ROWS)) + 1
        for begin, end in pairwise([0, *cuts.tolist(), len(rows)]):
            at = int(rows[begin]) // _LOCKED_ROWS
            needed = sorted({at, *range(first // _LOCKED_ROWS, (last - 1) // _LOCKED_ROWS + 1)})
            with ExitStack() as held:
                for lock in needed:  # ascending, so that no two threads wait for each other
                    held.enter_context(locks[lock])
                least = score[first:last, k - 1].copy()
                merge_kernel.merge_both(block[begin:end], rows[begin:end], first, probes, least, best, score)

    def meet_itself(cell: int) -> None:
        first, last = int(bounds[cell]), int(bounds[cell + 1])
        mine = X[first:last]
        for at in range(0, last - first, TILE_ROWS):
            rows = np.arange(first + at, min(first + at + TILE_ROWS, last), dtype=np.int32)
            meet(rows, mine[at : at + TILE_ROWS], mine[at:], first + at)

    def meet_askers(cell: int) -> None:
        first, last, end = int(bounds[cell]), int(bounds[cell + 1]), int(starts[cell + 1])
        mine = X[first:last]
        for begin in range(int(starts[cell]), end if first < last else 0, _PRODUCT_ROWS):
            rows = askers[begin : min(begin + _PRODUCT_ROWS, end)]
            meet(rows, X.take(rows, axis=0), mine, first)

    n_cells = len(bounds) - 1
    stride = math.isqrt(n_cells) + 1
    order = [cell for begin in range(stride) for cell in range(begin, n_cells, stride)]  # threads need different locks
    with blas_threads(1), ThreadPoolExecutor(numba.get_num_threads()) as pool:
        list(pool.map(meet_itself, order))  # first: what it finds makes the other scores quick to merge
        for done, _ in enumerate(pool.map(meet_askers, order), 1):
            progress(done / n_cells)
    _rescore(X, best, score, metric)
    return best, score


def _squares(X: Rows) -> npt.NDArray[np.float32]:
    """Return the squared length of each row: float32, (n,)."""
    out, step = np.empty(len(X), np.float32), rows_per_block(X.shape[1])
    for begin in range(0, len(X), step):
        some = X[begin : begin + step]
        out[begin : begin + step] = np.einsum("ij,ij->i", some, some)
    return out


def _rescore(X: Rows, best: Int32Array, score: FloatMatrix, metric: Metric) -> None:
    """See `subsel.embeddings.kernel.rescore`."""
    if isinstance(X, HalfRows):
        X.rescore(best, score, metric == "l2")
    else:
        kernel.rescore(X, best, score, metric == "l2")


class Descent:
    """Lists of neighbours that passes over neighbours of neighbours improve.

    It is what embeddings of high intrinsic dimension need, where near points often lie in cells that neither probes
    (NN-descent, Dong et al. 2011).

    Args:
        X: float32, (n, d), prepared rows in cell order.
        best: int32, (n, k), as `search_cells` returns it.
        score: float32, (n, k).
        metric: see `subsel.embeddings.metrics`.
        improved: bool, (n,): whose neighbours of neighbours to look at; everybody's if None.
        probes: int32, (n, p), as `search_cells` had them: who met in cells is not compared again. None: nobody did.
    """

    def __init__(
        self,
        X: Rows,
        best: Int32Array,
        score: FloatMatrix,
        metric: Metric,
        improved: npt.NDArray[np.bool_] | None = None,
        probes: Int32Array | None = None,
    ) -> None:
        self.X, self.best, self.score, self.metric = X, best, score, metric
        self.probes = np.empty((len(X), 0), np.int32) if probes is None else probes
        self.improved = np.ones(len(X), np.bool_) if improved is None else improved
        self.fresh = np.ones(best.shape, np.bool_)
        whole, halves, factor = X, np.empty((0, X.shape[1]), np.uint16), np.empty(0, np.float32)
        if isinstance(X, HalfRows):
            whole, halves, factor = np.empty((0, X.shape[1]), np.float32), X.values, X.factor.astype(np.float32)
        self._whole, self._halves = whole, (halves, factor)
        self.width, self.slots = _descent_width(best.shape[1]), _seen_slots(best.shape[1])

    def step(self) -> int:
        """Make one pass over all points, and return how many entries of lists changed."""
        reverse = kernel.reverse_lists(self.best, self.width)
        new = np.empty_like(self.best), np.empty_like(self.score), np.empty_like(self.fresh)
        changed = kernel.descend(
            self._whole,
            self.best,
            self.score,
            reverse,
            self.fresh,
            self.improved,
            self.metric == "l2",
            self.slots,
            new,
            self._halves,
            self.probes,
        )
        self.best, self.score, self.fresh = new
        return int(changed)

    def lists(self) -> tuple[Int32Array, FloatMatrix]:
        """Return lists and their scores, exact ones: those of halves are only near enough to look for neighbours."""
        if isinstance(self.X, HalfRows):
            _rescore(self.X, self.best, self.score, self.metric)
        return self.best, self.score


def _descent_width(k: int) -> int:
    return min(kernel.MAX_REVERSE, 2 * k)


def _seen_slots(k: int) -> int:
    return max(kernel.MIN_SEEN_SLOTS, 1 << (16 * k - 1).bit_length())


def candidates(k: int) -> int:
    """Return how many points a pass of refinement scores for each point of k neighbours, at the most."""
    return min(_seen_slots(k) // 2, k * (k + _descent_width(k)))


@contextmanager
def blocks() -> Iterator[Blocks]:
    """Return what calls a function for all blocks of `_PRODUCT_ROWS` rows, on threads of a single-threaded BLAS."""
    with blas_threads(1), ThreadPoolExecutor(numba.get_num_threads()) as pool:

        def run(meet: Callable[[slice], None], rows: int) -> None:
            on_threads = pool.map if rows > _PRODUCT_ROWS else map  # waking one takes longer than a few rows
            list(on_threads(meet, [slice(begin, begin + _PRODUCT_ROWS) for begin in range(0, rows, _PRODUCT_ROWS)]))

        yield run


class Exact(NamedTuple):
    """Exact neighbours of q points: ``which`` (int64, (q, k)) and their ``score`` (float32, (q, k)), falling."""

    which: Int64Array
    score: FloatMatrix


class ExactSearch:
    """The k nearest of some points among all that they meet, run by run, on any threads.

    Args:
        rows: int64, (q,), ascending: their numbers.
        queries: float32, (q, d): prepared rows.
        k: at most as many as they meet.
        metric: see `subsel.embeddings.metrics`.
    """

    def __init__(self, rows: Int64Array, queries: FloatMatrix, k: int, metric: Metric) -> None:
        self.rows, self.queries, self.k, self.metric = rows, queries, k, metric
        self.squares = np.square(queries).sum(axis=1) if metric == "l2" else None
        self._all, self._numbers, shape = np.arange(len(rows)), rows.tolist(), (len(rows), k)
        self._lists = PerThread(lambda: (np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)))

    def meet(self, there: FloatMatrix, first: int) -> None:
        """Compare them with a run of points, of which ``first`` is the number of the first."""
        for begin in range(0, len(there), _PRODUCT_ROWS):
            block = scores(self.queries, there[begin : begin + _PRODUCT_ROWS], self.squares, self.metric)
            self.take(block, first + begin)

    def take(self, block: FloatMatrix, first: int) -> FloatMatrix:
        """Merge their scores with a run of points, the first q rows of a block, and return the other rows.

        Args:
            block: float32, (at least q, m), changed.
            first: number of the run's first point.
        """
        mine, others = block[: len(self._all)], block[len(self._all) :]
        inside = slice(*(bisect_left(self._numbers, end) for end in (first, first + block.shape[1])))
        if inside.start < inside.stop:
            mine[self._all[inside], self.rows[inside] - first] = -np.inf  # a point is no neighbour of itself
        merge_kernel.merge_among(mine, self._all, first, *self._lists.mine())
        return others

    def found(self) -> Exact:
        """Return them."""
        which, score = (np.concatenate(parts, axis=1) for parts in zip(*self._lists.all(), strict=True))
        by_number = np.argsort(which, axis=1)  # of equal ones the smaller number
        which, score = (np.take_along_axis(one, by_number, axis=1) for one in (which, score))
        first = np.argsort(-score, axis=1, kind="stable")[:, : self.k]
        return Exact(*(np.take_along_axis(one, first, axis=1) for one in (which.astype(np.int64), score)))


def exact_neighbors(X: Readable, rows: Int64Array, k: int, metric: Metric) -> Exact:
    """Return the k nearest of some rows among all, by comparing with all.

    Args:
        X: (n, d), prepared rows.
        rows: int64, (q,), ascending: those asked about.
        k: at most n - 1.
        metric: see `subsel.embeddings.metrics`.
    """
    searched = ExactSearch(rows, np.ascontiguousarray(X[rows]), k, metric)

    def among(some: slice) -> None:
        searched.meet(X[some], some.start)

    with blocks() as run:
        run(among, len(X))
    return searched.found()


def least_score(exact: FloatMatrix) -> npt.NDArray[np.float32]:
    """Return what counts as near as each point's k-th exact neighbour: a little less, for rounding: float32, (q,).

    Args:
        exact: float32, (q, k), falling; where fewer were there, -inf.
    """
    kth = np.where(np.isfinite(exact), exact, np.inf).min(axis=1)
    scale = np.maximum(np.abs(kth), 0.1 * np.abs(exact[:, 0]))  # near 0, scores are rounded as the others are
    return np.asarray(kth - 1e-5 * np.where(np.isfinite(scale), scale, 0), np.float32)


def recall_of_scores(found: FloatMatrix, exact: Exact) -> float:
    """Return the share of exact neighbours that were found, see `recall_of_each`."""
    shares = recall_of_each(found, exact)
    return float(shares.mean()) if len(shares) else 1.0


def recall_of_each(found: FloatMatrix, exact: Exact) -> npt.NDArray[np.float64]:
    """Return the share of each point's exact neighbours that were found: float64, (q,).

    A found point as near as the k-th exact one counts, so that ties and duplicates do.

    Args:
        found: float32, (q, at least k): scores of neighbours found, falling.
        exact: of the same points.
    """
    q, k = exact.score.shape
    if k == 0 or q == 0:
        return np.ones(q)
    return np.asarray((found[:, :k] >= least_score(exact.score)[:, None]).mean(axis=1))


def estimate_recall(X: Rows, score: FloatMatrix, sample: Int64Array, metric: Metric) -> float:
    """Return recall@k on a sample: the share of exact neighbours that were found, see `recall_of_scores`.

    Args:
        X: float32, (n, d), prepared rows.
        score: float32, (n, k), of the lists found.
        sample: int64, (q,), ascending: the points asked about.
        metric: see `subsel.embeddings.metrics`.
    """
    return recall_of_scores(score[sample], exact_neighbors(X, sample, min(score.shape[1], len(X) - 1), metric))


def merge_scores(block: npt.NDArray[np.float32], best: npt.NDArray[np.float32]) -> None:
    """Merge scores, (q, m), into the running top-k scores ``best``, (q, k), in place."""
    q = len(block)
    which = np.empty(best.shape, np.int32)  # which points they are of is not needed
    merge_kernel.merge_among(block, np.arange(q), 0, which, best)


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
