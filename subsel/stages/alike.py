"""Members of a subset that are too alike though no edge joins them, on one machine: found among vectors, and parted.

A neighbour graph has some of each point's neighbours: a mass of more near copies than that has pairs without an edge.
So the subset is searched against itself. Of each pair the one that ranks first stays, and is compared with all points,
so that the rest of its mass is out, too; the others leave, and greedy goes on from those that stay.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from subsel.alike import note_pairs, with_edges
from subsel.board import Board
from subsel.config import SelectConfig
from subsel.embeddings.metrics import FloatMatrix, Preparation, similarity_of_scores
from subsel.embeddings.search import scores
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph, PartGraph, distinct
from subsel.input.points import Points
from subsel.input.source import Source
from subsel.report import AlikeReport
from subsel.schema import FIRST_MEMBER, Status
from subsel.stages.covered import read_vectors

#: Members that are all compared with each other; of more, so many of those that rank first.
MOST_COMPARED = 50_000
#: Rows of a block of products.
_BLOCK = 2_048

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


def part_alike(
    source: Source,
    points: Points,
    graph: NeighborGraph,
    part: PartGraph,
    board: Board,
    config: SelectConfig,
    dimension: int,
) -> tuple[PartGraph, AlikeReport]:
    """Put members that are too alike out of the subset, but the first of them; included ones stay.

    Args:
        source: of the points.
        points: without their embeddings.
        graph: of them.
        part: the same, maybe with edges of an earlier call.
        board: whose members are searched. Where some leave, they and all that were discarded are undecided on return.
        config: max_similarity, metric, embedding_column.
        dimension: of embeddings.

    Returns:
        The graph, with edges from those that stay to all points that are too alike; and what was found.
    """
    assert config.max_similarity is not None
    ranked = np.flatnonzero(board.status >= FIRST_MEMBER)
    included = board.status[ranked] == Status.INCLUDED
    ranked = ranked[np.lexsort((part.code[ranked], board.key[ranked], included))[::-1]][:MOST_COMPARED]
    fixed = int((board.status[ranked] == Status.INCLUDED).sum())
    number = np.full(points.n, -1)
    number[graph.rows[ranked]] = np.arange(len(ranked))
    if not len(ranked):
        return part, AlikeReport(compared=0, left=0)
    found = list(read_vectors(source, points, number >= 0, config, dimension))
    place = np.argsort(number[np.concatenate([at for at, _ in found])])
    X = np.concatenate([rows for _, rows in found])[place]
    alike = Alike(Preparation.of_sample(X, config.metric), config.max_similarity)
    rows = alike.prepare.rows(X)
    first, together = alike.first_of_each(rows, fixed)
    stays = first == np.arange(len(rows))
    found_alike = AlikeReport(compared=len(ranked), left=int((~stays).sum()), together=together)
    if stays.all():
        return part, found_alike
    gone, leads = np.flatnonzero(~stays), distinct(first[~stays])
    # These in any case: the same product in another shape may be a little less.
    pairs = [(np.searchsorted(leads, first[gone]), graph.rows[ranked[gone]], np.zeros(len(gone), np.float32))]
    pairs += [
        (leader, at[other], similarity)
        for at, others in read_vectors(source, points, np.ones(points.n, np.bool_), config, dimension)
        for leader, other, similarity in alike.above(rows[leads], alike.prepare.rows(others))
    ]
    leader, other, similarity = (np.concatenate([one[i] for one in pairs]) for i in range(3))
    node = np.argsort(graph.rows)  # of each point
    above = np.nextafter(np.float32(alike.limit), np.float32(np.inf))
    pairs_found = ranked[leads[leader]], node[other], np.maximum(similarity, above)
    note_pairs(board, *pairs_found)
    more = with_edges(part, *pairs_found)
    board.status[ranked[gone]] = Status.UNDECIDED
    board.decided_by[ranked[gone]] = 0
    board.status[board.status == Status.DISCARDED] = Status.UNDECIDED
    return more, found_alike


class Alike:
    """Tells which vectors are more alike than a limit.

    Args:
        prepare: what is done to rows first.
        limit: see `subsel.limits.options.LimitOptions.max_similarity`.
    """

    def __init__(self, prepare: Preparation, limit: float) -> None:
        self.prepare, self.limit = prepare, limit

    def above(self, some: FloatMatrix, others: FloatMatrix) -> Iterator[tuple[Int64Array, Int64Array, FloatArray]]:
        """Yield numbers of some and of other prepared rows that are too alike, and how alike: block by block."""
        for begin in range(0, len(others), _BLOCK):
            similarity = self._similarity(some, others[begin : begin + _BLOCK])
            one, other = np.nonzero(similarity > self.limit)
            yield one, other + begin, similarity[one, other]

    def first_of_each(self, rows: FloatMatrix, fixed: int) -> tuple[Int64Array, int]:
        """Go through prepared rows; whoever is too alike to one that stays leaves, but for the first ``fixed``.

        Returns:
            int64, (n,): for whom each row leaves, itself for who stays; and how many of the fixed are too alike.
        """
        first = np.arange(len(rows))
        together = 0
        for begin in range(0, len(rows), _BLOCK):
            end = min(begin + _BLOCK, len(rows))
            kept = np.flatnonzero(first[:begin] == np.arange(begin))
            for at in range(0, len(kept), _BLOCK):
                some = kept[at : at + _BLOCK]
                alike = self._similarity(rows[begin:end], rows[some]) > self.limit
                hit = np.flatnonzero(alike.any(axis=1) & (first[begin:end] == np.arange(begin, end)))
                first[begin + hit] = some[alike[hit].argmax(axis=1)]
            alike = self._similarity(rows[begin:end], rows[begin:end]) > self.limit
            for one in range(begin, end):
                if one < fixed:
                    together += int(first[one] != one)
                    first[one] = one
                if first[one] == one:
                    later = one + 1 + np.flatnonzero(alike[one - begin, one + 1 - begin :])
                    first[later[first[later] == later]] = one
        return first, together

    def _similarity(self, some: FloatMatrix, others: FloatMatrix) -> FloatArray:
        squares = np.einsum("ij,ij->i", some, some) if self.prepare.metric == "l2" else None
        return similarity_of_scores(scores(some, others, squares, self.prepare.metric), self.prepare.metric)
