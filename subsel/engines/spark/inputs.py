"""What a request reads on Spark: points, a graph, and wishes, opened once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.config import SelectConfig
from subsel.engines.spark.drawing import drawn_rows
from subsel.engines.spark.groups import group_names
from subsel.engines.spark.ids import given, kept
from subsel.engines.spark.limits import cost_of_all, quotas_on_spark
from subsel.engines.spark.neighbors import Rules, known_ids
from subsel.engines.spark.points import SparkPoints, check_points, sample_anew
from subsel.engines.spark.ranking import ROWS_PER_FILE
from subsel.engines.spark.scoring import members_of
from subsel.engines.spark.source import SparkSource, col, open_on_spark
from subsel.engines.spark.wishes import Wished, check_counts, edges_checksum, wishes_on_spark
from subsel.input.edges import COLUMNS
from subsel.input.rows import Columns, may_be_read
from subsel.input.wishes import Wishes
from subsel.limits.drawing import draws_by_group
from subsel.parts import route
from subsel.planning import part_points
from subsel.report import InputReport
from subsel.schema import Status
from subsel.sizes import count_of, parse_size

Keep = Callable[[DataFrame], DataFrame]


class SparkInputs:
    """Points and graph of a request, opened and looked at, not yet read.

    Attributes:
        config: of the request; where rows are numbered instead of having ids, the numbers' column is its id column.
        source: the points.
        edges: the graph, if one is given.
        id_type: of the points' ids.

    Raises:
        InputError: something is not there, or lacks columns.
    """

    def __init__(self, spark: SparkSession, data: Any, graph: Any, config: SelectConfig, wishes: Wishes) -> None:
        self.spark, self.wishes = spark, wishes
        wanted = may_be_read(config, wishes.columns())
        numbered = None if config.id_column is not None else schema.ID
        self.edges: SparkSource | None = None
        if graph is not None:
            self.edges = open_on_spark(spark, graph, wanted, "graph")
            self.edges.select(COLUMNS)
        self.source: SparkSource = open_on_spark(spark, data, wanted, row_numbers=numbered)
        self.config = config if numbered is None else config.model_copy(update={"id_column": numbered})
        self.with_embeddings = graph is None
        self.id_type = Columns.of(
            self.source.schema, self.config, self.source.name, with_embeddings=graph is None, given=False
        ).id_type
        self._checked: SparkPoints | None = None

    def check(self, *, with_content: bool = False) -> SparkPoints:
        """Check every row; see `subsel.engines.spark.points.check_points`."""
        points = self._check(self.source, with_content=with_content, wishes=self.wishes.columns())
        self._checked = points
        return points

    def everyone(self) -> SparkPoints:
        """Return all points as they were checked, or are now: copies, and those that were not drawn, among them."""
        return self.check() if self._checked is None else self._checked

    def with_groups(self, points: SparkPoints) -> SparkPoints:
        """Return checked points with their groups; see `subsel.engines.spark.groups.group_names`."""
        return replace(points, groups=group_names(points, self.config))

    def report(self, points: SparkPoints) -> InputReport:
        """Return what was read."""
        return InputReport(
            name=points.name,
            points=points.n,
            id_type=str(points.columns.id_type),
            utility=str(points.columns.utility),
            dropped_rows=points.dropped,
            cost=cost_of_all(points, self.config),
        )

    def sample(self, points: SparkPoints) -> SparkPoints:
        """Return points, of which copies were left out, with samples of those that stay."""
        return sample_anew(points, self.config, sample_rows=partial(rows_of_sample, self.config))

    def draw(
        self, points: SparkPoints, count: int, k: int, cost: int | None, wished: Wished | None, keep: Keep
    ) -> SparkPoints:
        """Return only so many points, drawn by a hash of their ids, and those that are wished in.

        Args:
            points: all, checked.
            count: fewer than there are, where groups do not matter.
            k: points to select.
            cost: what all points cost.
            wished: who is included.
            keep: persists a frame.
        """
        included = None if wished is None else wished.ids
        groups = [(one.column, one.names, one.rows) for one in points.groups]
        counts = draws_by_group(self.config, k, groups, cost or 0, partial(quotas_on_spark, self.spark))
        rows = keep(drawn_rows(points, Rules.of(points, self.config), count, included, counts))
        columns = replace(points.columns, beside=())  # which are taken from all rows
        drawn = self._check(replace(self.source, frame=rows, set=None), drawn=columns)
        return replace(drawn, groups=points.groups)

    def _check(
        self,
        source: SparkSource,
        *,
        with_content: bool = False,
        wishes: Iterable[str] = (),
        drawn: Columns | None = None,
    ) -> SparkPoints:
        return check_points(
            self.spark,
            source,
            self.config,
            with_embeddings=self.with_embeddings,
            sample_rows=partial(rows_of_sample, self.config),
            with_content=with_content,
            wishes=wishes,
            drawn=drawn,
        )

    def rows(self, dropped: Mapping[str, int]) -> DataFrame:
        """Return the rows with all columns that may be asked for; of rows with one id the one that stays.

        Args:
            dropped: rows dropped, by reason: where there were some, rows are checked again.
        """
        if self._checked is None and not dropped:
            return self.source.frame
        return self.everyone().wide

    def subset(self, ranked: DataFrame, k: int, dropped: Mapping[str, int]) -> DataFrame:
        """Return a ranked subset of k points with ids as they came and kept columns; ``dropped`` as for `rows`."""
        id_column = self.config.id_column or schema.ID
        type_in = self.source.frame.schema[id_column].dataType
        ranked = ranked.withColumn(schema.ID, given(F.col(schema.ID), self.id_type, type_in))
        if not self.config.keep_columns:
            return ranked
        names = [col(name) for name in self.config.keep_columns]
        rows = self.rows(dropped).select(col(id_column).alias(schema.ID), *names)
        ranked = ranked.join(rows, schema.ID).repartitionByRange(max(1, -(-k // ROWS_PER_FILE)), schema.RANK)
        return ranked.sortWithinPartitions(schema.RANK)

    def point_vectors(self, dropped: Mapping[str, int], points: SparkPoints | None) -> DataFrame:
        """Return ids as they are kept and embeddings of all points, and of copies that were merged into others.

        Args:
            dropped: as for `rows`.
            points: checked; None: not by this run.
        """
        ids, name = kept(col(self.config.id_column or schema.ID), self.id_type), self.config.embedding_column
        if dropped and points is None:
            points = self.check()
        rows = self.rows(dropped).select(ids.alias(schema.ID), col(name).alias(schema.EMBEDDING))
        if not dropped:
            return rows
        assert points is not None
        known = known_ids(points, Rules.of(points, self.config))
        return rows.join(known.select(kept(col("_id"), self.id_type).alias(schema.ID)), schema.ID, "left_semi")

    def vectors(self, dropped: Mapping[str, int]) -> DataFrame | None:
        """Return ids as they are kept and embeddings of all points, and maybe of rows that are none.

        None where there are no embeddings, or it would take long: where rows were dropped (see `rows`) by a run from
        which this one goes on.
        """
        if not self.with_embeddings or (self._checked is None and dropped):
            return None
        return self.all_vectors(dropped)

    def all_vectors(self, dropped: Mapping[str, int]) -> DataFrame:
        """Return what `vectors` does, however long it takes: where there are embeddings."""
        name, rows = self.config.embedding_column, self.rows(dropped)
        ids = kept(col(self.config.id_column or schema.ID), self.id_type)
        return rows.select(ids.alias(schema.ID), col(name).alias(schema.EMBEDDING))

    def identity_of_graph(self) -> Any:
        """Return what tells the given graph from another; None if there is none."""
        return None if self.edges is None else self.edges.identity() or edges_checksum(self.edges)

    def check_wished(
        self, wished: Mapping[Status, Wished], sizes: Sequence[int], points: SparkPoints, near: DataFrame | None = None
    ) -> None:
        """Look wished ids up among the points'.

        Args:
            wished: see `wished`.
            sizes: all that will be selected.
            points: checked.
            near: ids of others that are out as they are near something, and maybe of rows that are no points.

        Raises:
            InputError: an id is no point's.
            ConfigError: wishes contradict each other or a size.
        """
        ids = known_ids(points, Rules.of(points, self.config))
        known = ids.select(kept(col("_id"), self.id_type).alias(schema.ID))
        numbers = {status: members_of(known, one.ids, one.count, one.what)[1] for status, one in wished.items()}
        close = 0 if near is None else members_of(known, near, None, "exclude_near")[1]
        numbers[Status.EXCLUDED] = numbers.get(Status.EXCLUDED, 0) + close
        check_counts(sizes, points.n, numbers, {status: one.ids for status, one in wished.items()}, close)

    def wished(self, dropped: Mapping[str, int]) -> dict[Status, Wished]:
        """Return the ids that are wished in and out; ``dropped`` as for `rows`."""
        if not self.wishes:
            return {}
        columns = self.source.schema
        by_column = any(name in columns.names for name in self.wishes.columns())
        rows = self.rows(dropped) if by_column else self.source.frame
        return wishes_on_spark(self.spark, self.wishes, rows, columns, self.config, self.source.name, self.id_type)


def rows_of_sample(config: SelectConfig, n: int, dimension: int) -> int:
    """Return the rows wanted for k-means of n points; bad rows among them do not matter here."""
    count = None if config.size is None else count_of(parse_size(config.size), n)
    return route.sample_rows(n, dimension, part_points(dimension, config.degree(n, count), config))
