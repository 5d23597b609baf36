"""Points on Spark: open an input, check every row in one scan, and draw the samples that follow from codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.embeddings.metrics import FloatMatrix, Preparation
from subsel.embeddings.readers import MEND, Columns, RowChecker, describe_bad
from subsel.engines.spark.parcels import plain_errors, task
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array

_SCAN_SCHEMA = "kind string, rows bigint, payload binary"
_TOP = float(2**64)


@dataclass(frozen=True, slots=True)
class SparkPoints:
    """A checked input.

    Attributes:
        frame: the columns that are read, not computed yet.
        name: what messages call it.
        columns: which columns those are.
        dimension: of embeddings; 0 without.
        n: good rows.
        dropped: rows left out, by reason.
        prepare: what is done to rows before they are searched.
        sample: float32, (m, d): prepared rows of the smallest codes, in the order of their codes.
        asked_code: int64, (q,), ascending: codes of the recall sample, those of the largest.
        asked: float32, (q, d): its prepared rows.
    """

    frame: DataFrame
    name: str
    columns: Columns
    dimension: int
    n: int
    dropped: dict[str, int]
    prepare: Preparation
    sample: FloatMatrix
    asked_code: Int64Array
    asked: FloatMatrix


def open_frame(spark: SparkSession, data: Any, what: str = "input") -> tuple[DataFrame, str]:
    """Return data as a DataFrame and its name: a DataFrame as it is, a path as Parquet.

    Raises:
        InputError: the path does not exist or holds no Parquet, or it is neither.
    """
    if isinstance(data, str | Path):
        try:
            return spark.read.parquet(str(data)), str(data)
        except AnalysisException as error:
            condition = error.getCondition() or ""
            if "PATH_NOT_FOUND" in condition or "PATH_NOT_FOUND" in str(error):
                raise InputError(f"{what} {data} does not exist: give a Parquet file or a folder of them.") from None
            raise InputError(f"{what} {data} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        except Exception as error:
            if "CANNOT_READ_FILE" in str(error) or "is not a Parquet file" in str(error):
                raise InputError(f"{what} {data} cannot be read as Parquet.") from None
            raise
    if hasattr(data, "mapInArrow"):
        return data, "the DataFrame"
    raise InputError(
        f"{what} of type {type(data).__name__} is not understood on Spark: give a Parquet path or a Spark DataFrame."
    )


def check_points(
    spark: SparkSession,
    data: Any,
    config: SelectConfig,
    *,
    with_embeddings: bool,
    sample_rows: Callable[[int, int], int],
) -> SparkPoints:
    """Check every row and draw the samples, in one scan; then look for repeated ids.

    Args:
        spark: the session.
        data: see `open_frame`.
        config: names of columns, metric, recall_sample, seed, on_bad_rows.
        with_embeddings: False where a graph is given.
        sample_rows: returns the rows wanted for k-means, given the number of rows and the dimension.

    Raises:
        InputError: columns are missing or of wrong types, the input is empty, or rows are bad.
    """
    frame, name = open_frame(spark, data)
    columns = Columns.of(to_arrow_schema(frame.schema), config, name, with_embeddings, given=False)
    frame = frame.select(*columns.names)
    total = frame.count()
    if total == 0:
        raise InputError(f"{name} is empty: there is nothing to select from.")
    dimension = _dimension(frame, config, name) if with_embeddings else 0
    # A little more than wanted, since how many codes fall below a limit is random.
    wanted = sample_rows(total, dimension) if with_embeddings else 0
    rates = [min(1.0, (1.1 * want + 64) / total) for want in (wanted, config.recall_sample)]
    scan = partial(_scan, columns, config, dimension, rates)
    with plain_errors():
        rows = frame.mapInArrow(scan, _SCAN_SCHEMA).toArrow()
    found = _gather(rows)
    bad, examples = found.bad, found.examples
    repeats, some = _repeated(frame, columns.id, found.rows)
    if repeats:
        bad["repeated id"], examples["repeated id"] = repeats, some
    if bad and config.on_bad_rows == "error":
        raise InputError(f"{name}: {describe_bad(bad, examples, total)}. {MEND}")
    n = found.rows - repeats
    if n == 0:
        raise InputError(f"{name} has no good row left: {describe_bad(bad, examples, total)}.")
    if repeats:  # one row of each id stays, chosen by content, so that it does not depend on the files
        window = F.row_number().over(_by_content(frame, columns))
        frame = frame.withColumn("_row", window).where("_row = 1 or _row is null").drop("_row")
    sample, asked = (_by_code(found.samples[kind], dimension) for kind in ("sample", "asked"))
    prepare = Preparation.of_sample(sample[1][:wanted], config.metric)
    last = slice(max(0, len(asked[0]) - config.recall_sample), None)
    return SparkPoints(
        frame=frame,
        name=name,
        columns=columns,
        dimension=dimension,
        n=n,
        dropped=bad,
        prepare=prepare,
        sample=prepare.rows(sample[1][:wanted]),
        asked_code=np.sort(asked[0][last]),
        asked=prepare.rows(asked[1][last][np.argsort(asked[0][last])]),
    )


@dataclass(slots=True)
class _Found:
    rows: int
    bad: dict[str, int]
    examples: dict[str, list[Any]]
    samples: dict[str, list[tuple[Int64Array, npt.NDArray[np.float32]]]]


def _scan(
    columns: Columns, config: SelectConfig, dimension: int, rates: list[float], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Check batches; yield the sampled rows, and last what was found."""
    with task():
        checker = RowChecker(columns, config, dimension or None)
        rows = 0
        for batch in batches:
            good = checker.check(batch)
            rows += len(good.ids)
            if good.embeddings is None or not len(good.ids):
                continue
            code = hash_ids(good.ids, config.seed)
            place = code.view(np.uint64) / _TOP
            for kind, chosen in (("sample", place < rates[0]), ("asked", place >= 1 - rates[1])):
                if chosen.any():
                    payload = code[chosen].tobytes() + good.embeddings[chosen].tobytes()
                    yield _row(kind, int(chosen.sum()), payload)
        found = {"bad": checker.bad_count, "examples": checker.bad}
        yield _row("found", rows, json.dumps(found).encode())


