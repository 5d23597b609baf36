"""Writing DataFrames: results that appear whole or not at all, and rows of a run directory."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from subsel.engines.spark.failures import known
from subsel.engines.spark.paths import for_reader
from subsel.engines.spark.storage import uri_for_spark
from subsel.engines.spark.storage_errors import storage_error
from subsel.errors import OutputError
from subsel.report import Report
from subsel.storage import NO_PAGES, Place, new_folder

log = logging.getLogger(__name__)

#: Bytes of a group of rows that Parquet does not divide: a reading task has all of it.
_ONE_GROUP = 1 << 30


def write_frame(
    frame: DataFrame, report: Report, output: Place, *, overwrite: bool, pages: Mapping[str, str] = NO_PAGES
) -> None:
    """Write a subset, its manifest and ``pages``, texts by name, as a folder, see `subsel.storage.new_folder`.

    Raises:
        InputError: see `subsel.storage.check_new`.
        OutputError: writing failed; nothing was left behind.
    """
    with new_folder(output, overwrite=overwrite) as folder:
        before = len(folder.data.files())
        try:
            write_rows(frame, folder.data)
        except (PySparkException, Py4JError) as error:
            log.debug("what Spark says in full: %s", error)
            raise known(error) or storage_error(error, str(output), writing=True) from error
        if len(folder.data.files()) == before:
            raise OutputError(
                f"{output} was written, but the driver does not see it: give a path that driver and executors share."
            )
        folder.pages = pages
        folder.manifest = report.model_dump(mode="json")


def write_by(column: str, frame: DataFrame, place: Place) -> None:
    """Write a frame as Parquet files into folders by a column's values; what a task has of one value is not divided."""
    rows = frame.write.mode("append").option("parquet.block.size", _ONE_GROUP)
    rows.partitionBy(column).parquet(uri_for_spark(place))


def write_rows(frame: DataFrame, place: Place) -> None:
    """Write a frame as Parquet files into a folder, beside what is there."""
    frame.write.mode("append").parquet(uri_for_spark(place))


def read_rows(spark: SparkSession, schema: str, *places: Place) -> DataFrame:
    """Read the Parquet files of folders that `write_rows` wrote; a page that is not as it was written is refused."""
    reader = spark.read.schema(schema).option("parquet.page.verify-checksum.enabled", "true")
    return reader.parquet(*(for_reader(uri_for_spark(place)) for place in places))
