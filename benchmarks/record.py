"""Tables of a benchmark: printed as their rows come and, where `--record` says so, written to benchmarks/results.

A result is one run of one command, so all of its tables are of one version, one commit and one machine. What is in it
is in `Result`; `benchmarks.page` fills the documentation from these files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_ROOT = Path(__file__).parents[1]

#: What a row has: a value per column, None where there is none.
Row = Sequence[Any]


@dataclass(frozen=True)
class Table:
    """A table of a result.

    Attributes:
        title: what tells it from the result's other tables, such as the data; "" where there is one only.
        columns: how each column is shown, by its heading: a format specification, such as "9,.1f".
        rows: values in the columns' order.
    """

    title: str
    columns: dict[str, str]
    rows: list[list[Any]] = field(default_factory=list)

    def cells(self, row: Row) -> list[str]:
        """Return a row as it is shown, padded by the columns' widths."""
        specs = self.columns.values()
        assert len(row) == len(self.columns), f"{len(row)} values for the columns {', '.join(self.columns)}"
        shown = (_shown(value, spec) for value, spec in zip(row, specs, strict=True))
        return [
            cell.ljust(len(name)) if "<" in spec else cell.strip().rjust(max(len(name), len(cell)))
            for cell, name, spec in zip(shown, self.columns, specs, strict=True)
        ]

    def headings(self, cells: Sequence[str]) -> list[str]:
        """Return the headings, as wide as the cells of a row."""
        return [
            name.ljust(len(cell)) if "<" in spec else name.rjust(len(cell))
            for (name, spec), cell in zip(self.columns.items(), cells, strict=True)
        ]


@dataclass(frozen=True)
class Result:
    """What one run of a benchmark found.

    Attributes:
        benchmark: the module's name.
        command: what was run.
        about: what was measured, in a line.
        version: of subsel.
        commit: the last that changed the package; with "+" where the package that ran was not that one's.
        date: of the run, YYYY-MM-DD.
        machine: in a line.
        note: what else must be known to read it; "" in most.
        tables: in the order of the run.
    """

    benchmark: str
    command: str
    about: str
    version: str
    commit: str
    date: str
    machine: str
    note: str
    tables: list[Table]


def read(name: str) -> Result:
    """Read benchmarks/results/NAME.json."""
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return Result(**found | {"tables": [Table(**table) for table in found["tables"]]})


def write(name: str, result: Result) -> Path:
    """Write benchmarks/results/NAME.json, a line per row."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    head = asdict(result)
    tables = head.pop("tables")
    lines = [f"  {_json(key)}: {_json(value)}," for key, value in head.items()]
    blocks = []
    for table in tables:
        rows = ",\n".join(f"      {_json(row)}" for row in table["rows"])
        about = f'    "title": {_json(table["title"])},\n    "columns": {_json(table["columns"])},'
        blocks.append(f'  {{\n{about}\n    "rows": [\n{rows}\n    ]\n  }}')
    text = "\n".join(["{", *lines, '  "tables": [', ",\n".join(blocks), "  ]", "}"])
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


class Recorder:
    """Prints tables as their rows come, and keeps them in ``tables``."""

    def __init__(self) -> None:
        self.tables: list[Table] = []

    def __call__(self, columns: dict[str, str], rows: Iterable[Row], title: str = "") -> None:
        """Print a table and keep it: headings with their formats, rows, and what tells it from others of the run."""
        table = Table(title, columns)
        self.tables.append(table)
        if title:
            print(f"\n{title}", flush=True)
        for values in rows:
            row = [_plain(value) for value in values]
            cells = table.cells(row)
            if not table.rows:
                print("\n" + "  ".join(table.headings(cells)).rstrip())
            print("  ".join(cells).rstrip(), flush=True)
            table.rows.append(row)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a benchmark's parser, with `--record`."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_record(made)
    return made


def add_record(options: argparse.ArgumentParser) -> None:
    """Add `--record` to a parser, or to that of a subcommand."""
    options.add_argument(
        "--record", nargs="?", const="", metavar="NAME", help="write benchmarks/results/NAME.json; the module's name"
    )
    options.add_argument("--note", default="", help="what else must be known to read the result")


@contextlib.contextmanager
def recording(arguments: argparse.Namespace, about: str) -> Iterator[Recorder]:
    """Print machine and what is measured; yield what takes tables; write the result, if asked to, when all is done."""
    name, command = _command()
    print(f"{machine()}\n{about}", flush=True)
    record = Recorder()
    yield record
    if arguments.record is not None:
        from subsel.version import __version__  # noqa: PLC0415  (reading results takes no package)

        today = datetime.now(UTC).date().isoformat()
        result = Result(name, command, about, __version__, commit(), today, machine(), arguments.note, record.tables)
        print(f"written: {write(arguments.record or name, result).relative_to(_ROOT)}")


def _shown(value: Any, spec: str) -> str:
    """Return a value by its format; what there is not is a dash of the same width."""
    if value is None:
        return format("-", spec) if spec.endswith("s") else "-".rjust(len(format(0, spec)))
    return format(value, spec)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, of ten digits; what is no number is None."""
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return value


def _command() -> tuple[str, str]:
    """Return the module that runs, and the command without what `add_record` adds and without folders."""
    spec = sys.modules["__main__"].__spec__
    full = spec.name if spec is not None else "benchmarks.unknown"
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_record(ours)
    _, given = ours.parse_known_args()
    words = [Path(word).name if "/" in word else word for word in given]
    return full.rpartition(".")[2], shlex.join(["python", "-m", full, *words])


def commit() -> str:
    """Return the last commit that changed the package, with "+" where it was changed since."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words, "--", "subsel"], cwd=_ROOT, capture_output=True, text=True, check=False)

    changed = git("diff", "--quiet", "HEAD").returncode
    return git("log", "-1", "--format=%h", "--abbrev=7").stdout.strip() + ("+" if changed else "")


def machine() -> str:
    """Describe this machine in one line."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Python {platform.python_version()}"
