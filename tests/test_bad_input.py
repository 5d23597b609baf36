"""Every kind of bad input has its one-line error, before any long work, with nothing written (design §5)."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

import subsel
from subsel import ConfigError, InputError, OutputError


def points(**columns):
    base = {"id": [1, 2, 3, 4], "embedding": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]], "utility": [1.0] * 4}
    return pa.table({key: value for key, value in (base | columns).items() if value is not None})


NAN = float("nan")
BAD_POINTS = {
    "null id": (points(id=[1, None, 3, 4]), r"1 of 4 rows: null id"),
    "repeated id": (points(id=[1, 2, 2, 2]), r"2 of 4 rows: repeated id \(ids 2\)"),
    "repeated string id": (points(id=["a", "b", "a", "c"]), r"1 of 4 rows: repeated id \(ids 'a'\)"),
    "null embedding": (points(embedding=[[1.0, 0.0], None, [1.0, 1.0], [0.5, 1.0]]), "null embedding .ids 2"),
    "null inside": (points(embedding=[[1.0, None], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]), "NaN or infinite embedding"),
    "NaN": (points(embedding=[[1.0, NAN], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]), "NaN or infinite embedding"),
    "Inf": (points(embedding=[[1.0, float("inf")], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]), "NaN or infinite embedding"),
    "zero vector": (points(embedding=[[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]), "zero vector"),
    "unequal dimensions": (
        points(embedding=[[1.0, 0.0], [0.0], [1.0, 1.0], [0.5, 1.0]]),
        "another length than most .2",
    ),
    "null utility": (points(utility=[1.0, None, 1.0, 1.0]), "null, NaN or infinite utility"),
    "NaN utility": (points(utility=[1.0, NAN, 1.0, 1.0]), "null, NaN or infinite utility"),
}


@pytest.mark.parametrize("case", BAD_POINTS)
def test_bad_rows_are_an_error_or_dropped(case):
    table, message = BAD_POINTS[case]
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(table, size=1)
    assert "\n" not in str(caught.value)
    assert "on_bad_rows='drop'" in str(caught.value)
    dropped = subsel.select(table, size=1, on_bad_rows="drop").report.input
    assert 0 < sum(dropped.dropped_rows.values()) < 4
    assert dropped.points == 4 - sum(dropped.dropped_rows.values())


BAD_TYPES = {
    "no id": (points(id=None), "has no id column 'id'; it has embedding, utility"),
    "no embedding": (points(embedding=None), "has no embedding column 'embedding'"),
    "float ids": (points(id=[1.0, 2.0, 3.0, 4.0]), "ids are double, but must be integers or strings"),
    "scalar embedding": (points(embedding=[1.0] * 4), "must be lists of float16, float32 or float64"),
    "text embedding": (points(embedding=[["1", "2"]] * 4), "must be lists of float16, float32 or float64"),
    "text utility": (points(utility=["a"] * 4), "is string, but utilities are numbers"),
    "empty": (points().slice(0, 0), "is empty"),
    "empty lists": (points(embedding=pa.array([[]] * 4, pa.list_(pa.float32()))), "lists are empty"),
}


@pytest.mark.parametrize("case", BAD_TYPES)
def test_wrong_columns(case):
    table, message = BAD_TYPES[case]
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(table, size=1)
    assert "\n" not in str(caught.value)


def test_all_rows_bad():
    with pytest.raises(InputError, match="no good row left"):
        subsel.select(points(utility=[NAN] * 4), size=1, on_bad_rows="drop")


BAD_REQUESTS = {
    "k > n": ({"size": 5}, "size 5 exceeds the 4 points of the table: lower size"),
    "k = 0": ({"size": 0}, "size 0 is neither a count of at least 1"),
    "fraction": ({"size": 1.5}, "size 1.5 is neither"),
    "words": ({"size": "many"}, "size 'many' is neither"),
    "bool": ({"size": True}, "size True is neither"),
    "no size": ({}, "size is missing"),
    "unknown key": ({"size": 1, "neighbours": 3}, r"unknown option 'neighbours' \(did you mean 'neighbors'"),
    "type": ({"size": 1, "alpha": "much"}, "option 'alpha'"),
    "range": ({"size": 1, "neighbors": 0}, "option 'neighbors'.*greater than or equal to 1"),
    "negative alpha": ({"size": 1, "alpha": -0.1}, "option 'alpha'"),
    "nan alpha": ({"size": 1, "alpha": NAN}, "option 'alpha'"),
    "alpha above 1": ({"size": 1, "alpha": 2.0}, "beta is not given"),
    "metric": ({"size": 1, "metric": "hamming"}, "option 'metric'"),
    "two utilities": (
        {"size": 1, "utility": "utility", "probabilities": "p"},
        "no utility reads it: give one of utility='easy'",
    ),
    "no probabilities": ({"size": 1, "utility": "margin"}, "needs class probabilities: name their column"),
    "an empty part of a mix": ({"size": 1, "utility": "density+"}, "has an empty name in it"),
    "an unknown part of a mix": ({"size": 1, "utility": "density+u"}, "has no utility column 'u'.*or density, "),
    "diversity": ({"size": 1, "diversity": 1.0}, "option 'diversity'"),
    "recall": ({"size": 1, "recall": 0}, "option 'recall'"),
    "outliers": ({"size": 1, "exclude_outliers": "much"}, "option 'exclude_outliers'"),
    "thin": ({"size": 1, "thin": 0}, "option 'thin'"),
    "kept twice": ({"size": 1, "keep_columns": ("rank",)}, "keep_columns may not name rank"),
    "kept missing": ({"size": 1, "keep_columns": ("url",)}, "has no kept column 'url'"),
    "engine": ({"size": 1, "engine": "abacus"}, "engine 'abacus' is unknown"),
    "utility shape": ({"size": 1, "utility": [1.0, 2.0]}, "utility has shape"),
    "utility type": ({"size": 1, "utility": ["a"] * 4}, "utility is not an array of numbers"),
    "utility column": ({"size": 1, "utility": "u"}, "has no utility column 'u'"),
    "config file": ({"size": 1, "config": "none.toml"}, "config none.toml cannot be read"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests(case):
    options, message = BAD_REQUESTS[case]
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(points(), **options)
    assert "\n" not in str(caught.value)


def test_nothing_to_select_from():
    with pytest.raises(ConfigError, match="give data, or a graph"):
        subsel.select(size=1)


def test_probabilities_must_be_probabilities():
    table = points(utility=None, p=[[0.5, 0.5], [0.9, 0.3], [-0.1, 1.1], [1.0, 0.0]])
    with pytest.raises(InputError, match="2 of 4 rows: probabilities that are negative or do not sum to 1"):
        subsel.select(table, size=1, utility="margin", probabilities="p")
    with pytest.raises(InputError, match="fewer than 2 classes"):
        subsel.select(points(p=[[1.0]] * 4), size=1, utility="easy", probabilities="p")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((3,)), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.zeros((3, 2), np.complex64), "complex64, but must be float16"),
        (np.zeros((3, 2), bool), "bool, but must be float16"),
        (object(), "type object is not understood"),
    ],
)
def test_wrong_data(matrix, message):
    with pytest.raises(InputError, match=message):
        subsel.select(matrix, size=1)


def test_paths(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        subsel.select(tmp_path / "none", size=1)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        subsel.select(tmp_path / "text.parquet", size=1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no Parquet files"):
        subsel.select(tmp_path / "folder", size=1)


def edges(src, dst, similarity):
    return pa.table({"src": src, "dst": dst, "similarity": similarity})


BAD_GRAPHS = {
    "negative": (edges([1, 2], [2, 3], [0.5, -0.5]), "1 of 2 edges: negative, NaN or infinite similarity"),
    "NaN": (edges([1, 2], [2, 3], [0.5, NAN]), "1 of 2 edges: negative, NaN or infinite similarity"),
    "loop": (edges([1, 2], [2, 2], [0.5, 0.5]), "1 of 2 edges: self loop"),
    "unknown": (edges([1, 2], [2, 9], [0.5, 0.5]), "1 of 2 edges: an end that is an unknown id such as 9"),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_bad_edges_are_an_error_or_dropped(case):
    graph, message = BAD_GRAPHS[case]
    with pytest.raises(InputError, match=message) as caught:
        subsel.select(points(embedding=None), graph=graph, size=2)
    assert "\n" not in str(caught.value)
    assert subsel.select(points(embedding=None), graph=graph, size=2, on_bad_rows="drop").graph.n_edges == 1


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (pa.table({"src": [1], "dst": [2]}), "no column 'similarity'"),
        (edges([1, None], [2, 3], [0.5, 0.5]), "1 of 2 edges: null src"),
        (edges(["a"], ["b"], [0.5]), "use one type"),
        (edges([1], [2], ["x"]), "must be numbers"),
        (sp.csr_matrix((3, 4)), "must be square"),
        (sp.csr_matrix((3, 3)), "the graph has 3 points and the data 4"),
        ((np.zeros((4, 2), int), np.zeros((4, 3))), "must both be"),
        ((np.full((4, 2), 7), np.zeros((4, 2))), "lie outside -1…3"),
    ],
)
def test_wrong_graphs(graph, message):
    with pytest.raises(InputError, match=message):
        subsel.select(points(embedding=None), graph=graph, size=2)


def test_existing_output_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.txt").write_text("mine")
    for overwrite, message in ((False, "exists"), (True, "subsel did not write it")):
        with pytest.raises(InputError, match=message):
            subsel.select(points(), size=2, output=tmp_path / "mine", overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "file.txt").read_text() == "mine"
    with pytest.raises(InputError, match=r"the folder .*nowhere of output .* does not exist"):
        subsel.select(points(), size=2, output=tmp_path / "nowhere" / "subset")


def test_errors_leave_nothing_behind(tmp_path):
    with pytest.raises(InputError):
        subsel.select(BAD_POINTS["NaN"][0], size=1, output=tmp_path / "subset")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["subset", "subset.parquet"])
def test_full_disk(tmp_path, monkeypatch, name):
    subsel.select(points(), size=1, output=tmp_path / name)
    before = subsel.score(tmp_path / name, points=points(embedding=None), graph=edges([1], [2], [0.5]))

    def full(table, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputError, match=r"the disk is full \([\d,]+ MiB free"):
        subsel.select(points(), size=2, output=tmp_path / name, overwrite=True)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert subsel.score(tmp_path / name, points=points(embedding=None), graph=edges([1], [2], [0.5])) == before


def test_score_refuses_unknown_and_repeated_ids():
    graph = edges([1], [2], [0.5])
    with pytest.raises(InputError, match="1 of 2 ids of the subset are unknown, such as 77"):
        subsel.score([1, 77], graph=graph)
    with pytest.raises(InputError, match="1 of 2 ids of the subset repeat another"):
        subsel.score([1, 1], graph=graph)
