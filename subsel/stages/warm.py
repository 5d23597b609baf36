"""Warm starts on one machine: the old subset from which greedy goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from subsel.codes import hash_ids
from subsel.config import SelectConfig
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.graph import NeighborGraph
from subsel.input.ids import known_places
from subsel.input.points import Points
from subsel.input.wishes import wished_ids

_WHAT = "warm_start"


def read_old(old: Any, points: Points, config: SelectConfig, storage_options: Mapping[str, Any] | None) -> pa.Array:
    """Return the ids of an old subset, as they are kept; None if there is none.

    Raises:
        InputError: see `subsel.input.wishes.wished_ids`.
    """
    return None if old is None else wished_ids(old, config, points.id_type, _WHAT, storage_options)


def mark_of_old(ids: pa.Array | None) -> dict[str, str | None]:
    """Return what tells an old subset from others, see `subsel.rundir.RunDirectory.identify`."""
    return {_WHAT: None if ids is None else hashlib.sha256(np.sort(hash_ids(ids, 0)).tobytes()).hexdigest()[:16]}


def nodes_of_old(ids: pa.Array, points: Points, graph: NeighborGraph) -> Int64Array:
    """Return the nodes of an old subset's points, without those that are gone.

    Raises:
        InputError: all are.
    """
    places = known_places(ids, graph.ids, _WHAT, points.id_type, all_known=False)
    if not len(places):
        raise InputError(
            f"{_WHAT}: none of its {len(ids):,} points is among the {graph.n:,} to select from: leave it out."
        )
    return places
