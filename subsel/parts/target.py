"""A target set in a graph: points that are covered, and not selected from, joined to the points that are near them.

Who is near to whom is a table with a row for each edge, in memory and in a run directory, on every engine. Where all is
one part, the target's points are its last own ones. Else they are own points of parts of their own, after those of the
points to select from, and ghosts there: so whatever goes through points by part knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from subsel.fixedpoint import Int64Array, Usual
from subsel.graph import SLOT_BITS, SLOT_MASK, DraftGraph, SimilarityArray, distinct

#: An edge: the number of a target's point, which row of its data that is, how much it counts; and who is near it, by
#: code, by part and slot, and how near.
EDGES = pa.schema(
    [
        ("target", pa.int64()),
        ("row", pa.int64()),
        ("importance", pa.float64()),
        ("code", pa.int64()),
        ("similarity", pa.float32()),
        ("part", pa.int32()),
        ("slot", pa.int64()),
    ]
)
#: Columns of the table.
Edges = Mapping[str, npt.NDArray[Any]]


def edges_of_lists(
    first: int, row: Int64Array, importance: npt.NDArray[np.float64], code: Int64Array, similarity: SimilarityArray
) -> dict[str, npt.NDArray[Any]]:
    """Return what lists of the nearest say, without part and slot.

    Args:
        first: number of the first target's point that has a list here.
        row: int64, (m,): of which row of the data each is.
        importance: float64, (m,).
        code: int64, (m, k): see `subsel.embeddings.target.TargetLists`.
        similarity: float32, (m, k).
    """
    at, place = np.nonzero(similarity > 0)
    return {
        "target": first + at,
        "row": row[at],
        "importance": importance[at],
        "code": code[at, place],
        "similarity": similarity[at, place],
    }


def to_edges(columns: Edges, part: npt.NDArray[Any], slot: Int64Array) -> pa.Table:
    """Return the table of edges that `edges_of_lists` found, of points at some parts and slots."""
    more = {"part": part.astype(np.int32), "slot": slot}
    return pa.table({name: pa.array((dict(columns) | more)[name]) for name in EDGES.names}, EDGES)


def columns_of(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a table as arrays."""
    return {name: table.column(name).to_numpy() for name in table.column_names}


def with_target(draft: DraftGraph, edges: Edges, count: int) -> DraftGraph:
    """Return a whole graph with ``count`` points of a target as its last own ones."""
    n = len(draft.indptr) - 1
    near, target = edges["slot"], n + edges["target"]
    row, column = np.concatenate([near, target]), np.concatenate([target, near])
    importance = np.zeros(n + count)
    importance[target] = edges["importance"]
    return replace(
        _joined(draft, n + count, n + count, row, column, np.tile(edges["similarity"], 2)),
        utility=np.concatenate([draft.utility, np.zeros(count)]),
        code=np.concatenate([draft.code, np.arange(count)]),
        cost=None if draft.cost is None else np.concatenate([draft.cost, np.zeros(count, np.int64)]),
        group=None if draft.group is None else np.pad(draft.group, ((0, 0), (0, count))),
        importance=importance,
        itself=np.zeros(n + count),
        target=np.arange(n + count) >= n,
    )


def beside_target(draft: DraftGraph, edges: Edges, parts: int, per_part: int) -> DraftGraph:
    """Return a part of points to select from with the target's points that they are near to as ghosts.

    Args:
        draft: the part.
        edges: of its points.
        parts: how many are of points to select from; those of the target come after them.
        per_part: points of the target in each part.
    """
    n, ghosts = len(draft.indptr) - 1, len(draft.ghost_vid)
    number, first = np.unique(edges["target"], return_index=True)
    column = n + ghosts + np.searchsorted(number, edges["target"])
    everybody = n + ghosts + len(number)
    nothing = np.zeros(len(number), np.int64)
    return replace(
        _joined(draft, n, everybody, edges["slot"], column, edges["similarity"]),
        utility=np.concatenate([draft.utility, np.zeros(len(number))]),
        code=np.concatenate([draft.code, number]),
        ghost_vid=np.concatenate([draft.ghost_vid, address(number, parts, per_part)]),
        cost=None if draft.cost is None else np.concatenate([draft.cost, nothing]),
        importance=np.concatenate([np.zeros(n + ghosts), edges["importance"][first]]),
        itself=np.zeros(n),
        target=np.arange(everybody) >= n + ghosts,
    )


