"""Spark's subset is the local engine's, bit for bit, on a graph of 500,000 points: ids, ranks and gains.

python -m benchmarks.spark_identity [--points 500000] [--parts 1 3 7 32] [--masters local[1] local[2] ...]
    [--refine 8]

No task finishes the rest (finish_points 0), so supersteps are not limited.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
from pyspark.sql import SparkSession

import subsel
from benchmarks.common import local_graph, seconds
from benchmarks.record import Row, parser, recording

#: Share to select, alpha, utility.
GRID = [(0.1, 0.9, "uniform"), (0.5, 0.5, "constant"), (0.9, 0.1, "levels")]
COLUMNS = {
    "master": "<24s",
    "parts": "d",
    "share": "5.0%",
    "alpha": "5.1f",
    "utility": "<8s",
    "supersteps": "d",
    "spark s": "7.1f",
    "local s": "7.1f",
    "same": "<4s",
}


def session(master: str) -> SparkSession:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)  # local-cluster starts its executors from there
    builder = (
        SparkSession.builder.master(master).config("spark.driver.memory", "2g").config("spark.ui.enabled", "false")
    )
    for key in ("spark.driver.host", "spark.driver.bindAddress"):
        builder = builder.config(key, "127.0.0.1")
    return builder.config("spark.executor.memory", "1g").config("spark.ui.showConsoleProgress", "false").getOrCreate()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=500_000)
    options.add_argument("--parts", type=int, nargs="+", default=[1, 3, 7, 32])
    options.add_argument("--masters", nargs="+", default=["local[2]", "local[1]", "local-cluster[2,1,1024]"])
    options.add_argument("--refine", type=int, default=8, help="passes of swap refinement")
    options.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.5, 0.9])
    arguments = options.parse_args()
    if not set(arguments.shares) <= {share for share, _, _ in GRID}:
        options.error("shares are 0.1, 0.5 and 0.9")
    n = arguments.points
    rng = np.random.default_rng(1)
    utilities = {"uniform": rng.random(n), "constant": np.ones(n), "levels": rng.integers(0, 10, n) / 10}
    about = f"{n:,} points, parts by hash of the id (nearly every edge is cut), refine {arguments.refine}"
    with recording(arguments, about) as record:
        record(COLUMNS, rows(utilities, arguments))


def rows(utilities: dict[str, np.ndarray], arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield a row per master, number of parts and problem."""
    n = arguments.points
    with tempfile.TemporaryDirectory() as folder:
        points, edges = Path(folder) / "points.parquet", Path(folder) / "graph.parquet"
        pq.write_table(pa.table({"id": np.arange(n), **utilities}), points)
        local_graph(n).to_parquet(edges)
        for master in arguments.masters:
            spark = session(master)
            spark.sparkContext.setLogLevel("ERROR")
            for parts in arguments.parts:
                for share, alpha, utility in [row for row in GRID if row[0] in arguments.shares]:
                    options = {"size": round(share * n), "alpha": alpha, "utility": utility, "graph": str(edges)}
                    options["refine"] = arguments.refine
                    found: list[subsel.Selection] = []
                    local = seconds(lambda o=options, f=found: f.append(subsel.select(points, engine="local", **o)))
                    output = Path(folder) / "subset"
                    options |= {"part_points": -(-n // parts), "finish_points": 0, "max_supersteps": 10_000}
                    options["output"] = output
                    took = seconds(lambda o=options, f=found, s=spark: f.append(subsel.select(points, engine=s, **o)))
                    same = found[1].table.equals(found[0].table)
                    steps = found[1].report.greedy.supersteps
                    assert same
                    yield master, parts, share, alpha, utility, steps, took, local, "yes"
                    shutil.rmtree(output)
            spark.stop()


if __name__ == "__main__":
    main()
