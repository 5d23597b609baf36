"""Points join a graph: they find their cells, meet those who are there, and the lists of both sides are merged."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from subsel.embeddings import search
from subsel.embeddings.cells import SAMPLE_PER_CELL, Quantizer, fullest_cell
from subsel.embeddings.metrics import FloatMatrix
from subsel.embeddings.recipe import MOST_PASSES, MOST_PROBES, StepProgress
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array
from subsel.growing import kernel
from subsel.growing.state import GraphState
from subsel.growing.stored import StoredRows
from subsel.threads import over_rows

log = logging.getLogger(__name__)

BoolArray = npt.NDArray[np.bool_]

#: Points that meet a cell in one matrix product.
_PRODUCT_ROWS = 512
#: Points whose lists one lock guards.
_LOCKED_ROWS = 4_096
#: Offers that a point makes in one pass to those in whose lists it belongs, at most: so many times the neighbours.
_OFFERS = 4
#: Recall is measured of so many times fewer points than by the graph's search: comparing with all is most of the work.
_SAMPLED = 4
#: Only one end of a pair probes the other's cell here, so it probes so many times as many cells.
_ONE_SIDED = 2


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search among some points took, and what came of it.

    Attributes:
        points: that were searched for.
        probes: cells that each was compared with at most.
        passes: over neighbours of neighbours.
        recall: of a sample of them; None if it was not measured.
        split: cells that had grown beyond their share, and are several now.
    """

    points: int
    probes: int
    passes: int
    recall: float | None
    split: int = 0

    def after(self, other: Effort) -> Effort:
        """Return what both took; recall is of these points."""
        most = max(self.probes, other.probes), max(self.passes, other.passes)
        return Effort(self.points + other.points, *most, self.recall, self.split + other.split)


def join(
    state: GraphState,
    ids: pa.Array,
    rows: StoredRows,
    progress: StepProgress = lambda what, share: None,
    *,
    heard: bool = True,
) -> tuple[GraphState, Effort]:
    """Return a graph with more points, and what it took.

    Args:
        state: the graph.
        ids: of the points, none of which it has, as they are kept, (m,).
        rows: their vectors, (m, d).
        progress: told what goes on.
        heard: whether they get into the lists of those who are there.
    """
    m, width = len(ids), state.best.shape[1]
    progress("cells", 0.0)
    grown = replace(
        state,
        ids=pa.concat_arrays([state.ids, ids]),
        rows=state.rows.beside(rows),
        best=np.concatenate([state.beyond(m), np.full((m, width), -1, np.int32)]),
        score=np.concatenate([state.score, np.full((m, width), -np.inf, np.float32)]),
    )
    fresh_rows = rows.prepared(state.prepare, np.arange(m))
    home = np.concatenate([state.home, state.quantizer.nearest(fresh_rows, 1)[:, 0].astype(np.int32)])
    grown, home, split = _split(replace(grown, home=home))
    fresh = np.arange(grown.n) >= state.n
    fresh = fresh[np.argsort(home, kind="stable")]
    grown = grown.ordered(home)
    X = grown.vectors()
    effort = search_some(grown, X, np.flatnonzero(fresh), ~fresh if heard else np.zeros_like(fresh), progress)
    return grown, replace(effort, split=split)


