"""What `max_similarity` costs and leaves where many points are near copies, beside the same run without it.

python -m benchmarks.near_copies [--points 1000000] [--dimension 64] [--copies 30%] [--noise 0.1] [--size 10%]
    [--limit 0.95] [--most-compared N]

So many of the points are others of them with a little noise: of each component, as a share of its spread. The pairs
above the limit between 2,000 members and all members are counted by comparing these, in either run. Points are
`sentences` of `benchmarks.peers_graph`, in memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

import subsel
from benchmarks.common import seconds, sentences
from benchmarks.record import Row, parser, recording
from subsel.embeddings import alike
from subsel.sizes import count_of, parse_size

#: Members that are compared with all.
SAMPLE = 2_000
COLUMNS = {
    "max_similarity": "<14s",
    "selected": "9,",
    "compared": "9,",
    "how": "<6s",
    "left": "8,",
    "pairs": "6,",
    "refine s": "9.1f",
    "all s": "8.1f",
}


def near_copies(n: int, dimension: int, copies: float, noise: float, seed: int = 0) -> np.ndarray:
    """Return points of which a share are others with noise: float32, (n, d), of length 1, in random order."""
    rng = np.random.default_rng(seed)
    count = round(copies * n)
    points = sentences(n - count, dimension).astype(np.float32)
    # Few have many: as copies do, whose numbers follow a power law.
    of = np.minimum(rng.pareto(1.0, count) * len(points) / 1000, len(points) - 1).astype(np.int64)
    near = points[of] + noise * points.std(axis=0) * rng.standard_normal((count, dimension), np.float32)
    points = np.concatenate([points, near])[rng.permutation(n)]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def pairs_above(points: np.ndarray, members: np.ndarray, limit: float) -> int:
    """Count the pairs above a limit between a sample of members and all, each once, by comparing them."""
    rows = points[np.random.default_rng(1).permutation(members)]
    sample = rows[:SAMPLE]
    found = 0
    for begin in range(0, len(rows), 10_000):
        near = sample @ rows[begin : begin + 10_000].T > limit
        found += int(np.triu(near, 1 - begin).sum()) if begin < SAMPLE else int(near.sum())
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=1_000_000)
    options.add_argument("--dimension", type=int, default=64)
    options.add_argument("--copies", default="30%")
    options.add_argument("--noise", type=float, default=0.1)
    options.add_argument("--size", default="10%")
    options.add_argument("--limit", type=float, default=0.95)
    options.add_argument("--most-compared", type=int, help="members up to which all pairs are compared")
    arguments = options.parse_args()
    if arguments.most_compared is not None:
        alike.MOST_COMPARED = arguments.most_compared
    n, d = arguments.points, arguments.dimension
    copies = count_of(parse_size(arguments.copies), n) / n
    points = near_copies(n, d, copies, arguments.noise)
    subsel.select(points[:2000], size=200, max_similarity=arguments.limit, progress=False)  # compilers
    about = f"{n:,} points x {d}, {copies:.0%} near copies, {arguments.size} selected, limit {arguments.limit:g}"
    with recording(arguments, about) as record:
        record(COLUMNS, rows(points, arguments))


def rows(points: np.ndarray, arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield the row of each run, without the limit and with it."""
    for limit in (None, arguments.limit):
        found: list[subsel.Selection] = []
        asked = {} if limit is None else {"max_similarity": limit}
        time = seconds(lambda: found.append(subsel.select(points, size=arguments.size, progress=False, **asked)))  # noqa: B023
        report = found[0].report
        told = None if report.limits is None else report.limits.alike
        pairs = pairs_above(points, found[0].ids, arguments.limit)
        how = None if told is None else "all" if told.exact else "search"
        compared, left = (None, None) if told is None else (told.compared, told.left)
        name = "off" if limit is None else f"{limit:g}"
        yield name, report.k, compared, how, left, pairs, report.seconds["refine"], time


if __name__ == "__main__":
    main()
