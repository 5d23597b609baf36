"""A user's own graph instead of a computed one: edges in user ids, a scipy matrix, or neighbour arrays."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from subsel import schema
from subsel.codes import id_storage_type
from subsel.config import SelectConfig
from subsel.embeddings.readers import iterate_columns, open_dataset, stored_ids
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph, SimilarityArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UserGraph:
    """A user's graph, and how many of its edges were dropped, by reason."""

    graph: NeighborGraph
    dropped: dict[str, int]


def as_neighbor_graph(graph: Any, ids: pa.Array | None, rows: Int64Array | None, config: SelectConfig) -> UserGraph:
    """Return a user's graph as a symmetric `NeighborGraph`, every undirected edge with its larger similarity.

    Args:
        graph: one of

            - edges ``src, dst, similarity`` in user ids: a Parquet path, or anything that speaks Arrow; an edge
              may stand in one direction or both;
            - a scipy sparse (n, n) matrix of similarities, rows in the order of ``ids``;
            - ``(indices, similarities)`` as faiss and pynndescent give them: (n, k) arrays, -1 for none, a
              point's match with itself is left out;
            - a `NeighborGraph` over the same ids.
        ids: ids of the points (int64 or large_string); None to take them from the graph: 0…n-1, or those
            that edges name.
        rows: int64, (n,): the input's row of each point, where rows were dropped; None: all are there.
        config: ``on_bad_rows`` says whether bad edges are errors or dropped.

    Raises:
        InputError: similarities are negative, NaN or infinite; self loops; edges to unknown ids; a wrong shape.
    """
    if isinstance(graph, NeighborGraph):
        return UserGraph(_same_points(graph, ids), {})
    if sp.issparse(graph):
        return _from_matrix(graph, ids, rows, config)
    if isinstance(graph, tuple) and len(graph) == 2:
        return _from_neighbors(np.asarray(graph[0]), np.asarray(graph[1]), ids, rows, config)
    return _from_edges(graph, ids, config)


def _same_points(graph: NeighborGraph, ids: pa.Array | None) -> NeighborGraph:
    if ids is None:
        return graph
    if graph.n != len(ids):
        raise InputError(f"the graph has {graph.n:,} points and the data {len(ids):,}: they must be the same points.")
    if graph.ids.type != ids.type:
        raise InputError(f"the graph's ids are {graph.ids.type}, those of the data {ids.type}: use one type.")
    rows = pc.index_in(graph.ids, value_set=ids)
    if rows.null_count:
        raise InputError(f"{rows.null_count:,} of the graph's {graph.n:,} points are not in the data.")
    return NeighborGraph(graph.ids, rows.to_numpy().astype(np.int64), graph.indptr, graph.indices, graph.similarity)


def _from_matrix(matrix: Any, ids: pa.Array | None, rows: Int64Array | None, config: SelectConfig) -> UserGraph:
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"the graph matrix has shape {matrix.shape}, but must be square.")
    if not (np.issubdtype(matrix.dtype, np.floating) or np.issubdtype(matrix.dtype, np.integer)):
        raise InputError(f"the graph matrix is {matrix.dtype}, but similarities are real numbers: cast it.")
    coo = matrix.tocsr().tocoo()  # sums repeated entries, as scipy means them
    return _of_rows(coo.row, coo.col, coo.data, matrix.shape[0], ids, rows, config)


def _from_neighbors(
    indices: npt.NDArray[Any],
    similarity: npt.NDArray[Any],
    ids: pa.Array | None,
    rows: Int64Array | None,
    config: SelectConfig,
) -> UserGraph:
    if indices.ndim != 2 or indices.shape != similarity.shape:
        raise InputError(
            f"neighbour arrays have shapes {indices.shape} and {similarity.shape}, but must both be (n, k)."
        )
    n = len(indices)
    src = np.repeat(np.arange(n), indices.shape[1])
    dst = indices.ravel()
    if ((dst < -1) | (dst >= n)).any():
        raise InputError(f"neighbour indices lie outside -1…{n - 1}: they are row numbers, -1 for none.")
    real = (dst >= 0) & (dst != src)
    return _of_rows(src[real], dst[real], similarity.ravel()[real], n, ids, rows, config)


def _of_rows(
    src: npt.NDArray[Any],
    dst: npt.NDArray[Any],
    similarity: npt.NDArray[Any],
    n: int,
    ids: pa.Array | None,
    rows: Int64Array | None,
    config: SelectConfig,
) -> UserGraph:
    """Take edges between input rows to edges between points; edges of rows that were dropped go with them."""
    if ids is None:
        ids = pa.array(np.arange(n))
    if rows is not None and len(rows) and rows[-1] < n:
        point = np.full(n, -1, np.int64)
        point[rows] = np.arange(len(rows))
        there = (point[src] >= 0) & (point[dst] >= 0)
        src, dst, similarity = point[src[there]], point[dst[there]], similarity[there]
    elif len(ids) != n:
        raise InputError(f"the graph has {n:,} points and the data {len(ids):,}: they must be the same points.")
    return _from_pairs(src, dst, similarity, ids, {}, config)


