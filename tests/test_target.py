"""Coverage of a target set: a slow twin, the same subset on any parts and engine, and what is told and refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel.cli.commands import main
from subsel.covering.bound import cover_bound
from subsel.covering.greedy import COVERAGE
from subsel.embeddings.near import METRICS, similarity_of_pair
from subsel.embeddings.target import TargetLists, merge_lists
from subsel.engines.local import LocalEngine
from subsel.errors import ConfigError, InputError
from subsel.explaining import explain
from subsel.fixedpoint import FixedPoint, cover_range
from subsel.graph import SLOT_BITS, DraftGraph
from subsel.greedy.limited import limited_greedy
from subsel.input.reference import TARGET
from subsel.input.wishes import Wishes
from subsel.limits.capacity import Capacity
from subsel.parts import superstep
from subsel.parts.pack import concatenate
from subsel.parts.target import beside_target, borders, edges_of_lists, span_of, target_part, with_target
from subsel.schema import Status
from tests.limited_reference import Coverage, plain_limited
from tests.spark_fixtures import needs_spark
from tests.split_engine import SplitEngine

QUIET = {"progress": False, "recall_sample": 0, "objective": "coverage"}


def similarities(X, T, metric):
    """Of each row of a target to each point: float32, (m, n)."""
    found = [[similarity_of_pair(t, x, METRICS.index(metric)) for x in X] for t in T]
    return np.clip(np.array(found), 0, None if metric == "inner_product" else 1).astype(np.float32)


def plain_cover(X, T, k, metric, neighbors, importance=None):
    """What greedy's gains are, on the nearest points of each row: in float64, without ties of importance."""
    S = similarities(X, T, metric).astype(np.float64)
    for row in S:
        row[np.argsort(-row, kind="stable")[neighbors:]] = 0
    weight = np.ones(len(T)) if importance is None else importance
    cover, out = np.zeros(len(T)), []
    for _ in range(k):
        gain = (weight[:, None] * np.maximum(0, S - cover[:, None])).sum(axis=0)
        gain[out] = -1
        out.append(int(gain.argmax()))
        cover = np.maximum(cover, S[:, out[-1]])
    return out, float((weight * cover).sum())


@pytest.mark.parametrize("metric", METRICS)
def test_lists_are_the_nearest_whatever_blocks_points_come_in(metric):
    rng = np.random.default_rng(METRICS.index(metric))
    X, T = (rng.standard_normal((n, 12)).astype(np.float32) for n in (900, 17))
    T[:5], X[100:200] = X[:5], X[:100]
    code = rng.integers(-(2**62), 2**62, len(X))
    whole = TargetLists.of(T, metric, 30)
    whole.meet(code, X)
    some, others = whole.empty(30), whole.empty(30)
    for begin in range(0, 900, 70):
        (some if begin % 140 else others).meet(code[begin : begin + 70], X[begin : begin + 70])
    merge_lists(others.code, others.similarity, some.code, some.similarity)
    for t, row in enumerate(similarities(X, T, metric)):
        nearest = np.lexsort((~code, -row))[:30]
        assert (whole.code[t] == code[nearest]).all() and (whole.similarity[t] == row[nearest]).all()
    assert (some.code == whole.code).all() and (some.similarity == whole.similarity).all()


