"""Sources: anything that holds rows, opened once, as named columns in batches of plain Arrow types.

A `Source` is what everyone uses from then on: it knows what messages call it, its columns, its number of rows, and
what tells it from another. Reading it again gives the same rows in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from subsel.config import SelectConfig
from subsel.errors import InputError, MissingPackageError, option
from subsel.input.files import FileSet, files_of, footers, open_place, table_format
from subsel.input.matrix import load_matrix, table_of_matrix
from subsel.input.names import all_names, names_are_text, require_named, with_names
from subsel.input.parquet import batch_rows, read_file
from subsel.input.types import as_plain, plain_type
from subsel.storage import ArrowPlace, Place, place_of, result_files

_ARTICLES = {"delta": "a Delta", "iceberg": "an Iceberg", "hudi": "a Hudi"}

Wanted = Callable[[str], bool]


class Source(Protocol):
    """An input's rows.

    Attributes:
        name: what messages call it.
        schema: plain types of the columns that may be asked for; a name that stands twice is refused where it is used.
    """

    @property
    def name(self) -> str:
        """See `Source`."""

    @property
    def schema(self) -> pa.Schema:
        """See `Source`."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows in their order, ``columns`` only.

        Raises:
            InputError: a column is missing, in some files or in all, or the source cannot be read.
        """

    def identity(self) -> dict[str, Any] | None:
        """Return what tells this input from another, None if only its content does."""


def require_columns(source: Source, columns: Sequence[str]) -> None:
    """Refuse columns that a source, or some of its files, lack, or that it has twice.

    Raises:
        InputError: see above.
    """
    require_named(source.name, source.schema, columns)
    check_present = getattr(source, "check_present", None)
    if check_present is not None:
        check_present(columns)


@dataclass(frozen=True, slots=True)
class TableSource:
    """Rows in memory, in a mapped file, or an Arrow dataset of the user's.

    ``let_go`` says to a mapped file that what was read of it need not stay in this process' memory.
    """

    name: str
    schema: pa.Schema
    dataset: pads.Dataset
    version: dict[str, Any] | None = None
    let_go: Callable[[], object] = lambda: None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.dataset.count_rows())

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows, see `Source`."""
        require_columns(self, columns)
        options: dict[str, Any] = {}
        if isinstance(self.dataset, pads.FileSystemDataset) and self.dataset.format.default_extname == "parquet":
            options["fragment_scan_options"] = pads.ParquetFragmentScanOptions(pre_buffer=False)
        try:
            for batch in self.dataset.to_batches(
                columns=list(columns),
                batch_size=batch_rows(self.schema),
                batch_readahead=0,
                fragment_readahead=0,
                **options,
            ):
                yield _plain_batch(batch, self.schema)
                self.let_go()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self.name} cannot be read: {str(error).splitlines()[0]}") from error

    def identity(self) -> dict[str, Any] | None:
        """Return the version of a table that has versions; None otherwise."""
        return self.version


