"""Ranking the subset that boards hold, by a distributed sort, and summing up its objective over the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from subsel import schema
from subsel.covering.value import cover_score, cover_shares
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.parcels import map_in_arrow, plain_ids, task
from subsel.graph import PartGraph
from subsel.objective import Score, gains_of, score_subset
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, of_kind, unpack
from subsel.report import ObjectiveReport
from subsel.schema import DECIDED_BY_NAMES, Status

#: Rows of one file of the subset.
ROWS_PER_FILE = 500_000
_SUM_COLUMNS = ("gain", "utility", "similarity", "top_utility", "coverage", "random_coverage", "covered", "idle")


def rank_subset(
    engine: SparkEngine, points: DataFrame, k: int, id_type: str, keep: Callable[[DataFrame], DataFrame]
) -> DataFrame:
    """Return the k selected points in rank order: id, rank, gain, decided_by; not computed yet.

    Args:
        engine: whose boards hold the subset, with the whole graph (`SparkEngine.reopen`).
        points: parcels of kind points.
        k: how many must be selected.
        id_type: of ids, in Spark's words.
        keep: persists a frame; called twice.
    """
    rows = f"{schema.ID} {id_type}, key bigint, code bigint, {schema.GAIN} double, {schema.DECIDED_BY} string"
    # Kept twice: sorting samples its input first, and both jobs after it must see the same partitions.
    picked = keep(engine.on_parts(points, _picked, rows))
    order = F.desc("key"), F.desc("code")
    picked = keep(picked.repartitionByRange(max(1, -(-k // ROWS_PER_FILE)), *order).sortWithinPartitions(*order))
    per_partition = picked.groupBy(F.spark_partition_id().alias("p")).count().toArrow()
    counts = dict(zip(*(per_partition.column(i).to_pylist() for i in (0, 1)), strict=True))
    first, begin = {}, 0
    for partition in sorted(counts):
        first[partition], begin = begin, begin + counts[partition]
    if begin != k:
        raise AssertionError(f"{begin} points are selected, not {k}")
    ranked = f"{schema.ID} {id_type}, {schema.RANK} bigint, {schema.GAIN} double, {schema.DECIDED_BY} string"
    return map_in_arrow(picked, partial(_rank, first), ranked)


def sum_up(engine: SparkEngine, top: tuple[int, int], n: int, k: int, own: float, covered: int) -> Row:
    """Return the terms of f of the selected points, of those at the top by utility f, and coverage on the graph.

    Args:
        engine: whose boards hold the subset, with the whole graph.
        top: the place down to which points are at the top by utility.
        n: points.
        k: members.
        own: a member's similarity to itself, see `subsel.coverage.own_similarity`.
        covered: points of which coverage is the mean: all, or those of a target.
    """
    work = partial(_sums, top, n, k, own)
    sums = engine.on_parts(None, work, ", ".join(f"{name} double" for name in _SUM_COLUMNS))
    per_point = [F.sum(name) / covered if name.endswith("coverage") else F.sum(name) for name in _SUM_COLUMNS]
    named = (one.alias(name) for one, name in zip(per_point, _SUM_COLUMNS, strict=True))
    return sums.agg(*named).collect()[0]


def objective_of(totals: Row, random: float, *, with_top: bool) -> ObjectiveReport:
    """Return f of a subset and what it is compared with, by what `sum_up` says."""
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


def score_of(totals: Row) -> Score:
    """Return the score that `sum_up` found of the selected points."""
    utility, similarity, covered = totals["utility"], totals["similarity"], totals["covered"]
    return Score((covered or 0.0) + utility - similarity, utility, similarity, totals["coverage"], covered)


def _picked(graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's selected points with their ids, keys and gains."""
    board, _ = superstep.deliver(graph, parcels)
    points = unpack(of_kind(parcels, assemble.POINTS)[0].payload)
    gain = gains_of(graph, board)
    slots = np.flatnonzero(board.status[: graph.n_own] == Status.SELECTED)
    names = np.array([DECIDED_BY_NAMES.get(s, "") for s in range(max(DECIDED_BY_NAMES) + 1)])
    ids = points["id"]
    return pa.table(
        {
            schema.ID: plain_ids(ids[slots] if isinstance(ids, np.ndarray) else ids.take(pa.array(slots))),
            "key": board.key[slots],
            "code": graph.code[slots],
            schema.GAIN: gain[slots],
            schema.DECIDED_BY: pa.array(names[board.decided_by[slots]], pa.string()),
        }
    )


def _sums(top: tuple[int, int], n: int, k: int, own: float, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's share of the objective's terms, of f of the top k by utility, each edge half; and of coverage."""
    board, _ = superstep.deliver(graph, parcels)
    scale = graph.fixed_point
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
    cover = cover_shares(graph, selected, n=n, k=k, own=own)
    own_members = selected[: graph.n_own]
    idle = 0 if graph.importance is None else np.count_nonzero(gains_of(graph, board)[own_members] == 0)
    values = (found.total, found.utility, found.similarity, top_found.total, *cover, found.covered, idle)
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
