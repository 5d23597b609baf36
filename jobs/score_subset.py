"""spark-submit --py-files subsel.zip score_subset.py SUBSET INPUT [--graph EDGES | --run-dir DIR]: the objective."""

from __future__ import annotations

from subsel.cli.jobs import score_subset

if __name__ == "__main__":
    score_subset()
