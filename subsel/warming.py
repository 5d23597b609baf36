"""Compiling kernels ahead of their first use: for images, and for workers that start often."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from subsel import api, demo, growth
from subsel.explaining import explain
from subsel.kernels import Cache, kernel_cache

_N, _D = 700, 8
#: Selections of a few points that between them call the kernels of every stage, by what they are of.
_CALLS: dict[str, Sequence[dict[str, Any]]] = {
    "selecting": [{}, {"alpha": 0.9, "certify": 3}, {"exclude_outliers": 0.1, "greedy_direction": "reverse"}],
    "metrics": [{"metric": "l2", "recall": 1.0}, {"metric": "inner_product"}, {"neighbors": 40, "probes": 2}],
    "limits": [
        {"budget": 4000, "cost": "cost", "certify": 3},
        {"groups": "source", "quotas": {"web": 20}, "at_least": {"books": 5}, "certify": 3},
        {"budget": 4000, "cost": "cost", "groups": "source", "quotas": "sqrt", "quotas_by": "cost", "order": "best"},
        {"max_similarity": 0.9},
        {"thin": 2},
    ],
    "coverage": [
        {"objective": "coverage", "certify": 3},
        {"objective": "coverage", "utility_weight": 0.1, "importance": "cost", "metric": "inner_product"},
        {"objective": "coverage", "max_similarity": 0.9, "groups": "source", "quotas": "balanced"},
    ],
    "the paper's method": [
        {"bounding": "approximate", "greedy": "partitioned", "partitions": 2, "bounding_rank": "paper"},
        {"bounding": "approximate", "sampling": "weighted", "greedy": "partitioned", "partitions": 2},
    ],
}


def warm(tell: Callable[[str], None] = lambda what: None) -> Cache:
    """Compile the kernels that selecting needs, by selecting from a few points in every way; they stay on the disk.

    Args:
        tell: called with what is compiled next.

    Returns:
        Where the kernels are, and how many are compiled now.
    """
    table = demo.demo_table(_N, _D)
    table = table.append_column("cost", [np.arange(_N) % 50 + 1])
    quiet: dict[str, Any] = {"progress": False, "engine": "local"}
    with _unheard(), tempfile.TemporaryDirectory(prefix="subsel-warm-") as folder:
        for what, calls in _CALLS.items():
            tell(what)
            for options in calls:
                sized: dict[str, Any] = {} if "budget" in options else {"size": 60}
                api.select(table, **sized, **options, **quiet)
        tell("run directories")
        run, near = Path(folder, "run"), table.slice(0, 3)
        found = api.select(table, size=60, run_dir=run, audit=Path(folder, "audit"), exclude_near=near, **quiet)
        explain(run, found.ids[0])
        tell("embeddings of 16 bits")
        api.select(demo.demo_points(_N, _D)[0].astype(np.float16), size=60, descent_passes=1, **quiet)
        tell("graphs that grow")
        place = Path(folder, "graph")
        growth.growing_graph(table.slice(20), output=place, progress=False)
        growth.grow_graph(place, near, remove=table["id"].slice(20, 300), progress=False)
        tell("targets and names as ids")
        api.select(table.slice(9), size=60, objective="coverage", target=near, **quiet)
        names = table.set_column(table.column_names.index("id"), "id", table["id"].cast("string"))
        api.select(names, size=60, **quiet)
        graph = api.neighbors(table, progress=False).graph
        api.score(found.ids, points=table, graph=graph, alpha=0.9, progress=False)
    return kernel_cache()


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep warnings about the few points back, which are nobody's."""
    log = logging.getLogger("subsel")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
