"""Writing results: they appear whole or not at all, and nothing that exists is replaced unasked.

A result folder counts once its manifest is there, which names its files; so data are written first and the manifest
last. Where folders can be renamed, all is written beside the target and put in place at one moment. Elsewhere the files
of the new result are written among those of the old one, under names of their own, and the manifest is replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from subsel.errors import InputError, OutputError, option
from subsel.storage.arrow import ArrowPlace
from subsel.storage.check import check_new, check_ours, settled
from subsel.storage.faults import retold, unwritten
from subsel.storage.leftovers import (
    FORMAT,
    MANIFEST,
    MARK,
    PAGES,
    Record,
    begin,
    end,
    is_named,
    manifest_of,
    named_files,
    sizes,
    sweep,
    temporary,
    tidy,
)
from subsel.storage.local import LocalPlace
from subsel.storage.place import TEMPORARY, Place

_TRIES = 3  # of putting a result in place while others come and go there


@dataclass(slots=True)
class NewFolder:
    """A result folder that is being written.

    Attributes:
        data: where data files are to be written: through `file`, or under names that no other run uses.
        manifest: what the manifest will say beside ``format`` and ``files``; the block must set it.
        pages: texts that go beside the manifest, by name (`PAGES`); those of an old result go with it.
    """

    data: Place
    manifest: dict[str, Any] | None
    _record: Record
    _direct: bool = False
    pages: Mapping[str, str] = field(default_factory=dict)
    _target: Place | None = None
    _kept: dict[str, int] = field(default_factory=dict)

    def keep(self, names: Iterable[str]) -> None:
        """Take over data files of the result that is replaced, as they are.

        Where the whole folder is exchanged they are linked into the new one, else they stay where they are.
        """
        assert self._target is not None, "nothing is replaced"
        manifest = manifest_of(self._target)
        known = {} if manifest is None else named_files(self._target, manifest)
        for name in names:
            if name not in known:
                raise InputError(f"output {self._target} has changed while this run was at work: do that again.")
            if isinstance(self.data, LocalPlace) and isinstance(self._target, LocalPlace):
                self._target.join(name).link(self.data.join(name))
            else:
                self._kept[name] = known[name]

    def file(self, name: str) -> Place:
        """Return where a file of that name is to be written; the name gets a suffix where old files are beside it."""
        return self.data.join(self._record.fresh(name) if self._direct else name)

    def write_pages(self, folder: Place) -> None:
        """Write the pages into a folder, and remove those of an old result that may be there."""
        for name, text in self.pages.items():
            folder.join(name).write_text(text)
        if self._direct:
            _without_pages(folder, PAGES - self.pages.keys())

    def text(self, files: dict[str, int]) -> str:
        """Return the manifest's text."""
        assert self.manifest is not None, "a result folder needs a manifest"
        head = {"format": FORMAT}
        return json.dumps(head | self.manifest | head | {"files": files | self._kept}, indent=2) + "\n"


def _without_pages(folder: Place, names: Iterable[str]) -> None:
    for name in names:
        folder.join(name).remove()


def _appeared(target: Place) -> InputError:
    return InputError(
        f"output {target} appeared while this run was at work, and is left as it is: nothing was written. Choose "
        f"another path, or ask for it to be replaced ({option('overwrite', True)})."
    )


@contextmanager
def _telling(target: Place) -> Iterator[None]:
    """Turn what writing raises, in the caller's block too, into an `OutputError` about the target."""
    folder = target.local.parent if isinstance(target, LocalPlace) else None
    try:
        yield
    except FileExistsError as error:
        raise _appeared(target) from error
    except (OSError, pa.ArrowException) as error:
        raise unwritten(target, error, folder) from error
    except OutputError as error:
        raise retold(error, target, folder) from error


@contextmanager
def new_file(target: Place, *, overwrite: bool = False) -> Iterator[Place]:
    """Yield a temporary place to write one file to; it is the target once the block has succeeded.

    Raises:
        InputError: see `check_new`; or something appeared at the target meanwhile.
        OutputError: writing failed; nothing was left.
    """
    target = settled(target)
    check_new(target, overwrite=overwrite)
    record = Record.new(target)
    beside = temporary(target, record)
    try:
        with _telling(target):
            begin(beside, record)
            new = beside.join("data")
            yield new
            if isinstance(new, LocalPlace):
                new.flush()
            _place_file(new, target, overwrite=overwrite)
    finally:
        tidy(target, partial(end, beside, target))


def _place_file(new: Place, target: Place, *, overwrite: bool) -> None:
    for _ in range(_TRIES):
        if not overwrite or not target.exists():
            if not target.renames and isinstance(new, ArrowPlace) and isinstance(target, ArrowPlace):
                if target.exists():
                    raise _appeared(target)
                new.copy_file(target)
                return
            try:
                new.rename_new(target)
                return
            except FileExistsError:
                if not overwrite:
                    raise
                continue
        check_ours(target, target)
        if isinstance(new, LocalPlace) and isinstance(target, LocalPlace):
            if _swapped(new, target):
                return
            if target.kind() == "file":  # without an exchange nothing tells what was there at that moment
                new.replace(target)
                return
        elif target.kind() == "file" and isinstance(new, ArrowPlace) and isinstance(target, ArrowPlace):
            new.copy_file(target)
            return
        raise OutputError(f"output {target} is a folder, and a file cannot replace it here: choose another path.")
    raise _appeared(target)


