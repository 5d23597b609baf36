"""Writing a DataFrame so that it appears whole or not at all."""

from __future__ import annotations

import logging
import os

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from subsel.engines.spark.failures import known
from subsel.engines.spark.storage import place_in, uri_for_spark
from subsel.engines.spark.storage_errors import storage_error
from subsel.errors import OutputError
from subsel.report import Report
from subsel.storage import Place, new_folder

log = logging.getLogger(__name__)


def write_frame(frame: DataFrame, report: Report, output: str | os.PathLike[str] | Place, *, overwrite: bool) -> None:
    """Write a subset and its manifest as a folder, on whatever the frame's session reaches.

    Executors write the data; the manifest, which names them, is written last. Where that is the place itself, because
    nothing can be renamed there, the files of an older result stay beside the new ones until the manifest is there.

    Raises:
        InputError: see `subsel.storage.check_new`.
        OutputError: writing failed.
    """
    target = place_in(frame.sparkSession, output)
    with new_folder(target, overwrite=overwrite) as new:
        try:
            # Appending leaves what is there alone; names of Spark's files are new ones each time.
            frame.write.mode("append").parquet(uri_for_spark(new.data))
        except (PySparkException, Py4JError) as error:
            log.info("what Spark says in full: %s", error)
            raise known(error) or storage_error(error, str(target), writing=True) from error
        if not any(name.endswith(".parquet") for name in new.data.children()):
            raise OutputError(
                f"{target} was written, but the driver does not see it: give a path that driver and executors share."
            )
        new.manifest = report.model_dump(mode="json")
