"""Drivers that go on where a killed run was: they hear again what their engine has answered already.

What a driver asks follows from what it was answered before, and from the request. So answers are written down beside
the boards. A driver that starts anew gets the old ones, which takes no work, up to the last board; the engine takes
that, and works from there on. So every driver can be resumed, knows nothing of it, and ends as if it had never been
broken off.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Concatenate, Literal, Protocol, TypeVar, cast

import numpy as np

from subsel.board import Counts
from subsel.engines.base import Engine, GroupKernel, Kernel, P, Rows
from subsel.errors import InputError, option
from subsel.rundir import BOARDS, RunDirectory, reading_run
from subsel.schema import Status
from subsel.storage import Place

log = logging.getLogger(__name__)

T = TypeVar("T")


class Boards(Protocol):
    """How an engine's boards get into a stage's folder and out again.

    Attributes:
        written: numbers of those that are there, oldest first.
    """

    written: list[int]

    def write(self, *, now: bool) -> int | None:
        """Return the number of the last board that is written down: of the present one, if it is time or ``now``."""

    def state(self) -> dict[str, Any]:
        """Return what else `take` must know of the present board: of JSON's kinds."""

    def take(self, number: int, state: dict[str, Any]) -> None:
        """Have the engine go on from a board that was written down."""

    def back(self, number: int) -> Counts:
        """Have the engine go back to a board that was kept, see `Engine.back`."""


class Record:
    """What an engine has answered in one stage of a run directory, and what it answers from here on.

    Args:
        rundir: whose run is about this stage.
        stage: its name.
        boards: of the engine.

    Raises:
        InputError: what was written down is damaged.
    """

    def __init__(self, rundir: RunDirectory, stage: str, boards: Boards) -> None:
        self._rundir, self._stage, self._boards = rundir, stage, boards
        found = rundir.noted(stage, BOARDS)
        if found is None or not found["answers"]:
            rundir.begin(stage)
            found = {"boards": [], "kept": [], "answers": 0, "state": {}}
        self._named, self._kept, self._files = list(found["boards"]), list(found["kept"]), int(found["answers"])
        self._state = found["state"]
        boards.written[:] = sorted({*self._kept, *self._named})
        self._old = deque(answer for number in range(self._files) for answer in self._place(number).read_json())
        self._new: list[Any] = []
        if self._old:
            log.info("%s: %d answers are known, the board after them is %d", stage, len(self._old), self._named[-1])

    def ask(self, what: str, work: Callable[[], T]) -> T:
        """Return what was answered, or what ``work`` answers now, which is written down with the next board.

        Raises:
            InputError: something else was asked then.
        """
        if self._old:
            return cast(T, self._again(what))
        found = work()
        self._new.append([what, _to_json(found)])
        self._note(self._boards.write(now=False))
        return found

    def keep(self, work: Callable[[], object]) -> Kept:
        """Keep the present board for `Replay.back`."""
        if self._old:
            return Kept(self._again("keep"), None)
        state, number = work(), self._boards.write(now=True)
        assert number is not None
        self._kept.append(number)
        self._new.append(["keep", _to_json(number)])
        self._note(number, now=True)
        return Kept(number, state)

    def back(self, kept: Kept, work: Callable[[object], Counts]) -> Counts:
        """Go back to what was kept, by this run or by one before it."""
        go = (lambda: self._boards.back(kept.number)) if kept.state is None else (lambda: work(kept.state))
        return self.ask("back", go)

    def end(self, result: dict[str, Any], scale: dict[str, Any]) -> None:
        """Record that the stage is done; whoever resumes after it starts from its last board.

        Args:
            result: of the driver.
            scale: of the boards' keys.
        """
        self._note(self._boards.write(now=True), now=True)
        self._kept = []
        self._rundir.finish(self._stage, result, scale)
        self._prune()
        files, self._files = self._files, 0
        self._say_what_is_there()
        for one in range(files):
            self._place(one).remove()

    def _again(self, what: str) -> Any:
        then, answer = self._old.popleft()
        if then != what:
            where = self._rundir.place.join(self._stage)
            raise InputError(
                f"{where} is damaged, it answers {then!r}, not {what!r}: choose another {option('run_dir')}."
            )
        if not self._old:
            self._boards.take(self._named[-1], self._state)
        return _from_json(answer)

    def _note(self, number: int | None, *, now: bool = False) -> None:
        """Write down what was answered, if there is a new board after it, or now."""
        if number is None or not (now or self._named[-1:] != [number]):
            return
        self._place(self._files).write_text(json.dumps(self._new))
        self._files, self._new = self._files + 1, []
        self._named = [*(one for one in self._named[-1:] if one != number), number]
        self._say_what_is_there()
        self._prune()

    def _say_what_is_there(self) -> None:
        about = {"boards": self._named, "kept": self._kept, "answers": self._files}
        self._rundir.note(self._stage, BOARDS, **about, state=self._boards.state())

    def _prune(self) -> None:
        """Remove boards that nobody goes back to."""
        for number in [one for one in self._boards.written if one not in (*self._named, *self._kept)]:
            self._rundir.board(self._stage, number).remove()
            self._boards.written.remove(number)

    def _place(self, number: int) -> Place:
        return self._rundir.place.join(self._stage, f"answers-{number:06d}.json")


