"""Ranks across parts, in two exchanges: parts ask the buckets of their values for ranks, and buckets answer.

A bucket is a range of values. Parts tell it each distinct value of theirs in that range once, with the number of
selectable points that have it; so what a bucket gets is bounded by a part's share of distinct values, however many
points tie. What the ranges are has no effect on any rank, only on who works: a sample of the values is enough.

There may be several components: values of the same points that are ranked each on their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.fixedpoint import Int64Array
from subsel.graph import distinct
from subsel.parts.pack import Parcel, of_kind, pack, unpack
from subsel.ranks import BoolArray, FloatArray, Ties, as_ordered, rank_of, ties

#: Kinds of parcels: the values of a part's points; what it asks a bucket; the bucket's answer; its points' ranks.
VALUES, ASKED, ANSWERED, RANKS = "values", "asked", "answered", "ranks"

#: Its multiples, modulo 1, are spread evenly however many there are.
_GOLDEN = (5**0.5 - 1) / 2


def pack_values(values: FloatArray, selectable: BoolArray, codes: Int64Array | None = None) -> pa.Buffer:
    """Return the payload of a parcel of kind `VALUES`.

    Args:
        values: float64, (components, n_own), no NaN.
        selectable: bool, (n_own,).
        codes: int64, (n_own,), where places are looked for.
    """
    return pack(value=values, selectable=selectable, **({} if codes is None else {"code": codes}))


def unpack_values(payload: bytes | pa.Buffer, components: int) -> tuple[FloatArray, BoolArray]:
    """Return values, (components, n_own), and who is selectable, (n_own,): read-only views of a payload."""
    arrays = unpack(payload, views=True)
    return arrays["value"].reshape(components, -1), arrays["selectable"]


def sample(part: int, values: FloatArray, size: int) -> tuple[Int64Array, float]:
    """Return at most ``size`` of a part's distinct values, evenly spaced in their order, and how many each stands for.

    Args:
        part: parts begin at different places, so that parts with the same values do not all sample the same ones.
        values: float64, (n_own,), of one component.
        size: from 1.

    Returns:
        int64, (at most size,), as `subsel.ranks.as_ordered`, ascending; and their weight.
    """
    found = distinct(as_ordered(values))
    if len(found) <= size:
        return found, 1.0
    begin = int(part * _GOLDEN % 1 * len(found))
    return found[(np.arange(size) * len(found) + begin) // size], len(found) / size


def splitters(values: Int64Array, weights: FloatArray, buckets: int) -> Int64Array:
    """Return where buckets of about equal weight begin, all but the first: int64, ascending, fewer than ``buckets``.

    Args:
        values: int64, (s,): the samples of all parts, in any order.
        weights: float64, (s,).
        buckets: from 1.
    """
    if len(values) == 0:
        return np.empty(0, np.int64)
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    wanted = total[-1] * np.arange(1, buckets) / buckets
    return distinct(values[order[np.minimum(np.searchsorted(total, wanted, "right"), len(order) - 1)]])


def ask(
    part: int, values: FloatArray, selectable: BoolArray, splitters: Sequence[Int64Array], buckets: int
) -> Iterator[Parcel]:
    """First exchange: tell each bucket the distinct values that it is asked for, and who counts.

    Args:
        part: who asks.
        values: float64, (components, n_own).
        selectable: bool, (n_own,).
        splitters: of each component, see `splitters`.
        buckets: how many.
    """
    tied = [ties(component, selectable) for component in values]
    cuts = [_cuts(one, splits, buckets) for one, splits in zip(tied, splitters, strict=True)]
    lengths = np.diff(np.stack(cuts), axis=1)
    for bucket in np.flatnonzero(lengths.any(axis=0)).tolist():
        pieces = [slice(cut[bucket], cut[bucket + 1]) for cut in cuts]
        payload = pack(
            value=np.concatenate([one.value[piece] for one, piece in zip(tied, pieces, strict=True)]),
            count=np.concatenate([one.count[piece] for one, piece in zip(tied, pieces, strict=True)]),
            length=lengths[:, bucket],
        )
        yield Parcel(bucket, part, ASKED, payload)


def counts(parcels: Iterable[Parcel]) -> Int64Array:
    """Return how many selectable points are in a bucket, by component: int64, (components,)."""
    by_component = []
    for parcel in of_kind(parcels, ASKED):
        asked = unpack(parcel.payload, views=True)
        by_component.append([piece.sum() for piece in _split(asked["count"], asked["length"])])
    total: Int64Array = np.array(by_component, np.int64).sum(axis=0)
    return total


def answer(bucket: int, parcels: Iterable[Parcel], below: Int64Array, n_selectable: int) -> Iterator[Parcel]:
    """Second exchange: return to each part that asked the ranks of the values that it asked for.

    Args:
        bucket: whose parcels these are.
        parcels: of kind `ASKED`.
        below: int64, (components,): selectable points in the buckets before this one.
        n_selectable: selectable points in all buckets, the same for each component.
    """
    received = of_kind(parcels, ASKED)
    asked = [unpack(parcel.payload, views=True) for parcel in received]
    lengths = np.stack([one["length"] for one in asked])
    values = [_split(one["value"], one["length"]) for one in asked]
    numbers = [_split(one["count"], one["length"]) for one in asked]
    ranks: list[list[FloatArray]] = [[] for _ in asked]
    for component, before in enumerate(below.tolist()):
        value, index = np.unique(np.concatenate([one[component] for one in values]), return_inverse=True)
        equal = np.zeros(len(value), np.int64)
        np.add.at(equal, index, np.concatenate([one[component] for one in numbers]))
        rank = rank_of(before + np.cumsum(equal) - equal, equal, n_selectable)[index]
        for mine, piece in zip(ranks, _split(rank, lengths[:, component]), strict=True):
            mine.append(piece)
    for parcel, mine, length in zip(received, ranks, lengths, strict=True):
        yield Parcel(parcel.source, bucket, ANSWERED, pack(rank=np.concatenate(mine), length=length))


def take(values: FloatArray, parcels: Iterable[Parcel]) -> FloatArray:
    """Return the ranks of a part's points: float64, (components, n_own).

    Args:
        values: float64, (components, n_own), as the part asked.
        parcels: of kind `ANSWERED`, from all buckets that it asked.
    """
    answers = [unpack(parcel.payload, views=True) for parcel in of_kind(parcels, ANSWERED)]
    pieces = [_split(one["rank"], one["length"]) for one in answers]
    out = np.empty(values.shape)
    for component in range(len(values) if pieces else 0):
        _, index = np.unique(as_ordered(values[component]), return_inverse=True)
        # buckets ascend, as the values in them do
        out[component] = np.concatenate([piece[component] for piece in pieces])[index]
    return out


def _cuts(tied: Ties, splits: Int64Array, buckets: int) -> Int64Array:
    """Return where each bucket begins in a part's distinct values, and its end: int64, (buckets + 1,)."""
    out = np.full(buckets + 1, len(tied.value), np.int64)
    out[0] = 0
    out[1 : len(splits) + 1] = np.searchsorted(tied.value, splits)  # a splitter is its bucket's first value
    return out


def _split(values: npt.NDArray[Any], lengths: Int64Array) -> list[npt.NDArray[Any]]:
    """Return values that stand one component, or one part, after the other."""
    return np.split(values, np.cumsum(lengths)[:-1])
