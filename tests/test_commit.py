"""Commits: old or new at every moment, nothing of the user's touched, nothing of ours left."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from subsel import InputError, OutputError
from subsel.storage import MANIFEST, TEMPORARY, check_new, local, new_file, new_folder, place_of, rename, result_files
from subsel.storage.owner import Owner
from tests.storage_fixtures import names_below, read_file, read_result, without_exchange, write_file, write_result


def test_a_folder_comes_and_is_replaced(anywhere):
    anywhere.make_folder()
    target = anywhere.join("out")
    write_result(target, "ab")
    manifest = target.join(MANIFEST).read_json()
    assert next(iter(manifest)) == "format" and manifest["format"] == 1 and manifest["subsel"] == "test"
    assert set(manifest["files"].values()) == {1} and len(manifest["files"]) == 2
    with pytest.raises(InputError, match="out exists: choose another path, or ask for it"):
        write_result(target, "cd")
    assert read_result(target) == ["a", "b"]
    write_result(target, "c", overwrite=True)
    assert read_result(target) == ["c"]
    assert len(names_below(target)) == 2 and anywhere.children() == ["out"]


def test_a_file_comes_and_is_replaced(anywhere):
    anywhere.make_folder()
    target = anywhere.join("out.parquet")
    write_file(target, 1)
    with pytest.raises(InputError, match=r"out\.parquet exists"):
        write_file(target, 2)
    assert read_file(target) == 1
    write_file(target, 2, overwrite=True)
    assert read_file(target) == 2
    assert anywhere.children() == ["out.parquet"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_block_that_fails_leaves_what_was_there(anywhere, error):
    anywhere.make_folder()

    def fail():
        raise error

    for overwrite in (False, True):
        if overwrite:
            write_result(anywhere.join("out"), "a")
            write_file(anywhere.join("out.parquet"), 1)
        before = names_below(anywhere)
        with pytest.raises(error):
            write_result(anywhere.join("out"), "bc", overwrite=overwrite, between=fail)
        with (
            pytest.raises(error),
            new_file(anywhere.join("out.parquet"), overwrite=overwrite) as new,
            new.filesystem.open_output_stream(new.path) as stream,
        ):
            stream.write(b"half")
            raise error
        assert names_below(anywhere) == before
        assert anywhere.join("out").kind() == ("folder" if overwrite else None)
    assert read_result(anywhere.join("out")) == ["a"] and read_file(anywhere.join("out.parquet")) == 1


def test_only_what_subsel_wrote_is_replaced(anywhere):
    folder, file = anywhere.join("folder"), anywhere.join("file.parquet")
    folder.make_folder()
    folder.join("mine.txt").write_text("mine")
    file.write_text("mine")
    for target in (folder, file):
        with pytest.raises(InputError, match="exists and subsel did not write it"):
            check_new(target, overwrite=True)
    folder.join(MANIFEST).write_text('{"name": "of another program"}')
    with pytest.raises(InputError, match="did not write it"):
        check_new(folder, overwrite=True)
    folder.join(MANIFEST).write_text('{"subsel": "0')
    with pytest.raises(InputError, match="did not write it"):
        check_new(folder, overwrite=True)
    assert folder.join("mine.txt").read_text() == file.read_text() == "mine"


def test_inputs_are_not_written_into(anywhere):
    anywhere.join("in").make_folder()
    for name in ("in", "in/out", "."):
        target = anywhere if name == "." else anywhere.join(name)
        with pytest.raises(InputError, match="would overwrite or mix with the input"):
            check_new(target, overwrite=True, inputs=[anywhere.join("in")])
    check_new(anywhere.join("in2"), overwrite=False, inputs=[anywhere.join("in")])


def test_the_users_files_in_a_result_stay(anywhere):
    target = anywhere.join("out")
    anywhere.make_folder()
    write_result(target, "a")
    target.join("notes.txt").write_text("mine")
    if target.swaps:
        with pytest.raises(InputError, match=r"holds notes\.txt, which subsel did not write: move it away"):
            write_result(target, "b", overwrite=True)
        assert read_result(target) == ["a"]
    else:
        write_result(target, "b", overwrite=True)
        assert read_result(target) == ["b"]
    assert target.join("notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_appears_meanwhile_stays(anywhere, overwrite):
    anywhere.make_folder()
    target = anywhere.join("out")

    def appear():
        target.make_folder()
        target.join("mine.txt").write_text("mine")
        target.join(MANIFEST).write_text('{"whose": "mine"}')

    with pytest.raises(InputError, match="did not write it" if overwrite else "appeared while this run was at work"):
        write_result(target, "ab", overwrite=overwrite, between=appear)
    assert names_below(anywhere) == [f"out/{MANIFEST}", "out/mine.txt"]
    file = anywhere.join("x.parquet")
    with (
        pytest.raises(InputError, match="did not write it" if overwrite else "appeared"),
        new_file(file, overwrite=overwrite) as new,
    ):
        new.write_text("new")
        file.write_text("mine")
    assert file.read_text() == "mine" and anywhere.children() == ["out", "x.parquet"]


def test_a_result_that_is_exchanged_for_another_before_the_commit(tmp_path, monkeypatch):
    """Between the last look and the exchange something of the user's took the place: it goes back."""
    target = place_of(tmp_path / "out")
    write_result(target, "a")
    exchange = rename.exchange

    def late(one, other):
        monkeypatch.setattr(rename, "exchange", exchange)
        Path(other).rename(tmp_path / "ours")
        Path(other).mkdir()
        (Path(other) / "mine.txt").write_text("mine")
        return exchange(one, other)

    monkeypatch.setattr(rename, "exchange", late)
    with pytest.raises(InputError, match="did not write it"):
        write_result(target, "b", overwrite=True)
    assert names_below(place_of(tmp_path)) == [f"ours/{MANIFEST}", "ours/part-00000.parquet", "out/mine.txt"]


