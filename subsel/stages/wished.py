"""Wishes on one machine: which points are wanted in or out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.input.copies import MAKE_ANEW, SCORE_POINTS
from subsel.input.files import open_place
from subsel.input.ids import known_places, shown
from subsel.input.points import Points, array_checksum
from subsel.input.source import Source
from subsel.input.wishes import Wishes, boolean_column, no_such_wish, wished_column, wished_ids
from subsel.schema import Status
from subsel.storage import place_of


@dataclass(frozen=True, slots=True)
class FoundWishes:
    """Which points are wished in and out.

    Attributes:
        places: int64 each: numbers of points, ascending where a column names them.
        both: how many are wished in and out.
        example: id of one of these.
        marks: what tells these wishes from others, see `subsel.rundir.RunDirectory.identify`.
    """

    places: dict[Status, Int64Array]
    both: int
    example: Any
    marks: dict[str, str | None]


def find_wishes(
    wishes: Wishes,
    source: Source,
    points: Points,
    config: SelectConfig,
    storage_options: Mapping[str, Any] | None,
    *,
    drawn: bool,
) -> FoundWishes:
    """Find the points that wishes name, by boolean columns or by ids.

    Args:
        wishes: of the user.
        source: of the points.
        points: all of them; or those that a run directory's graph is of: then who excludes a copy excludes the point
            that stays for it, unless that is included.
        config: names the id column.
        storage_options: how paths are opened.
        drawn: whether ``points`` are only those that were drawn, among which excluded ones may not be.

    Raises:
        InputError: a column is not boolean, ids are unknown or repeated, or included points were merged into others
            when the graph was made.
    """
    about = source, points, config, storage_options
    inside, _, first = _find(wishes.include, "include", *about, all_known=True)
    outside, stand_ins, second = _find(wishes.exclude, "exclude", *about, all_known=not drawn)
    both = np.intersect1d(inside, outside)
    example = shown(points.ids[int(both[0]) : int(both[0]) + 1], points.id_type)[0] if len(both) else None
    outside = np.union1d(outside, np.setdiff1d(stand_ins, inside)) if len(stand_ins) else outside
    places = {Status.INCLUDED: inside, Status.EXCLUDED: outside}
    return FoundWishes(places, len(both), example, {"include": first, "exclude": second})


def _find(
    wish: Any,
    what: str,
    source: Source,
    points: Points,
    config: SelectConfig,
    storage_options: Mapping[str, Any] | None,
    *,
    all_known: bool,
) -> tuple[Int64Array, Int64Array, str | None]:
    """Return the points that a wish names, those that stay for copies that it names, and what tells it from others."""
    nobody, copies = np.empty(0, np.int64), points.copies
    if wish is None:
        return nobody, nobody, None
    column = wished_column(wish, source.schema, source.name, what)
    if column is not None:
        rows = boolean_column(source, column)
        places = np.flatnonzero(rows[points.rows])
        merged = nobody if copies is None else np.flatnonzero(rows[copies.rows])
        code = points.code[places]
        code = code if copies is None else np.concatenate([code, copies.code[merged]])
        # In a graph of drawn points not all who are wished are known: there the rows tell.
        mark = np.flatnonzero(rows) if config.thin is not None else np.sort(code)
        told, count = f"column {column!r}, {array_checksum(mark)}", len(places) + len(merged)
    else:
        if isinstance(wish, str) and open_place(wish, lambda where: place_of(where, storage_options)) is None:
            raise no_such_wish(wish, what, source.name, source.schema)
        ids = wished_ids(wish, config, points.id_type, what, storage_options)
        if len(ids) == 0:
            return nobody, nobody, "no ids"
        told, count = f"{len(ids)} ids {array_checksum(np.sort(hash_ids(ids, config.seed)))}", len(ids)
        merged = nobody if copies is None else copies.place(ids)
        if copies is not None and len(merged):
            ids = ids.filter(pa.compute.invert(pa.compute.is_in(ids, value_set=copies.ids)))
        places = known_places(ids, points.ids, what, points.id_type, all_known=all_known)
    if copies is None or not len(merged):
        return places, nobody, told
    if what == "include":
        copies.refuse(merged, count, what, points.id_type, MAKE_ANEW)
    return places, copies.stand_ins(merged, points.ids), told


def nodes_of_subset(
    subset: Any, points: Points, ids: pa.Array, config: SelectConfig, storage_options: dict[str, Any] | None
) -> Int64Array:
    """Return where the points of a subset are among ``ids``, those of nodes; see `subsel.input.wishes.wished_ids`.

    Raises:
        InputError: it is empty, or ids are null, repeated or unknown.
    """
    found = wished_ids(subset, config, points.id_type, "the subset", storage_options)
    if len(found) == 0:
        raise InputError("the subset is empty: there is nothing to score.")
    if (copies := points.copies) is not None:
        copies.refuse(copies.place(found), len(found), "the subset", points.id_type, SCORE_POINTS)
    return known_places(found, ids, "the subset", points.id_type)
