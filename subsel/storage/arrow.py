"""Places that an Arrow filesystem reaches: object stores, HDFS, and through fsspec whatever it knows."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.fs as pafs

from subsel.errors import InputError, OutputError, option
from subsel.storage.faults import reading, writing
from subsel.storage.place import FILES_AT_ONCE, TEMPORARY, FileInfo, Kind, Place

#: Arrow filesystems whose files have an etag, which a listing does not tell.
_TAGGED = ("s3", "gcs", "abfs")
_STAMP_KEYS = ("etag", "generation", "oid", "blob_id", "md5", "mtime", "last_modified", "lastmodified", "created")
_COPIED_AT_ONCE = 5 * 2**30  # S3 copies no more in one request


class ArrowPlace(Place):
    """A place on a `pyarrow.fs.FileSystem`.

    Nothing is renamed here: a folder's files are written under their final names, and count once the manifest does.

    Attributes:
        filesystem: where it is; made when it is first asked for, so that naming a place takes no network.
        path: as the filesystem takes it.
    """

    def __init__(self, source: Callable[[], pafs.FileSystem], path: str, uri: str, key: str) -> None:
        self._source, self.path, self.uri, self._key = source, path, uri, key

    @property
    def filesystem(self) -> pafs.FileSystem:
        """See `ArrowPlace`."""
        return self._source()

    @property
    def key(self) -> str:
        """See `Place`."""
        return self._key

    @property
    def name(self) -> str:
        """See `Place`."""
        return posixpath.basename(self.path)

    def _at(self, path: str, uri: str, key: str) -> ArrowPlace:
        return ArrowPlace(self._source, path, uri, key)

    def join(self, *names: str) -> ArrowPlace:
        """See `Place`."""
        tail = "/".join(name.strip("/") for name in names)
        return self._at(*(f"{part.rstrip('/')}/{tail}" for part in (self.path, self.uri, self._key)))

    def parent(self) -> ArrowPlace:
        """See `Place`."""
        if "/" not in self.path.strip("/"):
            return self
        return self._at(*(part.rstrip("/").rpartition("/")[0] for part in (self.path, self.uri, self._key)))

    def kind(self) -> Kind | None:
        """See `Place`."""
        with reading(self):
            info = self.filesystem.get_file_info(self.path)
        if info.type == pafs.FileType.Directory:
            return "folder"
        return "file" if info.type == pafs.FileType.File else None

    def _listed(self, *, recursive: bool) -> list[pafs.FileInfo]:
        with reading(self):
            selector = pafs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
            below: list[pafs.FileInfo] = self.filesystem.get_file_info(selector)
        return below

    def children(self) -> list[str]:
        """See `Place`."""
        if self.kind() != "folder":
            return []
        return sorted({posixpath.basename(info.path.rstrip("/")) for info in self._listed(recursive=False)})

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all files below, by name, in one listing: see `Place.files`."""
        with reading(self):
            info = self.filesystem.get_file_info(self.path)
        if info.type == pafs.FileType.File:
            return {"": info.size}
        if info.type != pafs.FileType.Directory:
            return {}
        root = len(self.path.rstrip("/")) + 1
        found = [info for info in self._listed(recursive=True) if info.type == pafs.FileType.File]
        return {info.path[root:]: info.size for info in sorted(found, key=lambda info: str(info.path))}

    def files(self) -> list[FileInfo]:
        """See `Place`. Etags take a request for each file."""
        sizes = self.sizes()
        with reading(self):
            stamps = self._stamps([self.join(name).path if name else self.path for name in sizes])
        return [FileInfo(name, size, stamp) for (name, size), stamp in zip(sizes.items(), stamps, strict=True)]

    def _stamps(self, paths: list[str]) -> list[str]:
        if isinstance(self.filesystem, pafs.PyFileSystem):
            return [_stamp(self.filesystem.handler.fs.info(path).items()) for path in paths]
        if self.filesystem.type_name not in _TAGGED:
            return [str(info.mtime_ns) for info in self.filesystem.get_file_info(paths)] if paths else []
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            return list(pool.map(self._etag, paths))

    def _etag(self, path: str) -> str:
        with self.filesystem.open_input_file(path) as file:
            return _stamp((key, value.decode("utf-8", "replace")) for key, value in (file.metadata() or {}).items())

    def read_bytes(self) -> bytes:
        """See `Place`."""
        with reading(self), self.filesystem.open_input_stream(self.path, compression=None) as file:
            return bytes(file.read())

    def write_text(self, text: str) -> None:
        """See `Place`. An object is put in one request; HDFS has a moment without the file."""
        with writing(self):
            if self.filesystem.type_name == "hdfs":
                beside = self.parent().join(TEMPORARY + uuid.uuid4().hex[:16])
                beside._put(text)
                self.remove()
                self.filesystem.move(beside.path, self.path)
            else:
                self._put(text)

    def _put(self, text: str) -> None:
        if isinstance(self.filesystem, pafs.PyFileSystem):
            self.filesystem.handler.fs.pipe_file(self.path, text.encode())
            return
        with self.filesystem.open_output_stream(self.path, compression=None) as file:
            file.write(text.encode())

    def create_text(self, text: str) -> bool:
        """See `Place`. Best effort: of two that write at the same moment, both may be told that they did."""
        if self.exists():
            return False
        self.write_text(text)
        return self.read_text() == text

    def make_folder(self) -> None:
        """See `Place`."""
        with writing(self):
            self.filesystem.create_dir(self.path, recursive=True)

    def remove(self) -> None:
        """See `Place`."""
        kind = self.kind()
        with writing(self):
            if kind == "folder":
                self.filesystem.delete_dir(self.path)
            elif kind == "file":
                self.filesystem.delete_file(self.path)

    def open_input(self) -> Any:
        """See `Place`."""
        with reading(self):
            return self.filesystem.open_input_file(self.path)

    def rename_new(self, target: Place) -> None:
        """See `Place`. Not atomic: object stores copy."""
        assert isinstance(target, ArrowPlace)
        if target.exists():
            raise FileExistsError(f"{target} exists")
        with writing(target):
            self.filesystem.move(self.path, target.path)

    def copy_file(self, target: ArrowPlace) -> None:
        """Copy a file to a place of the same storage, over what may be there: whole or not at all.

        Raises:
            OutputError: it could not be copied.
        """
        with writing(target):
            size = self.filesystem.get_file_info(self.path).size
            if size < _COPIED_AT_ONCE or self.filesystem.type_name != "s3":
                self.filesystem.copy_file(self.path, target.path)
            else:  # in parts, as one call that no signal cuts short
                pafs.copy_files(self.path, target.path, self.filesystem, self.filesystem)
            if self.filesystem.get_file_info(target.path).size != size:
                raise OutputError(f"{target} is not as large as what was written: write it again.")


def arrow_place(place: Place) -> ArrowPlace:
    """Return a place as one that Arrow reaches.

    Raises:
        InputError: only a Spark session reaches it.
    """
    if isinstance(place, ArrowPlace):
        return place
    raise InputError(
        f"{place} is reached through Spark only: give {option('engine', 'spark')}, or a path of another storage."
    )


def _stamp(properties: Iterable[tuple[str, Any]]) -> str:
    """Return the first known property that tells one content from another."""
    lower = {str(key).lower().replace("-", "_"): value for key, value in properties}
    for key in _STAMP_KEYS:
        if lower.get(key):
            return str(lower[key]).strip('"')
    return str(lower.get("size", ""))
