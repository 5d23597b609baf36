"""What parts tell of their groups, and what follows for who fits: tables over all parts, a row per group (*slot*).

A part tells sums of what its members have taken and of what its undecided points would take, and where these stand in
falling order: a list of places with what is taken from the place before down to each. Long lists are cut to some
places. Rounded so that it errs on the safe side, a table that is not exact, or not new, only decides later. The top of
every list is exact, so the first of all undecided points is always decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.fixedpoint import Int64Array
from subsel.limits import tables_kernel as kernel
from subsel.limits.tables_kernel import BELOW
from subsel.sizes import UNLIMITED

#: Places that a part tells of a group, about, and how many of its first are told one by one.
PLACES, FIRST = 64, 8
#: Kinds of rows: sums of members and of the undecided; where the undecided stand at most; and at least.
SUMS, UPPER, LOWER = 0, 1, 2
#: ``largest`` of a row of kind `UPPER` of several points.
SEVERAL = -1

_PLACES_OF_SLOTS = tuple(f"{name}_{of}" for name in ("sure", "certain", "reserved") for of in ("rank", "code"))
_OF_SLOTS = ("taken", "open", *_PLACES_OF_SLOTS)
_OF_LEVELS = ("floor_rank", "floor_code", "largest", "out_rank", "out_code")
_ROWS = ("kind", "slot", "rank", "code", "amount", "largest")

Rows = dict[str, npt.NDArray[Any]]
Place = tuple[int, int]


def no_rows() -> Rows:
    """Return rows of nothing."""
    return {name: np.empty(0, np.int64) for name in _ROWS}


def sums(slot: Int64Array, members: Int64Array, undecided: Int64Array) -> Rows:
    """Return rows of sums: of slots, int64, (m,), what members have taken and what undecided points would take."""
    zeros = np.zeros(len(slot), np.int64)
    return {
        "kind": np.full(len(slot), SUMS, np.int64),
        "slot": slot,
        "rank": zeros,
        "code": zeros,
        "amount": members,
        "largest": undecided,
    }


def listed(
    kind: int,
    slot: Int64Array,
    rank: Int64Array,
    code: Int64Array,
    amount: Int64Array,
    rooms: Sequence[Int64Array],
    places: int,
    *,
    by_size: bool = False,
) -> tuple[Rows, bool]:
    """Return rows of a part's points in falling order, some of each slot, and whether those are all.

    Nobody is told apart who comes after others that take all that is left: so the places are where it is decided who
    fits, and what is undecided at the end of a superstep is a share of what was at its beginning.

    Args:
        kind: `UPPER`: a row counts from where its first point may stand, or `LOWER`: from where its last one does.
        slot, rank, code, amount: int64, (m,), of points.
        rooms: int64, (slots,) each: what is left of each limit, at most, that it may depend on.
        places: of each slot, about.
        by_size: whether amounts of different length in bits are told apart, so many places each: see
            `tables_kernel.floors`.
    """
    size = np.frexp(amount.astype(np.float64))[1] if by_size else np.zeros(len(slot), np.int32)
    order = np.lexsort((~code, ~rank, size, slot))  # ~x falls as x rises, and cannot overflow
    slot, rank, code, amount, size = slot[order], rank[order], code[order], amount[order], size[order]
    first = np.append(True, (slot[1:] != slot[:-1]) | (size[1:] != size[:-1]))[: len(slot)]
    begin = np.flatnonzero(first)
    length = np.diff(np.append(begin, len(slot)))
    number = np.arange(len(slot)) - np.repeat(begin, length)
    lengths = np.repeat(length, length)
    through = np.cumsum(amount) - amount
    through -= np.repeat(through[begin], length)
    ends = (number < FIRST) | (number == lengths - 1)
    for room in rooms:
        fits = through < room[slot]
        fitting = np.repeat(np.add.reduceat(fits, begin, dtype=np.int64), length)
        step = np.maximum(1, fitting // places)
        ends |= (fits & (number % step == step - 1)) | (number == fitting - 1)
    last = np.flatnonzero(ends)
    start = np.append(0, last[:-1] + 1)[: len(last)]
    if len(last) == 0:
        return no_rows(), True
    # Of several points the first cannot stand before the place that the row before ends with.
    single = start == last
    place = np.where(single, last, start - 1) if kind == UPPER else last
    rows = {
        "kind": np.full(len(last), kind, np.int64),
        "slot": slot[last],
        "rank": rank[place],
        "code": code[place],
        "amount": np.add.reduceat(amount, start),
        "largest": np.where(single | (kind == LOWER), np.maximum.reduceat(amount, start), SEVERAL),
    }
    return rows, len(last) == len(slot)


def joined(rows: list[Rows]) -> Rows:
    """Return several rows as one."""
    return {name: np.concatenate([one[name] for one in rows]) for name in _ROWS}


def merge(rows: Rows, limit: Int64Array, least: Int64Array) -> Rows:
    """Return a row for each slot from what all parts told of it.

    Args:
        rows: of all parts, of some slots.
        limit: int64, (slots,): the limits of all slots, members included.
        least: int64, (slots of the first column,): minima; (0,) without.

    Returns:
        Columns of int64, a row per slot with ``level`` 0: ``slot``, ``taken`` by members, ``open``: what the undecided
        would take; ``sure_rank, sure_code``: the place from which up all of them fit; ``certain_rank, certain_code``:
        from which up all have a reserved place; ``reserved_rank, reserved_code``: below which no place is reserved any
        more; ``floor_rank, floor_code``: below which nobody fits who takes
        ``largest`` or more; ``out_rank, out_code``: who surely does not fit, and is left out of what follows. Of these
        last two there may be more, in rows of higher levels, below `tables_kernel.LEVELS`, that say nothing else.
    """
    slot, at = np.unique(rows["slot"], return_inverse=True)
    total = rows["kind"] == SUMS
    taken, open_ = np.zeros(len(slot), np.int64), np.zeros(len(slot), np.int64)
    np.add.at(taken, at[total], rows["amount"][total])
    np.add.at(open_, at[total], rows["largest"][total])
    left, reserved = np.maximum(limit[slot] - taken, 0), np.zeros(len(slot), np.int64)
    if len(least):
        minima = slot < len(least)
        reserved[minima] = np.maximum(least[slot[minima]] - taken[minima], 0)
    upper, lower = (_in_order(rows, at, kind) for kind in (UPPER, LOWER))
    index, rank, code, amount, _ = upper
    certain = kernel.down_to(index, rank, code, amount, reserved)
    lists: Any = (*upper, *lower, left)
    out = kernel.leave_out(*lists)
    sure = kernel.down_to(index, rank, code, amount, left)
    index, rank, code, amount, largest = lower
    none_reserved = kernel.taken_at(index, rank, code, amount, reserved)
    of_levels = dict(zip(_OF_LEVELS, (*kernel.floors(index, rank, code, amount, largest, left), *out), strict=True))
    first = {
        "slot": slot,
        "taken": taken,
        "open": open_,
        **dict(zip(_PLACES_OF_SLOTS, (*sure, *certain, *none_reserved), strict=True)),
        **{name: columns[0] for name, columns in of_levels.items()},
    }
    # Most slots have no more levels: those that have get a row for each.
    level, at = np.nonzero((of_levels["floor_rank"] > BELOW) | (of_levels["out_rank"] > BELOW))
    level, at = level[level > 0], at[level > 0]
    more = {name: columns[level, at] for name, columns in of_levels.items()} | {"slot": slot[at]}
    zeros = np.zeros(len(at), np.int64)
    found: Rows = {name: np.append(column, more.get(name, zeros)) for name, column in first.items()}
    return found | {"level": np.append(np.zeros(len(slot), np.int64), level)}


def added(rows: Rows) -> Rows:
    """Return a row for each slot: the sums of all other columns."""
    slot, at = np.unique(rows["slot"], return_inverse=True)
    out: Rows = {"slot": slot}
    for name in rows.keys() - {"slot"}:
        out[name] = np.zeros(len(slot), rows[name].dtype)
        np.add.at(out[name], at, rows[name])
    return out


def common(rows: Rows) -> Rows:
    """Return what the numbers of all rows are multiples of."""
    return {"unit": np.gcd.reduce(rows["unit"], keepdims=True)}


def beyond_minima(rows: Rows, limit: Int64Array, least: Int64Array) -> Rows:
    """Return rows, all of slot 0, of what undecided points of groups take beyond what is reserved for these.

    Of kind `UPPER`: would take at most; of kind `LOWER`: take if they are picked whenever they fit.

    Args:
        rows: of all parts, of some slots of the first column.
        limit: see `merge`.
        least: see `merge`.
    """
    slot, at = np.unique(rows["slot"], return_inverse=True)
    total = rows["kind"] == SUMS
    taken = np.zeros(len(slot), np.int64)
    np.add.at(taken, at[total], rows["amount"][total])
    most, reserved = np.maximum(limit[slot] - taken, 0), np.maximum(least[slot] - taken, 0)
    found = []
    for kind in (UPPER, LOWER):
        index, rank, code, amount, _ = _in_order(rows, at, kind)
        free = kernel.beyond(index, amount, most, reserved)
        some = free > 0
        zeros = np.zeros(int(some.sum()), np.int64)
        columns = {"slot": zeros, "rank": rank[some], "code": code[some], "amount": free[some], "largest": zeros}
        found.append({"kind": zeros + kind, **columns})
    return joined(found)


def free_places(rows: Rows, left: int) -> tuple[Place, Place]:
    """Return the place from which up ``left`` free places are enough, and the one below which there are none.

    ``rows`` are those of `beyond_minima`, of all parts; none where nobody is undecided.
    """
    if not rows:
        return (BELOW, BELOW), (BELOW, BELOW)
    zeros, all_left = np.zeros(len(rows["slot"]), np.int64), np.array([left])
    index, rank, code, amount, _ = _in_order(rows, zeros, UPPER)
    enough = kernel.down_to(index, rank, code, amount, all_left)
    index, rank, code, amount, _ = _in_order(rows, zeros, LOWER)
    gone = kernel.taken_at(index, rank, code, amount, all_left)
    return (int(enough[0][0]), int(enough[1][0])), (int(gone[0][0]), int(gone[1][0]))


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What all parts together told after the last superstep, by slot: see `merge`.

    Attributes:
        taken, open, sure_rank, sure_code, certain_rank, certain_code, reserved_rank, reserved_code: int64, (slots,).
        floors: by level ``slot, floor_rank, floor_code, largest``, int64, of the slots that have one there.
        out: int64, (m,): codes of those who surely do not fit.
        end: a place below which nobody comes before the end of size and budget.
        free: places that no minimum reserves, and nobody has taken.
        free_from: the place from which up there are such places for all.
        free_until: the place below which there are none any more.
    """

    taken: Int64Array
    open: Int64Array
    sure_rank: Int64Array
    sure_code: Int64Array
    certain_rank: Int64Array
    certain_code: Int64Array
    reserved_rank: Int64Array
    reserved_code: Int64Array
    floors: tuple[tuple[Int64Array, Int64Array, Int64Array, Int64Array], ...]
    out: Int64Array
    end: Place = (BELOW, BELOW)
    free: int = UNLIMITED
    free_from: Place = (BELOW, BELOW)
    free_until: Place = (BELOW, BELOW)

    @classmethod
    def of(cls, rows: Rows, slots: int) -> Known:
        """Return merged rows by slot; the last two slots are those of size and budget."""
        columns: dict[str, Any] = {}
        first = {name: column[rows["level"] == 0] for name, column in rows.items()} if rows else {}
        for name in _OF_SLOTS:
            columns[name] = np.full(slots, BELOW if name.endswith(("rank", "code")) else 0, np.int64)
            some = first["slot"] < slots if first else np.empty(0, np.bool_)
            if first:
                columns[name][first["slot"][some]] = first[name][some]
        floors, ends, out = [], [(BELOW, BELOW)], np.empty(0, np.int64)
        if rows:
            has = rows["floor_rank"] > BELOW
            total = has & (rows["slot"] >= slots) & (rows["level"] == 0)
            ends += list(zip(rows["floor_rank"][total].tolist(), rows["floor_code"][total].tolist(), strict=True))
            has &= rows["slot"] < slots
            for level in range(int(rows["level"][has].max(initial=-1)) + 1):
                here = has & (rows["level"] == level)
                slot, rank, code, largest = (rows[name][here] for name in ("slot", *_OF_LEVELS[:3]))
                floors.append((slot, rank, code, largest))
            out = rows["out_code"][(rows["out_rank"] > BELOW) & (rows["slot"] < slots)]
        return cls(**columns, floors=tuple(floors), out=out, end=max(ends))

    def floor_of(self, level: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Return the floors of a level by slot: ranks, codes, and what they are for; `BELOW` where there is none."""
        slot, *values = self.floors[level]
        dense = [np.full(len(self.taken), start, np.int64) for start in (BELOW, BELOW, 0)]
        for column, value in zip(dense, values, strict=True):
            column[slot] = value
        return dense[0], dense[1], dense[2]


def _in_order(rows: Rows, at: Int64Array, kind: int) -> list[Int64Array]:
    """Return the rows of a kind by slot (numbered by ``at``) and falling place: slots, places, amounts."""
    chosen = np.flatnonzero(rows["kind"] == kind)
    order = chosen[np.lexsort((~rows["code"][chosen], ~rows["rank"][chosen], at[chosen]))]
    return [at[order], *(rows[name][order] for name in ("rank", "code", "amount", "largest"))]
