from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings

import subsel
from subsel.testing import FAULTS, dirty_tables, graphs, problems, spoil


@given(dirty_tables())
@settings(max_examples=10)
def test_rows_that_are_told_to_be_bad_are_the_bad_ones(drawn):
    table, bad = drawn
    good = [row for row in range(len(table)) if row not in bad]
    if not bad:
        assert subsel.validate(table).n == len(table)
        return
    with pytest.raises(subsel.InputError, match=f"of {len(table)} rows: "):
        subsel.validate(table)
    points = subsel.validate(table, on_bad_rows="drop")
    assert sorted(points.rows.tolist()) == good
    assert sum(points.dropped.values()) == len(bad)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one(fault):
    rows = [{"id": i, "embedding": [1.0, i + 0.5], "utility": 0.5} for i in range(5)]
    assert subsel.validate(pa.Table.from_pylist(rows)).n == 5
    spoil(rows[4], fault)
    points = subsel.validate(pa.Table.from_pylist(rows), on_bad_rows="drop")
    assert points.rows.tolist() == [0, 1, 2, 3]


@given(graphs(), problems(max_n=5))
def test_graphs_are_of_their_points(graph, problem):
    n, edges = graph
    assert all(0 <= a < b < n for a, b in edges)
    n, edges, utility, alpha, beta, k = problem
    assert 1 <= k <= n == len(utility) <= 5
    assert alpha >= 0
    assert beta >= 0


def test_without_hypothesis_the_error_names_it():
    code = """
import sys
sys.modules["hypothesis"] = None
import subsel
try:
    import subsel.testing
except subsel.MissingPackageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "subsel.testing needs hypothesis: pip install hypothesis.\n"
