"""What a caller asks for, checked once before anything is read."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from subsel.config import SelectConfig, check_given, given_options
from subsel.errors import NOTHING_TO_RESUME, ConfigError, InputError, SubselError, option
from subsel.input.given import COST, GROUPS, IMPORTANCE, NEAR, OF_DATA, of_columns
from subsel.input.source import is_location
from subsel.input.wishes import Wishes
from subsel.rundir import STAGES
from subsel.storage import LocalPlace, Place, check_new

#: A result's or a run directory's place, as callers spell it.
Location = str | os.PathLike[str] | Place


@dataclass(frozen=True, eq=False)
class Request:
    """A request, as all that carry it out see it.

    Attributes:
        data: points, see `subsel.select`; None where the graph says which there are.
        graph: the user's own graph; None: one is made of the points' embeddings.
        utility: one number per input row; None: a column of the data has them, or all are 1.
        cost: what each input row costs; None: a column says so, or nothing does.
        groups: by name, the group of each input row; None: columns say so, or nothing does.
        importance: how much it counts that each input row, or each row of the target, is covered; None: a column says
            so, or all count one.
        target: data that is covered instead of the points, see `subsel.select`; None: there is none.
        sizes: a config, of which only the size differs, and the name of its subset in ``output``; None: that itself.
        output: where subsets go, if anywhere.
        audit: where it goes why each point is selected or not (`subsel.audit`), if anywhere.
        wishes: who is in or out whatever its gain.
        engine: "auto", "local", "spark" or a SparkSession.
        master: where a Spark session of our own runs.
        overwrite: whether outputs that subsel wrote are replaced.
        run_dir: folder in which finished stages are kept.
        resume: whether a run goes on from there.
        progress: whether it is shown; None: if stderr is a terminal.
        storage_options: how paths are opened that are not on this machine.
    """

    data: Any
    graph: Any = None
    _: KW_ONLY
    utility: npt.ArrayLike | None = None
    cost: npt.ArrayLike | None = None
    groups: Mapping[str, Any] | None = None
    importance: npt.ArrayLike | None = None
    target: Any = None
    sizes: tuple[tuple[SelectConfig, str | None], ...] = ((SelectConfig(), None),)
    output: Location | None = None
    wishes: Wishes = Wishes()  # noqa: RUF009  (frozen)
    engine: Any = "auto"
    master: str | None = None
    overwrite: bool = False
    run_dir: Location | None = None
    resume: bool = False
    progress: bool | None = None
    storage_options: dict[str, Any] | None = None
    audit: Location | None = None
    warm_start: Any = None

    @classmethod
    def of(  # noqa: PLR0913  (all that a caller says)
        cls,
        data: Any,
        sizes: Sequence[tuple[int | float | str | None, str | None]] = ((None, None),),
        *,
        purpose: Literal["select from", "score on"],
        output: Location | None = None,
        audit: Location | None = None,
        graph: Any = None,
        utility: str | npt.ArrayLike | None = None,
        cost: str | npt.ArrayLike | None = None,
        groups: Any = None,
        importance: str | npt.ArrayLike | None = None,
        engine: Any = "auto",
        master: str | None = None,
        config: SelectConfig | str | Path | None = None,
        overwrite: bool = False,
        include: Any = None,
        exclude: Any = None,
        exclude_near: Any = None,
        target: Any = None,
        warm_start: Any = None,
        run_dir: Location | None = None,
        resume: bool = False,
        progress: bool | None = None,
        storage_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Request:
        """Return what a caller of `subsel.select` and its like said, checked.

        Args:
            data: see `subsel.select`, as for all that is not named here.
            sizes: what is to be selected, and its name in ``output``; a size of None is that of the options or the
                config.
            purpose: what the data is for.
            cost: a column's name, or one value per input row.
            groups: names of columns, or one value per input row, or several such arrays by name.
            importance: a column's name, or one value per input row, or per row of the target.
            audit, graph, utility, engine, master, config, overwrite, include, exclude, exclude_near, target,
                warm_start, run_dir, resume, progress, storage_options: as in `subsel.select`.
            **options: fields of `SelectConfig`.

        Raises:
            ConfigError: options are wrong or contradict each other, or something is missing.
            InputError: an output exists or cannot be made.
        """
        graph = _graph_of(graph)
        column, given = (utility, None) if isinstance(utility, str) else (None, utility)
        priced, prices = (cost, None) if isinstance(cost, str) else (None, cost)
        weighed, weights = (importance, None) if isinstance(importance, str) else (None, importance)
        named, grouped = _columns_or_values(groups)
        options |= {"cost": priced if prices is None else COST, "groups": named if grouped is None else tuple(grouped)}
        options |= {"importance": weighed if weights is None else IMPORTANCE}
        if given is not None:  # wins over the config's
            config = load_config(config, **options).model_copy(update={"utility": None})
        options |= {"utility": column, "exclude_near": place_option(exclude_near), "target": place_option(target)}
        configs = tuple((_sized(config, size, options), name) for size, name in sizes)
        if given is not None and (wrong := configs[0][0].unweighed(option("utility"))):
            raise ConfigError(f"{wrong}.")
        request = cls(
            data,
            graph,
            utility=given,
            cost=prices,
            groups=grouped,
            importance=weights,
            target=given_data("target", target, configs[0][0]),
            sizes=configs,
            output=output,
            wishes=Wishes(include, exclude, given_data("exclude_near", exclude_near, configs[0][0])),
            engine=engine,
            master=master,
            overwrite=overwrite,
            run_dir=run_dir,
            resume=resume,
            progress=progress,
            storage_options=storage_options,
            audit=audit,
            warm_start=warm_start,
        )
        check_given(purpose, data, graph)
        if purpose == "select from":
            request.config.check_complete()
        if request.target is not None and graph is not None:
            raise ConfigError(
                f"{option('target')} is covered by similarities of vectors, {option('graph')} has no vectors: give one "
                "of the two."
            )
        if request.config.thin is not None and graph is not None:
            raise ConfigError(
                f"{option('thin')} draws points before their neighbours are searched, {option('graph')} has them "
                "already: give one of the two."
            )
        if request.config.thin is not None and not request.config.sized:
            raise ConfigError(
                f"{option('thin')} draws so many times the points to select: give {option('size')} or "
                f"{option('budget')}."
            )
        if resume and run_dir is None:
            raise ConfigError(NOTHING_TO_RESUME)
        return request

    @property
    def config(self) -> SelectConfig:
        """The first size's config: for all but the size, that of all."""
        return self.sizes[0][0]

    @property
    def kept_config(self) -> SelectConfig:
        """The config as a run directory compares it: what was given beside the data is told apart by its values."""
        alone = of_columns(self.config, self.cost, self.groups, self.importance)
        return alone.model_copy(update={**dict.fromkeys(OF_DATA), "near": None})

    @property
    def call(self) -> dict[str, str | None]:
        """What was asked for beside the config: places as they were spelled, of what is in memory its type."""
        wishes = self.wishes
        given = {"data": self.data, "graph": self.graph, "include": wishes.include, "exclude": wishes.exclude}
        given |= {"warm_start": self.warm_start}
        given |= {"utility": self.utility, "cost": self.cost, "groups": self.groups, "importance": self.importance}
        given |= {"exclude_near": wishes.near, "target": self.target}
        given |= {"run_dir": self.run_dir, "engine": self.engine, "master": self.master}
        return {name: _spelled(one) for name, one in given.items() if one is not None}

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that a run directory keeps: a graph serves all sizes, later stages one."""
        return tuple(STAGES) if len(self.sizes) == 1 else ("graph",)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a request's results go: a place, or None, for the subset of each size, and its audit; the run directory."""

    outputs: tuple[Place | None, ...]
    audits: tuple[Place | None, ...]
    run_dir: Place | None

    def of_sizes(self, request: Request) -> list[tuple[SelectConfig, Place | None, Place | None]]:
        """Return each size's config, and where its subset and its audit go."""
        places = zip(request.sizes, self.outputs, self.audits, strict=True)
        return [(config, output, audit) for (config, _), output, audit in places]


