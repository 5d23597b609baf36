"""A user's own graph instead of a computed one: the rules of edges, and their executor in this process' memory.

Of an edge ``src, dst, similarity`` the first of these holds: null end or similarity; an end that joins itself; a
similarity that is negative, NaN or infinite; an end that is no point's id. Good edges may stand in one direction or
both, any number of times: an undirected edge has its largest similarity.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from subsel import schema
from subsel.config import SelectConfig
from subsel.errors import InputError, option
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph, SimilarityArray
from subsel.input.ids import is_unsigned, same_type, smallest, storage_type, stored_ids
from subsel.input.points import array_checksum
from subsel.input.source import Source, iterate_columns, require_columns

log = logging.getLogger(__name__)

COLUMNS = [schema.SRC, schema.DST, schema.SIMILARITY]
NULL, LOOP = "null src, dst or similarity", "self loop"
WRONG, UNKNOWN = "negative, NaN or infinite similarity", "an end that is an unknown id"
_TURN = "similarities are larger for nearer points, such as 1 - d for cosine distances or 1 / (1 + d) for others"


@dataclass(frozen=True, slots=True)
class UserGraph:
    """A user's graph, and how many of its edges were dropped, by reason."""

    graph: NeighborGraph
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class KnownPoints:
    """The points that a graph must be of.

    Attributes:
        ids: as they are kept, (n,).
        id_type: the user's type.
        rows: int64, (n,): the input's row of each.
        source_rows: rows of the input, dropped ones too.
    """

    ids: pa.Array
    id_type: pa.DataType
    rows: Int64Array
    source_rows: int


def check_edge_types(columns: pa.Schema, name: str, id_type: pa.DataType | None) -> None:
    """Refuse edges whose columns are missing or of types that no edges have.

    Args:
        columns: plain types.
        name: what messages call the graph.
        id_type: type of the points' ids; None: there are none to compare with.

    Raises:
        InputError: see above.
    """
    src, dst, similarity = (columns.field(column).type for column in COLUMNS)
    if storage_type(src) != storage_type(dst):
        raise InputError(f"src is {src} and dst {dst}: use one type.")
    if id_type is not None:
        same_type(src, id_type, "the graph")
    if not (pa.types.is_floating(similarity) or pa.types.is_integer(similarity) or pa.types.is_decimal(similarity)):
        raise InputError(f"column 'similarity' of {name} is {similarity}, but must be numbers: cast it.")


def settle_edges(name: str, counts: dict[str, int], total: int, example: Any, config: SelectConfig) -> dict[str, int]:
    """Return bad edges by reason, or raise if they are errors.

    Args:
        name: what messages call the graph.
        counts: bad edges by reason.
        total: edges in all.
        example: an unknown id, if there is one.
        config: says whether bad edges are errors.

    Raises:
        InputError: there are bad edges, and they are errors.
    """
    found = {reason: counts[reason] for reason in (NULL, LOOP, WRONG, UNKNOWN) if counts.get(reason)}
    if not found:
        return {}
    told = {reason: f"{reason} such as {example!r}" if reason == UNKNOWN else reason for reason in found}
    what = "; ".join(f"{count:,} of {total:,} edges: {told[reason]}" for reason, count in found.items())
    if config.on_bad_rows == "error":
        raise InputError(f"{name}: {what}. Mend it, or set {option('on_bad_rows', 'drop')} to leave them out.")
    log.warning("%s: dropped %s", name, what)
    return found


def as_neighbor_graph(graph: Any, points: KnownPoints | None, config: SelectConfig) -> UserGraph:
    """Return a user's graph as a symmetric `NeighborGraph`, every undirected edge with its larger similarity.

    Args:
        graph: one of

            - a `Source` of edges ``src, dst, similarity`` in user ids;
            - a scipy sparse (n, n) matrix of similarities, rows in the order of the input's; its diagonal counts under
              coverage only, where it is above 0: how similar points are to themselves;
            - ``(indices, similarities)``: (n, k) arrays, -1 for none, a point's match with itself is left out;
            - a `NeighborGraph` over the same ids.
        points: those that it must be of; None to take them from the graph: 0…n-1, or those that edges name.
        config: ``on_bad_rows`` says whether bad edges are errors or dropped.

    Raises:
        InputError: edges are bad, arrays are swapped or hold distances, or shapes do not agree with the points.
    """
    if isinstance(graph, NeighborGraph):
        return UserGraph(_same_points(graph, points), {})
    if sp.issparse(graph):
        found = _from_matrix(graph, points, config)
    elif isinstance(graph, tuple):
        found = _from_neighbors(graph, points, config)
    else:
        found = _from_edges(graph, points, config)
    if points is not None:
        unsigned = is_unsigned(points.id_type)
    else:
        unsigned = is_edges(graph) and is_unsigned(graph.schema.field(schema.SRC).type)
    return replace(found, graph=replace(found.graph, unsigned=unsigned))


