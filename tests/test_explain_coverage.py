"""Coverage explained: a member by whom it covers best, others by who covers them; audits on any parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.audit import Reason, Room
from subsel.board import hear_wishes
from subsel.cli.commands import main
from subsel.covering.greedy import COVERAGE
from subsel.engines.local import LocalEngine
from subsel.explaining import explain
from subsel.greedy.limited import limited_greedy, order_limited, ranks_as_keys, spent_by_groups
from subsel.schema import Status
from tests.test_audit import judged, plain_reasons, wish
from tests.test_covering import covering_problems, on_parts, replace_problem
from tests.test_limited import refused

N, WEIGHT = 500, 0.5
QUIET = {"progress": False, "coverage_sample": 0, "recall_sample": 0}


@pytest.fixture(scope="module", params=["local", pytest.param("spark", marks=pytest.mark.slow)])
def run(request, tmp_path_factory):
    """A run directory, of which engine it may be, with equal similarities and points that nobody is near to."""
    where = request.getfixturevalue("spark") if request.param == "spark" else "local"
    folder = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(5)
    src = np.repeat(np.arange(N - 40), 3)
    dst = (src + rng.integers(1, 40, len(src))) % (N - 40)
    ids = np.array([f"p{i}" for i in range(N)])
    utility = rng.random(N)
    pq.write_table(pa.table({"id": ids, "utility": utility}), folder / "points.parquet")
    similarity = rng.integers(1, 9, len(src)) / 8
    pq.write_table(pa.table({"src": ids[src], "dst": ids[dst], "similarity": similarity}), folder / "graph.parquet")
    options = {"graph": str(folder / "graph.parquet"), "objective": "coverage", "utility_weight": WEIGHT, **QUIET}
    selection = subsel.select(
        folder / "points.parquet",
        size=0.1,
        engine=where,
        output=folder / "subset",
        run_dir=folder / "run",
        audit=folder / "why",
        part_points=150,
        finish_points=0,
        **options,
    )
    matrix = subsel.select(folder / "points.parquet", size=0.1, engine="local", **options).graph.to_scipy().toarray()
    return folder, selection, matrix, utility


def test_every_point_is_told_as_it_is(run):
    folder, selection, matrix, utility = run
    chosen = set(selection.ids.tolist())
    member = np.array([f"p{i}" in chosen for i in range(N)])
    np.fill_diagonal(matrix, matrix.max())
    audit = {row["id"]: row for row in selection.audit.to_table().to_pylist()}
    several, alone, best_of = 0, 0, {}
    for i in [*np.flatnonzero(member).tolist(), *range(20), *range(N - 20, N)]:
        found = explain(folder / "run", f"p{i}")
        others = member.copy()
        others[i] = False
        cover = matrix[:, others].max(axis=1, initial=0)
        assert found.gain == pytest.approx(np.maximum(0, matrix[i] - cover).sum() + WEIGHT * utility[i])
        row = audit[f"p{i}"]
        assert (found.selected, found.reason) == (row["selected"], row["reason"])
        assert (None if found.nearest is None else found.nearest.id) == row["nearest"]
        alone += found.nearest is None
        if not member[i]:
            assert found.covers == []
            continue
        names = {int(one.id[1:]) for one in found.covers}
        near = set(np.flatnonzero(matrix[i] > 0).tolist()) - {i}
        assert {v for v in near if matrix[i, v] > cover[v]} <= names <= {v for v in near if matrix[i, v] >= cover[v]}
        assert [one.similarity for one in found.covers] == sorted((matrix[i, v] for v in names), reverse=True)
        several += len(names) > 1
        for v in names:
            assert best_of.setdefault(v, i) == i, "two are the most similar member"
    assert several and alone
    # every point with a member among its neighbours is covered best by one of them, or by itself
    reached = set(np.flatnonzero((matrix * (1 - np.eye(N)))[:, member].max(axis=1) > 0).tolist())
    assert reached - set(np.flatnonzero(member).tolist()) <= best_of.keys() <= reached


def test_the_command(run):
    folder, selection, *_ = run
    first = selection.ids[0]
    audit = selection.audit.to_table().to_pylist()
    covered = next(row for row in audit if not row["selected"] and row["nearest"] is not None)
    lone = next(row for row in audit if not row["selected"] and row["nearest"] is None)
    best = explain(folder / "run", first).covers
    for name, told in (
        (first, f"{len(best)} other point"),
        (first, best[0].id),
        (covered["id"], f"{covered['nearest']}, similarity {covered['nearest_similarity']:.4f}"),
        (lone["id"], "nobody: none of its neighbours is a member"),
    ):
        result = CliRunner().invoke(main, ["explain", name, str(folder / "run")])
        assert result.exit_code == 0, result.output
        assert told in result.output
        assert ("covers best" in result.output) == (name == first)
        assert ("covered by" in result.output) == (name != first)


@given(covering_problems(minima=False), st.integers(1, 5), st.data())
def test_audits_on_any_parts(problem, parts, data):
    part, edges, capacity = problem
    n = part.n_own
    kinds = data.draw(st.lists(st.sampled_from(["", "", "", "in", "out"]), min_size=n, max_size=n))
    inside, outside = ([v for v, one in enumerate(kinds) if one == kind] for kind in ("in", "out"))
    rule = replace_problem(part, capacity)
    if refused(rule, inside) or (capacity.size is not None and len(inside) > capacity.size):
        return
    where = np.array(data.draw(st.lists(st.integers(0, parts - 1), min_size=n, max_size=n)))
    several, _ = on_parts(part, edges, where, finish_points=data.draw(st.sampled_from([0, 4])))
    codes = {Status.INCLUDED: part.code[inside], Status.EXCLUDED: part.code[outside]}
    results = []
    for engine in (LocalEngine(part), several):
        engine.step(wish, codes=codes)
        engine.step(hear_wishes)
        limited_greedy(engine, capacity, moves=COVERAGE)
        order_limited(engine, capacity, moves=COVERAGE, restart=True)
        room = Room.of(capacity, *spent_by_groups(engine, capacity))
        ranks_as_keys(engine, capacity)
        results.append(judged(engine, [], room))
    local, split = results
    assert local == split
    members = {v for v in range(n) if local[int(part.code[v])][0] <= Reason.JOINED}
    assert local == plain_reasons(part, rule, members, inside, outside, [])


@pytest.mark.parametrize("given", [False, True], ids=["copies", "column"])
def test_what_it_counts_that_each_is_covered(tmp_path, rng, given):
    n = 90
    X = rng.standard_normal((n, 4)).astype(np.float32)
    X[80:] = X[:10]
    weight = rng.integers(0, 4, n) / 2 if given else np.ones(n)
    table = pa.table({"id": np.arange(n), "embedding": list(X), "weight": weight})
    options = {"size": 8, "objective": "coverage", "neighbors": 5, "engine": "local", **QUIET}
    options |= {"importance": "weight"} if given else {}
    found = subsel.select(table, run_dir=tmp_path / "run", **options)
    matrix = found.graph.to_scipy().toarray()
    names = found.graph.ids.to_numpy()[np.argsort(found.graph.rows)]
    np.fill_diagonal(matrix, 1)
    counts = weight[names] * [(X[name] == X).all(axis=1).sum() for name in names]
    member = np.isin(names, found.ids)
    for at in range(len(names)):
        others = member.copy()
        others[at] = False
        gain = (counts * np.maximum(0, matrix[at] - matrix[:, others].max(axis=1))).sum()
        assert explain(tmp_path / "run", int(names[at])).gain == pytest.approx(gain)


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
def test_what_a_point_covers_of_itself_follows_the_metric(tmp_path, rng, metric):
    X = 2 * rng.standard_normal((80, 4)).astype(np.float32)
    options = {"size": 8, "objective": "coverage", "metric": metric, "neighbors": 5, "engine": "local", **QUIET}
    found = subsel.select(X, run_dir=tmp_path / "run", **options)
    matrix = found.graph.to_scipy().toarray()
    np.fill_diagonal(matrix, 1.0 if metric == "l2" else np.square(X).sum(axis=1))
    first, *others = found.ids.tolist()
    gain = np.maximum(0, matrix[first] - matrix[:, others].max(axis=1)).sum()
    assert explain(tmp_path / "run", first).gain == pytest.approx(gain)
