"""Copies on one machine: points of equal vectors become one, by the rules in `subsel.input.copies`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from subsel.config import Metric
from subsel.fixedpoint import Int64Array
from subsel.input.copies import Copies, Wishful, find_copies
from subsel.input.points import Points
from subsel.schema import Status

Wished = dict[Status, Int64Array]


def merge_here(
    points: Points, metric: Metric, wished: Mapping[Status, Int64Array], classes: Int64Array | None = None
) -> tuple[Wished, Wishful]:
    """Leave out points that are copies of others; return who is wished in and out of those that are left.

    Args:
        points: with embeddings.
        metric: by which vectors are equal.
        wished: numbers of points.
        classes: int64, (n,): points of different classes are no copies of each other.
    """
    assert points.embeddings is not None
    n, inside = points.n, np.zeros(points.n, np.bool_)
    inside[wished.get(Status.INCLUDED, [])] = True
    found = find_copies(points.embeddings, points.utility, points.code, inside, metric, classes)
    if found is None:
        return dict(wished), Wishful()
    lost, of, now = found.lost, found.of, dict(wished)
    number = np.arange(n)
    spared = 0
    if len(lost):
        stays, stands_for = np.ones(n, np.bool_), np.arange(n)
        stays[lost], stands_for[lost] = False, of
        points.multiplicity = 1 + np.bincount(of, minlength=n)
        ids = points.ids
        points.copies = Copies(ids.take(lost), points.code[lost], points.rows[lost], ids.take(of))
        points.keep(stays)
        number = np.cumsum(stays) - 1
        if Status.EXCLUDED in wished:
            out = np.unique(stands_for[wished[Status.EXCLUDED]])
            now[Status.EXCLUDED] = out[~inside[out]]
            spared = int(inside[out].sum())
    return {status: number[some] for status, some in now.items()}, replace(found.wishful, spared=spared)
