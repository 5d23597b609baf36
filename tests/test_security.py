"""SECURITY.md: nothing of a user's is run or unpickled, names stay in their place, links are not followed out of it."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import socket
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import InputError
from subsel.storage.leftovers import MANIFEST, MARK, Record, temporary
from subsel.storage.owner import Owner
from subsel.storage.place import TEMPORARY
from tests.test_structure import modules, name_of

QUIET = {"progress": False, "recall_sample": 0, "coverage_sample": 0}
#: Where counts travel between driver and executors as PySpark's own pickles (SECURITY.md).
SPARK = "engines.spark."


@pytest.fixture
def points(tmp_path, rng):
    table = pa.table({"id": range(40), "embedding": list(rng.standard_normal((40, 4)).astype(np.float32))})
    pq.write_table(table, tmp_path / "p.parquet")
    return tmp_path / "p.parquet"


@pytest.fixture
def victim(tmp_path):
    """A folder with a file that must outlive whatever happens beside it."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "kept.parquet").write_text("kept")
    yield tmp_path / "victim"
    assert (tmp_path / "victim" / "kept.parquet").read_text() == "kept"


def test_nothing_is_evaluated_or_unpickled():
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [f"{node.func.id}()"]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                plain = any(one.arg == "allow_pickle" and one.value.value is False for one in node.keywords)
                names = [] if plain or ast.unparse(node.func) != "np.load" else ["np.load"]
            for name in names:
                if name in (
                    "eval()",
                    "exec()",
                    "compile()",
                    "np.load",
                    "pickle",
                    "marshal",
                    "shelve",
                    "dill",
                    "yaml",
                ) and (name != "pickle" or not name_of(path).startswith(SPARK)):
                    found.append(f"{path.name}:{node.lineno} {name}")
    assert not found


class _Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("make", ["array", "pickle", "forged"])
def test_no_pickle_of_a_users_is_read(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    if make == "array":
        np.save("x.npy", np.array([_Runs()], object), allow_pickle=True)
    elif make == "pickle":
        Path("x.npy").write_bytes(pickle.dumps(_Runs()))
    else:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        Path("x.npy").write_bytes(b"\x93NUMPY\x01\x00" + header.getvalue()[8:] + pickle.dumps(_Runs()))
    with pytest.raises(InputError, match="cannot be read as a numpy array"):
        subsel.select("x.npy", size=1, **QUIET)
    assert not Path("ran").exists()


@pytest.mark.parametrize("named", ["../victim/kept.parquet", "/etc/passwd", "a/../../victim/kept.parquet"])
def test_a_manifest_names_nothing_outside_its_folder(points, victim, tmp_path, named):
    subsel.select(points, size=5, output=tmp_path / "out", **QUIET)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    manifest["files"][named] = 4
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"out is not whole: .*, which its manifest names, is missing"):
        subsel.score(tmp_path / "out", points=points, **QUIET)
    subsel.select(points, size=5, output=tmp_path / "out", overwrite=True, **QUIET)


def _dead(target: Path, record: Record) -> Path:
    """Leave what a run to a target would that was killed."""
    from subsel.storage import place_of

    folder = Path(str(temporary(place_of(target), record)))
    folder.mkdir()
    mark = json.loads(record.text())
    mark |= {"pid": 2**22 + 1}
    assert Owner.of(mark).gone()
    (folder / MARK).write_text(json.dumps(mark))
    return folder


@pytest.mark.parametrize("named", ["../victim/kept.parquet", "link/kept.parquet"])
def test_a_mark_names_nothing_outside_its_folder(points, victim, tmp_path, named):
    """What a mark names as the old result's is removed: not above the folder, and not through a link in it."""
    subsel.select(points, size=5, output=tmp_path / "out", **QUIET)
    (tmp_path / "out" / "link").symlink_to(victim)
    left = _dead(tmp_path / "out", Record("out", "f" * 16, (named,)))
    with pytest.raises(InputError, match="exists"):
        subsel.select(points, size=5, output=tmp_path / "out", **QUIET)
    assert not left.exists()  # it was taken for a dead run's


def test_links_in_outputs_and_run_directories_are_removed_not_followed(points, victim, tmp_path):
    asked = {"size": 5, "output": tmp_path / "out", "run_dir": tmp_path / "run", **QUIET}
    subsel.select(points, **asked)
    for folder in ("graph", "greedy"):
        (tmp_path / "run" / folder).rename(tmp_path / f"old-{folder}")
        (tmp_path / "run" / folder).symlink_to(victim)
    (tmp_path / "out" / "_link").symlink_to(victim)
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"stages": {}}))  # as if nothing was finished
    subsel.select(points, **asked | {"overwrite": True, "resume": True})
    assert not (tmp_path / "run" / "graph").is_symlink()


def test_a_link_where_a_file_is_written_is_replaced_not_followed(points, victim, tmp_path):
    asked = {"size": 5, "output": tmp_path / "out", "run_dir": tmp_path / "run", **QUIET}
    subsel.select(points, **asked)
    for place in (tmp_path / "out" / MANIFEST, tmp_path / "run" / "manifest.json"):
        place.unlink()
        place.symlink_to(victim / "kept.parquet")
    with pytest.raises(InputError):
        subsel.select(points, **asked | {"overwrite": True})


def test_temporary_files_are_of_names_that_nobody_foresees(points, tmp_path, monkeypatch):
    seen = set()
    monkeypatch.setattr("subsel.storage.rename.rename_new", _noting(seen, tmp_path))
    for name in ("one", "two"):
        subsel.select(points, size=5, output=tmp_path / name, **QUIET)
    assert len(seen) == 2 and all(len(name.removeprefix(TEMPORARY)) == 16 for name in seen)


def _noting(seen, folder):
    from subsel.storage import rename

    plain = rename.rename_new

    def note(one, other):
        seen.update(each.name for each in folder.iterdir() if each.name.startswith(TEMPORARY))
        plain(one, other)

    return note


def test_pipes_and_sockets_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        for name in ("pipe.parquet", "s"):
            assert not stat.S_ISREG((tmp_path / name).stat().st_mode)
            with pytest.raises(InputError, match="is a pipe, a device or a socket"):
                subsel.select(tmp_path / name, size=1, **QUIET)


def test_a_report_escapes_what_it_shows(tmp_path, rng):
    name = "<script>alert(1)</script>"
    table = pa.table(
        {"id": range(40), "embedding": list(rng.standard_normal((40, 4)).astype(np.float32)), name: ["&<b>"] * 40}
    )
    pq.write_table(table, tmp_path / "p.parquet")
    found = subsel.select(tmp_path / "p.parquet", size=5, keep_columns=[name], progress=False)
    assert "<script>alert" not in found._repr_html_()
