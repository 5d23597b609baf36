"""Points from anything that speaks Arrow, checked row by row while read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from subsel import schema
from subsel.codes import codes_of, id_storage_type, repeated_rows
from subsel.config import SelectConfig
from subsel.constraints import no_such_wish, not_boolean
from subsel.embeddings.metrics import LARGEST_SQUARE, rows_per_block
from subsel.embeddings.utility import utility_of_probabilities, valid_probabilities
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array

log = logging.getLogger(__name__)

_BATCH_ROWS = 8_192
_SHOWN = 3  # examples in a message
#: What to do about bad rows.
MEND = "Mend them, or set on_bad_rows='drop' to leave them out."


@dataclass(slots=True)
class Points:
    """The points of one input, as read and checked.

    Attributes:
        name: what messages call the input.
        ids: int64 or large_string array, (n,).
        id_type: the ids' type in the input, which the output keeps.
        code: int64, (n,): see `subsel.codes`.
        rows: int64, (n,), ascending: the input's row of each point (rows may have been dropped).
        utility: float64, (n,).
        utility_source: where it came from, in words.
        embeddings: float32, (n, d), not normalised; None where not asked for. The neighbour search takes it
            away, to free it as soon as it has its own copy.
        dropped: rows dropped, by reason.
    """

    name: str
    ids: pa.Array
    id_type: pa.DataType
    code: Int64Array
    rows: Int64Array
    utility: npt.NDArray[np.float64]
    utility_source: str
    embeddings: npt.NDArray[np.float32] | None
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.ids)

    def take_embeddings(self) -> npt.NDArray[np.float32]:
        """Return the embeddings and forget them here."""
        assert self.embeddings is not None
        taken, self.embeddings = self.embeddings, None
        return taken


def open_dataset(data: Any, config: SelectConfig) -> tuple[pads.Dataset, str]:
    """Return anything that holds points as an Arrow dataset, without copying embeddings, and its name.

    Understood: a path of a Parquet file or folder; Arrow tables, batches, readers and datasets; pandas and
    polars data frames; Hugging Face datasets; whatever has ``__arrow_c_stream__``; numpy (n, d) arrays,
    whose ids are then 0…n-1.

    Raises:
        InputError: the path does not exist or holds no Parquet, or the type is not understood.
    """
    if isinstance(data, str | Path):
        return _open_path(Path(data)), str(data)
    if isinstance(data, pads.Dataset):
        return data, "the dataset"
    if isinstance(data, np.ndarray):
        return pads.dataset(_table_of_matrix(data, config)), "the array"
    if hasattr(data, "with_format") and hasattr(data, "features"):  # a Hugging Face dataset
        if not hasattr(data, "select_columns") or not hasattr(data, "__len__"):
            raise InputError(
                "a Hugging Face IterableDataset cannot be read twice: save it to Parquet and give the path."
            )
        data = data.select_columns(_wanted(data.column_names, config)).with_format("arrow")[:]
    elif type(data).__module__.split(".")[0] == "pandas":
        data = pa.Table.from_pandas(data[_wanted(list(data.columns), config)], preserve_index=False)
    elif not isinstance(data, pa.Table):
        if isinstance(data, pa.RecordBatch):
            data = pa.Table.from_batches([data])
        elif hasattr(data, "__arrow_c_stream__"):
            data = pa.table(data)
        else:
            raise InputError(
                f"data of type {type(data).__name__} is not understood: give a Parquet path, an Arrow table or "
                "dataset, a pandas or polars frame, a Hugging Face dataset, or a numpy (n, d) array."
            )
    return pads.dataset(data), "the table"


def _wanted(names: list[str], config: SelectConfig) -> list[str]:
    """Return which columns of a container could be asked for, so that no other is converted."""
    asked = {config.id_column, config.embedding_column, config.utility, config.probabilities, *config.keep_columns}
    asked |= {schema.UTILITY, schema.SRC, schema.DST, schema.SIMILARITY}
    return [name for name in names if name in asked]


def read_points(
    data: Any,
    config: SelectConfig,
    *,
    with_embeddings: bool,
    utility: npt.ArrayLike | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Points:
    """Read ids, utilities and embeddings, checking every row.

    Args:
        data: see `open_dataset`.
        config: names of columns, metric, and what happens to bad rows.
        with_embeddings: False where a graph is given: then no embedding column is needed.
        utility: utilities by input row, (n,), instead of a column.
        progress: called with the share of rows read.

    Raises:
        InputError: a column is missing or of the wrong type; the input is empty; rows are bad (null, NaN or
            infinite values, zero vectors under cosine, unequal dimensions, null or repeated ids) and
            ``config.on_bad_rows`` is "error".
    """
    dataset, name = open_dataset(data, config)
    columns = Columns.of(dataset.schema, config, name, with_embeddings, utility is not None)
    n = dataset.count_rows()
    if n == 0:
        raise InputError(f"{name} is empty: there is nothing to select from.")
    given = None if utility is None else _given_utility(utility, n, name)
    reader = _Reader(columns, config, n)
    for batch in _scan(dataset, columns.names, name):
        if len(batch):
            reader.read(batch, None if given is None else given[reader.seen : reader.seen + len(batch)])
            progress(reader.seen / n)
    pa.default_memory_pool().release_unused()
    return reader.points(name)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns are read, after their types were checked."""

    id: str
    id_type: pa.DataType
    embedding: str | None
    utility: str | None
    probabilities: str | None
    utility_source: str

    @property
    def names(self) -> list[str]:
        """Names to read, each once."""
        wanted = (self.id, self.embedding, self.utility, self.probabilities)
        return list(dict.fromkeys(name for name in wanted if name is not None))

    @classmethod
    def of(cls, columns: pa.Schema, config: SelectConfig, name: str, with_embeddings: bool, given: bool) -> Columns:
        """Choose columns by the config.

        Raises:
            InputError: one is missing or of the wrong type.
        """

        def require(column: str, what: str, option: str) -> pa.DataType:
            if columns.names.count(column) > 1:
                raise InputError(f"{name} has {columns.names.count(column)} columns {column!r}: rename all but one.")
            if column not in columns.names:
                raise InputError(
                    f"{name} has no {what} column {column!r}; it has {', '.join(columns.names)}: "
                    f"name the right one with {option}."
                )
            return columns.field(column).type

        id_type = require(config.id_column, "id", "id_column")
        id_storage_type(id_type)
        if with_embeddings:
            kind = _value_type(require(config.embedding_column, "embedding", "embedding_column"))
            if kind is None or not pa.types.is_floating(kind):
                raise InputError(
                    f"column {config.embedding_column!r} of {name} is "
                    f"{columns.field(config.embedding_column).type}, but must be lists of float16, float32 or "
                    "float64: cast it."
                )
        column, probabilities = config.utility, config.probabilities
        source = f"column {column!r}"
        if given:
            column = probabilities = None
            source = "given array"
        elif probabilities is not None:
            kind = _value_type(require(probabilities, "probabilities", "probabilities"))
            if kind is None or not pa.types.is_floating(kind):
                raise InputError(f"column {probabilities!r} of {name} must be lists of floats: cast it.")
            source = f"{config.utility_from} of column {probabilities!r}"
        elif column is None:
            column = schema.UTILITY if schema.UTILITY in columns.names else None
            source = f"column {column!r}" if column else "1.0 for every point"
        if column is not None:
            kind = require(column, "utility", "utility")
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
                raise InputError(f"column {column!r} of {name} is {kind}, but utilities are numbers: cast it.")
        for kept in config.keep_columns:
            require(kept, "kept", "keep_columns")
        embedding = config.embedding_column if with_embeddings else None
        return cls(config.id_column, id_type, embedding, column, probabilities, source)


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """The good rows of a batch: where they stood in it, ids, utilities, and embeddings (None if not asked for)."""

    kept: Int64Array
    ids: pa.Array
    utility: npt.NDArray[np.float64]
    embeddings: npt.NDArray[np.float32] | None


