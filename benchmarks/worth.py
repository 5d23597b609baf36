"""Is a model that is trained on the subset better than one trained on a random subset of the same size?

python -m benchmarks.worth [--set labelled.npz …] [--seeds 5] [--per-set]          (pip install -e '.[bench]')

Per set: test points and scouts are fixed first (`benchmarks.labelled`); per seed a pool is drawn from the rest, at most
80 % of it so that pools differ (they overlap, so errors are somewhat too small where sets are small); every method
chooses from it (`benchmarks.contenders`), and logistic regression is trained on what it chose. C is chosen per set and
budget on random draws of their own, scored on points that are neither drawn nor test points. All methods use the same
C, which is thus the best for random subsets. `old margin`, `easy` and `density+easy` get probabilities by a model that
was trained on the scouts, which a random subset does not have; `stratified` knows the labels; no other method knows
one. They have no rows where a set is too large or a budget too high for them (`most_points`, `most_share`).

Points are percent of the test set (accuracy) or 100 × macro-F1, above the mean of three random subsets of the same
pool and size. A method's ± is the standard error over seeds, sets being what they are: it says how well the mean of
these sets is known, not what another set would give. Worst is the set of the lowest mean. Better-worse counts the sets
where |mean over seeds| > 2 standard errors, two-sided, paired by seed. With five seeds this is p < .12 by Student's t:
one set in nine passes by chance. `random again`, a fourth random subset, shows it. Seconds are of choosing, all
budgets of a pool together.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from threadpoolctl import threadpool_limits

from benchmarks.contenders import CONTENDERS, Contender, Pool, random_draw
from benchmarks.labelled import BUILT_IN, Floats, Ints, Labelled, read_set
from benchmarks.record import Recorder, Row, parser, recording

REFERENCE, REFERENCE_DRAWS = "random", 3
#: A pool is at most this share of what it is drawn from: most methods choose one subset of one pool, whatever the seed.
MOST_OF_REST = 0.8
CANDIDATES_C = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


@dataclass(frozen=True)
class Result:
    """One model: what it was trained on, and its scores in percent; ``seconds`` of choosing, all budgets together."""

    set: str
    seed: int
    budget: float
    method: str
    draw: int
    size: int
    accuracy: float
    macro_f1: float
    seconds: float


@dataclass(frozen=True)
class Gain:
    """What a method gains over random: the mean over seeds in points, and its standard error (nan for one seed)."""

    mean: float
    error: float

    @property
    def verdict(self) -> int:
        """1 or -1 where the mean is more than 2 standard errors above or below 0, else 0."""
        return int(np.sign(self.mean)) if abs(self.mean) > 2 * self.error else 0


def train(X: Floats, y: Ints, C: float) -> LogisticRegression | None:
    """Return logistic regression on these points; None where they are of one class."""
    if len(np.unique(y)) < 2:
        return None
    with threadpool_limits(1), warnings.catch_warnings():  # more threads are slower on products of this size
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return LogisticRegression(C=C, max_iter=1000, tol=1e-4).fit(X, y)


def score(data: Labelled, rows: Ints, C: float, on: Ints) -> tuple[float, float]:
    """Train on rows, and return accuracy and macro-F1 (over the classes of ``on``) in percent on the rows ``on``."""
    model, truth = train(data.X[rows], data.y[rows], C), data.y[on]
    found = np.full(len(on), data.y[rows[0]]) if model is None else model.predict(data.X[on])
    f1 = f1_score(truth, found, labels=np.unique(truth), average="macro", zero_division=0)
    return 100 * float((found == truth).mean()), 100 * float(f1)


def best_c(data: Labelled, size: int, draws: int = 3) -> float:
    """Return the C of the best mean accuracy of random subsets of a size, on up to 2,000 points that were not drawn."""
    total = dict.fromkeys(CANDIDATES_C, 0.0)
    for draw in range(draws):
        order = np.random.default_rng([7, draw, size]).permutation(data.rest)
        for C in CANDIDATES_C:
            total[C] += score(data, order[:size], C, order[size : size + 2_000])[0]
    return max(CANDIDATES_C, key=lambda C: total[C])  # of equal ones the first: the strongest regularisation


def probabilities(data: Labelled, rows: Ints) -> Floats:
    """Return class probabilities of rows by a model of the scouts: float32, (rows, classes that scouts have)."""
    # a C for scouts from scouts: half of them trains, the other half scores
    half = len(data.scouts) // 2
    C = max(CANDIDATES_C, key=lambda C: score(data, data.scouts[:half], C, data.scouts[half:])[0])
    model = train(data.X[data.scouts], data.y[data.scouts], C)
    assert model is not None, f"{data.name}: scouts are of one class"
    return np.asarray(model.predict_proba(data.X[rows]), np.float32)


def draw_pool(data: Labelled, seed: int, n: int) -> tuple[Ints, Pool]:
    """Return the rows of a seed's pool of n points, ascending, and the pool."""
    rows = np.sort(np.random.default_rng([1, seed]).permutation(data.rest)[:n])
    return rows, Pool(data.X[rows], data.y[rows], probabilities(data, rows), seed)


