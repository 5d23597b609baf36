"""Rows of a run directory's folders: all, or those that have some values, looked for without reading the rest.

Not by Arrow's datasets with a filter: they ask the statistics of files, and where a footer is damaged that waits for
ever or ends the process (pyarrow 26). What is asked here is told in one line instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from subsel.errors import InputError
from subsel.storage import FILES_AT_ONCE, FileInfo, Place


def rows_of(folder: Place, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None) -> pa.Table:
    """Return rows of a folder's Parquet files, in the order of files.

    The columns of a condition are read first, and of the others only the row groups where some row fits.

    Args:
        folder: of a run directory.
        columns: which of its columns; None: all.
        where: columns and their wanted value, or a list or an Arrow array of such; a row needs all of them.

    Raises:
        InputError: it is not there, cannot be reached from here, or is damaged.
    """
    try:
        files = [one for one in folder.files() if not one.name.rpartition("/")[2].startswith(("_", "."))]
        if not files:
            raise FileNotFoundError("no Parquet files are there.")
        read = partial(_read, folder, columns, where or {})
        with ThreadPoolExecutor(min(FILES_AT_ONCE, len(files))) as pool:
            return pa.concat_tables(pool.map(read, files))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder} cannot be read: {str(error).splitlines()[0]} Make the run anew.") from error


def _read(folder: Place, columns: Sequence[str] | None, where: Mapping[str, Any], file: FileInfo) -> pa.Table:
    # A damaged pack may crash Arrow, so checksums of pages are looked at.
    with (
        folder.join(file.name).open_input() as source,
        pq.ParquetFile(source, page_checksum_verification=True) as opened,
    ):
        if not where:
            return opened.read(columns)
        found = []
        for group in range(opened.num_row_groups):
            fits = _fits(opened.read_row_group(group, list(where)), where)
            if pc.any(fits).as_py():
                found.append(opened.read_row_group(group, columns).filter(fits))
        schema = opened.schema_arrow
        empty = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        return pa.concat_tables(found) if found else empty.empty_table()


def _fits(rows: pa.Table, where: Mapping[str, Any]) -> pa.ChunkedArray:
    """Return which rows have the wanted values, bool."""
    fits = pa.scalar(True)
    for name, wanted in where.items():
        column = rows.column(name)
        values = wanted if isinstance(wanted, pa.Array) else pa.array(wanted if isinstance(wanted, list) else [wanted])
        fits = pc.and_(fits, pc.is_in(column, values.cast(column.type)))
    return fits
