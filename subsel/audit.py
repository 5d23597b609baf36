"""Why each point is in a subset or is not: one rule set, on what one part knows when a selection is done.

Each point has one reason, the first of these that is so. Of members the way they came in is it; of others:

    excluded, near, outlier  by a wish; near what was given as `exclude_near`; among the least dense
    too-alike                a member is more alike to it than `max_similarity`
    no-room                  it takes more than is left of its group's quota, or of the budget
    discarded                by bounding
    left                     refinement took it out for another
    gained-less              nothing stands against it but those that gained more

Copies and points that were not drawn are in no part: who knows of them adds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel import schema
from subsel.board import BARRED, Board
from subsel.compiling import compiled
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph
from subsel.limits.capacity import Capacity
from subsel.schema import FIRST_MEMBER, Status

BoolArray = npt.NDArray[np.bool_]

#: Columns of an audit beside those of a subset.
SELECTED, REASON, LIMIT, STAGE = "selected", "reason", "limit", "stage"
OF, OF_SIMILARITY, NEAREST, NEAREST_SIMILARITY = "of", "of_similarity", "nearest", "nearest_similarity"
COST = "cost"
#: What `Judged.limit` says of the budget, and where there is none.
BUDGET, NO_LIMIT = -1, -2


class Reason(IntEnum):
    """Why a point is in the subset, or is not; its word is `word`."""

    SELECTED = 0  #: picked by greedy
    ACCEPTED = 1  #: by bounding
    INCLUDED = 2  #: by the user's wish
    JOINED = 3  #: by refinement
    EXCLUDED = 4  #: by the user's wish
    NEAR = 5  #: what was given as `exclude_near`
    OUTLIER = 6  #: among the least dense
    COPY = 7  #: another point of an equal vector stays for it
    NOT_DRAWN = 8  #: only some points were drawn to select from
    TOO_ALIKE = 9  #: to a member
    NO_ROOM = 10  #: in a quota or the budget
    DISCARDED = 11  #: by bounding
    LEFT = 12  #: taken out by refinement
    GAINED_LESS = 13  #: than those that were selected
    KEPT = 14  #: of the subset that the selection began with

    @property
    def word(self) -> str:
        """What it is called in an audit."""
        return self.name.lower().replace("_", "-")


#: Reasons of members.
MEMBERS = (Reason.SELECTED, Reason.ACCEPTED, Reason.INCLUDED, Reason.JOINED, Reason.KEPT)
#: Of each reason the stage of a run that decides so.
STAGES = {
    Reason.SELECTED: "greedy",
    Reason.ACCEPTED: "bounding",
    Reason.INCLUDED: "read",
    Reason.JOINED: "refine",
    Reason.EXCLUDED: "read",
    Reason.NEAR: "read",
    Reason.OUTLIER: "utility",
    Reason.COPY: "read",
    Reason.NOT_DRAWN: "neighbors",
    Reason.TOO_ALIKE: "greedy",
    Reason.NO_ROOM: "greedy",
    Reason.DISCARDED: "bounding",
    Reason.LEFT: "refine",
    Reason.GAINED_LESS: "greedy",
    Reason.KEPT: "greedy",
}
_WAYS_IN: dict[int, Reason] = {
    Status.SELECTED: Reason.SELECTED,
    Status.ACCEPTED: Reason.ACCEPTED,
    Status.INCLUDED: Reason.INCLUDED,
    Status.JOINING: Reason.JOINED,
    schema.KEPT: Reason.KEPT,
}


@dataclass(frozen=True, slots=True, eq=False)
class QuotaRoom:
    """What the quotas of one column's groups have left.

    Attributes:
        column: its name.
        by_cost: whether that is cost, not points.
        left: int64, (groups,): below 0 where included points exceed it; `UNLIMITED` where there is no quota.
    """

    column: str
    by_cost: bool
    left: Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """What limits have left when a selection is done: of the budget, None without; and of quotas, by column."""

    budget: int | None = None
    quotas: tuple[QuotaRoom, ...] = ()

    @classmethod
    def of(cls, capacity: Capacity, spent: Mapping[str, Any], totals: Mapping[str, int]) -> Room:
        """Return what is left.

        Args:
            capacity: the limits.
            spent: by slot what members are and took, see `subsel.greedy.limited.spent_by_groups`.
            totals: ``points`` and ``cost`` of the subset.
        """
        groups = zip(capacity.groups, capacity.quotas_left(spent), strict=True)
        quotas = [QuotaRoom(one.column, one.by_cost, left) for one, left in groups]
        return cls(None if capacity.budget is None else capacity.budget - totals["cost"], tuple(quotas))

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON holds."""
        quotas = [{"column": one.column, "by_cost": one.by_cost, "left": one.left.tolist()} for one in self.quotas]
        return {"budget": self.budget, "quotas": quotas}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Room:
        """Return what `to_json` made something of."""
        quotas = (QuotaRoom(**one | {"left": np.array(one["left"], np.int64)}) for one in found["quotas"])
        return cls(found["budget"], tuple(quotas))

    def name(self, limit: int) -> str | None:
        """Return what a limit of `Judged` is called."""
        return None if limit == NO_LIMIT else "budget" if limit == BUDGET else f"quotas of {self.quotas[limit].column}"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Why a part's own points are in the subset or are not.

    Attributes:
        reason: int8, (n_own,): `Reason`. Own points are without those of a target set here.
        limit: int32, (n_own,): of `Reason.NO_ROOM` the place of the column in `Room.quotas`, or `BUDGET`; else
            `NO_LIMIT`.
        nearest: int64, (n_own,): the most similar member among a point's neighbours, as the graph numbers own points
            and ghosts; -1 where none is a member. Of several the one of the largest code.
        similarity: float64, (n_own,): to that; NaN where there is none.
        alike: bool, (n_own,): who is out as it is too alike to that; others may be to one that no edge joins them with.
    """

    reason: npt.NDArray[np.int8]
    limit: npt.NDArray[np.int32]
    nearest: Int64Array
    similarity: npt.NDArray[np.float64]
    alike: BoolArray


def judge(graph: PartGraph, board: Board, outlier: BoolArray, room: Room) -> Judged:
    """Say of each own point of a part why it is in the subset, or is not.

    Args:
        graph: the part, with all of its edges.
        board: its board when nothing is undecided, news delivered.
        outlier: bool, (n_own,): who was left out as one of the least dense.
        room: what limits have left.
    """
    n = graph.n_points
    edge = nearest_edges(
        graph.indptr[: n + 1], graph.indices, graph.similarity, graph.code, board.status >= FIRST_MEMBER
    )
    has, at = edge >= 0, np.maximum(edge, 0)
    by, status = board.decided_by[:n].astype(np.int64), board.status[:n].astype(np.int64)
    reason, limit = np.full(n, Reason.GAINED_LESS, np.int8), np.full(n, NO_LIMIT, np.int32)
    reason[by == Status.LEAVING] = Reason.LEFT
    reason[by == Status.DISCARDED] = Reason.DISCARDED
    if room.budget is not None:
        assert graph.cost is not None
        limit[graph.cost[:n] > room.budget] = BUDGET
    for number in reversed(range(len(room.quotas))):
        one = room.quotas[number]
        assert graph.group is not None
        amount = 1 if not one.by_cost or graph.cost is None else graph.cost[:n]
        limit[amount > one.left[graph.group[number, :n]]] = number
    reason[limit != NO_LIMIT] = Reason.NO_ROOM
    alike = np.zeros(n, np.bool_)
    if graph.max_similarity is not None:
        if len(graph.indices):
            alike = has & graph.conflict[at]
        barred = board.extra[BARRED][:n] if BARRED in board.extra else False
        reason[alike | barred] = Reason.TOO_ALIKE
    reason[by == Status.EXCLUDED] = Reason.EXCLUDED
    reason[(by == Status.EXCLUDED) & outlier] = Reason.OUTLIER
    member = status >= FIRST_MEMBER
    noted = np.isin(by, list(_WAYS_IN))  # not before refinement
    for way, word in _WAYS_IN.items():
        reason[member & (np.where(noted, by, status) == way)] = word
    limit[reason != Reason.NO_ROOM] = NO_LIMIT
    alike &= reason == Reason.TOO_ALIKE
    nearest = np.full(n, -1, np.int64)
    similarity = np.full(n, np.nan)
    nearest[has], similarity[has] = graph.indices[edge[has]], graph.similarity[edge[has]]
    return Judged(reason, limit, nearest, similarity, alike)


def nearest_edges(indptr: Any, indices: Any, similarity: Any, code: Any, member: Any) -> Int64Array:
    """Return the edge to each own point's most similar member: int64, (n_own,); -1 where there is none."""
    found = np.empty(len(indptr) - 1, np.int64)
    _nearest_edges(indptr, indices, similarity, code, member, found)
    return found


