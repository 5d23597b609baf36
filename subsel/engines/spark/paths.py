"""Spelling of paths as Hadoop takes them: literal, with schemes that may name one store twice."""

from __future__ import annotations

import os
import posixpath
import re

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
#: Spellings of one store.
_ONE_SCHEME = {"s3a": "s3", "s3n": "s3", "abfss": "abfs", "wasbs": "wasb"}


def scheme_of(where: str) -> str:
    """Return the scheme of a URI, "" for a plain path; a colon without a slash is part of a name."""
    found = _SCHEME.match(where)
    return found[1].lower() if found else ""


def split(uri: str) -> tuple[str, str, str]:
    """Return scheme, authority and absolute path of an absolute URI; of a plain path no scheme or authority."""
    scheme = scheme_of(uri)
    rest = uri[len(scheme) + 1 :] if scheme else uri
    authority = ""
    if scheme and rest.startswith("//"):
        authority, _, rest = rest[2:].partition("/")
    return scheme, authority, posixpath.normpath("/" + rest.lstrip("/"))


def canonical(uri: str) -> str:
    """Return one spelling for all of a place: of an absolute URI, or of a path on the local disk.

    Local paths are returned without scheme and with links followed, as the local engine names them.
    """
    scheme, authority, path = split(uri)
    if scheme in ("", "file"):
        return os.path.realpath(path)
    if scheme == "hdfs":
        authority = authority.removesuffix(":8020")  # the default port
    return f"{_ONE_SCHEME.get(scheme, scheme)}://{authority}{path.rstrip('/')}"


def for_reader(uri: str) -> str:
    """Return a URI as Spark's readers take it: they expand patterns, its writers do not."""
    return re.sub(r"([{}\[\]*?\\])", r"\\\1", uri)
