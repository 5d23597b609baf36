"""Points in this process' memory: the Arrow executor of the rules in `subsel.input.rows`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.codes import hash_ids, unique_codes
from subsel.config import SelectConfig
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.input.checked import CheckedBatch, content_sum
from subsel.input.copies import Copies
from subsel.input.groups import GroupNames, Int32Array, content_of, numbered
from subsel.input.ids import is_unsigned, smallest
from subsel.input.rows import REPEATED, Columns, RowChecker, text_beside
from subsel.input.source import Source, iterate_columns, require_columns
from subsel.input.taking import stay_in, take_rows
from subsel.input.types import value_type
from subsel.input.utility import Utility
from subsel.report import InputReport

log = logging.getLogger(__name__)

_BLOCK_ROWS = 8_192
_PROGRESS = Callable[[float], None]


@dataclass(slots=True)
class Points:
    """The points of one input, as read and checked.

    Attributes:
        name: what messages call the input.
        ids: int64, large_string or large_binary array, (n,), see `subsel.input.ids`.
        id_type: the ids' type in the input, which the output keeps.
        code: int64, (n,): see `subsel.codes`.
        rows: int64, (n,), ascending: the input's row of each point (rows may have been dropped).
        source_rows: rows of the input, bad ones too.
        utility: float64, (n,): the first thing that it is made of; 1.0 where rows have none.
        others: float64, (c, n): what else it is made of.
        made_of: in words and columns.
        embeddings: float32, (n, d), not normalised, or float16 where the input has that; None where not asked for. The
            neighbour search takes it away, and works in the memory that it is in.
        dropped: rows dropped, by reason.
        cost: int64, (n,), ≥ 0: what each costs; None where no column says so.
        group: int32, (columns, n): the number of each point's group, column by column; None where none says so.
        groups: what these numbers stand for, column by column.
        copies: points that were merged into these; None: nobody was.
        multiplicity: int64, (n,): how many points each one stands for, itself among them; None: for itself only.
        importance: float64, (n,), ≥ 0: how much it counts that each is covered, by a column, else 1.0; None unless the
            objective is coverage.
    """

    name: str
    ids: pa.Array
    id_type: pa.DataType
    code: Int64Array
    rows: Int64Array
    source_rows: int
    utility: npt.NDArray[np.float64]
    others: npt.NDArray[np.float64]
    made_of: Utility
    embeddings: npt.NDArray[Any] | None
    dropped: dict[str, int] = field(default_factory=dict)
    cost: Int64Array | None = None
    group: Int32Array | None = None
    groups: tuple[GroupNames, ...] = ()
    copies: Copies | None = None
    multiplicity: Int64Array | None = None
    importance: npt.NDArray[np.float64] | None = None

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.ids)

    @property
    def unsigned(self) -> bool:
        """Whether ``ids`` are the bits of unsigned integers."""
        return is_unsigned(self.id_type)

    @property
    def dimension(self) -> int | None:
        """Of the embeddings, while they are here."""
        return None if self.embeddings is None else self.embeddings.shape[1]

    @property
    def counted(self) -> npt.NDArray[np.float64] | None:
        """How much it counts that each is covered, and with it those that it stands for: float64, (n,), or None."""
        if self.importance is None or self.multiplicity is None:
            return self.importance
        return self.importance * self.multiplicity

    def report(self) -> InputReport:
        """Return what was read."""
        return InputReport(
            name=self.name,
            points=self.n,
            id_type=str(self.id_type),
            utility=str(self.made_of),
            dropped_rows=self.dropped,
            cost=None if self.cost is None else exact_sum(self.cost),
        )

    def classes(self) -> Int64Array | None:
        """Return a number for each point that those of the same groups share: int64, (n,); None without groups."""
        if self.group is None:
            return None
        found = np.zeros(self.n, np.int64)
        for names, group in zip(self.groups, self.group, strict=True):
            found = np.unique(found * len(names.names) + group, return_inverse=True)[1]
        return found

    def vectors(self, some: slice) -> npt.NDArray[np.float32]:
        """Return the embeddings of some points: float32, (b, d)."""
        assert self.embeddings is not None
        return self.embeddings[some].astype(np.float32, copy=False)

    def take_embeddings(self) -> npt.NDArray[Any]:
        """Return the embeddings and forget them here."""
        assert self.embeddings is not None
        taken, self.embeddings = self.embeddings, None
        return taken

    def keep(self, some: npt.NDArray[np.bool_]) -> None:
        """Leave all points out but some: bool, (n,)."""
        self.ids = self.ids.filter(pa.array(some))
        self.code, self.rows, self.utility = self.code[some], self.rows[some], self.utility[some]
        self.others = self.others[:, some]
        self.cost, self.group = self.limits(np.flatnonzero(some))
        if self.multiplicity is not None:
            self.multiplicity = self.multiplicity[some]
        if self.importance is not None:
            self.importance = self.importance[some]
        if self.embeddings is not None:
            self.embeddings = stay_in(self.embeddings, np.flatnonzero(some))

    def limits(self, some: Int64Array) -> tuple[Int64Array | None, Int32Array | None]:
        """Return the cost and the groups of some points, as `cost` and `group` have them."""
        cost = None if self.cost is None else self.cost[some]
        return cost, None if self.group is None else self.group[:, some]

    def checksum(self) -> str:
        """Return a checksum of ids, utilities, embeddings, costs, groups and importances, in whatever order."""
        total, beside = 0, self._beside()
        for begin in range(0, self.n, _BLOCK_ROWS):
            some = slice(begin, begin + _BLOCK_ROWS)
            X = None if self.embeddings is None else self.vectors(some)
            values = self.utility[some], X, self.others[:, some]
            batch = CheckedBatch(self.rows[some], self.ids[some], *values)
            total += content_sum(batch, None if beside is None else beside[some])
        return f"{total % 2**64:016x}"

    def _beside(self) -> Int64Array | None:
        """Return what `CheckedBatch.beside` does, of all points."""
        groups = []
        for names, group in zip(self.groups, () if self.group is None else self.group, strict=True):
            numbers = pa.array(group, mask=group == (-1 if names.null is None else names.null))
            groups.append(pa.DictionaryArray.from_arrays(numbers, names.texts))
        return content_of(self.cost, groups, self.importance)


def read_points(
    source: Source,
    config: SelectConfig,
    *,
    with_embeddings: bool,
    utility: npt.NDArray[np.float64] | None = None,
    wishes: Iterable[str] = (),
    progress: _PROGRESS = lambda share: None,
) -> Points:
    """Read ids, utilities, embeddings, costs, groups and importances, checking every row.

    Args:
        source: see `subsel.input.source.open_source`.
        config: names of columns, metric, and what happens to bad rows.
        with_embeddings: False where a graph is given: then no embedding column is needed.
        utility: utilities by input row, (n,), instead of a column, see `given_utility`.
        wishes: names that may be columns, which will be read later.
        progress: called with the share of rows read.

    Raises:
        InputError: a column is missing or of the wrong type; the input is empty; rows are bad and
            ``config.on_bad_rows`` is "error".
    """
    given = utility is not None
    columns = Columns.of(
        source.schema, config, source.name, with_embeddings=with_embeddings, given=given, wishes=wishes
    )
    require_columns(source, [*columns.names, *columns.beside])
    n = source.rows
    if n == 0:
        raise InputError(f"{source.name} is empty: there is nothing to select from.")
    if utility is not None and utility.shape != (n,):
        raise InputError(
            f"utility has shape {utility.shape}, but {source.name} has {n:,} rows: give one number per row."
        )
    stored = np.dtype(f"f{width_of(source.schema, columns.embedding)}")
    reader = _Reader(columns, config, n, stored)
    reader.read(source, utility, progress)
    if not reader.checker.settled():  # lists of the first batch were of another length than most
        reader = _Reader(columns, config, n, stored, reader.checker.findings.length_of_most())
        reader.read(source, utility, progress)
    pa.default_memory_pool().release_unused()
    return reader.points(source)


def width_of(columns: pa.Schema, embedding: str | None) -> int:
    """Return how many bytes a value of a column of embeddings takes in memory: 2 where it has float16, else 4."""
    kind = None if embedding is None else value_type(columns.field(embedding).type)
    return 2 if kind is not None and pa.types.is_float16(kind) else 4


class _Reader:
    """Fills one matrix and one utility vector with the good rows, batch by batch."""

    def __init__(
        self,
        columns: Columns,
        config: SelectConfig,
        n: int,
        stored: np.dtype[Any],
        lengths: dict[str, int] | None = None,
    ) -> None:
        self.columns, self.config, self.n, self.stored = columns, config, n, stored
        self.checker = RowChecker(columns, config, lengths)
        self.seen = 0
        self.kept = 0
        self.ids: list[pa.Array] = []
        self.rows: list[Int64Array] = []
        self.utility = np.empty(n, np.float64)
        self.others = np.empty((max(0, len(columns.utility.stored) - 1), n), np.float64)
        self.cost = np.empty(0 if columns.cost is None else n, np.int64)
        self.importance = np.empty(n if config.covers else 0, np.float64)
        self.groups: list[tuple[pa.DictionaryArray, ...]] = []
        self.matrix: npt.NDArray[Any] | None = None

    def read(self, source: Source, utility: npt.NDArray[np.float64] | None, progress: _PROGRESS) -> None:
        """Check all batches and keep their good rows."""
        names = self.columns.names or source.schema.names[:1]
        for batch in iterate_columns(source, names):
            some = slice(self.seen, self.seen + len(batch))
            good = self.checker.check(batch, None if utility is None else utility[some], self.seen)
            begin, self.kept = self.kept, self.kept + len(good.ids)
            self.utility[begin : self.kept] = good.utility
            self.others[:, begin : self.kept] = good.others
            if good.embeddings is not None:
                if self.matrix is None and len(good.ids):
                    self.matrix = np.empty((self.n, good.embeddings.shape[1]), self.stored)
                if self.matrix is not None:
                    self.matrix[begin : self.kept] = good.embeddings
            if good.cost is not None:
                self.cost[begin : self.kept] = good.cost
            if good.importance is not None:
                self.importance[begin : self.kept] = good.importance
            self.groups.append(good.groups)
            self.ids.append(good.ids)
            self.rows.append(self.seen + good.kept)
            self.seen += len(batch)
            progress(self.seen / self.n)

    def points(self, source: Source) -> Points:
        """Check what can be checked only now, and return the points."""
        findings = self.checker.findings
        ids = pa.concat_arrays(self.ids)
        rows = np.concatenate(self.rows)
        losers = self._losers(source, ids, rows)
        if losers.size:
            findings.add(REPEATED, int(losers.size), smallest(ids.take(pa.array(losers)), self.columns.id_type, 3))
        findings.refuse(source.name, self.n, len(ids) - losers.size, self.config)
        findings.refuse_unimportant(source.name, self.columns.importance)
        utility, others = self.utility[: self.kept], self.others[:, : self.kept]
        matrix = None if self.matrix is None else self.matrix[: self.kept]
        keep = None
        if losers.size:
            keep = np.delete(np.arange(self.kept), losers)
            ids, rows, utility, others = ids.take(pa.array(keep)), rows[keep], utility[keep], others[:, keep]
            if matrix is not None:
                matrix = stay_in(matrix, keep)
        named, group = self._groups(source, keep)
        stay = slice(self.kept) if keep is None else keep
        cost = None if self.columns.cost is None else self.cost[stay]
        if findings.counts:
            log.warning("%s: dropped %s", source.name, findings.describe(self.n))
        return Points(
            name=source.name,
            ids=ids,
            id_type=self.columns.id_type,
            code=unique_codes(ids, self.config.seed)[0],
            rows=rows,
            source_rows=self.n,
            utility=utility,
            others=others,
            made_of=self.columns.utility,
            embeddings=matrix,
            dropped=findings.dropped(),
            cost=cost,
            group=group,
            groups=named,
            importance=self.importance[stay] if self.config.covers else None,
        )

    def _groups(self, source: Source, keep: Int64Array | None) -> tuple[tuple[GroupNames, ...], Int32Array | None]:
        """Return the groups of each column, and the numbers of those that the good rows are in, or some of these."""
        if not self.columns.groups:
            return (), None
        columns = zip(self.columns.groups, zip(*self.groups, strict=True), strict=True)
        found = [numbered(column, pieces, keep, source.name) for column, pieces in columns]
        return tuple(names for names, _ in found), np.stack([numbers for _, numbers in found])

    def _losers(self, source: Source, ids: pa.Array, rows: Int64Array) -> Int64Array:
        """Return the good rows, among those with an id that others have too, that do not stay: int64, ascending."""
        code = hash_ids(ids, seed=0)
        order = np.argsort(code, kind="stable")
        equal = code[order[1:]] == code[order[:-1]]
        if not equal.any():
            return np.empty(0, np.int64)
        twice = np.unique(np.concatenate([order[1:][equal], order[:-1][equal]]))
        X = None if self.matrix is None else self.matrix[twice].astype(np.float32)
        utility = self.utility[twice]
        others = self.others[:, twice]
        content = CheckedBatch(rows[twice], ids.take(pa.array(twice)), utility, X, others).content()
        text = self._texts(source, rows[twice])
        name = ids.take(pa.array(twice)).to_pylist()
        ranked = sorted(range(len(twice)), key=lambda i: (name[i], -utility[i], content[i], text[i], twice[i]))
        losers = [twice[b] for a, b in pairwise(ranked) if name[a] == name[b]]
        return np.sort(np.array(losers, np.int64))

    def _texts(self, source: Source, rows: Int64Array) -> list[str]:
        beside = self.columns.beside
        if not beside:
            return [""] * len(rows)
        return [text for batch in take_rows(source, list(beside), rows) for text in text_beside(batch, beside)]


def given_utility(utility: Any, data: Any) -> npt.NDArray[np.float64]:
    """Return utilities that were given beside the data as an array: float64.

    Args:
        utility: array, list, series or column of numbers.
        data: of the call: a pandas series must have the index of a pandas frame, else a plain one.

    Raises:
        InputError: they are not numbers, or a series' index says that its order is another.
    """
    check_index(utility, data, "utility")
    if not hasattr(utility, "dtype") and hasattr(utility, "__getitem__") and hasattr(utility, "__len__"):
        utility = list(utility[:]) if not isinstance(utility, pa.ChunkedArray | pa.Array) else utility
    if isinstance(utility, pa.ChunkedArray | pa.Array):
        utility = (
            utility.to_pandas()
            if pa.types.is_dictionary(utility.type)
            else utility.to_numpy(zero_copy_only=False)
            if isinstance(utility, pa.Array)
            else utility.to_numpy()
        )
    if isinstance(utility, np.ma.MaskedArray):
        utility = np.ma.filled(utility.astype(np.float64), np.nan)
    try:
        raw = np.asarray(utility)
        if raw.dtype.kind not in "biufO":
            raise TypeError(f"they are {raw.dtype}")
        return raw.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"utility is not an array of numbers: {error}.") from error


def check_index(values: Any, data: Any, what: str) -> None:
    """Refuse a pandas series that was given beside a pandas frame of another index, or has one of its own.

    Raises:
        InputError: see above.
    """
    index = getattr(values, "index", None)
    if index is not None and hasattr(values, "iloc"):
        own = getattr(data, "index", None) if hasattr(data, "iloc") else np.arange(len(index))
        if own is None or len(own) != len(index) or not np.array_equal(np.asarray(own), np.asarray(index)):
            raise InputError(
                f"{what}'s index is not that of data: align them, or give {what}.to_numpy() to go by position."
            )


def array_checksum(*arrays: Any) -> str:
    """Return a checksum of arrays that were given: what tells them from others in a run directory."""
    found = hashlib.sha256()
    for one in arrays:
        array = np.ascontiguousarray(one)
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return found.hexdigest()[:16]
