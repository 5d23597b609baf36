"""Coverage and redundancy on Spark: the executor of the rules in `subsel.coverage`.

The parts say who is a member, who is in the random subset and who is sampled; rows are joined with these by id. What
is collected are vectors of the sampled, and one number of each of them; what members are never leaves the executors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel import schema
from subsel.codes import RANDOM_SALT, rehash
from subsel.config import SelectConfig
from subsel.coverage import CHANGED, BoolArray, Sample, report_of, tenth, vector_checker
from subsel.embeddings.metrics import FloatMatrix
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.order import COUNTED, kth_value, place_of_values
from subsel.engines.spark.parcels import PARCEL_SCHEMA, batches_of, map_in_arrow, plain_errors, plain_ids, task
from subsel.engines.spark.source import plain_batches
from subsel.errors import InputError, SubselError
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph
from subsel.parts import assemble, ranks, superstep
from subsel.parts.pack import Parcel, of_kind, unpack
from subsel.parts.rows import to_table
from subsel.ranks import Place, at_or_below
from subsel.report import CoverageReport, WeightsReport
from subsel.schema import Status
from subsel.sketch import MAP_MEMBERS, MAP_POINTS, PointMap
from subsel.sketching import map_of
from subsel.weighing import densities

log = logging.getLogger(__name__)

#: Bytes of rows that a task compares at once.
_BATCH_BYTES = 16 << 20
#: Sampled rows that are sent to all executors rather than sorted with everybody's.
_FEW_ROWS = 100_000
_CODES = float(2**64)
_KINDS = ("member", "random", "asked")
_VECTORS = "code bigint, member boolean, random boolean, vector binary"


class SparkCover:
    """Measures the subset that an engine's boards hold.

    Args:
        engine: with the whole graph (`SparkEngine.reopen`).
        points: parcels of kind points.
        id_type: of ids, in Spark's words.
        rows: ids as they are kept and embeddings of the points, and maybe of others; None: there are none.
        config: coverage_sample, metric.
        n: points.
        k: members.
        mapped: whether points are mapped, if vectors are read.

    Attributes:
        map: of points, once there is a `report`.
    """

    def __init__(
        self,
        engine: SparkEngine,
        points: DataFrame,
        id_type: str,
        rows: DataFrame | None,
        config: SelectConfig,
        *,
        n: int,
        k: int,
        mapped: bool = False,
    ) -> None:
        self.engine, self.points, self.id_type, self.rows = engine, points, id_type, rows
        self.config, self.n, self.k, self.mapped = config, n, k, mapped
        self.map: PointMap | None = None

    def report(
        self, graph: float, random_graph: float, weights: WeightsReport, dimension: int | None
    ) -> CoverageReport:
        """Return what is reported.

        Args:
            graph: coverage on it.
            random_graph: its expectation for random subsets.
            weights: whether densities were needed.
            dimension: of embeddings; None where there are none.
        """
        count, sparsest = self.config.coverage_sample, None
        if count and weights.density_neighbors is not None and tenth(self.n):
            try:
                with plain_errors():
                    sparsest = self._sparsest(weights.density_neighbors)
            except SubselError as error:  # what is measured last must not cost the subset
                log.warning("members among the sparsest points were not counted: %s", error)

        def measure() -> Sample | None:
            if dimension is None:
                return None
            if self.rows is None:
                raise InputError("rows were left out, and this run, which goes on from another, does not know which")
            with plain_errors():
                return self._measure(self.rows, dimension)

        report, self.map, wrong = report_of(measure, count, graph=graph, random_graph=random_graph, sparsest=sparsest)
        if wrong is not None:
            log.warning("coverage was measured on the graph only: %s", wrong)
        return report

    def _measure(self, rows: DataFrame, dimension: int) -> Sample:
        """Sample, and let all members pass by."""
        last, _, _ = kth_value(self._on_lots, self.n - self.k + 1, self.n)
        chosen = self._chosen(last)
        try:
            sample = self._sample(rows, chosen, dimension)
            both = chosen.where(F.col("member") | F.col("random")).drop("asked")
            meet = partial(_meet, sample, self.config, dimension)
            found = map_in_arrow(rows.join(both, schema.ID), meet, "number bigint, best double")
            table = found.groupBy("number").agg(F.max("best").alias("best")).toArrow()
        finally:
            chosen.unpersist()
        best = np.full(len(sample.best), -np.inf)
        best[table.column("number").to_numpy()] = table.column("best").to_numpy()
        sample.take(best)
        return sample

    def _on_lots(self, work: Callable[[Int64Array], pa.Table]) -> DataFrame:
        return self.engine.on_whole(None, partial(_work_on_lots, work), COUNTED)

    def _chosen(self, last: int) -> DataFrame:
        """Return who is a member, who is in the random subset, and who may be sampled; persisted.

        How many codes are above a limit is random, so a few more are taken than will be sampled.
        """
        more, count = 1.0, self.config.coverage_sample
        asked_for = [max(count, also) for also in (MAP_POINTS, MAP_MEMBERS)] if self.mapped else [count, count]
        while True:
            rates = [more * (1.1 * want + 64) / of for want, of in zip(asked_for, (self.n, self.k), strict=True)]
            kinds = ", ".join(f"{kind} boolean" for kind in _KINDS)
            choose = partial(_choose, last, rates)
            frame = self.engine.on_whole(self.points, choose, f"{schema.ID} {self.id_type}, code bigint, {kinds}")
            frame = frame.persist(StorageLevel.DISK_ONLY)
            asked = F.col("asked")
            counts = (F.count("*"), F.sum(F.col("member").cast("int")), F.sum(F.col("random").cast("int")))
            try:
                row = frame.where(asked).agg(*counts).collect()[0]
            except BaseException:
                frame.unpersist()
                raise
            first, second = asked_for
            wanted = [min(first, self.n), min(second, self.k), min(count, self.k)]
            if all((number or 0) >= want for number, want in zip(row, wanted, strict=True)):
                return frame
            frame.unpersist()
            if min(rates) >= 1:
                raise InputError(CHANGED)
            more *= 2

    def _sample(self, rows: DataFrame, chosen: DataFrame, dimension: int) -> Sample:
        asked = chosen.where("asked").drop("asked")
        if 3 * self.config.coverage_sample + MAP_POINTS + MAP_MEMBERS <= _FEW_ROWS:
            asked = F.broadcast(asked)
        send = partial(_send_vectors, self.config, dimension)
        table = map_in_arrow(rows.join(asked, schema.ID), send, _VECTORS).toArrow()
        X = np.frombuffer(b"".join(table.column("vector").to_pylist()), np.float32).reshape(-1, dimension)
        code, member, random = (table.column(name).to_numpy() for name in ("code", "member", "random"))
        if len(np.unique(code)) < len(code):
            raise InputError(CHANGED)
        about = code, X, member, random, self.config.metric
        sample = Sample(*about, count=self.config.coverage_sample, n=self.n, k=self.k)
        if self.mapped:
            sample.map = map_of(code, X, member, self.config.metric)
        return sample

    def _sparsest(self, m: int) -> float:
        """Return the share of members among the sparsest tenth of points; ``m``: neighbours that densities go by."""
        values = self.engine.on_whole(None, partial(_densities, m), PARCEL_SCHEMA).persist(StorageLevel.DISK_ONLY)
        try:
            place = place_of_values(values, 0, tenth(self.n), self.n)
        finally:
            values.unpersist()
        counted = self.engine.on_whole(None, partial(_count_sparse, m, place), "count bigint")
        return int(counted.agg(F.sum("count")).collect()[0][0]) / self.k


def _work_on_lots(work: Callable[[Int64Array], pa.Table], graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    return work(rehash(graph.code[: graph.n_own], RANDOM_SALT))


def _members(graph: PartGraph, parcels: list[Parcel]) -> BoolArray:
    board, _ = superstep.deliver(graph, parcels)
    found: BoolArray = board.status[: graph.n_own] == Status.SELECTED
    return found


def _choose(last: int, rates: list[float], graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    """Return a part's points that are members, in the random subset, or may be sampled: those of the largest codes."""
    code, member = graph.code[: graph.n_own], _members(graph, parcels)
    random = rehash(code, RANDOM_SALT) <= last
    top = code / _CODES + 0.5
    asked = (top >= 1 - rates[0]) | ((member | random) & (top >= 1 - rates[1]))
    slots = np.flatnonzero(member | random | asked)
    ids = unpack(of_kind(parcels, assemble.POINTS)[0].payload)["id"]
    columns = {
        schema.ID: plain_ids(ids[slots] if isinstance(ids, np.ndarray) else ids.take(pa.array(slots))),
        "code": code[slots],
    }
    return pa.table(columns | {k: one[slots] for k, one in zip(_KINDS, (member, random, asked), strict=True)})


