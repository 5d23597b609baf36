"""The same on Spark: a budget of tokens over sources, and the same subset

The texts of [the example with a budget](texts.md) in short, as Parquet, selected once on one machine and once with
`engine="spark"`. Both use one graph, so that ids, ranks and gains are equal, which the script asserts; without `graph=`
each engine would search neighbours itself. `"spark"` is the session that is active, or one of its own; on a cluster
paths are such as all executors reach. See [Spark](../spark.md).
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

import subsel

rng = np.random.default_rng(0)
n = 4_000
centers = rng.standard_normal((40, 32))
topic = rng.integers(0, 40, n)
table = pa.table(
    {
        "id": [f"doc-{row:05d}" for row in range(n)],
        "embedding": list((centers[topic] + 0.6 * rng.standard_normal((n, 32))).astype(np.float32)),
        "source": np.array(["web", "web", "news", "books"])[topic % 4],
        "quality": rng.random(n),
        "tokens": rng.poisson(np.array([60, 60, 120, 300])[topic % 4]),
    }
)

quiet = {"spark.log.level": "ERROR", "spark.ui.showConsoleProgress": "false"}
little = {"spark.sql.shuffle.partitions": "4"}
SparkSession.builder.master("local[2]").config(map=quiet | little).getOrCreate()
with tempfile.TemporaryDirectory() as folder:
    points, graph = Path(folder, "points.parquet"), Path(folder, "graph.parquet")
    pq.write_table(table, points)
    subsel.neighbors(points, neighbors=20).graph.to_parquet(graph)
    options = {
        "utility": "quality",
        "budget": "20%",
        "cost": "tokens",
        "groups": "source",
        "quotas": {"web": "40%", "news": "30%", "books": "30%"},
        "graph": graph,
    }
    here = subsel.select(points, **options)
    there = subsel.select(points, engine="spark", output=Path(folder, "subset"), **options)
    assert pq.read_table(Path(folder, "subset")).equals(here.table), "ids, ranks and gains are equal"

(budget,) = [total for total in there.report.limits.totals if total.name == "budget"]
print(f"Spark spent {budget.spent:,} of {budget.asked:,} tokens on {there.report.k:,} documents")
(groups,) = there.report.limits.columns
for group in groups.groups:
    print(f"{group.name:6s} {group.cost:7,d} of {group.most:7,d} tokens")
print("the same documents, ranks and gains as on one machine")
