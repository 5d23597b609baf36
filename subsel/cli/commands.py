"""`subsel select | neighbors | …`. Exit 0: done; 1: failed; 2: request or input is wrong; 130 and 143: told to stop.

Commands import what they run, so that --help, --version and errors of arguments take no time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import subsel
from subsel.cli import options as opt
from subsel.cli.machine import doctor, warm
from subsel.cli.plan import plan_command
from subsel.cli.shell import Group, Option, close, flag_of, progress, show
from subsel.config import check_given, resolve_size
from subsel.config_file import default_toml
from subsel.errors import ConfigError
from subsel.text import count
from subsel.version import __version__

if TYPE_CHECKING:
    from subsel.report import Report
    from subsel.selection import Selection

_EPILOG = """\
Each option may come from the environment: SUBSEL_SELECT_SIZE=10% is --size 10% of subsel select. Options given win over
those, and those over a --config file.

Completion: eval "$(_SUBSEL_COMPLETE=bash_source subsel)" in ~/.bashrc; zsh_source and fish_source for these shells.
"""


@click.group(
    cls=Group,
    epilog=_EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "SUBSEL",
        "max_content_width": 120,
    },
)
@click.version_option(__version__, prog_name="subsel")
def main() -> None:
    """Select the best k of n data points: useful ones that are unlike each other."""


main.add_command(doctor)
main.add_command(warm)
main.add_command(plan_command)


@main.command()
@click.argument("data", metavar="INPUT")
@click.argument("output")
@opt.config_fields()
@opt.sizes
@opt.wishes
@opt.warm_start
@opt.audit
@opt.overwrite
@opt.graph
@opt.storage
@opt.config_file
@opt.engine
@opt.run_dir
def select(data: str, output: str, sizes: str | None, **options: Any) -> None:
    """Select a subset of INPUT, a Parquet file or folder, and write it to OUTPUT.

    OUTPUT becomes a folder of Parquet (a single file if it ends in .parquet) with the columns id, rank, gain
    and decided_by.
    """
    options = opt.checked(options, sized=sizes is not None) | {"progress": progress()}
    opt.look_for(data, options)
    if sizes is None:
        selection = subsel.select(data, output=output, **options)
        close_report(selection.report, output, selection.audit_path)
        return
    if "size" in options:
        raise ConfigError("give --size or --sizes, not both.")
    close_sizes(sizes.split(","), subsel.select_sizes(data, sizes=sizes.split(","), output=output, **options))


@main.command()
@click.argument("data", metavar="[INPUT]")
@click.argument("graph", required=False)
@opt.config_fields("size", "Input", "Neighbour graph", "seed", "part_points", "log_level")
@opt.growing
@opt.overwrite_graph
@opt.storage
@opt.config_file
@opt.neighbors_engine
def neighbors(data: str, graph: str | None, overwrite: bool, **options: Any) -> None:
    """Compute the neighbour graph of INPUT and write it to GRAPH: a folder, which can grow, or one .parquet of edges.

    With --onto the points of INPUT join a GRAPH that is there; with --remove points leave it. On Spark GRAPH is a
    folder; or the graph stays by parts in --run-dir, from which select goes on with --resume.
    """
    onto, exchange, remove = (options.pop(name) for name in ("onto", "replace", "remove"))
    options = opt.checked(options)
    changed, on_spark = onto or exchange or remove is not None, options.get("engine") == "spark"
    if not changed and (graph is None) != (on_spark and "run_dir" in options):
        wanted = "GRAPH, a folder, or --run-dir" if on_spark else "GRAPH, a folder, or one .parquet file of edges"
        raise ConfigError(f"say where the graph goes: give {wanted}.")
    if onto or not changed:
        opt.look_for(data, options)
    from subsel.cli import growing

    if changed:
        close(
            *growing.change(
                data, graph, onto=onto, replace=exchange, remove=remove, overwrite=overwrite, options=options
            )
        )
        return
    rows, report = growing.make(data, graph, overwrite=overwrite, options=options)
    close(rows.spelled(_spelling()), {"graph": report, "written": graph or options["run_dir"]})


@main.command()
@click.argument("subset")
@opt.config_fields("size", "Objective", "Input", "Neighbour graph", "seed", "part_points", "copies", "cost", "groups")
@click.option(
    "--points",
    metavar="INPUT",
    cls=Option,
    section="Input",
    help="Where ids and utilities are.  [default: ids of the graph]",
)
@opt.graph
@opt.storage
@opt.config_file
@opt.engine
@opt.graph_run_dir
@opt.normalise
def score(subset: str, **options: Any) -> None:
    """Compute the objective of SUBSET, whose id column names points of a graph."""
    show_score(subset, **options)


@main.command("explain")
@click.argument("point", metavar="ID")
@click.argument("run_dir")
@click.option(
    "--neighbors", "shown", type=click.IntRange(min=0), default=10, show_default=True, help="Neighbours to show."
)
def explain_command(point: str, run_dir: str, shown: int) -> None:
    """Say why the point ID is in the subset of a run, or why not. RUN_DIR is the --run-dir of its run."""
    opt.look_for_run(run_dir)
    found = subsel.explain(run_dir, point)
    rows = {"point": f"{found.id}, {'selected' if found.selected else 'not selected'}"}
    if found.reason is not None:
        rows["reason"] = found.reason if found.limit is None else f"{found.reason}: {found.limit}"
        if found.of is not None:
            rows["reason"] += f", similarity {found.of.similarity:.4f} to {found.of.id}"
    for fate, step in found.fates:
        rows[f"superstep {step}"] = fate
    rows["utility"] = f"{found.utility:.6g}"
    rows["gain"] = f"{found.gain:.6g}: what it adds to the other members of the subset"
    if found.least_gain is not None:
        rows["least gain"] = f"{found.least_gain:.6g} of a member"
    if found.covers is not None and found.selected:
        told = "".join(f"{', such as' if i == 0 else ','} {one.id}" for i, one in enumerate(found.covers[:5]))
        whom = "target row" if found.of_target else "other point"
        rows["covers best"] = f"{count(len(found.covers), whom)}{told}"
    name = "nearest member" if found.covers is None or found.selected or found.of_target else "covered by"
    if found.nearest is not None:
        rows[name] = f"{found.nearest.id}, similarity {found.nearest.similarity:.4f}"
    elif name == "covered by" and found.reason is not None:
        rows[name] = "nobody: none of its neighbours is a member"
    rows["neighbours"] = f"{len(found.neighbors):,}, {sum(one.selected for one in found.neighbors):,} of them selected"
    for one in found.neighbors[:shown]:
        rows[f"  {one.id}"] = f"similarity {one.similarity:.4f}{', selected' if one.selected else ''}"
    show(rows, asdict(found))


@main.command("report")
@click.argument("place")
@opt.config_fields("examples")
@opt.storage
def report_command(place: str, **options: Any) -> None:
    """Write the page that shows a subset anew: _report.html, in PLACE, a subset's folder or a --run-dir."""
    options = opt.given(options)
    opt.look_for_subsets(place, storage_options=options.get("storage_options"))
    page = str(subsel.make_page(place, **options))
    close(f"report: {page}", {"report": page})


