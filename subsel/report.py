"""What a run did, as data: the manifest's content and what the closing table shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from subsel.config import SelectConfig
from subsel.fixedpoint import FixedPoint
from subsel.storage import FORMAT


class Section(BaseModel):
    """What is told of one thing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputReport(Section):
    """What was read: good rows are points, of which copies were merged into others of equal vectors.

    ``cost`` is what all points cost, None where nothing does.
    """

    name: str
    points: int
    id_type: str
    utility: str
    dropped_rows: dict[str, int]
    cost: int | None = None
    copies: int = 0

    @property
    def distinct(self) -> int:
        """Points that are left once copies are merged."""
        return self.points - self.copies


class GraphReport(Section):
    """The neighbour graph; all from ``neighbors`` on is None for a graph of the user's.

    ``probes`` and ``passes`` are the most that the search took in any part, ``recall`` is None if it was not estimated.
    ``target`` is the recall that was asked for, None where probes were given instead. ``alone`` points of a graph of
    the user's have no neighbours. ``drawn`` points were searched, where fewer than all, in ``searched_parts``, where
    those were joined into ``parts``. With a target ``target_points`` are covered, along ``target_edges`` to the nearest
    ``target_neighbors`` of each; then points have no other edges where nothing needs them.
    """

    source: str
    edges: int
    mean_degree: float
    max_degree: int
    alone: int = 0
    dropped_edges: dict[str, int] = Field(default_factory=dict)
    parts: int = 1
    searched_parts: int | None = None
    neighbors: int | None = None
    dimension: int | None = None
    cells: int | None = None
    probes: int | None = None
    passes: int | None = None
    recall: float | None = None
    target: float | None = None
    drawn: int | None = None
    target_points: int | None = None
    target_edges: int | None = None
    target_neighbors: int | None = None

    @property
    def has_alone(self) -> bool:
        """Whether points that are selected from have no neighbours: they need none where a target is covered."""
        return self.alone > 0 and self.target_points is None

    @property
    def falls_short(self) -> bool:
        """Whether the graph has less recall than was asked for."""
        return self.recall is not None and self.target is not None and self.recall < self.target


class WeightsReport(Section):
    """What the objective weighs, see `subsel.weighing`.

    ``diversity`` and the ``spread`` of utilities are None where α and β were given; ``ratio`` is β/α where both follow
    from that. ``density_neighbors`` are those that a point's density goes by, None where it was not needed.
    ``outliers`` points were left out as the sparsest. ``warning`` is what to say of such a utility at such a size.
    """

    utility: str
    alpha: float
    beta: float
    diversity: float | None = None
    ratio: float | None = None
    spread: float | None = None
    mean_similarity: float = 0.0
    density_neighbors: int | None = None
    outliers: int = 0
    warning: str | None = None


class FixedPointReport(Section):
    """The scale of the exact arithmetic: gains are multiples of unit·2^-fraction_bits.

    ``origin`` was subtracted from all utilities.
    """

    fraction_bits: int
    tie_bits: int
    unit: float = 1.0
    origin: float = 0.0

    @classmethod
    def of(cls, scale: FixedPoint) -> FixedPointReport:
        """Return what is told of a scale."""
        return cls(fraction_bits=scale.fraction_bits, tie_bits=scale.tie_bits, unit=scale.unit, origin=scale.origin)

    def value(self, units: float) -> float:
        """Return what so many units are in f."""
        return self.unit * math.ldexp(units, -self.fraction_bits)

    def units(self, value: float) -> int:
        """Return an amount in fixed point."""
        return round(math.ldexp(value / self.unit, self.fraction_bits))


class ConstraintsReport(Section):
    """How many points are in the subset, and out of it, by the user's wish; and out of it as outliers.

    ``near`` more are out of it as they are near to what was given as ``exclude_near``.
    """

    included: int = 0
    excluded: int = 0
    outliers: int = 0
    near: int = 0


class BoundingReport(Section):
    """What bounding decided."""

    method: str
    accepted: int
    discarded: int
    rounds: int
    grow_rounds: int = 0
    shrink_rounds: int = 0


class GreedyReport(Section):
    """What greedy selected; supersteps are rounds where it is partitioned.

    ``rounded_after`` and ``ranks_rounded_after`` are the supersteps after which gains were rounded, in selecting and in
    ranking what was selected; None: never. ``kept`` points were there before, of the subset that it went on from
    (``warm_start``); ``anew_seconds`` of those of the stage were for greedy without it, with which it is compared.
    """

    method: str
    selected: int
    supersteps: int
    rounded_after: int | None = None
    ranks_rounded_after: int | None = None
    direction: str = "forward"
    kept: int | None = None
    anew_seconds: float | None = None


class RefineReport(Section):
    """What swap refinement did: passes, pairs exchanged, and how much the objective rose by them."""

    passes: int
    exchanged: int
    gained: float


class ObjectiveReport(Section):
    """f of the subset and its terms; the expectation over random k-subsets; f of the k of largest utility.

    ``top_utility`` is None where how many points a subset has was known only in the end, and where utility counts
    nothing. ``covered`` is Σ importance · similarity to the nearest member, under coverage: then f is that and utility.
    ``idle``: members that add nothing, as all that they are similar to is covered by others; counted under coverage.
    """

    total: float
    utility: float
    similarity: float
    random: float
    top_utility: float | None
    covered: float | None = None
    idle: int = 0


class Estimate(Section):
    """A mean over a sample and its standard error, which is 0 where all were sampled, None where it is not known."""

    mean: float
    error: float | None


