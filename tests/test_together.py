"""All parts as one: drivers decide on the joined graph what they decide on the parts, and the parts hear of it."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subsel
from subsel import pipeline
from subsel.bounding.certificate import certify
from subsel.bounding.driver import bound
from subsel.config import SelectConfig
from subsel.demo import demo_points
from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy, order_subset
from subsel.greedy.refine import refine
from subsel.parts import superstep
from subsel.parts.assemble import GRAPH
from subsel.parts.join import Joint, join_all, join_boards, join_graphs, take_apart
from subsel.parts.pack import Parcel, pack
from subsel.schema import Status
from tests.reference import make_graph
from tests.spark_fixtures import needs_spark
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems

together = pytest.importorskip("subsel.engines.spark.together", reason="no pyspark")


def joined(engine):
    """Return a local engine on all parts of another, and where each part's points begin."""
    graphs = [Parcel(part, part, GRAPH, superstep.pack_graph(graph)) for part, graph in engine.whole_graphs.items()]
    arrays, offset = join_all(graphs[::-1])
    boards = [parcel for parcels in engine.boards.values() for parcel in parcels if parcel.kind == superstep.BOARD]
    graph = superstep.unpack_graph(0, pack(**arrays), engine.scale)
    return LocalEngine(graph, join_boards(boards[::-1]), steps=True), offset


def hear(engine, one, offset):
    """Have the parts of an engine hear what was decided on all of them."""
    parts = np.array(sorted(engine.graphs))
    for parcel in take_apart(one.board, parts, offset):
        engine.boards[parcel.part].append(parcel)
    engine.reopen()


def decide(engine, k):
    accepted = bound(engine, k).accepted
    found = exact_greedy(engine, k - accepted)
    return accepted, found.selected


def finish(engine, k):
    refined = refine(engine, 3)
    engine.reopen()
    bounded = certify(engine, 3, 30, gap=0.0, random=0)
    order_subset(engine, k, restart=True)
    return refined, bounded


@given(problems(max_n=20), st.data())
def test_a_joined_graph_is_the_graph(problem, data):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    where = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    split, other = (SplitEngine(parts_of(graph, utility, 0, where), alpha, beta) for _ in range(2))
    one, offset = joined(split)
    part = one.graph
    assert all((np.diff(part.indices[a:b]) > 0).all() for a, b in zip(part.indptr[:-1], part.indptr[1:], strict=True))
    np.testing.assert_array_equal(
        part.mean_weight, np.concatenate([g.mean_weight for _, g in sorted(split.graphs.items())])
    )
    alone, apart = decide(one, k), decide(other, k)
    assert alone == apart
    if data.draw(st.booleans()):  # in another task, or on the parts again, or on them and together once more
        hear(split, one, offset)
        assert split.counts().selected == apart[1]
        one, offset = joined(split)
    assert finish(one, k) == finish(other, k)
    hear(split, one, offset)
    assert split.result() == other.result()
    # Ghosts know what their homes know.
    status = {int(g.code[v]): b.status[v] for g, b in known(split) for v in range(g.n_own)}
    assert all(status[int(g.code[v])] == b.status[v] for g, b in known(split) for v in range(len(g.code)))


def known(engine):
    return [(graph, superstep.deliver(graph, engine.boards[part])[0]) for part, graph in engine.graphs.items()]


class Session:
    """A session that has nothing but settings."""

    def __init__(self, **settings):
        self.settings = {name.replace("_", "."): value for name, value in settings.items()}
        self.conf = self

    def get(self, name, otherwise):
        return self.settings.get(name, otherwise)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 384 << 20),
        ({"spark.executor.memory": "20g"}, 2 << 30),
        ({"spark.executor.memory": "20g", "spark.executor.cores": "4", "spark.task.cpus": "2"}, 1 << 30),
        ({"spark.executor.memoryOverhead": "4096", "spark.executor.cores": "2"}, 2 << 30),
        ({"spark.executor.memoryOverhead": "4g", "spark.executor.pyspark.memory": "6144m"}, 6 << 30),
        ({"spark.executor.pyspark.memory": "8g", "spark.executor.cores": "4", "spark.task.cpus": "2"}, 2 << 30),
        ({"spark.executor.memory": "8GB", "spark.executor.memoryOverheadFactor": "0.5"}, 4 << 30),
    ],
)
def test_a_task_has_its_share_of_what_executors_give_python(settings, expected):
    session = Session()
    session.settings = {"spark.master": "yarn", **settings}
    assert together.task_memory(session) == expected - (300 << 20)


