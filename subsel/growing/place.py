"""A graph's place: a folder of edges, as any graph has them, and beside them what it needs to grow.

    edges-3.parquet          src, dst, similarity: of part 3; all that readers of Parquet see
    _kept/points-3.parquet   of part 3: ids, cells, vectors, lists (`subsel.growing.parted`)
    _kept/map.parquet        to which parts new points go
    _manifest.json           the config, how the graph was made, how it was searched, its parts, every change since

Spark names files itself: in folders ``in_part=3``. Parts that a change leaves as they are keep their files. Vectors are
16 bits a value (`subsel.growing.stored`).
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from subsel import schema
from subsel.config import SelectConfig
from subsel.embeddings.cells import Quantizer
from subsel.embeddings.recipe import Search
from subsel.errors import InputError
from subsel.growing.parted import MAP_PART, Part, apart, edges_of, pack_map, pack_part, unpack_map, unpack_part, whole
from subsel.growing.revision import Revision
from subsel.growing.state import GraphState
from subsel.growing.stored import PlacedRows, StoredRows
from subsel.input.ids import given_back, storage_type
from subsel.parts.pack import Parcel, from_rows
from subsel.parts.rows import to_table
from subsel.report import GraphReport
from subsel.storage import KEPT, Place, arrow_place, manifest_of, new_folder, result_files
from subsel.version import __version__

#: Raised whenever the meaning of what is kept changes.
GRAPH_FORMAT = 3
_EDGES, _POINTS, _MAP = "edges-{}.parquet", f"{KEPT}/points-{{}}.parquet", f"{KEPT}/map.parquet"
#: How files are written: ids come again and again, scores do not; vectors and lists of numbers do not become smaller.
_OF_EDGES: dict[str, Any] = {"use_dictionary": [schema.SRC, schema.DST]}
_OF_PACKS: dict[str, Any] = {"use_dictionary": False, "compression": "none", "write_statistics": False}
#: What Spark calls the folders of parts.
IN_PART = "in_part"
_PART = re.compile(rf"(?:^|/)(?:{IN_PART}=|edges-|points-)(-?\d+)")
_ANEW = "Make the graph anew"


class KeptSearch(BaseModel):
    """How a graph was searched, as its manifest says: see `GraphState`.

    Attributes:
        salt: of the codes by which lists name points.
        ids: the type of these, as a schema of Arrow's, in base64.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    probes: int = Field(ge=1)
    reach: float | None
    recall: float | None = Field(ge=0, le=1)
    sample: int = Field(ge=0)
    neighbors: int = Field(ge=0)
    reserve: int = Field(ge=0)
    center: tuple[float, ...] = Field(min_length=1, strict=False)
    salt: int
    ids: str


@dataclass(frozen=True, slots=True)
class KeptGraph:
    """What is in a graph's place.

    Attributes:
        state: lists, cells, vectors; where only the manifest was read, of nobody.
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

    @property
    def sums(self) -> dict[int, str]:
        """Checksums of the parts that are there, by number."""
        known = {} if self.manifest is None else self.manifest["parts"]
        return {int(part): one["sum"] for part, one in known.items()}

    @property
    def points(self) -> dict[int, int]:
        """How many points they have."""
        known = {} if self.manifest is None else self.manifest["parts"]
        return {int(part): one["points"] for part, one in known.items()}

    def files(self, parts: Iterable[int]) -> list[str]:
        """Return the names of all files that are of some parts; those of `MAP_PART` are the map's."""
        wanted = set(parts)
        return [] if self.manifest is None else [name for name in self.manifest["files"] if part_of(name) in wanted]


def part_of(name: str) -> int:
    """Return of which part a file is."""
    found = _PART.search(name)
    return MAP_PART if found is None else int(found[1])


def is_graph_place(place: Place) -> bool:
    """Return whether a graph that is written there can grow: a folder, not one file of edges."""
    return not place.name.endswith(".parquet")


def write_graph(kept: KeptGraph, place: Place, *, overwrite: bool) -> dict[str, Any]:
    """Write a graph's place, whole or not at all; return its manifest. Parts that are as they were keep their files.

    Raises:
        InputError: see `subsel.storage.check_new`; or another process has changed the place since it was read.
        OutputError: it could not be written; what was there is there.
    """
    check_same(kept, place, overwrite=overwrite)
    state, old, parts = kept.state, kept.sums if overwrite else {}, dict[int, tuple[int, str]]()
    numbers, make, salt = apart(state, kept.config.seed)
    with new_folder(place, overwrite=overwrite) as folder:
        folder.data.join(KEPT).make_folder()

        def put(number: int) -> tuple[int, str]:
            part = make(number)
            parcels, checksum = pack_part(part)
            if old.get(number) != checksum:
                _write(_given(edges_of(part), state.id_type), folder.file(_EDGES.format(number)))
                _write(to_table(parcels), folder.file(_POINTS.format(number)))
            return part.state.n, checksum

        with ThreadPoolExecutor(numba.get_num_threads()) as pool:
            parts.update(zip(numbers, pool.map(put, numbers), strict=True))
        if old:
            same = [number for number in numbers if old.get(number) == parts[number][1]]
            folder.keep(kept.files([*same, MAP_PART]))
        else:
            assert state.division is not None
            _write(to_table([pack_map(state.division.map, state.quantizer.groups)]), folder.file(_MAP))
        folder.manifest = manifest_for(kept, parts, salt)
        check_same(kept, place, overwrite=overwrite)  # writing may have taken minutes
    written = manifest_of(place)
    assert written is not None
    return written


