"""Options that say how much is selected, and of what, a part of `subsel.config.SelectConfig`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ValidationInfo, field_validator, model_validator

from subsel.declare import declare
from subsel.errors import ConfigError, option
from subsel.limits.amounts import RULES, Quotas, Spec, Unit, is_table, read_quotas
from subsel.sizes import MISSING_SIZE, parse_amount, parse_budget, parse_size

#: Points are near a row to which they are more similar than this.
NEAR = 0.9


class LimitOptions(BaseModel):
    """Size and budget, quotas and minima of groups, how alike points may be to each other and to other data; copies."""

    size: int | float | str | None = declare(
        None,
        "How many points to select: a count such as 5000 or 5K, a fraction such as 0.1, or a percentage such as 10%.",
        stage="utility",
        group="Subset",
        example="10%",
        required="this or a budget",
        metavar="SIZE",
    )
    budget: int | float | str | None = declare(
        None,
        "What the subset may cost: an amount such as 1_000_000 or 1B, a fraction or percentage of all costs. Needs a "
        "cost; size may be left out.",
        stage="utility",
        group="Limits",
        example="1B",
        metavar="COST",
    )
    cost: str | None = declare(
        None,
        "Column of what points cost, integers of at least 0, such as tokens; for a budget, or quotas by cost.",
        stage="graph",
        group="Limits",
        example="tokens",
        metavar="COLUMN",
        takes="str | npt.ArrayLike",
    )
    order: Literal["ratio", "gain", "best"] = declare(
        "ratio",
        "Who goes first where there is a budget: most gain per cost, or most gain; best takes the better of both.",
        stage="bounding",
        group="Limits",
    )
    fill: bool = declare(
        True,
        "Whether a budget is spent also on points that lower the objective.",
        stage="bounding",
        group="Limits",
    )
    groups: tuple[str, ...] = declare(
        (),
        "Columns whose values are groups, such as source or language; for quotas, or minima. Null is a group, too.",
        stage="graph",
        group="Limits",
        takes="str | Sequence[str] | npt.ArrayLike | Mapping[str, npt.ArrayLike]",
    )
    quotas: Quotas | None = declare(
        None,
        "At most so much of each group: amounts, fractions or percentages by name; or proportional, sqrt or balanced, "
        "which divide the whole by rows, their square roots, or evenly; or a table with columns group and quota. With "
        "several columns of groups, one of these for each.",
        stage="bounding",
        group="Limits",
        example={"web": "50%", "books": 1000},
        metavar="NAME=AMOUNT,…|RULE|FILE",
        takes="Mapping[str, Any] | str",
    )
    other: int | float | str | None = declare(
        None,
        "Quota of each group that quotas do not name.",
        stage="bounding",
        group="Limits",
        otherwise="no limit",
        example="5%",
        metavar="AMOUNT",
    )
    quotas_by: Unit = declare(
        "points",
        "What quotas count: points, or what these cost.",
        stage="bounding",
        group="Limits",
    )
    at_least: Quotas | None = declare(
        None,
        "At least so many points of each group, written like quotas; with a size, and one column of groups.",
        stage="bounding",
        group="Limits",
        example={"books": 100},
        metavar="NAME=AMOUNT,…|RULE|FILE",
        takes="Mapping[str, Any] | str",
    )
    max_similarity: float | None = declare(
        None,
        "No two selected points are more alike than this: any number, as similarities of the metric are.",
        stage="bounding",
        group="Limits",
        otherwise="no limit",
        example=0.95,
        ge=-1e30,
        le=1e30,
    )
    exclude_near: str | None = declare(
        None,
        "Data, such as that of an evaluation, that no selected point may be near to: Parquet with the same embedding "
        "column.",
        stage="utility",
        group="Limits",
        otherwise="none",
        example="evaluation.parquet",
        metavar="DATA",
    )
    near: float | None = declare(
        None,
        "Points that are more similar than this to any row of exclude_near are left out.",
        stage="utility",
        group="Limits",
        otherwise=str(NEAR),
        example=NEAR,
        ge=0,
        le=1e30,
    )
    copies: Literal["merge", "keep"] = declare(
        "merge",
        "Whether points of equal vectors count as one, of which the best stays, or are kept as they are.",
        stage="graph",
        group="Limits",
    )

    @field_validator("size", "budget", mode="before")
    @classmethod
    def _check_amount(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        parsed = (parse_size if info.field_name == "size" else parse_budget)(value)
        return value if isinstance(value, str) else parsed

    @field_validator("quotas", "at_least", mode="before")
    @classmethod
    def _read_amounts(cls, value: Any, info: ValidationInfo) -> Any:
        return None if value is None else read_quotas(value, option(str(info.field_name)))

    @field_validator("other", mode="before")
    @classmethod
    def _read_amount(cls, value: Any) -> Any:
        return None if value is None else parse_amount(value, option("other"), noun="quota", least=0)

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        wrong = next(chain(self._wrong_costs(), self._wrong_groups(), self._wrong_near()), None)
        if wrong is not None:
            raise ValueError(wrong)
        if self.quotas_by == "cost":
            self._check_units()
        return self

    def _wrong_costs(self) -> Iterator[str]:
        """Yield what is wrong about a budget and costs."""
        by_cost = option("quotas_by", "cost")
        if self.budget is not None and self.cost is None:
            yield f"{option('budget')} is spent on costs: name their column with {option('cost')}"
        if self.quotas_by == "cost" and self.cost is None:
            yield f"{by_cost} counts costs: name their column with {option('cost')}"
        if self.quotas_by == "cost" and self.quotas is None:
            yield f"{by_cost} says what quotas count, and there are none: give {option('quotas')}, or leave it out"
        if self.budget is None and (self.order != "ratio" or not self.fill):
            given = option("fill" if self.order == "ratio" else "order")
            yield f"{given} says how a budget is spent, and there is none: give {option('budget')}, or leave it out"

    def _wrong_groups(self) -> Iterator[str]:
        """Yield what is wrong about groups, quotas and minima."""
        quotas, at_least, groups = option("quotas"), option("at_least"), option("groups")
        for name in ("quotas", "at_least"):
            if getattr(self, name) is not None and not self.groups:
                yield f"{option(name)} are of groups: name their column with {groups}"
        if self.at_least is not None and len(self.groups) > 1:
            yield f"{at_least} goes by one column of groups, {groups} names {len(self.groups)}: leave all but one out"
        if self.at_least is not None and self.quotas_by == "cost":
            yield f"{at_least} counts points, {option('quotas_by', 'cost')} does not: give one of the two"
        if self.quotas is not None and len(self.groups) > 1:
            yield from self._wrong_columns()
        for name in ("quotas", "at_least"):
            found = getattr(self, name)
            if isinstance(found, dict) and len(self.groups) == 1:
                yield from (
                    f"{option(name)} of {group!r} is {one!r}, no amount: columns have quotas of their own where there "
                    f"are several, and {groups} names one"
                    for group, one in found.items()
                    if isinstance(one, str | dict)
                )
        specs = [] if self.quotas is None else [self.quotas_of(column) for column in self.groups]
        if self.other is not None and all(isinstance(one, str) and one in RULES for one in specs):
            yield f"{option('other')} is the quota of groups that {quotas} do not name: give {quotas} by name, too"

    def _wrong_near(self) -> Iterator[str]:
        """Yield what is wrong about data that no point may be near to."""
        if self.near is not None and self.exclude_near is None:
            near, data = option("near", self.near), option("exclude_near")
            yield f"{near} says how near to {data} points may be, and there is none: give {data}, or leave it out"

    def _wrong_columns(self) -> Iterator[str]:
        """Yield what is wrong about quotas of several columns."""
        found = self.quotas if isinstance(self.quotas, dict) else {}
        wrong = [name for name, one in found.items() if isinstance(one, int | float)]
        if wrong or set(found) != set(self.groups):
            columns = ", ".join(map(repr, self.groups))
            yield (
                f"{option('quotas')} of several columns of {option('groups')} name each: give a rule, amounts by name, "
                f"or a table for each of {columns}"
            )

    @property
    def sized(self) -> bool:
        """Whether it says how much to select: a number of points, or what they may cost."""
        return self.size is not None or self.budget is not None

    @property
    def limits(self) -> tuple[str, ...]:
        """The names of the limits that are set, but for the size."""
        names = ("budget", "quotas", "at_least", "max_similarity")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def limited(self) -> bool:
        """Whether any limit is set but the size."""
        return bool(self.limits)

    @property
    def near_limit(self) -> float:
        """The similarity to ``exclude_near`` above which points are left out."""
        return NEAR if self.near is None else self.near

    def quotas_of(self, column: str) -> Spec | None:
        """Return the quotas of one column of groups, None if there are none: one spec for one column, else one each."""
        several = isinstance(self.quotas, dict) and len(self.groups) > 1
        return cast("dict[str, Spec]", self.quotas)[column] if several else cast("Spec | None", self.quotas)

    @property
    def minima(self) -> Spec | None:
        """The minima of the column of groups, None if there are none."""
        return cast("Spec | None", self.at_least)

    def check_complete(self) -> None:
        """Check that it says how much to select, as whoever selects needs it to.

        Raises:
            ConfigError: it does not, or its limits cannot be read without a size.
        """
        if not self.sized:
            raise ConfigError(MISSING_SIZE)
        quotas = option("quotas")
        if self.cost is not None and self.budget is None and self.quotas_by != "cost":
            raise ConfigError(
                f"{option('cost', self.cost)} is given, and no limit counts costs: give {option('budget')}, or "
                f"{quotas} with {option('quotas_by', 'cost')}."
            )
        if self.groups and self.quotas is None and self.at_least is None:
            raise ConfigError(
                f"{option('groups', self.groups)} is given, and no limit is of groups: give {quotas} or "
                f"{option('at_least')}."
            )
        if self.at_least is not None and self.size is None:
            raise ConfigError(
                f"{option('at_least')} keeps some of the points to select for groups: give {option('size')}."
            )
        self._check_units()

    def _check_units(self) -> None:
        """Raises: ConfigError: see `unit_of`."""
        for column in self.groups:
            spec = self.quotas_of(column)
            if spec is not None and not is_table(spec):
                self.unit_of(spec)

    def unit_of(self, spec: Spec) -> Unit:
        """Return what quotas of a column count: points, or what these cost.

        That is what ``quotas_by`` says; but where there is a budget and no size, fractions and rules are of the budget.

        Args:
            spec: of a column, with whatever file it names read, see `quotas_of`.

        Raises:
            ConfigError: fractions are of a budget and there is none, or amounts count points and fractions cost.
        """
        amounts = [] if isinstance(spec, str) else [*spec.values(), *([] if self.other is None else [self.other])]
        shares = isinstance(spec, str) or any(isinstance(one, float) for one in amounts)
        if self.quotas_by == "cost" and shares and self.budget is None:
            raise ConfigError(
                f"fractions and rules of {option('quotas')} are of the {option('budget')} where "
                f"{option('quotas_by', 'cost')}: give one, or amounts."
            )
        if self.quotas_by == "cost" or not shares or self.size is not None:
            return self.quotas_by
        if any(isinstance(one, int) and one > 0 for one in amounts):
            raise ConfigError(
                f"without {option('size')}, fractions of {option('quotas')} are of the {option('budget')}, and amounts "
                f"count points: give fractions only, {option('quotas_by', 'cost')}, or {option('size')}."
            )
        return "cost"
