"""Sessions: the caller's as it is, or one of our own that we stop again."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyspark
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import DataFrame, SparkSession

from subsel.engines.spark.failures import plain_errors
from subsel.engines.spark.preflight import check_executors
from subsel.engines.spark.storage import classic
from subsel.errors import ConfigError, MissingPackageError

#: The JVM compiles for speed what runs ten times as often as it usually asks for: in runs of minutes its compiler takes
#: more than it brings. What a user says of the same comes after it, and counts.
_JVM_OPTIONS = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)
#: And it collects garbage in between, which takes less of the processor than collecting beside the work, and stops it.
_COLLECTOR = "-XX:+UseParallelGC"
#: Where users say which collector they want, beside Spark's own file: a JVM that is told of two does not start.
_SAID = ("SPARK_SUBMIT_OPTS", "PYSPARK_SUBMIT_ARGS", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS")
#: Bytes of rows that the JVM sends to Python at once: for many more its memory is got from the system anew each time.
_BATCH_BYTES = 8 << 20


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
    spark = start(master or "local[*]", log_level)
    try:
        check_executors(spark)
        with plain_errors():
            yield spark
    finally:
        spark.stop()


def start(master: str, log_level: str, settings: Mapping[str, str] | None = None) -> SparkSession:
    """Start a session whose executors run this Python, and whose driver's JVM is set up for this work.

    Args:
        master: where it runs.
        log_level: of Spark.
        settings: more of the session's.

    Raises:
        MissingPackageError: there is no Java.
    """
    collector = "" if _says_collector(settings or {}) else f"{_COLLECTOR} "
    options = f"{collector}{_JVM_OPTIONS} {os.environ.get('SPARK_SUBMIT_OPTS', '')}".strip()
    # Not whichever Python is first on the path. The session has read both when it is there.
    with _environment(PYSPARK_PYTHON=os.environ.get("PYSPARK_PYTHON") or sys.executable, SPARK_SUBMIT_OPTS=options):
        try:
            builder = SparkSession.builder.appName("subsel").config("spark.ui.showConsoleProgress", "false")
            builder = builder.config("spark.driver.memory", "2g").config("spark.log.level", log_level.upper())
            if hasattr(DataFrame, "repartitionById"):  # Spark 4.1: before, it bounds no bytes
                builder = builder.config("spark.sql.execution.arrow.maxBytesPerBatch", _BATCH_BYTES)
            for name, value in (settings or {}).items():
                builder = builder.config(name, value)
            return builder.master(master).getOrCreate()
        except PySparkRuntimeError as error:
            raise MissingPackageError(
                f"Spark did not start ({error.getCondition()}): it needs Java 17 or newer, by JAVA_HOME or on the path."
            ) from error


def _says_collector(settings: Mapping[str, str]) -> bool:
    """Return whether the user says how the JVM collects garbage."""
    home = os.environ.get("SPARK_HOME") or str(Path(pyspark.__file__).parent)
    defaults = Path(os.environ.get("SPARK_CONF_DIR") or Path(home, "conf"), "spark-defaults.conf")
    said = [os.environ.get(name, "") for name in _SAID] + [str(value) for value in settings.values()]
    if defaults.is_file():
        said.append(defaults.read_text())
    return any(re.search(r"-XX:\+Use\w+GC\b", one) for one in said)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def submitted_session(log_level: str) -> SparkSession:
    """Return the session of the job that spark-submit started, which stops it, and have it log so much from now on."""
    spark = SparkSession.builder.appName("subsel").getOrCreate()
    if classic(spark):
        spark.sparkContext.setLogLevel(log_level.upper())
    return spark
