"""Before running: how much memory, disk and time a selection takes, in how many parts, and on which engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from subsel import cost
from subsel.config import FEWEST_NEIGHBORS, SelectConfig, resolve_size
from subsel.errors import ConfigError, InputError, option
from subsel.growing.state import reserve_of
from subsel.input.given import NEAR
from subsel.input.points import width_of
from subsel.input.rows import embedding_type, may_be_read
from subsel.input.source import Source, open_source
from subsel.input.types import flat_lists, value_type
from subsel.memory import available_memory
from subsel.parts.crowded import MOST_TRAVEL
from subsel.sizes import parse_budget

#: Bytes that one machine needs per value of the embeddings, by the bytes that one is kept in, and per directed edge
#: (README: memory).
LOCAL_BYTES_PER_VALUE = {4: 1.3 * 4, 2: 0.8 * 4}
LOCAL_BYTES_PER_EDGE = 40
#: Directed edges per neighbour after symmetrisation, as measured on demo data and in the paper.
EDGES_PER_NEIGHBOR = 1.6
#: Bytes of an edge on its way into a graph, and through what selects from it, as measured.
_EDGE_TRAVELS = 90
#: Times that a searching task holds the vectors of its points and visitors, with buffers and what allocators keep.
TASK_COPIES = 6
#: Bytes of a found neighbour on its way home: code, home, score.
FOUND_BYTES = 16
#: What it holds besides for each neighbour of each of those: lists, candidates, and lists on their way home.
LIST_BYTES = 120
#: What a Python worker holds before it works: interpreter, numpy, pyarrow, faiss, compiled kernels.
WORKER_BYTES = 450 << 20
#: Vectors of a part, in bytes, with what lists of more than 10 neighbours take; and so many points at the least, while
#: that is no more than twice as much: supersteps cost more for many small parts.
PART_BYTES = 24 << 20
PART_POINTS = 32_768


@dataclass(frozen=True, slots=True)
class Plan:
    """What a selection will take.

    Attributes:
        n: points.
        dimension: of embeddings; 0 where a graph is given.
        k: points to select; None: not known.
        neighbors: of each point.
        local_bytes: peak memory on one machine.
        available_bytes: memory that this machine has to give now.
        parts: parts on Spark.
        part_points: points per part.
        worker_bytes: memory of one Python worker on Spark.
        shuffle_bytes: disk that the neighbour exchange takes, over all executors.
        graph_bytes: disk that the persisted graph takes, over all executors.
        one_task_bytes: memory of a task on Spark that has the whole graph and selects from it, which spares the rounds
            over the parts; None: it is never in one task.
        local_work: seconds on one machine.
        work: core-seconds on Spark, in parts.
        work_alone: core-seconds where one task has the whole graph.
        rates: by which these are known.
    """

    n: int
    dimension: int
    k: int | None
    neighbors: int
    local_bytes: int
    available_bytes: int
    parts: int
    part_points: int
    worker_bytes: int
    shuffle_bytes: int
    graph_bytes: int
    one_task_bytes: int | None
    local_work: cost.Work
    work: cost.Work
    work_alone: cost.Work
    rates: cost.Rates

    @property
    def fits(self) -> bool:
        """Whether one machine's memory is enough."""
        return self.local_bytes <= self.available_bytes

    def in_one_task(self, task_bytes: int | None = None) -> bool:
        """Whether a task with so much memory selects from the whole graph; None: in a session of this machine."""
        has = self.available_bytes // 2 if task_bytes is None else task_bytes
        needed = self.one_task_bytes
        return needed is not None and (not needed or needed <= has - cost.AT_REST)

    def seconds_on_spark(self, cores: int, task_bytes: int | None = None) -> float:
        """Return how long it takes on so many cores of executors, of which no more work than there are parts.

        Args:
            cores: of all executors.
            task_bytes: memory of a task, see `in_one_task`.
        """
        fixed, shared = self.rates.spark.fixed, min(cores, self.parts)
        if not self.in_one_task(task_bytes):
            return fixed + self.work.total / shared
        work = self.work_alone
        return fixed + work.selection + (work.total - work.selection) / shared