def test_leftovers_go_if_their_mark_says_so(tmp_path):
    place, target = place_of(tmp_path), place_of(tmp_path / "out")
    me = {name: getattr(Owner.me(), name) for name in Owner.__slots__}
    mark = {"subsel": "temporary", "target": "out", "token": "t", "old": [], "before": None, **me}
    dead = mark | {"pid": 2**22 + 1}
    long_ago, just_now = "2020-01-01T00:00:00+00:00", me["time"]
    kept = {
        "alive": mark,
        "of another target": dead | {"target": "out2"},
        "elsewhere": mark | {"kernel": "k", "time": just_now},
        "no mark": None,
        "strange": [1],
        "foreign": {"target": "out", "pid": 1},
    }
    gone = {"dead": dead, "number used again": mark | {"start": "1"}, "old": mark | {"kernel": "k", "time": long_ago}}
    for number, (name, content) in enumerate((kept | gone).items()):
        folder = tmp_path / f"{TEMPORARY}{number}"
        (folder / "data").mkdir(parents=True)
        (folder / "data" / name).write_text("x")
        if content is not None:
            (folder / "owner.json").write_text(json.dumps(content))
    (tmp_path / f"{TEMPORARY}file").write_text("mine")
    check_new(target, overwrite=False)
    left = {name.rpartition("/")[2] for name in names_below(place) if "/data/" in name}
    assert left == set(kept)
    assert (tmp_path / f"{TEMPORARY}file").exists()


def test_what_was_not_marked_yet_goes_if_nothing_is_in_it(tmp_path):
    """Killed between making a folder and marking it, or between removing the mark and the folder."""
    ours, others = f"{TEMPORARY}{'0a' * 8}", [f"{TEMPORARY}{'0b' * 8}", f"{TEMPORARY}mine", f"{TEMPORARY}{'0c' * 8}"]
    for name in (ours, *others):
        (tmp_path / name).mkdir()
    (tmp_path / ours / f"{TEMPORARY}{'1' * 16}").write_text("half a ma")
    (tmp_path / others[0] / "mine").write_text("mine")
    (tmp_path / others[2]).rmdir()
    (tmp_path / others[2]).symlink_to(tmp_path / others[1])
    write_result(place_of(tmp_path / "out"), "a")
    assert place_of(tmp_path).children() == sorted([*others, "out"])


def test_what_will_be_marked_is_not_taken_away(tmp_path, monkeypatch):
    """While somebody holds the folder nothing unmarked goes; and it is written to, whoever holds it."""
    monkeypatch.setattr(local, "_PATIENCE", 2)
    place = place_of(tmp_path)
    (tmp_path / f"{TEMPORARY}{'0a' * 8}").mkdir()
    with place.held() as held:
        assert held
        with place.held() as again:
            assert not again
        write_result(place.join("out"), "a")
        assert len(place.children()) == 2
    write_result(place.join("out"), "b", overwrite=True)
    assert place.children() == ["out"]


def test_leftovers_do_not_take_what_is_at_the_target(tmp_path):
    """A dead run's mark beside a folder of the user's with names like ours."""
    write_result(place_of(tmp_path / "x"), "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00000.parquet").write_text("mine")
    left = tmp_path / f"{TEMPORARY}0"
    left.mkdir()
    me = {name: getattr(Owner.me(), name) for name in Owner.__slots__}
    mark = {"subsel": "temporary", "target": "out", "token": "t0k3n", "old": ["part-00000.parquet"], "before": []}
    (left / "owner.json").write_text(json.dumps(mark | me | {"pid": 2**22 + 1}))
    with pytest.raises(InputError, match="exists"):
        check_new(place_of(tmp_path / "out"), overwrite=False)
    assert names_below(place_of(tmp_path)) == ["out/part-00000.parquet", f"x/{MANIFEST}", "x/part-00000.parquet"]


def test_links(tmp_path):
    real, link = tmp_path / "disk" / "real", tmp_path / "link"
    real.parent.mkdir()
    link.symlink_to(real)
    with pytest.raises(InputError, match=r"is a link to .*real, which does not exist"):
        check_new(place_of(link), overwrite=True)
    write_result(place_of(real), "a")
    write_result(place_of(link), "b", overwrite=True)
    assert link.is_symlink() and read_result(place_of(real)) == ["b"] and place_of(real.parent).children() == ["real"]


