"""Short and long lists of neighbours, and what a selection takes of memory by what its points come as.

python -m benchmarks.search lists [--data clusters sentences] [--points 500000] [--dimension 256]
    [--neighbors 10 30 100] [--repeats 3]
python -m benchmarks.search memory [--points 500000] [--dimension 256]

`lists` is `subsel.neighbors`, from rows in memory to the symmetric graph, with the recall that it aims at by default:
medians of the seconds (the lower of two), all numbers of neighbours in turn, as often as `--repeats` says; `x least` is
by the least number of the same run. Points are those of `benchmarks.peers_graph`. Compilers are warm.

`memory` is `subsel.select` of a tenth by 10 neighbours, clustered points, each input in a process of its own that has
run before with few points. `peak` is the most resident memory (VmHWM) above what was there before, with files that are
mapped and without what was given if that is an array: of the embeddings as float32. `edges` is 40 bytes for each
directed edge, of the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import subsel
from benchmarks.common import clusters, seconds, sentences, status_bytes
from benchmarks.record import Recorder, Row, add_record, recording

DATA = {"clusters": clusters, "sentences": sentences}
LISTS = {
    "data": "<10s",
    "neighbours": "4d",
    "seconds": "8.1f",
    "x least": "7.2f",
    "recall": "7.3f",
    "probes": "6d",
    "passes": "6d",
    "edges": "12,d",
}
MEMORY = {"input": "<8s", "values": "<8s", "seconds": "8.1f", "peak": "6.2f", "edges": "6.2f"}


def lists(record: Recorder, arguments: argparse.Namespace) -> None:
    """Record the table of seconds by neighbours."""
    for neighbors in arguments.neighbors:
        subsel.neighbors(clusters(5000, arguments.dimension), neighbors=neighbors, progress=False)
    record(LISTS, (row for kind in arguments.data for row in rows_of(kind, arguments)))


def rows_of(kind: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of one kind of points."""
    X = DATA[kind](arguments.points, arguments.dimension)
    took: dict[int, list[float]] = {neighbors: [] for neighbors in arguments.neighbors}
    reports: dict[int, Any] = {}

    def run(neighbors: int) -> None:
        reports[neighbors] = subsel.neighbors(X, neighbors=neighbors, progress=False).report

    for _ in range(arguments.repeats):
        for neighbors, found in took.items():
            found.append(seconds(lambda neighbors=neighbors: run(neighbors)))
    median = {neighbors: sorted(of)[(len(of) - 1) // 2] for neighbors, of in took.items()}
    for neighbors, report in reports.items():
        ratio = median[neighbors] / median[min(median)]
        about = report.recall, report.probes, report.passes, report.edges
        yield kind, neighbors, median[neighbors], ratio, *about


def memory(record: Recorder, arguments: argparse.Namespace) -> None:
    """Record the table of peaks."""
    with tempfile.TemporaryDirectory() as folder:
        record(MEMORY, (peak_of(Path(folder), *how, arguments) for how in inputs()))


def inputs() -> Iterator[tuple[str, str]]:
    """Yield what points come as."""
    for values in ("float32", "float16"):
        for kind in ("array", "npy", "parquet"):
            yield kind, values


def peak_of(folder: Path, kind: str, values: str, arguments: argparse.Namespace) -> Row:
    """Return the row of one input."""
    path = folder / f"points-{values}.{'parquet' if kind == 'parquet' else 'npy'}"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        if not path.exists():
            pool.apply(write, (path, values, arguments.points, arguments.dimension))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        took, peak, edges = pool.apply(measured, (path, kind == "array", values, arguments.dimension))
    whole = 4 * arguments.points * arguments.dimension
    return kind, values, took, peak / whole, 40 * 2 * edges / whole


def write(path: Path, values: str, n: int, dimension: int) -> None:
    """Write points."""
    X = clusters(n, dimension).astype(values)
    if path.suffix == ".npy":
        np.save(path, X)
        return
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), dimension)
    pq.write_table(pa.table({"id": np.arange(n), "embedding": vectors}), path, row_group_size=1 << 16)


def measured(path: Path, loaded: bool, values: str, dimension: int) -> tuple[float, int, int]:
    """Return seconds, bytes at the peak above those before, and undirected edges."""
    how: dict[str, Any] = {"size": 0.1, "neighbors": 10, "progress": False}
    subsel.select(np.random.default_rng(0).standard_normal((3000, dimension)).astype(values), **how)
    pa.default_memory_pool().release_unused()
    data = np.load(path) if loaded else path
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    found: list[int] = []
    took = seconds(lambda: found.append(subsel.select(data, **how).report.graph.edges))
    return took, status_bytes("VmHWM") - before, found[0]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(dest="what", required=True)
    for what in ("lists", "memory"):
        command = commands.add_parser(what)
        command.add_argument("--points", type=int, default=500_000)
        command.add_argument("--dimension", type=int, default=256)
        if what == "lists":
            command.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
            command.add_argument("--neighbors", type=int, nargs="+", default=[10, 30, 100])
            command.add_argument("--repeats", type=int, choices=range(1, 10), default=3)
        add_record(command)
    arguments = options.parse_args()
    size = f"{arguments.points:,} x {arguments.dimension}"
    about = {"lists": f"{size}, rows in memory to the graph", "memory": f"{size}, 10% selected, 10 neighbours"}
    with recording(arguments, about[arguments.what]) as record:
        {"lists": lists, "memory": memory}[arguments.what](record, arguments)


if __name__ == "__main__":
    main()
