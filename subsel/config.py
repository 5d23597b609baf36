"""One config object for the library, the command line and the jobs; unknown keys are refused."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from subsel import schema
from subsel.errors import ConfigError

MISSING_SIZE = "size is missing: say how many points to select, as a count, 0.1 or '10%'."

Metric = Literal["cosine", "inner_product", "l2"]


class SelectConfig(BaseModel):
    """Everything that decides which subset comes out, and how it is computed.

    ``size`` and the objective say *what* is selected; the rest says how. Paths and engines are not
    part of it, so that one config serves every data set and machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: int | float | str | None = None
    """How many points: an int is a count, a float in (0, 1] a fraction, "10%" a fraction."""
    alpha: float = Field(default=0.9, ge=0)
    """Weight of utility in f(S) = α Σ u(v) - β Σ s(a,b)."""
    beta: float | None = Field(default=None, ge=0)
    """Weight of similarity; 1 - α when not given."""

    id_column: str = schema.ID
    embedding_column: str = schema.EMBEDDING
    utility: str | None = None
    """Utility column; without it the column `utility` if there is one, else 1.0 for every point."""
    probabilities: str | None = None
    """Column of class probabilities from which utility is computed, instead of ``utility``."""
    utility_from: Literal["margin", "entropy", "least_confidence"] = "margin"
    """How utility follows from ``probabilities``."""

    metric: Metric = "cosine"
    neighbors: int = Field(default=10, ge=1, le=1000)
    """Neighbours per point before the graph is symmetrised."""
    probes: int = Field(default=8, ge=1)
    """Cells searched per point at most: more gives higher recall and takes longer."""
    descent_passes: int = Field(default=2, ge=0, le=20)
    """Passes over neighbours of neighbours after the cell search."""
    recall_sample: int = Field(default=256, ge=0)
    """Points whose exact neighbours are computed to estimate recall; 0 turns the estimate off."""

    bounding: Literal["exact", "approximate", "off"] = "exact"
    """Decide points by bounds first: only as every optimum would, or more by sampled bounds, or not at all."""
    bounding_rank: Literal["tight", "paper"] = "tight"
    """Which U_max a point's U_min must exceed to be accepted: the (k+1)-th largest, or the paper's k-th, one weaker."""
    sampling: Literal["uniform", "weighted"] = "uniform"
    """How approximate bounding draws the neighbours that count: all alike, or by similarity."""
    sample_share: float = Field(default=0.3, gt=0, le=1)
    """Share of undecided neighbours that count in approximate bounding."""

    greedy: Literal["exact", "partitioned"] = "exact"
    """Centralised greedy's subset, or that of the paper's Algorithm 6."""
    greedy_direction: Literal["auto", "forward", "reverse", "best"] = "auto"
    """Add the best point k times, or remove the least missed until k are left; auto goes by k/n, best takes the better
    of both. Partitioned greedy is forward."""
    partitions: int | None = Field(default=None, ge=1)
    """Partitions of partitioned greedy's first round."""
    rounds: int = Field(default=8, ge=1)
    """Rounds of partitioned greedy."""
    adaptive: bool = True
    """Whether partitions keep their size over the rounds (True) or their number."""
    gamma: float = Field(default=0.75, gt=0, le=1)
    """γ: how much of the way from n to k partitioned greedy leaves for later rounds."""
    refine: int = Field(default=8, ge=0)
    """Passes of swap refinement after greedy, which end sooner if nothing is gained; 0: none."""
    certify: int = Field(default=0, ge=0)
    """Iterations that lower the upper bound on the best possible f; 0: only what bounding proves for free."""
    certify_gap: float = Field(default=0.0, ge=0, lt=1)
    """Stop certifying once so much of what could be gained over a random subset, or less, is left open."""

    part_points: int | None = Field(default=None, ge=10)
    """Points per part on Spark; None: 24 MiB of vectors or 32,768 points in up to 48 MiB; 10,000 to 200,000."""
    finish_points: int = Field(default=400_000, ge=0)
    """At most so many undecided points are finished in one task; 0: never."""

    max_supersteps: int = Field(default=50, ge=1)
    """Supersteps of greedy on Spark before gains are rounded to end sooner, which the report then says."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seeds k-means, samples and the order among equal gains. Same seed, same subset."""
    on_bad_rows: Literal["error", "drop"] = "error"
    keep_columns: tuple[str, ...] = ()
    """Columns of the input that the subset carries along."""

    @field_validator("size", mode="before")
    @classmethod
    def _check_size(cls, value: Any) -> Any:
        if value is None:
            return None
        parse_size(value)
        return value if isinstance(value, str) else parse_size(value)

    @field_validator("keep_columns")
    @classmethod
    def _clean_columns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.strip() for name in value if name.strip()))

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.beta is None and self.alpha > 1:
            raise ValueError(f"alpha {self.alpha} is above 1 and beta is not given: set beta too")
        if self.utility is not None and self.probabilities is not None:
            raise ValueError("utility and probabilities are two sources of one value: give one of them")
        if self.greedy == "partitioned" and self.partitions is None:
            raise ValueError("greedy is 'partitioned', but partitions is not given: say how many")
        if self.greedy == "partitioned" and self.greedy_direction not in ("auto", "forward"):
            raise ValueError(f"partitioned greedy has no direction {self.greedy_direction!r}: leave it out")
        reserved = {schema.ID, schema.RANK, schema.GAIN, schema.DECIDED_BY} & set(self.keep_columns)
        if reserved:
            raise ValueError(f"keep_columns may not name {', '.join(sorted(reserved))}: the subset has it already")
        return self

    @property
    def similarity_weight(self) -> float:
        """β: as given, or 1 - α."""
        return 1.0 - self.alpha if self.beta is None else self.beta

    @classmethod
    def load(cls, path: str | Path | None = None, **options: Any) -> SelectConfig:
        """Return the config of a TOML file (or the defaults) with ``options`` on top.

        Options that are None count as not given.

        Raises:
            ConfigError: the file is missing or no TOML, a key is unknown, a value is out of range.
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            except OSError as error:
                raise ConfigError(
                    f"config {path} cannot be read: {error.strerror}. Give an existing TOML file."
                ) from error
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"config {path} is not valid TOML: {error}.") from error
        return cls.of(values | {key: value for key, value in options.items() if value is not None})

    @classmethod
    def of(cls, values: dict[str, Any]) -> SelectConfig:
        """Validate a mapping; pydantic's findings become one `ConfigError` of one line.

        Raises:
            ConfigError: a key is unknown, or a value is of the wrong type or out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    """Say what pydantic found in one line, with the known keys where a key is unknown."""
    parts = []
    for item in error.errors():
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown option {key!r}: known are {', '.join(sorted(SelectConfig.model_fields))}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            told = repr(item["input"]) in message or not key
            parts.append(message if told else f"option {key!r}: {message} (got {item['input']!r})")
    return "; ".join(dict.fromkeys(parts)) + "."


