"""Graphs that grow: what is found is what a search of all would find, writing is whole, refusals say why."""

from __future__ import annotations

import json
from dataclasses import replace

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import subsel
from subsel import InputError
from subsel.cli.commands import main
from subsel.embeddings.metrics import Preparation, similarity_of_scores
from subsel.growing import place as growing_place
from subsel.growing.join import join
from subsel.growing.stored import StoredRows
from subsel.storage import MANIFEST
from tests.reference import exact_neighbors

EVERYWHERE = {"probes": 1000, "descent_passes": 0, "neighbors": 7, "utility": "constant"}


def table(points, first=0):
    ids = np.arange(first, first + len(points))
    return pa.table({"id": ids, "embedding": list(np.asarray(points, np.float32))})


def grid(rng, n, d=6):
    """Points that 16 bits hold exactly, without zero vectors; some of them equal."""
    return rng.integers(-6, 7, (n, d)) + np.array([9, *[0] * (d - 1)])


def check_lists(state):
    """What holds of lists whatever was done to them."""
    best, score = state.best, state.score
    assert ((best >= -1) & (best < state.n)).all()
    assert (best != np.arange(state.n)[:, None]).all()
    for row, values in zip(best, score, strict=True):
        some = row[row >= 0]
        assert len(np.unique(some)) == len(some)
        assert np.isfinite(values[: len(some)]).all() and (row[len(some) :] == -1).all()
        assert (values[:-1] >= values[1:]).all()
    assert (np.diff(state.home) >= 0).all() and len(state.ids) == len(state.home) == len(best)


@pytest.mark.parametrize("metric", ["cosine", "inner_product", "l2"])
@pytest.mark.parametrize("cuts", [(200,), (90, 100, 260)])
def test_lists_are_those_of_a_search_among_all(rng, metric, cuts):
    points = grid(rng, 320)
    graph = subsel.growing_graph(table(points[: cuts[0]]), metric=metric, **EVERYWHERE)
    for begin, end in zip(cuts, [*cuts[1:], len(points)], strict=True):
        graph.add(table(points[begin:end], begin))
    gone = np.arange(0, 320, 9)
    graph.remove(gone)
    check_exact(graph._kept.state, points, metric)
    assert sorted(graph._kept.state.ids.to_numpy()) == sorted(set(range(320)) - set(gone.tolist()))


def check_exact(state, points, metric):
    """Lists are those of exact search, the reserve too as far as it goes; ids say which points there are."""
    check_lists(state)
    ids = state.ids.to_numpy()
    X = Preparation(metric, state.center).rows(points[ids].astype(np.float32))
    named = (state.best >= 0).sum(axis=1)
    assert named.min() >= 7
    expected = np.where(state.best < 0, 0, exact_neighbors(X, state.best.shape[1], metric))
    found = similarity_of_scores(np.where(state.best < 0, -np.inf, state.score), metric)
    assert found == pytest.approx(expected, abs=2e-6)


