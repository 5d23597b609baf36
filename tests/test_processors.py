"""Another kind of processor: on one graph the same bytes, and graphs that differ in last bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subsel import demo

ROOT = Path(__file__).parent.parent
#: Prints digests of subsets and bounds on a given graph, and writes the graph that this processor finds.
CHILD = """
import hashlib, json, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
import subsel

folder, mine = Path(sys.argv[1]), Path(sys.argv[2])
points, quiet = folder / "points.parquet", {"report": False, "progress": False}
found = subsel.neighbors(points, neighbors=10, progress=False).graph
src = np.repeat(np.arange(len(found.ids)), np.diff(found.indptr))
once = src < found.indices
edges = {"src": src[once], "dst": found.indices[once], "similarity": found.similarity[once].astype(np.float64)}
ids = found.ids.to_numpy()
mine.mkdir()
pq.write_table(pa.table(edges | {"src": ids[edges["src"]], "dst": ids[edges["dst"]]}), mine / "graph.parquet")
given = folder / "graph.parquet" if (folder / "graph.parquet").exists() else mine / "graph.parquet"
told = {}
for name, options in {
    "size": {"size": 0.1, "refine": 2, "certify": 10},
    "limits": {"budget": 0.2, "cost": "tokens", "groups": "kind", "quotas": "proportional", "certify": 3},
    "coverage": {"objective": "coverage", "size": 0.05, "certify": 5},
}.items():
    for which, graph in (("given", given), ("own", mine / "graph.parquet")):
        subset = subsel.select(points, output=mine / name, overwrite=True, graph=graph, **options, **quiet)
        table = pq.read_table(mine / name).sort_by("id")
        digest = hashlib.sha256(repr([table.to_pydict(), subset.upper_bound]).encode())
        told[f"{name}, {which}"] = [digest.hexdigest(), subset.objective, subset.upper_bound]
print(json.dumps(told))
"""


def _simple_processor(folder: Path) -> dict[str, str]:
    """Return an environment in which numba, faiss, BLAS and numpy use what every x86-64 processor has, and no more."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return {
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(folder / "compiled"),
        "FAISS_OPT_LEVEL": "generic",
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": " ".join(one for one in __cpu_dispatch__ if __cpu_features__[one]),
    }


@pytest.mark.long
def test_the_kind_of_processor_changes_last_bits_of_graphs_alone(tmp_path):
    n, rng = 6000, np.random.default_rng(0)
    table = demo.demo_table(n, 32)
    table = table.append_column("tokens", pa.array(rng.integers(1, 500, n)))
    table = table.append_column("kind", pa.array(np.array(list("abc"))[rng.integers(0, 3, n)]))
    pq.write_table(table, tmp_path / "points.parquet")
    told, graphs = [], []
    for name, env in (("this", {}), ("simple", _simple_processor(tmp_path))):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path), str(tmp_path / name)],
            env=os.environ | env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told.append(json.loads(done.stdout.splitlines()[-1]))
        graphs.append(pq.read_table(tmp_path / name / "graph.parquet"))
        if name == "this":
            (tmp_path / "graph.parquet").write_bytes((tmp_path / name / "graph.parquet").read_bytes())
    this, simple = told
    for kind in ("size", "limits", "coverage"):
        assert simple[f"{kind}, given"] == this[f"{kind}, given"]
        assert simple[f"{kind}, own"][1:] == pytest.approx(this[f"{kind}, own"][1:], rel=1e-7)
    assert simple["size, own"][0] != this["size, own"][0], "both computed alike: this shows nothing"
    one, other = ({(a, b): s for a, b, s in zip(*graph.to_pydict().values(), strict=True)} for graph in graphs)
    both = one.keys() & other.keys()
    assert len(both) >= 0.9999 * len(one.keys() | other.keys())
    assert max(abs(one[pair] - other[pair]) for pair in both) < 1e-6
