"""Data beside the points (``exclude_near``, ``target``): its rows, by the rules of points' rows.

All that it needs is the embedding column, and that of importances where these are a target's; rows have no names, so
messages count bad ones only.
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
from subsel.fixedpoint import Int64Array
from subsel.input.rows import Columns, RowChecker
from subsel.input.source import Source, open_source, require_columns
from subsel.input.utility import CONSTANT

log = logging.getLogger(__name__)

#: Options that give such data, and what there is nothing of where it has no rows.
NEAR, TARGET = "exclude_near", "target"
_TO = {NEAR: "to be near to", TARGET: "to cover"}
#: Adds columns to data that were given beside it, and says how the config names them.
Beside = Callable[[Source, SelectConfig], tuple[Source, SelectConfig]]


@dataclass(frozen=True, slots=True)
class ReferenceRows:
    """What was read.

    Attributes:
        name: what messages call it.
        rows: float32, (m, d), m ≥ 1, as checked.
        number: int64, (m,), ascending: which rows of the data these are.
        importance: float64, (m,), ≥ 0: how much it counts that each is covered; 1.0 but for a target's.
    """

    name: str
    rows: npt.NDArray[np.float32]
    number: Int64Array
    importance: npt.NDArray[np.float64]

    def checksum(self) -> str:
        """Return what tells these rows from others, whatever their order."""
        total = int(hash_rows(self.rows.view(np.uint32), self.importance.view(np.uint64)).sum(dtype=np.uint64))
        return f"{len(self.rows)} rows {total:016x}"

    def important(self) -> ReferenceRows:
        """Return the rows of which it counts that they are covered."""
        some = self.importance > 0
        if some.all():
            return self
        return ReferenceRows(self.name, self.rows[some], self.number[some], self.importance[some])


def target_mark(target: ReferenceRows, with_graph: bool) -> str:
    """Return what tells a target from others; ``with_graph``: whether points have neighbours of their own beside it."""
    return target.checksum() + (", and neighbours of points" if with_graph else "")


def reference_name(name: str, what: str) -> str:
    """Return what messages call data of some name that was given as the option ``what``."""
    return f"{option(what)} {name}"


def vector_columns(columns: pa.Schema, config: SelectConfig, name: str, importance: str | None = None) -> Columns:
    """Return which columns of some data are read for its vectors alone, or for these and their importances.

    Raises:
        InputError: there is none, or it is no column of vectors; or of numbers.
    """
    bare: dict[str, Any] = {"id_column": None, "utility": CONSTANT, "probabilities": None, "cost": None}
    bare |= {"keep_columns": (), "groups": (), "importance": importance, "target": None}
    return Columns.of(columns, config.model_copy(update=bare), name, with_embeddings=True, given=False)


def require_vectors(columns: pa.Schema, config: SelectConfig, name: str, what: str) -> None:
    """Say that points have no vectors to compare, as they need not where a graph is given.

    Raises:
        InputError: see above.
    """
    vector_columns(columns, config, f"{option(what)} compares vectors, and {name}")


def other_dimension(name: str, dimension: int, points: str, theirs: int) -> InputError:
    """Return the error for a reference of vectors of another length than those of points."""
    return InputError(
        f"{name} has vectors of {dimension:,} values, {points} of {theirs:,}: give vectors of the same model."
    )


def read_rows(
    what: str,
    name: str,
    columns: pa.Schema,
    batches: Callable[[list[str]], Iterable[pa.RecordBatch]],
    config: SelectConfig,
    points: str,
    dimension: int | None,
) -> ReferenceRows:
    """Read and check the rows of a reference.

    Args:
        what: the option that it was given as.
        name: what messages call it.
        columns: of it.
        batches: returns the batches of some columns, of plain types.
        config: embedding_column, metric, on_bad_rows; and of a target importance.
        points: what messages call the points.
        dimension: of their embeddings; None where these were not looked at.

    Raises:
        InputError: there is no embedding column or row; rows are bad and ``config.on_bad_rows`` is "error"; vectors
            are of another length than those of points; or nothing of a target is important.
    """
    rules = vector_columns(columns, config, name, config.importance if what == TARGET else None)
    lengths: Mapping[str, int] | None = None
    while True:
        checker = RowChecker(rules, config.model_copy(update={"target": None}), lengths)
        found, number, importance, n = [], [], [], 0
        for batch in batches(rules.names):
            good = checker.check(batch)
            if good.embeddings is not None and len(good.embeddings):
                found.append(good.embeddings)
                number.append(n + good.kept)
                importance.append(np.ones(len(good.kept)) if good.importance is None else good.importance)
            n += len(batch)
        if checker.settled():
            break
        lengths = checker.findings.length_of_most()
    findings = checker.findings
    findings.examples = {reason: [] for reason in findings.counts}
    if not n:
        raise InputError(f"{name} is empty: there is nothing {_TO[what]}. Leave it out, or give another.")
    length = findings.length_of_most().get(config.embedding_column, 0)
    if dimension is not None and length not in (0, dimension):
        raise other_dimension(name, length, points, dimension)
    findings.refuse(name, n, sum(map(len, found)), config)
    findings.refuse_unimportant(name, rules.importance)
    if findings.counts:
        log.warning("%s", in_library(f"{name}: dropped {findings.describe(n)}"))
    return ReferenceRows(
        name,
        np.ascontiguousarray(np.concatenate(found)),
        np.concatenate(number).astype(np.int64),
        np.concatenate(importance),
    )


def nothing_beside(source: Source, config: SelectConfig) -> tuple[Source, SelectConfig]:
    """Return data and the names of its columns as they are."""
    return source, config


def open_rows(
    what: str,
    data: Any,
    config: SelectConfig,
    storage_options: Mapping[str, Any] | None,
    points: str,
    dimension: int | None,
    beside: Beside = nothing_beside,
) -> ReferenceRows:
    """Open, read and check a reference in this process.

    Args:
        what: the option that it was given as.
        data: see `subsel.input.source.open_source`.
        config, points, dimension: see `read_rows`.
        storage_options: how paths are opened.
        beside: adds columns that were given beside the data.

    Raises:
        InputError: see `open_source` and `read_rows`.
    """
    if isinstance(data, np.ndarray) and data.ndim != 2:
        raise InputError(f"{option(what)} has shape {data.shape}, but must be (m, d).")
    wanted = {config.embedding_column, config.importance if what == TARGET else None}
    source, config = beside(open_source(data, wanted.__contains__, config, storage_options, option(what)), config)
    name = reference_name(source.name, what)
    rules = vector_columns(source.schema, config, name, config.importance if what == TARGET else None)
    require_columns(source, rules.names)
    return read_rows(what, name, source.schema, source.batches, config, points, dimension)
