"""Parts joined in their order: all of them into one, or into a few; and the joined board taken apart again.

Where a whole graph fits into one task, drivers run there, on one part, which spares the supersteps. Where it does not,
fewer and larger parts have fewer borders. Own points are numbered part by part, slot by slot; who is of a target set is
in the last parts, so these are the last again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from subsel.board import BARRED, Board
from subsel.fixedpoint import Int64Array
from subsel.graph import SLOT_BITS, SLOT_MASK
from subsel.parts.assemble import POINTS, UTILITY
from subsel.parts.pack import Parcel, concatenate, pack, unpack
from subsel.parts.superstep import FINISHED, unpack_board

#: What own points have, and parts keep for their ghosts, too.
_OF_POINTS = ("utility", "code", "cost", "importance", "target")
#: What a part decides on its own points.
_DECISIONS = ("key", "status", "lower", "decided_by", "decided_at")


@dataclass(frozen=True, slots=True)
class Joint:
    """Which parts become one.

    Attributes:
        into: int64, (parts,): the joined part that each goes to, ascending from 0.
        first: int64, (parts,): the slot that each part's first point has there.
    """

    into: Int64Array
    first: Int64Array

    @classmethod
    def of(cls, points: Sequence[int], size: Sequence[int], count: int) -> Self:
        """Join parts that follow each other, which are near each other, too, into ``count`` of about one size.

        Args:
            points: of each part.
            size: of each part.
            count: wanted; there may be fewer.
        """
        middle = np.cumsum(size) - np.asarray(size) / 2
        into = np.unique(middle * count // max(1, sum(size)), return_inverse=True)[1].astype(np.int64)
        own = np.asarray(points, np.int64)
        begin = np.cumsum(own) - own
        return cls(into, begin - begin[np.searchsorted(into, into)])

    @property
    def parts(self) -> int:
        """How many there are then."""
        return int(self.into[-1]) + 1

    def vids(self, vid: Int64Array) -> Int64Array:
        """Return where points are then: int64 as ``vid``, see `subsel.graph.SLOT_BITS`."""
        part = vid >> SLOT_BITS
        found: Int64Array = (self.into[part] << SLOT_BITS) | (self.first[part] + (vid & SLOT_MASK))
        return found


def join_all(parcels: Sequence[Parcel]) -> tuple[dict[str, Any], Int64Array]:
    """Return the arrays of one part that has the points of all, see `subsel.parts.superstep.pack_graph`; and offsets.

    Args:
        parcels: of all parts' graphs, with all of their edges.

    Returns:
        The arrays; and int64, (parts + 1,): the number of each part's first point, and how many there are in all.
    """
    ordered = sorted(parcels, key=lambda parcel: parcel.part)
    own = [len(unpack(parcel.payload, views=True)["indptr"]) - 1 for parcel in ordered]
    offset = np.concatenate([[0], np.cumsum(own)]).astype(np.int64)
    first = np.zeros(ordered[-1].part + 1, np.int64)
    first[[parcel.part for parcel in ordered]] = offset[:-1]
    return join_graphs([parcel.payload for parcel in ordered], 0, Joint(np.zeros_like(first), first)), offset


def join_graphs(graphs: Sequence[Any], part: int, joint: Joint) -> dict[str, Any]:
    """Return the arrays of a joined part, see `subsel.parts.superstep.pack_graph`.

    Args:
        graphs: of the parts that become it, in their order, with all of their edges.
        part: its number.
        joint: which parts become one.
    """
    parts = [unpack(graph, views=True) for graph in graphs]
    own = [len(one["indptr"]) - 1 for one in parts]
    begins = np.cumsum(own) - own
    vids = [joint.vids(one["ghost_vid"]) for one in parts]
    outside, which = np.unique(np.concatenate(vids), return_index=True)
    foreign = outside >> SLOT_BITS != part
    outside, which = outside[foreign], which[foreign]
    total, numbers = sum(own), []
    for begin, count, one, vid in zip(begins, own, parts, vids, strict=True):
        inside = vid >> SLOT_BITS == part
        ghost = np.where(inside, vid & SLOT_MASK, total + np.searchsorted(outside, vid))
        number = np.concatenate([np.arange(begin, begin + count), ghost])
        numbers.append(number.astype(np.int32)[one["indices"]])
    degree = np.concatenate([np.diff(one["indptr"]) for one in parts])
    indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
    similarity = np.concatenate([one["similarity"] for one in parts])
    rows = sp.csr_matrix((similarity, np.concatenate(numbers), indptr), shape=(total, total + len(outside)))
    rows.sort_indices()
    columns: dict[str, Any] = {}
    for name in _OF_POINTS:
        if name in parts[0]:
            mine = [one[name][:count] for one, count in zip(parts, own, strict=True)]
            others = np.concatenate([one[name][count:] for one, count in zip(parts, own, strict=True)])
            columns[name] = np.concatenate([*mine, others[which]])
    if "itself" in parts[0]:
        columns["itself"] = np.concatenate([one["itself"] for one in parts])
    if "group" in parts[0]:
        groups = [one["group"].reshape(-1, count) for one, count in zip(parts, own, strict=True)]
        columns["group"] = np.concatenate(groups, axis=1)
    indices = rows.indices.astype(np.int32, copy=False)
    return {"indptr": indptr, "indices": indices, "similarity": rows.data, "ghost_vid": outside, **columns}


def join_points(points: Sequence[Any]) -> Any:
    """Return the points of parts that become one, in their order, as `subsel.parts.assemble.pack_points` does."""
    return pack(**concatenate(unpack(one, views=True) for one in points))


def join_beside(parcels: Sequence[Parcel]) -> list[Parcel]:
    """Return what parts have beside their graphs as one part's: points, and who is an outlier; of what there is."""
    ordered = sorted(parcels, key=lambda parcel: parcel.part)
    points, utilities = ([one.payload for one in ordered if one.kind == kind] for kind in (POINTS, UTILITY))
    joined = [Parcel(0, 0, POINTS, join_points(points))] if points else []
    if utilities:
        outlier = np.concatenate([unpack(one, views=True)["outlier"] for one in utilities])
        joined.append(Parcel(0, 0, UTILITY, pack(outlier=outlier)))
    return joined


def join_boards(parcels: Sequence[Parcel]) -> Board:
    """Return one board of all parts' own points; what only one algorithm knows is left behind, but for who is barred.

    Args:
        parcels: of all parts' boards, with all news accounted for.
    """
    boards = [unpack_board(parcel.payload) for parcel in sorted(parcels, key=lambda parcel: parcel.part)]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(board, name)[: len(board.lower)] for board in boards]) for name in _DECISIONS
    }
    extra = {}
    if any(BARRED in board.extra for board in boards):
        barred = [board.extra.get(BARRED, np.zeros(len(board.lower), np.bool_)) for board in boards]
        extra[BARRED] = np.concatenate(barred)
    return Board(**columns, news=np.empty(0, np.int32), steps=max(board.steps for board in boards), extra=extra)


def take_apart(board: Board, part: Int64Array, offset: Int64Array) -> Iterator[Parcel]:
    """Yield what a joined board decided, a parcel of kind FINISHED to each part.

    Args:
        board: of all points.
        part: int64, (parts,): numbers of the parts, ascending.
        offset: int64, (parts + 1,): see `join_all`.
    """
    for number, begin, end in zip(part.tolist(), offset[:-1], offset[1:], strict=True):
        columns = {name: getattr(board, name)[begin:end] for name in _DECISIONS}
        yield Parcel(number, number, FINISHED, pack(slot=np.arange(end - begin, dtype=np.int32), **columns))
