"""Copies: points of equal vectors are one, of which the best stays; on both engines, with wishes, and when resumed."""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import subsel
from subsel import ConfigError, InputError
from subsel.cli.commands import main
from subsel.codes import codes_of
from subsel.explaining import explain
from subsel.input.copies import find_copies, fingerprints
from subsel.input.points import read_points
from subsel.input.source import open_source
from subsel.request import Request
from subsel.schema import Status
from subsel.stages.local import LocalStages
from subsel.stages.merged import merge_here
from tests.differential import cases, outcome_of
from tests.test_differential import AS_DRAWN, EXAMPLES

QUIET = {"progress": False, "recall_sample": 0, "coverage_sample": 0}


def table(vectors, ids=None, **columns):
    ids = pa.array(range(len(vectors))) if ids is None else ids
    return pa.table({"id": ids, "embedding": [[float(v) for v in one] for one in vectors], **columns})


@pytest.fixture(scope="module")
def mass():
    """2,000 points and 20,000 copies of one of them, in any order; and who is one of these."""
    rng = np.random.default_rng(3)
    some = rng.standard_normal((2000, 32)).astype(np.float32)
    order = rng.permutation(22_000)
    vectors = np.concatenate([some, np.repeat(some[:1], 20_000, 0)])[order]
    columns = {"id": pa.array(range(22_000)), "utility": rng.random(22_000)}
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 32)
    return pa.table(columns | {"embedding": values}), (order == 0) | (order >= 2000)


@pytest.fixture(scope="module")
def small():
    """400 points of 10 distinct ones each ten times, 300 others, and what wishes need."""
    rng = np.random.default_rng(4)
    some = rng.standard_normal((310, 8)).astype(np.float32)
    which = rng.permutation(np.concatenate([np.arange(310), np.repeat(np.arange(10), 9)]))
    columns = {"utility": rng.integers(0, 5, 400) / 4, "near": pa.array(which)}
    return table(some[which], **columns), which


def stay(found, which, wished=()):
    """Who stays of a small table, by its definition."""
    utility, code = found["utility"].to_numpy(), codes_of(found["id"], 0)
    sets = defaultdict(list)
    for i, one in enumerate(which):
        sets[int(one)].append(i)
    kept = set()
    for members in sets.values():
        inside = set(members) & set(wished)
        kept |= inside or {max(members, key=lambda i: (utility[i], code[i]))}
    return kept


# ------------------------------------------------------------------ what is equal
def merged(points, metric="cosine", **options):
    config = subsel.SelectConfig(size=1, metric=metric, **options)
    found = read_points(open_source(points, lambda name: True, config), config, with_embeddings=True)
    merge_here(found, metric, {})
    return found


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_what_is_equal(metric):
    vectors = [[1, 2, -3], [4, 8, -12], [0.25, 0.5, -0.75], [-1, -2, 3], [0, 1, 5], [-0.0, 1, 5], [1, 2, -3]]
    found = merged(table(vectors), metric)
    sets = [{0, 1, 2, 6}, {3}, {4, 5}] if metric == "cosine" else [{0, 6}, {1}, {2}, {3}, {4, 5}]
    left = found.ids.to_pylist()
    assert [len(one & set(left)) for one in sets] == [1] * len(sets)
    assert len(left) == len(sets)
    size = {min(one & set(left)): len(one) for one in sets}
    assert found.multiplicity.tolist() == [size[one] for one in left]
    assert found.multiplicity.dtype == np.int64
    of = dict(zip(found.copies.ids.to_pylist(), found.copies.of.to_pylist(), strict=True))
    assert all({one, other} <= next(s for s in sets if one in s) for one, other in of.items())
    assert found.copies.rows.tolist() == sorted(of)


