"""What the drivers of the algorithms return: counts, and bounds in fixed point."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BoundingResult:
    """What bounding decided: points accepted and discarded, rounds until nothing changed.

    Rounds in one task, after `Engine.finish`, count as one. Where rounds either grow or shrink, those that decided
    something are counted apart; 0 where a round does both. ``upper_bound`` is what follows from this for the best f, in
    units of 2^-fraction_bits (`subsel.bounding.certificate.free_bound`, `subsel.bounding.prices.limited_bound`); None:
    not asked for.
    """

    accepted: int
    discarded: int
    rounds: int
    grow_rounds: int = 0
    shrink_rounds: int = 0
    upper_bound: int | None = None


@dataclass(frozen=True, slots=True)
class GreedyResult:
    """How many points greedy selected, in how many supersteps.

    ``rounded_after`` is the superstep after which gains were rounded (see `subsel.greedy.exact`); None: they never
    were, and the result is centralised greedy's. ``direction`` says whether it added points or removed them.
    ``kept`` are points of a subset that it went on from, which count in none of the others; None: there was none. Then
    ``anew_seconds`` were for greedy without that subset, with which it is compared.
    """

    selected: int
    supersteps: int
    rounded_after: int | None = None
    direction: str = "forward"
    kept: int | None = None
    anew_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RefineResult:
    """Passes that gained something, points exchanged, and by how much f rose: exactly, in units of 2^-fraction_bits.

    Where similarity is limited: members whose vectors were compared, None where they could not be; how many were too
    alike and left; how many included ones are, and stay; and the rest of `subsel.report.AlikeReport`.
    """

    passes: int
    exchanged: int
    gained: int
    compared: int | None = None
    left: int = 0
    together: int = 0
    exact: bool = True
    sample: int = 0
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class CertificateResult:
    """An upper bound on f, in units of 2^-fraction_bits, None if none was asked for; and the iterations it took."""

    bound: int | None
    iterations: int
