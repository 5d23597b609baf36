"""Ways to choose k of n points for `benchmarks.worth`: subsel's, those of others, and chance."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

import subsel
from benchmarks.labelled import Floats, Ints


@dataclass(frozen=True)
class Pool:
    """What is selected from.

    Attributes:
        X: features: float32, (n, d).
        y: classes: int64, (n,); only `stratified` looks at them.
        p: class probabilities by a model that was trained on none of these points: float32, (n, classes).
        seed: of the draw, and of what a method draws.
    """

    X: Floats
    y: Ints
    p: Floats
    seed: int


#: From a pool and sizes to the rows of a subset of each size.
Select = Callable[[Pool, Sequence[int]], list[Ints]]


@dataclass(frozen=True)
class Contender:
    """A way to choose, with the largest share of the pool and the largest pool that it is tried on."""

    select: Select
    most_share: float = 1.0
    most_points: int = 1_000_000


def each(select: Callable[[Pool, int], Ints]) -> Select:
    """Return a way to choose that does each size on its own."""
    return lambda pool, sizes: [select(pool, size) for size in sizes]


def prefixes(ranking: Callable[[Pool, int], Ints]) -> Select:
    """Return a way to choose whose subset of any size is the beginning of one ranking."""

    def select(pool: Pool, sizes: Sequence[int]) -> list[Ints]:
        ranked = ranking(pool, max(sizes))
        return [ranked[:size] for size in sizes]

    return select


def random_draw(draw: int) -> Select:
    """Return a way to choose at random, each size anew; another ``draw`` is another choice."""
    return each(lambda pool, size: np.random.default_rng([pool.seed, draw, size]).permutation(len(pool.X))[:size])


def ours(**options: Any) -> Select:
    """Return a call of `subsel.select`; where ``probabilities`` is "p", the pool comes with them, as a table."""

    def select(pool: Pool, size: int) -> Ints:
        data = table(pool) if options.get("probabilities") == "p" else pool.X
        return np.asarray(subsel.select(data, size=size, progress=False, **options).ids, np.int64)

    return each(select)


def table(pool: Pool) -> pa.Table:
    """Return a pool as a user would bring it: `id` (the row), `embedding` and `p`."""

    def lists(values: Floats) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])

    return pa.table({"id": np.arange(len(pool.X)), "embedding": lists(pool.X), "p": lists(pool.p)})


def stratified(pool: Pool, size: int) -> Ints:
    """Choose at random from each class, by its share of the pool; what is left over goes by largest remainder."""
    _, y, counts = np.unique(pool.y, return_inverse=True, return_counts=True)
    wanted = counts * size / len(pool.y)
    quota = np.floor(wanted).astype(np.int64)
    quota[np.argsort(quota - wanted, kind="stable")[: size - quota.sum()]] += 1
    order = np.random.default_rng([pool.seed, 99, size]).permutation(len(y))
    return np.concatenate([order[y[order] == c][:q] for c, q in enumerate(quota)])


def farthest(pool: Pool, size: int) -> Ints:
    """k-center: begin anywhere, then take the point that is farthest from all that are taken, by Euclidean distance."""
    ranked = np.empty(size, np.int64)
    ranked[0] = np.random.default_rng([pool.seed, 98]).integers(len(pool.X))
    nearest = np.full(len(pool.X), np.inf)
    for i in range(1, size):
        nearest = np.minimum(nearest, ((pool.X - pool.X[ranked[i - 1]]) ** 2).sum(axis=1))
        nearest[ranked[:i]] = -1  # copies of what is taken are at 0
        ranked[i] = nearest.argmax()
    return ranked


def medoids(pool: Pool, size: int) -> Ints:
    """Choose the point that is nearest to each centre of k-means, of those that no earlier centre took."""
    with threadpool_limits(1):  # many small products: threads wait for each other
        means = KMeans(size, n_init=1, max_iter=20, random_state=pool.seed).fit(pool.X).cluster_centers_
    distance = (means**2).sum(axis=1)[:, None] + (pool.X**2).sum(axis=1) - 2 * means @ pool.X.T
    chosen = np.empty(size, np.int64)
    for i, row in enumerate(distance):
        chosen[i] = row.argmin()
        distance[:, chosen[i]] = np.inf
    return chosen


def facility_location(pool: Pool, size: int) -> Ints:
    """Maximise Σ_v max_{s∈S} max(0, cos(v, s)) over all pairs, by lazy greedy; of equal gains the first row wins."""
    X = pool.X / np.maximum(np.linalg.norm(pool.X, axis=1, keepdims=True), 1e-12)
    similarity = np.maximum(X @ X.T, 0)
    cover = np.zeros(len(X), np.float32)
    heap = [(-float(gain), row) for row, gain in enumerate(similarity.sum(axis=1))]
    heapq.heapify(heap)
    ranked: list[int] = []
    while len(ranked) < size:
        _, row = heapq.heappop(heap)
        # a gain of earlier on is an upper bound: gains only fall
        fresh = (-float(np.maximum(similarity[row] - cover, 0).sum()), row)
        if heap and fresh > heap[0]:
            heapq.heappush(heap, fresh)
            continue
        ranked.append(row)
        np.maximum(cover, similarity[row], out=cover)
    return np.array(ranked)


#: `old` are the defaults of subsel until density and diversity came. Easy points are for small subsets only.
CONTENDERS: dict[str, Contender] = {
    "random again": Contender(random_draw(1_000)),
    "stratified": Contender(each(stratified)),
    "old margin": Contender(ours(utility="margin", probabilities="p", alpha=0.9, neighbors=10, copies="keep")),
    "old constant": Contender(ours(utility="constant", alpha=0.9, neighbors=10, copies="keep")),
    "k-center": Contender(prefixes(farthest)),
    "k-means medoids": Contender(each(medoids)),
    "facility location": Contender(prefixes(facility_location), most_points=5_000),
    "default": Contender(ours()),
    "coverage": Contender(ours(objective="coverage")),
    "coverage 200": Contender(ours(objective="coverage", neighbors=200)),
    "coverage 400": Contender(ours(objective="coverage", neighbors=400)),
    "coverage+utility": Contender(ours(objective="coverage", utility_weight=1.0)),
    "thin=20": Contender(ours(thin=20)),
    "exclude_outliers": Contender(ours(exclude_outliers=0.05)),
    "easy": Contender(ours(utility="easy", probabilities="p"), most_share=0.03),
    "density+easy": Contender(ours(utility="density+easy", probabilities="p")),
}
