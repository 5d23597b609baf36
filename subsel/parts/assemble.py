"""From half-edges to part graphs, in two exchanges: gather a part's edges, then resolve its ghosts.

A half-edge is one direction of an edge, kept by the part of its first end, which names the other end by its part
and code. Both directions are always sent, so a part knows from its own edges who has its points as ghosts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.errors import InputError
from subsel.fixedpoint import FixedPoint, Int64Array, Usual, check_resolution, cover_range, exact_total
from subsel.graph import SLOT_BITS, SLOT_MASK, DraftGraph, distinct
from subsel.input.groups import NULL, GroupNames
from subsel.parts import kernel
from subsel.parts.pack import Parcel, by_part, concatenate, of_kind, pack, unpack
from subsel.parts.target import Span
from subsel.report import WeightsReport

#: Kinds of parcels: a part's points; half-edges of its points; a part's own edges while ghosts are looked up; what
#: a part needs to know of its ghosts; the finished graph; its extremes.
POINTS, EDGES, DRAFT, BORDER, GRAPH, SHAPE = "points", "edges", "draft", "border", "graph", "shape"
#: And, where utilities are not those of rows: utilities of own points and ghosts, and which own points are outliers.
UTILITY = "utility"
#: And, where points have groups: the names of these, a parcel for each column, in a run directory.
GROUPS = "groups"


#: Sums of codes are kept modulo this, which float64 holds exactly.
CODE_SUM = 2**52
#: What is wrong where points of one scan are not those of the next.
CHANGED = (
    "its ids or rows changed from one scan to the next: write it to Parquet, or cache it, if it is computed by "
    "something random or by functions that do not always return the same."
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What must be known of all parts before keys can be made, and of a graph to report it.

    ``similarity`` is `similarity_sum` exactly, see `subsel.fixedpoint.exact_total`; ``most_importance`` is 0.0 where
    points have no importance, ``most_itself`` None where they have no similarity to themselves of their own; the last
    four are for `usual`.
    """

    points: int
    code_sum: int
    half_edges: int
    max_degree: int
    max_weighted_degree: float
    max_similarity: float
    least_utility: float
    most_utility: float
    utility_sum: float
    similarity_sum: float
    similarity: int = 0
    alone: int = 0
    most_importance: float = 0.0
    most_itself: float | None = None
    utility_bits: int = 0
    utilities: int = 0
    degree_bits: int = 0
    degrees: int = 0

    @property
    def usual(self) -> tuple[Usual, Usual]:
        """How large utilities, and sums of similarities of a point, usually are."""
        return Usual(self.utility_bits, self.utilities, self.points), Usual(self.degree_bits, self.degrees, self.points)


def pack_shape(shape: Shape) -> pa.Buffer:
    """Return a shape as a pack: as JSON, which has integers of any size."""
    return pack(shape=np.frombuffer(json.dumps(asdict(shape)).encode(), np.uint8))


def unpack_shape(payload: bytes | pa.Buffer) -> Shape:
    """Return the shape that was packed."""
    return Shape(**json.loads(unpack(payload)["shape"].tobytes()))


def pack_edges(
    own: Int64Array, other_part: npt.NDArray[Any], other: Int64Array, similarity: npt.NDArray[Any]
) -> pa.Buffer:
    """Return half-edges as a pack: codes of own ends, parts and codes of the other ends, similarities."""
    return pack(own=own, other_part=other_part.astype(np.int32), other=other, similarity=similarity)


def pack_points(points: Mapping[str, Any], some: Int64Array) -> pa.Buffer:
    """Return some points of a batch as a pack: code, utility, id; and if there, others, cost, importance and group.

    These are what else utility is made of, what points cost, how much it counts that they are covered, and the numbers
    of their groups: float64, (n, c), int64, (n,), float64, (n,), and int32, (n, columns), each row after the other.
    """
    wide = [name for name in ("others", "group") if name in points]
    more = {name: points[name].reshape(len(points["code"]), -1)[some].ravel() for name in wide}
    names = [name for name in ("code", "utility", "id", "cost", "importance", "itself") if name in points]
    return pack(**{name: _take(points[name], some) for name in names}, **more)


def pack_names(names: GroupNames) -> pa.Buffer:
    """Return the names of a column's groups as a pack."""
    null = np.array([] if names.null is None else [names.null], np.int64)
    rows = np.array(names.rows, np.int64)
    return pack(column=pa.array([names.column], pa.large_string()), names=names.texts, null=null, rows=rows)


