"""The whole pipeline on Spark, Parquet to Parquet: seconds per stage, supersteps, shuffled bytes, peak memory.

python -m benchmarks.spark_pipeline [--points 1000000] [--dimension 128] [--master local[2]] [--refine 0]
    [--coverage NEIGHBORS] [--local] [--dtype float16]

Beside the seconds of the stages stands what `subsel plan` says of them (subsel/cost.py). With --local the local engine
selects from the same files afterwards, in this process. Last come Spark's own stages, the longest: where they begin,
their seconds, those of their tasks, and of those the JVM's at work; the rest is Python's, or waiting.

The driver's heap is 2 GiB. Memory is resident memory, sampled twice a second from /proc: of the JVM, and of the
largest Python worker. Disk is what Spark's folder takes at a time, sampled as often.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

import subsel
from benchmarks.common import BEFORE
from benchmarks.record import Row, parser, recording
from subsel.demo import demo_points
from subsel.engines.spark.session import start
from subsel.planning import Plan, estimate
from subsel.report import Report

_ROWS_PER_FILE = 250_000
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Stages of Spark are shown from this share of the time on.
_SHOWN = 0.02
RUN = {
    "points": "10,",
    "dimension": "d",
    "parts": "d",
    "recall@10": "6.3f",
    "seconds": "7.0f",
    "planned": "7.0f",
    "reading s": "7.0f",
    "neighbors s": "7.0f",
    "selection and output s": "7.0f",
    "supersteps": "d",
    "largest worker MiB": "7,.0f",
    "JVM MiB": "7,.0f",
    "driver MiB": "7,.0f",
    "shuffled GiB": "6.1f",
    "disk GiB": "6.1f",
}
STAGES = {
    "stage": "9",
    "begins": "7.1f",
    "seconds": "7.1f",
    "tasks": "d",
    "of tasks s": "8.1f",
    "JVM s": "7.1f",
    "read MiB": "8,.0f",
    "written MiB": "8,.0f",
}


def family() -> Iterator[tuple[int, bytes, list[str]]]:
    """Yield this process and all that it began, which others of the machine are not: number, command, state.

    The state is what /proc/PID/stat says behind the command: its parent second, then see proc(5).
    """
    found: dict[int, tuple[bytes, list[str]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, stat = (folder / "cmdline").read_bytes(), (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        found[int(folder.name)] = command, stat
    for number, (command, stat) in found.items():
        above = number
        while above in found and above != os.getpid():
            above = int(found[above][1][1])
        if above == os.getpid():
            yield number, command, stat


def core_seconds() -> dict[str, float]:
    """Return the seconds that cores have spent on this process and all that it began: of whom, and in the kernel."""
    found = dict.fromkeys(("driver", "JVM", "workers", "kernel"), 0.0)
    for number, command, stat in family():
        in_user, in_kernel, *ended = (int(one) / os.sysconf("SC_CLK_TCK") for one in stat[11:15])
        whose = "workers" if b"pyspark.daemon" in command else "driver" if number == os.getpid() else "JVM"
        found[whose] += in_user + in_kernel + sum(ended)
        found["kernel"] += in_kernel + ended[1]
    return found


class Peaks(threading.Thread):
    """Samples resident memory of this process' JVM and Python workers, in MiB; ``workers`` is the largest at a time.

    And bytes of the files in Spark's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.jvm = self.worker = self.driver = 0.0
        self.disk = 0
        self.workers: list[float] = []
        self.start()

    def quarters(self) -> list[float]:
        """Return the peak of the largest worker in each quarter of the time so far."""
        return [float(piece.max()) for piece in np.array_split(self.workers, 4)]

    def run(self) -> None:
        """Sample until the program ends."""
        while True:
            self.workers.append(0.0)
            self.disk = max(self.disk, bytes_in(self.folder))
            for number, command, stat in family():
                mib = int(stat[21]) * _PAGE / 2**20
                if number == os.getpid():
                    self.driver = max(self.driver, mib)
                elif b"org.apache.spark.deploy" in command:
                    self.jvm = max(self.jvm, mib)
                elif b"pyspark.daemon" in command:
                    self.worker = max(self.worker, mib)
                    self.workers[-1] = max(self.workers[-1], mib)
            time.sleep(0.5)


