"""What a user waits for before anything is computed: the version, errors of arguments, the import.

python -m benchmarks.startup [--runs 7]

Medians of seconds and of processor time, which other work on the machine changes less. Each run is a process of its
own, and the first of each kind, which may write bytecode, does not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

from benchmarks.common import machine, seconds

_SUBSEL = [sys.executable, "-m", "subsel"]
_CASES = {
    "subsel --version": [*_SUBSEL, "--version"],
    "subsel select --sizee 3": [*_SUBSEL, "select", "--sizee", "3"],
    "subsel select nowhere out --size 3": [*_SUBSEL, "select", "nowhere", "out", "--size", "3"],
    "subsel select nowhere out --size 0": [*_SUBSEL, "select", "nowhere", "out", "--size", "0"],
    "subsel explain 1 nowhere": [*_SUBSEL, "explain", "1", "nowhere"],
    "subsel report nowhere": [*_SUBSEL, "report", "nowhere"],
    'python -c "import subsel"': [sys.executable, "-c", "import subsel"],
    'python -c "import subsel; subsel.select"': [sys.executable, "-c", "import subsel; subsel.select"],
    'python -c "pass"': [sys.executable, "-c", "pass"],
}


def used() -> float:
    """Return the processor time of processes that have ended, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}, medians of {arguments.runs}")
    print(f"{'':42s} seconds  processor time, s")
    root = os.getcwd()  # noqa: PTH109  (where python -m found the package)
    with tempfile.TemporaryDirectory(prefix="subsel-startup-") as folder:
        for name, command in _CASES.items():
            walls, works = [], []
            for _ in range(arguments.runs + 1):
                before = used()
                walls.append(
                    seconds(
                        lambda: subprocess.run(
                            command,  # noqa: B023  (called at once)
                            cwd=folder,
                            env=os.environ | {"PYTHONPATH": root},
                            capture_output=True,
                            check=False,
                        )
                    )
                )
                works.append(used() - before)
            print(f"{name:42s} {statistics.median(walls[1:]):7.2f}  {statistics.median(works[1:]):17.2f}")


if __name__ == "__main__":
    main()