def _from_edges(graph: Any, ids: pa.Array | None, config: SelectConfig) -> UserGraph:
    columns = [schema.SRC, schema.DST, schema.SIMILARITY]
    batches = list(iterate_columns(graph, config, columns))
    if not batches:
        raise InputError("the graph has no edges: give src, dst and similarity, or leave the graph out.")
    table = pa.Table.from_batches(batches)
    dropped: dict[str, int] = {}
    for column in columns:
        nulls = table[column].null_count
        if nulls:
            _bad_edges(nulls, len(table), f"null {column}", dropped, config)
            table = table.filter(table[column].is_valid())
    storage = id_storage_type(table[schema.SRC].type)
    if id_storage_type(table[schema.DST].type) != storage:
        raise InputError(f"src is {table[schema.SRC].type} and dst {table[schema.DST].type}: use one type.")
    if not (pa.types.is_floating(table[schema.SIMILARITY].type) or pa.types.is_integer(table[schema.SIMILARITY].type)):
        raise InputError(f"column 'similarity' of the graph is {table[schema.SIMILARITY].type}, but must be numbers.")
    src, dst = (stored_ids(table[column].combine_chunks()) for column in columns[:2])
    if ids is None:
        ids = pc.unique(pa.chunked_array([src, dst])).sort()
    elif ids.type != storage:
        raise InputError(f"the graph's ids are {table[schema.SRC].type}, those of the data {ids.type}: use one type.")
    ends = [pc.index_in(end, value_set=ids) for end in (src, dst)]
    unknown = pc.or_(*(end.is_null() for end in ends))
    count = pc.sum(unknown).as_py() or 0
    if count:
        example = next(e.filter(i.is_null())[0] for e, i in zip((src, dst), ends, strict=True) if i.null_count)
        _bad_edges(count, len(table), f"an end that is an unknown id such as {example.as_py()!r}", dropped, config)
    known = np.flatnonzero(~unknown.to_numpy(zero_copy_only=False))
    similarity = table[schema.SIMILARITY].to_numpy()[known]
    rows = [end.take(pa.array(known)).to_numpy(zero_copy_only=False) for end in ends]
    return _from_pairs(rows[0], rows[1], similarity, ids, dropped, config)


def _from_pairs(
    src: npt.NDArray[Any],
    dst: npt.NDArray[Any],
    similarity: npt.NDArray[Any],
    ids: pa.Array,
    dropped: dict[str, int],
    config: SelectConfig,
) -> UserGraph:
    """Check and symmetrise directed pairs of point numbers: union, larger similarity."""
    if not np.issubdtype(similarity.dtype, np.floating):
        similarity = similarity.astype(np.float64)
    if similarity.dtype == np.float16:
        similarity = similarity.astype(np.float32)
    loops = src == dst
    wrong = ~(np.isfinite(similarity) & (similarity >= 0)) & ~loops
    for bad, reason in ((loops, "self loop"), (wrong, "negative, NaN or infinite similarity")):
        if bad.any():
            _bad_edges(int(bad.sum()), len(src), reason, dropped, config)
    good = ~(loops | wrong)
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


def _bad_edges(count: int, total: int, reason: str, dropped: dict[str, int], config: SelectConfig) -> None:
    message = f"{count:,} of {total:,} edges: {reason}"
    if config.on_bad_rows == "error":
        raise InputError(f"the graph is bad: {message}. Mend it, or set on_bad_rows='drop' to leave them out.")
    log.warning("the graph: dropped %s", message)
    dropped[reason] = dropped.get(reason, 0) + count


def in_memory(data: Any) -> Any:
    """Return a one-shot Arrow stream as a table, since inputs are read more than once; anything else as it is."""
    return data.read_all() if isinstance(data, pa.RecordBatchReader) else data


def open_graph(graph: Any) -> None:
    """Raise early if a graph given as a path cannot be read or lacks a column.

    Raises:
        InputError: see above.
    """
    if isinstance(graph, str | Path):
        dataset, name = open_dataset(graph, SelectConfig())
        for column in (schema.SRC, schema.DST, schema.SIMILARITY):
            if column not in dataset.schema.names:
                raise InputError(f"{name} has no column {column!r}; it has {', '.join(dataset.schema.names)}.")
