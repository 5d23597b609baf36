"""Where the time of a superstep goes on Spark: kernels, packing, Arrow, the JVM, shuffling, and cores that wait.

python -m benchmarks.spark_superstep [--points 1000000] [--part-points 100000] [--share 0.1]

Exact greedy on the graph of benchmarks/spark_greedy.py in `local[2]`, once to warm up, then once with Spark's event log
read and its profiler on in the Python workers. All in core-seconds: of the two cores, for as long as greedy took.

    kernels     compiled work on boards and rows, and the numpy around it
    packing     arrays from and to bytes, posts to other parts
    Arrow       the rest of what Python workers run: rows of bytes from and to the JVM
    JVM         the rest of what tasks run: reading the graph from disk, sorting, cogrouping, writing boards
    shuffle     waiting for other tasks' output, and writing
    waiting     cores without a task: planning, scheduling, the driver, and the last task of each stage
"""

from __future__ import annotations

import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from benchmarks.record import parser, recording
from benchmarks.spark_greedy import write_problem
from subsel import SelectConfig
from subsel.drivers import run_greedy
from subsel.request import Request
from subsel.run import Run
from subsel.rundir import open_run
from subsel.stages.base import make_ready
from subsel.stages.on_spark import spark_stages

_CORES = 2
_PYTHON = "time to run Python workers"
#: What runs kernels, by file and function; their callees count.
_KERNELS = {
    ("exact.py", "pick"),
    ("exact.py", "cut"),
    ("exact.py", "start_over"),
    ("exact.py", "keep_decisions"),
    ("superstep.py", "values_of"),
}


def tasks_between(log: Path, begin: float, end: float) -> list[dict[str, Any]]:
    """Return the finished tasks of an event log, launched between two times in seconds."""
    events = (json.loads(line) for line in log.read_text().splitlines())
    tasks = [event for event in events if event["Event"] == "SparkListenerTaskEnd"]
    return [task for task in tasks if begin <= task["Task Info"]["Launch Time"] / 1000 <= end]


def metric(tasks: Iterable[dict[str, Any]], name: str) -> float:
    """Return the sum of an SQL metric, in its unit."""
    entries = (entry for task in tasks for entry in task["Task Info"]["Accumulables"])
    return float(sum(float(entry["Update"]) for entry in entries if entry.get("Name") == name and "Update" in entry))


def profiled(profiles: Iterable[pstats.Stats]) -> tuple[float, float]:
    """Return the seconds of all that our functions ran in Python workers, and those of kernels."""
    work = kernels = 0.0
    for profile in profiles:
        for (file, _, name), (_, _, _, cumulative, callers) in profile.stats.items():  # type: ignore[attr-defined]
            place = (Path(file).name, name)
            if place in _KERNELS:
                kernels += cumulative
            if not callers:  # what Spark calls
                work += cumulative
    return work, kernels


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=1_000_000)
    options.add_argument("--part-points", type=int, default=100_000)
    options.add_argument("--share", type=float, default=0.1)
    arguments = options.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    k = round(arguments.share * arguments.points)
    shared = {"size": k, "alpha": 0.9, "bounding": "off", "part_points": arguments.part_points}
    config = SelectConfig.of(shared)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problem(folder, arguments.points)
        (folder / "events").mkdir()
        settings: dict[str, bool | float | int | str | None] = {
            "spark.driver.memory": "2g",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.local.dir": name,
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": (folder / "events").as_uri(),
            "spark.eventLog.rolling.enabled": "false",
            "spark.eventLog.compress": "false",
        }
        spark = SparkSession.builder.master(f"local[{_CORES}]").config(map=settings).getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
        inputs = str(folder / "points.parquet"), str(folder / "graph.parquet")
        request = Request(*inputs, sizes=((config, None),), engine=spark)
        with spark_stages(request, Run(False), partial(open_run, resume=False)) as (stages, _):
            parts = make_ready(stages, stages.config).parts
            for warm in (False, True):
                engine, _ = stages.engine(k)
                if warm:
                    spark.conf.set("spark.sql.pyspark.udf.profiler", "perf")
                begin = time.time()
                result = run_greedy(engine, k, config, "forward", None)
                end = time.time()
                engine.close()
        work, kernels = profiled(spark._profiler_collector._perf_profile_results.values())
        spark.stop()
        (log,) = (folder / "events").iterdir()
        tasks = tasks_between(log, begin, end)
    assert result.selected == k
    figures = [task["Task Metrics"] for task in tasks]
    running = sum(one["Executor Run Time"] + one["Executor Deserialize Time"] for one in figures) / 1000
    fetch = sum(one["Shuffle Read Metrics"]["Fetch Wait Time"] for one in figures) / 1e3
    write = sum(one["Shuffle Write Metrics"]["Shuffle Write Time"] for one in figures) / 1e9
    python = metric(tasks, _PYTHON) / 1000
    shuffled = sum(one["Shuffle Write Metrics"]["Shuffle Bytes Written"] for one in figures)
    rows = {
        "kernels": kernels,
        "packing": work - kernels,
        "Arrow": python - work,
        "JVM": running - python - fetch - write,
        "shuffle": fetch + write,
        "waiting": _CORES * (end - begin) - running,
    }
    about = (
        f"{arguments.points:,} points, {k:,} to select, {parts} parts: {result.supersteps} supersteps in "
        f"{end - begin:.1f} s, {len(tasks)} tasks, {shuffled / 2**20:.0f} MiB shuffled"
    )
    with recording(arguments, about) as record:
        record(
            {"": "<10s", "core-seconds": "12.1f", "share": "5.0%"},
            ((name, seconds, seconds / (_CORES * (end - begin))) for name, seconds in rows.items()),
        )


if __name__ == "__main__":
    main()
