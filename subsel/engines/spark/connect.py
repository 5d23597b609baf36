"""Places behind a Connect session, which has no JVM to ask: through Spark's own readers and writers.

A writer makes folders, never a file of a given name. So a small file is a folder of versions,

    manifest.json/subsel-000001/part-….txt
    manifest.json/subsel-000002/part-….txt

of which the newest whole one counts: a replacement is seen whole or not at all, without a rename. Parquet readers of
the folder around it pass over it if its name begins with an underscore or a dot, as they do with a file.

Nothing can be deleted, only written over: what is removed leaves a folder with a mark in it, `.removed=1/part-….txt`,
which counts as nothing and which Spark's and Arrow's readers pass over, because it begins with a dot.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.errors import AnalysisException, PySparkException

from subsel.engines.spark.paths import canonical, for_reader, split
from subsel.engines.spark.storage_errors import storage_error
from subsel.errors import InputError, OutputError
from subsel.storage.place import FileInfo, Kind, Place

_VERSION = "subsel-{:06d}"
_VERSION_FILE = re.compile(r"(?:(.*)/)?subsel-\d{6}/part-[^/]*\.txt")
_VERSION_NUMBER = re.compile(r"subsel-(\d{6})/")
_REMOVED = ".removed"

_Listing = dict[str, tuple[int, str]]


class ConnectPlace(Place):
    """A file or folder as a Connect server reaches it.

    Files without a byte are never seen. Before Spark 4.3 names that begin with an underscore or a dot are seen only
    where asked for one by one, and what was removed looks like an empty folder. Two sessions that create a file at one
    moment may both be told that they did.

    Args:
        spark: a Connect session.
        uri: absolute, with its scheme.
    """

    def __init__(self, spark: Any, uri: str) -> None:
        self._spark, self.uri = spark, uri.rstrip("/") if split(uri)[2] != "/" else uri

    @property
    def key(self) -> str:
        """See `Place`. Mount tables are the server's: what they lead to cannot be told."""
        return canonical(self.uri)

    @property
    def name(self) -> str:
        """See `Place`."""
        return split(self.uri)[2].rpartition("/")[2]

    def join(self, *names: str) -> ConnectPlace:
        """See `Place`."""
        return ConnectPlace(self._spark, "/".join([self.uri.rstrip("/"), *(name.strip("/") for name in names)]))

    def parent(self) -> ConnectPlace:
        """See `Place`."""
        scheme, authority, path = split(self.uri)
        above = path.rpartition("/")[0] or "/"
        return ConnectPlace(self._spark, f"{scheme}://{authority}{above}") if path != "/" else self

    def kind(self) -> Kind | None:
        """See `Place`. An empty folder is one; what `remove` leaves is nothing."""
        listing = self._listing()
        if listing is None:
            return None
        if "" in _files(listing):
            return "file"
        return None if listing and not _files(listing) else "folder"

    def children(self) -> list[str]:
        """See `Place`. Folders without files are not seen."""
        return sorted({file.partition("/")[0] for file in _files(self._listing() or {}) if file})

    def files(self) -> list[FileInfo]:
        """See `Place`. A small file of versions is one file."""
        found = _files(self._listing() or {})
        return [FileInfo(name, size, stamp) for name, (_, size, stamp) in sorted(found.items())]

    def read_bytes(self) -> bytes:
        """See `Place`."""
        found = _files(self._listing() or {}).get("")
        if found is None:
            raise InputError(f"{self} does not exist.")
        at = self.join(found[0]) if found[0] else self
        with self._plain():
            rows = at._files_frame().select("content").collect()
        if not rows:
            raise InputError(f"{self} does not exist.")
        content = bytes(rows[0][0])
        return content.removesuffix(b"\n") if found[0] else content  # the text writer's own end of line

    def write_text(self, text: str) -> None:
        """See `Place`. As a new version; older ones stay."""
        self._write_version(text)

    def create_text(self, text: str) -> bool:
        """See `Place`. Best effort: two that write at the same moment may both be told that they did."""
        if self.kind() is not None or not self._write_version(text):
            return False
        return self.read_text() == text

    def _write_version(self, text: str) -> bool:
        """Write the next version; return False if somebody else has."""
        found = [_VERSION_NUMBER.match(name) for name in self._listing() or {}]
        versions = [int(version[1]) for version in found if version]
        frame = self._spark.createDataFrame([(text,)], "value string").coalesce(1)
        with self._plain(writing=True):
            try:
                frame.write.mode("error").text(self.join(_VERSION.format(max(versions, default=0) + 1)).uri)
            except AnalysisException as error:
                if "PATH_ALREADY_EXISTS" in str(error):
                    return False
                raise
        return True

    def make_folder(self) -> None:
        """See `Place`. Nothing is made: writers make the folders that they need."""

    def remove(self) -> None:
        """See `Place`. Writes over it, see above."""
        if self.kind() is None:
            return
        with self._plain(writing=True):
            frame = self._spark.createDataFrame([("removed", 1)], f"value string, `{_REMOVED}` int").coalesce(1)
            writer = frame.write.partitionBy(_REMOVED).mode("overwrite")
            writer.option("partitionOverwriteMode", "static").text(self.uri)  # all that is there, whatever is set

    def open_input(self) -> io.BytesIO:
        """See `Place`. The whole file is held: only small ones are read here."""
        return io.BytesIO(self.read_bytes())

    def rename_new(self, target: Place) -> None:
        """See `Place`.

        Raises:
            OutputError: always, Connect cannot.
        """
        raise OutputError(f"{self} cannot be moved to {target} on Spark Connect: write it there.")

    def _files_frame(self) -> Any:
        reader = self._spark.read.format("binaryFile").option("recursiveFileLookup", True)
        # Spark 4.3 shows names with an underscore or a dot on request; earlier ones pass over the option.
        return reader.option("ignoredPathSegmentRegex", "^$").load(for_reader(self.uri))

    def _listing(self) -> _Listing | None:
        """Return size and stamp of all that is seen below, by name; None if nothing is there.

        The files' content is not read, because it is not asked for.
        """
        try:
            with self._plain():
                try:
                    rows = self._files_frame().selectExpr("path", "length", "unix_micros(modificationTime)").collect()
                except AnalysisException as error:
                    if "PATH_NOT_FOUND" in str(error):
                        return None
                    raise
        except InputError as error:
            if "FileNotFoundException" in str(error.__cause__):  # gone between listing and reading
                return None
            raise
        base = split(self.uri)[2].rstrip("/")
        return {split(path)[2].removeprefix(base).lstrip("/"): (size, str(stamp)) for path, size, stamp in rows}

    @contextmanager
    def _plain(self, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except PySparkException as error:
            raise storage_error(error, self.uri, writing=writing) from error


def _files(listing: _Listing) -> dict[str, tuple[str, int, str]]:
    """Return the files that a listing means, by name: where below it each is, its bytes and stamp.

    Of versions the newest stands for all. Left out are what a writer has not finished, local checksums, and marks.
    """
    files: dict[str, tuple[str, int, str]] = {}
    for name, (size, stamp) in sorted(listing.items()):
        parts = name.split("/")
        hidden = "_temporary" in parts or any(part.startswith(f"{_REMOVED}=") for part in parts)
        if hidden or (parts[-1].startswith(".") and parts[-1].endswith(".crc")):
            continue
        version = _VERSION_FILE.fullmatch(name)
        if version is None:
            files[name] = ("", size, stamp)
            continue
        file, folder = version[1] or "", name.rpartition("/")[0]
        # Sorted, so the last version stays; of two that wrote one version at the same moment the first.
        if file not in files or files[file][0].rpartition("/")[0] != folder:
            files[file] = (name, size - 1, stamp)
    return files
