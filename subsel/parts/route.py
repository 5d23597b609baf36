"""Neighbours across parts: which parts a point travels to, the search inside a part, and the merge at home.

A point lives in its home part, the one that owns its nearest coarse cell, and visits the parts of a few more cells: of
those that are hardly farther (docs/decisions/0010-reach.md). Inside a part, the same search as on one machine runs over
all points that are there; what it finds goes to their homes and is merged. So two points meet if any part has both:
with a few visits each, far more pairs do than if only residents could be found (docs/decisions/0007-visits.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.embeddings import cells
from subsel.embeddings.metrics import FloatMatrix, Preparation, similarity_of_scores
from subsel.embeddings.recipe import Search, find_neighbors
from subsel.fixedpoint import Int64Array
from subsel.parts import kernel
from subsel.parts.assemble import EDGES, POINTS, pack_edges, pack_points
from subsel.parts.crowded import find_crowded, without_twins
from subsel.parts.estimate import EFFORT, FOUND
from subsel.parts.pack import Parcel, by_part, of_kind, pack, unpack

log = logging.getLogger(__name__)

#: Kinds of parcels: vectors, of residents and visitors alike; lists of neighbours found.
VECTORS, LISTS = "vectors", "lists"

#: Coarse cells per part: enough to pack parts of equal size that are compact.
CELLS_PER_PART = 16
#: Rows by which it is seen that vectors do not fit into 16 bits.
_FEW = 16
#: Rows of the k-means sample per cell, at the least; and its bytes, at the most, since the driver holds it.
_ROWS_PER_CELL = 8
_SAMPLE_BYTES = 256 << 20
#: Points visit so far that of pairs of a sampled row and its neighbour, this share of those that can do meet.
_MEET = 0.98
#: Where a recall is aimed at, points visit up to so many cells' parts, until enough pairs can meet.
_MOST_VISITS = 24


def coarse_probes(how: Search) -> int:
    """Return of how many coarse cells' parts a point is in, at most: three quarters of what it probes inside each."""
    return max(2, 3 * how.probes // 4)


def sample_rows(n: int, dimension: int, part_points: int) -> int:
    """Return how many rows k-means wants: 40 for each coarse cell, in at most 256 MiB."""
    wanted = CELLS_PER_PART * max(1, -(-n // part_points)) * cells.SAMPLE_PER_CELL
    return int(min(max(wanted, 1000), _SAMPLE_BYTES // (4 * dimension)))


def coarse_cells(parts: int, sample: int) -> int:
    """Return how many cells so many parts want, as far as a sample of so many rows has them."""
    return max(1, min(CELLS_PER_PART * parts, sample // _ROWS_PER_CELL))


@dataclass(frozen=True, slots=True)
class PartMap:
    """Where points belong.

    Attributes:
        quantizer: of the c coarse cells.
        first_part: int32, (c,): the part of each cell, or the first of its shares.
        shares: int32, (c,): parts that share a cell which is too large for one; 1 otherwise.
        parts: number of parts.
        reach: a point is in the parts of the cells whose score is so far below its nearest cell's at most.
        visits: and of so many cells at most.
        crowded: of parts that too many would visit, the reach of those who do.
        largest: about how many points are in a part at most, visitors included.
    """

    quantizer: cells.Quantizer
    first_part: npt.NDArray[np.int32]
    shares: npt.NDArray[np.int32]
    parts: int
    reach: float = np.inf
    visits: int = 1
    crowded: Mapping[int, float] = field(default_factory=dict)
    largest: int = 0

    @classmethod
    def plan(
        cls,
        sample: FloatMatrix,
        n: int,
        part_points: int,
        how: Search,
        given: cells.Quantizer | None = None,
    ) -> PartMap:
        """Make coarse cells from a sample, pack neighbouring ones into parts of about equal size, and set the reach.

        Args:
            sample: float32, (m, d), prepared rows in the order of their codes.
            n: points in all.
            part_points: points wanted per part.
            how: points will be searched.
            given: cells that points are in already, none of which may be divided; None: they are made.
        """
        metric, seed = how.metric, how.seed
        wanted = max(1, -(-n // part_points))
        if wanted == 1:
            quantizer = cells.Quantizer.train(sample, 1, metric, seed)
            return cls(quantizer, np.zeros(1, np.int32), np.ones(1, np.int32), 1, largest=n)
        # In one level up to there: points visit fewer parts than with cells trained group by group (decision 9).
        n_cells = coarse_cells(wanted, len(sample))
        quantizer = given or cells.Quantizer.train(sample, n_cells, metric, seed, at_once=cells.ONE_LEVEL)
        quantizer = replace(quantizer, centroids=without_twins(quantizer.centroids))
        centroids, nearest = quantizer.centroids, quantizer.nearest(sample, 1)
        weight = np.bincount(nearest.ravel(), minlength=len(centroids)) * (n / len(sample))
        shares = np.maximum(1, np.rint(weight / part_points)).astype(np.int32)
        shares[(weight < 1.5 * part_points) | (given is not None)] = 1
        first = np.full(len(centroids), -1, np.int32)
        whole = np.flatnonzero(shares == 1)
        parts = 0
        if len(whole):
            groups = max(1, round(weight[whole].sum() / part_points))
            first[whole] = _bisect(centroids[whole], weight[whole], groups)
            first[whole] = np.unique(first[whole], return_inverse=True)[1]
            parts = int(first[whole].max()) + 1
        for cell in np.flatnonzero(shares > 1):
            first[cell] = parts
            parts += int(shares[cell])
        reach, visits = _reach(quantizer, first, sample, n, how)
        log.info(
            "%d parts of %d cells; a point is in those of up to %d cells within %.3g of its own",
            parts,
            len(first),
            visits,
            reach,
        )
        found = cls(quantizer, first, shares, parts, reach, visits)
        to, lag = found.journeys(sample, np.arange(len(sample)))
        crowded, largest = find_crowded(to, lag, parts, part_points, n / len(sample))
        return replace(found, crowded=crowded, largest=largest)

    def destinations(self, X: FloatMatrix, code: Int64Array) -> npt.NDArray[np.int32]:
        """Return the parts that each point goes to: int32, (b, visits); home first, no repeats, -1 for none."""
        return self.journeys(X, code)[0]

    def journeys(self, X: FloatMatrix, code: Int64Array) -> tuple[npt.NDArray[np.int32], FloatMatrix]:
        """Return the parts that each point goes to, see `destinations`, and how far beyond its own cell each is."""
        nearest, lag = self.quantizer.nearest_and_lag(X, min(self.visits, len(self.first_part)))
        share = (code.view(np.uint64)[:, None] % self.shares[nearest].astype(np.uint64)).astype(np.int32)
        to = np.where((nearest < 0) | (lag > self.reach), -1, self.first_part[nearest] + share)
        columns = np.ascontiguousarray(to.T)
        for place in range(1, len(columns)):
            for before in range(place):
                columns[place, columns[place] == columns[before]] = -1
        to = np.ascontiguousarray(columns.T)
        for part, reach in self.crowded.items():
            to[:, 1:][(to[:, 1:] == part) & (lag[:, 1:] > reach)] = -1
        return np.asarray(to, np.int32), lag


def _reach(
    quantizer: cells.Quantizer, part: npt.NDArray[np.int32], sample: FloatMatrix, n: int, how: Search
) -> tuple[float, int]:
    """Return how much farther than its own a cell may be so that `_MEET` of near pairs in the sample share a part.

    And of how many cells at most: of more than usual where a recall is aimed at that so few do not allow. The pairs are
    of last neighbours, of which fewer meet than of all: twice as many as the aim leaves open may be missed.

    Args:
        quantizer: of c coarse cells.
        part: int32, (c,): the part of each cell; parts that share one count as one.
        sample, n: see `subsel.embeddings.cells.neighbor_pairs`.
        how: points will be searched.
    """
    rows, others = cells.neighbor_pairs(sample, n, how.neighbors, how.metric)
    usual = min(coarse_probes(how), len(part))
    if len(rows) == 0:
        return np.inf, usual
    most = usual if how.recall is None else min(max(usual, _MOST_VISITS), len(part))
    (mine, my_lag), (other, other_lag) = (quantizer.nearest_and_lag(X, most) for X in (rows, others))
    least = np.full(len(rows), np.inf, np.float32)  # at which reach each pair has a part in common
    count = 0
    while True:
        before, count = count, usual if count == 0 else min(2 * count, most)
        for i in range(count):
            for j in range(count):
                if i < before and j < before:
                    continue
                meet = part[mine[:, i]] == part[other[:, j]]
                lag = np.maximum(my_lag[:, i], other_lag[:, j])
                least[meet] = np.minimum(least[meet], lag[meet])
        if count == most or np.isfinite(least).mean() >= 2 * (how.recall or 0) - 1:
            return cells.covering_reach(least, _MEET), count


def _bisect(centroids: FloatMatrix, weight: npt.NDArray[Any], groups: int) -> npt.NDArray[np.int32]:
    """Divide cells into groups of about equal weight, by halving along the direction of largest spread."""
    out = np.zeros(len(centroids), np.int32)
    if groups == 1 or len(centroids) == 1:
        return out
    centered = centroids - np.average(centroids, axis=0, weights=weight + 1e-9)
    _, vectors = np.linalg.eigh((centered * (weight + 1e-9)[:, None]).T @ centered)
    along = np.argsort(centered @ vectors[:, -1], kind="stable")
    left_groups = groups // 2
    cut = int(np.searchsorted(np.cumsum(weight[along]), weight.sum() * left_groups / groups))
    cut = min(max(cut, 1), len(along) - 1)
    left, right = along[:cut], along[cut:]
    out[left] = _bisect(centroids[left], weight[left], left_groups)
    out[right] = left_groups + _bisect(centroids[right], weight[right], groups - left_groups)
    return out


def route(
    source: int, points: dict[str, Any], rows: FloatMatrix, X: FloatMatrix, part_map: PartMap
) -> Iterator[Parcel]:
    """Yield the parcels of a batch of points: points to their homes, vectors to every part that they are in.

    Args:
        source: number of the sender.
        points: ``code`` (int64), ``utility`` (float64), ``others`` (float64, (b, c)) and ``id`` of the batch.
        rows: float32, (b, d), as they were read: where 16 bits hold them, these travel, and are prepared again.
        X: float32, (b, d), prepared rows, which travel otherwise.
        part_map: where points belong.
    """
    to = part_map.destinations(X, points["code"])
    half = in_half(rows)
    sent = X if half is None else half
    for part, places in by_part(to.ravel()):
        inside = places // to.shape[1]
        live = inside[to[inside, 0] == part]
        if len(live):
            yield Parcel(part, source, POINTS, pack_points(points, live))
        yield Parcel(part, source, VECTORS, pack(code=points["code"][inside], home=to[inside, 0], X=sent[inside]))


def in_half(rows: FloatMatrix) -> npt.NDArray[np.float16] | None:
    """Return rows as float16, if that holds them to the last bit; else None. A few rows tell most that do not fit."""
    with np.errstate(over="ignore"):
        for some in (rows[:_FEW], rows):
            half = some.astype(np.float16)
            if not np.array_equal(half, some):
                return None
    return half


def search_part(
    part: int,
    parcels: Sequence[Parcel],
    parts: int,
    prepare: Preparation,
    how: Search,
    sample: Int64Array,
) -> Iterator[Parcel]:
    """Search the neighbours of all points that are in a part, those that live there and visitors, among themselves.

    Each point's list goes home. A visitor's is not refined by neighbours of neighbours: it is where it lives.

    Args:
        part: this part; ``parts`` is the address of what the search took.
        parcels: its points, and the vectors of all that are in it.
        parts: number of parts.
        prepare: what is done to vectors that come as they were read, in 16 bits.
        how: to search.
        sample: codes of the points that are asked how it went, ascending: others decide how hard to search.
    """
    yield from of_kind(parcels, POINTS)
    arrays = [unpack(parcel.payload, views=True) for parcel in of_kind(parcels, VECTORS)]
    code = np.concatenate([one["code"] for one in arrays])
    home = np.concatenate([one["home"] for one in arrays])
    by_code = np.argsort(code)  # the result does not depend on the order in which parcels came
    code, home = code[by_code], home[by_code]
    pieces = [one["X"].reshape(len(one["code"]), -1) for one in arrays]
    asked = np.isin(code, sample, invert=True)
    take = partial(_take_rows, prepare, pieces, by_code)
    nearest, score, effort = _search(take, home == part, asked, how)
    yield Parcel(parts, part, EFFORT, effort)
    for destination, mine in by_part(home):
        found = nearest[mine]
        lists = pack(code=code[mine], other=code[found], other_home=home[found], score=score[mine])
        yield Parcel(destination, part, LISTS, lists)


def _take_rows(
    prepare: Preparation, pieces: Sequence[npt.NDArray[Any]], order: Int64Array, places: Int64Array
) -> FloatMatrix:
    """Return some of the prepared rows, in an order, of matrices that lie one after the other, which are not joined."""
    rows = order[places]
    out = np.empty((len(rows), pieces[0].shape[1]), np.float32)
    begin = 0
    for piece in pieces:
        inside = np.flatnonzero((rows >= begin) & (rows < begin + len(piece)))
        found = piece[rows[inside] - begin]
        out[inside] = prepare.rows(found) if found.dtype == np.float16 else found
        begin += len(piece)
    return out


def _search(
    take: Callable[[Int64Array], FloatMatrix],
    resident: npt.NDArray[np.bool_],
    may_ask: npt.NDArray[np.bool_],
    how: Search,
) -> tuple[npt.NDArray[np.int32], FloatMatrix, pa.Buffer]:
    """Return each row's nearest among the n rows that ``take`` gives: indices (-1 for none) and scores, sorted.

    And probes and passes that it took. ``resident`` (bool, (n,)) says whose are refined, ``may_ask`` of whom recall may
    be measured.
    """
    n = len(resident)
    found = find_neighbors(
        lambda begin, end: take(np.arange(begin, end)), take, n, how.neighbors, how, resident=resident, may_ask=may_ask
    )
    back = np.empty(n, np.int64)
    back[found.order] = np.arange(n)
    best = found.best[back]
    nearest = np.where(best < 0, -1, found.order[best]).astype(np.int32)
    return nearest, found.score[back], pack(effort=np.array([found.probes, found.passes]))


def merge_part(part: int, parcels: Sequence[Parcel], parts: int, how: Search, sample: Int64Array) -> Iterator[Parcel]:
    """Merge what was found for a part's points at home and abroad; send both directions of every edge.

    Args:
        part: this part; ``parts`` is the address of the recall estimate.
        parcels: its points and lists.
        parts: number of parts.
        how: they were searched.
        sample: codes of the points whose recall is estimated, ascending.
    """
    points = of_kind(parcels, POINTS)
    yield from points
    code = np.sort(np.concatenate([unpack(parcel.payload)["code"] for parcel in points]))
    shape = len(code), how.neighbors
    best, best_part = np.zeros(shape, np.int64), np.zeros(shape, np.int32)
    best_score = np.full(shape, -np.inf, np.float32)
    for parcel in of_kind(parcels, LISTS):
        found = unpack(parcel.payload)
        row = np.searchsorted(code, found["code"])
        assert (code[row] == found["code"]).all(), "a list came to where its point does not live"
        other, home, score = (found[name].reshape(len(row), -1) for name in ("other", "other_home", "score"))
        kernel.merge_lists(row, other, home, score, best, best_part, best_score)
    real = np.isfinite(best_score)
    count = real.sum(axis=1)
    own = np.repeat(code, count)
    other, other_part, score = best[real], best_part[real], best_score[real]

    asked = np.repeat(np.isin(code, sample), count)
    if asked.any():
        yield Parcel(parts, part, FOUND, pack(code=own[asked], score=score[asked]))
    similarity = similarity_of_scores(score, how.metric)
    # Both directions of every edge: mine stay here, the others go to the part of their first end.
    yield Parcel(part, part, EDGES, pack_edges(own, other_part, other, similarity))
    for to, there in by_part(other_part):
        mine = np.full(len(there), part)
        yield Parcel(to, part, EDGES, pack_edges(other[there], mine, own[there], similarity[there]))
