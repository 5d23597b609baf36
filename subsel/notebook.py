"""What a notebook shows of a subset: the closing table and two pictures, as HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from subsel.pages.facts import Facts
from subsel.text import printable

FloatArray = npt.NDArray[np.float64]

_WIDTH, _HEIGHT, _MARGIN = 300, 130, 22
#: Points of a curve and bars of a histogram at most: a page stays small whatever n and k are.
_MOST_POINTS, _BARS = 200, 30
_ALL, _SELECTED = "#bbb", "#1668b5"


def page_of(facts: Facts, pictures: Sequence[str]) -> str:
    """Return a table, and pictures under it."""
    lines = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{_text(one.name)}</th><td style="text-align:left">'
        f'<span style="color:#b00">{_text(one.warn)}</span>{_text(one.value)}'
        f'<span style="opacity:.6">{_text(one.dim)}</span>{_text(one.after)}</td></tr>'
        for one in facts.rows
    )
    return f"<div><table>{lines}</table><div>{''.join(pictures)}</div></div>"


def _text(text: str) -> str:
    return escape(printable(text))


def gain_by_rank(gains: FloatArray) -> str:
    """Return a picture of what members add, by rank: float64, (k,); empty where there is nothing to draw."""
    finite = gains[np.isfinite(gains)]
    if len(finite) < 2:
        return ""
    some = np.unique(np.linspace(0, len(finite) - 1, min(_MOST_POINTS, len(finite))).round().astype(np.int64))
    low, high = min(0.0, float(finite.min())), float(finite.max())
    x = _MARGIN + some / (len(finite) - 1) * (_WIDTH - 2 * _MARGIN)
    y = _level(finite[some], low, high)
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    curve = f'<polyline points="{path}" fill="none" stroke="{_SELECTED}" stroke-width="1.5"/>'
    return _picture("gain by rank", curve, ("1", f"{len(gains):,}"), (low, high))


def utility_of_both(everyone: FloatArray, member: FloatArray) -> str:
    """Return a picture of the utility of members beside that of all, as shares: float64, (n,) and (k,)."""
    low, high = float(everyone.min()), float(everyone.max())
    if len(member) == 0 or not low < high:
        return ""
    bins = np.linspace(low, high, _BARS + 1)
    shares = [np.histogram(values, bins)[0] / len(values) for values in (everyone, member)]
    most = float(max(share.max() for share in shares))
    step = (_WIDTH - 2 * _MARGIN) / _BARS
    bars = ""
    for place, share in enumerate(shares[0].tolist()):
        top = float(_level(np.array([share]), 0, most)[0])
        bars += (
            f'<rect x="{_MARGIN + place * step:.1f}" y="{top:.1f}" width="{step - 1:.1f}" '
            f'height="{_HEIGHT - _MARGIN - top:.1f}" fill="{_ALL}"/>'
        )
    x = _MARGIN + np.repeat(np.arange(_BARS + 1), 2)[1:-1] * step
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, _level(np.repeat(shares[1], 2), 0, most), strict=True))
    bars += f'<polyline points="{path}" fill="none" stroke="{_SELECTED}" stroke-width="1.5"/>'
    return _picture("utility of selected (line) and of all (bars)", bars, (f"{low:.4g}", f"{high:.4g}"), (0.0, most))


def _level(values: FloatArray, low: float, high: float) -> FloatArray:
    """Return where values are on a picture's vertical axis."""
    share = (values - low) / (high - low) if high > low else np.zeros(len(values))
    return np.asarray(_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN))


def _picture(title: str, inside: str, across: tuple[str, str], up: tuple[float, float]) -> str:
    """Return an SVG of a title, what is drawn, and what its axes begin and end with."""
    bottom, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    texts = [
        (_MARGIN, 12, "start", title),
        (_MARGIN, _HEIGHT - 8, "start", across[0]),
        (right, _HEIGHT - 8, "end", across[1]),
        (right, 24, "end", f"{up[0]:.3g} to {up[1]:.3g}"),
    ]
    words = "".join(
        f'<text x="{x}" y="{y}" font-size="10" fill="currentColor" text-anchor="{anchor}">{escape(text)}</text>'
        for x, y, anchor, text in texts
    )
    axis = f'<path d="M{_MARGIN} {bottom}H{right}" stroke="currentColor" fill="none"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{axis}{inside}{words}</svg>'
    )
