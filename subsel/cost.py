"""How long a selection takes, by stage and engine, from rates that were measured.

Rates that nobody measured are those of two cores of an AMD EPYC, at 32 to 384 dimensions, 10 neighbours and 10 %
selected: on one machine as `subsel doctor --rates` found them, on Spark those of the runs in docs/scaling.md
(benchmarks/spark_pipeline.py, ``local[2]``). `subsel doctor --rates` measures another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from subsel.config import SelectConfig
from subsel.embeddings.cells import GROUPS_PROBED, ONE_LEVEL, cell_count
from subsel.embeddings.recipe import PROBES, Search
from subsel.errors import ConfigError
from subsel.growing.state import reserve_of
from subsel.parts.route import coarse_cells, sample_rows
from subsel.storage import place_of

#: Bytes that a task needs for each directed edge, and for each point, of a graph that it has whole: the most while the
#: parts are joined, and while a certificate's dual variables are beside it.
BYTES_PER_HALF_EDGE, BYTES_PER_POINT = 64, 300
#: What a Python worker has before it holds any data.
AT_REST = 300 << 20
#: A search that makes a graph which grows compares so many times the pairs on Spark: points join, where no pair probes
#: from both ends (docs/decisions/0031-growing-on-spark.md).
_JOINING = 2

_Rate = Annotated[float, Field(ge=0)]


class _Rates(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class LocalRates(_Rates):
    """Seconds of one machine, on all of its cores.

    Attributes:
        read: per million points.
        read_values: per million points and 100 values of their embeddings.
        lists: of the search, per million points and ten neighbours.
        values: of the search, per million points and 100 values.
        products: per 10^12 products of values, of which scores are made.
        passes: of the search, per million points, ten neighbours and pass over neighbours of neighbours.
        fixed: from the graph to the written subset, however few points there are.
        selection: from the graph to the written subset, per million points and ten neighbours.
        refine: per million points, ten neighbours and pass of swaps.
    """

    read: _Rate
    read_values: _Rate
    lists: _Rate
    values: _Rate
    products: _Rate
    passes: _Rate
    fixed: _Rate
    selection: _Rate
    refine: _Rate


class SparkRates(_Rates):
    """Core-seconds on Spark.

    Attributes:
        read: per million points.
        read_values: per million points and 100 values of their embeddings.
        neighbors: of the search in parts, per million points and ten neighbours.
        neighbors_values: of it, per million points and 100 values.
        selection: from the graph to the written subset in parts, per million points and ten neighbours.
        refine: per million points, ten neighbours and pass of swaps, in parts.
        alone: what a graph that fits one task takes there instead of the last two, on one core.
        fixed: seconds that Spark takes however few points there are, its start included.
        route: per 10^12 products while points look for their coarse cells, or near rows.
    """

    read: _Rate
    read_values: _Rate
    neighbors: _Rate
    neighbors_values: _Rate
    selection: _Rate
    refine: _Rate
    alone: _Rate
    fixed: _Rate
    route: _Rate


class Rates(_Rates):
    """What `subsel doctor --rates` writes.

    Attributes:
        machine: where they were measured, in a line.
        cores: of it, on which ``local`` was measured.
        local: of one machine.
        spark: of Spark's cores; scaled by how fast the machine is, where nothing was measured on Spark.
    """

    machine: str
    cores: Annotated[int, Field(ge=1)]
    local: LocalRates
    spark: SparkRates

    @classmethod
    def load(cls, path: str | Path, storage_options: Mapping[str, Any] | None = None) -> Rates:
        """Read a file of rates, from any storage.

        Raises:
            ConfigError: there is none, or it is not one.
            InputError: see `subsel.storage.place_of`.
        """
        file = place_of(path, storage_options)
        if not file.exists():
            raise ConfigError(f"{path} does not exist: make one with subsel doctor --rates {path}.")
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error}): name a file.") from error
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(map(str, wrong["loc"]))
            raise ConfigError(
                f"{path} has no rates ({where or 'JSON'}: {wrong['msg'].lower()}): name another file, such as "
                "subsel doctor --rates makes"
            ) from error


REFERENCE = Rates(
    machine="2 cores (AMD EPYC)",
    cores=2,
    local=LocalRates(
        read=0.9,
        read_values=0.5,
        lists=6.5,
        values=0.95,
        products=5.5,
        passes=0.33,
        fixed=0.2,
        selection=1.1,
        refine=0.06,
    ),
    spark=SparkRates(
        read=5, read_values=4, neighbors=64, neighbors_values=11, selection=45, refine=11, alone=10, fixed=12, route=33
    ),
)


@dataclass(frozen=True, slots=True)
class Work:
    """What stages take: core-seconds on Spark, seconds on one machine.

    Attributes:
        read: checking every row.
        neighbors: making the graph.
        selection: from the graph to the written subset.
        refine: all passes of swaps that are allowed.
        near: comparing all points with what none may be near to.
    """

    read: float
    neighbors: float
    selection: float
    refine: float
    near: float = 0.0

    @property
    def total(self) -> float:
        """All stages together."""
        return self.read + self.neighbors + self.selection + self.refine + self.near


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        n: points that are read.
        searched: of these, that are searched: all, or those that are drawn first.
        dimension: of their embeddings; 0 if a graph is given.
        k: points to select; None: not known.
        config: of the request.
        near: rows that all points are compared with.
        growing: whether a graph that grows is made, and nothing is selected.
    """

    n: int
    searched: int
    dimension: int
    k: int | None
    config: SelectConfig
    near: int = 0
    growing: bool = False

    @property
    def listed(self) -> float:
        """Tens of entries in a list of neighbours: with what is in reserve, where the graph grows."""
        degree = self.config.degree(self.n, self.k)
        return (degree + (reserve_of(degree) if self.growing else 0)) / 10

    @property
    def passes(self) -> int:
        """Passes over neighbours of neighbours, as far as they are known: where no recall is aimed at."""
        return Search.of(self.config, self.n, self.k).passes or 0

    @property
    def ranked(self) -> float:
        """Millions of points, times tens of neighbours, that are selected from."""
        return 0.0 if self.growing else self.searched / 1e6 * self.config.degree(self.n, self.k) / 10

    @property
    def near_products(self) -> float:
        """Of 10^12: of all points with those that none may be near to."""
        return self.n * self.near * self.dimension / 1e12


