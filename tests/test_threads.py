"""Rows are dealt to threads without gaps, and the short sort sorts."""

from __future__ import annotations

import multiprocessing

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from subsel import threads


@numba.njit(nogil=True)
def count(begin, end, seen):
    for row in range(begin, end):
        seen[row] += 1


@numba.njit
def sort(values):
    threads.sort(values)


@pytest.mark.parametrize(
    "rows", [0, 1, threads._ROWS, 2 * threads._ROWS, 3 * threads._ROWS + 7, 10 * threads._ROWS + 1]
)
def test_each_row_is_done_once(rows):
    seen = np.zeros(rows, np.int64)
    threads.over_rows(count, rows, seen)
    assert (seen == 1).all()


@pytest.mark.parametrize("rows", [0, 5, 4 * threads._ROWS])
def test_each_run_has_room_of_its_own(rows):
    rooms = []
    threads.over_rows(
        lambda begin, end, number, room: rooms.append((room, number)), rows, 7, scratch=lambda: np.zeros(3, np.int64)
    )
    assert len({id(room) for room, _ in rooms}) == len(rooms) > 0
    assert {number for _, number in rooms} == {7}


def test_what_a_thread_raises_is_raised():
    def fail(begin, end):
        raise ValueError(begin)

    with pytest.raises(ValueError, match=r"\d+"):
        threads.over_rows(fail, 10 * threads._ROWS)


def in_child(rows):
    seen = np.zeros(rows, np.int64)
    threads.over_rows(count, rows, seen)
    return int(seen.sum())


def test_a_forked_process_has_threads_of_its_own():
    rows = 4 * threads._ROWS
    assert in_child(rows) == rows
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(in_child, (rows,)).get(timeout=60) == rows


@given(hnp.arrays(np.float64, st.integers(0, 400), elements=st.floats(allow_nan=False)))
def test_the_short_sort_sorts(values):
    expected = np.sort(values)
    sort(values)
    assert (values == expected).all()


def test_long_rows_are_sorted_too():
    values = np.random.default_rng(0).random(200_000)
    expected = np.sort(values)
    sort(values)
    assert (values == expected).all()
