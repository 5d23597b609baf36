from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from subsel import ConfigError, SelectConfig
from subsel.cli import commands, jobs
from subsel.config import parse_size, resolve_size
from subsel.config_file import default_toml
from subsel.declare import GROUPS, STAGES, declaration
from subsel.errors import option
from subsel.request import Request
from subsel.sizes import UNLIMITED, resolve_budget

#: What an option cannot be without.
NEEDS = {
    "budget": ("cost",),
    "quotas": ("groups",),
    "other": ("groups", "quotas"),
    "at_least": ("groups",),
    "near": ("exclude_near",),
    "importance": ("objective",),
    "target": ("objective",),
}
#: What only one objective has, so that not all examples go together.
ALONE = {"importance", "target"}
#: Numbers that are of the data: amounts of its rows or costs, similarities of its metric.
OF_THE_DATA = {"size", "budget", "other", "max_similarity", "near"}
CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    SelectConfig.load(path)


def test_default_config_is_the_default():
    default = next(path for path in CONFIGS if path.name == "default.toml")
    assert SelectConfig.load(default, size=None) == SelectConfig(size="10%")
    assert default.read_text() == default_toml(), "write it anew: subsel config > configs/default.toml"


def test_examples_of_the_default_config_are_valid(tmp_path):
    """Lines that are commented out because there is no default: each works alone or with what it needs, and all do."""
    examples = {name: declaration(field).example for name, field in SelectConfig.model_fields.items()}
    examples = {name: one for name, one in examples.items() if one is not None}
    for name in examples:
        values = {"groups": "source", "objective": "coverage"} | examples
        more = {one: values[one] for one in NEEDS.get(name, ())}
        assert getattr(SelectConfig(**{name: examples[name]}, **more), name) is not None
        for one in more:
            with pytest.raises(ConfigError, match=one):
                SelectConfig(**{name: examples[name]}, **{key: value for key, value in more.items() if key != one})
    text = default_toml().replace("groups = []", 'groups = ["source"]')
    for name in examples.keys() - ALONE:
        text = text.replace(f"\n# {name} = ", f"\n{name} = ")
    (tmp_path / "all.toml").write_text(text)
    loaded = SelectConfig.load(tmp_path / "all.toml")
    loaded.check_complete()
    assert all(getattr(loaded, name) is not None for name in examples.keys() - ALONE)


@pytest.mark.parametrize("name", SelectConfig.model_fields)
def test_an_option_is_declared_once_and_is_everywhere(name):
    field = SelectConfig.model_fields[name]
    told = declaration(field)
    assert field.description.endswith(".")
    assert told.group in GROUPS
    assert f"\n{name} = " in default_toml() or f"\n# {name} = " in default_toml()
    assert [name in SelectConfig().stage_options(stage) for stage in STAGES] == [
        STAGES.index(told.stage) <= STAGES.index(stage) for stage in STAGES
    ]
    everything = [commands.select, jobs.select_subset, jobs.greedy_subset]
    if told.stage != "output":
        everything += [jobs.build_graph, jobs.bound_points]
    some = {
        commands.neighbors: ("Input", "Neighbour graph"),
        commands.score: ("Objective", "Input", "Neighbour graph"),
        jobs.score_subset: ("Objective", "Input", "Neighbour graph"),
        commands.validate: ("Objective", "Input"),
        commands.plan_command: ("Input", "Neighbour graph"),
    }
    for command in (*everything, *(command for command, groups in some.items() if told.group in groups)):
        (option,) = [one for one in command.params if one.name == name]
        assert (option.section, option.default) == (told.group, None)
        assert option.help.startswith(field.description)


@pytest.mark.parametrize("name", SelectConfig.model_fields)
def test_every_number_has_an_upper_limit(name):
    limits = ("maximum", "exclusiveMaximum")
    told = SelectConfig.model_json_schema()["properties"][name]
    for kind in told.get("anyOf", [told]):
        if kind.get("type") in ("integer", "number") and name not in OF_THE_DATA:
            assert any(limit in kind for limit in limits), (name, kind)
            top = kind.get("maximum", kind.get("exclusiveMaximum"))
            with pytest.raises(ConfigError, match=name):
                SelectConfig.of({"size": 10, name: int(top) * 2 + 1})


