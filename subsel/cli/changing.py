"""`subsel compare --changes`: who came into a subset and who is out, as a file."""

from __future__ import annotations

from typing import Any

import subsel
from subsel.changed import counted, write_changes
from subsel.cli.shell import close
from subsel.storage import Place, check_new, path_of, place_of


def new_file(changes: str, *given: str | None, overwrite: bool, storage_options: dict[str, Any] | None) -> Place:
    """Return where changes go.

    Raises:
        InputError: see `subsel.storage.check_new`; ``given`` is what they are made of.
    """
    inputs = [place_of(one, storage_options) for one in given if one is not None]
    place = place_of(changes, storage_options)
    check_new(place, overwrite=overwrite, inputs=inputs)
    return place


def write(place: Place, first: str, second: str, audit: str | None, *, overwrite: bool, **options: Any) -> None:
    """Write who came in and who is out, and say how many these are."""
    table = subsel.changes(first, second, audit=audit, **options)
    write_changes(table, place, overwrite=overwrite)
    for change, whys in counted(table).items():
        told = ", ".join(f"{why} {points:,}" for why, points in whys.items())
        close(f"{change} {sum(whys.values()):,}{': ' if told else ''}{told}")
    close(f"changes: {path_of(place)}")
