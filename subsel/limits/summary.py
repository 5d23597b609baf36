"""What limits made of a selection, for the report, the closing table and the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from subsel.errors import option
from subsel.fixedpoint import Int64Array
from subsel.limits.capacity import Capacity, GroupLimit
from subsel.limits.quotas import GroupTable
from subsel.report import AlikeReport, ColumnReport, FixedPointReport, GroupReport, LimitsReport, TotalReport
from subsel.results import RefineResult
from subsel.sizes import UNLIMITED

#: Groups that are told one by one.
GROUPS = 20
#: A budget of which so much is spent is what ended the selection.
_SPENT = 0.999


def limits_report(
    capacity: Capacity,
    spent: Mapping[str, Any],
    totals: Mapping[str, int],
    groups: Sequence[GroupTable],
    scale: FixedPointReport,
    refined: RefineResult,
) -> LimitsReport:
    """Return what was asked for and what came of it.

    Args:
        capacity: the limits.
        spent: by slot what members are and took, see `subsel.greedy.limited.spent_by_groups`.
        totals: ``points`` and ``cost`` of the subset.
        groups: of each column of the capacity.
        scale: of gains.
        refined: with what comparing members found, if they were.
    """
    asked = {"size": ("points", capacity.size), "budget": ("cost", capacity.budget)}
    found = [
        TotalReport(name=name, unit=unit, asked=limit, spent=totals[unit])
        for name, (unit, limit) in asked.items()
        if limit is not None
    ]
    columns = [
        _column(one, table, {name: values[begin : begin + len(one.most)] for name, values in spent.items()}, scale)
        for one, table, begin in zip(capacity.groups, groups, capacity.offsets.tolist(), strict=False)
    ]
    alike = None
    if capacity.max_similarity is not None and refined.compared is not None:
        alike = AlikeReport(**{name: getattr(refined, name) for name in AlikeReport.model_fields})
    short = 0 if capacity.size is None else capacity.size - totals["points"]
    binding = [one.name for one in found if one.spent >= one.asked * (1 if one.name == "size" else _SPENT)]
    binding += [f"quotas of {one.column}" for one in columns if one.full]
    if capacity.max_similarity is not None and capacity.fill and not {"size", "budget"} & set(binding):
        binding.append("max_similarity")
    return LimitsReport(
        order="gain per cost" if capacity.per_cost else "gain",
        fill=capacity.fill,
        origin=scale.origin,
        totals=found,
        columns=columns,
        max_similarity=capacity.max_similarity,
        alike=alike,
        binding=binding,
        short=max(short, 0),
    )


def warnings_of(limits: LimitsReport) -> list[str]:
    """Return what to warn of: limits that included points exceed, and that left fewer points than were asked for."""
    include = option("include")
    found = [
        f"{include} takes {one.spent:,} of {one.name} {one.asked:,} ({one.unit}): nothing else fits"
        for one in limits.totals
        if one.left < 0
    ]
    if limits.alike is not None and limits.alike.together:
        alike = f"{limits.alike.together:,} points of {include} are more alike to others of it than"
        found.append(f"{alike} {option('max_similarity')} allows: all of them stay")
    if limits.alike is not None and limits.alike.pairs:
        alike = f"{limits.alike.pairs:,} pairs of members are more alike than {option('max_similarity')} allows, of"
        found.append(f"{alike} those between {limits.alike.sample:,} of them and all: the search misses these")
    return [*found, _fewer_selected(limits)] if limits.short else found


def _fewer_selected(limits: LimitsReport) -> str:
    """Say that limits left fewer points than were asked for, and which."""
    (size,) = (one for one in limits.totals if one.name == "size")
    others = [one for one in limits.binding if one != "size"]
    why = f": {', '.join(others)} let no more in" if others else ""
    if not limits.fill:
        why = why or f": all others would lower the objective ({option('fill', False)})"
    return f"{size.spent:,} of the {size.asked:,} points asked for were selected{why}"


def _column(limit: GroupLimit, table: GroupTable, spent: Mapping[str, Any], scale: FixedPointReport) -> ColumnReport:
    least = np.zeros(len(limit.most), np.int64) if limit.least is None else limit.least
    took: Int64Array = spent["cost"] if limit.by_cost else spent["points"]
    full = (limit.most < UNLIMITED) & (took >= limit.most) & (table.points > spent["points"])
    order = np.argsort(-spent["points"], kind="stable")

    def told(name: str, some: Any) -> GroupReport:
        points = int(spent["points"][some].sum())
        quotas = limit.most[some]
        gain = scale.value(float(spent["gain"][some].sum())) / points if points else 0.0
        return GroupReport(
            name=name,
            points=int(table.points[some].sum()),
            most=sum(quotas.tolist()) if (quotas < UNLIMITED).all() else None,
            least=int(least[some].sum()),
            selected=points,
            cost=int(spent["cost"][some].sum()) if table.cost is not None else None,
            gain=gain,
        )

    first, rest = order[: GROUPS if len(order) <= GROUPS else GROUPS - 1], order[GROUPS - 1 :]
    others = told(f"{len(rest):,} others", rest) if len(order) > GROUPS else None
    return ColumnReport(
        column=limit.column,
        by_cost=limit.by_cost,
        count=len(order),
        full=int(full.sum()),
        groups=[told(table.names[at], np.array([at])) for at in first.tolist()],
        others=others,
    )
