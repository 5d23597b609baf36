"""What the objective weighs: diversity, density, outliers, mixes; by definition, and the same on both engines."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import ConfigError, SelectConfig
from subsel.fixedpoint import UNIT_BITS, FixedPoint, exact_total
from subsel.input.utility import Ingredient, Utility
from subsel.ranks import mean_ranks
from subsel.weighing import Spread, Weights, densities, density_neighbors, mean_of, median_degree, outlier_count

FEW = {"neighbors": 6, "size": 30}


@pytest.fixture(scope="module")
def points():
    """400 points in 8 dimensions with columns of utilities: any, negative, constant, a sparse flag, probabilities."""
    rng = np.random.default_rng(1)
    n = 400
    flag = np.zeros(n)
    flag[:9] = 1  # fewer than a twentieth, so both quantiles are 0
    return pa.table(
        {
            "id": rng.permutation(n),
            "embedding": list(rng.standard_normal((n, 8)).astype(np.float32)),
            "quality": rng.integers(0, 50, n) / 8,
            "flag": flag,
            "low": -rng.random(n),
            "same": np.full(n, 3.0),
            "p": list(rng.dirichlet(np.ones(4), n)),
            "out": rng.random(n) < 0.1,
        }
    )


@pytest.fixture(scope="module")
def graph(points):
    return subsel.neighbors(points, neighbors=6).graph


def weights(table, **options):
    return subsel.select(table, **(FEW | options)).report.weights


def ids(table, **options):
    return subsel.select(table, **(FEW | options)).ids.tolist()


# -- scales --


@given(st.lists(st.floats(0, 1e300), max_size=40), st.sampled_from([np.float32, np.float64]))
def test_sums_of_similarities_are_exact_in_any_order(values, kind):
    array = np.array([v for v in values if v < float(np.finfo(kind).max)]).astype(kind)
    total = exact_total(array)
    assert Fraction(total, 1 << UNIT_BITS) == sum(map(Fraction, array.tolist()))
    assert exact_total(array[::-1]) == total
    if len(array):
        assert mean_of(total, len(array)) == float(sum(map(Fraction, array.tolist())) / len(array))


@given(st.sampled_from([0.0]) | st.floats(1e-3, 0.99), st.floats(1e-6, 1e6), st.floats(1e-6, 1), st.integers(-40, 40))
def test_weights_follow_the_formula_and_scale(diversity, width, mean, power):
    spread = Spread(0.0, width, -1.0, 2 * width)
    found = Weights.of(diversity, spread, mean)
    assert found.ratio == pytest.approx(diversity / (1 - diversity) * width / mean)
    assert found.alpha + found.beta == pytest.approx(1)
    assert found.beta == pytest.approx(found.ratio * found.alpha)
    scaled = Spread(0.0, math.ldexp(width, power), 0.0, 1.0)
    assert Weights.of(diversity, scaled, mean).ratio == math.ldexp(found.ratio, power)
    assert Weights.of(diversity, spread, math.ldexp(mean, power)).ratio == math.ldexp(found.ratio, -power)


def test_spreads_of_odd_utilities(points, graph):
    found = weights(points, graph=graph, utility="flag")
    assert found.spread == 1  # both quantiles are 0: the whole range
    assert 0 < found.alpha < 1
    same = weights(points, graph=graph, utility="same")
    assert (same.alpha, same.beta, same.ratio) == (0, 1, None)
    assert weights(points, graph=graph, utility="low").spread == pytest.approx(0.9, abs=0.05)
    half = weights(points, graph=graph, utility="quality", diversity=0)
    assert (half.alpha, half.beta) == (1, 0)


def test_no_edges_leave_utility_alone():
    table = pa.table({"id": ["a", "b", "c"], "quality": [1.0, 3.0, 2.0]})
    edge = pa.table({"src": ["a"], "dst": ["b"], "similarity": [0.0]})
    found = subsel.select(table, graph=edge, utility="quality", size=2)
    assert (found.report.weights.alpha, found.report.weights.beta) == (1, 0)
    assert found.ids.tolist() == ["b", "c"]


def test_given_weights_win_and_cost_no_spread(points, graph):
    found = weights(points, graph=graph, utility="quality", alpha=0.75, diversity=0.1)
    assert (found.alpha, found.beta, found.diversity, found.spread) == (0.75, 0.25, None, None)
    assert weights(points, graph=graph, utility="quality", beta=0.25).alpha == 0.75


@pytest.mark.parametrize("utility", ["quality", "low", "flag"])
def test_powers_of_two_change_nothing(points, graph, utility):
    place = points.column_names.index(utility)
    values = points[utility].to_numpy()
    expected = ids(points, graph=graph, utility=utility)
    for power in (-20, 3, 40):
        other = points.set_column(place, utility, pa.array(np.ldexp(values, power)))
        assert ids(other, graph=graph, utility=utility) == expected
        scaled = type(graph)(graph.ids, graph.rows, graph.indptr, graph.indices, np.ldexp(graph.similarity, power))
        assert ids(points, graph=scaled, utility=utility) == expected


def test_other_scales_change_ties_at_the_most(points, graph):
    place = points.column_names.index("quality")
    other = points.set_column(place, "quality", pa.array(points["quality"].to_numpy() * 0.37 + 11))
    one, two = (subsel.select(t, graph=graph, utility="quality", **FEW) for t in (points, other))
    gains = one.table["gain"].to_numpy() / one.report.weights.alpha
    shifted = two.table["gain"].to_numpy() / two.report.weights.alpha
    np.testing.assert_allclose(shifted, gains * 0.37 + 11, rtol=1e-6)
    assert len(set(one.ids.tolist()) & set(two.ids.tolist())) >= 29


def test_keys_are_the_same_integers_at_every_scale(rng):
    u, s, code = rng.random(50), rng.random(80), rng.integers(-(2**62), 2**62, 50)
    ratio = 1.7
    for power in (-7, 9):
        one, two = (
            FixedPoint.choose(1 / (1 + r), r / (1 + r), (u * f).max(), 3.0, 1.0, r)
            for f, r in ((1.0, ratio), (2.0**power, ratio * 2.0**power))
        )
        np.testing.assert_array_equal(one.keys(u, code), two.keys(u * 2.0**power, code))
        np.testing.assert_array_equal(one.weights(s), two.weights(s))


# -- density --


def slow_density(graph, m):
    return [sorted(graph.similarity[a:b].tolist(), reverse=True)[:m] for a, b in zip(graph.indptr, graph.indptr[1:])]  # noqa: B905


@pytest.mark.parametrize("m", [1, 5, 100])
def test_density_is_the_mean_of_the_nearest(graph, m):
    expected = [math.fsum(row) / m for row in slow_density(graph, m)]
    np.testing.assert_allclose(densities(graph.indptr, graph.similarity, m), expected, rtol=1e-6)


def test_neighbours_that_density_goes_by():
    assert [density_neighbors(1000, k, 100) for k in (None, 500, 20, 4)] == [10, 10, 25, 100]
    assert density_neighbors(1000, 4, 7) == 7
    assert density_neighbors(10, 5, 0) == 1
    assert median_degree(np.array([5, 1, 9, 2])) == 2


def test_density_is_the_default_and_a_rank(points, graph):
    table = points.select(["id", "embedding"])
    found = subsel.select(table, size=30, neighbors=6)
    assert found.report.weights.utility == "density, as a rank"
    assert found.report.weights.density_neighbors == 6
    rank = mean_ranks(densities(graph.indptr, graph.similarity, 6), np.ones(400, np.bool_))
    position = dict(zip(graph.ids.to_pylist(), rank.tolist(), strict=True))
    by_array = subsel.select(table, size=30, neighbors=6, utility=[position[i] for i in table["id"].to_pylist()])
    assert by_array.ids.tolist() == found.ids.tolist()
    own = subsel.select(table, graph=graph, size=30)
    assert own.report.weights.density_neighbors == median_degree(np.diff(graph.indptr))


def test_the_subset_follows_neither_rows_nor_names(points):
    order = np.random.default_rng(5).permutation(400)
    for options in ({}, {"utility": "density+quality"}, {"exclude_outliers": 0.1}, {"thin": 5}):
        assert ids(points.take(order), **options) == ids(points, **options)
    assert ids(points, utility="column:quality") == ids(points, utility="quality")


# -- what utility is made of --


def test_names_of_utilities():
    config = SelectConfig(utility="density+ quality +easy", probabilities="p")
    made = Utility.of(config, ["id", "quality"])
    parts = (Ingredient("density"), Ingredient("column", "quality"), Ingredient("easy", "p"))
    assert made.ingredients == parts
    assert made.ranked
    assert str(made) == "mean of the ranks of density, column 'quality', easy of column 'p'"
    for name, columns, expected in (
        ("density", ["density"], Ingredient("density")),  # a built-in's name wins
        ("column:density", ["density"], Ingredient("column", "density")),
        ("a+b", ["a+b"], Ingredient("column", "a+b")),
        ("column:a+b", ["a+b"], Ingredient("column", "a+b")),
        (None, ["utility"], Ingredient("column", "utility")),
        (None, ["quality"], Ingredient("density")),
    ):
        assert Utility.of(SelectConfig(utility=name), columns).ingredients == (expected,)


def test_a_mix_is_the_mean_of_ranks(points, graph):
    everyone = np.ones(400, np.bool_)
    p = np.sort(np.stack(points["p"].to_numpy()), axis=1)
    quality, easy = points["quality"].to_numpy(), p[:, -1] - p[:, -2]
    expected = (mean_ranks(quality, everyone) + mean_ranks(easy, everyone)) / 2
    mixed = subsel.select(points, graph=graph, utility="quality+easy", probabilities="p", **FEW)
    given_ = subsel.select(points, graph=graph, utility=expected, **FEW)
    assert mixed.ids.tolist() == given_.ids.tolist()
    assert mixed.objective == pytest.approx(given_.objective)


def test_hard_examples_are_warned_of_where_few_are_chosen(points, caplog):
    options = {"utility": "margin", "probabilities": "p", "neighbors": 6}
    few = subsel.select(points, size="10%", **options).report
    assert "margin asks for hard examples" in few.weights.warning
    assert "hard examples" in caplog.text
    assert subsel.select(points, size="30%", **options).report.weights.warning is None
    assert subsel.select(points, size="10%", **(options | {"utility": "easy"})).report.weights.warning is None


# -- who may be selected --


def test_outliers_are_the_least_dense(points, graph):
    found = subsel.select(points, graph=graph, exclude_outliers=0.1, utility="constant", size=360)
    m = found.report.weights.density_neighbors
    density = densities(graph.indptr, graph.similarity, m)
    worst = set(graph.ids.take(pa.array(np.argsort(density, kind="stable")[:40])).to_pylist())
    assert set(points["id"].to_pylist()) - set(found.ids.tolist()) == worst
    assert (found.report.weights.outliers, found.report.constraints.outliers) == (40, 40)
    with pytest.raises(ConfigError, match="exclude_outliers leaves 360 of 400 points, fewer than the 361"):
        subsel.select(points, graph=graph, exclude_outliers=0.1, size=361)
    kept = sorted(worst)[:3]
    again = subsel.select(points, graph=graph, exclude_outliers=0.1, include=kept, utility="constant", size=363)
    assert set(kept) <= set(again.ids.tolist())
    assert again.report.constraints.outliers == 37
    assert [outlier_count(share, 100) for share in (0.05, 0.29, 0.999)] == [5, 29, 99]


def test_ranks_and_spread_are_among_those_who_may_be_selected(points, graph):
    everyone = weights(points, graph=graph, utility="quality")
    high = points["id"].filter(pa.array(points["quality"].to_numpy() > 3)).to_pylist()
    left = weights(points, graph=graph, utility="quality", exclude=high)
    assert left.spread < everyone.spread


def test_drawing_first(points):
    out = set(points["id"].filter(points["out"]).to_pylist())
    wanted = [one for one in points["id"].to_pylist() if one not in out][:3]
    found = subsel.select(points, size=20, thin=5, include=wanted, exclude="out")
    assert 100 <= found.report.graph.drawn <= 103
    assert found.report.graph.neighbors == 20
    assert set(wanted) <= set(found.ids.tolist())
    assert not out & set(found.ids.tolist())
    assert subsel.select(points, size=100, thin=5).report.graph.drawn is None  # all are needed


def test_thin_needs_a_size_and_no_graph(points, graph):
    for options, message in (
        ({"graph": graph, "size": 5}, "thin draws points before their neighbours are searched, graph has them already"),
        ({}, "size is missing"),
    ):
        with pytest.raises(ConfigError, match=message):
            subsel.select(points, thin=5, **options)
    with pytest.raises(ConfigError, match="nothing is selected here"):
        subsel.neighbors(points, thin=5)
    with pytest.raises(ConfigError, match="give size"):
        subsel.score([1], points=points, thin=5)


def test_a_drawn_graph_goes_on_with_wishes(points, tmp_path):
    pq.write_table(points, tmp_path / "points.parquet")
    wanted = points["id"].to_pylist()
    options = {"size": 20, "thin": 5, "include": wanted[:3], "exclude": wanted[3:60], "engine": "local"}
    first = subsel.select(tmp_path / "points.parquet", run_dir=tmp_path / "run", **options)
    assert first.report.constraints.excluded < 57  # most of them were not drawn
    again = subsel.select(tmp_path / "points.parquet", run_dir=tmp_path / "run", resume=True, **options)
    assert again.table.equals(first.table)
    assert again.report.constraints == first.report.constraints


def test_sizes_that_thin_does_not_reach(points):
    with pytest.raises(ConfigError, match=r"10 points are drawn .thin times the smallest size., fewer than the 50"):
        subsel.select_sizes(points, sizes=[5, 50], thin=2)
    assert subsel.select(points, size=2, thin=1000).report.graph.neighbors == 100  # nobody is drawn


def test_who_is_included_belongs_to_a_drawn_graph(points, tmp_path):
    pq.write_table(points, tmp_path / "points.parquet")
    options = {"sizes": [50, 60], "thin": 2, "engine": "local", "run_dir": tmp_path / "run"}
    subsel.select_sizes(tmp_path / "points.parquet", **options)
    with pytest.raises(subsel.InputError, match="its graph is of include none, not column 'out'"):
        subsel.select_sizes(tmp_path / "points.parquet", include="out", resume=True, **options)


def test_a_run_with_weights_goes_on_with_weights_only(points, tmp_path):
    options = {"size": 30, "neighbors": 6, "run_dir": tmp_path / "run"}
    subsel.select(points, alpha=0.9, **options)
    with pytest.raises(subsel.InputError, match=r"was made with alpha=0\.9, now it is alpha=None: give alpha=0\.9"):
        subsel.select(points, resume=True, **options)


def test_an_array_wins_over_the_config_and_reads_no_probabilities(points):
    found = subsel.select(points, utility=np.arange(400.0), config=SelectConfig(utility="density"), **FEW)
    assert found.report.config.utility is None
    with pytest.raises(ConfigError, match="no utility reads it"):
        subsel.select(points, utility=np.arange(400.0), probabilities="p", **FEW)


def test_extreme_values(points):
    tiny = subsel.select(points, utility=np.arange(400.0) * 1e-303, **FEW)
    assert len(tiny.ids) == 30
    huge = points.append_column("huge", pa.array(np.full(400, 1e308)))
    assert subsel.select(huge, utility="huge+column:huge", **FEW).report.input.dropped_rows == {}
    exact = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    assert not subsel.select(exact, size=2, recall=1.0).report.graph.falls_short  # all cells are searched


def test_too_little_memory_is_one_line_that_offers_less(monkeypatch, caplog):
    monkeypatch.setattr("subsel.stages.one_part.available_memory", lambda: 1 << 20)
    x = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    with pytest.raises(subsel.InputError, match=r"100 neighbours of 2,000 points need .*neighbors=10, or thin=20"):
        subsel.select(x, size=20)
    assert len(subsel.select(x, size=20, neighbors=50).ids) == 20  # who says a number means it
    assert "50 neighbours of 2,000 points need" in caplog.text


# -- runs --


def test_a_run_directory_keeps_utilities(points, tmp_path):
    options = {"size": "10%", "utility": "density+quality", "exclude_outliers": "5%", "engine": "local"}
    pq.write_table(points, tmp_path / "points.parquet")
    first = subsel.select(tmp_path / "points.parquet", run_dir=tmp_path / "run", **options)
    again = subsel.select(tmp_path / "points.parquet", run_dir=tmp_path / "run", resume=True, **options)
    assert again.table.equals(first.table)
    assert again.report.weights == first.report.weights
    assert again.report.graph == first.report.graph
    best = first.ids.tolist()[0]
    from subsel.explaining import explain

    told = explain(tmp_path / "run", best)
    assert 0 <= told.utility <= 1
    assert first.report.graph.neighbors == 20


def test_one_graph_serves_all_sizes_by_the_smallest(points):
    small, large = subsel.select_sizes(points, sizes=["5%", "20%"])
    assert small.report.graph.neighbors == large.report.graph.neighbors == 40
    assert small.report.weights == large.report.weights


def test_old_defaults_make_old_subsets():
    """What were the defaults once still gives the subsets of then, in their order; of exact neighbours."""
    table = subsel.demo.demo_table(3000, 16)
    old = {"size": "10%", "alpha": 0.9, "neighbors": 10, "probes": 1000, "descent_passes": 2, "copies": "keep"}
    found = [subsel.select(table, **old), subsel.select(table.drop_columns(["utility"]), utility="constant", **old)]
    marks = [hashlib.sha256(one.ids.tobytes()).hexdigest()[:16] for one in found]
    assert marks == ["8a8ea8f3795ea2f1", "cc2a9a1715d5efcb"]


def test_ranks_are_greedys_where_refinement_exchanges_nobody():
    table = subsel.demo.demo_table(3000, 16)
    refined, plain = (subsel.select(table, size="10%", refine=passes) for passes in (8, 0))
    assert refined.report.refine.exchanged == 0
    assert refined.ids.tolist() == plain.ids.tolist()
    assert (np.diff(refined.table["gain"].to_numpy()) <= 1e-6).all()


def test_noise_reaches_the_recall_that_is_asked_for():
    noise = np.random.default_rng(0).standard_normal((10_000, 64)).astype(np.float32)
    found = subsel.neighbors(noise)
    assert found.neighbors == 10
    assert found.recall >= 0.95
    assert found.probes > 8


def test_too_little_recall_is_said(caplog, monkeypatch):
    monkeypatch.setattr("subsel.embeddings.recipe.MOST_PROBES", 2)
    monkeypatch.setattr("subsel.embeddings.recipe.PROBES", 2)
    noise = np.random.default_rng(0).standard_normal((6000, 48)).astype(np.float32)
    report = subsel.select(noise, size=600, neighbors=5).report
    assert report.graph.falls_short
    assert "is below the 0.95 asked for" in caplog.text
    fixed = subsel.select(noise, size=600, neighbors=5, probes=2).report
    assert fixed.graph.target is None  # probes were asked for, not a recall
    assert not fixed.graph.falls_short


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"utility": "density+quality+margin", "probabilities": "p", "exclude": "out", "exclude_outliers": 0.1},
        {},
        {"utility": "flag"},
        {"utility": "density", "exclude_outliers": 0.05, "include": "out"},
        {"utility": "low", "exclude": "out"},
    ],
    ids=str,
)
def test_both_engines_weigh_alike(spark, points, graph, tmp_path, options):
    parts = 7 if len(options) < 4 else 1  # seven parts take long
    pq.write_table(points, tmp_path / "points.parquet")
    graph.to_parquet(tmp_path / "graph.parquet")
    inputs = {"data": str(tmp_path / "points.parquet"), "graph": str(tmp_path / "graph.parquet"), "size": 60}
    one = subsel.select(**inputs, engine="local", **options)
    two = subsel.select(**inputs, engine=spark, part_points=-(-400 // parts), output=tmp_path / "out", **options)
    assert two.report.graph.parts == parts
    assert two.table.equals(one.table)
    assert two.report.weights == one.report.weights
    assert two.report.constraints == one.report.constraints


@pytest.mark.slow
def test_both_engines_draw_the_same_points(spark, points, tmp_path):
    pq.write_table(points, tmp_path / "points.parquet")
    wanted = points["id"].filter(pc.invert(points["out"])).to_pylist()[:2]
    options = {"data": str(tmp_path / "points.parquet"), "size": 20, "thin": 6, "include": wanted, "exclude": "out"}
    one = subsel.select(engine="local", **options)
    two = subsel.select(engine=spark, output=tmp_path / "out", **options)
    assert two.report.graph.drawn == one.report.graph.drawn
    assert two.report.constraints == one.report.constraints
    assert two.ids.tolist() == one.ids.tolist()  # one part: the same graph
