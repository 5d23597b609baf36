"""docs/guarantees.md names tests that exist, and stays a page."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "guarantees.md").read_text("utf-8")


def test_every_test_that_is_named_exists():
    named = set(re.findall(r"(test_\w+\.py)(?:::(\w+))?", PAGE))
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (HERE / file).is_file() or (name and f"def {name}(" not in (HERE / file).read_text("utf-8"))
    ]
    assert not missing


#: Rows that name no test: of what is not promised.
UNTESTED = {"another version"}


def test_every_promise_has_a_test():
    rows, promising = [], False
    for line, following in pairwise(PAGE.splitlines()):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if following.startswith("|---"):
            promising = cells[-1] == "test"
        elif promising and line.startswith("| "):
            rows.append(cells)
    assert len(rows) > 20
    assert {row[0] for row in rows if "test_" not in row[-1]} == UNTESTED
    for section in PAGE.split("\n## ")[1:]:
        assert "test_" in section, f"no test is named under {section.splitlines()[0]}"


def test_it_stays_a_page():
    assert len(PAGE.splitlines()) <= 200