def test_directions_are_rounded_to_twenty_bits():
    base = np.array([[3.0, 4.0, 12.0, 84.0]], np.float32) / 85
    near, far = base.copy(), base.copy()
    near[0, 3] = np.nextafter(base[0, 3], np.float32(2))
    far[0, 0] *= np.float32(1 + 2**-18)
    none = np.empty(0, np.int64)
    marks = fingerprints(np.concatenate([base, near, far, base * 2**40]), True, none)
    assert (marks[:, 0] == marks[:, 3]).all()
    assert (marks[:, 0] != marks[:, 2]).all()
    exact = fingerprints(np.concatenate([base, near]), False, none)
    assert (exact[:, 0] != exact[:, 1]).all()


def test_equal_rows_are_found_whatever_their_place(rng):
    """Blocks, threads and neighbours in memory change nothing, and each row is like itself only."""
    X = rng.standard_normal((5000, 33)).astype(np.float32)
    twice = np.concatenate([X, X[::-1]])
    marks = fingerprints(twice, True, np.empty(0, np.int64))
    assert np.array_equal(marks[:, :5000], marks[:, 5000:][:, ::-1])
    assert len(np.unique(marks[0])) == len(np.unique(marks[1])) == 5000
    n = len(twice)
    found = find_copies(twice, np.zeros(n), np.arange(n), np.zeros(n, np.bool_), "cosine")
    assert found.lost.tolist() == list(range(5000))
    assert found.of.tolist() == list(range(9999, 4999, -1))


def test_points_of_one_hash_that_differ_stay(rng, monkeypatch):
    monkeypatch.setattr("subsel.input.copies.fingerprints", lambda X, cosine, classes: np.zeros((2, len(X)), np.uint64))
    X = np.repeat(rng.standard_normal((3, 4)).astype(np.float32), 2, 0)  # copies stand together
    found = find_copies(X, np.zeros(6), np.arange(6), np.zeros(6, np.bool_), "l2")
    assert found.lost.tolist() == [0, 2, 4]
    assert found.of.tolist() == [1, 3, 5]


def test_points_of_different_classes_are_no_copies():
    X = np.ones((6, 2), np.float32)
    about = X, np.zeros(6), np.arange(6), np.zeros(6, np.bool_), "cosine"
    found = find_copies(*about, classes=np.array([0, 1, 0, 1, 2, -1]))
    assert found.lost.tolist() == [0, 1]
    assert found.of.tolist() == [2, 3]
    assert find_copies(*about, classes=np.arange(6)) is None


def test_nothing_is_touched_where_there_are_no_copies(rng):
    points = table(rng.standard_normal((50, 4)))
    config = subsel.SelectConfig(size=1)
    found = read_points(open_source(points, lambda name: True, config), config, with_embeddings=True)
    before = found.embeddings, found.ids, found.code
    wished, _ = merge_here(found, "cosine", {Status.EXCLUDED: np.array([3])})
    assert (found.embeddings, found.ids, found.code) == before or all(
        a is b for a, b in zip((found.embeddings, found.ids, found.code), before, strict=True)
    )
    assert found.copies is None
    assert found.multiplicity is None
    assert wished[Status.EXCLUDED].tolist() == [3]


# ------------------------------------------------------------------ who stays
def test_the_best_stays_and_among_equals_the_largest_code(small):
    points, which = small
    assert set(merged(points).ids.to_pylist()) == stay(points, which)
    flat = points.set_column(1, "embedding", points["embedding"]).drop_columns(["utility"])
    alone = merged(flat, utility="constant").ids.to_pylist()
    assert set(alone) == stay(points.set_column(2, "utility", pa.array(np.ones(400))), which)
    assert set(merged(flat).ids.to_pylist()) == set(alone)  # density is stored nowhere


def test_the_first_stored_thing_decides():
    points = table(np.ones((3, 2)), a=[1.0, 2.0, 0.0], b=[5.0, 0.0, 9.0])
    for utility, best in (("a", 1), ("b", 2), ("density+a", 1), ("b+a", 2), ("a+b", 1)):
        assert merged(points, utility=utility).ids.to_pylist() == [best]


