"""Points that are near a reference (``exclude_near``), on one machine: who they are, and that they are out.

Points whose vectors are in memory are compared as they are; those of a given graph, or of a graph that a run directory
has, are read again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from subsel.config import SelectConfig
from subsel.coverage import CHANGED, vector_checker
from subsel.embeddings.metrics import FloatMatrix
from subsel.embeddings.near import BoolArray, Reference
from subsel.errors import InputError
from subsel.fixedpoint import Int64Array
from subsel.input.near import refuse_bad_vectors, warn_of_included
from subsel.input.points import Points
from subsel.input.reference import Beside, ReferenceRows, nothing_beside, open_rows, require_vectors
from subsel.input.source import Source
from subsel.input.taking import iterate_rows
from subsel.memory import available_memory
from subsel.report import GraphReport
from subsel.run import Tell
from subsel.schema import Status
from subsel.told import near_line

log = logging.getLogger(__name__)

#: Points that are compared at once.
_BLOCK_ROWS = 8_192


def read_reference(
    what: str,
    data: Any,
    source: Source,
    points: Points,
    config: SelectConfig,
    storage_options: Mapping[str, Any] | None,
    made: GraphReport | None,
    beside: Beside = nothing_beside,
) -> ReferenceRows | None:
    """Read and check data beside the points, before anything that takes long.

    Args:
        what: the option that it was given as.
        data: as it was given; None if it was not.
        source: of the points.
        points: as read; without embeddings where a graph is there already.
        config: see `subsel.input.reference.read_rows`.
        storage_options: how paths are opened.
        made: how a graph that a run directory has was made; None: there is none.
        beside: see `subsel.input.reference.open_rows`.

    Raises:
        InputError: points have no embeddings, or see `subsel.input.reference.read_rows`.
    """
    if data is None:
        return None
    require_vectors(source.schema, config, source.name, what)
    dimension = points.dimension or (None if made is None else made.dimension)
    return open_rows(what, data, config, storage_options, source.name, dimension, beside)


def find_near(
    near: ReferenceRows, source: Source, points: Points, config: SelectConfig, *, given: bool, tell: Tell
) -> BoolArray:
    """Return who is near: bool, (n,).

    Args:
        near: the reference.
        source: of the points.
        points: all, or those that are left of them.
        config: near, metric, embedding_column.
        given: whether a graph is, so that nobody has looked at vectors yet.
        tell: told what goes on.

    Raises:
        InputError: points of a given graph have no good vectors; or memory is too little.
    """
    more = 0 if config.metric == "inner_product" else near.rows.nbytes
    if more > available_memory():
        raise InputError(
            f"{near.name} has {len(near.rows):,} rows, which need {more / 2**30:.1f} GiB more than is available: give "
            "fewer, such as a subset of them."
        )
    reference = Reference.of(near.rows, config.metric, config.near_limit)
    found, done = np.zeros(points.n, np.bool_), 0
    for which, X in _vectors(source, points, config, reference.dimension, given=given):
        found[which] = reference.near(X)
        done += len(which)
        tell("near", done / points.n)
    return found


def leave_out(
    near: BoolArray, wished: Mapping[Status, Int64Array], config: SelectConfig, name: str
) -> tuple[dict[Status, Int64Array], Int64Array]:
    """Return wishes with points that are near among the excluded, and these alone; included ones stay.

    Args:
        near: bool, (n,).
        wished: numbers of points.
        config: of the request.
        name: of the points' data, for the log.
    """
    mine, now = near.copy(), dict(wished)
    inside, out = (wished.get(status, np.empty(0, np.int64)) for status in (Status.INCLUDED, Status.EXCLUDED))
    warn_of_included(int(near[inside].sum()), config)
    mine[inside] = mine[out] = False
    alone = np.flatnonzero(mine)
    log.info("%s: %s", name, near_line(len(alone), config))
    now[Status.EXCLUDED] = np.union1d(out, alone)
    return now, alone


def _vectors(
    source: Source, points: Points, config: SelectConfig, dimension: int, *, given: bool
) -> Iterator[tuple[Int64Array, FloatMatrix]]:
    """Yield numbers of points, int64, (b,), and their embeddings, float32, (b, d), until all are there."""
    if points.embeddings is not None:
        for begin in range(0, points.n, _BLOCK_ROWS):
            X = points.vectors(slice(begin, begin + _BLOCK_ROWS))
            yield np.arange(begin, begin + len(X)), X
        return
    order = np.argsort(points.rows)
    name = config.embedding_column
    checker = vector_checker(name, config, dimension)
    for begin, batch in iterate_rows(source, [name], points.rows[order]):
        good = checker.check(batch)
        assert good.embeddings is not None
        if not given and len(good.kept) < len(batch):
            raise InputError(f"{points.name}: {CHANGED}")
        yield order[begin + good.kept], good.embeddings
    refuse_bad_vectors(checker.findings, points.n, points.name, config, dimension)
