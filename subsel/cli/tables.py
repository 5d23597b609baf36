"""Tables in a terminal. Cells are `Text`: in a string rich would take "[/x]" of an id for markup."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from rich import box
from rich.table import Table
from rich.text import Text

from subsel.pages.comparison import Overlap, group_rows, number_rows, option_rows
from subsel.pages.facts import Facts, Flag, report_facts
from subsel.report import Report
from subsel.text import printable


def table_of(facts: Facts) -> Table:
    """Return facts as a table."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for one in facts.rows:
        parts = [(one.warn, "red"), (one.value, ""), (one.dim, "dim"), (one.after, "")]
        table.add_row(Text(printable(one.name)), Text.assemble(*((printable(text), style) for text, style in parts)))
    return table


def pairs_table(rows: dict[str, str]) -> Table:
    """Return names and values as a table."""
    return table_of(Facts(rows))


def report_table(report: Report, flag: Flag) -> Table:
    """Return the closing table of a selection; ``flag`` spells options, see `subsel.errors.in_shell`."""
    return table_of(report_facts(report, flag))


def shared_facts(report: Report, flag: Flag) -> Facts:
    """Return what is told of all sizes alike: what was read, the graph, the weights and wishes."""
    facts = Facts()
    before = takewhile(lambda one: one.name != "bounding", report_facts(report, flag).rows)
    facts.rows = [one for one in before if one.name != "selected"]
    return facts


def sizes_table(sizes: Sequence[str], reports: Sequence[Report], places: Sequence[str]) -> Table:
    """Return how good subsets of several sizes are, one in a row."""
    heads = ("size", "points", "objective", "upper bound", "certified", "random", "coverage", "seconds", "subset")
    table = Table(box=box.SIMPLE, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in ("size", "subset") else "right", overflow="fold")
    for size, report, place in zip(sizes, reports, places, strict=True):
        score, proof, covered = report.objective, report.certificate, report.coverage
        cells: tuple[str, ...] = (size, f"{report.k:,}", f"{score.total:,.4f}", f"{proof.upper_bound:,.4f}")
        cells += ("" if proof.share is None else f"{proof.share:.1%}", f"{score.random:,.4f}")
        cells += ("" if covered is None else f"{covered.graph:.3f}", f"{sum(report.seconds.values()):.1f}", place)
        table.add_row(*(Text(printable(one)) for one in cells))
    return table


def compare_table(names: tuple[str, ...], first: Report, second: Report, both: Overlap) -> Table:
    """Return two selections side by side: numbers, options that differ, groups, and what they share."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("", style="bold", no_wrap=True)
    for name in names:
        table.add_column(Text(printable(name)), justify="right")
    rows = [*number_rows(first, second), *option_rows(first, second)]
    for column, groups in group_rows(first, second).items():
        rows += [(column, "", ""), *((f"  {name}", a, b) for name, a, b in groups)]
    rows.append(("in both", f"{both.shared:,}", f"{both.share:.1%} of either"))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def duration(seconds: float) -> str:
    """Say how long a plan takes: in s, min or h, with two digits."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{float(f'{seconds / length:.2g}'):,g} {unit}"
    return f"{max(1, round(seconds))} s"
