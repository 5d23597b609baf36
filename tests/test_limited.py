"""Greedy under limits: a slow twin, and the same subset, order and gains on any parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from subsel.codes import codes_of
from subsel.engines.local import LocalEngine
from subsel.greedy.limited import limited_greedy
from subsel.schema import Status
from tests.limited_reference import limited_problems, plain_limited
from tests.reference import make_graph, make_part
from tests.split_engine import SplitEngine, parts_of


def limited_part(problem, tie_bits=None):
    part = make_part(make_graph(problem.n, problem.edges), problem.utility, problem.alpha, problem.beta, tie_bits=tie_bits)
    return replace(
        part, cost=problem.cost, group=problem.group, max_similarity=problem.capacity.max_similarity
    )


def on_parts(problem, part_of_node, **more):
    graph = make_graph(problem.n, problem.edges)
    node = {int(code): v for v, code in enumerate(codes_of(graph.ids, 0))}

    def limits(draft):
        at = [node[int(code)] for code in draft.code]
        own = at[: len(draft.indptr) - 1]
        return replace(
            draft,
            cost=None if problem.cost is None else problem.cost[at],
            group=None if problem.group is None else np.ascontiguousarray(problem.group[:, own]),
        )

    by_part = parts_of(graph, problem.utility, 0, part_of_node)
    tau = problem.capacity.max_similarity
    return SplitEngine(by_part, problem.alpha, problem.beta, max_similarity=tau, limits=limits, **more), node


@given(limited_problems(max_n=16))
def test_one_part_equals_the_rule(problem):
    part = limited_part(problem)
    engine = LocalEngine(part)
    result = limited_greedy(engine, problem.capacity)
    found = {int(v): int(engine.board.key[v]) for v in np.flatnonzero(engine.board.status == Status.SELECTED)}
    assert found == dict(plain_limited(part, problem.capacity))
    assert result.selected == len(found)
    assert not (engine.board.status == Status.UNDECIDED).any()


@given(
    limited_problems(max_n=14),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
    st.sampled_from([0, 0, 3, 100]),
    st.booleans(),
    st.sampled_from([None, 3]),
)
def test_any_parts_equal_the_rule(problem, parts, random, finish_points, compact, tie_bits):
    part = limited_part(problem, tie_bits)
    where = np.array([random.randrange(parts) for _ in range(problem.n)])
    engine, node = on_parts(problem, where, finish_points=finish_points, compact=compact, tie_bits=tie_bits)
    if len(set(where.tolist())) == 1:
        engine.parts = 2  # all that only several parts do, on one
    limited_greedy(engine, problem.capacity)
    found = {node[code]: key for code, (key, _) in engine.result().items()}
    assert found == dict(plain_limited(part, problem.capacity))
