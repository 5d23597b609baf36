"""The same subset on any number of parts, whatever belongs where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subsel.bounding.driver import bound
from subsel.engines.local import LocalEngine
from subsel.graph import distinct
from subsel.greedy import kernel
from subsel.greedy.exact import exact_greedy, order_subset
from subsel.parts import assemble, pack
from subsel.parts import kernel as parts_kernel
from subsel.schema import Status
from tests.reference import make_graph, make_part
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems


def local_result(graph, utility, alpha, beta, k, bounding, tie_bits):
    part = make_part(graph, utility, alpha, beta, tie_bits=tie_bits)
    engine = LocalEngine(part)
    run(engine, k, bounding)
    board = engine.board
    slots = np.flatnonzero(board.status == Status.SELECTED)
    return {int(part.code[v]): (int(board.key[v]), int(board.decided_by[v])) for v in slots}


def run(engine, k, bounding):
    accepted = bound(engine, k).accepted if bounding else 0
    exact_greedy(engine, k - accepted)
    order_subset(engine, k, restart=accepted > 0)


@given(problems(max_n=20), st.data())
def test_any_parts_give_the_local_engines_result(problem, data):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    part_of_node = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    tie_bits = data.draw(st.sampled_from([None, None, 3]))
    bounding = data.draw(st.booleans())
    engine = SplitEngine(
        parts_of(graph, utility, 0, part_of_node),
        alpha,
        beta,
        finish_points=data.draw(st.sampled_from([0, 3, 100])),
        tie_bits=tie_bits,
        compact=data.draw(st.booleans()),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "BATCH", data.draw(st.sampled_from([1, 3, kernel.BATCH])))
        run(engine, k, bounding)
    assert engine.result() == local_result(graph, utility, alpha, beta, k, bounding, tie_bits)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("utility", ["uniform", "constant", "levels"])
def test_supersteps_stay_few(share, utility):
    n = 3000
    rng = np.random.default_rng(1)
    edges = {
        (min(a, b), max(a, b)): float(s)
        for a, b, s in zip(
            np.arange(n).repeat(6),
            (np.arange(n).repeat(6) + rng.integers(1, 60, 6 * n)) % n,
            rng.random(6 * n),
            strict=True,
        )
    }
    u = {"uniform": rng.random(n), "constant": np.ones(n), "levels": rng.integers(0, 10, n) / 10}[utility]
    graph = make_graph(n, edges)
    engine = SplitEngine(parts_of(graph, u, 0, np.arange(n) % 7), 0.5, 0.5)
    result = exact_greedy(engine, round(share * n))
    assert result.supersteps <= 40
    order_subset(engine, round(share * n), restart=False)
    assert engine.result() == local_result(graph, u, 0.5, 0.5, round(share * n), False, None)


def test_long_chains_end_by_rounding_and_say_so(caplog):
    """Utilities that rise along a chain whose every next point is in another part."""
    n, k = 1500, 500
    graph = make_graph(n, {(i, i + 1): 0.5 for i in range(n - 1)})
    utility = 1 + np.arange(n) / n
    engine = SplitEngine(parts_of(graph, utility, 0, np.arange(n) % 5), 0.9, 0.1)
    result = exact_greedy(engine, k, max_supersteps=8)
    assert result.rounded_after == 8
    assert "no longer centralised greedy's" in caplog.text
    assert result.selected == k
    assert result.supersteps < 200
    assert order_subset(engine, k, restart=True) == 50
    ours = sum(key for key, _ in engine.result().values())
    exact = sum(key for key, _ in local_result(graph, utility, 0.9, 0.1, k, False, None).values())
    assert 0.9 * exact < ours <= exact


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_distinct_is_unique(values):
    array = np.array(values, np.int64)
    np.testing.assert_array_equal(distinct(array), np.unique(array))
    grid = np.array([[3, -1], [-1, 2]], np.int32)
    assert distinct(grid).tolist() == [-1, 2, 3]


@pytest.mark.parametrize("rows_per_array", [1, 3, 1000])
def test_parcels_come_back_from_rows_in_pieces(monkeypatch, rows_per_array):
    from subsel.parts import rows

    monkeypatch.setattr(pack, "CHUNK_BYTES", 100)
    monkeypatch.setattr(rows, "_PIECES", rows_per_array)
    contents = [np.arange(size) for size in (0, 1, 12, 100, 1)]
    sent = [pack.Parcel(7, source, "kind", pack.pack(values=values)) for source, values in enumerate(contents)]
    table = rows.to_table(sent)
    assert len(table) > len(sent)  # some are in pieces
    shuffled = table.take(np.random.default_rng(0).permutation(len(table))).combine_chunks()
    back = pack.of_kind(pack.from_rows(shuffled), "kind")
    assert [parcel.source for parcel in back] == list(range(5))
    for parcel, values in zip(back, contents, strict=True):
        np.testing.assert_array_equal(pack.unpack(parcel.payload)["values"], values)
    assert len(rows.to_table([])) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), max_size=300), st.integers(4, 9))
@example([(i % 2, i % 7 - 3) for i in range(200)], 4)  # rows too long for insertion
def test_entries_in_the_order_of_rows_and_values(entries, n):
    row, value = np.array(entries, np.int64).reshape(-1, 2).T.copy()
    np.testing.assert_array_equal(parts_kernel.order_by_row(row, n, value), np.lexsort((value, row)))


_CODES = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)  # spread as hashes are, and not at all


@given(st.lists(_CODES, max_size=40, unique=True), st.lists(_CODES, max_size=40))
def test_codes_are_found_where_they_stand(codes, others):
    codes = np.sort(np.array(codes, np.int64))
    wanted = np.array([*codes[::-1], *others], np.int64)
    places = np.empty(len(wanted), np.int64)
    missing = parts_kernel.find(codes, wanted, places)
    known = {code: place for place, code in enumerate(codes.tolist())}
    assert places.tolist() == [known.get(code, -1) for code in wanted.tolist()]
    assert missing == (places < 0).sum()


@given(st.lists(st.integers(-1, 9) | st.just(40_000), max_size=60))
def test_what_goes_to_each_part(parts):
    found = list(pack.by_part(np.array(parts, np.int32)))
    wanted = sorted({part for part in parts if part >= 0})
    assert [part for part, _ in found] == wanted
    assert [some.tolist() for _, some in found] == [[i for i, one in enumerate(parts) if one == to] for to in wanted]


@given(st.integers(1, 4), st.data())
def test_merged_lists_are_the_best_of_all_each_once(k, data):
    n = 3
    # A neighbour lives in one part and scores the same wherever it is met; or, off by a bit, nearly the same.
    scores = st.sampled_from([0.0, 0.5, 0.5000001, 1.0, -np.inf])
    others = st.lists(st.tuples(scores, st.integers(-2, 6)), min_size=k, max_size=k, unique_by=lambda pair: pair[1])
    calls = data.draw(st.lists(st.lists(st.tuples(st.integers(0, n - 1), others), max_size=4), max_size=4))
    best, part = np.zeros((n, k), np.int64), np.zeros((n, k), np.int32)
    score = np.full((n, k), -np.inf, np.float32)
    met = [{} for _ in range(n)]
    for lists in calls:
        row = np.array([v for v, _ in lists], np.int64)
        ordered = [sorted(found, key=lambda pair: -pair[0]) for _, found in lists]
        pairs = np.array(ordered, np.float64).reshape(-1, k, 2)
        other, value = pairs[:, :, 1].astype(np.int64), pairs[:, :, 0].astype(np.float32)
        parts_kernel.merge_lists(row, other, (other + 10).astype(np.int32), value, best, part, score)
        for v, codes, values in zip(row, other.tolist(), value.tolist(), strict=True):
            for code, one in zip(codes, values, strict=True):
                if one > -np.inf:
                    met[v][code] = max(one, met[v].get(code, one))
    for v in range(n):
        wanted = sorted((-one, code) for code, one in met[v].items())[:k]
        real = np.isfinite(score[v])
        assert real.tolist() == [True] * len(wanted) + [False] * (k - len(wanted))
        assert list(zip((-score[v][real]).tolist(), best[v][real].tolist(), strict=True)) == wanted
        np.testing.assert_array_equal(part[v][real], best[v][real] + 10)


def test_an_edge_that_arrives_several_times_counts_once_with_its_largest_similarity():
    points = pack.pack(code=np.array([5, -2, 9]), utility=np.ones(3), id=np.arange(3))
    own, other = np.array([5, 9, 5, 5, -2, 5]), np.array([-2, 5, 9, -2, 5, -2])
    similarity = np.array([0.1, 0.4, 0.4, 0.3, 0.3, 0.2])
    edges = [
        pack.Parcel(
            0, source, assemble.EDGES, assemble.pack_edges(own[some], np.zeros(3), other[some], similarity[some])
        )
        for source, some in enumerate((slice(0, 3), slice(3, 6)))
    ]
    sent = assemble.gather(0, [pack.Parcel(0, 0, assemble.POINTS, points), *edges])
    draft = pack.unpack(pack.of_kind(list(sent), assemble.DRAFT)[0].payload)
    assert draft["slot"].tolist() == [0, 1, 1, 2]
    assert draft["other"].tolist() == [5, -2, 9, 5]
    assert draft["similarity"].tolist() == [0.3, 0.3, 0.4, 0.4]
