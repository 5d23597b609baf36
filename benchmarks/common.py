"""What benchmarks share: timing, peak memory, points and graphs to select from."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from subsel import NeighborGraph, SelectConfig, demo
from subsel.input.edges import as_neighbor_graph

#: What were subsel's defaults once: benchmarks of speed keep to them, so that their figures can be compared.
BEFORE: dict[str, Any] = {
    "alpha": 0.9,
    "neighbors": 10,
    "probes": 8,
    "descent_passes": 2,
    "coverage_sample": 0,
    "copies": "keep",
}


def seconds(work: Callable[[], object]) -> float:
    """Return the wall seconds of a call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rss_bytes() -> int:
    """Return this process' resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def status_bytes(name: str) -> int:
    """Return the bytes that the kernel says of this process, such as "VmHWM", its peak of resident memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class PeakMemory:
    """Samples this process' resident memory every 5 ms; ``peak`` is the most above where it began, in bytes."""

    def __enter__(self) -> PeakMemory:
        self.begin = rss_bytes()
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, rss_bytes() - self.begin)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def local_graph(n: int, seed: int = 0) -> NeighborGraph:
    """Return a random graph like a kNN graph in cell order: ten near neighbours per point, symmetrised."""
    rng = np.random.default_rng(seed)
    src = np.repeat(np.arange(n), 10)
    dst = (src + rng.integers(1, 200, len(src))) % n
    similarity = 0.4 + 0.5 * rng.random(len(src), np.float32)
    return as_neighbor_graph(sp.csr_matrix((similarity, (src, dst)), shape=(n, n)), None, SelectConfig()).graph


def clusters(n: int, dimension: int) -> np.ndarray:
    """Return demo points."""
    points, _ = demo.demo_points(n, dimension)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def sentences(n: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Return points of high intrinsic dimension, see `benchmarks.peers_graph`."""
    rng = np.random.default_rng(seed)
    topics = _topics(n, dimension, rng)
    return _around(topics, n, rng)


def sentence_blocks(n: int, dimension: int, rows: int = 1 << 16, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield points as `sentences` makes them, though not the same ones, so many at a time."""
    topics = _topics(n, dimension, np.random.default_rng(seed))
    for begin in range(0, n, rows):
        yield _around(topics, min(rows, n - begin), np.random.default_rng([seed, begin]))


def _topics(n: int, dimension: int, rng: np.random.Generator) -> np.ndarray:
    topics: np.ndarray = rng.standard_normal((max(1, int(np.sqrt(n))), dimension), np.float32)
    topics *= 0.5 * _spread(dimension)
    return topics


def _around(topics: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    points = rng.standard_normal((n, topics.shape[1]), np.float32)
    points *= _spread(topics.shape[1])
    points += topics[rng.integers(0, len(topics), n)]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _spread(dimension: int) -> np.ndarray:
    return np.arange(1, dimension + 1, dtype=np.float32) ** -0.5


def noise(n: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Return Gaussian points, near in all directions alike."""
    return np.random.default_rng(seed).standard_normal((n, dimension), np.float32)