def is_edges(graph: Any) -> bool:
    """Return whether a graph is given as edges, to be opened as a `Source`, and not as a matrix or arrays."""
    pair = (
        isinstance(graph, tuple)
        and len(graph) == 2
        and all(hasattr(one, "ndim") or isinstance(one, list) for one in graph)
    )
    return not (isinstance(graph, NeighborGraph) or sp.issparse(graph) or pair)


def graph_checksum(graph: Any) -> str:
    """Return a checksum of a graph that was given as a matrix or arrays."""
    if isinstance(graph, NeighborGraph):
        ids = np.asarray(graph.ids.to_numpy(zero_copy_only=False))
        codes = ids if ids.dtype.kind == "i" else np.array([repr(one) for one in ids])
        more = () if graph.itself is None else (graph.itself,)
        return array_checksum(codes, graph.indptr, graph.indices, graph.similarity, *more)
    if sp.issparse(graph):
        rows = graph.tocsr()
        return array_checksum(rows.indptr, rows.indices, rows.data)
    return array_checksum(*map(np.asarray, graph))


def identity_of(graph: Any, config: SelectConfig) -> Any:
    """Return what tells a graph of the user's from another: of files their names and times, else a checksum."""
    if graph is None:
        return None
    found = graph.identity() if is_edges(graph) else graph_checksum(graph)
    return graph_checksum(as_neighbor_graph(graph, None, config).graph) if found is None else found


def _same_points(graph: NeighborGraph, points: KnownPoints | None) -> NeighborGraph:
    if points is None:
        return graph
    if graph.n != len(points.ids):
        raise InputError(
            f"the graph has {graph.n:,} points and the data {len(points.ids):,}: they must be the same points."
        )
    if graph.ids.type != points.ids.type:
        raise InputError(f"the graph's ids are {graph.ids.type}, those of the data {points.id_type}: use one type.")
    rows = pc.index_in(graph.ids, value_set=points.ids)
    strange = rows.is_null().to_numpy(zero_copy_only=False)
    if graph.unsigned != is_unsigned(points.id_type):
        strange |= _beyond(graph.ids)
    if strange.any():
        raise InputError(f"{int(strange.sum()):,} of the graph's {graph.n:,} points are not in the data.")
    return replace(graph, rows=rows.to_numpy().astype(np.int64), unsigned=is_unsigned(points.id_type))


def _from_matrix(matrix: Any, points: KnownPoints | None, config: SelectConfig) -> UserGraph:
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"the graph matrix has shape {matrix.shape}, but must be square.")
    if not (np.issubdtype(matrix.dtype, np.floating) or np.issubdtype(matrix.dtype, np.integer)):
        raise InputError(f"the graph matrix is {matrix.dtype}, but similarities are real numbers: cast it.")
    coo = matrix.tocsr().tocoo()  # sums repeated entries, as scipy means them
    off = coo.row != coo.col
    found = _of_rows(coo.row[off], coo.col[off], coo.data[off], matrix.shape[0], points, config)
    return replace(found, graph=_with_diagonal(found.graph, matrix, points)) if config.covers else found


def _with_diagonal(graph: NeighborGraph, matrix: Any, points: KnownPoints | None) -> NeighborGraph:
    """Return a graph that says how similar its points are to themselves, if its matrix does; else by the largest edge.

    Raises:
        InputError: the diagonal has values that are no finite numbers.
    """
    diagonal = matrix.tocsr().diagonal().astype(np.float64)
    if not np.isfinite(diagonal).all():
        raise InputError("the graph matrix has a diagonal with values that are no finite numbers.")
    rows = graph.rows if points is None else points.rows[graph.rows]
    itself = diagonal[rows]
    if not (itself > 0).any():
        return graph
    return replace(graph, itself=np.where(itself > 0, itself, float(graph.similarity.max(initial=0.0))))


