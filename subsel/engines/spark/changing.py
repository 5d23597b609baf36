"""What joins and leaves a graph on Spark, from its place to its place."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.config import SelectConfig, resolve_size
from subsel.embeddings.recipe import Search
from subsel.engines.spark.failures import known
from subsel.engines.spark.growing import PartedGraph, checksum_of, fresh_ids
from subsel.engines.spark.ids import given
from subsel.engines.spark.inputs import rows_of_sample
from subsel.engines.spark.output import write_by
from subsel.engines.spark.points import SampleRows, SparkPoints, check_points
from subsel.engines.spark.source import open_on_spark
from subsel.engines.spark.storage import place_in
from subsel.engines.spark.storage_errors import storage_error
from subsel.engines.spark.wishes import subset_on_spark
from subsel.errors import ConfigError, InputError, in_library, option
from subsel.growing import rules
from subsel.growing.join import Effort
from subsel.growing.parted import MAP_PART, pack_map
from subsel.growing.place import IN_PART, KeptGraph, check_same, manifest_for, nobody, read_about
from subsel.growing.revision import Revision
from subsel.growing.state import reserve_of
from subsel.input.ids import shown_one
from subsel.input.rows import may_be_read
from subsel.input.source import is_location
from subsel.input.wishes import ids_checksum
from subsel.parts.route import PartMap
from subsel.parts.rows import to_table
from subsel.planning import part_points
from subsel.report import GraphReport
from subsel.run import Run
from subsel.storage import KEPT, Place, check_new, manifest_of, new_folder

log = logging.getLogger(__name__)


def _nobody(n: int, dimension: int) -> int:
    return 0


@dataclass(slots=True)
class _Change:
    """A graph that changes: ``done`` says what was asked for and how it ended, ``new`` are changes of this run."""

    graph: PartedGraph
    kept: KeptGraph
    run: Run
    done: list[Revision]
    new: int = 0

    def note(self, effort: Effort, of: str, seconds: dict[str, float], tasks: int, **who: int) -> None:
        """Note a change, and say what there is to say."""
        about = {"seconds": seconds, "engine": "spark", "tasks": tasks, **who}
        revision = Revision.after(effort, self.graph.n, self.kept.state.recall, of, **about)
        if revision.warning is not None:
            log.warning("%s", in_library(revision.warning))
        self.kept = replace(self.kept, revisions=(*self.kept.revisions, revision))
        self.done.append(revision)
        self.new += 1


def change_on_spark(
    spark: SparkSession,
    where: Place,
    data: Any,
    remove: Any,
    config_of: Callable[[SelectConfig], SelectConfig],
    run: Run,
    *,
    replacing: bool,
) -> tuple[KeptGraph, list[Revision]]:
    """Let points leave a graph, then others join it, and write it: what has changed of it, whole or not at all.

    Args:
        spark: the session.
        where: the graph.
        data: who joins; None: nobody.
        remove: ids of those who leave; None: nobody.
        config_of: returns the config by which rows are read, given the graph's.
        run: of it.
        replacing: whether points that are there are replaced.

    Returns:
        What is there now, with a state of nobody, and what was done: also if it had been done before.

    Raises:
        InputError: there is no graph, or points cannot join or leave.
        OutputError: it could not be written; what was there is there.
    """
    kept = read_about(where)
    check_new(where, overwrite=True)
    graph = PartedGraph(spark, kept, where)
    try:
        change = _Change(graph, kept, run, [])
        if remove is not None:
            _leave(spark, change, remove)
        if data is not None:
            _join(spark, change, data, config_of(kept.config), replacing=replacing)
        if change.new:
            _write(change, where)
        return change.kept, change.done
    finally:
        graph.close()


def _leave(spark: SparkSession, change: _Change, remove: Any) -> None:
    graph, state, what = change.graph, change.kept.state, rules.LEAVING
    began = time.perf_counter()
    with change.run.stage("read"):
        wished = subset_on_spark(spark, remove, change.kept.config, state.id_type, what)
        count, total = checksum_of(wished)
        of = ids_checksum(count, total)
        if not count:
            change.done.append(rules.of_nobody(graph.n, state.recall, of, "spark"))
            return
        there, _ = graph.known(wished.ids)
        done = rules.done_before(change.kept.revisions, of, left=True)
        if done is not None and not there:
            log.warning("%s", rules.nothing_to_do(what, left=True))
            change.done.append(done)
            return
        if there < count:
            unknown = wished.ids.join(graph.whereabouts(own=True), schema.ID, "left_anti")
            raise InputError(
                f"{count - there:,} of {count:,} ids of {what} are unknown, such as {_example(graph, unknown)!r}."
            )
        rules.check_left(there, graph.n)
    seconds = {"read": time.perf_counter() - began}
    began = time.perf_counter()
    with change.run.stage("neighbors"):
        effort = graph.leave(wished.ids)
    seconds["search"] = time.perf_counter() - began
    change.note(effort, of, seconds, graph.tasks, left=there)


def _join(spark: SparkSession, change: _Change, data: Any, config: SelectConfig, *, replacing: bool) -> None:
    graph, state = change.graph, change.kept.state
    began = time.perf_counter()
    with change.run.stage("read") as tell:
        points = _checked(spark, data, config)
        rules.check_kind(points.name, points.columns.id_type, points.dimension, state)
        ids = graph.kept_frame(fresh_ids(points, graph, config))
        there, first, collided = graph.met(ids)
        done = rules.done_before(change.kept.revisions, points.content, left=False) if there == points.n else None
        if done is not None:
            log.warning("%s", rules.nothing_to_do(points.name, left=False))
            change.done.append(done)
            return
        example = None if first is None else _shown(graph, first)
        rules.check_known(points.name, there, points.n, example, graph.n, replace=replacing)
        if collided:  # lists would be ambiguous: of texts, once in 2^64 pairs
            raise InputError(f"ids of {points.name} have the codes of others in the graph: make the graph of all anew.")
    seconds = {"read": time.perf_counter() - began}
    began = time.perf_counter()
    with change.run.stage("neighbors") as tell:
        if there:
            tell("those that are replaced", 0.0)
            graph.leave(
                graph.kept_frame(graph.whereabouts(own=True).join(ids, schema.ID, "left_semi").select(schema.ID))
            )
        effort = graph.join(points, config, tell)
    seconds["search"] = time.perf_counter() - began
    change.note(effort, points.content, seconds, graph.tasks, joined=points.n - there, replaced=there)
    most, planned = max(graph.points.values()), part_points(state.dimension, state.neighbors, change.kept.config)
    if most > 2 * planned:
        log.warning(
            "a part of the graph has %d points now, and %d were planned: make the graph of all points anew",
            most,
            planned,
        )


def _checked(spark: SparkSession, data: Any, config: SelectConfig, sample_rows: SampleRows = _nobody) -> SparkPoints:
    if config.id_column is None:
        raise ConfigError(
            f"points of a graph that grows on Spark need ids: give {option('id_column')}, or "
            f"{option('engine', 'local')}."
        )
    source = open_on_spark(spark, data, may_be_read(config))
    asks_nobody = config.model_copy(update={"recall_sample": 0})
    return check_points(spark, source, asks_nobody, with_embeddings=True, sample_rows=sample_rows, with_content=True)


def _example(graph: PartedGraph, ids: Any) -> Any:
    return _shown(graph, ids.agg(F.min(schema.ID)).collect()[0][0])


def _shown(graph: PartedGraph, value: Any) -> Any:
    """Return a kept id as the user knows it."""
    id_type = graph.kept.state.id_type
    frame = graph.spark.createDataFrame([(value,)], f"{schema.ID} {graph.id_kind}")
    row = frame.select(given(F.col(schema.ID), id_type, graph.id_target)).collect()[0]
    return shown_one(row[0], id_type)


def _write(change: _Change, where: Place) -> None:
    graph, kept = change.graph, change.kept
    with change.run.stage("write"):
        check_same(kept, where, overwrite=True)
        change.kept = _written(graph, kept, where, None, overwrite=True)


def _written(
    graph: PartedGraph, kept: KeptGraph, where: Place, part_map: DataFrame | None, *, overwrite: bool
) -> KeptGraph:
    """Write the parts that have changed, and the map if it is given; all else is kept as it is."""
    parcels, edges, parts, changed = graph.written()
    with new_folder(where, overwrite=overwrite) as folder:
        if kept.manifest is not None:
            folder.keep(kept.files({*kept.sums, MAP_PART} - changed))
        try:
            for frame in (parcels,) if part_map is None else (parcels, part_map):
                write_by(IN_PART, frame.withColumn(IN_PART, F.col("part")), folder.data.join(KEPT))
            write_by(IN_PART, edges.withColumnRenamed("part", IN_PART), folder.data)
        except (PySparkException, Py4JError) as error:
            log.debug("what Spark says in full: %s", error)
            raise known(error) or storage_error(error, str(where), writing=True) from error
        folder.manifest = manifest_for(kept, parts, graph.salt)
        check_same(kept, where, overwrite=overwrite)
    return replace(kept, manifest=manifest_of(where))


def make_on_spark(
    spark: SparkSession, where: Place, data: Any, config: SelectConfig, run: Run, *, overwrite: bool
) -> KeptGraph:
    """Make a graph that grows, in its place: all points join one of nobody, whose parts follow from a sample of them.

    Args:
        spark: the session.
        where: a folder.
        data: points, see `subsel.engines.spark.source.open_on_spark`.
        config: how to search.
        run: of it.
        overwrite: replace what is there if subsel wrote it.

    Returns:
        What is there now, with a state of nobody.

    Raises:
        InputError: the data or an option is wrong, or something is there.
        OutputError: it could not be written; what was there is there.
    """
    check_new(where, overwrite=overwrite, inputs=[place_in(spark, data)] if is_location(data) else [])
    with run.stage("read"):
        points = _checked(spark, data, config, partial(rows_of_sample, config))
    k = None if config.size is None else resolve_size(config.size, points.n, points.name)
    how = Search.of(config, points.n, k)
    how = replace(how, reserve=reserve_of(how.neighbors))
    part_map = PartMap.plan(points.sample, points.n, part_points(points.dimension, how.neighbors, config), how)
    report = GraphReport(
        source="embeddings",
        edges=0,
        mean_degree=0,
        max_degree=0,
        parts=part_map.parts,
        neighbors=how.neighbors,
        dimension=points.dimension,
        cells=len(part_map.first_part),
        target=how.recall,
    )
    kept = KeptGraph(nobody(points.columns.id_type, points.prepare.center, how), config, report, ())
    graph = PartedGraph(spark, kept, None, (part_map, points.salt))
    try:
        with run.stage("neighbors") as tell:
            effort = graph.join(points, config, tell)
            edges, most = graph.degrees()
        found = {"probes": effort.probes, "passes": effort.passes, "recall": effort.recall}
        shape = {"edges": edges, "mean_degree": round(2 * edges / points.n, 2), "max_degree": most}
        report = report.model_copy(update=found | shape)
        kept = replace(kept, report=report, state=replace(kept.state, reached=report.recall))
        with run.stage("write"):
            to = spark.createDataFrame(to_table([pack_map(part_map, kept.state.quantizer.groups)]))
            return _written(graph, kept, where, to, overwrite=overwrite)
    finally:
        graph.close()
