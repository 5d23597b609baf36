"""Which files belong to an input, what their columns are, and what a folder of them is called: for every engine.

Rules. A path names itself if it exists; else it is a pattern: ``*``, ``?`` and ``[…]`` inside a name, ``**`` over
folders, ``{a,b}`` either. Of a folder all files count, in subfolders too, but for those that are empty, and those
below a name that begins with a dot, or with an underscore unless it is a partition ``_c=1``. Of a folder that subsel
wrote the files count that its manifest names. Every file that counts must be Parquet. Folders ``column=value`` give
their files a column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from subsel.errors import InputError
from subsel.input.names import names_are_text, with_names
from subsel.input.types import plain_type, unified
from subsel.storage import FILES_AT_ONCE, FileInfo, Place, result_files

#: What a table format keeps beside its files, and what reads it: such a folder is not the sum of its files.
_FORMATS = {"_delta_log": "delta", ".hoodie": "hudi"}
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an input.

    Attributes:
        place: where it is.
        info: its size, and what changes when its content does.
        partition: values of columns that its folders' names give, as text; None for no value.
        ours: whether a result of subsel's names it: checksums of its pages are looked at.
    """

    place: Place
    info: FileInfo
    partition: dict[str, str | None]
    ours: bool = False


def open_place(where: str, opener: Callable[[str], Place]) -> Place | None:
    """Return the place that a string names, None if nothing is there."""
    place = opener(where)
    return place if place.kind() is not None else None


def table_format(place: Place) -> str | None:
    """Return which table format a folder has: "delta", "iceberg" or "hudi"; None if it is a folder of files."""
    children = set(place.children())
    for mark, name in _FORMATS.items():
        if mark in children:
            return name
    if "metadata" in children and any(name.endswith(".metadata.json") for name in place.join("metadata").children()):
        return "iceberg"
    return None


def files_of(where: str, opener: Callable[[str], Place], what: str = "input") -> list[InputFile]:
    """Return the files that a path, URI or pattern names, in the order of their names.

    Args:
        where: as the user wrote it.
        opener: makes a place of a string.
        what: what it is, for messages.

    Raises:
        InputError: nothing is there, or no file of it counts.
    """
    place = open_place(where, opener)
    if place is None:
        found = _matching(where, opener)
        if not found:
            raise InputError(f"{what} {where} does not exist: give a Parquet file or a folder of them.")
        return found
    if place.kind() == "file":
        (info,) = place.files()
        if info.size == 0:
            raise InputError(f"{what} {where} is empty, not Parquet: give a Parquet file or a folder of them.")
        return [InputFile(place, info, {})]
    written = result_files(place)
    infos = [info for info in place.files() if _counts(info)] if written is None else written
    if not infos:
        raise InputError(f"{what} {where} holds no Parquet files: give a folder that does.")
    ours = written is not None
    return [_input_file(place, info, ours=ours) for info in sorted(infos, key=lambda info: info.name)]


def _input_file(folder: Place, info: FileInfo, *, ours: bool = False) -> InputFile:
    parts = info.name.split("/")
    partition = {}
    for part in parts[:-1]:
        column, equals, value = part.partition("=")
        if equals:
            partition[unquote(column)] = None if value == _NO_VALUE else unquote(value)
    return InputFile(folder.join(*parts), info, partition, ours)


def _counts(info: FileInfo) -> bool:
    return info.size > 0 and not any(
        part.startswith(".") or (part.startswith("_") and "=" not in part) for part in info.name.split("/")
    )


def _matching(pattern: str, opener: Callable[[str], Place]) -> list[InputFile]:
    """Return the files that match a pattern; folders that match stand for their files."""
    found: dict[str, InputFile] = {}
    for one in _braces(pattern):
        parts = one.split("/")
        first = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
        if first is None:
            for file in files_of(one, opener) if open_place(one, opener) else []:
                found[file.place.key] = file
            continue
        base = opener("/".join(parts[:first]) or ("/" if one.startswith("/") else "."))
        rest = re.compile(
            "/".join(map(_as_expression, parts[first:])).replace("<any>/", "(?:.*/)?").replace("<any>", ".*")
            + r"(?P<below>/.*)?"
        )
        for info in base.files() if base.kind() == "folder" else []:
            if rest.fullmatch(info.name) and _counts(info):
                file = _input_file(base, info)
                found[file.place.key] = file
    return [found[key] for key in sorted(found)]


def _as_expression(part: str) -> str:
    """Return the expression of one name of a pattern: nothing in it matches a slash."""
    if part == "**":
        return "<any>"
    out, i = "", 0
    while i < len(part):
        c = part[i]
        end = part.find("]", i + 2)
        if c == "[" and end > 0:
            inside = part[i + 1 : end].replace("\\", "\\\\")
            out += f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
            i = end
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(c, re.escape(c))
        i += 1
    return out


def _braces(pattern: str) -> list[str]:
    """Return what a pattern with alternatives ``{a,b}`` stands for."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    choices = [piece.split(",") if i % 2 else [piece] for i, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself: its columns as they are stored, and its rows."""

    schema: pa.Schema
    rows: int


