"""Places: what users spell, on every storage that can be had here; errors are one line and name the address."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import InputError, OutputError, demo
from subsel.errors import MissingPackageError, SubselError
from subsel.storage import ArrowPlace, LocalPlace, lock, place_of
from subsel.storage.faults import why
from subsel.storage.owner import Owner

ODD = "a b%20#?[x]*{1}é.txt"


@pytest.mark.parametrize(
    ("spelled", "path"),
    [
        ("/a//b/./c/../d/", "/a/b/d"),
        ("file:/a/b", "/a/b"),
        ("file:///a//b/../c", "/a/c"),
        ("file://localhost/a/b%20c%23", "/a/b c#"),
        ("FILE:///a", "/a"),
        ("/a/b%20c#d?e", "/a/b%20c#d?e"),
        ("x:y://z", f"{os.path.realpath('.')}/x:y:/z"),
        (Path("/a/b"), "/a/b"),
    ],
)
def test_local_spellings(spelled, path):
    place = place_of(spelled)
    assert isinstance(place, LocalPlace)
    assert place.key == path
    assert place.uri == str(spelled)
    assert place_of(place) is place


def test_keys_are_one_per_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert place_of("link/x").key == place_of(tmp_path / "real" / "x").key == place_of(f"file://{tmp_path}/real/x").key
    assert place_of("s3a://b/k//x/").key == place_of("s3://b/k/x").key == "s3://b/k/x"
    assert place_of("s3://b/k").join("x/y").key == "s3://b/k/x/y"
    assert place_of("s3://b/k").join("x", "y").parent().parent().key == "s3://b/k"
    assert place_of("s3://b").parent().key == "s3://b"
    assert place_of("link/x").within(place_of("real"))
    assert not place_of("real2").within(place_of("real"))
    assert place_of("s3a://b/k/x").within(place_of("s3://b/k"))
    assert place_of("out").parent().key == str(tmp_path)
    assert place_of(".").join("a", "b").local == tmp_path / "a" / "b"


def test_reading_and_writing(anywhere):
    folder = anywhere.join("folder")
    assert folder.kind() is None and folder.children() == [] and folder.files() == []
    folder.make_folder()
    folder.make_folder()
    one, two = folder.join("one.json"), folder.join("sub", ODD)
    two.parent().make_folder()
    one.write_text("[1]")
    two.write_text("zwei")
    assert isinstance(one, ArrowPlace)
    assert (folder.kind(), one.kind(), folder.join("none").kind()) == ("folder", "file", None)
    assert folder.children() == ["one.json", "sub"]
    assert one.children() == []
    assert [(file.name, file.size) for file in folder.files()] == [("one.json", 3), (f"sub/{ODD}", 4)]
    assert [(file.name, file.size) for file in one.files()] == [("", 3)]
    assert one.read_json() == [1] and two.read_text() == "zwei" and two.name == ODD
    with two.open_input() as file:
        assert file.read() == b"zwei"
    stamp = one.files()[0].stamp
    time.sleep(0.01)
    one.write_text("[2]")
    assert one.read_json() == [2] and one.files()[0].stamp != stamp
    assert not one.create_text("[3]") and one.read_json() == [2]
    assert folder.join("new").create_text("neu") and folder.join("new").read_text() == "neu"
    one.rename_new(folder.join("moved"))
    assert not one.exists() and folder.join("moved").read_json() == [2]
    with pytest.raises(FileExistsError):
        folder.join("moved").rename_new(two)
    one.write_text('{"cut')
    with pytest.raises(InputError, match=r"one\.json is not JSON: it is truncated"):
        one.read_json()
    one.remove()
    one.remove()
    folder.remove()
    folder.remove()
    assert not folder.exists()
    with pytest.raises(InputError, match=r"one\.json does not exist"):
        one.read_text()


def test_text_that_is_none(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="x is not text"):
        place_of(tmp_path / "x").read_json()


def refused(where, **options):
    """Return the one line with which an address is refused when it is used."""
    with pytest.raises(SubselError) as caught:
        place_of(where, **options).read_bytes()
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_is_no_place(tmp_path):
    with (tmp_path / "x").open("w") as file:
        assert str(refused(file)) == f"{tmp_path}/x is an open file: give its path."
    assert "int is neither a path nor an address" in str(refused(3))
    assert "is empty" in str(refused(""))
    assert "null character" in str(refused("a\0b"))
    assert "null character" in str(refused("file:///a%00b"))
    assert "names another machine" in str(refused("file://host/x"))
    assert "lost a slash" in str(refused(Path("s3://b/k")))
    assert "nothing here knows foo://" in str(refused("foo://x"))
    assert "names no bucket" in str(refused("s3:///x"))
    credentials = refused("s3://me:hidden@bucket/x")
    assert "storage_options" in str(credentials) and "hidden" not in str(credentials)
    assert "storage option 'tokn' is unknown for s3://" in str(refused("s3://b/x", storage_options={"tokn": 1}))
    assert "\\n" in str(refused("a\nb")) and "\x1b" not in str(refused("a\x1b[31m"))


@pytest.mark.parametrize(("scheme", "package"), [("az", "adlfs"), ("webdav", "webdav4")])
def test_a_missing_package_is_named(scheme, package):
    pytest.importorskip("fsspec")
    if package in {"adlfs", "webdav4"} and __import__("importlib.util").util.find_spec(package):
        pytest.skip(f"{package} is installed")
    error = refused(f"{scheme}://x/y")
    assert isinstance(error, MissingPackageError) and package in str(error)


def test_special_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name, message in (("pipe", "a pipe, a device or a socket"), ("dangling", "a link to nowhere, which does not")):
        place = place_of(tmp_path / name)
        for use in (place.kind, place.read_bytes, place.open_input, place.files, place_of(tmp_path).files):
            with pytest.raises(InputError):
                use()
        with pytest.raises(InputError, match=message):
            place.read_bytes()
        (tmp_path / name).unlink()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "x").write_text("x")
    assert [file.name for file in place_of(tmp_path).files()] == ["sub/x"]


def test_no_permission(tmp_path):
    if os.getuid() == 0:
        pytest.skip("root may do everything")
    (tmp_path / "x").write_text("x")
    (tmp_path / "x").chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        place_of(tmp_path / "x").read_bytes()


def test_writing_follows_no_link_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("victim")
    (tmp_path / "x").symlink_to("victim")
    place = place_of(tmp_path / "x")
    assert not place.create_text("new")
    place.write_text("new")
    assert (tmp_path / "victim").read_text() == "victim" and (tmp_path / "x").read_text() == "new"
    monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match=r"x could not be written: the disk is full \([\d,]+ MiB free"):
        place.write_text("newer")
    assert place_of(tmp_path).children() == ["victim", "x"]


def test_s3_environment_and_options(s3, s3_server, monkeypatch):
    place = place_of(f"{s3}/x.parquet")
    pq.write_table(pa.table({"a": [1]}), place.path, filesystem=place.filesystem)
    assert pq.read_table(place.open_input()).num_rows == 1
    assert "-" in place.files()[0].stamp or len(place.files()[0].stamp) == 32  # an etag
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    assert place_of(place.uri.replace("s3://", "s3a://")).kind() == "file"
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    host = s3_server[len("http://") :]
    for options in (
        {"key": "k", "secret": "s", "endpoint_url": s3_server},
        {"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_endpoint_url": s3_server, "aws_region": "eu-1"},
        {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "endpoint_override": host, "allow_http": "true"},
        {"access_key": "k", "secret_key": "s", "scheme": "http", "endpoint_override": host},
        {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": s3_server, "region_name": "eu-1"}},
    ):
        assert place_of(place.uri, options).kind() == "file", options
    assert place_of(place.uri, {"anon": True, "endpoint_url": s3_server}).filesystem is not None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "access is denied: check the cred"),
        ("AWS Error UNKNOWN (HTTP status 400) … InvalidAccessKeyId", "access is denied: check the cred"),
        ("HTTP Response Code: 301", "the bucket is in another region: set AWS_REGION"),
        ("Unable to load libjvm", "Java's HDFS client is not found: set JAVA_HOME"),
        ("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device", "the disk is full"),
        ("something new.\nand more", "something new"),
        ("", "OSError"),
    ],
)
def test_what_storages_say(said, message):
    assert why(OSError(said)).startswith(message)
    assert "\n" not in why(OSError(said))


def test_s3_says_what_is_wrong(s3, monkeypatch):
    nowhere = place_of("s3://no-such-bucket/x")
    with pytest.raises(OutputError, match="s3://no-such-bucket/x could not be written: there is no such bucket"):
        nowhere.write_text("x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    begin = time.monotonic()
    assert "cannot be reached" in str(refused(f"{s3}/x"))
    assert time.monotonic() - begin < 10


def test_lock(anywhere):
    anywhere.make_folder()
    with lock(anywhere, "run directory"):
        assert anywhere.children() == [".lock"]
        with (
            pytest.raises(InputError, match=rf"run directory .* is in use by .*process {os.getpid()}, since"),
            lock(anywhere, "run directory"),
        ):
            pass
        assert anywhere.children() == [".lock"]
    assert anywhere.children() == []
    with pytest.raises(KeyboardInterrupt), lock(anywhere, "run directory"):
        raise KeyboardInterrupt
    assert anywhere.children() == []


def test_lock_of_the_dead_and_of_others(tmp_path):
    place, me = place_of(tmp_path), Owner.me()
    own = {name: getattr(me, name) for name in Owner.__slots__}

    def taken(**changes):
        place.join(".lock").write_text(json.dumps(own | changes))
        try:
            with lock(place, "run directory"):
                return True
        except InputError as error:
            assert "if it is over, remove" in str(error)
            return False

    assert not taken()
    assert taken(pid=2**22 + 1)
    assert taken(start="1")  # the number was used again
    assert not taken(kernel="elsewhere", pid=2**22 + 1)
    assert not taken(kernel="elsewhere", time="2020-01-01T00:00:00+00:00")
    place.join(".lock").write_text("")
    with pytest.raises(InputError, match="does not say by whom"), lock(place, "run directory"):
        pass
    assert replace(me, kernel="elsewhere", time="2020-01-01T00:00:00+00:00").gone()
    assert not replace(me, kernel="elsewhere").gone() and not me.gone()


def test_a_subset_and_a_graph_in_a_bucket(s3, demo_table):
    points = demo_table.slice(0, 300)
    found = subsel.select(points, size=30, output=f"{s3}/out", progress=False)
    assert found.path == f"{s3}/out"
    place = place_of(f"{s3}/out")
    assert pq.read_table(place.path, filesystem=place.filesystem).equals(found.table)
    assert subsel.Report.model_validate(place.join("_manifest.json").read_json()).k == 30
    with pytest.raises(InputError, match="out exists"):
        subsel.select(points, size=30, output=f"{s3}/out", progress=False)
    assert found.graph is not None
    found.graph.to_parquet(f"{s3}/graph.parquet")
    found.graph.to_parquet(f"{s3}/graph.parquet", overwrite=True)
    graph = place_of(f"{s3}/graph.parquet")
    assert pq.read_table(graph.open_input()).num_rows == found.graph.n_edges
    demo.write_demo(f"{s3}/demo", 200, 4)
    assert len(place_of(f"{s3}/demo").files()) == 5


def test_a_subset_at_a_file_address(tmp_path, monkeypatch, demo_table):
    monkeypatch.chdir(tmp_path)
    found = subsel.select(demo_table.slice(0, 300), size=30, output=f"file://{tmp_path}/o%20ut", progress=False)
    assert found.path == tmp_path / "o ut"
    assert place_of(tmp_path).children() == ["o ut"] and pq.read_table(found.path).num_rows == 30
