from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from subsel import demo
from tests.spark_fixtures import spark  # noqa: F401  (a fixture)
from tests.storage_fixtures import anywhere, memory, s3, s3_server  # noqa: F401  (fixtures)

#: Examples of each property: `make test` tries few, `make test-slow` more, `make test-long` many.
for name, examples in (("quick", 10), ("full", 60), ("many", 400)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
settings.load_profile(os.environ.get("SUBSEL_EXAMPLES", "quick"))


@pytest.fixture(scope="module", autouse=True)
def pages(request):
    """A page takes half a second, on Spark more: only modules with ``PAGES = True`` make any."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "PAGES", False):
            patch.setattr("subsel.pipeline.has_page", lambda *given: False)
        yield


@pytest.fixture(scope="module", autouse=True)
def heard():
    """What a test does to logging would make later ones deaf, in an order that only some runs have."""
    yield
    off = [name for name, log in logging.root.manager.loggerDict.items() if getattr(log, "disabled", False)]
    assert logging.root.manager.disable == 0, "logging is off for all tests that follow"
    assert not [name for name in off if name.startswith("subsel")], off


@pytest.fixture(scope="session")
def demo_table():
    """3,000 demo points; do not change it."""
    return demo.demo_table(3000, 16)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
