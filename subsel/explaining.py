"""Why a point is in the subset or not, from a run directory: its gain, its neighbours, what decided it and when."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from subsel.audit import Reason, Room, judge
from subsel.errors import InputError, option
from subsel.explain_cover import Neighbor, covered_best, parcels_of, part_graph
from subsel.fixedpoint import FixedPoint
from subsel.graph import SLOT_BITS, SLOT_MASK, PartGraph
from subsel.input.copies import OF
from subsel.kept_rows import rows_of
from subsel.parts import assemble, superstep
from subsel.parts.pack import of_kind, unpack
from subsel.rundir import BOARDS, COPIES, ROOM, read_manifest, reading_run
from subsel.schema import FIRST_MEMBER, ID, Status
from subsel.storage import Place, place_of

#: Stages whose last boards tell of a point, in their order.
_STAGES = ("bounding", "greedy", "refine")

_FATE = {
    ("bounding", Status.ACCEPTED): "accepted by bounding: it is in every optimum",
    ("bounding", Status.DISCARDED): "discarded by bounding: it is in no optimum",
    ("bounding", Status.INCLUDED): "included by your wish",
    ("bounding", Status.EXCLUDED): "excluded by your wish",
    ("greedy", Status.SELECTED): "selected by greedy",
    ("greedy", Status.DISCARDED): "not selected by greedy: others gained more, or it did not fit a limit",
    ("refine", Status.SELECTED): "brought in by refinement, for a point that added less",
    ("refine", Status.DISCARDED): "taken out by refinement, for a point that adds more",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a run directory tells of one point.

    Attributes:
        id: of the point.
        selected: whether it is in the subset.
        reason: why, in the word of an audit (`subsel.audit.Reason`); None while a run under limits is not finished.
        limit: which limit has no room for it, where that is the reason.
        nearest: the member that it is most similar to; None where no neighbour is one.
        of: the member that it is out for, as it is too alike to it; None for others, and where no edge joins the two.
        fates: what happened to it, in order: in words, and at which superstep.
        utility: u.
        gain: what it adds to the other members of the subset: α u - β Σ s over its selected neighbours; under coverage
            λ u and what it covers beyond them.
        least_gain: the least that a member adds; None before refinement, which compares them.
        neighbors: all of them, most similar first.
        covers: under coverage the neighbours whose most similar member it is, most similar first, none unless it is a
            member; None otherwise. With a target they are its points, and their ids are numbers of its rows, from 0.
        of_target: whether it is a target that is covered.
    """

    id: Any
    selected: bool
    reason: str | None
    limit: str | None
    nearest: Neighbor | None
    of: Neighbor | None
    fates: list[tuple[str, int]]
    utility: float
    gain: float
    least_gain: float | None
    neighbors: list[Neighbor]
    covers: list[Neighbor] | None = None
    of_target: bool = False


def explain(
    run_dir: str | os.PathLike[str] | Place, point: Any, *, storage_options: dict[str, Any] | None = None
) -> Explanation:
    """Explain one point's fate in a run.

    Reads the ids of the run's points until the point is found, then a part or two of everything else; under coverage
    the parts of its neighbours, and the boards of theirs.

    Args:
        run_dir: of a run, on one machine or on Spark.
        point: its id.
        storage_options: see `subsel.storage.place_of`.

    Raises:
        InputError: that is no run directory, greedy is not done in it, or no point has that id.
    """
    folder = place_of(run_dir, storage_options)
    with reading_run(folder):
        return _explained(folder, point)