def test_names(tmp_path):
    longest = tmp_path / ("n" * 247 + ".parquet")
    write_file(place_of(longest), 1)
    write_file(place_of(longest), 2, overwrite=True)
    write_result(place_of(tmp_path / ("é" * 127)), "a")
    write_result(place_of(tmp_path / "a b%20#?[x]*"), "a")
    for name, message in (("n" * 256, "more than 255 bytes"), ("é" * 128, "more than 255 bytes"), ("x/y", "make it")):
        with pytest.raises(InputError, match=message) as caught:
            check_new(place_of(tmp_path / name), overwrite=False)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="root of its storage"):
        check_new(place_of("/"), overwrite=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe"):
        check_new(place_of(tmp_path / "pipe"), overwrite=True)
    assert len(place_of(tmp_path).children()) == 4


def test_no_bucket():
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match="root of its storage"):
        check_new(place_of("s3://bucket"), overwrite=False)


def test_no_such_bucket(s3):
    with pytest.raises(InputError, match="there is no bucket s3://none for output s3://none/x: make it first"):
        check_new(place_of("s3://none/x"), overwrite=False)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left"),
        OSError("[errno 28] No space left on device"),
        pa.ArrowInvalid("No space left"),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_full_disk(tmp_path, error, old):
    def full():
        raise error

    target = place_of(tmp_path / "out")
    if old:
        write_result(target, "a")
    with pytest.raises(OutputError, match=r"out could not be written: the disk is full \([\d,]+ MiB free"):
        write_result(target, "b", overwrite=old, between=full)
    assert read_result(target) == (["a"] if old else None)
    assert place_of(tmp_path).children() == (["out"] if old else [])


def test_a_full_disk_at_the_manifest(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = place_of(tmp_path / "out")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=rf"^{tmp_path}/out could not be written: the disk is full"):
        write_result(target, "b")
    assert place_of(tmp_path).children() == []


def test_a_limit_on_file_sizes(tmp_path):
    code = f"""
        import resource
        import pyarrow as pa, pyarrow.parquet as pq
        from subsel.errors import OutputError
        from subsel.storage import new_file, place_of
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            with new_file(place_of({str(tmp_path / "x.parquet")!r})) as new:
                pq.write_table(pa.table({{"a": range(100_000)}}), new.path, filesystem=new.filesystem)
        except OutputError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "x.parquet could not be written: the file is larger than the system allows (ulimit -f)" in done.stdout
    assert place_of(tmp_path).children() == []


def test_files_that_the_manifest_names_must_be_there(tmp_path):
    target = place_of(tmp_path / "out")
    write_result(target, "ab")
    target.join("more.parquet").write_text("not named")
    assert [file.name for file in result_files(target)] == ["part-00000.parquet", "part-00001.parquet"]
    target.join("part-00001.parquet").write_text("longer")
    with pytest.raises(InputError, match=r"part-00001\.parquet has 6 bytes, not 1 as its manifest says"):
        result_files(target)
    target.join("part-00001.parquet").remove()
    with pytest.raises(InputError, match=r"is not whole: part-00001\.parquet, which its manifest names, is missing"):
        result_files(target)
    assert result_files(place_of(tmp_path)) is None and result_files(place_of(tmp_path / "none")) is None


def test_results_of_before_format_1(tmp_path, monkeypatch):
    """Their manifests name no files."""
    without_exchange(monkeypatch)
    target = place_of(tmp_path / "out")
    write_result(target, "ab")
    target.join(MANIFEST).write_text('{"subsel": "0.1.0"}')
    assert read_result(target) == ["a", "b"]
    write_result(target, "c", overwrite=True)
    assert read_result(target) == ["c"] and len(names_below(target)) == 2


def test_data_in_subfolders(anywhere, monkeypatch):
    without_exchange(monkeypatch)
    anywhere.make_folder()
    target = anywhere.join("out")
    for word in ("a", "b"):
        with new_folder(target, overwrite=True) as new:
            for group in ("group=1", "group=2"):
                place = new.file(f"{group}/part-0.parquet")
                place.parent().make_folder()
                place.write_text(word)
            new.pages = {"_report.html": word}
            new.manifest = {"subsel": "test"}
        assert read_result(target) == [word, word]
        assert target.join("_report.html").read_text() == word
    assert len(names_below(target)) == 4


def test_writers_that_name_their_files(memory):
    """As Spark does: what it adds to the folder is the new result."""
    names = [f"part-00000-{digit * 8}-0000-0000-0000-{'0' * 12}-c000.snappy.parquet" for digit in "12"]
    target = place_of(memory).join("out")
    for name in names:
        with new_folder(target, overwrite=True) as new:
            new.data.join(name).write_text(name)
            new.data.join("_SUCCESS").write_text("")
            new.manifest = {"subsel": "test"}
        assert read_result(target) == [name]
    assert names_below(target) == ["_SUCCESS", MANIFEST, names[1]]
