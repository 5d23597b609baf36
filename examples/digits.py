"""Digits with labels: is the subset worth more than a random one?

A classifier is trained on a subset of the training set and tested on the rest, for several sizes, beside random subsets
of the same sizes. The labels are for this test only: points are selected by their pixels, as points that nobody has
labelled yet. What was measured on other data, and where a subset is no better: [choosing](../choosing.md).

Each size is a selection of its own. `select_sizes` would take one graph for all, which the smallest size rules; for
sizes so far apart that is worse for the large ones.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import subsel

SIZES = ("2%", "5%", "10%", "30%")
SEEDS = range(3)

pixels, labels = load_digits(return_X_y=True)
pixels = (pixels / 16).astype(np.float32)


def accuracy(rows: np.ndarray) -> float:
    """Return the accuracy on the test set, in percent, of a model trained on these rows of the training set."""
    model = LogisticRegression(C=10, max_iter=1_000).fit(train[rows], train_labels[rows])
    return 100 * model.score(test, test_labels)


ours, random = {size: [] for size in SIZES}, {size: [] for size in SIZES}
for seed in SEEDS:
    train, test, train_labels, test_labels = train_test_split(
        pixels, labels, test_size=0.3, random_state=seed, stratify=labels
    )
    rng = np.random.default_rng(seed)
    for size in SIZES:
        subset = subsel.select(train, size=size, seed=seed)
        ours[size].append(accuracy(subset.rows))
        random[size].append(accuracy(rng.permutation(len(train))[: len(subset)]))

print(f"accuracy in percent, mean of {len(SEEDS)} divisions into training and test set")
print(f"{'size':>6s} {'subset':>7s} {'random':>7s} {'more':>6s}")
for size in SIZES:
    a, b = np.mean(ours[size]), np.mean(random[size])
    print(f"{size:>6s} {a:7.1f} {b:7.1f} {a - b:+6.1f}")
