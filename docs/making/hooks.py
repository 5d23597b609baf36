"""What mkdocs does beside: the section of decisions, the commands' help, pages for source files that are linked.

Pages link to files outside of docs/ by relative paths, which the repository's view follows. The site has these files as
pages under source/, so that it needs neither the repository nor an address of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#\s]+)(#[^)\s]*)?\)")
DECISIONS = "decisions"
COMMANDS = "<!-- the help of every command -->"
LANGUAGES = {".py": "python", ".toml": "toml", ".md": "markdown", ".sh": "bash"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the section of decisions: each page of the folder is in it."""
    assert config.nav is not None
    pages = sorted(
        path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir, DECISIONS).glob("*.md")
    )
    for section in config.nav:
        if "Decisions" in section:
            section["Decisions"] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file or folder outside of docs/ that a page links to."""
    for page in list(files.documentation_pages()):
        for target in sorted(_outside(page.src_uri, page.content_string)):
            uri = _uri(target)
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=_page_of(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files outside of docs/ to their pages, and fill in the commands' help."""
    if page.file.src_uri.startswith("source/"):
        return markdown

    def lead(found: re.Match[str]) -> str:
        target = _resolved(page.file.src_uri, found[2])
        if target is None:
            return found[0]
        here = Path(page.file.src_uri).parent
        return f"{found[1]}({os.path.relpath(_uri(target), here)})"

    return LINK.sub(lead, markdown).replace(COMMANDS, _commands() if COMMANDS in markdown else "")


def _outside(page: str, markdown: str) -> set[Path]:
    return {target for found in LINK.finditer(markdown) if (target := _resolved(page, found[2]))}


def _resolved(page: str, link: str) -> Path | None:
    """Return the file or folder that a page's link names, from the root; None if it is in docs/ or not a path."""
    if ":" in link:
        return None
    target = (ROOT / "docs" / page).parent.joinpath(link).resolve()
    inside = target.is_relative_to(ROOT / "docs")
    return target.relative_to(ROOT) if not inside and target.exists() and target.is_relative_to(ROOT) else None


def _uri(target: Path) -> str:
    return f"source/{target}.md"


def _page_of(target: Path) -> str:
    path = ROOT / target
    if path.is_dir():
        names = "\n".join(f"    {one.name}" for one in sorted(path.iterdir()) if not one.name.startswith(("_", ".")))
        return f"# {target}\n\n{names}\n"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":  # at the root; its links are the repository's
        return LINK.sub(lambda found: found[1].lstrip("!").strip("[]"), text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"# {target}\n\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _commands() -> str:
    from subsel.cli.commands import main  # noqa: PLC0415  (what it declares is read when the page is made)

    return "\n".join(_help(main, "subsel", None))


def _help(command: click.Command, name: str, parent: click.Context | None) -> list[str]:
    """Return a section per command, as `--help` prints it at 80 columns."""
    settings: dict[str, Any] = dict(command.context_settings) | {"max_content_width": 80, "terminal_width": 80}
    settings.pop("auto_envvar_prefix", None)
    context = click.Context(command, info_name=name, parent=parent, **settings)
    lines = [f"## {context.command_path}\n", "```text", command.get_help(context), "```\n"]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            lines += _help(found, sub, context)
    return lines
