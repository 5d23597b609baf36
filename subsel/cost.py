"""How long a selection takes on Spark: core-seconds per stage, from rates that were measured.

Rates are those of the runs in docs/scaling.md, of benchmarks/spark_pipeline.py on two cores of an AMD EPYC, `local[2]`,
at 64 to 384 dimensions, 10 neighbours and 10 % selected. They hold for cores, disks and networks like those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subsel.config import SelectConfig
from subsel.embeddings.cells import GROUPS_PROBED, ONE_LEVEL
from subsel.parts.route import coarse_cells, sample_rows

#: Core-seconds per million points, and per million points and 100 values of their embeddings.
READ = (5.0, 4.0)
NEIGHBORS = (105.0, 18.0)
#: Core-seconds per million points from the graph to the written subset; dimensions do not matter any more.
SELECTION = 45.0
#: Core-seconds per million points and pass of swaps (benchmarks/spark_greedy.py).
REFINE = 11.0
#: Seconds that Spark takes however few points there are, its start included: 88 s for 100 of 3,000 points, `local[2]`.
FIXED = 90.0
#: Floating point operations per second that one core does while it looks for a point's coarse cells, or near rows.
ROUTE_FLOPS = 30e9


@dataclass(frozen=True, slots=True)
class Work:
    """Core-seconds of the stages.

    Attributes:
        read: checking every row.
        neighbors: making the graph.
        selection: from the graph to the written subset.
        refine: all passes of swaps that are allowed.
        near: comparing all points with what none may be near to.
    """

    read: float
    neighbors: float
    selection: float
    refine: float
    near: float = 0.0

    @property
    def total(self) -> float:
        """Core-seconds of all stages."""
        return self.read + self.neighbors + self.selection + self.refine + self.near


def work(n: int, searched: int, dimension: int, k: int | None, parts: int, config: SelectConfig, near: int = 0) -> Work:
    """Return what selecting k of n points of so many dimensions takes; 0 dimensions if a graph is given.

    So many of the points are searched: all, or those that are drawn first. All are compared with ``near`` rows.

    What follows from the number of neighbours is taken to be in proportion to it; probes are taken to be 8 and the size
    10 %: a rule of thumb. Not in it: what takes its time however few points there are (`FIXED`), and the iterations of
    a certificate.
    """
    millions, hundreds, degree = searched / 1e6, dimension / 100, config.degree(n, k) / 10
    read = n / 1e6 * (READ[0] + READ[1] * hundreds)
    selection, refine = millions * SELECTION * degree, millions * REFINE * degree * config.refine
    if dimension == 0:
        return Work(read, 0.0, selection, refine)
    cells = coarse_cells(parts, sample_rows(searched, dimension, -(-searched // parts)))
    if cells > ONE_LEVEL:
        cells = round((1 + GROUPS_PROBED) * np.sqrt(cells))
    routing = searched * 2.0 * cells * dimension / ROUTE_FLOPS
    neighbors = millions * (NEIGHBORS[0] * degree + NEIGHBORS[1] * hundreds) + routing
    return Work(read, neighbors, selection, refine, n * 2.0 * near * dimension / ROUTE_FLOPS)
