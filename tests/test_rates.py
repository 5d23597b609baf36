"""What a plan's seconds are made of: rates as they are measured, kept in a file, and asked for."""

import json
import re

import pytest
from click.testing import CliRunner

import subsel
from benchmarks.record import read
from subsel import ConfigError, cost, measuring, planning
from subsel.cli import main
from subsel.cost import REFERENCE, Job, LocalRates, Rates
from subsel.storage import place_of

CONFIG = subsel.SelectConfig(size=0.1, neighbors=10, refine=0)


def twice(rates):
    """Rates of a machine that takes twice as long."""
    return type(rates)(**{name: 2 * rate for name, rate in rates.model_dump().items()})


@pytest.fixture
def slow(tmp_path):
    """A file of rates of a machine that takes twice as long as the reference."""
    path = tmp_path / "rates.json"
    slow = {"local": twice(REFERENCE.local), "spark": twice(REFERENCE.spark), "machine": "3 slow cores", "cores": 3}
    path.write_text(Rates(**slow).model_dump_json())
    return path


def test_rates_are_those_that_the_seconds_came_from():
    rates = LocalRates(
        read=1, read_values=0.5, lists=4, values=2, products=20, passes=6, fixed=0.3, selection=3, refine=0.5
    )
    jobs = [measuring.job_of(*one) for one in measuring.JOBS]
    works = [cost.local_work(job, rates) for job in jobs]
    found = measuring.fitted(jobs, [measuring.Took(w.read, w.neighbors, w.refine, w.selection) for w in works])
    assert found.model_dump() == pytest.approx(rates.model_dump(), rel=1e-3)


def test_spark_is_as_much_slower_as_the_machine_is():
    assert measuring.scaled(REFERENCE.local, REFERENCE.cores).model_dump() == pytest.approx(
        REFERENCE.spark.model_dump()
    )
    slow = measuring.scaled(twice(REFERENCE.local), REFERENCE.cores)
    assert slow.model_dump() == pytest.approx(twice(REFERENCE.spark).model_dump(), rel=1e-3)


def test_a_measurement_has_all_rates(tmp_path):
    told = []
    rates = measuring.measure(told.append, jobs=((2000, 8, 0), (2000, 40, 0), (4000, 8, 1)))
    assert rates.local.fixed + rates.local.selection > 0
    assert rates.local.read + rates.local.read_values > 0
    assert rates.local.lists + rates.local.values + rates.local.products > 0
    assert len(told) == 4
    path = tmp_path / "rates.json"
    path.write_text(rates.model_dump_json())
    assert Rates.load(path) == rates


def test_a_plan_goes_by_the_rates_it_is_given(slow):
    about = {"points": 10**6, "dimension": 128, "size": 0.1, "neighbors": 10}
    usual, found = subsel.plan(**about), subsel.plan(**about, rates=slow)
    assert found.local_work.total == pytest.approx(2 * usual.local_work.total)
    assert found.seconds_on_spark(2) == pytest.approx(2 * usual.seconds_on_spark(2))
    options = ["plan", "--points", "1000000", "--dimension", "128", "--size", "10%"]
    for words, env in ([[*options, "--rates", str(slow)], {}], [options, {"SUBSEL_PLAN_RATES": str(slow)}]):
        result = CliRunner().invoke(main, words, env={"COLUMNS": "300"} | env)
        assert result.exit_code == 0, result.output
        assert "on 3 slow cores" in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist: make one with"),
        ("{", "has no rates (JSON: invalid json"),
        ('{"machine": "x", "cores": 0}', "has no rates (cores: "),
        (json.dumps(REFERENCE.model_dump() | {"more": 1}), "has no rates (more: "),
        (json.dumps(REFERENCE.model_dump() | {"local": {"read": -1}}), "has no rates (local.read"),
    ],
)
def test_what_is_no_file_of_rates_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "rates.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        subsel.plan(points=10, dimension=3, size=1, rates=path)
    assert "subsel doctor --rates" in str(error.value)
    assert "\n" not in str(error.value)


def test_rates_may_be_on_any_storage(memory, slow):
    place_of(f"{memory}/rates.json").write_text(slow.read_text())
    assert subsel.plan(points=10, dimension=3, size=1, rates=f"{memory}/rates.json").rates == Rates.load(slow)


def test_doctor_overwrites_nothing_but_rates(tmp_path, slow, monkeypatch):
    monkeypatch.setattr(measuring, "measure", lambda tell: REFERENCE)
    other = tmp_path / "other.json"
    other.write_text("mine")
    result = CliRunner().invoke(main, ["doctor", "--rates", str(other)])
    assert (result.exit_code, other.read_text()) == (2, "mine")
    result = CliRunner().invoke(main, ["doctor", "--rates", str(tmp_path / "nowhere" / "rates.json")])
    assert result.exit_code == 2
    for path in (slow, tmp_path / "new.json"):
        assert CliRunner().invoke(main, ["doctor", "--rates", str(path)]).exit_code == 0
        assert Rates.load(path) == REFERENCE


def test_a_graph_in_one_task_is_not_divided_by_cores():
    plan = planning.estimate(10**6, 128, 10**5, CONFIG)
    assert plan.one_task_bytes == cost.task_bytes(10**6, 16 * 10**6)
    enough = plan.one_task_bytes + cost.AT_REST
    assert plan.in_one_task(enough)
    assert not plan.in_one_task(enough - 1)
    assert plan.work_alone.neighbors == plan.work.neighbors
    rest = plan.work_alone.total - plan.work_alone.selection
    assert plan.seconds_on_spark(8, enough) == pytest.approx(
        REFERENCE.spark.fixed + plan.work_alone.selection + rest / 8
    )
    assert plan.seconds_on_spark(8, 0) == pytest.approx(REFERENCE.spark.fixed + plan.work.total / 8)


def test_what_stays_in_parts_is_never_planned_in_one_task():
    apart = CONFIG.model_copy(update={"finish_points": 1000})
    assert not planning.estimate(10**4, 8, 10**3, apart).in_one_task(10**12)
    small = CONFIG.model_copy(update={"finish_points": 10**4})
    assert planning.estimate(10**4, 8, 10**3, small).in_one_task(0)


def test_a_graph_that_grows_has_longer_lists_and_selects_nothing():
    usual, growing = (planning.estimate(10**6, 128, None, CONFIG, growing=growing) for growing in (False, True))
    for one, other in ((usual.local_work, growing.local_work), (usual.work, growing.work)):
        assert other.neighbors > one.neighbors
        assert (other.read, other.selection, other.refine) == (one.read, 0, 0)
    assert Job(100, 100, 8, None, CONFIG, growing=True).listed == 1.4  # four more for ten
    assert growing.local_bytes - usual.local_bytes == 10**6 * (8 * 14 + 2 * 128)
    result = CliRunner().invoke(main, ["plan", "--points", "1000", "--dimension", "8", "--growing"])
    assert result.exit_code == 0, result.output


def test_disk_is_planned_as_it_was_taken():
    """By runs of a million to ten, see benchmarks/spark_pipeline.py: planned too small, a full disk ends a long run."""
    table = read("scaling_rates").tables[0]
    named = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert len(named) == 4
    for one in named:
        planned = planning.estimate(one["points"], one["dimension"], one["points"] // 10, CONFIG).shuffle_bytes
        assert 0.85 < planned / (one["shuffled GiB"] * 2**30) < 1.5, one
