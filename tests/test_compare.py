"""Comparing a run of scores at once gives what comparing them one by one does."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from subsel.embeddings.compare import RUN, first_of, hits


@pytest.mark.parametrize("m", [1, 5, RUN - 1, RUN, RUN + 1, 2 * RUN, 100])
def test_hits_are_those_of_a_comparison(rng, m):
    scores, least = (rng.choice([-np.inf, -1, 0, 1, 2, np.inf], m).astype(np.float32) for _ in range(2))
    for threshold in (np.float32(-np.inf), np.float32(1), np.float32(np.inf)):
        for begin in range(0, m, RUN):
            for floor, expected in ((None, scores >= threshold), (least, (scores >= threshold) | (scores >= least))):
                found = places(scores, begin, threshold, floor)
                assert list(found) == np.flatnonzero(expected[begin : begin + RUN]).tolist()


@numba.njit
def places(scores, begin, threshold, least):
    found = hits(scores, begin, threshold, least)
    there = []
    while found:
        place, found = first_of(found)
        there.append(place)
    return there
