"""Cliques for the certificate, the same ones on any parts.

In each round every open point proposes the heaviest clique that it finds among its neighbours (several points may find
the same), and a clique gets the least of its edges' fair shares: what an edge has left, over the number of cliques that
want some. Later rounds deal out what is left. Who proposes what follows from weights and codes alone, wherever points
are at home; so it takes three supersteps a round: parts tell the edges of their border points (`tell_edges`), propose
(`propose`), and tell the shares of their own points' edges (`share`). Any two points of a clique are neighbours, so
each part that is home to one knows all of them from then on, and moves the clique's variables alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from subsel.board import Board
from subsel.bounding import clique_kernel as kernel
from subsel.bounding.clique_kernel import CLIQUE_POINTS
from subsel.bounding.edges import derived, edges_of_part
from subsel.engines.base import Engine
from subsel.fixedpoint import Int64Array
from subsel.graph import SLOT_BITS, PartGraph
from subsel.schema import Status

#: Every point proposes one clique a round.
ROUNDS = 4
#: Edges of a point that are looked at for cliques: those with most left.
_EDGES = 24
#: The columns that a clique's members travel in.
_MEMBERS = tuple(f"member_{i}" for i in range(CLIQUE_POINTS))
#: Arrays that a board holds of cliques, flat, and their height in columns.
_HEIGHTS = {"members": CLIQUE_POINTS, "turn": 2, "clique_mu": 2, "least": 1}

#: Arrays of a board's scratch: the paces of cliques, and the edges of those that are asking.
_PACE, _ASKED = "clique_pace", "asked"
#: What `kernel.pick_edges` returns: runs of picked edges, the other ends, and what these edges have left.
Picks = tuple[Int64Array, Int64Array, npt.NDArray[np.int32], npt.NDArray[Any]]


def find_cliques(engine: Engine, threshold: int, width: int) -> int:
    """Leave cliques of open points in every board's ``extra``, with their share of the edges' limits ``cap``.

    Returns how many they are, a clique of several parts several times.

    Args:
        engine: boards have ``cap`` (`subsel.bounding.certificate.arm`).
        threshold: the k-th largest key.
        width: in units of gains; points that are farther from the threshold are not open.
    """
    engine.step(tell_edges, threshold=threshold, width=width)
    for number in range(ROUNDS):
        engine.step(propose, threshold=threshold, width=width)
        engine.step(share)
        if number < ROUNDS - 1:
            engine.step(tell_edges, threshold=threshold, width=width)
    return engine.step(conclude).sums[0]


def no_cliques(graph: PartGraph) -> dict[str, npt.NDArray[Any]]:
    """Return what a board's ``extra`` holds before any are found."""
    return {
        **{name: np.empty(0, graph.weight.dtype) for name in ("least", "clique_mu")},
        **{name: np.empty(0, np.int64) for name in ("asking_root", "asking_least")},
        **{name: np.empty(0, np.int32) for name in ("members", "asking")},
        "turn": np.empty(0, np.int8),
    }


class Cliques(NamedTuple):
    """The cliques that have own points, in columns: see `subsel.bounding.clique_kernel`."""

    members: npt.NDArray[np.int32]
    turn: npt.NDArray[np.int8]
    mu: npt.NDArray[Any]
    least: npt.NDArray[Any]


def cliques_of(board: Board) -> Cliques:
    """Return the cliques that a board holds; their variables are views."""
    members, turn, mu, least = (board.extra[name].reshape(height, -1) for name, height in _HEIGHTS.items())
    return Cliques(members, turn, mu, least[0])


def paces_of(board: Board) -> npt.NDArray[np.float32]:
    """Return the pace of each clique, that of its slowest point."""
    return derived(board, [_PACE], lambda: (kernel.clique_paces(cliques_of(board).members, board.extra["pace"]),))[0]


def tell_edges(graph: PartGraph, board: Board, /, *, threshold: int, width: int) -> None:
    """Settle the round before, if there was one; then tell the edges of border points to the parts that know these."""
    settle(graph, board)
    if len(graph.ghost_vid):
        board.outbox = _border_edges(graph, _picks(graph, board, threshold, width))


def settle(graph: PartGraph, board: Board, /) -> None:
    """Give the cliques of this round the least share that any part told of."""
    board.news = np.empty(0, np.int32)
    extra, inbox = board.extra, board.inbox
    members, least = extra["asking"].reshape(-1, CLIQUE_POINTS), extra["asking_least"]
    if len(members) == 0:
        return
    if inbox:
        np.minimum.at(least, np.searchsorted(extra["asking_root"], inbox["root"]), inbox["least"])
    (asked,) = derived(board, [_ASKED], lambda: (_edges_of(graph, board, members),))
    size = np.count_nonzero(members >= 0, axis=1)
    given = np.flatnonzero(least > 0)
    given = given[np.argsort(size[given], kind="stable")]  # so that branches on the size are foreseen
    members, least = np.ascontiguousarray(members[given].T), least[given].astype(graph.weight.dtype)
    kernel.take_capacity(asked[given], extra["cap"], least)
    turn = kernel.clique_turns(members, board.status)
    added = dict(zip(_HEIGHTS, (members, turn, kernel.clique_start(turn, least), least), strict=True))
    for name, height in _HEIGHTS.items():
        columns = [extra[name].reshape(height, -1), added[name].reshape(height, -1)]
        extra[name] = np.concatenate(columns, axis=1).reshape(-1)
    for name in (_PACE, _ASKED):
        board.scratch.pop(name, None)
    extra |= {name: extra[name][:0].copy() for name in ("asking", "asking_root", "asking_least")}


