"""What fails on Spark, as one line: the first cause and what to do. Spark's own hundreds of lines go to the log."""

from __future__ import annotations

import json
import logging
import re
from typing import Final

from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException

from subsel.errors import ConfigError, InputError, MissingPackageError, OutputError, SubselError

log = logging.getLogger(__name__)

#: What encloses an error of ours on its way from a task to the driver, inside Spark's words.
MARK: Final = "@@subsel@@"
#: The page that an error about executors' packages names.
SHIPPING: Final = "docs/spark.md#ship-the-dependencies"

_RESUME = "give a run_dir, so that resume can go on from there"
_OUT_OF_MEMORY = (
    "ran out of memory: raise spark.executor.memoryOverhead, and spark.executor.pyspark.memory where it is set, or take"
    f" smaller parts (part_points), and {_RESUME}"
)
_OURS: dict[str, type[SubselError]] = {
    kind.__name__: kind for kind in (SubselError, InputError, ConfigError, OutputError, MissingPackageError)
}

#: What Spark says, what it means, and the error's type. The first that fits counts, so causes come before effects.
_SAYINGS: tuple[tuple[str, str, type[SubselError]], ...] = (
    (
        r"No space left on device|Disk quota exceeded",
        "the disk of an executor or the driver is full: free some space, or set spark.local.dir to a larger disk"
        f" (subsel plan says how much is needed), and {_RESUME}",
        OutputError,
    ),
    (
        r"PYTHON_VERSION_MISMATCH.*?different version:? ?\(?([\d., ]+?)\)? than that in driver:? ?\(?([\d., ]+[\d])",
        f"executors run Python {{0}}, the driver {{1}}: set PYSPARK_PYTHON to one and the same ({SHIPPING})",
        ConfigError,
    ),
    (
        r"Cannot run program \"([^\"]+)\"",
        f"executors cannot run the Python {{0}}: set PYSPARK_PYTHON to one that they have ({SHIPPING})",
        ConfigError,
    ),
    (
        r"ModuleNotFoundError: No module named '([^']+)'",
        f"executors lack the Python package {{0}}: ship it ({SHIPPING})",
        MissingPackageError,
    ),
    (
        r"(?<!OutOf)MemoryError|failed to map segment from shared object|Cannot allocate memory|std::bad_alloc",
        f"a Python worker {_OUT_OF_MEMORY}",
        SubselError,
    ),
    (
        r"OutOfMemoryError|exceeding (?:physical )?memory limits|OOMKilled|[Ee]xit (?:code|status):? 137",
        "an executor ran out of memory: raise spark.executor.memory and memoryOverhead as subsel plan says,"
        f" and {_RESUME}",
        SubselError,
    ),
    (
        r"Encountered error while reading file (\S+?)\.?\s.*?Caused by: (?:org\.apache\.parquet\.io\.\w*Decoding"
        r"|org\.apache\.hadoop\.fs\.ChecksumException|java\.io\.IOException: FAILED_TO_UNCOMPRESS"
        r"|java\.lang\.RuntimeException: \S+ is not a Parquet file)",
        "{0} is damaged: bring it back as it was, or, if it is a run directory's, make the run anew",
        InputError,
    ),
    (
        r"CHECKPOINT_RDD_BLOCK_ID_NOT_FOUND|Checkpoint block rdd_\S+ not found",
        f"an executor was lost, and with it a checkpoint block that only its disk held: {_RESUME}",
        SubselError,
    ),
    (
        r"ExecutorLostFailure|Executor heartbeat timed out|executor \S+ exited|Remote RPC client disassociated",
        f"an executor was lost, out of memory or taken back by the cluster: {_RESUME}",
        SubselError,
    ),
    (
        r"Python worker exited unexpectedly|Python worker process terminated|Python worker .{0,40}crashed",
        f"a Python worker was killed, most likely because it {_OUT_OF_MEMORY}",
        SubselError,
    ),
    (
        r"Block \S+ was not found even though|(?:FileNotFound|NoSuchFile)Exception: \S*(?:shuffle|rdd|temp_local)_",
        f"files that it keeps in spark.local.dir are gone: let nobody clear that while it works, and {_RESUME}",
        SubselError,
    ),
    (
        r"bigger than spark\.driver\.maxResultSize",
        "more was sent to the driver than spark.driver.maxResultSize allows: raise it to 2g",
        SubselError,
    ),
    (
        r"stopped SparkContext|SparkContext (?:was|has been) (?:shut ?down|stopped)|Answer from Java side is empty"
        r"|while communicating with the Java server|Py4JNetworkError|INVALID_HANDLE\.SESSION|StatusCode\.UNAVAILABLE",
        f"the Spark session ended while it was used: start another, and {_RESUME}",
        SubselError,
    ),
    (r"[Jj]ob \S+ cancelled|OPERATION_CANCELED", "the Spark job was cancelled", SubselError),
)

_PYTHON_ERROR = re.compile(r"^(?:pyspark\.errors\.\S+\.)?([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt)): ?(.*)$")


class plain_errors:  # noqa: N801  (a context manager that reads as a word)
    """Turn what Spark raises into an error of ours in one line; one of ours that a task raised back into itself."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PySparkException | Py4JError):
            log.info("what Spark says in full: %s", error)
            raise plain(error) from error


def plain(error: BaseException) -> SubselError:
    """Return the one-line error for one that Spark raised."""
    found = known(error)
    if found is not None:
        return found
    text = _text(error)
    if isinstance(error, AnalysisException):
        return InputError(f"Spark refused: {_first(text)}.")
    return SubselError(f"Spark failed: {first_cause(text)}. The log (-v) has the whole trace.")


def known(error: BaseException) -> SubselError | None:
    """Return the error for what is recognised: one of ours, or a failure of which it is known what to do."""
    text = _text(error)
    marked = re.findall(f"{MARK}(.*?){MARK}", text, re.DOTALL)
    if marked:
        name, message = json.loads(marked[-1])
        return _OURS.get(name, SubselError)(message)
    for pattern, said, kind in _SAYINGS:
        found = re.search(pattern, text, re.DOTALL)
        if found:
            return kind(f"Spark failed: {said.format(*found.groups())}.")
    return None


def _text(error: BaseException) -> str:
    text = str(error)
    spark = isinstance(error, PySparkException) or type(error).__name__ in text
    return text if spark else f"{type(error).__name__}: {text}"


def first_cause(text: str) -> str:
    """Return the line of Spark's words that says what went wrong first."""
    lines = text.splitlines()
    for begin, line in enumerate(lines):
        if "Traceback (most recent call last)" in line:  # a task's Python: its error follows the first trace
            for later in lines[begin + 1 :]:
                found = _PYTHON_ERROR.match(later)
                if found:
                    return _short(f"{found[1]}: {found[2]}")
    caused = [line.partition("Caused by: ")[2] for line in lines if line.lstrip().startswith("Caused by: ")]
    return _short(caused[-1]) if caused else _first(text)


def _first(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and "An error occurred while calling" in lines[0]:  # which method it was tells nobody anything
        lines = [lines[1].removeprefix(": "), *lines[2:]]
    return _short(lines[0] if lines else "for no reason that it tells")


def _short(line: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in line).strip()
    return (line if len(line) <= 300 else f"{line[:297]}…").rstrip(". ")
