"""spark-submit --py-files subsel.zip select_subset.py --config cluster.toml INPUT OUTPUT [--run-dir DIR --resume]."""

from __future__ import annotations

from subsel.cli.jobs import select_subset

if __name__ == "__main__":
    select_subset()
