"""`SparkEngine`: the verbs over a graph whose parts are rows of a persisted DataFrame.

The graph is persisted once, each part in a partition of its own; a superstep cogroups the board with it, so only the
board is shuffled. Each superstep's board is written down before the last one is released. Where a task holds the whole
graph, parts are placed, and get boards, when something first asks for these.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Concatenate, Literal, TypeVar, cast

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel.board import Counts
from subsel.engines.base import ABOVE_ALL, BELOW_ALL, Engine, GroupKernel, Kernel, P, Rows
from subsel.engines.spark import supersteps
from subsel.engines.spark.checkpoints import Checkpoint, checkpoint_at_first_use, local_checkpoint, release_checkpoint
from subsel.engines.spark.order import COUNTED, kth_value
from subsel.engines.spark.parcels import (
    BOARD_SCHEMA,
    PARCEL_SCHEMA,
    groups_in_arrow,
    map_in_arrow,
    place,
    plain_errors,
)
from subsel.engines.spark.together import Scale, Together
from subsel.fixedpoint import FixedPoint, Int64Array
from subsel.parts import superstep
from subsel.parts.pack import concatenate, from_rows, unpack
from subsel.parts.regroup import BoundGroupKernel
from subsel.parts.rows import COLUMNS, COUNTS, SUMS
from subsel.schema import Status

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Parts whose values one task looks at, one after the other.
_PARTS_PER_TASK = 4


class SparkEngine:
    """Implements `subsel.engines.base.Engine`.

    Args:
        graph: parcels of kind ``graph``.
        parts: number of parts.
        scale: fixed-point scale of keys and weights.
        finish_points: at most so many undecided points are finished in one task.
        run_id: for log lines.
        max_similarity: two selected points are at most so similar; None: as they come.
        target_parts: how many of the parts, the last ones, are of a target set's points (`subsel.parts.target`).
        checkpoint: how boards are written down; may be set anew between supersteps.
        together: whether a task holds the whole graph, so that drivers run there, see `drive`.
        counts: before anything is decided.
    """

    def __init__(
        self,
        graph: DataFrame,
        parts: int,
        scale: FixedPoint,
        *,
        finish_points: int,
        run_id: str,
        max_similarity: float | None = None,
        target_parts: int = 0,
        checkpoint: Checkpoint = checkpoint_at_first_use,
        together: bool = False,
        counts: Counts,
    ) -> None:
        self.target_parts = target_parts
        self.parts, self.scale, self.finish_points, self.run_id = parts, scale, finish_points, run_id
        self.max_similarity = max_similarity
        self.checkpoint = checkpoint
        self._given, self._parted, self._smaller = graph, cast(DataFrame | None, None), cast(DataFrame | None, None)
        self._board: DataFrame | None = None
        self._together: Together | None = None
        self._counts, self._points, self._graph_points = counts, counts.undecided, counts.undecided
        self._steps = 0
        self._persisted: list[DataFrame] = []
        self._last: DataFrame | None = None
        self._kept: list[DataFrame] = []
        self._stale = False  # whether some ghosts have not heard what became of them, their edges being dropped
        if together:
            self._together = Together(graph, Scale(scale, max_similarity), run_id)
        else:
            self.settle()

    @property
    def _whole(self) -> DataFrame:
        """The graph by part, with all of its edges."""
        if self._parted is None:
            self._parted = self._keep(self._given)
        return self._parted

    @property
    def _graph(self) -> DataFrame:
        """The graph by part, maybe without edges of decided points."""
        return self._whole if self._smaller is None else self._smaller

    @property
    def board(self) -> DataFrame:
        """The last board, with what was posted; parts hear first what was decided in one task."""
        self.settle()
        assert self._board is not None
        return self._board

    def settle(self) -> None:
        """Have the parts hear what was decided in one task, if anything was since they last did."""
        with plain_errors():
            if self._board is None:
                start = map_in_arrow(self._whole, partial(supersteps.start_parts, self.scale), BOARD_SCHEMA)
                self._take(start, heard=True, checkpoint=checkpoint_at_first_use)
            if self._together is not None and self._together.ahead:
                assert self._board is not None
                self._board = self._board.unionByName(self._together.decisions())
                self._whole_again(heard=True)

    @property
    def in_one_task(self) -> bool:
        """See `Engine`."""
        return self._together is not None

    @property
    def joined(self) -> bool:
        """Whether the last that was decided was so in one task, which had the whole graph."""
        return self._together is not None and self._together.begun

    def drive(self, work: Callable[[Engine], T]) -> T:
        """Run a driver: on this engine, or in one task that has the whole graph."""
        if self._together is None:
            return work(self)
        with plain_errors():
            result, self._counts = self._together.drive(self._to_join(), work)
        return result

    def _to_join(self) -> DataFrame | None:
        """Return the parts' boards, for a task that has the whole graph; None where it has a board, or nobody has."""
        if self._board is None or self.joined:
            return None
        if self._steps > 1:  # or there is no news
            self._take(self.superstep_frame(superstep.nothing))
        return self.board.where(F.col("kind") == superstep.BOARD)

    def step(self, kernel: Kernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """Run one superstep. The plan's only exchange is the board's."""
        with plain_errors():
            before = self._counts.undecided
            self._take(self.superstep_frame(partial(cast(Any, kernel), *args, **params)))
            if self._counts.undecided <= before:
                self._compact_if_halved()
            elif self._graph_points:  # who is open again is not known to other parts yet: all edges stay
                self._graph_points = self._counts.undecided
        return self._counts

    def superstep_frame(self, kernel: superstep.BoundKernel, *, repost: bool = False) -> DataFrame:
        """Return the next board, not computed yet."""
        return self._on_parts(self.board, partial(supersteps.run_superstep, kernel, repost), BOARD_SCHEMA)

    def counts(self) -> Counts:
        """Return how many own points have each status."""
        return self._counts

    def kth_largest(self, column: Literal["key", "lower"], k: int, among: Sequence[Status]) -> int:
        """Return the exact k-th largest value: in one job if there are few, else by radix passes of 16 bits."""
        return kth_value(partial(self._values, column, among), k, self._number(among))[0]

    def kth_place(self, k: int, among: Sequence[Status]) -> tuple[int, int]:
        """Return the place of the k-th point in the total order; codes are looked at only if keys tie."""
        if k == 0:
            return ABOVE_ALL, ABOVE_ALL
        key, needed, equal = kth_value(partial(self._values, "key", among), k, self._number(among))
        if needed == equal:
            return key, BELOW_ALL
        run = partial(self._on_parts, self.board)
        code, _, _ = kth_value(
            lambda work: run(partial(supersteps.on_codes, work, tuple(among), key), COUNTED), needed, equal
        )
        return key, code

    def _number(self, among: Sequence[Status]) -> int:
        return sum(getattr(self._counts, status.name.lower()) for status in among)

    def _values(self, column: str, among: Sequence[Status], work: Callable[[Int64Array], pa.Table]) -> DataFrame:
        """Run a function on the values of every part; several parts share a task, which costs more than the work."""
        states = self.board.where(F.col("kind") == superstep.BOARD).coalesce(max(1, self.parts // _PARTS_PER_TASK))
        return map_in_arrow(states, partial(supersteps.on_states, work, column, tuple(among)), COUNTED)

    def finish(self, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts | None:
        """Run the kernel on the undecided points of all parts in one task, if they are at most ``finish_points``."""
        if self._counts.undecided > self.finish_points:
            return None
        self._in_groups(1, 0, partial(cast(Any, kernel), *args, **params))
        log.info("[%s] finished the undecided points in one task", self.run_id)
        return self._counts

    def deal(self, groups: int, salt: int, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """Run the kernel on random groups, each in a task: one shuffle of the undecided points, one of boards."""
        self._in_groups(groups, salt, partial(cast(Any, kernel), *args, **params))
        with plain_errors():
            self._compact_if_halved()
        return self._counts

    def _in_groups(self, groups: int, salt: int, kernel: BoundGroupKernel) -> None:
        with plain_errors():
            rows = self._on_parts(self.board, partial(supersteps.grouped_rows, groups, salt), PARCEL_SCHEMA)
            grouped = place(rows, groups).groupBy("part")
            self.adopt(groups_in_arrow(grouped, BOARD_SCHEMA, supersteps.run_group, kernel, self.scale))

    def adopt(self, decisions: DataFrame) -> None:
        """Take decisions that were made elsewhere, parcels of kind `superstep.FINISHED`, and post them to who cares."""
        with plain_errors():
            self._board = self.board.unionByName(decisions)
            self._take(self.superstep_frame(superstep.nothing))

    def send(self, letters: DataFrame) -> None:
        """Have the next step deliver letters, parcels of kind `superstep.LETTER`, that no kernel wrote."""
        self._board = self.board.unionByName(letters)

    def state(self) -> dict[str, bool]:
        """Return what `resume` must know of the present board, beside it: whether edges were dropped, or may be."""
        return {"stale": self._stale, "dropping": self._graph_points > 0}

    def resume(self, board: DataFrame, number: int, *, stale: bool = True, dropping: bool = True) -> None:
        """Go on from a board that was written down as the ``number``-th, on the whole graph; see `state`."""
        self._steps, self._stale = number, stale
        with plain_errors():
            self._take(board)
        self._release()
        self._graph_points = self._points if dropping else 0

    def restate(self) -> None:
        """Write the present board down once more."""
        with plain_errors():
            self._take(self.board)

    def merge(self, work: Callable[Concatenate[Rows, P], Rows], /, *args: P.args, **params: P.kwargs) -> Rows:
        """Run the work where the rows of a share of the slots are; what it returns is collected."""
        with plain_errors():
            tallies = self.board.where(F.col("kind") == superstep.TALLY).select(*COLUMNS)
            bound = partial(cast(Any, work), **params)
            of_part = tallies.groupBy("part")
            merged = groups_in_arrow(of_part, PARCEL_SCHEMA, supersteps.merge_tallies, bound, args)
            found = [unpack(parcel.payload) for parcel in from_rows(merged.toArrow())]
        return concatenate(found) if found else {}

    def keep(self) -> object:
        """Return the board, written down once more: a run directory keeps the last ones only."""
        self._kept.append(local_checkpoint(self.board, self._steps))
        return self._kept[-1]

    def back(self, state: object) -> Counts:
        """Start again from a kept board."""
        self._board, self._counts = cast(DataFrame, state), replace(self._counts, undecided=0)
        self._whole_again()
        self._graph_points = self._counts.undecided
        return self._counts

    def whole(self) -> None:
        """Go back to the whole graph, if edges were dropped."""
        if self._stale:
            self._whole_again()
            self._graph_points = self._counts.undecided

    def reopen(self) -> None:
        """Go back to the whole graph, and have every border point posted anew, if edges were dropped since."""
        if self._stale:
            self._whole_again()
        self._graph_points = 0  # nothing is dropped from here on

    def _whole_again(self, *, heard: bool = False) -> None:
        self._release()
        self._graph_points, self._stale = 0, False
        with plain_errors():
            self._take(self.superstep_frame(superstep.nothing, repost=True), heard=heard)

    def on_parts(
        self, parcels: DataFrame | None, work: supersteps.PartWork, schema: str, *, everywhere: bool = False
    ) -> DataFrame:
        """Run work on every part's whole graph, its board with what was posted, and ``parcels`` addressed to it.

        Where these are of points that are selected from, it is run on the parts that have such, or ``everywhere``.
        """
        board = self.board.select(*COLUMNS)  # which brings the whole graph back, if one task decided
        assert not self._stale, "edges were dropped: reopen first"
        if parcels is None:
            return self._on_parts(board, work, schema)
        of_points = F.col("part") < self.parts - self.target_parts
        right = board.unionByName(parcels)
        if not self.target_parts or everywhere:
            return self._on_parts(right, work, schema)
        return self._on_parts(right.where(of_points), work, schema, self._graph.where(of_points))

    def on_whole(
        self, parcels: DataFrame | None, work: supersteps.PartWork, schema: str, *, everywhere: bool = False
    ) -> DataFrame:
        """Run work as `on_parts`, or on the whole graph as one part, where that is `joined`.

        Work may where its rows add up to the same over one part, and where they do not say which part a point is in.
        """
        if not self.joined or self._together is None:
            return self.on_parts(parcels, work, schema, everywhere=everywhere)
        return self._together.run(parcels, work, schema)

    def close(self) -> None:
        """Let go of all that this engine persisted and wrote down."""
        if self._together is not None:
            self._together.close()
        for frame in self._persisted:
            frame.unpersist()
        for board in [self._last, *self._kept]:
            if board is not None:
                release_checkpoint(board)
        self._persisted, self._last, self._kept = [], None, []

    def _on_parts(
        self, right: DataFrame, work: supersteps.PartWork, schema: str, graph: DataFrame | None = None
    ) -> DataFrame:
        right = right.where(F.col("kind") != superstep.TALLY)
        groups = (
            (self._graph if graph is None else graph).groupBy("part").cogroup(place(right, self.parts).groupBy("part"))
        )
        return groups_in_arrow(groups, schema, supersteps.cogrouped, work, self.scale, self.max_similarity)

    def _take(self, board: DataFrame, *, heard: bool = False, checkpoint: Checkpoint | None = None) -> None:
        """Write the new board down, then let go of the last one, and count.

        Args:
            board: not computed yet.
            heard: it says what one task's does.
            checkpoint: as the engine's, None: that.
        """
        if self._together is not None and not heard:
            self._together.forget()
        begin = time.perf_counter()
        self._steps += 1
        last, self._last = self._last, (checkpoint or self.checkpoint)(board, self._steps)
        self._board = self._last
        first = (F.col("kind") == superstep.BOARD) & (F.col("chunk") == 0)  # the row that has a part's counts
        rows = self._board.where(first).select(*COUNTS, *SUMS).toArrow()  # one job computes the board and counts
        if last is not None:
            release_checkpoint(last)
        totals = {name: sum(map(int, rows.column(name).to_pylist())) for name in (*COUNTS, *SUMS)}
        zero, one, two, three = (totals.pop(name) for name in SUMS)
        self._counts = Counts(**totals, sums=(zero, one, two, three))
        log.info(
            "[%s] board %d: accepted %d, selected %d, discarded %d, undecided %d, news %d, %.1f s",
            self.run_id,
            self._steps,
            self._counts.accepted,
            self._counts.selected,
            self._counts.discarded,
            self._counts.undecided,
            self._counts.news,
            time.perf_counter() - begin,
        )

    def _compact_if_halved(self) -> None:
        # Making a graph smaller reads the whole one: below an eighth no later superstep earns that back.
        earns = self._smaller is None or self._graph_points > self._points // 8
        if earns and 0 < self._counts.undecided <= self._graph_points // 2:
            self._compact()

    def _compact(self) -> None:
        """Drop the edges of decided points from the persisted graph; the whole one stays for `reopen`.

        It is made from the whole graph each time, so that its plan does not grow.
        """
        of_all = self._on_parts(self.board, supersteps.compact_part, PARCEL_SCHEMA, self._whole)
        smaller = self._keep(of_all)
        self._release()
        self._smaller, self._graph_points, self._stale = smaller, self._counts.undecided, True
        log.info("[%s] compacted the graph to %d undecided points", self.run_id, self._graph_points)

    def _keep(self, graph: DataFrame) -> DataFrame:
        """Persist a graph, each part in a partition of its own and sorted, so that no superstep moves or sorts it."""
        kept: DataFrame = place(graph, self.parts).sortWithinPartitions("part", "chunk").persist(StorageLevel.DISK_ONLY)
        self._persisted.append(kept)
        kept.count()
        return kept

    def _release(self) -> None:
        if self._smaller is not None:
            self._persisted.remove(self._smaller)
            self._smaller.unpersist()
        self._smaller = None
