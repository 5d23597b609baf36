"""Parcels on their way: what they are as batches, and that parts get theirs, whether rows are grouped or not."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from subsel.errors import InputError
from subsel.parts.pack import Parcel, from_rows, pack
from subsel.parts.rows import to_batches, to_table
from tests.spark_fixtures import needs_spark


def test_batches_hold_what_a_table_does_and_large_pieces_are_not_copied():
    sizes = [3, 40_000, 3_000_000, 0, 5]  # the third in pieces, of which the last is no full one
    parcels = [Parcel(i % 2, i, "some", pack(x=np.arange(size, dtype=np.float32))) for i, size in enumerate(sizes)]
    batches = list(to_batches(iter(parcels), 7 << 16))
    table, whole = pa.Table.from_batches(batches), to_table(parcels)
    assert table.schema == whole.schema
    found, wanted = from_rows(table), from_rows(whole)
    assert [(one.part, one.source, bytes(one.payload)) for one in found] == [
        (one.part, one.source, bytes(one.payload)) for one in wanted
    ]
    assert set(table["number"].to_pylist()) == {(7 << 16) + i for i in range(len(sizes))}
    payload = parcels[2].payload
    places = [one.column("payload").buffers()[2].address - payload.address for one in batches if one.num_rows == 1]
    assert {0, 4 << 20, 8 << 20} <= set(places)
    assert list(to_batches([])) == []


def send(batches):
    for batch in batches:
        for number in batch.column("id").to_pylist():
            yield from to_batches(Parcel(to, number, "sent", pack(x=np.array([number]))) for to in (0, 3, 4))


def receive(part, parcels):
    if part == 4:
        raise InputError("part 4 is bad")
    yield Parcel(part, part, "got", pack(x=np.array([one.source for one in parcels])))


@pytest.mark.parametrize("full", [False, True])
def test_each_part_gets_its_parcels(spark, full):
    needs_spark()
    from subsel.engines.spark.parcels import PARCEL_SCHEMA, exchange, map_in_arrow, plain_errors

    sent = map_in_arrow(spark.range(0, 6, 1, 3), send, PARCEL_SCHEMA)
    few = exchange(sent.where("part < 4"), receive, 6, full=full)  # most parts have nothing
    found = from_rows(few.toArrow())
    assert [(one.part, one.kind, bytes(one.payload)) for one in found] == [
        (to, "got", bytes(pack(x=np.arange(6)))) for to in (0, 3)
    ]
    with pytest.raises(InputError, match="part 4 is bad"), plain_errors():
        exchange(sent, receive, 6, full=full).count()


def test_a_session_of_ours_leaves_the_last_word_to_the_user(monkeypatch, tmp_path):
    needs_spark()
    from pyspark.sql import SparkSession

    from subsel.engines.spark.session import start

    seen, settings = {}, {}

    class Builder:
        def __getattr__(self, name):
            def call(*pair):
                settings.update([pair] if name == "config" else [])
                return self

            return call

        def getOrCreate(self):  # noqa: N802
            seen.update(os.environ)

    monkeypatch.setattr(SparkSession, "builder", Builder())
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-XX:Tier4InvocationThreshold=1")
    start("local[1]", "error", {"spark.driver.memory": "3g"})
    assert seen["SPARK_SUBMIT_OPTS"].startswith("-XX:+UseParallelGC -XX:Tier4")
    assert seen["SPARK_SUBMIT_OPTS"].endswith(" -XX:Tier4InvocationThreshold=1")
    assert os.environ["SPARK_SUBMIT_OPTS"] == "-XX:Tier4InvocationThreshold=1"
    assert settings["spark.driver.memory"] == "3g"
    (tmp_path / "spark-defaults.conf").write_text("spark.driver.extraJavaOptions  -XX:+UseZGC\n")
    options = "--driver-java-options -XX:+UseSerialGC pyspark-shell"
    for name, value in [
        ("SPARK_SUBMIT_OPTS", "-XX:+UseSerialGC"),
        ("PYSPARK_SUBMIT_ARGS", options),
        ("SPARK_CONF_DIR", str(tmp_path)),
    ]:
        with monkeypatch.context() as said:  # a JVM that is told of two collectors does not start
            said.setenv(name, value)
            start("local[1]", "error")
        assert "UseParallelGC" not in seen["SPARK_SUBMIT_OPTS"]
