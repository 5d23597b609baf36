"""Cells in groups against cells in one level: seconds of training and assigning, and how many nearest cells are found.

python -m benchmarks.cell_groups [--points 200000] [--dimension 128] [--cells 1024 4096 16384] [--nearest 4]

Demo points. `found` is the share of a point's nearest cells (of all cells, exactly) that looking into the nearest
groups finds; assigning is timed on at most 50,000 points. One level is not trained beyond 4,096 cells, where it takes
minutes: there its nearest cells are looked for among those of the groups, which takes as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import numpy as np

from benchmarks.common import seconds
from benchmarks.record import Row, parser, recording
from subsel import demo
from subsel.embeddings import cells
from subsel.embeddings.metrics import Preparation

_ASSIGNED = 50_000
_CHECKED = 5_000


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=200_000)
    options.add_argument("--dimension", type=int, default=128)
    options.add_argument("--cells", type=int, nargs="+", default=[1024, 4096, 16_384])
    options.add_argument("--nearest", type=int, default=4)
    arguments = options.parse_args()
    points, _ = demo.demo_points(arguments.points, arguments.dimension)
    X = Preparation.of_sample(points, "cosine").rows(points)
    about = f"{arguments.points:,} x {arguments.dimension}, {arguments.nearest} nearest cells"
    with recording(arguments, about) as record:
        record(
            {"cells": "7,", "levels": "d", "train s": "7.2f", "assign s": "8.2f", "found": "6.4f"},
            rows(X, arguments.cells, arguments.nearest),
        )


def rows(X: np.ndarray, counts: list[int], nearest: int) -> Iterator[Row]:
    """Yield both rows of each number of cells."""
    for count in counts:
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
        asked = X[:_ASSIGNED]
        exact = flat.nearest(asked[:_CHECKED], nearest)
        for levels, quantizer, train in ((1, flat, training), (2, grouped, took)):
            quantizer.nearest(asked[:100], 1)  # makes the index
            assign = seconds(lambda q=quantizer: q.nearest(asked, nearest))  # noqa: B023
            found = quantizer.nearest(asked[:_CHECKED], nearest)
            share = np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)])
            yield count, levels, train, assign, share


if __name__ == "__main__":
    main()
