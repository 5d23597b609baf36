"""Which parts points travel to, in one level of coarse cells and in two."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from subsel import SelectConfig
from subsel.demo import demo_points
from subsel.embeddings import cells
from subsel.embeddings.metrics import Preparation
from subsel.parts.route import PartMap

N, PART_POINTS, VISITS = 6000, 500, 6


@pytest.fixture
def rows():
    points, _ = demo_points(N, 16)
    return Preparation.of_sample(points, "cosine").rows(points)


@pytest.mark.parametrize(("one_level", "probed"), [(10_000, 16), (8, 16), (8, 1)])
def test_every_point_has_a_home_and_parts_are_of_about_the_wanted_size(rows, monkeypatch, one_level, probed):
    monkeypatch.setattr(cells, "ONE_LEVEL", one_level)
    monkeypatch.setattr(cells, "GROUPS_PROBED", probed)
    part_map = PartMap.plan(rows, N, PART_POINTS, SelectConfig())
    assert (len(part_map.quantizer.groups) > 0) == (one_level == 8)
    code = np.random.default_rng(3).integers(-(2**63), 2**63 - 1, N)
    to = part_map.destinations(rows, code, VISITS)
    assert to.shape == (N, VISITS)
    assert to[:, 0].min() >= 0
    assert to.max() < part_map.parts
    for row in to:
        real = row[row >= 0]
        assert len(set(real.tolist())) == len(real)
    size = np.bincount(to[:, 0], minlength=part_map.parts)
    assert size.max() <= 3 * PART_POINTS
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part_map)).destinations(rows, code, VISITS), to)


def test_cells_that_were_not_found_are_no_part(monkeypatch):
    monkeypatch.setattr(cells, "GROUPS_PROBED", 1)
    groups, centroids = np.array([[0, 0], [10, 0]], np.float32), np.array([[1, 0], [9, 1], [11, 0]], np.float32)
    quantizer = cells.Quantizer(centroids, groups, "l2")
    part_map = PartMap(quantizer, np.array([0, 1, 2], np.int32), np.ones(3, np.int32), 3)
    to = part_map.destinations(np.array([[0, 0], [10, 2]], np.float32), np.array([5, 6]), 3)
    assert to.tolist() == [[0, -1, -1], [1, 2, -1]]
