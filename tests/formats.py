"""Makes tests/fixtures/formats/VERSION/: one of everything that this version writes, for later versions to read.

python -m tests.formats
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import subsel
from subsel.version import __version__

FOLDER = Path(__file__).parent / "fixtures" / "formats"
K, N = 6, 60
ASKED: dict[str, Any] = {
    "size": K,
    "neighbors": 4,
    "certify": 2,
    "coverage_sample": 16,
    "report": False,
    "progress": False,
}
GROWN: dict[str, Any] = {"neighbors": 4, "progress": False}


def points() -> pa.Table:
    rng = np.random.default_rng(7)
    return pa.table(
        {
            "id": pa.array(np.arange(N, dtype=np.uint64) + np.uint64(2**63 - 30)),
            "embedding": list(rng.standard_normal((N, 4)).astype(np.float32)),
            "utility": rng.random(N),
        }
    )


def main() -> None:
    folder = FOLDER / __version__
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table = points()
    pq.write_table(table, folder / "points.parquet")
    # Points from memory: what a run directory knows of files are their times, too.
    done = subsel.select(table, output=folder / "subset", audit=folder / "audit", run_dir=folder / "run", **ASKED)
    subsel.select(table, output=folder / "subset.parquet", **ASKED)
    assert done.graph is not None
    done.graph.to_parquet(folder / "graph.parquet")
    subsel.growing_graph(table, output=folder / "growing", **GROWN)
    expected = {"ids": done.ids.tolist(), "f": done.objective, "asked": ASKED}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
