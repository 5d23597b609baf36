"""Points that are near a reference (``exclude_near``) on Spark.

The reference is small: it is brought to the driver, checked by the rules of `subsel.input.near`, and sent to all
executors. Points pass by it batch by batch; what comes back are ids, which stay on the executors. Decisions are those
of `subsel.embeddings.near`, to the bit.
"""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from subsel import schema
from subsel.config import SelectConfig
from subsel.coverage import vector_checker
from subsel.embeddings.near import Reference
from subsel.engines.spark.ids import kept_kind
from subsel.engines.spark.inputs import SparkInputs
from subsel.engines.spark.parcels import batches_of, map_in_arrow, plain_ids, task
from subsel.engines.spark.points import SparkPoints
from subsel.engines.spark.scoring import places_of
from subsel.engines.spark.source import open_on_spark, plain_batches
from subsel.engines.spark.storage import classic
from subsel.engines.spark.wishes import Wished, check_counts
from subsel.errors import InputError, option
from subsel.input.findings import Findings
from subsel.input.ids import stored_ids
from subsel.input.near import mark_of, refuse_bad_vectors, warn_of_included
from subsel.input.reference import (
    NEAR,
    TARGET,
    ReferenceRows,
    read_rows,
    reference_name,
    require_vectors,
    vector_columns,
)
from subsel.input.wishes import Constraints
from subsel.report import InputReport
from subsel.run import Tell
from subsel.schema import Status
from subsel.told import near_line

log = logging.getLogger(__name__)

#: Bytes of a reference that is sent to executors: as it was read, and prepared. On Connect it goes with the plan, which
#: by default may have 128 MiB.
MOST_BYTES, MOST_IN_PLAN = 512 << 20, 64 << 20
#: Bytes of points that a task compares at once.
_BATCH_BYTES = 32 << 20
#: Column of the numbers of a target's rows over all of its files, by which `explain` names them.
_NUMBER = "_number of row"


class Sent(Protocol):
    """What executors get, as Spark's broadcasts have it."""

    @property
    def value(self) -> Reference:
        """What was sent."""


@dataclass(frozen=True, slots=True)
class _Inside:
    """What goes with the plan."""

    value: Any


class SparkNear:
    """Who is near what was given as ``exclude_near``.

    Args:
        spark: the session.
        given: path, table or DataFrame; None: nothing was given.

    Attributes:
        rows: the reference, once it was read.
        ids: of those who are near, as they are kept, once they were found: without any that are wished in or out, and
            maybe with some of copies that were merged into others.
        count: how many points these are, once it is known where they are.
    """

    def __init__(self, spark: SparkSession, given: Any) -> None:
        self.spark, self.given = spark, given
        self.rows: ReferenceRows | None = None
        self.ids: DataFrame | None = None
        self.count = 0

    def read(self, inputs: SparkInputs, dimension: int | None) -> str | None:
        """Read the reference and check it; return what tells it from others, None if there is none.

        Args:
            inputs: the points.
            dimension: of their embeddings; None where these were not looked at.

        Raises:
            InputError: see `read_on_spark`.
        """
        if self.given is None:
            return None
        self.rows = read_on_spark(NEAR, self.spark, self.given, inputs, dimension)
        return mark_of(self.rows, inputs.config)

    def find(
        self,
        inputs: SparkInputs,
        found: InputReport,
        points: SparkPoints | None,
        wished: Mapping[Status, Wished],
        sizes: Sequence[int],
        keep: Callable[[DataFrame], DataFrame],
        tell: Tell,
    ) -> None:
        """Look for the points that are near, if there is a reference.

        Args:
            inputs: the points.
            found: what was read of them.
            points: checked, copies left out; None: not by this run.
            wished: who is wished in and out.
            sizes: all that will be selected.
            keep: computes a frame and keeps it.
            tell: told what goes on.

        Raises:
            InputError: points of a given graph have no good vectors.
            ConfigError: fewer are left than will be selected.
        """
        if self.rows is None:
            return
        tell("near", 0)
        config, d = inputs.config, self.rows.rows.shape[1]
        vectors = inputs.point_vectors(found.dropped_rows, points)
        if not inputs.with_embeddings:
            marks = map_in_arrow(vectors, partial(_look, config, d), "findings binary").toArrow()
            findings = Findings()
            for row in marks.to_pylist():
                findings.merge(pickle.loads(row["findings"]))
            refuse_bad_vectors(findings, found.points, found.name, config, d)
        reference = Reference.of(self.rows.rows, config.metric, config.near_limit)
        sent = sent_to_all(self.spark, reference)
        kind = kept_kind(inputs.id_type)
        near = keep(map_in_arrow(vectors, partial(_near, sent, config), f"{schema.ID} {kind}"))
        if classic(self.spark):
            sent.destroy()
        included = wished.get(Status.INCLUDED)
        if included is not None:
            warn_of_included(near.join(included.ids, schema.ID, "left_semi").count(), config)
        for one in wished.values():
            near = near.join(one.ids, schema.ID, "left_anti")
        self.ids = near
        if points is not None:
            inputs.check_wished(wished, sizes, points, near)

    def place(self, points: DataFrame, members: dict[Status, tuple[DataFrame, int]], config: SelectConfig) -> None:
        """Add those who are near to the points that are excluded.

        Args:
            points: parcels of kind points.
            members: of each wish where its points are, and how many, see `subsel.engines.spark.scoring.places_of`.
            config: of the request.
        """
        if self.ids is None:
            return
        places, self.count = places_of(points, self.ids, None, "exclude_near")
        others, count = members.get(Status.EXCLUDED, (None, 0))
        places = places if others is None else others.unionByName(places)
        members[Status.EXCLUDED] = places, count + self.count
        log.info("%s", near_line(self.count, config))

    def check(self, sizes: Sequence[int], n: int, members: Mapping[Status, tuple[DataFrame, int]]) -> Constraints:
        """Return how many points are in and out, among the latter those that are near; see `check_counts`."""
        places = {status: found for status, (found, _) in members.items()}
        numbers = {status: number for status, (_, number) in members.items()}
        return check_counts(sizes, n, numbers, places, self.count)