def test_zero_without_its_sign(rng):
    points = table(np.ones((2, 2)), utility=[0.0, -0.0])
    assert merged(points).ids.to_pylist() == [int(np.argmax(codes_of(points["id"], 0)))]


def test_repeated_ids_and_bad_rows_come_first():
    vectors = [[1, 0], [1, 0], [0, 1], [2, 0], [np.nan, 0], [0, 1]]
    points = table(vectors, pa.array([0, 1, 1, 2, 3, 4]), utility=[1.0, 9.0, 2.0, 3.0, 8.0, 1.0])
    found = merged(points, on_bad_rows="drop")
    assert found.dropped == {"NaN or infinite embedding value": 1, "repeated id": 1}
    assert found.ids.to_pylist() == [1, 4]  # id 1 is [1, 0] of utility 9; id 4 is alone once its copy of id 1 is gone
    assert found.multiplicity.tolist() == [3, 1]


# ------------------------------------------------------------------ selecting
def test_a_mass_of_copies_is_selected_once(mass, caplog):
    points, one = mass
    with caplog.at_level(logging.INFO, "subsel"):
        found = subsel.select(points, size=1500, **QUIET)
    assert one[found.ids].sum() <= 1
    assert "20,000 of 22,000 points are copies of others" in caplog.text
    assert (found.report.input.points, found.report.input.copies, found.report.input.distinct) == (22_000, 20_000, 2000)
    without = points.filter(pa.array(np.isin(points["id"].to_numpy(), found.graph.ids.to_numpy())))
    alone = subsel.select(without, size=1500, **QUIET)
    assert found.table.equals(alone.table)
    assert alone.report.input.copies == 0


@pytest.mark.slow
def test_a_mass_of_copies_on_spark(spark, mass, tmp_path):
    points, one = mass
    pq.write_table(points, tmp_path / "points.parquet", row_group_size=3000)
    found = subsel.select(tmp_path / "points.parquet", size=1500, engine=spark, output=tmp_path / "out", **QUIET)
    assert one[found.ids].sum() <= 1
    assert found.report.input.copies == 20_000
    assert found.table.equals(subsel.select(points, size=1500, **QUIET).table)


def test_rows_count_and_too_few_that_differ_are_an_error(mass):
    points, _ = mass
    assert subsel.select(points, size="5%", **QUIET).report.k == 1100
    with pytest.raises(ConfigError, match=r"2,000 points that differ, and 20,000 copies of them, but 2,200") as caught:
        subsel.select(points, size="10%", **QUIET)
    assert "copies='keep'" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="2,000 points that differ"):
        subsel.select(points, size=2200, thin=5, **QUIET)


def test_kept_copies_are_points(mass, small):
    points, _ = small
    found = subsel.select(points, size=400, copies="keep", **QUIET)
    assert len(found.ids) == 400
    assert found.report.input.copies == 0
    assert found.graph.n == 400


def test_drawing_is_among_points_that_differ(mass):
    points, one = mass
    found = subsel.select(points, size=50, thin=20, **QUIET)
    assert found.report.graph.drawn == 1000
    assert one[found.graph.ids.to_numpy()].sum() <= 1
    everybody = subsel.select(points, size=150, thin=20, **QUIET)
    assert everybody.report.graph.drawn is None  # there are fewer than 3,000
    assert everybody.graph.n == 2000


def test_a_graph_of_the_users_has_all_its_points(small):
    points, _ = small
    graph = subsel.neighbors(points, progress=False, recall_sample=0).graph
    assert graph.n == 400
    found = subsel.select(points, graph=graph, size=350, **QUIET)
    assert found.report.input.copies == 0
    assert found.table.equals(subsel.select(points, size=350, copies="keep", **QUIET).table)


def test_utilities_given_as_an_array(small):
    points, _ = small
    plain = points.drop_columns(["utility"])
    given_ones = subsel.select(plain, size=100, utility=points["utility"].to_numpy(), **QUIET)
    assert given_ones.ids.tolist() == subsel.select(points, size=100, **QUIET).ids.tolist()


