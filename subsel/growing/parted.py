"""A graph in parts: neighbouring cells with their points, vectors and lists, in packs that are read and written apart.

Points are named by their codes (`subsel.codes`), so a part that nothing happens to stays as it is, whatever happens to
others. Of points of other parts that its lists name, a part knows the ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel import schema
from subsel.codes import unique_codes
from subsel.embeddings.cells import Quantizer
from subsel.embeddings.metrics import FloatMatrix, similarity_of_scores
from subsel.embeddings.recipe import Search
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.graph import Int32Array, distinct
from subsel.growing import parted_kernel as kernel
from subsel.growing.state import Division, GraphState
from subsel.growing.stored import PlacedRows, StoredRows
from subsel.parts.pack import Parcel, of_kind, pack, unpack
from subsel.parts.route import PartMap, sample_rows

#: Kinds of parcels: the ids of a part's points, and of those of other parts that its lists name; all else that it has;
#: and the map of parts, which is addressed to a part of its own.
IDS, LISTS, MAP = "ids", "lists", "map"
MAP_PART = -1


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a graph.

    Attributes:
        number: of the part.
        state: its points; lists name those of other parts by numbers from n.
        code: int64, (n,): of its points.
        other_code: int64, (others,): of those of other parts.
        other_ids: of these, as they are kept.
    """

    number: int
    state: GraphState
    code: Int64Array
    other_code: Int64Array
    other_ids: pa.Array

    @property
    def codes(self) -> Int64Array:
        """Of all that lists may name: int64, (n + others,)."""
        return np.concatenate([self.code, self.other_code]) if len(self.other_code) else self.code

    def ids_of(self, numbers: Int32Array | Int64Array) -> pa.Array:
        """Return the ids of some that lists may name."""
        ids = pa.concat_arrays([self.state.ids, self.other_ids]) if len(self.other_ids) else self.state.ids
        return ids.take(pa.array(numbers))

    def settled(self, stay: npt.NDArray[np.bool_] | None = None) -> Part:
        """Return the points that stay, bool, (n,), in an order that follows from what they are; others are abroad."""
        state, codes = self.state, self.codes
        rows = np.arange(state.n) if stay is None else np.flatnonzero(stay)
        rows = rows[np.lexsort((self.code[rows], state.home[rows]))]
        number, far = np.full(len(codes), -1, np.int32), np.empty(len(codes), np.int32)
        number[rows] = np.arange(len(rows), dtype=np.int32)
        far = far[: kernel.who_else(rows, state.best, number, far)].astype(np.int64)
        far = far[np.argsort(codes[far])]
        number[far] = np.arange(len(rows), len(rows) + len(far), dtype=np.int32)
        shape = len(rows), state.best.shape[1]
        best, score = np.empty(shape, np.int32), np.empty(shape, np.float32)
        kernel.copy_lists(rows, number, state.best, state.score, best, score)
        settled = replace(
            state,
            ids=state.ids.take(pa.array(rows)),
            home=state.home[rows],
            rows=state.rows.take(rows),
            best=best,
            score=score,
            others=len(far),
        )
        return Part(self.number, settled, self.code[rows], codes[far], self.ids_of(far))

    def named(self, numbers: Int32Array) -> dict[str, Any]:
        """Return whom lists name, by code: what `numbers_of` takes; and the ids of all of them."""
        there = numbers >= 0
        some = distinct(numbers[there])
        other = np.where(there, self.codes[np.where(there, numbers, 0)], 0) if len(some) else np.zeros_like(numbers)
        about = {"other": other.astype(np.int64), "count": there.sum(axis=1).astype(np.int32)}
        return about | {"named": self.codes[some], "named_id": packable(self.ids_of(some))}


def packable(ids: pa.Array) -> Any:
    """Return kept ids as `subsel.parts.pack.pack` takes them."""
    return ids.to_numpy(zero_copy_only=False) if pa.types.is_int64(ids.type) else ids


def unpacked(ids: Any) -> pa.Array:
    """Return kept ids of a pack."""
    return pa.array(ids) if isinstance(ids, np.ndarray) else ids