def _from_neighbors(pair: Any, points: KnownPoints | None, config: SelectConfig) -> UserGraph:
    indices, similarity = (np.asarray(one) for one in pair)
    if indices.ndim != 2 or indices.shape != similarity.shape:
        raise InputError(
            f"neighbour arrays have shapes {indices.shape} and {similarity.shape}, but must both be (n, k)."
        )
    if not np.issubdtype(indices.dtype, np.integer):
        if np.issubdtype(similarity.dtype, np.integer):
            raise InputError(
                "the graph's arrays are swapped: give (indices, similarities), not (similarities, indices)."
            )
        raise InputError(f"neighbour indices are {indices.dtype}, but must be integers: row numbers, -1 for none.")
    if not (np.issubdtype(similarity.dtype, np.floating) or np.issubdtype(similarity.dtype, np.integer)):
        raise InputError(f"the graph's similarities are {similarity.dtype}, but must be real numbers: cast them.")
    n = len(indices)
    src = np.repeat(np.arange(n), indices.shape[1])
    dst = indices.ravel()
    if ((dst < -1) | (dst >= n)).any():
        raise InputError(f"neighbour indices lie outside -1…{n - 1}: they are row numbers, -1 for none.")
    _refuse_distances(indices, similarity)
    real = (dst >= 0) & (dst != src)
    return _of_rows(src[real], dst[real], similarity.ravel()[real], n, points, config)


def _refuse_distances(indices: npt.NDArray[Any], similarity: npt.NDArray[Any]) -> None:
    """Refuse arrays in which points are least like themselves: those are distances.

    Raises:
        InputError: see above.
    """
    itself = indices == np.arange(len(indices))[:, None]
    has = np.flatnonzero(itself.any(axis=1))
    if not len(has):
        return
    own = np.where(itself, similarity, -np.inf)[has].max(axis=1)
    others = np.where(itself | (indices < 0), np.nan, similarity)[has]
    with np.errstate(invalid="ignore"):
        least, most = (
            f(others, axis=1, initial=start, where=~np.isnan(others))
            for f, start in ((np.min, np.inf), (np.max, -np.inf))
        )
    nearer = (own <= least) & (own < most)
    if nearer.sum() > 0.5 * len(has):
        raise InputError(
            f"the graph has distances: {int(nearer.sum()):,} of {len(has):,} points have no neighbour nearer than "
            f"themselves, at {own[nearer][0]:.3g}. Convert them: {_TURN}."
        )


def _of_rows(
    src: npt.NDArray[Any],
    dst: npt.NDArray[Any],
    similarity: npt.NDArray[Any],
    n: int,
    points: KnownPoints | None,
    config: SelectConfig,
) -> UserGraph:
    """Take edges between input rows to edges between points; edges of rows that were dropped go with them."""
    if points is None:
        return _from_pairs(src, dst, similarity, pa.array(np.arange(n)), n, {}, None, config)
    if n != points.source_rows:
        raise InputError(
            f"the graph has {n:,} points and the data {points.source_rows:,}: they must be the same points."
        )
    if len(points.ids) < n:
        point = np.full(n, -1, np.int64)
        point[points.rows] = np.arange(len(points.rows))
        there = (point[src] >= 0) & (point[dst] >= 0)
        src, dst, similarity = point[src[there]], point[dst[there]], similarity[there]
    return _from_pairs(src, dst, similarity, points.ids, len(src), {}, None, config)


