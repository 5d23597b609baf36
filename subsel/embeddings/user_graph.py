"""A user's own graph instead of a computed one: edges in user ids, a scipy matrix, or neighbour arrays."""

from __future__ import annotations

import logging
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
from subsel.embeddings.readers import iterate_columns, open_dataset
from subsel.errors import InputError
from subsel.graph import NeighborGraph, SimilarityArray

log = logging.getLogger(__name__)


def as_neighbor_graph(graph: Any, ids: pa.Array | None, config: SelectConfig) -> NeighborGraph:
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
        config: ``on_bad_rows`` says whether bad edges are errors or dropped.

    Raises:
        InputError: similarities are negative, NaN or infinite; self loops; edges to unknown ids; a wrong shape.
    """
    if isinstance(graph, NeighborGraph):
        return _same_points(graph, ids)
    if sp.issparse(graph):
        return _from_matrix(graph, ids, config)
    if isinstance(graph, tuple) and len(graph) == 2:
        return _from_neighbors(np.asarray(graph[0]), np.asarray(graph[1]), ids, config)
    return _from_edges(graph, ids, config)


def _same_points(graph: NeighborGraph, ids: pa.Array | None) -> NeighborGraph:
    if ids is None:
        return graph
    if graph.n != len(ids):
        raise InputError(f"the graph has {graph.n:,} points and the data {len(ids):,}: they must be the same points.")
    rows = pc.index_in(graph.ids, value_set=ids)
    if rows.null_count:
        raise InputError(f"{rows.null_count:,} of the graph's {graph.n:,} points are not in the data.")
    return NeighborGraph(graph.ids, rows.to_numpy().astype(np.int64), graph.indptr, graph.indices, graph.similarity)


def _from_matrix(matrix: Any, ids: pa.Array | None, config: SelectConfig) -> NeighborGraph:
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"the graph matrix has shape {matrix.shape}, but must be square.")
    coo = matrix.tocoo()
    return _from_pairs(coo.row, coo.col, coo.data, _checked_ids(ids, matrix.shape[0]), config)


def _from_neighbors(
    indices: npt.NDArray[Any], similarity: npt.NDArray[Any], ids: pa.Array | None, config: SelectConfig
) -> NeighborGraph:
    if indices.ndim != 2 or indices.shape != similarity.shape:
        raise InputError(f"neighbour arrays have shapes {indices.shape} and {similarity.shape}, but must both be (n, k).")
    n = len(indices)
    ids = _checked_ids(ids, n)
    src = np.repeat(np.arange(n), indices.shape[1])
    dst = indices.ravel()
    if ((dst < -1) | (dst >= n)).any():
        raise InputError(f"neighbour indices lie outside -1…{n - 1}: they are row numbers, -1 for none.")
    real = (dst >= 0) & (dst != src)
    return _from_pairs(src[real], dst[real], similarity.ravel()[real], ids, config)


def _from_edges(graph: Any, ids: pa.Array | None, config: SelectConfig) -> NeighborGraph:
    columns = [schema.SRC, schema.DST, schema.SIMILARITY]
    batches = list(iterate_columns(graph, config, columns))
    if not batches:
        raise InputError("the graph has no edges: give src, dst and similarity, or leave the graph out.")
    table = pa.Table.from_batches(batches)
    for column in columns:
        if table[column].null_count:
            raise InputError(f"column {column!r} of the graph has {table[column].null_count:,} nulls: remove those edges.")
    storage = id_storage_type(table[schema.SRC].type)
    if not (pa.types.is_floating(table[schema.SIMILARITY].type) or pa.types.is_integer(table[schema.SIMILARITY].type)):
        raise InputError(f"column 'similarity' of the graph is {table[schema.SIMILARITY].type}, but must be numbers.")
    src, dst = (table[column].cast(storage).combine_chunks() for column in columns[:2])
    if ids is None:
        ids = pc.unique(pa.chunked_array([src, dst])).sort()
    elif ids.type != storage:
        raise InputError(f"the graph's ids are {table[schema.SRC].type}, those of the data {ids.type}: use one type.")
    ends = [pc.index_in(end, value_set=ids) for end in (src, dst)]
    unknown = pc.or_(*(end.is_null() for end in ends))
    count = pc.sum(unknown).as_py() or 0
    if count:
        example = pc.unique(pa.chunked_array([e.filter(i.is_null()) for e, i in zip((src, dst), ends, strict=True)]))
        message = f"{count:,} of {len(table):,} edges lead to unknown ids such as {example[0].as_py()!r}"
        _bad_edges(message, config)
    known = np.flatnonzero(~unknown.to_numpy(zero_copy_only=False))
    similarity = table[schema.SIMILARITY].to_numpy()[known]
    rows = [end.take(pa.array(known)).to_numpy(zero_copy_only=False) for end in ends]
    return _from_pairs(rows[0], rows[1], similarity, ids, config)


def _from_pairs(
    src: npt.NDArray[Any], dst: npt.NDArray[Any], similarity: npt.NDArray[Any], ids: pa.Array, config: SelectConfig
) -> NeighborGraph:
    """Symmetrise checked-for directed pairs of row numbers: union, larger similarity."""
    if not np.issubdtype(similarity.dtype, np.floating):
        similarity = similarity.astype(np.float64)
    if similarity.dtype == np.float16:
        similarity = similarity.astype(np.float32)
    loops = src == dst
    wrong = ~(np.isfinite(similarity) & (similarity >= 0))
    if loops.any():
        _bad_edges(f"{loops.sum():,} of {len(src):,} edges are self loops", config)
    if wrong.any():
        _bad_edges(f"{wrong.sum():,} of {len(src):,} similarities are negative, NaN or infinite", config)
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
    return NeighborGraph(ids, np.arange(n), indptr, (pair % n).astype(np.int32), largest)


def _bad_edges(message: str, config: SelectConfig) -> None:
    if config.on_bad_rows == "error":
        raise InputError(f"the graph is bad: {message}. Mend it, or set on_bad_rows='drop' to leave them out.")
    log.warning("the graph: dropped edges: %s", message)


def _checked_ids(ids: pa.Array | None, n: int) -> pa.Array:
    if ids is None:
        return pa.array(np.arange(n))
    if len(ids) != n:
        raise InputError(f"the graph has {n:,} points and the data {len(ids):,}: they must be the same points.")
    return ids


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
