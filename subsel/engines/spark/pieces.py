"""Plain Parquet files past the JVM: tasks read row groups themselves, so that no vector becomes a row of Spark's first.

Which rows a task gets does not matter to what comes out; their values are those that Spark's reader gives.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Self

import pyarrow as pa
from pyspark.sql import DataFrame

from subsel.engines.spark.parcels import BatchFunction, map_in_arrow
from subsel.engines.spark.source import SparkSource
from subsel.input.files import InputFile
from subsel.input.parquet import Span, batch_rows, read_file
from subsel.input.types import plain_type
from subsel.storage import LocalPlace

log = logging.getLogger(__name__)

#: Bytes of a file that one task reads, about.
_PIECE_BYTES = 32 << 20

Piece = tuple[InputFile, Span]
#: Runs a function on batches of rows, as `map_in_arrow` on those of a frame.
Run = Callable[[BatchFunction, Any], DataFrame]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Files in pieces.

    Attributes:
        frame: the rows that they hold, as Spark would read them.
        kinds: of its columns.
        pieces: of files; together they have all rows.
        rows: how many, as the files' footers say.
    """

    frame: DataFrame
    kinds: dict[str, pa.DataType]
    pieces: tuple[Piece, ...]
    rows: int

    @classmethod
    def of(cls, source: SparkSource, frame: DataFrame) -> Self | None:
        """Return the files of a source, None where tasks do not read these as Spark does.

        They do where each file is on a disk that all machines see by one path, and stores each column in the one type,
        of those that Arrow and Spark have in common.

        Args:
            source: of the rows.
            frame: some of its columns.
        """
        if source.set is None or source.numbers in frame.columns:
            return None
        files = [pair for pair in zip(source.set.files, source.set.footers, strict=True) if pair[1].rows]
        kinds = {name: source.schema.field(name).type for name in frame.columns}
        if not files or not all(map(_is_shared, kinds.values())):
            return None
        for file, footer in files:
            if not isinstance(file.place, LocalPlace):
                return None
            for name, kind in kinds.items():
                if name not in footer.schema.names or plain_type(footer.schema.field(name).type) != kind:
                    return None
        pieces = tuple((file, span) for file, _ in files for span in _spans(file.info.size))
        log.info("tasks read %s themselves, in %d pieces", source.name, len(pieces))
        return cls(frame, kinds, pieces, sum(footer.rows for _, footer in files))

    def map(self, function: BatchFunction, schema: Any) -> DataFrame:
        """Run a function on the batches of every piece; see `subsel.engines.spark.parcels.map_in_arrow`."""
        count = len(self.pieces)
        numbers = self.frame.sparkSession.range(0, count, 1, count)
        return map_in_arrow(numbers, partial(_run, function, self.kinds, self.pieces), schema)


def map_rows(pieces: Pieces | None, frame: DataFrame, function: BatchFunction, schema: Any) -> DataFrame:
    """Run a function on the batches of a frame: of the pieces that have its rows, if there are such."""
    if pieces is None or pieces.frame is not frame:  # rows were left out or changed since
        return map_in_arrow(frame, function, schema)
    return pieces.map(function, schema)


def _is_shared(kind: pa.DataType) -> bool:
    """Return whether values of a type are the same to all that comes after, whoever read them."""
    inside = kind.value_type if hasattr(kind, "value_type") else kind
    if inside is kind and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return True
    if pa.types.is_float16(inside):
        return inside is not kind  # lists: Spark has bytes, which become the same numbers
    return bool(pa.types.is_signed_integer(inside) or pa.types.is_float32(inside) or pa.types.is_float64(inside))


def _spans(size: int) -> list[Span]:
    count = max(1, round(size / _PIECE_BYTES))
    cuts = [size * one // count for one in range(count + 1)]
    return list(pairwise(cuts))


def _run(
    function: BatchFunction, kinds: dict[str, pa.DataType], pieces: Sequence[Piece], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    return function(_read(kinds, pieces, batches))


def _read(
    kinds: dict[str, pa.DataType], pieces: Sequence[Piece], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    rows = batch_rows(pa.schema(list(kinds.items())))
    for batch in batches:
        for number in batch.column(0).to_pylist():
            file, span = pieces[number]
            yield from read_file(file, kinds, rows, span)
