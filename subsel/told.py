"""What is said of a run in a sentence: in logs, closing tables and reports' pages alike."""

from __future__ import annotations

from subsel.config import SelectConfig
from subsel.errors import option
from subsel.report import GraphReport
from subsel.text import count


def short_recall(graph: GraphReport) -> str:
    """Say that a graph has less recall than was asked for, and what to do."""
    return (
        f"recall {graph.recall:.3f} is below the {graph.target:g} asked for, after {graph.probes} probes and "
        f"{graph.passes} passes: raise {option('neighbors')}, or {option('probes')} beyond that, or lower "
        f"{option('recall')}; what follows holds on the graph that was found"
    )


def idle_members(idle: int, k: int, targeted: bool) -> str:
    """Say that members of a subset add nothing to what it covers, and what to do."""
    what = "targets" if targeted else "points"
    return (
        f"{idle:,} of {k:,} points add nothing: others cover all {what} that they are neighbours of as well, and these "
        f"are as good as drawn by lot: lower {option('size')}, raise {option('neighbors')}, or let utility count "
        f"({option('utility_weight')})"
    )


def near_line(count: int, config: SelectConfig) -> str:
    """Say how many points are left out as they are near what was given as ``exclude_near``."""
    points = "point" if count == 1 else "points"
    return f"{count:,} {points} left out: nearer than {config.near_limit:g} to {config.exclude_near}"


def points_alone(graph: GraphReport) -> str:
    """Say that points of a graph have no neighbours, and what to do."""
    have = "has" if graph.alone == 1 else "have"
    return (
        f"{count(graph.alone, 'point')} {have} no neighbours in the graph and {'is' if graph.alone == 1 else 'are'} "
        "selected from as if nothing were alike: what came after the graph was made, join to it "
        "(subsel neighbors NEW GRAPH --onto; subsel.grow_graph), or make it anew"
    )


def graph_warnings(graph: GraphReport) -> list[str]:
    """Return what is to be warned of in a graph."""
    found = [short_recall(graph)] if graph.falls_short else []
    return [*found, points_alone(graph)] if graph.has_alone else found