def test_requests_that_mean_the_same_have_the_same_stage_options():
    def options(**given):
        return SelectConfig(**given).stage_options("output")

    for sizes in ((0.5, "50%", "50.0%", " 50 %", np.float64(0.5), "0.5"), (10, "10", "1_0", np.int64(10))):
        assert len({repr(options(size=size)) for size in sizes}) == 1
    for sizes in ((1000, "1K", "1k", "1,000", 1e3, "1e3", "0.001M"), (1_500_000_000, "1.5B", " 1_500 M")):
        assert len({repr(options(size=size)) for size in sizes}) == 1
        assert len({repr(options(budget=size, cost="c")) for size in sizes}) == 1
    assert options(size=1) != options(size=1.0) == options(size="100%")
    assert options(size="0.7%") == options(size=0.007)
    assert options(alpha=0.25) == options(alpha=np.float32(0.25), beta=0.75)
    assert options(neighbors=np.int64(5), adaptive=np.bool_(True)) == options(neighbors=5)
    assert options(keep_columns="url") == options(keep_columns=["url", "url "])
    for name in ("quotas", "at_least"):
        for same in (
            ({"b": 0.5, "a": 1000}, {"a": "1K", "b": "50%"}, {"a": 1e3, "b": np.float64(0.5)}, "b=0.50,a=1_000"),
            ({None: 0, True: 1, 2: 1.0}, "null=0,2=100%,true=1", "null=0%,2=1.0,true=1"),
            ("sqrt", " sqrt "),
            ("s3://bucket/date=2024/q", "s3://bucket/date=2024/q "),
            (Path("quotas.csv"), "quotas.csv"),
        ):
            assert len({repr(options(groups="g", **{name: one})) for one in same}) == 1
        assert options(groups="g", **{name: "a=1"}) != options(groups="g", **{name: "a=1.0"})
    assert options(groups="g", quotas="a=1", other=0.05) == options(groups=["g"], quotas={"a": 1}, other="5%")
    columns = {"groups": ["s", "t"], "size": 5}
    assert options(quotas={"t": "a=1,b=5%", "s": "sqrt"}, **columns) == options(
        quotas={"s": "sqrt", "t": {"b": 0.05, "a": 1}}, **columns
    )
    assert options(quotas="s=sqrt,t=balanced", **columns) == options(quotas={"t": "balanced", "s": "sqrt"}, **columns)


def test_stage_options_are_those_of_the_stage_and_all_before_it():
    one, other = SelectConfig(size=10), SelectConfig(size=20, keep_columns=("url",))
    assert one.stage_options("graph") == other.stage_options("graph")
    assert one.stage_options("bounding") != other.stage_options("bounding")
    rounded = SelectConfig(max_supersteps=3)
    assert rounded.stage_options("bounding") == SelectConfig().stage_options("bounding")
    assert rounded.stage_options("greedy") != SelectConfig().stage_options("greedy")


@pytest.mark.parametrize(
    ("wrong", "closest"), [("neighbours", "neighbors"), ("keep_column", "keep_columns"), ("Alpha", "alpha")]
)
def test_an_unknown_option_names_the_closest_and_all(wrong, closest):
    with pytest.raises(
        ConfigError, match=rf"unknown option '{wrong}' \(did you mean '{closest}'\?\): known are adaptive, "
    ):
        SelectConfig(**{wrong: 1})
    with pytest.raises(ConfigError, match="unknown option 'xyz': known are adaptive, "):
        SelectConfig(xyz=1)


@pytest.mark.parametrize(
    ("size", "n", "count"),
    [
        *((3, 10, 3), ("3", 10, 3), (0.25, 10, 2), ("25%", 10, 2), (1.0, 10, 10), (0.001, 10, 1)),
        *(("1_000", 2000, 1000), ("1K", 2000, 1000), ("1,000", 2000, 1000), (1e3, 2000, 1000), ("0.5k", 2000, 500)),
        *((2.0, 10, 2), ("2.0", 10, 2), (1, 10, 1), ("1.0", 10, 10)),
    ],
)
def test_sizes(size, n, count):
    assert resolve_size(size, n, "x") == count


