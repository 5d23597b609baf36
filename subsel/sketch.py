"""What a report's page draws beside the report's numbers: histograms, a curve, a map of points, a few examples.

It is made once, where graph and points are at hand (`subsel.sketching`), and is small whatever n and k are.
"""

from __future__ import annotations

from pydantic import Field

from subsel.report import Section

#: Raised whenever `_report.json` changes its meaning.
FORMAT = 1
#: Bins of a histogram, points of the curve of gains, and examples of either kind.
BINS, RANKS, EXAMPLES = 40, 200, 10
#: Points of the map: so many of all, and so many of the members.
MAP_POINTS, MAP_MEMBERS = 2_000, 500
#: Letters of a text that an example shows.
LETTERS = 300


class Histogram(Section):
    """How many values are in bins of equal width, by whose they are; ``edges``: one more than there are bins.

    ``without`` says how many have no such value.
    """

    edges: list[float]
    counts: dict[str, list[int]]
    without: dict[str, int] = Field(default_factory=dict)


class Gains(Section):
    """What members at some ranks, from 0 to the last, gained."""

    ranks: list[int]
    gains: list[float]


class PointMap(Section):
    """Sampled points, and more members, along the two directions in which the sampled points differ most.

    ``x``, ``y``, ``member``: of each, the ``sample`` points first. ``share`` of the sample's variance is along each.
    """

    x: list[float]
    y: list[float]
    member: list[bool]
    sample: int
    share: tuple[float, float]


class Example(Section):
    """A point: why it is in the subset or is not (`subsel.audit`), and its texts by column.

    ``nearest`` is the member that it is most similar to, among its neighbours.
    """

    id: str
    reason: str
    limit: str | None = None
    rank: int | None = None
    gain: float | None = None
    nearest: str | None = None
    similarity: float | None = None
    texts: dict[str, str | None] = Field(default_factory=dict)


class Examples(Section):
    """Members from the first rank to the last, and others, drawn by a hash of their ids."""

    selected: list[Example]
    rejected: list[Example]


class Sketch(Section):
    """See the module.

    Attributes:
        run_id: of the run that it is of.
        call: what was asked for beside the options: places as they were spelled; of data in memory its type.
        gains: of members by rank.
        utility: of ``all`` points of the graph, and of the ``selected``.
        nearest: similarity along edges: ``before`` of each point to its most similar neighbour, ``others`` of those
            who are not selected to the most similar member, ``selected`` of members to the most similar other one.
        reasons: points with each reason.
        map: of points; None where their vectors were not compared with members, or there are none.
        examples: None where they were turned off.
    """

    run_id: str
    call: dict[str, str | None] = Field(default_factory=dict)
    gains: Gains
    utility: Histogram
    nearest: Histogram
    reasons: dict[str, int]
    map: PointMap | None = None
    examples: Examples | None = None
