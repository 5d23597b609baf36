"""What of an assembled graph comes to the driver: little for each part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel.engines.spark.parcels import map_in_arrow, task
from subsel.fixedpoint import Usual
from subsel.parts import assemble
from subsel.parts.pack import Parcel, from_rows, unpack
from subsel.parts.rows import parcels_in


def collected(assembled: DataFrame, kind: str) -> list[Parcel]:
    """Bring the parcels of a kind that has little per part to the driver."""
    return from_rows(assembled.where(F.col("kind") == kind).toArrow())


def shapes_of(assembled: DataFrame) -> list[assemble.Shape]:
    """Return the shapes of all parts."""
    return [assemble.unpack_shape(parcel.payload) for parcel in collected(assembled, assemble.SHAPE)]


def utility_sums(shapes: Sequence[assemble.Shape], utilities: DataFrame | None) -> tuple[float, assemble.Utilities]:
    """Return the sum of all points' utilities, and their range.

    Args:
        shapes: of the graph's parts.
        utilities: that the graph's give way to, see `subsel.engines.spark.weighing.Weighed`; None: they stay.
    """
    if utilities is None:
        return sum(shape.utility_sum for shape in shapes), assemble.utility_range(shapes)
    rows = map_in_arrow(utilities, _sums, "total double, least double, most double, bits long, some long, n long")
    counts = [F.sum(name) for name in ("bits", "some", "n")]
    total, least, most, *usual = rows.agg(F.sum("total"), F.min("least"), F.max("most"), *counts).collect()[0]
    return float(total), assemble.Utilities(float(least), float(most), Usual(*map(int, usual)))


def _sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for parcel in parcels_in(batches):
            arrays = unpack(parcel.payload)
            own = arrays["utility"][: len(arrays["outlier"])]
            usual = Usual.of(own)
            told = {"total": own.sum(), "least": own.min(), "most": own.max()}
            columns = {name: pa.array([float(value)]) for name, value in told.items()}
            columns |= {name: pa.array([value], pa.int64()) for name, value in asdict(usual).items()}
            yield pa.RecordBatch.from_pydict(columns)
