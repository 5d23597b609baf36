"""One run: its id, its stages' times, its log lines and its progress display."""

from __future__ import annotations

import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

#: A stage calls it with what it is doing and the share of that which is done.
Tell = Callable[[str, float], None]


class Run:
    """Times stages and shows them. ``show`` None shows progress only where stderr is a terminal."""

    def __init__(self, show: bool | None = None) -> None:
        self.id = uuid.uuid4().hex[:8]
        self.seconds: dict[str, float] = {}
        self._show = sys.stderr.isatty() if show is None else show

    @contextmanager
    def stage(self, name: str) -> Iterator[Tell]:
        """Run one stage: log its start and end, record its wall seconds, show a bar while it lasts."""
        log.info("[%s] %s: started", self.id, name)
        begin = time.perf_counter()
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not self._show,
        ) as progress:
            task = progress.add_task(name, total=None)

            def tell(what: str, share: float) -> None:
                # No share yet: the bar pulses. It may be compiling, which happens once per machine.
                progress.update(task, description=f"{name}: {what}", completed=share, total=1.0 if share > 0 else None)

            yield tell
        self.seconds[name] = round(time.perf_counter() - begin, 3)
        log.info("[%s] %s: done in %.1f s", self.id, name, self.seconds[name])
