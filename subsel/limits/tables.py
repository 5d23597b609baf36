"""What parts tell of their groups, and what follows for who fits: tables over all parts, a row per group (*slot*).

A part tells sums of what its members have taken and of what its undecided points would take, and where these stand in
falling order: a list of places with what is taken from the place before down to each. Long lists are cut to some
places. Rounded so that it errs on the safe side, a table that is not exact, or not new, only decides later. The top of
every list is exact, so the first of all undecided points is always decided.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from subsel.fixedpoint import Int64Array
from subsel.sizes import UNLIMITED

#: Places that a part tells of a group, about, and how many of its first are told one by one.
PLACES, FIRST = 64, 8
#: Kinds of rows: sums of members and of the undecided; where the undecided stand at most; and at least.
SUMS, UPPER, LOWER = 0, 1, 2
#: A place before all others, and after.
ABOVE, BELOW = 2**63 - 1, -(2**63)

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
    kind: int, slot: Int64Array, rank: Int64Array, code: Int64Array, amount: Int64Array, places: int = PLACES
) -> tuple[Rows, bool]:
    """Return rows of a part's points in falling order, some of each slot, and whether those are all.

    Args:
        kind: `UPPER`: a row counts from where its first point may stand, or `LOWER`: from where its last one does.
        slot, rank, code, amount: int64, (m,), of points.
        places: of each slot, about.
    """
    order = np.lexsort((~code, ~rank, slot))  # ~x falls as x rises, and cannot overflow
    slot, rank, code, amount = slot[order], rank[order], code[order], amount[order]
    first = np.append(True, slot[1:] != slot[:-1])[: len(slot)]
    begin = np.flatnonzero(first)
    length = np.diff(np.append(begin, len(slot)))
    number = np.arange(len(slot)) - np.repeat(begin, length)
    lengths = np.repeat(length, length)
    step = np.maximum(1, lengths // places)
    ends = (number < FIRST) | (number % step == step - 1) | (number == lengths - 1)
    last = np.flatnonzero(ends)
    start = np.append(0, last[:-1] + 1)[: len(last)]
    if len(last) == 0:
        return no_rows(), True
    # Of several points the first cannot stand before the place that the row before ends with.
    place = np.where(start == last, last, start - 1) if kind == UPPER else last
    rows = {
        "kind": np.full(len(last), kind, np.int64),
        "slot": slot[last],
        "rank": rank[place],
        "code": code[place],
        "amount": np.add.reduceat(amount, start),
        "largest": np.maximum.reduceat(amount, start),
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
        Columns of int64, a row per slot: ``slot``, ``taken`` by members, ``open``: what the undecided would take;
        ``sure_rank, sure_code``: the place from which up all of them fit; ``certain_rank, certain_code``: from which up
        all have a reserved place; ``floor_rank, floor_code``: below which nobody fits who takes ``largest`` or more.
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
    sure, certain = _down_to(index, rank, code, amount, left), _down_to(index, rank, code, amount, reserved)
    index, rank, code, amount, largest = lower
    floor = _filled_at(index, rank, code, amount, largest, left)
    return {
        "slot": slot,
        "taken": taken,
        "open": open_,
        "sure_rank": sure[0],
        "sure_code": sure[1],
        "certain_rank": certain[0],
        "certain_code": certain[1],
        "floor_rank": floor[0],
        "floor_code": floor[1],
        "largest": floor[2],
    }


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
    """Return rows, all of slot 0, of what undecided points of groups would take beyond what is reserved for these.

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
    index, rank, code, amount, _ = _in_order(rows, at, UPPER)
    free = _beyond(index, amount, most, reserved)
    some = free > 0
    zeros = np.zeros(int(some.sum()), np.int64)
    columns = {"slot": zeros, "rank": rank[some], "code": code[some], "amount": free[some], "largest": zeros}
    return {"kind": zeros + UPPER, **columns}


