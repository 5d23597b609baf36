"""A stage goes on from the answers in its run directory: the same subset, wherever it was killed."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import demo
from subsel.engines.local import LocalEngine
from subsel.stages import kept

N = 240
#: Options with which every driver is at work: limits, swaps, bounds and their prices, both directions, coverage.
DRIVERS = {
    "best": {"size": 100, "alpha": 0.9, "greedy_direction": "best", "refine": 2, "certify": 12},
    "limits": {
        "budget": "30%",
        "cost": "tokens",
        "groups": "kind",
        "quotas": {"a": "40%", "b": 0.3},
        "other": "20%",
        "order": "best",
        "max_similarity": 0.6,
        "certify": 10,
        "refine": 1,
    },
    "coverage": {"size": 40, "objective": "coverage", "certify": 8, "max_similarity": 0.8},
    "paper": {"size": 60, "greedy": "partitioned", "partitions": 4, "rounds": 3, "bounding": "approximate"},
}


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    rng = np.random.default_rng(9)
    table = demo.demo_table(N, 8)
    table = table.append_column("tokens", pa.array(rng.integers(0, 500, N)))
    table = table.append_column("kind", pa.array(np.array(["a", "b", "c", None], object)[rng.choice(4, N)]))
    path = tmp_path_factory.mktemp("replay") / "points.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture
def verbs(monkeypatch):
    """What the engine was asked to do; and at which of these it dies."""
    monkeypatch.setattr(kept, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    monkeypatch.setattr(kept, "PAUSE", 10)  # at least so many questions between boards
    monkeypatch.setattr(kept, "_SHARE", np.inf)
    asked, dies = [], [None]
    for name in ("step", "deal", "merge", "kth_largest"):
        plain = getattr(LocalEngine, name)

        def verb(self, *args, _plain=plain, **params):
            asked.append(args)
            if len(asked) == dies[0]:
                raise KilledError
            return _plain(self, *args, **params)

        monkeypatch.setattr(LocalEngine, name, verb)
    return asked, dies


@pytest.mark.parametrize(
    ("name", "moments"),
    [("limits", 2), *(pytest.param(name, 7, marks=pytest.mark.slow) for name in DRIVERS)],
)
def test_killed_at_some_verb_it_goes_on_from_the_last_one(points, tmp_path, verbs, name, moments):
    asked, dies = verbs
    options = DRIVERS[name] | {"progress": False, "coverage_sample": 0, "recall_sample": 0, "neighbors": 6}
    expected = subsel.select(points, **options)
    alone = len(asked)
    after = []
    for moment in np.linspace(alone // 3, alone - 1, moments).astype(int).tolist():
        asked.clear()
        dies[0] = moment
        run = {"run_dir": tmp_path / f"run{moment}", **options}
        with pytest.raises(KilledError):
            subsel.select(points, **run)
        dies[0] = None
        asked.clear()
        found = subsel.select(points, resume=True, **run)
        assert found.table.equals(expected.table), moment
        assert found.report.certificate == expected.report.certificate
        assert found.report.limits == expected.report.limits
        assert found.report.greedy == expected.report.greedy
        after.append(len(asked))
    assert after == sorted(after, reverse=True)
    assert after[-1] < alone / 2, "what was answered is not worked out again"


def test_a_finished_stage_keeps_its_last_board_only(points, tmp_path, verbs):
    options = DRIVERS["limits"] | {"progress": False, "coverage_sample": 0, "recall_sample": 0, "neighbors": 6}
    subsel.select(points, run_dir=tmp_path / "run", **options)
    for stage in ("greedy", "refine", "certify"):
        folder = tmp_path / "run" / stage
        note = json.loads((folder / "boards.json").read_text())
        assert {f"board-{number:06d}" for number in note["boards"]} == {
            one.name for one in folder.iterdir() if one.is_dir()
        }
        assert not list(folder.glob("answers-*"))


def test_answers_to_other_questions_are_told(points, tmp_path, verbs):
    _, dies = verbs
    options = DRIVERS["limits"] | {"progress": False, "coverage_sample": 0, "recall_sample": 0, "neighbors": 6}
    dies[0] = 60
    with pytest.raises(KilledError):
        subsel.select(points, run_dir=tmp_path / "run", **options)
    dies[0] = None
    first = sorted((tmp_path / "run").glob("*/answers-000000.json"))[-1]
    answers = json.loads(first.read_text())
    answers[0][0] = "step elsewhere"
    first.write_text(json.dumps(answers))
    with pytest.raises(subsel.InputError, match=r"is damaged, it answers 'step elsewhere', not .*: choose another"):
        subsel.select(points, run_dir=tmp_path / "run", resume=True, **options)
