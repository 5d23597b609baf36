"""Importance: how much it counts that points are covered, from the input to the parts, the same on both engines."""

from __future__ import annotations

import pickle
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import ConfigError, InputError, SelectConfig
from subsel.input.findings import Findings
from subsel.input.given import with_given
from subsel.input.points import read_points
from subsel.input.rows import Columns, RowChecker, may_be_read
from subsel.input.source import open_source
from subsel.parts import assemble
from subsel.parts.pack import Parcel, from_rows, of_kind, unpack
from subsel.request import Request
from subsel.rundir import open_run
from subsel.schema import Status
from subsel.stages.kept import KeptRun
from subsel.stages.local import LocalStages
from subsel.stages.merged import merge_here
from subsel.storage import place_of

COVERAGE = {"objective": "coverage", "recall_sample": 0}
WEIGHED = COVERAGE | {"importance": "weight"}
NAN, INF = float("nan"), float("inf")


def read(table, *, with_embeddings=False, **options):
    config = SelectConfig(**(WEIGHED | options))
    source = open_source(table, may_be_read(config), config)
    return read_points(source, config, with_embeddings=with_embeddings)


def table(n=3, **columns):
    return pa.table({"id": list(range(n))} | columns)


# ------------------------------------------------------------------ the rules of rows
@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (pa.array([3, 0, 2**63 - 1]), [3.0, 0.0, 2.0**63]),
        (pa.array([3, 0, 2**64 - 1], pa.uint64()), [3.0, 0.0, 2.0**64]),
        (pa.array([0.25, -0.0, 1e-320]), [0.25, 0.0, 1e-320]),
        (pa.array([0.1, 0, 2], pa.float32()), [float(np.float32(0.1)), 0.0, 2.0]),
        (pa.array(np.array([0.5, 0, 2], np.float16)), [0.5, 0.0, 2.0]),
        (pa.array([Decimal("1.5"), Decimal(0), Decimal("0.25")]), [1.5, 0.0, 0.25]),
        (pa.array([0.5, 2.0, 0.5]).dictionary_encode(), [0.5, 2.0, 0.5]),
    ],
)
def test_importances_are_numbers_of_any_kind(weight, expected):
    points = read(table(weight=weight))
    assert points.importance.dtype == np.float64
    assert points.importance.tolist() == expected
    assert not np.signbit(points.importance).any()
    assert points.counted is points.importance  # nobody was merged


@pytest.mark.parametrize("weight", [["1", "2", "3"], [True, False, True], [[1.0], [2.0], [3.0]], [b"1"] * 3])
def test_importances_are_nothing_else(weight):
    with pytest.raises(
        InputError, match=r"column 'weight' of the table is .*, but importances are numbers from 0: cast it"
    ) as caught:
        read(table(weight=weight))
    assert "\n" not in str(caught.value)


def test_bad_importances_have_reasons_of_their_own():
    rows = table(8, weight=pa.array([None, NAN, INF, -INF, -0.5, 2.0, 0.0, None]))
    with pytest.raises(InputError) as caught:
        read(rows)
    assert (
        "1 of 8 rows: NaN importance (ids 1); 2 of 8 rows: infinite importance (ids 2, 3); 1 of 8 rows: negative "
        "importance (ids 4); 2 of 8 rows: null importance (ids 0, 7)"
    ) in str(caught.value)
    points = read(rows, on_bad_rows="drop")
    assert points.ids.to_pylist() == [5, 6]
    assert points.importance.tolist() == [2.0, 0.0]
    reasons = {"NaN importance": 1, "infinite importance": 2, "negative importance": 1, "null importance": 2}
    assert points.dropped == reasons
    with pytest.raises(InputError, match="no good row left: 3 of 3 rows: null importance"):
        read(table(weight=pa.nulls(3)), on_bad_rows="drop")
    whole = table(2, weight=pa.array([Decimal("-0.5"), Decimal(1)]))
    assert read(whole, on_bad_rows="drop").dropped == {"negative importance": 1}


def test_columns_that_are_not_there():
    with pytest.raises(InputError, match=r"no importance column 'weight'; it has id: .* with importance"):
        read(table())
    with pytest.raises(ConfigError, match="does not have importance"):
        SelectConfig(importance="weight")


