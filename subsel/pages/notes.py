"""What a reader of a report must know first: warnings, fallbacks, and what was left out."""

from __future__ import annotations

from subsel.errors import in_library, option
from subsel.limits.summary import warnings_of
from subsel.pages.facts import copies_line
from subsel.report import Report
from subsel.text import count
from subsel.told import graph_warnings


def warnings_in(report: Report) -> list[str]:
    """Return what was warned of, each once: what the run logged, and what follows from its numbers."""
    found = [*report.warnings, *map(in_library, graph_warnings(report.graph))]
    if report.weights.warning is not None:
        found.append(in_library(report.weights.warning))
    if report.limits is not None:
        found += [in_library(one) for one in warnings_of(report.limits)]
    greedy = report.greedy
    for what, after in (("the subset is", greedy.rounded_after), ("ranks are", greedy.ranks_rounded_after)):
        if after is not None:
            found.append(
                in_library(f"{what} not exact: gains rounded after {after} supersteps ({option('max_supersteps')})")
            )
    return list(dict.fromkeys(found))


def fallbacks_in(report: Report) -> list[str]:
    """Return where less was done than might be thought, or something else, and why."""
    config, graph, found = report.config, report.graph, []
    dropped = (("row", report.input.dropped_rows), ("edge", graph.dropped_edges))
    found += [f"{count(number, what)} left out: {why}" for what, some in dropped for why, number in some.items()]
    if report.input.copies:
        found.append(copies_line(report.input.copies))
    if graph.drawn is not None:
        found.append(f"only {graph.drawn:,} points, drawn at random, were searched ({option('thin', config.thin)})")
    if report.weights.outliers:
        outliers = option("exclude_outliers", config.exclude_outliers)
        found.append(f"{count(report.weights.outliers, 'point')} left out as the least dense ({outliers})")
    if graph.recall is None and graph.source == "embeddings":
        found.append(f"recall of the graph was not estimated ({option('recall_sample', config.recall_sample)})")
    if graph.target_points is not None:
        found.append("coverage is that of the target, along its edges; redundancy was not measured")
    elif report.coverage is None or report.coverage.subset is None:
        why = option("coverage_sample", 0) if not config.coverage_sample else "no vectors were at hand"
        found.append(f"coverage and redundancy were not measured on vectors, but on the graph only: {why}")
    if config.greedy == "partitioned":
        found.append(f"greedy was partitioned, which is not centralised greedy ({option('greedy', config.greedy)})")
    if report.limits is not None and config.refine and not report.limits.swaps:
        found.append("members were not exchanged for better ones: costs count, or combinations of groups are too many")
    if config.bounding != "off" and report.bounding.method == "off":
        found.append("bounding did not run: it decides nothing under coverage, nor under these limits")
    if not report.certificate.iterations:
        found.append(f"the upper bound is a cheap one: a search lowers it ({option('certify', 100)})")
    return [in_library(one) for one in found]
