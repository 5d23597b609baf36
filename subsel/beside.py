"""Options that say what goes beside the chosen ids, a part of `subsel.config.SelectConfig`."""

from __future__ import annotations

from pydantic import BaseModel

from subsel.declare import declare


class BesideOptions(BaseModel):
    """Columns that a subset carries along, and its report."""

    keep_columns: tuple[str, ...] = declare(
        (),
        "Columns of the input that the subset carries along.",
        stage="output",
        group="Subset",
        takes="str | Sequence[str]",
    )
    report: bool = declare(
        True,
        "Write a page that shows the subset, _report.html, and its numbers, _report.json, into its folder.",
        stage="output",
        group="Subset",
    )
    examples: bool = declare(
        True,
        "Show ten points that were selected and ten that were not on that page, with texts of the columns kept.",
        stage="output",
        group="Subset",
    )
