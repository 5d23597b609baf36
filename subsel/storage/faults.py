"""What storages say when they fail, as one line that says what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from subsel.errors import InputError, OutputError, SubselError
from subsel.storage.place import printable

#: What is recognised in a storage's words, and how it is said: the first that fits counts.
_REASONS = (
    (("No space left", "Disk quota exceeded"), "the disk is full"),  # pyarrow's errors do not always have a number
    (("File too large",), "the file is larger than the system allows (ulimit -f)"),
    (
        ("NO_SUCH_BUCKET", "NoSuchBucket", "Bucket '", "ContainerNotFound", "The specified bucket does not exist"),
        "there is no such bucket: make it, or check the name",
    ),
    (
        ("PermanentRedirect", "HTTP Response Code: 301", "AuthorizationHeaderMalformed"),
        "the bucket is in another region: set AWS_REGION, or region in storage_options",
    ),
    (
        (
            *("ACCESS_DENIED", "AccessDenied", "InvalidAccessKeyId", "INVALID_ACCESS_KEY_ID", "Forbidden"),
            *("SignatureDoesNotMatch", "SIGNATURE_DOES_NOT_MATCH", "locate credentials", "Unauthorized"),
            *("UNAUTHORIZED", "AuthenticationFailed", "AuthenticationException", "EXPIRED_TOKEN", "ExpiredToken"),
        ),
        "access is denied: check the credentials (environment, or storage_options) and what they permit",
    ),
    (
        (
            *("NETWORK_CONNECTION", "curlCode", "resolve host", "Name or service not known", "Connection refused"),
            *("timed out", "Cannot connect", "Temporary failure in name resolution", "Max retries"),
        ),
        "it cannot be reached: check the network, and the endpoint (environment, or storage_options)",
    ),
    (("libhdfs", "libjvm"), "Java's HDFS client is not found: set JAVA_HOME, HADOOP_HOME and CLASSPATH"),
)
_ERRNO = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full (a quota)",
    errno.EFBIG: "the file is larger than the system allows (ulimit -f)",
}


def why(error: BaseException) -> str:
    """Say in a few words why a storage failed."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number in _ERRNO:
        return _ERRNO[number]
    for words, said in _REASONS:
        if any(word in text for word in words):
            return said
    if number is not None and isinstance(error, OSError):
        return os.strerror(number)
    first = text.splitlines()[0] if text.strip() else type(error).__name__
    return printable(first)[:300].rstrip(". ")


def room(folder: Path) -> str:
    """Say how much space is free in a local folder."""
    try:
        return f" ({shutil.disk_usage(folder).free / 2**20:,.0f} MiB free in {printable(str(folder))})"
    except OSError:
        return ""


@contextmanager
def reading(shown: object) -> Iterator[None]:
    """Turn whatever a storage raises while it is read into an `InputError`."""
    try:
        yield
    except SubselError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{shown} does not exist.") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{shown} cannot be read: {why(error)}.") from error
    except Exception as error:  # clients of storages raise what they like
        raise InputError(f"{shown} cannot be read: {why(error)}.") from error


@contextmanager
def writing(shown: object, folder: Path | None = None) -> Iterator[None]:
    """Turn whatever a storage raises while it is written to into an `OutputError`.

    Args:
        shown: what messages call the place.
        folder: the local folder whose free space is told.
    """
    try:
        yield
    except (SubselError, FileExistsError):
        raise
    except Exception as error:
        raise unwritten(shown, error, folder) from error


def retold(error: OutputError, shown: object, folder: Path | None) -> OutputError:
    """Return the error of a temporary file as one of the place that it was for."""
    cause = error.__cause__
    return unwritten(shown, cause, folder) if isinstance(cause, OSError | pa.ArrowException) else error


def unwritten(shown: object, error: BaseException, folder: Path | None = None) -> OutputError:
    """Return the error of a place that could not be written, of which nothing was left."""
    free = "" if folder is None else room(folder)
    return OutputError(
        f"{shown} could not be written: {why(error)}{free}. Nothing was left behind; "
        f"{'free some space or ' if folder is not None else ''}choose another path."
    )