@main.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--page", metavar="FILE", help="Write a page of both there, one HTML file.")
@click.option("--changes", metavar="FILE", help="Write there who came into B and who is out, and why: Parquet.")
@click.option("--audit", metavar="PATH", help="With --changes: the audit of B, which says why points are out.")
@opt.overwrite_page
@opt.storage
def compare_command(
    first: str, second: str, page: str | None, changes: str | None, audit: str | None, overwrite: bool, **options: Any
) -> None:
    """Compare the subsets A and B: how good they are, how many points they share, which groups these are of."""
    if audit is not None and changes is None:
        raise ConfigError("--audit says why points are out: give --changes, too.")
    options = opt.given(options)
    opt.look_for_subsets(first, second, storage_options=options.get("storage_options"))
    from subsel.cli import changing
    from subsel.cli.tables import compare_table
    from subsel.reports import new_page

    where = None if page is None else new_page(page, overwrite=overwrite)
    storage = options.get("storage_options")
    listed = changes and changing.new_file(changes, first, second, audit, overwrite=overwrite, storage_options=storage)
    found = subsel.compare(first, second, **options)
    a, b = found.first, found.second
    data = asdict(found.both) | {"a": a.report.model_dump(mode="json"), "b": b.report.model_dump(mode="json")}
    show(compare_table((str(a.place), str(b.place)), a.report, b.report, found.both), data)
    if where is not None:
        where.write_text(found.page())
        close(f"page: {where}")
    if listed:
        changing.write(listed, first, second, audit, overwrite=overwrite, **options)


@main.command()
@click.argument("data", metavar="INPUT")
@opt.config_fields("Objective", "Input", "metric", "cost", "groups", "exclude_near", "near")
@opt.storage
@opt.config_file
def validate(data: str, **options: Any) -> None:
    """Read INPUT and check every row, as select would."""
    options = opt.checked(options)
    opt.look_for(data, options)
    points = subsel.validate(data, **options)
    assert points.embeddings is not None
    low, mean, high = points.utility.min(), points.utility.mean(), points.utility.max()
    first = f": {low:.4g} to {high:.4g}, mean {mean:.4g}" if points.made_of.stored else ""
    rows = {
        "points": f"{points.n:,} x {points.embeddings.shape[1]} from {points.name}",
        "ids": f"{points.id_type}, unique",
        "utility": f"{points.made_of}{first}",
    }
    rows |= {f"dropped, {reason}": count(dropped, "row") for reason, dropped in points.dropped.items()}
    numbers = {"points": points.n, "dimension": points.embeddings.shape[1], "id_type": str(points.id_type)}
    show(rows, numbers | {"name": points.name, "utility": str(points.made_of), "dropped_rows": points.dropped})


