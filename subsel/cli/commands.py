"""`subsel select | neighbors | score | validate | demo`. Exit 0: done; 1: failed; 2: request or input is wrong."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import numpy as np
from rich.console import Console
from rich.logging import RichHandler

from subsel import api, demo, plan
from subsel.cli import options as opt
from subsel.cli.tables import duration, graph_line, pairs_table, report_table
from subsel.config import resolve_size
from subsel.errors import ConfigError, SubselError
from subsel.explain import explain
from subsel.output import MANIFEST, check_new
from subsel.report import Report
from subsel.request import load_config
from subsel.version import __version__

_F = TypeVar("_F", bound=Callable[..., Any])


def show_errors(function: _F) -> _F:
    """Turn a `SubselError` into one line on stderr and its exit code."""

    @wraps(function)
    def guarded(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except SubselError as error:
            click.echo(f"subsel: {error}", err=True)
            sys.exit(error.exit_code)

    return cast(_F, guarded)


class _Group(click.Group):
    """Shows the errors of all its commands as `show_errors` does."""

    @show_errors
    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="subsel")
@click.option("-v", "--verbose", is_flag=True, help="Log every round and superstep.")
def main(verbose: bool) -> None:
    """Select the best k of n data points: useful ones that are unlike each other."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
        force=True,
    )


@main.command()
@click.argument("input_", metavar="INPUT", type=click.Path())
@click.argument("output", type=click.Path())
@click.option("--size", help="How many: a count, 0.1 or 10%.  [required unless in --config]")
@click.option("--sizes", help="Several, separated by commas, such as 1%,5%,10%: OUTPUT gets a folder for each.")
@click.option("--graph", type=click.Path(), help="Your own graph: Parquet edges src, dst, similarity in ids of INPUT.")
@click.option("--keep-columns", help="Columns of INPUT to carry along, separated by commas.")
@opt.overwrite_option
@opt.wish_options
@opt.objective_options
@opt.method_options
@opt.neighbor_options
@opt.engine_options
@opt.part_options
@opt.config_options
def select(input_: str, output: str, keep_columns: str | None, sizes: str | None, **options: Any) -> None:
    """Select a subset of INPUT, a Parquet file or folder, and write it to OUTPUT.

    OUTPUT becomes a folder of Parquet (a single file if it ends in .parquet) with the columns id, rank, gain
    and decided_by.
    """
    names = tuple(name.strip() for name in keep_columns.split(",")) if keep_columns else None
    if sizes is None:
        selection = api.select(input_, output=output, keep_columns=names, **options)
        close_report(selection.report, output)
        return
    if options.pop("size") is not None:
        raise ConfigError("give --size or --sizes, not both.")
    for selection in api.select_sizes(input_, sizes=sizes.split(","), output=output, keep_columns=names, **options):
        assert selection.path is not None
        close_report(selection.report, selection.path)


@main.command()
@click.argument("input_", metavar="INPUT", type=click.Path())
@click.argument("graph", type=click.Path())
@opt.neighbor_options
@opt.config_options
def neighbors(input_: str, graph: str, **options: Any) -> None:
    """Compute the neighbour graph of INPUT and write its edges to GRAPH, one Parquet file."""
    check_new(graph, overwrite=False)
    found = api.neighbors(input_, **options)
    found.graph.to_parquet(graph)
    degrees = np.diff(found.graph.indptr)
    rows = {
        "points": f"{found.graph.n:,} x {found.dimension} from {input_}",
        "graph": graph_line(found.graph.n_edges, float(degrees.mean()), int(degrees.max()), "embeddings"),
        f"recall@{found.neighbors}": "not estimated" if found.recall is None else f"{found.recall:.3f} (sampled)",
        "written": graph,
    }
    Console().print(pairs_table(rows))


