"""Cliques for the certificate, the same ones on any parts.

In each round every open point proposes the heaviest clique that it finds among its neighbours (several points may find
the same), and a clique gets the least of its edges' fair shares: what an edge has left, over the number of cliques that
want some. Later rounds deal out what is left. Who proposes what follows from weights and codes alone, wherever points
are at home; so it takes three supersteps a round: parts tell the edges of their border points (`tell_edges`), propose
(`propose`), and tell the shares of their own points' edges (`share`). Any two points of a clique are neighbours, so
each part that is home to one knows all of them from then on, and moves the clique's variables alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.board import Board
from subsel.bounding import clique_kernel as kernel
from subsel.engines.base import Engine
from subsel.fixedpoint import Int64Array
from subsel.graph import SLOT_BITS, PartGraph
from subsel.schema import Status

#: Largest clique that gets variables of its own.
CLIQUE_POINTS = 5
#: Every point proposes one clique a round.
ROUNDS = 4
#: Edges of a point that are looked at for cliques: those with most left.
_EDGES = 24
#: The columns that a clique's members travel in.
_MEMBERS = tuple(f"member_{i}" for i in range(CLIQUE_POINTS))
#: Arrays that a board holds of cliques, flat, and their width in rows.
_WIDTHS = {"members": CLIQUE_POINTS, "turn": 2, "clique_mu": 2}

Pairs = tuple[npt.NDArray[np.bool_], Int64Array]


def find_cliques(engine: Engine, threshold: int, width: int) -> None:
    """Leave cliques of open points in every board's ``extra``, with their share of the edges' limits ``cap``.

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
    engine.step(settle)


def no_cliques(graph: PartGraph) -> dict[str, npt.NDArray[Any]]:
    """Return what a board's ``extra`` holds before any are found."""
    return {
        **{name: np.empty(0, graph.weight.dtype) for name in ("least", "clique_mu")},
        "clique_pace": np.empty(0, np.float32),
        **{name: np.empty(0, np.int64) for name in ("asking_root", "asking_least")},
        **{name: np.empty(0, np.int32) for name in ("members", "asking", "of_point")},
        **{name: np.empty(0, np.int8) for name in ("size", "turn")},
        "of_point_ptr": np.zeros(graph.n_own + 1, np.int64),
    }


def index_members(graph: PartGraph, board: Board) -> None:
    """Note each own point's cliques, as rows."""
    members, *_ = rows_of(board)
    board.extra["of_point_ptr"], board.extra["of_point"] = kernel.cliques_of_points(members, graph.n_own)


def rows_of(board: Board) -> tuple[Any, Any, Any, Any]:
    """Return members, size, t and variables of the cliques that have own points, in rows."""
    count = len(board.extra["size"])
    members, turn, mu = (board.extra[name].reshape(count, width) for name, width in _WIDTHS.items())
    return members, board.extra["size"], turn, mu


def tell_edges(graph: PartGraph, board: Board, /, *, threshold: int, width: int) -> None:
    """Settle the last round, if there was one; then tell the edges of border points to the parts that know these."""
    settle(graph, board)
    if len(graph.ghost_vid):
        board.outbox = _border_edges(graph, board, *_picks(graph, board, threshold, width))


def settle(graph: PartGraph, board: Board, /) -> None:
    """Give the cliques of this round the least share that any part told of."""
    board.news = np.empty(0, np.int32)
    extra, inbox = board.extra, board.inbox
    members, least = extra["asking"].reshape(-1, CLIQUE_POINTS), extra["asking_least"]
    if len(members) == 0:
        return
    if inbox:
        np.minimum.at(least, np.searchsorted(extra["asking_root"], inbox["root"]), inbox["least"])
    members, least = members[least > 0], least[least > 0].astype(graph.weight.dtype)
    size = np.count_nonzero(members >= 0, axis=1).astype(np.int8)
    places = kernel.edge_places(graph.indptr, graph.indices, members, size, True)
    kernel.take_capacity(graph.indptr, members, places, extra["cap"], least)
    turn = kernel.clique_turns(members, size, board.status)
    added: dict[str, npt.NDArray[Any]] = {
        "members": members,
        "size": size,
        "least": least,
        "turn": turn,
        "clique_mu": kernel.clique_start(turn, least),
        "clique_pace": kernel.clique_paces(members, size, extra["pace"]),
    }
    for name, rows in added.items():
        extra[name] = np.concatenate([extra[name], rows.reshape(-1)])
    extra |= {name: extra[name][:0].copy() for name in ("asking", "asking_root", "asking_least")}