def _explained(folder: Place, point: Any) -> Explanation:
    stages = read_manifest(folder)
    if "greedy" not in stages:
        raise InputError(
            f"the run in {folder} has not finished greedy: go on with it ({option('resume', True)}), then ask again."
        )
    scale, options = FixedPoint(**stages["greedy"]["scale"]), stages["greedy"]["options"]
    made = stages["graph"]["result"]
    part, slot, identity = _find(folder, point, made["input"]["copies"], made["graph"]["drawn"])
    graph = part_graph(folder, part, scale, options["max_similarity"])
    utility, outlier = _weighed(folder, part, graph)

    fates: list[tuple[str, int]] = []
    before, least, last = Status.UNDECIDED, None, folder
    certain = options["bounding"] == "exact"
    for stage in _STAGES:
        if stage not in stages:
            continue
        boards = folder.join(stage, BOARDS).read_json()["boards"]
        last = folder.join(stage, f"board-{boards[-1]:06d}")
        board = superstep.unpack_board(of_kind(parcels_of(last, part), superstep.BOARD)[0].payload)
        now = Status(board.status[slot])
        again = stage == "refine" and board.decided_by[slot] == Status.JOINING  # in, out and in again
        kept = now in (before, Status.UNDECIDED) or (now == Status.SELECTED and before == Status.ACCEPTED)
        if again or not kept:
            fate = _FATE[stage, now]
            if now == Status.EXCLUDED and outlier[slot]:
                fate = "left out as an outlier: it is among the least dense"
            elif now == Status.EXCLUDED and options["exclude_near"] is not None:
                fate = f"{fate}, or as it is near {options['exclude_near']}"
            if stage == "bounding" and not certain:
                fate = fate.replace("it is in", "by sampled bounds it would be in")
            fates.append((fate, int(board.decided_at[slot])))
        before = now
        if stage == "refine" and stages["refine"]["result"]["passes"]:
            least = _least_gain(last, scale)
    neighbors = _neighbors(folder, last, graph, slot)
    similarity, inside = (np.array([getattr(one, name) for one in neighbors]) for name in ("similarity", "selected"))
    judged, room = None, _room(folder, options)
    near = graph.indices[graph.indptr[slot] : graph.indptr[slot + 1]]
    if room is not None:  # ghosts may not have heard all, their home parts have
        board.status[near] = np.where([one.selected for one in neighbors], Status.SELECTED, Status.DISCARDED)
        judged = judge(graph, board, outlier, room)
    nearest = None
    if judged is not None and judged.nearest[slot] >= 0:
        nearest = neighbors[int(np.flatnonzero(near == judged.nearest[slot])[0])]
    gain, covers = -scale.beta * float(similarity[inside.astype(np.bool_)].sum(dtype=np.float64)), None
    if options["objective"] == "coverage":
        gain, covers = covered_best(folder, last, graph, slot, neighbors, options["metric"], made["graph"])
        covers = covers if before >= FIRST_MEMBER else []
    return Explanation(
        id=identity,
        selected=before >= FIRST_MEMBER,
        reason=None if judged is None else Reason(int(judged.reason[slot])).word,
        limit=None if judged is None or room is None else room.name(int(judged.limit[slot])),
        nearest=nearest,
        of=nearest if judged is not None and judged.alike[slot] else None,
        fates=fates,
        utility=float(utility[slot]),
        gain=scale.alpha * float(utility[slot]) + gain,
        least_gain=least,
        neighbors=sorted(neighbors, key=lambda one: -one.similarity),
        covers=covers,
        of_target=made["graph"]["target_points"] is not None,
    )


def _room(folder: Place, options: dict[str, Any]) -> Room | None:
    """Return what limits have left; None if the run has not come so far."""
    place = folder.join("greedy", ROOM)
    if place.exists():
        return Room.from_json(place.read_json()["room"])
    return None if options["budget"] is not None or options["quotas"] is not None else Room()


