from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.input.utility import utility_of_probabilities
from subsel.objective import expected_random
from tests.reference import make_graph
from tests.strategies import problems


def same(one, two):
    assert one.table.select(["id", "rank", "decided_by"]).equals(two.table.select(["id", "rank", "decided_by"]))
    assert one.table["gain"].to_numpy() == pytest.approx(two.table["gain"].to_numpy(), abs=1e-6)


def test_result_is_ordered_complete_and_adds_up(demo_table):
    selection = subsel.select(demo_table, size="20%")
    table = selection.table
    assert table.column_names == ["id", "rank", "gain", "decided_by"]
    assert table["rank"].to_pylist() == list(range(600))
    assert len(set(selection.ids.tolist())) == 600
    assert set(selection.ids.tolist()) <= set(demo_table["id"].to_pylist())
    assert selection.objective == pytest.approx(table["gain"].to_numpy().sum(), rel=1e-12)
    score = selection.report.objective
    assert score.total == pytest.approx(score.utility - score.similarity)
    assert score.total > max(score.top_utility, score.random)


def test_every_prefix_of_plain_greedy_is_a_greedy_subset(demo_table):
    graph = subsel.neighbors(demo_table).graph
    points = demo_table.drop_columns(["embedding"])
    large = subsel.select(points, graph=graph, size=900, bounding="off", refine=0, greedy_direction="forward")
    small = subsel.select(points, graph=graph, size=300, bounding="off", refine=0, greedy_direction="forward")
    assert (large.ids[:300] == small.ids).all()
    assert (np.diff(large.table["gain"].to_numpy()) <= 1e-6).all()


def test_row_order_files_and_containers_do_not_matter(demo_table, tmp_path, rng):
    import datasets
    import polars

    expected = subsel.select(demo_table, size=0.1)
    shuffled = demo_table.take(pa.array(rng.permutation(len(demo_table))))
    pq.write_table(demo_table, tmp_path / "one.parquet")
    (tmp_path / "many").mkdir()
    for i, begin in enumerate(range(0, 3000, 700)):
        pq.write_table(shuffled.slice(begin, 700), tmp_path / "many" / f"{9 - i}.parquet", row_group_size=50)
    lists = demo_table.set_column(1, "embedding", demo_table["embedding"].cast(pa.list_(pa.float32())))
    for data in (
        shuffled,
        tmp_path / "one.parquet",
        str(tmp_path / "many"),
        pads.dataset(tmp_path / "many", format="parquet"),
        lists,
        pa.Table.from_batches(demo_table.to_batches(max_chunksize=17)),
        pa.RecordBatchReader.from_batches(demo_table.schema, demo_table.to_batches()),
        demo_table.to_pandas(),
        polars.from_arrow(demo_table),
        datasets.Dataset(lists).select(range(2999, -1, -1)),
    ):
        same(subsel.select(data, size=0.1), expected)


def test_numpy_rows_are_numbered(demo_table):
    matrix = np.stack(demo_table["embedding"].to_numpy())
    selection = subsel.select(matrix, size=50, utility=demo_table["utility"].to_numpy())
    numbered = demo_table.set_column(0, "id", pa.array(np.arange(3000)))
    same(subsel.select(numbered, size=50), selection)
    assert selection.ids.max() < 3000


def test_half_and_double_precision_select_nearly_the_same(demo_table):
    matrix = np.stack(demo_table["embedding"].to_numpy())
    utility = demo_table["utility"].to_numpy()
    options = {"size": 300, "utility": utility, "alpha": 0.9, "neighbors": 10, "probes": 8}
    one = set(subsel.select(matrix, **options).ids.tolist())
    assert len(one & set(subsel.select(matrix.astype(np.float64), **options).ids.tolist())) > 298
    assert len(one & set(subsel.select(matrix.astype(np.float16), **options).ids.tolist())) > 280


@pytest.mark.parametrize("id_type", [pa.int16(), pa.int64(), pa.uint32(), pa.string(), pa.large_string()])
def test_ids_keep_their_type(id_type):
    ids = pa.array([5, 6, 7, 8]).cast(id_type)
    table = pa.table({"id": ids, "embedding": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]})
    assert subsel.select(table, size=2).table["id"].type == id_type


