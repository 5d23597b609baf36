"""What a run on Spark costs as the data grows: `benchmarks.spark_pipeline` by points and dimensions, one after another.

python -m benchmarks.scaling [--sizes 1000000x128 5000000x64 10000000x64]

Each size is a process of its own, so that peaks of memory are its own, too.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.record import RESULTS, Row, parser, read, recording
from benchmarks.spark_pipeline import RUN


def row(size: str) -> Row:
    """Return the row of one size."""
    points, dimension = size.split("x")
    command = [sys.executable, "-m", "benchmarks.spark_pipeline", "--points", points, "--dimension", dimension]
    subprocess.run([*command, "--record", "scaling-part"], check=True)
    (found,) = read("scaling-part").tables[0].rows
    (RESULTS / "scaling-part.json").unlink()
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", nargs="+", default=["1000000x128", "5000000x64", "10000000x64"])
    arguments = options.parse_args()
    with recording(arguments, "10% selected, no swaps, ten neighbours, local[2], 2 GiB heap") as record:
        record(RUN, (row(size) for size in arguments.sizes))


if __name__ == "__main__":
    main()
