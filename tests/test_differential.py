"""Both engines make the same of the same dirty input: points, dropped rows and edges by reason, or one message."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.differential import Case, cases, locally, on_spark, outcome_of


def local(case: Case):
    with case.written() as places:
        return outcome_of(locally, case, *places), places


@given(case=cases(), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_order_and_files_do_not_matter_locally(case, seed):
    one, (place, edges) = local(case)
    two, (other, other_edges) = local(case.shuffled(seed))
    assert _without_places(one, place, edges) == _without_places(two, other, other_edges)


def _without_places(found, *places):
    if found.error is None:
        return found
    text = found.error
    for place in places:
        text = text.replace(place, "HERE") if place else text
    if " files of " in text or " and is " in text or ".parquet" in text:  # it names files
        return text.split("HERE")[0].split(" of ")[-1]
    return text


def both(spark, case):
    with case.written() as places:
        here, there = outcome_of(locally, case, *places), outcome_of(on_spark, spark, case, *places)
        assert here == there, f"\nlocal {here}\nspark {there}"


@pytest.fixture
def few(spark):
    """The session with two shuffle partitions."""
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    yield spark
    spark.conf.set("spark.sql.shuffle.partitions", before)
