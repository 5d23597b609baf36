"""spark-submit --py-files subsel.zip greedy_subset.py --config cluster.toml INPUT RUN_DIR OUTPUT: what is left."""

from __future__ import annotations

from subsel.cli.jobs import greedy_subset

if __name__ == "__main__":
    greedy_subset()
