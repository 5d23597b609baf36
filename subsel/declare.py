"""How `subsel.config.SelectConfig` declares an option, once for all that users and stages see of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pydantic import Field
from pydantic.fields import FieldInfo

#: Stages in their order. A run directory keeps what each but the last has made; "output" is what no kept stage needs.
Stage = Literal["graph", "utility", "bounding", "greedy", "refine", "certify", "output"]
STAGES: tuple[Stage, ...] = get_args(Stage)
#: Headings of the command line's help and of the config file, in their order: what a newcomer needs comes first.
Group = Literal["Subset", "Objective", "Running", "Limits", "Input", "Neighbour graph", "Method", "Spark", "Paper"]
GROUPS: tuple[Group, ...] = get_args(Group)

_NONSENSE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Declaration:
    """What pydantic does not know of an option.

    Attributes:
        stage: the first whose result depends on it.
        group: its heading.
        otherwise: what holds if it is not given, where no default value says that.
        example: a value for the config file, where there is no default.
        required: what must be given though it has no default: this option, or what does as well.
        flag: how the command line spells it, where ``--its-name`` will not do.
        metavar: what the command line's help shows for its value.
        takes: the type of the library's keyword, where that takes more than the field holds.
    """

    stage: Stage
    group: Group
    otherwise: str | None = None
    example: Any = None
    required: str | None = None
    flag: str | None = None
    metavar: str | None = None
    takes: str | None = None


def declare(
    default: Any,
    text: str,
    *,
    stage: Stage,
    group: Group,
    otherwise: str | None = None,
    example: Any = None,
    required: str | None = None,
    flag: str | None = None,
    metavar: str | None = None,
    takes: str | None = None,
    **bounds: Any,
) -> Any:
    """Return the pydantic field of an option.

    Args:
        default: its value if it is not given.
        text: one or two sentences that describe it wherever it shows up.
        stage: see `Declaration`, as all that follows.
        group: see there.
        otherwise: see there.
        example: see there.
        required: see there.
        flag: see there.
        metavar: see there.
        takes: see there.
        **bounds: ge, gt, le, lt.
    """
    more = Declaration(stage, group, otherwise, example, required, flag, metavar, takes)
    return Field(default, description=text, json_schema_extra=asdict(more), **bounds)


def declaration(field: FieldInfo) -> Declaration:
    """Return what `declare` was told of a field."""
    told: Any = field.json_schema_extra
    return Declaration(**told)


def range_of(field: FieldInfo) -> str | None:
    """Return between which numbers an option's value must be, such as "0<=x<1"; None if it has no bounds.

    An upper bound of a billion or more only keeps numbers apart from nonsense, and is left out.
    """
    told = [*field.metadata, *(one for kind in get_args(field.annotation) for one in getattr(kind, "__metadata__", ()))]
    bounds = {name: getattr(one, name) for one in told for name in ("ge", "gt", "le", "lt") if hasattr(one, name)}
    bounds = {name: value for name, value in bounds.items() if name in ("ge", "gt") or value < _NONSENSE}
    low = next((f"{bounds[name]:g}{sign}" for name, sign in (("ge", "<="), ("gt", "<")) if name in bounds), "")
    high = next((f"{sign}{bounds[name]}" for name, sign in (("le", "<="), ("lt", "<")) if name in bounds), "")
    if low and not high:
        return f"x{'>=' if 'ge' in bounds else '>'}{low.rstrip('<=')}"
    return f"{low}x{high}" if low or high else None


def flag_of(name: str, field: FieldInfo) -> str:
    """Return how the command line spells an option; one that is on or off by both its words."""
    told, kebab = declaration(field), f"--{name.replace('_', '-')}"
    return told.flag or (f"{kebab}/--no-{kebab[2:]}" if field.annotation is bool else kebab)
