"""Exact greedy of coverage over an engine's parts: `subsel.greedy.limited` with coverage's gains."""

from __future__ import annotations

from subsel.covering.finish import finish_covering
from subsel.covering.part import begin, hear, view
from subsel.engines.base import Engine
from subsel.greedy.limited import Moves


def twice_covered(engine: Engine) -> int:
    """Return 2 f of the members, in fixed point."""
    engine.reopen()
    return 2 * sum(engine.step(hear).sums)


#: Of f(S) = Σ importance(v) max sim(v, S) + λ Σ u: two-hop neighbours matter to each other, decided or not.
COVERAGE = Moves(begin, view, twice_covered, finish_covering, of_undecided=False)
