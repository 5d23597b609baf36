"""Writing a DataFrame so that it appears whole or not at all."""

from __future__ import annotations

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from subsel.errors import OutputError
from subsel.output import MANIFEST, new_path
from subsel.report import Report
from subsel.storage import Place


def write_frame(frame: DataFrame, report: Report, output: Place, *, overwrite: bool) -> None:
    """Write a subset and its manifest as a folder.

    Executors write into a temporary folder beside ``output``, which the driver moves into place; so the path must be
    one that driver and executors share (a local disk in local mode, a network file system on a cluster).

    Raises:
        InputError: see `subsel.output.check_new`.
        OutputError: writing failed.
    """
    with new_path(output, overwrite=overwrite) as temporary:
        try:
            frame.write.parquet(str(temporary.absolute()))
        except PySparkException as error:
            first = str(error).splitlines()[0]
            raise OutputError(f"{output} could not be written by Spark: {first}. Nothing was left behind.") from error
        if not (temporary / "_SUCCESS").exists():
            raise OutputError(
                f"{output} was written, but the driver does not see it: give a path that driver and executors share."
            )
        (temporary / MANIFEST).write_text(report.model_dump_json(indent=2) + "\n")
