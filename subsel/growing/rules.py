"""What may join or leave a graph, whichever engine looks: one message for each rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from subsel.config import SelectConfig
from subsel.errors import ConfigError, InputError, option
from subsel.growing.revision import Revision
from subsel.growing.state import GraphState
from subsel.input.ids import same_type

#: Whose ids they are, for messages.
LEAVING = "the points to remove"
#: What may differ for points that join: how their rows are read, and what a run says.
_OF_ROWS = ("id_column", "embedding_column", "on_bad_rows", "log_level")


def config_of_rows(config: SelectConfig, options: Mapping[str, Any]) -> SelectConfig:
    """Return a graph's config with other names of columns.

    Raises:
        ConfigError: an option is the graph's and of another value.
    """
    now = SelectConfig.of(config.model_dump() | dict(options))
    for name in options:
        then = getattr(config, name)
        if name not in _OF_ROWS and getattr(now, name) != then:
            made = "without it" if then in (None, ()) else f"with {then!r}"
            raise ConfigError(
                f"{option(name, getattr(now, name))}: the graph was made {made}. Leave it out, or make another graph."
            )
    return now


def check_kind(name: str, id_type: pa.DataType, dimension: int, state: GraphState) -> None:
    """Refuse points that cannot join: ids are of another type, or vectors of another dimension.

    Raises:
        InputError: see above.
    """
    same_type(id_type, state.id_type, name)
    if dimension != state.dimension:
        raise InputError(
            f"embeddings of {name} have {dimension} values, those of the graph {state.dimension}: use those of one "
            "model."
        )


def check_known(name: str, known: int, points: int, example: Any, n: int, *, replace: bool) -> None:
    """Refuse points that the graph has, unless they are to be replaced; and to replace all.

    Args:
        name: what messages call the points.
        known: how many of the points the graph has.
        points: how many there are.
        example: an id of those that it has.
        n: points of the graph.
        replace: whether they take the place of those.

    Raises:
        InputError: see above.
    """
    if known and not replace:
        raise InputError(
            f"{known:,} of {points:,} ids of {name} are in the graph, such as {example!r}: leave them out, or let them "
            f"take the place of those ({option('replace', True)})."
        )
    if known == n:
        raise InputError(f"{name} replaces all {n:,} points: make the graph of them anew.")


def check_left(leaving: int, n: int) -> None:
    """Refuse to let all points leave.

    Raises:
        InputError: see above.
    """
    if leaving == n:
        raise InputError(f"all {n:,} points would leave, and no graph is of none: keep some.")


def done_before(revisions: Sequence[Revision], of: str, *, left: bool) -> Revision | None:
    """Return the last joining, or leaving, if it is of the same: whoever asks goes on after an interruption."""
    last = next((one for one in reversed(revisions) if (one.left if left else one.joined + one.replaced)), None)
    return last if last is not None and last.of == of else None


def of_nobody(points: int, target: float | None, of: str, engine: str) -> Revision:
    """Return what it is that nobody leaves, which is no change of a graph: it is noted nowhere."""
    return Revision(points=points, searched=0, target=target, of=of, engine=engine, tasks=0, seconds={})


def nothing_to_do(name: str, *, left: bool) -> str:
    """Return what is said of a change that was done before."""
    what = f"{name} have left already" if left else f"{name}: these points have joined already"
    return f"{what}, nothing is to be done"
