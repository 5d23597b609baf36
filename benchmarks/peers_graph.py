"""The neighbour graph beside faiss and pynndescent: seconds at recall@10 of 0.95 or better, on the same points.

python -m benchmarks.peers_graph [--points 500000] [--dimension 256] [--data clusters sentences]
    [--set FIRST.npz SECOND.npz] [--methods subsel ivf hnsw pynndescent] [--repeats 3]   (pip install -e '.[bench]')

`clusters`: the points of `subsel demo` (a dozen directions per cluster, near duplicates). `sentences` imitates the high
intrinsic dimension of sentence embeddings: weak topics, and around them Gaussian noise in all directions, the i-th with
variance 1/i (about 23 directions that count); near points then lie in several cells, so a probe finds much less.
`--set` takes the labelled sets of `benchmarks.worth` instead, together one set of points. Rows are of length 1; nearest
is by inner product, the same as by distance. Other methods are those of `benchmarks.peers_indexes`.

Everyone gets all rows in memory as float32 and must return 10 neighbours per point; ours also makes the symmetric
graph. Each method's search width is about the least whose recall on 1,000 points, against exact search, is at least
0.95: looked for by doubling, and then between the last two to an eighth, unless `--known` says it (for subsel probes
and passes); choosing it is not counted. Then all run in turn, each from the rows to its neighbours, as many times as
`--repeats` says: medians of their seconds (the lower of two), the least recall; `core s` is
processor time of all threads in the median run. Compilers are warm. Then the steps of
our median run, and the rate of its cell search against sgemm in the same run, by 1 thread and by all.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.common import clusters, seconds, sentences
from benchmarks.peers_indexes import PEERS, installed
from benchmarks.record import Recorder, parser, recording
from subsel.embeddings import cells, kernel, search
from subsel.embeddings.metrics import Preparation, copy_rows, similarity_of_scores
from subsel.embeddings.recipe import PASSES
from subsel.embeddings.rows import prepared, reordered

K = 10
GOAL = 0.95
SAMPLE = 1000


class Recall:
    """Recall@10 on a sample of points, by exact search."""

    def __init__(self, X: np.ndarray) -> None:
        rng = np.random.default_rng(5)
        self.X, self.rows = X, np.sort(rng.choice(len(X), min(SAMPLE, len(X)), replace=False))
        score, found = faiss.knn(X[self.rows], X, K + 1, metric=faiss.METRIC_INNER_PRODUCT)
        score[found == self.rows[:, None]] = -np.inf
        self.kth = np.sort(score, axis=1)[:, -K]

    def of(self, found: np.ndarray) -> float:
        """Return the recall of neighbours of the sample's points; themselves do not count."""
        hits = 0
        for row, listed, kth in zip(self.rows, found, self.kth, strict=True):
            near = listed[(listed >= 0) & (listed != row)][:K]
            hits += int((self.X[near] @ self.X[row] >= kth - 1e-5).sum())
        return hits / (K * len(self.rows))


