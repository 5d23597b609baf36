"""A graph that grows beside one that is made anew: recall, seconds, and the subset from a warm start.

python -m benchmarks.growing [--points 1000000] [--dimension 128] [--data clusters] [--batches 10] [--folder DIR]
python -m benchmarks.growing --spark 'local[2]' --points 100000 --part-points 10000 --batches 2

The points are those of `benchmarks.common` in random order. A graph is made of all but the batches, each 1 % of the
points, which join it one after another, each read from Parquet and the graph's place, and written back. Then 5 % of the
points leave, chosen at random, and the place is written again. Beside that graphs are made anew of the same points.
Recall is of 2,000 points against exact search by the vectors that are kept. Seconds are elapsed and of the processor;
shares are of those of the first graph, which is searched but not written. A batch is the median of all; it is read, and
its ids are looked for, beside the search and merging of lists. The first graph is the median of three: it is made
before the batches, between them, and after. A machine is not as fast all the time.

Then what was selected of the first graph is the warm start of a selection of the grown one: seconds by what they are
for, f, what is certified, and how many of the old subset's points stayed.

With ``--spark`` the graph is made, grown and made anew on Spark, and seconds are elapsed, of whole calls; beside them
how many parts were written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import subsel
from benchmarks.common import clusters, sentences
from benchmarks.record import Row, parser, recording
from subsel.embeddings import search
from subsel.growing.state import GraphState

SAMPLE = 2000
DATA = {"clusters": clusters, "sentences": sentences}
SIZE = "10%"
#: How graphs are made, and subsets of them.
GRAPH: dict[str, Any] = {"neighbors": 10, "utility": "density", "progress": False}
SUBSET: dict[str, Any] = {"size": SIZE, "utility": "density", "report": False, "coverage_sample": 0, "progress": False}
CHANGES = {
    "what": "<",
    "seconds": "8,.1f",
    "processor s": "8,.1f",
    "% of the build": "6.1f",
    "% of its processor": "6.1f",
    "recall": "7.4f",
    "searched": "9,d",
}
ON_SPARK = {
    "what": "<",
    "seconds": "8,.1f",
    "% of the build": "6.1f",
    "recall": "7.4f",
    "parts written": "5,d",
    "of": "5,d",
}
WAYS = {
    "way": "<",
    "f": "12,.2f",
    "bound": "12,.2f",
    "certified %": "7.2f",
    "read s": "7.2f",
    "bounding s": "7.3f",
    "greedy s": "7.3f",
    "swaps s": "7.3f",
    "score s": "7.2f",
    "all s": "7.2f",
    "% of the old": "6.1f",
}


class Seconds(NamedTuple):
    """Elapsed, and of the processor."""

    elapsed: float
    processor: float

    def and_of(self, *others: Seconds) -> Seconds:
        """Return the sum."""
        return Seconds(*map(sum, zip(self, *others, strict=True)))


class Clock:
    """Seconds since the last call."""

    def __init__(self) -> None:
        self.then = Seconds(time.perf_counter(), time.process_time())

    def __call__(self) -> Seconds:
        """Return them."""
        now = Seconds(time.perf_counter(), time.process_time())
        self.then, before = now, self.then
        return Seconds(now.elapsed - before.elapsed, now.processor - before.processor)


def recall(state: GraphState) -> float:
    """Return the recall of lists, both sides scored by the vectors that are kept; of two graphs by the same points."""
    X, by_id = state.vectors(), np.argsort(state.ids.to_numpy())
    rows = np.sort(by_id[np.random.default_rng(5).choice(state.n, min(SAMPLE, state.n), replace=False)])
    exact = search.exact_neighbors(X, rows, state.neighbors, state.metric)
    found = np.einsum("ij,ikj->ik", X[rows], X[np.maximum(state.best[rows], 0)])
    found = np.where(state.best[rows] < 0, -np.inf, found)
    return search.recall_of_scores(-np.sort(-found, axis=1), exact)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=1_000_000)
    options.add_argument("--dimension", type=int, default=128)
    options.add_argument("--data", choices=DATA, default="clusters")
    options.add_argument("--batches", type=int, default=10)
    options.add_argument("--folder", type=Path)
    options.add_argument("--spark", metavar="MASTER", help="make and grow the graph on Spark")
    options.add_argument("--part-points", type=int, help="on Spark")
    given = options.parse_args()
    about = f"{given.points:,} x {given.dimension} {given.data}, {given.batches} batches of 1 %"
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, recording(given, about) as record:
        write_points(given, Path(folder))
        if given.spark is not None:
            record(ON_SPARK, changes_on_spark(Path(folder), given), "spark")
            return
        growing = Growing(Path(folder), given.batches, given.points)
        record(CHANGES, growing.changes(), "changes")
        record(WAYS, growing.ways(), "subsets")


def write_points(given: argparse.Namespace, folder: Path) -> None:
    """Write the first points, and each batch; and compile all that is timed."""
    points, n, some = DATA[given.data](given.points, given.dimension), given.points, given.points // 100
    order = np.random.default_rng(0).permutation(n)
    first = n - given.batches * some
    parts = {"first": order[:first]} | {
        f"batch-{i}": order[first + i * some : first + (i + 1) * some] for i in range(given.batches)
    }
    for name, rows in parts.items():
        lists = pa.FixedSizeListArray.from_arrays(pa.array(points[rows].ravel()), given.dimension)
        pq.write_table(pa.table({"id": rows, "embedding": lists}), folder / f"{name}.parquet")
    warm_up(points[:5000])


def warm_up(points: np.ndarray) -> None:
    """Compile all that is timed."""
    table = pa.table({"id": np.arange(len(points)), "embedding": list(points)})
    small = subsel.growing_graph(table.slice(0, 4000), recall=1.0, **GRAPH)
    small.add(table.slice(4000))
    small.remove(np.arange(1500))
    stayed = table.slice(1500)
    ids = subsel.select(stayed, graph=small.graph, **SUBSET).ids
    subsel.select(stayed, graph=small.graph, warm_start=ids, **SUBSET)


class Growing:
    """A graph in a folder, beside its points."""

    def __init__(self, folder: Path, batches: int, n: int) -> None:
        self.folder, self.batches, self.n = folder, batches, n
        self.grown: subsel.NeighborGraph
        self.base: subsel.Selection

    def changes(self) -> Iterator[Row]:
        """Make the graph, let points join and leave; yield a row of each."""
        clock, place = Clock(), self.folder / "graph"
        graph = subsel.growing_graph(str(self.folder / "first.parquet"), **GRAPH)
        builds, joined, searched, whole = [clock()], [], [], []
        first = recall(graph._kept.state)
        graph.save(place)
        self.base = subsel.select(str(self.folder / "first.parquet"), graph=graph.graph, **SUBSET)
        del graph
        for i in range(self.batches):
            if i == self.batches // 2:
                builds.append(self.built())
            clock()
            graph = subsel.open_graph(place)
            opened = clock()
            done = graph.add(str(self.folder / f"batch-{i}.parquet"), progress=False)
            joined.append(clock())
            searched.append(done.seconds["search"])
            graph.save()
            whole.append(clock().and_of(opened, joined[-1]))
            if i == self.batches - 1:
                grown, self.grown = recall(graph._kept.state), graph.graph
            del graph
        builds.append(self.built())
        build = Seconds(*np.median(builds, axis=0))
        yield row("first graph", build, build, first)
        yield row("a batch joins", Seconds(*np.median(joined, axis=0)), build, grown)
        took = float(np.median(searched))
        yield "of this search and merging", took, None, 100 * took / build.elapsed, None, None, None
        yield row("and is opened and written", Seconds(*np.median(whole, axis=0)), build)
        yield self.anew("all anew", build)
        clock()
        graph = subsel.open_graph(place)
        opened = clock()
        gone = np.random.default_rng(1).choice(self.n, self.n // 20, replace=False)
        clock()
        done = graph.remove(gone, progress=False)
        left = clock()
        yield row("5 % leave", left, build, recall(graph._kept.state), done.searched)
        clock()
        graph.save()
        yield row("and are opened and written", clock().and_of(opened, left), build)
        del graph
        yield self.anew("all but these anew", build, gone)

    def anew(self, what: str, build: Seconds, gone: np.ndarray | None = None) -> Row:
        """Return the row of a graph of all points, or of those that have not gone."""
        clock = Clock()
        points: Any = str(self.folder / "*.parquet")
        if gone is not None:
            points = pa.concat_tables([pq.read_table(file) for file in sorted(self.folder.glob("*.parquet"))])
            points = points.filter(pa.array(~np.isin(points["id"].to_numpy(), gone)))
        clock()
        graph = subsel.growing_graph(points, **GRAPH)
        return row(what, clock(), build, recall(graph._kept.state))

    def built(self) -> Seconds:
        """Make the first graph once more."""
        clock = Clock()
        subsel.growing_graph(str(self.folder / "first.parquet"), **GRAPH)
        return clock()

    def ways(self) -> Iterator[Row]:
        """Select of the grown graph by greedy alone, with swaps, and from a warm start; the fastest of three."""
        ways: dict[str, dict[str, Any]] = {
            "greedy": {"refine": 0},
            "greedy and swaps": {},
            "warm start": {"warm_start": self.base.ids},
        }
        for name, more in ways.items():
            runs = []
            for _ in range(3):
                clock = Clock()
                found = subsel.select(str(self.folder / "*.parquet"), graph=self.grown, **SUBSET | more)
                runs.append((clock().elapsed, found.report.seconds))
            whole, seconds = min(runs, key=lambda run: run[0])
            read = sum(seconds[stage] for stage in ("read", "neighbors", "utility", "engine"))
            scored = sum(seconds[stage] for stage in ("certify", "rank", "score", "coverage"))
            parts = seconds["bounding"], seconds["greedy"], seconds["refine"]
            certified, stayed = found.report.certificate.share, len(np.intersect1d(found.ids, self.base.ids))
            about = name, found.objective, found.upper_bound, 100 * (certified or 0.0)
            yield *about, read, *parts, scored, whole, 100 * stayed / len(self.base)


def changes_on_spark(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Make a graph on Spark, let points join and leave, and make it anew; yield a row of each."""
    from pyspark.sql import SparkSession  # noqa: PLC0415  (only here)

    builder = SparkSession.builder.master(given.spark).config("spark.driver.memory", "4g")
    session = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    where, clock = folder / "graph", Clock()
    asked = {name: one for name, one in GRAPH.items() if name != "utility"}
    asked |= {"engine": session} | ({} if given.part_points is None else {"part_points": given.part_points})
    warm = folder / "warm"
    subsel.neighbors(str(folder / "batch-0.parquet"), output=warm, **asked)  # starts workers, and compiles
    clock()
    subsel.neighbors(str(folder / "first.parquet"), output=where, **asked)
    build = clock().elapsed
    parts = len(list((where / "_kept").glob("in_part=*"))) - 1  # and the map
    yield "first graph", build, 100.0, recall(subsel.open_graph(where)._kept.state), parts, parts
    joined, written = [], []
    for i in range(given.batches):
        clock()
        done = subsel.grow_graph(where, str(folder / f"batch-{i}.parquet"), engine=session, progress=False)
        joined.append(clock().elapsed)
        written.append(done.revisions[-1].tasks)
    took = float(np.median(joined))
    grown = recall(subsel.open_graph(where)._kept.state)
    yield "a batch joins", took, 100 * took / build, grown, int(np.median(written)), parts
    gone = np.random.default_rng(1).choice(given.points, given.points // 20, replace=False)
    clock()
    done = subsel.grow_graph(where, remove=gone, engine=session, progress=False)
    took = clock().elapsed
    left = recall(subsel.open_graph(where)._kept.state)
    yield "5 % leave", took, 100 * took / build, left, done.revisions[-1].tasks, parts
    clock()
    subsel.neighbors(str(folder / "*.parquet"), output=folder / "anew", **asked)
    took = clock().elapsed
    yield "all anew", took, 100 * took / build, recall(subsel.open_graph(folder / "anew")._kept.state), parts, parts
    session.stop()


def row(what: str, took: Seconds, build: Seconds, found: float | None = None, searched: int | None = None) -> Row:
    """Return a row: what took how long, which share of the build, and the recall that was found."""
    shares = (100 * one / whole for one, whole in zip(took, build, strict=True))
    return what, *took, *shares, found, searched


if __name__ == "__main__":
    main()
