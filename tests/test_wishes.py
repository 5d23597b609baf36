"""Includes, excludes, and several sizes in one run: on both engines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import ConfigError, InputError
from subsel.cli.commands import main


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """1,000 points with a graph and two boolean columns, as Parquet."""
    folder = tmp_path_factory.mktemp("wishes")
    rng = np.random.default_rng(8)
    n = 1000
    src = np.repeat(np.arange(n), 4)
    dst = (src + rng.integers(1, 40, len(src))) % n
    ids = rng.permutation(n) * 7
    table = {"id": ids, "utility": rng.random(n), "wanted": np.arange(n) % 50 == 3, "banned": np.arange(n) % 10 == 7}
    pq.write_table(pa.table(table), folder / "points.parquet")
    pq.write_table(
        pa.table({"src": ids[src], "dst": ids[dst], "similarity": rng.random(len(src))}), folder / "graph.parquet"
    )
    return folder, ids, rng


def options(problem):
    folder, *_ = problem
    return {"graph": str(folder / "graph.parquet"), "alpha": 0.6}


def points(problem):
    return str(problem[0] / "points.parquet")


@pytest.mark.parametrize(
    ("size", "engine"),
    [
        (30, "local"),
        (500, "local"),
        (880, "local"),
        *(pytest.param(size, "spark", marks=pytest.mark.slow) for size in (30, 500, 880)),
    ],
)
def test_wishes_are_met_alike_on_both_engines(request, problem, tmp_path, size, engine):
    wishes = {"include": "wanted", "exclude": "banned"}
    local = subsel.select(points(problem), size=size, engine="local", **wishes, **options(problem))
    ours = local
    if engine == "spark":  # in make test: tests/test_spark.py has wishes on many parts
        more = {"engine": request.getfixturevalue("spark"), "part_points": 300, "output": tmp_path / "out"}
        ours = subsel.select(points(problem), size=size, **more, **wishes, **options(problem))
    assert ours.table.equals(local.table)
    ids = problem[1]
    wanted, banned = set(ids[np.arange(1000) % 50 == 3]), set(ids[np.arange(1000) % 10 == 7])
    chosen = set(local.ids.tolist())
    assert wanted <= chosen
    assert not banned & chosen
    assert len(chosen) == size
    rows = local.table.to_pylist()
    assert {row["id"] for row in rows if row["decided_by"] == "include"} == wanted
    for report in (local.report, ours.report):
        assert (report.constraints.included, report.constraints.excluded) == (20, 100)
    assert ours.upper_bound == pytest.approx(local.upper_bound)
    free = subsel.select(points(problem), size=size, engine="local", **options(problem))
    assert free.objective >= local.objective - 1e-9
    assert local.upper_bound >= local.objective


def test_last_times_subset_grows(problem, tmp_path):
    first = subsel.select(points(problem), size=100, output=tmp_path / "first", **options(problem))
    more = subsel.select(points(problem), size=150, include=tmp_path / "first", **options(problem))
    assert set(first.ids) <= set(more.ids)
    by_list = subsel.select(points(problem), size=150, include=first.ids.tolist(), **options(problem))
    assert by_list.table.equals(more.table)


@pytest.mark.slow
def test_last_times_subset_grows_on_spark(spark, problem, tmp_path):
    first = subsel.select(points(problem), size=100, output=tmp_path / "first", **options(problem))
    more = subsel.select(points(problem), size=150, include=tmp_path / "first", **options(problem))
    for number, include in enumerate((str(tmp_path / "first"), first.ids)):
        ours = subsel.select(
            points(problem), size=150, include=include, engine=spark, output=tmp_path / str(number), **options(problem)
        )
        assert ours.table.equals(more.table)


@pytest.mark.parametrize("engine", ["local", "spark"])
@pytest.mark.parametrize(
    ("wishes", "error", "message"),
    [
        ({"include": [7, 14], "exclude": [14]}, ConfigError, "1 points are in include and in exclude, such as 14"),
        ({"include": "wanted", "size": 19}, ConfigError, "include has 20 points, more than the 19 to select"),
        ({"exclude": "banned", "size": 901}, ConfigError, "exclude leaves 900 of 1,000 points, fewer than the 901"),
        ({"include": [3]}, InputError, "1 of 1 ids .* unknown, such as 3"),
        ({"include": "utility"}, InputError, "column 'utility' is double, but must be boolean"),
        ({"exclude": "nothing"}, InputError, "exclude 'nothing': no such path, and .* has no column 'nothing'"),
        ({"include": [7, 7]}, InputError, "1 of 2 ids of include repeat another"),
    ],
)
def test_wishes_that_cannot_be_met(spark, problem, tmp_path, monkeypatch, engine, wishes, error, message):
    """They are refused before the graph is looked at."""
    where = spark if engine == "spark" else "local"
    for stages in ("subsel.stages.local.LocalStages", "subsel.stages.spark.SparkStages"):
        monkeypatch.setattr(f"{stages}.neighbors", lambda self, tell: pytest.fail("too late"))
    with pytest.raises(error, match=message):
        subsel.select(
            points(problem), engine=where, output=tmp_path / "out", **({"size": 50} | wishes), **options(problem)
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_empty_wishes_change_nothing(spark, problem, tmp_path):
    plain = subsel.select(points(problem), size=50, engine="local", **options(problem))
    pq.write_table(pa.table({"id": pa.array([], pa.int64())}), tmp_path / "nobody.parquet")
    wishes = {"include": [], "exclude": tmp_path / "nobody.parquet"}
    for number, engine in enumerate(("local", spark)):
        output = tmp_path / str(number)
        empty = subsel.select(points(problem), size=50, engine=engine, output=output, **wishes, **options(problem))
        assert empty.table.equals(plain.table)


@pytest.mark.slow
def test_flagged_rows_that_were_dropped_do_not_count(spark, tmp_path, rng):
    """With ids of 32 bits, which Spark keeps as such."""
    table = pa.table(
        {
            "id": pa.array(range(60), pa.int32()),
            "embedding": [[float("nan"), 1.0] if i == 3 else [float(a) for a in rng.random(2)] for i in range(60)],
            "keep": [i in (3, 4, 5) for i in range(60)],
        }
    )
    pq.write_table(table, tmp_path / "points.parquet")
    for engine in ("local", spark):
        found = subsel.select(
            tmp_path / "points.parquet",
            size=10,
            include="keep",
            engine=engine,
            output=tmp_path / ("out" if engine == "local" else "spark"),
            on_bad_rows="drop",
        )
        assert found.report.constraints.included == 2
        assert {4, 5} <= set(found.ids.tolist())


@pytest.mark.long
def test_best_direction_and_several_sizes_with_a_run_directory(spark, problem, tmp_path):
    more = {"part_points": 300, "finish_points": 0, **options(problem)}
    for number, size in enumerate((0.1, 0.6)):
        local = subsel.select(points(problem), size=size, engine="local", greedy_direction="best", **more)
        run_dir = tmp_path / f"run{number}"
        ours = subsel.select(
            points(problem),
            size=size,
            engine=spark,
            output=tmp_path / f"out{number}",
            run_dir=run_dir,
            greedy_direction="best",
            **more,
        )
        assert ours.table.equals(local.table)
    run_dir = tmp_path / "sizes"
    subsel.select_sizes(
        points(problem), sizes=[50, 60], engine=spark, output=tmp_path / "both", run_dir=run_dir, **more
    )
    assert sorted(p.name for p in run_dir.iterdir()) == [".subsel-run.json", "graph", "manifest.json", "points"]
    one = subsel.select(
        points(problem), size=50, engine=spark, output=tmp_path / "one", run_dir=run_dir, resume=True, **more
    )
    assert one.table.equals(subsel.select(points(problem), size=50, engine="local", **more).table)


@pytest.mark.parametrize("engine", ["local", pytest.param("spark", marks=pytest.mark.slow)])
def test_several_sizes_share_a_graph(request, problem, tmp_path, engine):
    where = request.getfixturevalue("spark") if engine == "spark" else "local"
    sizes = ["1%", 50, 0.5]
    alone = [subsel.select(points(problem), size=size, engine="local", **options(problem)) for size in sizes]
    ours = subsel.select_sizes(points(problem), sizes=sizes, engine=where, output=tmp_path / "a", **options(problem))
    for one, two in zip(alone, ours, strict=True):
        assert two.table.equals(one.table)
        assert two.report.k == len(one.table)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["0.5", "1pct", "50"]
    with pytest.raises(ConfigError, match="all different"):
        subsel.select_sizes(points(problem), sizes=["1%", "1pct"], **options(problem))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sizes": [3], "size": 4}, "^size=4 where sizes are given: name all of them in sizes.$"),
        ({"sizes": [3, "1.5x"]}, "size '1.5x' is neither a count"),
        ({"sizes": [3, 0]}, "size 0 is neither a count"),
        ({"sizes": [3], "resume": True}, "give run_dir"),
    ],
)
def test_wrong_sizes_are_refused_before_a_folder_is_made(problem, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message) as caught:
        subsel.select_sizes(points(problem), output=tmp_path / "out", **more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_sizes_and_wishes_from_the_command_line(problem, tmp_path):
    arguments = ["select", points(problem), str(tmp_path / "out"), "--graph", options(problem)["graph"]]
    result = CliRunner().invoke(main, [*arguments, "--sizes", "5%,10%", "--include", "wanted", "--exclude", "banned"])
    assert result.exit_code == 0, result.output
    assert "included 20, excluded 100" in result.output
    assert pq.read_table(tmp_path / "out" / "5pct").num_rows == 50
    assert pq.read_table(tmp_path / "out" / "10pct").num_rows == 100
    both = CliRunner().invoke(main, [*arguments, "--sizes", "5%", "--size", "5%"])
    assert both.exit_code == 2
