"""Writing a subset: one file, or a folder with a manifest."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from subsel.report import Report
from subsel.storage import NO_PAGES, Place, arrow_place, new_file, new_folder


def is_folder(place: Place) -> bool:
    """Return whether a subset that is written there becomes a folder."""
    return not place.name.endswith(".parquet")


def write_subset(
    table: pa.Table, report: Report, place: Place, *, overwrite: bool, pages: Mapping[str, str] = NO_PAGES
) -> None:
    """Write a subset and its manifest, and in a folder ``pages``: texts by name.

    ``place`` becomes a folder of Parquet and the manifest, or one Parquet file if it ends in ``.parquet``; the
    manifest is in the Parquet metadata (key ``subsel``) either way.

    Raises:
        InputError: see `subsel.storage.check_new`.
        OutputError: writing failed; nothing was left.
    """
    table = table.replace_schema_metadata({"subsel": report.model_dump_json()})
    if not is_folder(place):
        with new_file(place, overwrite=overwrite) as new:
            _write(table, new)
        return
    with new_folder(place, overwrite=overwrite) as folder:
        _write(table, folder.file("part-00000.parquet"))
        folder.pages = pages
        folder.manifest = report.model_dump(mode="json")


def _write(table: pa.Table, place: Place) -> None:
    there = arrow_place(place)
    pq.write_table(table, there.path, filesystem=there.filesystem)
