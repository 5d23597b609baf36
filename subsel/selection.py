"""What a selection gives back: its report, its rows, and where they were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads

from subsel import schema
from subsel.errors import ConfigError, option
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph
from subsel.input.filtered import take_rows
from subsel.input.source import result_dataset
from subsel.notebook import gain_by_rank, page_of, utility_of_both
from subsel.pages.facts import report_facts
from subsel.report import Report
from subsel.storage import Place, path_of


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A subset that was selected in this process, with what its pictures are made of.

    Attributes:
        table: its rows in rank order.
        rows: their positions in the input: int64, (k,).
        of: rows of the input.
        utilities: of all points that were selected from: float64, (n,).
        nodes: which of these the chosen are: int64, (k,).
    """

    table: pa.Table
    rows: Int64Array
    of: int
    utilities: npt.NDArray[np.float64]
    nodes: Int64Array


@dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """A selected subset: its length is the number of its points, and iterating over it gives their ids, best first.

    Attributes:
        report: what was done, and how good it is.
        place: where it was written; None if it was not.
        audit_place: where its audit was; None if none was asked for.
        graph: the neighbour graph it was selected on; None from Spark, where it is never in one place.
    """

    report: Report
    place: Place | None
    audit_place: Place | None = None
    graph: NeighborGraph | None = None
    _chosen: Chosen | None = None

    def __len__(self) -> int:
        return self.report.k

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the ids in rank order."""
        return iter(self.ids.tolist())

    def __repr__(self) -> str:
        report = self.report
        where = "" if self.place is None else f", in {self.place}"
        return (
            f"Selection({report.k:,} of {report.input.points:,} points of {report.input.name}, "
            f"objective {report.objective.total:.6g}{where})"
        )

    def _repr_html_(self) -> str:
        """Return the closing table and two pictures: nothing is read or computed for it that is not in memory."""
        pictures = []
        if self._chosen is not None:
            gains = self._chosen.table[schema.GAIN].to_numpy()
            everyone = self._chosen.utilities
            pictures = [gain_by_rank(gains), utility_of_both(everyone, everyone[self._chosen.nodes])]
        return page_of(report_facts(self.report, lambda name: None), pictures)

    @property
    def rows(self) -> Int64Array:
        """Positions of the selected rows in the input, in rank order: int64, (k,).

        Raises:
            ConfigError: it was selected on Spark, where rows have no positions.
        """
        return self._in_memory("rows").rows

    def filter(self, data: Any) -> Any:
        """Return the selected rows of data, in the input's order, in the type that comes in.

        Args:
            data: what was selected from, or what has as many rows in the same order: an Arrow table, a pandas or polars
                frame or series, a Hugging Face dataset, a numpy array, a list, … (`subsel.input.filtered.take_rows`).
                Or a Spark DataFrame with the ids: it is joined to them, in no order, and nothing is collected.

        Raises:
            InputError: data has more or fewer rows, or is not understood.
            ConfigError: it was selected on Spark, and data is none of Spark's.
        """
        if hasattr(data, "sparkSession"):
            from subsel.engines.spark.filtered import rows_of_ids  # noqa: PLC0415  (needs pyspark)

            found = self.place if self._chosen is None else self._chosen.table.select([schema.ID])
            assert found is not None
            return rows_of_ids(data, found, self.report.config.id_column)
        chosen = self._in_memory("filter")
        return take_rows(data, np.sort(chosen.rows), chosen.of)

    def _in_memory(self, what: str) -> Chosen:
        if self._chosen is None:
            raise ConfigError(
                f"{what}: on Spark rows have no positions, the subset has ids: give filter a Spark DataFrame, or join "
                f"{self.path} by its column {schema.ID}."
            )
        return self._chosen

    @property
    def path(self) -> Path | str | None:
        """Where it was written: a path on a local disk, else an address; None if it was not."""
        return path_of(self.place)

    @property
    def audit_path(self) -> Path | str | None:
        """Where its audit was written, likewise."""
        return path_of(self.audit_place)

    @property
    def dataset(self) -> pads.Dataset:
        """The subset as an Arrow dataset: from Spark a lazy reader of what was written, in rank order.

        Raises:
            InputError: what was written is no longer there, or cannot be reached from here.
        """
        if self._chosen is not None:
            return pads.dataset(self._chosen.table)
        assert self.place is not None
        return result_dataset(self.place)

    @property
    def audit(self) -> pads.Dataset:
        """Why each point of the input was selected or not, as an Arrow dataset, by id (docs/limits.md).

        Raises:
            ConfigError: it was not asked for.
            InputError: what was written is no longer there, or cannot be reached from here.
        """
        if self.audit_place is None:
            raise ConfigError(f"there is no audit: ask for one by {option('audit')}.")
        return result_dataset(self.audit_place)

    @cached_property
    def table(self) -> pa.Table:
        """One row per selected point in rank order: `id`, `rank`, `gain`, `decided_by`, kept columns.

        After Spark this reads all of it into memory; `dataset` does not.
        """
        return self.dataset.to_table() if self._chosen is None else self._chosen.table

    @property
    def ids(self) -> npt.NDArray[Any]:
        """The selected ids in rank order, in their integer type, or object for strings."""
        return np.asarray(self.table[schema.ID].to_numpy())

    @property
    def upper_bound(self) -> float:
        """What f of no subset that meets the request can exceed; see `subsel.report.CertificateReport` for budgets."""
        return self.report.certificate.upper_bound

    @property
    def objective(self) -> float:
        """f of the subset, from the original utilities and similarities, in float64."""
        return self.report.objective.total
