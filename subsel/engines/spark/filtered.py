"""Rows of a DataFrame that a subset names: a join by ids, computed when its rows are asked for."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import DataFrame

from subsel import schema
from subsel.engines.spark.paths import for_reader
from subsel.engines.spark.source import col
from subsel.engines.spark.storage import uri_for_spark
from subsel.errors import ConfigError, InputError, option
from subsel.input.names import lacking
from subsel.storage import Place

_CHOSEN = "_subsel_chosen"


def rows_of_ids(data: DataFrame, subset: Place | pa.Table, id_column: str | None) -> DataFrame:
    """Return the rows whose ids a subset has.

    Args:
        data: with the ids that were selected from.
        subset: where it is, or a table of its ids.
        id_column: of data.

    Raises:
        ConfigError: rows were numbered instead of having ids.
        InputError: data has no such column.
    """
    if id_column is None:
        raise ConfigError(f"rows of a DataFrame have no numbers: select by an {option('id_column')} to filter it.")
    if id_column not in data.columns:
        names = pa.schema([(name, pa.null()) for name in data.columns])
        raise InputError(f"the DataFrame has no id column {lacking(id_column, names)}.")
    spark = data.sparkSession
    if isinstance(subset, Place):
        found = spark.read.parquet(for_reader(uri_for_spark(subset)))
    else:
        found = spark.createDataFrame(subset)
    chosen = found.select(col(schema.ID).alias(_CHOSEN))
    return data.join(chosen, col(id_column) == col(_CHOSEN), "left_semi")
