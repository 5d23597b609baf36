"""The command line: the same names and defaults as the library."""

from subsel.cli.commands import main

__all__ = ["main"]
