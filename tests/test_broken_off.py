"""Writing that is broken off, at every step and at random moments: the old result or the new one is there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from itertools import count

import pytest

from subsel.storage import MANIFEST, place_of, rename
from subsel.storage.arrow import ArrowPlace
from subsel.storage.owner import Owner
from tests.storage_fixtures import names_below, read_file, read_result, without_exchange, write_file, write_result


class Killed(BaseException):
    pass


LOCAL_PRIMITIVES = [(os, name) for name in ("open", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "link")]
LOCAL_PRIMITIVES += [(rename, "_renameat2")]
ARROW_PRIMITIVES = [(ArrowPlace, name) for name in ("_put", "make_folder", "copy_file", "remove", "sizes")]


def break_at(monkeypatch, primitives, step, error, *, for_ever):
    """Raise before or after the step-th primitive, for ever after it if that is how a kill looks; return the count."""
    done = count()

    def broken(primitive):
        def call(*args, **options):
            before = next(done)
            if before == step or (for_ever and before > step):
                raise error
            result = primitive(*args, **options)
            after = next(done)
            if after == step or (for_ever and after > step):
                raise error
            return result

        return call

    for holder, name in primitives:
        monkeypatch.setattr(holder, name, broken(getattr(holder, name)))
    return done


@pytest.fixture(params=["local", "fallback", "memory"])
def breakable(request, tmp_path, monkeypatch):
    """A folder on a storage, and how writing to it is broken off."""
    if request.param == "memory":
        return place_of(request.getfixturevalue("memory")), ARROW_PRIMITIVES, lambda: None
    prepare = (lambda: without_exchange(monkeypatch)) if request.param == "fallback" else (lambda: None)
    return place_of(tmp_path), LOCAL_PRIMITIVES, prepare


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, Killed])
@pytest.mark.parametrize("folder", [True, False])
def test_broken_off_at_every_step(breakable, monkeypatch, error, old, folder):
    where, primitives, prepare = breakable
    where.make_folder()
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # still a step, but not a slow one
    prepare()
    write, read = (write_result, read_result) if folder else (write_file, read_file)
    first, second, third = ("ab", "c", "def") if folder else (1, 2, 3)
    target = where.join("out" if folder else "out.parquet")

    def there():
        if not target.exists() or (folder and not target.join(MANIFEST).exists()):
            return None
        return "".join(read(target)) if folder else read(target)

    for step in count():
        target.remove()
        if old:
            write(target, first)
        with monkeypatch.context() as patch:
            done = break_at(patch, primitives, step, error, for_ever=error is Killed)
            try:
                write(target, second, overwrite=old)
                finished = True
            except error:
                finished = False
        if finished:
            assert next(done) <= step, "a failure was lost"
            break
        now = there()
        assert now in (first if old else None, second), step
        if error is KeyboardInterrupt:
            assert where.children() == ([target.name] if now is not None else []), step
            assert not folder or now is None or len(names_below(target)) == len(now) + 1, step
        with monkeypatch.context() as patch:
            patch.setattr(Owner, "gone", lambda owner: True)
            write(target, third, overwrite=True)
        assert there() == third
        assert not folder or len(names_below(target)) == len(third) + 1, step
        assert where.children() == [target.name], step
    assert step > 10


KILLED = """
    import os, random, signal, sys, time
    from pathlib import Path
    from subsel.storage import MANIFEST, new_folder, place_of, rename, result_files

    os.fsync = lambda handle: None  # a killed process loses nothing that it wrote
    where = Path(sys.argv[1])
    rng = random.Random(int(sys.argv[2]))
    target = place_of(where / "out")
    if sys.argv[3] == "fallback":
        rename._renameat2 = lambda source, target, flag: False

    def write(word):
        with new_folder(target, overwrite=True) as new:
            for number in range(3):
                new.file(f"part-{number:05d}.parquet").local.write_text(word)
            new.manifest = {"subsel": "test", "word": word}

    def read():
        words = {target.join(file.name).read_text() for file in result_files(target)}
        assert len(words) == 1 and len(result_files(target)) == 3, words
        assert words == {target.join(MANIFEST).read_json()["word"]}
        return int(words.pop())

    write("0")
    last = 0
    for round in range(int(sys.argv[4])):
        child = os.fork()
        if child == 0:
            try:
                word = last
                until = time.monotonic() + 30  # if nobody ends it: the test itself was
                while time.monotonic() < until:
                    word += 1
                    write(str(word))
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.01, 0.06))
        os.kill(child, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        os.waitpid(child, 0)
        assert read() >= last
        last = read()
    write("done")
    assert sorted(os.listdir(where / "out")) == sorted([MANIFEST, *(file.name for file in result_files(target))])
    assert os.listdir(where) == ["out"]
    print(last)
"""


@pytest.mark.parametrize("way", ["exchange", pytest.param("fallback", marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, way):
    words = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), "7", way, "20"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3, "hardly anything was written between the kills"