@main.command("plan")
@click.argument("input_", metavar="[INPUT]", type=click.Path(), required=False)
@click.option("--points", type=click.IntRange(min=1), help="Plan for so many points; there is no INPUT then.")
@click.option("--dimension", type=click.IntRange(min=0), help="Of their embeddings, 0 if a graph is given.")
@click.option("--size", help="How many: a count, 0.1 or 10%.  [required unless in --config]")
@click.option("--executor-cores", type=click.IntRange(min=1), default=4, show_default=True, help="Tasks per executor.")
@click.option("--cores", type=click.IntRange(min=1), help="Of all executors.  [default: those of this machine]")
@opt.neighbor_options
@opt.part_points_option
@opt.config_options
def plan_command(
    input_: str | None,
    points: int | None,
    dimension: int | None,
    executor_cores: int,
    cores: int | None,
    **options: Any,
) -> None:
    """Say what selecting from INPUT takes, from its metadata only: memory, disk, time, parts, Spark settings."""
    if (input_ is None) == (points is None) or (points is None) != (dimension is None):
        raise ConfigError("plan needs either INPUT or --points and --dimension.")
    config = load_config(options.pop("config"), **options)
    if points is not None and dimension is not None:
        found = plan.estimate(points, dimension, resolve_size(config.size, points, "the plan"), config)
    else:
        found = plan.plan_input(input_, config)
    gib, mib = 2**30, 2**20
    shuffled, graph = found.shuffle_bytes / gib, found.graph_bytes / gib
    where = "fits" if found.fits else "does not fit"
    overhead = found.worker_bytes * executor_cores
    cores = cores or os.cpu_count() or 1
    rows = {
        "points": f"{found.n:,} x {found.dimension}, {found.k:,} to select",
        "on one machine": f"{found.local_bytes / gib:,.1f} GiB of memory, {found.available_bytes / gib:.1f} GiB are "
        f"available: {where}",
        "on Spark": f"{found.parts:,} parts of about {found.part_points:,} points",
        "time on Spark": f"about {duration(found.work.total / min(cores, found.parts))} on {cores:,} cores, besides "
        "Spark's start and a certificate",
        "work of one core": ", ".join(f"{name} {duration(value)}" for name, value in asdict(found.work).items()),
        "one Python worker": f"{found.worker_bytes / mib:,.0f} MiB while it searches a part",
        "disk, all executors": f"{shuffled:,.1f} GiB shuffled, graph {graph:,.1f} GiB",
        "spark.executor.cores": f"{executor_cores}, one task each (spark.task.cpus 1)",
        "spark.executor.memory": "2g or more: the JVM holds only what is on its way",
        "spark.executor.memoryOverhead": f"{overhead / gib:.1f}g: {executor_cores} Python workers",
        "spark.driver.memory": "2g: no data, graph or subset ever reaches the driver",
    }
    Console().print(pairs_table(rows))


@main.command()
@click.argument("subset", type=click.Path())
@click.option("--graph", type=click.Path(), help="Edges src, dst, similarity.  [default: neighbours of POINTS]")
@click.option(
    "--points",
    type=click.Path(),
    help="Where ids and utilities are.  [default: ids of the graph, utility 1.0]",
)
@click.option("--engine", type=click.Choice(["auto", "local", "spark"]), default="auto", show_default=True)
@click.option("--master", help="Spark master of a session of its own, such as local[4].  [default: local[*]]")
@click.option("--run-dir", type=click.Path(), help="On Spark: a run directory that has a graph of POINTS.")
@opt.score_options
@opt.objective_options
@opt.neighbor_options
@opt.part_points_option
@opt.config_options
def score(subset: str, points: str | None, **options: Any) -> None:
    """Compute the objective of SUBSET, whose id column names points of a graph."""
    show_score(subset, data=points, **options)


@main.command("explain")
@click.argument("point", metavar="ID")
@click.argument("run_dir", type=click.Path())
@click.option("--neighbors", "shown", default=10, show_default=True, help="Neighbours to show.")
def explain_command(point: str, run_dir: str, shown: int) -> None:
    """Say why the point ID is in the subset of a run, or why not. RUN_DIR is the --run-dir of a run on Spark."""
    found = explain(run_dir, point)
    rows = {"point": f"{found.id}, {'selected' if found.selected else 'not selected'}"}
    for fate, step in found.fates:
        rows[f"superstep {step}"] = fate
    rows["utility"] = f"{found.utility:.6g}"
    rows["gain"] = f"{found.gain:.6g}: what it adds to the other members of the subset"
    if found.least_gain is not None:
        rows["least gain"] = f"{found.least_gain:.6g} of a member"
    rows["neighbours"] = f"{len(found.neighbors):,}, {sum(one.selected for one in found.neighbors):,} of them selected"
    for one in found.neighbors[:shown]:
        rows[f"  {one.id}"] = f"similarity {one.similarity:.4f}{', selected' if one.selected else ''}"
    Console().print(pairs_table(rows))


