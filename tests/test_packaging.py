"""Extras are named where users look, and the versions of CI are among those that are declared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: Extras that are for work on the package.
OURS = {"dev", "docs", "bench"}


def test_readme_names_each_extra_once():
    install = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Install\n")[1].split("\n## ")[0]
    named = re.findall(r"pip install '\.\[(\w+)\]'", install)
    assert sorted(named) == sorted(set(EXTRAS) - OURS)


def test_extras_that_messages_and_pages_name_exist():
    pages = [*ROOT.glob("subsel/**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
    for path in pages:
        for names in re.findall(r"(?:subsel|/src|['\"]\.)\[([a-z0-9,]+)\]['\"]", path.read_text(encoding="utf-8")):
            assert set(names.split(",")) <= set(EXTRAS), f"{path}: [{names}]"


def requirements(names):
    """Requirements of extras, with those of the extras that they name."""
    packaging = pytest.importorskip("packaging.requirements")
    for text in names:
        one = packaging.Requirement(text)
        if one.name == "subsel":
            yield from requirements(text for extra in one.extras for text in EXTRAS[extra])
        else:
            yield one


def test_constraints_pin_what_ci_installs_and_name_no_host():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.fullmatch(r"([\w.-]+)==([\w.+!]+)", line).groups() for line in lines if not line.startswith("#"))
    version = {re.sub(r"[-_.]+", "-", name).lower(): value for name, value in pins.items()}
    wanted = list(requirements([*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["docs"]]))
    assert len(wanted) > 20
    for one in wanted:
        assert one.specifier.contains(version[one.name.lower()]), one
