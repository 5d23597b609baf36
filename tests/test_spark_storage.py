"""Places in a Spark session: the same contract on what a classic session and a Connect session reach."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from subsel.engines.spark.hadoop import HadoopPlace
from subsel.engines.spark.output import write_frame
from subsel.engines.spark.paths import canonical, for_reader, scheme_of
from subsel.engines.spark.storage import place_in, uri_for_spark
from subsel.errors import InputError, SubselError
from subsel.report import Report
from subsel.storage import LocalPlace, result_files
from tests.spark_fixtures import MOUNTED

ODD = "a%20b {x}[*]?=1, é"  # a colon is beyond Hadoop itself


@pytest.fixture(params=["path", "file", "viewfs"])
def folder(request, spark, tmp_path):
    """An empty folder as a HadoopPlace, and where it is on disk."""
    if request.param == "viewfs":
        disk = MOUNTED / tmp_path.name
        disk.mkdir()
        yield HadoopPlace(spark, f"viewfs://subsel/mounted/{tmp_path.name}"), disk
        shutil.rmtree(disk)
    else:
        uri = str(tmp_path) if request.param == "path" else f"file://{tmp_path}"
        yield HadoopPlace(spark, uri), tmp_path


def check_files(place):
    """The contract of small files, which every kind of place keeps."""
    file = place.join(ODD)
    assert file.kind() is None
    assert not file.exists()
    with pytest.raises(InputError, match="does not exist"):
        file.read_bytes()
    file.write_text('{"é": 1}\n')
    assert file.kind() == "file"
    assert file.name == ODD
    assert file.read_bytes() == '{"é": 1}\n'.encode()
    assert file.read_json() == {"é": 1}
    file.write_text("two\n\nlines")
    assert file.read_text() == "two\n\nlines"
    assert file.open_input().read() == b"two\n\nlines"
    assert file.parent().key == place.key
    assert file.within(place)
    assert not place.within(file)

    other = place.join("below", "lock")
    assert other.create_text("mine")
    assert not other.create_text("yours")
    assert other.read_text() == "mine"
    assert place.kind() == "folder"
    assert place.children() == sorted([ODD, "below"])
    assert [(found.name, found.size) for found in place.files()] == [(ODD, 10), ("below/lock", 4)]
    (alone,) = other.files()
    assert (alone.name, alone.size) == ("", 4)

    before = place.files()[0].stamp
    file.write_text("again")
    assert place.files()[0].stamp != before
    other.remove()
    other.remove()
    assert other.kind() is None
    assert other.create_text("new")
    other.parent().remove()
    assert place.children() == [ODD]
    assert place.join("nothing").files() == place.join("nothing").children() == []


def test_small_files(folder):
    place, disk = folder
    check_files(place)
    assert not [path for path in disk.iterdir() if "tmp" in path.name]


def test_key_is_the_local_engines(folder):
    place, disk = folder
    assert place.key == LocalPlace(disk, str(disk)).key
    assert place.join("not", "yet").key == str(disk / "not" / "yet")


def test_renames_only_to_where_nothing_is(folder):
    place, disk = folder
    assert place.renames
    assert not place.swaps
    place.join("from", "x").write_text("x") if place.join("from").make_folder() is None else None
    for there in ("file", "folder", "empty"):
        place.join(there).make_folder() if there != "file" else place.join(there).write_text("")
        if there == "folder":
            place.join(there, "f").write_text("")
        with pytest.raises(FileExistsError):
            place.join("from").rename_new(place.join(there))
    place.join("from").rename_new(place.join("to"))
    assert place.join("to", "x").read_text() == "x"
    assert not (disk / "from").exists()


def test_parquet_is_read_at_any_position(folder):
    place, disk = folder
    pq.write_table(pa.table({"id": range(300_000)}), disk / "p.parquet", row_group_size=1000)
    with place.join("p.parquet").open_input() as file:
        assert pq.ParquetFile(pa.PythonFile(file, mode="r")).read_row_group(250)["id"][0].as_py() == 250_000


def test_spark_reads_and_writes_what_a_place_names(spark, folder):
    place, _ = folder
    data = place.join(ODD, "data")
    spark.range(7).write.parquet(data.uri)
    assert spark.read.parquet(for_reader(data.uri)).count() == 7
    assert not [file.name for file in data.files() if file.name.endswith(".crc")]


@pytest.mark.parametrize("local", [False, True])
def test_a_result_replaces_another_and_names_its_files(spark, folder, local):
    place, disk = folder
    target = place_in(spark, disk / "out") if local else place.join("out")
    check_results(spark, target, disk / "out")
    assert sorted(path.name for path in disk.iterdir()) == ["out"]


def check_results(spark, target, disk):
    write_frame(spark.range(10).repartition(2), a_report(), target, overwrite=False)
    assert pq.read_table(disk).num_rows == 10
    assert {file.name for file in result_files(target)} == {path.name for path in disk.glob("part-*.parquet")}
    with pytest.raises(InputError, match="exists"):
        write_frame(spark.range(5), a_report(), target, overwrite=False)

    write_frame(spark.range(7), a_report(), target, overwrite=True)
    assert pq.read_table(disk).num_rows == 7
    assert spark.read.parquet(for_reader(uri_for_spark(target))).count() == 7
    assert sum(file.size > 0 for file in result_files(target)) == len(result_files(target))

    fails = F.udf(_fails, "long")
    with pytest.raises(SubselError, match="ZeroDivisionError") as caught:
        write_frame(spark.range(7).select(fails("id")), a_report(), target, overwrite=True)
    assert len(str(caught.value).splitlines()) == 1
    assert pq.read_table(disk).num_rows == 7


def _fails(value):
    return value // 0


def a_report():
    return Report.model_construct(subsel="0", run_id="x")


def test_in_place_where_nothing_is_renamed(spark, folder, monkeypatch):
    monkeypatch.setattr(HadoopPlace, "renames", False)  # as on an object store
    place, disk = folder
    check_results(spark, place.join("out"), disk / "out")
    assert not place.swaps


def test_plain_and_file_paths_are_the_driver_own_disk(spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for where in ("x%20y", tmp_path / "x%20y", f"file:{tmp_path}/x%2520y", f"file://{tmp_path}/x%2520y/"):
        place = place_in(spark, where)
        assert isinstance(place, LocalPlace)
        assert place.key == str(tmp_path / "x%20y")
        assert uri_for_spark(place) == f"file://{tmp_path}/x%20y"
    assert place_in(spark, place) is place


UNREACHABLE = [
    ("s3://b/k", r"hadoop-aws:[\dV]"),
    ("s3a://b/k", "no file system for s3a"),
    ("gs://b/k", r"hadoop-gcp:|gcs-connector:"),
    ("abfss://c@a.dfs.core.windows.net/k", "hadoop-azure:"),
    ("nosuch://b/k", "spark.hadoop.fs.nosuch.impl"),
    ("hdfs://no-such-host.invalid:1/k", "no-such-host.invalid is unknown"),
    ("viewfs://nowhere/k", "mount table"),
]


def check_unreachable(spark):
    for uri, words in UNREACHABLE:
        with pytest.raises(InputError, match=words) as caught:
            place_in(spark, uri).kind()
        assert len(str(caught.value).splitlines()) == 1


def test_a_file_system_that_is_not_there_is_one_line(spark):
    check_unreachable(spark)


def test_one_spelling():
    assert canonical("s3a://b/k/") == canonical("s3://b//k") == canonical("s3n://b/./k") == "s3://b/k"
    assert canonical("s3://b") == canonical("s3a://b/") == "s3://b"
    assert canonical("hdfs://nn:8020/x") == canonical("hdfs://nn/y/../x") == "hdfs://nn/x"
    assert canonical("dbfs:/x/y") == canonical("dbfs:///x/y") == "dbfs:///x/y"
    assert canonical("file:///a/b") == canonical("file:/a/b") == canonical("/a/b/")
    assert scheme_of("a:b") == ""
    assert scheme_of("S3A://b") == "s3a"