@dataclass(frozen=True, slots=True)
class FileSource:
    """Parquet files on any storage."""

    set: FileSet

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.set.name

    @property
    def schema(self) -> pa.Schema:
        """Plain types of its columns, unified over the files."""
        return self.set.schema

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.set.rows

    def check_present(self, columns: Sequence[str]) -> None:
        """Refuse columns that some files lack."""
        self.set.check_present(columns)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows, file by file, without reading ahead: what is in memory is one batch, not files."""
        require_columns(self, columns)
        kinds = {column: self.schema.field(column).type for column in columns}
        for file, footer in zip(self.set.files, self.set.footers, strict=True):
            if footer.rows:
                yield from read_file(file, kinds, batch_rows(self.schema))

    def identity(self) -> dict[str, Any]:
        """Return names, sizes and stamps of the files."""
        return self.set.identity()


def open_source(
    data: Any,
    wanted: Wanted,
    config: SelectConfig,
    storage_options: Mapping[str, Any] | None = None,
    what: str = "input",
) -> Source:
    """Open anything that holds rows.

    Understood: a path, URI or pattern of Parquet files, or several of them in a list; a Delta table; a ``.npy`` file;
    Arrow tables, batches, readers and datasets; pandas and polars frames, lazy ones too; Hugging Face datasets;
    whatever has ``__arrow_c_stream__``; numpy (n, d) arrays.

    Args:
        data: see above.
        wanted: says of a column whether it may be asked for; others may have any types.
        config: names the columns of an array.
        storage_options: see `subsel.storage.place_of`.
        what: what it is, for messages.

    Raises:
        InputError: nothing is there, or the type is not understood.
    """
    if isinstance(data, TableSource | FileSource):
        return data
    if is_location(data):
        return _open_locations([data], wanted, config, storage_options, what)
    if isinstance(data, list | tuple) and data and all(is_location(one) for one in data):
        return _open_locations(list(data), wanted, config, storage_options, what)
    if isinstance(data, pads.Dataset):
        return _table_source(data, "the dataset", wanted)
    if isinstance(data, np.ndarray):
        return _table_source(pads.dataset(table_of_matrix(data, config)), "the array", wanted)
    return _table_source(pads.dataset(_as_table(data, wanted, what)), "the table", wanted)


def is_location(data: Any) -> bool:
    """Return whether data is a path, a URI or a `Place`."""
    return isinstance(data, str | os.PathLike | Place)


def _table_source(
    dataset: pads.Dataset,
    name: str,
    wanted: Wanted,
    version: dict[str, Any] | None = None,
    let_go: Callable[[], object] = lambda: None,
) -> TableSource:
    with names_are_text(name):
        fields = [pa.field(field.name, plain_type(field.type)) for field in dataset.schema if wanted(field.name)]
        named = with_names(pa.schema(fields), all_names(dataset.schema))
    return TableSource(name, named, dataset, version, let_go)


def _open_locations(
    given: Sequence[Any], wanted: Wanted, config: SelectConfig, options: Mapping[str, Any] | None, what: str
) -> Source:
    def opener(where: str) -> Place:
        return place_of(where, options)

    texts = [one.uri if isinstance(one, Place) else os.fspath(one) for one in given]
    name = texts[0] if len(texts) == 1 else f"{texts[0]} and {len(texts) - 1} more"
    if len(texts) == 1:
        place = open_place(texts[0], opener)
        if place is not None and place.name.endswith((".npy", ".npz")) and place.kind() == "file":
            matrix, let_go = load_matrix(place)
            listed = [[place.key, info.size, info.stamp] for info in place.files()]
            table = pads.dataset(table_of_matrix(matrix, config, name))
            return _table_source(table, name, wanted, {"files": listed, "rows": len(matrix)}, let_go)
        kind = table_format(place) if place is not None and place.kind() == "folder" else None
        if kind is not None:
            return _open_table(texts[0], kind, wanted, options, what)
    found = {file.place.key: file for text in texts for file in files_of(text, opener, what)}
    files = [found[key] for key in sorted(found)] if len(texts) > 1 else list(found.values())
    return FileSource(FileSet.of(name, files, footers(files, what), wanted))


def refuse_table(where: str, kind: str, what: str, package: str) -> MissingPackageError:
    """Return the error for a folder of a table format that nothing here reads."""
    return MissingPackageError(
        f"{what} {where} is {_ARTICLES[kind]} table, not a folder of Parquet files: {package}, or give another."
    )


def _open_table(where: str, kind: str, wanted: Wanted, options: Mapping[str, Any] | None, what: str) -> Source:
    if kind != "delta":
        raise refuse_table(
            where, kind, what, f"read it with Spark ({option('engine', 'spark')}), whose {kind} package knows it"
        )
    try:
        from deltalake import DeltaTable  # noqa: PLC0415  (optional)
    except ImportError:
        raise refuse_table(where, kind, what, "pip install deltalake") from None
    try:
        table = DeltaTable(
            where, storage_options={key: str(value) for key, value in options.items()} if options else None
        )
        dataset = table.to_pyarrow_dataset()
    except Exception as error:
        raise InputError(f"{what} {where} cannot be read as a Delta table: {str(error).splitlines()[0]}") from error
    return _table_source(dataset, where, wanted, {"delta": str(table.table_uri), "version": table.version()})


def _as_table(data: Any, wanted: Wanted, what: str) -> pa.Table:
    """Return frames, batches, streams and datasets as a table of the wanted columns."""
    module, names = type(data).__module__.split(".")[0], None
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "with_format") and hasattr(data, "features"):  # a Hugging Face dataset
        if not hasattr(data, "select_columns") or not hasattr(data, "__len__"):
            raise InputError(
                "a Hugging Face IterableDataset cannot be read twice: save it to Parquet and give the path."
            )
        some = data.select_columns([name for name in data.column_names if wanted(name)])
        return _named(some.with_format("arrow")[:], data.column_names)
    if module == "pandas" and hasattr(data, "columns"):
        return _of_pandas(data, wanted)
    if module == "polars" and hasattr(data, "collect"):
        names = data.collect_schema().names()
        data = data.select([name for name in names if wanted(name)]).collect()
    if hasattr(data, "mapInArrow"):
        raise InputError(
            f"a Spark DataFrame is read by Spark: select with {option('engine', 'spark')}, which checks its rows, too."
        )
    if hasattr(data, "read") and not hasattr(data, "__arrow_c_stream__"):
        raise InputError(f"{what} is an open file: give its path.")
    if hasattr(data, "__arrow_c_stream__") and not hasattr(data, "dtype"):
        reader = pa.RecordBatchReader.from_stream(data)
        kept = [i for i, name in enumerate(reader.schema.names) if wanted(name)]
        out = pa.schema([reader.schema.field(i) for i in kept])
        batches = [pa.RecordBatch.from_arrays([batch.column(i) for i in kept], schema=out) for batch in reader]
        return _named(pa.Table.from_batches(batches, out), reader.schema.names if names is None else names)
    raise InputError(
        f"{what} of type {type(data).__name__} is not understood: give a Parquet path, an Arrow table or dataset, a "
        "pandas or polars frame, a Hugging Face dataset, or a numpy (n, d) array."
    )


def _named(table: pa.Table, names: Iterable[str]) -> pa.Table:
    return table.replace_schema_metadata(with_names(table.schema, names).metadata)


def _of_pandas(frame: Any, wanted: Wanted) -> pa.Table:
    names = [name for name in frame.columns if isinstance(name, str) and wanted(name)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the table has {names.count(name)} columns {name!r}: rename all but one.")
    columns = {}
    for name in names:
        values = frame[name]
        if values.dtype == object:  # arrays of shape (1, d) among lists and arrays of shape (d,)
            values = [one.ravel() if isinstance(one, np.ndarray) and one.ndim > 1 else one for one in values]
        try:
            columns[name] = pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(
                f"column {name!r} of the table has values of several types: {str(error).splitlines()[0]}"
            ) from error
    return _named(pa.table(columns), map(str, frame.columns))


def _plain_batch(batch: pa.RecordBatch, kinds: pa.Schema) -> pa.RecordBatch:
    names = batch.schema.names
    arrays = [as_plain(column, kinds.field(name).type) for name, column in zip(names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def iterate_columns(source: Source, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of some columns that are not empty."""
    for batch in source.batches(columns):
        if len(batch):
            yield batch


