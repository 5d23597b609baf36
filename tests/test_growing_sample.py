"""Half of the recall sample is asked first where that is likely to be enough; what it leaves open all of it answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import subsel
from subsel.growing.join import _Asked
from tests.test_growing import table


@pytest.fixture(scope="module")
def state():
    points = np.random.default_rng(3).standard_normal((900, 6))
    return subsel.growing_graph(table(points), neighbors=10, utility="constant")._kept.state


def asked(state, *, may_halve=True):
    found = _Asked.of(state, np.arange(state.n), state.neighbors, may_halve=may_halve)
    found.searched.meet(state.vectors(), 0)
    return found


@pytest.mark.parametrize(
    ("reached", "may_halve", "points"), [(0.99, True, 32), (0.99, False, 64), (0.951, True, 64), (None, True, 64)]
)
def test_half_is_asked_first_if_the_graph_was_well_above_its_aim(state, reached, may_halve, points):
    found = asked(replace(state, reached=reached), may_halve=may_halve)
    assert len(found.rows) == points
    assert found.recall(state) > 0.95 and len(found.rows) == points


@pytest.mark.parametrize("lost", [1, 5])
def test_all_are_asked_if_half_of_them_leaves_open_whether_it_is_enough(state, lost):
    state = replace(state, reached=0.99, best=state.best.copy(), score=state.score.copy())
    state.best[:, -lost - state.reserve :], state.score[:, -lost - state.reserve :] = -1, -np.inf
    half, whole = asked(state), asked(state, may_halve=False)
    assert half.recall(state) == pytest.approx(whole.recall(state)) and half.recall(state) < 0.95
    assert sorted(half.rows) == whole.rows.tolist() and not len(half.more)
    few = _Asked.of(state, np.arange(40), state.neighbors, may_halve=True)
    assert len(few.rows) == 40
