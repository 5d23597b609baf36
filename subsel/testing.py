"""Hypothesis strategies for tests of programs that select: graphs that look for trouble, and tables of dirty rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from subsel import schema
from subsel.errors import MissingPackageError

try:
    from hypothesis import strategies as st
except ImportError:
    raise MissingPackageError("subsel.testing needs hypothesis: pip install hypothesis.") from None

#: Multiples of 1/8 tie often and are exact in every representation; the odd ones are not.
VALUES = st.one_of(st.integers(0, 8).map(lambda i: i / 8), st.floats(0, 2, allow_subnormal=False))
#: What makes a row bad, as `dirty_tables` names it.
FAULTS = ("null id", "repeated id", "null embedding", "NaN", "zero vector", "other length", "NaN utility")

Edges = dict[tuple[int, int], float]


@st.composite
def graphs(draw: Callable[..., Any], max_n: int = 12) -> tuple[int, Edges]:
    """Draw (n, edges): random, a hub, a chain, a clique, or no edges; of similarities that are equal, tie, or vary.

    Args:
        draw: hypothesis'.
        max_n: points at most.
    """
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
    similarity = draw(VALUES) if constant else 0.0
    return n, {p: similarity if constant else draw(VALUES) for p in pairs}


@st.composite
def problems(draw: Callable[..., Any], max_n: int = 12) -> tuple[int, Edges, list[float], float, float, int]:
    """Draw (n, edges, utility, alpha, beta, k): a graph, utilities of several kinds, a size.

    Args:
        draw: hypothesis'.
        max_n: points at most.
    """
    n, edges = draw(graphs(max_n))
    kind = draw(st.sampled_from(["constant", "levels", "any", "negative"]))
    values = {"constant": st.just(1.0), "levels": st.sampled_from([0.0, 0.5, 1.0])}.get(kind, VALUES)
    utility = [draw(values) - (1.0 if kind == "negative" else 0.0) for _ in range(n)]
    alpha, beta = draw(st.sampled_from([(0.9, 0.1), (0.5, 0.5), (0.1, 0.9), (0.0, 1.0), (1.0, 0.0), (2.0, 3.0)]))
    k = draw(st.sampled_from(sorted({1, n, max(1, n // 2)})) | st.integers(1, n))
    return n, edges, utility, alpha, beta, k


@st.composite
def dirty_tables(
    draw: Callable[..., Any], min_rows: int = 4, max_rows: int = 20, dimension: int = 3
) -> tuple[pa.Table, dict[int, str]]:
    """Draw a table of `id`, `embedding`, `utility`, of which some rows are bad, and what is wrong with which row.

    All others are good, and at least two more than are bad: lists of most rows have the right length.

    Args:
        draw: hypothesis'.
        min_rows: at least, of good rows.
        max_rows: at most, likewise.
        dimension: of embeddings, at least 1.
    """
    n = draw(st.integers(max(min_rows, 2), max_rows))
    faults = draw(st.lists(st.sampled_from(FAULTS), max_size=(n - 2) if n < 6 else 4))
    value = st.integers(-8, 8).map(lambda i: i / 8)
    vector = st.lists(value, min_size=dimension, max_size=dimension).filter(any)
    rows = [{"id": i, "embedding": draw(vector), "utility": draw(VALUES), "fault": None} for i in range(n)]
    for number, fault in enumerate(faults):
        rows.append({"id": n + number, "embedding": draw(vector), "utility": draw(VALUES), "fault": fault})
        spoil(rows[-1], fault)
    order = draw(st.permutations(range(len(rows))))
    shuffled = [rows[i] for i in order]
    kinds = {schema.ID: pa.int64(), schema.EMBEDDING: pa.list_(pa.float64()), schema.UTILITY: pa.float64()}
    columns = {name: pa.array([row[name] for row in shuffled], kind) for name, kind in kinds.items()}
    return pa.table(columns), {place: row["fault"] for place, row in enumerate(shuffled) if row["fault"]}


def spoil(row: dict[str, Any], fault: str) -> None:
    """Make a row bad: of `FAULTS`. A repeated id is row 0's, of a lower utility."""
    vector = row[schema.EMBEDDING]
    wrong: dict[str, dict[str, Any]] = {
        "null id": {schema.ID: None},
        "repeated id": {schema.ID: 0, schema.UTILITY: -1.0},
        "null embedding": {schema.EMBEDDING: None},
        "NaN": {schema.EMBEDDING: [float("nan"), *vector[1:]]},
        "zero vector": {schema.EMBEDDING: [0.0] * len(vector)},
        "other length": {schema.EMBEDDING: [*vector, 1.0]},
        "NaN utility": {schema.UTILITY: float("nan")},
    }
    row |= wrong[fault]
