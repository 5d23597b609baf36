"""The audit on one machine: why each point of the input is in the subset or is not (`subsel.audit`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsel import audit, schema
from subsel.audit import NO_LIMIT, Reason, Room, audit_schema, group_column, in_order, judge, words_of
from subsel.board import Board
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph
from subsel.input.copies import Copies
from subsel.input.given import GROUPS
from subsel.input.groups import GroupNames, Int32Array
from subsel.input.ids import given_back, is_unsigned
from subsel.input.points import Points
from subsel.input.types import in_pieces


@dataclass(frozen=True, slots=True, eq=False)
class Everyone:
    """All points of an input, those too that are merged into others or not drawn; see `Points` for each."""

    ids: pa.Array
    cost: Int64Array | None
    group: Int32Array | None
    groups: tuple[GroupNames, ...]

    @classmethod
    def of(cls, points: Points) -> Everyone:
        """Return the points that were read."""
        return cls(points.ids, points.cost, points.group, points.groups)

    def but(self, ids: pa.Array) -> Everyone:
        """Return all but those with some ids."""
        other = pc.invert(pc.is_in(self.ids, value_set=ids))
        some = np.flatnonzero(other.to_numpy(zero_copy_only=False))
        cost = None if self.cost is None else self.cost[some]
        group = None if self.group is None else self.group[:, some]
        return Everyone(self.ids.take(pa.array(some)), cost, group, self.groups)

    def texts(self) -> list[pa.Array]:
        """Return the group of each point in each column: large_string, null where that is."""
        return [
            names.of_rows(group)
            for names, group in zip(self.groups, () if self.group is None else self.group, strict=True)
        ]


def audit_table(
    everyone: Everyone,
    inside: Everyone,
    id_type: pa.DataType,
    copies: Copies | None,
    part: PartGraph,
    board: Board,
    outlier: npt.NDArray[np.bool_],
    near: npt.NDArray[np.bool_],
    ranked: Int64Array,
    gain: npt.NDArray[np.float64],
    room: Room,
) -> tuple[pa.Table, dict[str, int]]:
    """Return the audit by id, and how many points have each reason.

    Args:
        everyone: all points of the input.
        inside: those of the graph, in node order.
        id_type: of ids in the input.
        copies: points that were merged into others.
        part: the whole graph.
        board: its board when all is done.
        outlier: bool, (n,): who was left out as one of the least dense.
        near: bool, (n,): who was left out for being near what was given as `exclude_near`.
        ranked: int64, (k,): members in rank order.
        gain: float64, (k,): theirs.
        room: what limits have left.
    """
    judged = judge(part, board, outlier, room)
    judged.reason[near & (judged.reason == Reason.EXCLUDED)] = Reason.NEAR
    others = everyone.but(inside.ids)
    n, more = part.n_points, len(others.ids)
    of = np.full(more, -1) if copies is None else _places(others.ids, copies.ids)
    lost = np.where(of >= 0, np.int8(Reason.COPY), np.int8(Reason.NOT_DRAWN))
    reason = np.concatenate([judged.reason, lost])
    words = words_of(reason, np.concatenate([judged.limit, np.full(more, NO_LIMIT, np.int32)]), room)
    nearest = _taken(inside.ids, judged.nearest)
    originals = _taken(others.ids[:0] if copies is None else copies.of, of)
    nothing = np.full(more, np.nan)
    rank, gains = np.full(n + more, -1), np.full(n + more, np.nan)
    rank[ranked], gains[ranked] = np.arange(len(ranked)), gain
    columns = {
        audit.SELECTED: words.selected,
        audit.REASON: words.reason,
        audit.LIMIT: words.limit,
        audit.STAGE: words.stage,
        schema.RANK: pa.array(rank, mask=rank < 0),
        schema.GAIN: pa.array(gains, mask=rank < 0),
        audit.OF: pa.concat_arrays([_taken(inside.ids, np.where(judged.alike, judged.nearest, -1)), originals]),
        audit.OF_SIMILARITY: _or_null(np.concatenate([np.where(judged.alike, judged.similarity, np.nan), nothing])),
        audit.NEAREST: pa.concat_arrays([nearest, pa.nulls(more, nearest.type)]),
        audit.NEAREST_SIMILARITY: _or_null(np.concatenate([judged.similarity, nothing])),
    }
    if inside.cost is not None and others.cost is not None:
        columns[audit.COST] = pa.array(np.concatenate([inside.cost, others.cost]))
    names = ["group" if one.column == GROUPS else group_column(one.column) for one in inside.groups]
    for name, *texts in zip(names, inside.texts(), others.texts(), strict=True):
        columns[name] = pa.concat_arrays(texts)
    ids = pa.concat_arrays([inside.ids, others.ids])
    order = pc.sort_indices(ids.view(pa.uint64()) if is_unsigned(id_type) else ids)
    shape = audit_schema(id_type, cost=audit.COST in columns, groups=names)
    table = pa.table(
        [_as(one.take(order), shape.field(name).type) for name, one in ({schema.ID: ids} | columns).items()], shape
    )
    counts = Counter(reason.tolist())
    return table, in_order({one.word: counts[one] for one in Reason})


def _places(ids: pa.Array, among: pa.Array) -> Int64Array:
    """Return where each id is among others: int64; -1 where it is not."""
    return np.asarray(pc.index_in(ids, value_set=among).fill_null(-1).to_numpy(), np.int64)


def _taken(ids: pa.Array, some: Int64Array) -> pa.Array:
    """Return ids by number, null for -1."""
    return ids.take(pa.array(some, mask=some < 0))


def _or_null(values: npt.NDArray[np.float64]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _as(column: pa.Array, kind: pa.DataType) -> pa.ChunkedArray:
    """Return a column of an audit in its type; ids in the user's."""
    if column.type == kind:
        return pa.chunked_array([column])
    if pa.types.is_large_string(column.type) and pa.types.is_string(kind):
        return pa.chunked_array(in_pieces(column, kind), kind)
    return given_back(column, kind)
