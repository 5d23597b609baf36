"""What a change of a graph was: who joined and who left, what that took, and how good it is."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from subsel.errors import option
from subsel.growing.join import Effort


class Revision(BaseModel):
    """One change of a graph.

    Attributes:
        joined: points that are new.
        replaced: points that had been there with other vectors; they count in none of the others.
        left: points that are gone.
        points: that the graph has now.
        searched: whose neighbours were searched: who joined, and whose lists had lost more than was in reserve.
        recall: of a sample of those that joined, else of all that were searched; None: it was not measured.
        target: what it was to be; None: the search was told what to take.
        probes: cells that a point was compared with at most.
        passes: over neighbours of neighbours.
        split: cells that had grown beyond their share, and are several now.
        engine: that did it.
        tasks: parts that were searched, each in a task of its own; on one machine the graph is one.
        of: what tells this change from others: a checksum of what was given.
        seconds: what was done, and how long it took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    joined: int = 0
    replaced: int = 0
    left: int = 0
    points: int
    searched: int
    recall: float | None = None
    target: float | None = None
    probes: int = 0
    passes: int = 0
    split: int = 0
    engine: str = "local"
    tasks: int = 1
    of: str
    seconds: dict[str, float]

    @classmethod
    def after(cls, effort: Effort, points: int, target: float | None, of: str, **about: Any) -> Self:
        """Return what a change was.

        Args:
            effort: that it took.
            points: that the graph has now.
            target: recall that lists are to have.
            of: what tells it from others.
            **about: who joined and left, and what else differs from the defaults.
        """
        taken = {name: getattr(effort, name) for name in ("probes", "passes", "split", "recall")}
        return cls(points=points, searched=effort.points, target=target, of=of, **taken | about)

    @property
    def warning(self) -> str | None:
        """What to say of a graph whose cells no longer fit its points; None: they do."""
        if self.recall is None or self.target is None or self.recall >= self.target:
            return None
        return (
            f"recall {self.recall:.3f} of the points that were searched is below the {self.target:g} of the graph: its "
            f"cells no longer fit the data. Make the graph of all points anew ({option('overwrite', True)})"
        )
