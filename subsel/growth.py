"""A neighbour graph that points join and leave: what of it is new is searched, and nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsel.codes import hash_ids
from subsel.config import SelectConfig, check_known
from subsel.embeddings.recipe import Search
from subsel.engines.choose import is_spark
from subsel.errors import ConfigError, InputError, in_library, option
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.graph import NeighborGraph
from subsel.growing import rules
from subsel.growing.join import Effort, join
from subsel.growing.leave import leave
from subsel.growing.parted import divided
from subsel.growing.place import KeptGraph, is_graph_place, read_graph, write_graph
from subsel.growing.revision import Revision
from subsel.growing.state import GraphState, search_to_grow
from subsel.growing.stored import StoredRows
from subsel.input.ids import known_places, shown
from subsel.input.points import Points, read_points
from subsel.input.rows import may_be_read
from subsel.input.source import is_location, open_source
from subsel.input.wishes import ids_checksum, wished_ids
from subsel.options import Options
from subsel.planning import part_points
from subsel.report import GraphReport
from subsel.request import Location, keywords_of, load_config
from subsel.run import Run, Tell
from subsel.stages.base import known_count, note_graph
from subsel.storage import Place, check_new, path_of, place_of

log = logging.getLogger(__name__)

#: Ids of a graph that a thread looks up at once among those of points that join.
_IDS_AT_ONCE = 1 << 17


class GrowingGraph:
    """A neighbour graph with what it needs to grow: `growing_graph` makes one, `open_graph` reads one.

    Give its ``graph`` to `subsel.select`.

    Attributes:
        place: where it was read from or written to last; None: nowhere.
    """

    def __init__(self, kept: KeptGraph, place: Place | None, storage_options: Mapping[str, Any] | None) -> None:
        self._kept, self.place, self._storage_options = kept, place, storage_options
        self._edges: NeighborGraph | None = None

    def __len__(self) -> int:
        return self._kept.state.n

    def __repr__(self) -> str:
        where = "" if self.place is None else f", {self.place}"
        return f"GrowingGraph({len(self):,} points, {self._kept.state.neighbors} neighbours{where})"

    @property
    def graph(self) -> NeighborGraph:
        """The symmetric graph, for `subsel.select`, which finds its points by their ids."""
        if self._edges is None:
            self._edges = self._kept.state.graph()
        return self._edges

    @property
    def report(self) -> GraphReport:
        """How it was made."""
        return self._kept.report

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """Every change since, in their order."""
        return self._kept.revisions

    @property
    def config(self) -> SelectConfig:
        """The config of the search that made it."""
        return self._kept.config

    @property
    def path(self) -> Path | str | None:
        """Where it is: a path on a local disk, else an address; None if nowhere."""
        return path_of(self.place)

    def add(
        self, data: Any, *, replace: bool = False, progress: bool | None = None, **options: Unpack[Options]
    ) -> Revision:
        """Let points join: they find their cells, meet who is there, and the lists of both sides are merged.

        What was added last is not added again: that revision is returned, so a run that was killed may be repeated.

        Args:
            data: points, see `subsel.select`; with ids.
            replace: whether points whose ids the graph has take the place of those.
            progress: show progress on stderr; None: if that is a terminal.
            **options: how rows are read: id_column, embedding_column, on_bad_rows; others must be the graph's.

        Raises:
            InputError: the data are wrong, of another dimension or type of ids, or ids are there already.
        """
        run, seconds, began = Run(progress), dict[str, float](), time.perf_counter()
        check_known(options, keywords_of(self.add))
        config = rules.config_of_rows(self.config, options)
        with run.stage("read") as tell:
            source = open_source(data, may_be_read(config), config, self._storage_options)
            points = read_points(source, config, with_embeddings=True, progress=lambda share: tell("rows", share))
        state, of = self._kept.state, points.checksum()
        known = self._known(points, state)
        done = rules.done_before(self.revisions, of, left=False) if len(known) == points.n else None
        if done is not None:
            log.warning("%s", rules.nothing_to_do(points.name, left=False))
            return done
        there = points.ids.filter(pc.is_in(points.ids, value_set=state.ids.take(pa.array(known))))
        example = shown(there[:1], state.id_type)[0] if len(known) else None
        rules.check_known(points.name, len(known), points.n, example, state.n, replace=replace)
        seconds["read"] = time.perf_counter() - began
        began = time.perf_counter()
        with run.stage("neighbors") as tell:
            state, effort = _joined(state, points, known, tell)
        seconds["search"] = time.perf_counter() - began
        return self._revised(state, effort, of, seconds, joined=points.n - len(known), replaced=len(known), left=0)

    def remove(self, ids: Any, *, progress: bool | None = None) -> Revision:
        """Let points leave; whose list has none in reserve for those that it loses is searched again.

        Args:
            ids: whatever has them, as ``include`` of `subsel.select`, but no column's name; none at all change nothing.
            progress: see `add`.

        Raises:
            InputError: ids are unknown or repeated, or nobody would be left.
        """
        run, seconds, began = Run(progress), dict[str, float](), time.perf_counter()
        state = self._kept.state
        what = rules.LEAVING
        found = wished_ids(ids, self.config, state.id_type, what, self._storage_options)
        of = ids_checksum(len(found), int(hash_ids(found, 0).view(np.uint64).sum(dtype=np.uint64)))
        if not len(found):
            return rules.of_nobody(state.n, state.recall, of, "local")
        done = rules.done_before(self.revisions, of, left=True)
        if done is not None and not len(known_places(found, state.ids, what, state.id_type, all_known=False)):
            log.warning("%s", rules.nothing_to_do(what, left=True))
            return done
        places = known_places(found, state.ids, what, state.id_type)
        rules.check_left(len(places), state.n)
        seconds["read"] = time.perf_counter() - began
        began = time.perf_counter()
        with run.stage("neighbors") as tell:
            state, effort = leave(state, _marked(state, places), tell)
        seconds["search"] = time.perf_counter() - began
        return self._revised(state, effort, of, seconds, joined=0, replaced=0, left=len(places))

    def save(self, place: Location | None = None, *, overwrite: bool = False) -> None:
        """Write it: whole or not at all; until then what was there can be read.

        Args:
            place: a folder; None: where it was read from or written to last, which is replaced.
            overwrite: replace ``place`` if subsel wrote it.

        Raises:
            InputError: see `subsel.storage.check_new`; or another process has changed it since it was read.
            OutputError: it could not be written; what was there is there.
        """
        where = self.place if place is None else place_of(place, self._storage_options)
        if where is None:
            raise ConfigError("this graph has no place yet: say where it is to be saved.")
        if not is_graph_place(where):
            raise InputError(f"{where} is one file, which has edges only: save into a folder.")
        back = self.place is not None and where.key == self.place.key
        kept = self._kept if back else replace(self._kept, manifest=None)
        written = write_graph(kept, where, overwrite=overwrite or place is None)
        self._kept, self.place = replace(self._kept, manifest=written), where

    def _known(self, points: Points, state: GraphState) -> Int64Array:
        """Return where points stand in the graph that it has; refuse those that cannot join.

        Raises:
            InputError: ids are of another type, or vectors of another dimension.
        """
        assert points.embeddings is not None
        rules.check_kind(points.name, points.id_type, points.embeddings.shape[1], state)

        def look(begin: int) -> npt.NDArray[np.bool_]:  # a table of the few, not of the many
            there = pc.is_in(state.ids.slice(begin, _IDS_AT_ONCE), value_set=points.ids)
            return np.asarray(there.to_numpy(zero_copy_only=False), np.bool_)

        with ThreadPoolExecutor(numba.get_num_threads()) as pool:
            return np.flatnonzero(np.concatenate(list(pool.map(look, range(0, state.n, _IDS_AT_ONCE)))))

    def _revised(self, state: GraphState, effort: Effort, of: str, seconds: dict[str, float], **who: Any) -> Revision:
        revision = Revision.after(effort, state.n, state.recall, of, seconds=seconds, **who)
        if revision.warning is not None:
            log.warning("%s", in_library(revision.warning))
        self._kept = replace(self._kept, state=state, revisions=(*self.revisions, revision))
        self._edges = None
        return revision


def growing_graph(
    data: Any,
    *,
    size: int | float | str | None = None,
    output: Location | None = None,
    overwrite: bool = False,
    config: SelectConfig | str | Path | None = None,
    progress: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> GrowingGraph:
    """Compute the neighbour graph of points, as `subsel.neighbors` does, and keep what it needs to grow.

    Args:
        data: points, see `subsel.select`.
        size: of the subset that it is for, by which the number of neighbours goes where that is "auto".
        output: folder that it is saved to; None: nowhere yet.
        overwrite: replace ``output`` if subsel wrote it.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        progress: show progress on stderr; None: if that is a terminal.
        storage_options: see `subsel.select`.
        **options: fields of `SelectConfig`: neighbors, metric, recall, seed, …

    Raises:
        InputError: the data or an option is wrong, or ``output`` exists.
    """
    check_known(options, keywords_of(growing_graph))
    settings = load_config(config, size=size, **options)
    if settings.thin is not None:
        raise ConfigError(f"{option('thin')} draws so many times the points to select, and nothing is selected here.")
    where = None if output is None else place_of(output, storage_options)
    if where is not None:
        if not is_graph_place(where):
            raise InputError(f"{where} is one file, which has edges only: give a folder.")
        given = [place_of(data, storage_options)] if is_location(data) else []
        check_new(where, overwrite=overwrite, inputs=given)
    run = Run(progress)
    with run.stage("read") as tell:
        source = open_source(data, may_be_read(settings), settings, storage_options)
        points = read_points(source, settings, with_embeddings=True, progress=lambda share: tell("rows", share))
    k = known_count(settings, points.n, points.name, None if points.cost is None else exact_sum(points.cost))
    with run.stage("neighbors") as tell:
        how = Search.of(settings, points.n, k)
        found, state = search_to_grow(points, how, tell)
        state = divided(state, part_points(state.dimension, state.neighbors, settings), how)
    note_graph(found.report)
    graph = GrowingGraph(KeptGraph(state, settings, found.report, ()), None, storage_options)
    if where is not None:
        graph.save(where, overwrite=overwrite)
    return graph


class GraphChange(NamedTuple):
    """What `grow_graph` did.

    Attributes:
        revisions: what was asked for, leaving first, also where that had been done before.
        points: that the graph has now.
        neighbors: of each.
        path: where it is.
    """

    revisions: list[Revision]
    points: int
    neighbors: int
    path: Path | str


def grow_graph(
    graph: Location,
    data: Any = None,
    *,
    remove: Any = None,
    replace: bool = False,
    engine: Any = "local",
    master: str | None = None,
    progress: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> GraphChange:
    """Let points leave a graph that is in a place, then others join it, and write it: whole or not at all.

    On one machine that is `open_graph`, `GrowingGraph.remove`, `add` and `save`. On Spark the graph stays in its parts:
    new points go to those that they probe, and only these are read and written anew.

    Args:
        graph: a folder that `growing_graph` or ``subsel neighbors`` wrote.
        data: who joins, see `GrowingGraph.add`, on Spark also a DataFrame or the name of a table; None: nobody.
        remove: who leaves, see `GrowingGraph.remove`; None: nobody.
        replace: whether points whose ids the graph has take the place of those.
        engine: "local", "spark" or a SparkSession.
        master: see `subsel.select`.
        progress: show progress on stderr; None: if that is a terminal.
        storage_options: see `subsel.select`; Spark has its own.
        **options: how rows are read: id_column, embedding_column, on_bad_rows; others must be the graph's.

    Raises:
        InputError: there is no graph, or points cannot join or leave; nothing was written.
        OutputError: it could not be written; what was there is there.
    """
    check_known(options, keywords_of(grow_graph))
    if data is None and (remove is None or options or replace):
        raise ConfigError(f"say who joins the graph ({option('data')}), or only who leaves it ({option('remove')}).")
    if not is_spark(engine):
        grown = open_graph(graph, storage_options=storage_options)
        before, done = grown.revisions, []
        if remove is not None:
            done.append(grown.remove(remove, progress=progress))
        if data is not None:
            done.append(grown.add(data, replace=replace, progress=progress, **options))
        if grown.revisions != before:
            grown.save()
        assert grown.path is not None
        return GraphChange(done, len(grown), grown._kept.state.neighbors, grown.path)
    from subsel.stages.on_spark import change_graph  # noqa: PLC0415  (needs pyspark)

    config_of = partial(rules.config_of_rows, options=dict(options))
    about = {"engine": engine, "master": master, "log_level": options.get("log_level", "error"), "replace": replace}
    kept, done, place = change_graph(graph, data, remove, config_of, Run(progress), **about)
    return GraphChange(done, sum(kept.points.values()), kept.state.neighbors, path_of(place) or str(place))


def open_graph(place: Location, *, storage_options: dict[str, Any] | None = None) -> GrowingGraph:
    """Read a graph that can grow.

    Args:
        place: a folder that `growing_graph` or ``subsel neighbors`` wrote.
        storage_options: see `subsel.select`.

    Raises:
        InputError: there is none, or it is damaged.
    """
    where = place_of(place, storage_options)
    return GrowingGraph(read_graph(where), where, storage_options)


def _marked(state: GraphState, places: Int64Array) -> npt.NDArray[np.bool_]:
    gone = np.zeros(state.n, np.bool_)
    gone[places] = True
    return gone


def _joined(state: GraphState, points: Points, known: Int64Array, tell: Tell) -> tuple[GraphState, Effort]:
    """Return a graph that points have joined, after those that they replace have left; in the order of their codes."""
    before = Effort(0, 0, 0, None)
    if len(known):
        state, before = leave(state, _marked(state, known), tell)
    order = np.argsort(points.code)
    rows = StoredRows.of(points.take_embeddings()).take(order)
    state, effort = join(state, points.ids.take(pa.array(order)), rows, tell)
    return state, effort.after(before)