def numbers_of(codes: Int64Array, other: Int64Array, count: Int32Array) -> Int32Array:
    """Return the numbers of those that lists name by code: int32, (n, k), -1 for none.

    Args:
        codes: int64, of all that may be named, by number.
        other: int64, (n, k).
        count: int32, (n,): of each list so many are named.

    Raises:
        InputError: one of them is unknown.
    """
    there = np.arange(other.shape[1]) < count[:, None]
    if not len(codes):
        return np.full(other.shape, -1, np.int32)
    by_code = np.argsort(codes)
    found = by_code[np.minimum(np.searchsorted(codes[by_code], other), len(codes) - 1)]
    if (codes[found] != other)[there].any():
        raise InputError("lists name points that are not there")
    return np.where(there, found, -1).astype(np.int32)


def pack_part(part: Part) -> tuple[list[Parcel], str]:
    """Return a settled part as parcels, and a checksum of them."""
    state, rows = part.state, part.state.rows.stored()
    ids = pack(code=part.code, id=packable(state.ids), other_code=part.other_code, other_id=packable(part.other_ids))
    lists = pack(
        home=state.home,
        exponent=rows.exponent,
        values=rows.values,
        best=state.best,
        score=state.score,
        centroids=state.quantizer.centroids,
    )
    checksum = hashlib.sha256(ids)
    checksum.update(lists)
    parcels = [Parcel(part.number, 0, kind, payload) for kind, payload in ((IDS, ids), (LISTS, lists))]
    return parcels, checksum.hexdigest()[:16]


def unpack_part(number: int, parcels: Sequence[Parcel], nobody: GraphState, *, views: bool = False) -> Part:
    """Return a part; one without points where there are no parcels of it.

    Args:
        number: of the part.
        parcels: its own, and maybe others.
        nobody: the graph without points and cells.
        views: whether its arrays may be read-only views of the parcels.

    Raises:
        InputError: a list names a point that is not there.
    """
    found = of_kind(parcels, IDS)
    if not found:
        none = np.zeros(0, np.int64)
        return Part(number, nobody, none, none, nobody.ids)
    ids, lists = unpack(found[0].payload, views=views), unpack(of_kind(parcels, LISTS)[0].payload, views=views)
    n, others = len(ids["code"]), len(ids["other_code"])
    best = lists["best"].reshape(n, nobody.best.shape[1])
    if best.size and not -1 <= best.min() <= best.max() < n + others:
        raise InputError("lists name points that are not there")
    state = replace(
        nobody,
        ids=unpacked(ids["id"]),
        home=lists["home"],
        rows=PlacedRows.of(StoredRows(lists["values"].reshape(n, nobody.dimension), lists["exponent"])),
        best=best,
        score=lists["score"].reshape(n, nobody.best.shape[1]),
        quantizer=Quantizer(_rows(lists["centroids"], nobody), nobody.quantizer.groups, nobody.metric),
        others=others,
    )
    return Part(number, state, ids["code"], ids["other_code"], unpacked(ids["other_id"]))


def _rows(values: Any, nobody: GraphState) -> FloatMatrix:
    return np.asarray(values.reshape(-1, nobody.dimension), np.float32)


def edges_of(part: Part) -> pa.Table:
    """Return the edges of a part's lists, ``src, dst`` as ids are kept and ``similarity``.

    Each is there once; those between parts once in each of the two whose list names the other's point.
    """
    state = part.state
    most = state.n * state.neighbors
    own, other, score = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.float32)
    count = kernel.edges(state.best, state.score, state.neighbors, own, other, score)
    columns: dict[str, Any] = {schema.SRC: part.ids_of(own[:count]), schema.DST: part.ids_of(other[:count])}
    return pa.table(columns | {schema.SIMILARITY: similarity_of_scores(score[:count], state.metric)})


def divided(state: GraphState, part_points: int, how: Search) -> GraphState:
    """Return a graph with its division into parts: of its own cells, so that new points go where those near them are.

    Args:
        state: a whole graph.
        part_points: points wanted per part.
        how: it was searched.
    """
    codes = unique_codes(state.ids, how.seed)[0]
    wanted = 1 if state.n <= part_points else sample_rows(state.n, state.dimension, part_points)
    some = np.argsort(codes.view(np.uint64))[:wanted]
    part_map = PartMap.plan(state.wide.take(some), state.n, part_points, how, state.quantizer)
    centroids = state.quantizer.centroids
    part = part_map.destinations(centroids, np.arange(len(centroids)))[:, 0]
    return replace(state, division=Division(part_map, part))