def unpack_names(parcels: Sequence[Parcel]) -> tuple[GroupNames, ...]:
    """Return the names of groups, column by column, that parcels of kind `GROUPS` hold."""
    found = []
    for parcel in of_kind(parcels, GROUPS):
        arrays = unpack(parcel.payload)
        null = [NULL] * len(arrays["null"])
        number = int(arrays["null"][0]) if null else None
        names, rows = (*arrays["names"].to_pylist(), *null), tuple(arrays["rows"].tolist())
        found.append(GroupNames(arrays["column"][0].as_py(), names, number, rows))
    return tuple(found)


def gather(part: int, parcels: Sequence[Parcel]) -> Iterator[Parcel]:
    """First exchange: number the part's points by code, merge its half-edges, tell neighbours about border points.

    An edge that arrives several times counts once, with its largest similarity.

    Raises:
        InputError: a half-edge's own end is no point of this part.
    """
    points = concatenate(unpack(parcel.payload, views=True) for parcel in of_kind(parcels, POINTS))
    order = np.argsort(points["code"])
    code = points["code"][order]
    yield Parcel(part, part, POINTS, pack_points(points, order))

    received = of_kind(parcels, EDGES)
    edges = concatenate(unpack(parcel.payload, views=True) for parcel in received) if received else _no_edges()
    slot = _find(code, edges["own"])
    rank = kernel.order_by_row(slot, len(code), edges["other"])
    slot, other, similarity = slot[rank], edges["other"][rank], edges["similarity"][rank]
    first = np.flatnonzero(np.concatenate([[True], (slot[1:] != slot[:-1]) | (other[1:] != other[:-1])])[: len(slot)])
    slot, other, other_part = slot[first], other[first], edges["other_part"][rank[first]]
    if len(first):
        similarity = np.maximum.reduceat(similarity, first)
    draft = pack(slot=slot, other_part=other_part, other=other, similarity=similarity)
    yield Parcel(part, part, DRAFT, draft)

    outside = other_part != part
    pairs = distinct((other_part[outside].astype(np.int64) << SLOT_BITS) | slot[outside])
    for to, some in by_part(pairs >> SLOT_BITS):
        mine = pairs[some] & SLOT_MASK
        known = {name: points[name][order[mine]] for name in ("utility", "cost", "importance") if name in points}
        border = pack(slot=mine, code=code[mine], **known)
        yield Parcel(to, part, BORDER, border)


def resolve(part: int, parcels: Sequence[Parcel]) -> tuple[DraftGraph, Shape]:
    """Second exchange: number the ghosts, and return the part's draft and shape.

    Raises:
        InputError: an edge leads to a point that its part does not have.
    """
    points = unpack(of_kind(parcels, POINTS)[0].payload)
    draft = unpack(of_kind(parcels, DRAFT)[0].payload)
    n_own = len(points["code"])
    borders = of_kind(parcels, BORDER)
    ghosts: dict[str, Any] = {name: np.empty(0, np.int64) for name in ("vid", "code", "cost")}
    ghosts |= {name: np.empty(0) for name in ("utility", "importance")}
    if borders:
        arrays = [unpack(parcel.payload) for parcel in borders]
        for parcel, one in zip(borders, arrays, strict=True):
            one["vid"] = (parcel.source << SLOT_BITS) | one.pop("slot")
        ghosts = concatenate(arrays)
        order = np.argsort(ghosts["vid"])
        ghosts = {name: column[order] for name, column in ghosts.items()}

    index = np.empty(len(draft["slot"]), np.int64)
    inside = draft["other_part"] == part
    index[inside] = _find(points["code"], draft["other"][inside])
    by_code = np.argsort(ghosts["code"])
    index[~inside] = n_own + by_code[_find(ghosts["code"][by_code], draft["other"][~inside])]
    rank = kernel.order_by_row(draft["slot"], n_own, index)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(draft["slot"], minlength=n_own))]).astype(np.int64)
    similarity = draft["similarity"][rank]
    graph = DraftGraph(
        part=part,
        indptr=indptr,
        indices=index[rank].astype(np.int32),
        similarity=similarity,
        utility=np.concatenate([points["utility"], ghosts["utility"]]),
        code=np.concatenate([points["code"], ghosts["code"]]),
        ghost_vid=ghosts["vid"],
        cost=np.concatenate([points["cost"], ghosts["cost"]]) if "cost" in points else None,
        itself=points.get("itself"),
        importance=np.concatenate([points["importance"], ghosts["importance"]]) if "importance" in points else None,
        group=np.ascontiguousarray(points["group"].reshape(n_own, -1).T) if "group" in points else None,
    )
    row = draft["slot"][rank]
    degree = np.bincount(row, weights=similarity, minlength=n_own)
    usual = Usual.of(points["utility"]), Usual.of(degree * points["importance"] if "importance" in points else degree)
    shape = Shape(
        points=n_own,
        code_sum=int(points["code"].view(np.uint64).sum(dtype=np.uint64)) % CODE_SUM,
        half_edges=len(similarity),
        max_degree=int(np.diff(indptr).max(initial=0)),
        alone=int((np.diff(indptr) == 0).sum()),
        max_weighted_degree=float(degree.max(initial=0)),
        max_similarity=float(similarity.max(initial=0)),
        least_utility=float(points["utility"].min()),
        most_utility=float(points["utility"].max()),
        utility_sum=float(points["utility"].sum()),
        similarity_sum=float(similarity.sum(dtype=np.float64)),
        similarity=exact_total(similarity),
        most_importance=float(points["importance"].max()) if "importance" in points else 0.0,
        most_itself=float(points["itself"].max()) if "itself" in points else None,
        utility_bits=usual[0].bits,
        utilities=usual[0].some,
        degree_bits=usual[1].bits,
        degrees=usual[1].some,
    )
    return graph, shape


