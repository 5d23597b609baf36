"""Data that is anything but even: half of it in one place, hubs, parts that do not fit; split, capped or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import ConfigError, SelectConfig
from subsel.embeddings.recipe import Search
from subsel.parts.crowded import MOST_TRAVEL, find_crowded, without_twins
from subsel.parts.route import PartMap
from subsel.planning import LOCAL_BYTES_PER_EDGE, TASK_COPIES, WORKER_BYTES, check_worker, search_bytes
from tests.spark_fixtures import needs_spark

N, PART_POINTS = 10_000, 500
ROOT = Path(__file__).parent.parent


def half_in_one_place(spread: float):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, 16))
    X = centres[rng.integers(0, 200, N)] + 0.3 * rng.standard_normal((N, 16))
    X[: N // 2] = centres[0] + spread * rng.standard_normal((N // 2, 16))
    X = X.astype(np.float32)[rng.permutation(N)]
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("spread", [0.0, 1e-3])
def test_no_part_holds_many_times_what_others_do(spread):
    X, code = half_in_one_place(spread), np.arange(N)
    part_map = PartMap.plan(X, N, PART_POINTS, Search.of(SelectConfig(size=100), N, 100))
    to = part_map.destinations(X, code)
    inside = np.bincount(to[to >= 0], minlength=part_map.parts)
    free = replace(part_map, crowded={}).destinations(X, code)
    average = np.bincount(free[free >= 0], minlength=part_map.parts).mean()
    assert inside.max() <= max(MOST_TRAVEL * PART_POINTS, 2 * average)
    assert part_map.largest == inside.max()  # the sample is all
    assert np.bincount(to[:, 0], minlength=part_map.parts).max() < 2 * PART_POINTS
    np.testing.assert_array_equal(to[:, 0], free[:, 0])  # whoever lives there stays
    left = np.isin(free, list(part_map.crowded)) | (to == free)
    assert left.all(), "others are visited as ever"


def test_cells_of_equal_points_are_one():
    rng = np.random.default_rng(0)
    centroids = rng.standard_normal((40, 8)).astype(np.float32)
    twins = np.concatenate([centroids, centroids[:5], np.nextafter(centroids[3:9], np.float32(9))])
    np.testing.assert_array_equal(without_twins(twins), centroids)
    np.testing.assert_array_equal(without_twins(centroids + np.float32(1e-3)), centroids + np.float32(1e-3))


def test_the_nearest_visit_a_crowded_part():
    to = np.array([[0, 1]] * 6 + [[1, -1]] * 2, np.int32)
    lag = np.array([[0, 0.1 * row] for row in range(6)] + [[0, 0]] * 2, np.float32)
    reach, largest = find_crowded(to, lag, 2, 1, 1.0)
    assert reach == {}  # twice the average of 7 is 14
    reach, largest = find_crowded(to, lag, 8, 1, 1.0)  # the average is 1.75, planned are 3.6
    assert list(reach) == [1]
    assert largest == 6  # those that live in part 0, which nobody visits
    assert (lag[:6, 1] <= reach[1]).sum() == 1  # two live there, so there is room for one
    equal = np.zeros_like(lag)
    assert find_crowded(to, equal, 8, 1, 1.0)[0][1] < 0, "of equals none, rather than all"


def test_parts_that_do_not_fit_are_refused_before_the_work():
    part, dimension, neighbors = 10_000, 100, 10
    points = 36_000
    need = WORKER_BYTES + search_bytes(points, dimension, neighbors)
    check_worker(None, points, part, dimension, neighbors)
    check_worker(need, points, part, dimension, neighbors)
    half = WORKER_BYTES + search_bytes(points // 2, dimension, neighbors)
    with pytest.raises(
        ConfigError, match=r"36,000 points, .*: take parts of part_points=(4999|5000), or raise that"
    ) as e:
        check_worker(half, points, part, dimension, neighbors)
    assert "\n" not in str(e.value)
    with pytest.raises(ConfigError, match=r"executor cores\): raise that"):
        check_worker(WORKER_BYTES, points, part, dimension, neighbors)


HUB = """
import json, resource, sys
import numpy as np, pyarrow as pa
import subsel
neighbors = int(sys.argv[1])
subsel.select(pa.table({"id": [0, 1, 2], "utility": [1.0, 0.5, 0.2]}), graph=pa.table(
    {"src": [0], "dst": [1], "similarity": [0.5]}), size=1, alpha=0.5, progress=False, report=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = neighbors + 1
utility = np.r_[2.0, np.random.default_rng(0).permutation(neighbors) / neighbors]
edges = pa.table({"src": np.zeros(neighbors, np.int64), "dst": np.arange(1, n), "similarity": np.full(neighbors, 0.25)})
found = subsel.select(pa.table({"id": np.arange(n), "utility": utility}), graph=edges, size=1000, alpha=0.5,
                      refine=0, progress=False, report=False, coverage_sample=0)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
expected = [0, *(1 + np.argsort(-utility[1:])[:999]).tolist()]
print(json.dumps({"grown": grown, "equal": found.ids.tolist() == expected}))
"""


@pytest.mark.slow
def test_a_hub_with_a_million_neighbours():
    """Its gain counts once, and its edges take no more than others do."""
    neighbors = 1_000_000
    done = subprocess.run(
        [sys.executable, "-c", HUB, str(neighbors)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["equal"]
    assert found["grown"] < 2 * neighbors * (LOCAL_BYTES_PER_EDGE + 200)


@pytest.mark.long
def test_a_hub_in_one_of_many_parts(spark, tmp_path):
    needs_spark()
    neighbors = 200_000
    n = neighbors + 1
    utility = np.r_[2.0, np.random.default_rng(0).permutation(neighbors) / neighbors]
    pq.write_table(pa.table({"id": np.arange(n), "utility": utility}), tmp_path / "points.parquet")
    edges = {"src": np.zeros(neighbors, np.int64), "dst": np.arange(1, n), "similarity": np.full(neighbors, 0.25)}
    pq.write_table(pa.table(edges), tmp_path / "graph.parquet")
    asked = {"size": 1000, "alpha": 0.5, "refine": 0, "coverage_sample": 0, "progress": False}
    where = {"graph": tmp_path / "graph.parquet", "part_points": 20_000, "engine": spark, "output": tmp_path / "out"}
    found = subsel.select(tmp_path / "points.parquet", **asked, **where)
    assert found.ids.tolist() == [0, *(1 + np.argsort(-utility[1:])[:999]).tolist()]


GROUP = """
import json, os, resource, sys
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from subsel.engines.spark.parcels import PARCEL_SCHEMA, exchange, map_in_arrow
from subsel.parts.pack import CHUNK_BYTES, Parcel
from subsel.parts.rows import to_table

EACH, PARCELS = 100 << 20, int(sys.argv[1])
session = SparkSession.builder.master("local[1]").config("spark.driver.memory", "6g")
session = session.config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1").getOrCreate()
session.sparkContext.setLogLevel("ERROR")

def value(number):
    return np.full(EACH, number, np.uint8)

def send(batches):
    for batch in batches:
        for number in batch.column("id").to_pylist():
            yield from to_table([Parcel(0, number, "big", value(number).data)]).to_batches(8)

def receive(part, parcels):
    right = all(np.array_equal(np.frombuffer(one.payload, np.uint8), value(one.source)) for one in parcels)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    told = {"parcels": len(parcels), "right": right, "bytes": sum(len(one.payload) for one in parcels), "most": most}
    yield Parcel(part, part, "told", json.dumps(told).encode())

sent = map_in_arrow(session.range(0, PARCELS, 1, 1), send, PARCEL_SCHEMA)
(row,) = exchange(sent, receive, 1).collect()
print(bytes(row.payload).decode())
session.stop()
"""


@pytest.mark.long
def test_a_group_over_two_gibibytes():
    """What one part is sent may be more than an Arrow array or an array of the JVM holds; plans count what it takes."""
    needs_spark()
    done = subprocess.run(
        [sys.executable, "-c", GROUP, "24"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["parcels"] == 24
    assert found["right"]
    assert found["bytes"] == 24 * (100 << 20) > 2**31
    assert found["most"] < TASK_COPIES * found["bytes"]
