"""The scripts of examples/: they run, show what they say they show, and their pages are what they print."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
#: The scripts that take a second or two; the others are slow tests.
QUICK = {"like_examples", "monthly"}
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def making():
    spec = importlib.util.spec_from_file_location("examples_making", ROOT / "docs/making/examples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_and_numbers(text):
    """A text without its numbers, however wide their columns are, and the numbers."""
    numbers = [float(found.replace(",", "")) for found in NUMBER.findall(text)]
    return re.sub(r"[ -]+", " ", NUMBER.sub("#", text)), numbers


def same(printed, said):
    """Whether two outputs say the same. Another processor rounds otherwise, so numbers are about equal."""
    (words, numbers), (their_words, their_numbers) = words_and_numbers(printed), words_and_numbers(said)
    return words == their_words and numbers == pytest.approx(their_numbers, rel=0.03, abs=2)


@pytest.mark.parametrize("name", [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in NAMES])
def test_the_page_is_what_the_script_prints(name, making, request, monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    if name == "on_spark":
        request.getfixturevalue("spark")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "examples" / f"{name}.md").read_text()
    (said,) = re.findall(r"^```text\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE)
    assert page == making.page_of(name, said), f"the script changed: python docs/making/examples.py {name}"
    assert same(making.printed_by(name).rstrip(), said), f"python docs/making/examples.py {name}"


def test_every_script_has_a_page_in_the_navigation_and_says_what_it_shows(making):
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert {path.stem for path in (ROOT / "docs" / "examples").glob("*.md")} == set(NAMES)
    for name in NAMES:
        assert f"- examples/{name}.md\n" in navigation
        title, rest = making.page_of(name, "").split("\n", 1)
        assert len(title) > 10
        assert rest.strip()[0] != "`"


def test_outputs_that_differ_in_words_or_much_in_numbers_are_told_apart():
    assert same("a subset of 1,000, 99.8%", "a subset of   999, 99.9%")
    assert not same("a subset of 1,000", "a set of 1,000")
    assert not same("a subset of 1,000", "a subset of 800")
    assert not same("a subset of 1,000", "a subset of 1,000 and 3")
