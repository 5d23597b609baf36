"""Fills measured figures into the documentation from benchmarks/results: `python -m benchmarks.page [--check]`.

**Tables** stand between two comments, which readers do not see; what is between them is made here:

    <!-- measured: NAME:TITLE column=value -column -->
    <!-- end -->

is the table of benchmarks/results/NAME.json whose title begins with TITLE, which is left out where there is one table:
rows whose columns show these values (`a|b` is either), without the columns that have a minus or one value. Words
with spaces are quoted. Below it stand command, version, commit, date and machine: all of a table is of one run.

**Sentences** with figures are in `benchmarks/sentences.toml`, expressions in place of the figures. A page must have
each of its sentences once, with any figures; the right ones are filled in. `--check` writes nothing, names the pages
that differ from what the data make, and ends with 1 if there are any.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.record import Result, Table, read

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- measured: (.+?) -->\n.*?<!-- end -->", re.DOTALL)
HOLE = re.compile(r"\{\{(.+?)\}\}")


def pages() -> list[Path]:
    """Return the pages that may have figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def table_of(result: Result, title: str) -> Table:
    """Return the result's table of this title, or the one whose title begins so."""
    found = [table for table in result.tables if table.title == title]
    found = found or [table for table in result.tables if table.title.startswith(title)]
    if len(found) != 1:
        titles = ", ".join(repr(table.title) for table in result.tables)
        raise ValueError(f"{result.benchmark}: {len(found)} tables begin with {title!r}; there are {titles}")
    return found[0]


def cells_of(table: Table, where: dict[str, str]) -> list[tuple[list[Any], list[str]]]:
    """Return the rows that show these values in these columns, each with its cells."""
    columns = list(table.columns)
    unknown = set(where) - set(columns)
    if unknown:
        raise ValueError(f"no column {', '.join(sorted(unknown))}: there are {', '.join(columns)}")
    rows = [(row, [cell.strip() for cell in table.cells(row)]) for row in table.rows]
    wanted = {columns.index(name): values.split("|") for name, values in where.items()}
    return [(row, cells) for row, cells in rows if all(cells[at] in values for at, values in wanted.items())]


def block(words: str) -> str:
    """Return what stands between the comments of a table: Markdown, and where it is from."""
    first, *rest = shlex.split(words)
    name, _, title = first.partition(":")
    result = read(name)
    table = table_of(result, title)
    where = dict(word.split("=", 1) for word in rest if not word.startswith("-"))
    hidden = {word[1:] for word in rest if word.startswith("-")} | {c for c, value in where.items() if "|" not in value}
    rows = cells_of(table, where)
    if not rows or hidden - set(table.columns):
        raise ValueError(f"{words}: no such row or column")
    shown = [i for i, column in enumerate(table.columns) if column not in hidden]
    heads, specs = list(table.columns), list(table.columns.values())
    lines = [
        [heads[i] for i in shown],
        [":---" if "<" in specs[i] else "---:" for i in shown],
        *([cells[i].replace("|", "\\|") for i in shown] for _, cells in rows),
    ]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{origin(result)}"


def origin(result: Result) -> str:
    """Return where a table is from, in a line."""
    note = f" {result.note}" if result.note else ""
    return (
        f"`{result.command}`: {result.about}. Version {result.version}, {result.commit}, {result.date}; "
        f"{result.machine}.{note}"
    )


def number(name: str, column: str, /, **where: str) -> float:
    """Return a figure of NAME or NAME:TITLE, of the one row that shows these values; blanks in names are "_" here."""
    name, _, title = name.partition(":")
    table = table_of(read(name), title)
    rows = cells_of(table, {key.replace("_", " "): value for key, value in where.items()})
    if len(rows) != 1:
        raise ValueError(f"{name}: {len(rows)} rows with {where}, not one")
    return float(rows[0][0][list(table.columns).index(column)])


def sentences(page: str) -> list[str]:
    """Return the sentences with figures of a page, by its path from the root."""
    with (ROOT / "benchmarks" / "sentences.toml").open("rb") as file:
        return [" ".join(text.split()) for text in tomllib.load(file).get(page, [])]


def pattern(sentence: str) -> re.Pattern[str]:
    """Return what finds a sentence with any figures, wherever its lines break; the figures are groups."""
    literal, holes = HOLE.split(sentence)[::2], HOLE.findall(sentence)
    parts = [r"\s+".join(re.escape(word) for word in re.split(r"\s+", text)) for text in literal]
    return re.compile("".join(part + (r"(\S+?)" if i < len(holes) else "") for i, part in enumerate(parts)))


def filled_sentence(text: str, sentence: str) -> str:
    """Return a page's text with the figures of a sentence from the data."""
    found = list(pattern(sentence).finditer(text))
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} times, not once: {sentence}")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals["number"] = number
    (match,) = found
    for at, hole in reversed(list(enumerate(HOLE.findall(sentence), start=1))):
        value = environment.from_string("{{" + hole + "}}").render()
        text = text[: match.start(at)] + value + text[match.end(at) :]
    return text


def filled(path: Path) -> str:
    """Return a page's text with all figures from the data."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    try:
        text = BLOCK.sub(lambda found: f"<!-- measured: {found[1]} -->\n{block(found[1])} <!-- end -->", text)
        for sentence in sentences(name):
            text = filled_sentence(text, sentence)
    except (ValueError, OSError, jinja2.TemplateError) as error:
        raise ValueError(f"{name}: {error}") from error
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a page differs")
    check, wrong = parser.parse_args().check, False
    for path in pages():
        try:
            text = filled(path)
        except ValueError as error:
            print(error)
            wrong = True
            continue
        if text != path.read_text(encoding="utf-8"):
            wrong |= check
            if not check:
                path.write_text(text, encoding="utf-8")
            how = "differs from the data: python -m benchmarks.page" if check else "is written"
            print(f"{path.relative_to(ROOT)} {how}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
