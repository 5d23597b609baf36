"""SIGKILL while points join a graph and others leave it: the old one stands, and the same command goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq

import subsel
from tests.faults.kills import Lane
from tests.faults.runs import Run, launch

#: What `Joins.found` says of what is neither the graph before nor a whole one.
DAMAGED = "damaged"


class Joins(Lane):
    """Changes of one graph: each begins with the graph as it was made, or with what a killed one has left."""

    def prepare(self) -> None:
        """Make the graph of most points; some of these will leave, and the rest join."""
        points = pq.read_table(self.points, columns=["id", "embedding"])
        most = 9 * len(points) // 10
        pq.write_table(points.slice(most), self.folder / "new.parquet")
        pq.write_table(points.slice(0, most // 20).select(["id"]), self.folder / "gone.parquet")
        made = subsel.growing_graph(points.slice(0, most), neighbors=8, part_points=250, progress=False)
        made.save(self.folder / "made")
        self.before = contents(self.folder / "made")
        self.reset()

    def start(self, *, run_dir: bool = True) -> Run:
        """Say the command again."""
        new, graph, gone = (str(self.folder / name) for name in ("new.parquet", "graph", "gone.parquet"))
        words = ["neighbors", new, graph, "--onto", "--remove", gone, "-v", "--quiet"]
        return launch(words, self.folder, self.engine)

    def found(self) -> str | None:
        """Return a digest of the graph, lists and edges; None: it is the one before, bit for bit."""
        graph = self.folder / "graph"
        now = contents(graph)
        if now == self.before:
            return None
        try:
            subsel.open_graph(graph)
        except subsel.SubselError as error:
            return f"{DAMAGED}: {error}"
        parts = json.loads((graph / "_manifest.json").read_text())["parts"]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        edges = pq.read_table(graph, columns=["src", "dst", "similarity"]).sort_by(
            [("src", "ascending"), ("dst", "ascending")]
        )
        for name in edges.column_names:
            digest.update(repr(edges[name].to_pylist()).encode())
        return digest.hexdigest()

    def reset(self) -> None:
        """Put the graph back that was made."""
        shutil.rmtree(self.folder / "graph", ignore_errors=True)
        shutil.copytree(self.folder / "made", self.folder / "graph")

    def finish(self) -> None:
        """Go on until the end; nothing is left beside the graph then."""
        super().finish()
        there = {"graph", "made", "new.parquet", "gone.parquet", "work"}
        left = [one.name for one in self.folder.iterdir() if one.name not in there and "spark" not in one.name]
        if left:
            self.tally.wrong.append(f"{self.engine} {self.kind}: {left} left behind")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, by name."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}
