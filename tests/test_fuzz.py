"""What fuzzing once found is taken or refused in one line now; and each target still does something (`make fuzz`)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, outcome

FOUND = sorted((Path(__file__).parent / "fixtures" / "fuzz").glob("*.bin"))


@pytest.mark.parametrize("path", FOUND, ids=[one.stem for one in FOUND])
def test_what_was_found(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    outcome(TARGETS[path.stem.partition("-")[0]], path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_targets_take_what_is_right_and_what_they_make(tmp_path, monkeypatch, name):
    target = TARGETS[name]
    for number, content in enumerate([*target.seeds(), target.make(random.Random(1))]):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        assert outcome(target, content) == "right" or number
