"""Options that say which objective makes a subset good, a part of `subsel.config.SelectConfig`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from subsel.declare import declare
from subsel.errors import option

#: What only one objective has, and the other refuses, but for the default and what else says that it is off.
_OF_COVERAGE: dict[str, tuple[Any, ...]] = {"utility_weight": (), "importance": (), "target": ()}
_OF_PAIRWISE: dict[str, tuple[Any, ...]] = {
    "alpha": (),
    "beta": (),
    "diversity": (),
    "bounding": ("off",),
    "bounding_rank": (),
    "sampling": (),
    "sample_share": (),
    "greedy": (),
    "partitions": (),
    "rounds": (),
    "adaptive": (),
    "gamma": (),
    "greedy_direction": ("forward",),
    "refine": (0,),
}


class AimOptions(BaseModel):
    """The objective, and what only coverage has."""

    objective: Literal["pairwise", "coverage"] = declare(
        "pairwise",
        "What makes a subset good: pairwise, utilities less similarities inside it; or coverage, how similar each "
        "point is to its nearest member.",
        stage="graph",
        group="Objective",
    )
    utility_weight: float = declare(
        0.0,
        "Under coverage: what utility counts, beside the similarity of each point to its nearest member.",
        stage="graph",
        group="Objective",
        ge=0,
        le=1e9,
    )
    importance: str | None = declare(
        None,
        "Under coverage: column of how much it counts that each point is covered, from 0 up; of the target's points, "
        "where there is one.",
        stage="graph",
        group="Objective",
        otherwise="1 for each row",
        example="weight",
        metavar="COLUMN",
        takes="str | npt.ArrayLike",
    )

    target: str | None = declare(
        None,
        "Under coverage: data whose points are to be covered, instead of those that are selected from: Parquet with "
        "the same embedding column.",
        stage="graph",
        group="Objective",
        otherwise="the points themselves",
        example="examples.parquet",
        metavar="DATA",
    )

    @property
    def covers(self) -> bool:
        """Whether the objective is coverage."""
        return self.objective == "coverage"

    def check_objective(self) -> None:
        """Check that what only one objective has is not asked of the other."""
        fields = type(self).model_fields
        others = _OF_COVERAGE if self.objective == "pairwise" else _OF_PAIRWISE
        given = [name for name, off in others.items() if getattr(self, name) not in (fields[name].default, *off)]
        if given:
            told = " and ".join(map(option, given))
            raise ValueError(f"{option('objective', self.objective)} does not have {told}: leave it out")

    def unweighed(self, utility: str) -> str | None:
        """Return what is wrong with giving a utility, in the words of whoever did: that it would not count."""
        if not self.covers or self.utility_weight:
            return None
        objective, weight = option("objective", "coverage"), option("utility_weight", 1)
        return f"{utility} does not count under {objective}: give it a weight by {weight}, or leave it out"
