"""Sources on Spark: files, tables and DataFrames as one frame of the columns that may be asked for.

Which files belong to an input, and what their columns are, is decided by `subsel.input.files` as on one machine.
Files are read with a schema of exactly the wanted columns, so types that Spark does not know in others do not matter;
files whose columns are stored differently are read apart, and cast to the unified type.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_type

from subsel.engines.spark.parcels import map_in_arrow
from subsel.engines.spark.paths import for_reader
from subsel.engines.spark.storage import classic, place_in, uri_for_spark
from subsel.errors import InputError
from subsel.input.files import FileSet, Footer, InputFile, files_of, footers, open_place, table_format
from subsel.input.names import require_named, with_names
from subsel.input.source import Wanted, is_location, refuse_table
from subsel.input.types import as_plain, flat_lists, plain_type
from subsel.storage import Place

_TABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){0,2}")
_PACKAGES = {
    "delta": "io.delta:delta-spark",
    "iceberg": "org.apache.iceberg:iceberg-spark-runtime",
    "hudi": "hudi-spark-bundle",
}


@dataclass(frozen=True, slots=True)
class SparkSource:
    """An input on Spark.

    Attributes:
        name: what messages call it.
        frame: the wanted columns, not computed yet.
        schema: their plain types.
        set: the files, where it is of files.
        numbers: the column of the rows' numbers, where these are the ids.
    """

    name: str
    frame: DataFrame
    schema: pa.Schema
    set: FileSet | None = None
    numbers: str | None = None

    def select(self, columns: Iterable[str]) -> DataFrame:
        """Return some columns.

        Raises:
            InputError: one is missing, in some files or in all, or stands twice.
        """
        names = list(columns)
        require_named(self.name, self.schema, names)
        if self.set is not None:
            self.set.check_present(name for name in names if name != self.numbers)
        return self.frame.select(*map(col, names))

    def identity(self) -> dict[str, Any] | None:
        """Return what tells this input from another, None if only its content does."""
        return None if self.set is None else self.set.identity()


def col(name: str) -> Column:
    """Return a column by its name, whatever is in it: dots and backticks are no syntax."""
    return F.col("`" + name.replace("`", "``") + "`")


def plain_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches as tasks get them, with columns of plain types."""
    for batch in batches:
        arrays = [as_plain(column, plain_type(column.type)) for column in batch.columns]
        yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def open_on_spark(
    spark: SparkSession, data: Any, wanted: Wanted, what: str = "input", row_numbers: str | None = None
) -> SparkSource:
    """Open an input on Spark.

    Args:
        spark: the session.
        data: a DataFrame, the name of a table, or a path, URI or pattern of Parquet files, or several of these.
        wanted: says of a column whether it may be asked for.
        what: what it is, for messages.
        row_numbers: a column to make of the rows' numbers, where there are no ids.

    Raises:
        InputError: nothing is there, or the type is not understood.
    """
    if hasattr(data, "mapInArrow"):
        if row_numbers is not None:
            raise InputError("the rows of a DataFrame have no numbers: give id_column.")
        return _of_frame(data, "the DataFrame", wanted)
    given = [data] if is_location(data) else list(data) if isinstance(data, list | tuple) else []
    if not given or not all(is_location(one) for one in given):
        raise InputError(
            f"{what} of type {type(data).__name__} is not understood on Spark: give a Parquet path or a Spark "
            "DataFrame."
        )

    def opener(where: str) -> Place:
        return place_in(spark, where)

    texts = [one.uri if isinstance(one, Place) else os.fspath(one) for one in given]
    name = texts[0] if len(texts) == 1 else f"{texts[0]} and {len(texts) - 1} more"
    if len(texts) == 1:
        place = open_place(name, opener)
        if place is None and _TABLE.fullmatch(name) and spark.catalog.tableExists(name):
            return _of_frame(spark.table(name), name, wanted)
        if place is not None and place.name.endswith((".npy", ".npz")):
            raise InputError(f"{what} {name} is numpy's, which Spark does not read: write it to Parquet.")
        kind = table_format(place) if place is not None and place.kind() == "folder" else None
        if kind is not None:
            return _of_frame(_open_table(spark, name, kind, what), name, wanted)
    found = {file.place.key: file for text in texts for file in files_of(text, opener, what)}
    files = [found[key] for key in sorted(found)] if len(texts) > 1 else list(found.values())
    read = footers(files, what) if classic(spark) else _inferred(spark, files, what)
    listed = FileSet.of(name, files, read, wanted)
    columns = listed.schema if row_numbers is None else listed.schema.append(pa.field(row_numbers, pa.int64()))
    return SparkSource(name, _read_files(spark, listed, row_numbers), columns, listed, row_numbers)


