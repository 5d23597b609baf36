"""What a name costs: nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import subsel

HEAVY = (
    "numba",
    "faiss",
    "scipy",
    "pandas",
    "polars",
    "datasets",
    "pyarrow.dataset",
    "rich",
    "pyspark",
    "sklearn",
    "matplotlib",
    "jinja2",
)


def loaded(code: str) -> set[str]:
    """Heavy modules that are there once code has run in a process of its own, whatever its exit status."""
    end = f"import sys, json\nprint(json.dumps([one for one in {HEAVY!r} if one in sys.modules]))"
    body = "\n".join(f"    {line}" for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", f"try:\n{body}\nexcept SystemExit:\n    pass\n{end}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["select", "--help"],
        ["select", "--sze", "3"],
        ["select", "in", "out", "--size", "1", "--alpha", "-1"],
        ["select", "in", "out"],
        ["select", "nowhere", "out", "--size", "1"],
        ["neighbors", "nowhere", "graph.parquet"],
        ["validate", "nowhere"],
        ["plan", "nowhere", "--size", "1"],
        ["explain", "1", "nowhere"],
        ["report", "nowhere"],
        ["compare", "nowhere", "elsewhere"],
        ["score", "nowhere"],
        ["score", "nowhere", "--points", "elsewhere"],
        ["plan"],
        ["score"],
        ["demo", "--size", "0"],
        ["select", "in", "out", "--size", "1", "--resume"],
        ["config"],
    ],
    ids=" ".join,
)
def test_the_command_line_imports_nothing_heavy_for_help_and_errors_of_arguments(arguments):
    assert not loaded(f"from subsel.cli import main\nmain({arguments!r})")


def test_the_library_imports_nothing_until_a_name_is_used():
    assert not loaded("import subsel")
    assert not loaded("import subsel\nsubsel.SelectConfig(size=1)\nsubsel.InputError()")
    assert "numba" in loaded("import subsel\nsubsel.select")  # else this shows nothing


def test_the_package_names_what_type_checkers_see():
    tree = ast.parse(Path(subsel.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert seen == {(f"subsel.{home}", name) for home, names in subsel._HOMES.items() for name in names}
    assert {name for _, name in seen} | {"__version__"} == set(subsel.__all__)
    for name in subsel.__all__:
        assert getattr(subsel, name) is not None
        assert name in dir(subsel)
    with pytest.raises(AttributeError, match="no attribute 'selct'"):
        subsel.selct  # noqa: B018


def test_no_module_has_the_name_of_a_function():
    """Importing a module sets its name in the package: it would hide the function."""
    modules = {path.stem for path in Path(subsel.__file__).parent.iterdir()}
    assert not modules & set(subsel.__all__) - {"__version__"}
