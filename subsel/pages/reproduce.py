"""How to ask for a selection again: as a command, and as a call of the library."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from subsel.config import SelectConfig
from subsel.declare import flag_of
from subsel.report import Report

#: Where the page does not know a place.
_INPUT, _OUTPUT = "INPUT", "OUTPUT"
#: Words of a request that are options of the command too.
_PLACES = ("graph", "include", "exclude", "warm_start", "run_dir", "master")


def command(report: Report, call: Mapping[str, str | None]) -> str | None:
    """Return the command line; None where something was given that a command line cannot have.

    Args:
        report: of the selection.
        call: see `subsel.sketch.Sketch`.
    """
    if any(_in_memory(value) for value in call.values()):
        return None
    words = ["subsel", "select", call.get("data") or _INPUT, _OUTPUT]
    for name, value in _options(report.config).items():
        flag = flag_of(name, SelectConfig.model_fields[name])
        if isinstance(value, bool):
            words.append(flag.split("/")[0 if value else 1])
        else:
            words += [flag, _typed(value)]
    for name in _PLACES:
        if call.get(name):
            words += [f"--{name.replace('_', '-')}", str(call[name])]
    return " ".join([*map(shlex.quote, words), "--engine", report.engine])


def library_call(report: Report, call: Mapping[str, str | None]) -> str:
    """Return the call; what was in memory stands there by its name, with its type beside it."""
    given = {
        name: call[name]
        for name in ("data", *_PLACES, "utility", "cost", "groups", "importance", "exclude_near", "target")
        if call.get(name)
    }
    data = given.pop("data", None)
    first = repr(data or _INPUT) if not _in_memory(data) else "data"
    options: dict[str, Any] = _options(report.config) | {
        name: _Name(name) if _in_memory(value) else value for name, value in given.items()
    }
    options |= {"engine": report.engine, "output": _OUTPUT}
    lines = [f"    {name}={value!r}," for name, value in options.items()]
    beside = [f"# {name}: {value}" for name, value in call.items() if _in_memory(value) and name != "engine"]
    return "\n".join(["import subsel", *beside, "subsel.select(", f"    {first},", *lines, ")"])


class _Name(str):
    """A variable's name, which is no text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _in_memory(value: str | None) -> bool:
    return value is not None and value.startswith("<") and value.endswith(">")


def _options(config: SelectConfig) -> dict[str, Any]:
    """Return the options that are not at their defaults."""
    values = config.model_dump(mode="json")
    default = {name: field.default for name, field in SelectConfig.model_fields.items()}
    return {
        name: value
        for name, value in values.items()
        if value != (list(default[name]) if isinstance(default[name], tuple) else default[name])
    }


def _typed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_typed(one)}" for name, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
