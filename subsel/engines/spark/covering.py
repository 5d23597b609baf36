"""What coverage needs of a graph on Spark beside its drivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel.covering.value import cover_by_random
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.parcels import PARCEL_SCHEMA, map_in_arrow, plain_errors, task
from subsel.engines.spark.weighing import weighted_graph
from subsel.graph import PartGraph
from subsel.parts import assemble
from subsel.parts.pack import Parcel, pack, unpack
from subsel.parts.rows import parcels_in, to_table


def graph_to_select(assembled: DataFrame, utilities: DataFrame | None, itself: float | None, parts: int) -> DataFrame:
    """Return parcels of kind graph as an engine takes them.

    Args:
        assembled: parcels, the graph's among them.
        utilities: that the graph's give way to, see `subsel.engines.spark.weighing.weighted_graph`; None: they stay.
        itself: how similar points are to themselves, under coverage.
        parts: of the graph.
    """
    graph = assembled.where(F.col("kind") == assemble.GRAPH)
    if utilities is not None:
        graph = weighted_graph(graph, utilities, parts)
    return graph if itself is None else with_itself(graph, itself)


def most_itself(shapes: Sequence[assemble.Shape], otherwise: float) -> float:
    """Return the largest similarity of a point to itself: of a graph's parts, or of all points where they say none."""
    return max((one.most_itself for one in shapes if one.most_itself is not None), default=otherwise)


def with_itself(graph: DataFrame, itself: float) -> DataFrame:
    """Return parcels of kind graph that say how similar own points are to themselves, where they do not yet."""
    return map_in_arrow(graph, partial(_with_itself, itself), PARCEL_SCHEMA)


def _with_itself(itself: float, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for parcel in parcels_in(batches):
            arrays = unpack(parcel.payload)
            arrays.setdefault("itself", np.full(len(arrays["indptr"]) - 1, itself))
            found = Parcel(parcel.part, parcel.source, parcel.kind, pack(**arrays))
            yield from to_table([found]).to_batches()


def expected_cover(engine: SparkEngine | None, n: int, k: int) -> float:
    """Return the expectation of coverage's f over all k-subsets of n points."""
    assert engine is not None
    with plain_errors():
        engine.reopen()
        sums = engine.on_whole(None, partial(_expected, n, k), "expected double")
        return float(sums.agg(F.sum("expected")).collect()[0][0])


def _expected(n: int, k: int, graph: PartGraph, parcels: list[Parcel]) -> pa.Table:
    return pa.table({"expected": [cover_by_random(graph, n, k)]})
