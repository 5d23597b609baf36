"""Cells in groups against cells in one level: seconds of training and assigning, and how many nearest cells are found.

python -m benchmarks.cell_groups [--points 200000] [--dimension 128] [--cells 1024 4096 16384] [--nearest 4]

Demo points. `found` is the share of a point's nearest cells (of all cells, exactly) that looking into the nearest
groups finds; assigning is timed on at most 50,000 points. One level is not trained beyond 4,096 cells, where it takes
minutes: there its nearest cells are looked for among those of the groups, which takes as long.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np

from benchmarks.common import machine, seconds
from subsel import demo
from subsel.embeddings import cells
from subsel.embeddings.metrics import Preparation

_ASSIGNED = 50_000
_CHECKED = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--cells", type=int, nargs="+", default=[1024, 4096, 16_384])
    parser.add_argument("--nearest", type=int, default=4)
    arguments = parser.parse_args()
    points, _ = demo.demo_points(arguments.points, arguments.dimension)
    X = Preparation.of_sample(points, "cosine").rows(points)
    print(machine())
    print(f"{arguments.points:,} x {arguments.dimension}, {arguments.nearest} nearest cells\n")
    print("  cells  levels  train s  assign s   found")
    for count in arguments.cells:
        sample = X[np.random.default_rng(0).permutation(len(X))[: count * cells.SAMPLE_PER_CELL]]
        made: list[cells.Quantizer] = []
        with patch.multiple(cells, TRAINED_AT_ONCE=0, ONE_LEVEL=0):
            took = seconds(lambda c=count, s=sample, m=made: m.append(cells.Quantizer.train(s, c, "cosine", 0)))
        grouped = made[0]
        flat = cells.Quantizer(grouped.centroids, X[:0], "cosine")
        training = float("nan")
        if count <= 4096:
            with patch.object(cells, "TRAINED_AT_ONCE", count):
                training = seconds(lambda c=count, s=sample: cells.Quantizer.train(s, c, "cosine", 0))
        rows = X[:_ASSIGNED]
        exact = flat.nearest(rows[:_CHECKED], arguments.nearest)
        for levels, quantizer, train in ((1, flat, training), (2, grouped, took)):
            quantizer.nearest(rows[:100], 1)  # makes the index
            assign = seconds(lambda q=quantizer, r=rows: q.nearest(r, arguments.nearest))
            found = quantizer.nearest(rows[:_CHECKED], arguments.nearest)
            share = np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)])
            print(f"{count:7,}  {levels:6d}  {train:7.2f}  {assign:8.2f}  {share:6.4f}", flush=True)


if __name__ == "__main__":
    main()
