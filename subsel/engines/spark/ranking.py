"""Ranking the subset that boards hold, by a distributed sort, and summing up its objective over the parts."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel import schema
from subsel.board import Board
from subsel.coverage import BoolArray
from subsel.covering.value import cover_score, cover_shares
from subsel.engines.local import LocalEngine
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.parcels import map_in_arrow, taken, task
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph
from subsel.objective import Score, gains_of, score_subset
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, of_kind, unpack
from subsel.report import ObjectiveReport
from subsel.schema import DECIDED_BY_NAMES, Status

#: Rows of one file of the subset.
ROWS_PER_FILE = 500_000
#: What sums up over parts; `_MEMBERS` is how many are selected.
_MEMBERS = "members"
_SUMS = ("gain", "utility", "similarity", "top_utility", "coverage", "random_coverage", "covered", "idle", _MEMBERS)
_SUM_COLUMNS = tuple(f"sum_{name}" for name in _SUMS)
#: What is told beside, pickled, once for each part.
_TOLD = "told"
_SUMS_SHAPE = ", ".join(f"{name} double" for name in _SUM_COLUMNS)
#: What ids are unpacked as, by their type in Spark (`subsel.engines.spark.ids.kept_kind`).
_KINDS = {"bigint": pa.int64(), "string": pa.large_string(), "binary": pa.large_binary()}


@dataclass(frozen=True, slots=True)
class Summed:
    """What the objective's terms are summed up over.

    Attributes:
        top: the place down to which points are at the top by utility; None: it is found where all points are, and
            nobody is elsewhere.
        n: points.
        k: members.
        own: a member's similarity to itself, see `subsel.coverage.own_similarity`.
        covered: points of which coverage is the mean: all, or those of a target.
    """

    top: tuple[int, int] | None
    n: int
    k: int
    own: float
    covered: int

    def totals(self, rows: pa.Table) -> dict[str, Any]:
        """Return the terms of f of the selected points, of those at the top by utility f, and coverage on the graph.

        Args:
            rows: what each part sums up to.
        """
        found = {name: pc.sum(rows.column(of)).as_py() for name, of in zip(_SUMS, _SUM_COLUMNS, strict=True)}
        return found | {name: found[name] / self.covered for name in _SUMS if name.endswith("coverage")}


def top_of(engine: SparkEngine, k: int) -> tuple[int, int] | None:
    """Return `Summed.top` of an engine on which nothing is decided."""
    return None if engine.in_one_task else engine.kth_place(k, (Status.UNDECIDED,))


#: What a task with the whole graph does beside ranking: of the graph, its parcels, members by rank, and their slots.
Beside = Callable[[PartGraph, list[Parcel], pa.Table, Int64Array], Any]


def rank_subset(
    engine: SparkEngine,
    about: Summed,
    points: DataFrame,
    id_type: str,
    keep: Callable[[DataFrame], DataFrame],
    beside: Beside | None = None,
) -> tuple[DataFrame, dict[str, Any], Any]:
    """Return the k selected points in rank order: id, rank, gain, decided_by, which are kept; and see `Summed.totals`.

    And what ``beside`` returns, which is little; None where no task has the whole graph.

    Args:
        engine: whose boards hold the subset, with the whole graph (`SparkEngine.reopen`).
        about: what is summed up.
        points: parcels of kind points.
        id_type: of ids, in Spark's words.
        keep: persists a frame.
        beside: see above.
    """
    columns = f"{schema.ID} {id_type}, {schema.RANK} bigint, {schema.GAIN} double, {schema.DECIDED_BY} string"
    shape = f"{columns}, key bigint, code bigint, {_SUMS_SHAPE}, {_TOLD} binary"
    work = partial(_scored, about, id_type, beside if engine.joined else None)
    rows = keep(engine.on_whole(points, work, shape, everywhere=True))
    sums = rows.where(F.col(schema.ID).isNull()).select(*_SUM_COLUMNS, _TOLD).toArrow()
    totals, told = about.totals(sums), pickle.loads(sums.column(_TOLD)[0].as_py())
    if totals[_MEMBERS] != about.k:
        raise AssertionError(f"{totals[_MEMBERS]:.0f} points are selected, not {about.k}")
    picked = rows.where(F.col(schema.ID).isNotNull())
    files = max(1, -(-about.k // ROWS_PER_FILE))
    if engine.joined:
        ranked = picked.select(schema.ID, schema.RANK, schema.GAIN, schema.DECIDED_BY)
        if files > 1:
            ranked = ranked.repartitionByRange(files, schema.RANK).sortWithinPartitions(schema.RANK)
        return ranked, totals, told
    order = F.desc("key"), F.desc("code")
    # Kept once more: sorting samples its input first, and both jobs after it must see the same partitions.
    picked = keep(picked.drop(*_SUM_COLUMNS, _TOLD).repartitionByRange(files, *order).sortWithinPartitions(*order))
    per_partition = picked.groupBy(F.spark_partition_id().alias("p")).count().toArrow()
    counts = dict(zip(*(per_partition.column(i).to_pylist() for i in (0, 1)), strict=True))
    first, begin = {}, 0
    for partition in sorted(counts):
        first[partition], begin = begin, begin + counts[partition]
    return map_in_arrow(picked, partial(_rank, first), columns), totals, told


def sum_up(engine: SparkEngine, about: Summed) -> dict[str, Any]:
    """Return `Summed.totals` of the points that an engine's boards have selected, on the whole graph."""
    return about.totals(engine.on_whole(None, partial(_sums, about), _SUMS_SHAPE).toArrow())


