"""What a run directory tells of a point agrees with the subset that was written."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import InputError
from subsel.cli.commands import main
from subsel.explaining import explain
from subsel.rundir import FORMAT


@pytest.fixture(scope="module", params=["local", pytest.param("spark", marks=pytest.mark.slow)])
def run(request, tmp_path_factory):
    """A run directory, of which engine it may be."""
    where = request.getfixturevalue("spark") if request.param == "spark" else "local"
    folder = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(4)
    n = 600
    src = np.repeat(np.arange(n), 4)
    dst = (src + rng.integers(1, 40, len(src))) % n
    ids = np.array([f"p{i}" for i in range(n)])
    pq.write_table(pa.table({"id": ids, "utility": rng.random(n)}), folder / "points.parquet")
    edges = pa.table({"src": ids[src], "dst": ids[dst], "similarity": rng.random(len(src))})
    pq.write_table(edges, folder / "graph.parquet")
    graph = {"graph": str(folder / "graph.parquet"), "alpha": 0.8, "exclude": ["p7"], "include": ["p8"]}
    selection = subsel.select(
        folder / "points.parquet",
        size=0.3,
        engine=where,
        output=folder / "subset",
        run_dir=folder / "run",
        part_points=150,
        finish_points=0,
        **graph,
    )
    matrix = subsel.select(folder / "points.parquet", size=0.3, engine="local", **graph).graph.to_scipy()
    return folder, selection, matrix, pq.read_table(folder / "points.parquet")["utility"].to_numpy()


def test_every_point_is_told_as_it_is(run):
    folder, selection, matrix, utility = run
    chosen = set(selection.ids.tolist())
    members = np.array([f"p{i}" in chosen for i in range(600)])
    refined = {row["id"] for row in selection.table.to_pylist() if row["decided_by"] == "refine"}
    gains = 0.8 * utility - 0.2 * (matrix @ members)
    assert refined
    told = 0
    for i in [*range(20), *(int(one[1:]) for one in refined)]:
        found = explain(folder / "run", f"p{i}")
        assert found.selected == members[i]
        assert found.utility == utility[i]
        assert found.gain == pytest.approx(gains[i])
        assert found.least_gain == pytest.approx(gains[members].min(), abs=1e-6)
        row = matrix[i]
        assert {(one.id, round(one.similarity, 9)) for one in found.neighbors} == {
            (f"p{j}", round(s, 9)) for j, s in zip(row.indices, row.data, strict=True)
        }
        assert all(one.selected == (one.id in chosen) for one in found.neighbors)
        assert all(step > 0 for _, step in found.fates), found.fates
        told += len(found.fates)
        if f"p{i}" in refined:
            assert "brought in by refinement" in found.fates[-1][0]
    assert told >= 20
    assert explain(folder / "run", "p7").fates[0][0] == "excluded by your wish"
    assert explain(folder / "run", "p8").fates[0][0] == "included by your wish"


def test_the_command(run):
    folder, selection, *_ = run
    first = selection.ids[0]
    result = CliRunner().invoke(main, ["explain", first, str(folder / "run")])
    assert result.exit_code == 0, result.output
    assert f"{first}, selected" in result.output
    for arguments, message in (
        (["nobody", str(folder / "run")], "no point of this run has the id 'nobody'"),
        ([first, str(folder)], "is no run directory"),
    ):
        failed = CliRunner().invoke(main, ["explain", *arguments])
        assert failed.exit_code == 2
        assert message in failed.output


def test_an_unfinished_run(tmp_path):
    content = {"subsel": subsel.__version__, "format": FORMAT, "stages": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="has not finished greedy"):
        explain(tmp_path, "p1")
