"""Greedy under limits, exactly as one heap over all points would pick, on any parts (docs/limits.md).

Totals need no certainty: parts pick on, and what comes after the end is cut. A budget's end is its first misfit; what
still fits what is left goes on from there, in another phase. Quotas of groups need it: parts tell where their undecided
points stand (`subsel.limits.tables`), and whoever surely fits is picked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from subsel.board import Board, Counts
from subsel.engines.base import Engine
from subsel.fixedpoint import Int64Array
from subsel.graph import KernelGraph
from subsel.greedy.exact import keep_decisions, start_over
from subsel.greedy.limited_part import (
    begin,
    cut,
    hear,
    keys_to_ranks,
    measure,
    pick,
    tell_groups,
    tell_places,
    tell_unit,
)
from subsel.greedy.limited_view import NO_END, View
from subsel.greedy.reverse import objective_twice
from subsel.limits import tables
from subsel.limits.capacity import Capacity
from subsel.limits.tables import Known, Place
from subsel.limits.tables_kernel import ABOVE, BELOW
from subsel.results import GreedyResult
from subsel.sizes import UNLIMITED

log = logging.getLogger(__name__)


class Moves(NamedTuple):
    """What parts do in greedy under limits, by what gains are.

    Attributes:
        begin: see `subsel.greedy.limited_part.begin`.
        view: returns a part as its limits see it.
        value: returns 2 f of the members, in fixed point.
        finish: decides the undecided points in one place; None if they are too many. See `finish`.
        of_undecided: whether a gain is changed by undecided neighbours only: then edges of decided points may be
            dropped.
    """

    begin: Callable[..., None]
    view: Callable[[KernelGraph, Board, Capacity], View]
    value: Callable[[Engine], int]
    finish: Callable[..., Counts | None]
    of_undecided: bool


def finish(engine: Engine, counts: Counts, capacity: Capacity, **how: Any) -> Counts | None:
    """Decide the undecided points of all parts in one place; None if they are too many for that."""
    if counts.undecided > engine.finish_points:
        return None
    if capacity.max_similarity is not None:  # in one place, nobody may be beside a member it has not heard of
        engine.step(hear, capacity=capacity)
    return engine.finish(pick, view=View, capacity=capacity, **how, alone=True)


#: Of f(S) = α Σ u - β Σ s.
PAIRWISE = Moves(begin, View, objective_twice, finish, of_undecided=True)
#: What a result says where gain, not gain per cost, made the better subset.
BY_GAIN = "by gain"


def best_limited_greedy(
    engine: Engine, capacity: Capacity, max_supersteps: int = 50, moves: Moves = PAIRWISE
) -> GreedyResult:
    """Select by gain per cost and by gain, and keep the better subset; ties go to gain per cost.

    Neither is always better: per cost where a budget is tight, by gain where it is loose or costs hardly differ.
    """
    start = engine.keep()
    by_cost = limited_greedy(engine, replace(capacity, per_cost=True), max_supersteps, moves)
    kept, f_by_cost = engine.keep(), moves.value(engine)
    engine.back(start)
    by_gain = limited_greedy(engine, replace(capacity, per_cost=False), max_supersteps, moves)
    if f_by_cost >= moves.value(engine):
        engine.back(kept)
        return by_cost
    return replace(by_gain, direction=BY_GAIN)


def with_unit(engine: Engine, capacity: Capacity) -> Capacity:
    """Return a capacity with what all costs are multiples of, where gains per cost rank."""
    if not capacity.per_cost:
        return capacity
    engine.step(tell_unit)
    return replace(capacity, unit=int(engine.merge(tables.common)["unit"].max(initial=0)) or 1)


def spent_by_groups(
    engine: Engine, capacity: Capacity, *, included: bool = False
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return what the members of each group are and took, by slot: (slots,); and what all are and took.

    Of ``included`` points alone, if so: others may be members already, where a run goes on.

    ``points``, int64; ``cost``, int64; ``gain``, float64: the sum of what they gained, in units of 2^-fraction_bits.
    """
    points, cost = engine.step(tell_groups, capacity=capacity, included=included).sums[:2]
    rows = engine.merge(tables.added)
    slots = capacity.slots
    found: dict[str, Any] = {
        "points": np.zeros(slots, np.int64),
        "cost": np.zeros(slots, np.int64),
        "gain": np.zeros(slots),
    }
    for name, column in found.items():
        if rows:
            column[rows["slot"]] = rows[name]
    return found, {"points": points, "cost": cost}


def order_limited(
    engine: Engine, capacity: Capacity, max_supersteps: int = 50, moves: Moves = PAIRWISE, *, restart: bool
) -> None:
    """Bring the subset's keys to what ranks its points: see `subsel.greedy.exact.order_subset`.

    That is the order in which greedy picks from the subset alone, where all that is there fits.
    """
    engine.reopen()
    engine.step(start_over if restart else keep_decisions)
    if restart:
        everything = Capacity(per_cost=capacity.per_cost, unit=capacity.unit)
        limited_greedy(engine, everything, max_supersteps, moves)
        engine.reopen()  # whoever ranks and scores needs all edges


