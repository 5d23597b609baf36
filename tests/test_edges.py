"""The rules of given graphs: every edge has one reason at most, shapes agree, arrays and distances are not mixed up."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import InputError, SelectConfig
from subsel.input.edges import KnownPoints, as_neighbor_graph
from subsel.input.source import open_source

NAN, INF = float("nan"), float("inf")
POINTS = KnownPoints(pa.array([1, 2, 3, 4]), pa.int64(), np.arange(4), 4)


def graph_of(graph, points=POINTS, **options):
    config = SelectConfig(**options)
    if isinstance(graph, pa.Table):
        graph = open_source(graph, {"src", "dst", "similarity"}.__contains__, config, None, "graph")
    found = as_neighbor_graph(graph, points, config)
    return found.graph.to_scipy().toarray(), found.dropped


def edges(rows, ids=None, numbers=None):
    src, dst, similarity = zip(*rows, strict=True) if rows else ([], [], [])
    kinds = (ids or pa.int64(), ids or pa.int64(), numbers or pa.float64())
    values = zip(("src", "dst", "similarity"), (src, dst, similarity), kinds, strict=True)
    return pa.table({name: pa.array(column, kind) for name, column, kind in values})


ENDS = st.none() | st.sampled_from([1, 2, 3, 4, 8, 9])
EDGE = st.tuples(ENDS, ENDS, st.none() | st.sampled_from([0.0, 0.25, 0.5, -0.5, NAN, INF, -INF]))


@given(st.lists(EDGE, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_every_edge_has_its_first_reason(rows, random):
    reasons = {"null src, dst or similarity": 0, "self loop": 0, "negative, NaN or infinite similarity": 0}
    reasons["an end that is an unknown id"] = 0
    expected = np.zeros((4, 4))
    unknown = []
    for src, dst, s in rows:
        if src is None or dst is None or s is None:
            reasons["null src, dst or similarity"] += 1
        elif src == dst:
            reasons["self loop"] += 1
        elif not (np.isfinite(s) and s >= 0):
            reasons["negative, NaN or infinite similarity"] += 1
        elif src > 4 or dst > 4:
            reasons["an end that is an unknown id"] += 1
            unknown += [end for end in (src, dst) if end > 4]
        else:
            for a, b in ((src - 1, dst - 1), (dst - 1, src - 1)):
                expected[a, b] = max(expected[a, b], s)
    wrong = {reason: count for reason, count in reasons.items() if count}
    random.shuffle(rows)
    matrix, dropped = graph_of(edges(rows), on_bad_rows="drop")
    np.testing.assert_array_equal(matrix, expected)
    assert dropped == wrong
    if not wrong:
        np.testing.assert_array_equal(graph_of(edges(rows))[0], expected)
        return
    with pytest.raises(InputError) as caught:
        graph_of(edges(rows))
    said = str(caught.value)
    assert "\n" not in said
    for reason, count in wrong.items():
        assert f"{count} of {len(rows)} edges: {reason}" in said
    if unknown:
        assert any(f"unknown id such as {end}" in said for end in unknown)


def test_similarities_of_any_kind_of_number():
    rows = [(1, 2, 3), (2, 3, 1)]
    for kind in (pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()):
        assert graph_of(edges(rows, numbers=kind))[0][0, 1] == 3
    decimals = [(1, 2, Decimal("0.25")), (2, 3, Decimal("0.50"))]
    assert graph_of(edges(decimals, numbers=pa.decimal128(4, 2)))[0].sum() == 1.5


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (edges([]), "the graph has no edges"),
        (edges([("1", "2", 0.5)], ids=pa.string()), "ids of the graph are (large_)?string, those of the points int64"),
        (edges([(1, 2, "x")], numbers=pa.string()), "similarity' of the table is .*string, but must be numbers"),
        (edges([(1, 2, True)], numbers=pa.bool_()), "similarity' of the table is bool, but must be numbers"),
        (edges([(1, 2, 0.5)]).drop_columns("dst"), "no column 'dst'; it has src, similarity"),
        (edges([(1, 2, 0.5)]).append_column("src", pa.array([3])), "2 columns 'src': rename all but one"),
        (sp.csr_matrix((4, 3)), r"has shape \(4, 3\), but must be square"),
        (sp.csr_matrix((3, 3)), "the graph has 3 points and the data 4"),
        (sp.csr_matrix((4, 4), dtype=np.complex64), "complex64"),
        (sp.csr_matrix(np.array([[0, -1.0], [0, 0]])), "the graph has 2 points and the data 4"),
        (sp.csr_matrix(-np.eye(4)[::-1]), "4 of 4 edges: negative, NaN or infinite similarity"),
        ((np.zeros((4, 2), int), np.zeros((4, 3))), r"shapes \(4, 2\) and \(4, 3\), but must both be \(n, k\)"),
        ((np.zeros(4, int), np.zeros(4)), r"but must both be \(n, k\)"),
        ((np.full((3, 1), -1), np.zeros((3, 1))), "the graph has 3 points and the data 4"),
        ((np.full((4, 1), 4), np.zeros((4, 1))), "lie outside -1…3"),
        ((np.full((4, 1), -2), np.zeros((4, 1))), "lie outside -1…3"),
        ((np.zeros((4, 1), complex), np.zeros((4, 1))), "indices are complex128, but must be integers"),
        ((np.ones((4, 1)), np.zeros((4, 1))), "indices are float64, but must be integers"),
        ((np.ones((4, 1), np.float32), np.zeros((4, 1), np.int64)), "swapped: give .indices, similarities., not"),
        ((np.zeros((4, 1), int), np.zeros((4, 1), complex)), "similarities are complex128"),
        ((np.array([[1], [2], [3], [0]]), np.full((4, 1), NAN)), "4 of 4 edges: negative, NaN or infinite"),
    ],
)
def test_wrong_graphs(graph, message):
    with pytest.raises(InputError, match=message) as caught:
        graph_of(graph)
    assert "\n" not in str(caught.value)


def nearest(X, k):
    """Indices and distances of the k nearest of every row, itself first, as faiss returns them swapped."""
    distance = np.linalg.norm(X[:, None] - X[None], axis=2)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distance, order, axis=1)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("copies", [False, True])
def test_distances_are_refused_with_how_to_convert(rng, squared, copies):
    X = rng.standard_normal((40, 3))
    if copies:
        X[1::4] = X[::4]
    indices, distance = nearest(X, 5)
    distance = distance**2 if squared else distance
    with pytest.raises(InputError, match=r"distances: \d+ of 40 points .*, at 0\. Convert them: .* 1 / \(1 \+ d\)"):
        subsel.select(X.astype(np.float32), graph=(indices, distance), size=4)
    similar = subsel.select(X.astype(np.float32), graph=(indices, 1 / (1 + distance)), size=4)
    assert similar.graph.to_scipy().diagonal().sum() == 0
    subsel.select(X.astype(np.float32), graph=(indices[:, 1:], 1 / (1 + distance[:, 1:])), size=4)


def test_points_all_alike_are_no_distances():
    indices = np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    matrix, _ = graph_of((indices, np.ones((4, 2))))
    assert matrix[0, 1] == matrix[3, 2] == 1


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.lil_matrix, sp.csr_array])
def test_matrices_become_symmetric_by_the_larger_without_a_diagonal(kind):
    given = np.array([[5, 1, 0, 0], [0.5, 9, 0, 2], [0, 0, 0, 0], [0, 3, 0, 1]], np.float32)
    expected = np.maximum(given, given.T)
    np.fill_diagonal(expected, 0)
    np.testing.assert_array_equal(graph_of(kind(given))[0], expected)
    repeated = sp.coo_matrix(([1.0, 2.0], ([0, 0], [1, 1])), shape=(4, 4))
    assert graph_of(repeated)[0][0, 1] == 3  # as scipy means them


@pytest.mark.parametrize("kind", ["edges", "matrix", "arrays"])
def test_rows_that_were_dropped_take_their_edges_along(kind):
    data = pa.table({"id": [1, 2, 3, 4], "utility": [1.0, NAN, 0.5, 0.25]})
    indices = np.array([[1, 2], [2, -1], [3, -1], [-1, -1]])
    similarity = np.array([[0.5, 0.25], [0.5, 0], [0.75, 0], [0, 0]])
    graph = {
        "edges": edges([(1, 2, 0.5), (1, 3, 0.25), (2, 3, 0.5), (3, 4, 0.75)]),
        "matrix": sp.csr_matrix(([0.5, 0.25, 0.5, 0.75], ([0, 0, 1, 2], [1, 2, 2, 3])), shape=(4, 4)),
        "arrays": (indices, similarity),
    }[kind]
    selection = subsel.select(data, graph=graph, size=2, on_bad_rows="drop")
    assert selection.graph.to_scipy().toarray().tolist() == [[0, 0.25, 0], [0.25, 0, 0.75], [0, 0.75, 0]]
    assert selection.report.graph.dropped_edges == ({"an end that is an unknown id": 2} if kind == "edges" else {})


@pytest.mark.parametrize("make", [subsel.neighbors, subsel.growing_graph])
def test_what_has_a_graph_stands_for_it(rng, make):
    points = rng.standard_normal((200, 4)).astype(np.float32)
    made = make(points, neighbors=5)
    found, expected = (subsel.select(points, size=20, graph=one) for one in (made, made.graph))
    assert found.table.equals(expected.table)
