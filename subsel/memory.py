"""Memory that this process may use: of the machine, and of the container that it is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _MINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_MEMORY = Path("/proc/meminfo")


def available_memory() -> int:
    """Return the memory that can be used without swapping, and without being killed by a cgroup's limit, in bytes."""
    return max(0, min([_of_machine(), *(limit - used for limit, used in group_limits())]))


def _of_machine() -> int:
    if _MEMORY.exists():
        for line in _MEMORY.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def group_limits() -> Iterator[tuple[int, int]]:
    """Yield the limits of this process' memory cgroup and of those around it, and what is used of each, in bytes.

    What is used leaves cached files out that nobody has asked for lately: these go before anything is killed.
    """
    for folder in _folders():
        v2 = folder / "memory.max"
        limit = _number(v2 if v2.exists() else folder / "memory.limit_in_bytes")
        used = _number(folder / ("memory.current" if v2.exists() else "memory.usage_in_bytes"))
        if limit is not None and used is not None and limit < 1 << 60:  # more is how v1 says that there is none
            yield limit, max(0, used - _cached(folder / "memory.stat"))


def _folders() -> Iterator[Path]:
    """Yield the folders of this process' memory cgroup and of those around it."""
    try:
        lines = _MINE.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, kinds, path = line.split(":", 2)
        root = _GROUPS if number == "0" and not kinds else _GROUPS / "memory"
        if root == _GROUPS or "memory" in kinds.split(","):
            inside = root / path.lstrip("/")
            yield from dict.fromkeys([inside, *(one for one in inside.parents if one.is_relative_to(root)), root])


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max" is no limit
        return None


def _cached(file: Path) -> int:
    try:
        lines = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(lines.get("inactive_file", lines.get("total_inactive_file", 0)))
