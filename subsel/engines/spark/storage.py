"""Places on whatever a Spark session's Hadoop configuration reaches, with the session's credentials.

A classic session has a JVM to ask (`subsel.engines.spark.hadoop`); a Connect session has only Spark's own readers and
writers (`subsel.engines.spark.connect`). What was tried is in docs/decisions/0012-control-files-on-spark.md.
"""

from __future__ import annotations

import os
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from subsel.engines.spark.connect import ConnectPlace
from subsel.engines.spark.hadoop import HadoopPlace
from subsel.engines.spark.paths import scheme_of
from subsel.errors import InputError
from subsel.storage import LocalPlace, Place, place_of, refuse_credentials


def place_in(spark: Any, where: str | os.PathLike[str] | Place) -> Place:
    """Return a place as a Spark session reaches it.

    A plain path is one on the session's default file system, as for Spark's own readers, relative to the working
    directory if that is the local disk. What is on the driver's own disk gets the local engine's place, which can
    do more. Names are taken literally: neither percent signs nor patterns mean anything, but in ``file:`` URIs percent
    signs are what they are for the local engine.

    Raises:
        InputError: it has credentials in it, the session has no file system for the scheme, or it cannot be reached.
    """
    if isinstance(where, Place):
        return where
    uri = os.fspath(where)
    refuse_credentials(uri)
    if scheme_of(uri) == "s3" and not _setting(spark, "fs.s3.impl"):
        uri = f"s3a{uri[len('s3') :]}"
    default = _setting(spark, "fs.defaultFS") or "file:///"
    if scheme_of(uri) in ("", "file") and (scheme_of(uri) or scheme_of(default) == "file"):
        local = place_of(where)
        if classic(spark):
            return local
        uri = uri_for_spark(local)
    if classic(spark):
        return HadoopPlace(spark, uri)
    if not scheme_of(uri):
        if not uri.startswith("/"):
            raise InputError(f"{uri} is relative to a folder of the server's user: give an absolute path or a URI.")
        uri = default.rstrip("/") + uri
    return ConnectPlace(spark, uri)


def uri_for_spark(place: Place) -> str:
    """Return how Spark's writers take a place; for its readers see `subsel.engines.spark.paths.for_reader`."""
    return f"file://{place.local}" if isinstance(place, LocalPlace) else place.uri


def classic(spark: Any) -> bool:
    """Return whether a session has a JVM of its own to ask."""
    return hasattr(spark, "_jsparkSession")


def _setting(spark: Any, name: str) -> str | None:
    """Return a setting of the session's Hadoop configuration."""
    if classic(spark):
        value = spark._jsparkSession.sessionState().newHadoopConf().get(name)
        return None if value is None else str(value)
    try:
        for asked in (f"spark.hadoop.{name}", name):
            value = spark.conf.get(asked, None)
            if value:
                return str(value)
        value = spark.sql(f"SET {name}").collect()[0][1]
    except (PySparkException, Py4JError):
        return None
    return None if value in (None, "<undefined>") else str(value)
