"""Coverage's f of any subset, and its expectation over random ones. In float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from subsel.coverage import covered, expected_cover, graph_cover
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
    cover = expected_cover(graph.indptr, graph.similarity, _itself(graph), n, k)
    utility = graph.fixed_point.alpha * float(graph.utility[: graph.n_own].sum()) * k / n
    return float((_importance(graph) * cover).sum()) + utility


def cover_shares(graph: PartGraph, member: npt.NDArray[np.bool_], *, n: int, k: int, own: float) -> tuple[float, float]:
    """Return a part's sums of coverage on the graph and of its expectation: over all points, or those of a target.

    Args:
        graph: the part.
        member: bool, (n_own + n_ghost,).
        n: points that are selected from.
        k: members.
        own: a member's similarity to itself, see `subsel.coverage.own_similarity`.
    """
    indptr, indices, similarity = graph.indptr, graph.indices, graph.similarity
    if graph.target is None:
        return graph_cover(indptr, indices, similarity, member, n=n, k=k, own=own)
    some, nothing = slice(graph.n_points, graph.n_own), np.zeros(graph.n_own)
    subset = covered(indptr, indices, similarity, nothing, member)[some]
    return float(subset.sum()), float(expected_cover(indptr, similarity, nothing, n, k)[some].sum())


def _itself(graph: PartGraph) -> npt.NDArray[np.float64]:
    return np.ones(graph.n_own) if graph.itself is None else graph.itself


def _importance(graph: PartGraph) -> npt.NDArray[np.float64]:
    return np.ones(graph.n_own) if graph.importance is None else graph.importance[: graph.n_own]