def places_for(request: Request, opener: Callable[[Location], Place]) -> Places:
    """Return the places of a request's results, checked before anything is read.

    Args:
        request: what is asked for.
        opener: makes a place of what the caller wrote, where the engine reaches it.

    Raises:
        InputError: an output exists or cannot be made; or inputs, outputs and run directory lie in each other.
    """
    wishes = request.wishes
    given = [request.data, request.graph, request.target, request.warm_start]
    given += [wishes.include, wishes.exclude, wishes.near]
    inputs = [place for one in given for place in _input_places(one, opener)]
    run_dir = None if request.run_dir is None else opener(request.run_dir)
    output, audit = (None if one is None else opener(one) for one in (request.output, request.audit))
    results = [("output", output), ("audit", audit)]
    if run_dir is not None:
        taken = [("input", one) for one in inputs] + [(what, one) for what, one in results if one is not None]
        for what, place in taken:
            if place.within(run_dir) or run_dir.within(place):
                raise InputError(
                    f"run directory {run_dir} would mix with the {what} {place}: choose another {option('run_dir')}."
                )
    if output is not None and audit is not None and (audit.within(output) or output.within(audit)):
        raise InputError(f"audit {audit} would mix with the output {output}: choose another {option('audit')}.")
    outputs, audits = (_checked(request, one, inputs) for _, one in results)
    return Places(outputs, audits, run_dir)


