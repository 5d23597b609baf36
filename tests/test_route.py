"""Which parts points travel to, in one level of coarse cells and in two."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from subsel import SelectConfig
from subsel.demo import demo_points
from subsel.embeddings import cells
from subsel.embeddings.metrics import Preparation
from subsel.embeddings.recipe import Search
from subsel.parts import route
from subsel.parts.pack import of_kind, unpack
from subsel.parts.route import PartMap, coarse_probes

N, PART_POINTS = 6000, 500
HOW = Search.of(SelectConfig(probes=8), N, None)
VISITS = coarse_probes(HOW)


@pytest.fixture
def rows():
    points, _ = demo_points(N, 16)
    return Preparation.of_sample(points, "cosine").rows(points)


@pytest.mark.parametrize(("one_level", "probed"), [(10_000, 16), (8, 16), (8, 1)])
def test_every_point_has_a_home_and_parts_are_of_about_the_wanted_size(rows, monkeypatch, one_level, probed):
    monkeypatch.setattr(cells, "TRAINED_AT_ONCE", one_level)
    monkeypatch.setattr(cells, "ONE_LEVEL", one_level)
    monkeypatch.setattr(cells, "GROUPS_PROBED", probed)
    part_map = PartMap.plan(rows, N, PART_POINTS, HOW)
    assert (len(part_map.quantizer.groups) > 0) == (one_level == 8)
    code = np.random.default_rng(3).integers(-(2**63), 2**63 - 1, N)
    to = part_map.destinations(rows, code)
    assert to.shape == (N, VISITS)
    assert to[:, 0].min() >= 0
    assert to.max() < part_map.parts
    for row in to:
        real = row[row >= 0]
        assert len(set(real.tolist())) == len(real)
    size = np.bincount(to[:, 0], minlength=part_map.parts)
    assert size.max() <= 3 * PART_POINTS
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part_map)).destinations(rows, code), to)


def meeting(part_map, rows, others, reach):
    """Which pairs have a part in common at a reach."""
    both = (slow_visits(part_map, X, reach) for X in (rows, others))
    return np.array([bool(mine & theirs) for mine, theirs in zip(*both, strict=True)])


def slow_visits(part_map, X, reach):
    """The parts of each row: one row and one cell after the other."""
    score = X @ part_map.quantizer.centroids.T
    return [
        {int(part_map.first_part[c]) for c in np.argsort(-line)[:VISITS] if line.max() - line[c] <= reach}
        for line in score
    ]


def test_the_reach_is_the_least_at_which_near_pairs_meet(rows):
    part_map = PartMap.plan(rows, N, PART_POINTS, HOW)
    sample, others = cells.neighbor_pairs(rows, N, 10, "cosine")
    can = meeting(part_map, sample, others, np.inf)
    assert can.mean() > 0.9
    assert 0 < part_map.reach < np.inf
    assert meeting(part_map, sample, others, part_map.reach).sum() >= 0.98 * can.sum()
    assert meeting(part_map, sample, others, part_map.reach * 0.9998).sum() < 0.98 * can.sum() + 1


@pytest.mark.parametrize(
    ("m", "neighbors", "rank"), [(N, 10, 10), (600, 10, 1), (900, 10, 2), (50, 10, 1), (12, 900, 2)]
)
def test_pairs_are_as_far_as_the_last_neighbour_is(rows, m, neighbors, rank):
    sample, others = cells.neighbor_pairs(rows[:m], N, neighbors, "cosine")
    score = sample @ rows[:m].T
    score[np.arange(len(sample)), np.arange(len(sample))] = -np.inf
    expected = -np.sort(-score, axis=1)[:, rank - 1]
    np.testing.assert_allclose(np.einsum("ij,ij->i", sample, others), expected, atol=1e-6)
    assert len(sample) == min(m, 1000)


def test_points_go_to_the_parts_within_reach(rows):
    part_map = PartMap.plan(rows, N, PART_POINTS, HOW)
    code = np.arange(N)
    wide = replace(part_map, reach=np.inf).destinations(rows, code)
    to = part_map.destinations(rows, code)
    narrow = replace(part_map, reach=-1.0).destinations(rows, code)
    assert (narrow == -1).all()  # the nearest cell's lag is 0
    home = replace(part_map, reach=0.0, visits=1).destinations(rows, code)
    np.testing.assert_array_equal(to[:, 0], home[:, 0])
    expected = slow_visits(part_map, rows, part_map.reach)
    differ = sum({p for p in row.tolist() if p >= 0} != visits for row, visits in zip(to, expected, strict=True))
    assert differ <= 2  # whose lag is the reach but for rounding
    assert (home >= 0).sum() < (to >= 0).sum() < (wide >= 0).sum()


def test_points_probe_the_cells_within_reach(rows):
    quantizer = cells.Quantizer.train(rows[:4000], 100, "cosine", 0)
    reach = cells.probe_reach(quantizer, cells.neighbor_pairs(rows, N, 10, quantizer.metric), 8)
    sample, others = cells.neighbor_pairs(rows, N, 10, "cosine")
    lag = np.full(len(sample), np.inf)
    for here, there in ((sample, others), (others, sample)):  # either end may probe the other's cell
        score, home = here @ quantizer.centroids.T, np.argmax(there @ quantizer.centroids.T, axis=1)
        can = np.array([home[i] in np.argsort(-score[i])[:8] for i in range(len(here))])
        behind = score.max(axis=1) - score[np.arange(len(here)), home]
        lag = np.minimum(lag, np.where(can, behind, np.inf))
    can = np.isfinite(lag)
    assert np.mean(lag[can] <= reach + 1e-6) >= 0.99
    assert np.mean(lag[can] <= reach * 0.9998) < 0.99 + 1 / can.sum()
    every = cells.assign_cells(lambda a, b: rows[a:b], N, quantizer, 8)
    some = cells.assign_cells(lambda a, b: rows[a:b], N, quantizer, 8, reach)
    np.testing.assert_array_equal(every.order, some.order)
    probed = some.probes >= 0
    assert (some.probes[:, 0] >= 0).all()
    assert 0.2 < probed.mean() < 0.9
    np.testing.assert_array_equal(some.probes[probed], every.probes[probed])


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_the_reach_of_few_and_equal_rows(metric):
    how = replace(HOW, metric=metric)
    for m, expected in ((1, np.inf), (50, 0)):
        rows = np.ones((m, 3), np.float32)
        quantizer = cells.Quantizer.train(rows, 4, metric, 0)
        pairs = cells.neighbor_pairs(rows, 50, 10, metric)
        assert cells.probe_reach(quantizer, pairs, 3) == pytest.approx(expected, abs=1e-5)
        assert cells.probe_reach(quantizer, pairs, 4) == np.inf  # all cells: exact search
        assert PartMap.plan(rows, 50, 20, how).reach == pytest.approx(expected, abs=1e-5)


def test_copies_do_not_hide_other_neighbours(rows):
    copied = np.repeat(rows[:1200], 5, axis=0)[np.random.default_rng(0).permutation(6000)]
    quantizer = cells.Quantizer.train(copied, 60, "cosine", 0)
    assert cells.probe_reach(quantizer, cells.neighbor_pairs(copied, 6000, 10, quantizer.metric), 8) > 0.01
    assert PartMap.plan(copied, 6000, PART_POINTS, HOW).reach > 0.01


def test_by_inner_product_the_lag_is_a_share_of_the_length(rows):
    quantizer = cells.Quantizer.train(rows, 60, "inner_product", 0)
    one, lag = quantizer.nearest_and_lag(rows[:100], 8)
    other, longer = quantizer.nearest_and_lag(rows[:100] * np.float32(1024), 8)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(lag, longer, atol=1e-6)
    assert (quantizer.nearest_and_lag(rows[:3] * 0, 8)[1] == 0).all()


def test_cells_that_were_not_found_are_no_part(monkeypatch):
    monkeypatch.setattr(cells, "GROUPS_PROBED", 1)
    groups, centroids = np.array([[0, 0], [10, 0]], np.float32), np.array([[1, 0], [9, 1], [11, 0]], np.float32)
    quantizer = cells.Quantizer(centroids, groups, "l2")
    part_map = PartMap(quantizer, np.array([0, 1, 2], np.int32), np.ones(3, np.int32), 3, visits=3)
    to = part_map.destinations(np.array([[0, 0], [10, 2]], np.float32), np.array([5, 6]))
    assert to.tolist() == [[0, -1, -1], [1, 2, -1]]


def test_points_visit_more_parts_where_a_recall_asks_for_it():
    """Gaussian noise has near points in all directions: six cells are not enough for half of the pairs."""
    X = np.random.default_rng(0).standard_normal((N, 24)).astype(np.float32)
    rows = Preparation.of_sample(X, "cosine").rows(X)
    fixed = PartMap.plan(rows, N, 100, HOW)
    aiming = PartMap.plan(rows, N, 100, Search.of(SelectConfig(), N, None))
    assert fixed.visits == VISITS
    assert aiming.visits > VISITS
    pairs = cells.neighbor_pairs(rows, N, 10, "cosine")
    code = np.arange(N)
    met = []
    for part_map in (fixed, aiming):
        mine, theirs = (part_map.destinations(X, code[: len(X)]) for X in pairs)
        met.append(((mine[:, :, None] == theirs[:, None, :]) & (mine >= 0)[:, :, None]).any(axis=(1, 2)).mean())
    assert met[1] > met[0]


@pytest.mark.parametrize("value", [0.0, -0.0, 2.0**-24, 65504.0, -0.5])
def test_16_bits_hold_some_rows(value):
    rows = np.full((40, 3), 1.5, np.float32)
    rows[-1, -1] = value
    half = route.in_half(rows)
    assert half.dtype == np.float16
    assert half.astype(np.float32).tobytes() == rows.tobytes()


@pytest.mark.parametrize("value", [0.1, 2.0**-25, 65520.0, -1e30, 2049.0])
def test_and_not_others(value):
    rows = np.full((40, 3), 1.5, np.float32)
    rows[-1, -1] = value
    assert route.in_half(rows) is None


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_rows_that_16_bits_hold_travel_so_and_are_searched_as_others_are(monkeypatch, metric):
    points, utility = demo_points(900, 16)
    points = points.astype(np.float16).astype(np.float32)
    points[500:] += np.float32(1e-5)  # what came in one batch fits, what in another does not
    prepare = Preparation.of_sample(points, metric)
    X = prepare.rows(points)
    how = Search.of(SelectConfig(probes=4, metric=metric), 900, None)
    part_map = PartMap.plan(X, 900, 300, how)
    columns = {"code": np.random.default_rng(1).permutation(900), "utility": utility, "id": np.arange(900)}

    def found():
        parcels = []
        for source, some in enumerate((slice(500), slice(500, 900))):
            of_batch = {name: column[some] for name, column in columns.items()}
            parcels += route.route(source, of_batch, points[some], X[some], part_map)
        size = sum(len(one.payload) for one in of_kind(parcels, route.VECTORS))
        mine = [[one for one in parcels if one.part == part] for part in range(part_map.parts)]
        asked = np.empty(0, np.int64)
        return size, [
            list(route.search_part(part, one, part_map.parts, prepare, how, asked)) for part, one in enumerate(mine)
        ]

    size, lists = found()
    assert any(unpack(one.payload)["score"].size for one in of_kind(lists[0], route.LISTS))
    monkeypatch.setattr(route, "in_half", lambda rows: None)
    more, others = found()
    assert size < 0.8 * more
    for one, other in zip(lists, others, strict=True):
        assert [(p.part, p.kind, bytes(p.payload)) for p in one] == [(p.part, p.kind, bytes(p.payload)) for p in other]
