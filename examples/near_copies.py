"""Down to N documents, none of them twice

A corpus in which most documents are there several times, with a word changed, or word for word. A thousand are wanted,
no two of which are more alike than 0.9. How many pairs are that alike is counted before and after by comparing all of
them, without subsel. What else there is to say of copies: [limits](../limits.md#similarity-and-copies).

The texts are made by the script. Their embeddings are hashed TF-IDF, projected at random to 256 values.
"""

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.pipeline import make_pipeline
from sklearn.random_projection import SparseRandomProjection

import subsel

WANTED, ALIKE = 1_000, 0.9

rng = np.random.default_rng(0)
vocabulary = np.array([f"word{number}" for number in range(4_000)])
originals = [" ".join(rng.choice(vocabulary, 40)) for _ in range(1_500)]
texts = []
for text in originals:
    texts.append(text)
    for _ in range(rng.integers(0, 4)):
        words = text.split()
        words[rng.integers(len(words))] = rng.choice(vocabulary)
        texts.append(" ".join(words))
    if rng.random() < 0.2:
        texts.append(text)  # once more, word for word
texts = [texts[row] for row in rng.permutation(len(texts))]

embed = make_pipeline(
    HashingVectorizer(n_features=2**14, alternate_sign=False, norm=None),
    TfidfTransformer(),
    SparseRandomProjection(256, dense_output=True, random_state=0),
)
embeddings = embed.fit_transform(texts).astype(np.float32)


def pairs_alike(vectors: np.ndarray) -> int:
    """Return how many pairs have a cosine similarity above the limit."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return int((np.triu(unit @ unit.T, 1) > ALIKE).sum())


subset = subsel.select(embeddings, size=WANTED, max_similarity=ALIKE)
random = rng.choice(len(texts), WANTED, replace=False)

report = subset.report
print(f"{len(texts):,} documents, {report.input.points - report.input.distinct:,} of them word for word another")
print(f"{'':22s} {'documents':>9s} {'pairs above 0.9':>16s}")
for name, rows in (("before", np.arange(len(texts))), ("at random", random), ("subset", subset.rows)):
    print(f"{name:22s} {len(rows):9,d} {pairs_alike(embeddings[rows]):16,d}")
assert pairs_alike(embeddings[subset.rows]) == 0
