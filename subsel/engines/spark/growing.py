"""Graphs that grow on Spark: points travel to the parts that they probe, and only these parts are read and written.

What a task does is in `subsel.growing.travel`. Two scans are of all parts, a few at a time: for ids that are there, and
for the exact neighbours of a sample, by which recall is measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type

from subsel import schema
from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.engines.spark.checkpoints import local_checkpoint, release_checkpoint
from subsel.engines.spark.ids import given, kept_kind
from subsel.engines.spark.neighbors import Rules, numbered, task_number
from subsel.engines.spark.output import read_rows
from subsel.engines.spark.parcels import (
    PARCEL_SCHEMA,
    PartFunction,
    exchange,
    map_in_arrow,
    place,
    plain_ids,
    task,
)
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.together import worker_limit
from subsel.engines.spark.wishes import Wished
from subsel.fixedpoint import Int64Array
from subsel.graph import distinct
from subsel.growing import travel
from subsel.growing.join import Effort
from subsel.growing.parted import IDS, LISTS, MAP_PART, edges_of, packable, unpack_map, unpack_part
from subsel.growing.place import KeptGraph
from subsel.parts import estimate
from subsel.parts.pack import Parcel, from_rows, of_kind, pack, unpack
from subsel.parts.route import PartMap
from subsel.parts.rows import parcels_in, to_table
from subsel.planning import check_worker
from subsel.run import Tell
from subsel.storage import KEPT, Place

log = logging.getLogger(__name__)

#: Where a recall is aimed at, new points go twice as far again, so often at most, and to so many cells' parts.
_ROUNDS, _MOST_VISITS = 4, 48
#: Bytes of a point on its way beside its values.
_POINT_BYTES = 32


#: What is done in a part.
_Step = Callable[[int, list[Parcel], travel.Kept], Iterable[Parcel]]


class PartedGraph:
    """A graph by its parts, which changes; `written` says how.

    Args:
        spark: the session.
        kept: what its manifest says, or will.
        where: its place; None: nowhere yet.
        made: of one that is made, to which parts points go, and the salt of their codes; None: as in its place.

    Attributes:
        done: what was done in each part that has changed.
    """

    def __init__(
        self, spark: SparkSession, kept: KeptGraph, where: Place | None, made: tuple[PartMap, int] | None = None
    ) -> None:
        self.spark, self.where, self.kept = spark, where, kept
        self.done: dict[int, travel.Done] = {}
        self._changed: DataFrame | None = None
        self._visited: dict[int, int] = {}
        self._persisted: list[DataFrame] = []
        if made is None:
            assert kept.manifest is not None
            part_map = unpack_map(_collected(self._stored([MAP_PART])), kept.state)[0]
            made = part_map, int(kept.manifest["search"]["salt"])
        self.map, self.salt = made
        self.common = travel.Kept(kept.state, kept.config.seed, self.salt, max(1, kept.state.sample // 2))

    @property
    def n(self) -> int:
        """Points that it has now."""
        return sum(self.points.values())

    @property
    def points(self) -> dict[int, int]:
        """How many each part has now."""
        return self.kept.points | {part: one.points for part, one in self.done.items()}

    @property
    def tasks(self) -> int:
        """Parts that something was done in."""
        return len(self.done)

    @property
    def id_kind(self) -> str:
        """The Spark type in which ids are kept."""
        return kept_kind(self.kept.state.id_type)

    @property
    def id_target(self) -> T.DataType:
        """The Spark type of the user's ids."""
        id_type = self.kept.state.id_type
        return from_arrow_type(pa.decimal128(20, 0) if pa.types.is_uint64(id_type) else id_type)

    def close(self) -> None:
        """Let go of all that is persisted."""
        for frame in self._persisted:
            release_checkpoint(frame)

    def parcels(self, parts: Collection[int]) -> DataFrame:
        """Return the parcels of some parts as they are now."""
        stored = [part for part in parts if part not in self.done and part in self.kept.sums]
        changed = [part for part in parts if part in self.done]
        if self._changed is None or not changed:
            return self._stored(stored)
        now = self._changed.where(F.col("part").isin(changed) & F.col("kind").isin(IDS, LISTS))
        return now.unionByName(self._stored(stored)) if stored else now

    def _stored(self, parts: Iterable[int]) -> DataFrame:
        names = [name for name in self.kept.files(parts) if name.startswith(f"{KEPT}/")]
        if not names:
            return self.spark.createDataFrame([], PARCEL_SCHEMA)
        assert self.where is not None
        frame = read_rows(self.spark, PARCEL_SCHEMA, *(self.where.join(name) for name in names))
        return frame if len(names) <= len(set(parts)) else place(frame, self.map.parts)

    def whereabouts(self, *, own: bool) -> DataFrame:
        """Return who is in which part, ``id, code, part``: who lives there; or whom its lists name, too."""
        names = f"{schema.ID} {self.id_kind}, code bigint, part int"
        return map_in_arrow(self.parcels(self.points).where(F.col("kind") == IDS), partial(_whereabouts, own), names)

    def known(self, ids: DataFrame) -> tuple[int, Any]:
        """Return how many of some ids, one column ``id``, it has, and one of these."""
        found = self.whereabouts(own=True).join(ids, schema.ID, "left_semi")
        row = found.agg(F.count("*"), F.min(schema.ID)).collect()[0]
        return int(row[0]), row[1]

    def met(self, ids: DataFrame) -> tuple[int, Any, int]:
        """Return what `known` does of ids and their codes; and how many have the code of another id, in one scan."""
        there = self.whereabouts(own=True).withColumnRenamed(schema.ID, "_other")
        same = F.col(schema.ID) == F.col("_other")
        counts = F.count_if(same), F.min(F.when(same, F.col(schema.ID))), F.count_if(~same)
        row = ids.join(there, "code").agg(*counts).collect()[0]
        return int(row[0]), row[1], int(row[2])

    def leave(self, ids: DataFrame) -> Effort:
        """Let points leave, whose ids are one column ``id``; whose lists are too short now visits the parts around."""
        there = self.whereabouts(own=False).join(ids, schema.ID, "left_semi").select(schema.ID, "part")
        gone = self.kept_frame(map_in_arrow(there, _gone, PARCEL_SCHEMA))
        self._check(gone)
        found = self._delivered(gone, partial(travel.leave_part, self.map))
        took = self._changed_to(found)
        visitors = found.where(F.col("kind") == travel.FRESH)
        self._check(visitors)
        lists = self._delivered(visitors, travel.visit_part)
        back = found.where(F.col("kind").isin(IDS, LISTS, travel.DONE)).unionByName(lists)
        self._changed_to(
            self.kept_frame(exchange(back, partial(_part, travel.merge_part, self.common), self.map.parts))
        )
        return self._measured(took, found)

    def join(self, points: SparkPoints, config: SelectConfig, tell: Tell) -> Effort:
        """Let points join, checked by a config: they go as far as the recall takes that the graph was made for."""
        state = self.kept.state
        far = self._farther(self.map) if self.points else self.map
        share = min(1.0, self.common.asked / points.n)
        before = self.done, self._changed
        for again in range(_ROUNDS, 0, -1):
            tell(f"up to {far.visits} cells' parts", 0.0)
            self.done, self._changed = before
            rules = replace(Rules.of(points, config), salt=self.salt)
            send = partial(_send, rules, self.common, far, share)
            fresh = self.kept_frame(map_in_arrow(points.frame, send, PARCEL_SCHEMA))
            came = fresh.where(F.col("kind") == travel.FRESH)
            self._check(came)
            found = self._delivered(came, travel.meet_part)
            merge = partial(_part, travel.merge_part, self.common)
            took = self._changed_to(self.kept_frame(exchange(found, merge, self.map.parts)))
            effort = self._measured(took, fresh)
            enough = effort.recall is None or state.recall is None or effort.recall >= state.recall
            if enough or again == 1 or (self.points and len(self.done) == self.map.parts):
                break
            # Where all that are near live together the reach is 0, and twice that no farther.
            far = self._farther(far if far.reach else replace(far, reach=np.inf))
        return replace(effort, points=points.n)

    def _farther(self, part_map: PartMap) -> PartMap:
        """Return a map by which points go twice as far."""
        crowded = {part: 2 * reach for part, reach in part_map.crowded.items()}
        visits = min(2 * part_map.visits, max(part_map.visits, _MOST_VISITS), len(part_map.first_part))
        return replace(part_map, visits=visits, reach=2 * part_map.reach, crowded=crowded)

    def _check(self, came: DataFrame) -> None:
        """Refuse parts that do not fit into a worker with all who come to them."""
        state, size = self.kept.state, F.sum(F.octet_length("payload"))
        self._visited = {int(row[0]): int(row[1]) for row in came.groupBy("part").agg(size).collect()}
        each = 2 * state.dimension + _POINT_BYTES
        most = max((self.points.get(part, 0) + size // each for part, size in self._visited.items()), default=0)
        check_worker(worker_limit(self.spark), most, most, state.dimension, state.best.shape[1])

    def _delivered(self, came: DataFrame, function: _Step) -> DataFrame:
        """Return what a function makes of the parts that parcels have come to, and of these."""
        rows = self.parcels(self._visited).unionByName(came)
        return self.kept_frame(exchange(rows, partial(_part, function, self.common), self.map.parts))

    def _changed_to(self, frame: DataFrame) -> dict[int, travel.Done]:
        """Take what was made of parts; return what was done in them."""
        done = travel.done_of(_collected(frame.where(F.col("kind") == travel.DONE)))
        old = set(self.done) - set(done)
        self._changed = frame.unionByName(self.parcels(old)) if old else frame
        self.done = self.done | done
        return done

    def _measured(self, done: dict[int, travel.Done], sent: DataFrame) -> Effort:
        """Return what was done in parts, and the recall of the sample among what was sent."""
        log.info("%d of %d parts searched, each in a task", len(done), len(self.points))
        asked = _collected(sent.where(F.col("kind") == travel.ASKED))
        recall = self._recall(asked) if self.kept.state.sample and asked else None
        searched, split = (sum(getattr(one, name) for one in done.values()) for name in ("searched", "split"))
        probes, passes = (
            max((getattr(one, name) for one in done.values()), default=0) for name in ("probes", "passes")
        )
        log.info("%d points: recall %s", searched, recall)
        return Effort(searched, probes, passes, recall, split)

    def _recall(self, asked: list[Parcel]) -> float:
        """Return the recall of the sample: all parts are read for it, each by itself."""
        codes, X = travel.sample_of(asked, self.kept.state)
        scan = partial(travel.exact_part, kept=self.common, asked=codes, X=X)
        found = map_in_arrow(self.parcels(self.points), partial(_scan, scan), PARCEL_SCHEMA)
        merged = exchange(found.withColumn("part", F.lit(0)), partial(_merge_exact, len(codes)), 1)
        return estimate.recall_of(_collected(merged), codes, self.kept.state.neighbors)

    def written(self) -> tuple[DataFrame, DataFrame, dict[int, tuple[int, str]], set[int]]:
        """Return parcels and edges of the parts that changed, points and checksums of all parts, and which changed."""
        changed = {part for part, one in self.done.items() if self.kept.sums.get(part) != one.checksum}
        parts = {part: (n, self.kept.sums.get(part, "")) for part, n in self.kept.points.items()}
        parts |= {part: (one.points, one.checksum) for part, one in self.done.items()}
        parcels, id_type = self.parcels(changed), self.kept.state.id_type
        ends = f"{schema.SRC} {self.id_kind}, {schema.DST} {self.id_kind}"
        names = f"{ends}, {schema.SIMILARITY} float, part int"
        edges = map_in_arrow(parcels, partial(_scan_edges, self.common), names)
        for end in (schema.SRC, schema.DST):
            edges = edges.withColumn(end, given(F.col(end), id_type, self.id_target))
        return parcels, edges, parts, changed

    def degrees(self) -> tuple[int, int]:
        """Return how many edges there are, and the most of a point."""
        edges = self.written()[1]
        ends = [F.col(name) for name in (schema.SRC, schema.DST)]
        pairs = self.kept_frame(edges.select(F.least(*ends).alias("a"), F.greatest(*ends).alias("b")).distinct())
        degree = pairs.select("a").union(pairs.select("b")).groupBy("a").count()
        return pairs.count(), int(degree.agg(F.max("count")).collect()[0][0] or 0)

    def kept_frame(self, frame: DataFrame) -> DataFrame:
        """Compute a frame and keep it until the graph is closed, without how it came about: plans do not grow."""
        self._persisted.append(local_checkpoint(frame, 0))
        return self._persisted[-1]


def fresh_ids(points: SparkPoints, graph: PartedGraph, config: SelectConfig) -> DataFrame:
    """Return ids of points that were checked by a config, ``id, code``, as a graph keeps them."""
    rules = replace(Rules.of(points, config), salt=graph.salt)
    names = f"{schema.ID} {graph.id_kind}, code bigint"
    return map_in_arrow(points.frame, partial(_ids, rules), names)


def checksum_of(wished: Wished) -> tuple[int, int]:
    """Return how many ids there are, and the sum of their codes, modulo 2^64."""
    rows = map_in_arrow(wished.ids, _code_sums, "n bigint, total bigint").toArrow().to_pylist()
    return sum(row["n"] for row in rows), sum(row["total"] for row in rows)


def _collected(frame: DataFrame) -> list[Parcel]:
    return from_rows(frame.toArrow())


def _part(function: _Step, kept: travel.Kept, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    return function(part, parcels, kept)


def _by_part(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, list[Parcel]]]:
    for part, parcels in groupby(parcels_in(batches), key=attrgetter("part")):
        yield part, list(parcels)


def _scan(function: PartFunction, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for part, parcels in _by_part(batches):
            yield from to_table(function(part, parcels)).to_batches()


def _merge_exact(q: int, part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    return estimate.merged_exact(part, parcels, q)


def _scan_edges(kept: travel.Kept, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for part, parcels in _by_part(batches):
            found = edges_of(unpack_part(part, parcels, kept.nobody))
            ends = [plain_ids(packable(found[name].combine_chunks())) for name in (schema.SRC, schema.DST)]
            similarity = found[schema.SIMILARITY].combine_chunks().cast(pa.float32())
            columns = [*ends, similarity, pa.array(np.full(len(found), part, np.int32))]
            yield pa.RecordBatch.from_arrays(columns, names=[schema.SRC, schema.DST, schema.SIMILARITY, "part"])


def _whereabouts(own: bool, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for part, parcels in _by_part(batches):
            found = unpack(of_kind(parcels, IDS)[0].payload)
            for head in ("",) if own else ("", "other_"):
                ids, code = plain_ids(found[f"{head}id"]), found[f"{head}code"]
                columns = [ids, pa.array(code), pa.array(np.full(len(code), part, np.int32))]
                yield pa.RecordBatch.from_arrays(columns, names=[schema.ID, "code", "part"])


def _gone(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for number, batch in enumerate(batches):
            part = batch.column("part").to_numpy()
            ids = batch.column(schema.ID)
            wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
            ids = ids.cast(wide.get(ids.type, ids.type))
            parcels = []
            for to in distinct(part).tolist():
                some = ids.take(pa.array(np.flatnonzero(part == to)))
                parcels.append(Parcel(to, task_number(), travel.GONE, pack(id=packable(some))))
            yield from numbered(parcels, number)


def _send(
    rules: Rules,
    kept: travel.Kept,
    part_map: PartMap,
    share: float,
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    with task():
        source = task_number()
        for number, (good, _) in enumerate(rules.good(batches)):
            assert good.embeddings is not None
            parcels = [
                *travel.send(source, kept, good.ids, good.embeddings, part_map),
                *travel.ask(part_map.parts, source, kept, good.ids, good.embeddings, share),
            ]
            yield from numbered(parcels, number)


def _ids(rules: Rules, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for good, code in rules.good(batches):
            yield pa.RecordBatch.from_arrays([plain_ids(packable(good.ids)), pa.array(code)], names=[schema.ID, "code"])


def _code_sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for batch in batches:
            code: Int64Array = hash_ids(batch.column(0), 0)
            total = [int(code.sum(dtype=np.int64))]
            yield pa.RecordBatch.from_pydict({"n": [len(batch)], "total": pa.array(total, pa.int64())})
