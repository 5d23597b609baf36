from __future__ import annotations

from pathlib import Path

import pytest

from subsel import ConfigError, SelectConfig
from subsel.config import parse_size, resolve_size

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    SelectConfig.load(path)


def test_default_config_is_the_default():
    default = next(path for path in CONFIGS if path.name == "default.toml")
    assert SelectConfig.load(default, size=None) == SelectConfig(size="10%")


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


def test_beta_defaults_to_one_minus_alpha():
    assert SelectConfig(alpha=0.25).similarity_weight == 0.75
    assert SelectConfig(alpha=0.25, beta=0).similarity_weight == 0
    assert SelectConfig(alpha=3, beta=1).similarity_weight == 1
