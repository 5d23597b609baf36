"""What commands print at the end."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from subsel.config import SelectConfig
from subsel.report import Report


def _plain() -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    return table


def report_table(report: Report) -> Table:
    """Return the closing table of a selection."""
    table = _plain()
    points, graph, score = report.input, report.graph, report.objective
    table.add_row("points", escape(f"{points.points:,} from {points.name}, utility: {points.utility}"))
    for reason, count in points.dropped_rows.items():
        table.add_row("dropped", f"{count:,} rows: {reason}")
    for reason, count in graph.dropped_edges.items():
        table.add_row("dropped", f"{count:,} edges: {reason}")
    table.add_row("selected", f"{report.k:,} ({report.k / points.points:.1%})")
    table.add_row("graph", graph_line(graph.edges, graph.mean_degree, graph.max_degree, graph.source))
    if report.engine != "local":
        table.add_row("engine", f"{report.engine}, {graph.parts:,} parts")
    if graph.recall is not None:
        table.add_row(f"recall@{graph.neighbors}", f"{graph.recall:.3f} of exact neighbours (sampled)")
    wishes = report.constraints
    if wishes.included or wishes.excluded:
        table.add_row("your wishes", f"included {wishes.included:,}, excluded {wishes.excluded:,}")
    bounding = report.bounding
    rounds = f"{bounding.rounds} rounds"
    if bounding.grow_rounds or bounding.shrink_rounds:
        rounds = f"{bounding.grow_rounds} grow and {bounding.shrink_rounds} shrink rounds"
    decided = f"accepted {bounding.accepted:,}, discarded {bounding.discarded:,} in {rounds}"
    table.add_row("bounding", "off" if bounding.method == "off" else f"{bounding_method(report.config)}: {decided}")
    greedy = report.greedy
    steps = f"{greedy.supersteps} superstep{'s' if greedy.supersteps != 1 else ''}"
    if greedy.method == "partitioned":
        steps = f"{greedy.supersteps} round{'s' if greedy.supersteps != 1 else ''}"
    table.add_row("greedy", f"{greedy_method(report)}: selected {greedy.selected:,} in {steps}")
    if greedy.rounded_after is not None:
        table.add_row(
            "", f"[red]not exact[/red]: gains rounded after {greedy.rounded_after} supersteps (max_supersteps)"
        )
    if greedy.ranks_rounded_after is not None:
        after = f"gains rounded after {greedy.ranks_rounded_after} supersteps (max_supersteps)"
        table.add_row("", f"[red]ranks not exact[/red]: {after}")
    refined = report.refine
    if report.config.refine:
        passes = f"{refined.passes} pass{'es' if refined.passes != 1 else ''}"
        table.add_row("refined", f"{refined.gained:+,.4f}: {refined.exchanged:,} points exchanged in {passes}")
    table.add_row(
        "objective", f"{score.total:,.4f} = utility {score.utility:,.4f} - similarity {score.similarity:,.4f}"
    )
    proof = report.certificate
    how = f"{proof.iterations} iterations" if proof.iterations else "by bounding alone; --certify 100 lowers it"
    meets = " that meets your wishes" if wishes.included or wishes.excluded else ""
    table.add_row(
        "upper bound", f"{proof.upper_bound:,.4f} ({how}): no subset of {report.k:,} points{meets} scores more"
    )
    if proof.share is not None:
        share = f"{proof.share:.1%} of what the best could gain over random, gap {proof.gap:,.4f}"
        table.add_row("  certified", share)
    table.add_row("  top utility", f"{score.top_utility:,.4f} {_compared(score.total, score.top_utility)}")
    table.add_row("  random", f"{score.random:,.4f} {_compared(score.total, score.random)} (expectation)")
    times = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items())
    table.add_row("seconds", f"{sum(report.seconds.values()):.1f}: {times}")
    return table


def bounding_method(config: SelectConfig) -> str:
    """Name the method of bounding with its parameters."""
    rank = ", the paper's rank" if config.bounding_rank == "paper" else ""
    if config.bounding == "approximate":
        return f"approximate ({config.sample_share:.0%} of neighbours, {config.sampling}{rank})"
    return config.bounding + rank


def greedy_method(report: Report) -> str:
    """Name the method of greedy with its parameters."""
    config = report.config
    if config.greedy == "partitioned":
        kind = "adaptive" if config.adaptive else "fixed"
        return f"partitioned ({config.partitions:,} partitions, {kind}, gamma {config.gamma:g}), not centralised greedy"
    return "exact, by removing" if report.greedy.direction == "reverse" else "exact"


def graph_line(edges: int, mean_degree: float, max_degree: int, source: str) -> str:
    """Describe a graph in one line."""
    return f"{edges:,} edges from {source}, {mean_degree:.1f} neighbours per point, at most {max_degree:,}"


def _compared(ours: float, other: float) -> str:
    return f"[dim](subset is {ours - other:+,.4f})[/dim]"


def pairs_table(rows: dict[str, str]) -> Table:
    """Return names and values as a table."""
    table = _plain()
    for name, value in rows.items():
        table.add_row(escape(name), escape(value))
    return table


def duration(seconds: float) -> str:
    """Say how long a plan takes: in s, min or h, with two digits."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{float(f'{seconds / length:.2g}'):,g} {unit}"
    return f"{max(1, round(seconds))} s"
