"""Tables in a terminal. Cells are `Text`: in a string rich would take "[/x]" of an id for markup."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from subsel.closing import Flag, Rows, report_rows
from subsel.report import Report
from subsel.text import printable


def table_of(rows: Rows) -> Table:
    """Return names and values as a table."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for line in rows.lines:
        table.add_row(Text(line.name), Text.assemble(*line.pieces))
    return table


def pairs_table(rows: dict[str, str]) -> Table:
    """Return names and values as a table."""
    return table_of(Rows(rows))


def report_table(report: Report, flag: Flag) -> Table:
    """Return the closing table of a selection; ``flag`` spells options, see `subsel.errors.in_shell`."""
    return table_of(report_rows(report, flag))


def columns_table(heads: list[str], rows: list[list[str]]) -> Table:
    """Return a table of several columns, the first of which names its row."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(
            Text(printable(head)), style="bold" if place == 0 else "", justify="right" if place else "left"
        )
    for row in rows:
        table.add_row(*(Text(printable(one)) for one in row))
    return table
