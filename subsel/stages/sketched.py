"""What a report's page draws, on one machine: the executor of the rules in `subsel.sketching`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from subsel import schema
from subsel.audit import Judged, Reason, Room
from subsel.board import Board
from subsel.coverage import BoolArray
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph, PartGraph
from subsel.input.ids import shown
from subsel.report import Report
from subsel.sketch import Example, Examples, Gains, Sketch
from subsel.sketching import Bins, curve_ranks, example_ranks, reasons_of, shortened, tally, text_columns


def sketch_here(
    report: Report,
    part: PartGraph,
    board: Board,
    graph: NeighborGraph,
    id_type: pa.DataType,
    outlier: BoolArray,
    near: BoolArray,
    room: Room,
    ranked: Int64Array,
    table: pa.Table,
    take: Callable[[Int64Array], pa.Table] | None,
) -> Sketch:
    """Return what is drawn, but for the map.

    Args:
        report: of the selection.
        part: the whole graph, as the engine has it.
        board: its board when all is done.
        graph: of the points.
        id_type: of the user's.
        outlier: bool, (n,): who was left out as one of the least dense.
        near: bool, (n,): who was left out for being near what was given as `exclude_near`.
        room: what limits have left.
        ranked: int64, (k,): members in rank order.
        table: of these.
        take: returns the kept columns of some nodes; None: no examples.
    """
    utility = part.utility[: part.n_points]
    bins = Bins.over(float(utility.min()), float(utility.max()), float(graph.similarity.max(initial=0.0)))
    found, judged, rejected = tally(part, board, outlier, room, bins)
    judged.reason[near & (judged.reason == Reason.EXCLUDED)] = Reason.NEAR
    ranks, gain = curve_ranks(report.k), table[schema.GAIN].to_numpy()
    examples = None
    if take is not None:
        first = example_ranks(report.k)
        nodes = np.concatenate([ranked[first], rejected])
        told = _told(nodes, judged, graph.ids, id_type, room, take(nodes))
        at = zip(told[: len(first)], first, gain[first].tolist(), strict=True)
        selected = [one.model_copy(update={"rank": rank, "gain": value}) for one, rank, value in at]
        examples = Examples(selected=selected, rejected=told[len(first) :])
    return Sketch(
        run_id=report.run_id,
        gains=Gains(ranks=ranks, gains=gain[ranks].tolist()),
        utility=found.utility(bins),
        nearest=found.nearest(bins),
        reasons=reasons_of(found.reasons, report),
        examples=examples,
    )


def _told(
    nodes: Int64Array, judged: Judged, ids: pa.Array, id_type: pa.DataType, room: Room, beside: pa.Table
) -> list[Example]:
    """Return some nodes as examples, with texts of the columns ``beside``."""
    nearest = judged.nearest[nodes]
    names, nearby = (shown(ids.take(pa.array(some)), id_type) for some in (nodes, np.maximum(nearest, 0)))
    texts = beside.select(text_columns(beside.schema)).to_pylist() if beside.num_columns else [{}] * len(nodes)
    return [
        Example(
            id=str(names[i]),
            reason=Reason(int(judged.reason[v])).word,
            limit=room.name(int(judged.limit[v])),
            nearest=str(nearby[i]) if nearest[i] >= 0 else None,
            similarity=float(judged.similarity[v]) if nearest[i] >= 0 else None,
            texts=shortened(texts[i]),
        )
        for i, v in enumerate(nodes.tolist())
    ]
