"""Neighbours on Spark: route points to parts, search, merge, assemble; or spread a user's edges over parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.embeddings.metrics import Preparation, with_themselves
from subsel.embeddings.recipe import Search
from subsel.engines.spark.assembled import Assembled
from subsel.engines.spark.ids import refuse_decimals
from subsel.engines.spark.parcels import PARCEL_SCHEMA, batches_of, exchange, map_in_arrow, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.searched import Searched
from subsel.engines.spark.source import SparkSource, col, plain_batches
from subsel.engines.spark.together import worker_limit
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.graph import distinct
from subsel.input import edges as rules_of_edges
from subsel.input.checked import CheckedBatch
from subsel.input.groups import GroupNames, GroupNumbers
from subsel.input.ids import shown_one, stored_ids
from subsel.input.rows import Columns, RowChecker
from subsel.parts import assemble, estimate, route
from subsel.parts.pack import Parcel, pack
from subsel.parts.rows import to_batches
from subsel.parts.superstep import pack_graph
from subsel.planning import check_worker, part_points
from subsel.report import GraphReport

#: Bytes of rows that a routing task holds before it sends them on.
_ROUTE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Assembling:
    """A graph on its way: parcels that are not computed yet.

    Attributes:
        frame: returns parcels of kinds points, graph, shape, and at part number ``parts`` what recall is estimated
            from. Of a search, who computes them is the only one to have that frame, so that what was shuffled can go.
        parts: how many.
        half_edges: about how many the graph has at the least.
        cells: of the search; None for a graph of the user's.
        dropped: edges of the user's that were dropped, by reason; None without such a graph.
    """

    frame: Callable[[], DataFrame]
    parts: int
    half_edges: int
    cells: int | None
    dropped: dict[str, int] | None


def assembling(
    points: SparkPoints,
    edges: SparkSource | None,
    how: Search,
    config: SelectConfig,
    searched: Searched | None,
    tell: Callable[[str], None],
    *,
    alone: bool = False,
) -> Assembling:
    """Search the neighbours of points in parts, or spread the user's edges over them; or leave points ``alone``.

    Raises:
        InputError: columns are missing or of wrong types, or edges are bad.
        ConfigError: the largest part is known not to fit into a Python worker.
    """
    in_part = part_points(points.dimension, how.neighbors, config)
    if edges is None and not alone:
        tell("k-means")
        part_map = route.PartMap.plan(points.sample, points.n, in_part, how)
        tell(f"{part_map.parts} parts")
        about = part_map.largest, in_part, points.dimension, how.neighbors
        check_worker(worker_limit(points.frame.sparkSession), *about)
        lists = found_lists(points, part_map, how, config, searched)
        cells, least = len(part_map.quantizer.centroids), points.n * how.neighbors
        return Assembling(partial(_assembled, lists, part_map.parts), part_map.parts, least, cells, None)
    parts = max(1, -(-points.n // in_part))
    tell(f"{parts} parts")
    if edges is None:
        return Assembling(partial(_alone, points, parts, config), parts, 0, None, None)
    frame, dropped = assembled_from_edges(points, edges, parts, config)
    return Assembling(lambda: frame, parts, 0, None, dropped)


def found_lists(
    points: SparkPoints, part_map: route.PartMap, how: Search, config: SelectConfig, searched: Searched | None = None
) -> DataFrame:
    """Return points, and both directions of each edge, at their parts.

    Args:
        points: checked.
        part_map: where they belong.
        how: to search.
        config: by which rows are read.
        searched: where what was found in each part is kept, so that another run can go on from there.
    """
    asked = points.asked_code, points.asked
    send = partial(_route, Rules.of(points, config), points.prepare, part_map, how, *asked)
    parcels = points.map(send, PARCEL_SCHEMA)
    search = partial(_search, part_map.parts, points.prepare, how, points.asked_code)
    merge = partial(_merge, part_map.parts, points.asked_code, how)
    if searched is None:
        parcels = exchange(parcels, search, part_map.parts + 1, full=True)
    else:
        parcels = searched.all(parcels, search, part_map, how)
    return exchange(parcels, merge, part_map.parts + 1, full=True)


def _alone(points: SparkPoints, parts: int, config: SelectConfig) -> DataFrame:
    """Return parcels of kinds points, graph, shape of points without edges. Parts are a hash of the id."""
    send = partial(_hash_points, Rules.of(points, config), parts)
    return _assembled(points.map(send, PARCEL_SCHEMA), parts)


def assembled_from_edges(
    points: SparkPoints, edges: SparkSource, parts: int, config: SelectConfig
) -> tuple[DataFrame, dict[str, int]]:
    """Return parcels of kinds points, graph, shape; and edges that were dropped, by reason. Parts are a hash of the id.

    Raises:
        InputError: columns are missing or of wrong types, or edges are bad.
    """
    rules = Rules.of(points, config)
    good, dropped = check_edges(edges, known_ids(points, rules), points.columns.id_type, config)
    send_edges = partial(_hash_edges, parts, config.seed, points.salt)
    parcels = points.map(partial(_hash_points, rules, parts), PARCEL_SCHEMA)
    return _assembled(parcels.unionByName(map_in_arrow(good, send_edges, PARCEL_SCHEMA)), parts), dropped


def describe(graph: Assembled, points: SparkPoints, how: Search, made: Assembling, *, drawn: int | None) -> GraphReport:
    """Describe an assembled graph.

    Args:
        graph: kept.
        points: of it.
        how: it was searched.
        made: how it was assembled.
        drawn: see `GraphReport`.
    """
    embedded = made.dropped is None
    found = made.cells is not None
    half_edges = graph.total("half_edges")
    probes, passes = estimate.effort_of(graph.collect(estimate.EFFORT)) if found else (None, None)
    recall = None
    if found and len(points.asked_code):
        recall = estimate.recall_of(
            graph.collect(estimate.EXACT) + graph.collect(estimate.FOUND), points.asked_code, how.neighbors
        )
    return GraphReport(
        source="embeddings" if embedded else "given",
        edges=half_edges // 2,
        mean_degree=round(half_edges / points.n, 2),
        max_degree=max(shape.max_degree for shape in graph.shapes),
        alone=0 if embedded else graph.total("alone"),
        dropped_edges=made.dropped or {},
        parts=graph.parts,
        searched_parts=None if graph.parts == made.parts else made.parts,
        neighbors=how.neighbors if found else None,
        dimension=points.dimension if embedded else None,
        cells=made.cells,
        probes=probes,
        passes=passes,
        recall=recall,
        target=how.recall if found else None,
        drawn=drawn,
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """What a task needs to read good rows once they were checked."""

    columns: Columns
    config: SelectConfig
    lengths: dict[str, int]
    salt: int
    groups: tuple[GroupNames, ...] = ()

    @classmethod
    def of(cls, points: SparkPoints, config: SelectConfig) -> Rules:
        """Return the rules by which points were checked."""
        return cls(points.columns, config, points.lengths, points.salt, points.groups)

    def good(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[CheckedBatch, Int64Array]]:
        """Yield the good rows of batches, joined until they are worth sending, and their codes."""
        checker = RowChecker(self.columns, self.config, self.lengths)
        for batch in batches_of(plain_batches(batches), _ROUTE_BYTES):
            good = checker.check(batch)
            if len(good.ids):
                yield good, hash_ids(good.ids, self.config.seed, self.salt)

    def columns_of(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[CheckedBatch, dict[str, Any]]]:
        """Yield the good rows, as `good` does, and what is kept of them, see `subsel.parts.assemble.pack_points`."""
        numbers = [GroupNumbers(names) for names in self.groups]
        for good, code in self.good(batches):
            found = {"code": code, "utility": good.utility, "id": _packable(good.ids)}
            if len(good.others):
                found["others"] = good.others.T
            if good.cost is not None:
                found["cost"] = good.cost
            if good.importance is not None:
                found["importance"] = good.importance
                if self.config.metric == "inner_product" and good.embeddings is not None:
                    found["itself"] = with_themselves(good.embeddings)
            if numbers:
                found["group"] = np.stack([one.of(of) for one, of in zip(numbers, good.groups, strict=True)], axis=1)
            yield good, found


def known_ids(points: SparkPoints, rules: Rules) -> DataFrame:
    """Return the ids of all points as one column ``_id``, in the type of the input."""
    assert points.columns.id is not None
    ids = points.frame.select(col(points.columns.id).alias("_id"))
    if not points.dropped:
        return ids
    return map_in_arrow(points.frame, partial(_good_ids, rules), ids.schema)


def _good_ids(rules: Rules, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        checker = RowChecker(rules.columns, rules.config, rules.lengths)
        for batch in batches:
            (plain,) = plain_batches(iter([batch]))
            kept = pa.array(checker.check(plain).kept)
            yield pa.RecordBatch.from_arrays([batch.column(rules.columns.id).take(kept)], names=["_id"])


def _assembled(parcels: DataFrame, parts: int) -> DataFrame:
    for function in (partial(_gather, parts), partial(_resolve, parts)):
        parcels = exchange(parcels, function, parts + 1, full=True)
    return parcels


def check_edges(
    source: SparkSource, known: DataFrame, id_type: pa.DataType, config: SelectConfig
) -> tuple[DataFrame, dict[str, int]]:
    """Return the good edges, and bad ones by reason: the executor of the rules in `subsel.input.edges`.

    Unknown ends are found by two joins, which the good edges go through again only if there were any.

    Args:
        source: edges.
        known: ids of the points, one column ``_id``.
        id_type: their type.
        config: says whether bad edges are errors.

    Raises:
        InputError: columns are missing or of wrong types, or edges are bad.
    """
    edges = source.select(rules_of_edges.COLUMNS)
    rules_of_edges.check_edge_types(source.schema, source.name, id_type)
    src, dst, similarity = map(F.col, rules_of_edges.COLUMNS)
    null = src.isNull() | dst.isNull() | similarity.isNull()
    kinds = {end: source.schema.field(end).type for end in (schema.SRC, schema.DST)}
    refuse_decimals(edges.where(~null), kinds)
    value = similarity.cast("double")
    wrong = F.isnan(value) | (value < 0) | (value == float("inf"))
    found = edges.join(known.select(F.col("_id").alias(schema.SRC), F.lit(1).alias("_s")), schema.SRC, "left")
    found = found.join(known.select(F.col("_id").alias(schema.DST), F.lit(1).alias("_d")), schema.DST, "left")
    reason = F.when(null, rules_of_edges.NULL).when(src == dst, rules_of_edges.LOOP).when(wrong, rules_of_edges.WRONG)
    reason = reason.when(F.col("_s").isNull() | F.col("_d").isNull(), rules_of_edges.UNKNOWN).otherwise("")
    strange = F.least(F.when(F.col("_s").isNull(), src), F.when(F.col("_d").isNull(), dst))
    rows = found.groupBy(reason.alias("reason")).agg(F.count("*").alias("n"), F.min(strange).alias("id")).collect()
    counts = {row["reason"]: row["n"] for row in rows}
    total = sum(counts.values())
    if total == 0:
        raise InputError("the graph has no edges: give src, dst and similarity, or leave the graph out.")
    named = [row["id"] for row in rows if row["reason"] == rules_of_edges.UNKNOWN]
    example = shown_one(named[0], source.schema.field(schema.SRC).type) if named else None
    dropped = rules_of_edges.settle_edges(source.name, counts, total, example, config)
    if not dropped:
        return edges, {}
    if rules_of_edges.UNKNOWN in dropped:
        return found.where(reason == "").select(src, dst, similarity), dropped
    return edges.where(~(null | (src == dst) | wrong)), dropped


def _route(
    rules: Rules,
    prepare: Preparation,
    part_map: route.PartMap,
    how: Search,
    asked_code: Int64Array,
    asked: Any,
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    with task():
        source = task_number()
        exact = np.full((len(asked), how.neighbors), -np.inf, np.float32)
        sent = 0
        for good, columns in rules.columns_of(batches):
            assert good.embeddings is not None
            X = prepare.rows(good.embeddings)
            if len(asked):
                estimate.exact_scores(exact, asked, asked_code, X, columns["code"], how.metric)
            yield from numbered(route.route(source, columns, good.embeddings, X, part_map), sent)
            sent += 1
        if len(asked):
            yield from numbered([Parcel(part_map.parts, source, estimate.EXACT, pack(score=exact))], sent)


def _hash_points(rules: Rules, parts: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for sent, (_, columns) in enumerate(rules.columns_of(batches)):
            yield from numbered(_points_by_part(part_of(columns["code"], parts), columns), sent)


def _points_by_part(part: Int64Array, points: dict[str, Any]) -> Iterable[Parcel]:
    for to in distinct(part).tolist():
        yield Parcel(to, task_number(), assemble.POINTS, assemble.pack_points(points, np.flatnonzero(part == to)))


def _hash_edges(parts: int, seed: int, salt: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        source = task_number()
        for sent, batch in enumerate(batches_of(plain_batches(batches), _ROUTE_BYTES)):
            one, two = (hash_ids(stored_ids(batch.column(name)), seed, salt) for name in (schema.SRC, schema.DST))
            values = batch.column(schema.SIMILARITY)
            if not pa.types.is_floating(values.type):
                values = pc.cast(values, pa.float64())
            similarity = values.to_numpy(zero_copy_only=False)
            own, other = np.concatenate([one, two]), np.concatenate([two, one])
            similarity = np.concatenate([similarity, similarity])
            part, other_part = part_of(own, parts), part_of(other, parts)
            parcels = []
            for to in distinct(part).tolist():
                mine = part == to
                payload = assemble.pack_edges(own[mine], other_part[mine], other[mine], similarity[mine])
                parcels.append(Parcel(to, source, assemble.EDGES, payload))
            yield from numbered(parcels, sent)


def part_of(code: Int64Array, parts: int) -> Int64Array:
    """Return the part of each code where there are no embeddings: the remainder of its high bits."""
    return ((code.view(np.uint64) >> np.uint64(32)) % np.uint64(parts)).astype(np.int64)


def _search(
    parts: int, prepare: Preparation, how: Search, asked: Int64Array, part: int, parcels: list[Parcel]
) -> Iterable[Parcel]:
    return parcels if part == parts else route.search_part(part, parcels, parts, prepare, how, asked)


def _merge(parts: int, asked: Int64Array, how: Search, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    if part == parts:
        return estimate.merged_exact(part, parcels, len(asked))
    return route.merge_part(part, parcels, parts, how, asked)


def _gather(parts: int, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    return parcels if part == parts else assemble.gather(part, parcels)


def _resolve(parts: int, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    if part == parts:
        return parcels
    graph, shape = assemble.resolve(part, parcels)
    points = [parcel for parcel in parcels if parcel.kind == assemble.POINTS]
    return [
        *points,
        Parcel(part, part, assemble.GRAPH, pack_graph(graph)),
        Parcel(part, part, assemble.SHAPE, assemble.pack_shape(shape)),
    ]


def numbered(parcels: Iterable[Parcel], sent: int) -> Iterator[pa.RecordBatch]:
    """Return parcels as batches; ``sent`` keeps what one task sends at different times apart."""
    return to_batches(parcels, sent << 16)


def _packable(ids: pa.Array) -> Any:
    return ids.to_numpy(zero_copy_only=False) if pa.types.is_int64(ids.type) else ids


def task_number() -> int:
    """Return the number of the task that asks."""
    return context.partitionId() if (context := TaskContext.get()) else 0
