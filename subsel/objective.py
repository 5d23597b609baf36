"""The objective f(S) = α Σ u(v) - β Σ s(a,b), |S| = k, each undirected edge inside S once. In float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.board import Board
from subsel.compiling import compiled
from subsel.errors import ConfigError
from subsel.fixedpoint import Int64Array, beats
from subsel.graph import PartGraph, SimilarityArray
from subsel.schema import Status
from subsel.threads import over_rows, row_for, sort

_SELECTED = int(Status.SELECTED)


@dataclass(frozen=True, slots=True)
class Score:
    """The objective of one subset and its two terms: ``total = utility - similarity``.

    ``utility`` is α Σ u, ``similarity`` is β Σ s over the edges inside the subset. ``coverage`` is the mean over all
    points of the largest similarity of an edge to a member (`subsel.report.CoverageReport.graph`), where it was asked
    for. Under coverage ``total = covered + utility``; ``covered`` is Σ importance · the largest similarity to a member.
    """

    total: float
    utility: float
    similarity: float
    coverage: float | None = None
    covered: float | None = None

    def normalised(self, reference: float, worst: float) -> float:
        """Return f on the scale where ``reference`` is 100 and ``worst`` is 0.

        In the paper the reference is centralised greedy's f, and the worst case the lowest f seen.

        Raises:
            ConfigError: both are the same.
        """
        if reference == worst:
            raise ConfigError(f"reference and worst case are both {reference}: there is no scale between them.")
        return 100 * (self.total - worst) / (reference - worst)


def score_subset(
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    similarity: SimilarityArray,
    utility: npt.NDArray[np.float64],
    member: npt.NDArray[np.bool_],
    alpha: float,
    beta: float,
) -> Score:
    """Return the objective of the subset ``member`` (bool, (n,)) of a symmetric graph."""
    utility_term = alpha * float(utility[member].sum())
    similarity_term = beta * float(_edge_sum(indptr, indices, similarity, member)) / 2
    return Score(utility_term - similarity_term, utility_term, similarity_term)


def expected_random(n: int, k: int, utility_sum: float, edge_sum: float, alpha: float, beta: float) -> float:
    """Return the expectation of f over all k-subsets, uniformly: exact, nothing is sampled.

    A point is in with probability k/n, both ends of an edge with probability k(k-1)/(n(n-1)).

    Args:
        n: number of points.
        k: size of the subset.
        utility_sum: Σ u over all points.
        edge_sum: Σ s over all undirected edges, each once.
        alpha: α.
        beta: β.
    """
    pair = k * (k - 1) / (n * (n - 1)) if n > 1 else 0.0
    return alpha * utility_sum * k / n - beta * edge_sum * pair


def gains_of(graph: PartGraph, board: Board) -> npt.NDArray[np.float64]:
    """Return each selected own point's gain when it was picked, float64, (n_own,); the gains of a subset sum to its f.

    Under coverage they are those that greedy counted, in fixed point; else see `realised_gains`.
    """
    scale = graph.fixed_point
    if graph.importance is not None:
        member = board.status[: graph.n_own] == Status.SELECTED
        found = (board.lower >> scale.tie_bits) * (scale.unit / scale.scale) + scale.alpha * scale.origin
        return np.where(member, found, 0.0)
    arrays = graph.indptr, graph.indices, graph.similarity, graph.utility
    return realised_gains(*arrays, scale.alpha, scale.beta, graph.code, board.key, board.status)


@compiled()
def _edge_sum(indptr: Any, indices: Any, similarity: Any, member: Any) -> float:
    total = 0.0
    for v in range(len(indptr) - 1):
        if member[v]:
            row = 0.0
            for e in range(indptr[v], indptr[v + 1]):
                if member[indices[e]]:
                    row += similarity[e]
            total += row
    return total


def weighted_degrees(indptr: Any, similarity: Any) -> Any:
    """Return Σ s over each point's edges: float64, (n,)."""
    out = np.zeros(len(indptr) - 1, np.float64)
    _weighted_degrees(indptr, similarity, out)
    return out


@compiled()
def _weighted_degrees(indptr: Any, similarity: Any, out: Any) -> None:
    for v in range(len(out)):
        for e in range(indptr[v], indptr[v + 1]):
            out[v] += similarity[e]


def realised_gains(
    indptr: Int64Array,
    indices: Any,
    similarity: SimilarityArray,
    utility: npt.NDArray[np.float64],
    alpha: float,
    beta: float,
    code: Int64Array,
    key: Int64Array,
    status: npt.NDArray[np.int8],
) -> npt.NDArray[np.float64]:
    """Return each selected own point's gain when it was picked, in float64; 0 for the others.

    gain(v) = α u(v) - β Σ s(v, j) over the selected neighbours j that were picked before v, that is,
    that beat it by (key, code). Summed in ascending order of s, so the result does not depend on the order
    in which a part keeps its edges. The gains of a subset sum to its objective.
    """
    gain = np.zeros(len(indptr) - 1, np.float64)
    about = indptr, indices, similarity, alpha * utility, beta, code, key, status, gain
    over_rows(_realised_gains, len(gain), *about, scratch=row_for(indptr))
    return gain


@compiled(nogil=True)
def _realised_gains(
    begin: int,
    end: int,
    indptr: Any,
    indices: Any,
    similarity: Any,
    worth: Any,
    beta: float,
    code: Any,
    key: Any,
    status: Any,
    gain: Any,
    earlier: Any,
) -> None:
    for v in range(begin, end):
        if status[v] != _SELECTED:
            continue
        count = 0
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if status[j] == _SELECTED and beats(key[j], code[j], key[v], code[v]):
                earlier[count] = similarity[e]
                count += 1
        sort(earlier[:count])
        total = 0.0
        for i in range(count):
            total += earlier[i]
        gain[v] = worth[v] - beta * total
