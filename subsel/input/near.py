"""Data that no point may be near to (``exclude_near``): its rows, by the rules of points' rows.

All that it needs is the embedding column; rows have no names, so messages count bad ones only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.codes import hash_rows
from subsel.config import SelectConfig
from subsel.errors import InputError, in_library, option
from subsel.input.findings import Findings
from subsel.input.rows import Columns, RowChecker
from subsel.input.source import open_source, require_columns
from subsel.input.utility import CONSTANT

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NearRows:
    """What was read.

    Attributes:
        name: what messages call it.
        rows: float32, (m, d), m ≥ 1, as checked.
    """

    name: str
    rows: npt.NDArray[np.float32]

    def mark(self, config: SelectConfig) -> str:
        """Return what tells these rows and the limit from others, whatever the order of the rows."""
        total = int(hash_rows(self.rows.view(np.uint32), np.zeros(len(self.rows), np.uint64)).sum(dtype=np.uint64))
        return f"{len(self.rows)} rows {total:016x} above {config.near_limit:g}"


def reference_name(name: str) -> str:
    """Return what messages call data of some name that was given as ``exclude_near``."""
    return f"{option('exclude_near')} {name}"


def vector_columns(columns: pa.Schema, config: SelectConfig, name: str) -> Columns:
    """Return which column of some data is read for its vectors alone.

    Raises:
        InputError: there is none, or it is no column of vectors.
    """
    bare: dict[str, Any] = {"id_column": None, "utility": CONSTANT, "probabilities": None, "cost": None}
    alone = config.model_copy(update=bare | {"keep_columns": (), "groups": (), "importance": None})
    return Columns.of(columns, alone, name, with_embeddings=True, given=False)


def require_vectors(columns: pa.Schema, config: SelectConfig, name: str) -> None:
    """Say that points have no vectors to compare, as they need not where a graph is given.

    Raises:
        InputError: see above.
    """
    vector_columns(columns, config, f"{option('exclude_near')} compares vectors, and {name}")


def refuse_bad_vectors(findings: Findings, n: int, name: str, config: SelectConfig, dimension: int) -> None:
    """Say that some points of a given graph have no good vector: nobody knows what they are near to.

    Args:
        findings: of the vectors of all points.
        n: points.
        name: of their data.
        config: names the column.
        dimension: of the reference.

    Raises:
        InputError: see above.
    """
    length = findings.length_of_most().get(config.embedding_column, dimension)
    if length != dimension:
        raise other_dimension(option("exclude_near"), dimension, name, length)
    if findings.counts:
        findings.examples = {reason: [] for reason in findings.counts}
        raise InputError(
            f"{option('exclude_near')} compares vectors, and {name} has points without good ones: "
            f"{findings.describe(n)}. Mend them, or leave these points out of data and {option('graph')}."
        )


def warn_of_included(count: int, config: SelectConfig) -> None:
    """Warn of included points that stay though they are near."""
    if count:
        near = f"nearer than {config.near_limit:g} to {config.exclude_near} ({option('exclude_near')})"
        log.warning("%s", in_library(f"{option('include')} has {count:,} points that are {near}: all of them stay"))


def other_dimension(name: str, dimension: int, points: str, theirs: int) -> InputError:
    """Return the error for a reference of vectors of another length than those of points."""
    return InputError(
        f"{name} has vectors of {dimension:,} values, {points} of {theirs:,}: give vectors of the same model."
    )


def read_near(
    name: str,
    columns: pa.Schema,
    batches: Callable[[str], Iterable[pa.RecordBatch]],
    config: SelectConfig,
    points: str,
    dimension: int | None,
) -> NearRows:
    """Read and check the rows of a reference.

    Args:
        name: what messages call it.
        columns: of it.
        batches: returns the batches of a column, of plain types.
        config: embedding_column, metric, on_bad_rows.
        points: what messages call the points.
        dimension: of their embeddings; None where these were not looked at.

    Raises:
        InputError: there is no embedding column or row; rows are bad and ``config.on_bad_rows`` is "error"; or vectors
            are of another length than those of points.
    """
    rules, column = vector_columns(columns, config, name), config.embedding_column
    lengths: Mapping[str, int] | None = None
    while True:
        checker = RowChecker(rules, config, lengths)
        found, n = [], 0
        for batch in batches(column):
            n += len(batch)
            good = checker.check(batch).embeddings
            if good is not None and len(good):
                found.append(good)
        if checker.settled():
            break
        lengths = checker.findings.length_of_most()
    findings = checker.findings
    findings.examples = {reason: [] for reason in findings.counts}
    if not n:
        raise InputError(f"{name} is empty: there is nothing to be near to. Leave it out, or give another.")
    length = findings.length_of_most().get(column, 0)
    if dimension is not None and length not in (0, dimension):
        raise other_dimension(name, length, points, dimension)
    findings.refuse(name, n, sum(map(len, found)), config)
    if findings.counts:
        log.warning("%s", in_library(f"{name}: dropped {findings.describe(n)}"))
    return NearRows(name, np.ascontiguousarray(np.concatenate(found)))


def open_near(
    data: Any, config: SelectConfig, storage_options: Mapping[str, Any] | None, points: str, dimension: int | None
) -> NearRows:
    """Open, read and check a reference in this process; see `subsel.input.source.open_source` and `read_near`."""
    what = option("exclude_near")
    if isinstance(data, np.ndarray) and data.ndim != 2:
        raise InputError(f"{what} has shape {data.shape}, but must be (m, d).")
    source = open_source(data, {config.embedding_column}.__contains__, config, storage_options, what)
    name = reference_name(source.name)
    vector_columns(source.schema, config, name)
    require_columns(source, [config.embedding_column])
    return read_near(name, source.schema, lambda column: source.batches([column]), config, points, dimension)
