"""Which engine a selection runs on."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from subsel.config import SelectConfig
from subsel.errors import ConfigError, MissingPackageError, option
from subsel.input.source import is_location
from subsel.planning import plan_input

log = logging.getLogger(__name__)

_INSTALL = "pip install 'subsel[spark]'"


def choose_engine(
    engine: Any,
    data: Any,
    graph: Any,
    config: SelectConfig,
    sizes: Sequence[Any],
    storage_options: Mapping[str, Any] | None = None,
) -> Any:
    """Return "local", "spark", or the Spark session to run in.

    "auto" is the session of ``data`` if that is a Spark DataFrame, "local" for whatever is in memory already, and for
    paths and addresses what `subsel.plan` says: local if memory is enough, else Spark, which is logged. So is Spark for
    storage that nothing here reaches.

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
        why = _why_not_here(data, graph, config, sizes, storage_options) if is_location(data) else None
        if why is None:
            return "local"
        engine = "spark"
        log.warning("%s %s: selecting on Spark (engine 'spark')", data, why)
    return _installed(engine)


def is_spark(engine: Any) -> bool:
    """Return whether Spark is asked for, where nobody chooses: a session or "spark", and not "local".

    Raises:
        ConfigError: the engine is none of these.
        MissingPackageError: pyspark is not installed.
    """
    if hasattr(engine, "createDataFrame"):
        return True
    if engine not in ("local", "spark"):
        raise ConfigError(f"{option('engine')} {engine!r} is unknown here: give 'local', 'spark' or a SparkSession.")
    return bool(_installed(engine) == "spark")


def _installed(engine: str) -> str:
    if engine == "spark" and importlib.util.find_spec("pyspark") is None:
        raise MissingPackageError(f"{option('engine', 'spark')} needs pyspark: {_INSTALL}.")
    return engine


def _why_not_here(
    data: Any, graph: Any, config: SelectConfig, sizes: Sequence[Any], storage_options: Mapping[str, Any] | None
) -> str | None:
    """Return why a path cannot be selected from on one machine; None if it can, or is wrong in any case."""
    try:
        plan = plan_input(data, config, sizes=sizes, with_embeddings=graph is None, storage_options=storage_options)
    except MissingPackageError:
        if importlib.util.find_spec("pyspark") is None:
            raise
        return "is not reached without Spark"
    if plan.fits:
        return None
    needed, available = plan.local_bytes / 2**30, plan.available_bytes / 2**30
    return f"needs {needed:.1f} GiB on one machine and {available:.1f} GiB are available"
