"""Runs of the command line on a few points, with options that set all stages to work; and the bytes they end in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from subsel import demo

ROOT = Path(__file__).parent.parent.parent
STAGES = ("read", "neighbors", "utility", "engine", "bounding", "greedy", "refine", "certify", "rank", "score", "write")
#: Boards of one machine are written down often, so that stages are gone into again.
START = "import subsel.stages.kept as kept; kept.PAUSE, kept._SHARE = 0.05, 1.0\nfrom subsel.cli import main; main()"
#: What sets which drivers to work.
KINDS = {
    "pairwise": "--size 20% --greedy-direction best --refine 2 --certify 6",
    "limits": "--budget 30% --cost tokens --groups kind --quotas a=40%,b=30% --other 20% --max-similarity 0.7"
    " --refine 1 --certify 4 --order best",
    "coverage": "--objective coverage --size 10% --certify 4 --max-similarity 0.9",
}
#: On Spark there are fewer supersteps, each of which is jobs of its own; or one task has the whole graph.
IN_PARTS = "--finish-points 60"
ON_SPARK = {
    "pairwise": f"--size 20% --greedy-direction reverse --refine 1 --certify 2 {IN_PARTS}",
    "limits": "--budget 10% --cost tokens --groups kind --quotas a=40%,b=30% --other 20% --refine 1 --certify 1"
    f" {IN_PARTS}",
    "coverage": f"--objective coverage --size 5% --certify 2 {IN_PARTS}",
    "one task": "--size 20% --refine 1 --certify 2",
}
COMMON = ("--neighbors", "8", "--recall-sample", "0", "--coverage-sample", "0", "--no-report", "-v", "--quiet")
SPARK = ("--part-points", "250")
MASTERS = {"spark": "local[2]", "cluster": "local-cluster[2,1,1024]"}
#: A session of few and small tasks.
CONF = {
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}


def write_points(path: Path, n: int) -> Path:
    """Write a few points with all columns that the options ask for."""
    rng = np.random.default_rng(9)
    table = demo.demo_table(n, 12)
    table = table.append_column("tokens", pa.array(rng.integers(1, 500, n)))
    kind = np.array(["a", "b", "c", None], object)[rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])]
    pq.write_table(table.append_column("kind", pa.array(kind)), path, row_group_size=max(1, n // 4))
    return path


def bytes_of(output: Path) -> str | None:
    """Return a digest of a subset's ids, ranks and gains; None where there is no subset."""
    if not (output / "_manifest.json").exists():
        return None
    table = pq.read_table(output, columns=["id", "rank", "gain"]).sort_by("rank")
    digest = hashlib.sha256()
    for name in table.column_names:
        column = table[name].to_numpy(zero_copy_only=False)
        digest.update(column.tobytes() if column.dtype != object else "\0".join(column).encode())
    return digest.hexdigest()


@dataclass
class Run:
    """One run of the command line, in a session of its own."""

    command: list[str]
    env: dict[str, str]
    cwd: Path
    lines: list[str] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start it, and read along."""
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | self.env,
            cwd=self.cwd,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found = re.search(r"\] (\w+): started", line)
            with self.news:
                self.lines.append(line.rstrip())
                if found:
                    self.seen.setdefault(found[1], time.monotonic())
                self.news.notify_all()

    def wait_for(self, stage: str, seconds: float) -> bool:
        """Wait until a stage has started; return whether it has, before the run ended."""
        end = time.monotonic() + seconds
        with self.news:
            while stage not in self.seen and self.process.poll() is None and time.monotonic() < end:
                self.news.wait(0.05)
        return stage in self.seen and self.process.poll() is None

    def descendants(self, word: str) -> list[int]:
        """Return the ids of processes that this run has started, directly or not, whose command line has a word."""
        parents: dict[int, int] = {}
        for one in Path("/proc").iterdir():
            if one.name.isdigit():
                try:
                    parents[int(one.name)] = int((one / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, IndexError):
                    continue
        family, found = {self.process.pid}, []
        grown = True
        while grown:
            more = {one for one, parent in parents.items() if parent in family} - family
            family |= more
            grown = bool(more)
        for one in sorted(family):
            try:
                said = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in said:
                found.append(one)
        return found

    def kill(self) -> None:
        """Kill the driver alone; then end what it had started, as a machine's own housekeeping would."""
        rest = [one for one in self.descendants("") if one != self.process.pid]
        self.process.kill()
        self.process.wait()
        self.end(rest)

    def end_one(self, victim: int) -> None:
        """Kill one process that this run has started."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)

    def end(self, rest: list[int]) -> None:
        """End processes that this run has started."""
        for one in rest:
            self.end_one(one)
        self.reader.join(10)

    def finish(self, seconds: float) -> int:
        """Wait for the end; return the exit status, 124 where it does not come."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return 124
        rest = self.descendants("")
        self.end(rest)
        return self.process.returncode

    def said(self) -> str:
        """Return what it said to the user: all lines that are no log lines, and the last of all after a trace."""
        found = [line for line in self.lines if line.startswith(("subsel: ", "Traceback"))]
        return "\n".join([*found, self.lines[-1]] if "Traceback (most recent call last):" in found else found)


def command(
    points: Path,
    folder: Path,
    kind: str,
    engine: str,
    *,
    run_dir: bool = True,
    output: Path | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
    conf: Mapping[str, str] = MappingProxyType({}),
    before: Sequence[str] = (),
) -> Run:
    """Start a run; its subset goes to ``folder/out``, its run directory is ``folder/run``: resumed if it is there.

    Args:
        points: the input.
        folder: where it runs.
        kind: of `KINDS`, or, on Spark, of `ON_SPARK`.
        engine: local, or of `MASTERS`.
        run_dir: whether there is a run directory.
        output: another place for the subset.
        env: of the process, beside what it needs.
        conf: of Spark, beside what it needs.
        before: words before its own, such as of a shell that limits it.
    """
    options = [*COMMON, *(KINDS if engine == "local" else ON_SPARK)[kind].split()]
    options += [] if engine == "local" else SPARK
    if run_dir:
        options += ["--run-dir", str(folder / "run"), *(["--resume"] if (folder / "run").exists() else [])]
    words = ["select", str(points), str(output or folder / "out"), "--overwrite", *options]
    return launch(words, folder, engine, env, conf, before)


def launch(
    words: Sequence[str],
    folder: Path,
    engine: str,
    env: Mapping[str, str] = MappingProxyType({}),
    conf: Mapping[str, str] = MappingProxyType({}),
    before: Sequence[str] = (),
) -> Run:
    """Start the command line with some words on an engine; see `command`."""
    env = {"PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1", **env}
    where = ["--engine", "local"] if engine == "local" else ["--engine", "spark", "--master", MASTERS[engine]]
    if engine != "local":
        import pyspark

        conf = " ".join(f"--conf {name}={value}" for name, value in {**CONF, **conf}.items())
        env = env | {
            "PYSPARK_SUBMIT_ARGS": f"{conf} pyspark-shell",
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_WORKER_DIR": str(folder / "work"),
        }
    return Run([*before, sys.executable, "-c", START, *words, *where], env, folder)
