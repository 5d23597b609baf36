"""One part's superstep: deliver what parts posted, run a kernel, post what changed at the borders, and its letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.board import Board, Counts
from subsel.fixedpoint import FixedPoint, Int64Array
from subsel.graph import SLOT_BITS, DraftGraph, KernelGraph, PartGraph, mean_weights, row_weights
from subsel.parts import regroup
from subsel.parts.pack import Parcel, concatenate, of_kind, pack, unpack
from subsel.schema import Status

#: Kinds of parcels: a part's board; news for its ghosts; decisions on its own points that were made elsewhere
#: (`subsel.parts.regroup`); news of those, accounted for there as far as they count; what kernels write each other; and
#: what is merged over all parts, addressed to whoever merges a share of the slots.
BOARD, POST, FINISHED, SETTLED, UNDECIDED, LETTER = "board", "post", "finished", "settled", "undecided", "letter"
TALLY = "tally"

#: Shares in which slots of a tally are merged.
TALLIES = 64

_EXTRA = "extra_"
#: Rows as columns of one length.
Rows = dict[str, npt.NDArray[Any]]
#: A kernel with its parameters bound.
BoundKernel = Callable[[PartGraph, Board], None]


@dataclass(frozen=True, slots=True)
class PartState:
    """What a part sends after a superstep: its own state first, then a parcel to each part that must hear news."""

    parcels: list[Parcel]
    counts: Counts


def pack_graph(graph: DraftGraph | PartGraph) -> pa.Buffer:
    """Return a part graph as bytes; weights are left out, they follow from similarities.

    Their means stay as they were before edges were dropped, so they are kept, once they are known.
    """
    mean_weight = graph.mean_weight if isinstance(graph, PartGraph) else None
    names = ("cost", "group", "importance", "itself", "target")
    more = {"mean_weight": mean_weight, **{name: getattr(graph, name) for name in names}}
    known = {name: column for name, column in more.items() if column is not None}
    return pack(
        indptr=graph.indptr,
        indices=graph.indices,
        similarity=graph.similarity,
        utility=graph.utility,
        code=graph.code,
        ghost_vid=graph.ghost_vid,
        **known,
    )


def unpack_graph(
    part: int, payload: bytes | pa.Buffer, fixed_point: FixedPoint, max_similarity: float | None = None
) -> PartGraph:
    """Return a part graph with weights of the given scale; see `PartGraph` for ``max_similarity``."""
    arrays = unpack(payload)
    if "group" in arrays:
        arrays["group"] = arrays["group"].reshape(-1, len(arrays["indptr"]) - 1)
    weight = row_weights(arrays["indptr"], arrays["similarity"], fixed_point, arrays.get("importance"))
    if "mean_weight" not in arrays:  # a draft, which has all of its edges
        arrays["mean_weight"] = mean_weights(arrays["indptr"], weight)
    return PartGraph(part=part, weight=weight, fixed_point=fixed_point, max_similarity=max_similarity, **arrays)


def pack_board(board: Board) -> pa.Buffer:
    """Return a board without its news, which are delivered anew, and its scratch, which is made anew."""
    extra = {_EXTRA + name: column for name, column in board.extra.items()}
    names = ("key", "status", "lower", "decided_by", "decided_at")
    return pack(**{name: getattr(board, name) for name in names}, steps=np.array([board.steps]), **extra)


def unpack_board(payload: bytes | pa.Buffer) -> Board:
    """Return a board with no news."""
    arrays = unpack(payload)
    extra = {name.removeprefix(_EXTRA): arrays.pop(name) for name in list(arrays) if name.startswith(_EXTRA)}
    return Board(news=np.empty(0, np.int32), steps=int(arrays.pop("steps")[0]), **arrays, extra=extra)


def start(graph: PartGraph) -> PartState:
    """Return a part's first state: nothing decided, nothing to post."""
    return _state(graph, Board.start(graph), [], news=0)


def superstep(graph: PartGraph, parcels: Sequence[Parcel], kernel: BoundKernel, *, repost: bool = False) -> PartState:
    """Deliver, run the kernel, and post every own border point whose key or status changed to who has it as a ghost.

    Args:
        graph: this part.
        parcels: its state and what was posted to it.
        kernel: changes the board.
        repost: post every border point, changed or not.
    """
    board, news = deliver(graph, parcels)
    own = slice(0, graph.n_own)
    key, status = board.key[own].copy(), board.status[own].copy()
    finished = of_kind(parcels, FINISHED)
    if finished:
        board.absorb_news(graph)  # `grouped_rows` has done so too, and what was decided comes on top
    for parcel in finished:
        regroup.adopt(board, unpack(parcel.payload))
    kernel(graph, board)
    board.count_step(status)
    changed = (board.key[own] != key) | (board.status[own] != status) | repost
    posts = _posts(graph, board, changed, SETTLED if finished else POST)
    return _state(graph, board, posts + _letters(graph, board) + _tallies(graph, board), news)


