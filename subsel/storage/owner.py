"""Who made a temporary file or a lock, and whether that process still lives."""

from __future__ import annotations

import functools
import getpass
import json
import logging
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from subsel.errors import InputError, SubselError
from subsel.storage.local import LocalPlace
from subsel.storage.place import Place, printable

log = logging.getLogger(__name__)

#: A process elsewhere cannot be looked at: what it left is taken for abandoned after this time.
ABANDONED = timedelta(hours=24)
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, as it names itself in what it makes.

    Attributes:
        user: who.
        host: where, for people.
        kernel: where, for processes: boot and process namespace, so that a number of another container or of before
            a restart is not taken for one of this machine.
        pid: its number.
        start: when it started, as the kernel counts: numbers are used again.
        time: when this was written.
    """

    user: str
    host: str
    kernel: str
    pid: int
    start: str
    time: str

    @classmethod
    def me(cls) -> Owner:
        """Return this process, now."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError, ImportError):  # a number without a name
            user = str(os.getuid())
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(user, socket.gethostname(), _kernel(), os.getpid(), _start(os.getpid()) or "", now)

    @classmethod
    def of(cls, mark: Any) -> Owner | None:
        """Return whom a mark names; None if it is no mark."""
        if not isinstance(mark, dict):
            return None
        values: dict[str, Any] = {name: mark.get(name) for name in cls.__slots__}
        if not all(isinstance(value, int if name == "pid" else str) for name, value in values.items()):
            return None
        return cls(**values)

    def __str__(self) -> str:
        return printable(f"{self.user}@{self.host}, process {self.pid}, since {self.time}")

    def dead(self) -> bool:
        """Return whether the process is known to be gone."""
        return self.kernel == _kernel() and _start(self.pid) != self.start

    def gone(self) -> bool:
        """Return whether the process is known to be gone, or is elsewhere and began so long ago that it must be."""
        if self.kernel == _kernel():
            return self.dead()
        try:
            return datetime.now(UTC) - datetime.fromisoformat(self.time) > ABANDONED
        except (ValueError, TypeError):
            return False


@functools.cache
def _kernel() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _start(pid: int) -> str | None:
    """Return when a process started, in its kernel's words; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5
        )
        return said.stdout.strip() or None
    return ""


@contextmanager
def lock(folder: Place, what: str) -> Iterator[None]:
    """Hold a folder for one run at a time. The lock of a process of this machine that is gone is taken over.

    Args:
        folder: it must exist.
        what: what messages call it, such as "run directory".

    Raises:
        InputError: another process holds it.
        OutputError: it cannot be written to.
    """
    place = folder.join(LOCK)
    mine = json.dumps({**asdict(Owner.me()), "token": uuid.uuid4().hex}, indent=2) + "\n"
    try:
        for _ in range(3):
            if place.create_text(mine):
                break
            _take_over(folder, place, what)
        else:
            raise InputError(f"{what} {folder} is wanted by several runs at once: try again.")
        yield
    finally:
        try:
            if place.exists() and place.read_text() == mine:
                place.remove()
        except SubselError as error:
            log.warning("%s could not be removed: %s", place, error)


def _take_over(folder: Place, place: Place, what: str) -> None:
    """Remove the lock of a process that is gone.

    Raises:
        InputError: it is not.
    """
    with folder.held() if isinstance(folder, LocalPlace) else nullcontext():
        try:
            owner = Owner.of(place.read_json())
        except InputError:
            if not place.exists():  # released just now
                return
            owner = None
        if owner is not None and owner.dead():
            place.remove()
            return
    by = f"by {owner}" if owner is not None else f"(its lock {place} does not say by whom)"
    raise InputError(
        f"{what} {folder} is in use {by}: wait for that run, or choose another; if it is over, remove {place}."
    )
