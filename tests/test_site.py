"""The documentation: what its pages run, name, show. Blocks ```python and ```sh are run, ```py and ```bash are not."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import schema
from subsel.cli.commands import main
from subsel.report import Report
from tests.storage_fixtures import s3, s3_server  # noqa: F401

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: Pages whose blocks are run, and what they need beside subsel.
PAGES = {
    "index.md": (),
    "quickstart.md": (),
    "formats.md": (),
    "guides/texts.md": ("sklearn",),
    "guides/images.md": ("sklearn",),
    "guides/huggingface.md": ("datasets",),
    "guides/monthly.md": (),
    "guides/s3.md": ("moto.server",),
}
SLOW = {"index.md", "guides/monthly.md", "guides/texts.md", "guides/images.md", "guides/s3.md"}


def blocks(page):
    return BLOCK.findall((DOCS / page).read_text())


def making(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "making" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_shell(block):
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "subsel", line
        result = CliRunner().invoke(main, words[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow if page in SLOW else ()) for page in PAGES])
def test_blocks_run_as_written_in_order(page, tmp_path, monkeypatch, request):
    for package in PAGES[page]:
        pytest.importorskip(package)
    at = request.getfixturevalue("s3") if page == "guides/s3.md" else None
    monkeypatch.chdir(tmp_path)
    if page == "formats.md":
        run_shell("subsel demo subsel-demo --points 3000 --dimension 16")
    names, ran = {}, 0
    for language, block in blocks(page):
        if language == "python":
            exec(compile(block, page, "exec"), names)
        elif language == "sh":
            run_shell(block if at is None else block.replace("s3://bucket", at))
        ran += language in ("python", "sh")
    assert ran


#: Pages that are of points which their reader has: what columns these have is in `documents`.
OF_DOCUMENTS = {"limits.md", "report.md", "paper.md", "spark.md"}


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """2,000 documents of three sources and 2 billion tokens in all, and some that none may be near to."""
    folder = tmp_path_factory.mktemp("documents")
    rng = np.random.default_rng(5)
    n = 2000
    X = rng.standard_normal((n, 8)).astype(np.float32)
    table = {
        "id": np.arange(n),
        "embedding": list(X),
        "utility": rng.random(n),
        "text": [f"text {i}" for i in range(n)],
    }
    table |= {"tokens": rng.integers(1, 2_000_000, n), "source": rng.choice(["web", "code", "books"], n)}
    (folder / "points").mkdir()
    pq.write_table(pa.table(table), folder / "points" / "a.parquet")
    pq.write_table(pa.table({"embedding": list(X[:5])}), folder / "evaluation.parquet")
    return folder


def written(page):
    """Yield the blocks of a page that are run, and its commands that stand alone: language and text."""
    text = (DOCS / page).read_text()
    yield from (block for block in blocks(page) if block[0] in ("python", "sh"))
    yield from (("sh", line.strip()) for line in re.findall(r"^    subsel .*$", text, re.MULTILINE))


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow if p == "spark.md" else ()) for p in sorted(OF_DOCUMENTS)]
)
def test_what_is_written_of_documents_runs(page, documents, tmp_path, monkeypatch, request):
    names, count = {}, 0
    if page == "spark.md":
        names["spark"] = request.getfixturevalue("spark")
    for number, (language, block) in enumerate(written(page)):
        place = tmp_path / str(number)  # a reader runs one or the other
        place.mkdir()
        for name, there in (("points", documents), ("evaluation.parquet", documents), ("configs", ROOT)):
            (place / name).symlink_to(there / name)
        monkeypatch.chdir(place)
        if language == "python":
            exec(compile(block, page, "exec"), names)
        elif "--master" in block:  # a session of its own
            words = shlex.split(block, comments=True)
            done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        else:
            run_shell(block)
        count += 1
    assert count >= 1


def test_every_page_with_a_block_to_run_is_run():
    with_blocks = {
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if path.parent.name != "examples"  # test_examples.py runs their scripts
        and {"python", "sh"} & {language for language, _ in BLOCK.findall(path.read_text())}
    }
    elsewhere = OF_DOCUMENTS | {"coverage.md"}  # test_readme.py
    assert with_blocks - elsewhere == set(PAGES)
    alone = {path.name for path in DOCS.glob("*.md") if re.search(r"^    subsel ", path.read_text(), re.MULTILINE)}
    assert alone <= elsewhere | set(PAGES)


def test_pages_say_what_is_not_run():
    for path in DOCS.rglob("*.md"):
        text = path.read_text()
        if {"py", "bash", "dockerfile"} & {language for language, _ in BLOCK.findall(text)}:
            assert re.search(r"not\s+run\s+by|[Nn]othing\s+on\s+(it|this\s+page)\s+is\s+run", text), path


def shown_strings():
    """Every string of the package as a message would have it, with … for what is filled in."""
    for path in Path(subsel.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_of_troubleshooting_are_in_the_code():
    strings = list(shown_strings())
    rows = re.findall(r"^\| (`.*?`) \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        pattern = re.compile(".*".join(map(re.escape, re.findall("`([^`]+)`", row))), re.DOTALL)
        assert any(pattern.search(text) for text in strings), row


def test_formats_names_the_columns_and_the_manifests_keys():
    text = (DOCS / "formats.md").read_text()
    named = set(re.findall(r"`([^`\s]+)`", text))
    assert {schema.ID, schema.RANK, schema.GAIN, schema.DECIDED_BY} <= named
    assert set(schema.DECIDED_BY_NAMES.values()) <= named
    assert {"weights", *Report.model_fields} - {"fixed_point"} <= named
    assert "`format` 1." in text and Report.model_fields["format"].default == 1


def test_the_reference_has_every_public_name():
    named = re.findall(r"^::: (\S+)$", (DOCS / "reference/api.md").read_text(), re.MULTILINE)
    public = [f"subsel.{subsel._HOME[name]}.{name}" for name in subsel.__all__ if name != "__version__"]
    assert sorted(named) == sorted(public)


def test_pictures_are_what_their_script_draws(tmp_path):
    making("pictures").draw(tmp_path)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in (DOCS / "pictures").glob("*.svg")}


FROM_ELSEWHERE = {
    '<script src="https://cdn.example/x.js"></script>': ".html",
    '<link rel="stylesheet" href="//fonts.example/css">': ".html",
    '<link rel="preconnect" href="https://fonts.example">': ".html",
    '<img src="HTTP://example/x.png">': ".html",
    '<img srcset="x.png 1x, https://example/x.png 2x">': ".html",
    '<p style="background: url(https://example/x.png)">': ".html",
    "<style>@import '//example/x.css';</style>": ".html",
    '<pre class="mermaid"></pre>': ".html",
    '<a class="md-source" data-md-component="source" href="https://github.com/a/b">b</a>': ".html",
    '@font-face { src: url("https://fonts.example/x.woff2") }': ".css",
    '<image href="https://example/x.png"/>': ".svg",
}


@pytest.mark.parametrize("text", FROM_ELSEWHERE)
def test_what_a_page_loads_from_elsewhere_is_found(text):
    assert making("check").fetched(text, FROM_ELSEWHERE[text])


def test_links_and_own_files_are_no_requests():
    page = '<link rel="canonical" href="https://a/"><a href="https://b/">b</a><script src="../x.js"></script>'
    assert not making("check").fetched(page, ".html")
    assert not making("check").fetched('<svg xmlns="http://www.w3.org/2000/svg"/>', ".svg")


def test_a_site_without_pages_does_not_pass(tmp_path):
    assert list(making("check").requests(tmp_path))


def test_versions_and_licences_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {subsel.__version__}\n" in citation
    assert "\nlicense: Apache-2.0\n" in citation
    with contextlib.suppress(ImportError):
        import yaml

        assert yaml.safe_load(citation)["cff-version"] == "1.2.0"
