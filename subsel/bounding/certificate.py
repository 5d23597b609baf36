"""An upper bound on the best possible f, by dual variables on edges and small cliques (docs/certificate.md).

For 0 <= μ_e <= w_e on every edge, w_e x_i x_j >= μ_e (x_i + x_j - 1), so for every S of k points

    f(S) <= Σ_e μ_e + Σ of the k largest (a_i - Σ over edges e of i of μ_e).

In a clique whose edges all weigh at least w, s chosen points cost w s(s-1)/2 >= w (t s - t(t+1)/2) for any integer t:
tighter than edge by edge where about half of the points are chosen, because s is whole. All variables are integers in
the units of the keys, so the bound does not depend on the order of sums, nor on the number of threads.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numba
import numpy as np

from subsel.board import Board, Counts
from subsel.bounding import certificate_kernel as kernel
from subsel.bounding import clique_kernel
from subsel.bounding.cliques import cliques_of, find_cliques, no_cliques, paces_of
from subsel.bounding.edges import derived, edge_paces, edges_of_part, twice_f
from subsel.bounding.prices import PRICE, Prices, charges, reprice
from subsel.engines.base import Engine
from subsel.fixedpoint import Int64Array, exact_sum
from subsel.graph import PartGraph
from subsel.limits.capacity import Capacity
from subsel.results import CertificateResult
from subsel.schema import FIRST_MEMBER, Status

log = logging.getLogger(__name__)

#: Whose variables an iteration moves.
Turn = Literal["edges", "cliques"]
_EDGES: Turn = "edges"
_CLIQUES: Turn = "cliques"

_FREE = (Status.SELECTED, Status.DISCARDED)
#: The width of the smoothed "is among the k largest" falls to this share of what it is at first.
_LAST_WIDTH = 1e-3
#: Share of the iterations before cliques come in, and the width at which it starts to fall anew then.
_EDGES_ONLY = 0.3
_CLIQUE_WIDTH = 0.5
#: How far one iteration moves a point's value at most, in widths; twice that where edges and cliques take turns.
_STEP = 3.0
#: How far a variable moves at once, at most, by whether weights are wide: about as far as any weight, which is at most
#: 2^30 or 2^54 (`subsel.fixedpoint`), and so that twice as far is no overflow. Of 24 bits, as step and pace are.
_MOST = (2.0**30 - 64, 2.0**60)
#: Threads that add up loads, at most: each has an array of all points.
_LOADERS = 8
#: Arrays of a board's scratch: the loads of own points by edges and by cliques, and where threads add them up.
_EDGE_LOAD, _CLIQUE_LOAD, _LOAD = "edge_load", "clique_load", "load"
#: Under limits with prices, these are looked for anew so many times.
_PRICED = 8
#: Points within so many widths of the threshold are open: neither clearly in nor clearly out.
_OPEN = 10.0


def free_bound(engine: Engine, k: int, tie_bits: int, *, fewer: bool = False) -> int:
    """Return Σ over members of what they add, and of the k largest U_max over undecided points.

    A bound on f of every subset that has the present members and k undecided points: with exact bounding, or only
    the user's wishes, that includes every optimum.

    Args:
        engine: holds the graph.
        k: points still needed, 0 <= k <= number undecided.
        tie_bits: of the keys.
        fewer: whether subsets of fewer points count, too: then no U_max below 0 does.
    """
    engine.whole()
    threshold = _threshold(engine, k, (Status.UNDECIDED,), fewer=fewer)
    counts = engine.step(measure_upper, threshold=threshold)
    return _bound(counts, k, threshold, tie_bits)


def certify(
    engine: Engine,
    iterations: int,
    tie_bits: int,
    *,
    gap: float = 0.0,
    random: int = 0,
    cliques: bool = True,
    left: Capacity | None = None,
) -> CertificateResult:
    """Lower the bound by projected subgradient steps, beginning with μ = w inside the present subset.

    Every μ is valid, so it may stop at any time. The subgradient is smoothed: a point counts as among the k largest by
    degrees, by its distance from the k-th largest value, over a width that falls from iteration to iteration. Each of
    these is one superstep and one order statistic; finding cliques takes a dozen more. From there on edges and cliques
    take turns, twice as far each: about as good as both at once, for less work. Nothing depends on parts. The user's
    included points are in every subset that is bounded, the excluded ones in none. Under a budget or quotas points are
    charged for what they take, at prices that are looked for anew now and then (`subsel.bounding.prices`).

    Args:
        engine: holds the whole graph (`Engine.reopen`); nothing is undecided. Keys are lost.
        iterations: upper limit.
        tie_bits: of the keys.
        gap: end once (bound - f) / (bound - random) is this or less.
        random: f of a random subset, in units of 2^-fraction_bits.
        cliques: False for variables on edges only.
        left: bound subsets of free points that keep these limits, what included points leave; None: of as many as are
            selected.
    """
    engine.step(tell_degree)
    counts = engine.step(arm)
    fewer, k, free = left is not None, counts.selected, counts.selected + counts.discarded
    if left is not None:
        k = free if left.size is None else left.size
    twice, twice_included = counts.sums[:2]
    if k == 0:
        engine.step(forget)
        return CertificateResult(twice_included // 2, 0)
    limits, when, paid = left or Capacity(), _pricings(left, iterations), 0
    prices = Prices.none(limits)
    if when:
        prices, paid = _charged(engine, limits, prices, tie_bits, turn=0)
    threshold = _threshold(engine, k, _FREE, fewer=fewer)
    reach = max(engine.kth_largest("key", 1, _FREE) - threshold, threshold - engine.kth_largest("key", free, _FREE))
    widths = _widths(max(reach >> tie_bits, 1), iterations, cliques=cliques)
    best, number, found, turn = None, 0, 0, _EDGES
    for number, (width, begins) in enumerate([*widths, (0, False)]):
        if number and number in when:
            prices, paid = _charged(engine, limits, prices, tie_bits, turn=when.index(number))
        if number:
            threshold = _threshold(engine, k, _FREE, fewer=fewer)
        if begins:
            found = find_cliques(engine, threshold, round(_OPEN * widths[number - 1][0]))
            engine.step(make_room)
            threshold = _threshold(engine, k, _FREE, fewer=fewer)
        turn = _CLIQUES if found and turn == _EDGES else _EDGES
        step = 2 * _STEP if found else _STEP
        counts = engine.step(descend, threshold=threshold, width=width, step=step, turn=turn)
        bound = _bound(counts, k, threshold, tie_bits) + paid + -(-twice_included // 2)
        best = bound if best is None else min(best, bound)
        if number % 10 == 0:
            log.info("certificate, iteration %d of %d: upper bound %d (fixed point)", number, iterations, best)
        if best - twice / 2 <= gap * (best - random):
            break
    engine.step(forget)
    return CertificateResult(best, number)


def _threshold(engine: Engine, k: int, among: Sequence[Status], *, fewer: bool) -> int:
    """Return the k-th largest key, or 0 where that is below it and subsets may be smaller.

    For any t >= 0, k t and what values have above t is at least the sum of the k largest that are positive.
    """
    threshold = engine.kth_largest("key", k, among)
    return max(threshold, 0) if fewer else threshold


def _charged(engine: Engine, left: Capacity, prices: Prices, tie_bits: int, *, turn: int) -> tuple[Prices, int]:
    """Charge better prices; return these, and what a subset pays at most."""
    prices = reprice(engine, left, prices, turn=turn)
    engine.step(charge, left=left, prices=prices)
    return prices, prices.paid(left, tie_bits, points=False)


def _pricings(left: Capacity | None, iterations: int) -> list[int]:
    """Return before which iterations prices are looked for: none where size and similarity are the only limits."""
    if left is None or (left.budget is None and not left.groups):
        return []
    return [0, *sorted({round(iterations * i / _PRICED) for i in range(1, _PRICED)} - {0})]


def _widths(reach: int, iterations: int, *, cliques: bool) -> list[tuple[int, bool]]:
    """Return each iteration's width, and whether cliques come in before it, where it starts to fall anew."""
    first = min(iterations, max(1, round(_EDGES_ONLY * iterations))) if cliques else iterations
    falls = [_LAST_WIDTH ** ((i + 1) / first) for i in range(first)]
    second = iterations - first
    falls += [_CLIQUE_WIDTH * (_LAST_WIDTH / _CLIQUE_WIDTH) ** ((i + 1) / second) for i in range(second)]
    return [(max(1, round(reach * fall)), i == first) for i, fall in enumerate(falls)]


