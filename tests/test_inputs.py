"""The table "What may come in" of docs/inputs.md says what happens."""

from __future__ import annotations

import re

import pytest

from tests import inputs


def test_what_may_come_in_on_one_machine(s3_server):
    said = [re.split(r"(?<!\\)\|", line)[1:3] for line in inputs.committed().splitlines() if line.startswith("|")]
    with inputs.bucket(s3_server):
        found = list(inputs.lines(None, local_only=True))
    assert [line for line in found if line.strip("|").split(" | ")[0] and line not in _lines(said)] == []
    assert not [line for line in found if "RAISES" in line or "⏎" in line]


def _lines(cells):
    return {"|" + "|".join(some) + "|" for some in cells}


@pytest.mark.slow
def test_what_may_come_in(spark, s3_server):
    with inputs.bucket(s3_server):
        found = "\n".join(inputs.lines(spark)).strip()
    assert found == inputs.committed()