def sizes_of(budgets: Sequence[float], n: int) -> list[int]:
    """Return how many points each budget is."""
    return [max(1, round(budget * n)) for budget in budgets]


def measure(
    data: Labelled, methods: dict[str, Contender], budgets: Sequence[float], seeds: int, points: int
) -> Iterator[Result]:
    """Yield a result per seed, method and budget, those of the reference first."""
    n = min(points, int(MOST_OF_REST * len(data.rest)))
    C = {budget: best_c(data, size) for budget, size in zip(budgets, sizes_of(budgets, n), strict=True)}
    print(f"{data.name}: C " + ", ".join(f"{C[b]:g} at {b:g}" for b in budgets), file=sys.stderr)
    references = [(REFERENCE, draw, Contender(random_draw(draw))) for draw in range(REFERENCE_DRAWS)]
    for seed in range(seeds):
        rows, pool = draw_pool(data, seed, n)
        for name, draw, method in references + [(name, 0, method) for name, method in methods.items()]:
            asked = [budget for budget in budgets if budget <= method.most_share]
            if n > method.most_points or not asked:
                continue
            begin = time.perf_counter()
            chosen = method.select(pool, sizes_of(asked, n))
            took = time.perf_counter() - begin
            for budget, subset in zip(asked, chosen, strict=True):
                size = sizes_of([budget], n)[0]
                assert len(np.unique(subset)) == size, f"{name} chose {len(np.unique(subset))} points, not {size}"
                scores = score(data, rows[subset], C[budget], data.test)
                yield Result(data.name, seed, budget, name, draw, size, *scores, took)


def by_seed(results: Sequence[Result], metric: str, of: str, budget: float, method: str) -> npt.NDArray[np.float64]:
    """Return a metric per seed, draws averaged: float64, (seeds,); empty where there is no result."""
    some = [r for r in results if (r.set, r.budget, r.method) == (of, budget, method)]
    return np.array(
        [np.mean([getattr(r, metric) for r in some if r.seed == s]) for s in sorted({r.seed for r in some})]
    )


def gain(results: Sequence[Result], metric: str, of: str, budget: float, method: str) -> Gain | None:
    """Return what a method gains on a set, paired by seed; None where it was not tried."""
    found = by_seed(results, metric, of, budget, method)
    if not len(found):
        return None
    above = found - by_seed(results, metric, of, budget, REFERENCE)
    error = float(above.std(ddof=1)) / math.sqrt(len(above)) if len(above) > 1 else math.nan
    return Gain(float(above.mean()), error)


def summary(gains: Sequence[Gain]) -> str:
    """Return a cell of the table over sets: mean ± its error [worst set] better-worse."""
    if not gains:
        return "-"
    error = math.sqrt(sum(g.error**2 for g in gains)) / len(gains)
    verdicts = [g.verdict for g in gains]
    return (
        f"{np.mean([g.mean for g in gains]):+.1f} ±{error:.1f} [{min(g.mean for g in gains):+.1f}] "
        f"{verdicts.count(1)}-{verdicts.count(-1)}"
    )


