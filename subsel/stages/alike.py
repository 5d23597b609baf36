"""Members of a subset that are too alike though no edge joins them, on one machine: see `subsel.embeddings.alike`."""

from __future__ import annotations

import numpy as np

from subsel.config import SelectConfig
from subsel.coverage import sampled
from subsel.embeddings.alike import COUNTED, Alike, Counted, Leaders, all_pairs, in_rank_order, member_search
from subsel.embeddings.metrics import Preparation
from subsel.engines.local import LocalEngine
from subsel.graph import NeighborGraph, distinct
from subsel.greedy.room import make_room
from subsel.input.points import Points
from subsel.input.source import Source
from subsel.report import AlikeReport, GraphReport
from subsel.schema import FIRST_MEMBER, Status
from subsel.stages.covered import read_vectors


def part_alike(
    source: Source,
    points: Points,
    graph: NeighborGraph,
    engine: LocalEngine,
    config: SelectConfig,
    made: GraphReport,
) -> AlikeReport:
    """Put members that are too alike out of the subset, but the first of them; included ones stay.

    Args:
        source: of the points.
        points: without their embeddings.
        graph: of them.
        engine: whose members are searched. Where some leave, they and whoever is too alike to those that stay are out,
            and the others that were discarded are undecided on return.
        config: max_similarity, metric, embedding_column, how to search.
        made: how the graph was.
    """
    limit, dimension = config.max_similarity, made.dimension
    assert limit is not None
    assert dimension is not None
    board, code = engine.board, engine.graph.code
    ranked = np.flatnonzero(board.status >= FIRST_MEMBER)
    if not len(ranked):
        return AlikeReport(compared=0, left=0)
    ranked = ranked[in_rank_order(board.status[ranked] == Status.INCLUDED, board.key[ranked], code[ranked])]
    code, included = code[ranked], board.status[ranked] == Status.INCLUDED
    number = np.full(points.n, -1)
    number[graph.rows[ranked]] = np.arange(len(ranked))
    found = list(read_vectors(source, points, number >= 0, config, dimension))
    place = np.argsort(number[np.concatenate([at for at, _ in found])])
    X = np.concatenate([rows for _, rows in found])[place]
    alike = Alike(Preparation.of_sample(X, config.metric), limit)
    rows = alike.prepare.rows(X)
    exact = all_pairs(len(rows), dimension)
    if exact:
        first, together = alike.first_of_each(rows, int(included.sum()))
    else:
        how = member_search(config, len(rows), made.neighbors or 1)
        first, together = alike.first_of_found(rows, code, int(included.sum()), how)
    gone = np.flatnonzero(first != np.arange(len(rows)))
    report = AlikeReport(compared=len(rows), left=len(gone), together=together, exact=exact)
    if not len(gone):
        if exact:
            return report
        some = sampled(code, np.ones(len(rows), np.bool_), COUNTED)
        pairs = Counted(alike, code[some], rows[some], included[some]).pairs(code, rows, included)
        return report.model_copy(update={"sample": len(some), "pairs": pairs})
    leads = distinct(first[gone])
    leaders = Leaders(alike, rows[leads[np.argsort(code[leads])]], None if exact else config.seed)
    barred = np.zeros(points.n, np.bool_)
    for at, others in read_vectors(source, points, np.ones(points.n, np.bool_), config, dimension):
        barred[at] = leaders.beside(alike.prepare.rows(others))
    slot = np.concatenate([ranked[gone], np.flatnonzero(barred[graph.rows])])
    engine.board.outbox = {"to": np.zeros(len(slot), np.int64), "slot": slot, "left": np.arange(len(slot)) < len(gone)}
    engine.step(make_room)
    return report
