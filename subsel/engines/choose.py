"""Which engine a selection runs on."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

from subsel.config import SelectConfig
from subsel.errors import ConfigError, MissingPackageError, option
from subsel.plan import plan_input

log = logging.getLogger(__name__)

_INSTALL = "pip install 'subsel[spark]'"


def choose_engine(engine: Any, data: Any, graph: Any, config: SelectConfig) -> Any:
    """Return "local", "spark", or the Spark session to run in.

    "auto" is the session of ``data`` if that is a Spark DataFrame, "local" for whatever is in memory already, and for
    paths what `subsel.plan` says: local if memory is enough, else Spark, which is logged.

    Raises:
        ConfigError: the engine is unknown.
        MissingPackageError: Spark is needed and pyspark is not installed.
    """
    if hasattr(engine, "createDataFrame"):
        return engine
    if engine not in ("auto", "local", "spark"):
        raise ConfigError(f"{option('engine')} {engine!r} is unknown: give 'auto', 'local', 'spark' or a SparkSession.")
    if engine == "auto":
        if hasattr(data, "sparkSession"):
            return data.sparkSession
        engine = "local"
        if isinstance(data, str | Path) and "://" not in str(data):
            any_size = config.model_copy(update={"size": 1})  # it makes no difference here, and scoring has none
            plan = plan_input(data, any_size, with_embeddings=graph is None)
            if not plan.fits:
                engine = "spark"
                log.warning(
                    "%s needs %.1f GiB on one machine and %.1f GiB are available: selecting on Spark (engine 'spark')",
                    data,
                    plan.local_bytes / 2**30,
                    plan.available_bytes / 2**30,
                )
        elif isinstance(data, str):
            engine = "spark"
            log.warning("%s is not a local path: selecting on Spark (engine 'spark')", data)
    if engine == "spark" and importlib.util.find_spec("pyspark") is None:
        raise MissingPackageError(f"{option('engine', 'spark')} needs pyspark: {_INSTALL}.")
    return engine
