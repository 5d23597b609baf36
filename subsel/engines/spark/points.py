"""Points on Spark: the executor of the rules in `subsel.input.rows`, and the samples that follow from codes.

One scan checks every row; a second looks for repeated ids among all rows, good or bad. Only where there are some,
rows with such ids are checked again to see which are good, and which of them stays.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.embeddings.metrics import FloatMatrix, Preparation
from subsel.engines.spark.parcels import BatchFunction, map_in_arrow, plain_errors, task
from subsel.engines.spark.pieces import Pieces, Run, map_rows
from subsel.engines.spark.source import SparkSource, col, plain_batches
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.input.checked import content_sum
from subsel.input.findings import Findings
from subsel.input.groups import GroupNames
from subsel.input.ids import shown, stored_ids
from subsel.input.rows import REPEATED, Columns, RowChecker, text_beside
from subsel.parts.assemble import CODE_SUM

_SCAN_SCHEMA = "kind string, rows bigint, payload binary"
_TOP = float(2**64)
#: Columns that are added to rows while the one that stays is chosen.
_GOOD, _UTILITY, _CONTENT, _TEXT, _CODE = "_good", "_utility", "_content", "_text", "_code"
_SEVERAL = "_several"

SampleRows = Callable[[int, int], int]


@dataclass(frozen=True, slots=True)
class SparkPoints:
    """A checked input.

    Attributes:
        frame: the columns that are read, not computed yet; of rows with one id only the one that stays.
        wide: the same rows with all columns that may be asked for.
        name: what messages call it.
        columns: which columns those are.
        lengths: of lists, by column.
        dimension: of embeddings; 0 without.
        n: good rows.
        salt: of codes, see `subsel.codes.unique_codes`.
        code_sum: sum of the codes of all points, modulo 2^52; None where ids were repeated.
        content: checksum of what the good rows hold, if it was asked for.
        dropped: rows left out, by reason.
        prepare: what is done to rows before they are searched.
        sample: float32, (m, d): prepared rows of the smallest codes, in the order of their codes.
        asked_code: int64, (q,), ascending: codes of the recall sample, those of the largest.
        asked: float32, (q, d): its prepared rows.
        groups: of each column of groups, see `subsel.engines.spark.groups.group_names`.
        pieces: of files that have the rows, if tasks may read those.
    """

    frame: DataFrame
    wide: DataFrame
    name: str
    columns: Columns
    lengths: dict[str, int]
    dimension: int
    n: int
    salt: int
    code_sum: int | None
    content: str
    dropped: dict[str, int]
    prepare: Preparation
    sample: FloatMatrix
    asked_code: Int64Array
    asked: FloatMatrix
    groups: tuple[GroupNames, ...] = ()
    pieces: Pieces | None = None

    def map(self, function: BatchFunction, schema: Any) -> DataFrame:
        """Run a function on the batches of `frame`, see `subsel.engines.spark.parcels.map_in_arrow`."""
        return map_rows(self.pieces, self.frame, function, schema)


def check_points(
    spark: SparkSession,
    source: SparkSource,
    config: SelectConfig,
    *,
    with_embeddings: bool,
    sample_rows: SampleRows,
    with_content: bool = False,
    wishes: Iterable[str] = (),
    drawn: Columns | None = None,
) -> SparkPoints:
    """Check every row and draw the samples, in one scan; then look for repeated ids.

    Args:
        spark: the session.
        source: see `subsel.engines.spark.source.open_on_spark`.
        config: names of columns, metric, recall_sample, seed, on_bad_rows.
        with_embeddings: False where a graph is given.
        sample_rows: returns the rows wanted for k-means, given the number of rows and the dimension.
        with_content: whether what rows hold is summed up, too, which takes time.
        wishes: names that may be columns, which will be read later.
        drawn: where these are rows that were drawn of such as were checked: columns that these were read by.

    Raises:
        InputError: columns are missing or of wrong types, the input is empty, or rows are bad.
    """
    if drawn is None:
        columns = Columns.of(
            source.schema, config, source.name, with_embeddings=with_embeddings, given=False, wishes=wishes
        )
        source.select(dict.fromkeys([*columns.names, *columns.beside]))
    else:
        columns = drawn
    frame = source.frame.select(*map(col, columns.names))
    with plain_errors():
        pieces = Pieces.of(source, frame)
        total = frame.count() if pieces is None else pieces.rows
        if total == 0:
            raise InputError(f"{source.name} is empty: there is nothing to select from.")
        salt, several = _several(frame, columns, config)
        wants = partial(sample_rows, total) if with_embeddings else _none
        scan = partial(_scan, columns, config, salt, with_content)
        found = _check_all(partial(map_rows, pieces, frame), frame, columns, scan, total, wants, config.recall_sample)
        findings, wide = found.findings, source.frame
        repeats = 0
        if several is not None:
            suspects = _ranked(wide, columns, config, found.lengths, several)
            repeats, some = _repeated(suspects, columns)
            if repeats:
                findings.add(REPEATED, repeats, some)
            wide = _without_losers(wide, suspects, columns, several)
            frame = wide.select(*map(col, columns.names))
    n = found.rows - repeats
    findings.refuse(source.name, total, n, config)
    if drawn is None:
        findings.refuse_unimportant(source.name, columns.importance)
    dimension = found.lengths.get(columns.embedding, 0) if columns.embedding is not None else 0
    return SparkPoints(
        frame=frame,
        wide=wide,
        name=source.name,
        columns=columns,
        lengths=found.lengths,
        dimension=dimension,
        n=n,
        salt=salt,
        code_sum=None if repeats else found.code_sum,
        content=f"{found.content % 2**64:016x}",
        dropped=findings.dropped(),
        pieces=pieces,
        **_samples(found, dimension, wants(dimension), config),
    )


def sample_anew(points: SparkPoints, config: SelectConfig, *, sample_rows: SampleRows) -> SparkPoints:
    """Return points, of which some were left out after they were checked, with samples of those that are left.

    Arguments as those of `check_points`.
    """
    wanted = sample_rows(points.n, points.dimension)
    scan = partial(_scan, points.columns, config, points.salt, False, points.lengths)
    found = _gathered(points.map, scan, points.n, wanted, config.recall_sample)
    return replace(points, n=found.rows, code_sum=found.code_sum, **_samples(found, points.dimension, wanted, config))


def _samples(found: _Found, dimension: int, wanted: int, config: SelectConfig) -> dict[str, Any]:
    """Return what `SparkPoints` has of samples, of which k-means wants so many rows."""
    sample, asked = (_by_code(found.samples[kind], dimension) for kind in ("sample", "asked"))
    prepare = Preparation.of_sample(sample[1][:wanted], config.metric)
    last = slice(max(0, len(asked[0]) - config.recall_sample), None)
    return {
        "prepare": prepare,
        "sample": prepare.rows(sample[1][:wanted]),
        "asked_code": np.sort(asked[0][last]),
        "asked": prepare.rows(asked[1][last][np.argsort(asked[0][last])]),
    }


def _none(dimension: int) -> int:
    """Return the rows that k-means wants where there is nothing to search."""
    return 0


@dataclass(slots=True)
class _Found:
    """What a scan found: see `SparkPoints`; ``rows`` are good."""

    findings: Findings = field(default_factory=Findings)
    lengths: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    code_sum: int = 0
    content: int = 0
    samples: dict[str, list[Any]] = field(default_factory=lambda: {"sample": [], "asked": []})


def _check_all(
    run: Run,
    frame: DataFrame,
    columns: Columns,
    scan: Callable[..., Any],
    total: int,
    wants: Callable[[int], int],
    recall_sample: int,
) -> _Found:
    """Check every row against the length of most lists: as the first row has it, and once more if that was another."""
    lengths = _lengths_of_some(frame, columns)
    while True:
        dimension = lengths.get(columns.embedding, 0) if columns.embedding is not None else 0
        found = _gathered(run, partial(scan, lengths), total, wants(max(dimension, 1)), recall_sample)
        most = found.findings.length_of_most()
        if all(lengths.get(column) == length for column, length in most.items()):
            found.lengths = most
            return found
        lengths = most


def _gathered(run: Run, scan: Callable[..., Any], total: int, wanted: int, recall_sample: int) -> _Found:
    """Return what a scan found, and a few more sampled rows than wanted: how many codes are below a limit is random."""
    rates = [min(1.0, (1.1 * want + 64) / total) for want in (wanted, recall_sample)]
    return _gather(run(partial(scan, rates), _SCAN_SCHEMA).toArrow())


def _lengths_of_some(frame: DataFrame, columns: Columns) -> dict[str, int]:
    """Return by column the number of values in the list of some row."""
    lengths = {}
    for column in columns.lists:
        first = frame.where(col(column).isNotNull()).select(_values(frame, column)).head()
        if first is not None:
            lengths[column] = int(first[0])
    return lengths


def _values(frame: DataFrame, column: str) -> Any:
    """Return how many values a list holds; lists of lists count with all of theirs."""
    kind, value = frame.schema[column].dataType, col(column)
    while isinstance(kind, T.ArrayType) and isinstance(kind.elementType, T.ArrayType):
        value, kind = F.flatten(value), kind.elementType
    return F.size(value)


def _scan(
    columns: Columns,
    config: SelectConfig,
    salt: int,
    with_content: bool,
    lengths: Mapping[str, int],
    rates: list[float],
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Check batches; yield the sampled rows, and last what was found."""
    with task():
        checker = RowChecker(columns, config, lengths)
        rows = code_sum = content = 0
        for batch in plain_batches(batches):
            good = checker.check(batch)
            rows += len(good.ids)
            if not len(good.ids):
                continue
            code = hash_ids(good.ids, config.seed, salt)
            code_sum += int(code.view(np.uint64).sum(dtype=np.uint64))
            content += content_sum(good, good.beside()) if with_content else 0
            if good.embeddings is None:
                continue
            place = code.view(np.uint64) / _TOP
            for kind, chosen in (("sample", place < rates[0]), ("asked", place >= 1 - rates[1])):
                if chosen.any():
                    some = good.take(np.flatnonzero(chosen))
                    pieces = (code[chosen], some.utility, some.content(), good.embeddings[chosen])
                    yield _row(kind, int(chosen.sum()), b"".join(piece.tobytes() for piece in pieces))
        yield _row("found", rows, pickle.dumps((checker.findings, code_sum, content)))


