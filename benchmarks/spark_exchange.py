"""What it costs to deliver parcels to parts, beside the work in these: core-seconds of the JVM's tasks and of workers.

python -m benchmarks.spark_exchange [--batch 8m] [--grouped]

16 tasks send a parcel of 2 MiB to each of 32 parts, in `local[2]`: once to warm up, then three times. With --grouped
rows are grouped, and so sorted, where they arrive. A session of the library's own sends 8 MiB at once; Spark's default
is 64m. The collector's and compilers' threads are the JVM's, too, and not in the first two columns.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.record import parser, recording
from benchmarks.spark_pipeline import core_seconds, family
from subsel.engines.spark.parcels import PARCEL_SCHEMA, exchange, map_in_arrow
from subsel.engines.spark.session import start
from subsel.parts.pack import Parcel, pack
from subsel.parts.rows import to_batches

_TASKS, _PARTS, _VALUES, _ROUNDS = 16, 32, 1 << 19, 3
COLUMNS = {
    "round": "d",
    "tasks in user": "6.1f",
    "tasks in kernel": "6.1f",
    "other JVM": "6.1f",
    "workers": "6.1f",
    "seconds": "6.1f",
}


def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Send random values to all parts."""
    values = np.random.default_rng(0).random((_PARTS, _VALUES), np.float32)
    for _ in batches:
        yield from to_batches(Parcel(part, 0, "values", pack(X=values[part])) for part in range(_PARTS))


def count(part: int, parcels: list[Parcel]) -> Iterable[Parcel]:
    """Send back how many parcels came."""
    return [Parcel(part, part, "count", pack(n=np.array([len(parcels)])))]


def used() -> npt.NDArray[np.float64]:
    """Return core-seconds so far: of the threads that run tasks in user and in kernel, of the JVM, of workers."""
    tasks = np.zeros(2)
    for number, command, _ in family():
        if b"org.apache.spark.deploy" in command:
            for thread in Path(f"/proc/{number}/task").iterdir():
                name, _, figures = (thread / "stat").read_text().partition("(")[2].rpartition(")")
                if name.startswith("Executor task"):
                    tasks += np.array(figures.split()[11:13], float) / os.sysconf("SC_CLK_TCK")
    spent = core_seconds()
    return np.array([*tasks, spent["JVM"] - tasks.sum(), spent["workers"]])


def main() -> None:
    words = parser(__doc__)
    words.add_argument("--batch", default="8m", help="bytes that the JVM sends to Python at once")
    words.add_argument("--grouped", action="store_true", help="rows are grouped where they arrive")
    arguments = words.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = {"spark.local.dir": folder, "spark.ui.enabled": "false"}
        settings["spark.sql.execution.arrow.maxBytesPerBatch"] = arguments.batch
        spark = start("local[2]", "error", settings)
        for number in range(_ROUNDS + 1):
            before, begin = used(), time.perf_counter()
            sent = map_in_arrow(spark.range(0, _TASKS, 1, _TASKS), send, PARCEL_SCHEMA)
            assert exchange(sent, count, _PARTS, full=not arguments.grouped).count() == _PARTS
            if number:
                rows.append((number, *(used() - before).tolist(), time.perf_counter() - begin))
        spark.stop()
    with recording(arguments, "1 GiB in parcels of 2 MiB, 16 tasks, 32 parts") as record:
        record(COLUMNS, rows)


if __name__ == "__main__":
    main()
