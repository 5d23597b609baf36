"""The rules of rows: what is bad, how long lists are, and which of several rows with one id stays. For every engine.

A row has one reason at most, the first that holds, in this order: null id; a utility that is null, NaN or infinite
(or probabilities that are none); a cost that is null, negative or above 2^62; an importance that is null, NaN, infinite
or negative; an embedding that is null, of another length than most, not finite, or zero under cosine (or too long for
the other metrics). Lists are as long as most are over the whole input; among lengths equally common, the longer. Of the
good rows with one id the one of the largest utility stays (of several columns the first decides); then the one whose
embedding and other utilities hash lowest; then the one whose kept columns, wishes, cost, importance and groups come
first as text: what they hold decides, never where they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel import schema
from subsel.config import SelectConfig
from subsel.errors import InputError, option
from subsel.fixedpoint import Int64Array
from subsel.input.checked import CheckedBatch
from subsel.input.findings import SHOWN, Findings
from subsel.input.groups import GroupColumn, as_groups, check_cost_type, costs_of
from subsel.input.ids import smallest, storage_type, stored_ids
from subsel.input.importance import FloatArray, check_importance_type, importances_of
from subsel.input.names import lacking
from subsel.input.types import flat_lists, is_floating, is_numeric, value_type
from subsel.input.utility import (
    BUILT_IN,
    OF_PROBABILITIES,
    Utility,
    possible_columns,
    utility_of_probabilities,
    valid_probabilities,
)

#: Under inner product and L2, squared lengths stay far below float32's largest value, so that sums of them do too.
LARGEST_SQUARE = 1e34
#: Under cosine, where only direction counts, longer and shorter vectors are scaled by a power of two before they become
#: float32, so that nothing overflows or vanishes.
_SQUARES_AS_THEY_ARE = (2.0**-120, 2.0**120)

REPEATED = "repeated id"


def _type_of(
    columns: pa.Schema, name: str, column: str, what: str, keyword: str, others: Sequence[str] = ()
) -> pa.DataType:
    """Return the type of a column that is needed once, or raise an `InputError` with the option that names another."""
    if columns.names.count(column) > 1:
        raise InputError(f"{name} has {columns.names.count(column)} columns {column!r}: rename all but one.")
    if column not in columns.names:
        more = f", or {', '.join(others)}" if others else ""
        raise InputError(
            f"{name} has no {what} column {lacking(column, columns, *others)}: "
            f"name the right one with {option(keyword)}{more}."
        )
    return columns.field(column).type


def embedding_type(columns: pa.Schema, config: SelectConfig, name: str) -> pa.DataType:
    """Return the plain type of the embedding column.

    Args:
        columns: those that there are, of plain types.
        config: names it.
        name: what messages call the input.

    Raises:
        InputError: it is missing or of the wrong type.
    """
    kind = _type_of(columns, name, config.embedding_column, "embedding", "embedding_column")
    if not (is_numeric(value_type(kind)) or pa.types.is_null(kind)):
        raise InputError(
            f"column {config.embedding_column!r} of {name} is {kind}, but must be lists of float16, float32 or "
            "float64 (or integers): cast it."
        )
    return kind


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are read, after their types were checked; ``id`` is None where rows are numbered instead.

    ``beside`` are those that are kept, that wishes name, or that say what points cost, how much it counts that they are
    covered, and in which groups they are: the last thing by which rows of one id differ. ``times`` counts the rows that
    each stands for, where an engine has added that: its importance is so many times as much.
    """

    id: str | None
    id_type: pa.DataType
    embedding: str | None
    utility: Utility
    beside: tuple[str, ...] = ()
    cost: str | None = None
    groups: tuple[GroupColumn, ...] = ()
    importance: str | None = None
    times: str | None = None

    @property
    def names(self) -> list[str]:
        """Names to read, each once."""
        wanted = (self.id, self.embedding, *(one.column for one in self.utility.stored), self.cost)
        wanted += (self.importance, self.times)
        wanted += tuple(one.name for one in self.groups)
        return list(dict.fromkeys(name for name in wanted if name is not None))

    @property
    def lists(self) -> list[str]:
        """Those of lists: embeddings and probabilities."""
        wanted = [self.embedding, *(one.column for one in self.utility.stored if one.kind in OF_PROBABILITIES)]
        return list(dict.fromkeys(name for name in wanted if name is not None))

    @classmethod
    def of(
        cls,
        columns: pa.Schema,
        config: SelectConfig,
        name: str,
        *,
        with_embeddings: bool,
        given: bool,
        wishes: Iterable[str] = (),
    ) -> Columns:
        """Choose columns by the config.

        Args:
            columns: those that there are, of plain types.
            config: names of columns.
            name: what messages call the input.
            with_embeddings: False where a graph is given.
            given: whether utilities come from outside.
            wishes: names that may be columns.

        Raises:
            InputError: one is missing or of the wrong type.
        """

        require = partial(_type_of, columns, name)
        id_type = pa.int64() if config.id_column is None else require(config.id_column, "id", "id_column")
        storage_type(id_type)
        if with_embeddings:
            embedding_type(columns, config, name)
        utility = Utility.of(config, columns.names, given=given)
        for one in utility.stored if not given else ():
            assert one.column is not None
            if one.kind in OF_PROBABILITIES:
                kind = require(one.column, "probabilities", "probabilities")
                if not is_floating(value_type(kind)):
                    told = f"column {one.column!r} of {name} is {kind}"
                    raise InputError(f"{told}, but must be lists of floats: cast it.")
                continue
            kind = require(one.column, "utility", "utility", BUILT_IN)
            if not (is_numeric(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
                raise InputError(f"column {one.column!r} of {name} is {kind}, but utilities are numbers: cast it.")
        for kept in config.keep_columns:
            require(kept, "kept", "keep_columns")
        limits = list(config.groups)
        if config.cost is not None:
            limits.insert(0, config.cost)
            check_cost_type(config.cost, require(config.cost, "cost", "cost"), name)
        importance = config.importance if config.target is None else None  # else the target has it
        if importance is not None:
            limits.append(importance)
            check_importance_type(importance, require(importance, "importance", "importance"), name)
        groups = tuple(GroupColumn.of(one, require(one, "group", "groups"), name) for one in config.groups)
        embedding = config.embedding_column if with_embeddings else None
        beside = dict.fromkeys([*config.keep_columns, *(wish for wish in wishes if wish in columns.names), *limits])
        about = config.cost, groups, importance
        return cls(config.id_column, id_type, embedding, utility, tuple(beside), *about)


def may_be_read(config: SelectConfig, more: tuple[Any, ...] = ()) -> Any:
    """Return a function that says of a column whether this config, or ``more``, may ask for it."""
    asked = {config.id_column, config.embedding_column, config.probabilities, *config.keep_columns}
    asked |= possible_columns(config) | {config.cost, config.importance, *config.groups}
    asked |= {schema.SRC, schema.DST, schema.SIMILARITY, *(one for one in more if isinstance(one, str))}
    return asked.__contains__


class RowChecker:
    """Checks batches of rows by the rules, leaves bad ones out, and notes them in ``findings``.

    Args:
        columns: which to check.
        config: metric.
        lengths: of lists, by column; what is not given is taken from the first batch, and `settled` tells whether that
            was right.
    """

    def __init__(self, columns: Columns, config: SelectConfig, lengths: Mapping[str, int] | None = None) -> None:
        self.columns, self.config = columns, config
        self.lengths: dict[str, int] = dict(lengths or {})
        self.findings = Findings()

    def settled(self) -> bool:
        """Return whether lists were checked against the length that most of them turned out to have."""
        most = self.findings.length_of_most()
        return all(self.lengths.get(column, length) == length for column, length in most.items())

    def check(
        self, batch: pa.RecordBatch, given: npt.NDArray[np.float64] | None = None, first_row: int = 0
    ) -> CheckedBatch:
        """Return the good rows of a batch.

        Args:
            batch: the columns, of plain types.
            given: float64, (b,): its utilities where they come from outside.
            first_row: number of its first row, for inputs without ids.

        Raises:
                InputError: ids are of a kind that no ids have.
        """
        if self.columns.id is None:
            raw = pa.array(np.arange(first_row, first_row + len(batch)))
        else:
            raw = batch.column(self.columns.id)
        ids = stored_ids(raw)
        good = np.ones(len(batch), np.bool_)
        self._reject(good, ids.is_null().to_numpy(zero_copy_only=False), ids, "null id")
        utility = self._utilities(batch, given, good, ids)
        self._reject(good, ~np.asarray(np.isfinite(utility).all(axis=0)), ids, "null, NaN or infinite utility")
        cost = self._costs(batch, good, ids)
        importance = self._importances(batch, good, ids)
        values = None
        if self.columns.embedding is not None:
            lists, fits = self._lists(batch, self.columns.embedding, good, ids, "embedding")
            values = self._vectors(lists, good, fits, ids)
        groups = tuple(as_groups(batch.column(one.name)) for one in self.columns.groups)
        known = utility[0], values, utility[1:], cost, groups, importance
        found = CheckedBatch(np.arange(len(batch)), ids, *known)
        found = found if good.all() else found.take(np.flatnonzero(good))
        if found.importance is not None:
            most = float(found.importance.max(initial=0))
            self.findings.most_importance = max(self.findings.most_importance, most)
        return found

    def _costs(self, batch: pa.RecordBatch, good: npt.NDArray[np.bool_], ids: pa.Array) -> Int64Array | None:
        if self.columns.cost is None:
            return None
        cost, reasons = costs_of(batch.column(self.columns.cost))
        for reason, bad in reasons.items():
            self._reject(good, bad, ids, reason)
        return cost

    def _importances(self, batch: pa.RecordBatch, good: npt.NDArray[np.bool_], ids: pa.Array) -> FloatArray | None:
        if not self.config.covers:
            return None
        if self.config.target is not None:  # points cover, and need not be covered themselves
            return np.zeros(len(batch))
        importance: FloatArray = np.ones(len(batch))
        if self.columns.importance is not None:
            importance, reasons = importances_of(batch.column(self.columns.importance))
            for reason, bad in reasons.items():
                self._reject(good, bad, ids, reason)
        return importance if self.columns.times is None else importance * batch.column(self.columns.times).to_numpy()

    def _vectors(
        self, lists: npt.NDArray[Any], good: npt.NDArray[np.bool_], fits: npt.NDArray[np.bool_], ids: pa.Array
    ) -> npt.NDArray[np.float32]:
        """Return embeddings as float32, scaled where only their direction counts and float32 cannot hold them."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            values = lists.astype(np.float32, copy=False)
            squares = np.einsum("ij,ij->i", values, values, dtype=np.float64)
        if self.config.metric == "cosine":
            low, high = _SQUARES_AS_THEY_ARE
            odd = np.flatnonzero(fits & ~((squares >= low) & (squares <= high)))  # NaN is odd
            if len(odd):
                exact = lists[odd].astype(np.float64)
                largest = np.abs(exact).max(axis=1, initial=0)
                finite = np.isfinite(exact).all(axis=1)
                _, exponent = np.frexp(np.where(finite, largest, 1.0))
                if values is lists or np.shares_memory(values, lists):
                    values = values.copy()
                with np.errstate(invalid="ignore", under="ignore"):
                    values[odd] = np.ldexp(exact, -exponent[:, None])
                squares[odd] = np.where(finite, np.where(largest > 0, 1.0, 0.0), np.nan)
            self._reject(good, ~np.isfinite(squares), ids, "NaN or infinite embedding value")
            self._reject(good, squares == 0, ids, "zero vector, which has no cosine")
            return values
        finite = np.isfinite(squares)
        if not finite.all():
            rows = np.flatnonzero(~finite)
            finite[rows] = np.isfinite(lists[rows]).all(axis=1)  # as given, before float32 could not hold them
        self._reject(good, ~finite, ids, "NaN or infinite embedding value")
        too_long = ~(squares <= LARGEST_SQUARE)
        self._reject(good, too_long, ids, f"vector longer than 1e17, too long for {self.config.metric}")
        return values

    def _utilities(
        self, batch: pa.RecordBatch, given: npt.NDArray[np.float64] | None, good: npt.NDArray[np.bool_], ids: pa.Array
    ) -> npt.NDArray[np.float64]:
        """Return what utility is made of: float64, (c, b), one row of ones where rows have nothing of it."""
        if given is not None:
            return given[None, :]
        stored = self.columns.utility.stored
        if not stored:
            return np.ones((1, len(batch)))
        probabilities: npt.NDArray[np.float64] | None = None
        found = []
        for one in stored:
            assert one.column is not None
            if one.kind not in OF_PROBABILITIES:
                column = batch.column(one.column)
                found.append(np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)))
                continue
            if probabilities is None:
                probabilities = self._probabilities(batch, one.column, good, ids)
            enough = probabilities.shape[1] >= 2  # else `Findings.refuse` says so, if most lists are so short
            found.append(utility_of_probabilities(probabilities, one.kind) if enough else np.zeros(len(batch)))
        return np.stack(found)

    def _probabilities(
        self, batch: pa.RecordBatch, column: str, good: npt.NDArray[np.bool_], ids: pa.Array
    ) -> npt.NDArray[np.float64]:
        lists, _ = self._lists(batch, column, good, ids, "probabilities")
        values = lists.astype(np.float64)
        if good.any() and values.shape[1] >= 2:
            self._reject(good, ~valid_probabilities(values), ids, "probabilities that are negative or do not sum to 1")
        return np.nan_to_num(values)

    def _lists(
        self, batch: pa.RecordBatch, name: str, good: npt.NDArray[np.bool_], ids: pa.Array, what: str
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return list values as a (b, d) matrix, and which rows fit; rows that do not are zeros."""
        column = batch.column(name)
        lengths, flat = flat_lists(column)
        there = lengths >= 0
        seen, often = np.unique(lengths[there], return_counts=True)
        self.findings.lengths.setdefault(name, Counter()).update(dict(zip(seen.tolist(), often.tolist(), strict=True)))
        if name not in self.lengths and there.any():
            self.lengths[name] = self.findings.length_of_most()[name]
        d = self.lengths.get(name, 0)
        self._reject(good, ~there, ids, f"null {what}")
        fits = lengths == d
        self._reject(good, ~fits, ids, f"{what} of another length than most ({d})")
        if fits.all():
            return flat.reshape(len(column), d), fits
        out = np.zeros((len(column), d), flat.dtype)
        ends = np.cumsum(np.maximum(lengths, 0))
        rows = np.flatnonzero(fits)
        out[rows] = flat[(ends[rows] - d)[:, None] + np.arange(d)] if d else out[rows]
        return out, fits

    def _reject(self, good: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_], ids: pa.Array, reason: str) -> None:
        """Count rows that are bad for the first time, and remember a few of their ids."""
        first_time = np.flatnonzero(good & bad)
        if first_time.size:
            some = smallest(ids.take(pa.array(first_time)), self.columns.id_type, SHOWN)
            self.findings.add(reason, int(first_time.size), some)
            good[first_time] = False


def text_beside(batch: pa.RecordBatch, columns: tuple[str, ...]) -> list[str]:
    """Return what columns of each row hold, as text; see `Columns.beside`."""
    return [repr(tuple(row[name] for name in columns)) for row in batch.select(list(columns)).to_pylist()]
