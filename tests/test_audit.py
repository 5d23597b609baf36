"""Audits: every point of the input once, with the reason that a slow twin finds; on any parts, on both engines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import ConfigError, InputError, demo
from subsel.audit import BUDGET, NO_LIMIT, Reason, Room, judge
from subsel.board import hear_wishes
from subsel.bounding.driver import bound
from subsel.cli.commands import main
from subsel.engines.local import LocalEngine
from subsel.explaining import explain
from subsel.greedy.exact import exact_greedy, order_subset
from subsel.greedy.limited import limited_greedy, order_limited, ranks_as_keys, spent_by_groups
from subsel.greedy.refine import refine
from subsel.parts import superstep
from subsel.schema import Status
from subsel.sizes import UNLIMITED
from tests.limited_reference import limited_problems
from tests.reference import make_graph, make_part
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems
from tests.test_limited import limited_part, on_parts

QUIET = {"progress": False, "coverage_sample": 0, "recall_sample": 0}


# ------------------------------------------------------------------ the rule set, on any parts
def wish(graph, board, *, codes):
    for status, some in codes.items():
        slots = np.flatnonzero(np.isin(graph.code[: graph.n_own], some))
        board.status[slots] = board.decided_by[slots] = status


def judged(engine, outliers, room):
    """{code: (reason, limit, code of the nearest, similarity)} of all points."""
    if isinstance(engine, LocalEngine):
        parts = [(engine.graph, engine.board)]
    else:
        parts = [(graph, superstep.deliver(graph, engine.boards[p])[0]) for p, graph in engine.graphs.items()]
    found = {}
    for graph, board in parts:
        own = graph.code[: graph.n_own]
        told = judge(graph, board, np.isin(own, outliers), room)
        for v, code in enumerate(own.tolist()):
            near = None if told.nearest[v] < 0 else int(graph.code[told.nearest[v]])
            similarity = None if near is None else float(told.similarity[v])
            found[code] = Reason(told.reason[v]), int(told.limit[v]), near, similarity
    return found


def nearest_of(part, v, members):
    edges = range(part.indptr[v], part.indptr[v + 1])
    found = [(part.similarity[e], part.code[part.indices[e]]) for e in edges if int(part.indices[e]) in members]
    best = max(found, default=None)
    return (None, None) if best is None else (int(best[1]), float(best[0]))


def plain_reasons(part, problem, members, included, excluded, outliers):
    """What `judge` says of a selection under limits, by sums over lists."""
    capacity = problem.capacity
    cost = [0] * part.n_own if part.cost is None else part.cost.tolist()
    found = {}
    for v in range(part.n_own):
        near, similarity = nearest_of(part, v, members)
        reason, limit = Reason.GAINED_LESS, NO_LIMIT
        if v in members:
            reason = Reason.INCLUDED if v in included else Reason.SELECTED
        elif v in excluded:
            reason = Reason.OUTLIER if v in outliers else Reason.EXCLUDED
        elif capacity.max_similarity is not None and similarity is not None and similarity > capacity.max_similarity:
            reason = Reason.TOO_ALIKE
        else:
            if capacity.budget is not None and sum(cost[m] for m in members) + cost[v] > capacity.budget:
                limit = BUDGET
            for number in reversed(range(len(capacity.groups))):
                one, group = capacity.groups[number], part.group[number]
                takes = cost if one.by_cost else [1] * part.n_own
                most = int(one.most[group[v]])
                if most < UNLIMITED and sum(takes[m] for m in members if group[m] == group[v]) + takes[v] > most:
                    limit = number
            reason = Reason.GAINED_LESS if limit == NO_LIMIT else Reason.NO_ROOM
        found[int(part.code[v])] = reason, limit, near, similarity
    return found


@given(limited_problems(max_n=14, minima=False), st.integers(1, 5), st.data())
def test_limits_on_any_parts(problem, parts, data):
    part = limited_part(problem)
    kinds = data.draw(
        st.lists(st.sampled_from(["", "", "", "in", "out", "outlier"]), min_size=problem.n, max_size=problem.n)
    )
    at = {kind: [v for v, one in enumerate(kinds) if one == kind] for kind in ("in", "out", "outlier")}
    excluded = at["out"] + at["outlier"]
    codes = {Status.INCLUDED: part.code[at["in"]], Status.EXCLUDED: part.code[excluded]}
    where = np.array(data.draw(st.lists(st.integers(0, parts - 1), min_size=problem.n, max_size=problem.n)))
    split, _ = on_parts(problem, where, finish_points=data.draw(st.sampled_from([0, 4])))
    rounds = data.draw(st.booleans())
    results = []
    for engine in (LocalEngine(part), split):
        engine.step(wish, codes=codes)
        engine.step(hear_wishes)
        limited_greedy(engine, problem.capacity)
        if rounds and engine is not split:
            room = Room.from_json(room_of(engine, problem).to_json())
        order_limited(engine, problem.capacity, restart=True)
        room = room_of(engine, problem)
        ranks_as_keys(engine, problem.capacity)
        results.append(judged(engine, part.code[at["outlier"]], Room.from_json(room.to_json())))
    local, split_ = results
    assert local == split_
    members = {v for v in range(part.n_own) if local[int(part.code[v])][0] <= Reason.JOINED}
    assert local == plain_reasons(part, problem, members, at["in"], excluded, at["outlier"])


def room_of(engine, problem):
    return Room.of(problem.capacity, *spent_by_groups(engine, problem.capacity))


def own(engine):
    """Status of each code."""
    if isinstance(engine, LocalEngine):
        return dict(zip(engine.graph.code.tolist(), engine.board.status.tolist(), strict=True))
    boards = list(engine._boards())
    return {int(c): int(s) for g, b in boards for c, s in zip(g.code[: g.n_own], b.status[: g.n_own], strict=True)}


@given(problems(max_n=14), st.integers(1, 5), st.data())
def test_bounds_and_swaps_on_any_parts(problem, parts, data):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    part = make_part(graph, utility, alpha, beta)
    where = np.array(data.draw(st.lists(st.integers(0, parts - 1), min_size=n, max_size=n)))
    finish = data.draw(st.sampled_from([0, 4, 100]))
    split = SplitEngine(parts_of(graph, utility, 0, where), alpha, beta, finish_points=finish)
    passes, results = data.draw(st.sampled_from([0, 1, 20])), []
    for engine in (LocalEngine(part), split):
        accepted = bound(engine, k).accepted
        bounded = own(engine)
        exact_greedy(engine, k - accepted)
        engine.reopen()
        picked = own(engine)
        refine(engine, passes)
        members = {code for code, status in own(engine).items() if status >= Status.ACCEPTED}
        was = {code for code, status in picked.items() if status >= Status.ACCEPTED}
        order_subset(engine, k, restart=True)
        found = judged(engine, [], Room())
        for code, (reason, limit, near, similarity) in found.items():
            assert limit == NO_LIMIT
            assert (near, similarity) == nearest_of(part, part.code.tolist().index(code), at_codes(part, members))
            assert (reason <= Reason.JOINED) == (code in members)
            if code in members and code not in was:
                assert reason == Reason.JOINED
            elif code in members:
                ways = {Reason.ACCEPTED if bounded[code] == Status.ACCEPTED else Reason.SELECTED, Reason.JOINED}
                assert reason in ways  # who left and came back has joined
            elif code in was:
                assert reason == Reason.LEFT
            elif bounded[code] == Status.DISCARDED:
                assert reason in (Reason.DISCARDED, Reason.LEFT)  # it may have been in between
            else:
                assert reason in (Reason.GAINED_LESS, Reason.LEFT)
        if passes == 0:
            assert all(reason not in (Reason.JOINED, Reason.LEFT) for reason, *_ in found.values())
        results.append(found)
    assert results[0] == results[1]


def at_codes(part, codes):
    return {v for v in range(part.n_own) if int(part.code[v]) in codes}


# ------------------------------------------------------------------ whole runs on one machine
N = 300


@pytest.fixture(scope="module")
def dirty():
    """Points with copies, repeated ids, rows without a value, costs, groups (of which some are null) and wishes."""
    rng = np.random.default_rng(5)
    table = demo.demo_table(N, 8).select(["id", "embedding", "utility"])
    kinds = np.array(["a", "b", "null", None], object)
    ids = pa.array([f"p{i:03}" for i in range(N)])
    columns = {
        "id": ids,
        "embedding": table["embedding"].combine_chunks(),
        "utility": pa.array(rng.random(N)),
        "tokens": pa.array(rng.integers(0, 60, N)),
        "kind": pa.array(kinds[rng.choice(4, N, p=[0.5, 0.3, 0.1, 0.1])]),
        "big": pa.array(rng.random(N) < 0.5),
        "in": pa.array(rng.random(N) < 0.03),
        "out": pa.array(np.arange(N) % 17 == 3),
    }
    points = pa.table(columns)
    points = points.set_column(6, "in", pa.array(points["in"].to_numpy() & ~points["out"].to_numpy()))
    copies = points.slice(40, 25)
    copies = copies.set_column(0, "id", pa.array([f"copy{i:02}" for i in range(25)]))
    copies = copies.set_column(3, "tokens", pa.array(rng.integers(0, 60, 25)))
    copies = copies.set_column(6, "in", pa.array(np.zeros(25, bool)))
    again = points.slice(100, 10).set_column(3, "tokens", pa.array(np.full(10, 7)))  # repeat ids
    bad = points.slice(0, 4).set_column(2, "utility", pa.array([None, float("nan"), None, None], pa.float64()))
    bad = bad.set_column(0, "id", pa.array(["bad0", "bad1", None, "bad3"]))
    found = pa.concat_tables([points, copies, again, bad])
    return found.take(pa.array(rng.permutation(len(found))))


QUOTAS = {"kind": {"a": "40%", "b": 0.1}, "big": {"true": "60%"}}
LIMITS = {"budget": "30%", "cost": "tokens", "groups": ["kind", "big"], "quotas": QUOTAS}
CASES = {
    "limits": LIMITS | {"max_similarity": 0.85, "include": "in", "exclude": "out", "exclude_outliers": 0.05},
    "alike": {"size": 60, "max_similarity": 0.8, "neighbors": 10, "copies": "keep"},
    "thin": {"size": 20, "thin": 5, "include": "in", "exclude": "out", "neighbors": 10},
    "groups": {"size": 40, "groups": "kind", "quotas": "balanced"},
    "plain": {"size": 60, "diversity": 0.05, "include": "in", "exclude": "out"},
}


def rows_of(found):
    return {row["id"]: row for row in found.audit.to_table().to_pylist()}


def names(table):
    """Ids of points: of good rows."""
    good = [row["id"] for row in table.to_pylist() if row["id"] is not None and not row["id"].startswith("bad")]
    return set(good)


def check_inside(row, graph, v, ids, subset, source, options):
    near = slice(graph.indptr[v], graph.indptr[v + 1])
    beside = zip(graph.indices[near], graph.similarity[near].tolist(), strict=True)
    members = {ids[j]: s for j, s in beside if ids[j] in subset}
    if row["reason"] != "too-alike":
        assert row["of"] is None
    elif row["of"] in members:
        assert row["of"] == row["nearest"]
        assert row["of_similarity"] > np.float32(options["max_similarity"])
    if row["nearest"] in members or row["nearest"] is None:
        assert row["nearest_similarity"] == pytest.approx(max(members.values(), default=None))
    else:
        assert row["reason"] == "too-alike"  # beyond the graph
    if row["selected"]:
        ways = {"greedy": "selected", "bounding": "accepted", "include": "included", "refine": "joined"}
        assert row["reason"] == ways[subset[row["id"]]["decided_by"]]
    if "exclude" in options and source["out"]:
        assert row["reason"] == "excluded"
    assert (row["reason"] == "no-room") == (row["limit"] is not None)


def check(found, table, options):
    """Compare an audit with what follows from the input, the graph and the subset."""
    audit = found.audit.to_table()
    told = rows_of(found)
    assert audit["id"].to_pylist() == sorted(names(table))  # each once, in order
    subset = {row["id"]: row for row in found.table.to_pylist()}
    graph = found.graph
    ids = graph.ids.to_pylist()
    number = {one: v for v, one in enumerate(ids)}
    source = {}
    for row in table.to_pylist():
        before = source.get(row["id"])
        if row["utility"] is not None and (before is None or row["tokens"] == told[row["id"]].get("cost")):
            source[row["id"]] = row
    for one, row in told.items():
        assert row["selected"] == (one in subset)
        inside = subset.get(one, {"rank": None, "gain": None})
        assert (row["rank"], row["gain"]) == (inside["rank"], inside["gain"])
        for column in ("kind", "big"):
            if f"group_{column}" in row:
                value = source[one][column]
                assert row[f"group_{column}"] == (str(value).lower() if isinstance(value, bool) else value)
        if "cost" in row:
            assert row["cost"] == source[one]["tokens"]
        if one not in number:
            same = row["of"] is not None
            assert row["reason"] == ("copy" if same else "not-drawn")
            assert not same or source[one]["embedding"] == source[row["of"]]["embedding"]
            assert row["nearest"] is None
            continue
        check_inside(row, graph, number[one], ids, subset, source[one], options)
        assert row["limit"] != "budget" or row["cost"] > found.report.limits.totals[-1].left
    counts = found.report.audit
    assert sum(counts.values()) == len(told) == found.report.input.points
    assert counts == {word: sum(row["reason"] == word for row in told.values()) for word in counts}
    return counts


@pytest.mark.parametrize("case", CASES)
def test_whole_runs(dirty, tmp_path, case):
    options = CASES[case] | {"on_bad_rows": "drop", **QUIET}
    places = {"audit": tmp_path / "audit", "run_dir": tmp_path / "run", "engine": "local"}
    pq.write_table(dirty, tmp_path / "points.parquet")
    found = subsel.select(tmp_path / "points.parquet", **places, **options)
    counts = check(found, dirty, options)
    expected = {
        "limits": {"selected", "included", "excluded", "outlier", "copy", "too-alike", "no-room"},
        "alike": {"selected", "too-alike", "gained-less"},
        "thin": {"selected", "included", "not-drawn", "copy", "gained-less"},
        "groups": {"selected", "no-room", "copy"},
        "plain": {"selected", "included", "excluded", "copy"},
    }[case]
    assert expected <= counts.keys(), counts
    again = subsel.select(tmp_path / "points.parquet", **places, resume=True, overwrite=True, **options)
    assert again.audit.to_table().equals(found.audit.to_table())
    assert again.report.audit == counts
    for one, row in list(rows_of(found).items())[::7]:
        if row["reason"] in ("copy", "not-drawn"):
            continue
        why = explain(tmp_path / "run", one)
        assert (why.reason, why.limit) == (row["reason"], row["limit"])
        near = None if why.nearest is None else (why.nearest.id, why.nearest.similarity)
        assert near == (None if row["nearest"] is None else (row["nearest"], row["nearest_similarity"]))


def test_beyond_the_graph(tmp_path):
    """Near copies that no edge joins are told of, and still are when the run goes on from its boards."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((1, 8))
    near = base + 0.01 * rng.standard_normal((60, 8))
    X = np.concatenate([near, rng.standard_normal((60, 8))]).astype(np.float32)
    options = {"size": 50, "max_similarity": 0.99, "neighbors": 3, "certify": 5, **QUIET}
    places = {"audit": tmp_path / "audit", "run_dir": tmp_path / "run", "engine": "local"}
    found = subsel.select(X, **places, **options)
    assert found.report.limits.alike.left > 0
    rows = rows_of(found)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    for one, row in rows.items():
        alike = [m for m in found.ids.tolist() if m != one and unit[one] @ unit[m] > 0.99]
        assert (row["reason"] == "too-alike") == bool(alike), (one, row, alike)
        assert row["of"] is None or row["of"] in alike
    again = subsel.select(X, **places, resume=True, overwrite=True, **options)
    assert again.audit.to_table().equals(found.audit.to_table())
    for one in range(0, 120, 9):
        assert explain(tmp_path / "run", one).reason == rows[one]["reason"]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(np.arange(40, dtype=np.uint64) + (2**64 - 60)),
        pa.array([f"{i:040}" for i in range(40)], pa.large_string()),
        pa.array([bytes([i]) * 16 for i in range(40)], pa.binary(16)),
        pa.array(range(40), pa.decimal128(20, 0)),
        pa.array(range(40), pa.int8()),
    ],
    ids=str,
)
def test_ids_of_any_kind(ids, tmp_path, rng):
    X = rng.standard_normal((40, 4)).astype(np.float32)
    X[7] = X[3]
    values = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)
    found = subsel.select(
        pa.table({"id": ids, "embedding": values}), size=5, audit=tmp_path / "audit.parquet", engine="local", **QUIET
    )
    audit = found.audit.to_table()
    assert audit["id"].type == audit["nearest"].type == audit["of"].type == found.table["id"].type
    assert audit["id"].to_pylist() == sorted(ids.to_pylist())
    (copy,) = (row for row in audit.to_pylist() if row["reason"] == "copy")
    assert {copy["id"], copy["of"]} == {ids[3].as_py(), ids[7].as_py()}


