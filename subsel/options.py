"""Options of `subsel.SelectConfig` as typed keywords: ``python -m subsel.keywords`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy.typing as npt


class Options(TypedDict, total=False):
    """Options of `subsel.select` and its like, beside those that these name themselves; None is not given."""

    bounding: Literal["exact", "approximate", "off"] | None
    """Decide points by bounds first: only as every optimum would, or more by sampled bounds, or not at all."""

    bounding_rank: Literal["tight", "paper"] | None
    """Which U_max a point's U_min must exceed to be accepted: the (k+1)-th largest, or the paper's k-th,
    weaker."""

    sampling: Literal["uniform", "weighted"] | None
    """How approximate bounding draws the neighbours that count: all alike, or by similarity."""

    sample_share: float | None
    """Share of undecided neighbours that count in approximate bounding."""

    greedy: Literal["exact", "partitioned"] | None
    """Centralised greedy's subset, or that of the paper's Algorithm 6."""

    greedy_direction: Literal["auto", "forward", "reverse", "best"] | None
    """Add the best point k times, or remove the least missed until k are left; auto goes by k/n, best takes the
    better of both. Partitioned greedy is forward."""

    partitions: int | None
    """Partitions of partitioned greedy's first round."""

    rounds: int | None
    """Rounds of partitioned greedy."""

    adaptive: bool | None
    """Whether partitions of partitioned greedy keep their size over the rounds, or their number."""

    gamma: float | None
    """How much of the way from n to k partitioned greedy leaves for later rounds."""

    refine: int | None
    """Passes of swap refinement after greedy, which end sooner if nothing is gained; 0: none."""

    certify: int | None
    """Iterations that lower the upper bound on the best possible f; 0: only what bounding proves for free."""

    certify_gap: float | None
    """Stop certifying once so much of what could be gained over a random subset, or less, is left open."""

    seed: int | None
    """Seeds k-means, samples and the order among equal gains: same seed, same subset."""

    part_points: int | None
    """Points per part on Spark."""

    finish_points: int | None
    """So many points are decided in one task on Spark: all, if there are no more, else the last ones; 0: none."""

    max_supersteps: int | None
    """Supersteps of greedy on Spark before gains are rounded to end sooner, which the report then says."""

    log_level: Literal["off", "error", "warn", "info", "debug"] | None
    """What a Spark session of our own logs, and that of a job; a session that is given keeps its own."""

    budget: int | float | str | None
    """What the subset may cost: an amount such as 1_000_000 or 1B, a fraction or percentage of all costs. Needs a
    cost; size may be left out."""

    cost: str | npt.ArrayLike | None
    """Column of what points cost, integers of at least 0, such as tokens; for a budget, or quotas by cost."""

    order: Literal["ratio", "gain", "best"] | None
    """Who goes first where there is a budget: most gain per cost, or most gain; best takes the better of both."""

    fill: bool | None
    """Whether a budget is spent also on points that lower the objective."""

    groups: str | Sequence[str] | npt.ArrayLike | Mapping[str, npt.ArrayLike] | None
    """Columns whose values are groups, such as source or language; for quotas, or minima. Null is a group,
    too."""

    quotas: Mapping[str, Any] | str | None
    """At most so much of each group: amounts, fractions or percentages by name; or proportional, sqrt or
    balanced, which divide the whole by rows, their square roots, or evenly; or a table with columns group and
    quota. With several columns of groups, one of these for each."""

    other: int | float | str | None
    """Quota of each group that quotas do not name."""

    quotas_by: Literal["points", "cost"] | None
    """What quotas count: points, or what these cost."""

    at_least: Mapping[str, Any] | str | None
    """At least so many points of each group, written like quotas; with a size, and one column of groups."""

    max_similarity: float | None
    """No two selected points are more alike than this: any number, as similarities of the metric are."""

    near: float | None
    """Points that are more similar than this to any row of exclude_near are left out."""

    copies: Literal["merge", "keep"] | None
    """Whether points of equal vectors count as one, of which the best stays, or are kept as they are."""

    objective: Literal["pairwise", "coverage"] | None
    """What makes a subset good: pairwise, utilities less similarities inside it; or coverage, how similar each
    point is to its nearest member."""

    utility_weight: float | None
    """Under coverage: what utility counts, beside the similarity of each point to its nearest member."""

    importance: str | npt.ArrayLike | None
    """Under coverage: column of how much it counts that each point is covered, from 0 up; of the target's points,
    where there is one."""

    keep_columns: str | Sequence[str] | None
    """Columns of the input that the subset carries along."""

    report: bool | None
    """Write a page that shows the subset, _report.html, and its numbers, _report.json, into its folder."""

    examples: bool | None
    """Show ten points that were selected and ten that were not on that page, with texts of the columns kept."""

    diversity: float | None
    """What similar points cost, from 0 up to 1: at 0.5 a selected neighbour costs the whole spread of
    utilities."""

    alpha: float | None
    """Weight of utility: f(S) = alpha * sum of utilities - beta * sum of similarities inside S."""

    beta: float | None
    """Weight of similarity."""

    probabilities: str | None
    """Column of class probabilities, which easy, margin, entropy and least_confidence read."""

    exclude_outliers: float | str | None
    """Share of points to leave out: those least similar to their nearest neighbours."""

    id_column: str | None
    """Column of unique ids: integers, strings, UUIDs or bytes; empty: rows are numbered."""

    embedding_column: str | None
    """Column of embeddings, lists of floats."""

    on_bad_rows: Literal["error", "drop"] | None
    """What bad rows and edges get: an error, or dropped and counted."""

    metric: Literal["cosine", "inner_product", "l2"] | None
    """Similarity of two embeddings; cosine refuses zero vectors."""

    neighbors: int | Literal["auto"] | None
    """Neighbours per point before the graph is symmetrised; auto: twice as many as a selected point stands for,
    from 10 to 100, by the smallest size; 20 where points are drawn first (thin)."""

    thin: int | None
    """Draw so many times as many points as will be selected at random first, and search among these only."""

    recall: float | None
    """Share of exact neighbours to find: the search tries harder until a sample has it, or says that it did
    not."""

    probes: int | None
    """Cells searched per point at most, whatever recall comes of it."""

    descent_passes: int | None
    """Passes over neighbours of neighbours after the cell search."""

    recall_sample: int | None
    """Points whose exact neighbours are computed to estimate recall; 0: no estimate, and 8 probes if not
    given."""

    coverage_sample: int | None
    """Points and members that are compared with all members, to report coverage and redundancy; 0: none."""