def conclude(graph: PartGraph, board: Board, /) -> None:
    """Settle the last round, and leave the number of cliques in ``sums``."""
    settle(graph, board)
    board.sums = (len(board.extra["least"]), 0, 0, 0)


def propose(graph: PartGraph, board: Board, /, *, threshold: int, width: int) -> None:
    """Send the clique that each own open point found to the homes of all its members."""
    board.news = np.empty(0, np.int32)
    begin, end, others, room = _with_ghosts(graph, board, _picks(graph, board, threshold, width))
    found = kernel.propose(begin, end, others, room, graph.n_own, CLIQUE_POINTS, _EDGES)
    found = found[found[:, 0] >= 0]
    if len(found) == 0:
        return
    address = np.append(graph.vid, -1)[found]
    row, to = kernel.homes(address >> SLOT_BITS)
    board.outbox = {"to": to} | {name: address[row, i] for i, name in enumerate(_MEMBERS)}


def share(graph: PartGraph, board: Board, /) -> None:
    """Take proposals in, and tell the least share that own points' edges leave them to the other homes."""
    board.news = np.empty(0, np.int32)
    if not board.inbox:
        return
    address = np.stack([board.inbox[name] for name in _MEMBERS], axis=1)
    # Each point proposes once, so the first member names the clique.
    address = address[np.argsort(address[:, 0], kind="stable")]
    asking = graph.local(address.reshape(-1)).reshape(address.shape)  # -1 stays -1
    first = kernel.first_proposals(asking, len(graph.code))
    address, asking = address[first], asking[first]
    (asked,) = derived(board, [_ASKED], lambda: (_edges_of(graph, board, asking),))
    least = kernel.shares(asked, board.extra["cap"])
    board.extra |= {"asking": asking.reshape(-1), "asking_root": address[:, 0].copy(), "asking_least": least}
    home = address >> SLOT_BITS  # -1 stays -1
    row, column = np.nonzero((address >= 0) & (home != graph.part))
    if len(row):  # a part that is home to several hears it several times, which changes nothing
        board.outbox = {"to": home[row, column], "root": address[row, 0], "least": least[row]}


def _edges_of(graph: PartGraph, board: Board, members: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    edges = edges_of_part(graph, board)
    asked: npt.NDArray[np.int32] = kernel.edges_of(edges.first, edges.large, members)
    return asked


def _picks(graph: PartGraph, board: Board, threshold: int, width: int) -> Picks:
    """Return the edges of own points that are looked at for cliques."""
    bits = graph.fixed_point.tie_bits
    free = (board.status == Status.SELECTED) | (board.status == Status.DISCARDED)
    near = free & (np.abs((board.key >> bits) - (threshold >> bits)) <= width)
    edge_of, cap = edges_of_part(graph, board).edge_of, board.extra["cap"]
    picks: Picks = kernel.pick_edges(graph.indptr, graph.indices, graph.weight, edge_of, cap, near, graph.code, _EDGES)
    return picks


def _border_edges(graph: PartGraph, picks: Picks) -> dict[str, npt.NDArray[Any]]:
    """Return the picked edges of border points, addressed to the parts that have these as ghosts."""
    begin, end, others, room = picks
    to, slot = graph.hosts(end > begin)
    if len(to) == 0:
        return {}
    count = (end - begin)[slot]
    at = np.arange(count.sum()) + np.repeat(begin[slot] - np.cumsum(count) + count, count)
    vid = graph.vid
    return {
        "to": np.repeat(to, count),
        "vid": vid[np.repeat(slot, count)],
        "other": vid[others[at]],
        "room": room[at],
    }


def _with_ghosts(graph: PartGraph, board: Board, picks: Picks) -> Picks:
    """Return the picks of own points, and of ghosts as they were told, as far as both ends are known here."""
    begin, end, others, room = picks
    ghosts = len(graph.ghost_vid)
    begin, end = (np.concatenate([run, np.zeros(ghosts, np.int64)]) for run in (begin, end))
    if board.inbox:
        away, other = graph.local(board.inbox["vid"]), graph.local(board.inbox["other"])
        order = np.argsort(away, kind="stable")  # in a run they stay as they were picked
        order = order[other[order] >= 0]
        count = np.bincount(away[order] - graph.n_own, minlength=ghosts)
        end[graph.n_own :] = len(others) + np.cumsum(count)
        begin[graph.n_own :] = end[graph.n_own :] - count
        others = np.concatenate([others, other[order]])
        room = np.concatenate([room, board.inbox["room"][order]])
    return begin, end, others, room