def test_values_given_beside_the_data(tmp_path, rng):
    X = rng.standard_normal((60, 4)).astype(np.float32)
    kinds, costs = [str(i % 3) for i in range(60)], list(range(60))
    given = {"groups": np.array(kinds), "cost": costs, "quotas": {"0": 2}, "budget": 300}
    found = subsel.select(X, audit=tmp_path / "audit", engine="local", **given, **QUIET)
    audit = found.audit.to_table()
    assert audit["group"].to_pylist() == kinds
    assert audit["cost"].to_pylist() == costs
    assert found.path is None


def test_several_sizes(tmp_path, dirty):
    found = subsel.select_sizes(
        dirty, sizes=[10, "10%"], audit=tmp_path / "audit", engine="local", on_bad_rows="drop", **QUIET
    )
    for one, name in zip(found, ("10", "10pct"), strict=True):
        assert one.audit_path == tmp_path / "audit" / name
        check(one, dirty, {})


# ------------------------------------------------------------------ places
def test_places_are_checked_before_anything_is_read(tmp_path, monkeypatch, dirty):
    points = tmp_path / "points.parquet"
    pq.write_table(dirty, points)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.txt").write_text("mine")
    monkeypatch.setattr("subsel.stages.local.LocalStages.read", lambda *a: pytest.fail("read"))
    where = {"output": tmp_path / "out", "run_dir": tmp_path / "run", "engine": "local", **QUIET}
    for audit, message in (
        (tmp_path / "out", "audit .* would mix with the output"),
        (tmp_path / "out" / "audit", "audit .* would mix with the output"),
        (tmp_path / "run" / "audit", "run directory .* would mix with the audit"),
        (points, "would overwrite or mix with the input"),
        (tmp_path / "mine", "exists"),
        (tmp_path / "no" / "audit", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            subsel.select(points, size=3, audit=audit, **where)
    with pytest.raises(InputError, match="subsel did not write it"):
        subsel.select(points, size=3, audit=tmp_path / "mine", overwrite=True, **where)


def test_without(tmp_path, dirty):
    found = subsel.select(dirty, size=3, on_bad_rows="drop", engine="local", **QUIET)
    assert found.audit_path is None and found.report.audit is None
    with pytest.raises(ConfigError, match="there is no audit: ask for one by audit"):
        _ = found.audit


def test_the_command(tmp_path, dirty):
    pq.write_table(dirty, tmp_path / "points.parquet")
    arguments = ["select", "points.parquet", "out", "--size", "10", "--on-bad-rows", "drop", "--audit", "why"]
    arguments = [str(tmp_path / one) if one in ("points.parquet", "out", "why") else one for one in arguments]
    arguments += ["--engine", "local", "--run-dir", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert f"audit of 325 points: {tmp_path / 'why'}, manifest" in result.output.replace("\n", "")
    assert "gained-less" in result.output
    assert CliRunner().invoke(main, arguments).exit_code == 2
    audit = pq.read_table(tmp_path / "why").to_pylist()
    one = next(row for row in audit if row["reason"] == "gained-less" and row["nearest"] is not None)
    told = CliRunner().invoke(main, ["explain", one["id"], str(tmp_path / "run")])
    assert told.exit_code == 0, told.output
    assert "gained-less" in told.output and f"{one['nearest']}, similarity" in told.output


# ------------------------------------------------------------------ both engines
@pytest.mark.parametrize("parts", [pytest.param(1, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.slow)])
def test_both_engines_on_one_graph(spark, dirty, tmp_path, parts):
    points = tmp_path / "points.parquet"
    pq.write_table(dirty, points)
    graph = subsel.neighbors(points, neighbors=6, on_bad_rows="drop", progress=False).graph
    graph.to_parquet(tmp_path / "graph.parquet")
    options = CASES["limits"] | {"graph": tmp_path / "graph.parquet", "on_bad_rows": "drop", **QUIET}
    one = subsel.select(points, engine="local", audit=tmp_path / "one", **options)
    check(one, dirty, options)
    where = {"engine": spark, "output": tmp_path / "out", "run_dir": tmp_path / "run", "overwrite": True}
    where |= {"part_points": 1000 if parts == 1 else 100, "finish_points": 0}
    two = subsel.select(points, audit=tmp_path / "two", **where, **options)
    assert (two.report.graph.parts == 1) == (parts == 1)
    assert two.audit.to_table().equals(one.audit.to_table())
    assert two.report.audit == one.report.audit
    if parts == 4:
        again = subsel.select(points, audit=tmp_path / "two", resume=True, **where, **options)
        assert again.audit.to_table().equals(one.audit.to_table())
        rows = rows_of(one)
        for name in list(rows)[::50]:
            assert explain(tmp_path / "run", name).reason == rows[name]["reason"]


@pytest.mark.slow
def test_both_engines_with_points_that_are_not_in_the_graph(spark, dirty, tmp_path):
    points = tmp_path / "points.parquet"
    pq.write_table(dirty, points)
    options = {"size": 20, "thin": 5, "include": "in", "groups": "kind", "quotas": {"a": 5}, "on_bad_rows": "drop"}
    options |= {"cost": "tokens", "budget": 900} | QUIET
    one = subsel.select(points, engine="local", audit=tmp_path / "one", **options)
    counts = check(one, dirty, options)
    assert {"copy", "not-drawn", "no-room"} <= counts.keys()
    where = {"engine": spark, "output": tmp_path / "out", "run_dir": tmp_path / "run", "overwrite": True}
    for resume in (False, True):
        two = subsel.select(points, audit=tmp_path / "two", resume=resume, **where, **options)
        assert two.audit.to_table().equals(one.audit.to_table())


@pytest.mark.slow
def test_both_engines_bound_and_swap(spark, tmp_path, rng):
    n = 300
    src = np.repeat(np.arange(n), 3)
    dst = (src + rng.integers(1, 30, len(src))) % n
    pq.write_table(pa.table({"id": np.arange(n), "utility": rng.random(n)}), tmp_path / "points.parquet")
    edges = pa.table({"src": src, "dst": dst, "similarity": rng.random(len(src))})
    pq.write_table(edges, tmp_path / "graph.parquet")
    options = {"size": 0.3, "graph": tmp_path / "graph.parquet", "alpha": 0.9, **QUIET}
    one = subsel.select(tmp_path / "points.parquet", engine="local", audit=tmp_path / "one", **options)
    assert {"selected", "accepted", "joined", "discarded", "left", "gained-less"} <= one.report.audit.keys()
    where = {"engine": spark, "output": tmp_path / "out", "part_points": 100, "finish_points": 100}
    two = subsel.select(tmp_path / "points.parquet", audit=tmp_path / "two", **where, **options)
    assert two.audit.to_table().equals(one.audit.to_table())
