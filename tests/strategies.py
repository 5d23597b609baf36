"""Random graphs that look for trouble: ties, constants, duplicates, hubs, isolated points, empty edges."""

from __future__ import annotations

from hypothesis import strategies as st

#: Multiples of 1/8 tie often and are exact in every representation; the odd ones are not.
VALUES = st.one_of(st.integers(0, 8).map(lambda i: i / 8), st.floats(0, 2, allow_subnormal=False))


@st.composite
def problems(draw, max_n=12):
    """(n, edges, utility, alpha, beta, k)."""
    n = draw(st.integers(1, max_n))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    shape = draw(st.sampled_from(["random", "hub", "chain", "clique", "empty"]))
    if shape == "hub":
        pairs = [p for p in pairs if p[0] == 0]
    elif shape == "chain":
        pairs = [p for p in pairs if p[1] == p[0] + 1]
    elif shape == "empty":
        pairs = []
    elif shape == "random" and pairs:
        pairs = draw(st.lists(st.sampled_from(pairs), max_size=3 * n, unique=True))
    constant = draw(st.booleans())
    similarity = draw(VALUES) if constant else None
    edges = {p: similarity if constant else draw(VALUES) for p in pairs}
    kind = draw(st.sampled_from(["constant", "levels", "any", "negative"]))
    values = {"constant": st.just(1.0), "levels": st.sampled_from([0.0, 0.5, 1.0])}.get(kind, VALUES)
    utility = [draw(values) - (1.0 if kind == "negative" else 0.0) for _ in range(n)]
    alpha, beta = draw(st.sampled_from([(0.9, 0.1), (0.5, 0.5), (0.1, 0.9), (0.0, 1.0), (1.0, 0.0), (2.0, 3.0)]))
    k = draw(st.sampled_from(sorted({1, n, max(1, n // 2)})) | st.integers(1, n))
    return n, edges, utility, alpha, beta, k
