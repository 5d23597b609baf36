"""The page of a report, and that of two side by side: what stands where. Templates have the words around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from subsel.errors import MissingPackageError, option
from subsel.pages import charts
from subsel.pages.comparison import Overlap, group_rows, number_rows, option_rows
from subsel.pages.facts import estimate_text, report_facts
from subsel.pages.notes import fallbacks_in, warnings_in
from subsel.pages.reproduce import command, library_call
from subsel.report import Report
from subsel.sketch import FORMAT, Sketch
from subsel.storage import PAGE, PAGE_DATA
from subsel.text import amount, count

#: What a page of ours has near its beginning.
OURS = b'<meta name="generator" content="subsel">'

_Chart = tuple[str, Callable[[], Markup | None]]


def check_templates() -> None:
    """Find out early whether pages can be made.

    Raises:
        MissingPackageError: the package came without its templates, as in a zip of its Python files alone.
    """
    try:
        _environment().get_template("report.html.j2")
    except FileNotFoundError as error:
        raise MissingPackageError(
            f"subsel came without the template of its pages: ship the whole wheel, or turn {option('report')} off."
        ) from error


def files_of(report: Report, sketch: Sketch | None) -> dict[str, str]:
    """Return the files of a report by name: the page, and its numbers.

    Args:
        report: of a selection.
        sketch: what is drawn beside; None: it was not kept.
    """
    drawn = None if sketch is None else sketch.model_dump(mode="json")
    numbers = {"format": FORMAT, "report": report.model_dump(mode="json"), "sketch": drawn}
    return {PAGE: report_page(report, sketch), PAGE_DATA: json.dumps(numbers, indent=1) + "\n"}


def report_page(report: Report, sketch: Sketch | None) -> str:
    """Return the page of a selection, whole in itself; arguments as of `files_of`."""
    call = {} if sketch is None else sketch.call
    return _rendered(
        "report.html.j2",
        report=report,
        sketch=sketch,
        facts=report_facts(report, lambda name: None).rows,
        pictures=_pictures(report, sketch, ""),
        can_draw=charts.has_charts(),
        warnings=warnings_in(report),
        fallbacks=fallbacks_in(report),
        stages=_stages(report),
        command=command(report, call),
        library_call=library_call(report, call),
    )


def compare_page(
    names: tuple[str, str], reports: tuple[Report, Report], sketches: tuple[Sketch | None, Sketch | None], both: Overlap
) -> str:
    """Return the page of two selections side by side.

    Args:
        names: of the two.
        reports: of them.
        sketches: what is drawn of each; None: it was not kept.
        both: what they share.
    """
    sides = zip(reports, sketches, "ab", strict=True)
    pictures = [_pictures(report, sketch, letter) for report, sketch, letter in sides]
    return _rendered(
        "compare.html.j2",
        names=names,
        numbers=number_rows(*reports),
        options=option_rows(*reports),
        groups=group_rows(*reports),
        both=both,
        pictures=pictures,
        can_draw=charts.has_charts(),
    )


def _pictures(report: Report, sketch: Sketch | None, mark: str) -> dict[str, Markup]:
    """Return pictures by name; none where they cannot be drawn. ``mark`` tells those of one report from another's."""
    if not charts.has_charts():
        return {}
    wanted: list[_Chart] = [("objective", partial(charts.objective_chart, report))]
    if sketch is not None:
        wanted += [
            ("gains", partial(charts.gains_chart, sketch.gains)),
            ("utility", partial(charts.utility_chart, sketch.utility)),
        ]
        if sum(sketch.nearest.counts["before"]):
            wanted.append(("nearest", partial(charts.nearest_chart, sketch.nearest)))
        if sketch.map is not None:
            wanted.append(("map", partial(charts.map_chart, sketch.map)))
    found = {name: draw() for name, draw in wanted}
    return {name: charts.renamed(one, name, mark) for name, one in found.items() if one is not None}


def _stages(report: Report) -> list[dict[str, Any]]:
    """Return of each stage its seconds, their share of all, and the memory that had been held at its end."""
    total = sum(report.seconds.values()) or 1.0
    return [
        {"name": name, "seconds": value, "share": value / total, "peak": report.peaks.get(name)}
        for name, value in report.seconds.items()
    ]


def _rendered(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    folder = files("subsel.pages").joinpath("templates")
    found = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"count": count, "amount": amount, "estimate": estimate_text}
    return found
