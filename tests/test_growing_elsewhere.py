"""Graphs that grow where executors are processes of their own: the same as where they are threads of the session's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import subsel
from tests.test_growing import check_lists
from tests.test_growing_parts import PARTS, clusters, recall_of, scored
from tests.test_spark_elsewhere import CLUSTER, environment

ROOT = Path(__file__).parent.parent


def grow(folder, where, spark):
    """Make a graph, let two batches join and some leave; return how many points it has after each."""
    how = {"engine": spark, "progress": False}
    first, one, two, gone = (str(folder / f"{name}.parquet") for name in ("first", "one", "two", "gone"))
    subsel.neighbors(first, metric="l2", output=where, **how, **PARTS)
    changes = [{"data": one}, {"data": two}, {"remove": gone}]
    return [subsel.grow_graph(where, **change, **how).points for change in changes]


@pytest.mark.long
def test_a_graph_grows_on_executors_as_in_one_process(rng, tmp_path, spark):
    points = clusters(rng, 700, centers=6)
    for name, some in (("first", points[:600]), ("one", points[600:640]), ("two", points[640:])):
        pq.write_table(some, tmp_path / f"{name}.parquet")
    pq.write_table(points.select(["id"])[10:40], tmp_path / "gone.parquet")
    here, there = tmp_path / "here", tmp_path / "there"
    assert grow(tmp_path, here, spark) == [640, 700, 670]
    script = (
        f"from pathlib import Path\nfrom pyspark.sql import SparkSession\nfrom {__name__} import grow\n{CLUSTER}\n"
        f"grow(Path({str(tmp_path)!r}), Path({str(there)!r}), spark)\nspark.stop()\n"
    )
    env = environment(PYTHONPATH=str(ROOT), SPARK_WORKER_DIR=str(tmp_path / "work"))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    local = subsel.growing_graph(points[:600], metric="l2", **PARTS)
    for batch in (points[600:640], points[640:]):
        local.add(batch)
    local.remove(points["id"][10:40])
    one, other = (subsel.open_graph(place) for place in (here, there))
    check_lists(other._kept.state)
    assert dict(scored(one)) == dict(scored(other))
    assert len(other._kept.sums) > 1 and [r.joined - r.left for r in other.revisions] == [40, 60, -30]
    ours, theirs = (recall_of(graph) for graph in (other, local))
    assert ours == pytest.approx(theirs, abs=0.01) and ours > 0.98, (ours, theirs)
    scores = dict(scored(other)), dict(scored(local))
    both = scores[0].keys() & scores[1].keys()
    assert len(both) > 0.95 * len(scores[1]) and all(abs(scores[0][pair] - scores[1][pair]) < 1e-5 for pair in both)
