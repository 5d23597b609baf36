"""What fails on Spark is one line: made-up words, and a worker that really dies; and what is found before that."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark import cloudpickle
from pyspark.errors import AnalysisException, PySparkException, PythonException
from pyspark.sql import SparkSession

import subsel
from subsel import ConfigError, InputError, MissingPackageError, OutputError, SubselError
from subsel.engines.spark import preflight
from subsel.engines.spark.failures import MARK, first_cause, plain, plain_errors
from subsel.engines.spark.session import session_for
from subsel.version import __version__

TRACE = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/x/worker.py", line 1, in f
    raise KeyError("inner")
KeyError: 'inner'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/x/worker.py", line 3, in f
    raise ValueError("outer")
ValueError: outer

JVM stacktrace:
	at org.apache.spark.X(X.scala:1)
Caused by: org.apache.spark.api.python.PythonException: again
"""

CASES = [
    ("SparkException: Python worker exited unexpectedly (crashed)", SubselError, "a Python worker was killed"),
    ("x\nCaused by: java.io.IOException: No space left on device\n\tat y", OutputError, "the disk of an executor"),
    ("ExecutorLostFailure (executor 1 exited caused by one of the tasks) Reason: x", SubselError, "give a run_dir"),
    ("[CHECKPOINT_RDD_BLOCK_ID_NOT_FOUND] Checkpoint block rdd_3_0 not found!", SubselError, "checkpoint block"),
    ("java.lang.OutOfMemoryError: Java heap space", SubselError, "an executor ran out of memory"),
    (
        "ImportError: libx.so: failed to map segment from shared object",
        SubselError,
        "a Python worker ran out of memory",
    ),
    ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 1 GiB", SubselError, "a Python worker ran out"),
    ("a: Block rdd_193_0 was not found even though it's read-locked", SubselError, "let nobody clear that"),
    ("java.io.FileNotFoundException: /tmp/x/0c/shuffle_3_1_0.data (No such", SubselError, "let nobody clear that"),
    (
        "An error occurred while calling o1.parquet.\n: org.X: what it was\n\tat y",
        SubselError,
        "failed: org.X: what it was",
    ),
    ("Total size is bigger than spark.driver.maxResultSize (1g)", SubselError, "raise it"),
    ("Cannot call methods on a stopped SparkContext.", SubselError, "the Spark session ended"),
    ('Cannot run program "/no/python": error=2', ConfigError, "cannot run the Python /no/python"),
    (
        "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11, PySpark",
        ConfigError,
        "executors run Python 3.9, the driver 3.11",
    ),
    ("ModuleNotFoundError: No module named 'faiss'", MissingPackageError, "lack the Python package faiss"),
    (TRACE, SubselError, "Spark failed: KeyError: 'inner'"),
    ("a\n\tat b\nCaused by: c.D: e\n\tat f\nCaused by: g.H: i\n", SubselError, "Spark failed: g.H: i"),
    (
        "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///d/x.parquet.  SQLSTATE: KD001\n\tat\n"
        "Caused by: java.io.IOException: FAILED_TO_UNCOMPRESS(5)\n\tat z",
        InputError,
        "failed: file:///d/x.parquet is damaged: bring it back",
    ),
    (
        "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///d/x.parquet.  SQLSTATE: KD001\n\tat\n"
        "Caused by: org.apache.hadoop.fs.ChecksumException: Checksum error: file:/d/x.parquet at 1536\n\tat z",
        InputError,
        "failed: file:///d/x.parquet is damaged: bring it back",
    ),
    ("", SubselError, "no reason"),
]


@pytest.mark.parametrize(("said", "kind", "words"), CASES)
def test_each_failure_is_one_line(said, kind, words, caplog):
    caplog.set_level("INFO")
    with pytest.raises(kind) as caught, plain_errors():
        raise PythonException(said)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value.__cause__, PySparkException)
    assert said in caplog.text


def test_errors_of_ours_come_back_as_themselves():
    for kind in (SubselError, InputError, ConfigError, OutputError, MissingPackageError):
        error = plain(PySparkException(f"x {MARK}{json.dumps([kind.__name__, 'mine'])}{MARK} y"))
        assert type(error) is kind
        assert str(error) == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("mine"), ValueError("other")])
