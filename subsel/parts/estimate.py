"""Recall across parts: exact neighbours of a sample, from every scan of points, beside the lists that were found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from subsel.config import Metric
from subsel.embeddings import search
from subsel.embeddings.metrics import FloatMatrix
from subsel.fixedpoint import Int64Array
from subsel.parts.pack import Parcel, concatenate, of_kind, pack, unpack

#: Kinds of parcels, addressed to a part of their own beyond all others: exact scores of the sample, those found, and
#: what the searches took.
EXACT, FOUND, EFFORT = "exact", "found", "effort"


def exact_scores(
    best: FloatMatrix, queries: FloatMatrix, codes: Int64Array, X: FloatMatrix, code: Int64Array, metric: Metric
) -> None:
    """Merge the scores of a batch of points into the exact top-k of the recall sample, in place.

    Args:
        best: float32, (q, k): scores so far, falling; -inf where there are none yet.
        queries: float32, (q, d): the sample.
        codes: int64, (q,), ascending: its codes; a point is no neighbour of itself.
        X: float32, (b, d): the batch.
        code: int64, (b,).
        metric: see `subsel.embeddings.metrics`.
    """
    squares = np.square(queries).sum(axis=1) if metric == "l2" else None
    block = search.scores(queries, X, squares, metric)
    place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
    itself = np.flatnonzero(codes[place] == code)
    block[place[itself], itself] = -np.inf
    search.merge_scores(block, best)


def merged_exact(part: int, parcels: Sequence[Parcel], q: int) -> Iterator[Parcel]:
    """Merge the exact scores of all scans into one parcel, so that the driver gets no more than one; pass others on.

    Args:
        part: the address beyond all parts, which they came to.
        parcels: that came.
        q: points in the recall sample.
    """
    best: FloatMatrix | None = None
    for parcel in parcels:
        if parcel.kind != EXACT:
            yield parcel
            continue
        one = unpack(parcel.payload)["score"].reshape(q, -1)
        best = one if best is None else -np.sort(-np.concatenate([best, one], axis=1), axis=1)[:, : one.shape[1]]
    if best is not None:
        yield Parcel(part, part, EXACT, pack(score=best))


def effort_of(parcels: Sequence[Parcel]) -> tuple[int, int]:
    """Return the most probes and the most passes that the search of a part took."""
    took = np.array([unpack(parcel.payload)["effort"] for parcel in of_kind(parcels, EFFORT)])
    probes, passes = took.max(axis=0).tolist()
    return probes, passes


def recall_of(parcels: Sequence[Parcel], codes: Int64Array, k: int) -> float:
    """Return recall@k of the sample from exact scores of every scan and the lists found."""
    exact = np.concatenate(
        [unpack(p.payload)["score"].reshape(len(codes), -1) for p in of_kind(parcels, EXACT)], axis=1
    )
    exact = -np.sort(-exact, axis=1)[:, :k]
    found = concatenate(unpack(parcel.payload) for parcel in of_kind(parcels, FOUND))
    row = np.searchsorted(codes, found["code"])
    hits = (found["score"] >= search.least_score(exact)[row]).sum()
    return float(min(1.0, hits / max(1, np.isfinite(exact).sum())))