def _swapped(new: LocalPlace, target: LocalPlace) -> bool:
    """Exchange new and old; False where that cannot be done, or nothing is there any more.

    Raises:
        InputError: what was there was not ours; it is there again.
    """
    mine = new.local.stat()
    try:
        if not new.swap(target):
            return False
        check_ours(new, target)
    except FileNotFoundError:
        return False
    except BaseException:  # Ctrl-C, too: what is removed now must have been looked at
        if target.local.exists() and os.path.samestat(target.local.stat(), mine):
            try:
                check_ours(new, target)
            except InputError:
                new.swap(target)
        raise
    return True


@contextmanager
def new_folder(target: Place, *, overwrite: bool = False) -> Iterator[NewFolder]:
    """Yield a folder to write data files to; it is the target once the block has succeeded and set its manifest.

    Raises:
        InputError: see `check_new`; or something appeared at the target meanwhile.
        OutputError: writing failed; nothing was left.
    """
    target = settled(target)
    check_new(target, overwrite=overwrite)
    write = _beside if target.renames else _inside
    with _telling(target), write(target, overwrite=overwrite) as new:
        yield new


@contextmanager
def _beside(target: Place, *, overwrite: bool) -> Iterator[NewFolder]:
    """Write a folder beside the target, then put it in its place."""
    record = Record.new(target)
    beside = temporary(target, record)
    try:
        begin(beside, record)
        data = beside.join("data")
        data.make_folder()
        new = NewFolder(data, None, record, _target=target)
        yield new
        files = {name: size for name, size in sizes(data).items() if is_named(name)}
        new.write_pages(data)
        data.join(MANIFEST).write_text(new.text(files))
        if isinstance(data, LocalPlace):
            data.flush()
        _place_folder(new, target, beside, overwrite=overwrite)
    finally:
        tidy(target, partial(end, beside, target))


def _place_folder(new: NewFolder, target: Place, beside: Place, *, overwrite: bool) -> None:
    for _ in range(_TRIES):
        try:
            if not new._kept:
                new.data.rename_new(target)
                return
        except FileExistsError:
            if not overwrite:
                raise
        check_ours(target, target)
        if isinstance(new.data, LocalPlace) and isinstance(target, LocalPlace) and _swapped(new.data, target):
            return
        if target.kind() == "folder":
            _merge(new, target, beside)
            return
    raise _appeared(target)


def _merge(new: NewFolder, target: Place, beside: Place) -> None:
    """Move a new result's files among those of the old one, then the manifest over the old one's."""
    record = _record_of(target, new._record)
    beside.join(MARK).write_text(record.text())  # now it says, too, which files of the target are old
    try:
        files: dict[str, int] = {}
        for name, size in sizes(new.data).items():
            if name != MANIFEST and not name.rpartition("/")[2].startswith("."):  # checksums go by their files' names
                place = target.join(record.fresh(name))
                if "/" in name:
                    place.parent().make_folder()
                if not is_named(name):
                    place.remove()  # a report, or Spark's mark, of the old result
                new.data.join(name).rename_new(place)
                if is_named(name):
                    files[record.fresh(name)] = size
        _without_pages(target, PAGES - new.pages.keys())
        _put_manifest(new.data.join(MANIFEST), target.join(MANIFEST), new.text(files))
    finally:
        tidy(target, partial(sweep, target, record))


def _put_manifest(beside: Place, place: Place, text: str) -> None:
    """Replace a manifest; a temporary file of it is in the folder that has a mark."""
    if isinstance(beside, LocalPlace) and isinstance(place, LocalPlace):
        beside.write_text(text)
        beside.replace(place)
    else:
        place.write_text(text)


def _record_of(target: Place, record: Record) -> Record:
    """Return a record that also says what is in the target."""
    manifest = manifest_of(target)
    old = () if manifest is None else tuple(named_files(target, manifest))
    return Record(record.target, record.token, old, None if target.renames else tuple(sizes(target)))


@contextmanager
def _inside(target: Place, *, overwrite: bool) -> Iterator[NewFolder]:
    """Write a folder's files where they stay; they count once the manifest names them."""
    record = _record_of(target, Record.new(target))
    mark = target.join(f"{TEMPORARY}{record.token}.json")
    try:
        target.make_folder()
        mark.write_text(record.text())
        new = NewFolder(target, None, record, _direct=True, _target=target)
        yield new
        found = {name: size for name, size in sizes(target).items() if record.wrote(name) and is_named(name)}
        own = {name: size for name, size in found.items() if record.token in name}
        manifest, text = target.join(MANIFEST), new.text(own or found)
        if not overwrite:
            if not manifest.create_text(text):
                raise _appeared(target)
        else:
            if manifest.exists():
                check_ours(target, target)
            manifest.write_text(text)
        new.write_pages(target)
    finally:
        tidy(target, partial(_end_inside, target, record, mark))


def _end_inside(target: Place, record: Record, mark: Place) -> None:
    """Remove the files of the old result, or of this one, whichever the manifest does not name; the mark last."""
    sweep(target, record)
    mark.remove()
    if not record.before and not sizes(target):
        target.remove()
