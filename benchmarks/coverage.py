"""Greedy of coverage beside peers on one graph, and how near it comes to its bound on a large one.

python -m benchmarks.coverage peers [--points 100000] [--neighbors 30] [--size 1000] …
python -m benchmarks.coverage large [--data clusters] [--points 1000000] [--neighbors 50]
    [--shares 0.01 0.1] [--iterations 0 30]

`peers` wants `pip install -e '.[bench]'` (apricot-select, submodlib-py). Points are clusters of 64 dimensions
(`subsel.demo`), the graph is subsel's, divided by its largest similarity so that a point's similarity to itself is 1
for all: it is on the diagonal of peers' matrices, and all maximise the same f. apricot's `FacilityLocationSelection`
and submodlib's `FacilityLocationFunction` run their lazy greedy on CSR in float64; what turns the graph into it is
not counted. `subsel.select` is the whole call on the graph in memory: checks, fixed point, greedy, ranks, scores, and
a bound, which peers have not. `kernel` is its greedy alone. `alike` are the first ranks that agree, `gain` is what
the peer's next pick adds to these, of what subsel's adds: 1 is a tie, after which greedy may go another way. `idle`
are picks that add nothing; f is of the whole subset, of subsel's. Gains and f are counted in float64, by one function
for all. apricot runs on `--peer-points`, submodlib, whose constructor makes n² of what it is given, on
`--submodlib-points`, and so does subsel where these are fewer than `--points`. divsel installs, but takes vectors and
compares all pairs, no graph.

`large` prints the seconds of greedy alone on one machine, and what its subset is worth: f of the bound, and the
certified share of what any subset could have above a random one, each with the seconds of the bound.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import scipy.sparse as sp

import subsel
from benchmarks.common import clusters, seconds, sentences
from benchmarks.record import Row, add_record, recording
from subsel import NeighborGraph, SelectConfig
from subsel.coverage import covered
from subsel.covering.bound import cover_bound
from subsel.covering.greedy import COVERAGE, twice_covered
from subsel.engines.local import LocalEngine
from subsel.greedy.limited import limited_greedy
from subsel.limits.capacity import Capacity
from subsel.request import Request
from subsel.stages.base import make_ready
from subsel.stages.local import LocalStages

DIMENSION = 64
DATA = {"clusters": clusters, "sentences": sentences}


def stages_of(data: np.ndarray | None, graph: NeighborGraph | None, neighbors: int) -> LocalStages:
    """Return stages that have their graph."""
    config = SelectConfig(objective="coverage", neighbors=neighbors, copies="keep")
    stages = LocalStages(Request(data, graph, sizes=((config, None),)))
    make_ready(stages, stages.config)
    return stages


def graph_of(n: int, neighbors: int) -> NeighborGraph:
    """Return the graph of n clustered points, whose largest similarity is 1."""
    made = subsel.neighbors(clusters(n, DIMENSION), neighbors=neighbors, progress=False).graph
    similarity = made.similarity / made.similarity.max()
    return NeighborGraph(made.ids, made.rows, made.indptr, made.indices, similarity)


def apricot(W: sp.csr_matrix, k: int) -> list[int]:
    """Return apricot's ranking."""
    from apricot import FacilityLocationSelection  # noqa: PLC0415  # an extra

    model = FacilityLocationSelection(k, metric="precomputed", optimizer="lazy")
    return model.fit(W).ranking.tolist()


def submodlib(W: sp.csr_matrix, k: int) -> list[int]:
    """Return submodlib's ranking."""
    from submodlib import FacilityLocationFunction  # noqa: PLC0415  # an extra

    from benchmarks.peers_selection import silence  # noqa: PLC0415  # needs both

    with silence():
        f = FacilityLocationFunction(n=W.shape[0], mode="sparse", sijs=W, num_neighbors=W.shape[0])
        found = f.maximize(
            budget=k, optimizer="LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False, verbose=False
        )
    return [i for i, _ in found]


def timed(work: Callable[[], list[int]], repeats: int) -> tuple[list[int], float]:
    """Return the last result and the median seconds."""
    results: list[list[int]] = []
    took = [seconds(lambda: results.append(work())) for _ in range(repeats)]
    return results[-1], float(np.median(took))


def value(graph: NeighborGraph, rows: list[int]) -> float:
    """Return f of a subset of input rows."""
    member = np.isin(graph.rows, rows)
    return float(covered(graph.indptr, graph.indices, graph.similarity, np.ones(graph.n), member).sum())


def idle(W: sp.csr_matrix, ranking: list[int]) -> int:
    """Return how many of a ranking add nothing to those before."""
    cover, found = np.zeros(W.shape[0]), 0
    for row in ranking:
        some, amount = W.indices[W.indptr[row] : W.indptr[row + 1]], W.data[W.indptr[row] : W.indptr[row + 1]]
        found += bool((amount <= cover[some]).all())
        cover[some] = np.maximum(cover[some], amount)
    return found


PEERS = {
    "points": "9,",
    "edges": "11,",
    "k": "7,",
    "method": "<13s",
    "seconds": "9.3f",
    "x call": "8.2f",
    "x kernel": "9.2f",
    "alike": "7,",
    "gain": ".8f",
    "idle": "5d",
    "f": ".8f",
}
LARGE = {
    "k": "9,",
    "greedy s": "8.2f",
    "f/random": "8.3f",
    "iterations": "d",
    "f/bound": "7.4f",
    "above random": "12.4f",
    "bound s": "7.1f",
}


