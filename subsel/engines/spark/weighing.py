"""Utilities and weights on Spark: the executor of the rules in `subsel.weighing`, part by part.

Nothing is computed that is not asked for: utilities that rows have, with α and β given, cost nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from subsel.board import hear_wishes
from subsel.config import SelectConfig
from subsel.engines.spark.checkpoints import local_checkpoint, release_checkpoint
from subsel.engines.spark.engine import SparkEngine
from subsel.engines.spark.order import kth_of_values, place_of_values, rank_frame
from subsel.engines.spark.parcels import (
    BOARD_SCHEMA,
    PARCEL_SCHEMA,
    groups_in_arrow,
    map_in_arrow,
    place,
    task,
)
from subsel.engines.spark.scoring import decided
from subsel.fixedpoint import Int64Array
from subsel.graph import SLOT_BITS, SLOT_MASK, distinct
from subsel.input.utility import Utility
from subsel.input.wishes import Constraints
from subsel.parts import assemble, superstep
from subsel.parts import ranks as parts_ranks
from subsel.parts.pack import Parcel, from_rows, of_kind, pack, unpack
from subsel.parts.rows import parcels_in, to_board, to_table
from subsel.ranks import Place, at_or_below, quantile_number
from subsel.report import WeightsReport
from subsel.schema import Status
from subsel.weighing import (
    HIGH,
    LOW,
    Spread,
    densities,
    density_neighbors,
    mean_of_ranks,
    needs_density,
    outlier_count,
    report_of,
    values_of,
)

#: A border point's utility, on its way to a part that has it as a ghost.
_SENT = "sent"
#: What tasks look for in a part's points: rows of values, float64, (components, n_own).
_Values = Callable[[dict[str, Any], dict[str, Any]], npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Weighed:
    """What the objective weighs.

    Attributes:
        report: of it.
        utilities: parcels of kind `UTILITY`, one per part: utilities of own points and ghosts, and who is an outlier;
            None where utilities are those that the graph has, and nobody is.
    """

    report: WeightsReport
    utilities: DataFrame | None


class Weighing:
    """Weighs the points of an assembled graph.

    Args:
        assembled: parcels of kinds graph and points.
        parts: how many.
        utility: what it is made of.
        config: diversity or α and β, exclude_outliers.
        members: of each wish where its points are, and how many, see `subsel.engines.spark.scoring.places_of`.
        keep: persists a frame for as long as utilities are needed.
        near: excluded ones that are out as they are near something.
    """

    def __init__(
        self,
        assembled: DataFrame,
        parts: int,
        utility: Utility,
        config: SelectConfig,
        members: Mapping[Status, tuple[DataFrame, int]],
        keep: Callable[[DataFrame], DataFrame],
        near: int = 0,
    ) -> None:
        self.parts, self.utility, self.config, self.keep, self.near = parts, utility, config, keep, near
        self.numbers = {status: number for status, (_, number) in members.items()}
        kinds = F.col("kind").isin(assemble.GRAPH, assemble.POINTS)
        self.points = place(assembled.where(kinds), parts).sortWithinPartitions("part", "kind", "chunk")
        self.kept: list[DataFrame] = []
        self.marks: DataFrame | None = None
        for status, (places, _) in members.items():
            some = decided(places, status).select("part", "source", "kind", "number", "chunk", "payload")
            self.marks = some if self.marks is None else self.marks.unionByName(some)

    def run(
        self,
        n: int,
        mean_similarity: float,
        neighbors: int | None,
        *,
        k: int | None,
        most: int | None,
        warning: str | None,
    ) -> Weighed:
        """Return what the objective weighs.

        Args:
            n: points.
            mean_similarity: of the graph's edges.
            neighbors: of each point; None for a graph of the user's.
            k: the fewest that will be selected; None: not known.
            most: the most.
            warning: see `subsel.weighing.report_of`.

        Raises:
            ConfigError: fewer are left than will be selected.
        """
        config, utility = self.config, self.utility
        changed = utility.ranked or config.exclude_outliers > 0
        if not changed and config.weights is not None:
            report = report_of(utility, config, None, mean_similarity, neighbors=None, outliers=0, warning=warning)
            return Weighed(report, None)
        m = None
        self.points = self._written(self.points)
        if self.marks is not None:
            self.marks = self._written(self.marks)
        if needs_density(utility, config):
            m = density_neighbors(n, k, self._median_degree(n) if neighbors is None else neighbors)
        excluded = self.numbers.get(Status.EXCLUDED, 0)
        outliers, worst = 0, None
        if config.exclude_outliers:
            assert m is not None
            count = outlier_count(config.exclude_outliers, n - excluded)
            sparse = self._written(self._values(partial(_density, m), with_codes=True))
            worst = (m, place_of_values(sparse, 0, count, n - excluded))
            outliers = count - (self._included_outliers(worst) if self.numbers.get(Status.INCLUDED) else 0)
        Constraints(0, excluded - self.near, outliers, self.near).check(n, 0 if most is None else most, 0, None)
        left = n - excluded - outliers
        own: DataFrame | None = None
        if utility.ranked:
            components = len(utility.ingredients)
            values = self._written(self._values(partial(_ingredients, utility, m), worst))
            own = rank_frame(values, self.parts, components, left)
        utilities = None
        if changed:
            utilities = self.keep(self._spread_out(own, worst))
            utilities.count()
        if own is not None:
            own.unpersist()
        spread = None
        if config.weights is None:
            final = self._written(self._values(_final, worst, utilities))
            kth = partial(kth_of_values, final, 0)
            low, high = (kth(left - quantile_number(p, left) + 1, left) for p in (LOW, HIGH))
            spread = Spread(low, high, kth(left, left), kth(1, left))
        report = report_of(utility, config, spread, mean_similarity, neighbors=m, outliers=outliers, warning=warning)
        return Weighed(report, utilities)

    def close(self) -> None:
        """Let go of what was written down on the way."""
        for frame in self.kept:
            release_checkpoint(frame)
        self.kept = []

    def _written(self, frame: DataFrame) -> DataFrame:
        """Write a frame down until `close`: plans of frames that are persisted only grow with each step."""
        self.kept.append(local_checkpoint(frame, 0))
        return self.kept[-1]

    def _values(
        self,
        values: _Values,
        worst: tuple[int, Place] | None = None,
        more: DataFrame | None = None,
        *,
        with_codes: bool = False,
    ) -> DataFrame:
        """Return parcels of kind `VALUES`: some values of each part's points, and who of them may be selected.

        Args:
            values: of a part's arrays, those of its points and of its graph.
            worst: neighbours that densities go by, and the place down to which points are outliers.
            more: parcels that ``values`` need beside.
            with_codes: whether codes are needed to tell equal values apart.
        """
        return self._on_parts(partial(_value_parcel, values, worst, with_codes), more)

    def _on_parts(self, work: Any, more: DataFrame | None, schema: str = PARCEL_SCHEMA) -> DataFrame:
        """Run work on every part's points and graph, with marks and ``more``."""
        right = self.marks if more is None else more if self.marks is None else self.marks.unionByName(more)
        if right is None:
            return groups_in_arrow(self.points.groupBy("part"), schema, lambda table: work(table, None))
        groups = self.points.groupBy("part").cogroup(place(right, self.parts).groupBy("part"))
        return groups_in_arrow(groups, schema, work)

    def _median_degree(self, n: int) -> int:
        degrees = self._written(groups_in_arrow(self.points.groupBy("part"), PARCEL_SCHEMA, _degrees))
        return int(kth_of_values(degrees, 0, n - quantile_number(0.5, n) + 1, n))

    def _included_outliers(self, worst: tuple[int, Place]) -> int:
        """Return how many points would be outliers, had they not been included."""
        rows = self._on_parts(partial(_count_included, worst), None, "count bigint")
        return int(rows.agg(F.sum("count")).collect()[0][0] or 0)

    def _spread_out(self, ranked: DataFrame | None, worst: tuple[int, Place] | None) -> DataFrame:
        """Make utilities of own points, and send those of border points to the parts that have them as ghosts."""
        own = self._on_parts(partial(_own_utility, worst), ranked)
        sent = place(self._written(own), self.parts)
        groups = self.points.groupBy("part").cogroup(sent.groupBy("part"))
        return groups_in_arrow(groups, PARCEL_SCHEMA, _all_utilities)


