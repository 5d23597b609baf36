"""The whole pipeline on one machine, Parquet to Parquet: seconds per stage, recall, peak memory and its limit.

python -m benchmarks.local_pipeline [--points 500000] [--dimension 256]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

import subsel
from benchmarks.common import BEFORE, PeakMemory
from benchmarks.record import Row, parser, recording
from subsel.demo import write_demo

COLUMNS = {
    "probes": "d",
    "recall@10": "9.3f",
    "read s": "6.1f",
    "neighbors s": "6.1f",
    "select s": "6.2f",
    "all s": "7.1f",
    "peak MiB": "9,.0f",
    "of limit": "7.0%",
    "objective": "13,.3f",
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=500_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--probes", type=int, nargs="+", default=[4, 8, 16])
    arguments = options.parse_args()
    n, dimension = arguments.points, arguments.dimension
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points"
        write_demo(points, n, dimension)
        some = np.random.default_rng(0).standard_normal((2000, 8), np.float32)
        for metric in ("l2", "cosine"):  # compiles the kernels
            subsel.select(some, size=1, metric=metric)
        pa.default_memory_pool().release_unused()
        about = f"{n:,} points x {dimension}, 10% selected, Parquet to Parquet; limit: 1.3 x embeddings + 40 B/edge"
        with recording(arguments, about) as record:
            record(COLUMNS, (row(points, n, dimension, probes) for probes in arguments.probes))


def row(points: Path, n: int, dimension: int, probes: int) -> Row:
    """Return the row of one selection."""
    with PeakMemory() as memory:
        selection = subsel.select(
            points, size=0.1, output=points.parent / f"subset-{probes}", **(BEFORE | {"probes": probes})
        )
    report = selection.report
    assert report.k == len(selection.table) == round(n / 10)
    assert len(np.unique(selection.ids)) == report.k
    assert abs(selection.table["gain"].to_numpy().sum() - report.objective.total) < 1e-6 * report.k
    limit = 1.3 * 4 * n * dimension + 40 * 2 * report.graph.edges
    took, total = report.seconds, sum(report.seconds.values())
    rest = total - took["read"] - took["neighbors"]
    del selection
    pa.default_memory_pool().release_unused()
    seconds = took["read"], took["neighbors"], rest, total
    return probes, report.graph.recall, *seconds, memory.peak / 2**20, memory.peak / limit, report.objective.total


if __name__ == "__main__":
    main()
