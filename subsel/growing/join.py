"""Points join a graph: they find their cells, meet those who are there, and the lists of both sides are merged."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.embeddings import search
from subsel.embeddings.cells import fullest_cell
from subsel.embeddings.metrics import FloatMatrix
from subsel.embeddings.recipe import MOST_PASSES, MOST_PROBES, StepProgress
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array
from subsel.growing import kernel, rows_kernel
from subsel.growing.homes import Near, split
from subsel.growing.state import GraphState
from subsel.growing.stored import StoredRows
from subsel.threads import PerThread, blas_threads, over_rows

log = logging.getLogger(__name__)

BoolArray = npt.NDArray[np.bool_]

#: Points that meet a cell in one matrix product.
_PRODUCT_ROWS = 512
#: A thread takes one in so many of its share of the cells that are left: handing cells over takes as long as a small
#: matrix product, and towards the end a thread that has many of them leaves the others idle.
_RUNS = 4
#: Lists that are worth a thread's waking: each takes as long as many rows of other kernels.
_ROWS = 1_024
#: Offers that a point makes in one pass to those in whose lists it belongs, at most: so many times the neighbours.
_OFFERS = 4
#: Recall is measured of so many times fewer points than by the graph's search: comparing with all is most of the work.
#: Half of them are enough where recall is a standard error above the aim, of which it is surer than all at the aim are.
_SAMPLED = 4
#: Only one end of a pair probes the other's cell here, so it probes so many times as many cells; neighbours of
#: neighbours, which are looked at in any case, make up for the rest.
_ONE_SIDED = 1.5


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
    progress("cells", 0.0)
    near = Near.of(state.quantizer, rows.prepared(state.prepare, np.arange(len(ids))), _most_probes(state))
    home = np.concatenate([state.home, near.cell[:, 0].astype(np.int32)])
    quantizer, division, home, done = split(state, rows, home)
    grown, new = replace(state, quantizer=quantizer, division=division).joined(ids, rows, home)
    order = np.argsort(new)
    hears = np.full(grown.n, heard)
    hears[new] = False
    effort = search_some(grown, new[order], hears, progress, near=None if done else near.take(order), may_halve=True)
    return grown, replace(effort, split=done)


def _most_probes(state: GraphState) -> int:
    """Return how many cells a new point probes, so that it finds what the graph's own search found."""
    return min(math.ceil(_ONE_SIDED * state.probes), len(state.quantizer.centroids))


def search_some(
    state: GraphState,
    rows: Int64Array,
    hears: BoolArray,
    progress: StepProgress,
    *,
    probes: int | None = None,
    near: Near | None = None,
    may_halve: bool = False,
) -> Effort:
    """Search the neighbours of some points of a graph among all, and put what is found into its lists.

    It begins with cells and neighbours of neighbours, and goes on with these while a sample of these points has less
    recall than the graph had when it was made; then with twice as many cells, where that is less than it is to have.

    Args:
        state: its lists are changed.
        rows: int64, (m,), ascending: the points.
        hears: bool, (n,): whose lists may change beside theirs.
        progress: told what goes on.
        probes: cells to begin with; None: as many as find what the graph's own search found.
        near: these cells, where they are known.
        may_halve: see `_Asked.of`.
    """
    cells, k = len(state.quantizer.centroids), min(state.neighbors, state.n - 1)
    probes = _most_probes(state) if probes is None else min(probes, cells)
    most = max(probes, min(MOST_PROBES, cells))
    passes, asked = 0, _Asked.of(state, rows, k, may_halve=may_halve)
    found: float | None = None
    while len(rows):
        progress("search", 0.0)
        near = Near.of(state.quantizer, state.wide[rows], probes) if near is None else near
        met = meet_cells(state, rows, near, hears, asked.searched if found is None else None)
        for number in range(1 if asked.aim is None else MOST_PASSES):
            progress("refinement", 0.0)
            changed = look_around(state, rows, hears, met)
            passes += 1
            before, found = found, asked.recall(state)
            log.info("%d points by %d cells, pass %d: recall %s", len(rows), probes, passes, found)
            if not changed or asked.as_before(found):
                break
            if number and found is not None and before is not None and found <= before:
                break
        if asked.aim is None or asked.enough(found) or probes >= most:
            break
        probes, near = min(2 * probes, most), None
    return Effort(len(rows), probes, passes, found)


