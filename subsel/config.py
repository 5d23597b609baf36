"""One config object for the library, the command line and the jobs; unknown keys are refused.

An option is declared here and nowhere else: the command line (`subsel.cli.options`), configs/default.toml
(`subsel.config_file`) and what a run directory compares (`SelectConfig.stage_options`) follow from it.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from subsel import schema
from subsel.declare import STAGES, declaration, declare
from subsel.errors import ConfigError, option
from subsel.sizes import MISSING_SIZE, canonical_size, parse_size, resolve_size

__all__ = ["MISSING_SIZE", "Metric", "SelectConfig", "parse_size", "resolve_size"]

Metric = Literal["cosine", "inner_product", "l2"]


class SelectConfig(BaseModel):
    """Everything that decides which subset comes out, and how it is computed.

    ``size`` and the objective say *what* is selected; the rest says how. Paths and engines are not
    part of it, so that one config serves every data set and machine.

    Raises:
        ConfigError: a key is unknown, or a value is of the wrong type or out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: int | float | str | None = declare(
        None,
        "How many points to select: a count, a fraction such as 0.1, or a percentage such as 10%.",
        stage="bounding",
        group="Subset",
        example="10%",
        required=True,
        metavar="SIZE",
    )
    keep_columns: tuple[str, ...] = declare(
        (),
        "Columns of the input that the subset carries along.",
        stage="output",
        group="Subset",
    )

    alpha: float = declare(
        0.9,
        "Weight of utility: f(S) = alpha * sum of utilities - beta * sum of similarities inside S.",
        stage="bounding",
        group="Objective",
        ge=0,
    )
    beta: float | None = declare(
        None,
        "Weight of similarity.",
        stage="bounding",
        group="Objective",
        otherwise="1 - alpha",
        example=0.1,
        ge=0,
    )
    utility: str | None = declare(
        None,
        "Column of utilities.",
        stage="graph",
        group="Objective",
        otherwise="the column utility if there is one, else 1.0 for every point",
        example="utility",
        metavar="COLUMN",
    )
    probabilities: str | None = declare(
        None,
        "Column of class probabilities from which utility is computed, instead of a column of utilities.",
        stage="graph",
        group="Objective",
        example="p",
        metavar="COLUMN",
    )
    utility_from: Literal["margin", "entropy", "least_confidence"] = declare(
        "margin",
        "How utility follows from probabilities.",
        stage="graph",
        group="Objective",
    )

    id_column: str | None = declare(
        schema.ID,
        "Column of unique ids: integers, strings, UUIDs or bytes; empty: rows are numbered.",
        stage="graph",
        group="Input",
        metavar="COLUMN",
    )
    embedding_column: str = declare(
        schema.EMBEDDING,
        "Column of embeddings, lists of floats.",
        stage="graph",
        group="Input",
        metavar="COLUMN",
    )
    on_bad_rows: Literal["error", "drop"] = declare(
        "error",
        "What bad rows and edges get: an error, or dropped and counted.",
        stage="graph",
        group="Input",
    )

    metric: Metric = declare(
        "cosine",
        "Similarity of two embeddings; cosine refuses zero vectors.",
        stage="graph",
        group="Neighbour graph",
    )
    neighbors: int = declare(
        10,
        "Neighbours per point before the graph is symmetrised.",
        stage="graph",
        group="Neighbour graph",
        ge=1,
        le=1000,
    )
    probes: int = declare(
        8,
        "Cells searched per point at most: more gives higher recall and takes longer.",
        stage="graph",
        group="Neighbour graph",
        ge=1,
    )
    descent_passes: int = declare(
        2,
        "Passes over neighbours of neighbours after the cell search.",
        stage="graph",
        group="Neighbour graph",
        ge=0,
        le=20,
    )
    recall_sample: int = declare(
        256,
        "Points whose exact neighbours are computed to estimate recall; 0 turns the estimate off.",
        stage="graph",
        group="Neighbour graph",
        ge=0,
    )

    bounding: Literal["exact", "approximate", "off"] = declare(
        "exact",
        "Decide points by bounds first: only as every optimum would, or more by sampled bounds, or not at all.",
        stage="bounding",
        group="Method",
    )
    bounding_rank: Literal["tight", "paper"] = declare(
        "tight",
        "Which U_max a point's U_min must exceed to be accepted: the (k+1)-th largest, or the paper's k-th, weaker.",
        stage="bounding",
        group="Method",
    )
    sampling: Literal["uniform", "weighted"] = declare(
        "uniform",
        "How approximate bounding draws the neighbours that count: all alike, or by similarity.",
        stage="bounding",
        group="Method",
    )
    sample_share: float = declare(
        0.3,
        "Share of undecided neighbours that count in approximate bounding.",
        stage="bounding",
        group="Method",
        gt=0,
        le=1,
    )
    greedy: Literal["exact", "partitioned"] = declare(
        "exact",
        "Centralised greedy's subset, or that of the paper's Algorithm 6.",
        stage="greedy",
        group="Method",
    )
    greedy_direction: Literal["auto", "forward", "reverse", "best"] = declare(
        "auto",
        "Add the best point k times, or remove the least missed until k are left; auto goes by k/n, best takes the "
        "better of both. Partitioned greedy is forward.",
        stage="greedy",
        group="Method",
    )
    partitions: int | None = declare(
        None,
        "Partitions of partitioned greedy's first round.",
        stage="greedy",
        group="Method",
        example=16,
        ge=1,
    )
    rounds: int = declare(8, "Rounds of partitioned greedy.", stage="greedy", group="Method", ge=1)
    adaptive: bool = declare(
        True,
        "Whether partitions of partitioned greedy keep their size over the rounds, or their number.",
        stage="greedy",
        group="Method",
        flag="--adaptive/--fixed-partitions",
    )
    gamma: float = declare(
        0.75,
        "How much of the way from n to k partitioned greedy leaves for later rounds.",
        stage="greedy",
        group="Method",
        gt=0,
        le=1,
    )
    refine: int = declare(
        8,
        "Passes of swap refinement after greedy, which end sooner if nothing is gained; 0: none.",
        stage="refine",
        group="Method",
        ge=0,
    )
    certify: int = declare(
        0,
        "Iterations that lower the upper bound on the best possible f; 0: only what bounding proves for free.",
        stage="certify",
        group="Method",
        ge=0,
    )
    certify_gap: float = declare(
        0.0,
        "Stop certifying once so much of what could be gained over a random subset, or less, is left open.",
        stage="certify",
        group="Method",
        ge=0,
        lt=1,
    )

    seed: int = declare(
        0,
        "Seeds k-means, samples and the order among equal gains: same seed, same subset.",
        stage="graph",
        group="Running",
        ge=0,
        lt=2**63,
    )

    part_points: int | None = declare(
        None,
        "Points per part on Spark.",
        stage="graph",
        group="Spark",
        otherwise="24 MiB of vectors or 32,768 points in up to 48 MiB; 10,000 to 200,000",
        example=100_000,
        ge=10,
    )
    # The next two change how greedy is computed, not what it picks, until gains are rounded; then they do.
    finish_points: int = declare(
        400_000,
        "At most so many undecided points are finished in one task on Spark; 0: never.",
        stage="greedy",
        group="Spark",
        ge=0,
    )
    max_supersteps: int = declare(
        50,
        "Supersteps of greedy on Spark before gains are rounded to end sooner, which the report then says.",
        stage="greedy",
        group="Spark",
        ge=1,
    )

    if not TYPE_CHECKING:  # type checkers see one typed keyword per option instead

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(_one_line(error)) from None

    @field_validator("size", mode="before")
    @classmethod
    def _check_size(cls, value: Any) -> Any:
        if value is None:
            return None
        parsed = parse_size(value)
        return value if isinstance(value, str) else parsed

    @field_validator("id_column")
    @classmethod
    def _no_column(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("keep_columns", mode="before")
    @classmethod
    def _name_or_names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("keep_columns")
    @classmethod
    def _clean_columns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.strip() for name in value if name.strip()))

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.beta is None and self.alpha > 1:
            raise ValueError(
                f"{option('alpha')} {self.alpha} is above 1 and beta is not given: set {option('beta')} too"
            )
        if self.utility is not None and self.probabilities is not None:
            raise ValueError(
                f"{option('utility')} and {option('probabilities')} are two sources of one value: give one of them"
            )
        if self.greedy == "partitioned" and self.partitions is None:
            raise ValueError(f"greedy is 'partitioned', but {option('partitions')} is not given: say how many")
        if self.greedy == "partitioned" and self.greedy_direction not in ("auto", "forward"):
            direction = option("greedy_direction", library="direction")
            raise ValueError(f"partitioned greedy has no {direction} {self.greedy_direction!r}: leave it out")
        reserved = {schema.ID, schema.RANK, schema.GAIN, schema.DECIDED_BY} & set(self.keep_columns)
        if reserved:
            raise ValueError(
                f"{option('keep_columns')} may not name {', '.join(sorted(reserved))}: the subset has it already"
            )
        return self

    @property
    def similarity_weight(self) -> float:
        """β: as given, or 1 - α."""
        return 1.0 - self.alpha if self.beta is None else self.beta

    def stage_options(self, stage: str) -> dict[str, Any]:
        """Return the options that a stage's result depends on: its own and those of all stages before it.

        Values are as JSON has them, and requests that mean the same are equal: a size of 0.5 is one of "50%".
        """
        wanted = STAGES[: STAGES.index(stage) + 1]
        names = {name for name, field in type(self).model_fields.items() if declaration(field).stage in wanted}
        values = self.model_dump(mode="json", include=names)
        if values.get("size") is not None:
            values["size"] = canonical_size(values["size"])
        if "beta" in values:
            values["beta"] = self.similarity_weight
        return values

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
        return cls(**values | given_options(options))

    @classmethod
    def of(cls, values: dict[str, Any]) -> SelectConfig:
        """Return the config of a mapping.

        Raises:
            ConfigError: a key is unknown, or a value is of the wrong type or out of range.
        """
        return cls(**values)


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are not None, but for ``id_column``, where that says that rows are numbered instead."""
    return {key: value for key, value in options.items() if value is not None or key == "id_column"}


def _one_line(error: ValidationError) -> str:
    """Say what pydantic found in one line, with the known keys, the closest first, where a key is unknown."""
    parts = []
    for item in error.errors():
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            known = sorted(SelectConfig.model_fields)
            for close in difflib.get_close_matches(key, known, n=1):
                known.remove(close)
                known.insert(0, f"{close} (did you mean that?)")
            parts.append(f"unknown option {key!r}: known are {', '.join(known)}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            told = repr(item["input"]) in message or not key
            named = option(key, library=f"option {key!r}")
            parts.append(message if told else f"{named}: {message} (got {item['input']!r})")
    return "; ".join(dict.fromkeys(parts)) + "."
