"""A server that speaks S3 on loopback, and what results in tests are made of."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from subsel import storage

OURS = pa.table({"a": [1, 2]}).replace_schema_metadata({"subsel": "{}"})


@pytest.fixture(scope="session")
def s3_server():
    """Address of a moto server, which lives as long as the test run; tests make their own buckets."""
    pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A new bucket's address, with credentials and endpoint in the environment as users have them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    bucket = f"bucket-{os.urandom(6).hex()}"
    options = {"access_key": "key", "secret_key": "secret", "region": "us-east-1", "scheme": "http"}
    client = pafs.S3FileSystem(endpoint_override=s3_server[len("http://") :], allow_bucket_creation=True, **options)
    client.create_dir(bucket)
    return f"s3://{bucket}"


@pytest.fixture
def memory():
    """An address of fsspec's memory, empty."""
    fsspec = pytest.importorskip("fsspec")
    client = fsspec.filesystem("memory")
    client.store.clear()
    client.pseudo_dirs[:] = [""]
    yield "memory://folder"
    client.store.clear()


@pytest.fixture(params=["local", "file", "memory", "s3"])
def anywhere(request, tmp_path):
    """A folder on each storage."""
    if request.param == "local":
        return storage.place_of(tmp_path)
    if request.param == "file":
        return storage.place_of(f"file://{tmp_path}")
    return storage.place_of(f"{request.getfixturevalue(request.param)}/in")


def write_result(target, words, *, overwrite=False, between=lambda: None):
    """Write a result of one small file a word."""
    with storage.new_folder(target, overwrite=overwrite) as new:
        for number, word in enumerate(words):
            new.file(f"part-{number:05d}.parquet").write_text(word)
        between()
        new.manifest = {"subsel": "test"}


def read_result(target):
    """Return a result's words, by its manifest; None if there is no result."""
    files = storage.result_files(target)
    return None if files is None else [target.join(file.name).read_text() for file in files]


def names_below(target):
    """Return the names of all files below a folder."""
    return [file.name for file in target.files()]


def write_file(target, value, **options):
    """Write a result of one file."""
    with storage.new_file(target, **options) as new:
        pq.write_table(OURS.append_column("value", pa.array([value] * 2)), new.path, filesystem=new.filesystem)


def read_file(target):
    """Return the value of a result of one file."""
    return pq.read_table(target.open_input())["value"][0].as_py()


def without_exchange(monkeypatch):
    """As on a kernel or file system that lacks the flags."""
    monkeypatch.setattr(storage.rename, "_renameat2", lambda source, target, flag: False)
