"""Two selections side by side: numbers, options, groups, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from subsel.pages.facts import NONE, estimate_text
from subsel.report import CoverageReport, Report

#: A name, and beside it what the one and the other have.
Row = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Members of two subsets, and of both."""

    first: int
    second: int
    shared: int

    @property
    def share(self) -> float:
        """Members of both, of those of either."""
        either = self.first + self.second - self.shared
        return self.shared / either if either else 1.0


def number_rows(first: Report, second: Report) -> list[Row]:
    """Return what two selections came to."""
    values: list[tuple[str, Callable[[Report], str | None]]] = [
        ("points", lambda one: f"{one.input.points:,}"),
        ("selected", lambda one: f"{one.k:,}"),
        ("objective", lambda one: f"{one.objective.total:,.4f}"),
        ("  of it utility", lambda one: f"{one.objective.utility:,.4f}"),
        ("  of it similarity", lambda one: f"{-one.objective.similarity:,.4f}"),
        ("  random subsets", lambda one: f"{one.objective.random:,.4f}"),
        ("  top utility", lambda one: _or(one.objective.top_utility, "{:,.4f}")),
        ("  upper bound", lambda one: f"{one.certificate.upper_bound:,.4f}"),
        ("certified", lambda one: _or(one.certificate.share, "{:.1%}")),
        ("coverage", lambda one: _measured(one, "subset")),
        ("  random", lambda one: _measured(one, "random")),
        ("redundancy", lambda one: _measured(one, "redundancy")),
        ("  random", lambda one: _measured(one, "random_redundancy")),
        ("coverage on the graph", lambda one: None if one.coverage is None else f"{one.coverage.graph:.3f}"),
        ("alpha, beta", lambda one: f"{one.weights.alpha:.4g}, {one.weights.beta:.4g}"),
        ("neighbours per point", lambda one: f"{one.graph.mean_degree:.1f}"),
        ("recall of the graph", lambda one: _or(one.graph.recall, "{:.3f}")),
        ("seconds", lambda one: f"{sum(one.seconds.values()):.1f}"),
    ]
    rows = ((name, told(first), told(second)) for name, told in values)
    return [(name, a or NONE, b or NONE) for name, a, b in rows if a is not None or b is not None]


def option_rows(first: Report, second: Report) -> list[Row]:
    """Return the options in which two selections differ."""
    a, b = (one.config.model_dump(mode="json") for one in (first, second))
    return [(name, _told(a[name]), _told(b[name])) for name in a if a[name] != b[name]]


def group_rows(first: Report, second: Report) -> dict[str, list[Row]]:
    """Return by column how many points of each group are selected, of those groups that a report names."""
    found: dict[str, list[Row]] = {}
    sides = [{column.column: column for column in one.limits.columns} if one.limits else {} for one in (first, second)]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        groups = [{g.name: g.selected for g in side[name].groups} if name in side else {} for side in sides]
        names = dict.fromkeys([*groups[0], *groups[1]])
        found[name] = [(one, *(_or(side.get(one), "{:,}") or NONE for side in groups)) for one in names]  # type: ignore[misc]
    return found


def _measured(one: Report, what: str) -> str | None:
    coverage: CoverageReport | None = one.coverage
    found = None if coverage is None else getattr(coverage, what)
    return None if found is None else estimate_text(found)


def _or(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def _told(value: Any) -> str:
    return NONE if value in (None, [], {}) else str(value)
