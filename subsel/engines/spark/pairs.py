"""Pairs of points that are more alike than a limit, as the search for neighbours finds them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel.config import SelectConfig
from subsel.embeddings.recipe import Search
from subsel.engines.spark.neighbors import found_lists
from subsel.engines.spark.parcels import map_in_arrow, task
from subsel.engines.spark.points import SparkPoints
from subsel.parts import assemble, route
from subsel.parts.pack import unpack
from subsel.parts.rows import parcels_in


def pairs_above(
    points: SparkPoints, part_map: route.PartMap, how: Search, config: SelectConfig, limit: float
) -> DataFrame:
    """Search neighbours, and return the codes of those pairs that are more alike than a limit, some of them repeatedly.

    Args:
        points: checked, of ids that are no repeats; no recall is estimated.
        part_map: where they belong.
        how: to search.
        config: by which rows are read.
        limit: of similarity.

    Returns:
        ``one`` and ``other``, bigint, of which ``one`` is less.
    """
    found = found_lists(points, part_map, how, config).where(F.col("kind") == assemble.EDGES)
    return map_in_arrow(found, partial(_pairs, limit), "one bigint, other bigint")


def _pairs(limit: float, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for parcel in parcels_in(batches):
            edges = unpack(parcel.payload)
            ends = np.sort(np.stack([edges["own"], edges["other"]]), axis=0)[:, edges["similarity"] > limit]
            yield pa.RecordBatch.from_arrays([pa.array(one) for one in ends], names=["one", "other"])
