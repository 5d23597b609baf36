"""What was wrong with rows, as engines add it up and say it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from subsel.config import SelectConfig
from subsel.errors import InputError, option

#: Examples in a message.
SHOWN = 3
#: What to do about bad rows.
MEND = f"Mend them, or set {option('on_bad_rows', 'drop')} to leave them out."


@dataclass(slots=True)
class Findings:
    """What was wrong with the rows seen so far, and how long their lists were.

    Attributes:
        counts: bad rows by reason.
        examples: of each reason, the smallest three ids.
        lengths: by list column, how many lists have each length.
        most_importance: of good rows, under coverage.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Any]] = field(default_factory=dict)
    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    most_importance: float = 0.0

    def add(self, reason: str, count: int, ids: list[Any]) -> None:
        """Count rows that are bad for a reason, and remember the smallest of their ids."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        some = {one for one in [*self.examples.get(reason, []), *ids] if one is not None}
        self.examples[reason] = sorted(some)[:SHOWN]

    def merge(self, other: Findings) -> None:
        """Add what another part of the input has."""
        for reason, count in other.counts.items():
            self.add(reason, count, other.examples[reason])
        for column, lengths in other.lengths.items():
            self.lengths.setdefault(column, Counter()).update(lengths)
        self.most_importance = max(self.most_importance, other.most_importance)

    def length_of_most(self) -> dict[str, int]:
        """Return by column the length that most lists have; the longer of two as common."""
        return {
            column: max(lengths, key=lambda length: (lengths[length], length))
            for column, lengths in self.lengths.items()
            if lengths
        }

    def describe(self, n: int) -> str:
        """Say in one line how many of ``n`` rows were bad, why, and name a few; reasons in alphabetical order."""
        parts = []
        for reason in sorted(self.counts):
            some = ", ".join(map(repr, self.examples[reason]))
            parts.append(f"{self.counts[reason]:,} of {n:,} rows: {reason}{f' (ids {some})' if some else ''}")
        return "; ".join(parts)

    def dropped(self) -> dict[str, int]:
        """Return bad rows by reason, in the order of the alphabet."""
        return {reason: self.counts[reason] for reason in sorted(self.counts)}

    def refuse(self, name: str, n: int, good: int, config: SelectConfig) -> None:
        """Raise if most lists are too short, bad rows are errors, or no good row is left.

        Raises:
            InputError: see above.
        """
        for column, length in self.length_of_most().items():
            if length == 0:
                raise InputError(f"column {column!r} of {name}: its lists are empty: they need at least one value.")
            if column == config.probabilities and length < 2:
                raise InputError(f"column {column!r} of {name} has fewer than 2 classes: margins need two.")
        if self.counts and config.on_bad_rows == "error":
            raise InputError(f"{name}: {self.describe(n)}. {MEND}")
        if good == 0:
            raise InputError(f"{name} has no good row left: {self.describe(n)}.")

    def refuse_unimportant(self, name: str, column: str | None) -> None:
        """Raise if a column says how much it counts that points are covered, and that is 0 in all good rows.

        Raises:
            InputError: see above.
        """
        if column is not None and self.most_importance == 0:
            raise InputError(
                f"column {column!r} of {name} is 0 in all good rows, so there is nothing to cover: name another with "
                f"{option('importance')}, or leave it out."
            )
