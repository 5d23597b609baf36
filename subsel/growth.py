"""A neighbour graph that points join and leave: what of it is new is searched, and nothing else."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.codes import hash_ids
from subsel.config import SelectConfig, check_known
from subsel.embeddings.recipe import Search
from subsel.errors import ConfigError, InputError, in_library, option
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.graph import NeighborGraph
from subsel.growing.join import Effort, join
from subsel.growing.leave import leave
from subsel.growing.parted import divided
from subsel.growing.place import KeptGraph, is_graph_place, read_graph, write_graph
from subsel.growing.revision import Revision
from subsel.growing.state import GraphState, search_to_grow
from subsel.growing.stored import StoredRows
from subsel.input.ids import known_places, same_type, shown
from subsel.input.points import Points, read_points
from subsel.input.rows import may_be_read
from subsel.input.source import is_location, open_source
from subsel.input.wishes import wished_ids
from subsel.options import Options
from subsel.planning import part_points
from subsel.report import GraphReport
from subsel.request import Location, keywords_of, load_config
from subsel.run import Run, Tell
from subsel.stages.base import known_count, note_recall
from subsel.storage import Place, check_new, path_of, place_of

log = logging.getLogger(__name__)

#: What may differ for points that join: how their rows are read, and what a run says.
_OF_ROWS = ("id_column", "embedding_column", "on_bad_rows", "log_level")


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
        config = self._config(options)
        with run.stage("read") as tell:
            source = open_source(data, may_be_read(config), config, self._storage_options)
            points = read_points(source, config, with_embeddings=True, progress=lambda share: tell("rows", share))
        state, of = self._kept.state, points.checksum()
        known = self._known(points, state)
        done = self._done(of, left=False) if len(known) == points.n else None
        if done is not None:
            log.warning("%s: these points have joined already, nothing is to be done", points.name)
            return done
        if len(known) and not replace:
            example = shown(state.ids[int(known[0]) : int(known[0]) + 1], state.id_type)[0]
            raise InputError(
                f"{len(known):,} of {points.n:,} ids of {points.name} are in the graph, such as {example!r}: leave "
                f"them out, or let them take the place of those ({option('replace', True)})."
            )
        if len(known) == state.n:
            raise InputError(f"{points.name} replaces all {state.n:,} points: make the graph of them anew.")
        seconds["read"] = time.perf_counter() - began
        began = time.perf_counter()
        with run.stage("neighbors") as tell:
            state, effort = _joined(state, points, known, tell)
        seconds["search"] = time.perf_counter() - began
        return self._revised(state, effort, of, seconds, joined=points.n - len(known), replaced=len(known), left=0)

    def remove(self, ids: Any, *, progress: bool | None = None) -> Revision:
        """Let points leave; whose lists fall below the number of neighbours is searched again.

        Args:
            ids: whatever has them, as ``include`` of `subsel.select`, but no column's name.
            progress: see `add`.

        Raises:
            InputError: ids are unknown or repeated, or nobody would be left.
        """
        run, seconds, began = Run(progress), dict[str, float](), time.perf_counter()
        state = self._kept.state
        what = "the points to remove"
        found = wished_ids(ids, self.config, state.id_type, what, self._storage_options)
        of = hashlib.sha256(np.sort(hash_ids(found, 0)).tobytes()).hexdigest()[:16]
        places = known_places(found, state.ids, what, state.id_type, all_known=False)
        if (done := self._done(of, left=True)) is not None and not len(places):
            log.warning("%s have left already, nothing is to be done", what)
            return done
        places = known_places(found, state.ids, what, state.id_type)
        if len(places) == state.n:
            raise InputError(f"all {state.n:,} points would leave, and no graph is of none: keep some.")
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

    def _config(self, options: Mapping[str, Any]) -> SelectConfig:
        """Return the graph's config with other names of columns.

        Raises:
            ConfigError: an option is unknown, or is the graph's and of another value.
        """
        check_known(options, keywords_of(self.add))
        now = SelectConfig.of(self.config.model_dump() | dict(options))
        for name in options:
            then = getattr(self.config, name)
            if name not in _OF_ROWS and getattr(now, name) != then:
                raise ConfigError(
                    f"{option(name, getattr(now, name))}: the graph was made with {then!r}. Leave it out, or make "
                    "another graph."
                )
        return now

    def _known(self, points: Points, state: GraphState) -> Int64Array:
        """Return where points stand in the graph that it has; refuse those that cannot join.

        Raises:
            InputError: ids are of another type, or vectors of another dimension.
        """
        same_type(points.id_type, state.id_type, points.name)
        assert points.embeddings is not None
        if points.embeddings.shape[1] != state.dimension:
            raise InputError(
                f"embeddings of {points.name} have {points.embeddings.shape[1]} values, those of the graph "
                f"{state.dimension}: use those of one model."
            )
        return known_places(points.ids, state.ids, points.name, state.id_type, all_known=False)

    def _done(self, of: str, *, left: bool) -> Revision | None:
        """Return the last joining, or leaving, if it is of the same: whoever asks goes on after an interruption."""
        last = next((one for one in reversed(self.revisions) if (one.left > 0) == left), None)
        return last if last is not None and last.of == of else None

    def _revised(self, state: GraphState, effort: Effort, of: str, seconds: dict[str, float], **who: int) -> Revision:
        taken = {"probes": effort.probes, "passes": effort.passes, "split": effort.split, "recall": effort.recall}
        about = {"points": state.n, "searched": effort.points, "target": state.recall, "of": of, "seconds": seconds}
        revision = Revision.model_validate(who | taken | about)
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
    note_recall(found.report)
    graph = GrowingGraph(KeptGraph(state, settings, found.report, ()), None, storage_options)
    if where is not None:
        graph.save(where, overwrite=overwrite)
    return graph


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
    if len(known):
        state, _ = leave(state, _marked(state, known), tell)
    order = np.argsort(points.code)
    rows = StoredRows.of(points.take_embeddings()).take(order)
    return join(state, points.ids.take(pa.array(order)), rows, tell)
