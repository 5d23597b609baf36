"""What a report's page draws, counted on one part, and put together: the rules, the same on every engine.

Counts add up over parts, and bins are the same everywhere, so the pictures do not depend on parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.linalg import eigh

from subsel.audit import Judged, Reason, Room, in_order, judge, nearest_edges
from subsel.board import Board
from subsel.config import Metric
from subsel.coverage import BoolArray, FloatArray, sampled
from subsel.embeddings.metrics import FloatMatrix, Preparation
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph
from subsel.report import InputReport, Report
from subsel.schema import FIRST_MEMBER
from subsel.sketch import BINS, EXAMPLES, LETTERS, MAP_MEMBERS, MAP_POINTS, RANKS, Histogram, PointMap


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Edges of bins: float64, (BINS + 1,)."""

    utility: FloatArray
    similarity: FloatArray

    @classmethod
    def over(cls, least: float, most: float, largest: float) -> Bins:
        """Return bins from the least utility to the most, and from 0 to the largest similarity."""
        return cls(_edges(least, most), _edges(0.0, largest))


def _edges(least: float, most: float) -> FloatArray:
    edges: FloatArray = np.linspace(least, most if most > least else least + (abs(least) or 1.0), BINS + 1)
    edges[-1] = max(edges[-1], most)
    return edges


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of a part's own points, int64 each: of the first five by bin, of ``without`` by the last three of these.

    See `subsel.sketch.Sketch`; ``reasons`` are by `Reason`.
    """

    all: Int64Array
    selected: Int64Array
    before: Int64Array
    others: Int64Array
    members: Int64Array
    without: Int64Array
    reasons: Int64Array

    @classmethod
    def shapes(cls) -> dict[str, int]:
        """Return how many counts there are of each."""
        lengths = {"without": 3, "reasons": len(Reason)}
        return {one.name: lengths.get(one.name, BINS) for one in fields(cls)}

    def utility(self, bins: Bins) -> Histogram:
        """Return the histogram of utilities."""
        return Histogram(
            edges=bins.utility.tolist(), counts={"all": self.all.tolist(), "selected": self.selected.tolist()}
        )

    def nearest(self, bins: Bins) -> Histogram:
        """Return the histogram of similarities."""
        counts = {"before": self.before, "others": self.others, "selected": self.members}
        return Histogram(
            edges=bins.similarity.tolist(),
            counts={name: one.tolist() for name, one in counts.items()},
            without=dict(zip(counts, self.without.tolist(), strict=True)),
        )


def tally(
    graph: PartGraph, board: Board, outlier: BoolArray, room: Room, bins: Bins
) -> tuple[Tally, Judged, Int64Array]:
    """Count a part's own points, those of a target set aside; return also what is said of each, and a few examples.

    Args:
        graph: the part, with all of its edges.
        board: its board when all is done, news delivered.
        outlier: see `subsel.audit.judge`.
        room: likewise.
        bins: of all parts.

    Returns:
        Counts; judgements; int64, up to `EXAMPLES` own points that are not selected: those of the largest codes.
    """
    n = graph.n_points
    judged = judge(graph, board, outlier, room)
    member = board.status[:n] >= FIRST_MEMBER
    points = np.ones(len(board.status), np.bool_) if graph.target is None else ~graph.target
    edge = nearest_edges(graph.indptr[: n + 1], graph.indices, graph.similarity, graph.code, points)
    linked, has = edge >= 0, judged.nearest >= 0
    nearest = np.zeros(n)
    nearest[linked] = graph.similarity[edge[linked]]
    kinds = ((nearest, linked, member | True), (judged.similarity, has, ~member), (judged.similarity, has, member))
    similar = [_count(values[some & valid], bins.similarity) for values, valid, some in kinds]
    without = [int((some & ~valid).sum()) for _, valid, some in kinds]
    utility = graph.utility[:n]
    reasons = np.bincount(judged.reason.astype(np.int64), minlength=len(Reason)).astype(np.int64)
    before, others, members = similar
    found = Tally(
        all=_count(utility, bins.utility),
        selected=_count(utility[member], bins.utility),
        before=before,
        others=others,
        members=members,
        without=np.array(without, np.int64),
        reasons=reasons,
    )
    rejected = sampled(graph.code[:n], ~member, EXAMPLES)
    return found, judged, rejected


def _count(values: npt.NDArray[np.float64], edges: FloatArray) -> Int64Array:
    return np.histogram(values, edges)[0].astype(np.int64)


def reasons_of(counts: Int64Array, found: Report) -> dict[str, int]:
    """Return how many points of the input have each reason, those too that are in no part; ``counts``: of the parts."""
    by_word = {one.word: int(counts[one]) for one in Reason}
    near = found.constraints.near
    by_word[Reason.EXCLUDED.word] -= near
    by_word[Reason.NEAR.word] += near
    by_word |= outside(found.input, found.graph.drawn)
    return in_order(by_word)


def outside(points: InputReport, drawn: int | None) -> dict[str, int]:
    """Return how many points are in no part, by reason: copies, and those that were not drawn."""
    left = 0 if drawn is None else points.distinct - drawn
    return {Reason.COPY.word: points.copies, Reason.NOT_DRAWN.word: left}


def some_ranks(k: int, count: int) -> list[int]:
    """Return up to ``count`` ranks of k members, evenly from the first to the last."""
    return sorted({round(one) for one in np.linspace(0, max(k - 1, 0), min(count, k)).tolist()})


def curve_ranks(k: int) -> list[int]:
    """Return the ranks whose gains are drawn."""
    return some_ranks(k, RANKS)


def example_ranks(k: int) -> list[int]:
    """Return the ranks whose members are shown."""
    return some_ranks(k, EXAMPLES)


def text_columns(columns: pa.Schema) -> list[str]:
    """Return the columns that hold text."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)

    def is_text(kind: pa.DataType) -> bool:
        return any(one(kind.value_type if pa.types.is_dictionary(kind) else kind) for one in kinds)

    return [one.name for one in columns if is_text(one.type)]


