"""Run the scripts of examples/ and write their pages: python docs/making/examples.py [NAME ...], by default all.

A page is what the script's docstring says, the script, and what it prints. That of Spark needs Java.
"""

from __future__ import annotations

import ast
import contextlib
import io
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples"
PAGES = ROOT / "docs" / "examples"


def names() -> list[str]:
    """Return the names of all scripts."""
    return sorted(path.stem for path in SCRIPTS.glob("*.py"))


def printed_by(name: str) -> str:
    """Run a script in this process, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    return printed.getvalue()


def page_of(name: str, printed: str) -> str:
    """Return the page of a script that printed so much."""
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text))
    assert said is not None, f"{name} says nothing of itself"
    title, _, rest = said.partition("\n")
    _, _, code = text.partition(f'{said}\n"""\n')
    return (
        f"# {title}\n\n{rest.strip()}\n\n```python\n{code.strip()}\n```\n\n"
        f"`python examples/{name}.py` prints:\n\n```text\n{printed.rstrip()}\n```\n\n"
        f"The script is [examples/{name}.py](../../examples/{name}.py). `python docs/making/examples.py {name}` makes\n"
        "this page of it, and the tests look whether it is still so.\n"
    )


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for one in sys.argv[1:] or names():
        (PAGES / f"{one}.md").write_text(page_of(one, printed_by(one)), encoding="utf-8")
        print(f"docs/examples/{one}.md")
