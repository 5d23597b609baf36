"""One Spark session for the whole test run, because a session takes seconds to start."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

#: Java compiles little and lightly: tests are short, and a third of their work was the compiler's and the collector's.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

#: What `viewfs://subsel/mounted` is in the tests' session: a Hadoop file system that no local path names.
MOUNTED = Path(tempfile.gettempdir()) / f"subsel-mounted-{os.getpid()}"


def needs_spark():
    """Skip if Java or pyspark is missing, saying so; fail in CI instead."""
    pyspark = pytest.importorskip("pyspark") if os.environ.get("CI") != "true" else __import__("pyspark")
    java = os.environ.get("JAVA_HOME") or shutil.which("java")
    if not java:
        message = "Java is missing: Spark tests need Java 17 or newer"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return pyspark


def build_session(master: str):
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    from pyspark.sql import SparkSession

    MOUNTED.mkdir(exist_ok=True)
    return (
        SparkSession.builder.master(master)
        .appName("subsel tests")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")  # no port, no pages
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")  # the default of 200 is for clusters
        .config("spark.hadoop.fs.viewfs.mounttable.subsel.link./mounted", MOUNTED.as_uri())
        .getOrCreate()
    )


@pytest.fixture(scope="session")
def spark():
    needs_spark()
    session = build_session("local[2]")
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
    shutil.rmtree(MOUNTED, ignore_errors=True)
