"""The errors a caller can catch. Every message says what, where, how many, and what to do next."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping

from subsel.text import printable

_UNSAID = object()
#: Around an option in a message: library spelling, name, and the value as a shell takes it.
_MARKED = re.compile("\x02([^\x1f]*)\x1f([^\x1f]*)\x1f([^\x03]*)\x03")


def option(name: str, value: object = _UNSAID, *, library: str | None = None) -> str:
    """Return an option for use in a message, which each face of subsel then spells as its users write it.

    >>> str(SubselError(f"set {option('on_bad_rows', 'drop')}"))
    "set on_bad_rows='drop'"
    >>> SubselError(f"set {option('on_bad_rows', 'drop')}").for_shell({"on_bad_rows": "--on-bad-rows"}.get)
    'set --on-bad-rows drop'

    Args:
        name: a keyword of the library.
        value: what it should be; True is a flag without a value in the shell.
        library: the library's spelling, where ``name`` or ``name=value`` would not do.
    """
    said = value is not _UNSAID
    spelled = library or (f"{name}={value!r}" if said else name)
    return f"\x02{spelled}\x1f{name}\x1f{shlex.quote(_typed(value)) if said and value is not True else ''}\x03"


def _typed(value: object) -> str:
    """Return a value as it is typed in a shell: names A,B, amounts by name A=1,B=2."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={one}" for name, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def in_library(message: str) -> str:
    """Return a message with options as the library spells them."""
    return _MARKED.sub(r"\1", message)


def in_shell(message: str, flag: Callable[[str], str | None]) -> str:
    """Return a message with options as a command spells them.

    Args:
        message: with options of `option`.
        flag: of an option's name, such as ``--on-bad-rows``; None where the command has no such option, which then
            keeps the library's spelling, which is the config file's too.
    """

    def spell(found: re.Match[str]) -> str:
        library, name, value = found.groups()
        known = flag(name)
        return library if known is None else f"{known} {value}".rstrip()

    return _MARKED.sub(spell, message)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question for behind an unknown name, after the known one that is closest; empty if none is close.

    >>> did_you_mean("embeding", ["id", "embedding"])
    " (did you mean 'embedding'?)"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class SubselError(Exception):
    """Something failed while running; the command line ends with exit status 1."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(in_library(message)))
        self._message = message

    def for_shell(self, flag: Callable[[str], str | None]) -> str:
        """Return the message with options as a command spells them, see `in_shell`."""
        return in_shell(self._message, flag)


class InputError(SubselError):
    """The request or the input is wrong: nothing was written; exit status 2."""

    exit_code = 2


class ConfigError(InputError):
    """An option is unknown, of the wrong type, or out of its range."""


class OutputError(SubselError):
    """The result could not be written (disk full, no permission); what was half written is removed."""


class MissingPackageError(SubselError):
    """An optional package is needed for what was asked; the message names the install command."""


#: What is said of a run that is to be resumed from nowhere.
NOTHING_TO_RESUME = f"{option('resume')} goes on from a run directory: give {option('run_dir')}."