def _open_table(spark: SparkSession, where: str, kind: str, what: str) -> DataFrame:
    try:
        return spark.read.format(kind).load(where)
    except Exception as error:  # py4j's own where Spark has not translated it
        if "DATA_SOURCE_NOT_FOUND" in str(error) or "ClassNotFound" in str(error):
            raise refuse_table(where, kind, what, f"add {_PACKAGES[kind]} to spark.jars.packages") from error
        raise InputError(f"{what} {where} cannot be read as a {kind} table: {str(error).splitlines()[0]}") from error


def _inferred(spark: SparkSession, files: Sequence[InputFile], what: str) -> list[Footer]:
    """Return what Spark says of files, where the driver cannot read their footers itself: on Connect.

    All get the joint schema, so a column that some lack is null there and its rows are bad; rows are not counted.
    """
    uris = [_as_read(file) for file in files]
    try:
        frame = spark.read.option("mergeSchema", "true").parquet(*uris)
        columns = pa.schema([(field.name, _arrow_type(field.dataType)) for field in frame.schema.fields])
    except PySparkException as error:
        raise InputError(f"{what} cannot be read as Parquet by Spark: {str(error).splitlines()[0]}") from error
    return [Footer(columns, 1)] * len(files)


def _of_frame(frame: DataFrame, name: str, wanted: Wanted) -> SparkSource:
    if frame.isStreaming:
        raise InputError(f"{name} is a stream, which ends at no time: write it to a table first.")
    columns, kinds = [], []
    lower = [field.name.lower() for field in frame.schema.fields]
    for field in frame.schema.fields:
        if not wanted(field.name):
            continue
        if frame.schema.names.count(field.name) == 1 and not _case_sensitive(frame.sparkSession):
            _refuse_twin(name, field.name, lower)
        column, kind = col(field.name), field.dataType
        if kind.typeName() in ("vector", "vectorudt"):
            from pyspark.ml.functions import vector_to_array  # noqa: PLC0415  (only where vectors are)

            column, kind = vector_to_array(column).alias(field.name), T.ArrayType(T.DoubleType())
        kinds.append(pa.field(field.name, _arrow_type(kind, f"column {field.name!r} of {name}")))
        columns.append(column)
    twice = {field.name for field in kinds if [one.name for one in kinds].count(field.name) > 1}
    chosen = [column for column, field in zip(columns, kinds, strict=True) if field.name not in twice]
    return SparkSource(name, frame.select(*chosen), with_names(pa.schema(kinds), frame.schema.names))


def _case_sensitive(spark: SparkSession) -> bool:
    return spark.conf.get("spark.sql.caseSensitive", "false") == "true"


def _arrow_type(kind: T.DataType, what: str = "a column") -> pa.DataType:
    try:
        return plain_type(to_arrow_type(kind))
    except Exception as error:  # pyspark raises several kinds
        raise InputError(f"{what} is {kind.simpleString()}, which cannot be read: leave it out, or cast it.") from error