def parse_size(size: int | float | str) -> int | float:
    """Return a size as a count (int) or as a fraction (float in (0, 1]).

    >>> parse_size("10%"), parse_size("2500"), parse_size(0.5)
    (0.1, 2500, 0.5)

    Raises:
        ValueError: it is neither a count of at least 1 nor a fraction in (0, 1].
    """
    size = _plain(size)
    message = f"size {size!r} is neither a count of at least 1, a fraction in (0, 1], nor a percentage like '10%'"
    if isinstance(size, bool):
        raise ValueError(message)
    if isinstance(size, str):
        text = size.strip().replace("_", "")
        try:
            size = (
                float(text[:-1]) / 100
                if text.endswith("%")
                else (int(text) if text.lstrip("+-").isdigit() else float(text))
            )
        except ValueError:
            raise ValueError(message) from None
    if isinstance(size, int):
        if size < 1:
            raise ValueError(message)
        return size
    if not (math.isfinite(size) and 0 < size <= 1):
        raise ValueError(message)
    return float(size)


def _plain(value: Any) -> Any:
    """Return numpy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def resolve_size(size: int | float | str | None, n: int, where: str) -> int:
    """Return the count that ``size`` means for ``n`` points: fractions to the nearest, at least 1.

    Raises:
        ConfigError: no size was given, or it exceeds n.
    """
    if size is None:
        raise ConfigError(MISSING_SIZE)
    try:
        parsed = parse_size(size)
    except ValueError as error:
        raise ConfigError(f"{error}.") from None
    count = parsed if isinstance(parsed, int) else max(1, round(parsed * n))
    if count > n:
        raise ConfigError(f"size {count:,} exceeds the {n:,} points of {where}: lower size.")
    return count