def result_dataset(place: Place) -> pads.Dataset:
    """Return a subset that was written as an Arrow dataset: of the files that its manifest names.

    A place that only a Spark session reaches is read into memory through that.

    Raises:
        InputError: nothing is there, or it is damaged as far as that is seen before rows are read.
    """
    infos = result_files(place) if place.kind() == "folder" else place.files()
    if not infos:
        raise InputError(f"{place} is no subset: it is gone, or was never finished.")
    files = [place.join(info.name) if info.name else place for info in infos]
    with _reading_result(place):
        if all(isinstance(file, ArrowPlace) for file in files):
            return pads.dataset([file.path for file in files], filesystem=files[0].filesystem)  # type: ignore[attr-defined]
        return pads.dataset(pa.concat_tables([pq.read_table(file.open_input()) for file in files]))


def result_table(place: Place, kinds: Mapping[str, pa.DataType | None]) -> pa.Table:
    """Return columns of a subset that was written, or of an audit, in the order of its files.

    Args:
        place: where it is.
        kinds: which columns, and the types that they are brought to; None: as they are.

    Raises:
        InputError: nothing is there, it has not these columns, or it is damaged.
    """
    with _reading_result(place):
        found = result_dataset(place)
        for name in kinds:
            if found.schema.names.count(name) != 1:
                raise InputError(
                    f"{place} has no column {name!r}: give what subsel wrote, or select anew if it is damaged."
                )
        table = found.to_table(list(kinds))
        return table.cast(pa.schema([(name, kind or table.schema.field(name).type) for name, kind in kinds.items()]))


@contextmanager
def _reading_result(place: Place) -> Iterator[None]:
    with names_are_text(str(place)):
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            first = str(error).splitlines()[0].rstrip(".")
            raise InputError(f"{place} cannot be read: {first}. Select anew.") from error