def apart(state: GraphState, seed: int) -> tuple[list[int], Callable[[int], Part], int]:
    """Return the numbers of a whole graph's parts, what makes one of them, settled, and the salt of their codes.

    Args:
        state: divided.
        seed: of codes.
    """
    assert state.division is not None
    codes, salt = unique_codes(state.ids, seed)
    all_points = Part(0, state, codes, codes[:0], state.ids[:0])
    part_of_cell = state.division.part
    part_of = part_of_cell[state.home]

    def of(number: int) -> Part:
        cells, one = np.flatnonzero(part_of_cell == number), all_points.settled(part_of == number)
        own = replace(
            one.state,
            home=np.searchsorted(cells, one.state.home).astype(np.int32),
            quantizer=Quantizer(state.quantizer.centroids[cells], state.quantizer.groups[:0], state.metric),
            division=None,
        )
        return replace(one, number=number, state=own)

    return np.unique(part_of_cell).tolist(), of, salt


def whole(parts: Iterable[Part], part_map: PartMap, groups: FloatMatrix) -> GraphState:
    """Return the graph of all parts.

    Args:
        parts: all of them.
        part_map: of them.
        groups: centroids of groups of all cells.

    Raises:
        InputError: a list names a point that no part has.
    """
    parts = list(parts)
    codes = np.concatenate([one.code for one in parts])
    states = [one.state for one in parts]
    begins = np.cumsum([0, *(one.n for one in states)])
    cells = [len(one.quantizer.centroids) for one in states]
    first_cell = np.cumsum([0, *cells])
    others = np.concatenate([one.other_code for one in parts])[:, None]
    ends = np.cumsum([0, *(one.others for one in states)])
    far = numbers_of(codes, others, np.ones(len(others), np.int32))[:, 0]
    n, (_, width), dimension = begins[-1], states[0].best.shape, states[0].dimension
    values, exponent = np.empty((n, dimension), np.float16), np.empty(n, np.int16)
    best, score = np.empty((n, width), np.int32), np.empty((n, width), np.float32)

    def put(at: int) -> None:
        own, to, rows = states[at], slice(begins[at], begins[at + 1]), states[at].rows.stored()
        values[to], exponent[to], score[to] = rows.values, rows.exponent, own.score
        names = np.concatenate([np.arange(begins[at], begins[at + 1]), far[ends[at] : ends[at + 1]], [-1]])
        best[to] = names.astype(np.int32)[own.best]

    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        list(pool.map(put, range(len(parts))))
    quantizer = Quantizer(np.concatenate([one.quantizer.centroids for one in states]), groups, states[0].metric)
    numbers = np.array([one.number for one in parts], np.int32)
    return replace(
        states[0],
        ids=pa.concat_arrays([one.ids for one in states]),
        home=np.concatenate([one.home + first for one, first in zip(states, first_cell.tolist(), strict=False)]),
        rows=PlacedRows.of(StoredRows(values, exponent)),
        best=best,
        score=score,
        quantizer=quantizer,
        others=0,
        division=Division(part_map, np.repeat(numbers, cells)),
    )


def pack_map(part_map: PartMap, groups: FloatMatrix) -> Parcel:
    """Return a map of parts, and the centroids of groups of all cells, as a parcel."""
    crowded = part_map.crowded
    payload = pack(
        centroids=part_map.quantizer.centroids,
        groups=part_map.quantizer.groups,
        first_part=part_map.first_part,
        shares=part_map.shares,
        numbers=np.array([part_map.parts, part_map.visits, part_map.largest], np.int64),
        reach=np.array([part_map.reach]),
        crowded=np.array(list(crowded), np.int32),
        crowded_reach=np.array(list(crowded.values()), np.float64),
        cell_groups=groups,
    )
    return Parcel(MAP_PART, 0, MAP, payload)


def unpack_map(parcels: Sequence[Parcel], nobody: GraphState) -> tuple[PartMap, FloatMatrix]:
    """Return what `pack_map` packed."""
    found = unpack(of_kind(parcels, MAP)[0].payload)
    parts, visits, largest = found["numbers"].tolist()
    quantizer = Quantizer(_rows(found["centroids"], nobody), _rows(found["groups"], nobody), nobody.metric)
    crowded = dict(zip(found["crowded"].tolist(), found["crowded_reach"].tolist(), strict=True))
    reach = float(found["reach"][0])
    part_map = PartMap(quantizer, found["first_part"], found["shares"], parts, reach, visits, crowded, largest)
    return part_map, _rows(found["cell_groups"], nobody)
