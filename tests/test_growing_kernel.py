"""Lists that several threads fill for one point, under a threshold that they share, are the lists of all scores."""

from __future__ import annotations

import numpy as np
import pytest

from subsel.growing import kernel
from subsel.growing.join import _fewer_and_fewer

QUERIES, RUNS, WIDTH = 40, 6, 7


@pytest.mark.parametrize("run", [5, 33, 64, 97])
@pytest.mark.parametrize("ties", [False, True])
def test_threads_that_share_a_threshold_find_what_all_scores_say(rng, run, ties):
    n = RUNS * run
    score = rng.standard_normal((QUERIES, n)).astype(np.float32)
    score = np.round(score, 1) if ties else score
    rows = np.sort(rng.choice(n, min(QUERIES, n), replace=False))
    shape = len(rows), WIDTH
    threads = [(np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)) for _ in range(2)]
    floor, nobody = np.full(len(rows), -np.inf, np.float32), np.zeros(n, np.bool_)
    best, known = np.full((n, WIDTH), -1, np.int32), np.full((n, WIDTH), -np.inf, np.float32)
    for at in rng.permutation(RUNS):
        block = np.ascontiguousarray(score[: len(rows), at * run : (at + 1) * run])
        mine = threads[rng.integers(2)]
        kernel.meet(block, np.arange(len(rows)), rows, mine, floor, at * run, nobody, best, known, nobody.copy())
    for found, of in threads:
        kernel.take_lists(rows, found, of, best, known)
    score[np.arange(len(rows)), rows] = -np.inf
    expected = np.argsort(-score[: len(rows)], axis=1, kind="stable")[:, :WIDTH]
    np.testing.assert_array_equal(best[rows], expected)
    np.testing.assert_array_equal(known[rows], np.take_along_axis(score[: len(rows)], expected, axis=1))
    assert (floor <= known[rows, -1]).all()


@pytest.mark.parametrize("count", [0, 1, 7, 1341])
@pytest.mark.parametrize("threads", [1, 2, 64])
def test_runs_of_cells_are_all_cells_and_never_longer(count, threads):
    runs = list(_fewer_and_fewer(count, threads))
    assert [one for run in runs for one in run] == list(range(count))
    lengths = [len(run) for run in runs]
    assert lengths == sorted(lengths, reverse=True)
