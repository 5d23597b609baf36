"""Supersteps and seconds of greedy under each kind of limit, beside the run without, on parts in memory.

python -m benchmarks.limits [--points 500000] [--size 10%] [--parts 8 32] [--data local clusters] [--finish-points 0]

`local` is a graph like a nearest-neighbour graph in cell order, of random utilities; `clusters` are demo points of 32
dimensions with their own graph. Parts are stretches of cells, as routing makes them, so that the supersteps are those
of Spark; up to `--finish-points` are finished in one place (`finish_points`). Costs are log-normal, five groups
of shares 1/2 to 1/20, small groups of twenty points; max_similarity forbids a tenth of the edges.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.common import clusters, local_graph
from benchmarks.record import Row, parser, recording
from subsel import SelectConfig
from subsel.config import resolve_size
from subsel.greedy.exact import exact_greedy
from subsel.greedy.limited import limited_greedy, with_unit
from subsel.limits.capacity import Capacity
from subsel.request import Request
from subsel.stages.base import make_ready
from subsel.stages.local import LocalStages
from tests.split_engine import SplitEngine, parts_of

COLUMNS = {
    "data": "<8s",
    "limits": "<22s",
    "parts": "d",
    "selected": "9,",
    "supersteps": "d",
    "x none": "6.1f",
    "seconds": "7.1f",
}


def kinds(tau: float) -> dict[str, dict]:
    """Return options by kind; `size` is added but where a budget says how much."""
    return {
        "none": {},
        "budget": {"budget": True},
        "quotas of 5 groups": {"groups": "five", "quotas": "balanced"},
        "quotas of n/20 groups": {"groups": "small", "quotas": "balanced"},
        "tokens of 5 groups": {"budget": True, "groups": "five", "quotas": "sqrt", "quotas_by": "cost"},
        "minima": {"groups": "five", "at_least": {"e": "20%", "d": "20%"}},
        "max_similarity": {"max_similarity": tau},
        "all three": {"budget": True, "groups": "five", "quotas": "balanced", "max_similarity": tau},
    }


def runs(
    stages: LocalStages, counts: list[int], size: str, columns: dict, finish_points: int
) -> Iterator[tuple[str, int, int, int, float]]:
    """Yield kind, parts, points selected, supersteps and seconds of each run."""
    graph = stages.graph
    n, k = graph.n, resolve_size(size, graph.n, "the graph")
    tau = float(np.quantile(graph.similarity, 0.9))
    for kind, options in kinds(tau).items():
        limited = dict(options)
        cost, groups = columns["cost"], {}
        if limited.pop("budget", False):
            limited |= {"budget": size, "cost": "cost"}
        else:
            limited |= {"size": k}
            cost = None
        if "groups" in limited:
            groups = {limited["groups"]: columns[limited["groups"]]}
        config = SelectConfig.of({"alpha": 0.9, "copies": "keep", "bounding": "off", **limited})
        request = Request(
            None, graph, utility=columns["utility"], cost=cost, groups=groups or None, sizes=((config, None),)
        )
        limits = LocalStages(request)
        make_ready(limits, limits.config)
        engine, _ = limits.engine(k)
        capacity: Capacity | None = None
        if config.limited:
            capacity = with_unit(engine, limits.capacity(None if config.size is None else k))
        part = limits.part
        for parts in counts:
            stretch = np.arange(n) * parts // n
            known = {"cost": part.cost, "group": part.group}
            alike = config.max_similarity
            by_part = parts_of(graph, part.utility, config.seed, stretch, **known)
            how = {"max_similarity": alike, "compact": True, "finish_points": finish_points}
            split = SplitEngine(by_part, 0.9, 0.1, **how)
            begin = time.perf_counter()
            found = exact_greedy(split, k) if capacity is None else limited_greedy(split, capacity)
            yield kind, parts, found.selected, found.supersteps, time.perf_counter() - begin


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=500_000)
    options.add_argument("--size", default="10%")
    options.add_argument("--parts", type=int, nargs="+", default=[8, 32])
    options.add_argument("--data", nargs="+", default=["local", "clusters"], choices=["local", "clusters"])
    options.add_argument("--finish-points", type=int, default=0)
    arguments = options.parse_args()
    n = arguments.points
    rng = np.random.default_rng(1)
    columns = {
        "utility": rng.random(n),
        "cost": rng.lognormal(6, 1, n).astype(np.int64) + 1,
        "five": np.array(list("abcde"))[rng.choice(5, n, p=[0.5, 0.2, 0.15, 0.1, 0.05])],
        "small": rng.integers(0, max(1, n // 20), n),
    }
    about = f"{n:,} points, {arguments.size}, up to {arguments.finish_points:,} are finished in one place"
    with recording(arguments, about) as record:
        record(COLUMNS, rows(arguments, columns))


def rows(arguments: argparse.Namespace, columns: dict) -> Iterator[Row]:
    """Yield a row per data, kind of limit and number of parts."""
    n = arguments.points
    for data in arguments.data:
        config = SelectConfig.of({"alpha": 0.9, "neighbors": 10, "copies": "keep"})
        if data == "local":
            stages = LocalStages(Request(None, local_graph(n), sizes=((config, None),)))
        else:
            stages = LocalStages(Request(clusters(n, 32), sizes=((config, None),)))
        make_ready(stages, stages.config)
        free: dict[int, int] = {}
        about = arguments.parts, arguments.size, columns, arguments.finish_points
        for kind, parts, selected, steps, seconds in runs(stages, *about):
            if kind == "none":
                free[parts] = steps
            yield data, kind, parts, selected, steps, steps / free[parts], seconds


if __name__ == "__main__":
    main()
