"""A run directory of the local engine: its graph, points and boards as those of one part, in the format of Spark's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from subsel import schema
from subsel.board import Board, Counts
from subsel.config import SelectConfig
from subsel.engines.base import Engine
from subsel.engines.local import LocalEngine
from subsel.engines.replay import Replay, run_recorded
from subsel.errors import InputError, OutputError, option
from subsel.graph import DraftGraph, NeighborGraph
from subsel.input.copies import OF, Copies
from subsel.input.edges import identity_of
from subsel.input.given import given_checksum
from subsel.input.points import Points, array_checksum
from subsel.input.quotas import read_quota_table
from subsel.input.source import Source
from subsel.input.utility import Utility
from subsel.kept_rows import rows_of
from subsel.limits.build import tables_checksum
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, from_rows, of_kind, pack, unpack
from subsel.parts.rows import to_board, to_table
from subsel.report import GraphReport, InputReport, WeightsReport
from subsel.rundir import COPIES, STAGES, TARGET, RunDirectory, reading_run
from subsel.storage import LocalPlace, Place, arrow_place
from subsel.storage.faults import writing

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between boards of a stage that are written down, at least, and the share of the time that writing may take.
PAUSE, _SHARE = 30.0, 0.05


class KeptRun:
    """What one machine keeps in a run directory, and takes from it."""

    def __init__(self, rundir: RunDirectory) -> None:
        self.rundir = rundir

    def identify(
        self,
        data: Any,
        graph: Any,
        utility: npt.NDArray[np.float64] | None,
        source: Source,
        config: SelectConfig,
        storage_options: dict[str, Any] | None,
    ) -> None:
        """Say what the run directory's run is of, before anything long.

        Args:
            data: what tells the input from others.
            graph: as it was given; None: it was not.
            utility: as it was given, by input row; None: it was not.
            source: the input, with what was given beside it.
            config: names of columns, and quotas.
            storage_options: see `subsel.storage.place_of`.
        """
        of_utility = None if utility is None else array_checksum(utility)
        self.rundir.identify(engine="local", input=data, graph=identity_of(graph, config), utility=of_utility)
        quotas = tables_checksum(config, partial(read_quota_table, config=config, storage_options=storage_options))
        self.rundir.identify(columns=given_checksum(source), quotas=quotas)

    @property
    def has_graph(self) -> bool:
        """Whether the graph is there."""
        return self.rundir.finished("graph") is not None

    def keep_graph(
        self, points: Points, graph: NeighborGraph, found: InputReport, report: GraphReport, target: pa.Table | None
    ) -> None:
        """Write the graph and its points, in node order, and a target's edges, and record the stage."""
        folders = self.rundir.begin("graph", "points")
        cost, group = points.limits(graph.rows)
        counted, importance = (None if one is None else one[graph.rows] for one in (points.counted, points.importance))
        draft = DraftGraph(
            part=0,
            indptr=graph.indptr,
            indices=graph.indices,
            similarity=graph.similarity,
            utility=points.utility[graph.rows],
            code=points.code[graph.rows],
            ghost_vid=np.empty(0, np.int64),
            cost=cost,
            group=group,
            importance=counted,
            itself=graph.itself,
        )
        ids = graph.ids.to_numpy() if pa.types.is_int64(graph.ids.type) else graph.ids
        others = points.others[:, graph.rows].T.ravel()
        more = {"cost": cost, "group": None if group is None else group.T, "importance": importance}
        limits = {name: column for name, column in more.items() if column is not None}
        known = pack(
            code=draft.code, utility=draft.utility, others=others, id=ids, row=points.rows[graph.rows], **limits
        )
        names = [Parcel(0, i, assemble.GROUPS, assemble.pack_names(one)) for i, one in enumerate(points.groups)]
        _write(folders[0], [Parcel(0, 0, assemble.GRAPH, superstep.pack_graph(draft)), *names])
        _write(folders[1], [Parcel(0, 0, assemble.POINTS, known)])
        if points.copies is not None:
            self._keep_copies(points.copies)
        if target is not None:
            (folder,) = self.rundir.begin(TARGET)
            _write_table(folder, target)
        self.rundir.finish(
            "graph", {"input": found.model_dump(), "graph": report.model_dump(), "rows": points.source_rows}
        )

    def _keep_copies(self, copies: Copies) -> None:
        (folder,) = self.rundir.begin(COPIES)
        columns = {schema.ID: copies.ids, OF: copies.of, "code": copies.code, "row": copies.rows}
        _write_table(folder, pa.table(columns))

    def _copies(self) -> Copies:
        table = rows_of(self.rundir.place.join(COPIES))
        ids, of = (pa.concat_arrays(table[name].chunks) for name in (schema.ID, OF))
        return Copies(ids, table["code"].to_numpy(), table["row"].to_numpy(), of)

    def target(self) -> pa.Table | None:
        """Return the edges of a target to points, None if there is no target."""
        alone = self.graph_report().target_points is None
        return None if alone else rows_of(self.rundir.place.join(TARGET))

    def graph_report(self) -> GraphReport:
        """Return what was recorded of the graph."""
        with reading_run(self.rundir.place):
            return GraphReport.model_validate(self._done()["graph"])

    def graph(self, id_type: pa.DataType, made_of: Utility) -> tuple[Points, NeighborGraph, InputReport]:
        """Read the points, in node order, and the graph.

        Raises:
            InputError: the files are damaged.
        """
        with reading_run(self.rundir.place):
            return self._graph(id_type, made_of)

    def _graph(self, id_type: pa.DataType, made_of: Utility) -> tuple[Points, NeighborGraph, InputReport]:
        done = self._done()
        report = InputReport.model_validate(done["input"])
        known = unpack(_read(self.rundir.place.join("points"), assemble.POINTS))
        folder = self.rundir.place.join("graph")
        parcels = _parcels(folder)
        draft = unpack(_only(parcels, assemble.GRAPH, folder))
        ids = pa.array(known["id"]) if isinstance(known["id"], np.ndarray) else known["id"]
        copies = self._copies() if report.copies else None
        points = Points(
            name=report.name,
            ids=ids,
            id_type=id_type,
            code=known["code"],
            rows=known["row"],
            source_rows=done["rows"],
            utility=known["utility"],
            others=known["others"].reshape(len(ids), -1).T,
            made_of=made_of,
            embeddings=None,
            dropped=report.dropped_rows,
            cost=known.get("cost"),
            group=np.ascontiguousarray(known["group"].reshape(len(ids), -1).T) if "group" in known else None,
            groups=assemble.unpack_names(parcels),
            copies=copies,
            multiplicity=None if copies is None else copies.multiplicity(ids),
            importance=known.get("importance"),
        )
        edges = draft["indptr"], draft["indices"], draft["similarity"]
        graph = NeighborGraph(ids, np.arange(len(ids)), *edges, draft.get("itself"), points.unsigned)
        log.info("going on from the graph in %s", self.rundir.place)
        return points, graph, report

    def weights(self) -> tuple[WeightsReport, npt.NDArray[np.float64], npt.NDArray[np.bool_]] | None:
        """Return what was recorded of utilities: the report, utilities and outliers in node order; None if nothing."""
        done = self.rundir.finished("utility")
        if done is None:
            return None
        with reading_run(self.rundir.place):
            kept = unpack(_read(self.rundir.place.join("utility"), assemble.UTILITY))
            return WeightsReport.model_validate(done), kept["utility"], kept["outlier"]

    def keep_weights(
        self, report: WeightsReport, utility: npt.NDArray[np.float64], outlier: npt.NDArray[np.bool_]
    ) -> None:
        """Write utilities (float64, (n,)) and who is an outlier (bool, (n,)), in node order, and record the stage."""
        if "utility" not in self.rundir.stages:
            return
        (folder,) = self.rundir.begin("utility")
        _write(folder, [Parcel(0, 0, assemble.UTILITY, pack(utility=utility, outlier=outlier))])
        self.rundir.finish("utility", report.model_dump())

    def last_board(self) -> Board | None:
        """Return the board of the last finished stage, None if none is."""
        for stage in reversed(STAGES):
            if stage not in ("graph", "utility") and self.rundir.finished(stage) is not None:
                with reading_run(self.rundir.place):
                    number = self.rundir.boards(stage)[-1]
                    return _read_board(self.rundir.board(stage, number))
        return None

    def once(self, stage: str, kind: type[T], drive: Callable[[Engine], T], replay: Replay) -> T:
        """Run a stage's driver with its boards in the run directory, or return what was recorded of it."""
        if stage not in self.rundir.stages:
            return drive(replay.engine)
        engine = cast(LocalEngine, replay.engine)
        boards = LocalBoards(self.rundir, engine, stage)
        return run_recorded(self.rundir, stage, kind, drive, replay, boards, engine.graph.fixed_point)

    def _done(self) -> dict[str, Any]:
        done = self.rundir.finished("graph")
        assert done is not None
        return done


