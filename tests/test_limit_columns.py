"""Costs and groups: columns of the user's rows, as far as the parts of the graph, the same on both engines."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import ConfigError, InputError, SelectConfig
from subsel.input import groups as rules
from subsel.input.groups import GroupNames, sum_groups
from subsel.input.points import read_points
from subsel.input.rows import may_be_read
from subsel.input.source import open_source
from subsel.parts import assemble, regroup, superstep
from subsel.parts.pack import from_rows, of_kind, pack, unpack
from subsel.request import Request
from subsel.rundir import open_run
from subsel.stages.local import LocalStages
from tests.reference import make_graph, make_part
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems

DAY = datetime.date
FEW = {"neighbors": 6, "size": 30, "recall_sample": 0}


def read(table, **options):
    config = SelectConfig(**options)
    return read_points(open_source(table, may_be_read(config), config), config, with_embeddings=False)


def table(n=3, **columns):
    return pa.table({"id": list(range(n)), "utility": [1.0] * n} | columns)


def named(points, column=0):
    names = points.groups[column].names
    return dict(zip(points.ids.to_pylist(), (names[i] for i in points.group[column]), strict=True))


# ------------------------------------------------------------------ costs
@pytest.mark.parametrize(
    "cost",
    [
        pa.array([3, 0, 2**62]),
        pa.array([3, 0, 2**62], pa.uint64()),
        pa.array([Decimal(3), Decimal(0), Decimal(2**62)], pa.decimal128(20, 0)),
        pa.array([3, 0, 9], pa.int8()),
        pa.array([3, 0, 3], pa.uint16()).dictionary_encode(),
    ],
)
def test_costs_are_integers_of_any_kind(cost):
    points = read(table(tokens=cost), cost="tokens")
    assert points.cost.dtype == np.int64
    assert points.cost.tolist() == [int(one) for one in cost.to_pylist()]
    assert points.group is None and points.groups == ()


@pytest.mark.parametrize(
    "cost", [[1.0, 2.0, 3.0], ["1", "2", "3"], [True, False, True], [[1], [2], [3]], [Decimal("1.5")] * 3]
)
def test_costs_are_nothing_else(cost):
    with pytest.raises(InputError, match=r"column 'tokens' of the table is .*, but costs are integers from 0: cast it"):
        read(table(tokens=cost), cost="tokens")


def test_bad_costs_have_reasons_of_their_own():
    rows = table(6, tokens=pa.array([None, -1, 2**62 + 1, 7, None, 2**63], pa.decimal128(38, 0)))
    with pytest.raises(InputError) as caught:
        read(rows, cost="tokens")
    assert "2 of 6 rows: cost above 2^62 (ids 2, 5); 1 of 6 rows: negative cost (ids 1); 2 of 6 rows: null cost" in str(
        caught.value
    )
    points = read(rows, cost="tokens", on_bad_rows="drop")
    assert (points.ids.to_pylist(), points.cost.tolist()) == ([3], [7])
    assert points.dropped == {"cost above 2^62": 2, "negative cost": 1, "null cost": 2}
    unsigned = table(2, tokens=pa.array([2**64 - 1, 4], pa.uint64()))
    assert read(unsigned, cost="tokens", on_bad_rows="drop").dropped == {"cost above 2^62": 1}
    with pytest.raises(InputError, match="no good row left: 3 of 3 rows: null cost"):
        read(table(tokens=pa.nulls(3)), cost="tokens", on_bad_rows="drop")
    assert read(rows).dropped == {}  # nobody asks


def test_columns_that_are_not_there():
    with pytest.raises(InputError, match=r"no cost column 'tokens'; it has id, utility: .* with cost"):
        read(table(), cost="tokens")
    with pytest.raises(InputError, match=r"no group column 'lang'; it has id, utility: .* with groups"):
        read(table(), groups="lang")


# ------------------------------------------------------------------ groups
@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array(["b", "a", "b"]), ("a", "b")),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b")),
        (pa.array(["", "é", "\uffff\U0001f600"]), ("", "é", "\uffff\U0001f600")),
        (pa.array([10, 9, -1], pa.int16()), ("-1", "9", "10")),
        (pa.array([2**64 - 1, 0, 10], pa.uint64()), ("0", "10", str(2**64 - 1))),
        (pa.array([Decimal(10), Decimal(9), Decimal(9)], pa.decimal128(20, 0)), ("9", "10")),
        (pa.array([True, False, True]), ("false", "true")),
        (pa.array([DAY(2024, 1, 2), DAY(1999, 1, 1), None]), ("1999-01-01", "2024-01-02", "null")),
        (pa.array([DAY(2024, 1, 2), DAY(1999, 1, 1), None], pa.date64()), ("1999-01-01", "2024-01-02", "null")),
        (pa.array(["null", None, "z"]), ("null", "z", "null")),
        (pa.nulls(3), ("null",)),
    ],
)
def test_groups_are_numbered_by_their_names(values, names):
    points = read(table(source=values), groups="source")
    (found,) = points.groups
    assert (found.column, found.names) == ("source", names)
    assert points.group.dtype == np.int32 and points.group.shape == (1, 3)
    null = [one is None for one in values.to_pylist()]
    assert found.null == (len(names) - 1 if any(null) else None)
    assert [number == found.null for number in points.group[0]] == null
    text = [str(one).lower() if isinstance(one, bool) else str(one) for one in values.to_pylist()]
    there = [one for one, missing in zip(named(points).values(), null, strict=True) if not missing]
    assert there == [one for one, missing in zip(text, null, strict=True) if not missing]


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 3.0], [["a"], ["b"], []], [b"a", b"b", b"c"], [datetime.datetime(2024, 1, 1)] * 3]
)
def test_groups_are_nothing_else(values):
    with pytest.raises(InputError, match=r"column 'source' of the table is .*, but groups are text, integers"):
        read(table(source=values), groups="source")


def test_several_columns_of_groups_in_many_batches():
    rng = np.random.default_rng(0)
    n = 500
    source = [f"s{i}" if i else None for i in rng.integers(0, 40, n)]
    rows = table(n, source=source, year=pa.array(rng.integers(0, 12, n)), tokens=rng.integers(0, 9, n))
    batches = pa.Table.from_batches(rows.to_batches(max_chunksize=7))
    options = {"groups": ["source", "year"], "cost": "tokens"}
    points, other = read(batches, **options), read(rows, **options)
    assert points.groups == other.groups
    np.testing.assert_array_equal(points.group, other.group)
    assert list(named(points).values()) == [one or "null" for one in source]
    assert list(named(points, 1).values()) == [str(one) for one in rows["year"].to_pylist()]
    shuffled = read(rows.take(pa.array(rng.permutation(n))), **options)
    assert shuffled.groups == points.groups
    assert shuffled.checksum() == points.checksum()
    assert len({read(rows, **(options | less)).checksum() for less in ({}, {"cost": None}, {"groups": "year"})}) == 3
    some = rng.random(n) < 0.3
    cost, group = points.limits(np.flatnonzero(some))
    points.keep(some)
    np.testing.assert_array_equal(points.cost, cost)
    np.testing.assert_array_equal(points.group, group)
    assert points.cost.tolist() == rows["tokens"].filter(pa.array(some)).to_pylist()


def test_a_group_of_bad_rows_only_is_none():
    rows = table(4, source=["a", "b", "c", "a"], tokens=pa.array([1, None, 2, 3]))
    points = read(rows, groups="source", cost="tokens", on_bad_rows="drop")
    assert points.groups == (GroupNames("source", ("a", "c"), rows=(2, 1)),)
    assert points.group.tolist() == [[0, 1, 0]]


def test_too_many_groups(monkeypatch):
    monkeypatch.setattr(rules, "MOST_GROUPS", 2)
    with pytest.raises(
        InputError, match="column 'source' of the table has 3 groups, but at most 2 are kept apart: name"
    ):
        read(table(source=["a", "b", "c"]), groups="source")
    assert read(table(source=["a", "b", "b"]), groups="source").n == 3


REPEATS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([5, 10, 9, None, -1]), st.sampled_from(["x", "null", None])),
    min_size=1,
    max_size=9,
)


@given(REPEATS, st.randoms(use_true_random=False))
def test_which_of_repeated_rows_stays_is_decided_by_cost_and_groups_too(rows, random):
    def winners(rows):
        columns = zip(("id", "tokens", "source"), zip(*rows, strict=True), strict=True)
        kinds = {"id": pa.int64(), "tokens": pa.int64(), "source": pa.string()}
        found = read(
            pa.table({name: pa.array(values, kinds[name]) for name, values in columns}),
            cost="tokens",
            groups="source",
            on_bad_rows="drop",
        )
        nulls = found.group[0] == (-1 if found.groups[0].null is None else found.groups[0].null)
        return sorted(zip(found.ids.to_pylist(), found.cost.tolist(), named(found).values(), nulls, strict=True))

    if all(cost in (None, -1) for _, cost, _ in rows):
        with pytest.raises(InputError, match="no good row left"):
            winners(rows)
        return
    first = winners(rows)
    assert {(a, b, None if null else c) for a, b, c, null in first} <= set(rows)
    random.shuffle(rows)
    assert winners(rows) == first


# ------------------------------------------------------------------ values beside the data
def stages_of(data, **options):
    stages = LocalStages(Request.of(data, purpose="score on", **(FEW | options)))
    stages.read(lambda what, share: None)
    return stages


@pytest.fixture(scope="module")
def points(demo_table):
    """200 points with costs and two columns of groups."""
    rng = np.random.default_rng(3)
    n = 200
    rows = demo_table.slice(0, n).select(["id", "embedding", "utility"])
    rows = rows.append_column("tokens", pa.array(rng.integers(0, 1000, n)))
    source = pa.array([f"s{i}" if i else None for i in rng.integers(0, 5, n)])
    return rows.append_column("source", source).append_column("year", pa.array(rng.integers(2000, 2012, n)))


@pytest.mark.parametrize("how", ["numpy", "list", "arrow", "pandas", "chunks"])
def test_values_beside_the_data(points, how):
    turn = {
        "numpy": lambda column: column.to_numpy(),
        "list": lambda column: column.to_pylist(),
        "arrow": lambda column: column.combine_chunks(),
        "pandas": lambda column: column.to_pandas(),
        "chunks": lambda column: pa.chunked_array(
            [column.slice(0, 3).combine_chunks(), column.slice(3).combine_chunks()]
        ),
    }[how]
    rows = points.select(["id", "embedding", "utility"])
    groups = {"lang": turn(points["source"]), "when": turn(points["year"])}
    given = stages_of(rows, cost=turn(points["tokens"]), groups=groups).points
    by_name = stages_of(points, cost="tokens", groups=["source", "year"]).points
    np.testing.assert_array_equal(given.cost, by_name.cost)
    np.testing.assert_array_equal(given.group, by_name.group)
    assert [one.names for one in given.groups] == [one.names for one in by_name.groups]
    assert [one.column for one in given.groups] == ["lang", "when"]
    one = stages_of(rows, groups=np.asarray(points["year"])).points
    assert (one.cost, one.groups[0].column, one.group.tolist()) == (None, "given groups", by_name.group[1:].tolist())


def test_values_beside_the_data_that_are_wrong(points):
    import pandas as pd

    n = len(points)
    for options, message in (
        ({"cost": [1, 2]}, "cost has 2 values, but the table has 200 rows: give one per row"),
        ({"cost": np.ones((n, 2), int)}, "cost has shape .200, 2., but must be one value per row"),
        ({"cost": np.ones(n)}, "column 'given cost' of the table is double, but costs are integers"),
        ({"cost": -np.ones(n, int)}, "200 of 200 rows: negative cost"),
        ({"groups": {"x": [1, "a"] * 100}}, r"groups\['x'\] is no array of values of one type"),
        ({"groups": [[1]] * n}, "groups has values of list"),
        ({"groups": {"utility": [1] * n}}, "has a column 'utility' that is read, too"),
        ({"cost": pd.Series(np.ones(n, int), index=np.arange(n)[::-1])}, "cost's index is not that of data"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            stages_of(points, **options)
        assert "\n" not in str(caught.value)
    for options in ({"cost": np.ones(n, int)}, {"groups": np.ones(n, int)}):
        name = next(iter(options))
        with pytest.raises(ConfigError, match=f"on Spark {name} is a column's name: arrays have no place there"):
            limit = {"cost": {"budget": 5}, "groups": {"quotas": "balanced"}}[name]
            subsel.select(points, engine="spark", size=3, output="nowhere", **options, **limit)


def test_values_beside_the_data_win_over_the_config_and_files(points, tmp_path):
    pq.write_table(points.slice(0, 90), tmp_path / "a.parquet")
    pq.write_table(points.slice(90), tmp_path / "b.parquet")
    config = SelectConfig(cost="tokens", groups="source", **FEW)
    stages = stages_of(tmp_path, config=config, cost=range(200), groups={"tokens": np.arange(200) % 3})
    assert stages.points.cost.tolist() == list(range(200))
    assert stages.points.groups[0].names == ("0", "1", "2")
    assert stages_of(tmp_path, config=config).points.groups[0].column == "source"


# ------------------------------------------------------------------ graphs and parts
@given(problems(max_n=15), st.data())
def test_every_part_knows_what_its_points_and_ghosts_cost(problem, data):
    n, edges, utility, alpha, beta, _ = problem
    graph = make_graph(n, edges)
    part_of_node = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    cost = np.array(data.draw(st.lists(st.integers(0, 2**62), min_size=n, max_size=n)))
    group = np.array(data.draw(st.lists(st.integers(0, 9), min_size=2 * n, max_size=2 * n)), np.int32).reshape(2, n)
    engine = SplitEngine(parts_of(graph, utility, 0, part_of_node, cost, group), alpha, beta)
    whole = make_part(graph, utility, alpha, beta)
    node = {int(code): v for v, code in enumerate(whole.code)}
    for part, one in engine.graphs.items():
        (boards,) = of_kind(engine.boards[part], superstep.BOARD)
        small = superstep.compact(one, [boards])
        again = superstep.unpack_graph(part, superstep.pack_graph(small), engine.scale)
        for found in (one, small, again):
            nodes = [node[int(code)] for code in found.code]
            assert found.cost.tolist() == cost[nodes].tolist()
            assert found.group.flags.c_contiguous and found.group.dtype == np.int32
            np.testing.assert_array_equal(found.group, group[:, nodes[: found.n_own]])
    rows = [
        parcel
        for part, one in engine.graphs.items()
        for parcel in superstep.grouped_rows(one, engine.boards[part], data.draw(st.integers(1, 3)), 0)
    ]
    seen = []

    def kernel(graph, board):
        nodes = [node[int(code)] for code in graph.code]
        assert graph.cost.tolist() == cost[nodes].tolist()
        assert graph.group.flags.c_contiguous
        np.testing.assert_array_equal(graph.group, group[:, nodes])
        seen.extend(nodes)

    for number in {parcel.part for parcel in rows}:
        superstep.run_group([parcel for parcel in rows if parcel.part == number], kernel, engine.scale)
    assert sorted(seen) == list(range(n))


def test_nothing_changes_without_the_columns():
    graph = make_graph(6, {(0, 1): 0.5, (1, 2): 0.25, (4, 5): 1.0})
    engine = SplitEngine(parts_of(graph, np.ones(6), 0, np.arange(6) % 2), 0.5, 0.5)
    for one in engine.graphs.values():
        assert (one.cost, one.group) == (None, None)
        arrays = {
            name: getattr(one, name) for name in ("indptr", "indices", "similarity", "utility", "code", "ghost_vid")
        }
        assert superstep.pack_graph(one).to_pybytes() == pack(**arrays, mean_weight=one.mean_weight).to_pybytes()
        (boards,) = of_kind(engine.boards[one.part], superstep.BOARD)
        for parcel in superstep.grouped_rows(one, [boards], 1, 0):
            names = ["vid", "key", "lower", "code", "degree", "neighbor", "weight"]
            assert list(unpack(parcel.payload)) == names
    some = {"code": np.arange(3), "utility": np.ones(3), "id": np.arange(3)}
    assert assemble.pack_points(some, np.arange(3)).to_pybytes() == pack(**some).to_pybytes()
    assert list(regroup._limits(one, np.arange(2), np.arange(2))) == []


def test_the_whole_graph_is_in_node_order(points):
    stages = stages_of(points, cost="tokens", groups=["source", "year"])
    stages.neighbors(lambda what, share: None, 30)
    stages.weigh(lambda what, share: None, 30, 30)
    stages.engine(30)
    cost = dict(zip(points["id"].to_pylist(), points["tokens"].to_pylist(), strict=True))
    ids = stages.graph.ids.to_pylist()
    assert stages.part.cost.tolist() == [cost[one] for one in ids]
    source = dict(zip(points["id"].to_pylist(), points["source"].to_pylist(), strict=True))
    assert [stages.points.groups[0].names[i] for i in stages.part.group[0]] == [source[one] or "null" for one in ids]


# ------------------------------------------------------------------ sums
def test_sums_of_groups():
    names = (GroupNames("a", ("x", "y", "null"), 2, (1, 2, 3)), GroupNames("b", ("1",), rows=(6,)))
    cost = np.array([2**62 - 1, 5, 2**61, 3, 0])
    group = np.array([[0, 1, 0, 2, 1], [0, 0, 0, 0, 0]], np.int32)
    selectable = np.array([True, True, True, False, True])
    found = sum_groups(names, cost, group, selectable, np.array([1, 1, 4, 9, 2]))
    assert [one.tolist() for one in found.points] == [[2, 2, 0], [4]]
    assert [one.tolist() for one in found.rows] == [[5, 3, 0], [8]]
    assert [one.tolist() for one in found.cost] == [[2**62 - 1 + 2**61, 5, 0], [2**62 + 4 + 2**61]]
    assert (found.all_points, found.all_rows, found.all_cost) == (4, 8, 2**62 + 4 + 2**61)
    assert isinstance(found.all_cost, int)
    free = sum_groups((), None, None, selectable)
    assert (free.points, free.all_points, free.all_rows, free.all_cost) == ((), 4, 4, 0)
    with pytest.raises(InputError, match=f"adds up to {2**63:,}, which 64 bits do not hold: give cost in larger units"):
        sum_groups((), np.array([2**62, 2**62]), None, np.ones(2, np.bool_))


# ------------------------------------------------------------------ run directories
OPTIONS = {"cost": "tokens", "groups": ["source", "year"]}


def ready(data, run_dir, resume=False, **options):
    """Return local stages with a graph in a run directory, or one taken from it."""
    request = Request.of(data, purpose="score on", run_dir=run_dir, resume=resume, **(FEW | options))
    from subsel.storage import place_of

    with open_run(place_of(run_dir), request.kept_config, "run", resume=resume) as rundir:
        stages = LocalStages(request, rundir)
        stages.read(lambda what, share: None)
        stages.neighbors(lambda what, share: None, 30)
        stages.weigh(lambda what, share: None, 30, 30)
        stages.engine(30)
    return stages


def test_going_on_from_a_run_directory(points, tmp_path):
    first = ready(points, tmp_path / "run", **OPTIONS)
    again = ready(points, tmp_path / "run", resume=True, **OPTIONS)
    assert again.points.groups == first.points.groups
    np.testing.assert_array_equal(again.part.cost, first.part.cost)
    np.testing.assert_array_equal(again.part.group, first.part.group)
    with pytest.raises(InputError, match="its graph is of input"):
        ready(points.set_column(3, "tokens", pa.array(range(200))), tmp_path / "run", resume=True, **OPTIONS)


def test_going_on_with_values_beside_the_data(points, tmp_path):
    pq.write_table(points, tmp_path / "points.parquet")
    groups = {"lang": points["source"]}
    first = ready(tmp_path / "points.parquet", tmp_path / "run", cost=points["tokens"], groups=groups)
    again = ready(tmp_path / "points.parquet", tmp_path / "run", True, cost=points["tokens"], groups=groups)
    assert again.points.groups == first.points.groups
    np.testing.assert_array_equal(again.part.cost, first.part.cost)
    with pytest.raises(InputError, match="its graph was made without cost, now it is cost='tokens'"):
        ready(tmp_path / "points.parquet", tmp_path / "run", True, cost="tokens", groups=groups)
    for other in ({"cost": range(200), "groups": groups}, {}, {"groups": {"l": points["source"]}}):
        with pytest.raises(InputError, match="its graph is of columns"):
            ready(tmp_path / "points.parquet", tmp_path / "run", True, **other)


# ------------------------------------------------------------------ Spark
#: Ties that only costs or groups decide, bad rows of each kind, groups of bad rows only, null beside "null".
DIRTY = [
    (1, 1.0, 5, "x", 1),
    (2, 1.0, None, "bad only", 2),
    (3, 1.0, -4, "y", 3),
    (4, 1.0, 2**63 - 1, "y", 4),
    (5, 1.0, 0, None, None),
    (6, 1.0, 2**62, "null", 11),
    (7, 1.0, 10, "x", 1),
    (7, 1.0, 9, "x", 1),
    (8, 1.0, 1, "y", 9),
    (8, 1.0, 1, "z", 9),
    (8, 1.0, 1, None, 9),
    (8, 1.0, None, "a", 9),
    (9, 2.0, 3, "x", 20),
    (9, 1.0, 1, "loser only", 21),
]


def dirty_files(folder, bad=True):
    kinds = {
        "id": pa.int64(),
        "utility": pa.float64(),
        "tokens": pa.uint64(),
        "source": pa.string(),
        "year": pa.int16(),
    }
    rows = [row for row in DIRTY if row[2] != -4]
    rows = rows if bad else [row for row in rows if row[0] in (1, 5, 6)]
    whole = {name: pa.array(values, kinds[name]) for name, values in zip(kinds, zip(*rows, strict=True), strict=True)}
    whole["big"] = pa.array([2**64 - 1 - row[0] % 3 for row in rows], pa.uint64())
    whole["day"] = pa.array([DAY(2024, 1, 1 + row[0] % 2) if row[0] != 5 else None for row in rows])
    whole["flag"] = pa.array([row[0] % 2 == 0 if row[0] != 6 else None for row in rows])
    half = pa.table(whole)
    for place in ("part=b", "part=é%2F", "part=__HIVE_DEFAULT_PARTITION__"):
        (folder / place).mkdir(parents=True)
    pq.write_table(half.slice(0, 2), folder / "part=b" / "a.parquet")
    pq.write_table(
        half.slice(2).set_column(3, "source", half["source"].slice(2).dictionary_encode()),
        folder / "part=é%2F" / "b.parquet",
    )
    if bad:
        some = pa.table({name: values[:1] for name, values in whole.items()})
        negative = some.set_column(0, "id", pa.array([3])).set_column(2, "tokens", pa.array([-4]))
        pq.write_table(negative, folder / "part=__HIVE_DEFAULT_PARTITION__" / "c.parquet")
    ids = sorted({row[0] for row in rows if row[2] is not None and row[2] <= 2**62})
    edges = {"src": ids, "dst": [*ids[1:], ids[0]], "similarity": [0.5] * len(ids)}
    pq.write_table(pa.table(edges), folder.parent / "edges.parquet")


def spark_stages(spark, data, graph, run_dir=None, resume=False, **options):
    from subsel.engines.spark.parcels import plain_errors
    from subsel.engines.spark.storage import place_in
    from subsel.stages.spark import SparkStages

    options = {"size": 2, "recall_sample": 0, "part_points": 100} | options
    request = Request.of(data, purpose="score on", graph=graph, engine=spark, **options)
    with open_run(
        None if run_dir is None else place_in(spark, str(run_dir)), request.config, "run", resume=resume
    ) as kept:
        stages = SparkStages(spark, request, "run", kept)
        with plain_errors():
            stages.read(lambda what, share: None)
            stages.neighbors(lambda what, share: None, options["size"])
            stages.weigh(lambda what, share: None, options["size"], options["size"])
    return stages


def by_id(stages):
    """What Spark's parts know: of each id its cost and group's names and numbers; ghosts' costs checked."""
    from subsel.engines.spark.weighing import weighted_graph

    points = {parcel.part: unpack(parcel.payload) for parcel in from_rows(stages.graph.points.toArrow())}
    cost = {int(c): int(x) for one in points.values() for c, x in zip(one["code"], one["cost"], strict=True)}
    ghosts = 0
    graphs = stages.graph.frame.where("kind = 'graph'")
    if stages.utilities is not None:
        graphs = weighted_graph(graphs, stages.utilities, stages.graph.parts)
    out = {}
    for parcel in from_rows(graphs.toArrow()):
        graph, mine = unpack(parcel.payload), points[parcel.part]
        n = len(mine["code"])
        ghosts += len(graph["ghost_vid"])
        assert graph["cost"].tolist() == [cost[int(code)] for code in graph["code"]]
        np.testing.assert_array_equal(graph["group"].reshape(-1, n), mine["group"].reshape(n, -1).T)
        for i, id_ in enumerate(mine["id"].tolist()):
            numbers = graph["group"].reshape(-1, n)[:, i].tolist()
            names = [stages.graph.groups[j].names[g] for j, g in enumerate(numbers)]
            out[id_] = (int(graph["cost"][i]), numbers, names)
    return out, ghosts