class Boards(logging.Handler):
    """Collects what is undecided after each superstep, or driver in one task, from the log."""

    def __init__(self) -> None:
        super().__init__()
        self.undecided: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take the count from a board's line, or a driver's."""
        found = re.search(r"(?:board \d+|one task): .*undecided (\d+)", record.getMessage())
        if found:
            self.undecided.append(int(found[1]))


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder, some of which may go meanwhile."""
    found = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += (Path(where) / name).stat().st_size
    return found


def write_points(folder: Path, n: int, dimension: int, dtype: str = "float32") -> None:
    """Write demo points file by file, so that this process stays small."""
    folder.mkdir(parents=True)
    for number, begin in enumerate(range(0, n, _ROWS_PER_FILE)):
        count = min(_ROWS_PER_FILE, n - begin)
        points, utility = demo_points(count, dimension, seed=number)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(points.astype(dtype).reshape(-1)), dimension)
        table = pa.table({"id": np.arange(begin, begin + count), "embedding": lists, "utility": utility})
        pq.write_table(table, folder / f"points-{number:05d}.parquet", row_group_size=10_000)


def shuffled_gib(spark: SparkSession) -> float:
    """Return what all executors wrote for shuffles, from Spark's own status store."""
    executors = spark.sparkContext._jsc.sc().statusStore().executorList(False)
    return float(sum(executors.apply(i).totalShuffleWrite() for i in range(executors.size())) / 2**30)


def longest_stages(spark: SparkSession, everything: float) -> Iterator[Row]:
    """Yield Spark's longest stages, in turn, and the sum of the others, from its status store."""
    gateway = spark.sparkContext._gateway
    assert gateway is not None
    jvm = gateway.jvm
    no_quantiles = gateway.new_array(jvm.double, 0)
    store = spark.sparkContext._jsc.sc().statusStore()
    listed = store.stageList(None, False, False, no_quantiles, jvm.java.util.ArrayList())
    done = [stage for i in range(listed.size()) if (stage := listed.apply(i)).completionTime().isDefined()]
    rows = sorted(((stage.submissionTime().get().getTime(), stage) for stage in done), key=itemgetter(0))
    others, others_count = 0.0, 0
    for began, stage in rows:
        took = (stage.completionTime().get().getTime() - began) / 1000
        if took < _SHOWN * everything:
            others, others_count = others + took, others_count + 1
            continue
        times = (began - rows[0][0]) / 1000, took
        tasks = stage.numTasks(), stage.executorRunTime() / 1000, stage.executorCpuTime() / 1e9
        yield stage.stageId(), *times, *tasks, stage.shuffleReadBytes() / 2**20, stage.shuffleWriteBytes() / 2**20
    yield f"{others_count} others", None, others, None, None, None, None, None


def seconds_of(report: Report, plan: Plan, cores: int, local: Report | None) -> list[Row]:
    """Return each stage's seconds beside those that the plan says, and the local engine's.

    "selection" is all but the planned above it; where it runs in one task, no second core helps. What Spark takes
    however few points there are is in the sum only.
    """
    together = plan.in_one_task()
    work = asdict(plan.work_alone if together else plan.work)
    said = {stage: value if together and stage == "selection" else value / cores for stage, value in work.items()}
    said["all"] = plan.seconds_on_spark(cores)
    alone = {} if local is None else with_sums(local)
    return [(stage, taken, said.get(stage), alone.get(stage)) for stage, taken in with_sums(report).items()]


def with_sums(report: Report) -> dict[str, float]:
    """Return the seconds of stages, of selection and of all."""
    everything = sum(report.seconds.values())
    before = sum(report.seconds[stage] for stage in ("read", "neighbors", "refine"))
    return {**report.seconds, "selection": everything - before, "all": everything}


def check_subset(folder: Path, report: Report) -> None:
    """Look whether a subset is what its report says."""
    rows = pq.read_table(folder, columns=["id", "rank", "gain"])
    assert len(rows) == report.k == len(np.unique(rows["id"].to_numpy()))
    assert (rows["rank"].to_numpy() == np.arange(report.k)).all()
    assert abs(rows["gain"].to_numpy().sum() - report.objective.total) < 1e-6 * report.k


