"""The commands behind jobs/*.py: stages in the Spark session that spark-submit made."""

from __future__ import annotations

from typing import Any

import click

import subsel
from subsel.cli import options as opt
from subsel.cli.commands import close_report, show_score
from subsel.cli.shell import Command, close, progress
from subsel.config import SelectConfig
from subsel.declare import GROUPS
from subsel.pages.facts import graph_line
from subsel.request import Request
from subsel.run import Run
from subsel.text import count

#: All but what is of the output: a job refuses a run directory whose later stages were made with other options.
_STAGE_FIELDS = ("size", *(group for group in GROUPS if group != "Subset"))


def _session(options: dict[str, Any], config: str | None = None) -> Any:
    from subsel.engines.spark.session import submitted_session

    own = {name: value for name, value in options.items() if name in SelectConfig.model_fields}
    return submitted_session(SelectConfig.load(options.get("config", config), **own).log_level)


@click.command(cls=Command)
@click.argument("data", metavar="INPUT")
@click.argument("output")
@opt.config_fields()
@opt.wishes
@opt.audit
@opt.overwrite
@opt.graph
@opt.config_file
@opt.run_dir
def select_subset(data: str, output: str, **options: Any) -> None:
    """Select a subset of INPUT and write it to OUTPUT: the whole pipeline."""
    options = opt.given(options)
    selection = subsel.select(data, output=output, engine=_session(options), progress=progress(), **options)
    close_report(selection.report, output, selection.audit_path)


@click.command(cls=Command)
@click.argument("data", metavar="INPUT")
@click.argument("run_dir")
@opt.config_fields(*_STAGE_FIELDS)
@opt.graph
@opt.config_file
def build_graph(data: str, run_dir: str, graph: str | None, config: str | None, **options: Any) -> None:
    """Compute the neighbour graph of INPUT, by part, into RUN_DIR."""
    from subsel.stages import on_spark

    request = Request.of(
        data,
        purpose="score on",
        graph=graph,
        engine=_session(options, config),
        run_dir=run_dir,
        config=config,
        **opt.given(options),
    )
    found = on_spark.build_graph(request, Run(progress()))
    line = graph_line(found.edges, found.mean_degree, found.max_degree, found.source)
    close({"graph": line, "parts": f"{found.parts:,}", "run directory": run_dir})


@click.command(cls=Command)
@click.argument("data", metavar="INPUT")
@click.argument("run_dir")
@opt.config_fields(*_STAGE_FIELDS)
@opt.wishes
@opt.graph
@opt.config_file
def bound_points(
    data: str,
    run_dir: str,
    graph: str | None,
    config: str | None,
    include: str | None,
    exclude: str | None,
    **options: Any,
) -> None:
    """Accept and discard points of INPUT by bounds, from RUN_DIR's graph (made if it is not there)."""
    from subsel.stages import on_spark

    request = Request.of(
        data,
        purpose="select from",
        graph=graph,
        engine=_session(options, config),
        run_dir=run_dir,
        config=config,
        include=include,
        exclude=exclude,
        **opt.given(options),
    )
    found = on_spark.bound_points(request, Run(progress()))
    rounds = count(found.rounds, "round")
    decided = f"accepted {found.accepted:,}, discarded {found.discarded:,} in {rounds}"
    close({"bounding": decided, "run directory": run_dir})


@click.command(cls=Command)
@click.argument("data", metavar="INPUT")
@click.argument("run_dir")
@click.argument("output")
@opt.config_fields()
@opt.wishes
@opt.audit
@opt.overwrite
@opt.graph
@opt.config_file
def greedy_subset(data: str, run_dir: str, output: str, **options: Any) -> None:
    """Select from what RUN_DIR's bounding left, and write the subset to OUTPUT."""
    options = opt.given(options) | {"run_dir": run_dir, "resume": True, "progress": progress()}
    selection = subsel.select(data, output=output, engine=_session(options), **options)
    close_report(selection.report, output, selection.audit_path)


@click.command(cls=Command)
@click.argument("subset")
@click.argument("points", metavar="INPUT")
@opt.config_fields("Objective", "Input", "Neighbour graph", "seed", "part_points", "copies", "cost", "groups")
@opt.graph
@opt.config_file
@opt.graph_run_dir
@opt.normalise
def score_subset(subset: str, **options: Any) -> None:
    """Compute the objective of SUBSET, whose id column names points of INPUT."""
    show_score(subset, engine=_session(options), **options)