def ranks_as_keys(engine: Engine, capacity: Capacity) -> None:
    """Have keys say what ranks points: replace them by gain per cost, where that does."""
    if capacity.per_cost:
        engine.step(keys_to_ranks, capacity=capacity)


def limited_greedy(
    engine: Engine, capacity: Capacity, max_supersteps: int = 50, moves: Moves = PAIRWISE
) -> GreedyResult:
    """Select undecided points in falling order of gain, or gain per cost, as long as they fit.

    Members that are there already, such as those that the user included, spend, and exclude what is too similar.

    Args:
        engine: holds the graph; on return nothing is undecided.
        capacity: the limits.
        max_supersteps: after so many a warning says that utilities rise along long chains; nothing is rounded.
        moves: what parts do.
    """
    supersteps = phases = 0
    while True:
        if moves.of_undecided:
            engine.whole()
        else:
            engine.reopen()
        members, spent = engine.step(measure, first=phases == 0).sums[:2]
        points = UNLIMITED if capacity.size is None else max(capacity.size - members, 0)
        budget = NO_END if capacity.budget is None else max(capacity.budget - spent, 0)
        counts = engine.step(moves.begin, capacity=capacity, points=points, budget=budget)
        if not counts.undecided:
            break
        phases += 1
        if engine.parts == 1:
            engine.step(pick, view=moves.view, capacity=capacity, points=points, budget=budget, alone=True, whole=True)
            supersteps += 1
            break
        supersteps = _phase(engine, capacity, points, budget, moves, supersteps, max_supersteps)
        if capacity.certain or not _cut(engine, capacity, points, budget) or capacity.budget is None:
            break
    log.info("greedy under limits: %d supersteps in %d phases", supersteps, phases)
    return GreedyResult(engine.counts().selected, supersteps)


def _phase(
    engine: Engine,
    capacity: Capacity,
    points: int,
    budget: int,
    moves: Moves,
    supersteps: int,
    max_supersteps: int,
) -> int:
    """Run until nothing is undecided; return the supersteps until then."""
    limit = np.concatenate([capacity.most, [points, min(budget, NO_END - 1) + 1]])
    about: dict[str, Any] = {"capacity": capacity, "points": points, "budget": budget}
    known = None
    counts = engine.counts()
    while counts.undecided:
        if supersteps == max_supersteps:
            log.warning(
                "greedy is not done after %d supersteps: utilities rise along long chains of points (raise "
                "finish_points, so that fewer are left to supersteps)",
                supersteps,
            )
        finished = None
        if known is not None or not capacity.groups:
            how: dict[str, Any] = {"points": points, "budget": budget, "known": known}
            finished = moves.finish(engine, counts, capacity, **how)
        if finished is None:
            finished = engine.step(pick, view=moves.view, **about, known=known)
            known = _heard(engine, capacity, limit)
        counts = finished
        supersteps += 1
        log.info("greedy superstep %d: selected %d, undecided %d", supersteps, counts.selected, counts.undecided)
    return supersteps


def _heard(engine: Engine, capacity: Capacity, limit: Int64Array) -> Known:
    """Return what the parts told after a superstep."""
    least = capacity.least
    known = Known.of(engine.merge(tables.merge, limit, least), len(limit) - 2)
    if not capacity.certain:
        return known
    left = capacity.free - int(np.maximum(known.taken[: len(least)] - least, 0).sum())
    enough, gone = tables.free_places(engine.merge(tables.beyond_minima, limit, least), left)
    return replace(known, free=left, free_from=enough, free_until=gone)


def _cut(engine: Engine, capacity: Capacity, points: int, budget: int) -> bool:
    """Leave out what a phase picked from the first misfit of size or budget on; return whether there was one."""
    found = []
    for by_cost, left in ((False, points), (True, budget)):
        if left < UNLIMITED:
            found.append(_misfit(engine, capacity, left + 1, by_cost=by_cost))
    ends = [place for place in found if place is not None]
    if not ends:
        return False
    rank, code = max(ends)
    engine.step(cut, capacity=capacity, rank=rank, code=code)
    return True


def _misfit(engine: Engine, capacity: Capacity, amount: int, *, by_cost: bool) -> Place | None:
    """Return the place at which what a phase picked takes an amount in all; None where it never does."""
    above, below = (ABOVE, ABOVE), (BELOW, BELOW)
    while True:
        told = engine.step(tell_places, capacity=capacity, by_cost=by_cost, above=above, below=below)
        before, bundles = told.sums[:2]
        row = engine.merge(tables.merge, np.array([amount - before, amount - before - 1]), np.empty(0, np.int64))
        if not row:
            return None
        at = {slot: number for number, slot in enumerate(row["slot"].tolist()) if row["level"][number] == 0}
        filled = int(row["floor_rank"][at[0]]), int(row["floor_code"][at[0]])
        if filled == (BELOW, BELOW):
            return None
        if not bundles:
            return filled
        above, below = min(above, (int(row["sure_rank"][at[1]]), int(row["sure_code"][at[1]]))), filled