@dataclass(frozen=True, slots=True)
class Kept:
    """A board to go back to: its number, and the engine's own state of it, unless another run kept it."""

    number: int
    state: object | None


class Replay:
    """An engine that answers from a record as far as that goes. Implements `subsel.engines.base.Engine`.

    Args:
        engine: that works.

    Attributes:
        record: of the present stage; None: of none, and the engine alone answers.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.parts, self.finish_points = engine.parts, engine.finish_points
        self.record: Record | None = None

    def ask(self, what: str, work: Callable[[], T]) -> T:
        """Return the answer to a question, which is of JSON's kinds where it is none of an engine's."""
        return work() if self.record is None else self.record.ask(what, work)

    @property
    def in_one_task(self) -> bool:
        """See `Engine`."""
        return self.engine.in_one_task

    def drive(self, work: Callable[[Engine], T]) -> T:
        """Run a driver on this engine; in one task, which is a job, nothing is written down before its end."""
        return self.engine.drive(work) if self.engine.in_one_task else work(self)

    def step(self, kernel: Kernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """See `Engine.step`."""
        return self.ask(f"step {_name(kernel)}", lambda: self.engine.step(kernel, *args, **params))

    def counts(self) -> Counts:
        """See `Engine.counts`."""
        return self.ask("counts", self.engine.counts)

    def kth_largest(self, column: Literal["key", "lower"], k: int, among: Sequence[Status]) -> int:
        """See `Engine.kth_largest`."""
        return self.ask(f"kth_largest {column}", lambda: self.engine.kth_largest(column, k, among))

    def kth_place(self, k: int, among: Sequence[Status]) -> tuple[int, int]:
        """See `Engine.kth_place`."""
        return self.ask("kth_place", lambda: self.engine.kth_place(k, among))

    def finish(self, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts | None:
        """See `Engine.finish`."""
        return self.ask(f"finish {_name(kernel)}", lambda: self.engine.finish(kernel, *args, **params))

    def deal(self, groups: int, salt: int, kernel: GroupKernel[P], /, *args: P.args, **params: P.kwargs) -> Counts:
        """See `Engine.deal`."""
        return self.ask(f"deal {_name(kernel)}", lambda: self.engine.deal(groups, salt, kernel, *args, **params))

    def merge(self, work: Callable[Concatenate[Rows, P], Rows], /, *args: P.args, **params: P.kwargs) -> Rows:
        """See `Engine.merge`."""
        return self.ask(f"merge {_name(work)}", lambda: self.engine.merge(work, *args, **params))

    def keep(self) -> object:
        """See `Engine.keep`."""
        return self.engine.keep() if self.record is None else self.record.keep(self.engine.keep)

    def back(self, state: object) -> Counts:
        """See `Engine.back`."""
        if self.record is None:
            return self.engine.back(state)
        return self.record.back(cast(Kept, state), self.engine.back)

    def whole(self) -> None:
        """See `Engine.whole`."""
        self.ask("whole", self.engine.whole)

    def reopen(self) -> None:
        """See `Engine.reopen`."""
        self.ask("reopen", self.engine.reopen)


def run_recorded(
    rundir: RunDirectory,
    stage: str,
    kind: type[T],
    drive: Callable[[Engine], T],
    replay: Replay,
    boards: Boards,
    scale: Any,
) -> T:
    """Run a stage's driver on an engine that writes down what it answers, or return what a finished run recorded.

    Args:
        rundir: whose run is about this stage.
        stage: its name.
        kind: of its result.
        drive: the driver.
        replay: the engine that it drives.
        boards: of that.
        scale: of the boards' keys.
    """
    done = rundir.finished(stage)
    if done is None:
        replay.record = Record(rundir, stage, boards)
        try:
            result = drive(replay)
            done = asdict(cast(Any, result))
            replay.record.end(done, asdict(scale))
        finally:
            replay.record = None
    with reading_run(rundir.place):
        return kind(**done)


def _name(work: Any) -> str:
    return str(getattr(work, "__name__", type(work).__name__))


def _to_json(answer: Any) -> Any:
    """Return an engine's answer in JSON's kinds."""
    if isinstance(answer, Counts):
        return {"counts": asdict(answer) | {"sums": [int(one) for one in answer.sums]}}
    if isinstance(answer, tuple):
        return {"pair": [int(one) for one in answer]}
    if isinstance(answer, dict) and all(isinstance(column, np.ndarray) for column in answer.values()):
        return {"rows": {name: [column.dtype.str, column.tolist()] for name, column in answer.items()}}
    return {"value": answer}


def _from_json(answer: dict[str, Any]) -> Any:
    """Return what `_to_json` was given."""
    ((kind, value),) = answer.items()
    if kind == "counts":
        return Counts(**value | {"sums": tuple(value["sums"])})
    if kind == "pair":
        return tuple(value)
    if kind == "rows":
        return {name: np.array(column, dtype) for name, (dtype, column) in value.items()}
    return value
