"""Draw the pictures of docs/concepts.md: python docs/making/pictures.py. Selections in them are real ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import subsel

PICTURES = Path(__file__).parents[1] / "pictures"
FloatArray = npt.NDArray[np.float64]

IN, OUT, LINE, TEXT, AREA = "#00796b", "#b0bec5", "#90a4ae", "#37474f", "#ffffff"
BAD, MAYBE = "#d84315", "#f9a825"


class Drawing:
    """An SVG that grows: shapes in its own units, on a white ground so that it is read on dark pages, too."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" font-family="sans-serif" font-size="13">\n<title>{title}</title>\n'
            f'<rect width="{width}" height="{height}" rx="6" fill="{AREA}"/>'
        )
        self._lines: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, *, color: str = LINE, width: float = 1.5) -> None:
        """Draw a line."""
        self._lines.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, r: float = 5, *, color: str = OUT) -> None:
        """Draw a point."""
        self._lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}" fill="{color}"/>')

    def bar(self, x: float, y: float, width: float, height: float, *, color: str) -> None:
        """Draw a bar."""
        self._lines.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>')

    def text(self, x: float, y: float, text: str, *, color: str = TEXT, anchor: str = "middle") -> None:
        """Write text."""
        self._lines.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}">{text}</text>')

    def __str__(self) -> str:
        return "\n".join([self._head, *self._lines, "</svg>\n"])


def _clusters() -> tuple[FloatArray, FloatArray]:
    """Return 120 points of the plane in three clusters, and utilities that are highest in the first."""
    rng = np.random.default_rng(3)
    centres = np.repeat([[60.0, 70.0], [150.0, 60.0], [105.0, 150.0]], 40, axis=0)
    points = centres + rng.uniform(-1, 1, (120, 2)) * rng.uniform(4, 42, (120, 1))
    utility = 1.0 - np.linalg.norm(points - [60.0, 70.0], axis=1) / 160
    return points, utility


def _select(points: FloatArray, utility: FloatArray | None = None, **options: object) -> subsel.Selection:
    return subsel.select(points / 20, utility=utility, size=12, metric="l2", progress=False, **options)  # type: ignore[arg-type]


def objective() -> Drawing:
    """What a subset earns and pays."""
    drawing = Drawing(560, 200, "Members earn their utility and pay for the similarity of neighbours that are both in")
    places = [(60, 60, 0.9), (150, 40, 0.8), (130, 130, 0.4), (240, 90, 0.7), (300, 150, 0.3), (340, 50, 0.6)]
    edges = [(0, 1, 0.8), (0, 2, 0.3), (1, 3, 0.5), (2, 3, 0.4), (3, 4, 0.6), (3, 5, 0.4), (4, 5, 0.2)]
    chosen = {0, 1, 5}
    for a, b, similarity in edges:
        (xa, ya, _), (xb, yb, _) = places[a], places[b]
        paid = {a, b} <= chosen
        drawing.line(xa, ya, xb, yb, color=BAD if paid else LINE, width=1 + 6 * similarity)
        if paid:
            drawing.text((xa + xb) / 2, (ya + yb) / 2 - 10, f"- β · {similarity}", color=BAD)
    for i, (x, y, u) in enumerate(places):
        drawing.dot(x, y, 5 + 8 * u, color=IN if i in chosen else OUT)
        drawing.text(x, y + 30, f"+ α · {u}" if i in chosen else f"{u}", color=IN if i in chosen else TEXT)
    drawing.text(400, 80, "green: in the subset", color=IN, anchor="start")
    drawing.text(400, 100, "red: both ends in", color=BAD, anchor="start")
    drawing.text(400, 120, "grey: costs nothing", anchor="start")
    return drawing


def diversity() -> Drawing:
    """The same points under three diversities."""
    points, utility = _clusters()
    drawing = Drawing(640, 220, "12 of 120 points, utility highest in the upper left cluster, at three diversities")
    for panel, value in enumerate((0.05, 0.5, 0.9)):
        rows = _select(points, utility, diversity=value).rows
        _scatter(drawing, points, rows, left=panel * 215)
        drawing.text(panel * 215 + 105, 208, f"diversity = {value}")
    return drawing


