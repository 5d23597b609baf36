"""Graphs in parts: whole again when read, and parts that nothing happens to keep their files; on both engines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel.growing.place import part_of
from tests.test_growing import check_lists, pairs

PARTS = {"neighbors": 6, "part_points": 150}


def clusters(rng, n, first=0, centers=8, d=6, only=None):
    """Points around far centers, with ids from ``first``."""
    middle = np.eye(centers, d) * 40 if centers <= d else rng.standard_normal((centers, d)) * 40
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
