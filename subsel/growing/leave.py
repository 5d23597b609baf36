"""Points leave a graph: the reserve takes their place in lists; where that is not enough, a list is searched again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from subsel.embeddings.recipe import StepProgress
from subsel.growing import kernel
from subsel.growing.join import Effort, Looked, search_some
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
    short = np.empty(state.n, np.bool_)
    over_rows(kernel.falls_short, state.n, gone, state.best, state.neighbors, short)
    rows, nobody = np.flatnonzero(short & ~gone[: state.n]), np.zeros(state.n, np.bool_)
    looked = Looked.around(state, rows, nobody, gone=gone) if len(rows) else None
    left, number = state.without(gone)
    if looked is None:
        return left, Effort(0, 0, 0, None)
    rows = number[rows]
    kernel.renumber(0, len(rows), number, looked.best, looked.score, left.best, left.score, rows)
    probes = state.probes if state.recall is None else _PROBES
    effort = search_some(left, rows, nobody[: left.n], progress, probes=probes)
    return left, replace(effort, passes=effort.passes + 1)