def test_nothing_to_cover():
    rows = table(4, weight=pa.array([0.0, 0.0, None, -0.0]))
    with pytest.raises(
        InputError, match=r"column 'weight' of the table is 0 in all good rows, .* importance"
    ) as caught:
        read(rows, on_bad_rows="drop")
    assert "\n" not in str(caught.value)


def test_without_a_column_each_counts_one():
    points = read(table(utility=[1.0, 2.0, 3.0]), importance=None)
    assert points.importance.tolist() == [1.0, 1.0, 1.0]
    other = read(table(weight=[1.0, 0.0, 2.0]), importance=None, objective="pairwise")
    assert (other.importance, other.counted) == (None, None)


def test_findings_of_several_tasks_know_the_most():
    columns = Columns.of(
        pa.schema({"id": pa.int64(), "weight": pa.float64()}),
        SelectConfig(**WEIGHED),
        "it",
        with_embeddings=False,
        given=False,
    )
    total = Findings()
    for weights in ([0.0, 0.0], [0.5, NAN], [0.25, 0.0]):
        checker = RowChecker(columns, SelectConfig(**WEIGHED))
        checker.check(pa.record_batch({"id": [1, 2], "weight": pa.array(weights)}))
        total.merge(pickle.loads(pickle.dumps(checker.findings)))
    assert total.most_importance == 0.5
    total.refuse_unimportant("it", "weight")
    with pytest.raises(InputError, match="column 'weight' of it is 0 in all good rows"):
        Findings().refuse_unimportant("it", "weight")


def test_rows_that_stand_for_others_count_so_many_times():
    config = SelectConfig(**WEIGHED)
    kinds = pa.schema({"id": pa.int64(), "weight": pa.float64()})
    for importance, expected in (("weight", [1.5, 0.0, 2.0]), (None, [3.0, 1.0, 4.0])):
        options = config.model_copy(update={"importance": importance})
        columns = Columns.of(kinds, options, "it", with_embeddings=False, given=False)
        columns = Columns(columns.id, columns.id_type, None, columns.utility, importance=importance, times="times")
        batch = pa.record_batch({"id": [1, 2, 3], "weight": pa.array([0.5, 0.0, 0.5]), "times": [3, 1, 4]})
        assert RowChecker(columns, options).check(batch).importance.tolist() == expected


REPEATS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.5, 2.0, 10.0, None, -1.0])), min_size=1, max_size=9)


@given(REPEATS, st.randoms(use_true_random=False))
def test_which_of_repeated_rows_stays_is_decided_by_importance_too(rows, random):
    def winners(rows):
        ids, weights = zip(*rows, strict=True)
        found = read(pa.table({"id": ids, "weight": pa.array(weights, pa.float64())}), on_bad_rows="drop")
        return sorted(zip(found.ids.to_pylist(), found.importance.tolist(), strict=True))

    if all(weight in (None, -1.0) for _, weight in rows):
        with pytest.raises(InputError, match="no good row left"):
            winners(rows)
        return
    first = winners(rows)
    assert set(first) <= set(rows)
    random.shuffle(rows)
    assert winners(rows) == first


def test_keeping_some_and_checksums():
    rng = np.random.default_rng(0)
    rows = table(200, weight=rng.random(200), tokens=rng.integers(0, 9, 200))
    points = read(rows)
    assert read(pa.Table.from_batches(rows.to_batches(max_chunksize=7))).checksum() == points.checksum()
    assert read(rows.take(pa.array(rng.permutation(200)))).checksum() == points.checksum()
    other = rows.set_column(1, "weight", pa.array(np.append(rows["weight"].to_numpy()[:-1], 0.25)))
    few = {
        one.checksum()
        for one in (points, read(other), read(rows, importance=None), read(rows, cost="tokens", budget=9))
    }
    assert len(few) == 4
    some = rng.random(200) < 0.3
    points.multiplicity = np.arange(200)
    counted = points.counted
    assert counted.dtype == np.float64
    np.testing.assert_array_equal(counted, rows["weight"].to_numpy() * np.arange(200))
    points.keep(some)
    np.testing.assert_array_equal(points.importance, rows["weight"].to_numpy()[some])
    np.testing.assert_array_equal(points.counted, counted[some])


