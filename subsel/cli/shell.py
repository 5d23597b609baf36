"""What all commands share: help by sections, -v and --quiet, errors in one line, and how they end when told to stop."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from pydantic_core import to_json

from subsel.declare import GROUPS
from subsel.errors import SubselError
from subsel.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from subsel.pages.facts import Facts

_VERBOSE, _QUIET, _JSON = "subsel.verbose", "subsel.quiet", "subsel.json"
_REST = "Other"
#: Exit statuses by which shells and schedulers know how a process ended: 128 and the signal's number.
INTERRUPTED, TERMINATED = 130, 143


class Option(click.Option):
    """An option that stands under a heading of the help."""

    def __init__(self, *args: Any, section: str = _REST, **more: Any) -> None:
        super().__init__(*args, **more)
        self.section = section


class WrongUsage(click.ClickException):
    """Arguments that no command takes: one line, as for all that is wrong."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print it."""
        click.echo(f"subsel: {self.format_message()}", file=file, err=True)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn what click says of wrong arguments in several lines into one, with where to look."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        said = " ".join(printable(error.format_message()).split())
        where = f" See {error.ctx.command_path} --help." if error.ctx is not None else ""
        raise WrongUsage(f"{said}{where}") from error


class _Terminated(SystemExit):
    """SIGTERM, as an exception: it ends the process by way of every context manager."""


def flag_of(command: click.Command, name: str) -> str | None:
    """Return how a command spells an option, or names an argument; None where it has none of that name."""
    for one in command.params:
        if one.name == name:
            name = one.metavar or name.upper()
            return max(one.opts, key=len) if isinstance(one, click.Option) else name.strip("[]")
    return None


@contextmanager
def show_errors(context: click.Context) -> Iterator[None]:
    """Turn a `SubselError`, or a signal, into one line on stderr in the command's spelling, and an exit status."""
    try:
        yield
    except SubselError as error:
        _end(error.for_shell(partial(flag_of, context.command)), error.exit_code)
    except (KeyboardInterrupt, _Terminated, SystemError) as error:
        signalled = _signal_of(error)
        if signalled is None:
            raise
        word, status = ("terminated", TERMINATED) if signalled is _Terminated else ("interrupted", INTERRUPTED)
        _end(f"{word}{_way_on(context)}.", status)


def _signal_of(error: BaseException) -> type[BaseException] | None:
    """Return what a signal raised: the error, or what C code that a signal caught turned into a `SystemError`."""
    raised: BaseException | None = error.__cause__ if isinstance(error, SystemError) else error
    return next((kind for kind in (KeyboardInterrupt, _Terminated) if isinstance(raised, kind)), None)


def _end(line: str, status: int) -> None:
    click.echo(f"subsel: {printable(line)}", err=True)
    sys.exit(status)


def _way_on(context: click.Context) -> str:
    """Say how an interrupted command goes on, if it can."""
    given = context.params
    return ": go on from where it was with --resume" if given.get("run_dir") and "resume" in given else ""


@contextmanager
def _stoppable() -> Iterator[None]:
    """Make SIGTERM end the process as Ctrl-C does, in order. A second one changes nothing: cleaning up goes first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated(TERMINATED)

    with _heard():
        before = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _heard() -> Iterator[None]:
    """Raise once more what a signal raised where nobody could hear it.

    A callback from C (numba's compiler has some) cannot raise: Python prints the exception and goes on, and the signal
    would be lost. It is raised again a moment later, when the callback is over.
    """
    lost: list[type[BaseException]] = []
    plain = sys.unraisablehook

    def note(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt | _Terminated):
            plain(unraisable)
            return
        lost.append(unraisable.exc_type)
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    def again(number: int, frame: Any) -> None:
        if lost:
            raise lost.pop()

    sys.unraisablehook, before = note, signal.signal(signal.SIGALRM, again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = plain


class _Printable(logging.Formatter):
    """Log lines quote ids, names and paths, too."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        return printable(super().formatMessage(record))


def _note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:  # each counts before the command and after it
        context.meta[f"subsel.{parameter.name}"] = True


def _everywhere() -> list[Option]:
    """Return the options that all commands have, before their name or after it."""
    said = {
        ("-v", "--verbose"): "Log every round and superstep.",
        ("-q", "--quiet"): "Print only what was asked for: no progress, no closing table.",
        ("--json",): "Print the result as JSON.",
    }
    shape: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _note, "section": "Running"}
    return [Option(list(flags), help=text, **shape) for flags, text in said.items()]


def _log_handler() -> logging.Handler:
    """Return what prints log lines: beside a progress bar, where stderr is a terminal."""
    if not sys.stderr.isatty():
        handler: logging.Handler = logging.StreamHandler()
        handler.setFormatter(_Printable("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
        return handler
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_path=False)
    handler.setFormatter(_Printable("%(message)s"))
    return handler


class _Program(click.Command):
    """What is run as a program: with the options that stand everywhere, and errors in one line."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += _everywhere()

    def main(self, *args: Any, **more: Any) -> Any:
        """Run as a program."""
        with _stoppable():
            return super().main(*args, **more)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read the arguments."""
        with _in_one_line():
            return super().make_context(*args, **more)


class Command(_Program):
    """A command, or a job of spark-submit."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run, with log lines and errors as they are shown here."""
        handler = _log_handler()
        level = logging.INFO if ctx.meta.get(_VERBOSE) else logging.WARNING
        logging.basicConfig(level=level, handlers=[handler], force=True)
        with show_errors(ctx):
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in (*GROUPS, _REST)}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None and isinstance(one, click.Option):  # the usage line has the arguments
                sections[getattr(one, "section", _REST)].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


class Group(_Program, click.Group):
    """All commands."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what ends it before it has begun is shown as what ends it later."""
        with show_errors(ctx), _in_one_line():
            return super().invoke(ctx)


def progress() -> bool:
    """Return whether the command shows progress, as the library's functions take it."""
    return not click.get_current_context().meta.get(_QUIET)


def show(what: Facts | Table | dict[str, str], data: Any) -> None:
    """Print what a command was asked for, names and values or a table; or as JSON its data."""
    if click.get_current_context().meta.get(_JSON):
        click.echo(to_json(data, indent=2, inf_nan_mode="null", fallback=_plain))
        return
    from rich.console import Console

    from subsel.cli import tables
    from subsel.pages.facts import Facts

    if isinstance(what, Facts):
        what = tables.table_of(what)
    Console().print(tables.pairs_table(what) if isinstance(what, dict) else what)


def close(what: Facts | Table | dict[str, str] | str, data: Any = None) -> None:
    """Print what was done, unless --quiet; with --json its data, and nothing where it has none.

    A text is one line, however wide the terminal is.
    """
    meta = click.get_current_context().meta
    if meta.get(_JSON):
        if data is not None:
            show({}, data)
    elif meta.get(_QUIET):
        return
    elif isinstance(what, str):
        click.echo(printable(what))
    else:
        show(what, data)


def _plain(value: Any) -> Any:
    """Return what JSON has no word for as something that it has: numbers of numpy, paths."""
    return value.item() if hasattr(value, "item") else str(value)