def weighted_graph(graph: DataFrame, utilities: DataFrame, parts: int) -> DataFrame:
    """Return parcels of kind graph with other utilities, see `Weighed`."""
    groups = graph.groupBy("part").cogroup(place(utilities, parts).groupBy("part"))
    return groups_in_arrow(groups, PARCEL_SCHEMA, _replaced)


def outlier_marks(utilities: DataFrame) -> DataFrame:
    """Return parcels that exclude outliers, for `SparkEngine.adopt`."""
    return map_in_arrow(utilities, _excluding, BOARD_SCHEMA)


def adopt_wishes(engine: SparkEngine, places: Mapping[Status, DataFrame], utilities: DataFrame | None) -> None:
    """Put on the boards who is wished in and out, and who is an outlier.

    Args:
        engine: whose boards have nothing decided.
        places: of points, by what is wished (`subsel.engines.spark.scoring.places_of`).
        utilities: parcels that say who is an outlier; None: nobody is.
    """
    for status, where in places.items():
        engine.adopt(decided(where, status))
    if utilities is not None:
        engine.adopt(outlier_marks(utilities))
    engine.step(hear_wishes)


def _arrays(table: pa.Table) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Return a part's number and the arrays of its points and of its graph."""
    parcels = from_rows(table)
    (points,), (graph,) = (of_kind(parcels, kind) for kind in (assemble.POINTS, assemble.GRAPH))
    return points.part, unpack(points.payload), unpack(graph.payload)


