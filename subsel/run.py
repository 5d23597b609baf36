"""One run: its id, its stages' times, its log lines and its progress display."""

from __future__ import annotations

import logging
import sys
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
    """

    def __init__(self, show: bool | None = None) -> None:
        self.id = uuid.uuid4().hex[:8]
        self.seconds: dict[str, float] = {}
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
