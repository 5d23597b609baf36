from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from subsel import ConfigError, SelectConfig
from subsel.cli import commands, jobs
from subsel.config import parse_size, resolve_size
from subsel.config_file import default_toml
from subsel.declare import GROUPS, STAGES, declaration

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    SelectConfig.load(path)


def test_default_config_is_the_default():
    default = next(path for path in CONFIGS if path.name == "default.toml")
    assert SelectConfig.load(default, size=None) == SelectConfig(size="10%")
    assert default.read_text() == default_toml(), "write it anew: subsel config > configs/default.toml"


def test_examples_of_the_default_config_are_valid(tmp_path):
    """Lines that are commented out because there is no default: each works alone."""
    for name, field in SelectConfig.model_fields.items():
        if field.default is None:
            assert getattr(SelectConfig(**{name: declaration(field).example}), name) is not None


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


def test_requests_that_mean_the_same_have_the_same_stage_options():
    def options(**given):
        return SelectConfig(**given).stage_options("output")

    for sizes in ((0.5, "50%", "50.0%", " 50 %", np.float64(0.5), "0.5"), (10, "10", "1_0", np.int64(10))):
        assert len({repr(options(size=size)) for size in sizes}) == 1
    assert options(size=1) != options(size=1.0) == options(size="100%")
    assert options(size="0.7%") == options(size=0.007)
    assert options(alpha=0.25) == options(alpha=np.float32(0.25), beta=0.75)
    assert options(neighbors=np.int64(5), adaptive=np.bool_(True)) == options(neighbors=5)
    assert options(keep_columns="url") == options(keep_columns=["url", "url "])


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
def test_an_unknown_option_names_the_closest_first(wrong, closest):
    with pytest.raises(ConfigError, match=rf"unknown option '{wrong}': known are {closest} \(did you mean that\?\), "):
        SelectConfig(**{wrong: 1})
    with pytest.raises(ConfigError, match="unknown option 'xyz': known are adaptive, "):
        SelectConfig(xyz=1)


@pytest.mark.parametrize(
    ("size", "n", "count"),
    [(3, 10, 3), ("3", 10, 3), (0.25, 10, 2), ("25%", 10, 2), (1.0, 10, 10), (0.001, 10, 1), ("1_000", 2000, 1000)],
)
def test_sizes(size, n, count):
    assert resolve_size(size, n, "x") == count


@pytest.mark.parametrize("size", ["", "%", "101%", "-1", "0", 0, -3, 0.0, 1.01, float("nan"), float("inf"), True])
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
