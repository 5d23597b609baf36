"""Gives random bytes and structures to whatever takes some from outside, until the time is over.

    python -m tests.fuzz                          # 30 minutes, all targets in turn
    python -m tests.fuzz --minutes 2 points run   # some
    python -m tests.fuzz --seed 7                 # another sequence

Prints executions by target and outcome. A finding is a file in tests/fixtures/fuzz/, which `tests/test_fuzz.py` gives
to subsel again; a crash of the process leaves the last bytes in that folder's `last/`. Exit status 1: there are some.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.targets import TARGETS, mutated, outcome

FOUND = Path(__file__).parent.parent / "fixtures" / "fuzz"
LAST = FOUND / "last"
#: No input of these sizes needs as much; one that asks for more is a finding, and not the machine's end.
MOST_MEMORY = 12 << 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)  # in this process of its own: warnings are right, and many
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    names, end = asked.targets or list(TARGETS), time.monotonic() + 60 * asked.minutes
    outcomes: Counter[tuple[str, str]] = Counter()
    found: dict[str, Path] = {}
    number = 0
    while time.monotonic() < end:
        name = names[number % len(names)]
        r = random.Random(f"{asked.seed} {number}")
        number += 1
        target = TARGETS[name]
        content = target.make(r) if r.random() < 0.6 else mutated(r, r.choice(target.seeds()))
        outcomes[name, run(name, content, found)] += 1
    shutil.rmtree(LAST, ignore_errors=True)
    for name in names:
        told = ", ".join(f"{count:,} {how}" for (of, how), count in sorted(outcomes.items()) if of == name)
        print(f"{name}: {told}")
    print(f"{number:,} executions in {asked.minutes:g} minutes, {len(found)} findings")
    return 1 if found else 0


def run(name: str, content: bytes, found: dict[str, Path]) -> str:
    """Give bytes to a target in a folder of their own; keep those that it could not take, one for each place."""
    LAST.mkdir(parents=True, exist_ok=True)
    (LAST / f"{name}.bin").write_bytes(content)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return outcome(TARGETS[name], content)
        except Exception as error:
            frames = [one for one in traceback.extract_tb(error.__traceback__) if "/subsel/" in one.filename]
            where = (
                f"{name} {type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"
                if frames
                else f"{name} {error}"
            )
            if where not in found:
                found[where] = FOUND / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}.bin"
                found[where].write_bytes(content)
                print(f"{where}: {str(error)[:200]} -> {found[where].name}", flush=True)
            return "FOUND"
        finally:
            os.chdir(here)


if __name__ == "__main__":
    sys.exit(main())
