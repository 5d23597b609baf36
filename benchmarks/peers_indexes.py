"""Peers of `benchmarks.peers_graph`: indexes over all points that are asked for each point's neighbours.

Each is built anew and asked for all points in one batch, on as many threads as there are processors. Build settings are
those, of a few tried by hand on 50,000 x 384 `sentences`, whose build and search together took least processor time;
the benchmark chooses the search width. A peer that is not installed is said to be missing; none but faiss is a
dependency.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import faiss
import numpy as np

THREADS = os.cpu_count() or 1

#: From rows (n, d) and how many neighbours, to a function of queries and a search width: rows that are near, (q, k).
Ask = Callable[[np.ndarray, int], np.ndarray]


class Peer(NamedTuple):
    """An index of somebody else's.

    Attributes:
        package: on the package index.
        built: what it is built with, to be shown.
        knob: what its search width is called.
        widths: from and to which it is looked for.
        build: from rows and a number of neighbours to what answers.
    """

    package: str
    built: str
    knob: str
    widths: tuple[int, int]
    build: Callable[[np.ndarray, int], Ask]


def installed(package: str) -> str | None:
    """Return a package's version; None if it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def lists_of(n: int) -> int:
    """Return how many inverted lists n points get."""
    return int(4 * np.sqrt(n))


def ivf(X: np.ndarray, k: int) -> Ask:
    """Inverted lists without compression."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(X.shape[1]), X.shape[1], lists_of(len(X)), faiss.METRIC_INNER_PRODUCT)
    index.train(X)
    index.add(X)
    return _of_faiss(index, "nprobe", k)


def hnsw(X: np.ndarray, k: int) -> Ask:
    """A navigable small world graph."""
    index = faiss.IndexHNSWFlat(X.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 60
    index.add(X)
    return _of_faiss(index, "efSearch", k)


def _of_faiss(index: faiss.Index, knob: str, k: int) -> Ask:
    def ask(rows: np.ndarray, width: int) -> np.ndarray:
        faiss.ParameterSpace().set_index_parameter(index, knob, width)
        return np.asarray(index.search(rows, k)[1])

    return ask


def hnswlib(X: np.ndarray, k: int) -> Ask:
    """The same graph by those who described it."""
    import hnswlib as library  # noqa: PLC0415  (optional)

    index = library.Index(space="ip", dim=X.shape[1])
    index.init_index(max_elements=len(X), M=24, ef_construction=60)
    index.add_items(X, num_threads=THREADS)

    def ask(rows: np.ndarray, width: int) -> np.ndarray:
        index.set_ef(max(width, k))
        return np.asarray(index.knn_query(rows, k, num_threads=THREADS)[0], np.int64)

    return ask


def usearch(X: np.ndarray, k: int) -> Ask:
    """The same graph again."""
    from usearch.index import Index  # noqa: PLC0415  (optional)

    index: Any = Index(ndim=X.shape[1], metric="ip", dtype="f32", connectivity=24, expansion_add=60)
    index.add(np.arange(len(X)), X, threads=THREADS)

    def ask(rows: np.ndarray, width: int) -> np.ndarray:
        index.expansion_search = width
        return np.asarray(index.search(rows, k, threads=THREADS).keys, np.int64)

    return ask


def svs(X: np.ndarray, k: int) -> Ask:
    """A Vamana graph."""
    import svs as library  # noqa: PLC0415  (optional)

    how = library.VamanaBuildParameters(alpha=0.95, graph_max_degree=32, window_size=64)
    index = library.Vamana.build(how, X, library.DistanceType.MIP, num_threads=THREADS)

    def ask(rows: np.ndarray, width: int) -> np.ndarray:
        index.search_window_size = max(width, k)
        return np.asarray(index.search(rows, k)[0], np.int64)

    return ask


def scann(X: np.ndarray, k: int) -> Ask:
    """Inverted lists of quantised residuals; the best are scored again."""
    import scann as library  # noqa: PLC0415  (optional)

    leaves = int(np.sqrt(len(X)))
    how = library.scann_ops_pybind.builder(X, k, "dot_product").set_n_training_threads(THREADS)
    how = how.tree(num_leaves=leaves, num_leaves_to_search=leaves, training_sample_size=len(X))
    index = how.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(10 * k).build()
    index.set_num_threads(THREADS)

    def ask(rows: np.ndarray, width: int) -> np.ndarray:
        found = index.search_batched_parallel(rows, k, pre_reorder_num_neighbors=10 * k, leaves_to_search=width)
        return np.asarray(found[0], np.int64)

    return ask


PEERS = {
    "ivf": Peer("faiss-cpu", "4 sqrt(n) lists", "nprobe", (4, 1 << 14), ivf),
    "hnsw": Peer("faiss-cpu", "M 16, 60", "efSearch", (16, 4096), hnsw),
    "hnswlib": Peer("hnswlib", "M 24, 60", "ef", (16, 4096), hnswlib),
    "usearch": Peer("usearch", "24, 60", "expansion", (16, 4096), usearch),
    "svs": Peer("scalable-vs", "degree 32, 64", "window", (16, 4096), svs),
    "scann": Peer("scann", "sqrt(n) leaves", "leaves", (4, 1 << 14), scann),
}
