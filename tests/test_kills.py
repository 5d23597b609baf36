"""Whatever moment a run is ended at, by whatever signal: the old result or the new one is there, and it can go on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.faults.joins import Joins
from tests.faults.kills import Tally
from tests.faults.runs import write_points
from tests.spark_fixtures import needs_spark

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MOMENTS = 21
#: On Spark, where each takes half a minute; `make faults` tries more.
ON_SPARK = 5


@pytest.fixture(scope="module")
def points(tmp_path_factory, demo_table):
    path = tmp_path_factory.mktemp("kills") / "points"
    path.mkdir()
    pq.write_table(demo_table.slice(0, 1200), path / "p.parquet")
    return path


def start(points, folder, *more):
    command = [sys.executable, "-m", "subsel", "select", points, folder / "out", "--quiet", *more]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.Popen(
        [str(word) for word in command],
        env=env,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process, sent):
    """Send a signal to the run alone; then end what it had started, as a machine's own housekeeping would."""
    if process.poll() is None:
        process.send_signal(sent)
    _, said = process.communicate(timeout=120)
    for left in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, left)  # its own session: nobody else's processes are in it
        except ProcessLookupError:
            break
        time.sleep(0.2)
    return said


def finish(points, folder, *more):
    process = start(points, folder, *more)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said[-2000:]


def ids(folder):
    """The subset that is there; None if there is none."""
    return pq.read_table(folder / "out")["id"].to_pylist() if (folder / "out").exists() else None


def test_local_runs_that_overwrite(points, tmp_path):
    draw = random.Random(os.environ.get("SUBSEL_SEED", "1"))
    finish(points, tmp_path, "--size", "20")
    old = ids(tmp_path)
    begun = time.monotonic()
    finish(points, tmp_path, "--size", "30", "--overwrite")
    took, new = time.monotonic() - begun, ids(tmp_path)
    assert (len(old), len(new)) == (20, 30)
    sizes = {20: old, 30: new}
    for moment in range(MOMENTS):
        before = ids(tmp_path)
        size = 20 if len(before) == 30 else 30
        process = start(points, tmp_path, "--size", str(size), "--overwrite")
        # Most moments are near the end, where it is written.
        time.sleep(took * (draw.uniform(0.6, 1.05) if moment % 3 else draw.random()))
        said = end(process, SIGNALS[moment % 3])
        lines = said.strip().splitlines()  # Python itself tells of Ctrl-C while it imports the package
        assert "Traceback" not in said or lines[-1] == "KeyboardInterrupt", said[-2000:]
        after = ids(tmp_path)
        assert after in (before, sizes[size]), f"moment {moment}"
    finish(points, tmp_path, "--size", "20", "--overwrite")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"], "something was left behind"


def test_spark_runs_with_a_run_directory(points, tmp_path):
    needs_spark()
    options = ("--size", "300", "--engine", "spark", "--master", "local[2]", "--part-points", "300")
    options += ("--coverage-sample", "0", "--recall-sample", "0", "--neighbors", "10")  # runs need not take long
    options += ("--refine", "2", "--finish-points", "0", "--run-dir")
    (tmp_path / "whole").mkdir()
    begun = time.monotonic()
    finish(points, tmp_path / "whole", *options, tmp_path / "whole" / "run")
    took, expected = time.monotonic() - begun, ids(tmp_path / "whole")

    def lane(number: int) -> int:
        """End every second run, on a folder of its own; return how many did not end by themselves."""
        draw, ended, folder = random.Random(os.environ.get("SUBSEL_SEED", f"{number}")), 0, tmp_path / f"lane{number}"
        folder.mkdir()
        mine = (*options, folder / "run", "--overwrite")
        for moment in range(number, ON_SPARK, 2):
            process = start(points, folder, *mine, *(("--resume",) if (folder / "run").exists() else ()))
            try:
                process.wait(timeout=took * draw.uniform(0.2, 1.3))
            except subprocess.TimeoutExpired:
                ended += 1
            end(process, SIGNALS[moment % 3])
            assert ids(folder) in (None, expected), f"moment {moment}"
            assert (points / "p.parquet").exists()
        finish(points, folder, *mine, "--resume")
        assert ids(folder) == expected
        return ended

    with ThreadPoolExecutor(2) as lanes:  # most of a run is one thread that waits for another process to start
        assert all(lanes.map(lane, range(2)))


@pytest.mark.parametrize(
    ("engine", "n", "roles"),
    [
        ("local", 4000, ["driver"] * 3),
        pytest.param("spark", 900, ["driver", "worker"] * 2, marks=pytest.mark.long),
    ],
    ids=["local", "spark"],
)
def test_killed_while_points_join_and_leave_a_graph(tmp_path, engine, n, roles):
    """Each kill leaves the graph before, bit for bit, or the one that the same command ends in when nothing happens."""
    if engine == "spark":
        needs_spark()
    draw = random.Random(os.environ.get("SUBSEL_SEED", "1"))
    lane = Joins(write_points(tmp_path / "points.parquet", n), tmp_path / "join", "join", engine, Tally(), draw)
    for role in roles:
        lane.kill(role)
    lane.finish()
    assert not lane.tally.wrong
    assert lane.tally.kills
