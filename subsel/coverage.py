"""How well a subset covers the points and how redundant it is, beside a random subset of as many points.

Coverage is the mean over all points of the largest similarity to a member; redundancy the mean over members of the
largest similarity to another member. Both are measured twice over: exactly on a sample, by comparing sampled points
with all members while these stream by; and coverage also on the graph, over all points, where only edges count.

Sampled are the points, and the members, of the largest codes; the random subset is drawn by codes, too
(`subsel.codes.draw`): neither depends on the order of rows, nor on the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.compiling import compiled
from subsel.config import Metric, SelectConfig
from subsel.embeddings.metrics import FloatMatrix, Preparation, similarity_of_scores
from subsel.embeddings.search import scores
from subsel.errors import InputError, SubselError
from subsel.fixedpoint import Int64Array
from subsel.input.rows import Columns, RowChecker
from subsel.input.utility import CONSTANT, Ingredient, Utility
from subsel.report import CoverageReport, Estimate
from subsel.sketch import PointMap
from subsel.threads import over_rows, row_for, sort

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

#: Rows that meet all sampled points in one matrix product.
_PRODUCT_ROWS = 4_096
#: What is wrong where sampled rows are not found again.
CHANGED = "some rows are not what they were when they were checked"


def sampled(code: Int64Array, some: BoolArray, count: int) -> Int64Array:
    """Return where the ``count`` largest codes of some points are, ascending by code; all where there are fewer."""
    at = np.flatnonzero(some)
    return at[np.argsort(code[at])[max(0, len(at) - count) :]]


def vector_checker(name: str, config: SelectConfig, dimension: int) -> RowChecker:
    """Return what makes float32 vectors of the embedding column ``name``, as it did when rows were checked first."""
    columns = Columns(None, pa.int64(), name, Utility((Ingredient(CONSTANT),)))
    return RowChecker(columns, config, {name: dimension})


class Nearest:
    """Largest similarities of some points to the members of a set, while these stream by.

    Args:
        code: int64, (q,), ascending: the points.
        rows: float32, (q, d): prepared.
        metric: see `subsel.embeddings.metrics`.
        itself: whether a member counts for itself.
    """

    def __init__(self, code: Int64Array, rows: FloatMatrix, metric: Metric, *, itself: bool) -> None:
        self.code, self.rows, self.metric, self.itself = code, rows, metric, itself
        self.squares = np.einsum("ij,ij->i", rows, rows) if metric == "l2" else None
        self.best = np.full(len(code), -np.inf)

    def update(self, code: Int64Array, X: FloatMatrix) -> None:
        """Compare with more members: int64, (b,), and float32, (b, d), prepared."""
        if not len(self.code):
            return
        for begin in range(0, len(X), _PRODUCT_ROWS):
            self._meet(code[begin : begin + _PRODUCT_ROWS], X[begin : begin + _PRODUCT_ROWS])

    def _meet(self, code: Int64Array, X: FloatMatrix) -> None:
        block = scores(self.rows, X, self.squares, self.metric)
        place = np.minimum(np.searchsorted(self.code, code), len(self.code) - 1)
        same = np.flatnonzero(self.code[place] == code)
        if not self.itself:
            block[place[same], same] = -np.inf
        at = block.argmax(axis=1)
        # Who is nearest float32 tells well enough; how near, of equal vectors under l2 for example, it does not.
        found = self._similarity(X[at])
        found[block[np.arange(len(at)), at] == -np.inf] = -np.inf
        np.maximum(self.best, found, out=self.best)
        if self.itself and self.metric != "inner_product":
            self.best[place[same]] = 1.0

    def _similarity(self, X: FloatMatrix) -> FloatArray:
        """Return the similarity of each point to the row of X beside it: float64, (q,)."""
        mine, other = self.rows.astype(np.float64), X.astype(np.float64)
        if self.metric == "l2":
            mine -= other
            return similarity_of_scores(-np.einsum("ij,ij->i", mine, mine), self.metric)
        return similarity_of_scores(np.einsum("ij,ij->i", mine, other), self.metric)


class Sample:
    """Sampled points, and members of a subset and of a random one, on their way past all members.

    Args:
        code: int64, (m,): of points among which all that are sampled are.
        X: float32, (m, d): their embeddings, not prepared.
        member: bool, (m,): who is in the subset.
        random: bool, (m,): who is in the random subset.
        metric: see `subsel.embeddings.metrics`.
        count: how many of each to sample.
        n: points.
        k: members.

    Attributes:
        map: of points, where whoever made the sample drew one (`subsel.sketching.map_of`).

    Raises:
        InputError: some that are sampled are missing.
    """

    map: PointMap | None = None

    def __init__(
        self,
        code: Int64Array,
        X: FloatMatrix,
        member: BoolArray,
        random: BoolArray,
        metric: Metric,
        *,
        count: int,
        n: int,
        k: int,
    ) -> None:
        everybody = np.ones(len(code), np.bool_)
        chosen = [sampled(code, some, count) for some in (everybody, member, random)]
        if [len(some) for some in chosen] != [min(count, n), min(count, k), min(count, k)]:
            raise InputError(CHANGED)
        used = np.zeros(len(code), np.bool_)
        used[np.concatenate(chosen)] = True
        in_order = sampled(code, used, len(code))  # on which the mean's last bits depend
        self.n, self.k = n, k
        self.prepare = Preparation.of_sample(X[in_order], metric)
        points, members, randoms = ((code[some], self.prepare.rows(X[some])) for some in chosen)
        self.nearest = (
            Nearest(*points, metric, itself=True),
            Nearest(*points, metric, itself=True),
            Nearest(*members, metric, itself=False),
            Nearest(*randoms, metric, itself=False),
        )

    def update(self, code: Int64Array, X: FloatMatrix, member: BoolArray, random: BoolArray) -> None:
        """Let more points pass by; arguments as those of the class, of those who are in either subset."""
        rows = self.prepare.rows(X)
        for some, these in ((member, self.nearest[::2]), (random, self.nearest[1::2])):
            some_code, some_rows = code[some], rows[some]
            for one in these:
                one.update(some_code, some_rows)

    @property
    def best(self) -> FloatArray:
        """The largest similarities so far, of all that are sampled after each other: float64."""
        return np.concatenate([one.best for one in self.nearest])

    def take(self, best: FloatArray) -> None:
        """Take the largest similarities that were found elsewhere, as `best` returns them."""
        ends = np.cumsum([0, *(len(one.best) for one in self.nearest)]).tolist()
        for one, (begin, end) in zip(self.nearest, pairwise(ends), strict=True):
            np.maximum(one.best, best[begin:end], out=one.best)

    def estimates(self) -> tuple[Estimate | None, ...]:
        """Return coverage, that of the random subset, redundancy, and that of the random subset.

        Raises:
            InputError: members are missing.
        """
        found: list[Estimate | None] = []
        for one, of in zip(self.nearest, (self.n, self.n, self.k, self.k), strict=True):
            nobody = not one.itself and of == 1
            if not nobody and np.isneginf(one.best).any():
                raise InputError(CHANGED)
            found.append(None if nobody else estimate(one.best, of))
        return tuple(found)


def estimate(values: FloatArray, of: int) -> Estimate:
    """Return the mean of values sampled from ``of``, without repeats, and its standard error.

    The error is 0 where all are sampled, and not known where one of several is.
    """
    q = len(values)
    error: float | None = 0.0
    if q < of:
        error = float(values.std(ddof=1)) * math.sqrt((1 - q / of) / q) if q > 1 else None
    return Estimate(mean=float(values.mean()), error=error)


def report_of(
    measure: Callable[[], Sample | None], count: int, *, graph: float, random_graph: float, sparsest: float | None
) -> tuple[CoverageReport, PointMap | None, str | None]:
    """Return what is reported, the map, and why nothing was measured on a sample where something is wrong with that.

    Args:
        measure: makes the sample and lets all members pass by; None where there are no embeddings.
        count: how many points are to be sampled; 0: none, and nothing is measured.
        graph: see `CoverageReport`.
        random_graph: see there.
        sparsest: see there.
    """
    sample, found, wrong = None, (None, None, None, None), None
    try:
        sample = measure() if count else None
        estimates = found if sample is None else sample.estimates()
    except SubselError as error:  # what is measured last must not cost the subset
        sample, estimates, wrong = None, found, str(error)
    subset, random, redundancy, random_redundancy = estimates
    report = CoverageReport(
        sample=0 if sample is None else len(sample.nearest[0].code),
        subset=subset,
        random=random,
        redundancy=redundancy,
        random_redundancy=random_redundancy,
        graph=graph,
        random_graph=random_graph,
        sparsest=sparsest,
    )
    return report, None if sample is None else sample.map, wrong


def own_similarity(metric: Metric, largest: float, *, searched: bool) -> float:
    """Return the similarity that a member has to itself on a graph.

    1 for cosine and l2; for inner product, and on a graph of the user's, the graph's largest.

    Args:
        metric: of the search.
        largest: similarity of the graph.
        searched: whether the graph was.
    """
    return 1.0 if searched and metric != "inner_product" else largest


def covered(
    indptr: Int64Array, indices: Any, similarity: Any, itself: npt.NDArray[np.float64], member: BoolArray
) -> npt.NDArray[np.float64]:
    """Return the largest similarity of each own point to a member, itself counting as one: float64, (n_own,)."""
    out = np.zeros(len(indptr) - 1, np.float64)
    over_rows(_covered, len(out), indptr, indices, similarity, itself, member, out)
    return out


@compiled(nogil=True)
def _covered(
    begin: int, end: int, indptr: Any, indices: Any, similarity: Any, itself: Any, member: Any, out: Any
) -> None:
    for v in range(begin, end):
        most = itself[v] if member[v] else 0.0
        for e in range(indptr[v], indptr[v + 1]):
            if member[indices[e]]:
                most = max(most, np.float64(similarity[e]))
        out[v] = most


def expected_cover(
    indptr: Int64Array, similarity: Any, itself: npt.NDArray[np.float64], n: int, k: int
) -> npt.NDArray[np.float64]:
    """Return what `covered` is in expectation over all k-subsets of n points: float64, (n_own,); exact, not sampled.

    Of a point and its neighbours, by falling similarity, the first that is a member counts: the i-th is one, those
    before being none, with probability Π_{j<i} (1 - k/(n-j)) · k/(n-i).
    """
    out = np.zeros(len(indptr) - 1, np.float64)
    over_rows(_expected_cover, len(out), indptr, similarity, itself, n, k, out, scratch=row_for(indptr, 1))
    return out


@compiled(nogil=True)
def _expected_cover(
    begin: int, end: int, indptr: Any, similarity: Any, itself: Any, n: int, k: int, out: Any, scratch: Any
) -> None:
    for v in range(begin, end):
        first, degree = indptr[v], indptr[v + 1] - indptr[v]
        row = scratch[: degree + 1]
        for i in range(degree):
            row[i] = similarity[first + i]
        row[degree] = itself[v]
        sort(row)
        total, none = 0.0, 1.0
        for i in range(min(degree + 1, n - k + 1)):
            total += none * (k / (n - i)) * row[degree - i]
            none *= (n - i - k) / (n - i)
        out[v] = total


def graph_cover(
    indptr: Int64Array, indices: Any, similarity: Any, member: BoolArray, *, n: int, k: int, own: float
) -> tuple[float, float]:
    """Return the sums over a part's own points of `covered` and of `expected_cover`."""
    itself = np.full(len(indptr) - 1, own)
    subset = float(covered(indptr, indices, similarity, itself, member).sum())
    return subset, float(expected_cover(indptr, similarity, itself, n, k).sum())


def tenth(n: int) -> int:
    """Return how many of n points are the sparsest tenth of them."""
    return n // 10