def _row(kind: str, rows: int, payload: bytes) -> pa.RecordBatch:
    columns = [pa.array([kind]), pa.array([rows], pa.int64()), pa.array([payload], pa.binary())]
    return pa.RecordBatch.from_arrays(columns, names=["kind", "rows", "payload"])


def _gather(rows: pa.Table) -> _Found:
    found = _Found(0, {}, {}, {"sample": [], "asked": []})
    for row in rows.to_pylist():
        if row["kind"] == "found":
            found.rows += row["rows"]
            parsed = json.loads(row["payload"])
            for reason, count in parsed["bad"].items():
                found.bad[reason] = found.bad.get(reason, 0) + count
                found.examples.setdefault(reason, []).extend(parsed["examples"][reason])
        else:
            code = np.frombuffer(row["payload"], np.int64, row["rows"])
            vectors = np.frombuffer(row["payload"], np.float32, offset=8 * row["rows"])
            found.samples[row["kind"]].append((code, vectors))
    return found


def _by_code(pieces: list[tuple[Int64Array, Any]], dimension: int) -> tuple[Int64Array, FloatMatrix]:
    """Return sampled codes and rows in the order of codes (as unsigned, as they were drawn); repeats once."""
    if not pieces:
        return np.empty(0, np.int64), np.empty((0, dimension), np.float32)
    code = np.concatenate([piece[0] for piece in pieces])
    X = np.concatenate([piece[1] for piece in pieces]).reshape(-1, dimension)
    _, first = np.unique(code.view(np.uint64), return_index=True)
    return code[first], X[first]


def _dimension(frame: DataFrame, config: SelectConfig, name: str) -> int:
    column = F.col(config.embedding_column)
    first = frame.where(column.isNotNull()).select(F.size(column)).head()
    if first is None:
        raise InputError(f"{name} has no good row left: every embedding is null.")
    if first[0] == 0:
        raise InputError("embedding lists are empty: they need at least one value.")
    return int(first[0])


def _repeated(frame: DataFrame, id_column: str, good: int) -> tuple[int, list[Any]]:
    """Return how many rows repeat the id of another, and a few such ids."""
    if good == 0:
        return 0, []
    several = frame.where(F.col(id_column).isNotNull()).groupBy(id_column).count().where("count > 1")
    repeats = several.agg(F.sum(F.col("count") - 1)).collect()[0][0] or 0
    some = [row[0] for row in several.limit(3).collect()] if repeats else []
    return int(repeats), some


def _by_content(frame: DataFrame, columns: Columns) -> Any:
    from pyspark.sql import Window  # noqa: PLC0415

    content = F.xxhash64(*(F.col(name) for name in columns.names))
    return Window.partitionBy(columns.id).orderBy(content)
