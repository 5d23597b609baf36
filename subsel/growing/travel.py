"""A graph grows by parts: new points travel to the parts that they probe, meet who is there, and their lists go home.

Functions of one part and what came to it, as in `subsel.parts`: an engine delivers parcels. Inside a part runs what
runs on one machine (`subsel.growing.join`, `leave`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.codes import hash_ids
from subsel.embeddings.cells import Quantizer, cell_count
from subsel.embeddings.metrics import FloatMatrix
from subsel.fixedpoint import Int64Array
from subsel.graph import distinct
from subsel.growing import kernel
from subsel.growing.join import Effort, join
from subsel.growing.leave import leave
from subsel.growing.parted import IDS, LISTS, Part, numbers_of, pack_part, packable, unpack_part, unpacked
from subsel.growing.state import GraphState
from subsel.growing.stored import StoredRows
from subsel.parts import estimate, route
from subsel.parts.pack import Parcel, concatenate, of_kind, pack, unpack
from subsel.threads import over_rows

#: Kinds of parcels: points on their way to a part; ids of those that leave; lists on their way home; rows of the recall
#: sample; what a part is now, and what that took.
FRESH, GONE, HOMEWARD, ASKED, DONE = "fresh", "gone", "homeward", "asked", "done"


@dataclass(frozen=True, slots=True)
class Kept:
    """What all parts have in common.

    Attributes:
        nobody: the graph without points and cells.
        seed, salt: of codes.
        asked: points whose recall is measured.
    """

    nobody: GraphState
    seed: int
    salt: int
    asked: int

    def codes(self, ids: pa.Array) -> Int64Array:
        """Return the codes of kept ids."""
        return hash_ids(ids, self.seed, self.salt)


class Done(NamedTuple):
    """What a part is after a step: its points, its checksum, and what was done there (`subsel.growing.join.Effort`)."""

    points: int
    checksum: str
    searched: int
    probes: int
    passes: int
    split: int


def send(source: int, kept: Kept, ids: pa.Array, rows: npt.NDArray[Any], part_map: route.PartMap) -> Iterator[Parcel]:
    """Yield points as parcels to all the parts that they will be in.

    Args:
        source: number of the sender.
        kept: see there.
        ids: as they are kept, (b,).
        rows: their vectors, (b, d).
        part_map: where points belong.
    """
    code, stored = kept.codes(ids), StoredRows.of(rows)
    to = part_map.destinations(stored.prepared(kept.nobody.prepare, np.arange(len(ids))), code)
    for part in distinct(to).tolist():
        if part >= 0:
            inside = np.flatnonzero((to == part).any(axis=1))
            yield Parcel(part, source, FRESH, _points(code[inside], ids, stored, inside, to[inside, 0]))


def ask(part: int, source: int, kept: Kept, ids: pa.Array, rows: npt.NDArray[Any], share: float) -> Iterator[Parcel]:
    """Yield a share of points as a parcel of the recall sample: those of the largest codes."""
    code = kept.codes(ids)
    chosen = np.flatnonzero(code.view(np.uint64) / 2.0**64 >= 1 - share)
    if len(chosen):
        stored = StoredRows.of(rows[chosen])
        yield Parcel(part, source, ASKED, pack(code=code[chosen], values=stored.values, exponent=stored.exponent))


def _points(code: Int64Array, ids: pa.Array, stored: StoredRows, some: Int64Array, home: Any) -> pa.Buffer:
    rows, names = stored.take(some), packable(ids.take(pa.array(some)))
    return pack(code=code, id=names, home=home, values=rows.values, exponent=rows.exponent)


def sample_of(parcels: Sequence[Parcel], nobody: GraphState) -> tuple[Int64Array, FloatMatrix]:
    """Return the recall sample that parcels hold: codes, int64, (q,), ascending, and prepared rows, (q, d)."""
    found = concatenate(unpack(parcel.payload) for parcel in of_kind(parcels, ASKED))
    code, first = np.unique(found["code"], return_index=True)
    stored = StoredRows(found["values"].reshape(-1, nobody.dimension), found["exponent"])
    return code, stored.prepared(nobody.prepare, first)


def meet_part(part: int, parcels: Sequence[Parcel], kept: Kept) -> Iterator[Parcel]:
    """Let points join a part, those that will live there and visitors; send the lists of these home.

    Args:
        part: this part.
        parcels: its own, and points that came.
        kept: see there.
    """
    now, home, effort = _met(part, parcels, kept, heard=True)
    yield from _homeward(now, home)
    yield from _done(now.settled(home == part), effort.points, effort.probes, effort.passes, effort.split)


def visit_part(part: int, parcels: Sequence[Parcel], kept: Kept) -> Iterator[Parcel]:
    """Let points of other parts look around in one, which stays as it is; send the lists of these home."""
    now, home, _ = _met(part, parcels, kept, heard=False)
    yield from _homeward(now, home)


def _homeward(now: Part, home: Int64Array) -> Iterator[Parcel]:
    for to in distinct(home[home != now.number]).tolist():
        rows = np.flatnonzero(home == to)
        found = now.named(now.state.best[rows])
        yield Parcel(to, now.number, HOMEWARD, pack(code=now.code[rows], score=now.state.score[rows], **found))


def _met(part: int, parcels: Sequence[Parcel], kept: Kept, *, heard: bool) -> tuple[Part, Int64Array, Effort]:
    """Return a part with points that came, where each of its points lives, and what that took."""
    old, nobody = unpack_part(part, parcels, kept.nobody), kept.nobody
    fresh = concatenate(unpack(parcel.payload) for parcel in of_kind(parcels, FRESH))
    order = np.argsort(fresh["code"])
    stored = StoredRows(fresh["values"].reshape(-1, nobody.dimension), fresh["exponent"]).take(order)
    ids = unpacked(fresh["id"]).take(pa.array(order))
    state = old.state
    if not len(state.quantizer.centroids):
        X = stored.prepared(nobody.prepare, np.arange(len(ids)))
        cells = Quantizer.train(X, cell_count(len(X), nobody.probes), nobody.metric, kept.seed)
        state = replace(state, quantizer=replace(cells, groups=nobody.quantizer.groups))
    state, effort = join(state, ids, stored, heard=heard)
    now = Part(part, state, kept.codes(state.ids), old.other_code, old.other_ids)
    home = np.full(state.n, part, np.int64)
    by_code = np.argsort(now.code)
    home[by_code[np.searchsorted(now.code[by_code], fresh["code"])]] = fresh["home"]
    return now, home, replace(effort, points=int((fresh["home"] == part).sum()))


def _done(part: Part, searched: int, probes: int, passes: int, split: int) -> Iterator[Parcel]:
    parcels, checksum = pack_part(part)
    yield from parcels
    about = np.array([part.state.n, searched, probes, passes, split])
    yield Parcel(part.number, 0, DONE, pack(about=about, checksum=pa.array([checksum], pa.large_string())))


def merge_part(part: int, parcels: Sequence[Parcel], kept: Kept) -> Iterator[Parcel]:
    """Merge the lists that points of a part found elsewhere into those that they have; pass all else on.

    Args:
        part: this part.
        parcels: what `meet_part` made of it, and lists that came home.
        kept: see there.
    """
    homeward = of_kind(parcels, HOMEWARD)
    if not homeward:
        yield from parcels
        return
    now, shape = unpack_part(part, parcels, kept.nobody), (-1, kept.nobody.best.shape[1])
    found = [unpack(parcel.payload) for parcel in homeward]
    codes, places = np.unique(np.concatenate([one["named"] for one in found]), return_index=True)
    ids = pa.concat_arrays([unpacked(one["named_id"]) for one in found])
    new = ~np.isin(codes, now.codes)
    state = replace(now.state, others=now.state.others + int(new.sum()))
    other_ids = pa.concat_arrays([now.other_ids, ids.take(pa.array(places[new]))])
    now = Part(part, state, now.code, np.concatenate([now.other_code, codes[new]]), other_ids)
    by_code = np.argsort(now.code)
    for one in found:
        rows = by_code[np.searchsorted(now.code[by_code], one["code"])]
        other = numbers_of(now.codes, one["other"].reshape(shape), one["count"])
        kernel.take_lists(rows, other, one["score"].reshape(shape), state.best, state.score)
    told = done_of(parcels)[part]
    yield from _done(now.settled(), told.searched, told.probes, told.passes, told.split)


def leave_part(part_map: route.PartMap, part: int, parcels: Sequence[Parcel], kept: Kept) -> Iterator[Parcel]:
    """Let points leave a part, and its lists; whose lists are too short now is searched again, and visits other parts.

    Args:
        part_map: which parts are near.
        part: this part.
        parcels: its own, and ids of those that leave.
        kept: see there.
    """
    old = unpack_part(part, parcels, kept.nobody)
    ids = [unpacked(unpack(parcel.payload)["id"]) for parcel in of_kind(parcels, GONE)]
    gone = np.isin(old.codes, kept.codes(pa.concat_arrays(ids)))
    short = np.empty(old.state.n, np.bool_)
    over_rows(kernel.falls_short, old.state.n, gone, old.state.best, kept.nobody.neighbors, short)
    stay = ~gone[: old.state.n]
    left, effort = leave(old.state, gone)
    rows, code = np.flatnonzero(short[stay]), old.code[stay]
    if len(rows):
        stored = left.rows.take(rows).stored()
        to = part_map.destinations(stored.prepared(left.prepare, np.arange(len(rows))), code[rows])
        for other in distinct(to[(to >= 0) & (to != part)]).tolist():
            some = np.flatnonzero((to == other).any(axis=1))
            home = np.full(len(some), part)
            yield Parcel(
                other, part, FRESH, _points(code[rows[some]], left.ids.take(pa.array(rows)), stored, some, home)
            )
        sample = stored.take(np.arange(min(len(rows), kept.asked)))
        asked = pack(code=code[rows[: kept.asked]], values=sample.values, exponent=sample.exponent)
        yield Parcel(part, part, ASKED, asked)
    now = Part(part, left, code, old.other_code, old.other_ids)
    yield from _done(now.settled(), effort.points, effort.probes, effort.passes, 0)


def exact_part(part: int, parcels: Sequence[Parcel], kept: Kept, asked: Int64Array, X: FloatMatrix) -> Iterator[Parcel]:
    """Compare the recall sample with all points of a part, and say what is in the lists of those that live there.

    Args:
        part: this part.
        parcels: its own.
        kept: see there.
        asked: int64, (q,), ascending: codes of the sample.
        X: float32, (q, d): its rows.
    """
    now = unpack_part(part, parcels, kept.nobody)
    state, k = now.state, kept.nobody.neighbors
    if not state.n:
        return
    best = np.full((len(asked), k), -np.inf, np.float32)
    estimate.exact_scores(best, X, asked, state.vectors(), now.code, state.metric)
    yield Parcel(part, part, estimate.EXACT, pack(score=best))
    rows = np.flatnonzero(np.isin(now.code, asked))
    score = state.score[rows, :k]
    there = state.best[rows, :k] >= 0
    yield Parcel(
        part, part, estimate.FOUND, pack(code=np.repeat(now.code[rows], there.sum(axis=1)), score=score[there])
    )


def done_of(parcels: Sequence[Parcel]) -> dict[int, Done]:
    """Return what parcels say was done in parts, by part."""
    found = {}
    for parcel in of_kind(parcels, DONE):
        one = unpack(parcel.payload)
        points, *took = one["about"].tolist()
        found[parcel.part] = Done(points, one["checksum"][0].as_py(), *took)
    return found


def own(parcels: Sequence[Parcel]) -> list[Parcel]:
    """Return the parcels that a part is kept as."""
    return [parcel for parcel in parcels if parcel.kind in (IDS, LISTS)]
