"""Points leave a graph: the reserve takes their place in lists; where that is not enough, a list is searched again."""

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
    stay = int(np.count_nonzero(~gone[: state.n]))
    moved = state.taken(np.argsort(gone[: state.n], kind="stable"))  # who leaves comes last
    leaving = np.concatenate([np.arange(state.n) >= stay, gone[state.n :]])
    short = np.empty(stay, np.bool_)
    over_rows(kernel.falls_short, stay, leaving, moved.best, state.neighbors, short)
    rows = np.flatnonzero(short)
    if not len(rows):
        return moved.first(stay, leaving), Effort(0, 0, 0, None)
    nobody = np.zeros(state.n, np.bool_)
    look_around(moved, rows, nobody, gone=leaving)
    left = moved.first(stay, leaving)
    probes = state.probes if state.recall is None else _PROBES
    effort = search_some(left, rows, nobody[:stay], progress, probes=probes)
    return left, replace(effort, passes=effort.passes + 1)
