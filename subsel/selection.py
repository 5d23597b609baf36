"""What a selection gives back: its report, its rows, and where they were written."""

from __future__ import annotations

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
from subsel.graph import NeighborGraph
from subsel.input.source import result_dataset
from subsel.report import Report
from subsel.storage import Place, path_of


@dataclass(frozen=True)
class Selection:
    """A selected subset.

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
    _table: pa.Table | None = None

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
        if self._table is not None:
            return pads.dataset(self._table)
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
        return self.dataset.to_table() if self._table is None else self._table

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
