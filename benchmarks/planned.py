"""What `subsel plan` says of seconds, beside what selections take: on one machine and on Spark.

python -m benchmarks.planned [--sizes 1000000x64 5000000x64] [--engines local spark] [--rates FILE]

First the rates of this machine are measured, as `subsel doctor --rates` does, unless a file has them. Then 10% of demo
points is selected, Parquet to Parquet, no swaps, ten neighbours by 8 probes and 2 passes: each in a process of its own
that has run before with few points. Spark is ``local[cores]`` with a heap of 2 GiB; its start counts, as in the plan.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import subsel
from benchmarks.common import BEFORE
from benchmarks.record import Row, parser, recording
from benchmarks.spark_pipeline import session, write_points
from subsel.cost import Rates
from subsel.measuring import measure

OPTIONS: dict[str, Any] = BEFORE | {"refine": 0, "size": 0.1, "progress": False}
COLUMNS = {
    "engine": "<6s",
    "points": "10,d",
    "dimension": "9d",
    "planned s": "9.0f",
    "seconds": "7.0f",
    "planned / seconds": "17.2f",
    "reading s": "9.1f",
    "planned reading": "15.1f",
    "neighbors s": "11.1f",
    "planned neighbors": "17.1f",
    "selection s": "11.1f",
    "planned selection": "17.1f",
}


def selected(engine: str, points: Path, output: Path) -> tuple[float, float, float, float]:
    """Return the seconds of a selection: all, reading, neighbours, the rest; run in a process of its own."""
    some = np.random.default_rng(0).standard_normal((3000, 8), np.float32)
    subsel.select(some, **OPTIONS)
    begin = time.perf_counter()
    how: Any = engine
    if engine == "spark":
        os.environ["PYSPARK_PYTHON"] = sys.executable
        how = session(f"local[{os.cpu_count()}]", points.parent)
    report = subsel.select(points, engine=how, output=output, **OPTIONS).report
    took = time.perf_counter() - begin
    stages = report.seconds
    return took, stages["read"], stages["neighbors"], took - stages["read"] - stages["neighbors"]


def rows_of(size: str, engines: list[str], rates: Path) -> Iterator[Row]:
    """Yield the rows of one size."""
    n, dimension = map(int, size.split("x"))
    plan = subsel.plan(
        points=n, dimension=dimension, rates=rates, **{k: v for k, v in OPTIONS.items() if k != "progress"}
    )
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(write_points, (points, n, dimension))
        for engine in engines:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                took, *stages = pool.apply(selected, (engine, points, Path(folder) / engine))
            if engine == "local":
                work, planned, shares = plan.local_work, plan.local_work.total, (1, 1, 1)
            else:
                alone = plan.in_one_task()
                work, planned = plan.work_alone if alone else plan.work, plan.seconds_on_spark(cores)
                shared = min(cores, plan.parts)
                shares = (shared, shared, 1 if alone else shared)
            said = [
                part / share for part, share in zip((work.read, work.neighbors, work.selection), shares, strict=True)
            ]
            pairs = [value for pair in zip(stages, said, strict=True) for value in pair]
            yield engine, n, dimension, planned, took, planned / took, *pairs


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", nargs="+", default=["1000000x64", "5000000x64"])
    options.add_argument("--engines", nargs="+", choices=["local", "spark"], default=["local", "spark"])
    options.add_argument("--rates", type=Path, help="a file that subsel doctor --rates wrote; measured by default")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.rates
        if path is None:
            path = Path(folder) / "rates.json"
            path.write_text(measure().model_dump_json(), encoding="utf-8")
        rates = Rates.load(path)
        with recording(
            arguments, "10% selected, no swaps, ten neighbours, 8 probes, 2 passes, Parquet to Parquet"
        ) as record:
            named = [(f"local: {name}", rate) for name, rate in rates.local.model_dump().items()]
            named += [(f"spark: {name}", rate) for name, rate in rates.spark.model_dump().items()]
            record({"rate": "<24s", "measured": "8.3g"}, named, title="rates")
            rows = (row for size in arguments.sizes for row in rows_of(size, arguments.engines, path))
            record(COLUMNS, rows, title="planned")


if __name__ == "__main__":
    main()
