"""Members that are too alike though no edge joins them, on Spark: the executor of `subsel.embeddings.alike`.

Up to `all_pairs` members' vectors come to one place, where those who stay are chosen as on one machine. More are
searched by the search that makes graphs, and chosen among the pairs that it finds. Then the vectors of those that stay
go round, in blocks of bounded bytes, so that everybody who is too alike to one of them is known.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel import schema
from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.coverage import CHANGED, vector_checker
from subsel.embeddings.alike import COUNTED, Alike, Counted, Leaders, all_pairs, in_rank_order, member_search
from subsel.embeddings.metrics import FloatMatrix, Preparation
from subsel.engines.base import Kernel
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.held import Held
from subsel.engines.spark.pairs import pairs_above
from subsel.engines.spark.parcels import BOARD_SCHEMA, batches_of, groups_in_arrow, map_in_arrow, plain_ids, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.scoring import point_places
from subsel.engines.spark.source import plain_batches
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph, distinct
from subsel.input.rows import Columns
from subsel.input.utility import CONSTANT, Ingredient, Utility
from subsel.parts import assemble, route, superstep
from subsel.parts.pack import Parcel, of_kind, pack, unpack
from subsel.parts.rows import to_board
from subsel.planning import part_points
from subsel.report import AlikeReport, GraphReport
from subsel.schema import FIRST_MEMBER, Status

log = logging.getLogger(__name__)

#: Bytes of vectors of those that stay, that all executors get at a time.
_LEADERS_BYTES = 64 << 20
#: Bytes of rows that a task looks at together.
_BATCH_BYTES = 16 << 20
#: Members that are sent to all executors rather than sorted with everybody's rows.
_FEW_ROWS = 100_000
#: Of each member: its code, where it is, what ranks it, and the code by which it is searched.
_MEMBER = "code bigint, key bigint, part int, slot int, included boolean, number bigint"
_NAMES = tuple(column.split()[0] for column in _MEMBER.split(", "))
#: Of whom is told what: where it is, and whether it leaves.
_PLACES = ("part", "slot", "left")


class SparkAlike:
    """Finds who is too alike.

    Args:
        engine: whose boards hold the subset, with the whole graph (`SparkEngine.reopen`).
        points: parcels of kind points.
        id_type: of ids, in Spark's words.
        config: max_similarity, metric, seed, how to search.
        made: how the graph was.
        rows: ids as they are kept and embeddings of the points, and maybe of others.
    """

    def __init__(
        self,
        engine: SparkEngine,
        points: DataFrame,
        id_type: str,
        config: SelectConfig,
        made: GraphReport,
        rows: DataFrame,
    ) -> None:
        assert made.dimension is not None
        assert config.max_similarity is not None
        self.engine, self.points, self.id_type, self.rows, self.config = engine, points, id_type, rows, config
        self.dimension, self.neighbors, self.limit = made.dimension, made.neighbors or 1, config.max_similarity
        self.held = Held()

    def close(self) -> None:
        """Let go of all that was persisted."""
        self.held.close()

    def part(self, make_room: Kernel[[]]) -> AlikeReport:
        """Return what was found; where members leave, run a kernel with letters of who is out.

        Args:
            make_room: see `subsel.greedy.room.make_room`.

        Raises:
            InputError: the input is not what it was.
        """
        counts = self.engine.counts()
        k = counts.accepted + counts.selected + counts.included
        if not k:
            return AlikeReport(compared=0, left=0)
        kind = f"{schema.ID} {self.id_type}, {_MEMBER}"
        members = self.engine.on_parts(self.points, partial(_members, self.config.seed), kind)
        if k <= _FEW_ROWS:
            members = F.broadcast(members)
        vectors = self.held.keep(self.rows.join(members, schema.ID))
        if vectors.count() != k:
            raise InputError(CHANGED)
        report, letters = self._part_here(vectors, k) if all_pairs(k, self.dimension) else self._part_there(vectors, k)
        if letters is not None:
            self.engine.send(letters)
            self.engine.step(make_room)
        return report

    def _part_here(self, vectors: DataFrame, k: int) -> tuple[AlikeReport, DataFrame | None]:
        """Compare all members in one place; return what is found, and letters of who is out, None where all stay."""
        table, X = self._collected(vectors)
        included, key, code = (table.column(name).to_numpy() for name in ("included", "key", "code"))
        order = in_rank_order(included, key, code)
        X, code = X[order], code[order]
        alike = Alike(Preparation.of_sample(X, self.config.metric), self.limit)
        rows = alike.prepare.rows(X)
        del X
        first, together = alike.first_of_each(rows, int(included.sum()))
        gone = np.flatnonzero(first != np.arange(k))
        report = AlikeReport(compared=k, left=len(gone), together=together)
        if not len(gone):
            return report, None
        places = [table.column(name).to_numpy()[order[gone]].tolist() for name in ("part", "slot")]
        leavers = self.rows.sparkSession.createDataFrame(list(zip(*places, strict=True)), "part int, slot int")
        leads = distinct(first[gone])
        hits = []
        for begin in range(0, len(leads), self._block):
            hits.append(self._beside(Leaders(alike, rows[leads[begin : begin + self._block]])))
        return report, self._letters(leavers, hits)

    def _part_there(self, vectors: DataFrame, k: int) -> tuple[AlikeReport, DataFrame | None]:
        """Search pairs among members, and choose who stays by these, or count what the search misses."""
        who = vectors.select(*_NAMES)
        pairs = self._found(vectors, k).distinct()
        place = F.struct("included", "key", "code").alias("place")
        for end in ("one", "other"):
            ends = who.select(F.col("number").alias(end), place)
            pairs = pairs.join(ends.withColumnRenamed("place", f"place_{end}"), end)
        one_first = F.col("place_one") > F.col("place_other")
        better, worse = F.when(one_first, F.col("one")).otherwise(F.col("other")), F.when(one_first, F.col("other"))
        fixed = F.col("place_one.included") & F.col("place_other.included")
        pairs = pairs.select(better.alias("better"), worse.otherwise(F.col("one")).alias("worse"), fixed.alias("fixed"))
        pairs = self.held.write_down(pairs)
        together = pairs.where("fixed").select("worse").distinct().count()
        leads, leavers = self._first_of_pairs(pairs.where("not fixed").drop("fixed"))
        report = AlikeReport(compared=k, left=leavers.count(), together=together, exact=False)
        if not report.left:
            return self._counted(vectors, report), None
        staying = vectors.join(leads, "number")
        count = leads.count()
        blocks = -(-count // self._block)
        hits = []
        for block in range(blocks):
            table, X = self._collected(staying.where(F.pmod("number", F.lit(blocks)) == block))
            alike = Alike(Preparation.of_sample(X, self.config.metric), self.limit)
            by_code = np.argsort(table.column("code").to_numpy())
            hits.append(self._beside(Leaders(alike, alike.prepare.rows(X[by_code]), self.config.seed)))
        log.info("[%s] compared all points with %d members, for whom others leave", self.engine.run_id, count)
        return report, self._letters(who.join(leavers, "number").select("part", "slot"), hits)

    def _found(self, vectors: DataFrame, k: int) -> DataFrame:
        """Search members' neighbours; return the numbers of pairs that are too alike: one, other."""
        how, none = member_search(self.config, k, self.neighbors), np.empty(0, np.int64)
        in_part = part_points(self.dimension, how.neighbors, self.config)
        wanted = route.sample_rows(k, self.dimension, in_part)
        share = min(1.0, 1.1 * (wanted + 64) / k)  # numbers are uniform over all 64 bits
        some = vectors if share == 1 else vectors.where(F.col("number") < int(share * 2.0**64) - 2**63)
        table, X = self._collected(some)
        X = X[np.argsort(table.column("number").to_numpy())[:wanted]]
        prepare = Preparation.of_sample(X, self.config.metric)
        columns = Columns("code", pa.int64(), schema.EMBEDDING, Utility((Ingredient(CONSTANT),)))
        frame = vectors.select("code", schema.EMBEDDING)
        points = SparkPoints(
            frame=frame,
            wide=frame,
            name="members",
            columns=columns,
            lengths={schema.EMBEDDING: self.dimension},
            dimension=self.dimension,
            n=k,
            salt=0,
            code_sum=None,
            content="",
            dropped={},
            prepare=prepare,
            sample=prepare.rows(X),
            asked_code=none,
            asked=np.empty((0, self.dimension), np.float32),
        )
        part_map = route.PartMap.plan(points.sample, k, in_part, how)
        return pairs_above(points, part_map, how, self.config, self.limit)

    def _first_of_pairs(self, pairs: DataFrame) -> tuple[DataFrame, DataFrame]:
        """Go through members in rank order; whoever has a pair with one that stays leaves: see `Alike.first_of_found`.

        Whoever is nobody's worse stays, and those that it is better than leave; then the same for the rest.

        Args:
            pairs: numbers, ``better`` and ``worse``.

        Returns:
            The numbers of those that stay and for whom others leave, and of those that leave.
        """
        leads, leavers = pairs.select(F.col("better").alias("number")).limit(0), pairs.select("worse").limit(0)
        rounds = 0
        while not pairs.isEmpty():
            rounds += 1
            beaten = pairs.select(F.col("worse").alias("better")).distinct()
            firsts = pairs.select("better").distinct().join(beaten, "better", "left_anti")
            gone = self.held.write_down(pairs.join(firsts, "better").select("worse").distinct())
            leads = leads.union(firsts)
            leavers = leavers.union(gone)
            rest = pairs.join(gone, "worse", "left_anti")
            rest = rest.join(gone.withColumnRenamed("worse", "better"), "better", "left_anti")
            pairs = self.held.write_down(rest)
        log.info("[%s] chose which members stay in %d rounds", self.engine.run_id, rounds)
        return self.held.write_down(leads), self.held.write_down(leavers.withColumnRenamed("worse", "number"))

    def _counted(self, vectors: DataFrame, report: AlikeReport) -> AlikeReport:
        """Return the report with how many pairs the search misses, of those between a sample and all members."""
        table, X = self._collected(vectors.orderBy(F.desc("code")).limit(COUNTED))
        alike = Alike(Preparation.of_sample(X, self.config.metric), self.limit)
        code, included = (table.column(name).to_numpy() for name in ("code", "included"))
        counted = Counted(alike, code, alike.prepare.rows(X), included)
        count = partial(_count, counted, self.config, self.dimension)
        pairs = map_in_arrow(vectors, count, "pairs bigint").agg(F.sum("pairs")).collect()[0][0]
        return report.model_copy(update={"sample": len(code), "pairs": int(pairs or 0)})

    @property
    def _block(self) -> int:
        """Members that go round at a time."""
        return max(1, _LEADERS_BYTES // (4 * self.dimension))

    def _collected(self, vectors: DataFrame) -> tuple[pa.Table, FloatMatrix]:
        """Bring some members to the driver: a bounded number, of bounded bytes."""
        send = partial(_send, self.config, self.dimension)
        table = map_in_arrow(vectors, send, f"{_MEMBER}, vector binary").toArrow()
        X = np.empty((len(table), self.dimension), np.float32)
        for row, vector in zip(X, table.column("vector"), strict=True):
            row[:] = np.frombuffer(vector.as_buffer(), np.float32)
        return table.drop_columns("vector"), X

    def _beside(self, leaders: Leaders) -> DataFrame:
        """Return the ids of rows that are too alike to one of some members."""
        beside = partial(_ids_beside, leaders, self.config, self.dimension)
        return self.held.write_down(map_in_arrow(self.rows, beside, f"{schema.ID} {self.id_type}"))

    def _letters(self, leavers: DataFrame, hits: list[DataFrame]) -> DataFrame:
        """Return a letter to each part that has some of those that leave, or of those that are out beside them."""
        places = point_places(self.points, self.id_type)
        told = leavers.withColumn("left", F.lit(True)).select(*_PLACES)
        for ids in hits:
            told = told.union(places.join(ids, schema.ID).withColumn("left", F.lit(False)).select(*_PLACES))
        return groups_in_arrow(told.groupBy("part"), BOARD_SCHEMA, _letter)


def _members(seed: int, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's members: id, and `_MEMBER`."""
    board, _ = superstep.deliver(graph, parcels)
    slots = np.flatnonzero(board.status[: graph.n_own] >= FIRST_MEMBER)
    ids = unpack(of_kind(parcels, assemble.POINTS)[0].payload)["id"]
    code = graph.code[slots]
    return pa.table(
        {
            schema.ID: plain_ids(ids[slots] if isinstance(ids, np.ndarray) else ids.take(pa.array(slots))),
            "code": code,
            "key": board.key[slots],
            "part": np.full(len(slots), graph.part, np.int32),
            "slot": slots.astype(np.int32),
            "included": board.status[slots] == Status.INCLUDED,
            "number": hash_ids(pa.array(code), seed),
        }
    )


def _vectors(
    config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, FloatMatrix, Int64Array]]:
    """Yield batches of rows, the embeddings of those that have good ones, float32, (b, d), and which these are."""
    checker = vector_checker(schema.EMBEDDING, config, dimension)
    for batch in batches_of(plain_batches(batches), _BATCH_BYTES):
        good = checker.check(batch)
        if good.embeddings is not None and len(good.kept):
            yield batch, good.embeddings, good.kept


def _send(config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield members with their embeddings as bytes."""
    with task():
        for batch, X, kept in _vectors(config, dimension, batches):
            if len(kept) < len(batch):
                raise InputError(CHANGED)
            vectors = pa.array([row.tobytes() for row in np.ascontiguousarray(X, np.float32)], pa.binary())
            columns = [*(batch.column(name) for name in _NAMES), vectors]
            yield pa.RecordBatch.from_arrays(columns, names=[*_NAMES, "vector"])


def _ids_beside(
    leaders: Leaders, config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield the ids of rows that are too alike to a leader; rows without good embeddings are no points."""
    with task():
        for batch, X, kept in _vectors(config, dimension, batches):
            beside = leaders.beside(leaders.alike.prepare.rows(X))
            ids = batch.column(schema.ID).take(pa.array(kept[beside]))
            yield pa.RecordBatch.from_arrays([ids], names=[schema.ID])


def _count(
    counted: Counted, config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield how many pairs a partition's members have with the sampled ones."""
    with task():
        pairs = 0
        for batch, X, _ in _vectors(config, dimension, batches):
            code, included = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("code", "included"))
            pairs += counted.pairs(code, counted.alike.prepare.rows(X), included)
        yield pa.RecordBatch.from_pydict({"pairs": pa.array([pairs], pa.int64())})


def _letter(table: pa.Table) -> pa.Table:
    """Return a part's letter: who is out, and who of these leaves."""
    with task():
        part = table.column("part")[0].as_py()
        slot = table.column("slot").to_numpy()
        order = np.argsort(slot, kind="stable")
        payload = pack(slot=slot[order].astype(np.int64), left=table.column("left").to_numpy()[order])
        return to_board([Parcel(part, part, superstep.LETTER, payload)])
