"""spark-submit --py-files subsel.zip build_graph.py --config cluster.toml INPUT RUN_DIR: the neighbour graph only."""

from __future__ import annotations

from subsel.cli.jobs import build_graph

if __name__ == "__main__":
    build_graph()