# ------------------------------------------------------------------ copies and values beside the data
@pytest.fixture(scope="module")
def points():
    """150 points that differ, 10 of them six times each, all with weights."""
    rng = np.random.default_rng(5)
    some = rng.standard_normal((150, 8)).astype(np.float32)
    which = rng.permutation(np.concatenate([np.arange(150), np.repeat(np.arange(10), 5)]))
    weight = np.where(rng.random(200) < 0.2, 0.0, rng.random(200))
    columns = {"id": np.arange(200), "weight": weight, "utility": rng.integers(0, 5, 200) / 4}
    return pa.table(columns | {"embedding": list(some[which])}), which


def merged(table, *, included=(), **options):
    found = read(table, with_embeddings=True, **options)
    merge_here(found, "cosine", {Status.INCLUDED: np.array(included, np.int64)})
    return found


def counted_by_id(found):
    return dict(zip(found.ids.to_pylist(), found.counted.tolist(), strict=True))


def test_who_stays_counts_for_all_that_it_stands_for(points):
    rows, which = points
    found, often = merged(rows), np.bincount(which)
    assert found.n == 150
    weight = rows["weight"].to_numpy()
    assert counted_by_id(found) == {i: weight[i] * often[which[i]] for i in found.ids.to_pylist()}
    plain = merged(rows, importance=None)
    assert counted_by_id(plain) == {i: float(often[which[i]]) for i in plain.ids.to_pylist()}
    assert plain.counted.sum() == 200


def test_a_column_and_an_array_are_the_same(points):
    rows, _ = points
    bare, given_weights = rows.drop_columns(["weight"]), rows["weight"]
    for values in (given_weights, given_weights.to_numpy(), given_weights.to_pylist(), given_weights.to_pandas()):
        stages = LocalStages(Request.of(bare, purpose="score on", importance=values, size=30, **COVERAGE))
        stages.read(lambda what, share: None)
        np.testing.assert_array_equal(stages.points.importance, rows["weight"].to_numpy())
    by_name = LocalStages(Request.of(rows, purpose="score on", importance="weight", size=30, **COVERAGE))
    by_name.read(lambda what, share: None)
    np.testing.assert_array_equal(by_name.points.importance, stages.points.importance)


