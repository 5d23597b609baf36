"""Writing: everything appears whole or not at all, and nothing that exists is replaced unasked."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from subsel.errors import InputError, OutputError
from subsel.report import Report

#: A subset folder's manifest. The underscore hides it from Parquet readers (docs/decisions/0003-manifest-name.md).
MANIFEST = "_manifest.json"


def make_folder(path: str | Path) -> None:
    """Make a folder if it is not there yet.

    Raises:
        InputError: its parent does not exist, or it is a file.
    """
    try:
        Path(path).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {path} cannot be made: {error.strerror}. Choose another.") from error


def check_new(path: str | Path, *, overwrite: bool, inputs: Iterable[object] = ()) -> None:
    """Raise early if ``path`` could not be written at the end.

    Raises:
        InputError: it exists and ``overwrite`` is False, or subsel did not write it, or it is, holds or lies in one of
            ``inputs`` that are paths, or its parent folder does not exist.
    """
    path = Path(path)
    place = path.absolute().resolve()
    for given in inputs:
        if isinstance(given, str | Path) and "://" not in str(given):
            source = Path(given).absolute().resolve()
            if source.is_relative_to(place) or place.is_relative_to(source):
                raise InputError(f"output {path} would overwrite or mix with the input {given}: choose another path.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.absolute().parent} of output {path} does not exist: make it first.")
    if not path.exists():
        return
    if not overwrite:
        raise InputError(f"output {path} exists: choose another path, or ask for it to be replaced (overwrite).")
    if not _ours(path):
        raise InputError(f"output {path} exists and subsel did not write it: choose another path.")


def _ours(path: Path) -> bool:
    """Return whether subsel wrote a file or folder: the manifest is in it."""
    if path.is_dir():
        return (path / MANIFEST).is_file()
    try:
        return b"subsel" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowInvalid, OSError):
        return False


@contextmanager
def new_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it into place if the block succeeds, remove it if not.

    The block may make a file or a folder there. A file or folder that is replaced is moved aside first and
    removed last, so at every moment one of the two is whole.

    Raises:
        InputError: see `check_new`.
        OutputError: writing failed (disk full, no permission).
    """
    path = Path(path)
    check_new(path, overwrite=overwrite)
    token = uuid.uuid4().hex[:8]
    temporary = path.with_name(f".{path.name}.tmp-{token}")
    aside = path.with_name(f".{path.name}.old-{token}")
    try:
        yield temporary
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
    except OSError as error:
        if aside.exists() and not path.exists():
            aside.rename(path)
        why = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        free = shutil.disk_usage(path.absolute().parent).free / 2**20
        raise OutputError(
            f"{path} could not be written: {why} ({free:,.0f} MiB free in {path.absolute().parent}). "
            "Nothing was left behind; free some space or choose another path."
        ) from error
    finally:
        remove(temporary)
        if path.exists():
            remove(aside)


def write_subset(table: pa.Table, report: Report, path: Path, *, overwrite: bool) -> None:
    """Write a subset and its manifest.

    ``path`` becomes a folder of Parquet and the manifest, or one Parquet file if it ends in ``.parquet``; the
    manifest is in the Parquet metadata (key ``subsel``) either way.

    Raises:
        InputError: see `check_new`.
        OutputError: see `new_path`.
    """
    manifest = report.model_dump_json(indent=2)
    table = table.replace_schema_metadata({"subsel": report.model_dump_json()})
    with new_path(path, overwrite=overwrite) as temporary:
        if path.suffix == ".parquet":
            pq.write_table(table, temporary)
            return
        temporary.mkdir()
        pq.write_table(table, temporary / "part-00000.parquet")
        (temporary / MANIFEST).write_text(manifest + "\n")


def remove(path: Path) -> None:
    """Remove a file or folder that this process made; nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
