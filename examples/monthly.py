"""A subset that grows month by month

Each month brings new points. A tenth of all points so far is wanted, and what was chosen stays, since it is labelled or
trained on already: `include=` takes last month's subset. What is added is best beside that, from all months; the topic
that begins in March is taken up. On the command line it is `--include last-month/`.
"""

import numpy as np
import pyarrow as pa

import subsel

MONTHS, PER_MONTH, DIMENSION = ("January", "February", "March", "April"), 2_000, 32

rng = np.random.default_rng(0)
centers = rng.standard_normal((21, DIMENSION))
subset, everything = None, None
print("month      points  subset   kept  added  of the month  of the new topic")
for month, name in enumerate(MONTHS):
    # topics 0 to 19 are there from the beginning; topic 20 begins in March, with a tenth of what comes
    topic = rng.integers(0, 20, PER_MONTH)
    if month >= 2:
        topic[: PER_MONTH // 10] = 20
    points = (centers[topic] + 0.7 * rng.standard_normal((PER_MONTH, DIMENSION))).astype(np.float32)
    ids = np.arange(PER_MONTH) + month * PER_MONTH
    new = pa.table({"id": ids, "embedding": list(points), "topic": topic})
    everything = new if everything is None else pa.concat_tables([everything, new])

    last = None if subset is None else subset.ids
    subset = subsel.select(everything, size="10%", include=last, keep_columns="topic")

    kept = 0 if last is None else len(np.intersect1d(subset.ids, last))
    assert last is None or kept == len(last), "what was chosen stays"
    added = subset.table if last is None else subset.table.filter(~np.isin(subset.ids, last))
    of_month = np.isin(added["id"], ids).sum()
    of_topic = (np.asarray(subset.table["topic"]) == 20).sum()
    numbers = f"{len(everything):7,d} {len(subset):7,d} {kept:6,d} {len(added):6,d} {of_month:13,d} {of_topic:17,d}"
    print(f"{name:9s} {numbers}")

anew = subsel.select(everything, size="10%")
f, best = subset.report.objective.total, anew.report.objective.total
print(f"f of the subset that grew is {f / best:.1%} of that of one selected anew from all months")
