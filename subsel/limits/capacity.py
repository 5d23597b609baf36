"""`Capacity`: who fits. One object that drivers and kernels ask, whatever the limits are (docs/limits.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from subsel.fixedpoint import Int64Array
from subsel.report import may_swap
from subsel.sizes import UNLIMITED


@dataclass(frozen=True, slots=True, eq=False)
class GroupLimit:
    """How much each group of one column may have.

    Attributes:
        column: its name.
        most: int64, (groups,): points or cost at most; `UNLIMITED` where there is no quota.
        by_cost: whether that is cost.
        least: int64, (groups,): points at least; None without minima.
    """

    column: str
    most: Int64Array
    by_cost: bool = False
    least: Int64Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Capacity:
    """What limits a selection. Totals and quotas are of the whole subset, included points and all.

    Attributes:
        size: points; None: as many as fit.
        budget: cost; None: no limit.
        per_cost: whether points are taken by gain per cost, not by gain.
        unit: what all costs are multiples of.
        fill: whether points are taken whose gain is negative.
        groups: limits of groups, one for each column.
        max_similarity: two selected points are at most so similar; None: no limit.
    """

    size: int | None = None
    budget: int | None = None
    per_cost: bool = False
    unit: int = 1
    fill: bool = True
    groups: tuple[GroupLimit, ...] = ()
    max_similarity: float | None = None

    @property
    def offsets(self) -> Int64Array:
        """Where each column's groups begin in what counts the groups of all: int64, (columns + 1,)."""
        return np.cumsum([0, *(len(one.most) for one in self.groups)]).astype(np.int64)

    @property
    def slots(self) -> int:
        """Groups of all columns."""
        return sum(len(one.most) for one in self.groups)

    @property
    def most(self) -> Int64Array:
        """The quotas of all columns' groups: int64, (slots,)."""
        return np.concatenate([np.empty(0, np.int64), *(one.most for one in self.groups)])

    @property
    def by_cost(self) -> npt.NDArray[np.bool_]:
        """Of each column whether its quotas are of cost: bool, (columns,)."""
        return np.array([one.by_cost for one in self.groups], np.bool_)

    @property
    def least(self) -> Int64Array:
        """The minima of the first column's groups: int64, (groups,); (0,) without."""
        minima = self.groups[0].least if self.groups else None
        return np.empty(0, np.int64) if minima is None else minima

    @property
    def free(self) -> int:
        """Places that no minimum reserves."""
        return UNLIMITED if self.size is None else self.size - int(self.least.sum())

    @property
    def swaps(self) -> bool:
        """Whether members may be exchanged for outsiders, see `subsel.report.may_swap`."""
        groups = [len(one.most) for one in self.groups]
        return may_swap(budgeted=self.budget is not None, by_cost=self.by_cost.tolist(), groups=groups)

    @property
    def certain(self) -> bool:
        """Whether nobody may be picked unless it surely fits everything, the size too: where there are minima."""
        return len(self.least) > 0

    @property
    def priced(self) -> bool:
        """Whether an upper bound needs prices (`subsel.bounding.prices`): where cost or groups count."""
        return self.budget is not None or bool(self.groups)

    def quotas_left(self, spent: Mapping[str, Any]) -> list[Int64Array]:
        """Return what members leave of the quotas of each column: int64, (groups,), below 0 where they take more.

        Args:
            spent: ``points`` and ``cost`` of each slot: int64, (slots,).
        """
        return [
            np.where(one.most < UNLIMITED, one.most - spent["cost" if one.by_cost else "points"][begin:end], UNLIMITED)
            for one, begin, end in zip(self.groups, self.offsets[:-1], self.offsets[1:], strict=True)
        ]

    def less(self, spent: Mapping[str, Any], totals: Mapping[str, int]) -> Capacity:
        """Return what members leave of size, budget and quotas: nothing where they take more.

        Args:
            spent: ``points`` and ``cost`` of each slot: int64, (slots,).
            totals: the same of all.
        """
        left = self.quotas_left(spent)
        return replace(
            self,
            size=None if self.size is None else max(self.size - totals["points"], 0),
            budget=None if self.budget is None else max(self.budget - totals["cost"], 0),
            groups=tuple(replace(one, most=np.maximum(most, 0)) for one, most in zip(self.groups, left, strict=True)),
        )