class LocalBoards:
    """Boards of a stage, written down now and then. Implements `subsel.engines.replay.Boards`.

    Args:
        rundir: where they go.
        engine: whose they are.
        stage: its name.
    """

    def __init__(self, rundir: RunDirectory, engine: LocalEngine, stage: str) -> None:
        self.rundir, self.engine, self.stage = rundir, engine, stage
        self.written: list[int] = []
        self._next = time.monotonic() + PAUSE

    def write(self, *, now: bool) -> int | None:
        """Write the present board down if the last was some time ago, or now; return the number of the last one."""
        begin = time.monotonic()
        if now or begin >= self._next:
            number = max(self.written, default=0) + 1
            place = self.rundir.board(self.stage, number)
            place.remove()
            _write_board(place, self.engine.board)
            self.written.append(number)
            end = time.monotonic()
            self._next = end + max(PAUSE, (end - begin) / _SHARE)
        return self.written[-1] if self.written else None

    def state(self) -> dict[str, Any]:
        """Return nothing: the board is all."""
        return {}

    def take(self, number: int, state: dict[str, Any]) -> None:
        """Go on from a board."""
        self.engine.board = _read_board(self.rundir.board(self.stage, number))
        log.info("going on from %s", self.rundir.board(self.stage, number))

    def back(self, number: int) -> Counts:
        """Go back to a board."""
        return self.engine.back(_read_board(self.rundir.board(self.stage, number)))