# ------------------------------------------------------------------ wishes
def ids_of(which, one):
    return np.flatnonzero(which == one).tolist()


def test_included_copies_stay_and_others_go(small, caplog):
    points, which = small
    a, b = ids_of(which, 3)[:2], ids_of(which, 4)[:1]
    found = subsel.select(points, size=60, include=[*a, *b], **QUIET)
    assert set(a + b) <= set(found.ids.tolist())
    assert set(found.graph.ids.to_pylist()) == stay(points, which, [*a, *b])
    assert "include has 2 points that are copies of each other: all of them stay" in caplog.text
    assert found.report.constraints.included == 3
    assert found.report.input.copies == 89


def test_an_excluded_point_excludes_its_copies(small, caplog):
    points, which = small
    worst = min(ids_of(which, 5), key=lambda i: points["utility"][i].as_py())
    single = ids_of(which, 200)
    found = subsel.select(points, size=200, exclude=[worst, *single], **QUIET)
    assert not {worst, *single, *ids_of(which, 5)} & set(found.ids.tolist())
    assert found.report.constraints.excluded == 2
    everybody = subsel.select(points, size=200, exclude=ids_of(which, 5) + single, **QUIET)
    assert everybody.table.equals(found.table)
    assert not caplog.messages
    with pytest.raises(ConfigError, match="exclude leaves 308 of 310 points, fewer than the 309"):
        subsel.select(points, size=309, exclude=[worst, *single], **QUIET)


def test_included_copies_of_excluded_points_stay(small, caplog):
    points, which = small
    inside, outside, *_ = ids_of(which, 6)
    found = subsel.select(points, size=50, include=[inside], exclude=[outside], **QUIET)
    assert set(ids_of(which, 6)) & set(found.ids.tolist()) == {inside}
    assert "include has 1 that are copies of points in exclude: all of them stay" in caplog.text
    assert (found.report.constraints.included, found.report.constraints.excluded) == (1, 0)
    with pytest.raises(ConfigError, match=r"1 points are in include and in exclude, such as"):
        subsel.select(points, size=50, include=[inside], exclude=[inside, outside], **QUIET)


def test_wishes_by_column(small):
    points, which = small
    flags = np.zeros(400, np.bool_)
    flags[ids_of(which, 2)[4]] = True
    marked = points.append_column("flag", pa.array(flags))
    by_ids = {"exclude": np.flatnonzero(flags), "include": ids_of(which, 1)[:2]}
    by_column = by_ids | {"exclude": "flag"}
    one, two = (subsel.select(marked, size=80, **wishes, **QUIET) for wishes in (by_ids, by_column))
    assert one.table.equals(two.table)


@st.composite
def dirty(draw):
    """Few vectors, many equal, in a few magnitudes; utilities that tie; who is wished in and out; a metric."""
    n = draw(st.integers(1, 14))
    one = st.tuples(*[st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0])] * 2).filter(any)
    vectors = draw(st.lists(one, min_size=n, max_size=n))
    scale = draw(st.lists(st.sampled_from([1.0, 1.0, 0.5, 1024.0]), min_size=n, max_size=n))
    utility = draw(st.lists(st.sampled_from([0.0, -0.0, 1.0, -3.0]), min_size=n, max_size=n))
    wish = draw(st.lists(st.sampled_from([None, None, None, *WISHES]), min_size=n, max_size=n))
    return np.array(vectors) * np.array(scale)[:, None], utility, wish, draw(st.sampled_from(["cosine", "l2"]))


WISHES = (Status.INCLUDED, Status.EXCLUDED)


