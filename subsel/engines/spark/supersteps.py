"""What tasks of `SparkEngine` run on one part, or on the states of several: functions that are sent to executors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from subsel.engines.spark.parcels import task
from subsel.fixedpoint import FixedPoint, Int64Array
from subsel.graph import PartGraph
from subsel.parts import superstep
from subsel.parts.assemble import GRAPH
from subsel.parts.pack import Parcel, from_rows, of_kind, pack
from subsel.parts.regroup import BoundGroupKernel
from subsel.parts.rows import parcels_in, to_board, to_table
from subsel.schema import Status

#: Bits that one pass of a radix search decides.
RADIX_BITS = 16

#: Work on a part: its graph and the parcels addressed to it.
PartWork = Callable[[PartGraph, list[Parcel]], pa.Table]


def cogrouped(
    work: PartWork, scale: FixedPoint, max_similarity: float | None, left: pa.Table, right: pa.Table
) -> pa.Table:
    """Run work on a part: its graph is on the left, the parcels that are addressed to it on the right."""
    with task():
        graph = next(parcel for parcel in from_rows(left) if parcel.kind == GRAPH)
        return work(superstep.unpack_graph(graph.part, graph.payload, scale, max_similarity), from_rows(right))


def _board_table(state: superstep.PartState) -> pa.Table:
    return to_board(state.parcels, state.counts)


def start_parts(scale: FixedPoint, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the boards of graphs before anything is decided."""
    with task():
        for parcel in parcels_in(batches):
            graph = superstep.unpack_graph(parcel.part, parcel.payload, scale)
            yield from _board_table(superstep.start(graph)).to_batches()


def run_superstep(kernel: superstep.BoundKernel, repost: bool, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's next board and what it posts, see `subsel.parts.superstep.superstep`."""
    return _board_table(superstep.superstep(graph, parcels, kernel, repost=repost))


def compact_part(graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's graph without the edges of decided points."""
    smaller = superstep.pack_graph(superstep.compact(graph, parcels))
    return to_table([Parcel(graph.part, graph.part, GRAPH, smaller)])


def grouped_rows(groups: int, salt: int, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's undecided points, dealt into groups."""
    return to_table(superstep.grouped_rows(graph, parcels, groups, salt))


def run_group(kernel: BoundGroupKernel, scale: FixedPoint, table: pa.Table) -> pa.Table:
    """Run a kernel on a group of points as one part; return what it decided."""
    with task():
        return to_board(superstep.run_group(from_rows(table), kernel, scale))


def merge_tallies(work: Callable[..., superstep.Rows], args: tuple[Any, ...], table: pa.Table) -> pa.Table:
    """Run work on what parts tell of a share of the slots; return its rows as a parcel."""
    with task():
        parcels = from_rows(table)
        number = parcels[0].part
        return to_table([Parcel(number, number, superstep.TALLY, pack(**superstep.merged(parcels, work, *args)))])


def on_codes(
    function: Callable[[Int64Array], pa.Table],
    among: tuple[Status, ...],
    key: int,
    graph: PartGraph,
    parcels: list[Parcel],
) -> pa.Table:
    """Run a function on the codes of a part's own points of some statuses that have one key."""
    board = superstep.unpack_board(of_kind(parcels, superstep.BOARD)[0].payload)
    own = slice(0, graph.n_own)
    mine = np.isin(board.status[own], np.array(among, np.int8)) & (board.key[own] == key)
    return function(graph.code[own][mine])


def on_states(
    function: Callable[[Int64Array], pa.Table],
    column: str,
    among: tuple[Status, ...],
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Run a function on a column of each part's board, over own points of some statuses."""
    with task():
        for parcel in parcels_in(batches):
            board = superstep.unpack_board(parcel.payload)
            yield from function(superstep.values_of(board, column, among)).to_batches()


def histogram(high: int | None, shift: int, values: Int64Array) -> pa.Table:
    """Count values by their bits from ``shift`` up, among those whose bits above are ``high``."""
    top = values >> shift
    if high is not None:
        top = top[top >> RADIX_BITS == high]
    value, count = np.unique(top, return_counts=True)
    return pa.table({"value": value, "count": count})


def matching(high: int | None, shift: int, values: Int64Array) -> pa.Table:
    """Return the values whose bits from ``shift`` up are ``high``; all, if that is None."""
    matching = values if high is None else values[values >> shift == high]
    return pa.table({"value": matching, "count": np.ones(len(matching), np.int64)})
