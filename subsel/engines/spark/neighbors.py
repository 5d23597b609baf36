"""Neighbours on Spark: route points to parts, search, merge, assemble; or spread a user's edges over parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from subsel import schema
from subsel.codes import hash_ids, id_storage_type
from subsel.config import SelectConfig
from subsel.embeddings.metrics import Preparation
from subsel.embeddings.readers import Columns, RowChecker
from subsel.engines.spark.parcels import PARCEL_SCHEMA, batches_of, exchange, task, to_table
from subsel.engines.spark.points import SparkPoints, open_frame
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.graph import distinct
from subsel.parts import assemble, route
from subsel.parts.pack import Parcel, pack
from subsel.parts.superstep import pack_graph

#: Bytes of rows that a routing task holds before it sends them on.
_ROUTE_BYTES = 32 << 20


def assembled_from_embeddings(points: SparkPoints, part_map: route.PartMap, config: SelectConfig) -> DataFrame:
    """Return parcels of kinds points, graph, shape (and, at part number ``parts``, what recall is estimated from)."""
    send = partial(_route, points.columns, points.prepare, part_map, points.asked_code, points.asked, config)
    parcels = points.frame.mapInArrow(send, PARCEL_SCHEMA)
    search = partial(_search, part_map.parts, points.dimension, config)
    merge = partial(_merge, part_map.parts, points.asked_code, config)
    for function in (search, merge):
        parcels = exchange(parcels, function, part_map.parts + 1)
    return _assembled(parcels, part_map.parts)


def assembled_from_edges(
    spark: SparkSession, points: SparkPoints, graph: Any, parts: int, config: SelectConfig
) -> DataFrame:
    """Return parcels of kinds points, graph, shape; parts are a hash of the id.

    Raises:
        InputError: columns are missing or of wrong types, or edges are bad.
    """
    edges, name = open_frame(spark, graph, "graph")
    for column in (schema.SRC, schema.DST, schema.SIMILARITY):
        if column not in edges.columns:
            raise InputError(f"{name} has no column {column!r}; it has {', '.join(edges.columns)}.")
    types = to_arrow_schema(edges.schema)
    of_points = id_storage_type(points.columns.id_type)
    for column in (schema.SRC, schema.DST):
        if id_storage_type(types.field(column).type) != of_points:
            raise InputError(
                f"the graph's ids are {types.field(column).type}, those of the data {points.columns.id_type}: "
                "use one type."
            )
    good = _check_edges(edges, points, name, config)
    send_points = partial(_hash_points, points.columns, parts, config)
    send_edges = partial(_hash_edges, parts, config.seed)
    parcels = points.frame.mapInArrow(send_points, PARCEL_SCHEMA).unionByName(
        good.mapInArrow(send_edges, PARCEL_SCHEMA)
    )
    return _assembled(parcels, parts)


def _assembled(parcels: DataFrame, parts: int) -> DataFrame:
    for function in (partial(_gather, parts), partial(_resolve, parts)):
        parcels = exchange(parcels, function, parts + 1)
    return parcels


def _check_edges(edges: DataFrame, points: SparkPoints, name: str, config: SelectConfig) -> DataFrame:
    """Return the good edges; unknown ends are found by joins, one scan of ids each."""
    src, dst, similarity = (F.col(column) for column in (schema.SRC, schema.DST, schema.SIMILARITY))
    edges = edges.select(src, dst, similarity)
    null = src.isNull() | dst.isNull()
    wrong = similarity.isNull() | F.isnan(similarity.cast("double")) | (similarity < 0) | (similarity == float("inf"))
    counts = edges.agg(
        F.count("*").alias("all"),
        F.sum(null.cast("int")).alias("null ends"),
        F.sum((src == dst).cast("int")).alias("self loops"),
        F.sum(wrong.cast("int")).alias("negative, NaN or infinite similarities"),
    ).collect()[0]
    known = points.frame.select(F.col(points.columns.id).alias("_id"))
    unknown = {}
    for column in (src, dst):
        missing = edges.select(column.alias("_id")).where("_id is not null").join(known, "_id", "left_anti")
        row = missing.agg(F.count("*"), F.min("_id")).collect()[0]
        unknown[row[0]] = row[1]
    found = {key: counts[key] for key in list(counts.asDict())[1:] if counts[key]}
    if sum(unknown):
        example = next(example for count, example in unknown.items() if count)
        found[f"ends that are unknown ids such as {example!r}"] = sum(unknown)
    if not found:
        return edges
    what = "; ".join(f"{count:,} of {counts['all']:,} edges: {reason}" for reason, count in found.items())
    if config.on_bad_rows == "error":
        raise InputError(f"{name}: {what}. Mend it, or set on_bad_rows='drop' to leave them out.")
    edges = edges.where(~(null | wrong | (src == dst)))
    for end in (schema.SRC, schema.DST):
        edges = edges.join(known.withColumnRenamed("_id", end), end, "left_semi")
    return edges.select(src, dst, similarity)


def _route(
    columns: Columns,
    prepare: Preparation,
    part_map: route.PartMap,
    asked_code: Int64Array,
    asked: Any,
    config: SelectConfig,
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    with task():
        checker = RowChecker(columns, config, len(prepare.center))
        source = _task_number()
        exact = np.full((len(asked), config.neighbors), -np.inf, np.float32)
        sent = 0
        for batch in batches_of(batches, _ROUTE_BYTES):
            good = checker.check(batch)
            if not len(good.ids) or good.embeddings is None:
                continue
            X = prepare.rows(good.embeddings)
            code = hash_ids(good.ids, config.seed)
            if len(asked):
                route.exact_scores(exact, asked, asked_code, X, code, config.metric)
            points = {"code": code, "utility": good.utility, "id": _packable(good.ids)}
            yield from _numbered(route.route(source, points, X, part_map, config), sent)
            sent += 1
        if len(asked):
            yield from _numbered([Parcel(part_map.parts, source, route.EXACT, pack(score=exact))], sent)


def _hash_points(
    columns: Columns, parts: int, config: SelectConfig, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    with task():
        checker = RowChecker(columns, config)
        for sent, batch in enumerate(batches_of(batches, _ROUTE_BYTES)):
            good = checker.check(batch)
            code = hash_ids(good.ids, config.seed)
            part = part_of(code, parts)
            yield from _numbered(_points_by_part(part, code, good.utility, good.ids), sent)


def _points_by_part(
    part: Int64Array, code: Int64Array, utility: npt.NDArray[np.float64], ids: pa.Array
) -> Iterable[Parcel]:
    for to in distinct(part).tolist():
        mine = np.flatnonzero(part == to)
        chosen = _packable(ids.take(pa.array(mine)))
        yield Parcel(to, _task_number(), assemble.POINTS, pack(code=code[mine], utility=utility[mine], id=chosen))


def _hash_edges(parts: int, seed: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        source = _task_number()
        for sent, batch in enumerate(batches_of(batches, _ROUTE_BYTES)):
            one, two = (
                hash_ids(batch.column(name).cast(id_storage_type(batch.column(name).type)), seed)
                for name in (schema.SRC, schema.DST)
            )
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
            yield from _numbered(parcels, sent)


def part_of(code: Int64Array, parts: int) -> Int64Array:
    """Return the part of each code where there are no embeddings: the remainder of its high bits."""
    return ((code.view(np.uint64) >> np.uint64(32)) % np.uint64(parts)).astype(np.int64)


def _search(parts: int, dimension: int, config: SelectConfig, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    return parcels if part == parts else route.search_part(part, parcels, dimension, config)


def _merge(parts: int, asked: Int64Array, config: SelectConfig, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    return parcels if part == parts else route.merge_part(part, parcels, parts, config, asked)


def _gather(parts: int, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    return parcels if part == parts else assemble.gather(part, parcels)


def _resolve(parts: int, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    if part == parts:
        return parcels
    graph, shape = assemble.resolve(part, parcels)
    points = [parcel for parcel in parcels if parcel.kind == assemble.POINTS]
    packed_shape = pack(**{name: np.array([getattr(shape, name)], np.float64) for name in shape.__slots__})
    return [
        *points,
        Parcel(part, part, assemble.GRAPH, pack_graph(graph)),
        Parcel(part, part, assemble.SHAPE, packed_shape),
    ]


def _numbered(parcels: Iterable[Parcel], sent: int) -> Iterator[pa.RecordBatch]:
    """Return parcels as batches; ``sent`` keeps what one task sends at different times apart."""
    table = to_table(parcels)
    place = table.schema.get_field_index("number")
    numbers = pc.add(table.column("number"), pa.scalar(sent << 16, pa.int32()))
    yield from table.set_column(place, "number", numbers.cast(pa.int32())).to_batches()


def _packable(ids: pa.Array) -> Any:
    return ids.to_numpy(zero_copy_only=False) if pa.types.is_int64(ids.type) else ids


def _task_number() -> int:
    context = TaskContext.get()
    return context.partitionId() if context is not None else 0