def width_for(first: int, last: int, recall_of: Callable[[int], float], known: int | None = None) -> int:
    """Return about the least width from first to last whose recall is good enough; the last tried if none is.

    A width that is known already is not looked for.
    """
    if known is not None:
        return known
    below, width = 0, first
    while recall_of(width) < GOAL:
        if width == last:
            return last
        below, width = width, min(2 * width, last)
    while width - below > max(1, below // 8) and below >= first:
        middle = (below + width) // 2
        below, width = (below, middle) if recall_of(middle) >= GOAL else (middle, width)
    return width


def subsel_graph(X: np.ndarray, probes: int, passes: int, steps: dict[str, Any] | None = None) -> np.ndarray:
    """Return neighbours by subsel's steps, as `subsel.embeddings.neighbors` does them; note each step's seconds.

    And, as "cells", what `pairs_scored` needs.
    """
    steps = {} if steps is None else steps
    begin = time.perf_counter()

    def done(name: str) -> None:
        nonlocal begin
        steps[name] = time.perf_counter() - begin
        begin = time.perf_counter()

    n_cells = cells.cell_count(len(X), probes)
    order = np.random.default_rng(0).permutation(len(X))  # the package orders points by hash
    prepare = Preparation.of_sample(X[:0], "cosine")
    Y = prepared(copy_rows(lambda rows: X.take(rows, axis=0), order, X.shape[1]), prepare)
    done("preparing")
    sample = Y[: n_cells * cells.SAMPLE_PER_CELL]
    quantizer = cells.Quantizer.train(sample, n_cells, "cosine", 0)
    done("k-means")
    reach = cells.probe_reach(quantizer, cells.neighbor_pairs(sample, len(X), K, "cosine"), probes)
    assigned = cells.assign_cells(lambda lo, hi: Y[lo:hi], len(X), quantizer, probes, reach)
    done("assignment")
    rows = order[assigned.order]
    Y = reordered(Y, assigned.order)
    done("sorting")
    best, score = search.search_cells(Y, assigned.bounds, assigned.probes, K, "cosine")
    done("cell search")
    steps["cells"] = assigned
    descent = search.Descent(Y, best, score, "cosine", probes=assigned.probes)
    for _ in range(passes):
        descent.step()
    best = descent.best
    done("refinement")
    kernel.symmetrize(best, similarity_of_scores(descent.score, "cosine"))
    done("symmetric graph")
    found = np.empty((len(X), K), np.int64)
    found[rows] = np.where(best >= 0, rows[best], -1)
    return found


def pairs_scored(assigned: cells.Cells) -> float:
    """Return how many pairs the matrix products of `search.search_cells` score."""
    sizes = np.diff(assigned.bounds).astype(np.float64)
    probed = assigned.probes[:, 1:]
    tiles = [np.arange(size, 0, -search.TILE_ROWS) for size in sizes.astype(int)]  # meet what is left of a cell
    own = sum((np.minimum(left, search.TILE_ROWS) * left).sum() for left in tiles)
    return float(own + sizes[probed[probed >= 0]].sum())


class Method(NamedTuple):
    """A method with its search width chosen: what to print of it, and the whole of what is timed."""

    setting: str
    run: Callable[[], tuple[np.ndarray, dict[str, Any]]]


def ours(X: np.ndarray, recall: Recall, known: list[int]) -> Method:
    """Return the faster of the first settings that are good enough, with refinement and without: as the others do."""
    good: list[tuple[float, Method]] = []
    if known:
        probes, passes = known
        steps: dict[str, Any] = {}
        return Method(f"{probes} probes, {passes} passes", lambda: (subsel_graph(X, probes, passes, steps), steps))
    for passes in (0, PASSES):
        tried: dict[int, tuple[float, float]] = {}

        def run(probes: int, passes: int = passes) -> tuple[np.ndarray, dict[str, Any]]:
            steps: dict[str, Any] = {}
            return subsel_graph(X, probes, passes, steps), steps

        def recall_of(probes: int, tried: dict[int, tuple[float, float]] = tried, run: Callable = run) -> float:
            begin = time.perf_counter()
            found, _ = run(probes)
            tried[probes] = time.perf_counter() - begin, recall.of(found[recall.rows])
            return tried[probes][1]

        width = width_for(2, 256, recall_of)
        if tried[width][1] >= GOAL:
            good.append((tried[width][0], Method(f"{width} probes, {passes} passes", partial(run, width))))
    assert good, f"recall@10 stays below {GOAL} with 256 probes"
    return min(good, key=itemgetter(0))[1]


def index(name: str, X: np.ndarray, recall: Recall, known: list[int]) -> Method:
    """Return a peer's build and search at a width that is good enough."""
    peer = PEERS[name]
    if known:
        (width,) = known
    else:
        ask = peer.build(X, K + 1)
        width = width_for(*peer.widths, lambda width: recall.of(ask(X[recall.rows], width)))
    return Method(f"{peer.built}, {peer.knob} {width}", lambda: (peer.build(X, K + 1)(X, width), {}))


def descent(X: np.ndarray, recall: Recall, known: list[int]) -> Method:
    """NN-descent; more neighbours than wanted are asked for until the best ten are good enough."""

    import pynndescent  # noqa: PLC0415  (may be missing)

    def run(number: int) -> np.ndarray:
        index = pynndescent.NNDescent(X, "cosine", n_neighbors=number, n_jobs=os.cpu_count(), random_state=0)
        return index.neighbor_graph[0]

    number = width_for(K + 1, 60, lambda number: recall.of(run(number)[recall.rows]), *known)
    return Method(f"{number} neighbours", lambda: (run(number), {}))


DATA: dict[str, Callable[[int, int], np.ndarray]] = {"clusters": clusters, "sentences": sentences}
METHODS: dict[str, Callable[[np.ndarray, Recall, list[int]], Method]] = {
    "subsel": ours,
    **{name: partial(index, name) for name in PEERS},
    "pynndescent": descent,
}
#: Those of the first tables; the others are no dependencies of the benchmarks.
USUAL = ["subsel", "ivf", "hnsw", "pynndescent"]
COLUMNS = {
    "method": "<12s",
    "setting": "<26s",
    "seconds": "8.1f",
    "x subsel": "8.2f",
    "core s": "7.1f",
    "recall@10": "9.4f",
    "all runs": "<s",
}


def blas_processor() -> str:
    """Return for which processor numpy's matrix products are made here, as OpenBLAS calls it."""
    known = (one.get("architecture") for one in threadpool_info() if "numpy" in one["filepath"])
    return next((name for name in known if name), "an unknown processor")


def sgemm_rate(threads: int) -> float:
    """Return the GFLOP/s of a large square float32 product."""
    A = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    C = np.zeros_like(A)
    with threadpool_limits(threads, user_api="blas"):
        took = min(seconds(lambda: np.matmul(A, A, out=C)) for _ in range(6))
    return 2.0 * len(A) ** 3 / took / 1e9


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=500_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA))
    options.add_argument("--set", nargs="+", type=Path, help="labelled sets, .npz with x: together, instead of --data")
    options.add_argument("--methods", nargs="+", choices=list(METHODS), default=USUAL)
    options.add_argument("--known", nargs="+", default=[], help="widths that were found before: hnsw=96 subsel=24,0")
    options.add_argument("--repeats", type=int, choices=range(1, 10), default=3)
    arguments = options.parse_args()
    data = data_of(arguments)
    first = next(iter(data.values()))()
    (n, dimension), threads = first.shape, os.cpu_count() or 1
    del first
    packages = [PEERS[name].package if name in PEERS else name for name in arguments.methods if name != "subsel"]
    versions = {package: installed(package) for package in dict.fromkeys(packages)}
    about = f"{n:,} x {dimension}, {threads} threads, {K} neighbours, " + ", ".join(
        f"{package} {found or 'is missing'}" for package, found in versions.items()
    )
    about += f", sgemm for {blas_processor()}"
    names = [name for name in arguments.methods if versions.get(PEERS[name].package if name in PEERS else name, name)]
    small = clusters(5000, dimension)
    subsel_graph(small, 4, 2)
    if "pynndescent" in names:
        descent(small, Recall(small), []).run()
    with recording(arguments, about) as record:
        for kind, points in data.items():
            compare(record, kind, points(), names, arguments)


