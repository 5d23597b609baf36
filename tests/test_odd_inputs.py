"""Inputs that once broke something, minimised."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

import subsel
from subsel import ConfigError, InputError, planning
from subsel.cli import main
from subsel.cli.tables import duration
from subsel.demo import demo_points


def test_a_computed_graph_without_data_keeps_utilities_with_their_rows(demo_table):
    """Its nodes are in cell order; utilities come in row order."""
    points = np.stack(demo_table["embedding"].to_numpy())
    utility = demo_table["utility"].to_numpy()
    graph = subsel.neighbors(points).graph
    one = subsel.select(points, utility=utility, size=100, neighbors=10, copies="keep")
    two = subsel.select(graph=graph, utility=utility, size=100)
    assert one.ids.tolist() == two.ids.tolist()
    assert subsel.score(one.ids, graph=graph, utility=utility).total == pytest.approx(one.objective)


def test_overwrite_replaces_only_what_subsel_wrote(tmp_path, demo_table):
    pq.write_table(demo_table, tmp_path / "points.parquet")
    (tmp_path / "notes.txt").write_text("mine")
    for output in ("notes.txt", "points.parquet"):
        with pytest.raises(InputError, match=r"subsel did not write it|would overwrite"):
            subsel.select(tmp_path / "points.parquet", size=5, output=tmp_path / output, overwrite=True)
    for data in (tmp_path, str(tmp_path / "*.parquet"), [tmp_path / "points.parquet", str(tmp_path / "p*")]):
        for engine in ("local", "auto"):
            with pytest.raises(InputError, match=r"would overwrite or mix|cannot be read as Parquet"):
                subsel.select(data, size=5, output=tmp_path / "points.parquet", engine=engine, overwrite=True)
    with pytest.raises(InputError, match="would overwrite or mix with the input"):
        subsel.select(tmp_path, size=5, output=tmp_path / "subset", engine="local")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(pq.read_table(tmp_path / "points.parquet")) == 3000


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_a_row_too_long_for_float32_sums_is_a_bad_row(metric, rng):
    points = rng.standard_normal((500, 8)).astype(np.float32)
    points[5] *= 1e25
    with pytest.raises(InputError, match="1 of 500 rows: vector longer than 1e17"):
        subsel.select(points, size=5, metric=metric)


def test_a_few_long_vectors_do_not_spoil_inner_product_search():
    points, _ = demo_points(4000, 16)
    points[7] *= 1000
    assert subsel.neighbors(points, metric="inner_product").recall > 0.8


def test_l2_far_from_the_origin():
    points, _ = demo_points(4000, 16)
    near = subsel.neighbors(points.astype(np.float64), metric="l2", recall_sample=1000)
    far = subsel.neighbors(points.astype(np.float64) + 1000, metric="l2", recall_sample=1000)
    assert near.recall > 0.97
    assert far.recall > 0.97


def test_recall_goes_on_rising_with_probes():
    points, _ = demo_points(8000, 64)
    recalls = [subsel.neighbors(points, probes=p, recall_sample=1000).recall for p in (4, 16, 64)]
    assert recalls[0] <= recalls[1] + 0.002
    assert recalls[1] <= recalls[2] + 0.002


def test_many_neighbours(rng):
    found = subsel.neighbors(rng.standard_normal((1500, 8)).astype(np.float32), neighbors=200)
    assert found.recall > 0.95


def test_categories_tensors_streams_and_sliced_arrays(demo_table):
    import pandas as pd

    names = pa.array([f"p{i}" for i in demo_table["id"].to_pylist()])
    table = demo_table.set_column(0, "id", names)
    expected = subsel.select(table, size=50, keep_columns=("source",)).table
    matrix = np.stack(demo_table["embedding"].to_numpy())
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(matrix.reshape(3000, 4, 4)))
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    frame = table.to_pandas()
    frame["id"] = pd.Categorical(frame["id"])
    frame["meta"] = [1, "a", None] * 1000  # a column that Arrow cannot convert, and nobody asked for
    for data in (
        table.set_column(0, "id", names.dictionary_encode()),
        table.set_column(1, "embedding", tensors),
        pa.concat_tables([table.slice(0, 5), table]).slice(5),
        stream,
        frame.set_index(pd.Index(range(3000, 0, -1))),
    ):
        found = subsel.select(data, size=50, keep_columns=("source",)).table
        assert found["id"].cast(pa.string()).equals(expected["id"].cast(pa.string()))
        assert found["source"].equals(expected["source"])


def test_numbers_of_numpy_are_sizes():
    points = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert subsel.select(points, size=np.int64(5)).report.k == 5
    assert subsel.select(points, size=np.float32(0.5)).report.k == 25
    with pytest.raises(ConfigError, match="is neither"):
        subsel.select(points, size=np.bool_(True))


def test_matrix_graph_loses_the_rows_that_are_dropped():
    points = pa.table({"id": [1, 2, 3, 4], "utility": [1.0, float("nan"), 0.5, 0.2]})
    matrix = sp.csr_matrix(np.array([[0, 0.5, 0.1, 0], [0.5, 0, 0.5, 0], [0.1, 0.5, 0, 0.2], [0, 0, 0.2, 0]]))
    selection = subsel.select(points, graph=matrix, size=2, on_bad_rows="drop")
    assert selection.graph.to_scipy().toarray().tolist() == [[0, 0.1, 0], [0.1, 0, 0.2], [0, 0.2, 0]]


def test_dropped_edges_are_counted_in_the_report():
    points = pa.table({"id": [1, 2, 3]})
    edges = pa.table({"src": [1, 1, None, 2], "dst": [2, 1, 3, 9], "similarity": [0.5, 0.5, 0.5, 0.5]})
    report = subsel.select(points, graph=edges, size=1, on_bad_rows="drop").report
    assert report.graph.dropped_edges == {
        "null src, dst or similarity": 1,
        "an end that is an unknown id": 1,
        "self loop": 1,
    }


def test_odd_columns():
    good = pa.table({"id": [1, 2], "embedding": [[1.0], [2.0]]})
    for table, message in (
        (good.append_column("id", pa.array([3, 4])), "2 columns 'id': rename all but one"),
        (good.append_column("p", pa.array([None, None], pa.list_(pa.float64()))), "2 of 2 rows: null probabilities"),
    ):
        options = {"utility": "margin", "probabilities": "p"} if "p" in table.column_names else {}
        with pytest.raises(InputError, match=message):
            subsel.select(table, size=1, **options)
    huge = good.append_column("utility", pa.array([2**60 + 1, 1]))
    assert subsel.select(huge, size=1).ids.tolist() == [1]


def test_one_short_row_is_the_bad_one_wherever_it_stands():
    rows = [[1.0]] + [[1.0, float(i)] for i in range(1, 50)]
    for lists in (rows, rows[::-1]):
        table = pa.table({"id": np.arange(50), "embedding": lists})
        report = subsel.select(table, size=5, on_bad_rows="drop").report
        assert report.input.points == 49


def test_files_of_other_types_in_one_folder(tmp_path):
    pq.write_table(pa.table({"id": [1], "embedding": [[1.0]]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["b"], "embedding": [[1.0]]}), tmp_path / "b.parquet")
    with pytest.raises(
        InputError, match=r"is int64 in a\.parquet and string in b\.parquet: write it with one type"
    ) as caught:
        subsel.select(tmp_path, size=1)
    assert "\n" not in str(caught.value)


def test_hive_folders_keep_their_partition_columns(tmp_path, demo_table):
    pq.write_to_dataset(demo_table, tmp_path / "hive", partition_cols=["source"])
    selection = subsel.select(tmp_path / "hive", size=20, keep_columns=("source",))
    wanted = dict(zip(demo_table["id"].to_pylist(), demo_table["source"].to_pylist(), strict=True))
    assert [wanted[i] for i in selection.ids.tolist()] == selection.table["source"].to_pylist()


def test_scoring_takes_what_scripts_have():
    import pandas as pd

    graph = pa.table({"src": [1, 2], "dst": [2, 3], "similarity": [0.5, 0.5]})
    expected = subsel.score([1, 2], graph=graph)
    for subset in (pd.Series([1, 2]), np.array([1, 2]), pa.array([1, 2]), pa.table({"id": [1, 2]}), (1, 2)):
        assert subsel.score(subset, graph=graph) == expected
    for subset, message in (
        (["a"], "use one type"),
        ([], "is empty"),
        (pa.table({"id": pa.array([], pa.int64())}), "empty"),
    ):
        with pytest.raises(InputError, match=message):
            subsel.score(subset, graph=graph)


def test_markup_in_names_is_text(tmp_path, demo_table):
    folder = tmp_path / "data[/x]"
    folder.mkdir(parents=True)  # a folder `data[` with a folder `x]` in it
    pq.write_table(demo_table.slice(0, 500), folder / "points.parquet")
    result = CliRunner().invoke(
        main, ["select", str(folder), str(tmp_path / "out"), "--size", "10"], env={"COLUMNS": "400"}
    )
    assert result.exit_code == 0, result.output
    assert "[/x]" in result.output


def test_plan_prints_numbers_and_a_next_step(tmp_path, demo_table):
    pq.write_table(demo_table, tmp_path / "points.parquet")
    result = CliRunner().invoke(main, ["plan", str(tmp_path / "points.parquet"), "--size", "10%"])
    assert result.exit_code == 0, result.output
    rows = ("spark.executor.memoryOverhead", "work of one core", "time on Spark")
    for expected in ("3,000 x 16, 300 to select", "fits", "1 part of about", *rows):
        assert expected in result.output
    options = ["plan", "--points", "13000000000", "--dimension", "64", "--size", "10%", "--cores", "1000"]
    result = CliRunner().invoke(main, options, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for expected in ("13,000,000,000 x 64, 1,300,000,000 to select", "does not fit", "on 1,000 cores"):
        assert expected in result.output
    for wrong in (["plan", "--size", "10%"], [*options, "points.parquet"], [*options[:3], "--size", "10%"]):
        result = CliRunner().invoke(main, wrong)
        assert result.exit_code == 2
        assert "either INPUT or --points and --dimension" in result.output


def test_work_grows_with_points_and_dimensions():
    config = subsel.SelectConfig(size=0.1)
    one, two, wide, graph = (
        planning.estimate(n, d, n // 10, config).work
        for n, d in ((10**8, 128), (2 * 10**8, 128), (10**8, 256), (10**8, 0))
    )
    assert two.read == 2 * one.read
    assert two.selection == 2 * one.selection
    assert two.refine == 2 * one.refine
    assert 2 < two.neighbors / one.neighbors < 2.2  # cells are in groups: comparing with all would make it more
    assert one.neighbors < wide.neighbors < 2.3 * one.neighbors
    assert graph.neighbors == 0
    assert graph.selection == one.selection == wide.selection
    assert one.total == one.read + one.neighbors + one.selection + one.refine
    assert planning.estimate(10**8, 128, 10**7, subsel.SelectConfig(size=0.1, refine=0)).work.refine == 0
    assert [duration(seconds) for seconds in (0.2, 80, 100, 5000, 1e6)] == ["1 s", "80 s", "1.7 min", "83 min", "280 h"]


def test_no_more_cores_are_counted_than_there_are_parts():
    options = ["plan", "--points", "1000000", "--dimension", "128", "--neighbors", "10", "--size", "10%", "--cores"]
    said = [CliRunner().invoke(main, [*options, cores], env={"COLUMNS": "200"}).output for cores in ("7", "21", "1000")]
    seven, parts, many = (re.search(r"time on Spark +about (.+) on", output)[1] for output in said)
    assert seven != parts == many


def test_auto_says_why_it_leaves_the_machine(tmp_path, demo_table, monkeypatch, caplog):
    from subsel.engines import choose

    pq.write_table(demo_table, tmp_path / "points.parquet")
    config = subsel.SelectConfig(size=10)
    assert choose.choose_engine("auto", str(tmp_path / "points.parquet"), None, config, [10]) == "local"
    monkeypatch.setattr("subsel.planning.available_memory", lambda: 1000)
    assert choose.choose_engine("auto", str(tmp_path / "points.parquet"), None, config, [10]) == "spark"
    assert "selecting on Spark" in caplog.text
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(subsel.MissingPackageError, match=r"pip install 'subsel\[spark\]'"):
        choose.choose_engine("spark", None, None, config, [10])


def test_parts_take_24_to_48_mib_of_vectors():
    config = subsel.SelectConfig()
    found = {d: planning.part_points(d, 10, config) for d in (0, 2, 64, 128, 192, 256, 384, 768, 1024, 4096)}
    expected = [200_000, 200_000, 98_304, 49_152, 32_768, 32_768, 32_768, 16_384, 12_288, 10_000]
    assert list(found.values()) == expected
    assert planning.part_points(384, 10, subsel.SelectConfig(part_points=123)) == 123
    assert planning.part_points(128, 100, config) < planning.part_points(128, 10, config)  # lists take room, too


@pytest.mark.parametrize(("budget", "told"), [("10%", "100,000 to select"), ("1B", "a number that is not known")])
def test_a_budget_is_planned_as_far_as_it_says(budget, told):
    options = ["plan", "--points", "1000000", "--dimension", "64", "--budget", budget, "--cost", "tokens"]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    assert told in " ".join(result.output.split())
