"""Options of commands: those of `SelectConfig`, as it declares them, and the few that say where things are and run."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from subsel.cli.shell import Option
from subsel.config import SelectConfig
from subsel.declare import GROUPS, declaration, flag_of, range_of
from subsel.errors import NOTHING_TO_RESUME, ConfigError

_F = TypeVar("_F", bound=Callable[..., Any])
_Decorator = Callable[[Any], Any]


def config_fields(*wanted: str, **defaults: Any) -> _Decorator:
    """Add options of `SelectConfig`: whole groups, fields by name, or all of them if nothing is named.

    Args:
        *wanted: groups and fields.
        **defaults: of fields for which the command has one of its own.
    """
    fields = {
        name: field
        for name, field in SelectConfig.model_fields.items()
        if not wanted or name in wanted or declaration(field).group in wanted
    }
    assert set(wanted) <= {*fields, *GROUPS}, "groups and fields are named as they are declared"
    return _together(*(_from_field(name, field, defaults.get(name)) for name, field in fields.items()))


def _from_field(name: str, field: FieldInfo, own: Any) -> _Decorator:
    """Return the command line's option of a field; if it is not given it gives the command's own default, or None."""
    told, kind = declaration(field), field.annotation
    flag = flag_of(name, field)
    default = told.otherwise or ("" if field.default in (None, ()) else str(field.default))
    if kind is bool:
        default = flag.split("/")[0 if field.default else 1].removeprefix("--")
    default = default if own is None else str(own)
    required = [f"{told.required} is required, here or in --config"] if told.required else []
    said = [f"default: {default}"] if default else required
    said += [one for one in [range_of(field)] if one is not None]
    ending = f"  [{'; '.join(said)}]" if said else ""
    shape: dict[str, Any] = {} if kind is bool else {"type": _type(kind), "metavar": told.metavar}
    if get_origin(kind) is tuple:
        shape = {"callback": _split, "metavar": told.metavar or "NAME,NAME"}
    text = f"{field.description}{ending}"
    return click.option(flag, name, cls=Option, section=told.group, default=own, help=text, **shape)


def _type(annotation: Any) -> Any:
    """Return what the command line reads; what may be of several types stays text, which the field reads."""
    kinds = [one for one in get_args(annotation) if one is not NoneType]
    if not isinstance(annotation, UnionType):
        kinds = [annotation]
    if get_origin(kinds[0]) is Literal:
        return click.Choice(get_args(kinds[0]))
    return kinds[0] if kinds[0] in (int, float) and len(kinds) == 1 else str


def _split(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Return names that were separated by commas."""
    return None if value is None else tuple(value.split(","))


def _together(*options: _Decorator) -> Callable[[_F], _F]:
    def add(function: _F) -> _F:
        for one in reversed(options):
            function = one(function)
        return function

    return add


def _option(section: str, *flags: str, **more: Any) -> _Decorator:
    return click.option(*flags, cls=Option, section=section, **more)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given: the library's defaults hold for the others."""
    return {name: value for name, value in options.items() if value is not None}


def checked(options: dict[str, Any], *, sized: bool = False) -> dict[str, Any]:
    """Return the options that were given, once those of the config fit together: nothing has been imported until then.

    Args:
        options: of a command.
        sized: whether sizes are given otherwise.

    Raises:
        ConfigError: they do not fit together, or a file of options is wrong.
    """
    found = given(options)
    own = {name: value for name, value in found.items() if name in SelectConfig.model_fields}
    config = SelectConfig.load(found.get("config"), **own)
    if "resume" in options and not sized:  # a command that selects
        config.check_complete()
    if found.get("resume") and "run_dir" not in found:
        raise ConfigError(NOTHING_TO_RESUME)
    return found


def look_for(data: str | None, options: dict[str, Any]) -> None:
    """Look whether a local INPUT, if any, is there: whoever mistyped it need not wait for what reads it to be imported.

    Addresses are left to whoever reads them, and Spark's paths to its session.

    Raises:
        InputError: it is not there.
    """
    from subsel.input.files import files_of
    from subsel.storage import LocalPlace, place_of

    if data is None or options.get("engine") == "spark":
        return
    if isinstance(place := place_of(data, options.get("storage_options")), LocalPlace) and place.kind() is None:
        files_of(data, place_of)  # a pattern, or its error


