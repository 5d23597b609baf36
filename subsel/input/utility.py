"""What makes a point good: built-in utilities, columns, and mixes of them; and utilities of class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from subsel import schema
from subsel.config import SelectConfig
from subsel.errors import ConfigError, option

DENSITY, CONSTANT = "density", "constant"
#: Utilities of class probabilities; those that ask for hard examples, which make small subsets worse.
OF_PROBABILITIES = ("easy", "margin", "entropy", "least_confidence")
HARD = ("margin", "entropy", "least_confidence")
BUILT_IN = (DENSITY, CONSTANT, *OF_PROBABILITIES)
#: What a column's name is written behind where it is a built-in's, or has a plus in it.
COLUMN = "column:"
#: Below this share of the points, hard examples are warned of.
_HARD_BELOW = 0.3


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One thing that utility is made of: a built-in, or a column of numbers (``kind`` is then ``"column"``)."""

    kind: str
    column: str | None = None

    @property
    def stored(self) -> bool:
        """Whether each row has it: all but density, which follows from the graph."""
        return self.kind not in (DENSITY, CONSTANT)

    def __str__(self) -> str:
        """As reports name it."""
        if self.kind == "column":
            return f"column {self.column!r}"
        return self.kind if self.column is None else f"{self.kind} of column {self.column!r}"


@dataclass(frozen=True, slots=True)
class Utility:
    """What utility is made of: one ingredient as it is (density is a rank), or the mean of the ranks of several."""

    ingredients: tuple[Ingredient, ...]
    given: bool = False

    @classmethod
    def of(cls, config: SelectConfig, columns: Sequence[str], *, given: bool = False) -> Utility:
        """Return what a config asks for, of the columns that there are.

        Args:
            config: utility and probabilities.
            columns: names of the input's.
            given: whether utilities come as an array beside the input.

        Raises:
            ConfigError: probabilities are needed and not named, or named and not read.
        """
        asked = config.utility
        if given:
            found = cls((Ingredient("column"),), given=True)
        elif asked is None:
            kind = f"{COLUMN}{schema.UTILITY}" if schema.UTILITY in columns else DENSITY
            if config.covers and not config.utility_weight:
                kind = CONSTANT
            found = cls((_ingredient(kind, config),))
        elif asked in columns and asked not in BUILT_IN:
            found = cls((Ingredient("column", asked),))
        elif asked.startswith(COLUMN) and asked.removeprefix(COLUMN) in columns:
            found = cls((Ingredient("column", asked.removeprefix(COLUMN)),))
        else:
            found = cls(tuple(_ingredient(name.strip(), config) for name in asked.split("+")))
        if config.probabilities is not None and not any(one.kind in OF_PROBABILITIES for one in found.ingredients):
            choices = ", ".join(option("utility", name) for name in OF_PROBABILITIES)
            raise ConfigError(
                f"{option('probabilities', config.probabilities)} is given, but no utility reads it: give one of "
                f"{choices}, or leave it out."
            )
        return found

    @property
    def mixed(self) -> bool:
        """Whether it is a mean of ranks."""
        return len(self.ingredients) > 1

    @property
    def ranked(self) -> bool:
        """Whether anything of it is a rank among all points."""
        return self.mixed or self.ingredients[0].kind == DENSITY

    @property
    def stored(self) -> tuple[Ingredient, ...]:
        """Ingredients that each row has."""
        return tuple(one for one in self.ingredients if one.stored)

    def __str__(self) -> str:
        """As reports name it."""
        if self.given:
            return "given array"
        if self.mixed:
            return "mean of the ranks of " + ", ".join(map(str, self.ingredients))
        only = self.ingredients[0]
        return {DENSITY: "density, as a rank", CONSTANT: "1.0 for every point"}.get(only.kind, str(only))

    def warning(self, k: int | None, n: int) -> str | None:
        """Return what to say of selecting k of n points by this, if anything."""
        hard = [one.kind for one in self.ingredients if one.kind in HARD]
        if not hard or k is None or k >= _HARD_BELOW * n:
            return None
        return (
            f"{hard[0]} asks for hard examples, of which small subsets ({k / n:.1%} here) train worse models than "
            f"random ones: below {_HARD_BELOW:.0%} the utilities density and easy do better"
        )


def possible_columns(config: SelectConfig) -> set[str]:
    """Return the names of columns that utility may be made of, as far as can be said before the columns are known."""
    names = {schema.UTILITY}
    if config.utility is not None:
        parts = [config.utility, *(part.strip() for part in config.utility.split("+"))]
        names |= {name for part in parts for name in (part, part.removeprefix(COLUMN))}
    return names


def _ingredient(name: str, config: SelectConfig) -> Ingredient:
    """Return the ingredient of a name.

    Raises:
        ConfigError: it is empty, or needs probabilities that are not named.
    """
    if name in (DENSITY, CONSTANT):
        return Ingredient(name)
    if name in OF_PROBABILITIES:
        if config.probabilities is None:
            raise ConfigError(
                f"{option('utility', name)} needs class probabilities: name their column with "
                f"{option('probabilities')}."
            )
        return Ingredient(name, config.probabilities)
    if not name.removeprefix(COLUMN):
        raise ConfigError(
            f"{option('utility', config.utility)} has an empty name in it: give a column, or {', '.join(BUILT_IN)}."
        )
    return Ingredient("column", name.removeprefix(COLUMN))


def utility_of_probabilities(probabilities: npt.NDArray[np.float64], how: str) -> npt.NDArray[np.float64]:
    """Return the uncertainty of each row of class probabilities: float64, (b,).

    - ``margin``: 1 - (p1 - p2), p1 and p2 being the two largest (the paper's utility); in [0, 1].
    - ``entropy``: -Σ p ln p, in nats; in [0, ln C].
    - ``least_confidence``: 1 - p1; in [0, 1 - 1/C].
    - ``easy``: p1 - p2, how sure the model is already; in [0, 1].

    Args:
        probabilities: float64, (b, C), C >= 2, rows that sum to 1.
        how: which of them, see `OF_PROBABILITIES`.
    """
    if how == "entropy":
        logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
        return np.asarray(-(probabilities * logs).sum(axis=1))
    two = np.partition(probabilities, probabilities.shape[1] - 2, axis=1)[:, -2:]
    if how == "least_confidence":
        return np.asarray(1 - two[:, 1])
    margin = two[:, 1] - two[:, 0]
    return np.asarray(margin if how == "easy" else 1 - margin)


def valid_probabilities(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which rows are probabilities: finite, ≥ 0, summing to 1 within 1e-3 (half precision has that)."""
    with np.errstate(invalid="ignore"):
        sums = np.abs(probabilities.sum(axis=1) - 1) <= 1e-3
        return np.asarray(sums & (probabilities >= 0).all(axis=1))
