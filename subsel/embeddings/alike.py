"""Vectors that are more alike than a limit: who of a subset's members stays, and what is beside those that stay.

A neighbour graph has some of each point's neighbours: a mass of more near copies than that has pairs without an edge.
So the subset is searched against itself. Of each pair the one that ranks first stays; whatever is too alike to one for
which another leaves is out, too. Up to `all_pairs` members are compared with each other, of more a search finds pairs.

Products of matrices are rounded by their shapes. What is close to the limit is scored again as edges are
(`subsel.embeddings.kernel`), so what is decided does not depend on blocks, nor on the engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.compiling import compiled
from subsel.config import SelectConfig
from subsel.embeddings import kernel
from subsel.embeddings.cells import SAMPLE_PER_CELL, Quantizer, cell_count
from subsel.embeddings.metrics import FloatMatrix, Preparation, copy_rows, score_at, similarity_of_scores
from subsel.embeddings.recipe import PROBES, Search, find_neighbors
from subsel.embeddings.search import scores
from subsel.fixedpoint import Int64Array
from subsel.graph import distinct

#: Members that are all compared with each other, in one place: so many at most, and bytes of their vectors.
MOST_COMPARED, _MOST_BYTES = 50_000, 384 << 20
#: Members whose pairs with all members are counted where a search found the pairs.
COUNTED = 2_000
#: Rows of a block of products.
_BLOCK = 2_048
#: Pairs that are scored again at a time.
_PAIRS = 16_384
#: Rounding of a product, as a share of the lengths of its two rows multiplied.
_ROUNDING = 1e-5

BoolArray = npt.NDArray[np.bool_]


def all_pairs(k: int, dimension: int) -> bool:
    """Return whether k members are all compared with each other."""
    return k <= MOST_COMPARED and 4 * k * dimension <= _MOST_BYTES


def in_rank_order(included: BoolArray, key: Int64Array, code: Int64Array) -> Int64Array:
    """Return the numbers of members from the first: who is included, then by falling (key, code)."""
    return np.lexsort((code, key, included))[::-1]


def member_search(config: SelectConfig, k: int, neighbors: int) -> Search:
    """Return how k members are searched: as the graph was, whose points have so many neighbours."""
    return replace(Search.of(config, k, None), neighbors=max(1, min(neighbors, k - 1)))


class Alike:
    """Tells which vectors are more alike than a limit.

    Args:
        prepare: what is done to rows first.
        limit: see `subsel.limits.options.LimitOptions.max_similarity`.
    """

    def __init__(self, prepare: Preparation, limit: float) -> None:
        self.prepare, self.limit = prepare, limit
        self._score = score_at(float(np.float32(limit)), prepare.metric)

    def mask(self, some: FloatMatrix, others: FloatMatrix) -> BoolArray:
        """Return which of some prepared rows, (q, d), are too alike to which others, (m, d): bool, (q, m)."""
        metric = self.prepare.metric
        squares = np.einsum("ij,ij->i", some, some)
        length, longest = np.sqrt(squares), np.sqrt(np.einsum("ij,ij->i", others, others).max(initial=0.0))
        rounding = _ROUNDING * (np.square(length + longest) if metric == "l2" else length * longest)
        block = scores(some, others, squares, metric)
        found: BoolArray = block > (self._score + rounding)[:, None]
        at, other = np.nonzero((block > (self._score - rounding)[:, None]) & ~found)
        for begin in range(0, len(at), _PAIRS):
            i, j = at[begin : begin + _PAIRS], other[begin : begin + _PAIRS]
            score = kernel.score_pairs(np.concatenate([some[i], others[j]]), metric == "l2")
            found[i, j] = similarity_of_scores(score, metric) > self.limit
        return found

    def first_of_each(self, rows: FloatMatrix, fixed: int) -> tuple[Int64Array, int]:
        """Go through prepared rows; whoever is too alike to one that stays leaves, but for the first ``fixed``.

        Returns:
            int64, (n,): for whom each row leaves, itself for who stays; and how many of the fixed are too alike.
        """
        first = np.arange(len(rows))
        together = 0
        for begin in range(0, len(rows), _BLOCK):
            end = min(begin + _BLOCK, len(rows))
            kept = np.flatnonzero(first[:begin] == np.arange(begin))
            for at in range(0, len(kept), _BLOCK):
                some = kept[at : at + _BLOCK]
                alike = self.mask(rows[begin:end], rows[some])
                hit = np.flatnonzero(alike.any(axis=1) & (first[begin:end] == np.arange(begin, end)))
                first[begin + hit] = some[alike[hit].argmax(axis=1)]
            alike = self.mask(rows[begin:end], rows[begin:end])
            for one in range(begin, end):
                if one < fixed:
                    together += int(first[one] != one)
                    first[one] = one
                if first[one] == one:
                    later = one + 1 + np.flatnonzero(alike[one - begin, one + 1 - begin :])
                    first[later[first[later] == later]] = one
        return first, together

    def first_of_found(self, rows: FloatMatrix, code: Int64Array, fixed: int, how: Search) -> tuple[Int64Array, int]:
        """Do as `first_of_each`, by the pairs that a search finds.

        Args:
            rows: float32, (n, d), prepared, in rank order.
            code: int64, (n,).
            fixed: how many stay in any case, the first ones.
            how: to search.
        """
        n, dimension = rows.shape
        by_code = np.argsort(code)  # an order that is random, and no input's
        found = find_neighbors(
            lambda begin, end: rows.take(by_code[begin:end], axis=0),
            lambda order: copy_rows(lambda some: rows.take(by_code[some], axis=0), order, dimension),
            n,
            min(how.neighbors, n - 1),
            how,
        )
        similarity = similarity_of_scores(found.score, how.metric)
        at, place = np.nonzero((similarity > self.limit) & (found.best >= 0))
        number = by_code[found.order]
        ends = np.sort(np.stack([number[at], number[found.best[at, place]]]), axis=0)
        pairs = distinct(ends[1] * n + ends[0])  # of each later one, the earlier ones from the first
        indptr = np.concatenate([[0], np.cumsum(np.bincount(pairs // n, minlength=n))])
        first, together = _first_of_pairs(indptr, pairs % n, fixed)
        return first, int(together)


class Leaders:
    """Members that stay and for whom others leave, for points that may be too alike to one of them.

    Args:
        alike: tells who is.
        rows: float32, (q, d), prepared, in an order that is random.
        seed: of cells, by which points are compared only with leaders that may be near. Whom they miss is found
            once it is selected. None: all are compared.
    """

    def __init__(self, alike: Alike, rows: FloatMatrix, seed: int | None = None) -> None:
        self.alike, self.rows = alike, rows
        self.cells: Quantizer | None = None
        count = cell_count(len(rows), PROBES)
        if seed is not None and count > PROBES:
            metric = alike.prepare.metric
            self.cells = Quantizer.train(rows[: count * SAMPLE_PER_CELL], count, metric, seed)
            cell = self.cells.nearest(rows, 1).ravel()
            self.rows = rows[np.argsort(cell, kind="stable")]
            self.ends = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=len(self.cells.centroids)))])

    def beside(self, X: FloatMatrix) -> BoolArray:
        """Return who of some prepared rows, (b, d), is too alike to a leader: bool, (b,)."""
        found = np.zeros(len(X), np.bool_)
        for begin in range(0, len(X), _BLOCK):
            rows = X[begin : begin + _BLOCK]
            found[begin : begin + _BLOCK] = self._by_cells(rows) if self.cells is not None else self._by_all(rows)
        return found

    def _by_all(self, rows: FloatMatrix) -> BoolArray:
        found = np.zeros(len(rows), np.bool_)
        for at in range(0, len(self.rows), _BLOCK):
            found |= self.alike.mask(rows, self.rows[at : at + _BLOCK]).any(axis=1)
        return found

    def _by_cells(self, rows: FloatMatrix) -> BoolArray:
        assert self.cells is not None
        found = np.zeros(len(rows), np.bool_)
        cell = self.cells.nearest(rows, PROBES).ravel()
        order = np.argsort(cell, kind="stable")
        for askers in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
            one = int(cell[askers[0]])
            begin, end = (0, 0) if one < 0 else (int(self.ends[one]), int(self.ends[one + 1]))
            if begin < end:
                who = askers // PROBES
                found[who] |= self.alike.mask(rows[who], self.rows[begin:end]).any(axis=1)
        return found


class Counted:
    """Counts the pairs above a limit between sampled members and all members, while these pass by.

    Args:
        alike: tells which.
        code: int64, (q,): of the sampled.
        rows: float32, (q, d): prepared.
        included: bool, (q,): of two who are, it is no matter how alike they are.
    """

    def __init__(self, alike: Alike, code: Int64Array, rows: FloatMatrix, included: BoolArray) -> None:
        order = np.argsort(code)
        self.alike, self.code, self.rows, self.included = alike, code[order], rows[order], included[order]

    def pairs(self, code: Int64Array, rows: FloatMatrix, included: BoolArray) -> int:
        """Return how many pairs there are with some members, each once; arguments as those of the class."""
        total = 0
        for begin in range(0, len(code), _BLOCK):
            some = slice(begin, begin + _BLOCK)
            place = np.minimum(np.searchsorted(self.code, code[some]), len(self.code) - 1)
            known = self.code[place] == code[some]
            found = self.alike.mask(self.rows, rows[some])
            found &= ~(known & (code[some] >= self.code[:, None]))  # itself, and pairs that the other end counts
            found &= ~(self.included[:, None] & included[some])
            total += int(found.sum())
        return total


@compiled()
def _first_of_pairs(indptr: Any, indices: Any, fixed: int) -> Any:
    """Go through rows; whoever has a pair with an earlier one that stays leaves, but for the first ``fixed``.

    Args:
        indptr: int64, (n+1,).
        indices: int64: of each row the earlier ones that it has a pair with, ascending.
        fixed: rows that stay in any case.

    Returns:
        int64, (n,): for whom each row leaves, itself for who stays; and how many of the fixed have an earlier one.
    """
    first = np.arange(len(indptr) - 1)
    together = 0
    for v in range(len(first)):
        if v < fixed:
            together += int(indptr[v] < indptr[v + 1])
            continue
        for e in range(indptr[v], indptr[v + 1]):
            if first[indices[e]] == indices[e]:
                first[v] = indices[e]
                break
    return first, together