def down_to(rows: Rows, left: int) -> tuple[int, int]:
    """Return the place from which up all rows, of one slot, fit into ``left``: see `merge`."""
    if not rows:
        return BELOW, BELOW
    index, rank, code, amount, _ = _in_order(rows, np.zeros(len(rows["slot"]), np.int64), UPPER)
    ranks, codes = _down_to(index, rank, code, amount, np.array([left]))
    return int(ranks[0]), int(codes[0])


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What all parts together told after the last superstep, by slot: see `merge`.

    Attributes:
        taken, open, sure_rank, sure_code, certain_rank, certain_code, floor_rank, floor_code, largest: int64, (slots,).
        end: a place below which nobody comes before the end of size and budget.
        free: places that no minimum reserves, and nobody has taken.
        free_from: the place from which up there are such places for all.
    """

    taken: Int64Array
    open: Int64Array
    sure_rank: Int64Array
    sure_code: Int64Array
    certain_rank: Int64Array
    certain_code: Int64Array
    floor_rank: Int64Array
    floor_code: Int64Array
    largest: Int64Array
    end: Place = (BELOW, BELOW)
    free: int = UNLIMITED
    free_from: Place = (BELOW, BELOW)

    @classmethod
    def of(cls, rows: Rows, slots: int) -> Known:
        """Return merged rows by slot; the last two slots are those of size and budget."""
        columns: dict[str, Any] = {}
        for name in (one.name for one in fields(cls) if one.default is MISSING):
            columns[name] = np.full(slots + 2, BELOW if name.endswith(("rank", "code")) else 0, np.int64)
            if rows:
                columns[name][rows["slot"]] = rows[name]
        ends = zip(columns["floor_rank"][slots:].tolist(), columns["floor_code"][slots:].tolist(), strict=True)
        of_groups: dict[str, Any] = {name: column[:slots] for name, column in columns.items()}
        return cls(**of_groups, end=max(ends))


def _in_order(rows: Rows, at: Int64Array, kind: int) -> list[Int64Array]:
    """Return the rows of a kind by slot (numbered by ``at``) and falling place: slots, places, amounts."""
    chosen = np.flatnonzero(rows["kind"] == kind)
    order = chosen[np.lexsort((~rows["code"][chosen], ~rows["rank"][chosen], at[chosen]))]
    return [at[order], *(rows[name][order] for name in ("rank", "code", "amount", "largest"))]


@numba.njit(cache=True)
def _down_to(index: Any, rank: Any, code: Any, amount: Any, left: Any) -> Any:
    """Return for each slot the last place down to which amounts fit into what is left.

    `ABOVE` where the first does not, `BELOW` where all do. Rows of one place fit together or not at all.
    """
    ranks, codes = np.full(len(left), BELOW, np.int64), np.full(len(left), BELOW, np.int64)
    at = 0
    while at < len(index):
        slot, through = index[at], np.int64(0)
        last_rank, last_code = ABOVE, ABOVE
        while at < len(index) and index[at] == slot:
            end, together = at, np.int64(0)
            while end < len(index) and index[end] == slot and rank[end] == rank[at] and code[end] == code[at]:
                together += amount[end]
                end += 1
            through += together
            if through > left[slot]:
                ranks[slot], codes[slot] = last_rank, last_code
                while at < len(index) and index[at] == slot:
                    at += 1
                break
            last_rank, last_code = rank[at], code[at]
            at = end
    return ranks, codes


@numba.njit(cache=True)
def _filled_at(index: Any, rank: Any, code: Any, amount: Any, largest: Any, left: Any) -> Any:
    """Return for each slot the place at which amounts have taken all that is left, and the largest of one until there.

    `BELOW` where they never do, or where nothing is left.
    """
    ranks, codes = np.full(len(left), BELOW, np.int64), np.full(len(left), BELOW, np.int64)
    most = np.zeros(len(left), np.int64)
    through, done = np.zeros(len(left), np.int64), left == 0
    for at in range(len(index)):
        slot = index[at]
        if done[slot]:
            continue
        through[slot] += amount[at]
        most[slot] = max(most[slot], largest[at])
        if through[slot] >= left[slot]:
            ranks[slot], codes[slot], done[slot] = rank[at], code[at], True
    return ranks, codes, most


@numba.njit(cache=True)
def _beyond(index: Any, amount: Any, most: Any, reserved: Any) -> Any:
    """Return what each row takes beyond what is reserved for its slot, which takes ``most`` in all."""
    out = np.zeros(len(index), np.int64)
    through = np.zeros(len(most), np.int64)
    for at in range(len(index)):
        slot = index[at]
        before = max(min(through[slot], most[slot]) - reserved[slot], 0)
        through[slot] += amount[at]
        out[at] = max(min(through[slot], most[slot]) - reserved[slot], 0) - before
    return out
