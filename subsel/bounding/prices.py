"""Prices of limits: an upper bound on f of all subsets that keep a size, a budget and quotas (docs/certificate.md).

For prices >= 0, θ of a point, λ of a unit of cost, ν_g of what a point takes of group g, every S that keeps the limits
k, B and q_g pays for what it takes, so

    Σ r_i over S <= θ k + λ B + Σ ν_g q_g + Σ over all i of max(0, r_i - θ - λ c_i - Σ ν_g of i's groups).

The sum falls apart over points. The best price of one limit, given those of others, is where points in falling order of
value per unit have taken all of it: looked for by counts in bins, the same on any parts. A total and the groups of a
column that count the same are priced together: exactly the k largest of the groups' q_g largest. Prices that count
otherwise take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from subsel.board import Board
from subsel.bounding import prices_kernel as kernel
from subsel.bounding.edges import twice_f
from subsel.engines.base import Engine, Rows
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.graph import PartGraph
from subsel.limits.capacity import Capacity
from subsel.schema import Status

#: On a board: what own points are charged, in units of gains; their keys are what is left.
PRICE = "price"
#: A search of so many bins has an array of them; one of more sorts.
_DENSE = 1 << 20

#: Where no ratio is.
_NOWHERE = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """Prices of limits, in the units of keys (2^-tie_bits of a gain's).

    Attributes:
        point: of one of the size.
        cost: of one of the budget.
        group: int64, (slots,): of what points take of their groups.
    """

    point: int
    cost: int
    group: Int64Array

    @classmethod
    def none(cls, left: Capacity) -> Prices:
        """Return prices of 0."""
        return cls(0, 0, np.zeros(left.slots, np.int64))

    def paid(self, left: Capacity, tie_bits: int, *, points: bool = True) -> int:
        """Return what a subset pays at most that keeps the limits, rounded up, in units of gains.

        Args:
            left: the limits.
            tie_bits: of the keys.
            points: whether for points, too.
        """
        some = np.flatnonzero(self.group)
        total: int = sum(a * b for a, b in zip(self.group[some].tolist(), left.most[some].tolist(), strict=True))
        total += self.cost * (left.budget or 0)
        total += self.point * (left.size or 0) if points else 0
        return -(-total >> tie_bits)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Limits that are priced together: a total and the groups of one column, or either."""

    by_cost: bool
    total: int | None
    column: int | None


def limited_bound(engine: Engine, left: Capacity, tie_bits: int) -> int:
    """Return an upper bound on f of every subset of the members and undecided points that keep the limits.

    Args:
        engine: holds the graph.
        left: what members leave of the limits; minima and similarity do not count.
        tie_bits: of the keys.
    """
    engine.whole()
    among = (Status.UNDECIDED,)
    kinds = _kinds(left)
    found = []
    for order in [kinds, kinds[::-1]][: len(kinds)]:
        prices = Prices.none(left)
        for kind in order:
            prices = _price(engine, left, kind, prices, among)
            above, twice, _, _ = engine.step(measure_priced, left=left, prices=prices).sums
            found.append(prices.paid(left, tie_bits) + above + -(-twice // 2))
    return min(found)


def reprice(engine: Engine, left: Capacity, prices: Prices, *, turn: int) -> Prices:
    """Return better prices for the values that keys say, with what they are charged now; see `charge`.

    Args:
        engine: holds the whole graph, nothing undecided.
        left: what included points leave of the limits.
        prices: present ones.
        turn: which prices come first, by whether it is even.
    """
    kinds = _kinds(left)
    for kind in kinds if turn % 2 == 0 else kinds[::-1]:
        prices = _price(engine, left, kind, prices, (Status.SELECTED, Status.DISCARDED))
    return prices


def measure_priced(graph: PartGraph, board: Board, /, *, left: Capacity, prices: Prices) -> None:
    """Leave sums: what undecided points are worth beyond their prices; and of the members f, twice."""
    board.absorb_news(graph)
    board.tally = {}
    bits = graph.fixed_point.tie_bits
    open_ = board.status[: graph.n_own] == Status.UNDECIDED
    charged = np.minimum(charges(graph, left, prices) + min(prices.point, kernel.MOST), kernel.MOST) >> bits
    worth = (board.key[: graph.n_own] >> bits) - charged
    members = (board.status == Status.INCLUDED) | (board.status == Status.ACCEPTED)
    board.sums = (exact_sum(worth[open_ & (worth > 0)]), twice_f(graph, members), 0, 0)


def charges(graph: PartGraph, left: Capacity, prices: Prices) -> Int64Array:
    """Return what own points are charged for cost and groups, in the units of keys: int64, (n_own,)."""
    cost = np.empty(0, np.int64) if graph.cost is None else graph.cost
    found: Int64Array = kernel.charges(prices.cost, prices.group, _slots(graph, left), left.by_cost, cost, graph.n_own)
    return found


def tell_ratios(
    graph: PartGraph,
    board: Board,
    /,
    *,
    left: Capacity,
    prices: Prices,
    among: Sequence[Status],
    by_cost: bool,
    column: int | None,
    low: Int64Array,
    shift: Int64Array,
) -> None:
    """Tell, of each group of a column, what points take in bins of value per unit, and the largest ratio of each.

    Args:
        graph: the whole of this part.
        board: its board.
        left: the limits.
        prices: of other limits.
        among: whose values count.
        by_cost: whether points take their cost, or one.
        column: whose groups; None: all points are one.
        low, shift: see `subsel.bounding.prices_kernel.place`.
    """
    board.absorb_news(graph)
    own, bits = slice(0, graph.n_own), graph.fixed_point.tie_bits
    status = board.status[own]
    open_ = np.logical_or.reduce([status == int(one) for one in among])
    value = (board.key[own] >> bits) + board.extra.get(PRICE, 0)
    value = (value << bits) - charges(graph, left, prices) - prices.point
    value[~open_] = 0
    if by_cost:
        assert graph.cost is not None
        amount = graph.cost[own]
    else:
        amount = np.ones(graph.n_own, np.int64)
    slot = np.zeros(graph.n_own, np.int64) if column is None else _in_column(graph, column)
    ratio, number = kernel.place(value, amount, slot, low, shift)
    some = number >= 0
    index, size = slot[some] * kernel.STRIDE + number[some], (int(slot.max(initial=0)) + 1) * kernel.STRIDE
    if size > _DENSE:
        names, index = np.unique(index, return_inverse=True)
        total, largest = kernel.gather(index, amount[some], ratio[some], len(names))
    else:
        total, largest = kernel.gather(index, amount[some], ratio[some], size)
        names = np.flatnonzero(largest)
        total, largest = total[names], largest[names]
    board.sums = (0, 0, 0, 0)
    board.tally = {
        "slot": names // kernel.STRIDE,
        "bin": names % kernel.STRIDE,
        "amount": total,
        "largest": largest,
    }


def filled(rows: Rows, limit: Int64Array) -> Rows:
    """Return of each slot the bin in which points, in falling order, take more than its limit; none where they do not.

    Args:
        rows: of all parts, of some slots: ``slot``, ``bin``, ``amount``, ``largest``.
        limit: int64, (slots of the column,).
    """
    rows = _in_order(rows)
    over = np.flatnonzero(kernel.cap(rows["slot"], rows["amount"], limit) < rows["amount"])
    _, first = np.unique(rows["slot"][over], return_index=True)
    return {name: rows[name][over[first]] for name in ("slot", "bin", "largest")}


def capped(rows: Rows, most: Int64Array) -> Rows:
    """Return rows of bins, all of slot 0: what the first points of groups take, in falling order, that fit these.

    Args:
        rows: see `filled`.
        most: int64, (groups of the column,).
    """
    rows = _in_order(rows)
    amount = kernel.cap(rows["slot"], rows["amount"], most)
    names, index = np.unique(rows["bin"], return_inverse=True)
    total, largest = kernel.gather(index, amount, np.where(amount > 0, rows["largest"], 0), len(names))
    return {"slot": np.zeros(len(names), np.int64), "bin": names, "amount": total, "largest": largest}


def _kinds(left: Capacity) -> list[_Kind]:
    """Return which limits are priced together, in the order in which they are."""
    kinds = []
    of_cost = left.by_cost.tolist()
    for by_cost, total in ((False, left.size), (True, left.budget)):
        columns = [at for at, by in enumerate(of_cost) if by == by_cost]
        if total is not None or columns:
            kinds.append(_Kind(by_cost, total, columns[0] if columns else None))
        kinds += [_Kind(by_cost, None, at) for at in columns[1:]]
    return kinds


def _price(engine: Engine, left: Capacity, kind: _Kind, prices: Prices, among: Sequence[Status]) -> Prices:
    """Return prices of which those of one kind are as good as can be, given the others."""
    group, of_column = prices.group.copy(), slice(0, 0)
    if kind.column is not None:
        of_column = slice(*left.offsets[kind.column : kind.column + 2].tolist())
        group[of_column] = 0
    others = replace(prices, group=group)
    if kind.total is not None:
        others = replace(others, cost=0) if kind.by_cost else replace(others, point=0)
    most = None if kind.column is None else left.groups[kind.column].most
    how = {"left": left, "prices": others, "among": among, "by_cost": kind.by_cost, "column": kind.column}
    tell: Callable[..., Any] = partial(cast(Any, engine.step), tell_ratios, **how)
    found = np.empty(0, np.int64) if most is None else _search(engine, tell, len(most), most)
    if kind.total is not None:
        price = int(_search(engine, tell, 1 if most is None else len(most), np.array([kind.total]), most)[0])
        found = np.maximum(found - price, 0)
        others = replace(others, cost=price) if kind.by_cost else replace(others, point=price)
    group = group.copy()
    group[of_column] = found
    return replace(others, group=group)


def _search(
    engine: Engine, tell: Callable[..., Any], slots: int, limit: Int64Array, most: Int64Array | None = None
) -> Int64Array:
    """Return the least prices at which points that are worth more than they pay take no more than the limits, about.

    Too high by a 2^18th at most: the largest ratio of the bin in which the best price is.

    Args:
        engine: holds the graph.
        tell: the step `tell_ratios`, but for the bins that are looked into.
        slots: of the column.
        limit: int64, (slots,); or (1,), of all together, with ``most``.
        most: int64, (slots,): what each takes at most; None: a limit for each.
    """
    price = np.zeros(len(limit), np.int64)
    low = shift = np.empty(0, np.int64)
    for last in (False, True):
        tell(low=low, shift=shift)
        rows = engine.merge(filled, limit) if most is None else engine.merge(capped, most)
        if rows and most is not None:
            rows = filled(rows, limit)
        if not rows or not len(rows["slot"]):
            break
        price[rows["slot"]] = rows["largest"]
        begins, open_bits = kernel.bin_begins(rows["bin"])
        if last or not open_bits.any():
            break
        low, shift = np.full(slots, _NOWHERE), np.zeros(slots, np.int64)
        if most is None:
            low[rows["slot"]], shift[rows["slot"]] = begins, open_bits
        else:
            low[:], shift[:] = begins, open_bits
    return price


def _slots(graph: PartGraph, left: Capacity) -> npt.NDArray[np.int32]:
    """Return own points' groups, numbered through all columns: int32, (columns, n_own)."""
    columns = len(left.groups)
    if not columns:
        return np.empty((0, graph.n_own), np.int32)
    assert graph.group is not None
    return np.asarray(graph.group + left.offsets[:columns, None], np.int32)


def _in_column(graph: PartGraph, column: int) -> Int64Array:
    assert graph.group is not None
    return np.asarray(graph.group[column], np.int64)


def _in_order(rows: Rows) -> Rows:
    """Return rows of each slot and bin once, by slot and falling bin."""
    names, index = np.unique(rows["slot"] * kernel.STRIDE + (kernel.STRIDE - 1 - rows["bin"]), return_inverse=True)
    total, largest = kernel.gather(index, rows["amount"], rows["largest"], len(names))
    return {
        "slot": names // kernel.STRIDE,
        "bin": kernel.STRIDE - 1 - names % kernel.STRIDE,
        "amount": total,
        "largest": largest,
    }