def data_of(arguments: argparse.Namespace) -> dict[str, Callable[[], np.ndarray]]:
    """Return what makes the points, by the name of their kind."""
    if arguments.set:
        return {" and ".join(path.stem for path in arguments.set): partial(labelled, arguments.set)}
    return {kind: partial(DATA[kind], arguments.points, arguments.dimension) for kind in arguments.data}


def labelled(paths: Sequence[Path]) -> np.ndarray:
    """Return the rows of sets, of length 1."""
    rows = np.concatenate([np.load(path)["x"] for path in paths]).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def _parted(word: str) -> tuple[str, str, str]:
    return word.partition("=")


def compare(record: Recorder, kind: str, X: np.ndarray, names: Sequence[str], arguments: argparse.Namespace) -> None:
    """Record the table of one kind of data, and that of our own steps."""
    recall = Recall(X)
    known = {name: [int(one) for one in widths.split(",")] for name, _, widths in map(_parted, arguments.known)}
    methods = {name: METHODS[name](X, recall, known.get(name, [])) for name in names}
    runs: dict[str, list[tuple[float, float, dict[str, Any]]]] = {name: [] for name in names}
    least = dict.fromkeys(names, 1.0)
    for _ in range(arguments.repeats):
        for name, method in methods.items():
            begin, busy = time.perf_counter(), time.process_time()
            found, steps = method.run()
            runs[name].append((time.perf_counter() - begin, time.process_time() - busy, steps))
            assert found.shape[1] >= K
            least[name] = min(least[name], recall.of(found[recall.rows]))
    median = {name: sorted(of, key=itemgetter(0))[(len(of) - 1) // 2] for name, of in runs.items()}
    base = median["subsel"][0] if "subsel" in median else None
    rows = []
    for name, method in methods.items():
        took, busy, _ = median[name]
        each = " ".join(f"{seconds:.1f}" for seconds, *_ in runs[name])
        rows.append((name, method.setting, took, took / base if base else None, busy, least[name], each))
    record(COLUMNS, rows, title=kind)
    if base:
        steps = median["subsel"][2]
        rate = 2.0 * X.shape[1] * pairs_scored(steps.pop("cells")) / steps["cell search"] / 1e9
        record({"step": "<16s", "seconds": "7.1f"}, steps.items(), title=f"{kind}, steps")
        one, every = sgemm_rate(1), sgemm_rate(os.cpu_count() or 1)
        rates = [("cell search with merging", rate), ("sgemm, 1 thread", one), ("sgemm, all threads", every)]
        record({"product": "<24s", "GFLOP/s": "7.0f"}, rates, title=f"{kind}, rates")


if __name__ == "__main__":
    main()