def _stored_as(kind: pa.DataType, what: str) -> T.DataType:
    """Return the Spark type as which a Parquet column of a plain type is read."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return T.ArrayType(_stored_as(kind.value_type, what))
    if pa.types.is_uint64(kind):
        return T.DecimalType(20, 0)
    wider = {pa.uint8(): T.ShortType(), pa.uint16(): T.IntegerType(), pa.uint32(): T.LongType()}
    if kind in wider:
        return wider[kind]
    if pa.types.is_float16(kind) or isinstance(kind, pa.BaseExtensionType) or pa.types.is_fixed_size_binary(kind):
        return T.BinaryType()  # Spark knows no halves: their bytes become numbers in `subsel.input.rows.flat_lists`
    if pa.types.is_large_binary(kind):
        return T.BinaryType()
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        raise InputError(f"{what} has times in ns, which Spark does not read: write them in us, or select without it.")
    try:
        return from_arrow_type(kind)
    except Exception as error:
        raise InputError(f"{what} is {kind}, which Spark does not read: leave it out, or cast it.") from error


def _read_files(spark: SparkSession, listed: FileSet, row_numbers: str | None) -> DataFrame:
    """Return the wanted columns of files: a scan for each way in which they are stored."""
    names = list(dict.fromkeys(listed.schema.names))
    groups: dict[tuple[tuple[str, str], ...], list[tuple[InputFile, Footer]]] = {}
    for file, footer in zip(listed.files, listed.footers, strict=True):
        if footer.rows == 0 and len(listed.files) > 1:
            continue
        stored = tuple(
            (name, str(plain_type(footer.schema.field(name).type)))
            for name in names
            if footer.schema.names.count(name) == 1
        )
        groups.setdefault(stored, []).append((file, footer))
    groups = groups or {(): list(zip(listed.files, listed.footers, strict=True))}
    frames = [_read_group(spark, listed, names, group, len(groups) > 1, row_numbers) for group in groups.values()]
    return reduce(DataFrame.unionByName, frames)


def _read_group(
    spark: SparkSession,
    listed: FileSet,
    names: list[str],
    group: list[tuple[InputFile, Footer]],
    several: bool,
    row_numbers: str | None,
) -> DataFrame:
    footer = group[0][1]
    _refuse_twins(spark, listed, footer, names)
    kinds = {name: listed.schema.field(name).type for name in names if listed.schema.names.count(name) == 1}
    inside = [name for name in kinds if name in footer.schema.names]
    stored = {name: plain_type(footer.schema.field(name).type) for name in inside}
    fields = [T.StructField(name, _stored_as(stored[name], f"column {name!r} of {listed.name}")) for name in inside]
    reader = spark.read.schema(T.StructType(fields or [T.StructField("_none", T.IntegerType())]))
    if all(file.ours for file, _ in group):
        reader = reader.option("parquet.page.verify-checksum.enabled", "true")
    frame = reader.parquet(*(_as_read(file) for file, _ in group))
    columns = []
    for name, kind in kinds.items():
        if name in inside:
            target = _target(kind, f"column {name!r} of {listed.name}")
            value = _float_of_half(col(name)) if pa.types.is_float16(stored[name]) else col(name)
            same = target == _stored_as(stored[name], "") or _halves(stored[name])
            columns.append(value if same else value.cast(target).alias(name))
        elif any(name in file.partition for file, _ in group):
            columns.append(_partition(name, kind).alias(name))
        else:
            columns.append(F.lit(None).cast(_target(kind, "")).alias(name))
    if row_numbers is not None:
        columns.append(_row_numbers(spark, frame, listed).alias(row_numbers))
    frame = frame.select(*columns)
    halves = [name for name in inside if several and _halves(stored[name])]
    if halves:  # other files have floats
        out = [
            T.StructField(f.name, T.ArrayType(T.FloatType()) if f.name in halves else f.dataType)
            for f in frame.schema.fields
        ]
        frame = map_in_arrow(frame, lambda batches: _as_floats(halves, batches), T.StructType(out))
        wide = [name for name in halves if pa.types.is_float64(kinds[name].value_type)]
        frame = frame.withColumns({name: col(name).cast("array<double>") for name in wide}) if wide else frame
    return frame


def _refuse_twins(spark: SparkSession, listed: FileSet, footer: Footer, names: list[str]) -> None:
    """Refuse columns whose names differ from others in case only, where Spark does not tell them apart.

    Raises:
        InputError: see above.
    """
    if not _case_sensitive(spark):
        stored = [name.lower() for name in dict.fromkeys(footer.schema.names)]
        for name in names:
            _refuse_twin(listed.name, name, stored)


def _refuse_twin(where: str, name: str, lower: list[str]) -> None:
    twins = lower.count(name.lower())
    if twins > 1:
        raise InputError(
            f"{where} has {twins} columns {name!r} in other cases, which Spark takes for one: rename all but one, "
            "or set spark.sql.caseSensitive."
        )


def _target(kind: pa.DataType, what: str) -> T.DataType:
    """Return the Spark type in which a column of a plain type goes on: halves as floats, but for those in lists."""
    return T.FloatType() if pa.types.is_float16(kind) else _stored_as(kind, what)


def _float_of_half(value: Column) -> Column:
    """Return the number that two bytes hold, the lower first, as a float16 does."""
    bits = F.conv(F.hex(F.concat(F.substring(value, 2, 1), F.substring(value, 1, 1))), 16, 10).cast("int")
    exponent, rest = F.shiftright(bits, 10).bitwiseAND(F.lit(31)), bits.bitwiseAND(F.lit(1023))
    special = F.when(rest == 0, F.lit(float("inf"))).otherwise(F.lit(float("nan")))
    normal = (1 + rest / 1024) * F.pow(F.lit(2.0), exponent - 15)
    size = F.when(exponent == 31, special).when(exponent == 0, rest * 2.0**-24).otherwise(normal)
    return F.when(bits >= 2**15, -size).otherwise(size).cast("float")


def _as_read(file: InputFile) -> str:
    return for_reader(uri_for_spark(file.place))


def _halves(kind: pa.DataType) -> bool:
    return bool(hasattr(kind, "value_type") and pa.types.is_float16(kind.value_type))


def _as_floats(names: list[str], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = zip(batch.schema.names, batch.columns, strict=True)
        arrays = [_floats(column) if name in names else column for name, column in columns]
        yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _floats(column: pa.Array) -> pa.Array:
    lengths, flat = flat_lists(column)
    ends = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))]).astype(np.int32)
    bounds = pa.array(ends, mask=np.append(lengths < 0, False))
    return pa.ListArray.from_arrays(bounds, pa.array(flat.astype(np.float32)))


def _partition(name: str, kind: pa.DataType) -> Column:
    """Return the value that the names of a file's folders give a column."""
    path = F.regexp_replace("_metadata.file_path", r"\+", "%2B")
    # The path is escaped once as such, and what partitions hold once more.
    found = F.regexp_extract(F.url_decode(path), f"/{re.escape(quote(name, safe=''))}=([^/]*)/", 1)
    value = F.url_decode(F.regexp_replace(found, r"\+", "%2B"))
    value = F.when(value == "__HIVE_DEFAULT_PARTITION__", F.lit(None)).otherwise(value)
    return value.cast("bigint") if pa.types.is_integer(kind) else value


def _row_numbers(spark: SparkSession, frame: DataFrame, listed: FileSet) -> Column:
    """Return the number of each row over all files in their order."""
    first: dict[str, int] = {}
    begin = 0
    for file, footer in zip(listed.files, listed.footers, strict=True):
        first[file.place.key] = begin
        begin += footer.rows
    where = F.col("_metadata.file_path")  # a URI, which its place decodes
    uris = [row[0] for row in frame.select(where).distinct().collect()]
    offsets = F.create_map(*(F.lit(one) for uri in uris for one in (uri, first[place_in(spark, uri).key])))
    return offsets[where] + F.col("_metadata.row_index")