def compare(n: int, neighbors: int, k: int, repeats: int, peers: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of one size."""
    graph = graph_of(n, neighbors)
    stages = stages_of(None, graph, neighbors)
    stages.engine(k)
    assert stages.part is not None
    kernel = []
    for _ in range(repeats):
        engine = LocalEngine(stages.part)
        kernel.append(seconds(lambda e=engine: limited_greedy(e, Capacity(size=k), moves=COVERAGE)))

    def library() -> list[int]:
        found = subsel.select(
            graph=graph, size=k, objective="coverage", engine="local", progress=False, coverage_sample=0
        )
        return found.ids.tolist()

    ours, call = timed(library, repeats)
    best = value(graph, ours)
    W = graph.to_scipy().astype(np.float64)
    W = (W + sp.identity(n, format="csr")).tocsr()
    same = k, 1.0, idle(W, ours), 1.0
    rows = [("subsel kernel", float(np.median(kernel)), *same), ("subsel.select", call, *same)]
    for name in peers:
        choose = {"apricot": apricot, "submodlib": submodlib}[name]
        found, took = timed(lambda choose=choose: choose(W, k), repeats)
        alike = int(np.argmin(np.append(np.array(found) == np.array(ours), False)))
        before = value(graph, ours[:alike])
        theirs, own = (value(graph, ranking[: alike + 1]) - before for ranking in (found, ours))
        gain = theirs / own if alike < k else 1.0
        rows.append((name, took, alike, gain, idle(W, found), value(graph, found) / best))
    for name, took, *rest in rows:
        yield n, graph.n_edges, k, name, took, took / call, took / rows[0][1], *rest


def run_peers(arguments: argparse.Namespace) -> None:
    """Make the table of peers."""
    list(compare(2_000, 10, 100, 1, ("apricot", "submodlib")))  # compilers and caches
    most = {"apricot": arguments.peer_points, "submodlib": arguments.submodlib_points}
    about = f"median of {arguments.repeats}; x call, x kernel: of the time of subsel.select, of its greedy alone"
    with recording(arguments, about) as record:
        record(
            PEERS,
            chain.from_iterable(
                compare(
                    n,
                    arguments.neighbors,
                    min(arguments.size, n),
                    arguments.repeats,
                    tuple(name for name, points in most.items() if n <= points),
                )
                for n in sorted({arguments.points, *most.values()})
            ),
        )


def run_large(arguments: argparse.Namespace) -> None:
    """Make the table of a large graph."""
    small = stages_of(clusters(2_000, DIMENSION), None, 10)  # compilers
    engine, _ = small.engine(20)
    limited_greedy(engine, Capacity(size=20), moves=COVERAGE)
    cover_bound(engine, Capacity(size=20), small.part.fixed_point.tie_bits, 2)
    begin = time.perf_counter()
    stages = stages_of(DATA[arguments.data](arguments.points, DIMENSION), None, arguments.neighbors)
    edges = stages.graph.n_edges
    took = time.perf_counter() - begin
    about = f"{arguments.data}: {arguments.points:,} points, {edges:,} edges, graph in {took:.0f} s"
    with recording(arguments, about) as record:
        record(LARGE, large_rows(stages, arguments))


def large_rows(stages: LocalStages, arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield a row per size and number of iterations."""
    for share in arguments.shares:
        k = round(share * arguments.points)
        engine, _ = stages.engine(k)
        took = seconds(lambda e=engine, k=k: limited_greedy(e, Capacity(size=k), moves=COVERAGE))
        scale, random = stages.part.fixed_point, stages.expected_random(k)
        f = math.ldexp(twice_covered(engine), -scale.fraction_bits - 1) * scale.unit
        for iterations in arguments.iterations:
            begin = time.perf_counter()
            found = cover_bound(engine, Capacity(size=k), scale.tie_bits, iterations).bound
            bounding = time.perf_counter() - begin
            assert found is not None
            bound = math.ldexp(found, -scale.fraction_bits) * scale.unit
            yield k, took, f / random, iterations, f / bound, (f - random) / (bound - random), bounding


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = options.add_subparsers(required=True)
    peers = kinds.add_parser("peers", help="beside apricot and submodlib")
    peers.set_defaults(run=run_peers)
    peers.add_argument("--points", type=int, default=100_000)
    peers.add_argument("--peer-points", type=int, default=100_000, help="on which apricot runs")
    peers.add_argument("--submodlib-points", type=int, default=5_000)
    peers.add_argument("--neighbors", type=int, default=30)
    peers.add_argument("--size", type=int, default=1_000)
    peers.add_argument("--repeats", type=int, default=3)
    large = kinds.add_parser("large", help="against its bound")
    large.set_defaults(run=run_large)
    large.add_argument("--data", default="clusters", choices=DATA)
    large.add_argument("--points", type=int, default=1_000_000)
    large.add_argument("--neighbors", type=int, default=50)
    large.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.1])
    large.add_argument("--iterations", type=int, nargs="+", default=[0, 30])
    for one in (peers, large):
        add_record(one)
    arguments = options.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