def _row(kind: str, rows: int, payload: bytes) -> pa.RecordBatch:
    columns = [pa.array([kind]), pa.array([rows], pa.int64()), pa.array([payload], pa.binary())]
    return pa.RecordBatch.from_arrays(columns, names=["kind", "rows", "payload"])


def _gather(rows: pa.Table) -> _Found:
    found = _Found()
    for row in rows.to_pylist():
        count, payload = row["rows"], row["payload"]
        if row["kind"] == "found":
            findings, code_sum, content = pickle.loads(payload)
            found.findings.merge(findings)
            found.rows += count
            found.code_sum = (found.code_sum + code_sum) % CODE_SUM
            found.content += content
        else:
            code, utility, content = (
                np.frombuffer(payload, kind, count, offset=8 * count * i)
                for i, kind in enumerate((np.int64, np.float64, np.uint64))
            )
            vectors = np.frombuffer(payload, np.float32, offset=24 * count).reshape(count, -1)
            found.samples[row["kind"]].append((code, utility, content, vectors))
    return found


def _by_code(pieces: list[Any], dimension: int) -> tuple[Int64Array, FloatMatrix]:
    """Return sampled codes and rows in the order of codes (unsigned, as drawn); of repeats the one that stays."""
    if not pieces:
        return np.empty(0, np.int64), np.empty((0, dimension), np.float32)
    code, utility, content, X = (np.concatenate([piece[i] for piece in pieces]) for i in range(4))
    order = np.lexsort((content, -utility, code.view(np.uint64)))
    first = order[np.append(True, code[order][1:] != code[order][:-1])]
    return code[first], X[first]