def alone(points: Path, output: Path, options: dict[str, Any]) -> tuple[Report, float]:
    """Select on the local engine, in this process; return the report, and the seconds of all cores."""
    before = time.process_time()
    report = subsel.select(points, engine="local", output=output, progress=False, **options).report
    return report, time.process_time() - before


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of what is asked for."""
    if arguments.coverage:
        return {"objective": "coverage", "neighbors": arguments.coverage, "coverage_sample": 0}
    return {**BEFORE, "refine": arguments.refine}


def session(master: str, folder: str | Path) -> SparkSession:
    """Return a session as the library starts one, quiet, that keeps what it shuffles in a folder."""
    return start(master, "error", {"spark.local.dir": str(folder), "spark.ui.enabled": "false"})


def main() -> None:
    words = parser(__doc__)
    words.add_argument("--points", type=int, default=1_000_000)
    words.add_argument("--dimension", type=int, default=128)
    words.add_argument("--size", default="10%")
    words.add_argument("--master", default="local[2]")
    words.add_argument("--part-points", type=int)
    words.add_argument("--refine", type=int, default=0, help="passes of swap refinement")
    words.add_argument("--coverage", type=int, help="coverage as the objective, on so many neighbours")
    words.add_argument("--dtype", default="float32", choices=["float32", "float16"], help="of the points")
    words.add_argument("--local", action="store_true", help="and the local engine, for comparison")
    arguments = words.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    options = options_of(arguments)
    boards = Boards()
    logging.getLogger("subsel").addHandler(boards)
    logging.getLogger("subsel").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points"
        write_points(points, arguments.points, arguments.dimension, arguments.dtype)
        spark = session(arguments.master, Path(folder) / "spark")
        peaks = Peaks(Path(folder) / "spark")
        before = core_seconds()
        selection = subsel.select(
            points,
            size=arguments.size,
            engine=spark,
            output=Path(folder) / "subset",
            part_points=arguments.part_points,
            **options,
        )
        spent = {whose: found - before[whose] for whose, found in core_seconds().items()}
        on_cores = sum(spent.values()) - spent["kernel"]
        report = selection.report
        check_subset(Path(folder) / "subset", report)
        plan = estimate(arguments.points, arguments.dimension, report.k, subsel.SelectConfig(**options))
        cores = spark.sparkContext.defaultParallelism
        took = with_sums(report)
        peak = ", ".join(f"{mib:,.0f}" for mib in peaks.quarters())
        figures = [
            ("objective", f"{report.objective.total:,.3f} (random {report.objective.random:,.3f})"),
            ("bounding", f"{report.bounding.rounds} rounds"),
            ("undecided", " ".join(f"{count:,}" for count in boards.undecided)),
            ("core-seconds", ", ".join(f"{whose} {found:.0f}" for whose, found in spent.items())),
            ("worker by quarter", f"{peak} MiB"),
        ]
        run = [
            *(arguments.points, arguments.dimension, report.graph.parts, report.graph.recall),
            *(took["all"], plan.seconds_on_spark(cores)),
            *(took["read"], took["neighbors"], took["selection"], report.greedy.supersteps),
            *(peaks.worker, peaks.jvm, peaks.driver, shuffled_gib(spark), peaks.disk / 2**30),
        ]
        longest = list(longest_stages(spark, took["all"]))
        spark.stop()
        output = Path(folder) / "local"
        local, used = alone(points, output, {**options, "size": arguments.size}) if arguments.local else (None, 0.0)
        of = f"{arguments.points:,} points x {arguments.dimension} {arguments.dtype}"
        about = f"{of}, {arguments.size}, {arguments.master}, 2 GiB heap"
        with recording(arguments, about) as record:
            record(RUN, [run], title="run")
            record(
                {"stage": "<10s", "seconds": "8.1f", "planned": "8.1f", "local": "8.1f"},
                seconds_of(report, plan, cores, local),
                title="seconds by stage",
            )
            record({"": "<18s", "found": "<s"}, figures, title="figures")
            record(STAGES, longest, title="Spark's longest stages")
            if local is not None:
                rows = [("seconds", with_sums(local)["all"], took["all"]), ("core-seconds", used, on_cores)]
                columns = {"measure": "<12s", "local engine": "8.1f", "Spark": "8.1f", "x local": "6.2f"}
                beside = [(what, here, there, there / here) for what, here, there in rows]
                record(columns, beside, title="beside the local engine")


if __name__ == "__main__":
    main()