@given(dirty())
def test_merging_is_what_it_is_defined_to_be(problem):
    vectors, utility, wish, metric = problem
    n, wished = len(vectors), {status: np.flatnonzero([one == status for one in wish]) for status in WISHES}
    points = table(vectors, utility=utility)
    config = subsel.SelectConfig(size=1, metric=metric)
    found = read_points(open_source(points, lambda name: True, config), config, with_embeddings=True)
    now, wishful = merge_here(found, metric, wished)

    code = codes_of(points["id"], 0)
    vectors = vectors / np.abs(vectors).max(axis=1, keepdims=True) if metric == "cosine" else vectors
    sets = defaultdict(list)
    for i in range(n):
        sets[tuple((vectors[i] + 0.0).tolist())].append(i)
    left, of, out, kept, twins, spared = set(), {}, set(), 0, 0, 0
    for members in sets.values():
        inside = [i for i in members if wish[i] == Status.INCLUDED]
        alone = max(members, key=lambda i: (utility[i], code[i]))
        best = max(inside or members, key=lambda i: (utility[i], code[i]))
        left |= {best, *inside}
        of |= {i: best for i in members if i != best and i not in inside}
        kept += len(set(inside) - {alone})
        twins += len(inside) if len(inside) > 1 else 0
        if any(wish[i] == Status.EXCLUDED for i in members):
            spared += bool(inside)
            out |= set() if inside else {best}
    ids = found.ids.to_pylist()
    assert ids == sorted(left)
    assert dict(() if found.copies is None else pairs(found.copies.ids, found.copies.of)) == of
    assert {ids[i] for i in now[Status.INCLUDED]} == set(np.flatnonzero(np.array(wish) == Status.INCLUDED).tolist())
    assert {ids[i] for i in now[Status.EXCLUDED]} == out
    assert (wishful.kept, wishful.twins, wishful.spared) == (kept, twins, spared)
    if of:
        assert found.multiplicity.sum() == n
        assert found.multiplicity.tolist() == [1 + sum(best == i for best in of.values()) for i in ids]


# ------------------------------------------------------------------ run directories, scoring, explaining
def test_resumed_runs_are_the_same(small, tmp_path):
    points, which = small
    flags = np.zeros(400, np.bool_)
    flags[ids_of(which, 2)[4]] = flags[ids_of(which, 7)[0]] = True
    marked = points.append_column("flag", pa.array(flags))
    pq.write_table(marked, tmp_path / "points.parquet")
    for number, exclude in enumerate(("flag", np.flatnonzero(flags).tolist())):
        options = {"size": 60, "include": ids_of(which, 1)[:2], "exclude": exclude, **QUIET}
        options["run_dir"] = tmp_path / f"run{number}"
        first = subsel.select(tmp_path / "points.parquet", **options)
        again = subsel.select(tmp_path / "points.parquet", resume=True, **options)
        assert again.table.equals(first.table)
        assert again.report.input == first.report.input
        assert again.report.constraints == first.report.constraints
        assert subsel.select(marked, **options | {"run_dir": None}).table.equals(first.table)
        copies = pq.read_table(tmp_path / f"run{number}" / "copies")
        assert copies.num_rows == first.report.input.copies
        assert not set(copies["id"].to_pylist()) & set(first.graph.ids.to_pylist())
        assert set(copies["of"].to_pylist()) <= set(first.graph.ids.to_pylist())
        assert all(
            which[a] == which[b] for a, b in zip(copies["id"].to_pylist(), copies["of"].to_pylist(), strict=True)
        )


def test_a_graph_that_wishes_made_serves_these_only(small, tmp_path):
    points, which = small
    pq.write_table(points, tmp_path / "points.parquet")
    best = max(ids_of(which, 1), key=lambda i: (points["utility"][i].as_py(), codes_of(points["id"], 0)[i]))
    other = next(i for i in ids_of(which, 1) if i != best)
    plain = {"size": 60, **QUIET}

    def select(run, **wishes):
        """On a copy of a run directory's graph."""
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / run, tmp_path / "run")
        where = {"run_dir": tmp_path / "run", "resume": True}
        return subsel.select(tmp_path / "points.parquet", **where, **wishes, **plain)

    subsel.score([best], points=tmp_path / "points.parquet", run_dir=tmp_path / "without", **plain)
    best_in = select("without", include=[best])
    assert best_in.table.equals(subsel.select(points, include=[best], **plain).table)
    with pytest.raises(
        InputError, match=rf"1 of 1 ids of include .* such as {other}, a copy of {best}: choose another"
    ):
        select("without", include=[other])
    out = select("without", exclude=[other])
    assert out.table.equals(subsel.select(points, exclude=[other], **plain).table)
    subsel.select(tmp_path / "points.parquet", include=[other], run_dir=tmp_path / "with", **plain)
    select("with", include=[other])
    with pytest.raises(InputError, match=r"its graph is of include .*, not none: choose another run_dir"):
        select("with")


