"""All parts as one: what drivers decide on the joined graph is what they decide on the parts, and the parts hear of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subsel.bounding.certificate import certify
from subsel.bounding.driver import bound
from subsel.config import SelectConfig
from subsel.engines.local import LocalEngine
from subsel.greedy.exact import exact_greedy, order_subset
from subsel.greedy.refine import refine
from subsel.parts import superstep
from subsel.parts.assemble import GRAPH
from subsel.parts.join import join_boards, join_graphs, take_apart
from subsel.parts.pack import Parcel, pack
from subsel.report import GraphReport
from subsel.schema import Status
from tests.reference import make_graph
from tests.split_engine import SplitEngine, parts_of
from tests.strategies import problems

together = pytest.importorskip("subsel.engines.spark.together", reason="no pyspark")


def joined(engine):
    """Return a local engine on all parts of another, and where each part's points begin."""
    graphs = [Parcel(part, part, GRAPH, superstep.pack_graph(graph)) for part, graph in engine.whole_graphs.items()]
    arrays, offset = join_graphs(graphs[::-1])
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
    np.testing.assert_array_equal(part.mean_weight, np.concatenate([g.mean_weight for _, g in sorted(split.graphs.items())]))
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
        ({"spark.executor.memory": "8GB", "spark.executor.memoryOverheadFactor": "0.5"}, 4 << 30),
    ],
)
def test_a_task_has_its_share_of_what_executors_give_python(settings, expected):
    session = Session()
    session.settings = {"spark.master": "yarn", **settings}
    assert together.task_memory(session) == expected


def test_what_fits_one_task():
    session = Session()
    session.settings = {"spark.master": "yarn", "spark.executor.memoryOverhead": "2g"}
    fits = lambda n, degree, **more: together.fits_one_task(  # noqa: E731
        session, SelectConfig(size=1, **more), n, GraphReport(source="given", edges=n * degree // 2, **shape)
    )
    shape = {"mean_degree": 1.0, "max_degree": 1}
    assert fits(1_000_000, 20)
    assert not fits(10_000_000, 20)
    assert not fits(100, 20, finish_points=99)
    assert fits(10_000_000, 20, finish_points=10_000_000)
    assert not fits(100, 20, max_similarity=0.9)
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