class CoverageReport(Section):
    """How well the subset covers all points, and how redundant it is, see `subsel.coverage`.

    ``subset`` and ``random``: mean over ``sample`` sampled points of the largest similarity to a member of the subset,
    and of a random subset of as many points; exact search among all members. ``redundancy`` and ``random_redundancy``:
    mean over as many sampled members, or all, of the largest similarity to another member; None of one point. All four
    are None where ``sample`` is 0: it was turned off, or there are no embeddings. ``graph``: mean over all points of
    the largest similarity of an edge to a member, 0 without one; members have their similarity to themselves, on a
    graph of inner products or of the user's its largest. ``random_graph``: its expectation over random subsets. With a
    target both are means over its points, and nothing else is measured.
    ``sparsest``: share of members among the tenth of points that are least dense; None where densities were not needed.
    """

    sample: int
    subset: Estimate | None = None
    random: Estimate | None = None
    redundancy: Estimate | None = None
    random_redundancy: Estimate | None = None
    graph: float
    random_graph: float
    sparsest: float | None = None


class TotalReport(Section):
    """A limit of the whole subset: what was asked for, and what the subset takes of it; ``unit``: points or cost."""

    name: str
    unit: str
    asked: int
    spent: int

    @property
    def left(self) -> int:
        """What is not spent."""
        return self.asked - self.spent


class GroupReport(Section):
    """A group: its points, how many it may and must have, and what the subset has of it.

    ``most`` is None where it has no quota, in cost where ``by_cost``; ``gain`` is the mean of what its members gained.
    """

    name: str
    points: int
    most: int | None
    least: int
    selected: int
    cost: int | None
    gain: float


class ColumnReport(Section):
    """The groups of a column: those of most members, and all others summed up."""

    column: str
    by_cost: bool
    count: int
    full: int
    groups: list[GroupReport]
    others: GroupReport | None


class AlikeReport(Section):
    """What comparing the vectors of members found: so many were ``compared``, all pairs where that is ``exact``.

    ``left`` were too alike to another though no edge joined them, and made room for others. ``together`` included
    ones are too alike to each other, and stay. Where a search found the pairs, it finds none any more; then all pairs
    of a ``sample`` of members with all members were compared, of which ``pairs`` are too alike.
    """

    compared: int
    left: int
    together: int = 0
    exact: bool = True
    sample: int = 0
    pairs: int = 0


#: Combinations of groups, one of each column, among which members are exchanged for outsiders.
MOST_CELLS = 2**20


def may_swap(*, budgeted: bool, by_cost: Sequence[bool], groups: Sequence[int]) -> bool:
    """Return whether members may be exchanged for outsiders: where no cost counts, and cells are not too many.

    Args:
        budgeted: whether there is a budget.
        by_cost: of each column of groups whether its quotas are of cost.
        groups: how many each column has.
    """
    return not budgeted and not any(by_cost) and math.prod(groups) <= MOST_CELLS


class LimitsReport(Section):
    """What limits asked for, and how far they went.

    ``order`` is what points were taken by; ``origin`` what was subtracted from all utilities, so that a budget does not
    depend on it. ``binding`` names the limits that ended the selection. ``short`` points of ``size`` could not be
    selected. ``alike`` is None where members' vectors were not compared: then similarity is limited along edges only.
    """

    order: str
    fill: bool
    origin: float
    totals: list[TotalReport]
    columns: list[ColumnReport]
    max_similarity: float | None
    alike: AlikeReport | None = None
    binding: list[str]
    short: int = 0

    @property
    def swaps(self) -> bool:
        """Whether members may be exchanged for outsiders, see `may_swap`."""
        columns = self.columns
        return may_swap(
            budgeted=self.budgeted, by_cost=[one.by_cost for one in columns], groups=[one.count for one in columns]
        )

    @property
    def budgeted(self) -> bool:
        """Whether there is a budget."""
        return any(one.name == "budget" for one in self.totals)


class CertificateReport(Section):
    """What is proved about the best possible f of subsets that keep wishes and limits: it is at most ``upper_bound``.

    ``gap`` is upper_bound - f; ``share`` (f - random) / (upper_bound - random), at most the true share of what could be
    gained over a random subset; 1 where nothing can be gained, as of all points; None where the wishes leave less than
    a random subset has. Without iterations the bound is what bounding alone proves. With a budget all f here count
    utilities as it does, from `LimitsReport.origin`.
    """

    upper_bound: float
    gap: float
    share: float | None
    iterations: int


class Report(Section):
    """One selection. Serialised it is the manifest; ``files`` are the folder's data files and their sizes.

    ``peaks``: the most memory that this process, on Spark the driver, had held at the end of each stage, in bytes.
    ``warnings`` is what was logged as such.

    ``audit`` says how many points have each reason (`subsel.audit`); None where it was not asked for.
    """

    format: int = FORMAT
    subsel: str
    run_id: str
    finished: datetime = Field(default_factory=lambda: datetime.now(UTC))
    engine: str
    config: SelectConfig
    k: int
    input: InputReport
    graph: GraphReport
    weights: WeightsReport
    fixed_point: FixedPointReport
    constraints: ConstraintsReport = ConstraintsReport()
    bounding: BoundingReport
    greedy: GreedyReport
    refine: RefineReport
    objective: ObjectiveReport
    certificate: CertificateReport
    limits: LimitsReport | None = None
    coverage: CoverageReport | None = None
    audit: dict[str, int] | None = None
    seconds: dict[str, float]
    peaks: dict[str, int] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    files: dict[str, int] = Field(default_factory=dict)

    @property
    def asked(self) -> int:
        """How many points were asked for; those selected where nobody said."""
        totals = [] if self.limits is None else [one.asked for one in self.limits.totals if one.name == "size"]
        return totals[0] if totals else self.k