def test_scores_of_copies_are_refused(small, tmp_path):
    points, which = small
    found = subsel.select(points, size=60, **QUIET)
    assert subsel.score(found.ids, points=points, size=60, **QUIET).total == pytest.approx(found.objective)
    kept, lost = (found.graph.ids.to_pylist(), set(range(400)))
    one = min(set(ids_of(which, 3)) - set(kept))
    with pytest.raises(InputError, match=rf"1 of 2 ids of the subset .* such as {one}, a copy of \d+: .*'keep'"):
        subsel.score([one, kept[0]], points=points, **QUIET)
    assert subsel.score(sorted(lost)[:2], points=points, copies="keep", **QUIET).total is not None


def test_explaining_a_copy_names_the_point_that_stays(small, tmp_path):
    points, which = small
    found = subsel.select(points, size=60, run_dir=tmp_path / "run", **QUIET)
    one = min(set(ids_of(which, 3)) - set(found.graph.ids.to_pylist()))
    with pytest.raises(InputError, match=rf"{one} is a copy of \d+, which stays for it: ask for that one"):
        explain(tmp_path / "run", one)
    with pytest.raises(InputError, match="no point of this run has the id 999"):
        explain(tmp_path / "run", 999)


def test_the_closing_table_has_them_where_there_are_any(small, tmp_path):
    points, _ = small
    pq.write_table(points, tmp_path / "points.parquet")
    arguments = ["select", str(tmp_path / "points.parquet"), str(tmp_path / "out"), "--size", "40"]
    first = CliRunner().invoke(main, arguments)
    assert first.exit_code == 0, first.output
    assert "90 points merged into equal ones" in first.output
    second = CliRunner().invoke(main, [*arguments, "--overwrite", "--copies", "keep"])
    assert second.exit_code == 0, second.output
    assert "merged" not in second.output


# ------------------------------------------------------------------ Spark
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int", "text"])
def test_both_engines_merge_alike(spark, small, tmp_path, kind, caplog):
    points, which = small
    flags = np.zeros(400, np.bool_)
    flags[ids_of(which, 2)[4]] = flags[ids_of(which, 6)[3]] = flags[ids_of(which, 250)[0]] = True
    points = points.append_column("flag", pa.array(flags))
    ids = points["id"].to_pylist() if kind == "int" else [f"p{i}" for i in range(400)]
    points = points.set_column(0, "id", pa.array(ids))
    pq.write_table(points, tmp_path / "points.parquet", row_group_size=100)
    inside = [*ids_of(which, 1)[:2], ids_of(which, 6)[0], ids_of(which, 200)[0]]
    options = {"size": 60, "include": [ids[i] for i in inside], "exclude": "flag", **QUIET}
    one = subsel.select(points, **options)
    warnings = [m for m in caplog.messages if "copies" in m]
    where = {"engine": spark, "run_dir": tmp_path / "run"}
    two = subsel.select(tmp_path / "points.parquet", output=tmp_path / "out", **where, **options)
    assert two.table.equals(one.table)
    assert two.report.constraints == one.report.constraints
    assert two.report.input.copies == one.report.input.copies == 89
    assert [m for m in caplog.messages if "copies" in m][len(warnings) :] == warnings
    assert len(warnings) == 1
    again = subsel.select(tmp_path / "points.parquet", output=tmp_path / "again", resume=True, **where, **options)
    assert again.table.equals(one.table)
    lost = pq.read_table(tmp_path / "run" / "copies").to_pylist()[0]
    with pytest.raises(InputError, match=f"a copy of {lost['of']!r}"):
        explain(tmp_path / "run", lost["id"])
    with pytest.raises(InputError, match=r"1 of 1 ids of the subset .* copies='keep'"):
        subsel.score([lost["id"]], points=tmp_path / "points.parquet", **where, **QUIET)


