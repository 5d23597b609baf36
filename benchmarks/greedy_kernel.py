"""Selection from a given graph in memory: seconds, and the set checked against a float64 priority queue.

python -m benchmarks.greedy_kernel [--points 100000 1000000]
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from benchmarks.common import local_graph, seconds
from benchmarks.record import Row, parser, recording
from subsel import SelectConfig
from subsel.bounding.driver import bound
from subsel.engines.local import LocalEngine
from subsel.graph import NeighborGraph
from subsel.greedy.exact import exact_greedy
from subsel.objective import score_subset
from subsel.request import Request
from subsel.schema import Status
from subsel.stages.base import make_ready
from subsel.stages.local import LocalStages
from tests.reference import float_greedy


def engine_for(graph: NeighborGraph, utility: np.ndarray, alpha: float) -> LocalEngine:
    stages = LocalStages(Request(None, graph, utility=utility, sizes=((SelectConfig(alpha=alpha), None),)))
    make_ready(stages, stages.config)
    return stages.engine(1)[0]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = options.parse_args()
    about = "greedy: median of 5; bounding: to its fixpoint; difference: objective against a float64 heap, relative"
    with recording(arguments, about) as record:
        record(
            {
                "points": "9,",
                "alpha": "5.1f",
                "k": "7,",
                "bounding s": "10.3f",
                "decided": "7.1%",
                "greedy s": "8.3f",
                "difference": "10.1e",
            },
            rows(arguments.points),
        )


def rows(counts: list[int]) -> Iterator[Row]:
    """Yield a row per number of points, alpha and share."""
    for n in counts:
        graph = local_graph(n)
        utility = np.random.default_rng(1).random(n)
        for alpha in (0.9, 0.5, 0.1):
            for share in (0.1, 0.5, 0.9):
                k = round(share * n)
                engine = engine_for(graph, utility, alpha)
                decided = []
                took_bound = seconds(lambda e=engine, k=k, d=decided: d.append(bound(e, k)))
                took = []
                for _ in range(5):
                    engine = LocalEngine(engine.graph)
                    took.append(seconds(lambda e=engine, k=k: exact_greedy(e, k)))
                member = engine.board.status == Status.SELECTED
                assert member.sum() == k
                gap = float("nan")
                if n <= 100_000:
                    theirs = np.zeros(n, bool)
                    theirs[float_greedy(graph, utility, k, alpha, 1 - alpha)] = True
                    args = (graph.indptr, graph.indices, graph.similarity, utility)
                    ours, other = (score_subset(*args, m, alpha, 1 - alpha).total for m in (member, theirs))
                    gap = abs(ours - other) / abs(other)
                    assert gap < 1e-6
                count = decided[0].accepted + decided[0].discarded
                yield n, alpha, k, took_bound, count / n, statistics.median(took), gap


if __name__ == "__main__":
    main()
