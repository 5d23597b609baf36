"""Reports of what was selected before: their pages made anew, and two subsets side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from subsel import schema
from subsel.errors import InputError, option
from subsel.input.ids import same_type, subset_ids
from subsel.input.source import result_table
from subsel.pages.comparison import Overlap
from subsel.pages.page import OURS, compare_page, files_of
from subsel.report import Report
from subsel.rundir import MARK, kind_there
from subsel.sketch import FORMAT, Sketch
from subsel.storage import MANIFEST, PAGE, PAGE_DATA, LocalPlace, Place, manifest_of, place_of

#: A place, as callers spell it.
Location = str | os.PathLike[str] | Place


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a selection: its report, and what is drawn beside it, None where that was not kept."""

    place: Place
    report: Report
    sketch: Sketch | None


def make_page(place: Location, *, examples: bool = True, storage_options: dict[str, Any] | None = None) -> Place:
    """Write the page of a selection's report, and its numbers, anew.

    Args:
        place: a subset's folder, or the run directory of a run.
        examples: whether the examples that were kept are shown; if not, they leave the numbers, too.
        storage_options: see `subsel.storage.place_of`.

    Returns:
        Where the page is.

    Raises:
        InputError: there is no report, nor a manifest to make one of.
        OutputError: it could not be written.
    """
    told = read_report(place, storage_options=storage_options)
    if told.place.kind() == "file":
        raise InputError(f"{told.place} is one file, a report stands beside files: select into a folder.")
    sketch = told.sketch
    if sketch is not None and not examples:
        sketch = sketch.model_copy(update={"examples": None})
    try:
        files = files_of(told.report, sketch)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:  # of numbers that do not go together
        raise InputError(f"the report of {told.place} is damaged ({error}): select anew.") from error
    for name, text in files.items():
        told.place.join(name).write_text(text)
    return told.place.join(PAGE)


def read_report(place: Location, *, storage_options: dict[str, Any] | None = None) -> Told:
    """Return what is known of a selection; arguments and errors as those of `make_page`."""
    found = place_of(place, storage_options)
    if kind_there(found) == "file":
        return Told(found, _report_of(_metadata(found), found), None)
    kept, manifest = found.join(PAGE_DATA), manifest_of(found)
    numbers = kept.read_json() if kept.exists() else None
    if numbers is not None and (not isinstance(numbers, dict) or numbers.get("format") != FORMAT):
        raise InputError(f"{kept} is not of this version's format {FORMAT}: select anew, or use that version.")
    if manifest is None and numbers is None:
        if found.join(MARK).exists():
            raise InputError(
                f"run directory {found} has no report: the run is not finished, or was asked for none. Go on with it "
                f"({option('resume', True)}), with {option('report', True)}."
            )
        raise InputError(f"{found} is no subset: it has no {MANIFEST}. Give a subset's folder, or a run directory.")
    if manifest is None:
        assert numbers is not None
        return Told(found, _report_of(numbers.get("report"), kept), _sketch_of(numbers.get("sketch"), kept))
    report = _report_of(manifest, found.join(MANIFEST))
    sketch = None if numbers is None else _sketch_of(numbers.get("sketch"), kept)
    mine = sketch is not None and sketch.run_id == report.run_id  # not what another run left here
    return Told(found, report, sketch if mine else None)


def _metadata(place: Place) -> Any:
    """Return the manifest in a Parquet file.

    Raises:
        InputError: it has none.
    """
    try:
        with place.open_input() as file:
            found = (pq.read_schema(file).metadata or {}).get(b"subsel", b"").decode()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if not found:
        raise InputError(f"{place} is no subset: subsel did not write it. Give a subset.")
    return found


def _report_of(found: Any, place: Place) -> Report:
    try:
        return Report.model_validate_json(found) if isinstance(found, str) else Report.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"{place} is no report of a selection: {where}: {first['msg']}. Give a subset.") from None


def _sketch_of(found: Any, place: Place) -> Sketch | None:
    try:
        return None if found is None else Sketch.model_validate(found)
    except ValidationError as error:
        raise InputError(f"{place} is damaged: {error.errors()[0]['msg']}. Select anew.") from None


def new_page(place: Location, *, overwrite: bool) -> Place:
    """Return where a page of its own may be written.

    Raises:
        InputError: something is there that is no page of subsel's, or may not be replaced; or the folder is missing.
    """
    found = place_of(place)
    if found.exists():
        if not overwrite:
            replaced = f"ask for it to be replaced ({option('overwrite', True)})"
            raise InputError(f"page {found} exists: choose another path, or {replaced}.")
        if found.kind() != "file" or OURS not in found.read_bytes()[:1000]:
            raise InputError(f"page {found} exists and is no page of subsel's: choose another path.")
    elif isinstance(found, LocalPlace) and not found.parent().exists():
        raise InputError(f"the folder {found.parent()} of page {found} does not exist: make it first.")
    return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two selections, and what they share."""

    first: Told
    second: Told
    both: Overlap

    def page(self) -> str:
        """Return the page of the two side by side."""
        sides = self.first, self.second
        a, b = sides
        return compare_page((str(a.place), str(b.place)), (a.report, b.report), (a.sketch, b.sketch), self.both)


def compare(first: Location, second: Location, *, storage_options: dict[str, Any] | None = None) -> Comparison:
    """Compare two subsets. The ids of both are read into memory, and nothing else of their rows.

    Args:
        first: a subset, as `subsel.select` wrote it.
        second: another.
        storage_options: see `subsel.storage.place_of`.

    Raises:
        InputError: one is no subset; or their ids are of two types, which no points share.
    """
    sides = [read_report(one, storage_options=storage_options) for one in (first, second)]
    ids = []
    for one in sides:
        if one.place.kind() == "folder" and manifest_of(one.place) is None:
            raise InputError(f"{one.place} is a run directory, without the subset's points: give the subset's folder.")
        ids.append(result_table(one.place, {schema.ID: None}).column(schema.ID))
    same_type(ids[1].type, ids[0].type, f"{sides[1].place}")
    a, b = (subset_ids(one, None, str(side.place)) for one, side in zip(ids, sides, strict=True))
    shared = int(pc.sum(pc.is_in(a, value_set=b)).as_py() or 0)
    return Comparison(sides[0], sides[1], Overlap(len(a), len(b), shared))
