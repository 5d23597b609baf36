"""Numbers at their limits, and what must not change a result: repeats, threads, engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from annotated_types import Ge, Gt, Le, Lt
from threadpoolctl import threadpool_limits

import subsel
from subsel import SelectConfig
from subsel.fixedpoint import Usual

QUIET = {"progress": False, "recall_sample": 0, "coverage_sample": 16}
#: What of a manifest is of the moment, not of the subset.
MOMENT = ("run_id", "finished", "seconds", "peaks", "engine", "files", "machine", "memory")


def test_every_number_has_limits():
    """But amounts and similarities under limits, which have rules of their own (`subsel.sizes`)."""
    own = {"size", "budget", "quotas", "other", "at_least", "quotas_by", "neighbors"}
    without = [
        name
        for name, described in SelectConfig.model_fields.items()
        if any(kind in str(described.annotation) for kind in ("int", "float")) and name not in own
        if not any(isinstance(one, Le | Lt) for one in described.metadata)
        or not any(isinstance(one, Ge | Gt) for one in described.metadata)
    ]
    assert not without


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.decimal128(20, 0)])
def test_integers_beyond_53_bits(kind):
    """Ids stay what they are; utilities are rounded to the nearest float64, so order is kept or a tie."""
    values = [2**53, 2**53 + 1, 2**53 + 2, 2**62, 2**62 + 1, 2**62 + 512]
    table = pa.table({"id": pa.array(values, kind), "utility": pa.array(values, kind)})
    edges = pa.table({"src": table["id"][:1], "dst": table["id"][1:2], "similarity": [0.5]})
    found = subsel.select(table, graph=edges, size=3, alpha=1.0, beta=0.0, **QUIET)
    assert sorted(found.table["id"].to_pylist()) == values[3:]
    assert found.objective == float(sum(map(float, values[3:])))


@pytest.mark.parametrize("scale", [1e-310, 1e-40, 1e-8, 1e8, 1e30])
def test_utilities_of_any_scale_select_the_same(rng, scale):
    points = rng.standard_normal((60, 4)).astype(np.float32)
    utility = rng.integers(1, 2**20, 60).astype(np.float64)  # exact in denormals too
    wanted = subsel.select(points, utility=utility, size=9, **QUIET)
    found = subsel.select(points, utility=utility * scale, size=9, **QUIET)
    if scale < 1e-300:
        assert len(found) == 9
    else:
        assert found.ids.tolist() == wanted.ids.tolist()


@pytest.mark.parametrize("objective", ["pairwise", "coverage"])
def test_one_point_and_all_points(rng, objective):
    points = rng.standard_normal((5, 4)).astype(np.float32)
    for n in (1, 5):
        found = subsel.select(points[:n], size=n, objective=objective, certify=5, **QUIET)
        assert sorted(found.ids.tolist()) == list(range(n))
        assert found.report.certificate.share == pytest.approx(1.0)


def _written(folder: Path) -> tuple[pa.Table, dict]:
    manifest = json.loads((folder / "_manifest.json").read_text())
    return pq.read_table(folder), {name: one for name, one in manifest.items() if name not in MOMENT}


def _points(tmp_path: Path, n: int) -> Path:
    rng, place = np.random.default_rng(0), tmp_path / "p.parquet"
    x = rng.standard_normal((n, 8)).astype(np.float32)
    pq.write_table(pa.table({"id": range(n), "embedding": list(x), "utility": rng.random(n)}), place)
    return place


def test_repeats_and_threads_change_nothing(tmp_path):
    points, found, before = _points(tmp_path, 3000), [], numba.get_num_threads()
    try:
        for name, threads in (("a", 1), ("b", 1), ("c", before)):
            numba.set_num_threads(threads)
            with threadpool_limits(threads):
                subsel.select(points, output=tmp_path / name, size=200, certify=3, **QUIET)
            found.append(_written(tmp_path / name))
    finally:
        numba.set_num_threads(before)
    assert found[1:] == found[:1] * 2


CALL = (
    "import sys, subsel; asked = {'size': 2000, 'certify': 3, 'report': False, 'progress': False}; "
    "subsel.select(sys.argv[1], output=sys.argv[2], **asked)"
)


@pytest.mark.slow
def test_processes_of_few_and_many_threads_agree(tmp_path):
    """As many points as are worth several threads (`subsel.threads`)."""
    points, found = _points(tmp_path, 40_000), []
    for name, threads in (("a", 1), ("c", 2)):
        limits = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        subprocess.run(
            [sys.executable, "-c", CALL, str(points), str(tmp_path / name)], check=True, env=os.environ | limits
        )
        found.append(_written(tmp_path / name))
    assert found[0] == found[1]


@pytest.mark.slow
def test_both_engines_on_one_graph(tmp_path, spark):
    points = _points(tmp_path, 3000)
    subsel.neighbors(points, neighbors=6, progress=False).graph.to_parquet(tmp_path / "g.parquet")
    asked = {"graph": tmp_path / "g.parquet", "size": 200, "certify": 3, "report": False, **QUIET}
    subsel.select(points, output=tmp_path / "here", engine="local", **asked)
    subsel.select(points, output=tmp_path / "there", engine=spark, **asked)
    (one, here), (other, there) = _written(tmp_path / "here"), _written(tmp_path / "there")
    assert one.equals(other.cast(one.schema))
    assert {name for name in here.keys() ^ there.keys() if here.get(name, there.get(name))} <= {"spark"}
    for name in ("k", "config", "bounding", "refine", "fixed_point"):
        assert here.get(name) == there.get(name), name
    for name in ("objective", "certificate", "weights"):  # sums of floats, for the reader: to the last bits
        one, other = (
            {key: value for key, value in each[name].items() if isinstance(value, float)} for each in (here, there)
        )
        assert one == pytest.approx(other, rel=1e-12), name


def test_a_value_that_is_next_to_nothing_makes_no_other_large():
    """Most of these are alike; that one is as good as 0 does not make them dwarf the rest."""
    utility = np.array([0.0] * 5 + [0.125] * 5 + [4.5e-113])
    usual = Usual.of(utility)
    assert 2.0**-16 < usual.size <= 0.25
    graph = sp.csr_matrix((11, 11))
    found = subsel.select(graph=graph, utility=utility, size=2, alpha=0.9, progress=False)
    assert set(found.ids.tolist()) <= set(range(5, 10))
