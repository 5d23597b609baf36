"""Graphs: the one users see (`NeighborGraph`), one part of it (`DraftGraph`, then `PartGraph`), a group (`GroupGraph`).

Kernels work on parts; those that know `KernelGraph` only also on groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from subsel import schema
from subsel.compiling import compiled
from subsel.fixedpoint import FixedPoint, Int64Array, WeightArray
from subsel.report import GraphReport
from subsel.storage import Place, arrow_place, new_file, place_of
from subsel.threads import over_rows
from subsel.version import __version__

Int32Array = npt.NDArray[np.int32]
#: Similarities are kept as they came: float32 from embeddings, float32 or float64 from a user's graph.
SimilarityArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_EDGES_PER_BATCH = 1 << 20

#: A point's address (vid): its part << SLOT_BITS | its slot in that part.
SLOT_BITS = 32
SLOT_MASK = (1 << SLOT_BITS) - 1


@dataclass(frozen=True, slots=True)
class NeighborGraph:
    """A symmetric neighbour graph in memory: every undirected edge stands in the rows of both its ends.

    Nodes are numbered for locality (near points have near numbers), not as the input's rows are;
    ``rows`` leads back. ``to_scipy`` undoes the numbering.

    Attributes:
        ids: user ids in node order, (n,), as they are kept: int64, large_string or large_binary.
        rows: int64, (n,): input row of each node.
        indptr: int64, (n+1,).
        indices: int32, (m,): neighbours, ascending inside a row, no self loops.
        similarity: float32 or float64, (m,), ≥ 0, symmetric.
        itself: float64, (n,), ≥ 0: how similar each is to itself, where points differ in that; None: see
            `subsel.coverage.own_similarity`.
        unsigned: whether ``ids`` are the bits of unsigned integers.
    """

    ids: pa.Array
    rows: Int64Array
    indptr: Int64Array
    indices: Int32Array
    similarity: SimilarityArray
    itself: npt.NDArray[np.float64] | None = None
    unsigned: bool = False

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.indptr) - 1

    @property
    def user_ids(self) -> pa.Array:
        """The ids as the user knows them: unsigned ones as uint64."""
        return self.ids.view(pa.uint64()) if self.unsigned else self.ids

    @property
    def n_edges(self) -> int:
        """Number of undirected edges."""
        return len(self.indices) // 2

    def report(self) -> GraphReport:
        """Describe it, as a graph of the user's."""
        degrees = np.diff(self.indptr)
        mean, most, alone = round(float(degrees.mean()), 2), int(degrees.max()), int((degrees == 0).sum())
        return GraphReport(source="given", edges=self.n_edges, mean_degree=mean, max_degree=most, alone=alone)

    def to_scipy(self) -> sp.csr_matrix:
        """Return the symmetric (n, n) similarity matrix, rows and columns in the order of the input's rows."""
        matrix = sp.csr_matrix((self.similarity, self.indices, self.indptr), shape=(self.n, self.n))
        node_of_row = np.empty(self.n, np.int64)
        node_of_row[self.rows] = np.arange(self.n)
        return matrix[node_of_row][:, node_of_row].sorted_indices()

    def edges(self) -> Iterator[pa.RecordBatch]:
        """Yield the edges in user ids, each undirected edge once, in batches of about a million."""
        ids, out = self.user_ids, self._edge_schema
        rows_per_batch = max(1, _EDGES_PER_BATCH * max(self.n, 1) // max(len(self.indices), 1))
        for begin in range(0, self.n, rows_per_batch):
            end = min(begin + rows_per_batch, self.n)
            lo, hi = self.indptr[begin], self.indptr[end]
            src = np.repeat(np.arange(begin, end), np.diff(self.indptr[begin : end + 1]))
            once = src < self.indices[lo:hi]
            ends = (ids.take(pa.array(end[once])) for end in (src, self.indices[lo:hi]))
            yield pa.RecordBatch.from_arrays([*ends, pa.array(self.similarity[lo:hi][once])], schema=out)

    @property
    def _edge_schema(self) -> pa.Schema:
        return schema.edge_schema(self.user_ids.type, pa.from_numpy_dtype(self.similarity.dtype))

    def to_parquet(self, path: str | Path | Place, *, overwrite: bool = False) -> None:
        """Write the edges to one Parquet file with columns `src`, `dst` (user ids) and `similarity`.

        Each undirected edge is written once; isolated points do not appear. The file appears whole or not at all.

        Args:
            path: where, see `subsel.storage.place_of`.
            overwrite: replace ``path`` if subsel wrote it.

        Raises:
            InputError: ``path`` exists, and ``overwrite`` is False or subsel did not write it.
            OutputError: it cannot be written.
        """
        about = {"subsel": json.dumps({"subsel": __version__, "made_by": "NeighborGraph.to_parquet"})}
        with new_file(place_of(path), overwrite=overwrite) as new:
            self.write_edges(new, about)

    def write_edges(self, place: Place, metadata: dict[str, str] | None = None) -> None:
        """Write the edges to a Parquet file of a place that commits it."""
        there, out = arrow_place(place), self._edge_schema.with_metadata(metadata)
        with pq.ParquetWriter(there.path, out, filesystem=there.filesystem) as writer:
            for batch in self.edges():
                writer.write_batch(batch)


class KernelGraph(Protocol):
    """What a kernel may use that runs on groups as well as on parts; see `PartGraph` for each."""

    @property
    def indptr(self) -> Int64Array:
        """int64, (n_own+1,)."""

    @property
    def indices(self) -> Int32Array:
        """int32, (m,)."""

    @property
    def weight(self) -> WeightArray:
        """int32 or int64, (m,)."""

    @property
    def code(self) -> Int64Array:
        """int64, (n_own + n_ghost,)."""

    @property
    def fixed_point(self) -> FixedPoint:
        """The scale."""

    @property
    def cost(self) -> Int64Array | None:
        """int64, (n_own + n_ghost,), or None."""

    @property
    def group(self) -> Int32Array | None:
        """int32, (columns, n_own), or None."""

    @property
    def conflict(self) -> npt.NDArray[np.bool_]:
        """bool, (m,), or (0,) where no two points exclude each other."""

    @property
    def n_own(self) -> int:
        """Number of own points."""


@dataclass(frozen=True, slots=True)
class GroupGraph:
    """Points of many parts in one place, with the edges among them: no ghosts, and only what a step of theirs needs.

    Attributes:
        indptr: int64, (n_own+1,).
        indices: int32, (m,): neighbours in the group.
        weight: int32 or int64, (m,), as in `PartGraph`.
        code: int64, (n_own,).
        fixed_point: the scale of ``weight`` and of the board's keys.
        cost: int64, (n_own,), as in `PartGraph`, like ``group``.
        group: int32, (columns, n_own).
        conflict: bool, (m,): edges whose ends exclude each other; (0,) where none do.
    """

    indptr: Int64Array
    indices: Int32Array
    weight: WeightArray
    code: Int64Array
    fixed_point: FixedPoint
    cost: Int64Array | None = None
    group: Int32Array | None = None
    conflict: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))

    @property
    def n_own(self) -> int:
        """Number of points."""
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True)
class DraftGraph:
    """A part as it is assembled, before all parts' values are known, and with them the scale; see `PartGraph`."""

    part: int
    indptr: Int64Array
    indices: Int32Array
    similarity: SimilarityArray
    utility: npt.NDArray[np.float64]
    code: Int64Array
    ghost_vid: Int64Array
    cost: Int64Array | None = None
    group: Int32Array | None = None
    importance: npt.NDArray[np.float64] | None = None
    itself: npt.NDArray[np.float64] | None = None
    target: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class PartGraph:
    """One part's share of a graph, as kernels see it. Nothing in it changes while selecting.

    A neighbour is a slot of this part (index < n_own) or a *ghost*, a point of another part
    (index n_own + g). Arrays over "own and ghosts" share that numbering.

    Attributes:
        part: this part's number.
        indptr: int64, (n_own+1,).
        indices: int32, (m,): neighbours of own points.
        similarity: float32 or float64, (m,), ≥ 0.
        weight: int32 or int64, (m,): β·s in fixed point, not shifted, ≥ 0, symmetric across parts; with importance how
            much each neighbour would cover the row's own point: s times that point's importance.
        mean_weight: float64, (n_own,): mean of each own point's weights, also of edges that were dropped since
            because an end was decided; 0 without edges.
        utility: float64, (n_own + n_ghost,): u.
        code: int64, (n_own + n_ghost,): see `subsel.codes`.
        ghost_vid: int64, (n_ghost,), ascending: addresses (part << 32 | slot) of the ghosts.
        fixed_point: the scale of ``weight`` and of the board's keys.
        cost: int64, (n_own + n_ghost,), ≥ 0: what each costs; None where points have no cost.
        group: int32, (columns, n_own): numbers of own points' groups (`subsel.input.groups`); None where none.
        max_similarity: two selected points are at most so similar; None: as they come.
        importance: float64, (n_own + n_ghost,), ≥ 0: how much it counts that each is covered; None where all count one.
        itself: float64, (n_own,), ≥ 0: how much each own point covers itself; None where that is 1.
        target: bool, (n_own + n_ghost,): who is of a target set, which is covered and not selected from; own ones are
            the last of the own. None without a target.
    """

    part: int
    indptr: Int64Array
    indices: Int32Array
    similarity: SimilarityArray
    weight: WeightArray
    mean_weight: npt.NDArray[np.float64]
    utility: npt.NDArray[np.float64]
    code: Int64Array
    ghost_vid: Int64Array
    fixed_point: FixedPoint
    cost: Int64Array | None = None
    group: Int32Array | None = None
    max_similarity: float | None = None
    importance: npt.NDArray[np.float64] | None = None
    itself: npt.NDArray[np.float64] | None = None
    target: npt.NDArray[np.bool_] | None = None

    @property
    def n_own(self) -> int:
        """Number of this part's own points."""
        return len(self.indptr) - 1

    @property
    def n_points(self) -> int:
        """Number of own points that are not of a target set: the first of the own."""
        return self.n_own if self.target is None else self.n_own - int(self.target[: self.n_own].sum())

    @property
    def conflict(self) -> npt.NDArray[np.bool_]:
        """Edges whose ends exclude each other: bool, (m,); (0,) without a limit of similarity."""
        if self.max_similarity is None:
            return np.empty(0, np.bool_)
        alike = np.asarray(self.similarity > self.max_similarity)
        if self.target is not None:
            alike &= ~self.target[self.indices]
            alike[self.indptr[self.n_points] :] = False
        return alike

    @property
    def vid(self) -> Int64Array:
        """Addresses of own points and ghosts: int64, (n_own + n_ghost,)."""
        return np.concatenate([(self.part << SLOT_BITS) | np.arange(self.n_own), self.ghost_vid])

    def local(self, vid: Int64Array) -> Int32Array:
        """Return the numbers, among own points and ghosts, of addresses that are known here; -1 for others."""
        numbers: Int32Array = _local(vid, self.part, self.n_own, self.ghost_vid)
        return numbers

    def hosts(self, own: npt.NDArray[np.bool_]) -> tuple[Int64Array, Int64Array]:
        """Return ``(part, slot)`` of every part that has one of these own points as a ghost: by part, then by slot.

        Those are the parts of their ghost neighbours, exactly.
        """
        if len(self.ghost_vid) == 0 or not own.any():
            return np.empty(0, np.int64), np.empty(0, np.int64)
        border = self.indices >= self.n_own
        row = np.repeat(np.arange(self.n_own), np.diff(self.indptr))[border]
        heard = own[row]
        to = self.ghost_vid[self.indices[border][heard] - self.n_own] >> SLOT_BITS
        pairs = distinct((to << SLOT_BITS) | row[heard])
        return pairs >> SLOT_BITS, pairs & SLOT_MASK

    @classmethod
    def whole(
        cls,
        graph: NeighborGraph,
        utility: npt.NDArray[np.float64],
        code: Int64Array,
        fixed_point: FixedPoint,
        cost: Int64Array | None = None,
        group: Int32Array | None = None,
        importance: npt.NDArray[np.float64] | None = None,
        itself: npt.NDArray[np.float64] | None = None,
    ) -> PartGraph:
        """Return a whole graph as one part without ghosts. What points have is in node order, see `PartGraph`."""
        weight = row_weights(graph.indptr, graph.similarity, fixed_point, importance)
        return cls(
            part=0,
            indptr=graph.indptr,
            indices=graph.indices,
            similarity=graph.similarity,
            weight=weight,
            mean_weight=mean_weights(graph.indptr, weight),
            utility=utility,
            code=code,
            ghost_vid=np.empty(0, np.int64),
            fixed_point=fixed_point,
            cost=cost,
            group=group,
            importance=importance,
            itself=itself,
        )