class RowChecker:
    """Checks batches of rows, leaves bad ones out, and counts them by reason.

    Attributes:
        dimension: length of lists by what they are; taken from the first good row unless given.
        bad_count: rows left out, by reason.
        bad: a few ids of those, by reason.
    """

    def __init__(self, columns: Columns, config: SelectConfig, dimension: int | None = None) -> None:
        self.columns, self.config = columns, config
        self.dimension: dict[str, int] = {} if dimension is None else {"embedding": dimension}
        self.bad: dict[str, list[Any]] = {}
        self.bad_count: dict[str, int] = {}

    def check(self, batch: pa.RecordBatch, given: npt.NDArray[np.float64] | None = None) -> CheckedBatch:
        """Return the good rows of a batch; ``given`` are its utilities where they come from outside."""
        ids = batch.column(self.columns.id)
        good = np.ones(len(batch), np.bool_)
        self._reject(good, ids.is_null().to_numpy(zero_copy_only=False), ids, "null id")
        utility = self._utilities(batch, given, good, ids)
        self._reject(good, ~np.isfinite(utility), ids, "null, NaN or infinite utility")
        values = None
        if self.columns.embedding is not None:
            values = self._lists(batch.column(self.columns.embedding), good, ids, "embedding")
            with np.errstate(over="ignore"):
                values = values.astype(np.float32, copy=False)
            self._reject(good, np.asarray(~np.isfinite(values).all(axis=1)), ids, "NaN or infinite embedding value")
            if self.config.metric == "cosine":
                self._reject(good, np.asarray(~values.any(axis=1)), ids, "zero vector, which has no cosine")
            else:
                squares = np.einsum("ij,ij->i", values, values, dtype=np.float64)
                self._reject(
                    good, squares > LARGEST_SQUARE, ids, f"vector longer than 1e17, too long for {self.config.metric}"
                )
        if good.all():
            return CheckedBatch(np.arange(len(batch)), stored_ids(ids), utility, values)
        kept = np.flatnonzero(good)
        return CheckedBatch(
            kept, stored_ids(ids.take(pa.array(kept))), utility[kept], None if values is None else values[kept]
        )

    def describe_bad(self, n: int) -> str:
        """Say in one line what was bad in ``n`` rows."""
        return describe_bad(self.bad_count, self.bad, n)

    def _utilities(
        self, batch: pa.RecordBatch, given: npt.NDArray[np.float64] | None, good: npt.NDArray[np.bool_], ids: pa.Array
    ) -> npt.NDArray[np.float64]:
        if given is not None:
            return given
        if self.columns.probabilities is not None:
            values = self._lists(batch.column(self.columns.probabilities), good, ids, "probabilities")
            values = values.astype(np.float64)
            if not good.any():
                return np.zeros(len(batch))
            if values.shape[1] < 2:
                raise InputError(f"column {self.columns.probabilities!r} has fewer than 2 classes: margins need two.")
            self._reject(good, ~valid_probabilities(values), ids, "probabilities that are negative or do not sum to 1")
            return utility_of_probabilities(np.nan_to_num(values), self.config.utility_from)
        if self.columns.utility is not None:
            column = batch.column(self.columns.utility)
            return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        return np.ones(len(batch))

    def _lists(self, column: pa.Array, good: npt.NDArray[np.bool_], ids: pa.Array, what: str) -> npt.NDArray[Any]:
        """Return list values as a (b, d) matrix; rows that are null or of another length become zeros."""
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
        self._reject(good, lengths < 0, ids, f"null {what}")
        if what not in self.dimension and good.any():
            self.dimension[what] = int(np.bincount(lengths[good]).argmax())  # the commonest: one odd row is the odd one
        d = self.dimension.get(what, 0)
        if d == 0 and good.any():
            raise InputError(f"{what} lists are empty: they need at least one value.")
        self._reject(good, np.asarray(lengths != d), ids, f"{what} of another length than most ({d})")
        if pa.types.is_fixed_size_list(column.type):
            flat = column.values.slice(column.offset * column.type.list_size, len(column) * column.type.list_size)
        else:
            flat = column.flatten()
        values = flat.to_numpy(zero_copy_only=False)  # nulls become NaN, which is rejected later
        fits = lengths == d
        if fits.all() or (pa.types.is_fixed_size_list(column.type) and column.type.list_size == d):
            return np.asarray(values.reshape(len(column), d))
        out = np.zeros((len(column), d), values.dtype)
        ends = np.cumsum(np.maximum(lengths, 0))
        for row in np.flatnonzero(fits):
            out[row] = values[ends[row] - d : ends[row]]
        return out

    def _reject(self, good: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_], ids: pa.Array, reason: str) -> None:
        """Count rows that are bad for the first time, and remember a few of their ids."""
        first_time = np.flatnonzero(good & bad)
        if first_time.size:
            self.bad_count[reason] = self.bad_count.get(reason, 0) + int(first_time.size)
            shown = self.bad.setdefault(reason, [])
            shown.extend(ids.take(pa.array(first_time[: _SHOWN - len(shown)])).to_pylist())
            good[first_time] = False


