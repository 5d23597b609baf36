"""Temporary files: whose they are, and what of them a dead run left behind.

Beside a local target, `.subsel-tmp-…/owner.json` is the mark and all else in that folder is temporary. One without a
mark and with nothing in it is of a run that was killed as it made or removed it: whoever makes one holds the folder
above. Where nothing is renamed, the mark is `.subsel-tmp-….json` in the target's folder, and says which files were
there before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from subsel.errors import InputError, SubselError
from subsel.storage.arrow import ArrowPlace
from subsel.storage.local import LocalPlace
from subsel.storage.owner import Owner
from subsel.storage.place import TEMPORARY, Place

log = logging.getLogger(__name__)

#: A subset folder's manifest. The underscore hides it from Parquet readers (docs/decisions/0003-manifest-name.md).
MANIFEST = "_manifest.json"
#: A subset's report, as a page and in numbers, beside its manifest.
PAGE, PAGE_DATA = "_report.html", "_report.json"
PAGES = frozenset({PAGE, PAGE_DATA})
#: Of a result that has none.
NO_PAGES: Mapping[str, str] = {}
FORMAT = 1
MARK = "owner.json"
#: A folder in a result's folder, of files that belong to the result though Parquet readers skip them.
KEPT = "_kept"

#: What a temporary folder is called, and a file that is written there before it gets its name.
_TEMPORARY = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{16}")
#: Data files of manifests before format 1, which name none.
_UNNAMED = re.compile(r"(part|points)-\d{5}")
#: Data files as Spark names them.
_SPARK = re.compile(r"(^|/)part-\d{5}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Record:
    """What a mark says beside the owner.

    Attributes:
        target: name of what will be there.
        token: in the names of this run's files.
        old: the files that the target's manifest of then named: they go once another manifest is there.
        before: all files that were in the target's folder, if data are written there directly: a writer that names
            its files itself (Spark) is told from others by what it adds.
    """

    target: str
    token: str
    old: tuple[str, ...] = ()
    before: tuple[str, ...] | None = None

    @classmethod
    def new(cls, target: Place) -> Record:
        """Return the record of a run that begins to write."""
        return cls(target.name, uuid.uuid4().hex[:16])

    @classmethod
    def of(cls, mark: Any) -> Record | None:
        """Return what a mark says; None if it is none of ours."""
        if Owner.of(mark) is None or mark.get("subsel") != "temporary":
            return None
        named = {name: mark.get(name) for name in cls.__slots__}
        texts = isinstance(named["target"], str) and isinstance(named["token"], str)
        before = named["before"]
        if not texts or not isinstance(named["old"], list) or not isinstance(before, list | None):
            return None
        return cls(named["target"], named["token"], tuple(named["old"]), None if before is None else tuple(before))

    def text(self) -> str:
        """Return the mark of this process with this record."""
        return json.dumps({"subsel": "temporary", **asdict(Owner.me()), **asdict(self)}) + "\n"

    def fresh(self, name: str) -> str:
        """Return the name under which a file stands beside those of other runs. Reports (`_…`) keep theirs."""
        folder, slash, base = name.rpartition("/")
        if base.startswith(("_", ".")):
            return name
        head, dot, tail = base.partition(".")
        return f"{folder}{slash}{head}-{self.token}{dot}{tail}"

    def wrote(self, name: str) -> bool:
        """Return whether a file is of this run."""
        if self.token in name:
            return is_named(name)
        return self.before is not None and name not in self.before and bool(_SPARK.search(name))


def is_data(name: str) -> bool:
    """Return whether a file below a folder is one that Parquet readers see."""
    return not any(part.startswith(("_", ".")) for part in name.split("/"))


def is_named(name: str) -> bool:
    """Return whether a manifest names a file below its folder: data, and what is kept beside them."""
    return is_data(name.removeprefix(f"{KEPT}/"))


def manifest_of(folder: Place) -> dict[str, Any] | None:
    """Return the manifest of a folder that subsel wrote; None if it has none of ours.

    Raises:
        InputError: it is truncated, or of a later format, or the storage refuses.
    """
    place = folder.join(MANIFEST)
    if place.kind() != "file":
        return None
    found = place.read_json()
    if not isinstance(found, dict) or not isinstance(found.get("subsel"), str):
        return None
    made = found.get("format", FORMAT)
    if not isinstance(made, int) or made > FORMAT:
        raise InputError(
            f"{place} is of format {made}, by subsel {found['subsel']}, and this version reads {FORMAT}: read it with "
            "that one."
        )
    return found


def sizes(folder: Place) -> dict[str, int]:
    """Return all files below a folder by name, with their sizes; without etags where those take requests."""
    if isinstance(folder, ArrowPlace):
        return folder.sizes()
    return {file.name: file.size for file in folder.files()}


def named_files(folder: Place, manifest: dict[str, Any]) -> dict[str, int]:
    """Return the data files that a manifest names, with their sizes.

    Manifests before format 1 name none: then all that subsel could have written.

    Raises:
        InputError: it is damaged.
    """
    named = manifest.get("files")
    if isinstance(named, dict):
        if not all(isinstance(size, int) for size in named.values()):
            raise InputError(f"{folder.join(MANIFEST)} is damaged: sizes of its files are no numbers.")
        return {str(name): size for name, size in named.items()}
    return {name: size for name, size in sizes(folder).items() if is_data(name) and _UNNAMED.search(name)}


def sweep(folder: Place, record: Record) -> None:
    """Remove what the folder's manifest does not name: of this run, and of the result that it replaced.

    Whatever happened, the manifest says which of the two results is there.
    """
    manifest = manifest_of(folder)
    kept = {} if manifest is None else named_files(folder, manifest)
    old = set() if manifest is None or not isinstance(manifest.get("files"), dict) else set(record.old)
    for name in sizes(folder):
        if name not in kept and (name in old or record.wrote(name)) and not _through_link(folder, name):
            folder.join(name).remove()


def _through_link(folder: Place, name: str) -> bool:
    """Return whether a file is only seen in a folder since a link in it leads elsewhere."""
    if not isinstance(folder, LocalPlace):
        return False
    above = PurePosixPath(name).parents
    return any((folder.local / one).is_symlink() for one in above if one.name)


def tidy(shown: object, remove: Callable[[], None]) -> None:
    """Remove temporary files; only log what fails: the result is there, or another error is on its way.

    A Ctrl-C in the midst of it counts after they are gone.
    """
    try:
        remove()
    except (SubselError, OSError) as error:
        log.warning("temporary files of %s could not be removed, the next run to it will: %s", shown, error)
    except BaseException:
        with suppress(SubselError, OSError):
            remove()
        raise


def temporary(target: Place, record: Record) -> Place:
    """Return the temporary folder of a run to a target, which need not exist yet."""
    return (target.parent() if target.renames else _room(target)).join(TEMPORARY + record.token)


def _room(target: Place) -> Place:
    """Return where temporary folders are if not beside the target: a bucket may have millions of names to list."""
    return target.parent().join(TEMPORARY + hashlib.sha256(target.name.encode()).hexdigest()[:16])


def begin(folder: Place, record: Record) -> None:
    """Make a temporary folder, and mark it before anything else is in it."""
    above = folder.parent()
    if isinstance(folder, LocalPlace) and isinstance(above, LocalPlace):
        with above.held():
            folder.make_alone()
            folder.join(MARK).write_text(record.text())
    else:
        folder.make_folder()
        folder.join(MARK).write_text(record.text())


def end(folder: Place, target: Place) -> None:
    """Remove a temporary folder and all in it, the mark last."""
    for name in folder.children():
        if name != MARK:
            folder.join(name).remove()
    folder.remove()
    if not target.renames and not sizes(_room(target)):
        _room(target).remove()


def clean(target: Place) -> None:
    """Remove what dead runs to a target left, and nothing without their mark."""
    tidy(target, partial(_clean, target))


def _clean(target: Place) -> None:
    for beside in _marked(target.parent() if target.renames else _room(target)):
        record = _gone(beside.join(MARK))
        if record is not None and record.target == target.name:
            if target.kind() == "folder":
                sweep(target, record)
            end(beside, target)
    if isinstance(target, LocalPlace):
        _clean_unmarked(target.parent())
    if target.renames or target.kind() != "folder":
        return
    for name in target.children():
        if name.startswith(TEMPORARY) and name.endswith(".json"):
            record = _gone(target.join(name))
            if record is not None:
                sweep(target, record)
                target.join(name).remove()
    if not sizes(target):  # nothing but a key that stands for the folder
        target.remove()


def _clean_unmarked(folder: LocalPlace) -> None:
    """Remove temporary folders without a mark and without anything: while this is held nobody is about to mark one."""
    if not any(map(_is_unmarked, map(folder.join, folder.children()))):
        return
    with folder.held() as alone:
        for place in map(folder.join, folder.children() if alone else ()):
            if _is_unmarked(place):
                place.remove()


def _is_unmarked(place: LocalPlace) -> bool:
    if not _TEMPORARY.fullmatch(place.name) or place.local.is_symlink() or not place.local.is_dir():
        return False
    return all(_TEMPORARY.fullmatch(name) and place.join(name).local.is_file() for name in place.children())


def _marked(folder: Place) -> list[Place]:
    """Return the temporary folders in a folder: real ones, not links."""
    found = [folder.join(name) for name in folder.children() if name.startswith(TEMPORARY)]
    return [
        place
        for place in found
        if not (isinstance(place, LocalPlace) and (place.local.is_symlink() or not place.local.is_dir()))
        and place.join(MARK).kind() == "file"
    ]


def _gone(mark: Place) -> Record | None:
    """Return the record of a mark whose process is gone; None if that lives, or it is no mark."""
    content = mark.read_json()
    owner = Owner.of(content)
    return Record.of(content) if owner is not None and owner.gone() else None
