"""Whatever is wrong is told in one line, exit status 2, the same by library, command line and Spark."""

from __future__ import annotations

import re
from functools import partial

import pytest

import subsel
from subsel import InputError
from subsel.cli import main
from subsel.cli.shell import flag_of
from tests import wrong

CASES = wrong.cases()
SHELL = partial(flag_of, main.commands["select"])
#: What is text where it was typed, and a number in the library.
_READ = re.compile(r" \(got .*?\)|, unable to parse string as a number|'(?=-?[\d.]+')|(?<=\d)'")


def test_there_are_many():
    assert len(CASES) >= 150
    assert len({case.what for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
def test_one_line_and_nothing_left(case):
    text, error = wrong.said(case)
    row = f"| {case.what} | {text.replace('|', chr(92) + '|')}"
    assert any(line.startswith(row) for line in wrong.committed().splitlines()), f"docs/errors.md lacks {row}"
    if not case.shell:
        return
    typed = wrong.said_in_shell(case)
    if "Invalid value for" in typed:  # click reads kinds of values before the config does
        assert "'--" in typed and typed.endswith("--help.")
    else:
        spelled = error.for_shell(SHELL).split("; ")[0]
        spelled = re.sub(r"/\S*/(?=no/where)", "", spelled).rstrip(".")
        assert _READ.sub("", typed).startswith(_READ.sub("", spelled))


@pytest.mark.long
def test_spark_says_the_same(spark):
    other = {}
    for case in CASES:
        if case.reads:
            here, there = wrong.said(case)[0], wrong.said(case, spark)[0]
            if there != (case.spark or here):
                other[case.what] = (here, there)
    assert other == {}


@pytest.mark.parametrize(
    "address", ["s3://me:secret@b/p", "s3a://key@b/p", "gs://secret@b/p", "ftp://me:secret@host/p"]
)
def test_credentials_are_refused_and_not_repeated(address):
    for where in (address, f"{address}*.parquet", [address, "other"]):
        with pytest.raises(InputError, match="has credentials in it") as caught:
            subsel.select(where, size=1, progress=False)
        assert "secret" not in str(caught.value) and "key@" not in str(caught.value)