def footers(files: Sequence[InputFile], what: str = "input") -> list[Footer]:
    """Read the footers of files, several at a time.

    Raises:
        InputError: a file is not Parquet, or names a column by what is not text.
    """

    def read(file: InputFile) -> Footer:
        try:
            with (
                names_are_text(f"{what} {file.place.uri}"),
                file.place.open_input() as source,
                pq.ParquetFile(source, pre_buffer=False) as opened,
            ):
                return Footer(opened.schema_arrow, opened.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            first = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise InputError(
                f"{what} {file.place.uri} cannot be read as Parquet: {first}. Give Parquet files only, by a pattern "
                "such as folder/*.parquet if others lie beside them."
            ) from error

    if len(files) < 4:
        return [read(file) for file in files]
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(read, files))


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files of an input with their columns, types unified.

    Attributes:
        name: what messages call the input.
        files: those that count, in order.
        footers: of each.
        wanted: which columns were looked at; None: all.
        schema: their plain types (see `subsel.input.types`), unified over all files.
        partitions: columns that come from the names of folders.
    """

    name: str
    files: list[InputFile]
    footers: list[Footer]
    schema: pa.Schema
    partitions: dict[str, pa.DataType]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(footer.rows for footer in self.footers)

    def identity(self) -> dict[str, Any]:
        """Return what tells this input from another: each file's name, size and stamp, and the number of rows."""
        listed = [[file.place.key, file.info.size, file.info.stamp] for file in self.files]
        return {"files": listed, "rows": self.rows}

    @classmethod
    def of(cls, name: str, files: list[InputFile], read: Sequence[Footer], wanted: Callable[[str], bool]) -> FileSet:
        """Unify the columns of files.

        Args:
            name: what messages call the input.
            files: those that count.
            read: their footers.
            wanted: says of a column whether it may be asked for; others may have any types.

        Raises:
            InputError: a wanted column has types that do not go together.
        """
        partitions, read_files = _partitions(files), list(zip(files, read, strict=True))
        types: dict[str, pa.DataType] = {}
        seen: dict[str, tuple[InputFile, pa.DataType]] = {}
        for file, footer in read_files:
            for field in footer.schema:
                if not wanted(field.name):
                    continue
                kind = plain_type(field.type)
                if field.name not in types or pa.types.is_null(types[field.name]):
                    types[field.name] = kind
                    seen[field.name] = file, field.type
                elif not (pa.types.is_null(kind) or kind.equals(types[field.name])):
                    joint = unified(types[field.name], kind)
                    if joint is None:
                        other, its = seen[field.name]
                        raise InputError(
                            f"column {field.name!r} of {name} is {its} in {other.place.name} and {field.type} in "
                            f"{file.place.name}: write it with one type."
                        )
                    types[field.name] = joint
        for column, kind in partitions.items():
            if column in types and any(column in f.partition and column not in r.schema.names for f, r in read_files):
                text = pa.types.is_string(types[column]) or pa.types.is_large_string(types[column])
                joint = types[column] if text else unified(types[column], kind)
                if joint is None or not (text or pa.types.is_integer(joint)):
                    raise InputError(
                        f"column {column!r} of {name} is {types[column]} in some files and {kind} in the names of "
                        "folders: write it with one type."
                    )
                types[column] = joint
        types |= {column: kind for column, kind in partitions.items() if wanted(column) and column not in types}
        # A name that a file has twice stays twice, so that it is found out where it is asked for.
        fields = [pa.field(column, kind) for column, kind in types.items()]
        for column in types:
            twice = max((footer.schema.names.count(column) for footer in read), default=1)
            fields += [pa.field(column, types[column])] * (twice - 1)
        names = [column for footer in read for column in footer.schema.names] + list(partitions)
        return cls(name, files, list(read), with_names(pa.schema(fields), names), partitions)

    def check_present(self, columns: Iterable[str]) -> None:
        """Refuse columns that some files lack: a default for their rows would hide it.

        Raises:
            InputError: see above.
        """
        for column in columns:
            lacking = [
                file
                for file, footer in zip(self.files, self.footers, strict=True)
                if footer.rows and column not in footer.schema.names and column not in file.partition
            ]
            if lacking:
                raise InputError(
                    f"{len(lacking):,} of {len(self.files):,} files of {self.name} have no column {column!r}, such as "
                    f"{lacking[0].place.name}: write it into all of them, or leave these out."
                )


def _partitions(files: Sequence[InputFile]) -> dict[str, pa.DataType]:
    """Return columns from the names of folders: integers if all their values are, else text."""
    values: dict[str, set[str]] = {}
    for file in files:
        for column, value in file.partition.items():
            values.setdefault(column, set()).update([] if value is None else [value])
    return {
        column: pa.int64() if some and all(_INTEGER.fullmatch(value) for value in some) else pa.string()
        for column, some in values.items()
    }


def partition_value(file: InputFile, column: str, kind: pa.DataType) -> Any:
    """Return the value that a file's folders give a column."""
    text = file.partition.get(column)
    return int(text) if text is not None and pa.types.is_integer(kind) else text
