"""What is like a few good examples, out of a large pool

Forty images of a 3 are the examples. The pool has all digits, shifted by a pixel this way or that, and nobody has
labelled it. Coverage of a target takes from the pool what is near to the examples; labels are read only to count how
many of that are a 3.

Once each example has its nearest image, more members add nothing, and places that are left are filled by the hash of
ids. So choose a size below the number of examples, or keep those with a gain above 0: the last line is a size that is
too large. See [coverage](../coverage.md#covering-other-data).
"""

import numpy as np
from sklearn.datasets import load_digits

import subsel

DIGIT, EXAMPLES = 3, 40

images, labels = load_digits().images.astype(np.float32), load_digits().target
is_digit = np.flatnonzero(labels == DIGIT)
examples = images[is_digit[:EXAMPLES]]
others = np.delete(np.arange(len(images)), is_digit[:EXAMPLES])

shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
pool = np.concatenate([np.roll(images[others], shift, axis=(1, 2)) for shift in shifts])
pool_labels = np.tile(labels[others], len(shifts))

mean = pool.mean(axis=0)  # what all digits have in common says nothing
pool, examples = (one.reshape(len(one), -1) for one in (pool - mean, examples - mean))

print(f"{len(pool):,} images in the pool, {np.mean(pool_labels == DIGIT):.0%} of them a {DIGIT}: so many at random")
print(f"{'size':>4s} {'a ' + str(DIGIT):>5s} {'similarity':>11s} {'add something':>14s}")
for size in (10, 20, 40):
    subset = subsel.select(pool, size=size, objective="coverage", target=examples)
    share = np.mean(pool_labels[subset.rows] == DIGIT)
    adding = (subset.table["gain"].to_numpy() > 0).sum()
    print(f"{size:4d} {share:5.0%} {subset.report.coverage.graph:11.2f} {adding:14d}")
