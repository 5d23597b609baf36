"""Greedy selection from a graph beside apricot and submodlib: the same objective, graph, k and set.

python -m benchmarks.peers_selection [--repeats 3]          (pip install -e '.[bench]')

Our objective as theirs, with W the similarities (float64) and R their row sums: apricot's `GraphCutSelection` with
alpha 2 on W + diag(2 α/β u - 2R, shifted to be ≥ 0, which changes no comparison); submodlib's `GraphCutFunction` with
lambda 0.5 on W + diag(2 (α/β u - R)). Both run their lazy greedy on CSR; what turns the graph into their matrix is not
counted. `subsel.select` is the whole library call on a NeighborGraph in memory: checks, fixed point, greedy, ranks,
objective and report (no bounding, no swaps, as theirs). `kernel` is greedy alone on the part that the call made. All
ran once before on 2,000 points, for compilers and caches. submodlib's constructor makes n² of what it is given, so it
is not run beyond 20,000 points.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import scipy.sparse as sp
from apricot import GraphCutSelection
from submodlib import GraphCutFunction

import subsel
from benchmarks.common import local_graph, seconds
from benchmarks.record import Row, parser, recording
from subsel import NeighborGraph, SelectConfig
from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy
from subsel.request import Request
from subsel.stages.base import make_ready
from subsel.stages.local import LocalStages

ALPHA, BETA = 0.9, 0.1
#: Points, of which so many are selected, and who takes part.
CASES = [
    (20_000, 2_000, ("apricot", "submodlib")),
    (100_000, 10_000, ("apricot",)),
    (1_000_000, 100_000, ()),
    (10_000_000, 1_000_000, ()),
]


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Send what C++ prints away: submodlib shows progress whether it is asked to or not."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
        ctypes.CDLL(None).fflush(None)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def peer(name: str, graph: NeighborGraph, utility: np.ndarray, k: int) -> Callable[[], set[int]]:
    """Return a call that selects by a peer."""
    W = graph.to_scipy().astype(np.float64)
    ratio, row_sums = ALPHA / BETA * utility, np.asarray(W.sum(axis=1)).ravel()
    if name == "apricot":
        diagonal = 2 * (ratio - row_sums)
        K = (W + sp.diags(diagonal - diagonal.min())).tocsr()

        def select() -> set[int]:
            model = GraphCutSelection(k, metric="precomputed", alpha=2, optimizer="lazy")
            return set(model.fit(K).ranking.tolist())

    else:
        K = (W + sp.diags(2 * (ratio - row_sums))).tocsr()
        n = graph.n

        def select() -> set[int]:
            with silence():
                f = GraphCutFunction(n=n, mode="sparse", lambdaVal=0.5, ggsijs=K, num_neighbors=n)
                found = f.maximize(
                    budget=k, optimizer="LazyGreedy", stopIfZeroGain=False, stopIfNegativeGain=False, verbose=False
                )
            return {i for i, _ in found}

    return select


def library_call(graph: NeighborGraph, utility: np.ndarray, k: int) -> set[int]:
    """Select by `subsel.select`, as a user would."""
    options: dict[str, Any] = {"bounding": "off", "greedy_direction": "forward", "refine": 0, "progress": False}
    found = subsel.select(graph=graph, utility=utility, size=k, alpha=ALPHA, engine="local", **options)
    return set(found.ids.tolist())


def timed(work: Callable[[], set[int]], repeats: int) -> tuple[set[int], float]:
    """Return the last result and the median seconds."""
    results: list[set[int]] = []
    took = [seconds(lambda: results.append(work())) for _ in range(repeats)]
    return results[-1], float(np.median(took))


COLUMNS = {
    "points": "10,",
    "k": "9,",
    "method": "<14s",
    "seconds": "10.4f",
    "x call": "9.1f",
    "x kernel": "9.1f",
    "same set": "<5s",
}


def case(n: int, k: int, peers: tuple[str, ...], repeats: int) -> Iterator[Row]:
    """Yield the rows of one size."""
    graph, utility = local_graph(n), np.random.default_rng(1).random(n)
    stages = LocalStages(Request(None, graph, utility=utility, sizes=((SelectConfig(alpha=ALPHA), None),)))
    make_ready(stages, stages.config)
    stages.engine(k)
    assert stages.part is not None
    kernel = []
    for _ in range(repeats):
        engine = LocalEngine(stages.part)
        kernel.append(seconds(lambda e=engine: exact_greedy(e, k)))
    ours, call = timed(lambda: library_call(graph, utility, k), repeats)
    rows = [("subsel kernel", float(np.median(kernel)), True), ("subsel.select", call, True)]
    for name in peers:
        found, took = timed(peer(name, graph, utility, k), repeats)
        rows.append((name, took, found == ours))
        assert found == ours, f"{name} selects other points: {len(found & ours)} of {k} in common"
    for name, took, same in rows:
        yield n, k, name, took, took / call, took / rows[0][1], "yes" if same else "no"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=3)
    arguments = options.parse_args()
    list(case(2_000, 200, ("apricot", "submodlib"), 1))
    about = f"median of {arguments.repeats}; x call, x kernel: of the time of subsel.select, of its greedy alone"
    with recording(arguments, about) as record:
        record(COLUMNS, chain.from_iterable(case(*one, arguments.repeats) for one in CASES))


if __name__ == "__main__":
    main()
