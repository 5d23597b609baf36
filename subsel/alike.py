"""Pairs of points that are too alike though no edge of the graph joins them, as comparing members finds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.board import ALIKE, Board
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph, mean_weights


def note_pairs(board: Board, a: Int64Array, b: Int64Array, similarity: npt.NDArray[np.float32]) -> None:
    """Keep pairs of own points, and how alike they are, on a board, beside those that it has."""
    columns: tuple[npt.NDArray[Any], ...] = (a, b, similarity)
    for name, more in zip(ALIKE, columns, strict=True):
        board.extra[name] = np.concatenate([board.extra.get(name, more[:0]), more])


def with_pairs(part: PartGraph, board: Board) -> PartGraph:
    """Return a part with edges of no weight for the pairs that are kept on its board; itself where there are none."""
    if ALIKE[0] not in board.extra:
        return part
    return with_edges(part, *(board.extra[name] for name in ALIKE))


def with_edges(part: PartGraph, a: Int64Array, b: Int64Array, similarity: npt.NDArray[np.float32]) -> PartGraph:
    """Return a part without ghosts with more edges, of no weight; those that it has are as similar at least."""
    apart = a != b
    a, b, similarity = a[apart], b[apart], similarity[apart]
    n = part.n_own
    old = np.repeat(np.arange(n), np.diff(part.indptr)) * n + part.indices
    pair, where = np.unique(np.concatenate([a * n + b, b * n + a]), return_inverse=True)
    alike = np.zeros(len(pair), part.similarity.dtype)
    np.maximum.at(alike, where, np.tile(similarity, 2).astype(alike.dtype))
    at = np.minimum(np.searchsorted(old, pair), max(len(old) - 1, 0))
    there = old[at] == pair if len(old) else np.zeros(len(pair), np.bool_)
    known = part.similarity.copy()
    known[at[there]] = np.maximum(known[at[there]], alike[there])
    keys = np.concatenate([old, pair[~there]])
    order = np.argsort(keys, kind="stable")
    joined = np.concatenate([known, alike[~there]])[order]
    weight = np.concatenate([part.weight, np.zeros(int((~there).sum()), part.weight.dtype)])[order]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(keys // n, minlength=n))]).astype(np.int64)
    return replace(
        part,
        indptr=indptr,
        indices=(keys[order] % n).astype(np.int32),
        similarity=joined,
        weight=weight,
        mean_weight=mean_weights(indptr, weight),
    )