def _bound(counts: Counts, k: int, threshold: int, tie_bits: int) -> int:
    """Return k · threshold + what the k largest have above it + half of the second sum + the third."""
    above, twice, constant, _ = counts.sums
    return (k * (threshold >> tie_bits) if k else 0) + above + -(-twice // 2) + constant


def measure_upper(graph: PartGraph, board: Board, /, *, threshold: int) -> None:
    """Leave sums for `free_bound`: of undecided points above the threshold, and of the members, twice."""
    board.absorb_news(graph)
    own, bits = slice(0, graph.n_own), graph.fixed_point.tie_bits
    status, gain = board.status[own], board.key[own] >> bits
    over = (status == Status.UNDECIDED) & (gain > threshold >> bits)
    decided = (board.status == Status.INCLUDED) | (board.status == Status.ACCEPTED)
    board.sums = (exact_sum(gain[over] - (threshold >> bits)), twice_f(graph, decided), 0, 0)


def tell_degree(graph: PartGraph, board: Board, /) -> None:
    """Post every own point's degree, as its key. What bounding accepted is a member like others from here on."""
    board.news = np.empty(0, np.int32)
    board.note_decided(graph)
    board.status[board.status == Status.ACCEPTED] = Status.SELECTED
    board.key[: graph.n_own] = np.diff(graph.indptr)


def arm(graph: PartGraph, board: Board, /) -> None:
    """Start the edges' variables at what the present subset pays, and compute every own point's value."""
    board.news, board.scratch = np.empty(0, np.int32), {}
    own, bits = slice(0, graph.n_own), graph.fixed_point.tie_bits
    rows = (graph.indptr, graph.indices, graph.weight)
    first = graph.fixed_point.keys(graph.utility[own], graph.code[own]) >> bits
    edges = edges_of_part(graph, board)
    cap = kernel.free_capacity(*rows, edges.edge_of, len(edges.small), board.status)
    degree = np.concatenate([np.diff(graph.indptr), board.key[graph.n_own :]])
    board.forget_extra()
    board.extra |= {
        "pace": (1 / np.maximum(degree, 1)).astype(np.float32),
        "base": kernel.base_values(*rows, first, board.status),
        "cap": cap,
        "mu": kernel.start(edges.small, edges.large, cap, board.status),
        **no_cliques(graph),
    }
    _set_keys(graph, board)
    board.sums = (twice_f(graph, board.status >= FIRST_MEMBER), twice_f(graph, board.status == Status.INCLUDED), 0, 0)


def charge(graph: PartGraph, board: Board, /, *, left: Capacity, prices: Prices) -> None:
    """Charge own points for the cost and the groups that they take, and no longer what they were charged."""
    board.news, board.tally = np.empty(0, np.int32), {}
    extra = board.extra
    price = charges(graph, left, prices) >> graph.fixed_point.tie_bits
    extra["base"] = extra["base"] + extra.get(PRICE, 0) - price
    extra[PRICE] = price
    _set_keys(graph, board)


def make_room(graph: PartGraph, board: Board, /) -> None:
    """Lower the edges' variables to their limits, now that cliques have taken their share of the weights.

    Edges do well where a point is clearly in or out; only among the others is their bound loose.
    """
    board.news = np.empty(0, np.int32)
    extra = board.extra
    np.minimum(extra["mu"], extra["cap"], out=extra["mu"])
    for name in (_EDGE_LOAD, _CLIQUE_LOAD):
        board.scratch.pop(name, None)
    _set_keys(graph, board)


def descend(
    graph: PartGraph, board: Board, /, *, threshold: int, width: int, step: float = 0.0, turn: Turn = _EDGES
) -> None:
    """Leave sums that give the present bound, then move the variables against the smoothed subgradient.

    Args:
        graph: the whole of this part.
        board: with `arm`'s variables.
        threshold: the k-th largest key of all free points.
        width: of the smoothing, in units of gains; 0 only measures.
        step: how far a point's value moves at most, in widths.
        turn: whose variables move.
    """
    board.news = np.empty(0, np.int32)
    extra, bits = board.extra, graph.fixed_point.tie_bits
    level = threshold >> bits
    above = kernel.wide(*kernel.sum_above(board.key, board.status, bits, level, graph.n_own))
    board.sums = (above, kernel.wide(*extra["edges_paid_twice"]), kernel.wide(*extra["cliques_paid"]), 0)
    if width == 0:
        return
    x = kernel.degrees_of_membership(board.key, board.status, bits, level, width)
    real: Any = np.float64 if graph.fixed_point.wide else np.float32
    how_far = (real(step * width / 1024), real(_MOST[graph.fixed_point.wide]))
    if turn == _EDGES:
        edges = edges_of_part(graph, board)
        kernel.move_edges(edges.small, edges.large, extra["cap"], extra["mu"], x, edge_paces(board, edges), *how_far)
        board.scratch.pop(_EDGE_LOAD, None)
    else:
        cliques = cliques_of(board)
        of_cliques = (cliques.members, cliques.least, cliques.turn, cliques.mu)
        clique_kernel.move_cliques(*of_cliques, x, paces_of(board), *how_far)
        board.scratch.pop(_CLIQUE_LOAD, None)
    _set_keys(graph, board)


def forget(graph: PartGraph, board: Board, /) -> None:
    """Drop the variables."""
    board.news = np.empty(0, np.int32)
    board.forget_extra()
    board.scratch = {}


def _set_keys(graph: PartGraph, board: Board) -> None:
    """Set own keys to a_i less the variables of i's edges and cliques; note what these add to the bound."""
    extra = board.extra
    (edge_load,) = derived(board, [_EDGE_LOAD], lambda: _load_edges(graph, board))
    (clique_load,) = derived(board, [_CLIQUE_LOAD], lambda: _load_cliques(graph, board))
    kernel.set_keys(extra["base"], edge_load, clique_load, graph.code, graph.fixed_point.tie_bits, board.key)


def _load_edges(graph: PartGraph, board: Board) -> tuple[Int64Array]:
    """Return the loads of own points by edges; note what the edges' variables add to the bound."""
    edges, mu, load = edges_of_part(graph, board), board.extra["mu"], _load(board)
    kernel.load_edges(edges.small, edges.large, mu, load)
    # Every edge's variable is in the load of both its ends.
    board.extra["edges_paid_twice"] = np.array(kernel.sum_edges(edges.large, mu, graph.n_own))
    return (kernel.sum_loads(load, graph.n_own),)


def _load_cliques(graph: PartGraph, board: Board) -> tuple[Int64Array]:
    """Return the loads of own points by cliques; note what the cliques' variables add to the bound."""
    (members, turn, mu, _), load = cliques_of(board), _load(board)
    clique_kernel.load_cliques(members, turn, mu, load)
    board.extra["cliques_paid"] = np.array(clique_kernel.sum_cliques(members, turn, mu, graph.n_own))
    return (kernel.sum_loads(load, graph.n_own),)


def _load(board: Board) -> Int64Array:
    """Return the array in which threads add up loads, one row each."""
    shape = (min(numba.get_num_threads(), _LOADERS), len(board.key))
    return derived(board, [_LOAD], lambda: (np.empty(shape, np.int64),))[0]