def describe_bad(counts: dict[str, int], examples: dict[str, list[Any]], n: int) -> str:
    """Say in one line how many of ``n`` rows were bad, why, and name a few."""
    parts = []
    for reason, count in counts.items():
        some = ", ".join(repr(i) for i in examples[reason][:_SHOWN])
        parts.append(f"{count:,} of {n:,} rows: {reason} (ids {some})")
    return "; ".join(parts)


class _Reader:
    """Fills one matrix and one utility vector with the good rows, batch by batch."""

    def __init__(self, columns: Columns, config: SelectConfig, n: int) -> None:
        self.columns, self.config, self.n = columns, config, n
        self.checker = RowChecker(columns, config)
        self.seen = 0
        self.kept = 0
        self.ids: list[pa.Array] = []
        self.rows: list[Int64Array] = []
        self.utility = np.empty(n, np.float64)
        self.matrix: npt.NDArray[np.float32] | None = None

    def read(self, batch: pa.RecordBatch, given: npt.NDArray[np.float64] | None) -> None:
        """Check a batch and keep its good rows."""
        good = self.checker.check(batch, given)
        begin, self.kept = self.kept, self.kept + len(good.ids)
        self.utility[begin : self.kept] = good.utility
        if good.embeddings is not None:
            if self.matrix is None and len(good.ids):
                self.matrix = np.empty((self.n, good.embeddings.shape[1]), np.float32)
            if self.matrix is not None:
                self.matrix[begin : self.kept] = good.embeddings
        self.ids.append(good.ids)
        self.rows.append(self.seen + good.kept)
        self.seen += len(batch)

    def points(self, name: str) -> Points:
        """Check what can be checked only now, and return the points."""
        checker = self.checker
        ids = pa.concat_arrays(self.ids)
        rows = np.concatenate(self.rows)
        repeats = repeated_rows(ids)
        if repeats.size:
            checker.bad_count["repeated id"] = int(repeats.size)
            checker.bad["repeated id"] = ids.take(pa.array(repeats[:_SHOWN])).to_pylist()
        if checker.bad_count and self.config.on_bad_rows == "error":
            raise InputError(f"{name}: {checker.describe_bad(self.n)}. {MEND}")
        utility, matrix = self.utility[: self.kept], None if self.matrix is None else self.matrix[: self.kept]
        if repeats.size:
            keep = np.delete(np.arange(self.kept), repeats)
            ids, rows, utility = ids.take(pa.array(keep)), rows[keep], utility[keep]
            if matrix is not None:
                for begin in range(0, len(keep), _BATCH_ROWS):  # in place: keep[i] >= i
                    chunk = keep[begin : begin + _BATCH_ROWS]
                    matrix[begin : begin + len(chunk)] = matrix[chunk]
                matrix = matrix[: len(keep)]
        if len(ids) == 0:
            raise InputError(f"{name} has no good row left: {checker.describe_bad(self.n)}.")
        if checker.bad_count:
            log.warning("%s: dropped %s", name, checker.describe_bad(self.n))
        return Points(
            name=name,
            ids=ids,
            id_type=self.columns.id_type,
            code=codes_of(ids, self.config.seed),
            rows=rows,
            utility=utility,
            utility_source=self.columns.utility_source,
            embeddings=matrix,
            dropped=dict(checker.bad_count),
        )