def objective_of(totals: Mapping[str, Any], random: float, *, with_top: bool) -> ObjectiveReport:
    """Return f of a subset and what it is compared with, by `Summed.totals`."""
    found, top = score_of(totals), totals["top_utility"] if with_top else None
    return ObjectiveReport(
        total=found.total,
        utility=found.utility,
        similarity=found.similarity,
        random=random,
        top_utility=top,
        covered=found.covered,
        idle=int(totals["idle"]),
    )


def score_of(totals: Mapping[str, Any]) -> Score:
    """Return the score of the selected points, by `Summed.totals`."""
    utility, similarity, covered = totals["utility"], totals["similarity"], totals["covered"]
    return Score((covered or 0.0) + utility - similarity, utility, similarity, totals["coverage"], covered)


def _scored(about: Summed, id_type: str, beside: Beside | None, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's selected points by rank among them, with ids, keys and gains, and a row of its sums."""
    board, _ = superstep.deliver(graph, parcels)
    points, slots = of_kind(parcels, assemble.POINTS), np.empty(0, np.int64)
    ids: Any = pa.array([], _KINDS[id_type])
    if points:  # or all are of a target set
        ids, slots = unpack(points[0].payload)[schema.ID], np.flatnonzero(_selected(graph, board))
    slots = slots[np.lexsort((graph.code[slots], board.key[slots]))[::-1]]
    names = np.array([DECIDED_BY_NAMES.get(s, "") for s in range(max(DECIDED_BY_NAMES) + 1)])
    columns = {
        schema.ID: taken(ids, slots),
        schema.RANK: np.arange(len(slots)),
        schema.GAIN: gains_of(graph, board)[slots],
        schema.DECIDED_BY: pa.array(names[board.decided_by[slots]], pa.string()),
        "key": board.key[slots],
        "code": graph.code[slots],
    }
    members, sums = pa.table(columns), _sums_of(about, graph, board)
    told = None if beside is None else beside(graph, parcels, members, slots)
    sums = sums.append_column(_TOLD, pa.array([pickle.dumps(told)], pa.binary()))
    return pa.concat_tables([members, sums], promote_options="default")


def _selected(graph: PartGraph, board: Board) -> BoolArray:
    found: BoolArray = board.status[: graph.n_own] == Status.SELECTED
    return found


def _sums(about: Summed, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    return _sums_of(about, graph, superstep.deliver(graph, parcels)[0])


def _sums_of(about: Summed, graph: PartGraph, board: Board) -> pa.Table:
    """Return a part's share of the objective's terms, of f of the top k by utility, each edge half; and of coverage."""
    scale = graph.fixed_point
    top = about.top
    if top is None:
        whole = graph.n_points == about.n
        top = LocalEngine(graph).kth_place(about.k if whole else 0, (Status.UNDECIDED,))
    key = scale.keys(graph.utility, graph.code)
    top_members = (key > top[0]) | ((key == top[0]) & (graph.code >= top[1]))
    scores = []
    selected = board.status == Status.SELECTED
    for member in (selected, top_members):
        if graph.importance is not None:
            scores.append(cover_score(graph, member))
            continue
        utility = scale.alpha * float(graph.utility[: graph.n_own][member[: graph.n_own]].sum())
        edges = score_subset(
            graph.indptr, graph.indices, graph.similarity, graph.utility * 0, member, scale.alpha, scale.beta
        )
        scores.append(Score(utility - edges.similarity, utility, edges.similarity))
    found, top_found = scores
    cover = cover_shares(graph, selected, n=about.n, k=about.k, own=about.own)
    own_members = _selected(graph, board)
    idle = 0 if graph.importance is None else np.count_nonzero(gains_of(graph, board)[own_members] == 0)
    count = np.count_nonzero(own_members)
    values = (found.total, found.utility, found.similarity, top_found.total, *cover, found.covered, idle, count)
    columns = zip(_SUM_COLUMNS, values, strict=True)
    return pa.table({name: pa.array([value], pa.float64()) for name, value in columns})


def _rank(first: dict[int, int], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Number sorted rows from 0 over all partitions."""
    with task():
        context = TaskContext.get()
        begin = first.get(context.partitionId() if context is not None else 0, 0)
        for batch in batches:
            rank = pa.array(np.arange(begin, begin + len(batch)))
            begin += len(batch)
            columns = [batch.column(schema.ID), rank, batch.column(schema.GAIN), batch.column(schema.DECIDED_BY)]
            names = [schema.ID, schema.RANK, schema.GAIN, schema.DECIDED_BY]
            yield pa.RecordBatch.from_arrays(columns, names=names)
