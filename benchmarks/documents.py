"""A token budget over many sources on both engines: what is spent, and how long it takes.

python -m benchmarks.documents [--points 1000000] [--sources 50] [--budget 10%] [--engine local spark] [--neighbors 10]

Documents have log-normal tokens (median 400, a hundredth above 4,000), sources with shares like 1/rank, and demo
embeddings. Each source gets a quota in tokens by the square root of what it has, and never more than that; together
they are the budget. Both engines select from the same Parquet and the same neighbour graph, which is made once; the
quotas are a Parquet file, too. The command that a user would type is printed, without the graph.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import subsel
from benchmarks.record import Row, parser, recording
from subsel import demo
from subsel.sizes import resolve_budget

ROWS = 100_000
COLUMNS = {
    "engine": "<6s",
    "documents": "9,",
    "tokens": "12,",
    "of budget": ".4%",
    "supersteps": "d",
    "seconds": "7.0f",
}


def write_documents(folder: Path, n: int, sources: int, budget: str) -> int:
    """Write documents and the quotas of their sources; return the budget in tokens."""
    rng = np.random.default_rng(7)
    share = 1 / np.arange(1, sources + 1)
    source = rng.choice(sources, n, p=share / share.sum())
    tokens = rng.lognormal(np.log(400), 1, n).astype(np.int64) + 1
    embedding, _ = demo.demo_points(n, 32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(embedding.astype(np.float32).ravel()), 32)
    names = pa.array([f"source-{i:02d}" for i in range(sources)])
    table = pa.table({"id": np.arange(n), "embedding": flat, "tokens": tokens, "source": names.take(pa.array(source))})
    pq.write_table(table, folder / "points.parquet", row_group_size=ROWS)
    total = resolve_budget(budget, int(tokens.sum()))
    there = np.bincount(source, tokens, sources).astype(np.int64)
    quota, left = np.zeros(sources, np.int64), total
    order = np.argsort(there / np.sqrt(there))  # who has least for its share is filled first
    for i, one in enumerate(order):
        rest = np.sqrt(there[order[i:]])
        quota[one] = min(there[one], int(left * rest[0] / rest.sum())) if i < sources - 1 else left
        left -= quota[one]
    pq.write_table(pa.table({"group": names, "quota": quota}), folder / "quotas.parquet")
    return total


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=1_000_000)
    options.add_argument("--sources", type=int, default=50)
    options.add_argument("--budget", default="10%")
    options.add_argument("--engine", nargs="+", default=["local", "spark"], choices=["local", "spark"])
    options.add_argument("--neighbors", type=int, default=10)
    arguments = options.parse_args()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        budget = write_documents(folder, arguments.points, arguments.sources, arguments.budget)
        print(
            f"subsel select points.parquet subset --budget {arguments.budget} --cost tokens --groups source "
            f"--quotas quotas.parquet --quotas-by cost --neighbors {arguments.neighbors}"
        )
        graph = subsel.neighbors(folder / "points.parquet", neighbors=arguments.neighbors, copies="keep")
        graph.graph.to_parquet(folder / "graph.parquet")
        about = f"{arguments.points:,} documents of {arguments.sources} sources, {budget:,} tokens to spend"
        with recording(arguments, about) as record:
            record(COLUMNS, rows(folder, budget, arguments))


def rows(folder: Path, budget: int, arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the row of each engine, all from the same Parquet and graph."""
    subsets = []
    for engine in arguments.engine:
        begin = time.perf_counter()
        selection = subsel.select(
            folder / "points.parquet",
            graph=folder / "graph.parquet",
            budget=arguments.budget,
            cost="tokens",
            groups="source",
            quotas=str(folder / "quotas.parquet"),
            quotas_by="cost",
            keep_columns=["tokens"],
            engine=engine,
            master="local[2]" if engine == "spark" else None,
            output=folder / engine,
        )
        seconds = time.perf_counter() - begin
        limits = selection.report.limits
        assert limits is not None
        (spent,) = (one.spent for one in limits.totals if one.name == "budget")
        groups = [group for column in limits.columns for group in column.groups]
        assert all(one.most is None or (one.cost or 0) <= one.most for one in groups)
        subset = pq.read_table(folder / engine, columns=["id", "tokens"])
        assert pc.sum(subset["tokens"]).as_py() == spent
        subsets.append(set(subset["id"].to_pylist()))
        yield engine, len(subset), spent, spent / budget, selection.report.greedy.supersteps, seconds
    assert all(one == subsets[0] for one in subsets), "the engines differ"


if __name__ == "__main__":
    main()
