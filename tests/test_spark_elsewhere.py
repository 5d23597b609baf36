"""The same pipeline where the test's session is not: real executors, Spark Connect, spark-submit, a resumed run.

Each runs in a process of its own, because a process has one Spark.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import subsel
from tests.spark_fixtures import needs_spark

ROOT = Path(__file__).parent.parent
OPTIONS = {"size": 50, "part_points": 230, "finish_points": 70}

#: A session with two executors, each a process of its own.
CLUSTER = (
    "spark = (SparkSession.builder.master('local-cluster[2,1,1024]').config('spark.executor.memory', '1g')"
    ".config('spark.driver.host', '127.0.0.1').config('spark.driver.bindAddress', '127.0.0.1')"
    ".config('spark.ui.enabled', 'false').getOrCreate())"
)

SCRIPT = """
import os, sys
import subsel
from pyspark.sql import SparkSession
{session}
selection = subsel.select({points!r}, size=50, part_points=230, finish_points=70, engine=spark, output={output!r})
print("parts", selection.report.graph.parts)
spark.stop()
"""


@pytest.fixture(scope="module")
def points(tmp_path_factory, demo_table):
    folder = tmp_path_factory.mktemp("elsewhere")
    pq.write_table(demo_table.slice(0, 500), folder / "points.parquet", row_group_size=100)
    return folder / "points.parquet"


@pytest.fixture(scope="module")
def expected(spark, points, tmp_path_factory):
    """The subset as the test session selects it."""
    output = tmp_path_factory.mktemp("expected") / "subset"
    return subsel.select(points, engine=spark, output=output, **OPTIONS).table


def environment(**more):
    pyspark = needs_spark()
    names = ("PATH", "HOME", "JAVA_HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return (
        kept
        | {
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        | more
    )


def run_script(folder, session, points, output):
    script = folder / "script.py"
    script.write_text(SCRIPT.format(session=session, points=str(points), output=str(output)))
    env = environment(PYTHONPATH=str(ROOT), SPARK_WORKER_DIR=str(folder / "work"))
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_local_cluster_with_two_executors(expected, points, tmp_path):
    run_script(tmp_path, CLUSTER, points, tmp_path / "subset")
    assert pq.read_table(tmp_path / "subset").equals(expected)


@pytest.fixture
def connect_server(tmp_path):
    pytest.importorskip("grpc")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = environment(PYTHONPATH=str(ROOT), SPARK_LOG_DIR=str(tmp_path / "log"), SPARK_PID_DIR=str(tmp_path / "pid"))
    home = Path(env["SPARK_HOME"])
    command = [
        home / "sbin" / "start-connect-server.sh",
        *("--master", "local[2]", "--driver-memory", "1g"),
        *("--conf", f"spark.connect.grpc.binding.port={port}"),
        *("--conf", "spark.connect.grpc.binding.address=127.0.0.1"),
        *("--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2"),
    ]
    subprocess.run([str(part) for part in command], env=env, check=True, capture_output=True, timeout=60)
    pid = int(next((tmp_path / "pid").glob("*.pid")).read_text())
    try:
        deadline = time.monotonic() + 90
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > deadline:
                pytest.fail("the Connect server did not open its port")
            time.sleep(0.5)
        yield port
    finally:
        os.kill(pid, signal.SIGTERM)


@pytest.mark.slow
def test_spark_connect(expected, points, tmp_path, connect_server):
    session = f"spark = SparkSession.builder.remote('sc://127.0.0.1:{connect_server}').getOrCreate()"
    run_script(tmp_path, session, points, tmp_path / "subset")
    assert pq.read_table(tmp_path / "subset").equals(expected)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The wheel's content as the zip that --py-files takes; jobs and configs without the repository around them."""
    folder = tmp_path_factory.mktemp("package")
    with zipfile.ZipFile(folder / "subsel.zip", "w") as archive:
        for source in sorted((ROOT / "subsel").rglob("*.*")):
            if source.is_file() and source.parent.name != "__pycache__":
                archive.write(source, source.relative_to(ROOT))
    for name in ("jobs", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def submit(package, job, *arguments, exit_code=0):
    env = environment()
    # Without this an editable install would be found before the zip.
    blocker = package / "sitecustomize.py"
    blocker.write_text(f"import sys\nsys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]\n")
    command = [
        str(Path(env["SPARK_HOME"]) / "bin" / "spark-submit"),
        *("--master", "local[2]", "--driver-memory", "1g", "--py-files", str(package / "subsel.zip")),
        *("--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2"),
        str(package / "jobs" / job),
        *map(str, arguments),
    ]
    done = subprocess.run(command, env=env, cwd=package, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr[-3000:]
    return done


def options_of(package):
    options = ["--config", package / "configs" / "cluster.toml", "--size", "50"]
    return [*options, "--part-points", "230", "--finish-points", "70", "--coverage-sample", "0"]


def one_line(done):
    """What spark-submit says on the program's behalf: its stderr comes on stdout."""
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("subsel: ")]
    assert len(said) == 1
    return said[0]


@pytest.mark.slow
def test_spark_submit(expected, points, package, tmp_path):
    done = submit(package, "select_subset.py", *options_of(package), points, tmp_path / "whole")
    assert "objective" in done.stdout
    assert pq.read_table(tmp_path / "whole").equals(expected)


@pytest.mark.slow
def test_spark_submit_of_what_is_wrong(points, package, tmp_path):
    options = [*options_of(package), "--utility", "nothing"]
    wrong = submit(package, "select_subset.py", *options, points, tmp_path / "whole", exit_code=2)
    assert "has no utility column 'nothing'" in one_line(wrong)
    assert not (tmp_path / "whole").exists()


@pytest.mark.slow
def test_spark_submit_of_the_stages(expected, points, package, tmp_path):
    options, run = options_of(package), tmp_path / "run"
    submit(package, "build_graph.py", *options, points, run)
    submit(package, "bound_points.py", *options, points, run)
    assert set(json.loads((run / "manifest.json").read_text())["stages"]) == {"graph", "utility", "bounding"}
    submit(package, "greedy_subset.py", *options, points, run, tmp_path / "staged")
    assert pq.read_table(tmp_path / "staged").equals(expected)

    config = ["--config", package / "configs" / "cluster.toml", "--part-points", "230"]
    scored = submit(package, "score_subset.py", *config, tmp_path / "staged", points, "--run-dir", run)
    reported = json.loads((tmp_path / "staged" / "_manifest.json").read_text())["objective"]["total"]
    assert f"{reported:,.6f}" in scored.stdout

    wrong = submit(package, "greedy_subset.py", *options, "--neighbors", "3", points, run, tmp_path / "no", exit_code=2)
    said = one_line(wrong)
    assert "its graph was made with --neighbors auto, now it is --neighbors 3" in said


@pytest.mark.slow
def test_places_through_spark_connect(tmp_path, connect_server):
    """The contract of small files and of results, on a server of which only Spark's readers and writers are used."""
    script = tmp_path / "places.py"
    script.write_text(CONNECT.format(port=connect_server, folder=str(tmp_path / "places")))
    env = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all is well" in done.stdout


CONNECT = """
from pathlib import Path
from pyspark.sql import SparkSession
from subsel.engines.spark.connect import ConnectPlace
from subsel.engines.spark.preflight import check_executors
from subsel.engines.spark.storage import place_in
from tests.test_spark_storage import check_files, check_results, check_unreachable

spark = SparkSession.builder.remote("sc://127.0.0.1:{port}").getOrCreate()
check_executors(spark)
place = place_in(spark, {folder!r})
assert isinstance(place, ConnectPlace)
assert place.key == {folder!r}
check_files(place)
check_results(spark, place.join("out"), Path({folder!r}, "out"))
check_unreachable(spark)
print("all is well")
"""