def test_what_fits_one_task():
    session = Session()
    session.settings = {
        "spark.master": "local[2]",
        "spark.executor.memoryOverhead": "2g",
    }  # of another machine: Connect
    fits = lambda n, degree, **more: together.fits_one_task(  # noqa: E731
        session, SelectConfig(size=1, **more), n, n * degree
    )
    assert fits(1_000_000, 20)
    assert not fits(10_000_000, 20)
    assert not fits(100, 20, finish_points=99)
    assert fits(10_000_000, 20, finish_points=10_000_000)
    assert fits(100, 20, max_similarity=0.9)
    config = SelectConfig(size=1, max_similarity=0.9)
    assert not together.fits_one_task(session, config, 100, 2000, recorded=True)  # drivers and parts take turns
    # One batch holds all where nothing bounds it.
    session.settings["spark.executor.memoryOverhead"] = "2000g"
    assert not fits(10_000_000, 20)
    session.settings["spark.sql.execution.arrow.maxBytesPerBatch"] = "256m"
    assert fits(10_000_000, 20)


def test_parts_that_are_joined_need_not_follow_each_other():
    graph = make_graph(3, {(0, 1): 1.0, (1, 2): 0.5})
    split = SplitEngine(parts_of(graph, [1.0, 2.0, 3.0], 0, np.array([7, 2, 7])), 0.5, 0.5)
    one, offset = joined(split)
    assert offset.tolist() == [0, 1, 3]
    assert one.counts().undecided == 3
    one.board.status[:] = Status.SELECTED
    hear(split, one, offset)
    assert split.counts().selected == 3


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """400 points with a graph, wishes, costs and groups, as Parquet."""
    folder = tmp_path_factory.mktemp("together")
    rng = np.random.default_rng(3)
    n = 400
    src = np.repeat(np.arange(n), 5)
    edges = {"src": src, "dst": (src + rng.integers(1, 30, len(src))) % n, "similarity": rng.random(len(src))}
    table = {"id": np.arange(n), "utility": rng.random(n), "tokens": rng.integers(1, 9, n), "source": np.arange(n) % 4}
    table |= {"wanted": np.arange(n) % 50 == 3, "banned": np.arange(n) % 10 == 7}
    pq.write_table(pa.table(table), folder / "points.parquet")
    pq.write_table(pa.table(edges), folder / "graph.parquet")
    return folder


SWAPS, COVERS = {"size": 0.3, "refine": 2}, {"size": 0.3, "objective": "coverage"}
LIMITED = {"budget": 0.3, "cost": "tokens", "groups": "source", "quotas": "proportional"}


def asked(problem, **options):
    about = {"data": problem / "points.parquet", "graph": problem / "graph.parquet", "progress": False}
    about |= {} if "objective" in options else {"alpha": 0.6}
    return {**about, "include": "wanted", "exclude": "banned", "certify": 3, "report": False, **options}


@pytest.mark.parametrize(
    "kind",
    [
        SWAPS,
        pytest.param({"size": 0.9}, marks=pytest.mark.slow),  # from all points down
        pytest.param(
            {"size": 0.3, "bounding": "approximate", "greedy": "partitioned", "partitions": 3}, marks=pytest.mark.slow
        ),
        pytest.param(LIMITED, marks=pytest.mark.slow),
        pytest.param(COVERS, marks=pytest.mark.slow),
    ],
    ids="+".join,
)
def test_spark_selects_in_one_task_what_parts_select(spark, problem, tmp_path, kind, caplog):
    needs_spark()
    here = subsel.select(**asked(problem, **kind))
    there = {"engine": spark, "part_points": 100, "output": tmp_path / "out"}
    with caplog.at_level("INFO", logger="subsel"):
        one = subsel.select(**asked(problem, **kind), **there)
    assert one.report.graph.parts == 4
    assert "decided in one task" in caplog.text
    assert one.report.greedy.supersteps == here.report.greedy.supersteps
    assert one.table.equals(here.table)
    assert one.upper_bound == pytest.approx(here.upper_bound, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["run_greedy", "run_certify"])  # the first goes on from what bounding decided