def kept_columns(data: Any, config: SelectConfig, rows: Int64Array) -> pa.Table:
    """Return ``config.keep_columns`` of some input rows, in the order of ``rows`` (int64, any order)."""
    dataset, name = open_dataset(data, config)
    order = np.argsort(rows)
    ascending = rows[order]
    parts, begin = [], 0
    for batch in _scan(dataset, list(config.keep_columns), name):
        lo, hi = np.searchsorted(ascending, [begin, begin + len(batch)])
        if lo < hi:
            parts.append(batch.take(pa.array(ascending[lo:hi] - begin)))
        begin += len(batch)
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    return pa.Table.from_batches(parts).take(pa.array(place))


def subset_ids(subset: Any, config: SelectConfig, what: str = "the subset") -> pa.Array:
    """Return a subset's ids, int64 or large_string: from an array or list of ids, or an input's id column.

    Raises:
        InputError: ids are null, repeated, or neither integers nor strings.
    """
    if isinstance(subset, pa.ChunkedArray):
        ids = subset
    elif isinstance(subset, pa.Array):
        ids = pa.chunked_array([subset])
    elif isinstance(subset, list | tuple) or getattr(subset, "ndim", None) == 1 or hasattr(subset, "to_list"):
        ids = pa.chunked_array([pa.array(np.asarray(subset))])
    else:
        batches = list(iterate_columns(subset, config, [config.id_column]))
        ids = pa.chunked_array([batch.column(0) for batch in batches]) if batches else pa.chunked_array([], pa.int64())
    if len(ids) == 0:
        return pa.array([], pa.int64())
    if ids.null_count:
        raise InputError(f"{ids.null_count:,} of {len(ids):,} ids of {what} are null.")
    repeats = len(repeated_rows(ids))
    if repeats:
        raise InputError(f"{repeats:,} of {len(ids):,} ids of {what} repeat another: make them unique.")
    return stored_ids(ids.combine_chunks())