def manifest_for(kept: KeptGraph, parts: Mapping[int, tuple[int, str]], salt: int) -> dict[str, Any]:
    """Return what a manifest says.

    Args:
        kept: the graph.
        parts: how many points each has, and its checksum.
        salt: of the points' codes, see `subsel.codes.unique_codes`.
    """
    state = kept.state
    return {
        "subsel": __version__,
        "made_by": "subsel neighbors",
        "graph_format": GRAPH_FORMAT,
        "points": sum(points for points, _ in parts.values()),
        "config": kept.config.model_dump(mode="json"),
        "graph": kept.report.model_dump(mode="json"),
        "search": KeptSearch(
            probes=state.probes,
            reach=state.reach if math.isfinite(state.reach) else None,
            recall=state.recall,
            sample=state.sample,
            neighbors=state.neighbors,
            reserve=state.reserve,
            center=tuple(state.center.tolist()),
            salt=salt,
            ids=base64.b64encode(pa.schema([(schema.ID, state.id_type)]).serialize()).decode(),
        ).model_dump(mode="json"),
        "parts": {str(part): {"points": points, "sum": checksum} for part, (points, checksum) in sorted(parts.items())},
        "revisions": [one.model_dump(mode="json") for one in kept.revisions],
    }


def check_same(kept: KeptGraph, place: Place, *, overwrite: bool) -> None:
    """Refuse to replace a graph that another process has changed since it was read.

    Raises:
        InputError: one has.
    """
    if kept.manifest is not None and overwrite and manifest_of(place) != kept.manifest:
        raise InputError(f"graph {place} has changed since it was read, and is left as it is: do that again.")


def read_about(place: Place) -> KeptGraph:
    """Return what a graph's manifest says; its state is of nobody.

    Raises:
        InputError: there is none, or it is of another format, or damaged.
    """
    kind = place.kind()
    if kind is None:
        raise InputError(f"graph {place} does not exist: give a folder that subsel neighbors wrote.")
    manifest = manifest_of(place) if kind == "folder" else None
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
        config = SelectConfig(**manifest["config"])
        report = GraphReport.model_validate(manifest["graph"])
        revisions = tuple(Revision.model_validate(one) for one in manifest["revisions"])
        how = KeptSearch.model_validate(manifest["search"])
        kept = KeptGraph(_nobody(how, config, report), config, report, revisions, manifest)
        assert sum(kept.points.values()) == manifest["points"] and len(kept.sums)
    except _DAMAGES as error:
        raise _damaged(place, error) from error
    return kept


def read_graph(place: Place) -> KeptGraph:
    """Return what is in a graph's place.

    Raises:
        InputError: it is none, of another format, or damaged.
    """
    kept = read_about(place)
    try:
        part_map, groups = unpack_map(_parcels(place, kept.files([MAP_PART])), kept.state)

        def read(part: int) -> Part:
            return unpack_part(part, _parcels(place, kept.files([part])), kept.state, views=True)

        with ThreadPoolExecutor(numba.get_num_threads()) as pool:
            state = whole(pool.map(read, kept.sums), part_map, groups)
    except (*_DAMAGES, InputError) as error:
        raise _damaged(place, error) from error
    return replace(kept, state=state)


_DAMAGES = (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError, OSError, pa.ArrowException)


def _damaged(place: Place, error: BaseException) -> InputError:
    told = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"graph {place} is damaged: {told}. {_ANEW}.")


def _nobody(how: KeptSearch, config: SelectConfig, report: GraphReport) -> GraphState:
    id_type = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(how.ids))).field(schema.ID).type
    reach = math.inf if how.reach is None else how.reach
    about = how.neighbors, how.probes, None, how.recall, how.sample, config.seed, how.reserve
    search = Search(config.metric, *about)
    found = nobody(id_type, np.array(how.center), search)
    if found.dimension != report.dimension:
        raise ValueError("its vectors are of another dimension than its report says")
    return replace(found, reach=reach, reached=report.recall)


def nobody(id_type: pa.DataType, center: npt.NDArray[np.float64], how: Search) -> GraphState:
    """Return a graph without points and cells.

    Args:
        id_type: the user's type.
        center: see `GraphState`.
        how: points will be searched.
    """
    d = len(center)
    none = np.zeros((0, d), np.float32)
    return GraphState(
        ids=pa.array([], storage_type(id_type)),
        id_type=id_type,
        home=np.zeros(0, np.int32),
        rows=PlacedRows.of(StoredRows(np.zeros((0, d), np.float16), np.zeros(0, np.int16))),
        best=np.zeros((0, how.neighbors + how.reserve), np.int32),
        score=np.zeros((0, how.neighbors + how.reserve), np.float32),
        quantizer=Quantizer(none, none, how.metric),
        center=center,
        probes=how.probes,
        reach=math.inf,
        recall=how.recall,
        reached=None,
        sample=how.sample,
        reserve=how.reserve,
    )


def _given(edges: pa.Table, id_type: pa.DataType) -> pa.Table:
    """Return edges with the user's ids."""
    for place, name in enumerate((schema.SRC, schema.DST)):
        edges = edges.set_column(place, name, given_back(edges[name].combine_chunks(), id_type))
    return edges


def _write(table: pa.Table, place: Place) -> None:
    there = arrow_place(place)
    how = _OF_EDGES if schema.SRC in table.column_names else _OF_PACKS
    about: dict[str, Any] = how | {"row_group_size": max(1, len(table)), "write_page_checksum": True}
    pq.write_table(table, there.path, filesystem=there.filesystem, **about)


def _parcels(place: Place, names: Sequence[str]) -> list[Parcel]:
    """Return the parcels that are kept in some files, whose pages are checked: a damaged pack may crash Arrow."""
    found: list[Parcel] = []
    for name in names:
        if name.startswith(f"{KEPT}/") and name.endswith(".parquet"):
            with place.join(name).open_input() as source:
                found += from_rows(pq.read_table(source, page_checksum_verification=True))
    return found