def expected_by_id(found):
    columns = zip(found.ids.to_pylist(), found.cost.tolist(), found.group.T.tolist(), strict=True)
    return {
        id_: (cost, numbers, [found.groups[j].names[g] for j, g in enumerate(numbers)])
        for id_, cost, numbers in columns
    }


@pytest.mark.slow
@pytest.mark.parametrize("bad", [True, False], ids=["dirty", "clean"])
def test_spark_reads_what_one_machine_does(spark, tmp_path, bad):
    from subsel.engines.spark.groups import sum_groups as sum_on_spark
    from subsel.engines.spark.parcels import plain_errors

    dirty_files(tmp_path / "points", bad)
    graph = str(tmp_path / "edges.parquet")
    options = {"on_bad_rows": "drop", "cost": "tokens", "groups": ["source", "year", "big", "day", "flag", "part"]}
    local = read(tmp_path / "points", **options)
    stages = spark_stages(spark, tmp_path / "points", graph, tmp_path / "run", **options)
    if not bad:
        assert stages.inputs.check(with_content=True).content == local.checksum()
    assert stages.graph.groups == stages.points.groups == local.groups
    assert stages.input.dropped_rows == local.dropped
    found, _ = by_id(stages)
    assert found == expected_by_id(local)
    again = spark_stages(spark, tmp_path / "points", graph, tmp_path / "run", True, **options)
    assert again.graph.groups == local.groups
    assert by_id(again)[0] == found
    with plain_errors():
        sums = sum_on_spark(again.graph.points, again.graph.groups, again.graph.parts)
        expected = sum_groups(local.groups, local.cost, local.group, np.ones(local.n, np.bool_))
        assert repr(sums) == repr(expected)
    if bad:
        messages = []
        for engine in (
            lambda: read(tmp_path / "points", **(options | {"on_bad_rows": "error"})),
            lambda: spark_stages(spark, tmp_path / "points", graph, **(options | {"on_bad_rows": "error"})),
        ):
            with pytest.raises(InputError) as caught:
                engine()
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