def test_a_run_goes_on_in_one_task(spark, problem, tmp_path, monkeypatch, stage):
    needs_spark()
    expected = subsel.select(**asked(problem, size=0.3, refine=2))
    more = {"engine": spark, "part_points": 100, "run_dir": tmp_path / "run", "output": tmp_path / "out"}
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, stage, lambda *_, **__: 1 / 0)
        with pytest.raises(subsel.SubselError, match="division by zero"):  # in the task
            subsel.select(**asked(problem, size=0.3, refine=2), **more)
    found = subsel.select(**asked(problem, size=0.3, refine=2), **more, resume=True)
    assert found.table.equals(expected.table)
    assert found.upper_bound == expected.upper_bound


@given(problems(max_n=20), st.data())
def test_parts_that_are_joined_to_a_few_decide_the_same(problem, data):
    n, edges, utility, alpha, beta, k = problem
    graph = make_graph(n, edges)
    where = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)))
    split = SplitEngine(parts_of(graph, utility, 0, where), alpha, beta)
    graphs = dict(sorted(split.whole_graphs.items()))
    points = [graphs[part].n_own if part in graphs else 0 for part in range(7)]
    joint = Joint.of(points, points, data.draw(st.integers(1, 4)))
    few = SplitEngine(parts_of(graph, utility, 0, joint.into[where]), alpha, beta)
    for number, assembled in few.graphs.items():  # points stand in another order there
        mine = [superstep.pack_graph(one) for part, one in graphs.items() if joint.into[part] == number]
        part = superstep.unpack_graph(number, pack(**join_graphs(mine, number, joint)), few.scale)
        assert sorted(part.code[: part.n_own]) == sorted(assembled.code[: part.n_own])
        assert sorted(part.code[part.n_own :]) == sorted(assembled.code[part.n_own :])
        assert (np.diff(part.ghost_vid) > 0).all()
        few.graphs[number] = few.whole_graphs[number] = part
    few._take(superstep.start(one) for one in few.graphs.values())
    assert decide(few, k) == decide(split, k)
    assert finish(few, k) == finish(split, k)
    assert few.result() == split.result()


@pytest.mark.slow
def test_parts_that_are_joined_are_searched_once(spark, tmp_path, monkeypatch):
    """However many parts become one, rows are read to be checked and to be sent, and not again for what was lost."""
    needs_spark()
    from subsel.engines.spark import assembled

    points, utility = demo_points(240, 8)
    rows = spark.createDataFrame(pa.table({"id": np.arange(240), "utility": utility, "embedding": list(points)}))
    reads = tmp_path / "reads"
    reads.mkdir()

    def read(batches):
        (reads / uuid4().hex).touch()
        yield from batches

    joint_of, seen = assembled.joint_of, []

    def few(spark, config, *about, **more):
        seen.append(joint_of(spark, config.model_copy(update={"part_points": None}), *about, **more))
        return seen[-1]

    counts = []
    about = {"size": 24, "part_points": 60, "finish_points": 30, "refine": 0, "overwrite": True, "progress": False}
    for patched in (joint_of, few):
        monkeypatch.setattr(assembled, "joint_of", patched)
        before = len(list(reads.iterdir()))
        subsel.select(rows.mapInArrow(read, rows.schema), engine=spark, output=tmp_path / "out", **about)
        counts.append(len(list(reads.iterdir())) - before)
    assert seen[0] is not None
    assert counts[0] == counts[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SWAPS, *(pytest.param(one, marks=pytest.mark.long) for one in (LIMITED, COVERS))])
def test_spark_joins_parts_to_a_few_and_goes_on_from_these(spark, problem, tmp_path, monkeypatch, kind):
    needs_spark()
    from subsel.engines.spark import assembled

    joint_of = assembled.joint_of

    def few(spark, config, *about, **more):  # as if nobody had said how large parts are
        return joint_of(spark, config.model_copy(update={"part_points": None}), *about, **more)

    expected = subsel.select(**asked(problem, **kind))
    more = {"engine": spark, "part_points": 60, "finish_points": 30, "run_dir": tmp_path / "run"}
    more |= {"output": tmp_path / "out"}
    with monkeypatch.context() as patch:
        patch.setattr(assembled, "joint_of", few)
        patch.setattr(pipeline, "run_certify", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            subsel.select(**asked(problem, **kind), **more)
    found = subsel.select(**asked(problem, **kind), **more, resume=True)  # with more memory: parts stay as they are
    assert found.report.graph.parts < found.report.graph.searched_parts
    assert found.table.equals(expected.table)
    assert found.upper_bound == pytest.approx(expected.upper_bound, rel=1e-12)
