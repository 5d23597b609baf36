"""Disks that are full, files that vanish, clocks that jump, places that cannot be written, and few open files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.faults.runs import Run, bytes_of, command

#: Longer than any run takes.
LIMIT = 400.0


class Found(NamedTuple):
    """What came of a scenario, in words, and whether that is right."""

    told: str
    fine: bool = True


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[bool]:
    """Mount a disk of so many megabytes; yields whether that may be done."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={round(megabytes * 1024)}k"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def after(run: Run, points: Path, folder: Path, kind: str, engine: str, expected: str | None) -> Found:
    """Say how a run ended; where in one line, resume it where all is well and compare."""
    status, said = run.finish(LIMIT), run.said()
    if status == 0:
        return Found("went through", bytes_of(folder / "out") == expected)
    if len(said.splitlines()) != 1 or "Traceback" in said:
        return Found(f"status {status}: {said or run.lines[-3:]}", False)
    again = command(points, folder, kind, engine)
    if again.finish(LIMIT) != 0 or bytes_of(folder / "out") != expected:
        return Found(f"{said!r}; then, resumed: {again.said()}", False)
    return Found(f"{said!r}; resumed: equal bytes")


def undisturbed(points: Path, folder: Path, kind: str, engine: str) -> str | None:
    """Return the bytes of a run that nothing happens to."""
    whole = folder / "whole"
    whole.mkdir()
    command(points, whole, kind, engine, run_dir=False).finish(LIMIT)
    return bytes_of(whole / "out")


def full_disk_of_output(points: Path, folder: Path) -> Found:
    """The subset does not fit."""
    expected = undisturbed(points, folder, "pairwise", "local")
    with small_disk(folder / "small", 0.008) as mounted:
        if not mounted:
            return Found("skipped: only root may mount a small disk")
        run = command(points, folder, "pairwise", "local", output=folder / "small" / "out")
        found = after(run, points, folder, "pairwise", "local", expected)
        left = [one.name for one in (folder / "small").iterdir()]
        return Found(f"{found.told}; left there: {left}", found.fine and not left)


def full_disk_of_run_directory(points: Path, folder: Path) -> Found:
    """Boards do not fit."""
    told, fine = [], True
    expected = undisturbed(points, folder, "pairwise", "local")
    for megabytes in (0.1, 0.3, 0.6):
        with small_disk(folder / "run", megabytes) as mounted:
            if not mounted:
                return Found("skipped: only root may mount a small disk")
            run = command(points, folder, "pairwise", "local")
            status, said = run.finish(LIMIT), run.said()
            fine &= (len(said.splitlines()) == 1 and "Traceback" not in said) if status else True
            told.append(f"{megabytes} MB: {said or status}")
            subprocess.run(["mount", "-o", "remount,size=64m", str(folder / "run")], check=True)
            again = command(points, folder, "pairwise", "local")
            status = again.finish(LIMIT)
            equal = status == 0 and bytes_of(folder / "out") == expected
            told.append("resumed with space: " + ("equal bytes" if equal else f"{status} {again.said()}"))
            fine &= equal
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "run").rmdir()
    return Found("; ".join(told), fine)


def full_disk_of_spark(points: Path, folder: Path) -> Found:
    """Spark's own files do not fit: shuffles, persisted parts, or what goes through TMPDIR."""
    told, fine = [], True
    expected = undisturbed(points, folder, "pairwise", "spark")
    for name, megabytes in (("SPARK_LOCAL_DIRS", 0.1), ("SPARK_LOCAL_DIRS", 0.6), ("TMPDIR", 0.1)):
        with small_disk(folder / "small", megabytes) as mounted:
            if not mounted:
                return Found("skipped: only root may mount a small disk")
            run = command(points, folder, "pairwise", "spark", env={name: str(folder / "small")})
            found = after(run, points, folder, "pairwise", "spark", expected)
        told.append(f"{name}, {megabytes} MB: {found.told}")
        fine &= found.fine
        for left in ("run", "out"):
            shutil.rmtree(folder / left, ignore_errors=True)
    return Found("; ".join(told), fine)


