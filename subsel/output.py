"""Writing a subset: one file, or a folder with a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from subsel.errors import ConfigError
from subsel.report import Report
from subsel.storage import MANIFEST, LocalPlace, Place, arrow_place, new_file, new_folder, place_of
from subsel.storage.commit import replaced_by

__all__ = ["MANIFEST", "new_path", "remove", "write_subset"]


def write_subset(table: pa.Table, report: Report, place: Place, *, overwrite: bool) -> None:
    """Write a subset and its manifest.

    ``place`` becomes a folder of Parquet and the manifest, or one Parquet file if it ends in ``.parquet``; the
    manifest is in the Parquet metadata (key ``subsel``) either way.

    Raises:
        InputError: see `subsel.storage.check_new`.
        OutputError: writing failed; nothing was left.
    """
    table = table.replace_schema_metadata({"subsel": report.model_dump_json()})
    if place.name.endswith(".parquet"):
        with new_file(place, overwrite=overwrite) as new:
            _write(table, new)
        return
    with new_folder(place, overwrite=overwrite) as folder:
        _write(table, folder.file("part-00000.parquet"))
        folder.manifest = report.model_dump(mode="json")


def _write(table: pa.Table, place: Place) -> None:
    there = arrow_place(place)
    pq.write_table(table, there.path, filesystem=there.filesystem)


@contextmanager
def new_path(path: str | Path | Place, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a local temporary path that is put in place of ``path`` if the block succeeds; the block writes a manifest.

    Only for ``engines/spark/output.py``, until that writes through `subsel.storage.new_folder`.

    Raises:
        ConfigError: ``path`` is not local.
        InputError: see `subsel.storage.check_new`.
        OutputError: writing failed; nothing was left.
    """
    place = place_of(path)
    if not isinstance(place, LocalPlace):
        raise ConfigError(f"{place}: on Spark output is a path that driver and executors share.")
    with replaced_by(place, overwrite=overwrite) as temporary:
        yield temporary.local


def remove(path: Path) -> None:
    """Remove a file or folder that this process made; nothing if it is not there.

    Only for ``rundir.py`` and ``engines/spark/stages.py``, until they use places.
    """
    place_of(path).remove()
