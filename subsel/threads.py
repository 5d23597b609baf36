"""What kernels over rows share: threads that rows are dealt to, and a sort of the few numbers of a row.

A kernel that runs on threads has rows ``begin`` to ``end`` as its first arguments, releases the GIL (``nogil=True``)
and writes to nothing but its rows. That compiles several times faster than numba's ``parallel=True``
(docs/decisions/0024-first-use.md).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from subsel.compiling import inner

T = TypeVar("T")

#: Rows that are worth a thread's waking, at least.
_ROWS = 16_384
#: Runs of rows per thread, at most: some rows are longer than others.
_RUNS = 4
#: Ciura's gaps, and on by a factor of 2.25: a Shell sort of any length is far from quadratic.
_GAPS = np.array([1, 4, 10, 23, 57, 132, 301, 701, *(round(701 * 2.25**i) for i in range(1, 17))], np.int64)


def over_rows(
    kernel: Callable[..., None],
    rows: int,
    /,
    *arguments: Any,
    scratch: Callable[[], Any] | None = None,
    each: int = _ROWS,
) -> None:
    """Run a kernel on all rows, on as many threads as numba has here.

    Args:
        kernel: called as ``kernel(begin, end, *arguments)`` for runs of rows, by several threads at once.
        rows: how many there are; few are done by the caller's thread.
        arguments: arrays and numbers.
        scratch: makes what each run writes to as it likes, its last argument: kernels that make arrays take longer to
            compile.
        each: rows that are worth a thread's waking.
    """

    def run(begin: int, end: int) -> None:
        kernel(begin, end, *arguments, *([] if scratch is None else [scratch()]))

    threads = numba.get_num_threads()
    parts = min(threads * _RUNS, rows // each)
    if min(threads, parts) < 2:
        run(0, rows)
        return
    bounds = [rows * part // parts for part in range(parts + 1)]
    list(_pool(threads).map(lambda bound: run(*bound), pairwise(bounds)))


def row_for(indptr: npt.NDArray[np.int64], more: int = 0) -> Callable[[], npt.NDArray[np.float64]]:
    """Return what makes room for as many numbers as the longest row has, and some more: float64."""
    longest = int(np.diff(indptr).max(initial=0)) + more
    return lambda: np.empty(longest, np.float64)


class PerThread(Generic[T]):
    """What each of some threads has for itself, made when it asks for it first."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._of = make, dict[int, T]()

    def mine(self) -> T:
        """Return what the calling thread has."""
        me = threading.get_ident()
        if me not in self._of:
            self._of[me] = self._make()
        return self._of[me]

    def all(self) -> list[T]:
        """Return what all have, once they have ended; what one has where none asked."""
        return list(self._of.values()) or [self._make()]


def blas_threads(count: int) -> AbstractContextManager[Any]:
    """Return what lets numpy's BLAS have so many threads while it is entered: one, where others are at work."""
    limit: AbstractContextManager[Any] = _blas().limit(limits=count, user_api="blas")
    return limit


@lru_cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()  # looks for libraries, which takes milliseconds; numpy's is there by now


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "subsel-rows")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads stay behind in the parent


@inner()
def sort(values: Any) -> None:
    """Sort a few numbers in place, ascending (Shell 1959); numba's own sort takes a second to compile."""
    n = len(values)
    gaps = 1
    while gaps < len(_GAPS) and _GAPS[gaps] < n:
        gaps += 1
    for g in range(gaps - 1, -1, -1):
        gap = _GAPS[g]
        for i in range(gap, n):
            value, at = values[i], i
            while at >= gap and values[at - gap] > value:
                values[at] = values[at - gap]
                at -= gap
            values[at] = value
