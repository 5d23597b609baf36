"""The neighbour search's recipe, the same for all points on one machine and for those of one part.

k-means on a sample makes cells, a reach says how far points probe them, those that meet are compared, and neighbours of
neighbours refine what that finds: until a sample of points, whose exact neighbours are known, has as many of them as
are asked for, in more passes first and then in more cells, up to a number of both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from subsel.config import Metric, SelectConfig
from subsel.embeddings import cells, search
from subsel.embeddings.cells import Quantizer
from subsel.embeddings.metrics import FloatMatrix
from subsel.embeddings.rows import Rows
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array

log = logging.getLogger(__name__)

#: Cells probed, and passes of refinement, where no recall is aimed at; and the most, where one is.
PROBES, MOST_PROBES = 8, 128
PASSES, MOST_PASSES = 2, 6
#: The search goes on to this much of what the asked-for recall leaves open: another sample may have a little less.
_MARGIN = 0.2
#: A first search should meet this share of neighbours, whatever it costs; refinement finds the rest.
_MEET_FIRST = 0.5
#: Of an exact list, so many places or a few more say whether the first search would meet it; short lists are all asked.
_PLACES_ASKED = 10
#: So many scores of a matrix product take about as long as one of refinement: a first search that meets enough
#: neighbours to need no refinement may take them.
_PRODUCT_SCORES = 16
#: What share of the recall that is missing a pass must add to be followed by another: where more cells could be
#: searched instead, and where they could not.
_WORTH, _WORTH_AT_LAST = 0.1, 0.02

#: Called with the name of what is being done and the share of it that is done.
StepProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Search:
    """How neighbours are searched, once it is known among how many points, and how many are selected.

    Attributes:
        metric: see `subsel.embeddings.metrics`.
        neighbors: of each point.
        probes: cells that a point searches at most; where a recall is aimed at, at first.
        passes: of refinement; None: as many as the recall takes, `MOST_PASSES` at the most.
        recall: aimed at; None: probes and passes are as they are.
        sample: points of which exact neighbours are computed, for the aim and for the report.
        seed: of k-means.
        reserve: more neighbours that a list has, which are no edges; recall is of those that are.
    """

    metric: Metric
    neighbors: int
    probes: int
    passes: int | None
    recall: float | None
    sample: int
    seed: int
    reserve: int = 0

    @classmethod
    def of(cls, config: SelectConfig, n: int, k: int | None) -> Self:
        """Return how a config wants n points searched, of which k will be selected (None: not known)."""
        fixed = config.probes is not None or config.recall_sample == 0
        return cls(
            metric=config.metric,
            neighbors=config.degree(n, k),
            probes=config.probes or PROBES,
            passes=PASSES if fixed and config.descent_passes is None else config.descent_passes,
            recall=None if fixed else config.recall,
            sample=config.recall_sample,
            seed=config.seed,
        )


class Found(NamedTuple):
    """What a search found; all arrays but ``order`` are in the order of cells.

    ``order`` (int64, (n,)) are the rows in that order, ``X`` (n, d) their vectors. ``best`` (int32, (n, k),
    -1 for none) are places in ``X``, ``score`` (float32, (n, k), -inf there) falls in each row. ``cells`` were made, of
    which points probed ``probes`` at most, within ``reach``; ``passes`` refined the lists. ``quantizer`` has the cells,
    and ``home`` (int32, (n,), ascending) says in which of them each point is.
    """

    order: Int64Array
    X: Rows
    best: Int32Array
    score: FloatMatrix
    cells: int
    probes: int
    passes: int
    quantizer: Quantizer
    home: Int32Array
    reach: float


def sample_rows(n: int, probes: int) -> int:
    """Return of how many of n rows, the first ones, cells are made."""
    return min(n, cells.cell_count(n, probes) * cells.SAMPLE_PER_CELL)


def find_neighbors(
    block: Callable[[int, int], FloatMatrix],
    give: Callable[[Int64Array], Rows],
    n: int,
    k: int,
    how: Search,
    *,
    resident: npt.NDArray[np.bool_] | None = None,
    may_ask: npt.NDArray[np.bool_] | None = None,
    progress: StepProgress = lambda what, share: None,
) -> Found:
    """Find the k nearest of each of n rows among all of them.

    Args:
        block: returns the prepared rows from one number up to another.
        give: returns all rows in an order; nothing is asked for after that, so whoever gives may let go of them.
        n: rows.
        k: neighbours wanted of each, beside the reserve.
        how: to search.
        resident: bool, (n,): whose lists are refined; everybody's if None.
        may_ask: bool, (n,): of whom recall may be measured to decide how hard to search; anybody's if None.
        progress: told what goes on.
    """
    metric, seen = how.metric, sample_rows(n, how.probes)
    sample = block(0, seen)
    quantizer = cells.Quantizer.train(sample, cells.cell_count(n, how.probes), metric, how.seed)
    pairs = cells.neighbor_pairs(sample, n, k, metric)
    del sample
    progress("cells", 0.0)
    reach = cells.probe_reach(quantizer, pairs, how.probes)
    assigned = cells.assign_cells(block, n, quantizer, how.probes, reach)
    X = give(assigned.order)
    improved = None if resident is None else resident[assigned.order]
    asked = None
    if how.recall is not None and k > 0:
        progress("exact neighbours of a sample", 0.0)
        asked = _Asked.of(X, k, how, improved, None if may_ask is None else may_ask[assigned.order])
    probes, most = how.probes, max(how.probes, min(MOST_PROBES, len(quantizer.centroids)))
    if asked is not None and probes < most:
        asked = asked.met_by(X, quantizer, most)
        probes = asked.first_probes(len(X) / len(quantizer.centroids), probes)
    while True:
        if probes != how.probes:
            reach = cells.probe_reach(quantizer, pairs, probes)
            assigned = assigned.probing(X, quantizer, probes, reach)
        best, score = search.search_cells(
            X,
            assigned.bounds,
            assigned.probes,
            min(k + how.reserve, n - 1),
            metric,
            lambda share: progress("search", share),
        )
        worth = _WORTH if probes < most else _WORTH_AT_LAST
        descent = search.Descent(X, best, score, metric, improved, assigned.probes)
        best, score, passes, enough = _refined(descent, how, asked, worth, progress)
        if enough or asked is None or probes >= most:
            break
        probes = min(asked.more_probes(probes), most)
        del best, score, descent
    made = len(quantizer.centroids), probes, passes, quantizer, assigned.home, reach
    return Found(assigned.order, X, best, score, *made)


def _refined(
    descent: search.Descent, how: Search, asked: _Asked | None, worth: float, progress: StepProgress
) -> tuple[Int32Array, FloatMatrix, int, bool]:
    """Refine lists in as many passes as are asked for, or as recall takes.

    Returns lists and scores, the number of passes, and whether that is enough.
    """
    limit = MOST_PASSES if how.passes is None else how.passes
    found = 0.0 if asked is None else asked.recall(descent.score)
    passes, wanted = 0, how.passes is not None or (asked is not None and found < asked.aim)
    while wanted and passes < limit:
        progress("refinement", passes / limit)
        changed = descent.step()
        passes += 1
        before, found = found, 0.0 if asked is None else asked.recall(descent.score)
        if changed == 0:
            break
        if how.passes is None and asked is not None:
            wanted = found < asked.aim and found - before >= worth * (asked.aim - found)
    enough = asked is None or found >= asked.aim
    if asked is not None:
        log.info("recall %.3f of a sample after %d passes", found, passes)
    return *descent.lists(), passes, enough


@dataclass(frozen=True, slots=True)
class _Asked:
    """Points whose exact neighbours are known.

    Attributes:
        rows: int64, (q,): their places in X.
        exact: their neighbours and the scores of these, (q, k).
        aim: the recall to have.
        met: float64, (most+1,): the share of neighbours that are met by so many probes, from none to the most.
    """

    rows: Int64Array
    exact: search.Exact
    aim: float
    met: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        X: Rows,
        k: int,
        how: Search,
        improved: npt.NDArray[np.bool_] | None,
        may_ask: npt.NDArray[np.bool_] | None,
    ) -> _Asked | None:
        """Choose points at equal distances in the order of cells, so that all regions are asked about."""
        assert how.recall is not None
        open_to = np.ones(len(X), np.bool_) if improved is None else improved
        rows = np.flatnonzero(open_to if may_ask is None else open_to & may_ask)
        if len(rows) == 0:
            return None
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(how.sample, len(rows))).astype(np.int64))]
        exact = search.exact_neighbors(X, rows, min(k, len(X) - 1), how.metric)
        return cls(rows, exact, how.recall + _MARGIN * (1 - how.recall), np.zeros(1))

    def recall(self, score: FloatMatrix) -> float:
        """Return the recall of lists with these scores, (n, k or more)."""
        return search.recall_of_scores(score[self.rows], self.exact)

    def met_by(self, X: Rows, quantizer: Quantizer, most: int) -> _Asked:
        """Return the same, with what share of neighbours so many probes meet."""
        k = self.exact.which.shape[1]
        step = max(1, k // _PLACES_ASKED)
        near = self.exact.which[:, step // 2 :: step]
        mine = quantizer.nearest(X[self.rows], most)
        ends = np.unique(near)
        theirs = quantizer.nearest(X[ends], most)
        met = np.empty(near.shape, np.int64)  # at which probe, from 0, either end meets the other's cell
        for row, others in enumerate(np.searchsorted(ends, near)):
            cell_of = theirs[others]  # (k, most)
            meets = (mine[row] == cell_of[:, :1]) | (cell_of == mine[row, 0])
            met[row] = np.where(meets.any(axis=1), meets.argmax(axis=1), most)
        counts = np.bincount(met.ravel(), minlength=most + 1)[:most]
        return replace(self, met=np.concatenate([[0.0], np.cumsum(counts) / max(1, met.size)]))

    def first_probes(self, cell: float, least: int) -> int:
        """Return how many cells, of so many points, to probe at first.

        As many as meet half of the neighbours, or all that are aimed at, while it costs less than a pass of refinement.
        """
        afford = int(_PRODUCT_SCORES * search.candidates(self.exact.which.shape[1]) / cell)
        return max(least, self._probes_for(_MEET_FIRST), min(self._probes_for(self.aim), afford))

    def more_probes(self, probes: int) -> int:
        """Return how many to probe where so many were too few: what meets all that are aimed at; at most twice them."""
        wanted = self._probes_for(self.aim)
        return min(wanted, 2 * probes) if wanted > probes else 2 * probes

    def _probes_for(self, share: float) -> int:
        """Return the least number of cells that meet a share of neighbours; the most if none does."""
        return min(int(np.searchsorted(self.met, share)), len(self.met) - 1)