def row_weights(
    indptr: Int64Array,
    similarity: SimilarityArray,
    fixed_point: FixedPoint,
    importance: npt.NDArray[np.float64] | None = None,
) -> WeightArray:
    """Return the weights of own points' edges, see `PartGraph.weight`; ``importance``: (n_own or more,)."""
    if importance is None or (importance == 1).all():
        return fixed_point.weights(similarity)
    return fixed_point.weights(similarity * np.repeat(importance[: len(indptr) - 1], np.diff(indptr)))


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the distinct integers of an array, ascending: by sorting.

    `numpy.unique` hashes since numpy 2.3, which takes tens of times as long for addresses of parts and slots.
    """
    ascending: npt.NDArray[Any] = np.sort(values, axis=None)
    first = np.ones(len(ascending), np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return ascending[first]


@compiled(parallel=True)
def _local(vid: Any, part: int, n_own: int, ghost_vid: Any) -> Any:
    """Return the numbers of addresses: see `PartGraph.local`."""
    numbers = np.full(len(vid), -1, np.int32)
    for i in numba.prange(len(vid)):
        if vid[i] >> SLOT_BITS == part:
            numbers[i] = vid[i] & SLOT_MASK
        else:
            ghost = np.searchsorted(ghost_vid, vid[i])
            if ghost < len(ghost_vid) and ghost_vid[ghost] == vid[i]:
                numbers[i] = n_own + ghost
    return numbers


def mean_weights(indptr: Int64Array, weight: WeightArray) -> npt.NDArray[np.float64]:
    """Return the mean weight of each row, 0 for an empty one: float64, (n,); a sum of integers, so exact."""
    out = np.zeros(len(indptr) - 1, np.float64)
    over_rows(_mean_weights, len(out), indptr, weight, out)
    return out


@compiled(nogil=True)
def _mean_weights(begin: int, end: int, indptr: Any, weight: Any, out: Any) -> None:
    for v in range(begin, end):
        total = np.int64(0)
        for e in range(indptr[v], indptr[v + 1]):
            total += weight[e]
        if indptr[v + 1] > indptr[v]:
            out[v] = total / (indptr[v + 1] - indptr[v])