@st.composite
def problems(draw):
    """Points, a target's edges to them, and limits: ties, points that nobody is near, more to select than cover."""
    n, m = draw(st.integers(1, 9)), draw(st.integers(1, 8))
    level = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0])
    similarity = np.array(draw(st.lists(level, min_size=n * m, max_size=n * m)), np.float32).reshape(m, n)
    importance = np.array(draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=m, max_size=m)))
    code = np.array(draw(st.permutations(range(-n, n))))[:n].astype(np.int64) * 2**50
    edges = edges_of_lists(0, np.arange(m), importance, np.tile(code, (m, 1)), similarity)
    edges["slot"] = np.nonzero(similarity > 0)[1]
    utility = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))) / 4
    weight = draw(st.sampled_from([0.0, 0.0, 0.5]))
    limit = draw(st.sampled_from([None, 0.5]))
    pairs = np.triu(np.array(draw(st.lists(level, min_size=n * n, max_size=n * n)), np.float32).reshape(n, n), 1)
    pairs = pairs + pairs.T if limit is not None else pairs * 0
    cost = np.array(draw(st.lists(st.sampled_from([1, 2, 5]), min_size=n, max_size=n)), np.int64)
    budget = draw(st.none() | st.integers(1, 12))
    capacity = Capacity(draw(st.integers(1, n)), budget, per_cost=budget is not None, max_similarity=limit)
    degree, largest, most, _ = span_of(edges)
    scale = FixedPoint.choose(weight, 1.0, float(utility.max()), *cover_range(degree, largest, 0.0, most))
    return code, utility, cost if budget is not None else None, pairs, edges, m, scale, capacity


def rows_of(pairs, own):
    """Rows of some points as a draft has them; neighbours are numbered over all."""
    row, column = np.nonzero(pairs[own] > 0)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(own)))]).astype(np.int64)
    return indptr, column, pairs[own][row, column]


def whole(problem):
    code, utility, cost, pairs, edges, m, scale, capacity = problem
    draft = DraftGraph(0, *rows_of(pairs, np.arange(len(code))), utility, code, np.empty(0, np.int64), cost)
    packed = superstep.pack_graph(with_target(draft, edges, m))
    return superstep.unpack_graph(0, packed, scale, capacity.max_similarity)


class Parts(SplitEngine):
    """Points and a target's points in parts of their own, as Spark has them."""

    def __init__(self, problem, where, per_part, finish_points):
        code, utility, cost, pairs, edges, _, self.scale, capacity = problem
        parts = int(where.max()) + 1
        slot = np.array([int((where[:v] == p).sum()) for v, p in enumerate(where)])
        vid = (where << SLOT_BITS) | slot
        drafts, heard = [], {}
        for part in range(parts):
            own = np.flatnonzero(where == part)
            if not len(own):
                continue
            indptr, column, similarity = rows_of(pairs, own)
            order = np.array(sorted(set(column[where[column] != part].tolist()), key=lambda v: vid[v]), np.int64)
            index = np.array(
                [slot[v] if where[v] == part else len(own) + int(np.flatnonzero(order == v)[0]) for v in column],
                np.int32,
            )
            everybody = np.concatenate([own, order])
            about = utility[everybody], code[everybody], vid[order], None if cost is None else cost[everybody]
            draft = DraftGraph(part, indptr, index, similarity, *about)
            mine = where[edges["slot"]] == part
            some = {name: column[mine] for name, column in edges.items()}
            some["slot"] = slot[some["slot"]]
            drafts.append(beside_target(draft, some, parts, per_part))
            for to, rows in borders(draft, some, parts, per_part):
                heard.setdefault(to, []).append(rows)
        drafts += [target_part(to, concatenate(rows), parts, per_part, 0) for to, rows in sorted(heard.items())]
        self.graphs = {
            one.part: superstep.unpack_graph(one.part, superstep.pack_graph(one), self.scale, capacity.max_similarity)
            for one in drafts
        }
        self.parts, self.whole_graphs = max(2, len(self.graphs)), dict(self.graphs)
        self.finish_points, self.compact_always, self.steps = finish_points, False, 0
        self._take(superstep.start(graph) for graph in self.graphs.values())


def plain(part, capacity, n):
    return dict(plain_limited(part, capacity, candidates=range(n), gains=Coverage))


