"""Whom a point of a run covers best, from a run directory; and how a part of that is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.config import Metric
from subsel.coverage import own_similarity
from subsel.fixedpoint import FixedPoint
from subsel.graph import SLOT_BITS, SLOT_MASK, PartGraph
from subsel.kept_rows import rows_of
from subsel.parts import assemble, superstep
from subsel.parts.pack import Parcel, from_rows, of_kind, unpack
from subsel.rundir import TARGET
from subsel.schema import FIRST_MEMBER
from subsel.storage import Place


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A neighbour of the point: its id, its similarity, and whether it is in the subset."""

    id: Any
    similarity: float
    selected: bool


def part_graph(folder: Place, part: int, scale: FixedPoint, max_similarity: float | None = None) -> PartGraph:
    """Return a part's graph."""
    (parcel,) = of_kind(parcels_of(folder.join("graph"), part), assemble.GRAPH)
    return superstep.unpack_graph(part, parcel.payload, scale, max_similarity)


def parcels_of(folder: Place, part: int) -> list[Parcel]:
    """Return a part's parcels."""
    return from_rows(rows_of(folder, where={"part": part}))


def _own_similarity(folder: Place, metric: Metric, *, searched: bool) -> float:
    """Return how similar a point is to itself on a graph that does not say it."""
    if searched and metric != "inner_product":
        return own_similarity(metric, 1.0, searched=True)
    shapes = from_rows(rows_of(folder.join("graph"), where={"kind": assemble.SHAPE}))
    if shapes:
        largest = max(assemble.unpack_shape(one.payload).max_similarity for one in shapes)
    else:  # one machine keeps the graph alone, as one part
        (whole,) = of_kind(from_rows(rows_of(folder.join("graph"))), assemble.GRAPH)
        largest = float(unpack(whole.payload)["similarity"].max(initial=0.0))
    return own_similarity(metric, largest, searched=searched)


def covered_best(
    folder: Place,
    last: Place,
    graph: PartGraph,
    slot: int,
    neighbors: list[Neighbor],
    metric: Metric,
    made: dict[str, Any],
) -> tuple[float, list[Neighbor]]:
    """Return what an own point covers beyond all other members, and whom it would have before these, nearest first.

    Args:
        folder: of the run.
        last: the last boards.
        graph: the point's part.
        slot: the point.
        neighbors: of it, in the graph's order.
        metric: of the search.
        made: how the graph was.
    """
    if made["target_points"] is not None:
        return _covering_target(folder, last, graph, slot)
    own = _own_similarity(folder, metric, searched=made["source"] == "embeddings")
    gain, best = _covering(folder, last, graph, slot, own)
    return gain, sorted(compress(neighbors, best), key=lambda one: -one.similarity)


def _covering(
    folder: Place, last: Place, graph: PartGraph, slot: int, own: float
) -> tuple[float, npt.NDArray[np.bool_]]:
    """Return what an own point covers beyond all other members, and which neighbours would have it before these.

    The second is bool, (neighbours,), in the graph's order; of members that are equally similar the one of the largest
    code comes first. Each point's row is read at home, and so is who is a member. ``own``: how similar points are to
    themselves, where the graph does not say it.
    """

    @cache
    def members(part: int) -> npt.NDArray[np.bool_]:
        board = superstep.unpack_board(of_kind(parcels_of(last, part), superstep.BOARD)[0].payload)
        return np.asarray(board.status >= FIRST_MEMBER)

    me, gain = int(graph.vid[slot]), 0.0
    row = slice(graph.indptr[slot], graph.indptr[slot + 1])
    near = graph.vid[np.append(graph.indices[row], slot)]
    by = np.append(graph.similarity[row], own if graph.itself is None else graph.itself[slot])
    best = np.zeros(len(near), np.bool_)
    for part in np.unique(near >> SLOT_BITS).tolist():
        home = graph if part == graph.part else part_graph(folder, part, graph.fixed_point)
        everyone = home.vid
        for place in np.flatnonzero(near >> SLOT_BITS == part).tolist():
            v = int(near[place] & SLOT_MASK)
            row = slice(home.indptr[v], home.indptr[v + 1])
            who = np.append(home.indices[row], v)
            amount = np.append(home.similarity[row], own if home.itself is None else home.itself[v])
            at = everyone[who]
            other = at != me
            for one in np.unique(at >> SLOT_BITS).tolist():
                there = at >> SLOT_BITS == one
                other[there] &= members(one)[at[there] & SLOT_MASK]
            importance = 1.0 if home.importance is None else float(home.importance[v])
            gain += importance * max(0.0, float(by[place]) - float(amount[other].max(initial=0.0)))
            equal = other & (amount == by[place])
            before = (amount[other] > by[place]).any() or (home.code[who[equal]] > graph.code[slot]).any()
            best[place] = not before
    return gain, best[:-1]


def _covering_target(folder: Place, last: Place, graph: PartGraph, slot: int) -> tuple[float, list[Neighbor]]:
    """Return what an own point covers of a target beyond all other members, and whom it would have before these.

    Of members that are equally similar the one of the largest code comes first, of rows that are the first one. Who is
    a member is read at home.
    """
    edges = folder.join(TARGET)
    mine = rows_of(edges, where={"part": graph.part, "slot": slot}).sort_by("target")
    all_of = rows_of(edges, where={"target": mine["target"].to_pylist()}) if len(mine) else mine
    part, at, code = (all_of[name].to_numpy() for name in ("part", "slot", "code"))
    other = np.zeros(len(all_of), np.bool_)
    for one in np.unique(part).tolist():
        board = superstep.unpack_board(of_kind(parcels_of(last, one), superstep.BOARD)[0].payload)
        other[part == one] = board.status[at[part == one]] >= FIRST_MEMBER
    other &= (part != graph.part) | (at != slot)
    target, similarity = all_of["target"].to_numpy()[other], all_of["similarity"].to_numpy()[other].astype(np.float64)
    gain, best = 0.0, []
    for row in mine.to_pylist():
        there = target == row["target"]
        gain += row["importance"] * max(0.0, row["similarity"] - float(similarity[there].max(initial=0.0)))
        equal = code[other][there & (similarity == row["similarity"])]
        if not (similarity[there] > row["similarity"]).any() and not (equal > graph.code[slot]).any():
            best.append(Neighbor(row["row"], row["similarity"], False))
    return gain, sorted(best, key=lambda one: -one.similarity)
