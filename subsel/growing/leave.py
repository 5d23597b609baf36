"""Points leave a graph: whose list falls below the asked number of neighbours is searched again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from subsel.embeddings.recipe import StepProgress
from subsel.growing import kernel
from subsel.growing.join import Effort, look_around, search_some
from subsel.growing.state import GraphState
from subsel.threads import over_rows

#: Cells in which a point is searched again, its own among them, beside the neighbours of its old neighbours; where a
#: recall is aimed at.
_PROBES = 2


def leave(
    state: GraphState, gone: npt.NDArray[np.bool_], progress: StepProgress = lambda what, share: None
) -> tuple[GraphState, Effort]:
    """Return a graph without some points, and what it took.

    Args:
        state: the graph.
        gone: bool, (n + others,): who leaves.
        progress: told what goes on.
    """
    progress("lists", 0.0)
    lost = np.empty(state.n, np.bool_)
    over_rows(kernel.lost, state.n, gone, state.best, lost)
    stay = ~gone[: state.n]
    lost &= stay
    working = replace(state, best=state.best.copy(), score=state.score.copy())
    nobody = np.zeros(state.n, np.bool_)
    X = state.vectors() if lost.any() else None
    if X is not None:
        look_around(working, X, np.flatnonzero(lost), nobody, gone)
        X = X[stay]
    left = state.without(gone, working.best, working.score)
    rows = np.flatnonzero(lost[stay])
    if X is None:
        return left, Effort(0, 0, 0, None)
    probes = state.probes if state.recall is None else _PROBES
    effort = search_some(left, X, rows, np.zeros(left.n, np.bool_), progress, probes)
    return left, replace(effort, passes=effort.passes + 1)
