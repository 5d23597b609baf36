"""What the first selection of a fresh machine costs beyond a second one: compiling, in processor time and seconds.

python -m benchmarks.first_use [--points 20000] [--dimension 64] [--size 10%]

A process of its own selects twice, with an empty cache of kernels; what the first run took more is compiling, and what
else a first run does. One run: repeat it where a difference is small.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.record import parser, recording

_TWICE = """
import resource, sys, time
import subsel
from benchmarks.record import parser, recording
from benchmarks.common import clusters

def used():
    one, other = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return one.ru_utime + one.ru_stime + other.ru_utime + other.ru_stime

points = clusters(int(sys.argv[1]), int(sys.argv[2]))
for _ in range(2):
    begin, before = time.perf_counter(), used()
    subsel.select(points, size=sys.argv[3], progress=False)
    print(time.perf_counter() - begin, used() - before)
"""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=20_000)
    options.add_argument("--dimension", type=int, default=64)
    options.add_argument("--size", default="10%")
    arguments = options.parse_args()
    words = [str(arguments.points), str(arguments.dimension), arguments.size]
    with tempfile.TemporaryDirectory(prefix="subsel-first-use-") as cache:
        ran = subprocess.run(
            [sys.executable, "-c", _TWICE, *words],
            env=os.environ | {"NUMBA_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            check=True,
        )
    first, second = ([float(value) for value in line.split()] for line in ran.stdout.splitlines())
    with recording(arguments, f"{arguments.points:,} points x {arguments.dimension}, {arguments.size}") as record:
        record(
            {"measured": "<18s", "first": "6.1f", "second": "6.1f", "more": "6.1f"},
            (
                (name, one, other, one - other)
                for name, one, other in zip(("seconds", "processor time, s"), first, second, strict=True)
            ),
        )


if __name__ == "__main__":
    main()
