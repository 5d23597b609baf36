"""An assembled graph on Spark: its parcels, persisted or in the run directory, and the little of them on the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel.config import SelectConfig
from subsel.engines.spark.groups import write_graph
from subsel.engines.spark.held import Held, free_shuffled
from subsel.engines.spark.joining import joined, joint_of
from subsel.engines.spark.output import read_rows
from subsel.engines.spark.parcels import PARCEL_SCHEMA, map_in_arrow, task
from subsel.engines.spark.together import fits_one_task
from subsel.fixedpoint import Usual
from subsel.input.groups import GroupNames
from subsel.parts import assemble
from subsel.parts.pack import Parcel, from_rows, unpack
from subsel.parts.rows import parcels_in
from subsel.rundir import RunDirectory

#: Columns of `subsel.fixedpoint.Usual`: integers of any size.
USUAL = "bits decimal(38,0), some decimal(38,0), n decimal(38,0)"


class Assembled:
    """A graph by part.

    Attributes:
        frame: parcels of graph, points, shapes and names of groups.
        groups: of each column.
        parts: how many.
        shapes: of each part, as it was searched.
    """

    def __init__(
        self, frame: DataFrame, groups: tuple[GroupNames, ...], parts: int, little: Sequence[Parcel] | None = None
    ) -> None:
        self.frame, self.groups, self.parts = frame, groups, parts
        self._little = _little(frame) if little is None else little
        self.shapes = list(_shapes(self._little).values())

    @classmethod
    def of(
        cls,
        frame: Callable[[], DataFrame],
        groups: tuple[GroupNames, ...],
        spark: SparkSession,
        rundir: RunDirectory | None,
        held: Held,
        config: SelectConfig,
        parts: int,
        about: tuple[int, int],
    ) -> Assembled:
        """Compute a graph and keep it: in the run directory if there is one.

        Where no task will hold it, and boards are on the executors' disks anyway, Spark forgets how it was computed,
        and what was shuffled for it makes room.

        Args:
            frame: returns parcels of the graph, as it was searched.
            groups: of each column.
            spark: the session.
            rundir: see above.
            held: keeps frames.
            config: of the request.
            parts: of the graph; see `subsel.engines.spark.joining` for how many it is kept in.
            about: its points, and half-edges at the least.
        """
        recorded = rundir is not None
        whole = recorded or fits_one_task(spark, config, *about)
        kept = (held.keep if whole else held.write_down_at_first_use)(frame())
        little = _little(kept)
        if not whole:
            free_shuffled(spark)
        joint = joint_of(spark, config, parts, _shapes(little), recorded=recorded)
        if joint is not None:
            searched, parts = kept, joint.parts
            kept = held.write_down(joined(searched, joint))  # computed before what it is made of goes
            held.release(searched)
        if rundir is not None:
            write_graph(spark, kept, groups, *rundir.begin("graph", "points"))
            held.release(kept)
            return cls.kept(spark, rundir, parts)
        return cls(kept, groups, parts, little)

    @classmethod
    def kept(cls, spark: SparkSession, rundir: RunDirectory, parts: int) -> Assembled:
        """Take the graph and its points from the run directory."""
        folders = (rundir.place.join(name) for name in ("graph", "points"))
        frame = read_rows(spark, PARCEL_SCHEMA, *folders)
        little = _little(frame)
        return cls(frame, assemble.unpack_names(little), parts, little)

    @property
    def points(self) -> DataFrame:
        """Parcels of kind points."""
        return self.frame.where(F.col("kind") == assemble.POINTS)

    @property
    def largest(self) -> float:
        """The largest similarity of an edge."""
        return max(shape.max_similarity for shape in self.shapes)

    def total(self, name: str) -> Any:
        """Return the sum over all parts of what their shapes say by a name."""
        return sum(getattr(shape, name) for shape in self.shapes)

    def collect(self, kind: str) -> list[Parcel]:
        """Return the parcels of a kind that has little per part."""
        return [parcel for parcel in self._little if parcel.kind == kind]


def _shapes(little: Sequence[Parcel]) -> dict[int, assemble.Shape]:
    """Return the shapes of parts by the number that each was searched with."""
    shapes = (parcel for parcel in little if parcel.kind == assemble.SHAPE)
    return {parcel.source: assemble.unpack_shape(parcel.payload) for parcel in shapes}


def _little(frame: DataFrame) -> list[Parcel]:
    """Bring to the driver what there is beside points and their graph: in one job, as each looks through all parts."""
    return from_rows(frame.where(~F.col("kind").isin(assemble.POINTS, assemble.GRAPH)).toArrow())


def utility_sums(shapes: Sequence[assemble.Shape], utilities: DataFrame | None) -> tuple[float, assemble.Utilities]:
    """Return the sum of all points' utilities, and their range.

    Args:
        shapes: of the graph's parts.
        utilities: that the graph's give way to, see `subsel.engines.spark.weighing.Weighed`; None: they stay.
    """
    if utilities is None:
        return sum(shape.utility_sum for shape in shapes), assemble.utility_range(shapes)
    rows = map_in_arrow(utilities, _sums, f"total double, least double, most double, {USUAL}")
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
            yield pa.RecordBatch.from_pydict(columns | usual_columns(usual))


def usual_columns(usual: Usual) -> dict[str, pa.Array]:
    """Return a row of `USUAL`."""
    numbers = {name: [Decimal(value)] for name, value in asdict(usual).items()}
    return {name: pa.array(number, pa.decimal128(38, 0)) for name, number in numbers.items()}
