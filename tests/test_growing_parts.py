"""Graphs in parts: whole again when read, and parts that nothing happens to keep their files; on both engines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel.embeddings.metrics import similarity_of_scores
from subsel.growing.place import part_of
from tests.reference import exact_neighbors
from tests.test_growing import check_lists, pairs

PARTS = {"neighbors": 6, "part_points": 150}


def clusters(rng, n, first=0, centers=8, d=6, only=None):
    """Points around far centers, with ids from ``first``."""
    middle = np.eye(centers, d) * 12 if centers <= d else rng.standard_normal((centers, d)) * 12
    which = rng.integers(0, centers, n) if only is None else np.full(n, only)
    points = (middle[which] + rng.standard_normal((n, d))).astype(np.float16).astype(np.float32)
    return pa.table({"id": np.arange(first, first + n), "embedding": list(points)})


@pytest.fixture
def place(rng, tmp_path):
    points = clusters(rng, 900, centers=6)
    subsel.growing_graph(points, output=tmp_path / "graph", metric="l2", **PARTS)
    return tmp_path / "graph", points


def contents(place):
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in place.rglob("*.parquet")}


def test_parts_are_one_graph_again(place, rng):
    where, points = place
    made = subsel.growing_graph(points, metric="l2", **PARTS)
    read = subsel.open_graph(where)
    assert len(read._kept.sums) > 3
    check_lists(read._kept.state)
    assert pairs(read.graph) == pairs(made.graph)
    by_path = subsel.select(points, size=30, graph=where, utility="density")
    assert by_path.ids.tolist() == subsel.select(points, size=30, graph=read.graph, utility="density").ids.tolist()
    assert pq.read_table(where).column_names == ["src", "dst", "similarity"]


def test_parts_without_a_change_keep_their_files(place, rng):
    where, _ = place
    before, inodes = contents(where), {file.stat().st_ino for file in where.rglob("*.parquet")}
    grown = subsel.open_graph(where)
    grown.add(clusters(rng, 20, 5000, centers=6, only=2))
    grown.save()
    after = contents(where)
    changed = {part_of(name) for name in after if before.get(name) != after[name]}
    same = [file for file in where.rglob("*.parquet") if file.stat().st_ino in inodes]
    assert 0 < len(changed) < len(grown._kept.sums)
    assert {part_of(file.relative_to(where).as_posix()) for file in same}.isdisjoint(changed) and len(same) > 4
    again = subsel.open_graph(where)
    assert pairs(again.graph) == pairs(grown.graph) and len(again) == 920


@pytest.fixture
def on_spark(spark):
    """Grow a graph on Spark."""

    def grow(where, data=None, **how):
        return subsel.grow_graph(where, data, engine=spark, progress=False, **how)

    return grow


def write(table, where):
    pq.write_table(table, where)
    return str(where)


def recall_of(graph, points, metric="l2"):
    state = graph._kept.state
    X = state.vectors()
    best = exact_neighbors(X, state.neighbors, metric)
    found = similarity_of_scores(state.score[:, : state.neighbors].copy(), metric)
    return (found >= best[:, -1:] - 1e-5).mean()


def test_points_join_on_spark_as_on_one_machine(place, rng, on_spark, tmp_path):
    where, points = place
    other = tmp_path / "local"
    subsel.growing_graph(points, output=other, metric="l2", **PARTS)
    new = clusters(rng, 40, 5000, centers=6, only=2)
    before = contents(where)
    found = on_spark(where, write(new, tmp_path / "new.parquet"))
    local = subsel.grow_graph(other, new)
    assert found.points == local.points == 940
    one, two = subsel.open_graph(where), subsel.open_graph(other)
    for graph in (one, two):
        check_lists(graph._kept.state)
    assert sorted(one._kept.state.ids.to_pylist()) == sorted(two._kept.state.ids.to_pylist())
    assert found.revisions[0].of == local.revisions[0].of
    ours, theirs = (recall_of(graph, points) for graph in (one, two))
    assert ours == pytest.approx(theirs, abs=0.01) and ours > 0.98, (ours, theirs)
    assert found.revisions[0].recall >= 0.95
    after = contents(where)
    kept = {part_of(name) for name in before if before[name] == after.get(name)}
    changed = {part_of(name) for name in after if name not in before}
    assert kept and changed and kept.isdisjoint(changed)
    scores = [dict(scored(graph)) for graph in (one, two)]
    assert all(abs(scores[0][pair] - scores[1][pair]) < 1e-5 for pair in scores[0].keys() & scores[1].keys())
    assert on_spark(where, str(tmp_path / "new.parquet")).revisions == found.revisions  # as after a run that was killed


def scored(graph):
    for batch in graph.graph.edges():
        for a, b, s in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield (min(a, b), max(a, b)), s