def local_work(job: Job, rates: LocalRates = REFERENCE.local) -> Work:
    """Return the seconds that a job takes on one machine.

    Probes and passes are those of the config, or those that a search begins with: how many more it takes to reach its
    recall depends on the data. Not in it: the iterations of a certificate.
    """
    millions, hundreds = job.searched / 1e6, job.dimension / 100
    read = job.n / 1e6 * (rates.read + rates.read_values * hundreds)
    neighbors = 0.0
    if job.dimension:
        lists = job.listed * (rates.lists + rates.passes * job.passes)
        neighbors = millions * (lists + rates.values * hundreds) + rates.products * products(job)
    selection = 0.0 if job.growing else rates.fixed + job.ranked * rates.selection
    refine = job.ranked * rates.refine * job.config.refine
    return Work(read, neighbors, selection, refine, job.near_products * rates.products)


def products(job: Job) -> float:
    """Return how many products of values a search on one machine takes, of 10^12.

    A point meets the centroids of all cells, and the points of those that it probes.
    """
    n, probes = job.searched, job.config.probes or PROBES
    cells = cell_count(n, probes)
    met = min(probes, cells) * n / cells
    return n * (_compared(cells) + met) * job.dimension / 1e12


def _compared(cells: int) -> float:
    """Return how many centroids a point is compared with: those of groups and of the nearest, where cells are many."""
    return float(cells if cells <= ONE_LEVEL else (1 + GROUPS_PROBED) * np.sqrt(cells))


def spark_work(job: Job, parts: int, rates: SparkRates = REFERENCE.spark, *, alone: bool = False) -> Work:
    """Return the core-seconds that a job takes on Spark in so many parts.

    What follows from the number of neighbours is taken to be in proportion to it; probes are taken to be 8 and the size
    10 %: a rule of thumb. Not in it: what takes its time however few points there are, and the iterations of a
    certificate.

    Args:
        job: what is to be done.
        parts: of the graph.
        rates: of Spark's cores.
        alone: whether drivers have the whole graph in one task, where no second core helps.
    """
    millions, hundreds, n = job.searched / 1e6, job.dimension / 100, job.searched
    read = job.n / 1e6 * (rates.read + rates.read_values * hundreds)
    selection = job.ranked * (rates.alone if alone else rates.selection)
    refine = 0.0 if alone else job.ranked * rates.refine * job.config.refine
    if job.dimension == 0:
        return Work(read, 0.0, selection, refine)
    cells = coarse_cells(parts, sample_rows(n, job.dimension, -(-n // parts)))
    routing = rates.route * n * _compared(cells) * job.dimension / 1e12
    pairs = _JOINING if job.growing else 1
    neighbors = millions * (rates.neighbors * job.listed + pairs * rates.neighbors_values * hundreds) + routing
    return Work(read, neighbors, selection, refine, rates.route * job.near_products)


def task_bytes(points: int, half_edges: int) -> int:
    """Return what a task takes, beside `AT_REST`, that has a graph of so many points and directed edges, or a part."""
    return BYTES_PER_HALF_EDGE * half_edges + BYTES_PER_POINT * points


def one_task_bytes(config: SelectConfig, points: int, half_edges: int) -> int | None:
    """Return what a task takes that has a whole graph; 0 where its memory is not asked for; None: never one has it."""
    if config.finish_points is None:
        return task_bytes(points, half_edges)
    return 0 if points <= config.finish_points else None
