"""The paper's tables on a graph of yours or a generated one: partitioned greedy by partitions and rounds, bounding.

python -m benchmarks.paper_tables [--points 20000] [--data POINTS [--graph EDGES]] [--sizes 10%,50%,80%]

Scores are normalised as in the paper: centralised greedy is 100, the lowest score in the table 0. Every row ends with
RandGreeDi (Barbosa et al. 2015: greedy in each random partition, again on the union of all picks in one place, and the
best of that and of the single partitions), and with exact greedy on as many parts as the row has partitions: its score,
supersteps, seconds. Its parts are random here, which is their worst case.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.record import Row, parser, recording
from subsel import SelectConfig, demo
from subsel.bounding.approximate import bound_approximately
from subsel.codes import groups_of
from subsel.config import resolve_size
from subsel.engines.local import LocalEngine
from subsel.graph import NeighborGraph, PartGraph
from subsel.greedy.exact import exact_greedy, pick
from subsel.greedy.partitioned import partitioned_greedy
from subsel.objective import score_subset
from subsel.request import Request
from subsel.schema import Status
from subsel.stages.base import make_ready
from subsel.stages.local import LocalStages
from tests.split_engine import SplitEngine, parts_of

COUNTS = (1, 2, 4, 8, 16, 32)
ALPHAS = (0.9, 0.5, 0.1)
#: Approximate bounding of the table: share of neighbours, weighted by similarity or not.
SAMPLINGS = ((1.0, False), (0.3, False), (0.7, False), (0.3, True), (0.7, True))
GREEDY = {
    "partitions": "d",
    **{f"{rounds} rounds": "13s" for rounds in COUNTS},
    "RandGreeDi": "s",
    "exact": "s",
    "supersteps": "d",
    "seconds": "7.2f",
}
BOUNDING = {
    "size": "4s",
    "bounding": "12s",
    "included": "8,",
    "excluded": "8,",
    "grow": "d",
    "shrink": "d",
    "after greedy": "12,.2f",
    "difference": "+9,.2f",
}


@dataclass
class Problem:
    """A graph with utilities in node order, at one α, β = 1 - α."""

    graph: NeighborGraph
    part: PartGraph

    def engine(self) -> LocalEngine:
        """Return an engine with nothing decided."""
        return LocalEngine(self.part)

    def score(self, member: np.ndarray) -> float:
        """Return f of a subset, bool, (n,)."""
        part, scale = self.part, self.part.fixed_point
        rows = (part.indptr, part.indices, part.similarity, part.utility)
        return score_subset(*rows, member, scale.alpha, scale.beta).total


def problems(data: object, graph: object, **options: object) -> list[Problem]:
    """Return the problem at each α; the graph is made once."""
    found = []
    for alpha in ALPHAS:
        config = SelectConfig.of({"alpha": alpha, "copies": "keep", **options})
        stages = LocalStages(Request(data, graph, sizes=((config, None),)))
        make_ready(stages, stages.config)
        stages.engine(1)
        found.append(Problem(stages.graph, stages.part))
        graph = stages.graph
    return found


def selected(engine: LocalEngine) -> np.ndarray:
    """Return who is in the subset: bool, (n,)."""
    return np.asarray(engine.board.status >= Status.ACCEPTED)


def partitioned(problem: Problem, k: int, partitions: int, rounds: int, *, adaptive: bool, seed: int = 0) -> float:
    """Return f of the paper's Algorithm 6."""
    engine = problem.engine()
    partitioned_greedy(engine, k, partitions=partitions, rounds=rounds, adaptive=adaptive, seed=seed)
    return problem.score(selected(engine))


def rand_greedi(problem: Problem, k: int, partitions: int, seed: int = 0) -> float:
    """Return f of greedy on the union of what greedy picks in each random partition, or of the best of these."""
    group = groups_of(problem.part.code, partitions, seed)
    union = np.zeros(problem.graph.n, np.bool_)
    best = -np.inf
    for number in range(partitions):
        engine = problem.engine()
        engine.board.status[group != number] = Status.DISCARDED
        engine.step(pick, limit=k, prune_below=-(2**63), shift=0)
        picked = engine.board.status == Status.SELECTED
        union |= picked
        if picked.sum() == k:
            best = max(best, problem.score(picked))
    engine = problem.engine()
    engine.board.status[~union] = Status.DISCARDED
    exact_greedy(engine, k)
    return max(best, problem.score(selected(engine)))


