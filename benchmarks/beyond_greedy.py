"""What refinement and reverse greedy add to centralised greedy, and how much of the best possible is certified.

python -m benchmarks.beyond_greedy [--points 20000] [--iterations 100] [--shares 0.1 0.5 0.8] [--graphs …]

Scores are normalised as in the paper: centralised greedy is 100, partitioned greedy with 32 partitions and one round
0. `refined` is centralised greedy after swaps, `reverse` removing instead of adding, `rev+ref` removing, then swaps.
The rest is of the direction that is the default for the share: what swaps gained, passes, seconds; `certified` is (f
- random) / (upper bound - random), at most the share of what any subset could gain over a random one, `edges` the
same with variables on edges only, then the seconds of certifying, the median of three. Graphs of ten neighbours per
point: `mixture`, the nearest of Gaussian clusters of about 100 points each in 16 dimensions, with random utilities;
`clusters`, the nearest of demo points, whose clusters are of very unequal size and overlap, with near duplicates and
utilities that differ by cluster; `ring`, random near ones, few of which are neighbours of each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from benchmarks.common import local_graph
from benchmarks.paper_tables import Problem, partitioned, selected
from benchmarks.record import Row, parser, recording
from subsel import NeighborGraph, SelectConfig, demo
from subsel.bounding.certificate import certify
from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy
from subsel.greedy.refine import refine
from subsel.greedy.reverse import directed_greedy, resolve_direction, reverse_greedy
from subsel.request import Request
from subsel.stages.base import make_ready
from subsel.stages.local import LocalStages

ALPHAS = (0.9, 0.5, 0.1)
COLUMNS = {
    "graph": "<8s",
    "alpha": "5.1f",
    "share": "5.0%",
    "refined": "7.2f",
    "reverse": "7.2f",
    "rev+ref": "7.2f",
    "gained": "9.3f",
    "passes": "d",
    "refine s": "8.3f",
    "certified": "9.4f",
    "edges": "5.3f",
    "seconds": "7.2f",
}


def inputs(kind: str, n: int) -> tuple[pa.Table | None, NeighborGraph | None, np.ndarray | None]:
    """Return data, graph and utility of a kind of graph: data, or the other two."""
    rng = np.random.default_rng(1)
    if kind == "ring":
        return None, local_graph(n), rng.random(n)
    if kind == "clusters":
        return demo.demo_table(n), None, None
    clusters = max(1, n // 100)
    X = rng.standard_normal((clusters, 16))[rng.integers(0, clusters, n)] + 0.3 * rng.standard_normal((n, 16))
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(X.astype(np.float32).reshape(-1)), 16)
    return pa.table({"id": np.arange(n), "embedding": embedding, "utility": rng.random(n)}), None, None


def problems(kind: str, n: int) -> Iterator[tuple[Problem, LocalStages]]:
    """Yield the problem of each alpha on a kind of graph, which is made once."""
    data, graph, utility = inputs(kind, n)
    for alpha in ALPHAS:
        stages = LocalStages(
            Request(data, graph, utility=utility, sizes=((SelectConfig(alpha=alpha, copies="keep"), None),))
        )
        make_ready(stages, stages.config)
        stages.engine(1)
        graph = stages.graph
        yield Problem(graph, stages.part), stages


def timed(work, *arguments, **options):
    """Return a call's result and seconds."""
    begin = time.perf_counter()
    result = work(*arguments, **options)
    return result, time.perf_counter() - begin


def certified(
    problem: Problem, engine: LocalEngine, iterations: int, score: float, random: float, *, cliques: bool = True
) -> float:
    """Return the certified share of the engine's subset."""
    scale = problem.part.fixed_point
    bound = certify(engine, iterations, scale.tie_bits, cliques=cliques).bound
    assert bound is not None
    upper = math.ldexp(bound, -scale.fraction_bits)
    assert upper >= score - 1e-6 * abs(score)
    return (score - random) / (upper - random)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=20_000)
    options.add_argument("--iterations", type=int, default=100)
    options.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.5, 0.8])
    options.add_argument("--graphs", nargs="+", default=["mixture", "clusters", "ring"])
    arguments = options.parse_args()
    n = arguments.points
    about = f"{n:,} points; greedy 100, partitioned 32 x 1 round 0; up to 8 passes, {arguments.iterations} iterations"
    with recording(arguments, about) as record:
        record(
            COLUMNS,
            (
                row(kind, problem, stages, share, arguments.iterations)
                for kind in arguments.graphs
                for problem, stages in problems(kind, n)
                for share in arguments.shares
            ),
        )


def row(kind: str, problem: Problem, stages: LocalStages, share: float, iterations: int) -> Row:
    """Return one row of the table."""
    n, alpha = problem.graph.n, problem.part.fixed_point.alpha
    k = round(share * n)
    random = stages.expected_random(k)
    engine = problem.engine()
    exact_greedy(engine, k)
    forward = problem.score(selected(engine))
    refine(engine, 8)
    forward_refined = problem.score(selected(engine))
    worst = partitioned(problem, k, 32, 1, adaptive=False)

    def normal(score: float) -> float:
        return 100 * (score - worst) / (forward - worst)

    engine = problem.engine()
    reverse_greedy(engine, k)
    reverse = problem.score(selected(engine))
    refine(engine, 8)
    reverse_refined = problem.score(selected(engine))

    engine = problem.engine()
    directed_greedy(engine, k, resolve_direction("auto", k, n))
    before = problem.score(selected(engine))
    result, refining = timed(refine, engine, 8)
    after = problem.score(selected(engine))
    gained = math.ldexp(result.gained, -problem.part.fixed_point.fraction_bits)
    assert abs(after - before - gained) < 1e-6 * max(1.0, abs(after))
    copy = engine.keep()
    times = []
    for _ in range(3):
        with_cliques, seconds = timed(certified, problem, engine, iterations, after, random)
        times.append(seconds)
        engine.back(copy)
    edges_only = certified(problem, engine, iterations, after, random, cliques=False)
    scores = [normal(score) for score in (forward_refined, reverse, reverse_refined)]
    bounds = with_cliques, edges_only, float(np.median(times))
    return kind, alpha, share, *scores, gained, result.passes, refining, *bounds


if __name__ == "__main__":
    main()