@pytest.mark.parametrize(
    "size",
    [
        *("", "%", "101%", "300%", "-1", "0", 0, -3, 0.0, 1.01, float("nan"), float("inf"), True),
        *("1.5", "0%", "0.0001K", "K", "nanK", "infB", "1e99999999T", "-1K", "1,5", "0,500", "1,00", "1,0000", "1KK"),
        *("10%K", "1 0 0 0 x", [3], {}),
    ],
)
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="is neither"):
        parse_size(size)


def test_broken_toml(tmp_path):
    (tmp_path / "x.toml").write_text("size = ")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        SelectConfig.load(tmp_path / "x.toml")


def test_one_weight_leaves_the_other_what_is_left_of_one():
    assert SelectConfig().weights is None
    assert SelectConfig(alpha=0.25).weights == (0.25, 0.75)
    assert SelectConfig(beta=0.25).weights == (0.75, 0.25)
    assert SelectConfig(alpha=0.25, beta=0).weights == (0.25, 0)
    assert SelectConfig(alpha=3, beta=1).weights == (3, 1)
    for wrong in ({"alpha": 1.5}, {"beta": 1.5}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} 1.5 is above 1"):
            SelectConfig(**wrong)


def test_neighbours_follow_the_size():
    assert [SelectConfig().degree(1000, k) for k in (None, 1, 20, 70, 200, 900)] == [10, 100, 100, 29, 10, 10]
    assert SelectConfig(thin=20).degree(10**6, 100) == 20
    assert SelectConfig(neighbors=7, thin=20).degree(10**6, 100) == 7
    assert SelectConfig(neighbors="12").degree(10, 1) == 12
    for wrong in (0, 1001, "many"):
        with pytest.raises(ConfigError, match="neighbors"):
            SelectConfig(neighbors=wrong)
    assert SelectConfig(exclude_outliers="5%").exclude_outliers == 0.05


def test_budgets():
    for budget, cost in ((3, 3), ("1B", 10**9), ("12.5%", 12), (0.999, 99), (1.0, 100), (10**30, UNLIMITED)):
        assert resolve_budget(budget, 100) == cost
    for wrong in (0, "0%", -1, 1.5, "dear", True):
        with pytest.raises(ConfigError, match=f"budget {wrong!r} is neither a cost of at least 1, a fraction"):
            SelectConfig(budget=wrong, cost="c")
        with pytest.raises(ConfigError, match="is neither"):
            resolve_budget(wrong, 100)


def test_what_is_limited():
    assert not SelectConfig(size=5, copies="keep").limited
    for given in (
        {"budget": 5, "cost": "c"},
        {"quotas": "sqrt", "groups": "g"},
        {"at_least": "a=1", "groups": "g"},
        {"max_similarity": -3},
    ):
        assert SelectConfig(**given).limits == (next(iter(given)),)
        assert SelectConfig(**given, greedy_direction="forward").limited
    assert SelectConfig(quotas="s=sqrt,t=q.csv", groups=["s", "t"]).quotas_of("t") == "q.csv"
    assert SelectConfig(quotas="t=5", groups="t").quotas_of("t") == {"t": 5}


