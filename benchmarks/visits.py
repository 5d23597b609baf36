"""How many parts a point travels to, and how many pairs of neighbours meet: a number of cells against a reach.

python -m benchmarks.visits [--points 500000] [--dimension 256] [--part-points 32768] [--data clusters sentences]

The data of benchmarks/peers_graph.py. `cells 4` sends a point to the parts of its four nearest coarse cells, `reach` is
what Spark runs do (docs/decisions/0010-reach.md). `parts` are per point, its home among them; `meet` is the share of
pairs of a point and one of its 10 exact neighbours that have a part in common; both on 2,000 points.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import faiss
import numpy as np

from benchmarks.common import clusters, sentences
from benchmarks.record import Row, parser, recording
from subsel import SelectConfig
from subsel.embeddings.recipe import Search
from subsel.parts.route import PartMap, coarse_probes, sample_rows

_ASKED = 2000
_CELLS = (1, 2, 3, 4, 6)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=500_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--part-points", type=int, default=32_768)
    options.add_argument("--data", nargs="+", default=["clusters", "sentences"])
    arguments = options.parse_args()
    about = f"{arguments.points:,} x {arguments.dimension}, {arguments.part_points:,} points per part"
    with recording(arguments, about) as record:
        record(
            {"data": "<10s", "rule": "<8s", "of parts": "d", "reach": "6.3f", "parts": "5.2f", "meet": "6.4f"},
            rows(arguments),
        )


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield a row per data and rule."""
    n, dimension = arguments.points, arguments.dimension
    how = Search.of(SelectConfig(probes=8), n, None)
    rng = np.random.default_rng(0)
    code = rng.integers(-(2**63), 2**63 - 1, n)
    for name in arguments.data:
        X = {"clusters": clusters, "sentences": sentences}[name](n, dimension).astype(np.float32)
        sample = sample_rows(n, dimension, arguments.part_points)
        part_map = PartMap.plan(X[rng.permutation(n)[:sample]], n, arguments.part_points, how)
        asked = rng.choice(n, _ASKED, replace=False)
        near = faiss.knn(X[asked], X, how.neighbors + 1, metric=faiss.METRIC_INNER_PRODUCT)[1]
        rules = [(f"cells {count}", count, np.inf) for count in _CELLS]
        for rule, count, reach in [*rules, ("reach", coarse_probes(how), part_map.reach)]:
            send = replace(part_map, reach=reach, visits=count)
            mine = send.destinations(X[asked], code[asked])
            others = send.destinations(X[near.ravel()], code[near.ravel()]).reshape(*near.shape, -1)
            same = (mine[:, None, :, None] == others[:, :, None, :]) & (others >= 0)[:, :, None, :]
            meet = same.any(axis=(2, 3))[near != asked[:, None]].mean()
            yield name, rule, part_map.parts, part_map.reach, (mine >= 0).sum(axis=1).mean(), meet


if __name__ == "__main__":
    main()
