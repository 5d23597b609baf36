"""Where nothing may be written, or nothing fits: one line, and what was finished stays; kernels find a folder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import subsel
from subsel import kernels
from subsel.stages import kept


@pytest.mark.parametrize("full_at", [1, 2, 4])
def test_a_full_run_directory_is_one_line_and_goes_on_with_space(demo_table, tmp_path, monkeypatch, full_at):
    points = demo_table.slice(0, 200)
    options = {"size": 20, "refine": 1, "progress": False, "recall_sample": 0, "coverage_sample": 0}
    plain, written = pq.write_table, []

    def full(table, where, **how):
        written.append(where)
        if len(written) >= full_at:
            Path(where).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(table, where, **how)

    with monkeypatch.context() as patch:
        patch.setattr(kept.pq, "write_table", full)
        with pytest.raises(subsel.OutputError, match=r"the disk is full .* free some space") as caught:
            subsel.select(points, run_dir=tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not Path(written[-1]).exists(), "what was half written is gone"
    found = subsel.select(points, run_dir=tmp_path / "run", resume=True, **options)
    assert found.table.equals(subsel.select(points, **options).table)


def test_kernels_find_a_folder_of_the_users_own(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(kernels, "_may_write", lambda folder: False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/none")
    kernels.find_room()
    own = Path(os.environ["NUMBA_CACHE_DIR"])
    assert own.parent == tmp_path
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    kernels.find_room()
    assert os.environ["NUMBA_CACHE_DIR"] == str(own), "the next run finds what this one compiled"
    own.chmod(0o777)  # others could have put anything there
    kernels.find_room()
    assert os.environ["NUMBA_CACHE_DIR"] != str(own)


def test_kernels_stay_where_they_are_if_they_may(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    kernels.find_room()
    assert "NUMBA_CACHE_DIR" not in os.environ
