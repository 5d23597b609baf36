"""Selection from a given graph in memory: seconds, and the set checked against a float64 priority queue.

python -m benchmarks.greedy_kernel [--points 100000 1000000]
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from benchmarks.common import local_graph, machine, seconds
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    print(machine())
    print("greedy: median of 5; bounding: to its fixpoint; difference: objective against a float64 heap, relative\n")
    print("   points  alpha       k  bounding s  decided  greedy s  difference")
    for n in arguments.points:
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
                print(
                    f"{n:9,}  {alpha:5.1f}  {k:6,}  {took_bound:10.3f}  {count / n:7.1%}"
                    f"  {statistics.median(took):8.3f}  {gap:10.1e}"
                )


if __name__ == "__main__":
    main()