class Utilities(NamedTuple):
    """The least and the most of some utilities, and how large they usually are."""

    least: float
    most: float
    usual: Usual


def utility_range(shapes: Sequence[Shape]) -> Utilities:
    """Return the range of all parts' utilities."""
    usual = sum((shape.usual[0] for shape in shapes), Usual())
    return Utilities(min(one.least_utility for one in shapes), max(one.most_utility for one in shapes), usual)


def check_unchanged(shapes: Sequence[Shape], points: int, code_sum: int | None, name: str) -> None:
    """Check that a graph's points are those that were checked.

    Args:
        shapes: of its parts.
        points: that were checked.
        code_sum: sum of their codes, modulo `CODE_SUM`; None: not known.
        name: what messages call the input.

    Raises:
        InputError: they are others.
    """
    found, total = sum(shape.points for shape in shapes), sum(shape.code_sum for shape in shapes) % CODE_SUM
    if found != points or (code_sum is not None and code_sum != total):
        raise InputError(f"{name}: {CHANGED}")


def scale_of(
    shapes: Sequence[Shape],
    weights: WeightsReport,
    utilities: Utilities,
    origin: float = 0.0,
    itself: float | None = None,
    target: Span | None = None,
) -> FixedPoint:
    """Return the scale that fits the shapes of all parts, α and β, and utilities of a range.

    ``itself``: the largest similarity of a point to itself, under coverage; ``target``: of a target, see
    `subsel.parts.target.span_of`.

    Raises:
        InputError: values are too large, or some so large that others do not count: see `subsel.fixedpoint`.
    """
    degree, similarity = (
        max(getattr(one, name) for one in shapes) for name in ("max_weighted_degree", "max_similarity")
    )
    usual, most = sum((one.usual[1] for one in shapes), Usual()), None
    if target is not None:
        usual, most = target.usual, target.importance
        degree, similarity = cover_range(target.degree, target.similarity, 0.0, most)
    elif itself is not None:
        most = max(one.most_importance for one in shapes)
        degree, similarity = cover_range(degree, similarity, itself, most)
    largest = max(abs(one - origin) for one in utilities[:2])
    scale = FixedPoint.choose(weights.alpha, weights.beta, largest, degree, similarity, weights.ratio, origin)
    check_resolution(scale, (largest, utilities.usual), (degree, usual), most)
    return scale


def _find(codes: Int64Array, wanted: Int64Array) -> Int64Array:
    """Return the places of ``wanted`` in sorted ``codes``.

    Raises:
        InputError: one is missing.
    """
    places = np.empty(len(wanted), np.int64)
    missing = kernel.find(codes, wanted, places)
    if missing:
        raise InputError(f"{missing:,} edges lead to unknown ids")
    return places


def _take(column: Any, order: Int64Array) -> Any:
    return column[order] if isinstance(column, np.ndarray) else column.take(pa.array(order))


def _no_edges() -> dict[str, Any]:
    return unpack(pack_edges(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0, np.float32)))
