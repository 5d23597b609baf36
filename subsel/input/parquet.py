"""Reading Parquet files batch by batch, whole or in pieces: for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from subsel.errors import InputError
from subsel.input.files import InputFile, partition_value
from subsel.input.types import as_plain

#: Bytes of embeddings in a batch, and rows at most.
_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 8_192
#: Bytes of a file on this machine that are read at a time, for each column.
_FILE_BUFFER = 1 << 20

#: Bytes of a file, from one to before another.
Span = tuple[int, int]


def batch_rows(kinds: pa.Schema) -> int:
    """Return rows per batch: fewer where lists are long, as far as the schema says."""
    sizes = [field.type.list_size for field in kinds if pa.types.is_fixed_size_list(field.type)]
    return min(_BATCH_ROWS, max(16, _BATCH_BYTES // (4 * max(sizes, default=512))))


def read_file(
    file: InputFile, kinds: Mapping[str, pa.DataType], rows: int, span: Span | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, without reading ahead: what is in memory is one batch, not the file.

    Args:
        file: to be read.
        kinds: of the columns, plain ones; those that the file lacks have the value of its folders' names.
        rows: of a batch at most.
        span: the row groups there, only; None: all.

    Raises:
        InputError: it cannot be read.
    """
    out = pa.schema(list(kinds.items()))
    # Through a buffer a file costs no more than that and a batch, else what it reads of a row group at once:
    # which is what costs least where each request takes its time.
    buffer = _FILE_BUFFER if getattr(file.place, "local", None) is not None else 0
    how = {"pre_buffer": False, "buffer_size": buffer, "page_checksum_verification": file.ours}
    try:
        with file.place.open_input() as opened, pq.ParquetFile(opened, **how) as parquet:
            stored = [column for column in kinds if column in parquet.schema_arrow.names]
            groups = None if span is None else _groups_in(parquet.num_row_groups, file.info.size, span)
            for batch in parquet.iter_batches(rows, columns=stored, row_groups=groups):
                arrays = []
                for column, kind in kinds.items():
                    if column in stored:
                        arrays.append(as_plain(batch.column(column), kind))
                    else:
                        value = partition_value(file, column, kind)
                        arrays.append(pa.repeat(pa.scalar(value, kind), batch.num_rows))
                yield pa.RecordBatch.from_arrays(arrays, schema=out)
    except (pa.ArrowException, OSError) as error:
        again = ". Write it again." if file.ours else ""
        raise InputError(f"{file.place.uri} cannot be read: {str(error).splitlines()[0]}{again}") from error


def _groups_in(count: int, size: int, span: Span) -> list[int]:
    """Return which of a file's row groups are a span's, as if all were as large: of spans that cover it each is in one.

    Where they really begin is not asked: looking that up ends the process if the footer is damaged (pyarrow 26).
    """
    begin, end = span
    return [number for number in range(count) if begin <= number * size // count < end]
