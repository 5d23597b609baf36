"""Places on a local disk, or one that is mounted: flushed, and moved into place at one moment."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from subsel.errors import InputError
from subsel.storage import rename
from subsel.storage.arrow import ArrowPlace
from subsel.storage.faults import reading, writing
from subsel.storage.place import TEMPORARY, FileInfo, Kind, Place, printable

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
#: How often, a hundredth of a second apart, a folder that is held is asked for.
_PATIENCE = 50
_SPECIAL = "is a pipe, a device or a socket: give a file or a folder."


class LocalPlace(ArrowPlace):
    """A place on a local file system.

    Attributes:
        local: the path, absolute; links are not resolved in it.
    """

    swaps = True
    renames = True

    def __init__(self, local: Path, uri: str) -> None:
        self.local = local.absolute()
        super().__init__(pafs.LocalFileSystem, str(self.local), uri, "")

    @property
    def key(self) -> str:
        """See `Place`."""
        with reading(self):
            return os.path.realpath(self.local)

    @property
    def name(self) -> str:
        """See `Place`."""
        return self.local.name if self.local.name != ".." else Path(self.key).name

    def join(self, *names: str) -> LocalPlace:
        """See `Place`."""
        tail = "/".join(name.strip("/") for name in names)
        return LocalPlace(self.local / tail, f"{self.uri.rstrip('/')}/{tail}")

    def parent(self) -> LocalPlace:
        """See `Place`."""
        above = self.local.parent if self.local.name != ".." else self.local / ".."
        head = self.uri.rstrip("/").rpartition("/")[0]
        return LocalPlace(above, head if head and not head.endswith((":", ":/", "..")) else str(above))

    def resolved(self) -> LocalPlace:
        """Return the place that links lead to: what is written goes there, and the link stays."""
        return LocalPlace(Path(self.key), self.uri)

    def kind(self) -> Kind | None:
        """See `Place`.

        Raises:
            InputError: it is a link to nothing, or neither a file nor a folder, or not accessible.
        """
        with reading(self):
            try:
                mode = self.local.stat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                if self.local.is_symlink():
                    leads = printable(str(self.local.readlink()))
                    raise InputError(f"{self} is a link to {leads}, which does not exist: remove or mend it.") from None
                return None
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    return None
                raise
        if stat.S_ISDIR(mode):
            return "folder"
        if stat.S_ISREG(mode):
            return "file"
        raise InputError(f"{self} {_SPECIAL}")

    def children(self) -> list[str]:
        """See `Place`."""
        with reading(self):
            return sorted(os.listdir(self.local)) if self.local.is_dir() else []  # noqa: PTH208  (names, not paths)

    def files(self) -> list[FileInfo]:
        """See `Place`.

        Raises:
            InputError: also where a file that is not hidden is a link to nothing, or a pipe or the like.
        """
        kind = self.kind()
        if kind is None:
            return []
        with reading(self):
            if kind == "file":
                found = self.local.stat()
                return [FileInfo("", found.st_size, str(found.st_mtime_ns))]
            return sorted(self._below(self.local, "", frozenset()), key=lambda file: file.name)

    def _below(self, folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[FileInfo]:
        """Yield the files below a folder; links are followed, but not into a folder that they lead out of."""
        here = folder.stat()
        if (here.st_dev, here.st_ino) in above:
            return
        above |= {(here.st_dev, here.st_ino)}
        for entry in os.scandir(folder):
            name = prefix + entry.name
            if entry.is_dir():
                yield from self._below(Path(entry.path), f"{name}/", above)
            elif entry.is_file():
                found = entry.stat()
                yield FileInfo(name, found.st_size, str(found.st_mtime_ns))
            elif entry.is_symlink() or not entry.name.startswith((".", "_")):
                self.join(name).kind()  # says what it is

    def sizes(self) -> dict[str, int]:
        """See `ArrowPlace`."""
        return {file.name: file.size for file in self.files()}

    def read_bytes(self) -> bytes:
        """See `Place`."""
        self.kind()  # a pipe would wait for ever
        with reading(self):
            return self.local.read_bytes()

    def open_input(self) -> Any:
        """See `Place`."""
        self.kind()
        return super().open_input()

    def write_text(self, text: str) -> None:
        """See `Place`. A link that is there is replaced, not followed."""
        with writing(self, self.local.parent):
            beside = self._beside(text)
            try:
                beside.replace(self.local)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
            flush(self.local.parent)

    def create_text(self, text: str) -> bool:
        """See `Place`. Exclusive: of many that try, one is told that it did."""
        with writing(self, self.local.parent):
            beside = self._beside(text)
            try:
                rename.rename_new(beside, self.local)
            except FileExistsError:
                return False
            finally:
                beside.unlink(missing_ok=True)
            flush(self.local.parent)
        return True

    def _beside(self, text: str) -> Path:
        """Write a new file of a name that nobody can foresee, flushed."""
        beside = self.local.with_name(TEMPORARY + uuid.uuid4().hex[:16])
        try:
            with os.fdopen(os.open(beside, _NEW, 0o666), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        return beside

    def make_folder(self) -> None:
        """See `Place`."""
        try:
            self.local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "there is a file" if isinstance(error, FileExistsError) else error.strerror
            raise InputError(f"folder {self} cannot be made: {reason}. Choose another.") from error

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold a folder against others that do; yield False where that cannot be.

        It is not waited for without end: the command that started this process may hold the folder itself.
        """
        with writing(self):
            handle = os.open(self.local, os.O_RDONLY)
        held = _locked(handle)
        try:
            yield held
        finally:
            if held:
                fcntl.flock(handle, fcntl.LOCK_UN)  # for copies of the handle in forked processes, too
            os.close(handle)

    def make_alone(self) -> None:
        """Make a folder that must not exist; with the usual mode, since executors of another user may write into it."""
        with writing(self, self.local.parent):
            self.local.mkdir()

    def remove(self) -> None:
        """See `Place`. Of a link, the link."""
        with writing(self):
            try:
                if self.local.is_dir() and not self.local.is_symlink():
                    shutil.rmtree(self.local)
                else:
                    self.local.unlink(missing_ok=True)
            except FileNotFoundError:  # somebody else was faster
                return

    def rename_new(self, target: Place) -> None:
        """See `Place`. At one moment, and on disk when it returns."""
        assert isinstance(target, LocalPlace)
        with writing(target, target.local.parent):
            rename.rename_new(self.local, target.local)
            flush(target.local.parent)

    def replace(self, target: LocalPlace) -> None:
        """Move a file to a place, over a file that may be there, at one moment."""
        with writing(target, target.local.parent):
            self.local.replace(target.local)
            flush(target.local.parent)

    def swap(self, target: LocalPlace) -> bool:
        """Exchange two files or folders at one moment; False where kernel or file system cannot.

        Raises:
            FileNotFoundError: one of them is not there.
        """
        try:
            swapped = rename.exchange(self.local, target.local)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EACCES, errno.EBUSY):
                return False
            raise
        if swapped:
            flush(target.local.parent)
        return swapped

    def link(self, target: LocalPlace) -> None:
        """Make a file another name of this one, or a copy where the file system has no links."""
        with writing(target, target.local.parent):
            target.local.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self.local, target.local)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                    raise
                shutil.copyfile(self.local, target.local)

    def flush(self) -> None:
        """Bring a file, or a folder with all in it, to the disk."""
        with writing(self, self.local.parent):
            if not self.local.is_dir():
                flush(self.local)
                return
            for folder, _, names in os.walk(self.local):
                for name in (*names, "."):
                    flush(Path(folder, name))


def _locked(handle: int) -> bool:
    for _ in range(_PATIENCE):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:  # file systems without it
            return False
        else:
            return True
    return False


def flush(path: Path) -> None:
    """Bring one file's content, or one folder's names, to the disk.

    Raises:
        OSError: the disk failed, or is full.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that have no such thing
            raise
    finally:
        os.close(handle)
