"""A graph that grows beside one that is made anew: recall, seconds, and the subset from a warm start.

python -m benchmarks.growing [--points 1000000] [--dimension 128] [--data clusters] [--batches 10] [--folder DIR]

The points are those of `benchmarks.common` in random order. A graph is made of all but the batches, each 1 % of the
points, which join it one after another, each read from Parquet and the graph's place, and written back. Then 5 % of the
points leave, chosen at random. Beside that a graph is made anew of the same points. Recall is of 1,000 points against
exact search by the vectors that are kept. Seconds are elapsed and, in brackets, of the processor; shares are of those
of the first graph. Then what was selected of the first graph is the warm start of a selection of the grown one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import subsel
from benchmarks.common import clusters, sentences
from benchmarks.record import machine
from subsel.embeddings import search
from subsel.growing.state import GraphState

SAMPLE = 1000
DATA = {"clusters": clusters, "sentences": sentences}
SIZE = "10%"


class Clock:
    """Seconds since the last call, elapsed and of the processor."""

    def __init__(self) -> None:
        self.then = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        """Return them."""
        now = time.perf_counter(), time.process_time()
        self.then, before = now, self.then
        return now[0] - before[0], now[1] - before[1]


def recall(state: GraphState) -> float:
    """Return the recall of lists, both sides scored by the vectors that are kept."""
    X = state.vectors()
    rows = np.sort(np.random.default_rng(5).choice(state.n, min(SAMPLE, state.n), replace=False))
    exact = search.exact_neighbors(X, rows, state.neighbors, state.metric)
    found = np.einsum("ij,ikj->ik", X[rows], X[np.maximum(state.best[rows], 0)])
    found = np.where(state.best[rows] < 0, -np.inf, found)
    return search.recall_of_scores(-np.sort(-found, axis=1), exact)


def line(what: str, seconds: tuple[float, float], build: tuple[float, float], more: str = "") -> None:
    """Print what took how long, and which share of the build's search."""
    shares = " ".join(f"{100 * one / whole:6.1f} %" for one, whole in zip(seconds, build, strict=True))
    print(f"{what:>24} {seconds[0]:8.1f} ({seconds[1]:8.1f}) {shares}  {more}", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--data", choices=DATA, default="clusters")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        run(given, Path(folder))


def run(given: argparse.Namespace, folder: Path) -> None:
    """Grow and shrink a graph in a folder."""
    points, n, some = DATA[given.data](given.points, given.dimension), given.points, given.points // 100
    order = np.random.default_rng(0).permutation(n)
    first = n - given.batches * some
    for name, rows in [("first", order[:first])] + [
        (f"batch-{i}", order[first + i * some : first + (i + 1) * some]) for i in range(given.batches)
    ]:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(points[rows].ravel()), given.dimension)
        pq.write_table(pa.table({"id": rows, "embedding": lists}), folder / f"{name}.parquet")
    options: dict[str, Any] = {"neighbors": 10, "utility": "density"}
    warm_up(points[:5000], options)
    del points
    print(f"{machine()}\n{n:,} x {given.dimension} {given.data}, {given.batches} batches of {some:,}\n")
    print(f"{'':>24} {'seconds':>8} {'(cpu)':>10} {'share':>8} {'(cpu)':>8}")
    clock = Clock()
    graph = subsel.growing_graph(str(folder / "first.parquet"), **options)
    build = clock()
    graph.save(folder / "graph")
    line("first graph", build, build, f"recall {recall(graph._kept.state):.4f}")
    base = subsel.select(str(folder / "first.parquet"), size=SIZE, graph=graph.graph, utility="density", report=False)
    batches = []
    for i in range(given.batches):
        clock()
        graph = subsel.open_graph(folder / "graph")
        opened = clock()
        done = graph.add(str(folder / f"batch-{i}.parquet"))
        searched = clock()
        graph.save()
        saved = clock()
        batches.append((searched, tuple(map(sum, zip(opened, searched, saved, strict=True)))))
        print(f"{'batch ' + str(i):>24}: open {opened[0]:.1f}, join {searched[0]:.1f}, write {saved[0]:.1f}; {done}")
    for at, what in enumerate(("a batch joins", "with open and write")):
        seconds = np.median([one[at] for one in batches], axis=0)
        line(what, (float(seconds[0]), float(seconds[1])), build)
    clock()
    fresh = subsel.growing_graph(str(folder / "*.parquet"), **options)
    line("anew", clock(), build, f"recall {recall(fresh._kept.state):.4f}")
    print(f"{'grown':>24}: recall {recall(graph._kept.state):.4f}")
    show_subsets(str(folder / "*.parquet"), graph, base)
    gone = np.random.default_rng(1).choice(n, n // 20, replace=False)
    clock()
    done = graph.remove(gone)
    line("5 % leave", clock(), build, f"recall {recall(graph._kept.state):.4f}, {done.searched:,} searched")


def warm_up(points: np.ndarray, options: dict[str, Any]) -> None:
    """Compile all that is timed."""
    table = pa.table({"id": np.arange(len(points)), "embedding": list(points)})
    small = subsel.growing_graph(table.slice(0, 4000), recall=1.0, **options)
    small.add(table.slice(4000))
    small.remove(np.arange(200))
    ids = subsel.select(table.slice(200), size=SIZE, graph=small.graph, utility="density", report=False).ids
    subsel.select(table.slice(200), size=SIZE, graph=small.graph, utility="density", report=False, warm_start=ids)


def show_subsets(points: str, graph: subsel.GrowingGraph, base: subsel.Selection) -> None:
    """Select of the grown graph by greedy alone, with swaps, and from a warm start."""
    about: dict[str, Any] = {
        "size": SIZE,
        "graph": graph.graph,
        "utility": "density",
        "report": False,
        "coverage_sample": 0,
    }
    print(f"\n{'':>24} {'f':>14} {'bound':>14} {'certified':>10} {'seconds':>8} {'of the old':>10}")
    ways: dict[str, dict[str, Any]] = {
        "greedy": {"refine": 0},
        "greedy and swaps": {},
        "warm start": {"warm_start": base.ids},
    }
    for name, more in ways.items():
        found = subsel.select(points, **about | more)
        seconds = sum(found.report.seconds[stage] for stage in ("bounding", "greedy", "refine"))
        stayed = len(np.intersect1d(found.ids, base.ids)) / len(base)
        numbers = f"{found.objective:14,.2f} {found.upper_bound:14,.2f} {found.report.certificate.share or 0:10.2%}"
        print(f"{name:>24} {numbers} {seconds:8.2f} {stayed:10.1%}")
    print()


if __name__ == "__main__":
    main()