def look_for_subsets(*places: str, storage_options: dict[str, str] | None = None) -> None:
    """Look whether subsets, or run directories, are there, as `look_for` does.

    Raises:
        InputError: one is not there.
    """
    from subsel.rundir import kind_there
    from subsel.storage import place_of

    for place in places:
        kind_there(place_of(place, storage_options))


def look_for_run(folder: str) -> None:
    """Look whether there is a run directory, as `look_for` does.

    Raises:
        InputError: there is none.
    """
    from subsel.rundir import read_manifest
    from subsel.storage import place_of

    read_manifest(place_of(folder))


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """Return what was given as KEY=VALUE."""
    pairs = {}
    for value in values:
        key, sign, text = value.partition("=")
        if not (key and sign):
            raise click.BadParameter(f"{value!r} is not KEY=VALUE.")
        pairs[key] = text
    return pairs or None


config_file = _option(
    "Running", "--config", metavar="FILE", help="TOML file of options, see subsel config; those given here override it."
)
sizes = _option(
    "Subset",
    "--sizes",
    metavar="SIZE,SIZE",
    help="Several sizes, separated by commas, such as 1%,5%,10%: OUTPUT gets a folder for each.",
)
wishes = _together(
    _option(
        "Subset",
        "--include",
        metavar="DATA|COLUMN",
        help="Ids that are in whatever their gain: Parquet, such as an old subset; or a boolean column of INPUT.",
    ),
    _option(
        "Subset", "--exclude", metavar="DATA|COLUMN", help="Ids that are not: Parquet, or a boolean column of INPUT."
    ),
)
warm_start = _option(
    "Subset",
    "--warm-start",
    metavar="SUBSET",
    help="Begin with an old subset, Parquet, of which most stays, and improve it; on one machine.",
)
audit = _option(
    "Subset",
    "--audit",
    metavar="PATH",
    help="Write there, for every point of INPUT, why it was selected or not: a folder of Parquet, as OUTPUT.",
)
overwrite = _option("Subset", "--overwrite", is_flag=True, help="Replace what is there already, if subsel wrote it.")
overwrite_page = _option("Running", "--overwrite", is_flag=True, help="Replace FILE if it is a page of subsel's.")
overwrite_graph = _option("Running", "--overwrite", is_flag=True, help="Replace GRAPH if subsel wrote it.")
growing = _together(
    _option("Subset", "--onto", is_flag=True, help="Let the points of INPUT join GRAPH, a folder that is there."),
    _option("Subset", "--replace", is_flag=True, help="With --onto: points take the place of those of the same ids."),
    _option(
        "Subset",
        "--remove",
        metavar="IDS",
        help="Let points leave GRAPH: Parquet with their ids. Without --onto there is no INPUT.",
    ),
)
graph = _option(
    "Input",
    "--graph",
    metavar="EDGES",
    help="A graph: Parquet edges src, dst, similarity in ids of the points.  [default: neighbours of the points]",
)
storage = _option(
    "Input",
    "--storage-option",
    "storage_options",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_pairs,
    help="For object storage, such as endpoint_override=localhost:9000; may be repeated.",
)
_master = _option(
    "Spark",
    "--master",
    metavar="URL",
    help="Spark master of a session of its own, such as local[4].  [default: local[*]]",
)
engine = _together(
    _option(
        "Running",
        "--engine",
        type=click.Choice(["auto", "local", "spark"]),
        help="Where it runs: auto is local if memory is enough, else spark.  [default: auto]",
    ),
    _master,
)
neighbors_engine = _together(
    _option(
        "Running",
        "--engine",
        type=click.Choice(["local", "spark"]),
        help="Where it runs.  [default: local]",
    ),
    _master,
    _option("Running", "--run-dir", metavar="DIR", help="On Spark: the folder in which the graph is kept."),
)
run_dir = _together(
    _option("Running", "--run-dir", metavar="DIR", help="Keep finished stages in this folder, to --resume from."),
    _option(
        "Running",
        "--resume",
        is_flag=True,
        help="Go on from what --run-dir has; if that is of another config or input, it is refused.",
    ),
)
graph_run_dir = _option("Running", "--run-dir", metavar="DIR", help="A run directory that has a graph of the points.")
normalise = _together(
    _option(
        "Objective",
        "--reference",
        metavar="NUMBER|SUBSET",
        help="What counts as 100: a number, or a subset to score, such as greedy's.",
    ),
    _option("Objective", "--worst", metavar="NUMBER|SUBSET", help="What counts as 0: a number, or a subset to score."),
)