def read_on_spark(
    what: str, spark: SparkSession, given: Any, inputs: SparkInputs, dimension: int | None, entries: int = 0
) -> ReferenceRows:
    """Read the rows of a reference, which come to the driver, and check them.

    Args:
        what: the option that it was given as.
        spark: the session.
        given: path, table or DataFrame.
        inputs: the points.
        dimension: of their embeddings; None where these were not looked at.
        entries: of a list that every executor keeps for each row.

    Raises:
        InputError: it is not there, has bad rows or is too large; or points have no embeddings.
    """
    config, points = inputs.config, inputs.source.name
    require_vectors(inputs.source.schema, config, points, what)
    importance = config.importance if what == TARGET else None
    numbered = _NUMBER if what == TARGET and not hasattr(given, "mapInArrow") else None
    wanted = {config.embedding_column, importance}.__contains__
    source = open_on_spark(spark, given, wanted, option(what), row_numbers=numbered)
    name = reference_name(source.name, what)
    names = vector_columns(source.schema, config, name, importance).names
    frame = source.select([*names, _NUMBER] if _NUMBER in source.schema.names else names)
    _check_size(name, frame, config, dimension, entries)
    table = frame.toArrow()
    if _NUMBER in table.column_names:  # Spark reads the largest files first
        table = table.sort_by(_NUMBER).drop_columns([_NUMBER])

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        return plain_batches(iter(table.select(columns).to_batches()))

    return read_rows(what, name, source.schema, batches, config, points, dimension)


def _check_size(name: str, frame: DataFrame, config: SelectConfig, dimension: int | None, entries: int) -> None:
    """Say that a reference is too large before it is brought to the driver."""
    column = frame.columns.index(config.embedding_column)
    first = None if dimension is not None else frame.head()
    values = dimension or (len(first[column]) if first is not None and first[column] is not None else 1)
    rows, times = frame.count(), 1 if config.metric == "inner_product" else 2
    most, each = MOST_BYTES if classic(frame.sparkSession) else MOST_IN_PLAN, times * 4 * values + 12 * entries
    if each * rows > most:
        raise InputError(
            f"{name} has {rows:,} rows of {values:,} values, and {most // each:,} are what Spark "
            f"can send to every executor: give a subset of them without near copies (select one with "
            f"{option('max_similarity')}), or select with {option('engine', 'local')}."
        )


def sent_to_all(spark: SparkSession, what: Any) -> Any:
    """Return something whose ``value`` executors get: a broadcast, or on Connect what goes with the plan."""
    return spark.sparkContext.broadcast(what) if classic(spark) else _Inside(what)


def _near(sent: Sent, config: SelectConfig, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the ids of those who are near."""
    with task():
        reference = sent.value
        checker = vector_checker(schema.EMBEDDING, config, reference.dimension)
        for batch in batches_of(plain_batches(batches), _BATCH_BYTES):
            good = checker.check(batch)
            assert good.embeddings is not None
            chosen = good.kept[reference.near(good.embeddings)]
            ids = stored_ids(batch.column(schema.ID)).take(pa.array(chosen))
            plain = ids if pa.types.is_int64(ids.type) else plain_ids(ids)
            yield pa.RecordBatch.from_arrays([plain], names=[schema.ID])


def _look(config: SelectConfig, dimension: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield what is wrong with vectors."""
    with task():
        checker = vector_checker(schema.EMBEDDING, config, dimension)
        for batch in plain_batches(batches):
            checker.check(batch)
        lengths = checker.findings.lengths
        lengths[config.embedding_column] = lengths.pop(schema.EMBEDDING, Counter())  # under the name that users know
        payload = pa.array([pickle.dumps(checker.findings)], pa.binary())
        yield pa.RecordBatch.from_arrays([payload], names=["findings"])
