"""One config object for the library, the command line and the jobs; unknown keys are refused.

An option is declared here and nowhere else: the command line (`subsel.cli.options`), configs/default.toml
(`subsel.config_file`) and what a run directory compares (`SelectConfig.stage_options`) follow from it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from annotated_types import Ge, Le
from pydantic import ConfigDict, ValidationError, field_validator, model_validator

from subsel import schema
from subsel.aim import AimOptions
from subsel.beside import BesideOptions
from subsel.declare import STAGES, declaration, declare
from subsel.errors import ConfigError, did_you_mean, option
from subsel.limits.options import LimitOptions
from subsel.method import MethodOptions
from subsel.sizes import MISSING_SIZE, canonical_amount, parse_share, parse_size, resolve_size

__all__ = ["MISSING_SIZE", "Metric", "SelectConfig", "parse_size", "resolve_size"]

Metric = Literal["cosine", "inner_product", "l2"]
#: Options that are amounts or have them.
AMOUNTS = {"size", "budget", "quotas", "other", "at_least"}
#: Neighbours where the size is not known, and bounds of their number where it follows from that.
FEWEST_NEIGHBORS, MOST_NEIGHBORS = 10, 100
#: Neighbours of the points that were drawn first, where some were.
THINNED_NEIGHBORS = 20


class SelectConfig(BesideOptions, AimOptions, LimitOptions, MethodOptions):
    """Everything that decides which subset comes out, and how it is computed.

    ``size`` and the objective say *what* is selected; the rest says how. Paths and engines are not
    part of it, so that one config serves every data set and machine.

    Raises:
        ConfigError: a key is unknown, or a value is of the wrong type or out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    diversity: float = declare(
        0.5,
        "What similar points cost, from 0 up to 1: at 0.5 a selected neighbour costs the whole spread of utilities.",
        stage="utility",
        group="Objective",
        ge=0,
        lt=1,
    )
    alpha: float | None = declare(
        None,
        "Weight of utility: f(S) = alpha * sum of utilities - beta * sum of similarities inside S.",
        stage="utility",
        group="Objective",
        otherwise="from the diversity; 1 - beta where only that is given",
        example=0.9,
        ge=0,
        le=1e9,
    )
    beta: float | None = declare(
        None,
        "Weight of similarity.",
        stage="utility",
        group="Objective",
        otherwise="from the diversity; 1 - alpha where only that is given",
        example=0.1,
        ge=0,
        le=1e9,
    )
    utility: str | None = declare(
        None,
        "What makes a point good: density, constant, a column; of class probabilities easy, margin, entropy, "
        "least_confidence; or a mix of these, such as density+quality. column:NAME is a column whatever its name.",
        stage="graph",
        group="Objective",
        otherwise="the column utility if there is one, else density",
        example="density+quality",
        metavar="UTILITY",
    )
    probabilities: str | None = declare(
        None,
        "Column of class probabilities, which easy, margin, entropy and least_confidence read.",
        stage="graph",
        group="Objective",
        example="p",
        metavar="COLUMN",
    )
    exclude_outliers: float = declare(
        0.0,
        "Share of points to leave out: those least similar to their nearest neighbours.",
        stage="utility",
        group="Objective",
        ge=0,
        lt=1,
        takes="float | str",
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
    neighbors: Annotated[int, Ge(1), Le(1000)] | Literal["auto"] = declare(
        "auto",
        "Neighbours per point before the graph is symmetrised; auto: twice as many as a selected point stands for, "
        "from 10 to 100, by the smallest size; 20 where points are drawn first (thin).",
        stage="graph",
        group="Neighbour graph",
        metavar="N|auto",
    )
    thin: int | None = declare(
        None,
        "Draw so many times as many points as will be selected at random first, and search among these only.",
        stage="graph",
        group="Neighbour graph",
        otherwise="all points",
        example=20,
        ge=1,
        le=10_000,
    )
    recall: float = declare(
        0.95,
        "Share of exact neighbours to find: the search tries harder until a sample has it, or says that it did not.",
        stage="graph",
        group="Neighbour graph",
        gt=0,
        le=1,
    )
    probes: int | None = declare(
        None,
        "Cells searched per point at most, whatever recall comes of it.",
        stage="graph",
        group="Neighbour graph",
        otherwise="8, and up to 128 until recall is met",
        example=8,
        ge=1,
        le=100_000,
    )
    descent_passes: int | None = declare(
        None,
        "Passes over neighbours of neighbours after the cell search.",
        stage="graph",
        group="Neighbour graph",
        otherwise="until recall is met, 6 at most; 2 where probes are given",
        example=2,
        ge=0,
        le=20,
    )
    recall_sample: int = declare(
        256,
        "Points whose exact neighbours are computed to estimate recall; 0: no estimate, and 8 probes if not given.",
        stage="graph",
        group="Neighbour graph",
        ge=0,
        le=100_000,
    )
    coverage_sample: int = declare(
        256,
        "Points and members that are compared with all members, to report coverage and redundancy; 0: none.",
        stage="output",
        group="Neighbour graph",
        ge=0,
        le=100_000,
    )

    if not TYPE_CHECKING:  # type checkers see one typed keyword per option instead

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(_one_line(error)) from None

    @field_validator("exclude_outliers", mode="before")
    @classmethod
    def _as_share(cls, value: Any) -> Any:
        return parse_share(value)

    @field_validator("id_column", "cost", "exclude_near", "importance", "target")
    @classmethod
    def _no_column(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("keep_columns", "groups", mode="before")
    @classmethod
    def _name_or_names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("keep_columns", "groups")
    @classmethod
    def _clean_columns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.strip() for name in value if name.strip()))

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for one, other in (("alpha", "beta"), ("beta", "alpha")):
            value = getattr(self, one)
            if getattr(self, other) is None and value is not None and value > 1:
                raise ValueError(f"{option(one)} {value} is above 1 and {other} is not given: set {option(other)} too")
        if self.greedy == "partitioned" and self.partitions is None:
            raise ValueError(f"greedy is 'partitioned', but {option('partitions')} is not given: say how many")
        if self.greedy == "partitioned" and self.greedy_direction not in ("auto", "forward"):
            direction = option("greedy_direction", library="direction")
            raise ValueError(f"partitioned greedy has no {direction} {self.greedy_direction!r}: leave it out")
        self._check_method_of_limits()
        self.check_objective()
        if self.utility is not None and (wrong := self.unweighed(option("utility", self.utility))):
            raise ValueError(wrong)
        if self.exclude_near is not None and self.metric != "inner_product" and self.near_limit >= 1:
            raise ValueError(
                f"{option('near', self.near)} leaves nothing out: no similarity of {option('metric', self.metric)} is "
                "above 1: lower it"
            )
        reserved = {schema.ID, schema.RANK, schema.GAIN, schema.DECIDED_BY} & set(self.keep_columns)
        if reserved:
            raise ValueError(
                f"{option('keep_columns')} may not name {', '.join(sorted(reserved))}: the subset has it already"
            )
        return self

    def _check_method_of_limits(self) -> None:
        limits = " and ".join(map(option, self.limits))
        if limits and self.greedy == "partitioned":
            raise ValueError(
                f"{option('greedy', 'partitioned')} keeps no limit but {option('size')}: leave {limits} out"
            )
        if limits and self.greedy_direction in ("reverse", "best"):
            direction = option("greedy_direction", self.greedy_direction)
            raise ValueError(f"{direction} begins with all points, which no limit lets in: leave it or {limits} out")

    @property
    def weights(self) -> tuple[float, float] | None:
        """α and β as given, one of them perhaps as what the other leaves of 1; None: the diversity decides.

        Under coverage what utility and similarity count.
        """
        if self.covers:
            return self.utility_weight, 1.0
        if self.alpha is None and self.beta is None:
            return None
        alpha = 1.0 - (self.beta or 0.0) if self.alpha is None else self.alpha
        return alpha, 1.0 - alpha if self.beta is None else self.beta

    def origin(self, least: float) -> float:
        """Return from where utilities count, the least of which is given: with a budget, and where f must not fall."""
        if self.budget is not None or (self.covers and self.utility_weight > 0 and least < 0):
            return least
        return 0.0

    def degree(self, n: int, k: int | None) -> int:
        """Return the neighbours per point, before symmetrising, for selecting k of n points (None: not known).

        Each of k points stands for n/k, so a graph of far fewer neighbours lets a subset pay nothing for similarity.
        """
        if self.neighbors != "auto":
            return self.neighbors
        if self.drawn(n, k) is not None:
            return THINNED_NEIGHBORS
        return FEWEST_NEIGHBORS if k is None else min(max(-(-2 * n // k), FEWEST_NEIGHBORS), MOST_NEIGHBORS)

    def drawn(self, n: int, k: int | None) -> int | None:
        """Return how many of n points are drawn first, of which k will be selected (None: not known); None: all are."""
        if self.thin is None or k is None or self.thin * k >= n:
            return None
        return self.thin * k

    def stage_options(self, stage: str) -> dict[str, Any]:
        """Return the options that a stage's result depends on: its own and those of all stages before it.

        Values are as JSON has them, and requests that mean the same are equal: a size of 0.5 is one of "50%", and
        quotas stand in the order of their names.
        """
        wanted = STAGES[: STAGES.index(stage) + 1]
        names = {name for name, field in type(self).model_fields.items() if declaration(field).stage in wanted}
        if self.thin is not None:  # so many of each group are drawn as these want
            names |= {"quotas", "quotas_by", "other", "at_least"}
        values = self.model_dump(mode="json", include=names)
        values |= {name: canonical_amount(values[name]) for name in AMOUNTS & values.keys()}
        if "beta" in values and self.weights is not None:
            values["alpha"], values["beta"] = self.weights
        if "diversity" in values:  # last, and nothing where weights are given: of two runs these are compared first
            diversity = values.pop("diversity")
            values["diversity"] = diversity if self.weights is None else None
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


def unknown_option(key: str, more: Iterable[str] = ()) -> str:
    """Say that an option is unknown, which is closest, and which are known: those of the config, and ``more``."""
    known = sorted({*SelectConfig.model_fields, *more})
    return f"unknown option {key!r}{did_you_mean(key, known)}: known are {', '.join(known)}"


def check_known(options: Iterable[str], more: Iterable[str]) -> None:
    """Refuse options that neither the config has nor ``more`` names.

    Raises:
        ConfigError: see above.
    """
    wrong = [unknown_option(one, more) for one in options if one not in {*SelectConfig.model_fields, *more}]
    if wrong:
        raise ConfigError(f"{'; '.join(wrong)}.")


def _one_line(error: ValidationError) -> str:
    """Say what pydantic found in one line, with the known keys, the closest first, where a key is unknown."""
    parts = []
    for item in error.errors():
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            parts.append(unknown_option(key))
        else:
            message = item["msg"].removeprefix("Value error, ")
            told = message != item["msg"] or not key  # our own messages name the option
            named = option(key, library=f"option {key!r}")
            parts.append(message if told else f"{named}: {message} (got {item['input']!r})")
    return "; ".join(dict.fromkeys(parts)) + "."


def check_given(purpose: Literal["select from", "score on"], data: Any, graph: Any) -> None:
    """Check that there is something to select from, or to score on.

    Raises:
        ConfigError: there is neither.
    """
    if data is None and graph is None:
        first, other = option("data"), f"a {option('graph')}"
        if purpose == "score on":
            first, other = other, option("points")
        raise ConfigError(f"there is nothing to {purpose}: give {first}, or {other}.")
