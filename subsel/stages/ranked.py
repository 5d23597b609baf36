"""A ranked subset on one machine, as a table; f of a subset there, and of random ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel import objective, schema
from subsel.board import Board
from subsel.covering.value import cover_by_random, cover_score
from subsel.fixedpoint import Int64Array
from subsel.graph import PartGraph
from subsel.input.ids import given_back
from subsel.report import ObjectiveReport
from subsel.schema import DECIDED_BY_NAMES, Status


def ranked_table(part: PartGraph, board: Board, ids: pa.Array, id_type: pa.DataType) -> tuple[Int64Array, pa.Table]:
    """Return the members in rank order, int64, (k,), and the table of them, see `subsel.schema.subset_schema`.

    Args:
        part: the whole graph.
        board: whose selected points are members.
        ids: (n,), of nodes, as they are kept.
        id_type: of the user's.
    """
    slots = np.flatnonzero(board.status == Status.SELECTED)
    ranked = slots[np.lexsort((part.code[slots], board.key[slots]))[::-1]]
    gain = objective.gains_of(part, board)
    names = np.array([DECIDED_BY_NAMES.get(s, "") for s in range(max(DECIDED_BY_NAMES) + 1)])
    columns = [
        given_back(ids.take(pa.array(ranked)), id_type),
        pa.array(np.arange(len(ranked))),
        pa.array(gain[ranked]),
        pa.array(names[board.decided_by[ranked]]),
    ]
    return ranked, pa.table(columns, schema=schema.subset_schema(id_type))


def members_of(part: PartGraph, nodes: Int64Array) -> npt.NDArray[np.bool_]:
    """Return some nodes as a mask over own points: bool, (n_own,)."""
    member = np.zeros(part.n_own, np.bool_)
    member[nodes] = True
    return member


def score_here(part: PartGraph, nodes: Int64Array) -> objective.Score:
    """Return f of a subset of nodes, by whichever objective the graph is of."""
    member = members_of(part, nodes)
    if part.importance is not None:
        return cover_score(part, member)
    arrays, scale = (part.indptr, part.indices, part.similarity, part.utility), part.fixed_point
    return objective.score_subset(*arrays, member, scale.alpha, scale.beta)


def objective_here(
    part: PartGraph, ranked: Int64Array, table: pa.Table, random: float, *, with_top: bool
) -> ObjectiveReport:
    """Return f of a subset and what it is compared with.

    Args:
        part: the whole graph.
        ranked: int64, (k,): the subset.
        table: its rows, with gains.
        random: the expectation of f over random subsets of as many.
        with_top: whether it is compared with the k of largest utility, where utility counts.
    """
    own, scale, some = score_here(part, ranked), part.fixed_point, slice(0, part.n_points)
    top = None
    if with_top and scale.alpha:
        by_utility = np.lexsort((part.code[some], scale.keys(part.utility[some], part.code[some])))[::-1]
        top = score_here(part, by_utility[: len(ranked)]).total
    return ObjectiveReport(
        total=own.total,
        utility=own.utility,
        similarity=own.similarity,
        random=random,
        top_utility=top,
        covered=own.covered,
        idle=0 if part.importance is None else int(np.count_nonzero(table[schema.GAIN].to_numpy() == 0)),
    )


def expected_here(part: PartGraph, k: int) -> float:
    """Return the expectation of f over all k-subsets of a whole graph."""
    if part.importance is not None:
        return cover_by_random(part, part.n_points, k)
    scale, utility = part.fixed_point, float(part.utility.sum())
    edges = float(part.similarity.sum(dtype=np.float64)) / 2
    return objective.expected_random(part.n_own, k, utility, edges, scale.alpha, scale.beta)