@pytest.mark.slow
def test_both_engines_draw_alike_among_points_that_differ(spark, small, tmp_path):
    points, which = small
    pq.write_table(points, tmp_path / "points.parquet")
    options = {"size": 20, "thin": 6, "include": ids_of(which, 1)[:2], **QUIET}
    one = subsel.select(points, **options)
    two = subsel.select(tmp_path / "points.parquet", engine=spark, output=tmp_path / "out", **options)
    assert two.table.equals(one.table)
    assert two.report.graph.drawn == one.report.graph.drawn
    with pytest.raises(ConfigError, match="310 points that differ"):
        subsel.select(tmp_path / "points.parquet", size=311, engine=spark, output=tmp_path / "no", **QUIET)


def quiet(what, share):
    """Nobody is told."""


def merged_locally(case, data, graph):
    stages = LocalStages(request_of(case, data, graph, "local"))
    stages.read(quiet)
    stages.check_wishes([1])
    stages.merge(quiet, [1])
    points = stages.points
    lost = frozenset() if points.copies is None else pairs(points.copies.ids, points.copies.of)
    wished = {status: frozenset(named(points.ids.take(pa.array(some)))) for status, some in stages.wished.items()}
    return stages.input, lost, frozenset(named(points.ids)), wished


def merged_on_spark(spark, case, data, graph):
    from subsel.engines.spark.ids import kept
    from subsel.engines.spark.neighbors import Rules, known_ids
    from subsel.stages.spark import SparkStages

    stages = SparkStages(spark, request_of(case, data, graph, spark), "run")
    try:
        stages.read(quiet)
        stages.check_wishes([1])
        stages.merge(quiet, [1])
        ids = known_ids(stages.points, Rules.of(stages.points, stages.config))
        left = frozenset(named(ids.select(kept(ids["_id"], stages.inputs.id_type))))
        assert len(left) == stages.points.n
        lost = frozenset() if stages.lost is None else pairs(stages.lost.select("id"), stages.lost.select("of"))
        wished = {status: frozenset(named(one.ids)) & left for status, one in stages.wished.items()}
    finally:
        stages.close()
    return stages.input, lost, left, {Status.INCLUDED: frozenset(), Status.EXCLUDED: frozenset()} | wished


def named(ids):
    """Ids as they are kept, as values that compare."""
    values = ids.to_pylist() if isinstance(ids, pa.Array) else [row[0] for row in ids.collect()]
    return [bytes(one) if isinstance(one, bytearray) else one for one in values]


def pairs(ids, of):
    return frozenset(zip(named(ids), named(of), strict=True))


def request_of(case, data, graph, engine):
    return Request.of(data, purpose="select from", engine=engine, **{"size": 1, "recall_sample": 0} | case.options)


def both_merge_alike(spark, case):
    with case.written() as places:
        here, there = outcome_of(merged_locally, case, *places), outcome_of(merged_on_spark, spark, case, *places)
    assert here == there


@given(case=cases(with_edges=False))
@settings(max_examples=4, derandomize=True, **AS_DRAWN)
def test_both_engines_merge_alike_in_dirty_inputs(spark, case):
    both_merge_alike(spark, case)


@pytest.mark.slow
@given(case=cases(with_edges=False))
@settings(max_examples=EXAMPLES, derandomize=True, **AS_DRAWN)
def test_both_engines_merge_alike_in_many_dirty_inputs(spark, case):
    both_merge_alike(spark, case)
