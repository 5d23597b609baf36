"""One run: its id, its stages' times, its log lines and its progress display."""

from __future__ import annotations

import logging
import resource
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from subsel.kernels import COMPILING, when_compiling

log = logging.getLogger(__name__)

#: A stage calls it with what it is doing and the share of that which is done.
Tell = Callable[[str, float], None]


class Run:
    """Times stages and shows them: a bar where stderr is a terminal, else a line for each.

    ``show`` None shows them only where stderr is a terminal.

    Attributes:
        id: of it.
        seconds: of each stage that is done.
        peaks: bytes, the most memory that this process had held when a stage was done.
        warnings: what was logged as such while `listening`.
    """

    def __init__(self, show: bool | None = None) -> None:
        self.id = uuid.uuid4().hex[:8]
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, int] = {}
        self.warnings: list[str] = []
        terminal = sys.stderr.isatty()
        self._show = terminal if show is None else show
        self._bar = self._show and terminal
        self._told = False

    @contextmanager
    def stage(self, name: str) -> Iterator[Tell]:
        """Run one stage: log its start and end, record its wall seconds, show it while it lasts."""
        log.info("[%s] %s: started", self.id, name)
        begin = time.perf_counter()
        with self._shown(name) as tell:

            def compiling(kernel: str) -> None:
                log.debug("[%s] compiling %s", self.id, kernel)
                if not self._told:
                    self._told = True
                    log.info("[%s] %s", self.id, COMPILING)
                    self._say(COMPILING)
                tell(COMPILING, 0)

            with when_compiling(compiling):
                yield tell
        self.seconds[name] = round(time.perf_counter() - begin, 3)
        self.peaks[name] = _peak()
        log.info("[%s] %s: done in %.1f s", self.id, name, self.seconds[name])
        self._say(f"{name}: {self.seconds[name]:.1f} s")

    def _say(self, line: str) -> None:
        """Print a line where there is no bar."""
        if self._show and not self._bar:
            print(f"subsel: {line}", file=sys.stderr, flush=True)

    @contextmanager
    def _shown(self, name: str) -> Iterator[Tell]:
        if not self._bar:
            yield lambda what, share: None
            return
        from rich.console import Console  # noqa: PLC0415  (only where there is a terminal)
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=Console(stderr=True, force_jupyter=False),  # a bar, no widget
            transient=True,
        ) as progress:
            task = progress.add_task(name, total=None)

            def tell(what: str, share: float) -> None:
                progress.update(task, description=f"{name}: {what}", completed=share, total=1.0 if share > 0 else None)

            yield tell

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take down what subsel logs as warnings in this thread: a report says it again."""
        ours = logging.getLogger("subsel")
        handler = _Listener(self.warnings, alone=not ours.hasHandlers())
        ours.addHandler(handler)
        try:
            yield
        finally:
            ours.removeHandler(handler)


class _Listener(logging.Handler):
    """Adds each warning of the thread that made it to a list, once; where nobody else listens Python shows it still."""

    def __init__(self, heard: list[str], *, alone: bool) -> None:
        super().__init__(logging.WARNING)
        self.heard, self.thread, self.alone = heard, threading.get_ident(), alone

    def emit(self, record: logging.LogRecord) -> None:
        """Take one down."""
        if self.alone and logging.lastResort is not None:
            logging.lastResort.handle(record)
        if record.thread == self.thread and (text := record.getMessage()) not in self.heard:
            self.heard.append(text)


def _peak() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