@compiled()
def _nearest_edges(indptr: Any, indices: Any, similarity: Any, code: Any, member: Any, found: Any) -> None:
    for v in range(len(found)):
        best = -1
        for e in range(indptr[v], indptr[v + 1]):
            j = indices[e]
            if member[j] and (
                best < 0
                or similarity[e] > similarity[best]
                or (similarity[e] == similarity[best] and code[j] > code[indices[best]])
            ):
                best = e
        found[v] = best


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """What an audit says of reasons, as columns of one length: string, and bool for ``selected``."""

    selected: pa.Array
    reason: pa.Array
    limit: pa.Array
    stage: pa.Array


def words_of(reason: npt.NDArray[np.int8], limit: npt.NDArray[np.int32], room: Room) -> Words:
    """Return what an audit says of reasons and limits, see `Judged`."""
    names = pa.array([None, *(room.name(one) for one in range(BUDGET, len(room.quotas)))], pa.string())
    return Words(
        pa.array(np.isin(reason, MEMBERS)),
        pa.array([one.word for one in Reason], pa.string()).take(pa.array(reason)),
        names.take(pa.array(limit - NO_LIMIT)),
        pa.array([STAGES[one] for one in Reason], pa.string()).take(pa.array(reason)),
    )


def audit_schema(id_type: pa.DataType, *, cost: bool, groups: Sequence[str]) -> pa.Schema:
    """Return the schema of an audit.

    Args:
        id_type: of ids.
        cost: whether points cost something.
        groups: what its columns of groups are called, see `group_column`.
    """
    fields = [
        (schema.ID, id_type),
        (SELECTED, pa.bool_()),
        (REASON, pa.string()),
        (LIMIT, pa.string()),
        (STAGE, pa.string()),
        (schema.RANK, pa.int64()),
        (schema.GAIN, pa.float64()),
        (OF, id_type),
        (OF_SIMILARITY, pa.float64()),
        (NEAREST, id_type),
        (NEAREST_SIMILARITY, pa.float64()),
    ]
    fields += [(COST, pa.int64())] if cost else []
    return pa.schema([*fields, *((name, pa.string()) for name in groups)])


def group_column(name: str) -> str:
    """Return what an audit calls a column of groups."""
    return f"group_{name}"


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many points have each reason, those that some have, in the order of `Reason`."""
    return {one.word: counts[one.word] for one in Reason if counts.get(one.word)}
