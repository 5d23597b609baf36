"""What joins and leaves a graph on Spark, from its place to its place."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from subsel import schema
from subsel.config import SelectConfig
from subsel.engines.spark.failures import known
from subsel.engines.spark.growing import PartedGraph, checksum_of, fresh_ids
from subsel.engines.spark.ids import given
from subsel.engines.spark.output import write_by
from subsel.engines.spark.points import SparkPoints, check_points
from subsel.engines.spark.source import open_on_spark
from subsel.engines.spark.storage_errors import storage_error
from subsel.engines.spark.wishes import subset_on_spark
from subsel.errors import InputError, in_library
from subsel.growing import rules
from subsel.growing.join import Effort
from subsel.growing.parted import MAP_PART
from subsel.growing.place import IN_PART, KeptGraph, check_same, manifest_for, read_about
from subsel.growing.revision import Revision
from subsel.input.ids import shown_one
from subsel.input.rows import may_be_read
from subsel.input.wishes import ids_checksum
from subsel.run import Run
from subsel.storage import KEPT, Place, check_new, manifest_of, new_folder

log = logging.getLogger(__name__)


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
    graph = PartedGraph(spark, where, kept)
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
        there, _ = graph.known(wished.ids)
        of = ids_checksum(count, total)
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
        there, first = graph.known(ids)
        done = rules.done_before(change.kept.revisions, points.content, left=False) if there == points.n else None
        if done is not None:
            log.warning("%s", rules.nothing_to_do(points.name, left=False))
            change.done.append(done)
            return
        example = None if first is None else _shown(graph, first)
        rules.check_known(points.name, there, points.n, example, graph.n, replace=replacing)
        _refuse_collisions(graph, points, ids)
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


def _checked(spark: SparkSession, data: Any, config: SelectConfig) -> SparkPoints:
    source = open_on_spark(spark, data, may_be_read(config))
    asks_nobody = config.model_copy(update={"recall_sample": 0})
    return check_points(spark, source, asks_nobody, with_embeddings=True, sample_rows=lambda n, d: 0, with_content=True)


def _refuse_collisions(graph: PartedGraph, points: SparkPoints, ids: Any) -> None:
    """Refuse ids whose codes others have, which makes lists ambiguous: of texts, once in 2^64 pairs."""
    there = graph.whereabouts(own=True).withColumnRenamed(schema.ID, "_other")
    if not ids.join(there, "code").where(F.col(schema.ID) != F.col("_other")).isEmpty():
        raise InputError(f"ids of {points.name} have the codes of others in the graph: make the graph of all anew.")


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
        parcels, edges, parts, changed = graph.written()
        check_same(kept, where, overwrite=True)
        with new_folder(where, overwrite=True) as folder:
            folder.keep(kept.files({*kept.sums, MAP_PART} - changed))
            try:
                write_by(IN_PART, parcels.withColumn(IN_PART, F.col("part")), folder.data.join(KEPT))
                write_by(IN_PART, edges.withColumnRenamed("part", IN_PART), folder.data)
            except (PySparkException, Py4JError) as error:
                log.debug("what Spark says in full: %s", error)
                raise known(error) or storage_error(error, str(where), writing=True) from error
            folder.manifest = manifest_for(kept, parts, graph.salt)
            check_same(kept, where, overwrite=True)
        change.kept = replace(kept, manifest=manifest_of(where))