@pytest.mark.slow
def test_sparks_parts_know_what_ghosts_cost(spark, points, tmp_path, monkeypatch):
    """Points in several parts, drawn from all, with utilities made anew; sums without those who are excluded."""
    from subsel.engines.spark import groups as on_spark
    from subsel.engines.spark.parcels import plain_errors
    from subsel.engines.spark.scoring import decided, places_of
    from subsel.schema import Status

    pq.write_table(points, tmp_path / "points.parquet")
    options = {"part_points": 100, "thin": 5, "size": 30, "utility": "density", **OPTIONS}
    stages = spark_stages(spark, tmp_path / "points.parquet", None, **options)
    local = stages_of(points, **(OPTIONS | {"utility": "density"}))
    found, ghosts = by_id(stages)
    everyone = expected_by_id(local.points)
    assert stages.graph.groups == local.points.groups
    assert len(found) == 150
    assert found == {one: everyone[one] for one in found}
    out = spark.createDataFrame([(one,) for one in list(found)[:40]], "id bigint")
    with plain_errors():
        places, _ = places_of(stages.graph.points, out, 40, "it")
        marks = decided(places, Status.EXCLUDED).unionByName(decided(places, Status.INCLUDED))
        sums = on_spark.sum_groups(stages.graph.points, stages.graph.groups, stages.graph.parts, marks)
    left = np.isin(local.points.ids.to_numpy(), list(found)[40:])
    expected = sum_groups(local.points.groups, local.points.cost, local.points.group, left)
    assert repr(sums) == repr(expected)
    assert ghosts > 0
    for module in (rules, on_spark):
        monkeypatch.setattr(module, "MOST_GROUPS", 5)
    messages = []
    for engine in (
        lambda: read(tmp_path / "points.parquet", **OPTIONS),
        lambda: spark_stages(spark, tmp_path / "points.parquet", None, **options),
    ):
        with pytest.raises(
            InputError, match=r"column 'year' of .* has 12 groups, but at most 5 are kept apart"
        ) as caught:
            engine()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