@main.command()
@click.argument("input_", metavar="INPUT", type=click.Path())
@opt.objective_options
@click.option("--embedding-column", help="Column of lists of floats.")
@click.option("--metric", type=click.Choice(["cosine", "inner_product", "l2"]), help="Cosine refuses zero vectors.")
@opt.config_options
def validate(input_: str, **options: Any) -> None:
    """Read INPUT and check every row, as select would."""
    points = api.validate(input_, **options)
    assert points.embeddings is not None
    low, mean, high = points.utility.min(), points.utility.mean(), points.utility.max()
    rows = {
        "points": f"{points.n:,} x {points.embeddings.shape[1]} from {points.name}",
        "ids": f"{points.id_type}, unique",
        "utility": f"{points.utility_source}: {low:.4g} to {high:.4g}, mean {mean:.4g}",
    }
    rows |= {f"dropped, {reason}": f"{count:,} rows" for reason, count in points.dropped.items()}
    Console().print(pairs_table(rows))


@main.command("demo")
@click.argument("folder", type=click.Path(), default="subsel-demo")
@click.option(
    "--points",
    "n",
    type=click.IntRange(min=100),
    default=50_000,
    show_default=True,
    help="Points to generate.",
)
@click.option("--dimension", type=click.IntRange(min=2), default=64, show_default=True, help="Dimension of embeddings.")
@click.option("--size", default="10%", show_default=True, help="How many to select.")
@click.option("--overwrite", is_flag=True, help="Replace FOLDER's points and subset if this command wrote them.")
def demo_command(folder: str, n: int, dimension: int, size: str, overwrite: bool) -> None:
    """Generate points, select a subset of them, Parquet to Parquet, and show how good it is."""
    resolve_size(size, n, "the demo")
    place = Path(folder)
    points, subset = place / "points", place / "subset"
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder {place} cannot be made: {error.strerror}. Choose another.") from error
    demo.write_demo(points, n, dimension, overwrite=overwrite)
    click.echo(f"{n:,} points x {dimension} written to {points}")
    selection = api.select(points, size=size, output=subset, overwrite=overwrite, keep_columns=("source",))
    close_report(selection.report, subset)


def show_score(subset: str, *, reference: str | None, worst: str | None, **options: Any) -> None:
    """Score a subset and print its terms; with a reference and a worst case also the normalised score."""
    if (reference is None) != (worst is None):
        raise ConfigError("a normalised score needs both --reference and --worst.")
    others = [value for value in (reference, worst) if value is not None and _number(value) is None]
    found, *scores = api.score_subsets([subset, *others], **options)
    rows = {
        "objective": f"{found.total:,.6f}",
        "utility": f"{found.utility:,.6f}",
        "similarity": f"{found.similarity:,.6f}",
    }
    if reference is not None and worst is not None:
        totals = {name: one.total for name, one in zip(others, scores, strict=True)}
        best, least = (totals[value] if value in totals else float(value) for value in (reference, worst))
        rows["reference"], rows["worst"] = f"{best:,.6f}", f"{least:,.6f}"
        rows["normalised"] = f"{found.normalised(best, least):.2f} (reference 100, worst 0)"
    Console().print(pairs_table(rows))


def _number(value: str) -> float | None:
    """Return the score that an option gives as such; None if it names a subset."""
    try:
        return float(value)
    except ValueError:
        return None


def close_report(report: Report, output: str | Path) -> None:
    """Print the closing table and where the subset is."""
    Console().print(report_table(report))
    path = Path(output)
    manifest = f", manifest {path / MANIFEST}" if path.is_dir() else ""
    click.echo(f"subset of {report.k:,} points: {path}{manifest}")