def shortened(texts: Mapping[str, object]) -> dict[str, str | None]:
    """Return texts as an example shows them."""
    return {name: None if one is None else _short(str(one)) for name, one in texts.items()}


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def map_of(code: Int64Array, X: FloatMatrix, member: BoolArray, metric: Metric) -> PointMap | None:
    """Return sampled points along the two directions in which they differ most; None where they have no two.

    Args:
        code: int64, (m,): of points among which those of the largest codes are, and the members of these.
        X: float32, (m, d): their embeddings, not prepared.
        member: bool, (m,).
        metric: see `subsel.embeddings.metrics`.
    """
    everybody = sampled(code, np.ones(len(code), np.bool_), MAP_POINTS)
    more = sampled(code, member, MAP_MEMBERS)
    more = more[~np.isin(more, everybody)]
    prepare = Preparation.of_sample(X[everybody], metric)
    rows = prepare.rows(X[np.concatenate([everybody, more])]).astype(np.float64)
    rows -= rows[: len(everybody)].mean(axis=0)
    points = rows[: len(everybody)]
    total = float(np.square(points).sum())
    if min(points.shape) < 2 or not total:
        return None
    variance, axes = _directions(points)
    x, y = (rows @ axes.T).T.round(4)
    share = variance / total
    chosen = np.concatenate([everybody, more])
    return PointMap(
        x=x.tolist(),
        y=y.tolist(),
        member=member[chosen].tolist(),
        sample=len(everybody),
        share=(float(share[0]), float(share[1])),
    )


def _directions(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the sums of squares along the two directions that have most, (2,), and these, (2, d); points are centred.

    Of the matrix of inner products of rows, or of columns, whichever is smaller.
    """
    m, d = points.shape
    square = points.T @ points if d <= m else points @ points.T
    values, vectors = eigh(square, subset_by_index=[len(square) - 2, len(square) - 1])
    values, vectors = np.maximum(values[::-1], 0.0), vectors.T[::-1]
    if d > m:
        vectors = vectors @ points
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    largest = vectors[np.arange(2), np.abs(vectors).argmax(axis=1)]
    return values, vectors * np.where(largest < 0, -1.0, 1.0)[:, None]  # signs are free
