"""Which driver each stage of the pipeline runs, by the config; and what it proves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from subsel.audit import Room
from subsel.board import Counts
from subsel.bounding.approximate import bound_approximately
from subsel.bounding.certificate import certify, free_bound
from subsel.bounding.driver import bound
from subsel.bounding.prices import limited_bound
from subsel.config import SelectConfig
from subsel.covering.bound import cover_bound
from subsel.covering.greedy import COVERAGE
from subsel.engines.base import Engine
from subsel.fixedpoint import Int64Array
from subsel.greedy.exchange import exchange
from subsel.greedy.limited import (
    BY_GAIN,
    PAIRWISE,
    Moves,
    best_limited_greedy,
    limited_greedy,
    order_limited,
    ranks_as_keys,
    spent_by_groups,
    with_unit,
)
from subsel.greedy.partitioned import partitioned_greedy
from subsel.greedy.refine import refine
from subsel.greedy.renew import renew, take_old, worth_of
from subsel.greedy.reverse import directed_greedy
from subsel.input.wishes import Constraints
from subsel.limits.build import check_precision, check_reserved
from subsel.limits.capacity import Capacity
from subsel.limits.summary import limits_report
from subsel.report import (
    CertificateReport,
    FixedPointReport,
    InputReport,
    LimitsReport,
    ObjectiveReport,
)
from subsel.results import BoundingResult, CertificateResult, GreedyResult, RefineResult
from subsel.run import Tell
from subsel.stages.base import Stages

log = logging.getLogger(__name__)

#: After a warm start f may be less than greedy's by one part in so many of what that has beyond random subsets.
_NEARLY = 1000
#: Passes of swaps after a warm start, at least: they end sooner if nothing is gained.
WARM_PASSES = 64


def limits_of(
    stages: Stages, engine: Engine, config: SelectConfig, points: InputReport, wishes: Constraints, k: int
) -> Capacity:
    """Return the limits of a selection of k points, or of as many as a budget pays for.

    Raises:
        ConfigError: costs are too large to tell gains per cost apart.
        InputError: minima cannot be met beside included points; or see `subsel.limits.build.capacity_of`.
    """
    capacity = with_unit(engine, stages.capacity(None if config.size is None else k))
    check_precision(capacity, points.points, points.cost or 0)
    if capacity.certain and wishes.included:
        taken = spent_by_groups(engine, capacity, included=True)[0]["points"]
        check_reserved(capacity, stages.tables[0].names, taken[: len(capacity.least)])
    return capacity


def beside_included(engine: Engine, capacity: Capacity, wishes: Constraints) -> Capacity:
    """Return what included points leave of the limits."""
    return capacity.less(*spent_by_groups(engine, capacity, included=True)) if wishes.included else capacity


def run_bounding(engine: Engine, k: int, config: SelectConfig, tie_bits: int, left: Capacity | None) -> BoundingResult:
    """Bound by the method of the config, and note what is proved about the best f by that alone.

    Under limits, of which included points leave ``left``, nothing is decided, and what is proved holds for all subsets
    that keep size, budget and quotas, minima and similarity or not. Coverage is bounded later (`run_certify`).
    """
    if config.covers:
        return BoundingResult(0, 0, 0)
    tight = config.bounding_rank == "tight"
    if left is not None:
        priced = left.priced
        upper_bound = limited_bound(engine, left, tie_bits) if priced else free_bound(engine, k, tie_bits, fewer=True)
        return BoundingResult(0, 0, 0, upper_bound=upper_bound)
    if config.bounding == "exact":
        found = bound(engine, k, tight=tight)
        return replace(found, upper_bound=free_bound(engine, k - found.accepted, tie_bits))
    upper_bound = free_bound(engine, k, tie_bits)  # what is not certain comes after
    found = BoundingResult(0, 0, 0)
    if config.bounding == "approximate":
        weighted = config.sampling == "weighted"
        found = bound_approximately(
            engine, k, share=config.sample_share, weighted=weighted, seed=config.seed, tight=tight
        )
    return replace(found, upper_bound=upper_bound)


def run_greedy(engine: Engine, k: int, config: SelectConfig, direction: str, capacity: Capacity | None) -> GreedyResult:
    """Select k of the undecided points by the method of the config, or as many as limits allow."""
    if capacity is not None:
        choose = best_limited_greedy if config.order == "best" else limited_greedy
        return choose(engine, capacity, config.max_supersteps, moves_of(config))
    if config.greedy == "exact":
        return directed_greedy(engine, k, direction, config.max_supersteps)
    assert config.partitions is not None
    return partitioned_greedy(
        engine,
        k,
        partitions=config.partitions,
        rounds=config.rounds,
        adaptive=config.adaptive,
        gamma=config.gamma,
        seed=config.seed,
    )


def warm_greedy(
    engine: Engine,
    old: Int64Array,
    k: int,
    config: SelectConfig,
    capacity: Capacity | None,
    random: Callable[[int], int],
) -> GreedyResult:
    """Begin with an old subset, select what is left of k points, or of what limits allow, and renew what adds least.

    The subset is worth as much as what greedy selects without it but for a thousandth of what that has beyond random
    ones; where renewal does not get there, it is greedy's. Swaps come next, where limits allow them.

    Args:
        engine: what bounding left.
        old: numbers of the old subset's points, int64.
        k: points to select beside those that are members.
        config: of the request.
        capacity: limits; None: but the size there are none.
        random: the expectation of f over all subsets of so many points, in fixed point.
    """
    moves, start, members = moves_of(config), engine.keep(), members_of(engine.counts())
    began = time.perf_counter()
    fresh = run_greedy(engine, k, config, "forward", capacity)
    fresh = replace(fresh, anew_seconds=round(time.perf_counter() - began, 3))
    (*limits, value), anew = worth_of(engine, capacity, moves), engine.keep()
    slack = max(value - 2 * random(members_of(engine.counts())), 0) // _NEARLY
    engine.back(start)
    if capacity is not None:
        capacity = replace(capacity, per_cost=capacity.per_cost and fresh.direction != BY_GAIN)

    def fill(count: int) -> None:
        if capacity is None:
            run_greedy(engine, count, config, "forward", None)
        else:
            limited_greedy(engine, capacity, config.max_supersteps, moves)

    kept = take_old(engine, old, fill, k, limited=capacity is not None)
    fill(k - kept)
    if not renew(engine, fill, partial(worth_of, engine, capacity, moves), (*limits, value - slack), slack, capacity):
        log.info("renewal does not come to what greedy selects, which is taken")
        engine.back(anew)
        return replace(fresh, kept=0)
    return replace(fresh, selected=members_of(engine.counts()) - members - kept, kept=kept)


def moves_of(config: SelectConfig) -> Moves:
    """Return what parts do in greedy under limits, by the objective."""
    return COVERAGE if config.covers else PAIRWISE


def run_refine(
    stages: Stages, engine: Engine, passes: int, config: SelectConfig, capacity: Capacity | None, tell: Tell
) -> RefineResult:
    """Refine the subset by swaps; where similarity is limited, part members that are too alike without an edge.

    Those leave, and greedy goes on without, until none is found.
    """
    refined = RefineResult(0, 0, 0)
    if not config.covers:
        refined = engine.drive(partial(swap, passes=passes, capacity=capacity))
    else:
        engine.reopen()
    while capacity is not None and capacity.max_similarity is not None:
        found = stages.part_alike()
        if found is None:
            break
        left = refined.left + found.left
        refined = replace(refined, **found.model_copy(update={"left": left}).model_dump())
        if not found.left:
            break
        tell(f"{left:,} members left", 0)
        log.info("%d members are too alike to others that no edge joins them with: greedy goes on without", found.left)
        again = partial(limited_greedy, capacity=capacity, max_supersteps=config.max_supersteps, moves=moves_of(config))
        engine.drive(again)
    return refined


def swap(engine: Engine, passes: int, capacity: Capacity | None) -> RefineResult:
    """Exchange members for others, inside their groups where these are limited."""
    engine.reopen()
    if capacity is not None and capacity.groups:
        return exchange(engine, capacity, passes)
    return refine(engine, passes)


def run_certify(
    engine: Engine,
    config: SelectConfig,
    fixed_point: FixedPointReport,
    random: float,
    left: Capacity | None,
) -> CertificateResult:
    """Lower the upper bound by dual variables; under coverage find one first."""
    engine.reopen()
    units, gap = fixed_point.units(random), config.certify_gap
    if config.covers:
        assert left is not None
        return cover_bound(engine, left, fixed_point.tie_bits, config.certify, gap=gap, random=units)
    return certify(engine, config.certify, fixed_point.tie_bits, gap=gap, random=units, left=left)


def ranked_under_limits(
    stages: Stages,
    engine: Engine,
    config: SelectConfig,
    capacity: Capacity,
    fixed_point: FixedPointReport,
    refined: RefineResult,
    *,
    restart: bool,
) -> tuple[LimitsReport, Room]:
    """Bring the subset into the order in which greedy takes them; return what limits made of it, and what is left."""
    spent, totals = engine.drive(partial(order_and_measure, config=config, capacity=capacity, restart=restart))
    room = Room.of(capacity, spent, totals)
    stages.keep_room(room)
    return limits_report(capacity, spent, totals, stages.tables, fixed_point, refined), room


def order_and_measure(
    engine: Engine, config: SelectConfig, capacity: Capacity, *, restart: bool
) -> tuple[dict[str, Any], dict[str, int]]:
    """Bring the subset into the order in which greedy takes them; return what it spends by groups, and in all."""
    order_limited(engine, capacity, config.max_supersteps, moves_of(config), restart=restart)
    spent = spent_by_groups(engine, capacity)
    ranks_as_keys(engine, capacity)
    return spent


def members_of(counts: Counts) -> int:
    """Return how many points are members."""
    return counts.accepted + counts.selected + counts.included


def certificate_of(
    scores: ObjectiveReport,
    bounds: BoundingResult,
    certified: CertificateResult,
    most: int,
    rounded: int,
    fixed_point: FixedPointReport,
    lift: float,
    *,
    sized: bool,
) -> CertificateReport:
    """Return the least upper bound that is proved, in the units of f, with what rounding to fixed point may hide.

    ``most`` points may be in a subset, f has ``rounded`` terms beside their utilities; ``lift`` is what f has beyond
    what counts utilities from their origin. Where all subsets are ``sized`` alike that is the same for all of them.
    """
    found = min(bound for bound in (bounds.upper_bound, certified.bound) if bound is not None)
    hidden = fixed_point.value(most + rounded) / 2
    upper = fixed_point.value(found) + hidden
    total, random = scores.total - lift, scores.random - lift
    span, share = upper - random, None
    if max(upper - total, abs(span)) <= 4 * hidden:  # as where all points are selected: no subset is another
        share = 1.0
    elif span > 0:
        share = min(1.0, (total - random) / span)
    told = upper + lift if sized else upper
    return CertificateReport(upper_bound=told, gap=upper - total, share=share, iterations=certified.iterations)