def one_set(gains: Sequence[Gain]) -> str:
    """Return a cell of the table of one set: mean ± its error, with a star where it is significant."""
    return "".join(f"{g.mean:+.1f} ±{g.error:.1f}{'*' if g.verdict else ' '}" for g in gains) or "-"


def cells(
    results: Sequence[Result], metric: str, sets: Sequence[str], cell: Callable[[Sequence[Gain]], str]
) -> Iterator[Row]:
    """Yield a method and a cell per budget for some sets together, random's own value first."""
    budgets = sorted({r.budget for r in results})
    random = [np.mean([by_seed(results, metric, of, b, REFERENCE).mean() for of in sets]) for b in budgets]
    yield f"{REFERENCE}, value", *(f"{value:.1f}" for value in random)
    for method in [name for name in dict.fromkeys(r.method for r in results) if name != REFERENCE]:
        found = [[gain(results, metric, of, budget, method) for of in sets] for budget in budgets]
        yield method, *(cell([g for g in some if g is not None]) for some in found)


def record_seconds(record: Recorder, results: Sequence[Result]) -> None:
    """Record how long each method takes to choose."""
    rows = []
    for method in dict.fromkeys(r.method for r in results):
        pools = {(r.set, r.seed, r.draw): r.seconds for r in results if r.method == method}
        rows.append((method, np.mean(list(pools.values()))))
    record(
        {"method": "<18s", "seconds": "8.2f"}, rows, title="seconds to choose, all budgets of a pool, mean over pools"
    )


def record_results(record: Recorder, results: Sequence[Result], *, per_set: bool) -> None:
    """Record all tables."""
    sets = list(dict.fromkeys(r.set for r in results))
    columns = {"method": "<18s"} | {f"{100 * budget:g} %": ">24s" for budget in sorted({r.budget for r in results})}
    for metric, words in METRICS.items():
        title = f"{words}: points above random, mean of {len(sets)} sets ± [worst set] sets better-worse"
        record(columns, cells(results, metric, sets, summary), title=title)
        if per_set:
            each = ((of, *row) for of in sets for row in cells(results, metric, [of], one_set))
            record({"set": "<12s"} | columns, each, title=f"by set, {words}: points above random, * significant")
    record_seconds(record, results)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--set", type=Path, action="append", default=[], help=".npz of x, y, test; may be repeated")
    options.add_argument("--built-in", nargs="*", default=list(BUILT_IN), choices=list(BUILT_IN))
    options.add_argument("--methods", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    options.add_argument("--budgets", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3])
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--pool", type=int, default=5_000, help="points to select from")
    options.add_argument("--per-set", action="store_true")
    options.add_argument("--json", type=Path, help="where to write all scores")
    arguments = options.parse_args()
    if not all(0 < budget < 1 for budget in arguments.budgets):
        options.error("--budgets are shares of the pool, above 0 and below 1")
    sets = [read_set(path) for path in arguments.set] + [BUILT_IN[name]() for name in arguments.built_in]
    versions = ", ".join(f"{name} {version(name)}" for name in ("subsel", "scikit-learn", "numpy"))
    for data in sets:
        parts = f"{len(data.rest):,} to draw pools from, {len(data.scouts):,} scouts, {len(data.test):,} test points"
        print(f"{data.name}: {data.X.shape[1]} features, {len(np.unique(data.y))} classes; {parts}")
    methods = {name: CONTENDERS[name] for name in arguments.methods}
    about = f"{versions}; {arguments.seeds} seeds, pools of {arguments.pool:,} at most"
    with recording(arguments, about) as record:
        results = [
            r for data in sets for r in measure(data, methods, arguments.budgets, arguments.seeds, arguments.pool)
        ]
        record_results(record, results, per_set=arguments.per_set)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"about": about, "results": [asdict(r) for r in results]}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
