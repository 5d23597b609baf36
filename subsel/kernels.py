"""Compiled kernels: where they are kept, which are there already, and who hears when one is compiled."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

#: What is said once when the first kernel is compiled.
COMPILING = "compiling kernels, once per machine"


#: The variable by which numba is told where compiled functions go.
_FOLDER = "NUMBA_CACHE_DIR"


def find_room() -> None:
    """Have numba keep kernels in a folder of this user's own under TMPDIR, where nothing else may be written.

    It looks at `_FOLDER`, beside the package, and in the user's cache, and refuses to be imported where it may write to
    none of them: as users without a home are, whose package is another's.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    named = os.environ.get(_FOLDER)
    if not any(_may_write(Path(one)) for one in (named, Path(__file__).parent / "__pycache__", cache) if one):
        os.environ[_FOLDER] = _own_folder()


def _may_write(folder: Path) -> bool:
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _own_folder() -> str:
    """Return a folder that nobody else can write to: what is loaded from it is run."""
    import tempfile  # noqa: PLC0415  (rarely needed)

    own = Path(tempfile.gettempdir(), f"subsel-kernels-{os.geteuid()}")
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return str(own) if is_ours else tempfile.mkdtemp(prefix="subsel-kernels-")


@dataclass(frozen=True, slots=True)
class Cache:
    """Where kernels are kept, how many there are, and of how many machine code is there."""

    folders: list[str]
    kernels: int
    compiled: int


def kernel_cache() -> Cache:
    """Return what is compiled already. It imports all modules that have kernels."""
    kernels = list(_kernels())
    compiled = sum(any(Path(one.stats.cache_path).glob(f"{_file_of(one)}.*.nbi")) for one in kernels)
    return Cache(sorted({one.stats.cache_path for one in kernels}), len(kernels), compiled)


def _kernels() -> Iterator[Any]:
    """Yield all functions that are compiled and kept."""
    from numba.core.dispatcher import Dispatcher  # noqa: PLC0415  (heavy)

    package, seen = Path(__file__).parent, set()
    for found in walk_packages([str(package)], "subsel."):
        if found.name.startswith(("subsel.engines.spark", "subsel.stages.", "subsel.cli", "subsel.__main__")):
            continue  # none of them has any, and some need optional packages
        if found.name == "subsel.testing":
            continue
        for value in vars(import_module(found.name)).values():
            if not isinstance(value, Dispatcher) or id(value) in seen or not value.stats.cache_path:
                continue
            seen.add(id(value))
            if value.targetoptions.get("inline") != "always":  # that is compiled where it is called only
                yield value


def _file_of(kernel: Any) -> str:
    """Return the beginning of the names of a kernel's files, as numba forms them."""
    code, name = kernel.py_func.__code__, kernel.py_func.__qualname__.replace("<", "").replace(">", "")
    return f"{Path(code.co_filename).stem}.{name}-{code.co_firstlineno}"


@contextmanager
def when_compiling(tell: Callable[[str], None]) -> Iterator[None]:
    """Call ``tell`` with the name of each kernel that is compiled inside; what comes from the disk is not."""
    from numba.core import event  # noqa: PLC0415  (heavy, and not before a stage runs)

    class Listener(event.Listener):  # type: ignore[misc, name-defined, unused-ignore]
        """Hears of every compilation."""

        def on_start(self, event: Any) -> None:
            """Tell of a kernel of ours."""
            function = event.data["dispatcher"].py_func
            if function.__module__.split(".")[0] == "subsel":
                tell(function.__qualname__)

        def on_end(self, event: Any) -> None:
            """Do nothing."""

    with event.install_listener("numba:compile", Listener()):
        yield