def shuffle_files_removed(points: Path, folder: Path) -> Found:
    """Somebody cleans up Spark's folders while it works."""
    expected, scratch = undisturbed(points, folder, "pairwise", "spark"), folder / "scratch"
    scratch.mkdir()
    run = command(points, folder, "pairwise", "spark", env={"SPARK_LOCAL_DIRS": str(scratch)})
    removed = 0
    for stage in ("neighbors", "greedy", "certify"):
        if run.wait_for(stage, LIMIT):
            time.sleep(1)
            for one in [*scratch.rglob("shuffle_*.data"), *scratch.rglob("rdd_*")]:
                one.unlink(missing_ok=True)
                removed += 1
    found = after(run, points, folder, "pairwise", "spark", expected)
    return Found(f"{removed} files: {found.told}", found.fine)


def workers_out_of_memory(points: Path, folder: Path) -> Found:
    """Python workers get less memory than they need."""
    expected = undisturbed(points, folder, "coverage", "spark")
    run = command(points, folder, "coverage", "spark", conf={"spark.executor.pyspark.memory": "150m"})
    return after(run, points, folder, "coverage", "spark", expected)


def few_open_files(points: Path, folder: Path) -> Found:
    """64 files may be open."""
    expected = undisturbed(points, folder, "limits", "local")
    run = command(points, folder, "limits", "local", before=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"])
    return after(run, points, folder, "limits", "local", expected)


def read_only_home_and_cache(points: Path, folder: Path) -> Found:
    """Nothing may be written but results: no home, no folder for what is compiled, no cache."""
    return _as_nobody(points, folder, {"HOME": "/proc", "XDG_CACHE_HOME": "/proc", "NUMBA_CACHE_DIR": "/proc/none"})


def another_user(points: Path, folder: Path) -> Found:
    """Who runs it owns neither the package nor a home."""
    return _as_nobody(points, folder, {"HOME": "/nonexistent"})


def another_users_run_directory(points: Path, folder: Path) -> Found:
    """A run directory that may be read only is one line, and stays as it is."""
    if os.geteuid() != 0:
        return Found("skipped: only root may run as another user")
    command(points, folder, "pairwise", "local").finish(LIMIT)
    before = sorted((one.name, one.stat().st_mtime_ns) for one in (folder / "run").rglob("*"))
    shutil.rmtree(folder / "out")
    run = command(points, folder, "pairwise", "local", before=_NOBODY, env={"HOME": "/nonexistent"})
    status, said = run.finish(LIMIT), run.said()
    same = before == sorted((one.name, one.stat().st_mtime_ns) for one in (folder / "run").rglob("*"))
    return Found(f"status {status}: {said}", status != 0 and len(said.splitlines()) == 1 and same)


def clock_jumps(points: Path, folder: Path) -> Found:
    """Between a kill and what goes on the clock goes back a day, or on a year, as dates of files tell."""
    expected = undisturbed(points, folder, "pairwise", "local")
    told, fine = [], True
    for days in (-1, 365):
        run = command(points, folder, "pairwise", "local")
        if run.wait_for("refine", LIMIT):
            run.kill()
        for one in (folder / "run").rglob("*"):
            moved = one.stat().st_mtime + days * 86400
            os.utime(one, (moved, moved))
        found = after(command(points, folder, "pairwise", "local"), points, folder, "pairwise", "local", expected)
        told.append(f"{days} days: {found.told}")
        fine &= found.fine
        for left in ("run", "out"):
            shutil.rmtree(folder / left, ignore_errors=True)
    return Found("; ".join(told), fine)


_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def _as_nobody(points: Path, folder: Path, env: dict[str, str]) -> Found:
    """Run as a user that owns nothing but the folder of results."""
    if os.geteuid() != 0:
        return Found("skipped: only root may run as another user")
    expected = undisturbed(points, folder, "pairwise", "local")
    with tempfile.TemporaryDirectory(prefix="subsel-faults-") as name:
        mine = Path(name)
        os.chown(mine, 65534, 65534)
        run = command(points, mine, "pairwise", "local", before=_NOBODY, env=env)
        return after(run, points, mine, "pairwise", "local", expected)


SCENARIOS: list[Callable[[Path, Path], Found]] = [
    full_disk_of_output,
    full_disk_of_run_directory,
    few_open_files,
    read_only_home_and_cache,
    another_user,
    another_users_run_directory,
    clock_jumps,
    full_disk_of_spark,
    shuffle_files_removed,
    workers_out_of_memory,
]
