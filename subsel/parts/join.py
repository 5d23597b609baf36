"""All parts as one: their graphs and boards joined in the order of the parts, and the joined board taken apart again.

Where a whole graph fits into one task, drivers run there, on one part, which spares the supersteps. Own points are
numbered part by part, slot by slot; who is of a target set is in the last parts, so these are the last again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from subsel.board import Board
from subsel.fixedpoint import Int64Array
from subsel.graph import SLOT_BITS, SLOT_MASK
from subsel.parts.pack import Parcel, pack, unpack
from subsel.parts.superstep import FINISHED, unpack_board

#: What own points have, and parts keep for their ghosts, too.
_OF_POINTS = ("utility", "code", "cost", "importance", "target")
#: What a part decides on its own points.
_DECISIONS = ("key", "status", "lower", "decided_by", "decided_at")


def join_graphs(parcels: Sequence[Parcel]) -> tuple[dict[str, Any], Int64Array]:
    """Return the arrays of one part that has the points of all, see `subsel.parts.superstep.pack_graph`; and offsets.

    Args:
        parcels: of all parts' graphs, with all of their edges.

    Returns:
        The arrays; and int64, (parts + 1,): the number of each part's first point, and how many there are in all.
    """
    ordered = sorted(parcels, key=lambda parcel: parcel.part)
    parts = [unpack(parcel.payload, views=True) for parcel in ordered]
    own = [len(part["indptr"]) - 1 for part in parts]
    offset = np.concatenate([[0], np.cumsum(own)]).astype(np.int64)
    first = np.zeros(ordered[-1].part + 1, np.int64)
    first[[parcel.part for parcel in ordered]] = offset[:-1]
    numbers = []
    for begin, end, part in zip(offset[:-1], offset[1:], parts, strict=True):
        ghost = part["ghost_vid"]
        number = np.concatenate([np.arange(begin, end), first[ghost >> SLOT_BITS] + (ghost & SLOT_MASK)])
        numbers.append(number.astype(np.int32)[part["indices"]])
    degree = np.concatenate([np.diff(part["indptr"]) for part in parts])
    indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
    similarity = np.concatenate([part["similarity"] for part in parts])
    rows = sp.csr_matrix((similarity, np.concatenate(numbers), indptr), shape=(offset[-1], offset[-1]))
    rows.sort_indices()
    columns = {
        name: np.concatenate([part[name][:n] for part, n in zip(parts, own, strict=True)])
        for name in _OF_POINTS
        if name in parts[0]
    }
    if "itself" in parts[0]:
        columns["itself"] = np.concatenate([part["itself"] for part in parts])
    if "group" in parts[0]:
        groups = [part["group"].reshape(-1, n) for part, n in zip(parts, own, strict=True)]
        columns["group"] = np.concatenate(groups, axis=1)
    nobody = np.empty(0, np.int64)
    indices = rows.indices.astype(np.int32, copy=False)
    return {"indptr": indptr, "indices": indices, "similarity": rows.data, "ghost_vid": nobody, **columns}, offset


def join_boards(parcels: Sequence[Parcel]) -> Board:
    """Return one board of all parts' own points; what only one algorithm knows is left behind.

    Args:
        parcels: of all parts' boards, with all news accounted for.
    """
    boards = [unpack_board(parcel.payload) for parcel in sorted(parcels, key=lambda parcel: parcel.part)]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(board, name)[: len(board.lower)] for board in boards]) for name in _DECISIONS
    }
    return Board(**columns, news=np.empty(0, np.int32), steps=max(board.steps for board in boards))


def take_apart(board: Board, part: Int64Array, offset: Int64Array) -> Iterator[Parcel]:
    """Yield what a joined board decided, a parcel of kind FINISHED to each part.

    Args:
        board: of all points.
        part: int64, (parts,): numbers of the parts, ascending.
        offset: int64, (parts + 1,): see `join_graphs`.
    """
    for number, begin, end in zip(part.tolist(), offset[:-1], offset[1:], strict=True):
        columns = {name: getattr(board, name)[begin:end] for name in _DECISIONS}
        yield Parcel(number, number, FINISHED, pack(slot=np.arange(end - begin, dtype=np.int32), **columns))
