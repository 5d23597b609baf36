"""The commands behind jobs/*.py: stages in the Spark session that spark-submit made."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from subsel import api
from subsel.cli import options as opt
from subsel.cli.commands import close_report, show_errors, show_score
from subsel.cli.tables import graph_line, pairs_table
from subsel.request import Request
from subsel.run import Run
from subsel.rundir import STAGES

_size = click.option("--size", help="How many: a count, 0.1 or 10%.  [required unless in --config]")
_graph = click.option("--graph", type=click.Path(), help="Your own graph: Parquet edges src, dst, similarity.")
_keep = click.option("--keep-columns", help="Columns of INPUT to carry along, separated by commas.")


def _stage_options(function: Any) -> Any:
    """Add the options that every stage depends on, and one-line errors."""
    for add in (
        show_errors,
        opt.config_options,
        opt.part_options,
        opt.neighbor_options,
        opt.method_options,
        opt.objective_options,
    ):
        function = add(function)
    return _size(_graph(function))


def _session() -> Any:
    from subsel.engines.spark.session import submitted_session  # noqa: PLC0415  (the base install has no pyspark)

    return submitted_session()


def _split(names: str | None) -> tuple[str, ...] | None:
    return tuple(names.split(",")) if names else None


@click.command()
@click.argument("input_", metavar="INPUT")
@click.argument("output")
@click.option("--run-dir", help="Keep finished stages there, to --resume from.")
@click.option("--resume", is_flag=True, help="Go on from what --run-dir has.")
@_size
@_graph
@_keep
@opt.overwrite_option
@opt.wish_options
@opt.objective_options
@opt.method_options
@opt.neighbor_options
@opt.part_options
@opt.config_options
@show_errors
def select_subset(input_: str, output: str, keep_columns: str | None, **options: Any) -> None:
    """Select a subset of INPUT and write it to OUTPUT: the whole pipeline."""
    names = _split(keep_columns)
    selection = api.select(input_, output=output, engine=_session(), keep_columns=names, **options)
    close_report(selection.report, output)


@click.command()
@click.argument("input_", metavar="INPUT")
@click.argument("run_dir")
@_stage_options
def build_graph(input_: str, run_dir: str, graph: str | None, **options: Any) -> None:
    """Compute the neighbour graph of INPUT, by part, into RUN_DIR."""
    from subsel.stages import spark  # noqa: PLC0415

    request = Request.of("score on", input_, graph=graph, engine=_session(), run_dir=run_dir, **options)
    found = spark.build_graph(request, Run(), request.open_rundir(["graph"], resume=True))
    line = graph_line(found.edges, found.mean_degree, found.max_degree, found.source)
    Console().print(pairs_table({"graph": line, "parts": f"{found.parts:,}", "run directory": run_dir}))


@click.command()
@click.argument("input_", metavar="INPUT")
@click.argument("run_dir")
@opt.wish_options
@_stage_options
def bound_points(input_: str, run_dir: str, graph: str | None, **options: Any) -> None:
    """Accept and discard points of INPUT by bounds, from RUN_DIR's graph (made if it is not there)."""
    from subsel.stages import spark  # noqa: PLC0415

    request = Request.of("select from", input_, graph=graph, engine=_session(), run_dir=run_dir, **options)
    found = spark.bound_points(request, Run(), request.open_rundir(STAGES, resume=True))
    decided = f"accepted {found.accepted:,}, discarded {found.discarded:,} in {found.rounds} rounds"
    Console().print(pairs_table({"bounding": decided, "run directory": run_dir}))


@click.command()
@click.argument("input_", metavar="INPUT")
@click.argument("run_dir")
@click.argument("output")
@_size
@_graph
@_keep
@opt.overwrite_option
@opt.wish_options
@opt.objective_options
@opt.method_options
@opt.neighbor_options
@opt.part_options
@opt.config_options
@show_errors
def greedy_subset(input_: str, run_dir: str, output: str, keep_columns: str | None, **options: Any) -> None:
    """Select from what RUN_DIR's bounding left, and write the subset to OUTPUT."""
    names = _split(keep_columns)
    selection = api.select(
        input_, output=output, run_dir=run_dir, resume=True, engine=_session(), keep_columns=names, **options
    )
    close_report(selection.report, output)


@click.command()
@click.argument("subset")
@click.argument("input_", metavar="INPUT")
@click.option("--run-dir", help="A run directory that has INPUT's graph.")
@_graph
@opt.score_options
@opt.objective_options
@opt.neighbor_options
@opt.part_points_option
@opt.config_options
@show_errors
def score_subset(subset: str, input_: str, **options: Any) -> None:
    """Compute the objective of SUBSET, whose id column names points of INPUT."""
    show_score(subset, data=input_, engine=_session(), **options)
