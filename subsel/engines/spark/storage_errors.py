"""What goes wrong at a Hadoop file system, each in one line."""

from __future__ import annotations

import re
from typing import Any

from subsel.engines.spark.failures import first_cause
from subsel.errors import InputError, OutputError, SubselError

#: What to give to spark.jars.packages, by scheme. {version} is that of Spark's own Hadoop.
PACKAGES = {
    "s3": "org.apache.hadoop:hadoop-aws:{version}",
    "s3a": "org.apache.hadoop:hadoop-aws:{version}",
    "gs": "com.google.cloud.bigdataoss:gcs-connector:hadoop3-2.2.26",
    "abfs": "org.apache.hadoop:hadoop-azure:{version}",
    "abfss": "org.apache.hadoop:hadoop-azure:{version}",
    "wasb": "org.apache.hadoop:hadoop-azure:{version}",
    "wasbs": "org.apache.hadoop:hadoop-azure:{version}",
    "adl": "org.apache.hadoop:hadoop-azure-datalake:{version}",
    "oss": "org.apache.hadoop:hadoop-aliyun:{version}",
    "cosn": "org.apache.hadoop:hadoop-cos:{version}",
    "obs": "org.apache.hadoop:hadoop-huaweicloud:{version}",
}
#: From Hadoop 3.5 on it has a file system for Google's store of its own.
_HADOOP_GS = "org.apache.hadoop:hadoop-gcp:{version}"

#: What a cause says (its class and message) and what we say of it. The first that fits counts.
_SAYINGS = (
    (r"UnknownHostException:? ?\"?([\w.-]*)", "the host {0} is unknown: check the address"),
    (r"Empty Mount table|not find a mount point", "the session's mount table does not know it"),
    (
        r"NoAwsCredentials|Unable to load (?:AWS )?credentials|No AWS Credentials|Unable to acquire credentials",
        "the Spark session has no credentials for it",
    ),
    (
        r"AccessDenied|AccessControlException|Permission denied|AuthorizationPermission|Forbidden|\b40[13]\b",
        "access denied: check the rights of the Spark session's user and its credentials",
    ),
    (r"UnknownStoreException|NoSuchBucket|bucket does not exist|ContainerNotFound", "there is no such bucket"),
    (r"ConnectException|Connection refused|NoRouteToHost|SocketTimeout|Connect(?:ion)? ?[tT]imeout", "no connection"),
)
_FULL = re.compile(r"No space left on device|DSQuotaExceeded|NSQuotaExceeded|Disk quota exceeded")
_NO_CLASS = re.compile(
    r"ClassNotFoundException:? (?:Class )?([\w.$]+FileSystem)|No FileSystem for scheme|NoClassDefFoundError"
)


def causes(error: BaseException) -> list[tuple[str, str]]:
    """Return the Java classes and messages of an error and what caused it, outermost first.

    Spark Connect, and Spark where it has translated an exception, leave text only.
    """
    java: Any = getattr(error, "java_exception", None)
    if java is None:
        lines = str(error).splitlines()
        return [("", "\n".join(line for line in lines if not line.lstrip().startswith("at ")))]
    found: list[tuple[str, str]] = []
    while java is not None and len(found) < 20:
        found.append((str(java.getClass().getName()), str(java.getMessage() or "")))
        java = java.getCause()
    return found


def missing(error: BaseException) -> bool:
    """Return whether a file system says that nothing is there."""
    return causes(error)[0][0].endswith(("FileNotFoundException", "NoSuchFileException"))


def taken(error: BaseException) -> bool:
    """Return whether a file system says that something is there already."""
    return causes(error)[0][0].endswith(("FileAlreadyExistsException", "PathExistsException"))


def storage_error(error: BaseException, uri: str, *, writing: bool = False) -> SubselError:
    """Return the error of one line to raise for one at a place."""
    chain = causes(error)
    text = "\n".join(f"{name}: {message}" for name, message in chain)
    if missing(error):
        return (
            OutputError(f"{uri} could not be written: its folder does not exist.")
            if writing
            else InputError(f"{uri} does not exist.")
        )
    absent = missing_file_system(text, uri)
    if absent is not None:
        return absent
    if _FULL.search(text):
        return OutputError(f"{uri} could not be written: its storage is full, or a quota is used up.")
    for pattern, said in _SAYINGS:
        found = re.search(pattern, text)
        if found:
            return InputError(f"{uri} cannot be reached: {said.format(*found.groups())}.")
    kind: type[SubselError] = OutputError if writing else InputError
    name, message = chain[-1]
    cause = first_cause(message if name == "" or message.strip() else name)
    return kind(f"{uri} cannot be {'written' if writing else 'read'}: {cause.rstrip('.')}.")


def missing_file_system(text: str, uri: str) -> InputError | None:
    """Return the line for a file system whose classes the session lacks, or None if that is not what happened."""
    found = _NO_CLASS.search(text)
    if found is None:
        return None
    scheme = uri.partition(":")[0]
    package = PACKAGES.get(scheme)
    if package is None:
        return InputError(
            f"{uri}: this Spark session has no file system for {scheme}: give its package to spark.jars.packages, "
            f"or its class as spark.hadoop.fs.{scheme}.impl."
        )
    if scheme == "gs" and (found[1] or "").startswith("org.apache.hadoop."):
        package = _HADOOP_GS
    package = package.format(version=_hadoop_version())
    return InputError(
        f"{uri}: this Spark session has no file system for {scheme}: start it with spark.jars.packages={package}."
    )


def _hadoop_version() -> str:
    """Return the version of the Hadoop in Spark's jars, which such a package must have, if it can be told."""
    from pyspark import SparkContext  # noqa: PLC0415

    jvm: Any = getattr(SparkContext, "_jvm", None)
    if jvm is None:
        return "VERSION (that of the server's Hadoop)"
    return str(jvm.org.apache.hadoop.util.VersionInfo.getVersion())
