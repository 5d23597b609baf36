"""Graphs in parts: whole again when read, and parts that nothing happens to keep their files; on both engines."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import InputError
from subsel.embeddings.metrics import Preparation, similarity_of_scores
from subsel.growing import travel
from subsel.growing.parted import IDS, LISTS, apart, edges_of, pack_part, unpack_part, whole
from subsel.growing.place import part_of
from subsel.parts.pack import Parcel, pack
from subsel.storage import MANIFEST, TEMPORARY
from tests.reference import exact_neighbors
from tests.spark_fixtures import MOUNTED
from tests.test_growing import check_lists, grid, pairs, table

PARTS = {"neighbors": 6, "part_points": 150}


def clusters(rng, n, first=0, centers=8, d=6, only=None):
    """Points around far centers, with ids from ``first``."""
    middle = np.eye(centers, d) * 12 if centers <= d else rng.standard_normal((centers, d)) * 12
    which = rng.integers(0, centers, n) if only is None else np.full(n, only)
    points = (middle[which] + rng.standard_normal((n, d))).astype(np.float16).astype(np.float32)
    return pa.table({"id": np.arange(first, first + n), "embedding": list(points)})


@pytest.fixture
def place(rng, tmp_path):
    points = clusters(rng, 900, centers=6)
    subsel.growing_graph(points, output=tmp_path / "graph", metric="l2", **PARTS)
    return tmp_path / "graph", points


def contents(place):
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in place.rglob("*.parquet")}


def test_parts_are_one_graph_again(place, rng):
    where, points = place
    made = subsel.growing_graph(points, metric="l2", **PARTS)
    read = subsel.open_graph(where)
    assert len(read._kept.sums) > 3
    check_lists(read._kept.state)
    assert pairs(read.graph) == pairs(made.graph)
    by_path = subsel.select(points, size=30, graph=where, utility="density")
    assert by_path.ids.tolist() == subsel.select(points, size=30, graph=read.graph, utility="density").ids.tolist()
    assert pq.read_table(where).column_names == ["src", "dst", "similarity"]


def test_parts_without_a_change_keep_their_files(place, rng):
    where, _ = place
    before, inodes = contents(where), {file.stat().st_ino for file in where.rglob("*.parquet")}
    grown = subsel.open_graph(where)
    grown.add(clusters(rng, 20, 5000, centers=6, only=2))
    grown.save()
    after = contents(where)
    changed = {part_of(name) for name in after if before.get(name) != after[name]}
    same = [file for file in where.rglob("*.parquet") if file.stat().st_ino in inodes]
    assert 0 < len(changed) < len(grown._kept.sums)
    assert {part_of(file.relative_to(where).as_posix()) for file in same}.isdisjoint(changed) and len(same) > 4
    again = subsel.open_graph(where)
    assert pairs(again.graph) == pairs(grown.graph) and len(again) == 920


@pytest.mark.parametrize(("n", "part_points"), [(400, 100), (3000, 300)])
def test_points_go_to_the_part_that_their_cell_is_in(rng, n, part_points):
    """Few cells of many points, of which clusters are several: a map of other cells leads elsewhere."""
    points = clusters(rng, n, centers=10, d=12)
    state = subsel.growing_graph(points, neighbors=6, part_points=part_points)._kept.state
    to = state.division.map.destinations(state.vectors(), np.arange(n))
    part = state.division.part[state.home]
    assert len(np.unique(part)) > 2
    assert (to[:, 0] == part).mean() > 0.99


@pytest.mark.slow
def test_few_points_find_their_neighbours_on_spark(rng, tmp_path, on_spark):
    points = clusters(rng, 400, centers=10, d=12)
    where = tmp_path / "graph"
    subsel.growing_graph(points, neighbors=6, part_points=100, output=where)
    new = clusters(rng, 5, 5000, centers=10, d=12)
    revision = on_spark(where, write(new, tmp_path / "new.parquet")).revisions[0]
    assert revision.recall >= 0.95 and revision.warning is None
    done = on_spark(where, str(tmp_path / "new.parquet"), remove=[])  # nobody leaves: that is no change
    assert [one.left for one in done.revisions] == [0, 0] and done.revisions[1] == revision
    assert subsel.open_graph(where).revisions == (revision,)


@pytest.mark.slow
def test_edges_that_are_not_as_they_were_written_are_refused_on_spark(place, tmp_path, spark):
    where, points = place
    for file in where.glob("edges-*.parquet"):
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 255
        file.write_bytes(content)
    data = write(points, tmp_path / "points.parquet")
    for engine, told in (("local", "cannot be read: .* Write it again"), (spark, "edges-.*is damaged: bring it back")):
        with pytest.raises(InputError, match=told):
            subsel.select(data, size=20, graph=where, engine=engine, output=tmp_path / "out", progress=False)


@pytest.fixture
def on_spark(spark):
    """Grow a graph on Spark."""

    def grow(where, data=None, **how):
        return subsel.grow_graph(where, data, engine=spark, progress=False, **how)

    return grow


def write(table, where):
    pq.write_table(table, where)
    return str(where)


def recall_of(graph):
    state = graph._kept.state
    best = exact_neighbors(state.vectors(), state.neighbors, state.metric)
    found = similarity_of_scores(state.score[:, : state.neighbors].copy(), state.metric)
    return (found >= best[:, -1:] - 1e-5).mean()


@pytest.mark.slow
def test_points_join_on_spark_as_on_one_machine(place, rng, on_spark, tmp_path, spark):
    where, points = place
    other = tmp_path / "local"
    subsel.growing_graph(points, output=other, metric="l2", **PARTS)
    new = clusters(rng, 40, 5000, centers=6, only=2)
    before = contents(where)
    found = on_spark(where, write(new, tmp_path / "new.parquet"))
    local = subsel.grow_graph(other, new)
    assert found.points == local.points == 940
    one, two = subsel.open_graph(where), subsel.open_graph(other)
    for graph in (one, two):
        check_lists(graph._kept.state)
    assert sorted(one._kept.state.ids.to_pylist()) == sorted(two._kept.state.ids.to_pylist())
    assert found.revisions[0].of == local.revisions[0].of
    ours, theirs = (recall_of(graph) for graph in (one, two))
    assert ours == pytest.approx(theirs, abs=0.01) and ours > 0.98, (ours, theirs)
    assert found.revisions[0].recall >= 0.95
    after = contents(where)
    kept = {part_of(name) for name in before if before[name] == after.get(name)}
    changed = {part_of(name) for name in after if name not in before}
    assert kept and changed and kept.isdisjoint(changed)
    scores = [dict(scored(graph)) for graph in (one, two)]
    assert all(abs(scores[0][pair] - scores[1][pair]) < 1e-5 for pair in scores[0].keys() & scores[1].keys())
    assert on_spark(where, str(tmp_path / "new.parquet")).revisions == found.revisions  # as after a run that was killed
    data = write(pa.concat_tables([points, new]), tmp_path / "all.parquet")
    how = {"size": 40, "graph": str(where), "utility": "density"}
    chosen = subsel.select(data, engine=spark, output=tmp_path / "subset", progress=False, **how)
    assert chosen.ids.tolist() == subsel.select(data, **how).ids.tolist()


def scored(graph):
    for batch in graph.graph.edges():
        for a, b, s in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield (min(a, b), max(a, b)), s


EVERYWHERE = {"probes": 1000, "descent_passes": 0, "neighbors": 7, "utility": "constant", "part_points": 80}


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_edges_are_the_pairs_of_lists_each_once(rng, metric):
    made = subsel.growing_graph(table(rng.standard_normal((300, 5))), metric=metric, **EVERYWHERE)
    numbers, part_of, _ = apart(made._kept.state, made.config.seed)
    for part in map(part_of, numbers):
        state, expected = part.state, {}
        ids = part.ids_of(np.arange(state.n + state.others)).to_pylist()
        for v in range(state.n):
            for j, score in zip(state.best[v, : state.neighbors], state.score[v, : state.neighbors], strict=True):
                pair = frozenset((ids[v], ids[j]))
                expected[pair] = max(score, expected.get(pair, -np.inf))
        found = edges_of(part).to_pydict()
        ends = [frozenset(pair) for pair in zip(found["src"], found["dst"], strict=True)]
        assert len(set(ends)) == len(ends) and set(ends) == set(expected)
        scores = np.array([expected[pair] for pair in ends], np.float32)
        np.testing.assert_array_equal(found["similarity"], similarity_of_scores(scores, metric))


def test_lists_that_name_nobody_are_damaged(rng):
    made = subsel.growing_graph(table(rng.standard_normal((90, 5))), neighbors=4)
    numbers, part_of, _ = apart(made._kept.state, made.config.seed)
    part, nobody = part_of(numbers[0]), OnParcels(made).nobody
    for wrong in (part.state.n + part.state.others, -2):
        part.state.best[3, 1] = wrong
        with pytest.raises(InputError, match="lists name points that are not there"):
            unpack_part(part.number, pack_part(part)[0], nobody)


class OnParcels:
    """Delivers parcels to parts, as Spark does."""

    def __init__(self, made):
        state, none = made._kept.state, np.zeros(0, np.int64)
        numbers, part_of, salt = apart(state, made.config.seed)
        parts = map(part_of, numbers)
        empty = {"ids": state.ids[:0], "home": state.home[:0], "rows": state.rows.take(none)}
        empty |= {"best": state.best[:0], "score": state.score[:0], "division": None}
        cells = replace(state.quantizer, centroids=state.quantizer.centroids[:0])
        self.nobody = replace(state, quantizer=cells, **empty)
        self.kept = travel.Kept(self.nobody, made.config.seed, salt, 500)
        self.map, self.groups = replace(state.division.map, reach=np.inf, visits=10**3), state.quantizer.groups
        self.parcels = [parcel for part in parts for parcel in pack_part(part)[0]]

    def deliver(self, function, came, own=None):
        to = {parcel.part for parcel in came}
        there = [one for one in self.parcels if one.part in to] if own is None else own
        by_part = {}
        for parcel in [*there, *came]:
            by_part.setdefault(parcel.part, []).append(parcel)
        return [one for part, parcels in sorted(by_part.items()) for one in function(part, parcels, self.kept)]

    def change(self, found):
        changed = {one.part for one in found if one.kind == IDS}
        self.parcels = [one for one in self.parcels if one.part not in changed] + travel.own(found)

    def leave(self, ids):
        gone = [Parcel(part, 0, travel.GONE, pack(id=ids)) for part in {one.part for one in self.parcels}]
        found = self.deliver(partial(travel.leave_part, self.map), gone)
        self.change(found)
        lists = self.deliver(travel.visit_part, [one for one in found if one.kind == travel.FRESH])
        kept = [one for one in found if one.kind in (IDS, LISTS, travel.DONE)]
        self.change(self.deliver(travel.merge_part, lists, kept))

    def join(self, ids, rows):
        fresh = list(travel.send(0, self.kept, pa.array(ids), rows.astype(np.float32), self.map))
        self.change(self.deliver(travel.merge_part, self.deliver(travel.meet_part, fresh), []))

    def whole(self):
        parts = sorted({one.part for one in self.parcels})
        mine = {part: [one for one in self.parcels if one.part == part] for part in parts}
        return whole([unpack_part(part, mine[part], self.nobody) for part in parts], self.map, self.groups)


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_lists_are_those_of_a_search_among_all(rng, metric):
    """Points that go to all parts: some leave, some are replaced, others join."""
    points = grid(rng, 330)
    graph = OnParcels(subsel.growing_graph(table(points[:260]), metric=metric, **EVERYWHERE))
    assert len({one.part for one in graph.parcels}) > 1
    gone, turned = np.arange(100, 120), points[:8] * [[-1] + [1] * 5]
    graph.leave(gone)
    graph.leave(np.arange(8))
    points[:8] = turned
    new = np.r_[np.arange(8), np.arange(260, 330)]
    graph.join(new, points[new])
    state = graph.whole()
    check_lists(state)
    rows = state.ids.to_numpy()
    assert sorted(rows) == sorted(set(range(330)) - set(gone.tolist()))
    X = Preparation(metric, state.center).rows(points[rows].astype(np.float32))
    expected = exact_neighbors(X, 7, metric)
    assert similarity_of_scores(state.score[:, :7].copy(), metric) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    "replaced", [pytest.param(0, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.long)]
)
def test_points_leave_and_are_replaced_on_spark(rng, tmp_path, on_spark, replaced):
    """Ids are unsigned, which Spark has no type for; what the other engine has grown grows on."""
    first, new = clusters(rng, 400, centers=6), clusters(rng, 20 + replaced, 400 - replaced, centers=6)
    high = pa.scalar(2**63, pa.uint64())

    def unsigned(table):
        return table.set_column(0, "id", pc.add(table["id"].cast(pa.uint64()), high))

    first, new = unsigned(first), unsigned(new)
    where, data = tmp_path / "graph", write(new, tmp_path / "new.parquet")
    subsel.growing_graph(first, output=where, metric="l2", **PARTS)
    gone = write(first.select(["id"]).slice(0, 20), tmp_path / "gone.parquet")
    done = on_spark(where, data, remove=gone, replace=replaced > 0)
    assert [(one.left, one.joined, one.replaced) for one in done.revisions] == [(20, 0, 0), (0, 20, replaced)]
    grown = subsel.open_graph(where)
    check_lists(grown._kept.state)
    assert recall_of(grown) > 0.97 and len(grown) == done.points == 400
    ids = pa.chunked_array([pa.array([2**63 + one for one in range(20, 420)], pa.uint64())])
    everything = pa.concat_tables([first.slice(20, 380 - replaced), new])
    assert everything["id"].equals(ids)
    taken = subsel.select(everything, size=20, graph=where)
    assert taken.ids.tolist() == subsel.select(everything, size=20, graph=grown.graph).ids.tolist()
    again = subsel.grow_graph(where, remove=gone)
    assert again.revisions == done.revisions[:1]  # as after a run that was killed
    assert subsel.grow_graph(where, remove=new["id"]).points == 380 - replaced


@pytest.mark.slow
def test_what_cannot_join_or_leave_is_told_alike(rng, tmp_path, on_spark):
    first, new = clusters(rng, 120), clusters(rng, 10, 500)
    where = tmp_path / "graph"
    subsel.growing_graph(first, output=where, metric="l2", neighbors=6)
    before = contents(where)
    bad = pa.array([[np.nan] * 6] * 10, pa.list_(pa.float32()))
    cases = [
        (pa.concat_tables([new, first.slice(3, 2)]), {}, "2 of 12 ids of .* are in the graph, such as 3"),
        (clusters(rng, 10, 500, d=5, centers=3), {}, "have 5 values, those of the graph 6"),
        (new.set_column(0, "id", new["id"].cast(pa.string())), {}, "use one type"),
        (new.set_column(1, "embedding", bad), {}, "NaN"),
        (new, {"metric": "cosine"}, "metric='cosine': the graph was made with 'l2'"),
        (first, {"replace": True}, "replaces all 120 points"),
        (None, {"remove": [5, 10**6]}, "1 of 2 ids of the points to remove are unknown, such as 1000000"),
        (None, {"remove": first["id"].to_pylist()}, "all 120 points would leave"),
        (None, {}, "say who joins the graph"),
    ]
    for number, (data, how, expected) in enumerate(cases):
        given = None if data is None else write(data, tmp_path / f"{number}.parquet")
        told = []
        for grow in (on_spark, subsel.grow_graph):
            with pytest.raises(InputError, match=expected) as error:
                grow(where, given, **how)
            told.append(str(error.value))
        assert told[0] == told[1] and "\n" not in told[0]
    assert contents(where) == before


@pytest.mark.slow
def test_killed_while_it_is_written_on_spark_the_old_graph_stands(place, rng, on_spark, tmp_path):
    from subsel.engines.spark import changing

    where, _ = place
    before = contents(where)
    data = write(clusters(rng, 30, 5000, only=1), tmp_path / "new.parquet")

    def killed(*given):
        plain(*given)
        raise KeyboardInterrupt

    plain = changing.write_by
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changing, "write_by", killed)
        with pytest.raises(KeyboardInterrupt):
            on_spark(where, data)
    assert contents(where) == before and len(subsel.open_graph(where)) == 900
    assert on_spark(where, data).points == len(subsel.open_graph(where)) == 930
    assert not [one for one in where.parent.iterdir() if one.name.startswith(TEMPORARY)]


@pytest.mark.slow
def test_a_graph_is_made_on_spark_and_grows_here(rng, tmp_path, spark):
    points, new = clusters(rng, 600, centers=6), clusters(rng, 20, 1000, centers=6)
    where, data = tmp_path / "graph", write(points, tmp_path / "points.parquet")
    how = {"metric": "l2", "engine": spark, "output": where, "progress": False} | PARTS
    report = subsel.neighbors(data, **how).report
    made = subsel.open_graph(where)
    state = made._kept.state
    check_lists(state)
    assert len(made._kept.sums) == report.parts > 1 and sorted(state.ids.to_pylist()) == list(range(600))
    assert recall_of(made) > 0.95 and report.recall >= 0.95
    assert report.edges == len(pairs(made.graph)) == pq.read_table(where).num_rows - len(twice(where))
    assert report.max_degree == np.diff(made.graph.indptr).max()
    by_path = subsel.select(points, size=30, graph=where, utility="density")
    assert by_path.ids.tolist() == subsel.select(points, size=30, graph=made.graph, utility="density").ids.tolist()
    assert subsel.grow_graph(where, new).points == 620
    with pytest.raises(InputError, match="exists: choose another path"):
        subsel.neighbors(data, **how)


@pytest.mark.slow
def test_where_folders_are_not_exchanged_files_of_other_parts_stay(rng, tmp_path, spark, on_spark):
    """What Hadoop's file systems do: new files come beside old ones, and the manifest says which count."""
    name = uuid.uuid4().hex
    where, local = f"viewfs://subsel/mounted/{name}", MOUNTED / name
    data = write(clusters(rng, 600, centers=6), tmp_path / "points.parquet")
    subsel.neighbors(data, metric="l2", engine=spark, output=where, progress=False, **PARTS)
    before = contents(local)
    found = on_spark(where, write(clusters(rng, 10, 5000, centers=6, only=2), tmp_path / "new.parquet"))
    after, manifest = contents(local), json.loads((local / MANIFEST).read_text())
    assert set(after) <= set(manifest["files"]) and {name for name in manifest["files"] if "parquet" in name} == set(
        after
    )
    kept = {part_of(name) for name in after if name in before}
    changed = {part_of(name) for name in after if name not in before}
    assert kept and changed and kept.isdisjoint(changed)
    grown = subsel.open_graph(local)
    check_lists(grown._kept.state)
    assert len(grown) == found.points == 610 and recall_of(grown) > 0.95