def exact_on_parts(problem: Problem, k: int, parts: int) -> tuple[float, int, float]:
    """Return f of exact greedy on random parts, its supersteps and seconds."""
    scale, code = problem.part.fixed_point, problem.part.code
    by_part = parts_of(problem.graph, problem.part.utility, 0, groups_of(code, parts, 1))
    engine = SplitEngine(by_part, scale.alpha, scale.beta)
    begin = time.perf_counter()
    result = exact_greedy(engine, k)
    seconds = time.perf_counter() - begin
    member = np.isin(code, selected_codes(engine))
    return problem.score(member), result.supersteps, seconds


def selected_codes(engine: SplitEngine) -> list[int]:
    """Return the codes of the selected points of an engine of many parts."""
    found = []
    for graph, board in engine._boards():
        own = slice(0, graph.n_own)
        found += graph.code[own][board.status[own] == Status.SELECTED].tolist()
    return found


def greedy_rows(problem: Problem, k: int, counts: tuple[int, ...] = COUNTS) -> Iterator[Row]:
    """Yield Algorithm 6 by partitions and rounds, fixed / adaptive, beside exact greedy and RandGreeDi."""
    fixed, adaptive = (
        {(m, r): partitioned(problem, k, m, r, adaptive=kind) for m in counts for r in counts} for kind in (False, True)
    )
    merged = {m: rand_greedi(problem, k, m) for m in counts}
    exact = {m: exact_on_parts(problem, k, m) for m in counts}
    central = exact[1][0]
    worst = min(*fixed.values(), *adaptive.values())

    def normal(score: float) -> str:
        return f"{100 * (score - worst) / (central - worst):.1f}"

    for m in counts:
        cells = [f"{normal(fixed[m, r])} / {normal(adaptive[m, r])}" for r in counts]
        score, supersteps, seconds = exact[m]
        if abs(score - central) > 1e-9 * max(1.0, abs(central)):
            raise AssertionError(f"exact greedy on {m} parts scores {score}, centralised greedy {central}")
        yield m, *cells, normal(merged[m]), normal(score), supersteps, seconds


def bounding_rows(problem: Problem, sizes: dict[str, int], rank: str) -> Iterator[Row]:
    """Yield what bounding decides, in how many rounds, and the score of centralised greedy after it, and beside it."""
    for size, k in sizes.items():
        engine = problem.engine()
        exact_greedy(engine, k)
        central = problem.score(selected(engine))
        for share, weighted in SAMPLINGS:
            engine = problem.engine()
            found = bound_approximately(engine, k, share=share, weighted=weighted, tight=rank == "tight")
            exact_greedy(engine, k - found.accepted)
            score = problem.score(selected(engine))
            name = "exact" if share == 1 else f"{share:.0%} {'weighted' if weighted else 'uniform'}"
            rounds = found.grow_rounds, found.shrink_rounds
            yield size, name, found.accepted, found.discarded, *rounds, score, score - central


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=20_000, help="points to generate")
    options.add_argument("--data", help="points of yours instead, Parquet")
    options.add_argument("--graph", help="edges of yours, Parquet")
    options.add_argument("--utility", help="utility column of --data")
    options.add_argument("--sizes", default="10%,50%,80%")
    options.add_argument("--bounding-rank", choices=["paper", "tight"], default="paper")
    arguments = options.parse_args()
    data = arguments.data or demo.demo_table(arguments.points)
    column = {"utility": arguments.utility} if arguments.utility else {}
    made = problems(data, arguments.graph, **column)
    n = made[0].graph.n
    sizes = {size: resolve_size(size, n, "the graph") for size in arguments.sizes.split(",")}
    about = f"{n:,} points; Algorithm 6 by partitions and rounds, fixed / adaptive: centralised greedy 100, lowest 0"
    with recording(arguments, about) as record:
        for problem in made:
            alpha = problem.part.fixed_point.alpha
            for size, k in sizes.items():
                record(GREEDY, greedy_rows(problem, k), title=f"alpha {alpha}, {size}")
            record(BOUNDING, bounding_rows(problem, sizes, arguments.bounding_rank), title=f"alpha {alpha}, bounding")


if __name__ == "__main__":
    main()