def propose(graph: PartGraph, board: Board, /, *, threshold: int, width: int) -> None:
    """Send the clique that each own open point found to the homes of all its members."""
    board.news = np.empty(0, np.int32)
    indptr, indices, room = _known(graph, board, *_picks(graph, board, threshold, width))
    found = kernel.propose(indptr, indices, room, graph.code, graph.n_own, CLIQUE_POINTS, _EDGES)
    found = found[found[:, 0] >= 0]
    if len(found) == 0:
        return
    vid = graph.vid
    address = np.where(found >= 0, vid[found], -1)
    home = np.where(found >= 0, address >> SLOT_BITS, np.iinfo(np.int64).max)
    home.sort(axis=1)
    first = np.concatenate([np.ones((len(home), 1), np.bool_), home[:, 1:] != home[:, :-1]], axis=1)
    row, column = np.nonzero(first & (home < np.iinfo(np.int64).max))
    board.outbox = {"to": home[row, column]} | {name: address[row, i] for i, name in enumerate(_MEMBERS)}


def share(graph: PartGraph, board: Board, /) -> None:
    """Take proposals in, and tell the least share that own points' edges leave them to the other homes."""
    board.news = np.empty(0, np.int32)
    if not board.inbox:
        return
    address = np.stack([board.inbox[name] for name in _MEMBERS], axis=1)
    address = address[np.argsort(address[:, 0])]  # each point proposes once, so the first member names the clique
    asking = np.where(address >= 0, graph.local(address.reshape(-1)).reshape(address.shape), -1).astype(np.int32)
    first = kernel.first_proposals(asking, len(graph.code))
    address, asking = address[first], asking[first]
    size = np.count_nonzero(asking >= 0, axis=1)
    places = kernel.edge_places(graph.indptr, graph.indices, asking, size, False)
    least = kernel.shares(graph.indptr, asking, places, board.extra["cap"])
    board.extra |= {"asking": asking.reshape(-1), "asking_root": address[:, 0].copy(), "asking_least": least}
    home = address >> SLOT_BITS  # -1 stays -1
    row, column = np.nonzero((address >= 0) & (home != graph.part))
    if len(row):  # a part that is home to several hears it several times, which changes nothing
        board.outbox = {"to": home[row, column], "root": address[row, 0], "least": least[row]}


def _picks(graph: PartGraph, board: Board, threshold: int, width: int) -> Pairs:
    """Return which half-edges of own points are looked at for cliques, and the row of each half-edge."""
    bits = graph.fixed_point.tie_bits
    free = (board.status == Status.SELECTED) | (board.status == Status.DISCARDED)
    near = free & (np.abs((board.key >> bits) - (threshold >> bits)) <= width)
    picks = kernel.pick_edges(graph.indptr, graph.indices, graph.weight, board.extra["cap"], near, graph.code, _EDGES)
    return picks, np.repeat(np.arange(graph.n_own), np.diff(graph.indptr))


def _border_edges(graph: PartGraph, board: Board, picks: npt.NDArray[np.bool_], row: Int64Array) -> dict[str, Any]:
    """Return the picked edges of border points, addressed to the parts that have these as ghosts."""
    degree = np.bincount(row[picks], minlength=graph.n_own)
    to, slot = graph.hosts(degree > 0)
    if len(to) == 0:
        return {}
    count = degree[slot]
    first = np.cumsum(degree)[slot] - count
    edge = np.flatnonzero(picks)[np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)]
    vid = graph.vid
    return {
        "to": np.repeat(to, count),
        "vid": vid[np.repeat(slot, count)],
        "other": vid[graph.indices[edge]],
        "room": board.extra["cap"][edge].astype(np.int64),
    }


def _known(
    graph: PartGraph, board: Board, picks: npt.NDArray[np.bool_], row: Int64Array
) -> tuple[Int64Array, npt.NDArray[np.int32], Int64Array]:
    """Return the picked edges of own points and ghosts as rows, as far as both ends are known here."""
    picked = np.flatnonzero(picks)
    rows, others, room = row[picked], graph.indices[picked], board.extra["cap"][picked].astype(np.int64)
    if board.inbox:
        away, other = graph.local(board.inbox["vid"]), graph.local(board.inbox["other"])
        order = np.lexsort((other, away))
        order = order[other[order] >= 0]
        rows = np.concatenate([rows, away[order]])
        others = np.concatenate([others, other[order]])
        room = np.concatenate([room, board.inbox["room"][order]])
    indptr = np.zeros(len(graph.code) + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=len(graph.code)), out=indptr[1:])
    return indptr, others, room