def coverage() -> Drawing:
    """Each point with the member that covers it."""
    points, _ = _clusters()
    selection = _select(points, objective="coverage")
    rows = selection.rows
    assert selection.graph is not None
    similar = selection.graph.to_scipy().toarray()[:, rows]
    drawing = Drawing(480, 220, "12 of 120 points so that each is near to one: lines lead to the nearest member")
    for point, best in enumerate(similar.argmax(axis=1)):
        if similar[point, best] > 0 and point not in rows:
            drawing.line(*points[point], *points[rows[best]], width=1)
    _scatter(drawing, points, rows)
    drawing.text(105, 208, 'objective = "coverage"')
    far = int((similar.max(axis=1) <= 0).sum() - (similar[rows].max(axis=1) <= 0).sum())
    notes = (
        "green: members",
        "grey: points, each with a line",
        "to its nearest member;",
        f"{far} have none on the graph",
    )
    for i, note in enumerate(notes):
        drawing.text(240, 80 + 20 * i, note, anchor="start", color=IN if i == 0 else TEXT)
    return drawing


def bounding() -> Drawing:
    """Bounds of gains, and which points they decide."""
    drawing = Drawing(560, 240, "Intervals of what points can add; two thresholds decide some of them for good")
    bounds = [(8.2, 9.0), (7.4, 8.1), (3.0, 6.4), (2.8, 6.0), (3.6, 5.2), (2.2, 4.6), (1.0, 2.6), (0.4, 1.6)]
    k = 4
    lows, highs = sorted((low for low, _ in bounds), reverse=True), sorted((high for _, high in bounds), reverse=True)
    accept, discard = highs[k], lows[k - 1]
    for i, (low, high) in enumerate(bounds):
        color = IN if low > accept else BAD if high < discard else MAYBE
        drawing.bar(30 + 40 * i, 210 - 20 * high, 22, 20 * (high - low), color=color)
    for level, name in ((accept, "(k+1)-th largest upper bound"), (discard, "k-th largest lower bound")):
        drawing.line(20, 210 - 20 * level, 355, 210 - 20 * level, width=1)
        drawing.text(360, 214 - 20 * level, name, anchor="start")
    for i, (name, color) in enumerate((("accepted", IN), ("undecided", MAYBE), ("discarded", BAD))):
        drawing.text(460, 30 + 18 * i, name, color=color, anchor="start")
    drawing.text(25, 230, f"points, each from the least to the most that it can add; k = {k}", anchor="start")
    return drawing


def parts() -> Drawing:
    """Local dominance: who is picked at once."""
    drawing = Drawing(560, 220, "Points that beat all their undecided neighbours are picked at once, in any part")
    drawing.line(275, 15, 275, 185, color=TEXT, width=1)
    places = [(50, 60, 9), (120, 130, 4), (190, 60, 6), (240, 140, 7), (320, 100, 5), (380, 50, 3), (440, 130, 8)]
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (4, 6), (1, 3)]
    for a, b in edges:
        drawing.line(*places[a][:2], *places[b][:2])
    for i, (x, y, gain) in enumerate(places):
        rivals = [places[b if a == i else a][2] for a, b in edges if i in (a, b)]
        drawing.dot(x, y, 16, color=IN if gain > max(rivals) else OUT)
        drawing.text(x, y + 5, str(gain), color=AREA if gain > max(rivals) else TEXT)
    drawing.text(140, 205, "one part")
    drawing.text(410, 205, "another part")
    drawing.text(470, 40, "green: picked now", color=IN)
    return drawing


def certificate() -> Drawing:
    """What the certified share is a share of."""
    drawing = Drawing(640, 110, "The certified share: how far f is from random towards what no subset exceeds")
    drawing.bar(60, 50, 520, 10, color=OUT)
    drawing.bar(60, 50, 350, 10, color=IN)
    marks = ((60, "random"), (410, "f, your subset"), (580, "upper bound"))
    for x, name in marks:
        drawing.line(x, 42, x, 68, color=TEXT, width=1.5)
        drawing.text(x, 34, name)
    drawing.text(500, 85, "the best subset: somewhere here")
    drawing.text(160, 85, "certified share: green of the whole bar", color=IN)
    return drawing


def _scatter(
    drawing: Drawing, points: FloatArray, rows: Sequence[int] | npt.NDArray[np.int64], left: float = 0
) -> None:
    for x, y in points:
        drawing.dot(x + left, y, 3)
    for row in rows:
        drawing.dot(points[row, 0] + left, points[row, 1], 5, color=IN)


ALL = (objective, diversity, coverage, bounding, parts, certificate)


def draw(folder: Path) -> None:
    """Write every picture into a folder."""
    folder.mkdir(exist_ok=True)
    for one in ALL:
        (folder / f"{one.__name__}.svg").write_text(str(one()), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
