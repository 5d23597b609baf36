"""Generated points that look like embeddings: clusters of very unequal size, near duplicates, uneven utilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from subsel import schema
from subsel.storage import Place, arrow_place, new_folder, place_of
from subsel.version import __version__

_INTRINSIC = 12  # directions in which a cluster spreads; real embeddings have about as many


def demo_points(n: int, dimension: int = 64, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return embeddings (float32, (n, dimension)) and utilities (float64, (n,), in [0, 1]).

    Cluster sizes fall like 1/rank; a cluster spreads in a dozen directions of its own. One point in ten is a
    near duplicate of another and one in a hundred an exact one. Utilities look like margins of a classifier
    that finds some clusters easy and others hard.
    """
    rng = np.random.default_rng(seed)
    n_clusters = max(1, int(np.sqrt(n)))
    size = 1 / np.arange(1, n_clusters + 1)
    label = rng.choice(n_clusters, n, p=size / size.sum())
    center = rng.standard_normal((n_clusters, dimension)).astype(np.float32)
    spread = rng.standard_normal((n_clusters, _INTRINSIC, dimension)).astype(np.float32) / np.sqrt(_INTRINSIC)
    points = np.empty((n, dimension), np.float32)
    for cluster in range(n_clusters):
        rows = np.flatnonzero(label == cluster)
        inside = rng.standard_normal((len(rows), _INTRINSIC)).astype(np.float32)
        points[rows] = center[cluster] + inside @ spread[cluster]
    points += 0.1 * rng.standard_normal(points.shape, np.float32)
    difficulty = rng.beta(0.6, 1.8, n_clusters)
    utility = rng.beta(0.5 + 4 * difficulty[label], 0.5 + 4 * (1 - difficulty[label]))

    copies = rng.permutation(n)[: n // 10]
    originals = rng.integers(0, n, len(copies))
    points[copies] = points[originals] + 0.01 * rng.standard_normal((len(copies), dimension), np.float32)
    utility[copies] = np.clip(utility[originals] + 0.01 * rng.standard_normal(len(copies)), 0, 1)
    exact = copies[: n // 100]
    points[exact] = points[originals[: len(exact)]]
    return points, utility


def demo_table(n: int, dimension: int = 64, seed: int = 0) -> pa.Table:
    """Return demo points as a table: `id` (int64, no row numbers), `embedding`, `utility`, `source` (string)."""
    points, utility = demo_points(n, dimension, seed)
    rng = np.random.default_rng([seed, 1])
    ids = rng.permutation(n) * 7 + 1_000_000
    lists = pa.FixedSizeListArray.from_arrays(pa.array(points.reshape(-1)), dimension)
    sources = pa.array(np.array(["web", "books", "code"])[rng.integers(0, 3, n)])
    return pa.table({schema.ID: ids, schema.EMBEDDING: lists, schema.UTILITY: utility, "source": sources})


def write_demo(
    folder: str | Path | Place, n: int, dimension: int = 64, *, seed: int = 0, overwrite: bool = False
) -> None:
    """Write demo points as four Parquet files into a folder.

    Raises:
        InputError: the folder exists, and ``overwrite`` is False or this function did not write it.
        OutputError: it cannot be written.
    """
    table = demo_table(n, dimension, seed)
    per_file = -(-n // 4)
    with new_folder(place_of(folder), overwrite=overwrite) as new:
        for number in range(4):
            piece = table.slice(number * per_file, per_file)
            file = arrow_place(new.file(f"points-{number:05d}.parquet"))
            pq.write_table(piece, file.path, filesystem=file.filesystem, row_group_size=10_000)
        new.manifest = {
            "subsel": __version__,
            "made_by": "subsel demo",
            "points": n,
            "dimension": dimension,
            "seed": seed,
        }
