"""Look through a built site for what a browser would fetch from another host: python docs/making/check.py site."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ELSEWHERE = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
#: Links of a page's head that load nothing.
_NAMES = {"canonical", "next", "prev", "author", "license", "edit"}
_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
#: Material's script asks other hosts where a page has such a class or component: diagrams, a repository's facts.
_LAZY = {"mermaid", "source"}


class _Fetched(HTMLParser):
    """Collects the addresses on other hosts that a page loads by itself; links to follow are none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at what the tag loads."""
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and not set(values.get("rel", "").split()) <= _NAMES:
            self._see(values.get("href", ""))
        if tag in ("image", "use"):  # of SVG
            self._see(values.get("href", "") or values.get("xlink:href", ""))
        for name in ("src", "poster", "data"):
            self._see(values.get(name, ""))
        for one in values.get("srcset", "").split(","):
            self._see(one)
        self.found += _STYLE.findall(values.get("style", ""))
        self.found += sorted(_LAZY & {values.get("data-md-component", ""), *values.get("class", "").split()})

    def _see(self, address: str) -> None:
        if ELSEWHERE.match(address):
            self.found.append(address.strip())


def fetched(text: str, suffix: str) -> list[str]:
    """Return what a file of a site, .html, .css or .svg, loads from other hosts."""
    page = _Fetched()
    if suffix != ".css":
        page.feed(text)
    return page.found + (_STYLE.findall(text) if suffix != ".html" else _STYLE.findall(_styles(text)))


def _styles(text: str) -> str:
    return "\n".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL | re.IGNORECASE))


def requests(site: Path) -> Iterator[str]:
    """Yield a line for each such address of a built site."""
    pages = [path for path in sorted(site.rglob("*")) if path.suffix in (".html", ".css", ".svg")]
    if not pages:
        yield f"{site} has no pages: build it first."
    for path in pages:
        for address in fetched(path.read_text(encoding="utf-8"), path.suffix):
            yield f"{path}: {address}"


if __name__ == "__main__":
    lines = list(requests(Path(sys.argv[1])))
    sys.exit("\n".join(lines) or 0)