def deliver(graph: PartGraph, parcels: Sequence[Parcel]) -> tuple[Board, int]:
    """Return the board with what was posted on it, and how many ghosts were posted."""
    board = unpack_board(of_kind(parcels, BOARD)[0].payload)
    letters = of_kind(parcels, LETTER)
    if letters:
        board.inbox = concatenate(unpack(parcel.payload) for parcel in letters)
    posted = of_kind(parcels, POST) + of_kind(parcels, SETTLED)
    if not posted:
        return board, 0
    arrays = [unpack(parcel.payload) for parcel in posted]
    for parcel, one in zip(posted, arrays, strict=True):
        one["vid"] = (parcel.source << SLOT_BITS) | one.pop("slot").astype(np.int64)
        one["is_news"] = np.full(len(one["vid"]), parcel.kind == POST)
    post = concatenate(arrays)
    ghost = graph.n_own + np.searchsorted(graph.ghost_vid, post["vid"])
    open_before = board.status[ghost] == Status.UNDECIDED
    decided = open_before & (post["status"] != Status.UNDECIDED) & post["is_news"]
    board.key[ghost] = post["key"]
    board.status[ghost] = post["status"]
    board.news = ghost[decided].astype(np.int32)
    return board, len(ghost)


def compact(graph: PartGraph, parcels: Sequence[Parcel]) -> PartGraph:
    """Return the graph without the edges of points that are decided; numbering and ghosts stay.

    What was posted but not delivered yet counts as undecided: its weights are still to be accounted for.
    """
    undecided = unpack_board(of_kind(parcels, BOARD)[0].payload).status == Status.UNDECIDED
    row = np.repeat(np.arange(graph.n_own), np.diff(graph.indptr))
    keep = undecided[row] & undecided[graph.indices]
    kept = np.bincount(row[keep], minlength=graph.n_own)
    return replace(
        graph,
        indptr=np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
        indices=graph.indices[keep],
        similarity=graph.similarity[keep],
        weight=graph.weight[keep],
    )


def grouped_rows(graph: PartGraph, parcels: Sequence[Parcel], groups: int, salt: int) -> list[Parcel]:
    """Return the undecided points, dealt into groups, with their edges inside these: a parcel to each group."""
    board, _ = deliver(graph, parcels)
    board.absorb_news(graph)
    split = regroup.split(graph, board, groups, salt)
    return [Parcel(group, graph.part, UNDECIDED, pack(**rows)) for group, rows in split]


def run_group(parcels: Sequence[Parcel], kernel: regroup.BoundGroupKernel, fixed_point: FixedPoint) -> list[Parcel]:
    """Run a kernel on a group of points as one part; return a parcel of decisions to each home part."""
    rows = concatenate(unpack(parcel.payload) for parcel in of_kind(parcels, UNDECIDED))
    group = parcels[0].part
    return [
        Parcel(part, group, FINISHED, pack(**decisions)) for part, decisions in regroup.run(rows, kernel, fixed_point)
    ]


def values_of(board: Board, column: str, among: Sequence[Status]) -> Int64Array:
    """Return a column's values over own points whose status is in ``among``: int64."""
    n_own = len(board.lower)
    values: Int64Array = getattr(board, column)[:n_own]
    return values[np.isin(board.status[:n_own], np.array(among, np.int8))]


def _posts(graph: PartGraph, board: Board, changed: npt.NDArray[np.bool_], kind: str) -> list[Parcel]:
    """Post changed own points to the parts of their ghost neighbours: exactly those have them as ghosts."""
    to, slot = graph.hosts(changed)
    parcels = []
    for part, mine in _by_part(to):
        row = slot[mine]
        payload = pack(slot=row.astype(np.int32), key=board.key[row], status=board.status[row])
        parcels.append(Parcel(part, graph.part, kind, payload))
    return parcels


def _letters(graph: PartGraph, board: Board) -> list[Parcel]:
    """Return what the kernel put into the outbox: a parcel to each part."""
    if not board.outbox:
        return []
    to = board.outbox.pop("to")
    order = np.argsort(to, kind="stable")
    columns = {name: column[order] for name, column in board.outbox.items()}
    return [
        Parcel(part, graph.part, LETTER, pack(**{name: column[mine] for name, column in columns.items()}))
        for part, mine in _by_part(to[order])
    ]


def _tallies(graph: PartGraph, board: Board) -> list[Parcel]:
    """Return what the kernel put into the tally: a parcel to each share of the slots."""
    if not board.tally:
        return []
    share = board.tally["slot"] % TALLIES
    order = np.argsort(share, kind="stable")
    columns = {name: column[order] for name, column in board.tally.items()}
    return [
        Parcel(number, graph.part, TALLY, pack(**{name: column[mine] for name, column in columns.items()}))
        for number, mine in _by_part(share[order])
    ]


def merged(parcels: Iterable[Parcel], work: Callable[..., Rows], *args: Any) -> Rows:
    """Run ``work`` on all rows of a tally's share."""
    return work(concatenate(unpack(parcel.payload) for parcel in of_kind(parcels, TALLY)), *args)


def _by_part(to: Int64Array) -> Iterator[tuple[int, slice]]:
    """Yield each part and where its rows stand, of rows in the order of parts."""
    parts, counts = np.unique(to, return_counts=True)
    ends = np.cumsum(counts)
    for part, begin, end in zip(parts.tolist(), ends - counts, ends, strict=True):
        yield part, slice(begin, end)


def _state(graph: PartGraph, board: Board, posts: list[Parcel], news: int) -> PartState:
    state = Parcel(graph.part, graph.part, BOARD, pack_board(board))
    return PartState([state, *posts], Counts.of(board, graph.n_own, news))


def nothing(graph: KernelGraph, board: Board, /) -> None:
    """The kernel that changes nothing; news is accounted for."""
    board.absorb_news(graph)
