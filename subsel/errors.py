"""The errors a caller can catch. Every message says what, where, how many, and what to do next."""

from __future__ import annotations


class SubselError(Exception):
    """Something failed while running; the command line ends with exit status 1."""

    exit_code = 1


class InputError(SubselError):
    """The request or the input is wrong: nothing was written; exit status 2."""

    exit_code = 2


class ConfigError(InputError):
    """An option is unknown, of the wrong type, or out of its range."""


class OutputError(SubselError):
    """The result could not be written (disk full, no permission); what was half written is removed."""


class MissingPackageError(SubselError):
    """An optional package is needed for what was asked; the message names the install command."""