def search_some(
    state: GraphState,
    X: FloatMatrix,
    rows: Int64Array,
    hears: BoolArray,
    progress: StepProgress,
    probes: int | None = None,
) -> Effort:
    """Search the neighbours of some points of a graph among all, and put what is found into its lists.

    It begins with cells, and goes on with neighbours of neighbours while a sample of these points has less recall than
    the graph had when it was made; then with twice as many cells, where that is less than it is to have.

    Args:
        state: its lists are changed.
        X: its vectors, float32, (n, d).
        rows: int64, (m,), ascending: the points.
        hears: bool, (n,): whose lists may change beside theirs.
        progress: told what goes on.
        probes: cells to begin with; None: as many as find what the graph's own search found.
    """
    cells, k = len(state.quantizer.centroids), min(state.neighbors, state.n - 1)
    probes = min(_ONE_SIDED * state.probes if probes is None else probes, cells)
    most = max(probes, min(MOST_PROBES, cells))
    passes, asked = 0, _Asked.of(state, X, rows, k)
    found = None
    while len(rows):
        progress("search", 0.0)
        known = state.best[rows]
        meet_cells(state, X, rows, probes, hears)
        place = np.full(state.n + state.others, -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        arrays = X, known, place, bool(hears.any()), state.best, state.score
        over_rows(kernel.rescore, state.n, *arrays, state.metric == "l2")
        found = asked.recall(state, X)
        log.info("%d points by %d cells: recall %s", len(rows), probes, found)
        for _ in range(1 if asked.aim is None else MOST_PASSES):
            if asked.as_before(found):
                break
            progress("refinement", 0.0)
            changed = look_around(state, X, rows, hears)
            passes += 1
            before, found = found, asked.recall(state, X)
            log.info("%d points, pass %d: recall %s", len(rows), passes, found)
            if not changed or (found is not None and before is not None and found <= before):
                break
        if asked.aim is None or asked.enough(found) or probes >= most:
            break
        probes = min(2 * probes, most)
    return Effort(len(rows), probes, passes, found)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Points whose exact neighbours are known.

    ``rows`` are their numbers, int64, (q,), ``exact`` these neighbours, None where none are asked. Passes over
    neighbours go on until recall is ``hope``, as when the graph was made; more cells are searched below ``aim``.
    """

    rows: Int64Array
    exact: search.Exact | None
    aim: float | None
    hope: float

    @classmethod
    def of(cls, state: GraphState, X: FloatMatrix, rows: Int64Array, k: int) -> _Asked:
        """Choose some of the rows, at equal distances in the order of cells."""
        if not state.sample or not len(rows) or not k:
            return cls(rows[:0], None, None, 1.0)
        some = min(-(-state.sample // _SAMPLED), len(rows))
        asked = rows[np.unique(np.linspace(0, len(rows) - 1, some).astype(np.int64))]
        runs = np.array_split(asked, min(numba.get_num_threads(), len(asked)))
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(len(runs)) as pool:
            found = list(pool.map(lambda run: search.exact_neighbors(X, run, k, state.metric), runs))
        exact = search.Exact(*(np.concatenate(one) for one in zip(*found, strict=True)))
        return cls(asked, exact, state.recall, max(state.recall or 0.0, state.reached or 0.0))

    def recall(self, state: GraphState, X: FloatMatrix) -> float | None:
        """Return the recall of lists, scored as the exact ones are: some scores are of vectors before rounding."""
        if self.exact is None:
            return None
        best = state.best[self.rows]
        here = (best >= 0) & (best < state.n)
        pairs = X[self.rows][:, None], X[np.where(here, best, 0)]
        found = (
            -np.square(pairs[0] - pairs[1]).sum(axis=2) if state.metric == "l2" else (pairs[0] * pairs[1]).sum(axis=2)
        )
        found = np.where(here, found, np.where(best < 0, -np.inf, state.score[self.rows]))
        return search.recall_of_scores(-np.sort(-found, axis=1), self.exact)

    def as_before(self, found: float | None) -> bool:
        """Return whether that is the recall that the graph had when it was made."""
        return found is not None and found >= self.hope

    def enough(self, found: float | None) -> bool:
        """Return whether that is the recall that is aimed at."""
        return found is not None and self.aim is not None and found >= self.aim


def meet_cells(state: GraphState, X: FloatMatrix, rows: Int64Array, probes: int, hears: BoolArray) -> None:
    """Compare some points with all of the cells that are nearest to each, and merge the scores into lists.

    Of a cell that is far larger than others a point sees one share, as in `subsel.embeddings.cells`.

    Args:
        state: its lists are changed.
        X: its vectors.
        rows: int64, (m,): the points.
        probes: cells of each at most; within twice the reach of the graph's search.
        hears: bool, (n,): whose lists change beside theirs; none of the points.
    """
    if not state.neighbors or not len(rows):
        return
    nearest, lag = state.quantizer.nearest_and_lag(np.ascontiguousarray(X[rows]), probes)
    nearest = np.where(lag <= _ONE_SIDED * state.reach, nearest, -1)
    nearest[:, 0] = state.home[rows]
    cell_bounds, cap = state.bounds, fullest_cell(state.n, len(state.quantizer.centroids))
    shares = np.maximum(1, -(-np.diff(cell_bounds) // cap))
    asker, place = np.nonzero(nearest >= 0)
    cell = nearest[asker, place]
    repeated = (place > 0) & (cell == nearest[asker, 0])
    asker, cell = asker[~repeated], cell[~repeated]
    order = np.argsort(cell, kind="stable")
    asker, cell = asker[order], cell[order]
    cuts = np.flatnonzero(np.diff(cell)) + 1
    runs = [(int(begin), int(end)) for begin, end in pairwise([0, *cuts.tolist(), len(cell)])]
    squares = np.einsum("ij,ij->i", X, X) if state.metric == "l2" else None
    locks = [Lock() for _ in range(0, state.n, _LOCKED_ROWS)]

    def product(some: Int64Array, first: int, last: int) -> None:
        block = search.scores(
            X.take(some, axis=0), X[first:last], None if squares is None else squares[some], state.metric
        )
        with ExitStack() as held:  # who hears is in the one cell of this thread
            for lock in sorted({*(some // _LOCKED_ROWS).tolist()}):  # ascending: no two threads wait for each other
                held.enter_context(locks[lock])
            kernel.meet(block, some, first, hears, state.best, state.score)

    def visit(run: tuple[int, int]) -> None:
        here = int(cell[run[0]])
        first, last, parts = int(cell_bounds[here]), int(cell_bounds[here + 1]), int(shares[here])
        askers = asker[run[0] : run[1]]
        for part in range(parts):
            begin, end = first + (last - first) * part // parts, first + (last - first) * (part + 1) // parts
            some = rows[askers[askers % parts == part]] if parts > 1 else rows[askers]
            for at in range(0, len(some) if begin < end else 0, _PRODUCT_ROWS):
                product(some[at : at + _PRODUCT_ROWS], begin, end)

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(numba.get_num_threads()) as pool:
        list(pool.map(visit, runs))


def look_around(
    state: GraphState, X: FloatMatrix, rows: Int64Array, hears: BoolArray, gone: BoolArray | None = None
) -> bool:
    """Compare some points with the neighbours of their neighbours; return whether that changed a list of theirs.

    Args:
        state: its lists are changed.
        X: its vectors.
        rows: int64, (m,): the points.
        hears: bool, (n,): whose lists may change beside theirs; none of the points.
        gone: bool, (n,): points that no list is to have any more; None: nobody is.
    """
    k, shape = state.neighbors, (len(rows), state.best.shape[1])
    new_best, new_score = np.empty(shape, np.int32), np.empty(shape, np.float32)
    offers = _OFFERS * k if hears.any() else 0
    offered, offer = np.empty((len(rows), offers), np.int32), np.empty((len(rows), offers), np.float32)
    nobody = np.zeros(0, np.bool_) if gone is None else gone
    slots = max(2048, 1 << (4 * shape[1] * (k + 1) - 1).bit_length())
    arrays = rows, X, state.best, state.score, nobody, hears, state.metric == "l2", slots
    over_rows(kernel.look_around, len(rows), *arrays, new_best, new_score, offered, offer, k)
    changed = bool((new_best != state.best[rows]).any())
    state.best[rows], state.score[rows] = new_best, new_score
    kernel.take_offers(rows, offered, offer, state.best, state.score)
    return changed


def _split(state: GraphState) -> tuple[GraphState, Int32Array, int]:
    """Return a graph some of whose cells are several, where those had grown beyond their share; and how many had.

    Returns:
        The graph, the home of each point, and the number of cells that were split. Masses of near duplicates, which no
        k-means divides, stay.
    """
    home, quantizer, division, done = state.home.copy(), state.quantizer, state.division, 0
    cap = fullest_cell(state.n, len(quantizer.centroids))
    for cell in np.flatnonzero(np.bincount(home, minlength=len(quantizer.centroids)) > cap).tolist():
        members = np.flatnonzero(home == cell)
        X = state.rows.prepared(state.prepare, members)
        wanted = -(-len(members) * len(quantizer.centroids) // state.n)
        parts = Quantizer.train(X[: wanted * SAMPLE_PER_CELL], wanted, state.metric, 0)
        inside = parts.nearest(X, 1)[:, 0]
        if len(parts.centroids) < 2 or np.bincount(inside).max() > 0.9 * len(members):
            continue
        centroids = np.concatenate([quantizer.centroids, parts.centroids[1:]])
        centroids[cell] = parts.centroids[0]
        home[members] = np.where(inside == 0, cell, len(quantizer.centroids) + inside - 1)
        quantizer, done = Quantizer(centroids, quantizer.groups, state.metric), done + 1
        if division is not None:
            more = np.full(len(parts.centroids) - 1, division.part[cell], np.int32)
            division = replace(division, part=np.concatenate([division.part, more]))
    return replace(state, quantizer=quantizer, division=division), home, done
