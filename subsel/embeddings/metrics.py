"""Metrics: how points are prepared, scored while searching, and how a score becomes a similarity.

=============  =======================  =====================  ==============================
metric         rows of X                score (larger: nearer)  similarity s >= 0
=============  =======================  =====================  ==============================
cosine         of length 1              x.y                    max(0, min(1, x.y))
inner_product  as given                 x.y                    max(0, x.y)
l2             as given                 -|x-y|^2               1 / (1 + |x-y|)
=============  =======================  =====================  ==============================
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from subsel.config import Metric

FloatMatrix = npt.NDArray[np.float32]


def prepare_rows(rows: npt.NDArray[Any], metric: Metric) -> FloatMatrix:
    """Return rows as float32, C order, for cosine of length 1 (norms in float64). Always a copy.

    Args:
        rows: float16, float32 or float64, (b, d); finite, and for cosine not zero.
        metric: see the module.
    """
    out = np.empty(rows.shape, np.float32)
    if metric == "cosine":
        norm = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        np.divide(rows, norm[:, None], out=out, casting="same_kind")
    else:
        out[:] = rows
    return out


def faiss_metric(metric: Metric) -> int:
    """Return faiss' constant for the metric's score."""
    return int(faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def similarity_of_scores(score: npt.NDArray[np.float32], metric: Metric) -> npt.NDArray[np.float32]:
    """Turn scores into similarities, in place; -inf (no neighbour) becomes 0."""
    if metric == "l2":
        np.negative(score, out=score)
        np.maximum(score, 0, out=score)
        np.sqrt(score, out=score)
        score += 1
        np.reciprocal(score, out=score)
    else:
        np.clip(score, 0, 1 if metric == "cosine" else None, out=score)
    return score
