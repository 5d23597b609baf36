"""`subsel doctor | warm`: what this machine has for subsel, and compiling ahead."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from subsel.cli.shell import Command, close, progress, show
from subsel.text import amount, count
from subsel.version import __version__

#: Packages with native code, and those that are optional, with what they are for.
_NATIVE = ("numpy", "scipy", "pyarrow", "faiss-cpu", "numba", "llvmlite", "pydantic-core")
_OPTIONAL = {"pandas": "frames, Spark", "polars": "frames", "datasets": "Hugging Face", "deltalake": "Delta tables"}
_JAVA = 17


@click.command(cls=Command)
@click.option("--rates", metavar="FILE", help="Measure for half a minute how fast this machine is, and write it there.")
def doctor(rates: str | None) -> None:
    """Say what this machine has: Java, Spark, native libraries, memory, temporary space, compiled kernels.

    With --rates FILE it selects from generated points instead, and writes JSON for subsel plan --rates FILE: seconds of
    this machine, measured, and core-seconds on Spark, scaled by these.

    Exit status 0 even where something optional is missing: the table says what needs it.
    """
    if rates is not None:
        _measure(rates)
        return
    from subsel.kernels import kernel_cache
    from subsel.memory import available_memory, group_limits

    cache, limits = kernel_cache(), [limit for limit, _ in group_limits()]
    found = {
        "subsel": __version__,
        "python": f"{sys.version.split()[0]}, {sys.executable}",
        "processors": count(os.cpu_count() or 1, "core"),
        "memory": f"{amount(available_memory())} are available",
        "memory limit": f"{amount(min(limits))}, of this container" if limits else "none but the machine's",
    }
    for folder in dict.fromkeys([tempfile.gettempdir(), str(Path.cwd())]):
        found[f"space in {folder}"] = f"{amount(shutil.disk_usage(folder).free)} free{_writable(folder)}"
    found |= {name: version_of(name) or "missing: pip install subsel" for name in _NATIVE}
    found |= {name: version_of(name) or f"not installed, for {use}" for name, use in _OPTIONAL.items()}
    spark = version_of("pyspark")
    found["pyspark"] = spark or "not installed, for engine spark: pip install 'subsel[spark]'"
    found["java"] = java() or f"none, for engine spark: install Java {_JAVA} or newer, or set JAVA_HOME"
    missing = cache.kernels - cache.compiled
    warm_up = f", {missing:,} compiled when they are called; subsel warm does most of it ahead" if missing else ""
    found["kernels"] = f"{cache.compiled:,} of {cache.kernels:,} compiled{warm_up}"
    for folder in _roots(cache.folders):
        found[f"kernels in {folder}"] = f"kept there{_writable(folder)}"
    show(found, found)


def _measure(path: str) -> None:
    """Measure this machine's rates and write them to a file, which may be there if it has rates, too."""
    from subsel.cost import Rates
    from subsel.measuring import measure
    from subsel.storage import check_new, place_of

    file = place_of(path)
    if file.exists():
        Rates.load(path)  # what is something else is not overwritten
    else:
        check_new(file, overwrite=False)
    found = measure(_teller("measuring: "))
    file.write_text(found.model_dump_json(indent=2) + "\n")
    rows = {
        **{f"on one machine, {name}": f"{rate:g}" for name, rate in found.local.model_dump().items()},
        **{f"on Spark, {name}": f"{rate:g}" for name, rate in found.spark.model_dump().items()},
        "written to": path,
    }
    close(rows, found.model_dump())


def _teller(what: str) -> Callable[[str], None]:
    """Return what says on stderr what goes on, where progress is shown."""

    def tell(part: str) -> None:
        if progress():
            click.echo(f"subsel: {what}{part}", err=True)

    return tell


@click.command(cls=Command)
def warm() -> None:
    """Compile kernels now, once per machine: for images, and so that no first run waits for it.

    Those that selecting and growing a graph on one machine call; some that only many parts need are compiled when they
    are called.

    They are kept beside the package; NUMBA_CACHE_DIR says where else.
    """
    from subsel.warming import warm as compile_all

    cache = compile_all(_teller("compiling for "))
    rows = {"kernels": f"{cache.compiled:,} of {cache.kernels:,} compiled", "kept in": ", ".join(_roots(cache.folders))}
    close(rows, {"compiled": cache.compiled, "kernels": cache.kernels, "folders": cache.folders})


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None if it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def java() -> str | None:
    """Return which Java Spark would start, and its version; None if there is none."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if program is None:
        return None
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} does not run: {type(error).__name__}"
    number = re.search(r'version "([^"]+)"', said)
    found = number[1] if number else "of an unknown version"
    old = number is not None and int(re.split(r"[.-]", found)[0]) < _JAVA
    return f"{found}, {program}{f': too old, Spark needs {_JAVA}' if old else ''}"


def _writable(folder: str) -> str:
    there = next(one for one in (Path(folder), *Path(folder).parents) if one.exists())
    return "" if os.access(there, os.W_OK) else ", not writable: set NUMBA_CACHE_DIR or TMPDIR"


def _roots(folders: list[str]) -> list[str]:
    """Return the folders that others lie in: for kernels beside their modules, the package."""
    package = Path(__file__).parent.parent
    inside = all(Path(one).is_relative_to(package) for one in folders)
    return [str(package)] if inside and folders else folders
