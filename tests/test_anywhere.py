"""The same subset wherever points, graph, subset and run directory are, and nothing made anywhere else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel.storage import arrow_place, place_of
from tests.spark_fixtures import MOUNTED
from tests.storage_fixtures import s3, s3_server  # noqa: F401  (fixtures)

OPTIONS = {"size": 40, "alpha": 0.7, "keep_columns": ["text"], "progress": False}


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(5)
    n = 400
    ids = np.array([f"doc {i}/é" for i in rng.permutation(n)])
    src = np.repeat(np.arange(n), 4)
    dst = (src + rng.integers(1, 30, len(src))) % n
    points = pa.table({"id": ids, "utility": rng.random(n), "text": [f"text of {one}" for one in ids]})
    graph = pa.table({"src": ids[src], "dst": ids[dst], "similarity": rng.random(len(src))})
    return points, graph


@pytest.fixture(scope="module")
def expected(tables):
    points, graph = tables
    return subsel.select(points, graph=graph, **OPTIONS).table


def put(tables, backing: str) -> None:
    """Write points, in a subfolder of their folder too, and graph below a place that Arrow reaches."""
    points, graph = tables
    for name, table in (("a", points[:250]), ("more/b", points[250:])):
        file = place_of(backing).join("points", f"{name}.parquet")
        file.parent().make_folder()
        pq.write_table(table, arrow_place(file).path, filesystem=arrow_place(file).filesystem)
    file = arrow_place(place_of(backing).join("graph.parquet"))
    pq.write_table(graph, file.path, filesystem=file.filesystem)


def read(backing: str, name: str) -> pa.Table:
    """Read a subset as any reader of Parquet does that knows nothing of its manifest."""
    place = arrow_place(place_of(backing).join(name))
    table = pq.read_table(place.path, filesystem=place.filesystem)
    return table.replace_schema_metadata(None).sort_by("rank")


def select_and_resume(base: str, backing: str, expected: pa.Table, **more) -> None:
    arguments = {"graph": f"{base}/graph.parquet", "run_dir": f"{base}/run", **OPTIONS, **more}
    subsel.select(f"{base}/points", output=f"{base}/out", **arguments)
    subsel.select(f"{base}/points", output=f"{base}/again", resume=True, **arguments)
    for name in ("out", "again"):
        assert read(backing, name).equals(expected.replace_schema_metadata(None)), name
    below = place_of(backing).children()
    assert below == ["again", "graph.parquet", "out", "points", "run"]
    with pytest.raises(subsel.InputError, match="exists"):
        subsel.select(f"{base}/points", output=f"{base}/out", **(arguments | {"run_dir": None}))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory in which nothing must appear."""
    folder = tmp_path / "working directory"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield tmp_path / "base %41 [x]"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["path", "file"])
def test_one_machine_on_its_own_disk(elsewhere, tables, expected, kind):
    put(tables, str(elsewhere))
    base = str(elsewhere) if kind == "path" else elsewhere.as_uri()
    select_and_resume(base, str(elsewhere), expected, engine="local")


def test_one_machine_and_an_s3_server(elsewhere, s3, tables, expected):  # noqa: F811
    put(tables, s3)
    select_and_resume(s3, s3, expected, engine="local")
    alias = s3.replace("s3://", "s3a://")
    assert subsel.score(
        f"{alias}/out", points=f"{s3}/points", graph=f"{alias}/graph.parquet", alpha=0.7, progress=False
    )


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ("viewfs", "path", "file")])
def test_spark(spark, elsewhere, tables, expected, kind):
    backing = MOUNTED / f"anywhere-{kind}" if kind == "viewfs" else elsewhere
    put(tables, str(backing))
    base = {"viewfs": f"viewfs://subsel/mounted/anywhere-{kind}", "path": str(backing), "file": backing.as_uri()}[kind]
    select_and_resume(base, str(backing), expected, engine=spark, part_points=150, finish_points=0)
