"""What the defaults cost beside those of before: neighbours, recall, seconds and peak memory of one selection.

python -m benchmarks.defaults [--points 100000] [--dimension 128] [--size 1%] [--data clusters sentences noise]
    [--options before auto thin=20]

`before`: alpha 0.9, 10 neighbours, 8 probes, 2 passes. `auto`: nothing but the size. Points are in memory; each
selection runs in a process of its own, whose peak is counted from before it began, points and compilers loaded. Read
`clusters`, `sentences` in `benchmarks.peers_graph`; `noise` is Gaussian.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import subsel
from benchmarks import common
from benchmarks.common import BEFORE, PeakMemory, machine, seconds

OPTIONS = {
    "before": BEFORE | {"utility": "constant"},
    "auto": {},
    "thin=20": {"thin": 20},
}


def row(kind: str, n: int, dimension: int, size: str, name: str) -> None:
    """Print the row of one selection."""
    points = getattr(common, kind)(n, dimension).astype("float32")
    subsel.select(points[:2000], size=size, **OPTIONS[name])  # compilers
    found: list[subsel.Selection] = []
    with PeakMemory() as memory:
        time = seconds(lambda: found.append(subsel.select(points, size=size, **OPTIONS[name])))
    graph = found[0].report.graph
    print(
        f"{kind:10s} {name:8s} {graph.neighbors:6d} {graph.probes:7d} {graph.passes:7d} {graph.recall:7.3f} "
        f"{found[0].report.seconds['neighbors']:8.1f} {time:8.1f} {memory.peak / 2**30:8.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--size", default="1%")
    parser.add_argument("--data", nargs="+", default=["clusters", "sentences", "noise"])
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    about = arguments.points, arguments.dimension, arguments.size
    if arguments.row:
        row(arguments.row[0], *about, arguments.row[1])
        return
    print(machine())
    print(f"{about[0]:,} points x {about[1]}, {about[2]} selected\n")
    print("data       options  neigh.  probes  passes  recall   search      all      GiB", flush=True)
    given = ["--points", str(about[0]), "--dimension", str(about[1]), "--size", about[2]]
    for kind in arguments.data:
        for name in arguments.options:
            subprocess.run([sys.executable, "-m", "benchmarks.defaults", *given, "--row", kind, name], check=True)


if __name__ == "__main__":
    main()