@dataclass(slots=True)
class _Asked:
    """Points whose exact neighbours are known once they have met all cells.

    ``rows`` are their numbers, int64, (q,); none where recall is not measured. ``more`` are asked if these do not make
    clear that recall is above the aim. Passes over neighbours go on until recall is ``hope``, as when the graph was
    made; more cells are searched below ``aim``.
    """

    rows: Int64Array
    more: Int64Array
    searched: search.ExactSearch | None
    aim: float | None
    hope: float
    exact: search.Exact | None = None

    @classmethod
    def of(cls, state: GraphState, rows: Int64Array, k: int, *, may_halve: bool) -> _Asked:
        """Choose some of the rows, at equal distances in the order of cells.

        Args:
            state: the graph.
            rows: see `search_some`.
            k: neighbours that are asked for.
            may_halve: whether half of the sample is asked first, where the graph's recall says that it will be enough.
        """
        if not state.sample or not len(rows) or not k:
            return cls(rows[:0], rows[:0], None, None, 1.0)
        some = min(-(-state.sample // _SAMPLED), len(rows))
        asked = rows[np.unique(np.linspace(0, len(rows) - 1, some).astype(np.int64))]
        more, reached = asked[:0], state.reached or 0.0
        if may_halve and len(asked) < len(rows) and state.recall is not None:
            half = len(asked) // 2
            error = math.sqrt(max(reached * (1 - reached), 0.0) / max(1, half * k))
            if reached - error >= state.recall:
                asked, more = asked[::2], asked[1::2]
        meets = search.ExactSearch(asked, state.wide[asked], k, state.metric)
        return cls(asked, more, meets, state.recall, max(state.recall or 0.0, reached))

    def recall(self, state: GraphState) -> float | None:
        """Return the recall of lists; of more points, where what was asked so far leaves open if it is enough."""
        if self.searched is None:
            return None
        if self.exact is None:
            self.exact = self.searched.found()
        shares = self._shares(state, self.exact)
        unsure = shares.std() / math.sqrt(len(shares))
        if len(self.more) and not self.enough(float(shares.mean() - unsure)):
            others = search.exact_neighbors(state.wide, self.more, self.searched.k, state.metric)
            self.rows, self.more = np.concatenate([self.rows, self.more]), self.more[:0]
            both = (np.concatenate([self.exact.which, others.which]), np.concatenate([self.exact.score, others.score]))
            self.exact = search.Exact(*both)
            shares = self._shares(state, self.exact)
        return float(shares.mean())

    def _shares(self, state: GraphState, exact: search.Exact) -> npt.NDArray[np.float64]:
        """Return the recall of each, scored as the exact ones are: some scores are of vectors before rounding."""
        best = state.best[self.rows]
        here = (best >= 0) & (best < state.n)
        others = state.wide[np.where(here, best, 0).ravel()].reshape(*best.shape, -1)
        pairs = state.wide[self.rows][:, None], others
        found = (
            -np.square(pairs[0] - pairs[1]).sum(axis=2) if state.metric == "l2" else (pairs[0] * pairs[1]).sum(axis=2)
        )
        found = np.where(here, found, np.where(best < 0, -np.inf, state.score[self.rows]))
        return search.recall_of_each(-np.sort(-found, axis=1), exact)

    def as_before(self, found: float | None) -> bool:
        """Return whether that is the recall that the graph had when it was made."""
        return found is not None and found >= self.hope

    def enough(self, found: float | None) -> bool:
        """Return whether that is the recall that is aimed at."""
        return found is not None and self.aim is not None and found >= self.aim


def meet_cells(
    state: GraphState, rows: Int64Array, near: Near, hears: BoolArray, exact: search.ExactSearch | None = None
) -> Int64Array:
    """Compare some points with all of the cells that are nearest to each, and merge the scores into lists.

    Of a cell that is far larger than others a point sees one share, as in `subsel.embeddings.cells`.

    Args:
        state: its lists are changed.
        rows: int64, (m,): the points.
        near: their cells; those within reach, of the graph's search and half again, are met, and home in any case.
        hears: bool, (n,): whose lists change beside theirs; none of the points.
        exact: of some of them; meets all cells.

    Returns:
        The cells with all of which each was compared: int64, (m, p), -1 for none.
    """
    if not state.neighbors or not len(rows):
        return np.full((len(rows), 0), -1)
    nearest = np.where(near.lag <= _ONE_SIDED * state.reach, near.cell, -1)
    nearest[:, 0] = state.home[rows]
    cell_bounds, cap = state.bounds, fullest_cell(state.n, len(state.quantizer.centroids))
    shares = np.maximum(1, -(-np.diff(cell_bounds) // cap))
    asker, place = np.nonzero(nearest >= 0)
    cell = nearest[asker, place]
    repeated = (place > 0) & (cell == nearest[asker, 0])
    asker, cell = asker[~repeated], cell[~repeated]
    order = np.argsort(cell, kind="stable")
    asker, cell = asker[order], cell[order]
    starts = np.searchsorted(cell, np.arange(len(shares) + 1))
    kept, mine, known = state.wide.kept, state.wide[rows], state.best[rows]
    number = np.full(state.n + state.others, -1, np.int32)
    number[rows] = np.arange(len(rows), dtype=np.int32)
    sampled = rows[:0] if exact is None else number[exact.rows].astype(np.int64)
    anybody, heard = bool(hears.any()), np.zeros(state.n, np.bool_)
    pairs = mine, known, number, state.best, state.score, state.metric == "l2"
    squares = np.einsum("ij,ij->i", mine, mine) if state.metric == "l2" else None
    lists, floor = PerThread(lambda: (known.copy(), state.score[rows])), np.full(len(rows), -np.inf, np.float32)
    largest = int(np.diff(cell_bounds).max(initial=0))
    space = PerThread(lambda: np.empty((largest, state.dimension), np.float32))

    def product(some: Int64Array, first: int, there: FloatMatrix, exact: search.ExactSearch | None) -> None:
        asked = some if exact is None else np.concatenate([sampled, some])  # one large product takes less than two
        lengths = None if squares is None else squares[asked]
        block = search.scores(mine.take(asked, axis=0), there, lengths, state.metric)
        block = block if exact is None else exact.take(block, first)
        if len(some):
            kernel.meet(block, some, rows, lists.mine(), floor, first, hears, state.best, state.score, heard)

    def visit(here: int) -> None:  # who hears is in the one cell of this thread
        first, last, parts = int(cell_bounds[here]), int(cell_bounds[here + 1]), int(shares[here])
        askers = asker[starts[here] : starts[here + 1]]
        if first == last or not (len(askers) or exact):
            return
        there = space.mine()[: last - first]
        rows_kernel.widen(0, last - first, np.arange(first, last), kept, there)
        for part in range(parts):
            begin, end = (last - first) * part // parts, (last - first) * (part + 1) // parts
            some = askers[rows[askers] % parts == part] if parts > 1 else askers
            for at in range(0, max(1, len(some)) if begin < end else 0, _PRODUCT_ROWS):
                beside = exact if at == 0 else None
                product(some[at : at + _PRODUCT_ROWS], first + begin, there[begin:end], beside)
        if len(askers) and anybody:
            kernel.rescore_heard(heard, hears, first, there, *pairs)

    def visit_some(cells: range) -> None:
        for here in cells:
            visit(here)

    threads = numba.get_num_threads()
    with blas_threads(1), ThreadPoolExecutor(threads) as pool:
        list(pool.map(visit_some, _fewer_and_fewer(len(shares), threads)))
    for found, score in lists.all():
        kernel.take_lists(rows, found, score, state.best, state.score)
    over_rows(kernel.rescore, len(rows), rows, kept, *pairs, each=_ROWS)
    return np.where((nearest >= 0) & (shares[nearest] == 1), nearest, -1)


def _fewer_and_fewer(count: int, threads: int) -> Iterator[range]:
    """Yield runs of so many numbers, which are shorter towards the end."""
    begin = 0
    while begin < count:
        end = begin + max(1, (count - begin) // (_RUNS * threads))
        yield range(begin, end)
        begin = end


class Looked(NamedTuple):
    """What some points, (m,), find among the neighbours of their neighbours: lists, (m, k + reserve), and offers."""

    best: Int32Array
    score: FloatMatrix
    offered: Int32Array
    offer: FloatMatrix

    @classmethod
    def around(
        cls,
        state: GraphState,
        rows: Int64Array,
        hears: BoolArray,
        met: Int64Array | None = None,
        gone: BoolArray | None = None,
    ) -> Looked:
        """Compare some points with the neighbours of their neighbours.

        Args:
            state: the graph.
            rows: int64, (m,): the points.
            hears: bool, (n,): to whom points are offered that belong in their lists; none of the points.
            met: int64, (m, p): cells that they were compared with, -1 for none; None: with none.
            gone: bool, (n + others,): points that no list is to have any more; None: nobody is.
        """
        k, (m, width) = state.neighbors, (len(rows), state.best.shape[1])
        offers = _OFFERS * k if hears.any() else 0
        shapes = (m, width), (m, offers)
        lists, offered = ((np.empty(shape, np.int32), np.empty(shape, np.float32)) for shape in shapes)
        nobody = np.zeros(0, np.bool_) if gone is None else gone
        slots = max(2048, 1 << (4 * width * (k + 1) - 1).bit_length())
        met = np.full((m, 0), -1) if met is None else met
        arrays = rows, state.wide.kept, state.best, state.score, state.home, met, nobody, hears
        over_rows(kernel.look_around, m, *arrays, state.metric == "l2", slots, *lists, *offered, k, each=_ROWS)
        return cls(*lists, *offered)


def look_around(state: GraphState, rows: Int64Array, hears: BoolArray, met: Int64Array) -> bool:
    """Put what `Looked.around` finds into lists; return whether that changed those of the points."""
    looked = Looked.around(state, rows, hears, met)
    changed = bool((looked.best != state.best[rows]).any())
    state.best[rows], state.score[rows] = looked.best, looked.score
    kernel.take_offers(rows, looked.offered, looked.offer, state.best, state.score)
    return changed
