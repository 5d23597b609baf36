"""Pictures as SVG that stands in a page: colours are the page's, text is text, nothing is fetched.

They need matplotlib (``pip install 'subsel[report]'``). Who is who is told by shapes and line styles, not by colour.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from subsel.report import Report
from subsel.sketch import Gains, Histogram, PointMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

#: Stand-ins for the page's colours: each is replaced by the variable that is named after it.
_COLOURS = {"#010203": "ink", "#040506": "muted", "#070809": "accent", "#0a0b0c": "second", "#0d0e0f": "line"}
_INK, _MUTED, _ACCENT, _SECOND, _LINE = _COLOURS
_SIZE = (4.7, 3.0)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11.5,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def has_charts() -> bool:
    """Return whether pictures can be drawn."""
    return find_spec("matplotlib") is not None


def _drawn(name: str, label: str, draw: Callable[[Axes], None], size: tuple[float, float] = _SIZE) -> Markup | None:
    """Return a picture; None where matplotlib fails, which must not cost the page."""
    import matplotlib as mpl  # noqa: PLC0415  (an extra)
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    try:
        with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
            figure = Figure(figsize=size, layout="tight")
            FigureCanvasSVG(figure)
            draw(figure.add_subplot())
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
    except Exception as error:
        log.warning("the picture %s could not be drawn: %s", name, error)
        return None
    return Markup(_inlined(text.getvalue(), name, label))


def _inlined(svg: str, name: str, label: str) -> str:
    """Return an SVG file as an element of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\bid=\"", f'id="{name}-', svg)
    svg = re.sub(r"(href=\"|url\()#", rf"\1#{name}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: ([^;\"]*?)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"\s(width|height)=\"[\d.]+pt\"", "", svg, count=2)
    svg = re.sub(r"\sxmlns(:xlink)?=\"[^\"]*\"", "", svg)
    for stand_in, variable in _COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(label)}"', 1)


def renamed(svg: Markup, name: str, mark: str) -> Markup:
    """Return a picture whose ids are told from those of the same picture of another report by ``mark``."""
    return Markup(str(svg).replace(f'"{name}-', f'"{name}{mark}-').replace(f"#{name}-", f"#{name}{mark}-"))


def objective_chart(report: Report) -> Markup | None:
    """Draw f of the subset between what it is compared with and what it cannot exceed."""
    score = report.objective
    marks = [("random", score.random, "o", _MUTED)]
    if score.top_utility is not None:
        marks.append(("top utility", score.top_utility, "s", _MUTED))
    marks += [("this subset", score.total, "D", _ACCENT), ("upper bound", report.certificate.upper_bound, "|", _INK)]

    def draw(axes: Axes) -> None:
        rows = range(len(marks))[::-1]
        for row, (_, value, marker, colour) in zip(rows, marks, strict=True):
            axes.axhline(row, color=_LINE, linewidth=0.8, linestyle=":", zorder=1)
            width = 3 if marker == "|" else 1
            axes.plot(
                [value], [row], marker, color=colour, markersize=18 if marker == "|" else 9, markeredgewidth=width
            )
            axes.annotate(
                f"{value:,.5g}", (value, row), (0, 11), textcoords="offset points", ha="center", fontsize=10.5
            )
        axes.set_yticks(list(rows), [name for name, *_ in marks])
        axes.set_ylim(-0.5, len(marks) - 0.25)
        axes.margins(x=0.15)
        axes.set_xlabel("objective f(S)")
        axes.locator_params(axis="x", nbins=5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False, labelcolor=_INK)

    return _drawn("objective", "Objective of the subset and of what it is compared with", draw, (4.7, 2.5))


def gains_chart(gains: Gains) -> Markup | None:
    """Draw gains by rank, down to the last member's."""

    def draw(axes: Axes) -> None:
        ranks = np.array(gains.ranks) + 1
        axes.plot(ranks, gains.gains, color=_ACCENT, linewidth=1.8)
        axes.axvline(ranks[-1], color=_INK, linewidth=1, linestyle="--")
        axes.axhline(gains.gains[-1], color=_INK, linewidth=1, linestyle=":")
        axes.annotate(
            f"the cut: rank {ranks[-1]:,}, gain {gains.gains[-1]:.4g}",
            (1, 1),
            (-4, 2),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=10.5,
        )
        axes.set_xlabel("rank")
        axes.set_ylabel("gain")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", nbins=5)

    return _drawn("gains", "Gain of members by rank", draw)


def utility_chart(utility: Histogram) -> Markup | None:
    """Draw how utilities of members are spread beside those of all points."""

    def draw(axes: Axes) -> None:
        _steps(axes, utility, "all", "all points", filled=True)
        _steps(axes, utility, "selected", "selected", color=_ACCENT)
        _finish(axes, "utility")

    return _drawn("utility", "Utilities of selected points and of all", draw)


def nearest_chart(nearest: Histogram) -> Markup | None:
    """Draw similarities to the nearest neighbour before selecting, and to the nearest member after it."""

    def draw(axes: Axes) -> None:
        _steps(axes, nearest, "before", "before: any neighbour", filled=True)
        _steps(axes, nearest, "others", "after: left out to selected", color=_SECOND, linestyle="--")
        _steps(axes, nearest, "selected", "after: selected to selected", color=_ACCENT)
        _finish(axes, "similarity to the nearest")
        some = np.flatnonzero(np.sum([np.array(one) for one in nearest.counts.values()], axis=0))
        if len(some):
            axes.set_xlim(nearest.edges[some[0]], nearest.edges[some[-1] + 1])

    return _drawn("nearest", "Similarity to the nearest neighbour, before and after", draw)


def _steps(axes: Axes, of: Histogram, name: str, label: str, *, filled: bool = False, **style: Any) -> None:
    counts = np.array(of.counts[name], np.float64)
    shares = 100 * counts / max(counts.sum() + of.without.get(name, 0), 1)
    if filled:
        axes.stairs(shares, of.edges, fill=True, color=_LINE, label=label)
    else:
        axes.stairs(shares, of.edges, linewidth=1.8, label=label, **style)


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.set_ylabel("% of each")
    axes.locator_params(axis="x", nbins=6)
    axes.margins(x=0)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, handlelength=1.6)


def map_chart(points: PointMap) -> Markup | None:
    """Draw points and members along the two directions in which points differ most."""

    def draw(axes: Axes) -> None:
        x, y, member = np.array(points.x), np.array(points.y), np.array(points.member)
        out = ~member
        axes.scatter(x[out], y[out], s=5, color=_MUTED, alpha=0.45, linewidths=0, label="not selected")
        axes.scatter(x[member], y[member], s=22, marker="+", color=_ACCENT, linewidths=1.1, label="selected")
        axes.set_xlabel(f"first direction, {points.share[0]:.0%} of the variance")
        axes.set_ylabel(f"second, {points.share[1]:.0%}")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, ncols=2, handletextpad=0.2)

    return _drawn("map", "Map of points and selected points", draw, (4.7, 3.9))
