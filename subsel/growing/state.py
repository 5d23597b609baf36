"""What a graph keeps so that points can join it: cells, vectors, lists of neighbours with their scores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.config import Metric
from subsel.embeddings import kernel as lists_kernel
from subsel.embeddings.cells import Quantizer
from subsel.embeddings.metrics import FloatMatrix, Preparation, similarity_of_scores
from subsel.embeddings.neighbors import NeighborResult, Searched, neighbor_graph
from subsel.embeddings.recipe import Search, StepProgress
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array, NeighborGraph
from subsel.growing import kernel
from subsel.growing.stored import PlacedRows, PreparedRows, StoredRows
from subsel.input.ids import is_unsigned
from subsel.input.points import Points
from subsel.parts.route import PartMap
from subsel.threads import over_rows

#: One entry is in reserve for so many neighbours.
_PER_RESERVE = 3


@dataclass(frozen=True, slots=True)
class Division:
    """A graph's parts: groups of neighbouring cells.

    Attributes:
        map: to which parts new points go.
        part: int32, (cells,): the part of each cell.
    """

    map: PartMap
    part: Int32Array


@dataclass(frozen=True, slots=True)
class GraphState:
    """A graph by its lists, in the order of its nodes: cell by cell.

    Attributes:
        ids: as they are kept, (n,).
        id_type: the user's type.
        home: int32, (n,), ascending: the cell of each.
        rows: their vectors.
        best: int32, (n, k + reserve): numbers of the neighbours of each, -1 for none; from n those of points of other
            parts.
        score: float32, (n, k + reserve), falling. Of none: -inf where anybody may come next; else what those that are
            not listed score at most, as in a list whose neighbours have left: who scores no more stays out.
        quantizer: of the cells.
        center: float64, (d,): what is subtracted of rows under L2 (`subsel.embeddings.metrics.Preparation`).
        probes: cells that the search probed at most.
        reach: how far below its nearest cell's score a cell's could be for that.
        recall: that lists are to have; None: the search was told what to take.
        reached: recall that they had when the graph was made; None: it was not measured.
        sample: points of which recall is measured.
        reserve: entries at the end of each list that are no edges, and take the place of neighbours that leave.
        others: points that lists name and that are not here.
        division: of the whole graph in parts; None: it was not divided yet, or this is a part.
    """

    ids: pa.Array
    id_type: pa.DataType
    home: Int32Array
    rows: PlacedRows
    best: Int32Array
    score: FloatMatrix
    quantizer: Quantizer
    center: npt.NDArray[np.float64]
    probes: int
    reach: float
    recall: float | None
    reached: float | None
    sample: int
    reserve: int
    others: int = 0
    division: Division | None = None

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.home)

    @property
    def neighbors(self) -> int:
        """Of each point, at most."""
        return int(self.best.shape[1]) - self.reserve

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self.rows.dimension

    @property
    def metric(self) -> Metric:
        """Of the search."""
        return self.quantizer.metric

    @property
    def prepare(self) -> Preparation:
        """What is done to rows before they are searched."""
        return Preparation(self.metric, self.center)

    @property
    def bounds(self) -> Int64Array:
        """The run of each cell: int64, (cells+1,)."""
        return np.searchsorted(self.home, np.arange(len(self.quantizer.centroids) + 1)).astype(np.int64)

    @property
    def wide(self) -> PreparedRows:
        """The vectors as they are searched."""
        return PreparedRows(self.rows, self.prepare)

    def vectors(self) -> FloatMatrix:
        """Return the vectors as they are searched, all at once: float32, (n, d)."""
        return self.wide[:]

    def graph(self) -> NeighborGraph:
        """Return the symmetric graph; its rows are its nodes."""
        best = np.ascontiguousarray(self.best[:, : self.neighbors])
        similarity = similarity_of_scores(self.score[:, : self.neighbors].copy(), self.metric)
        indptr, indices, similarity = lists_kernel.symmetrize(best, similarity)
        about = np.arange(self.n), indptr, indices, similarity
        return NeighborGraph(self.ids, *about, unsigned=is_unsigned(self.id_type))

    def joined(self, ids: pa.Array, rows: StoredRows, home: Int32Array) -> tuple[GraphState, Int64Array]:
        """Return a graph with more points, whose lists are empty, in the order of homes; and the numbers of these.

        Args:
            ids: of m points, as they are kept.
            rows: their vectors.
            home: int32, (n + m,): of all; in a cell they are in the order they have, then in that of the new ones.
        """
        n, m, (_, width) = self.n, len(ids), self.best.shape
        order = np.argsort(home, kind="stable")
        number = np.empty(n + m + self.others, np.int64)
        number[order] = np.arange(n + m)
        number[n + m :] = np.arange(n + m, n + m + self.others)
        best, score = np.empty((n + m, width), np.int32), np.empty((n + m, width), np.float32)
        old, new = np.delete(number, np.s_[n : n + m]), number[n : n + m]

        def all_but_lists() -> GraphState:
            both = pa.concat_arrays([self.ids, ids]).take(pa.array(order))
            return replace(self, ids=both, home=home[order], rows=self.rows.joined(rows, number[: n + m]))

        with ThreadPoolExecutor(1) as beside:
            grown = beside.submit(all_but_lists)
            over_rows(kernel.renumber, n, old, self.best, self.score, best, score, old)
            best[new], score[new] = -1, -np.inf
        return replace(grown.result(), best=best, score=score), new

    def without(self, gone: npt.NDArray[np.bool_]) -> tuple[GraphState, Int64Array]:
        """Return a graph without some points, and the number of each, int64, (n + others,), -1 of those that are gone.

        Args:
            gone: bool, (n + others,): who leaves; lists close up behind them.
        """
        stay = np.flatnonzero(~gone[: self.n])
        number = np.arange(self.n + self.others, dtype=np.int64)
        number[stay] = np.arange(len(stay))
        number[self.n :] -= self.n - len(stay)
        number[gone] = -1
        shape = len(stay), self.best.shape[1]
        best, score = np.empty(shape, np.int32), np.empty(shape, np.float32)
        over_rows(kernel.renumber, self.n, number, self.best, self.score, best, score, number)
        ids, rows = self.ids.take(pa.array(stay)), self.rows.take(stay)
        return replace(self, ids=ids, home=self.home[stay], rows=rows, best=best, score=score), number


def reserve_of(neighbors: int) -> int:
    """Return how many entries a list has in reserve: when a twentieth leaves, few lose more."""
    return -(-neighbors // _PER_RESERVE)


def search_to_grow(
    points: Points, how: Search, progress: StepProgress = lambda what, share: None
) -> tuple[NeighborResult, GraphState]:
    """Return the graph of points and what it needs to grow; takes the points' embeddings away.

    Args:
        points: with embeddings.
        how: to search, but for the reserve.
        progress: told what goes on.
    """
    assert points.embeddings is not None
    how = replace(how, reserve=reserve_of(how.neighbors))
    stored, kept = StoredRows.of(points.embeddings), list[GraphState]()

    def keep(searched: Searched) -> None:
        found, rows = searched.found, searched.rows
        wide = how.neighbors + how.reserve - found.best.shape[1]  # in a graph of few points, room for those to come
        kept.append(
            GraphState(
                ids=points.ids.take(pa.array(rows)),
                id_type=points.id_type,
                home=found.home,
                rows=PlacedRows.of(stored.take(rows)),
                best=np.pad(found.best, ((0, 0), (0, wide)), constant_values=-1),
                score=np.pad(found.score, ((0, 0), (0, wide)), constant_values=-np.inf),
                quantizer=found.quantizer,
                center=searched.prepare.center,
                probes=found.probes,
                reach=found.reach,
                recall=how.recall,
                reached=None,
                sample=how.sample,
                reserve=how.reserve,
            )
        )

    result = neighbor_graph(points, how, progress, keep)
    return result, replace(kept[0], reached=result.report.recall)