def _checked(request: Request, base: Place | None, inputs: Sequence[Place]) -> tuple[Place | None, ...]:
    """Return where a result of each size goes, checked; None for each where there is no place.

    Raises:
        InputError: see `places_for`.
    """
    names = [name for _, name in request.sizes]
    if base is None:
        return (None,) * len(names)
    if names[0] is not None:
        if isinstance(base, LocalPlace) and not base.exists():
            check_new(base, overwrite=False, inputs=inputs)
        base.make_folder()
    places = tuple(base if name is None else base.join(name) for name in names)
    for place in places:
        check_new(place, overwrite=request.overwrite, inputs=inputs)
    return places


def _input_places(given: Any, opener: Callable[[Location], Place]) -> list[Place]:
    """Return the places that an input is read from: of a pattern the folder in which it begins."""
    several = given if isinstance(given, list | tuple) else [given]
    places = []
    for one in several:
        if not is_location(one):
            continue
        with suppress(SubselError):  # whoever opens it says what is wrong
            place = opener(one)
            if isinstance(one, str) and re.search(r"[*?\[{]", one) and not place.exists():
                place = opener(re.split(r"/?[^/]*[*?\[{]", one, maxsplit=1)[0] or ("/" if one.startswith("/") else "."))
            places.append(place)
    return places


def _spelled(value: Any) -> str:
    """Return how a caller spelled a place, without what is secret in it, or the type of what is none in brackets."""
    if isinstance(value, list | tuple) and value and all(is_location(one) for one in value):
        return " ".join(map(_spelled, value))
    if not is_location(value):
        return f"<{type(value).__name__}>"
    text = value.uri if isinstance(value, Place) else os.fspath(value)
    text = re.sub(r"(?<=://)[^/@]*:[^/@]*@", "", text)
    return re.sub(r"([?&][^=&]*(?:key|secret|token|password|signature|sig)[^=&]*=)[^&]*", r"\1…", text, flags=re.I)


def place_option(data: Any) -> str | None:
    """Return what a config says of data that was given as such (`OF_DATA`): the place where it is, if that is all."""
    alone = isinstance(data, str | os.PathLike) and not isinstance(data, Place)
    return None if data is None else os.fspath(data) if alone else NEAR


def given_data(what: Literal["exclude_near", "target"], data: Any, config: SelectConfig) -> Any:
    """Return the data of one of these options, as it was given, or the place that the config names.

    Raises:
        ConfigError: the config is that of a call to which it was given as such, and this one was not.
    """
    named = getattr(config, what)
    if data is None and named == NEAR:
        raise ConfigError(f"{option('config')} is of a call that was given data as {option(what)}: give it.")
    return named if data is None else data


def keywords_of(function: Callable[..., Any]) -> list[str]:
    """Return the keywords that a function names, for messages about others."""
    named = inspect.signature(function).parameters.values()
    return [one.name for one in named if one.kind is inspect.Parameter.KEYWORD_ONLY]


def _graph_of(given: Any) -> Any:
    """Return the graph of what has one, such as results of `subsel.neighbors` and graphs that grow; else the same."""
    return given.graph if isinstance(getattr(type(given), "graph", None), property) else given


def _columns_or_values(groups: Any) -> tuple[Any, Mapping[str, Any] | None]:
    """Return names of columns of groups, and values of rows by name; None where they are not meant.

    Raises:
        ConfigError: a list of text names a column twice, so that it seems to be values.
    """
    if isinstance(groups, Mapping):
        return None, groups
    several = isinstance(groups, list | tuple) and all(isinstance(one, str) for one in groups)
    if several and len(set(groups)) < len(groups):
        raise ConfigError(
            f"{option('groups')} is a list of {len(groups):,} names of columns, some of them twice: give values of "
            "rows as an array, such as np.array(groups)."
        )
    return (groups, None) if groups is None or isinstance(groups, str) or several else (None, {GROUPS: groups})


def _sized(
    config: SelectConfig | str | Path | None, size: int | float | str | None, options: dict[str, Any]
) -> SelectConfig:
    return load_config(config, **(options if size is None else options | {"size": size}))


def load_config(config: SelectConfig | str | Path | None, **options: Any) -> SelectConfig:
    """Return a config with options that are not None on top.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    if isinstance(config, SelectConfig):
        return SelectConfig.of(config.model_dump() | given_options(options))
    return SelectConfig.load(config, **options)