def part_points(dimension: int, neighbors: int, config: SelectConfig) -> int:
    """Return how many points a part has on Spark: as configured, or see `PART_BYTES`; 10,000 to 200,000."""
    if config.part_points is not None:
        return config.part_points
    lists = FOUND_BYTES * max(0, neighbors - FEWEST_NEIGHBORS)
    points = PART_BYTES // (4 * max(dimension, 1) + lists)
    return min(max(points, min(2 * points, PART_POINTS), 10_000), 200_000)


def search_bytes(points: float, dimension: int, neighbors: int) -> int:
    """Return what searching a part takes that has so many points, visitors included, beside `WORKER_BYTES`."""
    return int(points * (TASK_COPIES * 4 * dimension + LIST_BYTES * neighbors))


def check_worker(limit: int | None, points: int, in_part: int, dimension: int, neighbors: int) -> None:
    """Refuse parts whose search does not fit into a worker, before it loops in executors that are lost.

    Args:
        limit: bytes that a Python worker on Spark may take; None: not known.
        points: in the largest part, visitors included.
        in_part: points per part.
        dimension: of embeddings.
        neighbors: of each point.

    Raises:
        ConfigError: it does not fit.
    """
    search = search_bytes(points, dimension, neighbors)
    if limit is None or limit >= WORKER_BYTES + search:
        return
    fits = in_part * (limit - WORKER_BYTES) // search
    smaller = f"take parts of {option('part_points', fits)}, or " if fits >= 1000 else ""
    raise ConfigError(
        f"a part of {points:,} points, visitors included, takes about {(WORKER_BYTES + search) >> 20:,} MiB to search, "
        f"and a Python worker may take {limit >> 20:,} MiB (spark.executor.pyspark.memory by executor cores): "
        f"{smaller}raise that."
    )


def reference_rows(config: SelectConfig, storage_options: Mapping[str, Any] | None = None) -> int:
    """Return the rows of what no point may be near to, from its metadata; 0 without, or where it was given as such.

    Raises:
        InputError: it cannot be opened.
    """
    if config.exclude_near is None or config.exclude_near == NEAR:
        return 0
    wanted, what = {config.embedding_column}.__contains__, option("exclude_near")
    return open_source(config.exclude_near, wanted, config, storage_options, what).rows


def local_bytes(n: int, dimension: int, neighbors: int, searched: int, width: int = 4) -> int:
    """Return the peak memory of selecting on one machine, in bytes: n points are read, so many of them searched.

    Their values are kept in ``width`` bytes each, see `subsel.input.points.width_of`.
    """
    edges = EDGES_PER_NEIGHBOR * min(neighbors, searched) * searched
    read = n + (searched if 2 * searched < n else 0)  # few that are left are copied, so that the others can go
    values = max(width * read * dimension, LOCAL_BYTES_PER_VALUE[width] * searched * dimension)
    return int(values + LOCAL_BYTES_PER_EDGE * edges + 64 * n)