def test_a_spent_reserve_lets_in_only_who_is_next(rng):
    """Lists that lost some stay the beginning of what exact search finds while others join: none is passed over."""
    points = grid(rng, 700)
    graph = subsel.growing_graph(table(points[:300]), **EVERYWHERE)
    searched = []
    for begin in range(300, 700, 50):
        gone = rng.choice(graph._kept.state.ids.to_numpy(), len(graph) // 12, replace=False)
        searched.append(graph.remove(gone).searched / len(graph))
        check_exact(graph._kept.state, points, "cosine")
        graph.add(table(points[begin : begin + 50], begin))
        check_exact(graph._kept.state, points, "cosine")
    assert 0 < max(searched) < 0.1  # nearly half of the lists lose somebody each time


def test_what_is_of_16_bits_is_kept_exactly_and_the_rest_nearly(rng):
    half = rng.standard_normal((50, 9)).astype(np.float16).astype(np.float32)
    half[3] = 0
    kept = StoredRows.of(half)
    plain = Preparation("inner_product", np.zeros(9))
    np.testing.assert_array_equal(kept.prepared(plain, np.arange(50)), half)
    for scale in (1e-30, 1.0, 1e30):
        rows = (rng.standard_normal((50, 9)) * scale).astype(np.float32)
        again = StoredRows.of(rows).prepared(plain, np.arange(50))
        assert np.abs(again - rows).max() <= np.abs(rows).max() * 2**-11


def test_order_and_split_of_batches_matter_no_more_than_the_search_misses(demo_table, rng):
    first, rest = demo_table.slice(0, 1000), demo_table.slice(1000, 400)
    fresh = subsel.growing_graph(demo_table.slice(0, 1400), neighbors=10)
    edges, mixed = [], rest.take(rng.permutation(400))
    for parts in ([rest], [mixed.slice(at, 200) for at in (0, 200)]):
        graph = subsel.growing_graph(first, neighbors=10)
        for one in parts:
            assert graph.add(one).recall >= 0.95
        check_lists(graph._kept.state)
        assert len(graph) == 1400
        edges.append(pairs(graph.graph))
    whole = pairs(fresh.graph)
    for one in edges:
        assert len(one & whole) / len(whole) > 0.97
    same = subsel.growing_graph(first, neighbors=10)
    same.add(rest.take(rng.permutation(400)))
    assert pairs(same.graph) == edges[0]


def pairs(graph):
    return {
        (min(a, b), max(a, b))
        for batch in graph.edges()
        for a, b in zip(batch[0].to_pylist(), batch[1].to_pylist(), strict=True)
    }


def test_a_cell_beyond_its_share_is_split_but_not_a_mass_of_copies(rng):
    points = rng.standard_normal((2000, 8)) + 4
    graph = subsel.growing_graph(table(points), neighbors=5)
    before = len(graph._kept.state.quantizer.centroids)
    there = rng.standard_normal((2500, 8)) * 0.05 + points[0]
    done = graph.add(table(there, 2000))
    assert done.split > 0
    state = graph._kept.state
    check_lists(state)
    assert len(state.quantizer.centroids) > before and done.recall >= 0.95
    copies = np.repeat(points[1][None], 1500, axis=0)
    assert graph.add(table(copies, 5000)).split == 0
    check_lists(graph._kept.state)
    assert (graph._kept.state.best >= 0).all()


def test_a_small_graph_fills_its_lists_as_it_grows(rng):
    points = grid(rng, 40)
    graph = subsel.growing_graph(table(points[:4]), **EVERYWHERE)
    assert (graph._kept.state.best >= 0).sum() == 4 * 3
    assert (graph._kept.state.score[:, 3:] == -np.inf).all()
    graph.add(table(points[4:], 4))
    assert (graph._kept.state.best >= 0).all()
    graph.remove(np.arange(37))
    assert (graph._kept.state.best >= 0).sum() == 3 * 2
    check_lists(graph._kept.state)


def test_a_point_that_is_replaced_is_where_its_new_vector_is(rng):
    points = grid(rng, 200)
    graph = subsel.growing_graph(table(points), **EVERYWHERE)
    now = points[:5] * [[-1] + [1] * 5]
    with pytest.raises(InputError, match=r"5 of 5 ids of the table are in the graph, such as .*replace=True"):
        graph.add(table(now))
    done = graph.add(table(now), replace=True)
    assert (done.joined, done.replaced, done.points) == (0, 5, 200)
    anew = subsel.growing_graph(table(np.concatenate([now, points[5:]])), **EVERYWHERE)
    assert similarity_sums(graph) == pytest.approx(similarity_sums(anew), abs=1e-4)
    with pytest.raises(InputError, match="replaces all 200 points: make the graph of them anew"):
        graph.add(table(points), replace=True)


def test_who_lost_those_that_were_replaced_counts_as_searched(rng):
    points = grid(rng, 200)
    graph = subsel.growing_graph(table(points), **EVERYWHERE)
    done = graph.add(table(-points[:80]), replace=True)
    assert done.replaced == 80 and 80 < done.searched <= 200


def similarity_sums(graph):
    state = graph._kept.state
    return similarity_of_scores(state.score[:, : state.neighbors].copy(), state.metric).sum(axis=1)[
        np.argsort(state.ids.to_numpy())
    ]


@pytest.fixture(scope="module")
def small(demo_table):
    return demo_table.slice(0, 400), demo_table.slice(400, 60)


def test_a_place_is_a_graph_for_select_and_grows_there(small, tmp_path):
    first, more = small
    place = tmp_path / "graph"
    made = subsel.growing_graph(first, neighbors=6, output=place)
    again = subsel.open_graph(place)
    assert pairs(again.graph) == pairs(made.graph) and again.config == made.config and again.report == made.report
    again.add(more)
    again.save()
    whole = pa.concat_tables([first, more])
    by_path = subsel.select(whole, size=30, graph=place, utility="density")
    assert by_path.table.equals(subsel.select(whole, size=30, graph=again.graph, utility="density").table)
    assert pq.read_table(place).column_names == ["src", "dst", "similarity"]
    third = subsel.open_graph(place)
    assert len(third) == 460 and [one.joined for one in third.revisions] == [60]
    assert third.add(more) == again.revisions[0]  # as after a run that was killed
    third.remove(more["id"])
    third.save(tmp_path / "other")
    assert len(subsel.open_graph(place)) == 460
    with pytest.raises(InputError, match="has changed since it was read"):
        made.save()


def test_killed_while_it_is_written_the_old_graph_stands(small, anywhere):
    first, more = small
    anywhere.make_folder()
    place = anywhere.join("graph")
    graph = subsel.growing_graph(first, neighbors=6)
    graph.save(place)
    edges, plain = pairs(graph.graph), growing_place._write

    def killed(*given):
        plain(*given)
        raise KeyboardInterrupt

    grown = subsel.open_graph(place)
    grown.add(more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing_place, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            grown.save()
    old = subsel.open_graph(place)
    assert len(old) == 400 and pairs(old.graph) == edges
    old.add(more)
    old.save()
    now = subsel.open_graph(place)
    assert len(now) == 460 and pairs(now.graph) == pairs(old.graph)
    assert len(place.join(MANIFEST).read_json()["files"]) == 3
    assert len([file for file in place.files() if not file.name.startswith("_manifest")]) == 3  # nothing of the old


def test_ids_come_back_as_they_were(small, tmp_path):
    first, more = small
    names = [pa.array([f"é{one}" for one in part["id"].to_pylist()]) for part in small]
    first, more = (part.set_column(0, "id", ids) for part, ids in zip(small, names, strict=True))
    subsel.growing_graph(first, neighbors=6, output=tmp_path / "graph")
    graph = subsel.open_graph(tmp_path / "graph")
    assert graph.add(more).joined == 60
    assert graph.remove(["é" + str(small[0]["id"][0].as_py())]).left == 1


def test_unsigned_ids_are_those_of_the_input(small, tmp_path):
    high = 2**63 + 5
    parts = [
        one.set_column(0, "id", pa.array(one["id"].to_numpy().astype(np.uint64) + np.uint64(high))) for one in small
    ]
    subsel.growing_graph(parts[0], neighbors=6, output=tmp_path / "graph")
    graph = subsel.open_graph(tmp_path / "graph")
    graph.add(parts[1])
    graph.save()
    everything = pa.concat_tables(parts)
    assert pq.read_table(tmp_path / "graph" / "edges-0.parquet")["src"].type == pa.uint64()
    one, other = (
        subsel.select(everything, graph=given, size=20, utility="constant", progress=False)
        for given in (graph.graph, str(tmp_path / "graph"))
    )
    assert one.ids.tolist() == other.ids.tolist() and one.ids.min() >= high


def test_what_was_replaced_may_come_back(small):
    """Only what was done last is not done again."""
    first, more = small
    graph = subsel.growing_graph(first, neighbors=6)
    graph.add(more)
    turned = more.set_column(1, "embedding", more["embedding"].take(pa.array(np.arange(60)[::-1])))
    assert graph.add(turned, replace=True).replaced == 60
    assert graph.add(more, replace=True).replaced == 60 and len(graph.revisions) == 3
    assert graph.add(more, replace=True).replaced == 60 and len(graph.revisions) == 3


def test_that_nobody_leaves_is_no_change(small):
    """So what joined last is known as that, also in a place where such a change was noted once."""
    first, more = small
    graph = subsel.growing_graph(first, neighbors=6)
    done = graph.add(more)
    nobody = graph.remove([])
    assert (nobody.left, nobody.points, graph.revisions) == (0, 460, (done,))
    graph._kept = replace(graph._kept, revisions=(done, nobody))
    assert graph.add(more) == done and len(graph.revisions) == 2


def test_two_that_change_a_graph_at_a_time_do_not_lose_either(small, tmp_path):
    first, more = small
    subsel.growing_graph(first, neighbors=6, output=tmp_path / "graph")
    mine, theirs = (subsel.open_graph(tmp_path / "graph") for _ in range(2))
    mine.add(more.slice(0, 30))
    theirs.add(more.slice(30))
    plain = growing_place.edges_of

    def meanwhile(part):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(growing_place, "edges_of", plain)
            if theirs.revisions and len(subsel.open_graph(tmp_path / "graph")) == 400:
                theirs.save()
        return plain(part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing_place, "edges_of", meanwhile)
        with pytest.raises(InputError, match="has changed since it was read"):
            mine.save()
    assert len(subsel.open_graph(tmp_path / "graph")) == 430
    assert pairs(subsel.open_graph(tmp_path / "graph").graph) == pairs(theirs.graph)


def test_what_cannot_join_or_leave_is_told(small, tmp_path):
    first, more = small
    graph = subsel.growing_graph(first, neighbors=6)
    wide = table(np.ones((3, 5)), 10**9)
    texts = more.set_column(0, "id", pa.array(list(map(str, range(60)))))
    for wrong, told in (
        (lambda: graph.add(wide), "have 5 values, those of the graph 16: use those of one model"),
        (lambda: graph.add(texts), "ids of the table are .*string, those of the points int64"),
        (lambda: graph.remove([5]), "1 of 1 ids of the points to remove are unknown, such as 5"),
        (lambda: graph.remove(first["id"]), "all 400 points would leave"),
        (graph.save, "has no place yet"),
        (lambda: graph.save(tmp_path / "x.parquet"), "edges only: save into a folder"),
        (lambda: graph.add(more, metric="l2"), "metric='l2': the graph was made with 'cosine'"),
        (lambda: graph.add(more, size=3), "size=3: the graph was made without it"),
        (lambda: graph.add(more, neighbor=3), "unknown option 'neighbor'"),
        (lambda: subsel.growing_graph(first, thin=3), "nothing is selected here"),
        (lambda: subsel.open_graph(tmp_path), "is no graph that can grow"),
        (lambda: subsel.open_graph(tmp_path / "none"), "none does not exist: give a folder that subsel neighbors"),
    ):
        with pytest.raises(InputError, match=told):
            wrong()
    assert graph.revisions == () and len(graph) == 400


def test_a_damaged_place_is_told(small, tmp_path):
    place = tmp_path / "graph"
    subsel.growing_graph(small[0], neighbors=6, output=place)
    manifest = json.loads((place / MANIFEST).read_text())
    for change, told in (
        ({"graph_format": 99}, "is of format 99, this is 3: make the graph anew"),
        ({"search": {}}, "is damaged: .*Make the graph anew"),
    ):
        (place / MANIFEST).write_text(json.dumps(manifest | change))
        with pytest.raises(InputError, match=told):
            subsel.open_graph(place)
    (place / MANIFEST).write_text(json.dumps(manifest))
    edges = place / "edges-0.parquet"
    whole = edges.read_bytes()
    edges.write_bytes(whole[: len(whole) // 3] + bytes([whole[len(whole) // 3] ^ 255]) + whole[len(whole) // 3 + 1 :])
    with pytest.raises(InputError, match=r"edges-0.parquet cannot be read: .*checksum.* Write it again"):
        subsel.select(small[0], size=20, graph=place, progress=False)
    edges.write_bytes(whole)
    (place / "_kept" / "points-0.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="is not whole"):
        subsel.open_graph(place)


def test_a_graph_that_no_longer_fits_says_so(small):
    first, more = small
    graph = subsel.growing_graph(first, neighbors=6)
    short = graph.add(more).model_copy(update={"recall": 0.5})
    assert "recall 0.500 of the points that were searched is below the 0.95 of the graph" in short.warning
    assert short.model_copy(update={"target": None}).warning is None


def test_the_command_line_joins_and_removes(small, tmp_path):
    first, more = small
    pq.write_table(first, tmp_path / "a.parquet")
    pq.write_table(more, tmp_path / "b.parquet")
    pq.write_table(first.select(["id"]).slice(0, 20), tmp_path / "gone.parquet")
    a, b, gone, graph = (str(tmp_path / name) for name in ("a.parquet", "b.parquet", "gone.parquet", "graph"))

    def run(*words, code=0):
        done = CliRunner().invoke(main, ["-q", "neighbors", *words])
        assert done.exit_code == code, done.output
        return done.output

    run(a, graph, "--neighbors", "6")
    run(b, graph, "--onto", "--remove", gone)
    grown = subsel.open_graph(graph)
    assert len(grown) == 440 and [one.left for one in grown.revisions] == [20, 0]
    stamp = (tmp_path / "graph" / MANIFEST).stat().st_mtime_ns
    run(b, graph, "--onto", "--remove", gone)  # as after a run that was killed: nothing is left to be done
    assert (tmp_path / "graph" / MANIFEST).stat().st_mtime_ns == stamp
    pq.write_table(first.select(["id"]).slice(0, 0), tmp_path / "nobody.parquet")
    for _ in range(2):  # in a month that nobody leaves
        run(b, graph, "--onto", "--remove", str(tmp_path / "nobody.parquet"))
    assert (tmp_path / "graph" / MANIFEST).stat().st_mtime_ns == stamp
    run(graph, "--remove", str(tmp_path / "b.parquet"))
    assert len(subsel.open_graph(graph)) == 380
    assert "in the graph, such as" in run(a, graph, "--onto", code=2)
    assert "--metric l2: the graph was made with" in run(b, graph, "--onto", "--metric", "l2", code=2)
    assert "give INPUT and GRAPH" in run(graph, "--onto", code=2)
    assert "leave --overwrite out" in run(b, graph, "--onto", "--overwrite", code=2)
    assert "--metric says how a graph is made" in run(graph, "--remove", gone, "--metric", "l2", code=2)
    assert "--run-dir is for --engine spark" in run(a, str(tmp_path / "other"), "--run-dir", "r", code=2)
    (tmp_path / "c.toml").write_text("seed = 3")
    assert "--config says how" in run(b, graph, "--onto", "--config", str(tmp_path / "c.toml"), code=2)
    pq.write_table(first.slice(30, 10), tmp_path / "again.parquet")
    run(str(tmp_path / "again.parquet"), graph, "--onto", "--replace")
    assert subsel.open_graph(graph).revisions[-1].replaced == 10
    assert "ask for it to be replaced (--overwrite)." in run(b, graph, code=2)
    assert "give --onto, too" in run(b, graph, "--remove", gone, code=2)
    assert "--run-dir is for graphs that are made" in run(b, graph, "--onto", "--run-dir", "r", code=2)


def test_equal_lists_whatever_the_threads(demo_table):
    first, rest = demo_table.slice(0, 1000), demo_table.slice(1000, 400)
    graph = subsel.growing_graph(first, neighbors=10)
    state, codes = graph._kept.state, np.arange(400)
    rows = StoredRows.of(np.array(rest["embedding"].to_pylist(), np.float32))
    threads = numba.get_num_threads()
    found = []
    for count in (1, threads):
        numba.set_num_threads(count)
        found.append(join(state, pa.array(codes + 10**7), rows)[0])
    numba.set_num_threads(threads)
    np.testing.assert_array_equal(found[0].best, found[1].best)
    np.testing.assert_array_equal(found[0].score, found[1].score)
