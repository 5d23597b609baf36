"""Options shared by commands: each is a field of `SelectConfig`, so the command line and the library agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from subsel.config import SelectConfig

_F = TypeVar("_F", bound=Callable[..., Any])


def _default(field: str) -> str:
    return str(SelectConfig.model_fields[field].default)


def _group(*options: Callable[[Any], Any]) -> Callable[[_F], _F]:
    def add(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def _choice(flag: str, values: list[str], field: str, text: str) -> Callable[[Any], Any]:
    return click.option(flag, type=click.Choice(values), help=f"{text}  [default: {_default(field)}]")


config_options = _group(
    click.option(
        "--config",
        type=click.Path(dir_okay=False),
        help="TOML file of options; those given here override it.",
    ),
    click.option("--seed", type=int, help=f"Seeds everything random.  [default: {_default('seed')}]"),
    _choice(
        "--on-bad-rows",
        ["error", "drop"],
        "on_bad_rows",
        "What bad rows get: an error, or dropped and counted.",
    ),
    click.option("--id-column", help=f"Column of unique ids, integers or strings.  [default: {_default('id_column')}]"),
)

objective_options = _group(
    click.option("--alpha", type=float, help=f"Weight of utility.  [default: {_default('alpha')}]"),
    click.option("--beta", type=float, help="Weight of similarity.  [default: 1 - alpha]"),
    click.option("--utility", help="Utility column.  [default: 'utility' if there is one, else 1.0 everywhere]"),
    click.option("--probabilities", help="Column of class probabilities to compute the utility from."),
    _choice(
        "--utility-from",
        ["margin", "entropy", "least_confidence"],
        "utility_from",
        "How utility follows from probabilities.",
    ),
)

neighbor_options = _group(
    click.option("--embedding-column", help=f"Column of lists of floats.  [default: {_default('embedding_column')}]"),
    _choice("--metric", ["cosine", "inner_product", "l2"], "metric", "Similarity of two embeddings."),
    click.option("--neighbors", type=int, help=f"Neighbours per point.  [default: {_default('neighbors')}]"),
    click.option(
        "--probes",
        type=int,
        help=f"Cells searched per point at most: more is slower and finds more.  [default: {_default('probes')}]",
    ),
    click.option(
        "--descent-passes",
        type=int,
        help=f"Passes of neighbour-of-neighbour refinement.  [default: {_default('descent_passes')}]",
    ),
    click.option(
        "--recall-sample",
        type=int,
        help=f"Points to estimate recall with, 0 for none.  [default: {_default('recall_sample')}]",
    ),
)

method_options = _group(
    _choice("--bounding", ["exact", "approximate", "off"], "bounding", "Decide points by bounds first."),
    _choice("--bounding-rank", ["tight", "paper"], "bounding_rank", "Rank that accepting compares with."),
    _choice("--sampling", ["uniform", "weighted"], "sampling", "How approximate bounding draws neighbours."),
    click.option(
        "--sample-share",
        type=float,
        help=f"Share of neighbours that count in approximate bounding.  [default: {_default('sample_share')}]",
    ),
    _choice("--greedy", ["exact", "partitioned"], "greedy", "Centralised greedy, or the paper's Algorithm 6."),
    click.option("--partitions", type=int, help="Partitions of partitioned greedy."),
    click.option("--rounds", type=int, help=f"Rounds of partitioned greedy.  [default: {_default('rounds')}]"),
    click.option(
        "--adaptive/--fixed-partitions",
        default=None,
        help="Keep partitions' size over the rounds, or their number.  [default: adaptive]",
    ),
    _choice(
        "--greedy-direction",
        ["auto", "forward", "reverse", "best"],
        "greedy_direction",
        "Add the best points, or remove the least missed.",
    ),
    click.option(
        "--refine", type=int, help=f"Passes of swap refinement at most, 0 for none.  [default: {_default('refine')}]"
    ),
    click.option(
        "--certify", type=int, help="Iterations that lower the upper bound on the best objective.  [default: 0]"
    ),
    click.option("--certify-gap", type=float, help="Stop certifying at this gap, such as 0.05.  [default: 0]"),
    click.option("--gamma", type=float, help=f"Factor of the rounds' targets.  [default: {_default('gamma')}]"),
)

engine_options = _group(
    click.option(
        "--engine",
        type=click.Choice(["auto", "local", "spark"]),
        default="auto",
        show_default=True,
        help="Where it runs: auto is local if memory is enough, else spark.",
    ),
    click.option("--master", help="Spark master of a session of its own, such as local[4].  [default: local[*]]"),
    click.option("--run-dir", type=click.Path(), help="Keep finished stages there (Spark), to --resume from."),
    click.option("--resume", is_flag=True, help="Go on from what --run-dir has; another config or input is refused."),
)

part_points_option = click.option(
    "--part-points", type=int, help="Points per part on Spark.  [default: 24 to 48 MiB of vectors]"
)

part_options = _group(
    part_points_option,
    click.option(
        "--max-supersteps",
        type=int,
        help=f"Supersteps of greedy on Spark before gains are rounded.  [default: {_default('max_supersteps')}]",
    ),
    click.option(
        "--finish-points",
        type=int,
        help=f"Undecided points that one task may finish on Spark.  [default: {_default('finish_points')}]",
    ),
)

score_options = _group(
    click.option("--reference", help="What counts as 100: a number, or a subset to score (centralised greedy's)."),
    click.option("--worst", help="What counts as 0: a number, or a subset to score."),
)

wish_options = _group(
    click.option("--include", help="Ids that are in whatever their gain: Parquet, such as an old subset; or a column."),
    click.option("--exclude", help="Ids that are not: Parquet, or a boolean column of INPUT."),
)

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the output if subsel wrote it.")