def _wished(right: pa.Table | None, n: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], list[Parcel]]:
    """Return which of n own points are included and excluded: bool, (n,) each; and all parcels that came."""
    parcels = [] if right is None else from_rows(right)
    found = {Status.INCLUDED: np.zeros(n, np.bool_), Status.EXCLUDED: np.zeros(n, np.bool_)}
    for parcel in of_kind(parcels, superstep.FINISHED):
        found[Status(parcel.source)][unpack(parcel.payload)["slot"]] = True
    return found[Status.INCLUDED], found[Status.EXCLUDED], parcels


def _outliers(
    points: dict[str, Any], graph: dict[str, Any], worst: tuple[int, Place] | None, wished: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return which own points are at or below a place by density, but for those that are wished in or out."""
    if worst is None:
        return np.zeros(len(points["code"]), np.bool_)
    m, place_of_worst = worst
    return at_or_below(densities(graph["indptr"], graph["similarity"], m), points["code"], place_of_worst) & ~wished


def _value_parcel(
    values: _Values, worst: tuple[int, Place] | None, with_codes: bool, left: pa.Table, right: pa.Table | None
) -> pa.Table:
    with task():
        part, points, graph = _arrays(left)
        included, excluded, parcels = _wished(right, len(points["code"]))
        for parcel in of_kind(parcels, assemble.UTILITY):
            points |= {"final": unpack(parcel.payload)["utility"]}
        selectable = ~(excluded | _outliers(points, graph, worst, included | excluded))
        payload = parts_ranks.pack_values(values(points, graph), selectable, points["code"] if with_codes else None)
        return to_table([Parcel(part, part, parts_ranks.VALUES, payload)])


def _density(m: int, points: dict[str, Any], graph: dict[str, Any]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = densities(graph["indptr"], graph["similarity"], m)
    return found[None, :]


def _ingredients(
    utility: Utility, m: int | None, points: dict[str, Any], graph: dict[str, Any]
) -> npt.NDArray[np.float64]:
    n = len(points["code"])
    others = points["others"].reshape(n, -1).T if "others" in points else np.empty((0, n))
    density = None if m is None else densities(graph["indptr"], graph["similarity"], m)
    return np.stack(values_of(utility, np.concatenate([points["utility"][None, :], others]), density))


def _final(points: dict[str, Any], graph: dict[str, Any]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = points.get("final", points["utility"])[: len(points["code"])]
    return found[None, :]


def _degrees(table: pa.Table) -> pa.Table:
    with task():
        part, _, graph = _arrays(table)
        degree = np.diff(graph["indptr"]).astype(np.float64)[None, :]
        payload = parts_ranks.pack_values(degree, np.ones(degree.shape[1], np.bool_))
        return to_table([Parcel(part, part, parts_ranks.VALUES, payload)])


def _count_included(worst: tuple[int, Place], left: pa.Table, right: pa.Table | None) -> pa.Table:
    with task():
        _, points, graph = _arrays(left)
        included, excluded, _ = _wished(right, len(points["code"]))
        would = _outliers(points, graph, worst, excluded) & included
        return pa.table({"count": np.array([would.sum()], np.int64)})


def _own_utility(worst: tuple[int, Place] | None, left: pa.Table, right: pa.Table | None) -> pa.Table:
    """Return a part's own utilities, to itself, and those of border points, to the parts that have them as ghosts."""
    with task():
        part, points, graph = _arrays(left)
        n = len(points["code"])
        included, excluded, parcels = _wished(right, n)
        utility = points["utility"]
        for parcel in of_kind(parcels, parts_ranks.RANKS):
            utility = mean_of_ranks(list(unpack(parcel.payload)["rank"].reshape(-1, n)))
        outlier = _outliers(points, graph, worst, included | excluded)
        found = [Parcel(part, part, assemble.UTILITY, pack(utility=utility, outlier=outlier))]
        border = graph["indices"] >= n
        row = np.repeat(np.arange(n), np.diff(graph["indptr"]))[border]
        to = graph["ghost_vid"][graph["indices"][border] - n] >> SLOT_BITS
        pairs = distinct((to << SLOT_BITS) | row)
        for host in distinct(pairs >> SLOT_BITS).tolist():
            slot = pairs[pairs >> SLOT_BITS == host] & SLOT_MASK
            found.append(Parcel(host, part, _SENT, pack(slot=slot, utility=utility[slot])))
        return to_table(found)


def _all_utilities(left: pa.Table, right: pa.Table) -> pa.Table:
    """Return a part's utilities, those of its ghosts included."""
    with task():
        part, _, graph = _arrays(left)
        parcels = from_rows(right)
        own = unpack(of_kind(parcels, assemble.UTILITY)[0].payload)
        ghosts = np.empty(len(graph["ghost_vid"]))
        for parcel in of_kind(parcels, _SENT):
            sent = unpack(parcel.payload)
            vid: Int64Array = (parcel.source << SLOT_BITS) | sent["slot"]
            ghosts[np.searchsorted(graph["ghost_vid"], vid)] = sent["utility"]
        payload = pack(utility=np.concatenate([own["utility"], ghosts]), outlier=own["outlier"])
        return to_table([Parcel(part, part, assemble.UTILITY, payload)])


def _replaced(left: pa.Table, right: pa.Table) -> pa.Table:
    with task():
        (graph,), (utility,) = from_rows(left), from_rows(right)
        arrays = unpack(graph.payload) | {"utility": unpack(utility.payload)["utility"]}
        return to_table([Parcel(graph.part, graph.source, graph.kind, pack(**arrays))])


def _excluding(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with task():
        for parcel in parcels_in(batches):
            slot = np.flatnonzero(unpack(parcel.payload)["outlier"])
            column = np.full(len(slot), Status.EXCLUDED, np.int8)
            payload = pack(slot=slot, status=column, decided_by=column)
            yield from to_board([Parcel(parcel.part, int(Status.EXCLUDED), superstep.FINISHED, payload)]).to_batches()
