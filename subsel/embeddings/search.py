"""k nearest neighbours inside one part: cell by cell as matrix products, then neighbour-of-neighbour refinement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from subsel.config import Metric
from subsel.embeddings import kernel
from subsel.embeddings.metrics import FloatMatrix
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array

#: Points of one block of cells, about: enough for large matrix products; and at least so many blocks, for threads to
#: share. Both follow from the data alone, so the graph does.
_BLOCK_ROWS = 16_384
_BLOCKS = 32
#: Points of one matrix product, so that its scores take little memory where all of a block probe one cell.
_PRODUCT_ROWS = 4096
#: Points of a cell that meet those from there to the cell's end in one product.
_TILE_ROWS = 256

Progress = Callable[[float], None]


def search_cells(
    X: FloatMatrix,
    bounds: Int64Array,
    probes: npt.NDArray[np.int32],
    k: int,
    metric: Metric,
    progress: Progress = lambda share: None,
) -> tuple[Int32Array, npt.NDArray[np.float32]]:
    """Return each point's k nearest among the points that it meets: two points meet if either probes the other's cell.

    All points of a block of cells that probe a cell meet all of the cell's points in one matrix product, merged into
    the running top-k of both ends. Never one query at a time, as an inverted-file index does. Pairs of blocks meet in
    the rounds of a tournament, where no block is in two pairs at once; those of a round run on as many threads as numba
    is given, each with single-threaded BLAS. The result does not depend on their number.

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
    squares = np.einsum("ij,ij->i", X, X) if metric == "l2" else None
    blocks = _blocks(bounds, max(1, min(_BLOCK_ROWS, -(-n // _BLOCKS))))
    askers = [_Askers.of(probes, int(bounds[first]), int(bounds[last])) for first, last in blocks]

    def product(rows: npt.NDArray[np.int32], first: int, last: int) -> None:
        block = scores(X[rows], X[first:last], None if squares is None else squares[rows], metric)
        kernel.merge_both(block, rows, first, probes, best, score)

    def meet(pair: tuple[int, int]) -> None:
        one, other = pair
        if one == other:  # the points of a cell first: what they find makes later scores quick to merge
            for cell in range(*blocks[one]):
                end = int(bounds[cell + 1])
                for at in range(int(bounds[cell]), end, _TILE_ROWS):
                    product(np.arange(at, min(at + _TILE_ROWS, end), dtype=np.int32), at, end)
        for asking, asked in dict.fromkeys([(one, other), (other, one)]):
            for cell, rows in askers[asking].of_cells(*blocks[asked]):
                for at in range(0, len(rows), _PRODUCT_ROWS):
                    product(rows[at : at + _PRODUCT_ROWS], int(bounds[cell]), int(bounds[cell + 1]))

    rounds = tournament(len(blocks))
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for done, pairs in enumerate(rounds, 1):
            list(pool.map(meet, pairs))
            progress(done / len(rounds))
    kernel.rescore(X, best, score, metric == "l2")
    return best, score


def _blocks(bounds: Int64Array, size: int) -> list[tuple[int, int]]:
    """Return runs of cells, (first, last + 1), that have about so many points, or one cell that has more."""
    cuts = np.unique(np.searchsorted(bounds, np.arange(0, bounds[-1], size)))
    return list(pairwise([*cuts.tolist(), len(bounds) - 1]))


@dataclass(frozen=True, slots=True)
class _Askers:
    """Which points of a block probe which cells beside their own: rows, by ascending cell, and each cell's first."""

    rows: Int32Array
    cells: Int32Array
    starts: Int64Array

    @classmethod
    def of(cls, probes: npt.NDArray[np.int32], first: int, last: int) -> _Askers:
        asked = probes[first:last, 1:]
        by_cell = np.argsort(asked, axis=None, kind="stable")
        by_cell = by_cell[np.searchsorted(asked.ravel()[by_cell], 0) :]
        rows = (first + by_cell // max(asked.shape[1], 1)).astype(np.int32)
        cells, starts = np.unique(asked.ravel()[by_cell], return_index=True)
        return cls(rows, cells, np.append(starts, len(rows)))

    def of_cells(self, first: int, last: int) -> Iterator[tuple[int, Int32Array]]:
        """Yield each cell of a run that some probe, and who does."""
        for at in range(*np.searchsorted(self.cells, (first, last)).tolist()):
            yield int(self.cells[at]), self.rows[self.starts[at] : self.starts[at + 1]]


def tournament(players: int) -> list[list[tuple[int, int]]]:
    """Return rounds in which each meets itself, then each other once, and nobody is in two pairs of a round.

    The circle method: one stays, the others go around.
    """
    rounds = [[(i, i) for i in range(players)]]
    seats = players + players % 2
    for turn in range(seats - 1):
        around = [(turn + i) % (seats - 1) for i in range(seats - 1)]
        pairs = [(around[0], seats - 1), *((around[i], around[-i]) for i in range(1, seats // 2))]
        rounds.append([(min(pair), max(pair)) for pair in pairs if max(pair) < players])
    return [pairs for pairs in rounds if pairs]


def descend(
    X: FloatMatrix,
    best: Int32Array,
    score: npt.NDArray[np.float32],
    passes: int,
    metric: Metric,
    progress: Progress = lambda share: None,
    improved: npt.NDArray[np.bool_] | None = None,
) -> tuple[Int32Array, npt.NDArray[np.float32]]:
    """Improve neighbours: look at neighbours of neighbours, ``passes`` times or until nothing changes.

    It is what embeddings of high intrinsic dimension need, where near points often lie in cells that neither probes
    (NN-descent, Dong et al. 2011).

    Args:
        X: float32, (n, d), prepared rows in cell order.
        best: int32, (n, k), as `search_cells` returns it.
        score: float32, (n, k).
        passes: upper limit.
        metric: see `subsel.embeddings.metrics`.
        progress: called after each pass with the share done.
        improved: bool, (n,): whose neighbours of neighbours to look at; everybody's if None.
    """
    improved = np.ones(len(X), np.bool_) if improved is None else improved
    fresh = np.ones(best.shape, np.bool_)
    k = best.shape[1]
    width = min(kernel.MAX_REVERSE, 2 * k)
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