BY_COST = {"quotas_by": "cost", "cost": "c"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 5}, "budget is spent on costs: name their column with cost"),
        ({"quotas_by": "cost", "quotas": "a=5", "groups": "g"}, "quotas_by='cost' counts costs: name their column wit"),
        (BY_COST, "quotas_by='cost' says what quotas count, and there are none: give quotas, or leave it out"),
        ({**BY_COST, "quotas": "a=5%", "groups": "g"}, "fractions and rules of quotas are of the budget where quotas"),
        ({**BY_COST, "quotas": "sqrt", "groups": "g"}, "fractions and rules of quotas are of the budget where quotas"),
        ({"order": "gain"}, "order says how a budget is spent, and there is none: give budget, or leave it out"),
        ({"fill": False}, "fill says how a budget is spent, and there is none: give budget, or leave it out"),
        ({"quotas": "sqrt"}, "quotas are of groups: name their column with groups"),
        ({"at_least": {"a": 1}}, "at_least are of groups: name their column with groups"),
        ({"groups": "g", "quotas": "sqrt", "other": 5}, "other is the quota of groups that quotas do not name: give q"),
        ({"groups": "g", "at_least": "a=5", "other": 5}, "other is the quota of groups that quotas do not name: give "),
        ({"groups": "g", "quotas": "a=5", "other": "x"}, "other 'x' is neither a quota of at least 0"),
        ({"groups": "gh", "quotas": {"gh": "sqrt"}}, "quotas of 'gh' is 'sqrt', no amount: columns have quotas of the"),
        ({"groups": ["g", "h"], "quotas": "sqrt"}, "quotas of several columns of groups name each: give a rule, amou"),
        ({"groups": ["g", "h"], "quotas": {"g": "sqrt"}}, "or a table for each of 'g', 'h'"),
        ({"groups": ["g", "h"], "quotas": {"g": "sqrt", "h": 5}}, "or a table for each of 'g', 'h'"),
        ({"groups": ["g", "h"], "at_least": "a=1"}, "at_least goes by one column of groups, groups names 2: leave al"),
        (
            {**BY_COST, "groups": "g", "quotas": "a=5", "at_least": "a=1"},
            "at_least counts points, quotas_by='cost' does not: give one of the two",
        ),
        ({"groups": "g", "quotas": "propotional"}, "quotas 'propotional' is neither a rule .proportional, sqrt, bala"),
        ({"groups": "g", "quotas": "0.5"}, "quotas '0.5' is neither a rule"),
        ({"groups": "g", "quotas": 5}, "quotas 5 is neither a rule"),
        ({"groups": "g", "quotas": {}}, "quotas {} is neither a rule"),
        ({"groups": "g", "at_least": ""}, "at_least '' is neither a rule"),
        ({"groups": "g", "quotas": "a=5,b"}, "quotas 'a=5,b': 'b' is not NAME=AMOUNT; names and amounts with commas "),
        ({"groups": "g", "quotas": "a=5,a=6"}, "quotas name 'a' twice: leave one out"),
        ({"groups": "g", "quotas": {1: 5, "1": 6}}, "quotas name '1' twice: leave one out"),
        ({"groups": "g", "quotas": "a=5o%"}, "quotas of 'a' '5o%' is neither a quota of at least 0, a fraction in"),
        ({"groups": "g", "quotas": {"a": {"b": {"c": 1}}}}, "quotas of 'a' of 'b' {'c': 1} is neither a quota"),
        ({"max_similarity": float("inf")}, "max_similarity': Input should be a finite number"),
        ({"copies": "drop"}, "copies"),
        (
            {"max_similarity": 0.9, "budget": 5, "cost": "c", "greedy": "partitioned", "partitions": 2},
            "greedy='partitioned' keeps no limit but size: leave budget and max_similarity out",
        ),
        ({"max_similarity": 0.9, "greedy_direction": "reverse"}, "greedy_direction='reverse' begins with all points"),
        ({"max_similarity": 0.9, "greedy_direction": "best"}, "greedy_direction='best' begins with all points"),
    ],
)
def test_limits_that_cannot_work_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        SelectConfig(**options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "^size is missing: say how many points to select, as a count, 0.1 or '10%', or give a budget.$"),
        ({"thin": 20}, "size is missing"),
        (
            {"at_least": "a=1", "groups": "g", "budget": 5, "cost": "c"},
            "^at_least keeps some of the points to select for groups: give size.$",
        ),
        (
            {"quotas": "a=1,b=50%", "groups": "g", "budget": 5, "cost": "c"},
            "^without size, fractions of quotas are of the budget, and amounts count points: give fractions only, "
            "quotas_by='cost', or size.$",
        ),
    ],
)
def test_a_size_may_come_later_but_must_come_where_there_is_no_budget(options, message):
    config = SelectConfig(**options)
    with pytest.raises(ConfigError, match=message):
        Request.of("points", purpose="select from", config=config)
    assert Request.of("points", [(50, None)], purpose="select from", config=config).config.size == 50


def test_a_budget_alone_says_how_much():
    request = Request.of("points", purpose="select from", budget="1B", cost="tokens", thin=20)
    assert (request.config.size, request.config.sized) == (None, True)
    with pytest.raises(ConfigError, match="draws so many times the points to select: give size or budget"):
        Request.of("points", purpose="score on", thin=20)