def test_values_beside_the_data_that_are_wrong(points):
    rows, _ = points
    for values, message in (
        ([1.0, 2.0], "importance has 2 values, but the table has 200 rows: give one per row"),
        (np.ones((200, 2)), "importance has shape .200, 2., but must be one value per row"),
        (["a"] * 200, "column 'given importance' of the table is string, but importances are numbers"),
        (-np.ones(200), "200 of 200 rows: negative importance"),
        (np.zeros(200, int), "column 'given importance' of the table is 0 in all good rows"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            LocalStages(Request.of(rows, purpose="score on", importance=values, size=3, **COVERAGE)).read(print)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="on Spark importance is a column's name: arrays have no place there"):
        subsel.select(rows, engine="spark", size=3, output="nowhere", importance=np.ones(200), objective="coverage")
    with pytest.raises(ConfigError, match="does not have importance"):
        Request.of(rows, purpose="score on", importance=np.ones(200), size=3)


def test_an_array_wins_over_the_config(points):
    rows, _ = points
    config = SelectConfig(**WEIGHED)
    source = open_source(rows, may_be_read(config), config)
    more, named = with_given(source, config, None, None, np.arange(200), rows)
    assert named.importance == "given importance"
    found = read_points(more, named, with_embeddings=False)
    assert found.importance.tolist() == list(range(200))
    request = Request.of(rows, purpose="score on", config=config, importance=np.arange(200))
    assert (request.config.importance, request.kept_config.importance) == ("given importance", None)


def test_graphs_and_checks_of_their_own_read_it_too(points):
    rows, _ = points
    assert subsel.validate(rows, **WEIGHED).importance.tolist() == rows["weight"].to_pylist()
    bad = rows.set_column(1, "weight", pa.array([-1.0] + [1.0] * 199))
    for ask in (subsel.validate, subsel.neighbors):
        with pytest.raises(InputError, match="1 of 200 rows: negative importance"):
            ask(bad, **WEIGHED)


# ------------------------------------------------------------------ run directories
def ready(data, run_dir, *, resume=False, **options):
    """Return local stages whose graph is in a run directory, and what was read of it."""
    request = Request.of(data, purpose="score on", run_dir=run_dir, resume=resume, size=30, **(COVERAGE | options))
    with open_run(place_of(run_dir), request.kept_config, "run", resume=resume) as rundir:
        stages = LocalStages(request, rundir)
        stages.read(lambda what, share: None)
        stages.check_wishes([30])
        stages.merge(lambda what, share: None, [30])
        stages.neighbors(lambda what, share: None, 30)
        read_again, *_ = KeptRun(rundir).graph(pa.int64(), stages.points.made_of)
        parcels = from_rows(pq.read_table(run_dir / "graph"))
    (draft,) = of_kind(parcels, assemble.GRAPH)
    return stages, read_again, unpack(draft.payload)


def test_going_on_from_a_run_directory(points, tmp_path):
    rows, _ = points
    first, kept, draft = ready(rows, tmp_path / "run", importance="weight")
    assert counted_by_id(first.points) == counted_by_id(kept) == counted_by_id(merged(rows))
    assert dict(zip(first.graph.ids.to_pylist(), draft["importance"].tolist(), strict=True)) == counted_by_id(kept)
    again, *_ = ready(rows, tmp_path / "run", resume=True, importance="weight")
    assert counted_by_id(again.points) == counted_by_id(first.points)
    np.testing.assert_array_equal(again.points.importance, kept.importance)
    with pytest.raises(InputError, match="its graph is of input"):
        other = rows.set_column(1, "weight", pa.array(np.arange(200.0)))
        ready(other, tmp_path / "run", resume=True, importance="weight")


def test_going_on_with_values_beside_the_data(points, tmp_path):
    rows, _ = points
    pq.write_table(rows, tmp_path / "points.parquet")
    weight = rows["weight"].to_numpy()
    first, *_ = ready(tmp_path / "points.parquet", tmp_path / "run", importance=weight)
    again, *_ = ready(tmp_path / "points.parquet", tmp_path / "run", resume=True, importance=weight)
    assert counted_by_id(again.points) == counted_by_id(first.points)
    for other in ({"importance": np.arange(200)}, {}):
        with pytest.raises(InputError, match="its graph is of columns"):
            ready(tmp_path / "points.parquet", tmp_path / "run", resume=True, **other)
    with pytest.raises(InputError, match="its graph was made without importance, now it is importance='weight'"):
        ready(tmp_path / "points.parquet", tmp_path / "run", resume=True, importance="weight")


# ------------------------------------------------------------------ parts
def test_parts_know_the_importance_of_points_and_ghosts():
    code = np.array([5, 1, 9, 7])
    known = {"code": code, "utility": np.ones(4), "id": np.arange(4), "importance": np.array([0.5, 0.0, 2.0, 4.0])}
    part = np.array([0, 0, 1, 1])
    one, two = np.array([0, 1, 2, 1]), np.array([1, 2, 3, 3])  # edges
    ends, others = np.concatenate([one, two]), np.concatenate([two, one])
    for names in (known, {name: column for name, column in known.items() if name != "importance"}):
        parcels = []
        for to in range(2):
            mine = np.flatnonzero(part[ends] == to)
            edges = code[ends[mine]], part[others[mine]], code[others[mine]], np.ones(len(mine), np.float32)
            parcels.append(Parcel(to, 0, assemble.POINTS, assemble.pack_points(names, np.flatnonzero(part == to))))
            parcels.append(Parcel(to, 0, assemble.EDGES, assemble.pack_edges(*edges)))
        sent = [out for to in range(2) for out in assemble.gather(to, [one for one in parcels if one.part == to])]
        for to in range(2):
            graph, shape = assemble.resolve(to, [one for one in sent if one.part == to])
            assert assemble.unpack_shape(assemble.pack_shape(shape)) == shape
            if names is not known:
                assert (graph.importance, shape.most_importance) == (None, 0.0)
                continue
            of = dict(zip(code.tolist(), known["importance"].tolist(), strict=True))
            assert len(graph.ghost_vid) > 0
            assert graph.importance.tolist() == [of[one] for one in graph.code.tolist()]
            assert shape.most_importance == [0.5, 4.0][to]


# ------------------------------------------------------------------ Spark
def spark_stages(spark, data, *, include=None, run_dir=None, resume=False, **options):
    from subsel.engines.spark.parcels import plain_errors
    from subsel.engines.spark.storage import place_in
    from subsel.stages.spark import SparkStages

    options = {"size": 30, "part_points": 100} | COVERAGE | options
    request = Request.of(data, purpose="score on", engine=spark, include=include, **options)
    place = None if run_dir is None else place_in(spark, str(run_dir))
    with open_run(place, request.config, "run", resume=resume) as kept:
        stages = SparkStages(spark, request, "run", kept)
        with plain_errors():
            stages.read(lambda what, share: None)
            stages.check_wishes([30])
            stages.merge(lambda what, share: None, [30])
            stages.neighbors(lambda what, share: None, 30)
    return stages


def spark_by_id(stages):
    """What Spark's parts know: of each id its importance, and how many ghosts there are, which were checked."""
    points = {parcel.part: unpack(parcel.payload) for parcel in from_rows(stages.graph.points.toArrow())}
    of = {int(c): x for one in points.values() for c, x in zip(one["code"], one["importance"].tolist(), strict=True)}
    ghosts = 0
    for parcel in from_rows(stages.graph.frame.where(f"kind = '{assemble.GRAPH}'").toArrow()):
        graph = unpack(parcel.payload)
        ghosts += len(graph["ghost_vid"])
        assert graph["importance"].tolist() == [of[int(code)] for code in graph["code"]]
    assert max(shape.most_importance for shape in stages.graph.shapes) == max(of.values())
    return {int(i): of[int(c)] for one in points.values() for i, c in zip(one["id"], one["code"], strict=True)}, ghosts


@pytest.mark.slow
def test_sparks_parts_know_what_one_machine_does(spark, points, tmp_path):
    """With copies, a column or none, decimals that float64 rounds, included points, and a run directory."""
    rows, which = points
    rows = rows.append_column("exact", pa.array([Decimal(one) / 1000 for one in range(200)], pa.decimal128(20, 7)))
    pq.write_table(rows, tmp_path / "points.parquet", row_group_size=40)
    where, run_dir = tmp_path / "points.parquet", tmp_path / "run"
    first = spark_stages(spark, where, importance="weight", run_dir=run_dir)
    found, ghosts = spark_by_id(first)
    assert found == counted_by_id(merged(rows))
    assert len(found) == 150 and ghosts > 0
    assert spark_by_id(spark_stages(spark, where, importance="weight", run_dir=run_dir, resume=True))[0] == found
    inside = np.flatnonzero(which == 3)[:2].tolist()
    found, _ = spark_by_id(spark_stages(spark, where, importance="exact", include=inside))
    assert found == counted_by_id(merged(rows, importance="exact", included=inside))
    assert spark_by_id(spark_stages(spark, where))[0] == counted_by_id(merged(rows, importance=None))


@pytest.mark.slow
def test_sparks_parts_know_it_of_those_that_were_drawn(spark, points, tmp_path, monkeypatch):
    monkeypatch.setattr("subsel.engines.spark.copies._FEW_ROWS", 10)  # joined as many would be
    rows, _ = points
    pq.write_table(rows, tmp_path / "points.parquet")
    stages = spark_stages(spark, tmp_path / "points.parquet", importance="weight", thin=3)
    found, _ = spark_by_id(stages)
    everyone = counted_by_id(merged(rows))
    assert len(found) == 90
    assert found == {one: everyone[one] for one in found}
    assert spark_by_id(spark_stages(spark, tmp_path / "points.parquet", thin=3))[0].keys() == found.keys()


def test_spark_refuses_what_one_machine_does(spark, tmp_path):
    rng = np.random.default_rng(1)
    few = {"id": np.arange(20), "embedding": list(rng.standard_normal((20, 4))), "utility": np.ones(20)}
    bad = pa.table(few | {"weight": pa.array([None, NAN, INF, -1.0] + [0.5] * 16)})
    zero, text = (pa.table(few | {"weight": pa.array(one)}) for one in ([0.0] * 20, ["1"] * 20))
    for number, rows in enumerate((bad, zero, text, pa.table(few))):
        place = tmp_path / f"{number}.parquet"
        pq.write_table(rows, place)
        messages = []
        for engine in (
            lambda place: read(place, with_embeddings=True),
            lambda place: spark_stages(spark, place, importance="weight"),
        ):
            with pytest.raises(InputError) as caught:
                engine(place)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        assert "importance" in messages[0]


@pytest.mark.slow
def test_spark_sums_up_the_same_content(spark, points, tmp_path):
    rows, _ = points
    pq.write_table(rows, tmp_path / "points.parquet")
    for importance in ("weight", None):
        stages = spark_stages(spark, tmp_path / "points.parquet", importance=importance)
        local = read(rows, importance=importance, with_embeddings=True)
        assert stages.inputs.check(with_content=True).content == local.checksum()
