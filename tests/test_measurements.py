"""Figures in the documentation are those of benchmarks/results, and a benchmark's result reads back as it was."""

from __future__ import annotations

import importlib.util
import json
import re

import numpy as np
import pytest

from benchmarks import page, record
from benchmarks.all import RUNS, WORTH
from benchmarks.record import Recorder, Result, Table

MOST_LINES = 150
RESULT = Result("x", "python -m benchmarks.x", "some", "1.2.3", "abc1234", "2026-01-02", "2 cores", "Noted.", [])


@pytest.mark.parametrize("path", page.pages(), ids=lambda path: path.relative_to(page.ROOT).as_posix())
def test_pages_are_what_the_data_make(path):
    assert page.filled(path) == path.read_text(encoding="utf-8"), "run: python -m benchmarks.page"


def test_the_page_of_benchmarks_is_short():
    assert len((page.ROOT / "docs/benchmarks.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def figures(text):
    """Numbers of a text with where they stand, but for those in links, code and names."""
    hidden = re.sub(r"`[^`]*`|\]\([^)]*\)", lambda found: " " * len(found[0]), text)
    return [(found[0], found.span()) for found in re.finditer(r"(?<![\w.])\d[\d,.]*", hidden)]


def loose(text, sentences):
    """Numbers in paragraphs that name the benchmarks as their source, which no sentence has."""
    known = [found.span() for sentence in sentences for found in page.pattern(sentence).finditer(text)]
    begin, found = 0, []
    for part in re.split(r"(\n\n|\n(?=- ))", text):
        if "benchmarks.md" in part or "python -m benchmarks." in part:
            inside = [(one, begin + low) for one, (low, _) in figures(part)]
            found += [one for one, at in inside if not any(low <= at < high for low, high in known)]
        begin += len(part)
    return found


def test_readme_says_no_figure_that_is_not_measured():
    assert not loose((page.ROOT / "README.md").read_text(encoding="utf-8"), page.sentences("README.md"))


def test_a_figure_without_a_sentence_is_found():
    text = "Fast: 7 ms, 9 s ([b](docs/benchmarks.md#a-1)).\n\nNot of it: 8.\n"
    assert loose(text, []) == ["7", "9"]
    assert loose(text, ["Fast: {{ x }} ms,"]) == ["9"]


def test_a_wrong_figure_is_put_right_wherever_lines_break(monkeypatch):
    monkeypatch.setattr(page, "number", lambda *_: 6.04)
    sentence = 'picks points in {{ "%.1f" | format(number("a", "b")) }} ms, each'
    assert page.filled_sentence("It picks\n  points in 99 ms, each.", sentence) == "It picks\n  points in 6.0 ms, each."
    for text in ("It picks none.", "picks points in 1 ms, each; picks points in 2 ms, each"):
        with pytest.raises(ValueError, match="times, not once"):
            page.filled_sentence(text, sentence)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def test_a_table_is_printed_written_and_read_alike(results, capsys):
    told = Recorder()
    told({"n": "7,", "name": "<6s", "s": "5.1f"}, iter([(np.int64(1000), "a|b", np.nan), (2, "c", 0.25)]), title="t")
    assert capsys.readouterr().out.splitlines()[-2:] == ["  1,000  a|b         -", "      2  c         0.2"]
    told({"only": ".0%"}, [[0.5]], title="other")
    made = Result(**vars(RESULT) | {"tables": told.tables})
    record.write("x", made)
    assert record.read("x") == made
    assert json.loads((results / "x.json").read_text())["tables"][0]["rows"] == [[1000, "a|b", None], [2, "c", 0.25]]
    assert page.block("x:t") == (
        "| n | name | s |\n| ---: | :--- | ---: |\n| 1,000 | a\\|b | - |\n| 2 | c | 0.2 |\n\n"
        "`python -m benchmarks.x`: some. Version 1.2.3, abc1234, 2026-01-02; 2 cores. Noted."
    )
    assert page.block("x:t n=2 -s").splitlines()[:3] == ["| name |", "| :--- |", "| c |"]
    assert page.number("x:t", "s", name="c") == 0.25
    for wrong in ("x", "x:t n=3", "x:t m=2", "x:t -m"):
        with pytest.raises(ValueError, match=r"tables begin|no such row|no column"):
            page.block(wrong)


def test_a_row_that_does_not_fit_the_columns_is_refused():
    with pytest.raises(AssertionError, match="2 values for the columns a"):
        Recorder()({"a": "d"}, [(1, 2)])


def test_results_are_whole():
    """Each has where it is from, formats that fit its values, and no folder of anybody's machine."""
    for path in record.RESULTS.glob("*.json"):
        result = record.read(path.stem)
        assert all([result.command, result.about, result.version, result.commit, result.date, result.machine]), path
        assert "/" not in result.command, path
        assert all(table.rows and table.cells(row) for table in result.tables for row in table.rows), path


def test_all_names_benchmarks_that_there_are():
    for command in [*(command for command, _ in RUNS.values()), *WORTH.values()]:
        assert importlib.util.find_spec(f"benchmarks.{command.split()[0]}"), command


def test_results_without_a_title_are_the_whole_result():
    table = Table("", {"a": "d"}, [[1]])
    assert page.table_of(Result(**vars(RESULT) | {"tables": [table, Table("b", {}, [])]}), "") is table