def shell(monkeypatch, *arguments):
    """What the command line gives to `subsel.select`."""
    given = {}
    monkeypatch.setattr("subsel.api.select", lambda data, **options: given.update(options) or 1 / 0)
    result = CliRunner().invoke(commands.main, ["select", __file__, "out", "--size", "9", *arguments])
    assert isinstance(result.exception, ZeroDivisionError), result.output
    return SelectConfig(**{name: one for name, one in given.items() if name in SelectConfig.model_fields})


def test_limits_on_the_command_line(monkeypatch):
    config = shell(monkeypatch, "--budget", "1.5B", "--cost", "tokens", "--order", "best", "--no-fill")
    assert (config.budget, config.cost, config.order, config.fill) == ("1.5B", "tokens", "best", False)
    words = ("--groups", "source", "--quotas", "web=50%,a/b=1K,x=y=3", "--other", "5%", "--at-least", "web=2")
    config = shell(monkeypatch, *words)
    assert (config.groups, config.other, config.at_least) == (("source",), 0.05, {"web": 2})
    assert config.quotas == {"web": 0.5, "a/b": 1000, "x=y": 3}
    for text in ("balanced", "quotas.parquet", "s3://b/date=1/q"):
        assert shell(monkeypatch, "--groups", "source", "--quotas", text).quotas == text
    config = shell(monkeypatch, "--groups", "source,lang", "--quotas", "source=sqrt,lang=langs.csv")
    assert (config.quotas_of("lang"), config.quotas_of("source")) == ("langs.csv", "sqrt")
    config = shell(monkeypatch, "--max-similarity", "0.95", "--copies", "keep")
    assert (config.max_similarity, config.copies) == (0.95, "keep")


def test_wrong_limits_on_the_command_line_end_in_its_spelling(tmp_path):
    def said(*arguments):
        result = CliRunner().invoke(commands.main, ["select", "nowhere", str(tmp_path / "out"), *arguments])
        assert result.exit_code == 2
        return result.stderr

    assert said() == (
        "subsel: --size is missing: say how many points to select, as a count, 0.1 or '10%', or give a --budget.\n"
    )
    assert said("--budget", "5") == "subsel: --budget is spent on costs: name their column with --cost.\n"
    assert "--groups g,h is given, and no limit is of groups: give --quotas or --at-least" in said(
        "--groups", "g,h", "--size", "5"
    )
    assert "--cost c is given, and no limit counts costs: give --budget" in said("--cost", "c", "--size", "5")
    assert "--at-least of 'a' 'x' is neither a quota" in said("--groups", "g", "--at-least", "a=x")


def test_messages_type_names_and_amounts_as_the_shell_takes_them():
    error = ConfigError(f"give {option('quotas', {'a b': '50%', 'c': 3})} of {option('groups', ['g', 'h'])}")
    assert str(error) == "give quotas={'a b': '50%', 'c': 3} of groups=['g', 'h']"
    assert error.for_shell(lambda name: f"--{name}") == "give --quotas 'a b=50%,c=3' of --groups g,h"


def test_a_config_file_has_quotas_as_tables(tmp_path):
    (tmp_path / "x.toml").write_text(
        'size = 5\ngroups = ["s", "t"]\n[quotas]\ns = "sqrt"\n[quotas.t]\nb = "5%"\na = 3\n'
    )
    assert SelectConfig.load(tmp_path / "x.toml").quotas == {"s": "sqrt", "t": {"a": 3, "b": 0.05}}
    again = SelectConfig.of(SelectConfig.load(tmp_path / "x.toml").model_dump(mode="json"))
    assert again == SelectConfig.load(tmp_path / "x.toml")


def test_a_drawn_graph_is_of_the_quotas_that_it_was_drawn_by():
    """Points are drawn group by group, so another run's quotas want another graph; without `thin` one serves all."""
    some, others = ({"size": 10, "groups": "kind", "quotas": one} for one in ("balanced", "sqrt"))
    assert SelectConfig(**some).stage_options("graph") == SelectConfig(**others).stage_options("graph")
    some, others = ({"thin": 5} | one for one in (some, others))
    assert SelectConfig(**some).stage_options("graph") != SelectConfig(**others).stage_options("graph")
    assert SelectConfig(**some).stage_options("graph") == SelectConfig(**some | {"size": 20}).stage_options("graph")
