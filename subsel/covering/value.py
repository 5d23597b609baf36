"""Coverage's f of any subset, and its expectation over random ones. In float64."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from subsel.graph import PartGraph
from subsel.objective import Score


def cover_score(graph: PartGraph, member: npt.NDArray[np.bool_]) -> Score:
    """Return a part's share of f(S) = Σ importance(v) max sim(v, S) + λ Σ u; ``member``: bool, (n_own + n_ghost,)."""
    own = slice(0, graph.n_own)
    cover = covered(graph.indptr, graph.indices, graph.similarity, _itself(graph), member)
    utility = graph.fixed_point.alpha * float(graph.utility[own][member[own]].sum())
    total = float((_importance(graph) * cover).sum())
    return Score(total + utility, utility, 0.0, covered=total)


def cover_by_random(graph: PartGraph, n: int, k: int) -> float:
    """Return a part's share of the expectation of f over all k-subsets of n points."""
    cover = expected(graph.indptr, graph.similarity, _itself(graph), n, k)
    utility = graph.fixed_point.alpha * float(graph.utility[: graph.n_own].sum()) * k / n
    return float((_importance(graph) * cover).sum()) + utility


def _itself(graph: PartGraph) -> npt.NDArray[np.float64]:
    return np.ones(graph.n_own) if graph.itself is None else graph.itself


def _importance(graph: PartGraph) -> npt.NDArray[np.float64]:
    return np.ones(graph.n_own) if graph.importance is None else graph.importance[: graph.n_own]


@numba.njit(cache=True, parallel=True)
def covered(indptr: Any, indices: Any, similarity: Any, itself: Any, member: Any) -> Any:
    """Return the largest similarity of each own point to a member, itself counting as one: float64, (n_own,)."""
    out = np.zeros(len(indptr) - 1, np.float64)
    for v in numba.prange(len(out)):
        if member[v]:
            out[v] = itself[v]
        for e in range(indptr[v], indptr[v + 1]):
            if member[indices[e]]:
                out[v] = max(out[v], similarity[e])
    return out


@numba.njit(cache=True, parallel=True)
def expected(indptr: Any, similarity: Any, itself: Any, n: int, k: int) -> Any:
    """Return what `covered` is in expectation over all k-subsets of n points: float64, (n_own,); exact, not sampled.

    Of a point and its neighbours, by falling similarity, the first that is a member counts: the i-th is one, those
    before being none, with probability Π_{j<i} (1 - k/(n-j)) · k/(n-i).
    """
    out = np.zeros(len(indptr) - 1, np.float64)
    for v in numba.prange(len(out)):
        row = np.sort(np.append(similarity[indptr[v] : indptr[v + 1]].astype(np.float64), itself[v]))
        total, none = 0.0, 1.0
        for i in range(min(len(row), n - k + 1)):
            total += none * (k / (n - i)) * row[len(row) - 1 - i]
            none *= (n - i - k) / (n - i)
        out[v] = total
    return out