def borders(graph: DraftGraph, edges: Edges, parts: int, per_part: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield what each part of the target must know of a part of points to select from: edges, and who these points are.

    Arguments: see `beside_target`.
    """
    home = address(edges["target"], parts, per_part) >> SLOT_BITS
    for to in distinct(home).tolist():
        mine = home == to
        slot = edges["slot"][mine]
        found = {name: edges[name][mine] for name in ("target", "importance", "similarity")}
        found |= {"vid": (graph.part << SLOT_BITS) | slot, "code": graph.code[slot], "utility": graph.utility[slot]}
        yield to, found if graph.cost is None else found | {"cost": graph.cost[slot]}


def target_part(part: int, heard: Edges, parts: int, per_part: int, columns: int) -> DraftGraph:
    """Return a part of the target's points, by what parts of points to select from said (`borders`).

    Args:
        part: its number.
        heard: all of that.
        parts: see `beside_target`.
        per_part: see there.
        columns: of groups.
    """
    slot = address(heard["target"], parts, per_part) & SLOT_MASK
    n = int(slot.max()) + 1
    vid, first = np.unique(heard["vid"], return_index=True)
    importance = np.zeros(n + len(vid))
    importance[slot] = heard["importance"]
    nobody = np.zeros(n, np.int64)
    empty = DraftGraph(
        part=part,
        indptr=np.zeros(n + 1, np.int64),
        indices=np.empty(0, np.int32),
        similarity=np.empty(0, heard["similarity"].dtype),
        utility=np.concatenate([np.zeros(n), heard["utility"][first]]),
        code=np.concatenate([(part - parts) * per_part + np.arange(n), heard["code"][first]]),
        ghost_vid=vid,
        cost=np.concatenate([nobody, heard["cost"][first]]) if "cost" in heard else None,
        group=np.zeros((columns, n), np.int32) if columns else None,
        importance=importance,
        itself=np.zeros(n),
        target=np.arange(n + len(vid)) < n,
    )
    return _joined(empty, n, n + len(vid), slot, n + np.searchsorted(vid, heard["vid"]), heard["similarity"])


def address(target: Int64Array, parts: int, per_part: int) -> Int64Array:
    """Return where points of a target are (vid): their part after others, and their slot there."""
    return ((parts + target // per_part) << SLOT_BITS) | target % per_part


def parts_of_target(count: int, per_part: int) -> int:
    """Return how many parts so many points of a target have."""
    return -(-count // per_part)


class Span(NamedTuple):
    """How large the values of a target's edges are.

    Attributes:
        degree: the largest Σ s over the edges of one point.
        similarity: the largest s.
        importance: the largest.
        usual: how large s times importance is usually.
    """

    degree: float
    similarity: float
    importance: float
    usual: Usual


def usual_cover(similarity: SimilarityArray, importance: npt.NDArray[np.float64]) -> Usual:
    """Return how large what edges cover usually is; both (m,)."""
    return Usual.of(similarity.astype(np.float64) * importance)


def span_of(edges: Edges) -> Span:
    """Return the span of edges to a target."""
    if not len(edges["slot"]):
        return Span(0.0, 0.0, 1.0, Usual())
    similarity, importance = edges["similarity"], edges["importance"]
    degree = np.bincount(edges["slot"], weights=similarity)
    usual = usual_cover(similarity, importance)
    return Span(float(degree.max()), float(similarity.max()), float(importance.max()), usual)


def _joined(
    draft: DraftGraph, rows: int, columns: int, row: Int64Array, column: Int64Array, similarity: SimilarityArray
) -> DraftGraph:
    """Return a draft with more edges, in so many rows, of so many own points and ghosts."""
    mine = np.repeat(np.arange(len(draft.indptr) - 1), np.diff(draft.indptr))
    ends = np.concatenate([mine, row]), np.concatenate([draft.indices, column])
    values = np.concatenate([draft.similarity, similarity.astype(draft.similarity.dtype)])
    matrix = sp.csr_matrix((values, ends), shape=(rows, columns))
    matrix.sort_indices()
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return replace(draft, indptr=indptr, indices=indices, similarity=matrix.data)
