"""Places behind a classic session: whatever its Hadoop configuration reaches, through the session's own JVM.

So credentials, mount tables and file system classes are those that Spark's readers and writers use. The file systems'
differences are few and named here: which of them rename, which of them create exclusively, and how they list.
"""

from __future__ import annotations

import io
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from subsel.engines.spark.paths import canonical, scheme_of
from subsel.engines.spark.storage_errors import missing, storage_error, taken
from subsel.errors import OutputError
from subsel.storage.place import TEMPORARY, FileInfo, Kind, Place

#: File systems whose rename moves a folder in one step and refuses where something is (through FileContext).
_RENAMING = ("hdfs", "file", "viewfs")
_READ_BYTES = 1 << 20


class _Store:
    """One Hadoop file system of a session, and the few calls into the JVM that all its places share."""

    def __init__(self, spark: SparkSession, uri: str) -> None:
        self.jvm: Any = spark._jvm
        self.gateway: Any = spark.sparkContext._gateway
        self.conf: Any = spark._jsparkSession.sessionState().newHadoopConf()
        self.fs: Any = self.path(uri).getFileSystem(self.conf)
        self.uri = uri

    def path(self, uri: str) -> Any:
        # From one string: Path(parent, child) would read a colon in the child as a scheme.
        return self.jvm.org.apache.hadoop.fs.Path(uri)

    def resolved(self, uri: str) -> str:
        """Return where a path leads: behind a mount table, and with scheme and authority. It need not exist."""
        path, rest = self.fs.makeQualified(self.path(uri)), ""
        if "viewfs" not in self.fs.getClass().getName().lower():
            return str(path.toString())
        while True:  # only what exists can be resolved
            try:
                return str(self.fs.resolvePath(path).toString()).rstrip("/") + rest
            except Py4JJavaError:
                if path.getParent() is None:
                    return str(self.fs.makeQualified(self.path(uri)).toString())
                rest = f"/{path.getName()}{rest}"
                path = path.getParent()

    def rename(self, source: str, target: str, *, overwrite: bool) -> None:
        """Rename strictly: FileSystem.rename moves a folder *into* one that exists, and may only return False."""
        options = getattr(self.jvm, "org.apache.hadoop.fs.Options$Rename")
        chosen = self.gateway.new_array(options, 1)
        chosen[0] = options.OVERWRITE if overwrite else options.NONE
        self.context.rename(self.path(source), self.path(target), chosen)

    @cached_property
    def context(self) -> Any:
        uri = self.path(self.uri).toUri() if scheme_of(self.uri) else self.fs.getUri()
        return self.jvm.org.apache.hadoop.fs.FileContext.getFileContext(uri, self.conf)

    def columns(self, listed: Any, etags: bool) -> list[tuple[str, bool, int, str]]:
        """Return path, whether a folder, bytes and stamp of all statuses that a Java iterator yields.

        A call into the JVM takes a fraction of a millisecond, several per file are seconds for a large folder: so
        each column is read by one, with Java's own streams of method handles.
        """
        statuses = self.jvm.org.apache.hadoop.util.functional.RemoteIterators.toList(listed)
        if statuses.isEmpty():
            return []
        status = "org.apache.hadoop.fs.FileStatus"
        path, text = self._getter(status, "getPath"), self._getter("java.lang.Object", "toString")
        joining = self.jvm.java.util.stream.Collectors.joining

        def column(*getters: Any) -> list[str]:
            stream = statuses.stream()
            for getter in getters:
                stream = stream.map(getter)
            return str(stream.map(text).collect(joining("\0"))).split("\0")

        stamp = self._getter(status, "getModificationTime")
        if etags and self._is(statuses.get(0), "org.apache.hadoop.fs.EtagSource"):
            stamp = self._getter("org.apache.hadoop.fs.EtagSource", "getEtag")
        folders = [one == "true" for one in column(self._getter(status, "isDirectory"))]
        sizes = map(int, column(self._getter(status, "getLen")))
        return list(zip(column(path), folders, sizes, column(stamp), strict=True))

    def _is(self, thing: Any, name: str) -> bool:
        return bool(self.jvm.java.lang.Class.forName(name).isInstance(thing))

    def _getter(self, owner: str, name: str) -> Any:
        of = self.jvm.java.lang.Class.forName
        lang = self.jvm.java.lang
        returns = {
            "getPath": lambda: of("org.apache.hadoop.fs.Path"),
            "isDirectory": lambda: lang.Boolean.TYPE,
            "toString": lambda: of("java.lang.String"),
            "getEtag": lambda: of("java.lang.String"),
        }.get(name, lambda: lang.Long.TYPE)()
        handle = lang.invoke.MethodHandles.publicLookup().findVirtual(
            of(owner), name, lang.invoke.MethodType.methodType(returns)
        )
        return lang.invoke.MethodHandleProxies.asInterfaceInstance(of("java.util.function.Function"), handle)


