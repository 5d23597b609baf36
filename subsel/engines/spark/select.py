"""Selecting on Spark, from opening a session to letting go of what was persisted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from subsel.config import SelectConfig
from subsel.engines.spark.session import session_for
from subsel.engines.spark.stages import SparkStages
from subsel.errors import ConfigError
from subsel.pipeline import run_pipeline
from subsel.report import Report
from subsel.run import Run


def select_on_spark(
    engine: Any,
    master: str | None,
    data: Any,
    graph: Any,
    config: SelectConfig,
    run: Run,
    output: Path | None,
    *,
    overwrite: bool,
) -> Report:
    """Run the pipeline in a Spark session and leave the session as it was.

    Raises:
        ConfigError: there is no output, or no data.
        InputError: the input is wrong; the message is the local engine's.
        OutputError: the subset could not be written.
    """
    if output is None:
        raise ConfigError("on Spark the subset is written, never collected: give an output.")
    with session_for(engine, master) as spark:
        stages = SparkStages(spark, data, graph, config, run.id)
        try:
            return run_pipeline(stages, config, run, output, overwrite=overwrite)
        finally:
            stages.close()
