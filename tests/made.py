"""Parts of pages that a script makes, between two remarks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
_END = "<!-- end of what is made -->"


@dataclass(frozen=True)
class Made:
    """What `python -m MODULE --write` puts into a page."""

    page: str
    module: str

    @property
    def _begin(self) -> str:
        return f"<!-- made by python -m {self.module} --write -->"

    def committed(self) -> str:
        """Return what the page has."""
        return (DOCS / self.page).read_text().split(self._begin)[1].split(_END)[0].strip()

    def show(self, text: str) -> None:
        """Print a text, or write it into the page, where that is asked for."""
        if "--write" not in sys.argv:
            print(text)
            return
        before, after = (DOCS / self.page).read_text().split(self._begin)
        made = f"{before}{self._begin}\n\n{text}\n\n{_END}{after.split(_END)[1]}"
        (DOCS / self.page).write_text(made)
