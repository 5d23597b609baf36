"""spark-submit --py-files subsel.zip bound_points.py --config cluster.toml INPUT RUN_DIR: up to bounding."""

from __future__ import annotations

from subsel.cli.jobs import bound_points

if __name__ == "__main__":
    bound_points()