@given(problems(), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 4]), st.data())
def test_one_part_and_many_equal_the_rule(problem, parts, per_part, finish_points, data):
    code, capacity = problem[0], problem[-1]
    n, part = len(code), whole(problem)
    expected = plain(part, capacity, n)
    alone = LocalEngine(part)
    where = np.array([data.draw(st.integers(0, parts - 1)) for _ in range(n)])
    where = np.unique(where, return_inverse=True)[1]
    several = Parts(problem, where, per_part, finish_points)
    for engine in (alone, several):
        limited_greedy(engine, capacity, moves=COVERAGE)
        assert engine.counts().undecided == 0
    board = alone.board
    assert {int(v): int(board.key[v]) for v in np.flatnonzero(board.status == Status.SELECTED)} == expected
    node = {int(c): v for v, c in enumerate(code)}
    assert {node[c]: key for c, (key, _) in several.result().items()} == expected
    free = Capacity(size=capacity.size, budget=capacity.budget, per_cost=capacity.per_cost)
    bounds = [cover_bound(one, free, part.fixed_point.tie_bits, 1) for one in (alone, several)]
    assert bounds[0] == bounds[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Points with copies, and a target with copies, points among it, and rows of no importance."""
    rng = np.random.default_rng(0)
    n, m = 300, 30
    X, T = (rng.standard_normal((count, 6)).astype(np.float32) for count in (n, m))
    X[200:220], T[:6] = X[:20], X[:6]
    T[6:9] = T[:3]

    def column(rows):
        return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])

    folder = tmp_path_factory.mktemp("target")
    more = {"q": rng.standard_normal(n), "tokens": rng.integers(1, 50, n), "source": rng.choice(list("abc"), n)}
    more["below"] = rng.uniform(-10, -8, n)
    pq.write_table(
        pa.table({"id": [f"p{i}" for i in range(n)], "embedding": column(X), **more}), folder / "points.parquet"
    )
    weights = rng.choice([0.0, 1.0, 3.0], m)
    pq.write_table(pa.table({"embedding": column(T), "w": weights}), folder / "target.parquet")
    return folder, X, T, weights


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighed", [False, True])
def test_a_target_is_covered_by_its_nearest_points(files, metric, weighed):
    _, X, T, _ = files
    X = X[:200]  # of copies, which ties at the end of a list would tell apart, there are none
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(T)) if weighed else None
    found = subsel.select(
        X, size=8, target=T, importance=weights, metric=metric, neighbors=12, copies="keep", certify=20, **QUIET
    )
    expected, f = plain_cover(X, T, 8, metric, 12, weights)
    assert found.objective == pytest.approx(f) and f <= found.upper_bound
    assert found.ids.tolist() == expected
    assert found.table["gain"].to_numpy().sum() == pytest.approx(f)
    graph, cover = found.report.graph, found.report.coverage
    assert (graph.edges, graph.target_points, graph.target_neighbors) == (0, len(T), 12)
    if weights is None:
        assert cover.graph == pytest.approx(f / len(T)) and found.report.objective.random == pytest.approx(
            cover.random_graph * len(T)
        )
    scored = subsel.score(found.ids, points=X, target=T, importance=weights, metric=metric, neighbors=12, **QUIET)
    assert scored.total == pytest.approx(f) and scored.coverage == pytest.approx(cover.graph)


def test_sizes_ids_and_audits_are_of_points(files):
    folder = files[0]
    found = subsel.select(
        folder / "points.parquet", size="10%", target=folder / "target.parquet", audit=folder / "why", **QUIET
    )
    assert found.report.k == 30 and found.report.input.points == 300 and found.report.input.copies == 20
    why = found.audit.to_table()
    assert why.num_rows == 300 and sum(found.report.audit.values()) == 300
    assert found.report.audit["selected"] == 30 and found.report.audit["copy"] == 20


def test_more_than_cover_anything_are_filled_up(files):
    _, X, T, _ = files
    found = subsel.select(X, size=100, target=T[:2], neighbors=3, copies="keep", **QUIET)
    gain = found.table["gain"].to_numpy()
    assert len(found.ids) == 100 and (gain[:2] > 0).all() and (gain[7:] == 0).all()
    idle = int((gain == 0).sum())
    assert found.report.objective.idle == idle
    assert f"{idle} of 100 points add nothing: others cover all targets" in found.report.warnings[0]


def test_a_target_that_nobody_is_near():
    X, T = np.array([[1, 0], [2, 1], [1, 1]], np.float32), np.array([[-1, -1]], np.float32)
    found = subsel.select(X, size=2, target=T, **QUIET)
    assert found.report.k == 2 and found.objective == 0 and found.report.graph.target_edges == 0


def test_runs_are_resumed_with_the_same_target_only(files, tmp_path):
    folder, _, _, _ = files
    options = {"size": 10, "target": folder / "target.parquet", "run_dir": tmp_path / "run", **QUIET}
    first = subsel.select(folder / "points.parquet", importance="w", **options)
    again = subsel.select(folder / "points.parquet", importance="w", resume=True, **options)
    assert first.table.equals(again.table) and first.report.objective == again.report.objective
    with pytest.raises(InputError, match="its graph"):
        subsel.select(folder / "points.parquet", resume=True, **options)
    with pytest.raises(InputError, match=r"is of target .*, not none"):
        subsel.select(folder / "points.parquet", resume=True, **options | {"target": None, "importance": "w"})
    with pytest.raises(InputError, match="max_similarity"):
        subsel.select(folder / "points.parquet", importance="w", resume=True, max_similarity=0.9, **options)
    manifest = tmp_path / "run" / "manifest.json"  # as of a run that was killed after its graph, without neighbours
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(whole | {"stages": {"graph": whole["stages"]["graph"]}}))
    with pytest.raises(InputError, match=r"its graph is of target .*, not .*, and neighbours of points"):
        subsel.select(folder / "points.parquet", importance="w", resume=True, exclude_outliers=0.1, **options)


def test_points_have_neighbours_where_something_needs_them(files):
    folder, _, _, weights = files
    asked = {"size": 5, "target": folder / "target.parquet", "importance": "w", "neighbors": 9, **QUIET}
    weighed = {"utility": "density", "utility_weight": 0.5}
    for more in ({}, {"max_similarity": 0.9}, {"exclude_outliers": 0.1}, weighed):
        graph = subsel.select(folder / "points.parquet", **asked, **more).report.graph
        assert (graph.edges > 0) == bool(more)
        assert graph.target_points == (weights > 0).sum() < len(weights)  # the others need not be covered


def test_explain_tells_which_rows_a_member_covers(files, tmp_path):
    folder, X, T, weights = files
    options = {"size": 6, "target": folder / "target.parquet", "importance": "w", "neighbors": 9, "copies": "keep"}
    found = subsel.select(folder / "points.parquet", run_dir=tmp_path / "run", **options, **QUIET)
    S = similarities(X, T, "cosine").astype(np.float64)
    for row in S:
        row[row < np.sort(row)[-9]] = 0
    members = [int(one[1:]) for one in found.ids]
    for point in [*members, 299]:
        told = explain(tmp_path / "run", f"p{point}")
        others = [one for one in members if one != point]
        gain = (weights * np.maximum(0, S[:, point] - S[:, others].max(axis=1))).sum()
        assert told.gain == pytest.approx(gain, abs=1e-6) and told.of_target
        rows = {one.id for one in told.covers}
        ahead = {int(t) for t in np.flatnonzero((S[:, point] > S[:, others].max(axis=1)) & (weights > 0))}
        assert ahead <= rows if point in members else not rows
    shown = CliRunner().invoke(main, ["explain", found.ids[0], str(tmp_path / "run")])
    assert shown.exit_code == 0 and "target row" in shown.output


def test_the_command_line_covers_a_target(files, tmp_path):
    folder, _, _, _ = files
    points, target = str(folder / "points.parquet"), str(folder / "target.parquet")
    args = ["select", points, str(tmp_path / "out"), "--size", "5", "--objective", "coverage", "--target", target]
    done = CliRunner().invoke(main, [*args, "--importance", "w"])
    assert done.exit_code == 0, done.output
    assert pq.read_table(tmp_path / "out").num_rows == 5
    assert CliRunner().invoke(main, ["validate", points, "--objective", "coverage", "--target", target]).exit_code == 0


@pytest.mark.parametrize(
    "options, said",
    [
        ({"objective": "pairwise"}, "objective='pairwise' does not have target"),
        (
            {"target": pa.table({"embedding": pa.array([], pa.list_(pa.float32()))})},
            "is empty: there is nothing to cover",
        ),
        ({"target": np.ones((3, 5), np.float32)}, "has vectors of 5 values, .* of 6"),
        ({"target": np.full((3, 6), np.nan, np.float32)}, "NaN or infinite embedding value"),
        ({"target": np.ones(6, np.float32)}, "must be"),
        ({"importance": np.zeros(30)}, "is 0 in all good rows"),
        ({"importance": np.r_[1e18, np.ones(29)]}, r"with importance up to 1e\+18, is .*: beside it"),
        ({"importance": np.ones(7)}, "has 7 values, but .* has 30 rows"),
    ],
)
def test_what_is_refused(files, options, said):
    _, X, T, _ = files
    with pytest.raises((ConfigError, InputError), match=said):
        subsel.select(X, size=5, **{"target": T, **QUIET, **options})


def test_a_graph_of_ones_own_has_no_vectors_to_compare(files):
    _, X, T, _ = files
    graph = subsel.neighbors(X, neighbors=3, progress=False).graph
    with pytest.raises(ConfigError, match="target is covered by similarities of vectors, graph has no vectors"):
        subsel.select(X, size=5, graph=graph.to_scipy(), target=T, **QUIET)


def both(spark, folder, points, there=None, part_points=120, **options):
    """Select on both engines, with audits, and say that all that is told is the same; ``there``: for Spark alone."""
    here = subsel.select(points, audit=folder / "why", **QUIET | options)
    asked = QUIET | options | (there or {})
    asked |= {"engine": spark, "output": folder / "out", "audit": folder / "why-there", "part_points": part_points}
    asked |= {"finish_points": 100}  # fewer than there are: parts decide
    there = subsel.select(points, **asked)
    assert here.table.equals(there.table) and here.audit.to_table().equals(there.audit.to_table())
    one, other = here.report, there.report
    assert one.fixed_point == other.fixed_point and one.limits == other.limits
    assert here.upper_bound == pytest.approx(there.upper_bound, rel=1e-12)
    one, other = (each.report.model_dump(exclude_none=True) for each in (here, there))
    for name in ("objective", "coverage"):
        assert one[name] == pytest.approx(other[name], rel=1e-12)
    for name in ("drawn", "target_points", "target_edges", "target_neighbors"):
        assert one["graph"].get(name) == other["graph"].get(name)
    return here, there


def test_spark_scores_the_same(files, spark, tmp_path):
    """Who is near whom, and who covers what, on more parts than one."""
    folder = files[0]
    pq.write_table(pa.table({"id": [f"p{i}" for i in range(30, 40)]}), tmp_path / "subset.parquet")
    options = {"target": folder / "target.parquet", "importance": "w", "neighbors": 8, **QUIET}
    asked = {"points": folder / "points.parquet", "copies": "keep", **options}
    here = subsel.score(tmp_path / "subset.parquet", **asked)
    there = subsel.score(tmp_path / "subset.parquet", engine=spark, part_points=200, **asked)
    assert here.total > 0 and asdict(there) == pytest.approx(asdict(here), rel=1e-12)


def test_importance_beside_which_others_would_not_count_is_refused_on_both_engines(files, spark, tmp_path):
    _, X, T, _ = files
    frame = spark.createDataFrame(pa.table({"id": np.arange(len(X)), "embedding": list(X)}).to_pandas())
    target = pa.table({"embedding": list(T), "weight": np.r_[1e18, np.ones(len(T) - 1)]})
    pq.write_table(target, tmp_path / "t.parquet")
    about = {"target": tmp_path / "t.parquet", "importance": "weight", "size": 5, **QUIET}
    said = []
    for data, more in ((X, {}), (frame, {"engine": spark, "part_points": 120, "output": tmp_path / "out"})):
        with pytest.raises(InputError) as caught:
            subsel.select(data, **about | more)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_spark_numbers_rows_over_all_files_in_order(files, spark, tmp_path):
    needs_spark()
    from subsel.engines.spark.inputs import SparkInputs
    from subsel.engines.spark.near import read_on_spark

    _, _, T, weights = files
    T = T.copy()
    T[3] = np.nan
    table = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(pa.array(T.ravel()), 6), "w": weights})
    for name, begin, end in (("a", 0, 2), ("b", 2, 25), ("c", 25, 30)):  # Spark reads the largest first
        pq.write_table(table.slice(begin, end - begin), tmp_path / f"{name}.parquet")
    config = subsel.SelectConfig(on_bad_rows="drop", importance="w", objective="coverage", size=1, target="a place")
    inputs = SparkInputs(spark, str(files[0] / "points.parquet"), None, config, Wishes())
    for data in (tmp_path, spark.read.parquet(str(tmp_path / "b.parquet"))):
        first, end = (0, 30) if data == tmp_path else (2, 25)
        found = read_on_spark(TARGET, spark, data, inputs, 6)
        assert found.number.tolist() == [row - first for row in range(first, end) if row != 3]
        assert (found.rows == T[first + found.number]).all()
        assert (found.importance == weights[first + found.number]).all()


SELECTED = {
    "slow": [
        {"budget": "10%", "cost": "tokens", "groups": "source", "quotas": "balanced", "certify": 2, "wished": True},
        {"size": 8, "metric": "inner_product", "framed": True},
        {"size": 8, "bad": True, "near": 0.9},
    ],
    "long": [
        {"size": 100, "copies": "keep"},
        {"size": 8, "metric": "l2", "certify": 3},
        {"size": 8, "thin": 5, "wished": True},
        {"size": 9, "thin": 5, "groups": "source", "quotas": "balanced"},
        {"size": 8, "utility": "below", "utility_weight": 0.5},
    ],
}


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(one, marks=getattr(pytest.mark, mark), id="-".join(one))
        for mark, several in SELECTED.items()
        for one in several
    ],
)
def test_spark_selects_the_same_whatever_is_asked(files, spark, tmp_path, asked):
    folder = files[0]
    options = {"target": folder / "target.parquet", "importance": "w", "neighbors": 8, **asked}
    there = None
    if options.pop("wished", False):
        options |= {"include": ["p3", "p204", "p150"], "exclude": ["p1", "p10"]}
        options |= {"utility": "q", "utility_weight": 0.1}
    if options.pop("framed", False):
        there = {"target": spark.read.parquet(str(folder / "target.parquet"))}
    if options.pop("bad", False):
        table = pq.read_table(folder / "target.parquet").to_pydict()
        table["embedding"][4][2], table["w"][7] = float("nan"), -1.0
        ids = pa.array([None, "p1"] * 15)  # says nothing
        pq.write_table(pa.table(table | {"id": ids}), tmp_path / "target.parquet")
        options |= {"target": tmp_path / "target.parquet", "on_bad_rows": "drop"}
        options |= {"exclude_near": folder / "target.parquet"}
    both(spark, tmp_path, folder / "points.parquet", there, **options)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["limits", "densities"])
def test_engines_agree_where_both_find_all_neighbours(spark, tmp_path, kind):
    """Points' neighbours, which max_similarity and densities go by, are of each engine's own search."""
    rng = np.random.default_rng(5)
    X, T = (rng.integers(-3, 4, (n, 8)).astype(np.float32) for n in (90, 15))  # of products that no rounding changes
    columns = {"q": rng.standard_normal(90), "tokens": rng.integers(1, 50, 90), "source": rng.choice(list("abc"), 90)}
    vectors = [pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 8) for rows in (X, T)]
    pq.write_table(pa.table({"id": np.arange(90), "embedding": vectors[0], **columns}), tmp_path / "points.parquet")
    pq.write_table(pa.table({"embedding": vectors[1]}), tmp_path / "target.parquet")
    asked = {"budget": "10%", "cost": "tokens", "groups": "source", "quotas": "balanced", "max_similarity": 14.0}
    asked |= {"include": [3, 4], "exclude": [1, 21], "utility": "q", "utility_weight": 0.1}
    if kind == "densities":
        asked = {"size": 8, "utility": "density", "utility_weight": 0.3, "exclude_outliers": 0.1}
    asked |= {"target": tmp_path / "target.parquet", "neighbors": 89, "probes": 64, "metric": "inner_product"}
    here, there = both(spark, tmp_path, tmp_path / "points.parquet", part_points=30, **asked)
    assert there.report.graph.parts == 3
    reasons = here.report.audit
    assert reasons["too-alike"] > 0 if kind == "limits" else reasons["outlier"] == 9


@pytest.mark.slow
def test_spark_selects_several_sizes_and_scores(files, spark, tmp_path):
    folder = files[0]
    options = {"target": folder / "target.parquet", "importance": "w", "neighbors": 8, **QUIET}
    options |= {"utility": "q", "utility_weight": 0.3}
    points, more = folder / "points.parquet", {"engine": spark, "part_points": 120}
    here = subsel.select_sizes(points, sizes=[4, "10%"], **options)
    there = subsel.select_sizes(points, sizes=[4, "10%"], output=tmp_path / "out", **options, **more)
    for one, other in zip(here, there, strict=True):
        assert one.table.equals(other.table)
        scores = [
            subsel.score(one.table, points=points, **options),
            subsel.score(other.table, points=points, **options),
        ]
        scores.append(subsel.score(other.path, points=points, **options, **more))
        for found in scores:
            assert asdict(found) == pytest.approx(asdict(scores[0]), rel=1e-12)
            assert found.total == pytest.approx(one.report.objective.total, rel=1e-12)


@pytest.mark.slow
def test_spark_goes_on_and_explains(files, spark, tmp_path):
    folder = files[0]
    (tmp_path / "target").mkdir()
    table = pq.read_table(folder / "target.parquet")
    for name, begin, end in (("a", 0, 2), ("b", 2, 25), ("c", 25, 30)):
        pq.write_table(table.slice(begin, end - begin), tmp_path / "target" / f"{name}.parquet")
    options = {"size": 6, "target": tmp_path / "target", "importance": "w", "neighbors": 8, "certify": 2, **QUIET}
    here = subsel.select(folder / "points.parquet", run_dir=tmp_path / "here", **options)
    more = {"engine": spark, "part_points": 120, "run_dir": tmp_path / "there"}
    there = subsel.select(folder / "points.parquet", output=tmp_path / "out", **options, **more)
    assert here.table.equals(there.table)
    for point in [*here.ids.tolist(), "p1", "p299"]:
        one, other = (asdict(explain(tmp_path / run, point)) for run in ("here", "there"))
        assert one["covers"] == other["covers"] and one["gain"] == pytest.approx(other["gain"])
    manifest = tmp_path / "there" / "manifest.json"
    stages = list(json.loads(manifest.read_text())["stages"])
    for done in ([], ["graph"], ["graph", "utility", "bounding"], stages):
        whole = json.loads(manifest.read_text())
        some = {name: one for name, one in whole["stages"].items() if name in done}
        manifest.write_text(json.dumps(whole | {"stages": some}))
        again = subsel.select(
            folder / "points.parquet", output=tmp_path / f"again{len(done)}", resume=True, **options, **more
        )
        assert again.table.equals(there.table) and again.upper_bound == there.upper_bound
        assert again.report.coverage == there.report.coverage
    with pytest.raises(InputError, match="its graph is of target"):
        other = options | more | {"target": tmp_path / "target" / "b.parquet", "resume": True}
        subsel.select(folder / "points.parquet", output=tmp_path / "other", **other)
