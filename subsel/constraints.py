"""What the user wants in the subset, or out of it, whatever its gain: by ids, or by a boolean column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from subsel.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `select` was given: ids (as `subsel.score` takes a subset), a boolean column's name, or None."""

    include: Any = None
    exclude: Any = None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.include is not None or self.exclude is not None


def no_such_wish(wish: str, what: str, name: str, columns: Iterable[str]) -> str:
    """Return what is wrong with a wish that is a string and neither a path nor a column."""
    return f"{what} {wish!r}: no such path, and {name} has no column {wish!r}; it has {', '.join(columns)}."


def not_boolean(wish: str, kind: str) -> str:
    """Return what is wrong with a wish by a column of another type."""
    return f"column {wish!r} is {kind}, but must be boolean to say who is in or out."


@dataclass(frozen=True, slots=True)
class Constraints:
    """How many points are in the subset, and out of it, by the user's wish."""

    included: int = 0
    excluded: int = 0

    def check(self, n: int, k: int, both: int, example: Any) -> None:
        """Say what cannot be met.

        Args:
            n: points.
            k: points to select.
            both: points that are included and excluded.
            example: one of these.

        Raises:
            ConfigError: points are on both lists, more are included than selected, or too many excluded.
        """
        if both:
            raise ConfigError(f"{both:,} points are in include and in exclude, such as {example!r}: choose.")
        if self.included > k:
            raise ConfigError(f"include has {self.included:,} points, more than the {k:,} to select: raise size.")
        if n - self.excluded < k:
            raise ConfigError(
                f"exclude leaves {n - self.excluded:,} of {n:,} points, fewer than the {k:,} to select: lower size."
            )
