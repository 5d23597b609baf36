"""From what a user spells to a `Place`: paths, file: addresses, clouds by Arrow, the rest by fsspec."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.fs as pafs

from subsel.errors import InputError, MissingPackageError
from subsel.storage import clouds
from subsel.storage.arrow import ArrowPlace
from subsel.storage.faults import why
from subsel.storage.local import LocalPlace
from subsel.storage.place import Place, printable

_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
_FILE = re.compile(r"file:(?=/)", re.IGNORECASE)
_LOST_SLASH = re.compile(r"(s3a?|gs|gcs|abfss?|hdfs|hf|https?):/[^/]")
#: Spellings of one storage.
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss"}

Options = Mapping[str, Any]


def place_of(where: Any, storage_options: Options | None = None) -> Place:
    """Return the place that a path, an address or a place names. Nothing is looked up on a local disk.

    Args:
        where: a path, taken as it is written; or an address: ``file:`` (percent-decoded), ``s3://``, ``s3a://``,
            ``gs://``, ``abfs://``, ``abfss://``, ``hdfs://`` and ``viewfs://`` through Arrow, any other through fsspec.
        storage_options: credentials, endpoint, region, in Arrow's names or fsspec's; they go before the environment.
            Local paths do without.

    Raises:
        InputError: it is neither, or the storage is unknown, or refuses, or an option is unknown.
        MissingPackageError: the storage's package is not installed.
    """
    if isinstance(where, Place):
        return where
    if not isinstance(where, str | os.PathLike):
        raise InputError(_not_a_path(where))
    text = os.fspath(where)
    if not isinstance(text, str):
        text = os.fsdecode(text)
    if not text:
        raise InputError("a path is empty: give one.")
    if "\0" in text:
        raise InputError(f"{printable(text)} has a null character in it: give a path.")
    if _FILE.match(text):
        return LocalPlace(_local_of(text), text)
    address = _ADDRESS.fullmatch(text)
    if address is None:
        if _LOST_SLASH.match(text) and not os.path.lexists(text):
            raise InputError(f"{printable(text)} is an address that lost a slash: give it as text, not as a Path.")
        return LocalPlace(Path(text), text)
    scheme, rest = address[1].lower(), address[2]
    scheme = _ALIASES.get(scheme, scheme)
    refuse_credentials(text)
    if scheme in clouds.CLOUDS:
        return _cloud_place(scheme, rest, text, storage_options or {})
    return _fsspec_place(scheme, text, storage_options or {})


def refuse_credentials(text: str) -> None:
    """Refuse an address with credentials in it: of buckets whatever is before an @, else what has a password.

    Raises:
        InputError: it has some; the message does not.
    """
    address = _ADDRESS.fullmatch(text)
    if address is None:
        return
    scheme = _ALIASES.get(address[1].lower(), address[1].lower())
    user, at, _ = address[2].partition("/")[0].rpartition("@")
    if at and (scheme in ("s3", "gs") or ":" in user):
        raise InputError(
            f"an address {scheme}://…@… has credentials in it, which would be seen: give them in the environment or "
            "in storage_options."
        )


def _not_a_path(where: object) -> str:
    if hasattr(where, "read") or hasattr(where, "write"):
        named = getattr(where, "name", None)
        return f"{printable(named) if isinstance(named, str) else 'this'} is an open file: give its path."
    return f"{type(where).__name__} is neither a path nor an address: give one as text."


def _local_of(text: str) -> Path:
    """Return the path of ``file:/x``, ``file:///x`` or ``file://localhost/x``."""
    rest = text[len("file:") :]
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost", "127.0.0.1"):
            raise InputError(f"{printable(text)} names another machine, {host}: write file:///, with three slashes.")
        rest = "/" + path
    path = unquote(rest, errors="surrogateescape")
    if "\0" in path:
        raise InputError(f"{printable(text)} has a null character in it: give a path.")
    return Path("/" + path.lstrip("/"))


def _cloud_place(scheme: str, rest: str, text: str, options: Options) -> Place:
    """Return a place that Arrow reaches by itself. Names are literal: ``%``, ``?`` and ``#`` mean themselves."""
    authority, _, tail = rest.partition("/")
    path = "/".join(part for part in tail.split("/") if part)
    if not authority and scheme not in ("hdfs", "viewfs"):
        raise InputError(f"{printable(text)} names no bucket: write {scheme}://BUCKET/PATH.")
    chosen = clouds.named(scheme, options)
    root = "" if scheme in ("hdfs", "viewfs") else authority.partition("@")[0]
    return ArrowPlace(
        lambda: clouds.filesystem(scheme, authority, chosen, printable(text)),
        f"{root}/{path}".rstrip("/") or "/",
        text.rstrip("/"),
        f"{scheme}://{authority}/{path}".rstrip("/"),
    )


def _fsspec_place(scheme: str, text: str, options: Options) -> Place:
    """Return a place that fsspec reaches."""
    shown = printable(text)
    try:
        import fsspec.core  # noqa: PLC0415  (optional)
        from fsspec.registry import known_implementations  # noqa: PLC0415
    except ImportError:
        raise MissingPackageError(
            f"{shown}: {scheme}:// is read through fsspec, which is not installed: pip install fsspec, and the package "
            "of that storage."
        ) from None
    try:
        client, path = fsspec.core.url_to_fs(text, **options)
    except ImportError as error:
        said = known_implementations.get(scheme, {}).get("err", str(error))
        hint = "Install huggingface_hub" if scheme == "hf" else printable(str(said).splitlines()[0])
        raise MissingPackageError(f"{shown}: the package of {scheme}:// is not installed. {hint}.") from error
    except ValueError as error:
        if "protocol" in str(error).lower():
            raise InputError(
                f"{shown}: nothing here knows {scheme}://. Give a path, or an address such as s3://, gs://, abfss://, "
                "hdfs:// or hf://."
            ) from error
        raise InputError(f"{shown} cannot be opened: {why(error)}.") from error
    except Exception as error:  # clients of storages raise what they like
        raise InputError(f"{shown} cannot be opened: {why(error)}.") from error
    path = path.rstrip("/") or "/"
    filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(client))
    bare = text.rstrip("/")
    return ArrowPlace(lambda: filesystem, path, bare, f"{scheme}://{bare.partition('://')[2].lstrip('/')}")


def path_of(place: Place | None) -> Path | str | None:
    """Return a place as users have it: a path on a local disk, else an address; None for none."""
    if not isinstance(place, LocalPlace):
        return None if place is None else place.uri
    return place.local if place.uri.lower().startswith("file:") else Path(place.uri)