@pytest.mark.slow
def test_what_is_kept_is_computed_once(spark):
    from subsel.engines.spark.growing import PartedGraph

    graph, computed = PartedGraph.__new__(PartedGraph), spark.sparkContext.accumulator(0)
    graph._persisted = []

    def count(batches):
        computed.add(1)
        yield from batches

    kept = graph.kept_frame(spark.range(3, numPartitions=1).mapInArrow(count, "id bigint"))
    assert kept.count() == len(kept.collect()) == 3 and computed.value == 1
    graph.close()


def twice(where):
    """Edges between parts that both have."""
    edges = pq.read_table(where)
    ends = np.sort(np.stack([edges["src"].to_numpy(), edges["dst"].to_numpy()], axis=1), axis=1)
    distinct, count = np.unique(ends, axis=0, return_counts=True)
    return distinct[count > 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: subsel.neighbors(folder / "p.parquet", engine="spark", output=folder / "g"),
        lambda folder: subsel.neighbors(folder / "p.parquet", engine="spark", run_dir=folder / "run"),
        lambda folder: subsel.grow_graph(folder / "g", folder / "p.parquet", engine="spark"),
    ],
    ids=["made", "in a run directory", "grown"],
)
def test_without_pyspark_that_is_said(tmp_path, monkeypatch, call):
    monkeypatch.setattr("subsel.engines.choose.importlib.util.find_spec", lambda name: None)
    with pytest.raises(subsel.MissingPackageError, match=r"^engine='spark' needs pyspark: pip install"):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_points_that_did_not_join_are_told_on_both_engines(rng, tmp_path, caplog, spark):
    points = clusters(rng, 300)
    subsel.growing_graph(points.slice(0, 280), output=tmp_path / "graph", neighbors=5, progress=False)
    pq.write_table(points, tmp_path / "points.parquet")
    asked = {"size": 30, "graph": tmp_path / "graph", "coverage_sample": 0, "progress": False}
    local = subsel.select(tmp_path / "points.parquet", engine="local", **asked)
    found = subsel.select(tmp_path / "points.parquet", engine=spark, output=tmp_path / "out", **asked)
    assert local.report.graph.alone == found.report.graph.alone == 20
    assert caplog.text.count("20 points have no neighbours in the graph") == 2
    caplog.clear()
    subsel.select(points.slice(0, 280), **asked)
    assert "no neighbours" not in caplog.text
