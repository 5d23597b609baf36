"""configs/default.toml: the config file with every option at its default, as `SelectConfig` declares it."""

from __future__ import annotations

import json
import textwrap
from typing import Any, get_args

from pydantic.fields import FieldInfo

from subsel.config import SelectConfig
from subsel.declare import GROUPS, declaration

_HEAD = """\
# Every option at its default, but for size, which has none. Those commented out show an example.
# Options on the command line, or given to subsel.select, override a config file.
"""


def default_toml() -> str:
    """Return the text of a config file with every option, its description, and its default or an example."""
    parts = [_HEAD]
    for group in GROUPS:
        own = {name: one for name, one in SelectConfig.model_fields.items() if declaration(one).group == group}
        if own:
            parts.append(f"# -- {group} --\n")
            parts.extend(_entry(name, field) for name, field in own.items())
    return "\n".join(parts)


def _entry(name: str, field: FieldInfo) -> str:
    """Return one option: its description, and a line that sets it."""
    told = declaration(field)
    text = field.description or ""
    if told.otherwise is not None:
        text += f" Default: {told.otherwise}."
    live = field.default is not None or told.required is not None
    line = f"{name} = {_toml(told.example if field.default is None else field.default)}"
    choices = " | ".join(one for one in get_args(field.annotation) if isinstance(one, str))
    if choices:
        line += f"  # {choices}"
    comments = "".join(f"# {one}\n" for one in textwrap.wrap(text, 110))
    return f"{comments}{'' if live else '# '}{line}\n"


def _toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_toml(one)}' for name, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)
