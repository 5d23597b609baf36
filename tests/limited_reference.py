"""The rule of limits, so plainly that it can be checked by reading; and its problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from subsel.graph import PartGraph
from subsel.limits.capacity import Capacity, GroupLimit
from subsel.sizes import UNLIMITED
from tests.strategies import problems

_FREE = 2**62


def rank_of(key: int, cost: int, unit: int) -> int:
    """Gain per cost; what costs nothing first, or last where it gains nothing."""
    if cost == 0:
        return key + _FREE if key >= 0 else key - _FREE
    return key // (cost // unit)


class Pairwise:
    """Gains of f(S) = α Σ u - β Σ s, in Python integers."""

    def __init__(self, part: PartGraph) -> None:
        self.part = part
        self.key = [int(x) for x in part.fixed_point.keys(part.utility, part.code)]

    def join(self, v: int) -> None:
        """Make a point a member."""
        part = self.part
        for e in range(part.indptr[v], part.indptr[v + 1]):
            self.key[int(part.indices[e])] -= int(part.weight[e]) << part.fixed_point.tie_bits


class Coverage:
    """Gains of f(S) = Σ importance max sim(v, S) + λ Σ u, in Python integers: all counted anew for each member."""

    def __init__(self, part: PartGraph) -> None:
        scale, n = part.fixed_point, part.n_own
        importance = np.ones(n) if part.importance is None else part.importance
        itself = np.ones(n) if part.itself is None else part.itself
        self.bits, self.base = scale.tie_bits, [int(x) for x in scale.keys(part.utility, part.code)]
        self.gives = [{v: int(scale.weights(importance[v : v + 1] * itself[v : v + 1])[0])} for v in range(n)]
        for v in range(n):
            for e in range(part.indptr[v], part.indptr[v + 1]):
                j = int(part.indices[e])
                self.gives[v][j] = int(scale.weights(part.similarity[e : e + 1] * importance[j])[0])
        self.cover = [0] * n
        self._count()

    def _count(self) -> None:
        gains = [sum(max(0, give - self.cover[v]) for v, give in given.items()) for given in self.gives]
        self.key = [base + (gain << self.bits) for base, gain in zip(self.base, gains, strict=True)]

    def join(self, v: int) -> None:
        """Make a point a member."""
        for j, give in self.gives[v].items():
            self.cover[j] = max(self.cover[j], give)
        self._count()


def plain_limited(
    part: PartGraph, capacity: Capacity, taken=(), candidates=None, gains=Pairwise
) -> list[tuple[int, int]]:
    """[(point, key at picking)] in the order of picking, in Python integers: O(n²)."""
    value = gains(part)
    code = [int(x) for x in part.code]
    cost = [1] * part.n_own if part.cost is None else [int(c) for c in part.cost]
    group = [] if part.group is None else part.group.tolist()
    near = {v: [] for v in range(part.n_own)}
    for v in range(part.n_own):
        for e in range(part.indptr[v], part.indptr[v + 1]):
            if capacity.max_similarity is not None and part.similarity[e] > capacity.max_similarity:
                near[v].append(int(part.indices[e]))
    left = set(range(part.n_own) if candidates is None else candidates) - set(taken)
    members: list[int] = []

    def takes(v: int, column: int) -> int:
        return cost[v] if capacity.groups[column].by_cost else 1

    def fits(v: int) -> bool:
        if not capacity.fill and value.key[v] < 0:
            return False
        if capacity.size is not None and len(members) >= capacity.size:
            return False
        if capacity.budget is not None and cost[v] > max(0, capacity.budget - sum(cost[m] for m in members)):
            return False
        for c, one in enumerate(capacity.groups):
            inside = [m for m in members if group[c][m] == group[c][v]]
            room = max(0, int(one.most[group[c][v]]) - sum(takes(m, c) for m in inside))
            if takes(v, c) > room:
                return False
        if len(capacity.least):
            least = capacity.least.tolist()
            count = [sum(group[0][m] == g for m in members) for g in range(len(least))]
            free = capacity.size - sum(least) - sum(max(0, c - m) for c, m in zip(count, least, strict=True))
            if count[group[0][v]] >= least[group[0][v]] and free <= 0:
                return False
        return True

    def join(v: int) -> None:
        members.append(v)
        value.join(v)
        left.difference_update(near[v])

    for v in taken:
        join(v)
    picks = []
    while left:
        key = value.key
        ranks = {v: rank_of(key[v], cost[v], capacity.unit) if capacity.per_cost else key[v] for v in left}
        v = max(left, key=lambda i: (ranks[i], code[i]))
        left.remove(v)
        if fits(v):
            picks.append((v, value.key[v]))
            join(v)
    return picks


@dataclass
class Limited:
    """A problem under limits."""

    n: int
    edges: dict
    utility: list
    alpha: float
    beta: float
    cost: np.ndarray | None
    group: np.ndarray | None
    capacity: Capacity


@st.composite
def limited_problems(draw, max_n=12, minima=True, kinds=None):
    """Problems with any limits, alone and together; or with those of ``kinds``."""
    n, edges, utility, alpha, beta, k = draw(problems(max_n))
    levels = draw(st.sampled_from([[0, 1], [1, 2, 3], [0, 1, 5, 2**20], [7], [6, 4, 10], [1, 1, 2, 40, 90, 100]]))
    cost = np.array(draw(st.lists(st.sampled_from(levels), min_size=n, max_size=n)), np.int64)
    total = int(cost.sum())
    if kinds is None:
        kinds = draw(st.sets(st.sampled_from(["size", "budget", "quotas", "two", "minima", "similar"]), min_size=1))
    budget = draw(st.integers(0, total + 1)) if "budget" in kinds and "minima" not in kinds else None
    size = k if kinds & {"size", "minima"} or not kinds & {"budget"} else None
    groups, group = [], None
    columns = 2 if "two" in kinds and "minima" not in kinds else 1 if kinds & {"quotas", "minima"} else 0
    if columns:
        counts = [draw(st.sampled_from([1, 2, 3, n])) for _ in range(columns)]
        group = np.array([draw(st.lists(st.integers(0, g - 1), min_size=n, max_size=n)) for g in counts], np.int32)
        for c, count in enumerate(counts):
            by_cost = draw(st.booleans()) and "minima" not in kinds
            top = total if by_cost else n
            most = [draw(st.integers(0, max(top // 2, 1)) | st.just(UNLIMITED)) for _ in range(count)]
            least = None
            if "minima" in kinds and minima:
                least, left = [], size
                for g in range(count):
                    there = int((group[0] == g).sum())
                    least.append(draw(st.integers(0, min(left, most[g], there))))
                    left -= least[-1]
                least = np.array(least, np.int64)
            groups.append(GroupLimit(f"g{c}", np.array(most, np.int64), by_cost, least))
    needs = budget is not None or any(one.by_cost for one in groups)
    unit = int(np.gcd.reduce(cost)) or 1
    similar = draw(st.sampled_from([0.0, 0.4, 0.5, 0.9])) if "similar" in kinds else None
    capacity = Capacity(
        size,
        budget,
        per_cost=needs and draw(st.booleans()),
        unit=unit,
        fill=draw(st.booleans()),
        groups=tuple(groups),
        max_similarity=similar,
    )
    return Limited(n, edges, utility, alpha, beta, cost if needs else None, group, capacity)


def random_limited(seed: int) -> tuple[Limited, np.ndarray, list[int], dict]:
    """A problem, the part of each of its points, who is included, and how an engine is to run it: by a seed."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 13))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n) if rng.random() < rng.choice([0.1, 0.3, 0.6])]
    edges = {pair: float(rng.choice([0.1, 0.5, 1.0, 1.5])) for pair in pairs}
    utility = (rng.integers(0, 9, n) / 8).tolist()
    asked = {kind for kind in ("size", "budget", "groups", "similar") if rng.random() < 0.55}
    minima = "groups" in asked and rng.random() < 0.2
    cost = rng.choice([0, 1, 2, 4, 6, 10], n).astype(np.int64)
    budget = int(rng.integers(1, max(int(cost.sum()), 2))) if "budget" in asked and not minima else None
    size = int(rng.integers(1, n)) if "size" in asked or minima or budget is None else None
    columns = (1 if minima else int(rng.integers(1, 3))) if "groups" in asked else 0
    group = rng.integers(0, 3, (columns, n)).astype(np.int32) if columns else None
    groups = []
    for column in range(columns):
        by_cost = not minima and rng.random() < 0.4
        most = np.where(rng.random(3) < 0.2, UNLIMITED, rng.integers(0, 12 if by_cost else 4, 3))
        there = np.bincount(group[column], minlength=3)
        least = np.minimum(np.minimum(rng.integers(0, 2, 3), most), there) if minima else None
        if least is not None and least.sum() > size:
            least[:] = 0
        groups.append(GroupLimit(f"g{column}", most, by_cost, least))
    needs = budget is not None or any(one.by_cost for one in groups)
    capacity = Capacity(
        size,
        budget,
        per_cost=bool(needs and rng.random() < 0.5),
        unit=int(np.gcd.reduce(cost)) or 1,
        fill=bool(rng.random() < 0.6),
        groups=tuple(groups),
        max_similarity=float(rng.choice([0.4, 0.9])) if "similar" in asked else None,
    )
    alpha = float(rng.choice([0.3, 0.7]))
    problem = Limited(n, edges, utility, alpha, 1 - alpha, cost if needs else None, group, capacity)
    where = rng.integers(0, rng.integers(1, 5), n)
    taken = [] if minima or rng.random() < 0.6 else rng.permutation(n)[: rng.integers(1, 3)].tolist()
    if size is not None and len(taken) > size:
        taken = []
    how = {"finish_points": int(rng.choice([0, 0, 3, 6])), "compact": bool(rng.random() < 0.3) and not taken}
    return problem, where, taken, how
