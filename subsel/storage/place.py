"""`Place`: a file or folder on some storage, and the little that subsel does with it."""

from __future__ import annotations

import abc
import json
from dataclasses import dataclass
from typing import Any, Literal

from subsel.errors import InputError

Kind = Literal["file", "folder"]

#: How names of temporary files and folders begin. The dot hides them from Parquet readers.
TEMPORARY = ".subsel-tmp-"
#: Files that are asked about or read at a time: most of that is waiting.
FILES_AT_ONCE = 16


def printable(text: str) -> str:
    """Return a name as one line of text, without control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file below a folder.

    Attributes:
        name: relative to the place, "/" between folders; "" for the place itself if that is a file.
        size: bytes.
        stamp: what changes when the content does: the etag where the storage has one, else the time of the last
            change in ns.
    """

    name: str
    size: int
    stamp: str


class Place(abc.ABC):
    """A file or folder on some storage; it need not exist.

    Every method raises `InputError` (reading) or `OutputError` (writing) in one line that names the place where the
    storage refuses or cannot be reached.

    Attributes:
        uri: as the user spelled it.
        key: one spelling per place: "s3://b/k" for "s3a://b/k/", absolute and without links for local paths.
        name: the last component.
        swaps: whether a folder can be put in place of another at one moment.
        renames: whether `rename_new` is atomic here.
    """

    uri: str
    swaps: bool = False
    renames: bool = False

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """See `Place`."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """See `Place`."""

    def __str__(self) -> str:
        return printable(self.uri)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    @abc.abstractmethod
    def join(self, *names: str) -> Place:
        """Return the place of that name below this one; names may have slashes."""

    @abc.abstractmethod
    def parent(self) -> Place:
        """Return the folder it is in; of a root: itself."""

    @abc.abstractmethod
    def kind(self) -> Kind | None:
        """Return what is there, links followed; None: nothing. On object stores any longer key makes it a folder."""

    def exists(self) -> bool:
        """Return whether something is there."""
        return self.kind() is not None

    @abc.abstractmethod
    def children(self) -> list[str]:
        """Return the names directly inside, hidden ones too, sorted; none if it is no folder."""

    @abc.abstractmethod
    def files(self) -> list[FileInfo]:
        """Return all files below, hidden ones too, sorted by name; of a file itself; none if nothing is there."""

    @abc.abstractmethod
    def read_bytes(self) -> bytes:
        """Return a file's content."""

    def read_text(self) -> str:
        """Return a text file's content."""
        try:
            return self.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{self} is not text: it is damaged, or something else wrote it.") from error

    def read_json(self) -> Any:
        """Return what a JSON file says."""
        try:
            return json.loads(self.read_text())
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self} is not JSON: it is truncated, or something else wrote it.") from error

    @abc.abstractmethod
    def write_text(self, text: str) -> None:
        """Write a file, whole or not at all, in place of one that may be there. Its folder must exist."""

    @abc.abstractmethod
    def create_text(self, text: str) -> bool:
        """Write a file unless something is there; return whether it was written. See docs/guarantees.md for races."""

    @abc.abstractmethod
    def make_folder(self) -> None:
        """Make a folder with its parents; nothing if it is there."""

    @abc.abstractmethod
    def remove(self) -> None:
        """Remove a file or a folder with all in it; nothing if it is not there. The caller must have made it."""

    @abc.abstractmethod
    def open_input(self) -> Any:
        """Open a file for random access, as pyarrow takes it."""

    @abc.abstractmethod
    def rename_new(self, target: Place) -> None:
        """Move it to a place of the same storage where nothing is.

        Raises:
            FileExistsError: something is there.
        """

    def within(self, other: Place) -> bool:
        """Return whether it is, or lies in, another place."""
        return self.key == other.key or self.key.startswith(other.key.rstrip("/") + "/")