def test_others_pass(error):
    with pytest.raises(type(error)) as caught, plain_errors():
        raise error
    assert caught.value is error


def test_control_characters_and_long_lines_stay_inside_one_line():
    cause = first_cause("a\x1b[31m" + "b" * 1000)
    assert "\x1b" not in cause
    assert len(cause) <= 300


def test_a_wrong_plan_is_an_input_error(spark):
    with pytest.raises(InputError, match="nothere") as caught, plain_errors():
        spark.range(3).select("nothere")
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value.__cause__, AnalysisException)


def _dies(batches):
    os._exit(1)
    yield from batches


def test_a_worker_that_dies(spark):
    with pytest.raises(SubselError, match="a Python worker was killed") as caught, plain_errors():
        spark.range(3, numPartitions=1).mapInArrow(_dies, "id bigint").collect()
    assert len(str(caught.value).splitlines()) == 1


def test_executors_are_looked_at_once_a_session(spark, monkeypatch):
    monkeypatch.setattr(preflight, "_checked", set())
    preflight.check_executors(spark)
    monkeypatch.setattr(SparkSession, "range", None)  # would fail
    preflight.check_executors(spark)


def test_the_probe_needs_nothing_of_ours_to_be_unpickled():
    pickled = cloudpickle.dumps(preflight.make_probe())
    code = "import sys, pickle; sys.modules['subsel'] = None;print(pickle.loads(sys.stdin.buffer.read())(0))"
    done = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True, timeout=60)
    assert "subsel" in json.loads(done.stdout)["missing"]


FINE = {"python": "/p", "host": "h", "version": list(sys.version_info[:2]), "subsel": __version__}
FINE |= {"missing": [], "error": ""}


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"missing": ["subsel", "numba"]}, MissingPackageError, "Python /p on h lacks subsel, numba: ship"),
        ({"error": "ImportError: libgomp"}, MissingPackageError, "cannot import subsel .ImportError: libgomp"),
        ({"subsel": "0.0.1"}, ConfigError, "has subsel 0.0.1, the driver"),
        ({"version": [3, 7]}, ConfigError, "is 3.7, the driver's"),
    ],
)
def test_what_executors_lack_is_one_line(change, kind, words):
    preflight._judge(FINE)
    with pytest.raises(kind, match=words) as caught:
        preflight._judge(FINE | change)
    assert "ship-the-dependencies" in str(caught.value)


def test_environment_is_left_as_it_was(monkeypatch):
    asked = []

    class Builder:
        def __getattr__(self, name):
            return lambda *_: self

        def getOrCreate(self):  # noqa: N802
            asked.append(os.environ["PYSPARK_PYTHON"])
            return type("Session", (), {"stop": lambda self: None})()

    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    monkeypatch.setattr(SparkSession, "builder", Builder())
    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    monkeypatch.setattr("subsel.engines.spark.session.check_executors", lambda spark: None)
    with session_for("spark", None):
        assert "PYSPARK_PYTHON" not in os.environ
    assert asked == [sys.executable]


@pytest.mark.parametrize("utility", ["u", pytest.param("density+u", marks=pytest.mark.slow)])
def test_a_utility_beside_which_others_would_not_count_is_refused_as_on_one_machine(spark, tmp_path, utility):
    rng = np.random.default_rng(0)
    u = rng.random(300)
    u[5] = 1e18
    table = pa.table(
        {"id": np.arange(300), "u": u, "embedding": list(rng.standard_normal((300, 8)).astype(np.float32))}
    )
    pq.write_table(table, tmp_path / "points.parquet")
    told = []
    for engine in ("local", spark):
        try:
            about = {
                "size": 30,
                "alpha": 0.9,
                "neighbors": 5,
                "output": tmp_path / ("local" if engine == "local" else "spark"),
                "progress": False,
            }
            subsel.select(tmp_path / "points.parquet", utility=utility, engine=engine, **about)
        except InputError as error:
            told.append(str(error))
    assert len(told) in (0, 2) and len(set(told)) < 2
    assert len(told) == 2 * (utility == "u"), "ranks are never far apart"
