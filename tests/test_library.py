"""What a caller in a notebook or an editor meets: selections, typed options, hints, plan, explain, neighbors, score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import datasets
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

import subsel
from subsel import ConfigError, InputError
from subsel.keywords import NAMED, options_module
from subsel.memory import group_limits
from subsel.options import Options
from subsel.selection import Selection

QUIET = {"progress": False, "engine": "local"}


@pytest.fixture(scope="module")
def selection(demo_table):
    return subsel.select(demo_table, size=30, **QUIET)


# -- selections --


def test_a_selection_is_its_ids(selection, demo_table):
    assert len(selection) == 30
    assert list(selection) == selection.table["id"].to_pylist()
    assert repr(selection).startswith("Selection(30 of 3,000 points of the table, objective ")
    assert "\n" not in repr(selection)
    assert selection.rows.dtype == np.int64
    assert demo_table["id"].take(pa.array(selection.rows)).to_pylist() == list(selection)


def test_rows_count_bad_ones_and_copies(demo_table):
    """Positions are in what was given, not in what was left of it."""
    bad = demo_table.slice(0, 2).set_column(1, "embedding", pa.array([None, None], demo_table.schema.field(1).type))
    bad = bad.set_column(0, "id", pa.array([-1, -2]))
    data = pa.concat_tables([bad, demo_table])
    found = subsel.select(data, size=30, on_bad_rows="drop", thin=5, **QUIET)
    assert data["id"].take(pa.array(found.rows)).to_pylist() == list(found)
    assert sorted(found.filter(data)["id"].to_pylist()) == sorted(found)
    with pytest.raises(InputError, match=r"3,000 rows, the subset was selected from 3,002"):
        found.filter(demo_table)


def test_rows_are_of_a_graph_too(demo_table):
    graph = subsel.neighbors(demo_table, neighbors=5, progress=False).graph
    found = subsel.select(graph=graph.to_scipy(), size=10, **QUIET)
    np.testing.assert_array_equal(found.rows, found.ids)


@pytest.mark.parametrize(
    "make",
    [
        lambda table: table,
        lambda table: table.combine_chunks().to_batches()[0],
        pads.dataset,
        lambda table: table.to_pandas(),
        lambda table: table.to_pandas().set_index("id", drop=False)["id"],
        pl.from_arrow,
        lambda table: pl.from_arrow(table)["id"],
        lambda table: pl.from_arrow(table).lazy(),
        lambda table: datasets.Dataset(table.select(["id"])),
        lambda table: table["id"].to_numpy(),
        lambda table: table["id"].to_pylist(),
        lambda table: tuple(table["id"].to_pylist()),
        lambda table: sp.csr_matrix(table["id"].to_numpy()[:, None]),
    ],
    ids=[
        "table",
        "batch",
        "dataset",
        "pandas",
        "series",
        "polars",
        "column",
        "lazy",
        "hf",
        "numpy",
        "list",
        "tuple",
        "sp",
    ],
)
def test_filter_gives_the_type_back_in_the_order_of_the_input(selection, demo_table, make):
    data = make(demo_table)
    found = selection.filter(data)
    assert type(found) is type(data) or isinstance(data, pads.Dataset)
    expected = [one for one in demo_table["id"].to_pylist() if one in set(selection)]
    assert ids_of(found) == expected


def ids_of(data):
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pads.Dataset):
        data = data.to_table()
    if sp.issparse(data):
        data = data.toarray()[:, 0]
    if hasattr(data, "column_names") or hasattr(data, "columns") or hasattr(data, "schema"):
        data = data["id"]
    return [int(str(one)) for one in data]


def test_filter_refuses_what_has_other_rows_or_none(selection, demo_table):
    for data in (demo_table.slice(1), list(range(10)), pl.from_arrow(demo_table).lazy().head(5)):
        with pytest.raises(InputError, match="the subset was selected from 3,000: give those"):
            selection.filter(data)
    for data in ("points/", 7, {"id": [1]}):
        with pytest.raises(InputError, match="filter does not understand"):
            selection.filter(data)


def test_a_notebook_gets_a_table_and_two_pictures_of_its_own(selection):
    page = selection._repr_html_()
    root = ET.fromstring(page)  # well-formed
    assert len(root.findall(".//{http://www.w3.org/2000/svg}svg")) == 2
    names = [one.text for one in root.findall(".//th")]
    assert {"selected", "objective", "upper bound", "seconds"} <= set(names)
    assert len(page) < 20_000
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_notebooks_page_holds_names_as_text(demo_table):
    named = demo_table.rename_columns(["id", "embedding", "<b>&", "source"])
    page = subsel.select(named, size=1, utility="<b>&", **QUIET)._repr_html_()
    assert "&lt;b&gt;&amp;" in page
    assert len(ET.fromstring(page).findall(".//{http://www.w3.org/2000/svg}svg")) == 1  # one gain is no curve


def test_one_point_and_equal_utilities_have_no_pictures():
    found = subsel.select(np.eye(3, dtype=np.float32), size=1, utility="constant", **QUIET)
    assert "<svg" not in found._repr_html_()


# -- options --


def test_typed_options_are_the_declared_ones():
    fields = set(subsel.SelectConfig.model_fields)
    assert set(Options.__annotations__) == fields - set(NAMED)
    made = Path(subsel.__file__).parent / "options.py"
    assert made.read_text("utf-8") == options_module(), "python -m subsel.keywords > subsel/options.py"


def test_functions_take_every_option_once():
    """A name that a function has itself may not be among its other options: type checkers would refuse both."""
    for function in (subsel.select, subsel.neighbors, subsel.score_subsets, subsel.plan, subsel.validate):
        assert not set(function.__annotations__) & set(Options.__annotations__)


def test_a_list_of_text_that_is_values_of_rows_is_told_from_names_of_columns():
    with pytest.raises(ConfigError, match=r"list of 4 names of columns, some of them twice: .* np\.array\(groups\)"):
        subsel.select(np.eye(4), size=2, groups=["web", "web", "code", "web"], quotas="balanced")


SAMPLE = """
import subsel
good = subsel.select("points", size=10, neighbors=3, groups=["a"], cost=[1, 2], keep_columns="url")
subsel.score([1], points="points", alpha=0.5)
subsel.select_sizes("points", sizes=[1, "10%"], overwrite=True, cost="c")
subsel.select("points", size=10, nieghbors=3)
subsel.select("points", size=10, metric="cosin")
subsel.score([1], dat="points")
"""
WRONG = [6, 7, 8]


@pytest.mark.slow
def test_mypy_complains_of_misspelt_options(tmp_path):
    (tmp_path / "sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", "sample.py"]
    root = str(Path(subsel.__file__).parent.parent)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"MYPYPATH": root})
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line]
    assert lines == WRONG, done.stdout + done.stderr


@pytest.mark.slow
def test_pyright_complains_of_misspelt_options(tmp_path):
    pytest.importorskip("pyright", reason="pyright is not installed: pip install 'pyright[nodejs]'")
    (tmp_path / "sample.py").write_text(SAMPLE)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(Path(subsel.__file__).parent.parent)]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "sample.py"]
    offline = os.environ | {"PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT": "1", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=offline)
    assert done.stdout, done.stderr
    found = [one for one in json.loads(done.stdout)["generalDiagnostics"] if one["severity"] == "error"]
    assert [one["range"]["start"]["line"] + 1 for one in found] == WRONG


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda table: subsel.select(table, size=5, nieghbors=3), r"'nieghbors' \(did you mean 'neighbors'"),
        (lambda table: subsel.select(table, size=5, run_dri="x"), r"\(did you mean 'run_dir'"),
        (lambda table: subsel.select_sizes(table, sizes=[5], overwite=True), r"\(did you mean 'overwrite'"),
        (lambda table: subsel.score([1], point=table), r"\(did you mean 'points'"),
        (lambda table: subsel.neighbors(table, enginee="local"), r"\(did you mean 'engine'"),
        (lambda table: subsel.plan(table, sise=5), r"\(did you mean 'size'"),
        (lambda table: subsel.validate(table, metrik="l2"), r"\(did you mean 'metric'"),
        (lambda table: subsel.select(table, size=5, utility="densty"), r"'densty' \(did you mean 'density'\?\)"),
        (lambda table: subsel.select(table, size=5, embedding_column="embeding"), r"\(did you mean 'embedding'\?\)"),
        (lambda table: subsel.select(table, size=5, keep_columns="sources"), r"\(did you mean 'source'\?\)"),
        (lambda table: subsel.select(table, size=5, include="column:sourc"), r"\(did you mean 'source'\?\)"),
        (lambda table: subsel.select(table, size=5, utility="qqqq"), "utility column 'qqqq'; it has id"),
    ],
)
def test_what_was_meant_is_asked(demo_table, call, meant):
    with pytest.raises(InputError, match=meant):
        call(demo_table)


def test_a_config_file_asks_too(tmp_path, demo_table):
    (tmp_path / "config.toml").write_text("diversty = 0.1\n")
    with pytest.raises(ConfigError, match=r"'diversty' \(did you mean 'diversity'\?\): known are "):
        subsel.select(demo_table, size=5, config=tmp_path / "config.toml")


# -- functions named as the commands --


def test_plan_is_of_an_input_or_of_points_to_come(demo_table):
    found = subsel.plan(demo_table, size="10%")
    assert (found.n, found.k, found.dimension) == (3000, 300, 16)
    far = subsel.plan(points=10**9, dimension=64, size="10%")
    assert far.n == 10**9
    assert not far.fits
    for wrong in ({"points": 5}, {}, {"data": demo_table, "points": 5, "dimension": 2}):
        with pytest.raises(ConfigError, match="either data or points and dimension"):
            subsel.plan(**wrong)
    with pytest.raises(ConfigError, match="points is at least 1"):
        subsel.plan(points=0, dimension=3)


def test_explain_is_a_function(demo_table, tmp_path):
    found = subsel.select(demo_table, size=30, run_dir=tmp_path / "run", **QUIET)
    assert subsel.explain(tmp_path / "run", next(iter(found))).selected


def test_neighbors_says_where_a_graph_on_spark_goes(demo_table, tmp_path):
    with pytest.raises(ConfigError, match="it is never collected: give a run_dir"):
        subsel.neighbors("points", engine="spark")
    with pytest.raises(ConfigError, match="run_dir is for engine='spark'"):
        subsel.neighbors(demo_table, run_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match="engine 'sparc' is unknown"):
        subsel.neighbors(demo_table, engine="sparc", run_dir=tmp_path / "run")


def test_a_frame_on_spark_is_filtered_by_ids(spark, demo_table, tmp_path):
    pq.write_table(demo_table.select(["id", "source"]), tmp_path / "points.parquet")
    frame = spark.read.parquet(str(tmp_path / "points.parquet"))
    here = subsel.select(demo_table, size=30, output=tmp_path / "subset", **QUIET)
    kept = Selection(here.report, here.place)  # as from Spark
    for found in (here, kept):
        chosen = found.filter(frame)
        assert chosen.columns == frame.columns
        assert {row.id for row in chosen.collect()} == set(here)
    with pytest.raises(ConfigError, match="on Spark rows have no positions"):
        _ = kept.rows
    with pytest.raises(ConfigError, match="give filter a Spark DataFrame"):
        kept.filter(demo_table)
    with pytest.raises(InputError, match=r"no id column 'id'; it has x"):
        kept.filter(frame.select(frame["id"].alias("x")))


@pytest.mark.slow
def test_spark_keeps_graphs_from_which_select_goes_on(spark, demo_table, tmp_path):
    pq.write_table(demo_table, tmp_path / "points.parquet")
    frame = spark.read.parquet(str(tmp_path / "points.parquet"))
    made = subsel.neighbors(frame, size=30, engine=spark, run_dir=tmp_path / "run", progress=False)
    assert made.report.edges > 0
    with pytest.raises(ConfigError, match="on Spark the graph stays in its parts"):
        _ = made.graph
    where = {"run_dir": tmp_path / "run", "resume": True, "output": tmp_path / "subset", "progress": False}
    found = subsel.select(frame, size=30, engine=spark, **where)
    assert "30 of 3,000 points" in repr(found)
    assert found._chosen is None
    assert "<table>" in found._repr_html_()
    assert {row.id for row in found.filter(frame).select("id").collect()} == set(found)


def test_memory_is_what_the_container_has(tmp_path, monkeypatch):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "mine").write_text("0::/a/b\n")
    monkeypatch.setattr("subsel.memory._GROUPS", tmp_path)
    monkeypatch.setattr("subsel.memory._MINE", tmp_path / "mine")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("5\n")
    assert list(group_limits()) == []
    (inner.parent / "memory.max").write_text("1000000\n")
    (inner.parent / "memory.current").write_text("700000\n")
    (inner.parent / "memory.stat").write_text("anon 1\ninactive_file 200000\n")
    assert list(group_limits()) == [(1_000_000, 500_000)]
    assert subsel.plan(points=10**6, dimension=8, size=0.1).available_bytes == 500_000
