"""The harness of benchmarks/worth.py in small: its arithmetic by hand, and that chance is chance."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="benchmarks.worth needs scikit-learn: pip install -e '.[bench]'")

from benchmarks import contenders, labelled, worth
from benchmarks.record import Recorder


def result(method, seed, accuracy, *, of="a", draw=0):
    return worth.Result(of, seed, 0.1, method, draw, 10, accuracy, accuracy / 2, 0.0)


def chance(*values, of="a"):
    """Three draws of random per seed, whose mean is the given value."""
    return [
        result("random", seed, value + off, draw=draw, of=of)
        for seed, value in enumerate(values)
        for draw, off in enumerate((-3.0, 1.0, 2.0))
    ]


def test_a_gain_is_paired_by_seed_and_its_error_is_over_seeds():
    results = [*chance(50.0, 60.0, 70.0), *(result("m", seed, value) for seed, value in enumerate((52.0, 61.0, 73.0)))]
    gain = worth.gain(results, "accuracy", "a", 0.1, "m")
    # above random by 2, 1 and 3: mean 2, deviation 1, so the error is 1/√3 and 2 errors are 1.15
    assert (gain.mean, gain.error) == pytest.approx((2.0, 1 / 3**0.5))
    assert gain.verdict == 1
    assert worth.gain(results, "macro_f1", "a", 0.1, "m").mean == pytest.approx(1.0)
    assert worth.gain(results, "accuracy", "a", 0.1, "random").mean == pytest.approx(0.0)
    assert worth.gain(results, "accuracy", "a", 0.1, "not tried") is None


@pytest.mark.parametrize(
    ("mean", "error", "verdict"),
    [(2.1, 1.0, 1), (2.0, 1.0, 0), (-2.0, 1.0, 0), (-2.1, 1.0, -1), (0.0, 0.0, 0), (0.1, 0.0, 1), (9.0, np.nan, 0)],
)
def test_significant_is_more_than_two_errors_on_either_side(mean, error, verdict):
    assert worth.Gain(mean, error).verdict == verdict


def test_the_table_says_mean_error_worst_set_and_how_many_are_better_and_worse():
    gains = [worth.Gain(6.0, 2.0), worth.Gain(-3.0, 1.0), worth.Gain(3.0, 2.0)]
    # mean 2; error √(4 + 1 + 4) / 3 = 1; the third is within 2 errors
    assert worth.summary(gains) == "+2.0 ±1.0 [-3.0] 1-1"
    assert worth.summary([]) == "-"
    assert worth.one_set(gains[:1]) == "+6.0 ±2.0*"


def tiny():
    """The generated set in small."""
    return labelled.generated(900, 8)


def test_a_method_that_chooses_what_random_chose_gains_nothing(monkeypatch, capsys):
    monkeypatch.setattr(worth, "REFERENCE_DRAWS", 1)
    methods = {
        "same": contenders.Contender(contenders.random_draw(0)),
        "facility": contenders.CONTENDERS["facility location"],
    }
    results = list(worth.measure(tiny(), methods, [0.05, 0.2], 2, 300))
    assert len(results) == 2 * 3 * 2  # seeds, methods and the reference, budgets
    assert {r.size for r in results} == {15, 60}
    for budget in (0.05, 0.2):
        assert worth.gain(results, "accuracy", "generated", budget, "same") == worth.Gain(0.0, 0.0)
    worth.record_results(Recorder(), results, per_set=True)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("same")]
    assert rows[0].count("+0.0 ±0.0 [+0.0] 0-0") == 2
    scores = [(r.accuracy, r.macro_f1) for r in results]
    again = worth.measure(tiny(), methods, [0.05, 0.2], 2, 300)
    assert scores == [(r.accuracy, r.macro_f1) for r in again]


def test_methods_stay_within_their_limits():
    few = contenders.Contender(contenders.random_draw(5), most_share=0.1)
    small = contenders.Contender(contenders.random_draw(5), most_points=299)
    results = list(worth.measure(tiny(), {"few": few, "small": small}, [0.1, 0.2], 1, 300))
    assert {(r.method, r.budget) for r in results} == {("random", 0.1), ("random", 0.2), ("few", 0.1)}


@pytest.mark.parametrize("name", ["random again", "stratified", "k-center", "k-means medoids", "facility location"])
def test_subsets_are_of_the_asked_size_without_repeats_whatever_the_points(name):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 5)).astype(np.float32)
    X[60:] = X[:60]  # everything twice
    pool = contenders.Pool(X, rng.integers(0, 4, 120), np.full((120, 4), 0.25, np.float32), 3)
    for size, rows in zip((1, 7, 60), contenders.CONTENDERS[name].select(pool, (1, 7, 60)), strict=True):
        assert len(rows) == len(set(rows.tolist())) == size
        assert rows.min() >= 0
        assert rows.max() < 120


def test_stratified_keeps_the_shares_of_classes():
    y = np.repeat([0, 1, 2], [60, 30, 10])
    pool = contenders.Pool(np.zeros((100, 2), np.float32), y, np.zeros((100, 3), np.float32), 0)
    assert np.bincount(y[contenders.stratified(pool, 20)]).tolist() == [12, 6, 2]
    assert np.bincount(y[contenders.stratified(pool, 5)]).tolist() == [3, 2]  # 3, 1.5, .5: the first remainder of .5


def test_facility_location_is_plain_greedy():
    X = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    similarity = np.maximum(unit @ unit.T, 0)
    chosen: list[int] = []
    for _ in range(8):
        value = [similarity[[*chosen, v]].max(axis=0).sum() if v not in chosen else -1 for v in range(40)]
        chosen.append(int(np.argmax(value)))
    pool = contenders.Pool(X, np.zeros(40, np.int64), np.zeros((40, 1), np.float32), 0)
    assert contenders.facility_location(pool, 8).tolist() == chosen


def test_roles_of_rows_are_disjoint_and_a_set_is_read_from_a_file(tmp_path):
    rng = np.random.default_rng(0)
    test = rng.random(50) < 0.3
    np.savez(tmp_path / "mine.npz", x=rng.random((50, 4)).astype(np.float16), y=rng.integers(0, 3, 50), test=test)
    data = labelled.read_set(tmp_path / "mine.npz")
    assert data.name == "mine"
    assert np.allclose(np.linalg.norm(data.X, axis=1), 1, atol=1e-6)
    assert sorted([*data.test, *data.scouts, *data.rest]) == list(range(50))
    assert data.test.tolist() == np.flatnonzero(test).tolist()


def test_a_subset_of_one_class_is_a_model_that_says_that_class():
    data = tiny()
    rows = data.rest[data.y[data.rest] == 1][:5]
    assert worth.score(data, rows, 1.0, data.test)[0] == pytest.approx(100 * (data.y[data.test] == 1).mean())
