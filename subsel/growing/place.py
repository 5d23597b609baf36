"""A graph's place: a folder of edges, as any graph has them, and beside them what it needs to grow.

    edges.parquet        src, dst, similarity: each undirected edge once; all that readers of Parquet see
    _kept/points.arrow   by point, in the order of cells: id, home, vector, exponent, neighbors, score
    _kept/cells.arrow    centroids of cells, and of groups of these
    _manifest.json       the config, how the graph was made, how it was searched, and every change since

Vectors are 16 bits a value (`subsel.growing.stored`), neighbours are numbers of rows of the same file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import ipc

from subsel import schema
from subsel.config import SelectConfig
from subsel.embeddings.cells import Quantizer
from subsel.errors import InputError
from subsel.graph import NeighborGraph
from subsel.growing.revision import Revision
from subsel.growing.state import GraphState
from subsel.growing.stored import StoredRows
from subsel.input.ids import given_back, stored_ids
from subsel.report import GraphReport
from subsel.storage import KEPT, Place, arrow_place, manifest_of, new_folder, result_files
from subsel.version import __version__

#: Raised whenever the meaning of what is kept changes.
GRAPH_FORMAT = 2
_EDGES, _POINTS, _CELLS = "edges.parquet", f"{KEPT}/points.arrow", f"{KEPT}/cells.arrow"
_ROWS = 65_536
_ANEW = "Make the graph anew"


@dataclass(frozen=True, slots=True)
class KeptGraph:
    """What is in a graph's place.

    Attributes:
        state: lists, cells, vectors.
        config: of the search that made it.
        report: of that search.
        revisions: every change since, in their order.
        manifest: as it was read; None where nothing was.
    """

    state: GraphState
    config: SelectConfig
    report: GraphReport
    revisions: tuple[Revision, ...]
    manifest: dict[str, Any] | None = None


def is_graph_place(place: Place) -> bool:
    """Return whether a graph that is written there can grow: a folder, not one file of edges."""
    return not place.name.endswith(".parquet")


def write_graph(kept: KeptGraph, graph: NeighborGraph, place: Place, *, overwrite: bool) -> dict[str, Any]:
    """Write a graph's place, whole or not at all; return its manifest.

    Raises:
        InputError: see `subsel.storage.check_new`; or another process has changed the place since it was read.
        OutputError: it could not be written; what was there is there.
    """
    _check_same(kept, place, overwrite=overwrite)
    state = kept.state
    with new_folder(place, overwrite=overwrite) as folder:
        graph.write_edges(folder.file(_EDGES))
        folder.data.join(KEPT).make_folder()
        _write(_points(state), folder.file(_POINTS))
        _write(_cells(state.quantizer), folder.file(_CELLS))
        folder.manifest = {
            "subsel": __version__,
            "made_by": "subsel neighbors",
            "graph_format": GRAPH_FORMAT,
            "points": state.n,
            "config": kept.config.model_dump(mode="json"),
            "graph": kept.report.model_dump(mode="json"),
            "search": {
                "probes": state.probes,
                "reach": state.reach if math.isfinite(state.reach) else None,
                "recall": state.recall,
                "sample": state.sample,
                "reserve": state.reserve,
                "center": state.center.tolist(),
            },
            "revisions": [one.model_dump(mode="json") for one in kept.revisions],
        }
        _check_same(kept, place, overwrite=overwrite)  # writing may have taken minutes
    written = manifest_of(place)
    assert written is not None
    return written


def _check_same(kept: KeptGraph, place: Place, *, overwrite: bool) -> None:
    if kept.manifest is not None and overwrite and manifest_of(place) != kept.manifest:
        raise InputError(f"graph {place} has changed since it was read, and is left as it is: do that again.")


def read_graph(place: Place) -> KeptGraph:
    """Return what is in a graph's place.

    Raises:
        InputError: it is none, of another format, or damaged.
    """
    manifest = manifest_of(place) if place.kind() == "folder" else None
    if manifest is None or "graph_format" not in manifest:
        raise InputError(
            f"{place} is no graph that can grow: give a folder that subsel neighbors wrote; a .parquet file has edges "
            "only."
        )
    if manifest["graph_format"] != GRAPH_FORMAT:
        raise InputError(
            f"graph {place} is of format {manifest['graph_format']}, this is {GRAPH_FORMAT}: {_ANEW.lower()}."
        )
    result_files(place)  # all that it names is there, and whole
    try:
        found = {name: _read(place, manifest, name) for name in (_POINTS, _CELLS)}
        config = SelectConfig(**manifest["config"])
        report = GraphReport.model_validate(manifest["graph"])
        revisions = tuple(Revision.model_validate(one) for one in manifest["revisions"])
        state = _state(found[_POINTS], found[_CELLS], manifest["search"], config, report)
    except (KeyError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"graph {place} is damaged: {told}. {_ANEW}.") from error
    return KeptGraph(state, config, report, revisions, manifest)


def _state(
    points: pa.Table, cells: pa.Table, how: dict[str, Any], config: SelectConfig, report: GraphReport
) -> GraphState:
    kind = cells["group"].to_numpy()
    centroids = _matrix(cells, "vector")
    quantizer = Quantizer(centroids[~kind], centroids[kind], config.metric)
    return GraphState(
        ids=pa.concat_arrays([stored_ids(one) for one in points[schema.ID].chunks]),
        id_type=points.schema.field(schema.ID).type,
        home=points["home"].to_numpy(),
        rows=StoredRows(_matrix(points, "vector"), points["exponent"].to_numpy()),
        best=_matrix(points, "neighbors"),
        score=_matrix(points, "score"),
        quantizer=quantizer,
        center=np.array(how["center"], np.float64),
        probes=how["probes"],
        reach=math.inf if how["reach"] is None else how["reach"],
        recall=how["recall"],
        reached=report.recall,
        sample=how["sample"],
        reserve=how["reserve"],
    )


def _points(state: GraphState) -> Iterator[pa.RecordBatch]:
    columns: dict[str, npt.NDArray[Any]] = {
        "vector": state.rows.values,
        "neighbors": state.best,
        "score": state.score,
    }
    for begin in range(0, state.n, _ROWS):
        some = slice(begin, min(begin + _ROWS, state.n))
        ids: Any = given_back(state.ids[some], state.id_type).combine_chunks()
        lists = {name: _lists(values[some]) for name, values in columns.items()}
        plain = {schema.ID: ids, "home": pa.array(state.home[some]), "exponent": pa.array(state.rows.exponent[some])}
        yield pa.RecordBatch.from_pydict(plain | lists)


def _cells(quantizer: Quantizer) -> Iterator[pa.RecordBatch]:
    group = np.arange(len(quantizer.centroids) + len(quantizer.groups)) >= len(quantizer.centroids)
    vectors = np.concatenate([quantizer.centroids, quantizer.groups])
    yield pa.RecordBatch.from_pydict({"group": pa.array(group), "vector": _lists(vectors)})


def _lists(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), values.shape[1])


def _matrix(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """Return a column of lists of one length as a matrix that may be written to: (n, length)."""
    length = table.schema.field(name).type.list_size
    return np.concatenate([one.flatten().to_numpy().reshape(-1, length) for one in table[name].chunks])


def _write(batches: Iterator[pa.RecordBatch], place: Place) -> None:
    there = arrow_place(place)
    first = next(batches)
    with (
        there.filesystem.open_output_stream(there.path) as out,
        ipc.new_file(out, first.schema) as writer,
    ):
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def _read(place: Place, manifest: dict[str, Any], name: str) -> pa.Table:
    """Return the rows of a file of the place, whose name may have a suffix there."""
    head, _, tail = name.partition(".")
    (stored,) = (one for one in manifest["files"] if one.startswith(head) and one.endswith(f".{tail}"))
    with place.join(stored).open_input() as source:
        return ipc.open_file(source).read_all()
