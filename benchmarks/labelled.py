"""Labelled sets for `benchmarks.worth`: read from a path, brought along by a package, or generated.

A set's test points are fixed before anything else. So are its scouts, labelled points that are never selected from nor
tested on: the model whose probabilities are utilities is trained on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Scouts are this share of the points that are not test points, and this many at most.
SCOUT_SHARE, MOST_SCOUTS = 0.1, 1_000


@dataclass(frozen=True)
class Labelled:
    """A labelled set.

    Attributes:
        name: what tables call it.
        X: features, ready to train on: float32, (n, d).
        y: classes: int64, (n,).
        test: rows to test on: int64, ascending.
        scouts: rows that the model behind utilities is trained on: int64.
        rest: rows that pools are drawn from: int64.
    """

    name: str
    X: Floats
    y: Ints
    test: Ints
    scouts: Ints
    rest: Ints


def labelled(name: str, X: Floats, y: Ints, test: Bools) -> Labelled:
    """Return a set whose rows are shared out: the test's as given, the others to scouts and rest by a fixed draw."""
    others = np.random.default_rng(0).permutation(np.flatnonzero(~test))
    scouts = min(MOST_SCOUTS, round(SCOUT_SHARE * len(others)))
    return Labelled(name, X, y, np.flatnonzero(test), others[:scouts], others[scouts:])


def standardised(X: Floats, train: Bools) -> Floats:
    """Return features of mean 0 and deviation 1 over the rows of ``train``; constant ones are only centred."""
    deviation = X[train].std(axis=0)
    return np.asarray((X - X[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1), np.float32)


def read_set(path: Path) -> Labelled:
    """Read embeddings from a .npz file: x floats (n, d), y integers (n,), test bool (n,); rows get length 1."""
    with np.load(path) as file:
        X, y, test = file["x"].astype(np.float32), file["y"].astype(np.int64), file["test"].astype(bool)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return labelled(path.stem, X / np.where(length > 0, length, 1), y, test)


def digits() -> Labelled:
    """Return scikit-learn's 1,797 images of digits, 8 × 8 pixels, 10 classes; every fourth is a test point."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  (only this set needs it)

    X, y = load_digits(return_X_y=True)
    test = np.arange(len(X)) % 4 == 0
    return labelled("digits", standardised(X.astype(np.float32), ~test), y.astype(np.int64), test)


def generated(n: int = 14_000, dimension: int = 24, seed: int = 0) -> Labelled:
    """Return a set that is like forest cover types: tabular, 7 classes of .5 to 49 %, each a mixture, and noisy.

    A class has five overlapping components of unequal size and spread. 5 % of all labels are drawn anew, and 2 % of all
    points lie far from everything. The last quarter are test points.
    """
    rng = np.random.default_rng(seed)
    y = rng.choice(7, n, p=[0.49, 0.36, 0.06, 0.035, 0.03, 0.02, 0.005])
    component = 5 * y + rng.choice(5, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    centres, spreads = 1.2 * rng.standard_normal((35, dimension)), rng.uniform(0.5, 1.5, (35, dimension))
    X = centres[component] + spreads[component] * rng.standard_normal((n, dimension))
    far = rng.random(n) < 0.02
    X[far] = 4 * rng.standard_normal((int(far.sum()), dimension))
    anew = rng.random(n) < 0.05
    y[anew] = rng.integers(0, 7, int(anew.sum()))
    test = np.arange(n) >= n - n // 4
    return labelled("generated", standardised(X.astype(np.float32), ~test), y.astype(np.int64), test)


#: Sets that need no file.
BUILT_IN: dict[str, Callable[[], Labelled]] = {"digits": digits, "generated": generated}
