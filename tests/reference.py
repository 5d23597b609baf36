"""Slow twins: what the fast code must equal, written so plainly that it can be checked by reading."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from subsel import objective
from subsel.codes import codes_of
from subsel.fixedpoint import FixedPoint
from subsel.graph import NeighborGraph, PartGraph


def make_graph(n: int, edges: dict[tuple[int, int], float], dtype=np.float64) -> NeighborGraph:
    """A symmetric graph over ids 0…n-1 from undirected edges."""
    matrix = sp.lil_matrix((n, n), dtype=dtype)
    for (a, b), s in edges.items():
        matrix[a, b] = matrix[b, a] = s
    csr = matrix.tocsr().sorted_indices()
    # lil drops explicit zeros: a zero similarity is no edge, which changes nothing
    ids = pa.array(np.arange(n))
    return NeighborGraph(ids, np.arange(n), csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data)


def make_part(graph: NeighborGraph, utility, alpha: float, beta: float, seed: int = 0, tie_bits=None) -> PartGraph:
    utility = np.asarray(utility, np.float64)
    degree = objective.weighted_degrees(graph.indptr, graph.similarity)
    scale = FixedPoint.choose(
        alpha, beta, np.abs(utility).max(), degree.max(), graph.similarity.max() if graph.n_edges else 0.0
    )
    if tie_bits is not None:
        scale = FixedPoint(alpha, beta, scale.fraction_bits, tie_bits)
    return PartGraph.whole(graph, utility, codes_of(graph.ids, seed), scale)


def plain_greedy(part: PartGraph, k: int, taken=(), candidates=None) -> list[tuple[int, int]]:
    """O(n·k) greedy in Python integers: [(point, key at picking)] in picking order; ties by key, then code."""
    scale = part.fixed_point
    key = [int(x) for x in scale.keys(part.utility, part.code)]
    code = [int(x) for x in part.code]
    weight = {}
    for v in range(part.n_own):
        for e in range(part.indptr[v], part.indptr[v + 1]):
            weight[v, int(part.indices[e])] = int(part.weight[e]) << scale.tie_bits
    for (v, j), w in weight.items():
        if j in taken:
            key[v] -= w
    left = set(range(part.n_own) if candidates is None else candidates) - set(taken)
    picks = []
    for _ in range(k):
        v = max(left, key=lambda i: (key[i], code[i]))
        left.remove(v)
        picks.append((v, key[v]))
        for j in left:
            key[j] -= weight.get((v, j), 0)
    return picks


def fixed_objective(part: PartGraph, subset) -> int:
    """f of a subset in fixed point, as a Python integer."""
    scale = part.fixed_point
    gain = scale.keys(part.utility, part.code) >> scale.tie_bits
    members = set(subset)
    total = sum(int(gain[v]) for v in members)
    for v in members:
        for e in range(part.indptr[v], part.indptr[v + 1]):
            j = int(part.indices[e])
            if j in members and j > v:
                total -= int(part.weight[e])
    return total


def all_optima(part: PartGraph, k: int) -> list[frozenset[int]]:
    """Every k-subset of largest f, by trying them all."""
    scored = [(fixed_objective(part, s), frozenset(s)) for s in itertools.combinations(range(part.n_own), k)]
    best = max(value for value, _ in scored)
    return [s for value, s in scored if value == best]


def float_greedy(graph: NeighborGraph, utility, k: int, alpha: float, beta: float) -> np.ndarray:
    """A straightforward float64 lazy priority queue; ties by row. Returns the picked rows."""
    gain = alpha * np.asarray(utility, np.float64)
    heap = [(-g, v) for v, g in enumerate(gain.tolist())]
    heapq.heapify(heap)
    out = np.zeros(graph.n, bool)
    picks = []
    while len(picks) < k:
        negative, v = heapq.heappop(heap)
        if out[v]:
            continue
        if -negative != gain[v]:
            heapq.heappush(heap, (-gain[v], v))
            continue
        out[v] = True
        picks.append(v)
        lo, hi = graph.indptr[v], graph.indptr[v + 1]
        np.subtract.at(gain, graph.indices[lo:hi], beta * graph.similarity[lo:hi])
    return np.array(picks)


def exact_neighbors(X: np.ndarray, k: int, metric: str) -> np.ndarray:
    """The k nearest of every row by all pairs in float64, as similarities, falling: (n, k)."""
    X = X.astype(np.float64)
    if metric == "l2":
        s = 1 / (1 + np.sqrt(np.square(X[:, None] - X[None]).sum(2)))
    else:
        if metric == "cosine":
            X = X / np.linalg.norm(X, axis=1, keepdims=True)
        s = np.maximum(X @ X.T, 0)
    np.fill_diagonal(s, -1)
    return -np.sort(-s, axis=1)[:, :k]
