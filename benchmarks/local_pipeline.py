"""The whole pipeline on one machine, Parquet to Parquet: seconds per stage, recall, peak memory and its limit.

python -m benchmarks.local_pipeline [--points 500000] [--dimension 256]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

import subsel
from benchmarks.common import BEFORE, PeakMemory, machine
from subsel.demo import write_demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--probes", type=int, nargs="+", default=[4, 8, 16])
    arguments = parser.parse_args()
    n, dimension = arguments.points, arguments.dimension
    print(machine())
    print(
        f"{n:,} points x {dimension}, 10 % selected, Parquet to Parquet; memory limit: 2.5 x embeddings + 40 B/edge\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points"
        write_demo(points, n, dimension)
        some = np.random.default_rng(0).standard_normal((2000, 8), np.float32)
        for metric in ("l2", "cosine"):  # compiles the kernels
            subsel.select(some, size=1, metric=metric)
        pa.default_memory_pool().release_unused()
        print("probes  recall@10  read  neighbors  select  total s   peak MiB  of limit      objective")
        for probes in arguments.probes:
            with PeakMemory() as memory:
                selection = subsel.select(
                    points, size=0.1, output=Path(folder) / f"subset-{probes}", **(BEFORE | {"probes": probes})
                )
            report = selection.report
            assert report.k == len(selection.table) == round(n / 10)
            assert len(np.unique(selection.ids)) == report.k
            assert abs(selection.table["gain"].to_numpy().sum() - report.objective.total) < 1e-6 * report.k
            limit = 2.5 * 4 * n * dimension + 40 * 2 * report.graph.edges
            took = report.seconds
            rest = sum(took.values()) - took["read"] - took["neighbors"]
            print(
                f"{probes:6d}  {report.graph.recall:9.3f}  {took['read']:4.1f}  {took['neighbors']:9.1f}  {rest:6.2f}"
                f"  {sum(took.values()):7.1f}  {memory.peak / 2**20:9,.0f}  {memory.peak / limit:7.0%}"
                f"  {report.objective.total:13,.3f}"
            )
            del selection
            pa.default_memory_pool().release_unused()


if __name__ == "__main__":
    main()
