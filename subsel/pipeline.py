"""The pipeline on one screen: read, neighbours, utility, bounding, greedy, score, write; the same on every engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from subsel.audit import Room
from subsel.config import SelectConfig
from subsel.covering.greedy import COVERAGE
from subsel.drivers import (
    WARM_PASSES,
    beside_included,
    certificate_of,
    limits_of,
    members_of,
    ranked_under_limits,
    run_bounding,
    run_certify,
    run_greedy,
    run_refine,
    warm_greedy,
)
from subsel.errors import ConfigError, in_library, option
from subsel.greedy.exact import order_subset
from subsel.greedy.limited import (
    BY_GAIN,
    order_limited,
)
from subsel.greedy.reverse import resolve_direction
from subsel.input.wishes import Constraints
from subsel.limits.capacity import Capacity
from subsel.limits.summary import warnings_of
from subsel.pages.page import check_templates, files_of
from subsel.report import (
    BoundingReport,
    ConstraintsReport,
    FixedPointReport,
    GraphReport,
    GreedyReport,
    InputReport,
    RefineReport,
    Report,
    WeightsReport,
)
from subsel.results import BoundingResult, CertificateResult, GreedyResult, RefineResult
from subsel.run import Run
from subsel.stages.base import Stages, known_count, note_graph
from subsel.storage import Place
from subsel.told import idle_members
from subsel.version import __version__

log = logging.getLogger(__name__)


def run_pipeline(
    stages: Stages,
    sizes: Sequence[tuple[SelectConfig, Place | None, Place | None]],
    run: Run,
    *,
    overwrite: bool,
) -> list[Report]:
    """Select subsets and write them: one graph, then for each size all that comes after it.

    Args:
        stages: of an engine.
        sizes: a config, of which only the size may differ, an output, and where its audit goes, for each.
        run: times the stages and shows them.
        overwrite: whether outputs that subsel wrote are replaced.

    Raises:
        InputError: the input or the request is wrong; nothing was written.
        OutputError: a subset could not be written; nothing of it was left behind.
    """
    with run.listening():
        return _run(stages, sizes, run, overwrite=overwrite)


def _run(
    stages: Stages, sizes: Sequence[tuple[SelectConfig, Place | None, Place | None]], run: Run, *, overwrite: bool
) -> list[Report]:
    if any(has_page(stages, config, output) for config, output, _ in sizes):
        check_templates()
    with run.stage("read") as tell:
        points = stages.read(tell)
        expected = [known_count(one, points.points, points.name, points.cost) for one, *_ in sizes]
        counts = [k for k in expected if k is not None]
        assert len(counts) == len(sizes), "a request says how much to select"
        sized = sizes[0][0].size is not None
        stages.check_wishes(counts if sized else ())
        points = stages.merge(tell, counts if sized else ())
        stages.leave_near(tell, counts if sized else ())
        counts = [min(k, points.distinct) for k in counts]
        check_drawn(sizes[0][0].drawn(points.distinct, min(counts)), max(counts))
    with run.stage("neighbors") as tell:
        graph = stages.neighbors(tell, min(counts))
        check_drawn(graph.drawn, max(counts))
        note_graph(graph)
    with run.stage("utility") as tell:
        weights = stages.weigh(tell, min(counts), max(counts) if sized else 1)
        if weights.warning is not None:
            log.warning("%s", weights.warning)
    reports, heard = [], len(run.warnings)
    for (config, *places), k in zip(sizes, counts, strict=True):
        del run.warnings[heard:]  # those of another size
        about = points, graph, weights, k, counts, places
        reports.append(_select(stages, config, run, *about, overwrite=overwrite))
    return reports


def has_page(stages: Stages, config: SelectConfig, output: Place | None) -> bool:
    """Return whether a selection gets a page: where it is asked for, and has a place."""
    return config.report and stages.has_pages(output)


def check_drawn(drawn: int | None, k: int) -> None:
    """Say that fewer points are drawn than the most that will be selected.

    Raises:
        ConfigError: see above.
    """
    if drawn is not None and drawn < k:
        raise ConfigError(
            f"{drawn:,} points are drawn ({option('thin')} times the smallest size), fewer than the {k:,} to select: "
            f"raise {option('thin')}, or leave it out."
        )


def _select(
    stages: Stages,
    config: SelectConfig,
    run: Run,
    points: InputReport,
    graph: GraphReport,
    weights: WeightsReport,
    k: int,
    counts: Sequence[int],
    places: Sequence[Place | None],
    *,
    overwrite: bool,
) -> Report:
    """Select k points, and write them and their audit to ``places``; ``counts`` are all sizes of the run."""
    with run.stage("engine"):
        engine, fixed_point = stages.engine(k)
        wishes = stages.constrain(counts if config.size is not None else ())
        capacity = limits_of(stages, engine, config, points, wishes, k) if config.limited else None
        left = None if capacity is None else beside_included(engine, capacity, wishes)
    n = graph.drawn or points.distinct
    bounds, picked = _decide(stages, config, run, fixed_point, weights, n, k, wishes, capacity, left)
    if capacity is not None:
        k = wishes.included + (picked.kept or 0) + picked.selected
        capacity = replace(capacity, per_cost=capacity.per_cost and picked.direction != BY_GAIN)
    swaps = not config.covers and (capacity is None or capacity.swaps)
    passes = (config.refine if picked.kept is None else max(config.refine, WARM_PASSES)) if swaps else 0
    refined = _refine(stages, config, run, capacity, passes)
    if capacity is not None:
        k = members_of(engine.counts())
    random, lift = stages.expected_random(k), _lift(fixed_point, weights, k)
    with run.stage("certify") as tell:
        tell("iterations", 0)
        certified = CertificateResult(None, 0)
        if config.certify or config.covers:
            free = Capacity(size=k - wishes.included) if left is None and config.covers else left
            certify = partial(run_certify, config=config, fixed_point=fixed_point, random=random - lift, left=free)
            certified = stages.once("certify", CertificateResult, lambda engine: engine.drive(certify))
    with run.stage("rank"):
        as_picked = (
            picked.kept is None
            and picked.selected == k
            and picked.direction == "forward"
            and picked.rounded_after is None
        )
        restart = not as_picked or passes > 0 or refined.left > 0 or config.greedy != "exact"
        restart |= certified.bound is not None and not config.covers
        limits, room, ranks_rounded_after = None, Room(), None
        most = config.max_supersteps
        if capacity is None and config.covers:
            engine.drive(
                partial(order_limited, capacity=Capacity(), restart=restart, moves=COVERAGE, max_supersteps=most)
            )
        elif capacity is None:
            ranks_rounded_after = engine.drive(partial(order_subset, k=k, restart=restart, max_supersteps=most))
        else:
            limits, room = ranked_under_limits(stages, engine, config, capacity, fixed_point, refined, restart=restart)
            for warning in warnings_of(limits):
                log.warning("%s", in_library(warning))
    output, audit = places
    paged = has_page(stages, config, output) and k > 0
    with run.stage("score"):
        scores = stages.score(k, random, room if paged else None)
        if scores.idle:
            log.warning("%s", in_library(idle_members(scores.idle, k, config.target is not None)))
    with run.stage("coverage") as tell:
        tell("sample", 0)
        coverage = stages.cover(k, mapped=paged) if k else None
    report = Report(
        subsel=__version__,
        run_id=run.id,
        engine=stages.name,
        config=config,
        k=k,
        input=points,
        graph=graph,
        weights=weights,
        fixed_point=fixed_point,
        constraints=ConstraintsReport(**asdict(wishes)),
        bounding=BoundingReport(
            method="off" if config.limited or config.covers else config.bounding,
            **_without(asdict(bounds), "upper_bound"),
        ),
        greedy=GreedyReport(method=config.greedy, **asdict(picked), ranks_rounded_after=ranks_rounded_after),
        refine=RefineReport(
            passes=refined.passes,
            exchanged=refined.exchanged,
            gained=fixed_point.value(refined.gained),
        ),
        objective=scores,
        certificate=certificate_of(
            scores,
            bounds,
            certified,
            n if config.limited else k,
            (graph.target_points or n) if config.covers else graph.edges,
            fixed_point,
            lift,
            sized=not config.limited,
        ),
        limits=limits,
        coverage=coverage,
        seconds=dict(run.seconds),
        peaks=dict(run.peaks),
        warnings=list(run.warnings),
    )
    return _write(stages, report, room, run, output, audit, paged=paged, overwrite=overwrite)


def _write(
    stages: Stages,
    report: Report,
    room: Room,
    run: Run,
    output: Place | None,
    audit: Place | None,
    *,
    paged: bool,
    overwrite: bool,
) -> Report:
    """Write the audit, if one is asked for, then the subset with its page, if it has one; ``room``: left by limits."""
    if audit is not None:
        with run.stage("audit"):
            report = stages.audit(report, room, audit, overwrite=overwrite)
    pages: dict[str, str] = {}
    if paged:
        with run.stage("report"):
            pages = files_of(report, stages.sketch(report, room))
    with run.stage("write"):
        stages.write(report, output, pages, overwrite=overwrite)
    return report.model_copy(update={"seconds": dict(run.seconds), "peaks": dict(run.peaks)})


def _decide(
    stages: Stages,
    config: SelectConfig,
    run: Run,
    fixed_point: FixedPointReport,
    weights: WeightsReport,
    n: int,
    k: int,
    wishes: Constraints,
    capacity: Capacity | None,
    left: Capacity | None,
) -> tuple[BoundingResult, GreedyResult]:
    """Select k of n points by bounding and greedy, or as many as limits allow; included points leave ``left``."""
    with run.stage("bounding") as tell:
        tell("rounds", 0)
        bounding = partial(run_bounding, k=k - wishes.included, config=config, tie_bits=fixed_point.tie_bits, left=left)
        bounds = stages.once("bounding", BoundingResult, lambda engine: engine.drive(bounding))
    with run.stage("greedy") as tell:
        tell("supersteps", 0)
        open_points = n - wishes.out - wishes.included - bounds.accepted - bounds.discarded
        needed = k - wishes.included - bounds.accepted
        limits = Capacity(size=k) if capacity is None and config.covers else capacity
        if stages.old is not None:
            random = partial(_random_units, stages, fixed_point, weights)
            greedy = partial(warm_greedy, old=stages.old(), k=needed, config=config, capacity=limits, random=random)
        else:
            direction = "forward" if config.covers else resolve_direction(config.greedy_direction, needed, open_points)
            greedy = partial(run_greedy, k=needed, config=config, direction=direction, capacity=limits)
        picked = stages.once("greedy", GreedyResult, lambda engine: engine.drive(greedy))
    return bounds, picked


def _lift(fixed_point: FixedPointReport, weights: WeightsReport, k: int) -> float:
    """Return what utilities of k points have below their origin."""
    return weights.alpha * fixed_point.origin * k


def _random_units(stages: Stages, fixed_point: FixedPointReport, weights: WeightsReport, k: int) -> int:
    """Return the expectation of f over all subsets of k points, in fixed point."""
    return fixed_point.units(stages.expected_random(k) - _lift(fixed_point, weights, k))


def _refine(stages: Stages, config: SelectConfig, run: Run, capacity: Capacity | None, passes: int) -> RefineResult:
    """Refine the subset, where there is anything to do."""
    with run.stage("refine") as tell:
        tell("passes", 0)
        if not passes and (capacity is None or capacity.max_similarity is None):
            return RefineResult(0, 0, 0)
        about = passes, config, capacity, tell
        return stages.once("refine", RefineResult, lambda engine: run_refine(stages, engine, *about))


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
