"""The paper's tables in small: their pattern, with tolerances from repeated seeds (benchmarks/paper_tables.py)."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.paper_tables import exact_on_parts, partitioned, problems, rand_greedi
from subsel import demo

SEEDS = range(5)


@pytest.fixture(scope="module")
def problem():
    """2,000 demo points at α = 0.9."""
    return problems(demo.demo_table(2000, 16), None)[0]


@pytest.fixture(scope="module")
def grids(problem):
    """{size: (centralised, {(partitions, rounds, adaptive): f by seed})}."""
    found = {}
    for k in (200, 1600):
        central = exact_on_parts(problem, k, 1)[0]
        cells = {
            (m, r, adaptive): np.array([partitioned(problem, k, m, r, adaptive=adaptive, seed=s) for s in SEEDS])
            for m in (1, 8, 32)
            for r in (1, 8)
            for adaptive in (False, True)
        }
        found[k] = central, cells
    return found


def normalised(grid):
    central, cells = grid
    worst = min(scores.min() for scores in cells.values())
    return {cell: 100 * (scores - worst) / (central - worst) for cell, scores in cells.items()}


@pytest.mark.parametrize("k", [200, 1600])
def test_the_pattern_of_the_tables(grids, k):
    scores = normalised(grids[k])
    noise = max(cell.std() for cell in scores.values())
    for (m, r, adaptive), cell in scores.items():
        if m == 1:
            assert cell == pytest.approx(100)
        if m > 1:
            assert cell.max() < 100  # parts lose something
        if r == 1 and adaptive:  # one round: nothing to adapt
            assert (cell == scores[m, r, False]).all()
        if r == 8 and m > 1:
            assert cell.mean() > scores[m, 1, adaptive].mean() - 2 * noise  # more rounds are better
    assert scores[32, 1, False].mean() < 2 * noise + 3  # about the worst of all
    assert scores[32, 8, False].mean() < scores[8, 8, False].mean()


def test_adapting_helps_most_where_little_is_selected(grids):
    gains = {}
    for k, grid in grids.items():
        scores = normalised(grid)
        gains[k] = scores[32, 8, True].mean() - scores[32, 8, False].mean()
    assert gains[200] > gains[1600] + 5


@pytest.mark.parametrize("k", [200, 1600])
def test_exact_greedy_is_100_on_any_parts(problem, grids, k):
    central, cells = grids[k]
    for parts in (8, 32):
        score, supersteps, _ = exact_on_parts(problem, k, parts)
        assert score == pytest.approx(central, rel=1e-12)
        assert supersteps >= 2
    merged = rand_greedi(problem, k, 8)
    assert cells[8, 1, False].mean() < merged <= central + 1e-9