@main.command("config")
def config_command() -> None:
    """Print a config file with every option at its default, to start from: subsel config > my.toml."""
    click.echo(default_toml(), nl=False)


@main.command("demo")
@click.argument("folder", default="subsel-demo")
@opt.config_fields("size", size="10%")
@click.option(
    "--points",
    "n",
    type=click.IntRange(min=100),
    default=50_000,
    show_default=True,
    help="Points to generate.",
)
@click.option("--dimension", type=click.IntRange(min=2), default=64, show_default=True, help="Dimension of embeddings.")
@opt.overwrite
def demo_command(folder: str, n: int, dimension: int, size: str, overwrite: bool) -> None:
    """Generate points, select a subset of them, Parquet to Parquet, and show how good it is."""
    resolve_size(size, n, "the demo")
    from subsel import demo
    from subsel.storage import LocalPlace, place_of

    place = place_of(folder)
    points, subset = place.join("points").uri, place.join("subset").uri
    if isinstance(place, LocalPlace) and not place.parent().exists():
        raise ConfigError(f"folder {place} cannot be made: {place.parent()} does not exist. Choose another.")
    place.make_folder()
    demo.write_demo(points, n, dimension, overwrite=overwrite)
    close(f"{n:,} points x {dimension} written to {points}")
    selection = subsel.select(
        points, size=size, output=subset, overwrite=overwrite, keep_columns=("source",), progress=progress()
    )
    close_report(selection.report, subset)
    for row in selection.table.slice(0, 3).to_pylist():
        close(f"  rank {row['rank']}: id {row['id']} from {row['source']}, gain {row['gain']:.4f}")
    close(f"next: subsel select {points} picked/ --size 1% --run-dir run/, and subsel explain {selection.ids[0]} run/")


def show_score(subset: str, *, reference: str | None, worst: str | None, **options: Any) -> None:
    """Score a subset and print its terms; with a reference and a worst case also the normalised score."""
    if (reference is None) != (worst is None):
        raise ConfigError("a normalised score needs both --reference and --worst.")
    others = [value for value in (reference, worst) if value is not None and _number(value) is None]
    options = opt.checked(options)
    check_given("score on", options.get("points"), options.get("graph") or options.get("run_dir"))
    opt.look_for(subset, options)
    found, *scores = subsel.score_subsets([subset, *others], progress=progress(), **options)
    rows = {"objective": f"{found.total:,.6f}"}
    rows |= {name: f"{getattr(found, name):,.6f}" for name in ("utility", "similarity")}
    numbers = {"objective": found.total} | {name: value for name, value in asdict(found).items() if name != "total"}
    if found.coverage is not None:
        rows["coverage"] = f"{found.coverage:.4f} on the graph"
    if reference is not None and worst is not None:
        totals = {name: one.total for name, one in zip(others, scores, strict=True)}
        best, least = (totals[value] if value in totals else float(value) for value in (reference, worst))
        rows["reference"], rows["worst"] = f"{best:,.6f}", f"{least:,.6f}"
        rows["normalised"] = f"{found.normalised(best, least):.2f} (reference 100, worst 0)"
        numbers |= {"reference": best, "worst": least, "normalised": found.normalised(best, least)}
    show(rows, numbers)


def _number(value: str) -> float | None:
    """Return the score that an option gives as such; None if it names a subset."""
    try:
        return float(value)
    except ValueError:
        return None


def close_report(report: Report, output: str | Path, audit: str | Path | None = None) -> None:
    """Print the closing table and where the subset and its audit are."""
    from subsel.pages.facts import report_facts
    from subsel.storage import MANIFEST, PAGE, place_of

    close(report_facts(report, _spelling()), report.model_dump(mode="json") | {"output": output})
    for what, points, where in (("subset", report.k, output), ("audit", report.input.points, audit)):
        if where is not None:
            place = place_of(where)
            manifest = f", manifest {place.join(MANIFEST)}" if place.kind() == "folder" else ""
            close(f"{what} of {count(points, 'point')}: {place}{manifest}")
            if what == "subset" and manifest and report.config.report and report.k:
                close(f"report: {place.join(PAGE)}")


def close_sizes(sizes: Sequence[str], found: Sequence[Selection]) -> None:
    """Print one table of subsets of several sizes, and where they are."""
    from subsel.cli.tables import shared_facts, sizes_table

    reports = [one.report for one in found]
    close(shared_facts(reports[0], _spelling()))
    table = sizes_table(sizes, reports, [str(one.path) for one in found])
    close(table, [one.report.model_dump(mode="json") | {"output": one.path} for one in found])


def _spelling() -> Callable[[str], str | None]:
    """Return how the present command spells options, or select where it has none of the name."""
    command = click.get_current_context().command
    return lambda name: flag_of(command, name) or flag_of(select, name)