def _vectors(
    config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, FloatMatrix]]:
    """Yield batches of joined rows, and their embeddings: float32, (b, d).

    Raises:
        InputError: one is none.
    """
    checker = vector_checker(schema.EMBEDDING, config, dimension)
    for batch in batches_of(plain_batches(batches), _BATCH_BYTES):
        good = checker.check(batch)
        if good.embeddings is None or len(good.embeddings) < len(batch):
            raise InputError(CHANGED)
        yield batch, good.embeddings


def _send_vectors(config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for batch, X in _vectors(config, dimension, batches):
            vectors = pa.array([row.tobytes() for row in np.ascontiguousarray(X)], pa.binary())
            columns = [*(batch.column(name) for name in ("code", "member", "random")), vectors]
            yield pa.RecordBatch.from_arrays(columns, names=["code", "member", "random", "vector"])


def _meet(
    sample: Sample, config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Let a partition's members pass by the sample; yield the largest similarities."""
    with task():
        for batch, X in _vectors(config, dimension, batches):
            code, member, random = (
                batch.column(name).to_numpy(zero_copy_only=False) for name in ("code", "member", "random")
            )
            sample.update(code, X, member, random)
        best = sample.best
        met = np.flatnonzero(best > -np.inf)
        yield pa.RecordBatch.from_arrays([pa.array(met), pa.array(best[met])], names=["number", "best"])


def _density(m: int, graph: PartGraph) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = densities(graph.indptr, graph.similarity, m)
    return found


def _densities(m: int, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    everybody = np.ones(graph.n_own, np.bool_)
    payload = ranks.pack_values(_density(m, graph)[None, :], everybody, graph.code[: graph.n_own])
    return to_table([Parcel(graph.part, graph.part, ranks.VALUES, payload)])


def _count_sparse(m: int, place: Place, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    sparse = at_or_below(_density(m, graph), graph.code[: graph.n_own], place)
    return pa.table({"count": np.array([(sparse & _members(graph, parcels)).sum()], np.int64)})