def estimate(
    n: int,
    dimension: int,
    k: int | None,
    config: SelectConfig,
    near: int = 0,
    width: int = 4,
    *,
    rates: cost.Rates = cost.REFERENCE,
    growing: bool = False,
) -> Plan:
    """Return what selecting k of n points takes.

    Args:
        n: points.
        dimension: of their embeddings; 0 if a graph is given.
        k: points to select; None: not known.
        config: how to select.
        near: rows that all points are compared with.
        width: bytes in which one machine keeps a value, and in which it travels on Spark.
        rates: how fast machines are.
        growing: whether a graph that grows is made instead, see `growing_bytes`.
    """
    reference = 2 * 4 * near * dimension
    read, neighbors = n, min(config.degree(n, k), n)
    more = growing_bytes(n, dimension, neighbors) if growing else 0
    drawn = config.drawn(n, k)
    n = n if drawn is None else drawn
    edges = EDGES_PER_NEIGHBOR * neighbors * n
    points = part_points(dimension, neighbors, config)
    vectors = width * n * dimension
    graph = int(edges * 8 + 32 * n)
    part_share = min(points, n)
    parts = max(1, -(-n // points))
    job = cost.Job(read, n, dimension, k, config, near, growing)
    search = search_bytes(MOST_TRAVEL * part_share, dimension, neighbors)
    return Plan(
        n=read,
        dimension=dimension,
        k=k,
        neighbors=neighbors,
        local_bytes=local_bytes(read, dimension, neighbors, n, width) + reference + more,
        available_bytes=available_memory(),
        parts=parts,
        part_points=points,
        worker_bytes=int(WORKER_BYTES + max(search, 5 * graph * part_share / n, reference)),
        shuffle_bytes=int(travel(parts) * (vectors + FOUND_BYTES * neighbors * n) + _EDGE_TRAVELS * edges),
        graph_bytes=2 * graph + more,
        one_task_bytes=cost.one_task_bytes(config, n, int(edges)),
        local_work=cost.local_work(job, rates.local),
        work=cost.spark_work(job, parts, rates.spark),
        work_alone=cost.spark_work(job, parts, rates.spark, alone=True),
        rates=rates,
    )


def travel(parts: int) -> float:
    """Return how many parts a point is in on average, its own among them; memory goes by `subsel.parts.crowded`.

    It was 1.9 of 31 parts at 384 dimensions, and 3.7 of 103 at 64, by what benchmarks/spark_pipeline.py shuffled: it
    grows with their logarithm, about.
    """
    return max(1.0, math.log(parts) - 0.9)


def growing_bytes(n: int, dimension: int, neighbors: int) -> int:
    """Return what a graph keeps beside its edges so that it can grow: lists with what is in reserve, 16-bit vectors."""
    return n * (8 * (neighbors + reserve_of(neighbors)) + 2 * dimension)


def plan_input(
    data: Any,
    config: SelectConfig,
    *,
    sizes: Sequence[int | float | str | None] | None = None,
    with_embeddings: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    rates: cost.Rates = cost.REFERENCE,
    growing: bool = False,
) -> Plan:
    """Return what selecting from an input takes, from its metadata and first row only.

    Args:
        data: points.
        config: how to select.
        sizes: all that will be selected; the config's own if None. A size of None is not known.
        with_embeddings: False where a graph is given.
        storage_options: how paths are opened that are not on this machine.
        rates: how fast machines are.
        growing: whether a graph that grows is made instead.

    Raises:
        InputError: the input cannot be opened, or lacks the embedding column.
    """
    source = open_source(data, may_be_read(config), config, storage_options)
    n = source.rows
    if n == 0:
        raise InputError(f"{source.name} is empty: there is nothing to select from.")
    dimension = _dimension(source, config) if with_embeddings else 0
    if sizes is None or None in sizes:
        k = planned_count(config, n, source.name) if sizes is None else None
    else:
        k = min(resolve_size(size, n, source.name) for size in sizes)
    width = width_of(source.schema, config.embedding_column if with_embeddings else None)
    near = reference_rows(config, storage_options)
    return estimate(n, dimension, k, config, near, width, rates=rates, growing=growing)


def planned_count(config: SelectConfig, n: int, name: str) -> int | None:
    """Return how many of n points a config selects, as far as no data is needed to say so; None: nobody knows.

    A share of the cost is taken for as large a share of the points; what an amount of it pays for is not known.

    Raises:
        ConfigError: the size exceeds n.
    """
    if config.size is not None:
        return resolve_size(config.size, n, name)
    share = None if config.budget is None else parse_budget(config.budget)
    return max(1, round(share * n)) if isinstance(share, float) else None


def _dimension(source: Source, config: SelectConfig) -> int:
    kind = embedding_type(source.schema, config, source.name)
    if pa.types.is_fixed_size_list(kind) and kind.value_type == value_type(kind):
        return int(kind.list_size)
    first = next(iter(source.batches([config.embedding_column])), None)
    if first is None or len(first) == 0:
        return 1
    lengths, _ = flat_lists(first.column(0)[:1])
    return max(1, int(lengths[0]))
