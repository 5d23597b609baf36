"""subsel/options.py: the options of `SelectConfig` as typed keywords, as it declares them, for editors and checkers.

``python -m subsel.keywords > subsel/options.py`` makes it.
"""

from __future__ import annotations

import textwrap
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from subsel.config import SelectConfig
from subsel.declare import declaration

#: Options that functions name themselves, since they take more than a config holds, or have a meaning of their own.
NAMED = ("size", "utility", "exclude_near", "target")
_HEAD = '''\
"""Options of `subsel.SelectConfig` as typed keywords: ``python -m subsel.keywords`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy.typing as npt


class Options(TypedDict, total=False):
    """Options of `subsel.select` and its like, beside those that these name themselves; None is not given."""

'''


def options_module() -> str:
    """Return the text of subsel/options.py."""
    fields = SelectConfig.model_fields.items()
    return _HEAD + "\n".join(_entry(name, field) for name, field in fields if name not in NAMED)


def _entry(name: str, field: FieldInfo) -> str:
    takes = declaration(field).takes or _spell(field.annotation)
    line = f"    {name}: {takes}{'' if takes.endswith(' | None') else ' | None'}\n"
    text = textwrap.wrap(f'"""{field.description}"""', 110)
    return line + "".join(f"    {one}\n" for one in text)


def _spell(kind: Any) -> str:
    """Return a type as source spells it, without bounds, which only the config checks."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind in (None, NoneType):
        return "None"
    if origin is Annotated:
        return _spell(inside[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_spell, inside))
    if origin is Literal:
        return f"Literal[{', '.join(f'{chr(34)}{one}{chr(34)}' for one in inside)}]"
    assert isinstance(kind, type) and origin is None, f"{kind} needs a `takes` in its declaration"
    return kind.__name__


if __name__ == "__main__":
    print(options_module(), end="")
