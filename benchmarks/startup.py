"""What a user waits for before anything is computed: the version, errors, the import; and the first result.

python -m benchmarks.startup [--runs 7]

Medians of seconds and of processor time, which other work on the machine changes less. Each run is a process of its
own, and the first of each kind, which may write bytecode, does not count.

Then `subsel demo`, from the shell to the table at its end, as after an installation, with an empty cache of kernels,
and again: what the first takes more is compiling. Once, or as often as `--demos` says: the least.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.common import seconds
from benchmarks.record import parser, recording

_SUBSEL = [sys.executable, "-m", "subsel"]
_CASES = {
    "subsel --version": [*_SUBSEL, "--version"],
    "subsel select --sizee 3": [*_SUBSEL, "select", "--sizee", "3"],
    "subsel select nowhere out --size 3": [*_SUBSEL, "select", "nowhere", "out", "--size", "3"],
    "subsel select nowhere out --size 0": [*_SUBSEL, "select", "nowhere", "out", "--size", "0"],
    "subsel explain 1 nowhere": [*_SUBSEL, "explain", "1", "nowhere"],
    "subsel report nowhere": [*_SUBSEL, "report", "nowhere"],
    "subsel score nowhere": [*_SUBSEL, "score", "nowhere"],
    'python -c "import subsel"': [sys.executable, "-c", "import subsel"],
    'python -c "import subsel; subsel.select"': [sys.executable, "-c", "import subsel; subsel.select"],
    'python -c "pass"': [sys.executable, "-c", "pass"],
}


def used() -> float:
    """Return the processor time of processes that have ended, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def runs_of(command: list[str], runs: int, folder: str) -> tuple[float, float]:
    """Return the medians of seconds and of processor time of a command; the first run does not count."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}  # where python -m found the package
    walls, works = [], []
    for _ in range(runs + 1):
        before = used()
        walls.append(seconds(partial(subprocess.run, command, cwd=folder, env=environment, capture_output=True)))
        works.append(used() - before)
    return statistics.median(walls[1:]), statistics.median(works[1:])


def demos(folder: str, run: int) -> list[tuple[float, float]]:
    """Return seconds and processor time of a first demo and of a second one."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "NUMBA_CACHE_DIR": str(Path(folder, f"kernels-{run}"))}
    found = []
    for turn in ("first", "second"):
        command, before = [*_SUBSEL, "demo", f"demo-{run}-{turn}"], used()
        call = partial(subprocess.run, command, cwd=folder, env=environment, capture_output=True, check=True)
        found.append((seconds(call), used() - before))
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=7)
    options.add_argument("--demos", type=int, default=1)
    arguments = options.parse_args()
    with (
        recording(arguments, f"medians of {arguments.runs} runs") as record,
        tempfile.TemporaryDirectory(prefix="subsel-startup-") as folder,
    ):
        record(
            {"command": "<42s", "seconds": "7.2f", "processor time, s": "17.2f"},
            ((name, *runs_of(command, arguments.runs, folder)) for name, command in _CASES.items()),
            title="startup",
        )
        measured = [demos(folder, run) for run in range(arguments.demos)]
        least = [[min(values) for values in zip(*runs, strict=True)] for runs in zip(*measured, strict=True)]
        record(
            {"subsel demo": "<18s", "first": "6.1f", "second": "6.1f", "more": "6.1f"},
            (
                (name, one, other, one - other)
                for name, one, other in zip(("seconds", "processor time, s"), *least, strict=True)
            ),
            title="demo",
        )


if __name__ == "__main__":
    main()