class HadoopPlace(Place):
    """A file or folder on a Hadoop file system of a classic session.

    Where the store renames (HDFS, and local disks behind a mount table) files are replaced, and folders moved, in one
    step. Elsewhere a file is written in one request, which S3 and Google's store show whole or not at all; exclusive
    creation is asked of the store itself, which S3 grants from Hadoop 3.4.2 on.

    Args:
        spark: a classic session.
        uri: an absolute URI, or an absolute path on the session's default file system.
    """

    swaps = False

    def __init__(self, spark: SparkSession, uri: str, _store: _Store | None = None) -> None:
        self.uri = uri if uri.rstrip("/") in ("", f"{scheme_of(uri)}:") else uri.rstrip("/")
        with self._plain():
            self._store = _Store(spark, self.uri) if _store is None else _store
            self._spark = spark
            self._path = self._store.path(self.uri)

    @property
    def key(self) -> str:
        """See `Place`. Mount tables are resolved."""
        with self._plain():
            return canonical(self._store.resolved(self.uri))

    @property
    def name(self) -> str:
        """See `Place`."""
        return str(self._path.getName())

    @cached_property
    def renames(self) -> bool:  # type: ignore[override]  # asked of the file system once
        """See `Place`."""
        with self._plain():
            return scheme_of(self._store.resolved(self.uri)) in _RENAMING

    def join(self, *names: str) -> HadoopPlace:
        """See `Place`."""
        return HadoopPlace(self._spark, "/".join([self.uri.rstrip("/"), *names]), self._store)

    def parent(self) -> HadoopPlace:
        """See `Place`."""
        above = self._path.getParent()
        return self if above is None else HadoopPlace(self._spark, str(above.toString()), self._store)

    def kind(self) -> Kind | None:
        """See `Place`."""
        with self._plain():
            try:
                return "folder" if self._store.fs.getFileStatus(self._path).isDirectory() else "file"
            except Py4JJavaError as error:
                if missing(error):
                    return None
                raise

    def children(self) -> list[str]:
        """See `Place`. Checksums are the file system's own business and not among them."""
        if self.kind() != "folder":
            return []
        with self._plain():
            return sorted(posixpath.basename(path) for path, *_ in self._listed(self._path))

    def files(self) -> list[FileInfo]:
        """See `Place`."""
        kind = self.kind()
        if kind is None:
            return []
        with self._plain():
            if kind == "file":
                ((_, _, size, stamp),) = self._listed(self._path)
                return [FileInfo("", size, stamp)]
            base = str(self._store.fs.makeQualified(self._path).toString()).rstrip("/") + "/"
            found = self._walk() if self.renames else self._flat()
            below = [(path.removeprefix(base), size, stamp) for path, folder, size, stamp in found if not folder]
            return [FileInfo(*file) for file in sorted(below)]

    def _listed(self, path: Any) -> list[tuple[str, bool, int, str]]:
        return self._store.columns(self._store.fs.listStatusIterator(path), not self.renames)

    def _walk(self) -> Iterator[tuple[str, bool, int, str]]:
        # listFiles would ask a local disk for every file's permissions, by a process each
        left = [self._path]
        while left:
            for found in self._listed(left.pop()):
                if found[1]:
                    left.append(self._store.path(found[0]))
                yield found

    def _flat(self) -> Sequence[tuple[str, bool, int, str]]:
        # an object store lists all below a prefix at once
        return self._store.columns(self._store.fs.listFiles(self._path, True), True)

    def read_bytes(self) -> bytes:
        """See `Place`."""
        with self._plain():
            stream = self._store.fs.open(self._path)
            try:
                return bytes(stream.readAllBytes())
            finally:
                stream.close()

    def write_text(self, text: str) -> None:
        """See `Place`. Where nothing is renamed, in one request."""
        if not self.renames:
            with self._plain(writing=True):
                self._write(self._path, text, overwrite=True)
            return
        aside = self.parent().join(f"{TEMPORARY}{uuid.uuid4().hex[:16]}")
        try:
            with self._plain(writing=True):
                self._write(aside._path, text, overwrite=True)
                self._store.rename(aside.uri, self.uri, overwrite=True)
        finally:
            with self._plain(writing=True):
                self._store.fs.delete(aside._path, False)  # False if it is not there

    def create_text(self, text: str) -> bool:
        """See `Place`. As exclusive as the store's own creation of files, see above."""
        with self._plain(writing=True):
            try:
                self._write(self._path, text, overwrite=False)
            except Py4JJavaError as error:
                if taken(error):
                    return False
                raise
        return True

    def _write(self, path: Any, text: str, *, overwrite: bool) -> None:
        builder = self._store.fs.createFile(path).overwrite(overwrite).recursive()
        if not overwrite:  # S3 refuses by itself, not by looking first; others pass over the option
            builder = builder.opt("fs.option.create.conditional.overwrite", "true")
        stream = builder.build()
        try:
            stream.write(text.encode("utf-8"))
            if self.renames:
                stream.hsync()
        finally:
            stream.close()

    def make_folder(self) -> None:
        """See `Place`."""
        with self._plain(writing=True):
            self._store.fs.mkdirs(self._path)

    def remove(self) -> None:
        """See `Place`."""
        with self._plain(writing=True):
            self._store.fs.delete(self._path, True)

    def open_input(self) -> io.BufferedReader:
        """See `Place`."""
        with self._plain():
            size = self._store.fs.getFileStatus(self._path).getLen()
            return io.BufferedReader(_JavaFile(self._store.fs.open(self._path), size), _READ_BYTES)

    def rename_new(self, target: Place) -> None:
        """See `Place`."""
        # FileContext refuses, too, but on a local disk lets an empty folder be replaced.
        if target.exists():
            raise FileExistsError(f"{target} exists")
        with self._plain(writing=True):
            if not self.renames:
                if not self._store.fs.rename(self._path, self._store.path(target.uri)):
                    raise OutputError(f"{self} could not be moved to {target}: the file system refused.")
                return
            try:
                self._store.rename(self.uri, target.uri, overwrite=False)
            except Py4JJavaError as error:
                if taken(error):
                    raise FileExistsError(f"{target} exists") from error
                raise

    @contextmanager
    def _plain(self, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (Py4JJavaError, PySparkException) as error:
            raise storage_error(error, self.uri, writing=writing) from error


class _JavaFile(io.RawIOBase):
    """A Hadoop input stream as a Python file."""

    def __init__(self, stream: Any, size: int) -> None:
        self._stream, self._size, self._at = stream, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; the stream itself moves at the next read."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, up to a piece that the JVM hands over at once."""
        want = min(len(buffer), _READ_BYTES, self._size - self._at)
        if want <= 0:
            return 0
        self._stream.seek(self._at)
        piece = bytes(self._stream.readNBytes(want))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the stream."""
        if not self.closed:
            self._stream.close()
        super().close()