def _from_edges(source: Source, points: KnownPoints | None, config: SelectConfig) -> UserGraph:
    require_columns(source, COLUMNS)
    check_edge_types(source.schema, source.name, None if points is None else points.id_type)
    batches = list(iterate_columns(source, COLUMNS))
    total = sum(map(len, batches))
    if total == 0:
        raise InputError("the graph has no edges: give src, dst and similarity, or leave the graph out.")
    whole = [batch for batch in batches if not any(column.null_count for column in batch.columns)]
    for batch in batches:
        if any(column.null_count for column in batch.columns):
            whole.append(batch.drop_null())
    counts = {NULL: total - sum(map(len, whole))}
    kinds = [source.schema.field(end).type for end in (schema.SRC, schema.DST)]
    empty = pa.array([], storage_type(kinds[0]))
    src, dst = (pa.concat_arrays([empty, *(stored_ids(batch.column(end)) for batch in whole)]) for end in (0, 1))
    if points is None and is_unsigned(kinds[0]) != is_unsigned(kinds[1]) and (_beyond(src) | _beyond(dst)).any():
        raise InputError(f"src is {kinds[0]} and dst {kinds[1]}: use one type.")
    ids = pc.unique(pa.chunked_array([src, dst])).sort() if points is None else points.ids
    ends = [
        pc.index_in(end, value_set=ids).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        for end in (src, dst)
    ]
    for end, place, kind in zip((src, dst), ends, kinds, strict=True):
        if points is not None and is_unsigned(kind) != is_unsigned(points.id_type):
            place[_beyond(end)] = -1
    values = [_numbers(batch.column(2)) for batch in whole]
    similarity = np.concatenate(values) if values else np.empty(0)
    looped = pc.equal(src, dst).to_numpy(zero_copy_only=False)
    if is_unsigned(kinds[0]) != is_unsigned(kinds[1]):
        looped &= ~_beyond(src)
    named = [(end, place, kind) for end, place, kind in zip((src, dst), ends, kinds, strict=True)]

    def example(among: npt.NDArray[np.bool_]) -> Any:
        some = [smallest(end.filter(pa.array(among & (place < 0))), kind, 1) for end, place, kind in named]
        return min((one for ids_ in some for one in ids_), key=lambda one: getattr(one, "bytes", one))

    return _from_pairs(ends[0], ends[1], similarity, ids, total, counts, example, config, looped, source.name)


def _beyond(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which kept ids are other numbers, signed and unsigned."""
    if not pa.types.is_int64(ids.type):
        return np.zeros(len(ids), np.bool_)
    return np.asarray(ids.to_numpy(zero_copy_only=False) < 0)


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    return np.asarray(
        (column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column).to_numpy(zero_copy_only=False)
    )


def _from_pairs(
    src: npt.NDArray[Any],
    dst: npt.NDArray[Any],
    similarity: npt.NDArray[Any],
    ids: pa.Array,
    total: int,
    counts: dict[str, int],
    example: Callable[[npt.NDArray[np.bool_]], Any] | None,
    config: SelectConfig,
    loops: npt.NDArray[np.bool_] | None = None,
    name: str = "the graph",
) -> UserGraph:
    """Check and symmetrise directed pairs of point numbers (-1 for none): union, larger similarity."""
    if not np.issubdtype(similarity.dtype, np.floating):
        similarity = similarity.astype(np.float64)
    if similarity.dtype == np.float16:
        similarity = similarity.astype(np.float32)
    loops = src == dst if loops is None else loops
    wrong = ~(np.isfinite(similarity) & (similarity >= 0)) & ~loops
    unknown = ((src < 0) | (dst < 0)) & ~loops & ~wrong
    counts = counts | {LOOP: int(loops.sum()), WRONG: int(wrong.sum()), UNKNOWN: int(unknown.sum())}
    some = example(unknown) if example is not None and unknown.any() else None
    dropped = settle_edges(name, counts, total, some, config)
    good = ~(loops | wrong | unknown)
    n = len(ids)
    pair = np.concatenate([src[good].astype(np.int64) * n + dst[good], dst[good].astype(np.int64) * n + src[good]])
    order = np.argsort(pair)
    pair = pair[order]
    value: SimilarityArray = np.concatenate([similarity[good]] * 2)[order]
    first = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]])) if len(pair) else np.empty(0, np.int64)
    largest = np.maximum.reduceat(value, first) if len(pair) else value
    pair = pair[first]
    indptr = np.searchsorted(pair, np.arange(n + 1) * n).astype(np.int64)
    return UserGraph(NeighborGraph(ids, np.arange(n), indptr, (pair % n).astype(np.int32), largest), dropped)
