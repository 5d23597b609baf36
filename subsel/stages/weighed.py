"""Utilities and weights on one machine: the executor of the rules in `subsel.weighing`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from subsel.config import SelectConfig
from subsel.fixedpoint import Int64Array, exact_total
from subsel.graph import NeighborGraph
from subsel.input.points import Points
from subsel.input.wishes import Constraints
from subsel.ranks import at_or_below, lowest_place
from subsel.report import WeightsReport
from subsel.schema import Status
from subsel.weighing import (
    Spread,
    densities,
    density_neighbors,
    mean_of,
    median_degree,
    mixed,
    needs_density,
    outlier_count,
    report_of,
)


def weigh_here(
    points: Points,
    graph: NeighborGraph,
    neighbors: int | None,
    config: SelectConfig,
    wished: Mapping[Status, Int64Array],
    *,
    k: int | None,
    most: int | None,
    warning: str | None,
    near: int = 0,
) -> tuple[WeightsReport, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return what the objective weighs; utilities, float64, (n,), and outliers, bool, (n,), in node order.

    Args:
        points: with what utility is made of.
        graph: of them.
        neighbors: of each point; None for a graph of the user's.
        config: diversity or α and β, exclude_outliers.
        wished: nodes that are included and excluded.
        k: the fewest that will be selected; None: not known.
        most: the most.
        warning: see `subsel.weighing.report_of`.
        near: excluded ones that are out as they are near something.

    Raises:
        ConfigError: fewer are left than will be selected.
    """
    utility, stored = points.made_of, np.stack([points.utility, *points.others])[:, graph.rows]
    m, density = None, None
    if needs_density(utility, config):
        m = density_neighbors(graph.n, k, median_degree(np.diff(graph.indptr)) if neighbors is None else neighbors)
        density = densities(graph.indptr, graph.similarity, m)
    selectable = np.ones(graph.n, np.bool_)
    selectable[wished.get(Status.EXCLUDED, [])] = False
    outlier = np.zeros(graph.n, np.bool_)
    if density is not None and config.exclude_outliers:
        code = points.code[graph.rows]
        count = outlier_count(config.exclude_outliers, int(selectable.sum()))
        outlier = selectable & at_or_below(density, code, lowest_place(density[selectable], code[selectable], count))
        outlier[wished.get(Status.INCLUDED, [])] = False
    left = Constraints(0, int((~selectable).sum()) - near, int(outlier.sum()), near)
    left.check(graph.n, 0 if most is None else most, 0, None)
    selectable &= ~outlier
    utilities = mixed(utility, stored, density, selectable) if utility.ranked else stored[0]
    spread = Spread.of(utilities[selectable]) if config.weights is None else None
    mean = mean_of(exact_total(graph.similarity), len(graph.similarity))
    report = report_of(utility, config, spread, mean, neighbors=m, outliers=left.outliers, warning=warning)
    return report, utilities, outlier
