"""What another kind of bound would certify: spectral, beside that of edges and cliques (docs/certificate.md).

python -m benchmarks.spectral_bound [--points 20000] [--iterations 200] [--shares 0.1 0.5 0.8]

For x in {0, 1}, x² = x, so with any diagonal D the objective a'x - x'Wx/2 is (a + D/2)'x - x'(W + D)x/2. Where W + D
has no negative eigenvalue that is concave, and at any point z its gradient bounds it over all k-subsets: the value at z
and what the k largest gradients have more than z. Here D is a multiple of the weighted degrees to some power, the best
of three, with the least eigenvalue as scipy estimates it; z comes from projected gradient steps. **Not a proof**: an
estimate of the least eigenvalue is on the wrong side, which is why the package has no such bound. It shows what one
would be worth. Graphs and subsets are those of benchmarks/beyond_greedy.py, `cliques` its certified share after 100
iterations; `--iterations` are the steps of the spectral bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import eigsh

from benchmarks.beyond_greedy import certified, problems
from benchmarks.paper_tables import selected
from benchmarks.record import Row, parser, recording
from subsel.greedy.refine import refine
from subsel.greedy.reverse import directed_greedy, resolve_direction

#: Powers of the weighted degrees.
POWERS = (0.5, 0.75, 1.0)


def onto_subsets(values: np.ndarray, k: int) -> np.ndarray:
    """Return the nearest point of {0 <= x <= 1, Σ x = k}."""
    low, high = values.min() - 1, values.max()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(values - middle, 0, 1).sum() > k else (low, middle)
    return np.clip(values - high, 0, 1)


def spectral_bound(a: np.ndarray, W: sp.csr_matrix, D: np.ndarray, k: int, iterations: int) -> float:
    """Return the least bound met while climbing to the maximum of the concave function."""
    n, c = len(a), a + D / 2
    pace = 1 / float((np.asarray(W.sum(axis=1)).ravel() + D).max())
    x = y = np.full(n, k / n)
    best, speed = np.inf, 1.0
    for _ in range(iterations):
        product = W @ y + D * y
        gradient = c - product
        largest = np.partition(gradient, n - k)[n - k :].sum()
        best = min(best, float(c @ y - y @ product / 2 + largest - gradient @ y))
        step = onto_subsets(y + pace * gradient, k)
        faster = (1 + np.sqrt(1 + 4 * speed * speed)) / 2
        y = step + (speed - 1) / faster * (step - x)  # Nesterov
        x, speed = step, faster
    return best


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=20_000)
    options.add_argument("--iterations", type=int, default=200)
    options.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.5, 0.8])
    arguments = options.parse_args()
    about = f"{arguments.points:,} points; certified share by cliques, by a spectral bound whose eigenvalue were proved"
    with recording(arguments, about) as record:
        record(
            {"graph": "<8s", "alpha": "5.1f", "share": "5.0%", "cliques": "7.3f", "spectral": "8.3f"}, rows(arguments)
        )


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Yield a row per graph, alpha and share."""
    n = arguments.points
    for kind in ("mixture", "clusters", "ring"):
        for problem, stages in problems(kind, n):
            part, scale = problem.part, problem.part.fixed_point
            unit = 2.0**-scale.fraction_bits
            W = sp.csr_matrix((part.weight * unit, part.indices, part.indptr), shape=(n, n))
            a = (scale.keys(part.utility, part.code) >> scale.tie_bits) * unit
            degrees = np.maximum(np.asarray(W.sum(axis=1)).ravel(), 1e-9)
            diagonals = []
            for power in POWERS:
                root = sp.diags(degrees ** (-power / 2))
                (least,), _ = eigsh(root @ W @ root, 1, which="SA", tol=1e-3, v0=np.ones(n))
                diagonals.append(-1.001 * least * degrees**power)
            for share in arguments.shares:
                k = round(share * n)
                engine = problem.engine()
                directed_greedy(engine, k, resolve_direction("auto", k, n))
                refine(engine, 8)
                score, random = problem.score(selected(engine)), stages.expected_random(k)
                by_cliques = certified(problem, engine, 100, score, random)
                upper = min(spectral_bound(a, W, D, k, arguments.iterations) for D in diagonals)
                spectral = (score - random) / (upper - random)
                yield kind, scale.alpha, share, by_cliques, spectral


if __name__ == "__main__":
    main()