def _several(frame: DataFrame, columns: Columns, config: SelectConfig) -> tuple[int, DataFrame | None]:
    """Return the salt under which no two ids have one code, and the ids that several rows have, None if there are none.

    Text is grouped by its code, so that ids which collide are found by the same exchange as ids that repeat.
    """
    assert columns.id is not None
    ids = frame.select(col(columns.id).alias(_CODE + "_id")).where(F.col(_CODE + "_id").isNotNull())
    name, kind = _CODE + "_id", frame.schema[columns.id].dataType
    salt = 0
    while True:
        grouped = ids.withColumn(_CODE, F.col(name))
        if isinstance(kind, T.StringType | T.BinaryType):
            shape = T.StructType([T.StructField(name, kind), T.StructField(_CODE, T.LongType())])
            grouped = map_in_arrow(ids, partial(_with_codes, config.seed, salt), shape)
        several = grouped.groupBy(_CODE).agg(
            F.count("*").alias("_n"), F.min(name).alias("_low"), F.max(name).alias("_high")
        )
        several = several.where("_n > 1")
        row = several.agg(F.count("*"), F.sum((F.col("_low") != F.col("_high")).cast("bigint"))).collect()[0]
        if not row[1]:
            return salt, several.select(F.col("_low").alias(_SEVERAL)) if row[0] else None
        salt += 1


