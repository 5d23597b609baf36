"""Exact greedy against the paper's partitioned greedy on Spark, on one graph, in one session: score and seconds.

python -m benchmarks.spark_greedy [--points 1000000] [--size 10%] [--alpha 0.9] [--partitions 32] [--rounds 32]

The graph is random, like a nearest-neighbour graph of ten neighbours in cell order, read from Parquet; parts are a hash
of the id, so every part borders on every other. Bounding is off. Seconds are those of selecting, and of ranking the
subset after it; the graph is assembled once, before, and both methods start from it on warm Python workers. Then the
swaps of exact greedy's subset are timed, beside the seconds of so many times two of its supersteps.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import local_graph
from benchmarks.record import parser, recording
from benchmarks.spark_pipeline import session
from subsel import SelectConfig
from subsel.config import resolve_size
from subsel.drivers import run_greedy, run_refine
from subsel.greedy.exact import order_subset
from subsel.objective import Score
from subsel.request import Request
from subsel.run import Run
from subsel.rundir import open_run
from subsel.stages.base import make_ready
from subsel.stages.on_spark import spark_stages


def write_problem(folder: Path, n: int) -> None:
    """Write points with random utilities, and the edges of a random graph."""
    local_graph(n).to_parquet(folder / "graph.parquet")
    table = pa.table({"id": np.arange(n), "utility": np.random.default_rng(1).random(n)})
    pq.write_table(table, folder / "points.parquet", row_group_size=50_000)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=1_000_000)
    options.add_argument("--size", default="10%")
    options.add_argument("--alpha", type=float, default=0.9)
    options.add_argument("--partitions", type=int, default=32)
    options.add_argument("--rounds", type=int, default=32)
    options.add_argument("--master", default="local[2]")
    options.add_argument("--part-points", type=int, default=100_000)
    arguments = options.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problem(folder, arguments.points)
        spark = session(arguments.master, name)
        shared = {"size": arguments.size, "alpha": arguments.alpha, "bounding": "off"}
        shared |= {"part_points": arguments.part_points, "finish_points": 200_000}
        partitioned = {"greedy": "partitioned", "partitions": arguments.partitions, "rounds": arguments.rounds}
        methods = {
            "exact": SelectConfig.of(shared),
            f"adaptive {arguments.partitions} x {arguments.rounds}": SelectConfig.of(shared | partitioned),
        }
        inputs = str(folder / "points.parquet"), str(folder / "graph.parquet")
        k = resolve_size(arguments.size, arguments.points, "the graph")
        rows: dict[str, tuple[Score, int, float, float]] = {}
        request = Request(*inputs, sizes=((methods["exact"], None),), engine=spark)
        with spark_stages(request, Run(False), partial(open_run, resume=False)) as (stages, _):
            begin = time.perf_counter()
            parts = make_ready(stages, stages.config).parts
            about = (
                f"{arguments.points:,} points, {k:,} to select, alpha {arguments.alpha}, {parts} parts, "
                f"{arguments.master}; graph checked and assembled in {time.perf_counter() - begin:.1f} s"
            )
            for method, config in methods.items():
                engine, _ = stages.engine(k)
                begin = time.perf_counter()
                result = run_greedy(engine, k, config, "forward", None)
                middle = time.perf_counter()
                order_subset(engine, k, restart=config.greedy != "exact")
                end = time.perf_counter()
                found = stages.score(k, 0.0)
                score = Score(found.total, found.utility, found.similarity)
                rows[method] = score, result.supersteps, middle - begin, end - middle
                if config.greedy == "exact":
                    begin = time.perf_counter()
                    refined = run_refine(stages, engine, config.refine, config, None, lambda *_: None)
                    swapping = time.perf_counter() - begin
                    allowed = 2 * refined.passes * rows[method][2] / result.supersteps
                engine.close()
        with recording(arguments, about) as record:
            record(
                {"greedy": "<18s", "score": "16,.3f", "supersteps": "d", "seconds": "8.1f", "ranking s": "8.1f"},
                ((method, score.total, *rest) for method, (score, *rest) in rows.items()),
            )
            record(
                {"passes": "d", "exchanged": "9,", "seconds": "8.1f", "2 x supersteps s": "8.1f"},
                [(refined.passes, refined.exchanged, swapping, allowed)],
                title="swaps of exact greedy, beside so many times two of its supersteps",
            )
        (exact, *_), (other, *_) = rows.values()
        assert exact.total > other.total or arguments.partitions == 1
        spark.stop()


if __name__ == "__main__":
    main()
