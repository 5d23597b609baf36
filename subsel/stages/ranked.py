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
    names = np.array([DECIDED_BY_NAMES.get(Status(s), "") for s in range(len(Status))])
    columns = [
        given_back(ids.take(pa.array(ranked)), id_type),
        pa.array(np.arange(len(ranked))),
        pa.array(gain[ranked]),
        pa.array(names[board.decided_by[ranked]]),
    ]
    return ranked, pa.table(columns, schema=schema.subset_schema(id_type))


def score_here(part: PartGraph, member: npt.NDArray[np.bool_]) -> objective.Score:
    """Return f of a subset, bool, (n,), by whichever objective the graph is of."""
    if part.importance is not None:
        return cover_score(part, member)
    arrays, scale = (part.indptr, part.indices, part.similarity, part.utility), part.fixed_point
    return objective.score_subset(*arrays, member, scale.alpha, scale.beta)


def expected_here(part: PartGraph, k: int) -> float:
    """Return the expectation of f over all k-subsets of a whole graph."""
    if part.importance is not None:
        return cover_by_random(part, part.n_own, k)
    scale, utility = part.fixed_point, float(part.utility.sum())
    edges = float(part.similarity.sum(dtype=np.float64)) / 2
    return objective.expected_random(part.n_own, k, utility, edges, scale.alpha, scale.beta)
