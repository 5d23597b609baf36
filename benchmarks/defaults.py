"""What the defaults cost beside those of before: neighbours, recall, seconds and peak memory of one selection.

python -m benchmarks.defaults [--points 100000] [--dimension 128] [--size 1%] [--data clusters sentences noise]
    [--options before auto thin=20]

`before`: alpha 0.9, 10 neighbours, 8 probes, 2 passes. `auto`: nothing but the size. Points are in memory; each
selection runs in a process of its own, whose peak is counted from before it began, points and compilers loaded. Read
`clusters`, `sentences` in `benchmarks.peers_graph`; `noise` is Gaussian.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import subsel
from benchmarks import common
from benchmarks.common import BEFORE, PeakMemory, seconds
from benchmarks.record import Row, parser, recording

OPTIONS = {
    "before": BEFORE | {"utility": "constant"},
    "auto": {},
    "thin=20": {"thin": 20},
}


COLUMNS = {
    "data": "<10s",
    "options": "<8s",
    "neighbors": "d",
    "probes": "d",
    "passes": "d",
    "recall": "6.3f",
    "search s": "8.1f",
    "all s": "8.1f",
    "GiB": "6.2f",
}


def row(kind: str, n: int, dimension: int, size: str, name: str) -> Row:
    """Return the row of one selection, in this process."""
    points = getattr(common, kind)(n, dimension).astype("float32")
    subsel.select(points[:2000], size=size, **OPTIONS[name])  # compilers
    found: list[subsel.Selection] = []
    with PeakMemory() as memory:
        time = seconds(lambda: found.append(subsel.select(points, size=size, **OPTIONS[name])))
    graph = found[0].report.graph
    search = found[0].report.seconds["neighbors"]
    return kind, name, graph.neighbors, graph.probes, graph.passes, graph.recall, search, time, memory.peak / 2**30


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=100_000)
    options.add_argument("--dimension", type=int, default=128)
    options.add_argument("--size", default="1%")
    options.add_argument("--data", nargs="+", default=["clusters", "sentences", "noise"])
    options.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    options.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    about = arguments.points, arguments.dimension, arguments.size
    if arguments.row:
        print(json.dumps(row(arguments.row[0], *about, arguments.row[1])))
        return
    given = ["--points", str(about[0]), "--dimension", str(about[1]), "--size", about[2]]

    def alone(kind: str, name: str) -> Row:
        command = [sys.executable, "-m", "benchmarks.defaults", *given, "--row", kind, name]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found: Row = json.loads(told.splitlines()[-1])
        return found

    with recording(arguments, f"{about[0]:,} points x {about[1]}, {about[2]} selected") as record:
        record(COLUMNS, (alone(kind, name) for kind in arguments.data for name in arguments.options))


if __name__ == "__main__":
    main()