def _with_codes(seed: int, salt: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for batch in plain_batches(batches):
            code = pa.array(hash_ids(stored_ids(batch.column(0)), seed, salt))
            yield pa.RecordBatch.from_arrays([batch.column(0), code], names=[_CODE + "_id", _CODE])


def _ranked(
    wide: DataFrame, columns: Columns, config: SelectConfig, lengths: dict[str, int], several: DataFrame
) -> DataFrame:
    """Return the rows with ids that several rows have, with what decides which stays."""
    assert columns.id is not None
    rows = wide.join(several, col(columns.id) == F.col(_SEVERAL), "left_semi")
    more = [(_GOOD, T.BooleanType()), (_UTILITY, T.DoubleType()), (_CONTENT, T.LongType()), (_TEXT, T.StringType())]
    out = T.StructType([*rows.schema.fields, *(T.StructField(name, kind) for name, kind in more)])
    return map_in_arrow(rows, partial(_judge, columns, config, lengths), out)


def _judge(
    columns: Columns, config: SelectConfig, lengths: dict[str, int], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    with task():
        checker = RowChecker(columns, config, lengths)
        for batch in batches:
            (plain,) = plain_batches(iter([batch]))
            found = checker.check(plain)
            good, utility = np.zeros(len(batch), np.bool_), np.zeros(len(batch))
            content = np.zeros(len(batch), np.int64)
            good[found.kept], utility[found.kept], content[found.kept] = (
                True,
                found.utility,
                found.content().view(np.int64),
            )
            text = text_beside(plain, columns.beside) if columns.beside else [""] * len(batch)
            more = [pa.array(good), pa.array(utility), pa.array(content), pa.array(text, pa.string())]
            names = [*batch.schema.names, _GOOD, _UTILITY, _CONTENT, _TEXT]
            yield pa.RecordBatch.from_arrays([*batch.columns, *more], names=names)


def _repeated(suspects: DataFrame, columns: Columns) -> tuple[int, list[Any]]:
    """Return how many good rows repeat the id of another, and the smallest such ids."""
    assert columns.id is not None
    several = suspects.where(_GOOD).groupBy(col(columns.id).alias("_id")).count().where("count > 1")
    repeats = several.agg(F.sum(F.col("count") - 1)).collect()[0][0] or 0
    some = [row[0] for row in several.orderBy("_id").limit(3).collect()] if repeats else []
    kept = stored_ids(pa.array(some, columns.id_type)) if some else pa.array([], pa.int64())
    return int(repeats), shown(kept, columns.id_type) if some else []


def _without_losers(wide: DataFrame, suspects: DataFrame, columns: Columns, several: DataFrame) -> DataFrame:
    """Return all rows, of those with one id the good one that stays only."""
    assert columns.id is not None
    # The hash is compared as unsigned, as numpy does: with its sign turned.
    best = (F.desc(_GOOD), F.desc(_UTILITY), F.asc(F.col(_CONTENT).bitwiseXOR(F.lit(-(2**63)))), F.asc(_TEXT))
    place = F.row_number().over(Window.partitionBy(col(columns.id)).orderBy(*best))
    stay = suspects.withColumn("_place", place).where((F.col("_place") == 1) & F.col(_GOOD))
    rest = wide.join(several, col(columns.id) == F.col(_SEVERAL), "left_anti")
    return rest.unionByName(stay.select(*map(col, wide.columns)))
