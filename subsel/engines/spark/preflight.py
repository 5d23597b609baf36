"""Before anything runs: whether executors have what tasks need, found out within seconds and said in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from pyspark.sql import functions as F

from subsel.engines.spark.failures import SHIPPING, plain_errors
from subsel.errors import ConfigError, MissingPackageError
from subsel.version import __version__

#: Rows of the probe where the number of slots is not known; each slot's task gets at least one of them.
_ROWS = 1024

_checked: set[str] = set()


def check_executors(spark: Any) -> None:
    """Run a task per slot that imports the package, once per session.

    Raises:
        MissingPackageError: an executor's Python lacks the package, or one that it needs.
        ConfigError: it has another version of the package, or of Python, than the driver; or cannot be started.
    """
    context = getattr(spark, "_sc", None)  # of a classic session
    session = str(spark.session_id if context is None else context.applicationId)
    if session in _checked:
        return
    # By default a range has one partition, so one task, per slot.
    rows = spark.range(_ROWS) if context is None else spark.range(context.defaultParallelism)
    # Arrow is among what may be missing, so the function must be a plain one.
    probe = F.udf(make_probe(), "string", useArrow=False)
    with plain_errors():
        answers = {row[0] for row in rows.select(probe("id")).collect()}
    for answer in sorted(answers):
        _judge(json.loads(answer))
    _checked.add(session)


def make_probe() -> Callable[[int], str]:
    """Return what runs on executors: a function inside a function, with no names from here.

    So it is pickled by value, and needs nothing on executors but Python.
    """

    def probe(_: int) -> str:
        import importlib.util  # noqa: PLC0415
        import json  # noqa: PLC0415
        import socket  # noqa: PLC0415
        import sys  # noqa: PLC0415

        # A worker keeps what it has found; another row of the same task asks again for nothing.
        known = sys.__dict__.setdefault("_subsel_preflight", {})
        if not known:
            known.update(python=sys.executable, host=socket.gethostname(), version=list(sys.version_info[:2]))
            known.update(subsel=None, missing=[], error="")
            needed = ("subsel", "pyspark", "numpy", "pyarrow", "scipy", "numba", "faiss", "pydantic")
            known["missing"] = [name for name in needed if importlib.util.find_spec(name) is None]
            if not known["missing"]:
                try:
                    known["subsel"] = str(importlib.import_module("subsel").__version__)
                except Exception as error:  # such as a library that a native package wants
                    known["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return json.dumps(known, sort_keys=True)

    return probe


def _judge(found: dict[str, Any]) -> None:
    where = f"the executors' Python {found['python']} on {found['host']}"
    if found["missing"]:
        lacking = ", ".join(found["missing"])
        raise MissingPackageError(f"{where} lacks {lacking}: ship what tasks need, see {SHIPPING}.")
    if found["error"]:
        raise MissingPackageError(f"{where} cannot import subsel ({found['error']}): see {SHIPPING}.")
    if found["subsel"] != __version__:
        raise ConfigError(
            f"{where} has subsel {found['subsel']}, the driver {__version__}: ship the driver's, see {SHIPPING}."
        )
    mine = list(sys.version_info[:2])
    if found["version"] != mine:
        theirs, ours = (".".join(map(str, version)) for version in (found["version"], mine))
        raise ConfigError(f"{where} is {theirs}, the driver's {ours}: they must be alike, see {SHIPPING}.")
