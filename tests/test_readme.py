from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_library_example_runs_as_written():
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    assert len(example.strip().splitlines()) == 3
    names = {}
    exec(example, names)
    assert len(names["selection"].ids) == 1000
    assert names["selection"].graph.to_scipy().shape == (10_000, 10_000)


def test_links_of_the_docs_lead_somewhere():
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("subsel/*/README.md"),
    ]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_root_links_are_relative_and_lead_to_the_stages():
    for name in ("embeddings", "bounding", "greedy"):
        link = ROOT / name
        assert link.is_symlink()
        assert str(link.readlink()) == f"subsel/{name}"
