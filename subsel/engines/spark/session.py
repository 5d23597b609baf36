"""Sessions: the caller's as it is, or one of our own that we stop again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from subsel.engines.spark.failures import plain_errors
from subsel.engines.spark.preflight import check_executors
from subsel.engines.spark.storage import classic
from subsel.errors import ConfigError, MissingPackageError


@contextmanager
def session_for(engine: Any, master: str | None, log_level: str = "error") -> Iterator[SparkSession]:
    """Yield a session: ``engine`` if it is one, else the active one, else a new one that is stopped at the end.

    Args:
        engine: a SparkSession (classic or Connect), or "spark".
        master: where a new session runs, "local[*]" by default. With an active session it must be None.
        log_level: of a new session.

    Raises:
        ConfigError: a master is given, but a session is active; or see `check_executors`.
        MissingPackageError: there is no Java; or executors lack what they need.
        SubselError: whatever Spark raised inside, in one line.
    """
    active = engine if hasattr(engine, "createDataFrame") else SparkSession.getActiveSession()
    if active is not None:
        if master is not None:
            raise ConfigError(
                "a Spark session is active, so master cannot be chosen: leave it out, or stop the session."
            )
        check_executors(active)
        with plain_errors():
            yield active
        return
    spark = _start(master or "local[*]", log_level)
    try:
        check_executors(spark)
        with plain_errors():
            yield spark
    finally:
        spark.stop()


def _start(master: str, log_level: str) -> SparkSession:
    chosen = os.environ.get("PYSPARK_PYTHON")
    try:
        # Executors of a session of ours run this Python, not whichever is first on the path.
        os.environ["PYSPARK_PYTHON"] = chosen or sys.executable
        builder = SparkSession.builder.appName("subsel").config("spark.ui.showConsoleProgress", "false")
        builder = builder.config("spark.driver.memory", "2g").config("spark.log.level", log_level.upper())
        return builder.master(master).getOrCreate()
    except PySparkRuntimeError as error:
        raise MissingPackageError(
            f"Spark did not start ({error.getCondition()}): it needs Java 17 or newer, by JAVA_HOME or on the path."
        ) from error
    finally:  # the session has read it
        if chosen is None:
            os.environ.pop("PYSPARK_PYTHON", None)


def submitted_session(log_level: str) -> SparkSession:
    """Return the session of the job that spark-submit started, which stops it, and have it log so much from now on."""
    spark = SparkSession.builder.appName("subsel").getOrCreate()
    if classic(spark):
        spark.sparkContext.setLogLevel(log_level.upper())
    return spark
