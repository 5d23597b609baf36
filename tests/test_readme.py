from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from subsel.cli.commands import main

PAGES = True
ROOT = Path(__file__).parent.parent


def test_the_library_example_runs_as_written():
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line]) == 3
    names = {}
    exec(example, names)
    assert len(names["selection"].ids) == 1000
    assert names["selection"].graph.to_scipy().shape == (10_000, 10_000)


def test_the_examples_of_coverage_run_as_written():
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs/coverage.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        names = {}
        exec(example, names)
        report = names["subset"].report
        assert report.objective.covered > report.objective.random
        assert 0 < report.certificate.share <= 1
    assert 0 < report.coverage.graph <= 1  # the second has a target


def shell_commands(page="README.md"):
    """The words of each command of a page's blocks for the shell, without remarks."""
    texts = (ROOT / page).read_text().split("\nFrom the shell")[1:]
    blocks = [re.search(r"\n\n((?:    .*\n)+)", text)[1] for text in texts]
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Run a command in a folder that has what `make demo` makes, if of fewer points."""
    folder = tmp_path_factory.mktemp("readme")

    def run(words):
        assert words[0] == "subsel"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / "subsel-demo" if (folder / "subsel-demo").exists() else folder)
            result = CliRunner().invoke(main, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}: {result.output}"
        return result

    run(["subsel", "demo", "subsel-demo", "--points", "3000", "--dimension", "16"])
    return run


def test_the_commands_run_as_written_in_order(shell):
    commands = [words for words in shell_commands() if "spark" not in words]
    assert len(commands) >= 10
    for words in commands:
        shell(words)


def test_the_commands_of_coverage_run_as_written(shell):
    commands = shell_commands("docs/coverage.md")
    assert len(commands) == 5
    for words in commands:
        shell(words)


@pytest.mark.slow
def test_the_commands_on_spark_run_as_written(shell, spark):
    for words in shell_commands():
        if "spark" in words:
            shell(words)


def test_links_of_the_docs_lead_somewhere():
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("subsel/*/README.md"),
    ]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_root_links_are_relative_and_lead_to_the_stages():
    for name in ("embeddings", "bounding", "greedy"):
        link = ROOT / name
        assert link.is_symlink()
        assert str(link.readlink()) == f"subsel/{name}"
