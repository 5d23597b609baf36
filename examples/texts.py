"""Texts: a budget of tokens, divided over sources

Documents from four sources, very unequal in number and length. A fifth of all tokens may be spent, half of it on the
web, the rest by shares. No two documents that are chosen say nearly the same. What limits can be:
[limits](../limits.md).

The texts are made by the script. Their embeddings are hashed TF-IDF, projected at random to 256 values, which needs no
model; those of a model do better, see [texts](../guides/texts.md).
"""

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.pipeline import make_pipeline
from sklearn.random_projection import SparseRandomProjection

import subsel

# source: documents, words of each on average, topics
SOURCES = {"web": (2_400, 60, 30), "news": (800, 120, 12), "code": (500, 90, 10), "books": (300, 300, 8)}

rng = np.random.default_rng(0)
texts, source = [], []
for name, (documents, length, topics) in SOURCES.items():
    vocabulary = [[f"{name}{topic}word{word}" for word in range(10 * length)] for topic in range(topics)]
    for _ in range(documents):
        words = rng.choice(vocabulary[rng.integers(topics)], max(5, rng.poisson(length)))
        texts.append(" ".join(words))
        source.append(name)
for copy in rng.choice(2_400, 400, replace=False):  # the web repeats itself, but for a word or two
    texts[copy] = texts[rng.integers(0, 2_400)] + " share this page"
tokens, source = np.array([len(text.split()) for text in texts]), np.array(source)

embed = make_pipeline(
    HashingVectorizer(n_features=2**14, alternate_sign=False, norm=None),
    TfidfTransformer(sublinear_tf=True),
    SparseRandomProjection(256, dense_output=True, random_state=0),
)
embeddings = embed.fit_transform(texts).astype(np.float32)

subset = subsel.select(
    embeddings,
    budget="20%",
    cost=tokens,
    groups=source,
    quotas={"web": "50%", "news": "20%", "code": "15%", "books": "15%"},
    max_similarity=0.95,
)

limits = subset.report.limits
(budget,) = [total for total in limits.totals if total.name == "budget"]
print(f"spent {budget.spent:,} of {budget.asked:,} tokens ({budget.spent / budget.asked:.2%}), ", end="")
print(f"{len(subset):,} of {len(texts):,} documents")
chosen = subset.rows
print(f"{'source':8s} {'documents':>9s} {'of':>6s} {'tokens':>8s} {'share':>6s}")
for name in SOURCES:
    there, taken = source == name, source[chosen] == name
    spent = tokens[chosen][taken].sum()
    print(f"{name:8s} {taken.sum():9,d} {there.sum():6,d} {spent:8,d} {spent / budget.spent:6.1%}")
assert budget.spent <= budget.asked
