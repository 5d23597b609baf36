"""An upper bound on coverage's f, by how much each point is covered for granted (docs/coverage.md).

For any amounts c >= 0, one for each point, and any S, a point is covered by S as much as c says, or by what a member
covers it beyond that, so

    f(S) <= Σ c_v + Σ over s of S of (λ u(s) + Σ over v of max(0, importance(v) sim(v, s) - c_v))

and the last sum is what members of S add beside c: no more than limits let points add, which is bounded at prices
(`subsel.bounding.prices`). With what a set covers as c this is the bound of submodular functions (Nemhauser, Wolsey and
Fisher 1978); any c is one, as in the dual of the k-median problem, so subgradient steps lower it: c_v rises where
several points that are worth their price would cover v further, and falls where none would. A step goes on in part
where the one before went (Camerini, Fratta and Maffioli 1975), as far as f says (Polyak). All amounts are integers.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from subsel.board import Board
from subsel.bounding.prices import Prices, charges, reprice
from subsel.covering import bound_kernel, kernel
from subsel.covering.part import amounts_of
from subsel.engines.base import BELOW_ALL, Engine
from subsel.fixedpoint import exact_sum
from subsel.graph import SLOT_BITS, PartGraph
from subsel.limits.capacity import Capacity
from subsel.results import CertificateResult
from subsel.schema import FIRST_MEMBER, Status

log = logging.getLogger(__name__)

#: Shares of the subset, first in the order of keys, of which covers are looked at; steps begin at the last.
_PREFIXES = (0.7, 1.0)
#: What remains of a step's length after each, and of its direction in the next.
_SHORTER, _GOES_ON = 0.96, 0.8
#: Directions are counted in such parts, so that their sums are the same on any parts of a graph.
_FRACTION = 16
#: On a board, meanwhile: the keys at picking, how much is covered for granted, who is worth the price, where steps go.
_PICKED, _GRANTED, _WORTH, _DIRECTION = "picked", "granted", "worth", "direction"
#: Further than any amount; twice that is no overflow.
_FAR = 2.0**61
_ALL = BELOW_ALL, BELOW_ALL


def cover_bound(
    engine: Engine, left: Capacity, tie_bits: int, iterations: int = 0, *, gap: float = 0.0, random: int = 0
) -> CertificateResult:
    """Return an upper bound on f of every subset of the included and free points that keeps some limits.

    Args:
        engine: nothing is undecided; keys are those at picking, and still are afterwards.
        left: what included points leave of the limits; minima and similarity do not count.
        tie_bits: of the keys.
        iterations: steps that lower the bound.
        gap: end once (bound - f) / (bound - random) is this or less.
        random: f of a random subset, in units of 2^-fraction_bits.
    """
    engine.reopen()
    selected = engine.counts().selected
    counts = sorted({round(share * selected) for share in _PREFIXES})
    places = [engine.kth_place(count, (Status.SELECTED,)) if count < selected else _ALL for count in counts]
    bounds, f, prices = [], 0, Prices.none(left)
    for key, code in places:
        f = sum(engine.step(grant_prefix, key=key, code=code).sums)
        bound, prices = _measure(engine, left, tie_bits)
        bounds.append(bound)
    best, length, norm, number = min(bounds), 1.0, 0, 0
    while number < iterations and best - f > gap * (best - random):
        number += 1
        engine.step(tell_worth, left=left, prices=prices)
        step = length * (bounds[-1] - f) * _FRACTION / norm if norm else 0.0
        found, cold = engine.step(shift, step=step).sums[0], norm == 0
        norm, length = found, length * _SHORTER
        if cold:  # nothing has moved: now it is known how far
            continue
        bound, prices = _measure(engine, left, tie_bits)
        bounds.append(bound)
        best = min(best, bound)
        log.info("certificate, iteration %d of %d: upper bound %d (fixed point)", number, iterations, best)
    engine.step(forget)
    return CertificateResult(best, number)


def _measure(engine: Engine, left: Capacity, tie_bits: int) -> tuple[int, Prices]:
    """Return the bound by what is granted at present, and prices that give it."""
    granted = sum(engine.step(count_beside).sums[:2])
    prices = reprice(engine, left, Prices.none(left), turn=0)
    above = engine.step(measure_above, left=left, prices=prices).sums[0]
    return granted + prices.paid(left, tie_bits) + above, prices


def grant_prefix(graph: PartGraph, board: Board, /, *, key: int, code: int) -> None:
    """Grant what included points cover, and members down to a place.

    Leaves as sums that, and what all members are worth by themselves: f, where all are granted.
    """
    known, own = amounts_of(graph, board), slice(0, graph.n_own)
    board.news = np.empty(0, np.int32)
    picked = board.extra.setdefault(_PICKED, board.key.copy())
    down_to = (picked > key) | ((picked == key) & (graph.code >= code))
    inside = (board.status == Status.INCLUDED) | ((board.status == Status.SELECTED) & down_to)
    status = np.where(inside, Status.SELECTED, Status.DISCARDED).astype(np.int8)
    granted = np.zeros(len(graph.code), np.int64)
    kernel.raise_covers(graph.indptr, graph.indices, known.takes, known.gives, known.itself, status, granted)
    board.extra[_GRANTED] = granted
    _tell(graph, board, _GRANTED)
    worth = known.base[board.status[own] >= FIRST_MEMBER] >> graph.fixed_point.tie_bits
    board.sums = (exact_sum(granted[own]), exact_sum(worth), 0, 0)


def count_beside(graph: PartGraph, board: Board, /) -> None:
    """Set keys to what own points add beside what is granted; leave as sums that, and what included points add."""
    _hear(graph, board, _GRANTED)
    granted, own = board.extra[_GRANTED], slice(0, graph.n_own)
    known, bits = amounts_of(graph, board), graph.fixed_point.tie_bits
    about = graph.indptr, graph.indices, known.gives, known.itself, granted, known.base
    kernel.count_gains(*about, bits, np.ones(graph.n_own, np.bool_), board.key)
    included = board.key[own][board.status[own] == Status.INCLUDED] >> bits
    board.sums = (exact_sum(granted[own]), exact_sum(included), 0, 0)


def measure_above(graph: PartGraph, board: Board, /, *, left: Capacity, prices: Prices) -> None:
    """Leave as sum what free points are worth beyond their prices."""
    board.news, board.tally = np.empty(0, np.int32), {}
    worth = _beyond(graph, board, left, prices)
    board.sums = (exact_sum(worth[worth > 0]), 0, 0, 0)


def tell_worth(graph: PartGraph, board: Board, /, *, left: Capacity, prices: Prices) -> None:
    """Tell who is worth the price, or is included."""
    board.news, board.tally = np.empty(0, np.int32), {}
    worth = np.zeros(len(graph.code), np.int8)
    included = board.status[: graph.n_own] == Status.INCLUDED
    worth[: graph.n_own] = included | (_beyond(graph, board, left, prices) > 0)
    board.extra[_WORTH] = worth
    _tell(graph, board, _WORTH)


def shift(graph: PartGraph, board: Board, /, *, step: float) -> None:
    """Grant more where several points that are worth their price cover beyond it, less where none does.

    Leaves as sum the squares of where the step goes: of how many are too many or too few, now and before.
    """
    _hear(graph, board, _WORTH)
    known, granted, own = amounts_of(graph, board), board.extra[_GRANTED], slice(0, graph.n_own)
    about = graph.indptr, graph.indices, known.takes, known.itself
    most = np.maximum(known.itself, bound_kernel.most_of_rows(graph.indptr, known.takes))
    goes = bound_kernel.surplus(*about, granted, board.extra[_WORTH]) * _FRACTION
    goes[most == 0] = 0  # whom nobody covers, or need not, is nowhere too little covered
    if _DIRECTION in board.extra:
        goes += np.rint(_GOES_ON * board.extra[_DIRECTION]).astype(np.int64)
    board.extra[_DIRECTION] = goes
    board.sums = (exact_sum(goes * goes), 0, 0, 0)
    far = np.clip(np.rint(goes * step), -_FAR, _FAR).astype(np.int64)
    moved = granted[own] + far
    granted[own] = np.clip(moved, 0, most)
    _tell(graph, board, _GRANTED)


def forget(graph: PartGraph, board: Board, /) -> None:
    """Bring back the keys at picking."""
    board.news = np.empty(0, np.int32)
    board.key[:] = board.extra.pop(_PICKED)
    for name in (_GRANTED, _WORTH, _DIRECTION):
        board.extra.pop(name, None)


def _beyond(graph: PartGraph, board: Board, left: Capacity, prices: Prices) -> Any:
    """Return what own points are worth beyond their prices, 0 for those that are not free: int64, (n_own,)."""
    own, bits = slice(0, graph.n_own), graph.fixed_point.tie_bits
    free = (board.status[own] == Status.SELECTED) | (board.status[own] == Status.DISCARDED)
    worth = (board.key[own] >> bits) - ((charges(graph, left, prices) + prices.point) >> bits)
    return np.where(free, worth, 0)


def _tell(graph: PartGraph, board: Board, name: str) -> None:
    """Write to other parts what is known of own points that they have as ghosts."""
    to, slot = graph.hosts(np.ones(graph.n_own, np.bool_))
    if len(to):
        board.outbox = {"to": to, "vid": (graph.part << SLOT_BITS) | slot, name: board.extra[name][slot]}


def _hear(graph: PartGraph, board: Board, name: str) -> None:
    """Take over what other parts wrote of ghosts."""
    board.news = np.empty(0, np.int32)
    if board.inbox:
        board.extra[name][graph.local(board.inbox["vid"])] = board.inbox[name]
        board.inbox = {}
