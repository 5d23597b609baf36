"""Text for a terminal: whatever it came from, it is printed as text."""

from __future__ import annotations

from pathlib import Path


def printable(text: str | Path) -> str:
    r"""Return a text in one line, with all that a terminal would obey or hide escaped.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))


def count(number: int, noun: str) -> str:
    """Return a number of things.

    >>> count(1, "part"), count(3000, "part"), count(2, "pass")
    ('1 part', '3,000 parts', '2 passes')
    """
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{number:,} {noun}{ending}"


def amount(number: float) -> str:
    """Return a number of bytes, in MiB below one GiB.

    >>> amount(5 << 20), amount(1536 << 20), amount(1)
    ('5 MiB', '1.5 GiB', '1 MiB')
    """
    gib = number / 2**30
    return f"{gib:,.1f} GiB" if gib >= 1 else f"{max(1, round(number / 2**20)):,} MiB"