@given(problems(), st.randoms())
def test_given_graph_every_form_and_order_gives_the_same_subset(problem, random):
    n, edges, utility, alpha, beta, k = problem
    if not edges or beta == 0:
        return
    edges = {pair: s for pair, s in edges.items() if s > 0}
    graph = make_graph(n, edges)
    options = {"size": k, "alpha": alpha, "beta": beta}
    expected = subsel.select(graph=graph, utility=utility, **options)
    same(subsel.select(graph=graph.to_scipy(), utility=utility, **options), expected)
    rows = list(range(n))
    random.shuffle(rows)
    points = pa.table({"id": rows, "utility": [utility[i] for i in rows]})
    if edges:
        listed = [(a, b, s) if random.random() < 0.5 else (b, a, s) for (a, b), s in edges.items()]
        random.shuffle(listed)
        table = pa.table(dict(zip(("src", "dst", "similarity"), zip(*listed, strict=True), strict=True)))
        same(subsel.select(points, graph=table, **options), expected)
        doubled = pa.concat_tables(
            [table, table.rename_columns(["dst", "src", "similarity"]).select(table.column_names)]
        )
        same(subsel.select(points, graph=doubled, **options), expected)


def test_faiss_style_neighbours(rng):
    import faiss

    X = rng.standard_normal((500, 8)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    similarity, indices = faiss.knn(X, X, 11, metric=faiss.METRIC_INNER_PRODUCT)
    theirs = subsel.select(graph=(indices, np.maximum(similarity, 0)), size=50)
    ours = subsel.select(X, size=50, neighbors=10, probes=100)
    assert len(set(ours.ids.tolist()) & set(theirs.ids.tolist())) >= 49


def test_asymmetric_matrix_is_symmetrised_by_the_larger_similarity():
    matrix = sp.csr_matrix(np.array([[0, 0.2, 0], [0.7, 0, 0], [0, 0.1, 0]]))
    graph = subsel.select(graph=matrix, size=1).graph.to_scipy().toarray()
    assert graph.tolist() == [[0, 0.7, 0], [0.7, 0, 0.1], [0, 0.1, 0]]


def test_graph_round_trip_through_parquet(demo_table, tmp_path):
    found = subsel.neighbors(demo_table)
    found.graph.to_parquet(tmp_path / "graph.parquet")
    assert pq.read_metadata(tmp_path / "graph.parquet").num_rows == found.graph.n_edges
    points = demo_table.drop_columns(["embedding"])
    expected = subsel.select(demo_table, size=300, neighbors=10, copies="keep")
    same(subsel.select(points, graph=tmp_path / "graph.parquet", size=300), expected)
    same(subsel.select(points, graph=found.graph, size=300), expected)
    scored = subsel.score(expected.table, graph=str(tmp_path / "graph.parquet"), points=points)
    assert scored.total == pytest.approx(expected.objective, rel=1e-12)


def test_strings_and_isolated_points_with_a_graph():
    points = pa.table({"id": ["a", "b", "c", "alone"], "utility": [1.0, 0.9, 0.1, 0.2]})
    graph = pa.table({"src": ["a", "b"], "dst": ["b", "c"], "similarity": [1.0, 1.0]})
    selection = subsel.select(points, graph=graph, size=2, alpha=0.5, bounding="off")
    assert selection.ids.tolist() == ["a", "alone"]


def test_utilities(rng):
    p = rng.dirichlet(np.ones(4), 300)
    top = np.sort(p, axis=1)
    assert utility_of_probabilities(p, "margin") == pytest.approx(1 - (top[:, -1] - top[:, -2]))
    assert utility_of_probabilities(p, "least_confidence") == pytest.approx(1 - top[:, -1])
    assert utility_of_probabilities(p, "entropy") == pytest.approx(-(p * np.log(p)).sum(1))
    certain = np.array([[1.0, 0.0]])
    assert utility_of_probabilities(certain, "entropy") == 0
    table = pa.table({"id": np.arange(300), "embedding": list(rng.standard_normal((300, 4))), "p": list(p)})
    for how in ("margin", "entropy", "least_confidence"):
        by_column = subsel.select(table, size=30, probabilities="p", utility=how)
        by_array = subsel.select(table, size=30, utility=utility_of_probabilities(p, how))
        same(by_column, by_array)
        assert by_column.report.input.utility == f"{how} of column 'p'"


def test_constant_utility_selects_for_diversity(demo_table):
    selection = subsel.select(demo_table, size=300, utility="constant", neighbors=10)
    assert selection.report.input.utility == "1.0 for every point"
    assert (selection.report.weights.alpha, selection.report.weights.beta) == (0, 1)
    assert selection.report.objective.similarity < 1e-6


def test_expected_random_is_the_mean_over_all_subsets():
    import itertools

    graph = make_graph(5, {(0, 1): 0.5, (1, 2): 1.0, (3, 4): 0.25, (0, 4): 0.7})
    utility = np.array([0.1, -0.4, 1.0, 0.3, 0.9])
    matrix = graph.to_scipy().toarray()
    for k in range(1, 6):
        values = [
            0.6 * utility[list(s)].sum() - 0.4 * matrix[np.ix_(s, s)].sum() / 2
            for s in itertools.combinations(range(5), k)
        ]
        assert expected_random(5, k, utility.sum(), matrix.sum() / 2, 0.6, 0.4) == pytest.approx(np.mean(values))


def test_size_all_and_one(demo_table):
    everything = subsel.select(demo_table, size=1.0, copies="keep")
    assert sorted(everything.ids.tolist()) == sorted(demo_table["id"].to_pylist())
    assert set(everything.table["decided_by"].to_pylist()) == {"bounding"}
    assert len(subsel.select(demo_table, size=1).table) == 1
    assert subsel.select(demo_table, size=1e-9).report.k == 1


def test_output_folder_file_and_manifest(demo_table, tmp_path):
    kept = subsel.select(demo_table, size=100, output=tmp_path / "subset", keep_columns=("source", "utility"))
    assert kept.path == tmp_path / "subset"
    read = pq.read_table(tmp_path / "subset")
    assert read.equals(kept.table)
    assert read.column_names == ["id", "rank", "gain", "decided_by", "source", "utility"]
    wanted = dict(zip(demo_table["id"].to_pylist(), demo_table["source"].to_pylist(), strict=True))
    assert [wanted[i] for i in read["id"].to_pylist()] == read["source"].to_pylist()
    manifest = json.loads((tmp_path / "subset" / "_manifest.json").read_text())
    assert manifest["k"] == 100
    assert manifest["config"]["diversity"] == 0.5
    assert manifest["weights"]["alpha"] + manifest["weights"]["beta"] == pytest.approx(1)
    assert manifest["config"]["neighbors"] == "auto"
    assert manifest["graph"]["neighbors"] == 60  # 2 * 3000 / 100
    assert subsel.Report.model_validate(manifest).objective == kept.report.objective
    single = tmp_path / "subset.parquet"
    subsel.select(demo_table, size=10, output=single)
    assert json.loads(pq.read_schema(single).metadata[b"subsel"])["k"] == 10
    subsel.select(demo_table, size=20, output=tmp_path / "subset", overwrite=True)
    assert len(pq.read_table(tmp_path / "subset")) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["subset", "subset.parquet"]


def test_kept_columns_follow_dropped_rows(demo_table, tmp_path):
    ids = demo_table["id"].to_pylist()
    ids[5] = ids[4]
    table = demo_table.set_column(0, "id", pa.array(ids))
    selection = subsel.select(table, size=2999, on_bad_rows="drop", keep_columns=("utility",), copies="keep")
    wanted = {}  # of the rows of an id the one of largest utility stays
    for one, utility in zip(ids, demo_table["utility"].to_pylist(), strict=True):
        wanted[one] = max(utility, wanted.get(one, utility))
    assert [wanted[i] for i in selection.ids.tolist()] == selection.table["utility"].to_pylist()


def test_caller_data_is_not_changed(demo_table):
    matrix = np.stack(demo_table["embedding"].to_numpy())
    before = matrix.copy()
    subsel.select(matrix, size=10)
    assert (matrix == before).all()


def test_l2_and_inner_product_run(demo_table):
    for metric in ("l2", "inner_product"):
        selection = subsel.select(demo_table, size=100, metric=metric)
        assert selection.report.config.metric == metric
        assert len(selection.table) == 100