def _write_board(place: Place, board: Board) -> None:
    """Write a board with what the next step delivers and what is to be merged."""
    beside = {superstep.LETTER: board.outbox, superstep.TALLY: board.tally}
    parcels = [Parcel(0, 0, kind, pack(**columns)) for kind, columns in beside.items() if columns]
    _write(place, [Parcel(0, 0, superstep.BOARD, superstep.pack_board(board)), *parcels], board=True)


def _read_board(place: Place) -> Board:
    parcels = _parcels(place)
    board = superstep.unpack_board(_only(parcels, superstep.BOARD, place))
    for kind, columns in ((superstep.LETTER, board.outbox), (superstep.TALLY, board.tally)):
        for parcel in of_kind(parcels, kind):
            columns.update(unpack(parcel.payload))
    return board


def _write(folder: Place, parcels: Sequence[Parcel], *, board: bool = False) -> None:
    _write_table(folder, (to_board if board else to_table)(parcels))


def _write_table(folder: Place, table: pa.Table) -> None:
    """Write the rows of a folder.

    Raises:
        OutputError: they cannot be written, such as where the disk is full; what was half written is removed.
    """
    folder.make_folder()
    file = folder.join("part-00000.parquet")
    there = arrow_place(file)
    try:
        with writing(file, folder.local if isinstance(folder, LocalPlace) else None):
            pq.write_table(table, there.path, filesystem=there.filesystem, write_page_checksum=True)
    except OutputError:
        file.remove()
        raise


def _read(folder: Place, kind: str) -> Any:
    """Return the payload of the one parcel of a kind in a folder.

    Raises:
        InputError: it is not there, or damaged.
    """
    return _only(_parcels(folder), kind, folder)


def _parcels(folder: Place) -> list[Parcel]:
    return from_rows(rows_of(folder))


def _only(parcels: Sequence[Parcel], kind: str, folder: Place) -> Any:
    """Return the payload of the one parcel of a kind that was read from a folder."""
    found = of_kind(parcels, kind)
    if len(found) != 1:
        raise InputError(
            f"{folder} has {len(found)} parts, one machine works on one: go on with {option('engine', 'spark')}."
        )
    return found[0].payload