def boolean_column(data: Any, config: SelectConfig, column: str, what: str) -> npt.NDArray[np.bool_]:
    """Return a boolean column of an input, which says what to ``what``: bool, (rows,); null is False.

    Raises:
        InputError: there is no such column, or it is not boolean.
    """
    dataset, name = open_dataset(data, config)
    if column not in dataset.schema.names:
        raise InputError(no_such_wish(column, what, name, dataset.schema.names))
    pieces = []
    for batch in iterate_columns(data, config, [column]):
        if not pa.types.is_boolean(batch.column(0).type):
            raise InputError(not_boolean(column, str(batch.column(0).type)))
        pieces.append(batch.column(0).fill_null(False).to_numpy(zero_copy_only=False))
    return np.concatenate(pieces) if pieces else np.empty(0, np.bool_)


def iterate_columns(data: Any, config: SelectConfig, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the named columns of an input in batches."""
    dataset, name = open_dataset(data, config)
    missing = [column for column in columns if column not in dataset.schema.names]
    if missing:
        raise InputError(f"{name} has no column {missing[0]!r}; it has {', '.join(dataset.schema.names)}.")
    yield from _scan(dataset, columns, name)


def _batch_rows(dataset: pads.Dataset) -> int:
    """Return rows per batch: fewer where lists are long, as far as the schema says."""
    sizes = [field.type.list_size for field in dataset.schema if pa.types.is_fixed_size_list(field.type)]
    return min(_BATCH_ROWS, rows_per_block(max(sizes, default=512)))


def _scan(dataset: pads.Dataset, columns: list[str], name: str) -> Iterator[pa.RecordBatch]:
    """Yield batches in the dataset's order, without reading ahead: what is in memory is one batch, not files."""
    options = {}
    if isinstance(dataset, pads.FileSystemDataset):
        options["fragment_scan_options"] = pads.ParquetFragmentScanOptions(pre_buffer=False)
    try:
        yield from dataset.to_batches(
            columns=columns, batch_size=_batch_rows(dataset), batch_readahead=0, fragment_readahead=0, **options
        )
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{name} cannot be read: {first}. Files of one folder must have the same columns.") from error


def _open_path(path: Path) -> pads.Dataset:
    if not path.exists():
        raise InputError(f"input {path} does not exist: give a Parquet file or a folder of them.")
    try:
        dataset = pads.dataset(path, format="parquet", partitioning="hive")
        dataset.count_rows()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"input {path} cannot be read as Parquet: {first}") from error
    except OSError as error:
        raise InputError(f"input {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not dataset.files:
        raise InputError(f"input {path} holds no Parquet files: give a folder that does.")
    return dataset


def _table_of_matrix(matrix: npt.NDArray[Any], config: SelectConfig) -> pa.Table:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"the array has shape {matrix.shape}, but must be (n, d) with n, d >= 1.")
    if matrix.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"the array is {matrix.dtype}, but must be float16, float32 or float64: cast it.")
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])
    return pa.table({config.id_column: pa.array(np.arange(len(matrix))), config.embedding_column: lists})


def _given_utility(utility: npt.ArrayLike, n: int, name: str) -> npt.NDArray[np.float64]:
    try:
        given = np.asarray(utility, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"utility is not an array of numbers: {error}.") from error
    if given.shape != (n,):
        raise InputError(f"utility has shape {given.shape}, but {name} has {n:,} rows: give one number per row.")
    return given


def _value_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of a list's values, None if it is no list."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return kind.value_type
    return None


def stored_ids(ids: pa.Array) -> pa.Array:
    """Return ids as int64 or large_string.

    Raises:
        InputError: they are neither integers nor strings, or beyond 64 signed bits.
    """
    try:
        return ids.cast(id_storage_type(ids.type))
    except pa.ArrowInvalid as error:
        raise InputError(f"ids do not fit into 64 signed bits: {error}. Cast them to strings.") from error