def _weighed(folder: Place, part: int, graph: PartGraph) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the utilities of a part's own points and ghosts, and which own points were left out as outliers.

    Those of the graph, and nobody, where a run kept no others.
    """
    place = folder.join("utility")
    if not place.exists():
        return graph.utility, np.zeros(graph.n_own, np.bool_)
    (parcel,) = of_kind(parcels_of(place, part), assemble.UTILITY)
    kept = unpack(parcel.payload)
    return kept["utility"], kept["outlier"]


def _ids(folder: Place, part: int) -> Any:
    (parcel,) = of_kind(parcels_of(folder.join("points"), part), assemble.POINTS)
    return unpack(parcel.payload)["id"]


def _find(folder: Place, point: Any, merged: int, drawn: int | None) -> tuple[int, int, Any]:
    """Return the part and slot of the point with an id, and the id in the type that the run has.

    Raises:
        InputError: no point has it; or the point that has it was one of the ``merged``, or not ``drawn``, maybe.
    """
    kept: Any = None
    for part in sorted(rows_of(folder.join("points"), ["part"]).column("part").unique().to_pylist()):
        ids = _ids(folder, part)
        ids = pa.array(ids) if isinstance(ids, np.ndarray) else ids
        kept = _as_kept(point, ids.type)
        found = np.flatnonzero(pc.equal(ids, kept).to_numpy(zero_copy_only=False))
        if len(found):
            return part, int(found[0]), point if not isinstance(point, str) else ids[int(found[0])].as_py()
    if merged:
        of = rows_of(folder.join(COPIES), [OF], {ID: pa.array([kept])}).column(OF)
        if len(of):
            raise InputError(f"{point!r} is a copy of {of[0].as_py()!r}, which stays for it: ask for that one.")
    others = "" if drawn is None else f" Of points that were not among the {drawn:,} drawn it knows nothing."
    raise InputError(f"no point of this run has the id {point!r}.{others}")


def _as_kept(point: Any, kind: pa.DataType) -> pa.Scalar:
    """Return an id, which a shell has as text, in the type in which ids are kept.

    Raises:
        InputError: it cannot be one.
    """
    try:
        if pa.types.is_int64(kind):
            number = int(point)
            return pa.scalar(number - 2**64 if number >= 2**63 else number, kind)
        if pa.types.is_large_binary(kind):
            return pa.scalar(point if isinstance(point, bytes) else uuid.UUID(str(point)).bytes, kind)
        return pa.scalar(str(point), kind)
    except (ValueError, OverflowError, pa.ArrowException):
        known = "integers" if pa.types.is_int64(kind) else "UUIDs, or bytes"
        raise InputError(f"ids of this run are {known}, {point!r} is none.") from None


def _neighbors(folder: Place, last: Place, graph: PartGraph, slot: int) -> list[Neighbor]:
    """Return the neighbours of an own point, in the graph's order."""
    row = slice(graph.indptr[slot], graph.indptr[slot + 1])
    there = zip(_at_home(folder, last, graph, graph.indices[row]), graph.similarity[row].tolist(), strict=True)
    return [Neighbor(name, similarity, member) for (name, member), similarity in there]


def _at_home(folder: Place, last: Place, graph: PartGraph, near: Any) -> list[tuple[Any, bool]]:
    """Return the ids of neighbours, own points and ghosts, and whether their home parts have them in the subset."""
    everyone = graph.vid
    vid = everyone[near]
    found: list[tuple[Any, bool]] = [(None, False)] * len(vid)
    for part in np.unique(vid >> SLOT_BITS).tolist():
        ids = _ids(folder, part)
        status = superstep.unpack_board(of_kind(parcels_of(last, part), superstep.BOARD)[0].payload).status
        for place in np.flatnonzero(vid >> SLOT_BITS == part).tolist():
            slot = int(vid[place] & SLOT_MASK)
            one = ids[slot]
            name = one.item() if isinstance(one, np.generic) else one.as_py()
            found[place] = name, bool(status[slot] >= FIRST_MEMBER)
    return found


def _least_gain(folder: Place, scale: FixedPoint) -> float:
    """Return the least that a member of the subset adds, over all parts."""
    least = None
    boards = rows_of(folder, ["part"], {"kind": superstep.BOARD})
    for part in boards.column("part").unique().to_pylist():
        board = superstep.unpack_board(of_kind(parcels_of(folder, part), superstep.BOARD)[0].payload)
        own = slice(0, len(board.lower))
        keys = board.key[own][board.status[own] >= FIRST_MEMBER]
        if len(keys) and (least is None or keys.min() < least):
            least = int(keys.min())
    assert least is not None
    return scale.unit * (least >> scale.tie_bits) / scale.scale
