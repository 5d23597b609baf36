"""`subsel neighbors`: graphs that are made, and those that points join and leave."""

from __future__ import annotations

from typing import Any

import subsel
from subsel.cli.shell import progress
from subsel.errors import ConfigError, option
from subsel.growing.place import is_graph_place
from subsel.growth import GraphChange
from subsel.pages.facts import Facts
from subsel.report import GraphReport
from subsel.storage import check_new, place_of
from subsel.text import count

#: Options that say where a graph is made, none of which a change of one takes.
_ELSEWHERE = ("engine", "master", "run_dir")


def make(data: str, graph: str | None, *, overwrite: bool, options: dict[str, Any]) -> tuple[Facts, GraphReport]:
    """Make the graph of an input and write it; return what is told of it.

    Raises:
        InputError: see `subsel.neighbors`.
    """
    storage, told = options.get("storage_options"), progress()
    if graph is None:
        report, points = subsel.neighbors(data, progress=told, **options).report, ""
    else:
        if options.get("engine") == "spark":
            found = subsel.neighbors(data, output=graph, overwrite=overwrite, progress=told, **options)
            return _made(data, found.report, "", graph), found.report
        where = place_of(graph, storage)
        check_new(where, overwrite=overwrite, inputs=[place_of(data, storage)])
        if is_graph_place(where):
            if "run_dir" in options:
                spark = option("engine", "spark")
                raise ConfigError(f"{option('run_dir')} is for {spark}: give that, too, or leave it out.")
            plain = {name: value for name, value in options.items() if name not in _ELSEWHERE}
            grown = subsel.growing_graph(data, output=where, overwrite=overwrite, progress=told, **plain)
            report, n = grown.report, len(grown)
        else:
            found = subsel.neighbors(data, progress=told, **options)
            found.graph.to_parquet(where, overwrite=overwrite)
            report, n = found.report, found.graph.n
        points = f"{n:,} x "
    return _made(data, report, points, graph or options["run_dir"]), report


def _made(data: str, report: GraphReport, points: str, where: str) -> Facts:
    rows = Facts({"points": f"{points}{report.dimension} from {data}"})
    rows.add_graph(report)
    rows.add("written", where)
    return rows


def change(
    data: str,
    graph: str | None,
    *,
    onto: bool,
    replace: bool,
    remove: str | None,
    overwrite: bool,
    options: dict[str, Any],
) -> tuple[Facts, dict[str, Any]]:
    """Let points leave a graph, then others join it; return what is told of that.

    Raises:
        ConfigError: options do not fit together.
        InputError: see `subsel.GrowingGraph`.
    """
    if onto != (graph is not None):
        wanted = "INPUT and GRAPH" if onto else "--onto, too, or GRAPH alone"
        raise ConfigError(f"say who joins which graph: give {wanted}.")
    if replace and not onto:
        raise ConfigError("--replace is of points that join: give --onto, too.")
    if "run_dir" in options:
        raise ConfigError(f"{option('run_dir')} is for graphs that are made, not for those that change: leave it out.")
    if overwrite:
        raise ConfigError("a graph that points join or leave is replaced anyway: leave --overwrite out.")
    places = {name: options.pop(name) for name in ("engine", "master", "storage_options") if name in options}
    if "config" in options or (options and not onto):
        first = option("config") if "config" in options else option(next(iter(options)))
        raise ConfigError(
            f"{first} says how a graph is made, or how rows are read that join one: leave it out, or make a graph anew."
        )
    joining = {"data": data, "replace": replace, **options} if onto else {}
    found = subsel.grow_graph(graph or data, remove=remove, progress=progress(), **places, **joining)
    done = [one.model_dump() for one in found.revisions]
    return _told(found), {"revisions": done, "written": str(found.path)}


def _told(found: GraphChange) -> Facts:
    rows = Facts({"graph": f"{found.points:,} points, {found.neighbors} neighbours of each"})
    for one in found.revisions:
        if one.joined or one.replaced:
            swapped = f", {one.replaced:,} replaced" if one.replaced else ""
            rows.add("joined", f"{count(one.joined, 'point')}{swapped}")
        if one.left or not (one.joined or one.replaced):
            rows.add("left", f"{count(one.left, 'point')}, {one.searched:,} searched again")
        if one.split:
            rows.add("split", f"{count(one.split, 'cell')} that had grown too large")
        if one.recall is not None:
            recall = f"{one.recall:.3f} of their exact neighbours (sampled), {count(one.probes, 'probe')}"
            rows.add(f"recall@{found.neighbors}", f"{recall}, {count(one.passes, 'pass')}")
        if one.engine == "spark" and one.tasks:
            rows.add("searched", f"{count(one.tasks, 'part')}, each in a task")
    rows.add("written", str(found.path))
    return rows
