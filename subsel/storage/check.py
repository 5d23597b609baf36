"""What may be written to: nothing that exists is replaced unasked, and nothing that subsel did not write at all."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from subsel.errors import InputError, option
from subsel.storage.arrow import ArrowPlace
from subsel.storage.leftovers import clean, is_data, is_named, manifest_of, named_files, sizes
from subsel.storage.local import LocalPlace
from subsel.storage.place import FileInfo, Place

_LONGEST_NAME = 255  # bytes, where the file system does not say


def result_files(folder: Place) -> list[FileInfo] | None:
    """Return the data files that a result folder's manifest names; None if it has no manifest of ours.

    Raises:
        InputError: one of them is missing, or not as long as it was written.
    """
    manifest = manifest_of(folder)
    if manifest is None:
        return None
    found = {file.name: file for file in folder.files()}
    named = named_files(folder, manifest)
    for name, size in named.items():
        if name not in found:
            raise InputError(f"{folder} is not whole: {name}, which its manifest names, is missing. Write it again.")
        if found[name].size != size:
            raise InputError(
                f"{folder} is not whole: {name} has {found[name].size:,} bytes, not {size:,} as its manifest says. "
                "Write it again."
            )
    return [found[name] for name in sorted(named) if is_data(name)]


def check_new(target: Place, *, overwrite: bool, inputs: Iterable[Place] = ()) -> None:
    """Raise early if a target could not be written at the end; remove what dead runs to it left.

    Raises:
        InputError: it exists and ``overwrite`` is False, or subsel did not write it, or it is, holds or lies in one of
            ``inputs``, or the folder, bucket or container that it would be in does not exist.
    """
    for source in inputs:
        if source.within(target) or target.within(source):
            raise InputError(f"output {target} would overwrite or mix with the input {source}: choose another path.")
    target = settled(target)
    _check_parent(target)
    clean(target)
    if target.exists():
        if not overwrite:
            replaced = f"ask for it to be replaced ({option('overwrite', True)})"
            raise InputError(f"output {target} exists: choose another path, or {replaced}.")
        check_ours(target, target)


def settled(target: Place) -> Place:
    """Return where a target's links lead.

    Raises:
        InputError: to nothing, or it is neither a file nor a folder.
    """
    if not isinstance(target, LocalPlace):
        return target
    target.kind()
    return target.resolved()


def _check_parent(target: Place) -> None:
    parent = target.parent()
    if not target.name or parent.key == target.key:
        raise InputError(f"output {target} is the root of its storage: choose a path below it.")
    if not isinstance(target, LocalPlace):
        bucket = parent
        while (above := bucket.parent()).key != bucket.key:
            bucket = above
        known = isinstance(bucket, ArrowPlace) and bucket.filesystem.type_name in ("s3", "gcs", "abfs")
        if known and not bucket.exists():
            raise InputError(f"there is no bucket {bucket} for output {target}: make it first.")
        return
    folder = target.local.parent
    if not folder.is_dir():
        raise InputError(f"the folder {folder} of output {target} does not exist: make it first.")
    try:
        longest = os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        longest = _LONGEST_NAME
    if len(os.fsencode(target.name)) > longest:
        raise InputError(f"output {target} has a name of more than {longest} bytes: choose a shorter one.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"the folder {folder} of output {target} is not writable: choose another path.")


def check_ours(place: Place, target: Place) -> None:
    """Raise if subsel did not write all that is at a place.

    Raises:
        InputError: it did not; the message speaks of ``target``.
    """
    if place.kind() == "file":
        try:
            with place.open_input() as file:
                ours = b"subsel" in (pq.read_schema(file).metadata or {})
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            ours = False
    else:
        try:
            manifest = manifest_of(place)
        except InputError:
            manifest = None
        ours = manifest is not None
        if manifest is not None and place.swaps:  # the whole folder goes: nothing of the user's may be in it
            named = named_files(place, manifest)
            strange = [name for name in sizes(place) if is_named(name) and name not in named]
            if strange:
                raise InputError(
                    f"output {target} holds {strange[0]}, which subsel did not write: move it away, or choose another "
                    "path."
                )
    if not ours:
        raise InputError(f"output {target} exists and subsel did not write it: choose another path.")
