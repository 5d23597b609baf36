"""Options that say how a subset is computed, a part of `subsel.config.SelectConfig`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from subsel.declare import declare

#: Points that are finished in one task where a graph is in parts.
FINISH_POINTS = 400_000


class MethodOptions(BaseModel):
    """Bounding, greedy, refinement and certificate; the seed; and how Spark divides the work."""

    bounding: Literal["exact", "approximate", "off"] = declare(
        "exact",
        "Decide points by bounds first: only as every optimum would, or more by sampled bounds, or not at all.",
        stage="bounding",
        group="Method",
    )
    bounding_rank: Literal["tight", "paper"] = declare(
        "tight",
        "Which U_max a point's U_min must exceed to be accepted: the (k+1)-th largest, or the paper's k-th, weaker.",
        stage="bounding",
        group="Paper",
    )
    sampling: Literal["uniform", "weighted"] = declare(
        "uniform",
        "How approximate bounding draws the neighbours that count: all alike, or by similarity.",
        stage="bounding",
        group="Paper",
    )
    sample_share: float = declare(
        0.3,
        "Share of undecided neighbours that count in approximate bounding.",
        stage="bounding",
        group="Paper",
        gt=0,
        le=1,
    )
    greedy: Literal["exact", "partitioned"] = declare(
        "exact",
        "Centralised greedy's subset, or that of the paper's Algorithm 6.",
        stage="greedy",
        group="Paper",
    )
    greedy_direction: Literal["auto", "forward", "reverse", "best"] = declare(
        "auto",
        "Add the best point k times, or remove the least missed until k are left; auto goes by k/n, best takes the "
        "better of both. Partitioned greedy is forward.",
        stage="greedy",
        group="Method",
    )
    partitions: int | None = declare(
        None,
        "Partitions of partitioned greedy's first round.",
        stage="greedy",
        group="Paper",
        example=16,
        ge=1,
        le=1_000_000,
    )
    rounds: int = declare(8, "Rounds of partitioned greedy.", stage="greedy", group="Paper", ge=1, le=1_000)
    adaptive: bool = declare(
        True,
        "Whether partitions of partitioned greedy keep their size over the rounds, or their number.",
        stage="greedy",
        group="Paper",
        flag="--adaptive/--fixed-partitions",
    )
    gamma: float = declare(
        0.75,
        "How much of the way from n to k partitioned greedy leaves for later rounds.",
        stage="greedy",
        group="Paper",
        gt=0,
        le=1,
    )
    refine: int = declare(
        8,
        "Passes of swap refinement after greedy, which end sooner if nothing is gained; 0: none.",
        stage="refine",
        group="Method",
        ge=0,
        le=1_000,
    )
    certify: int = declare(
        0,
        "Iterations that lower the upper bound on the best possible f; 0: only what bounding proves for free.",
        stage="certify",
        group="Method",
        ge=0,
        le=100_000,
    )
    certify_gap: float = declare(
        0.0,
        "Stop certifying once so much of what could be gained over a random subset, or less, is left open.",
        stage="certify",
        group="Method",
        ge=0,
        lt=1,
    )

    seed: int = declare(
        0,
        "Seeds k-means, samples and the order among equal gains: same seed, same subset.",
        stage="graph",
        group="Running",
        ge=0,
        lt=2**63,
    )

    part_points: int | None = declare(
        None,
        "Points per part on Spark.",
        stage="graph",
        group="Spark",
        otherwise="24 MiB of vectors or 32,768 points in up to 48 MiB; 10,000 to 200,000",
        example=100_000,
        ge=10,
        le=100_000_000,
    )
    # The next two change how greedy is computed, not what it picks, until gains are rounded; then they do.
    finish_points: int | None = declare(
        None,
        "So many points are decided in one task on Spark: all, if there are no more, else the last ones; 0: none.",
        stage="greedy",
        group="Spark",
        otherwise=f"all that fit into a task's memory, else the last {FINISH_POINTS:,}",
        example=FINISH_POINTS,
        ge=0,
        le=100_000_000,
    )
    max_supersteps: int = declare(
        50,
        "Supersteps of greedy on Spark before gains are rounded to end sooner, which the report then says.",
        stage="greedy",
        group="Spark",
        ge=1,
        le=1_000_000,
    )
    log_level: Literal["off", "error", "warn", "info", "debug"] = declare(
        "error",
        "What a Spark session of our own logs, and that of a job; a session that is given keeps its own.",
        stage="output",
        group="Spark",
    )
