"""`python -m tests.faults`: kills, then places that fail; what came of them is printed, what is wrong ends in 1."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.faults.joins import Joins
from tests.faults.kills import ROLES, Lane, Tally
from tests.faults.places import SCENARIOS
from tests.faults.runs import KINDS, ON_SPARK, write_points

#: A kind of its own: points join a graph.
JOIN = "join"


def main() -> int:
    """Run what is asked for, until kills or seconds are used up."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="in all; half of them on one machine")
    parser.add_argument("--seconds", type=float, default=3600, help="no kill begins after so many")
    parser.add_argument("--points", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="kills, local, spark, cluster, join, places, or a place")
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.kills} kills, {asked.seconds:.0f} s, {asked.points} points", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="subsel-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        points = write_points(folder / "points.parquet", asked.points)
        end = time.monotonic() + asked.seconds
        for engine in ("local", "spark", "cluster"):
            if asked.only in ("", "kills", JOIN, engine):
                wrong += kills(engine, points, folder, asked, end)
        for scenario in SCENARIOS:
            if asked.only in ("", "places", scenario.__name__) and time.monotonic() < end:
                title = scenario.__name__.replace("_", " ")
                (folder / scenario.__name__).mkdir()
                found = scenario(points, folder / scenario.__name__)
                print(f"{title}: {found.told}", flush=True)
                wrong += [] if found.fine else [f"{title}: {found.told}"]
    for one in wrong:
        print(f"WRONG: {one}", flush=True)
    return bool(wrong)


def kills(engine: str, points: Path, folder: Path, asked: argparse.Namespace, end: float) -> list[str]:
    """Kill processes of one engine's runs; return what went wrong."""
    tally, draw = Tally(), random.Random(f"{asked.seed} {engine}")
    share = {"local": 2, "spark": 4, "cluster": 4}[engine]
    roles = ["driver"] if engine == "local" else [role for role, (_, where) in ROLES.items() if where == engine]
    kinds = [*(KINDS if engine == "local" else ON_SPARK), JOIN]
    if asked.only == JOIN:
        kinds = [JOIN]
    each = -(-asked.kills // share // len(kinds))
    for kind in kinds:
        if time.monotonic() > end:
            break
        lane = (Joins if kind == JOIN else Lane)(points, folder / f"{engine}-{kind}", kind, engine, tally, draw)
        for number in range(3 * each):
            done = sum(count for key, count in tally.kills.items() if key.startswith(f"{engine} {kind} "))
            if done >= each or time.monotonic() > end:
                break
            lane.kill(roles[number % len(roles)])
        lane.finish()
    for title, counts in (("killed", tally.kills), ("in stage", tally.stages), ("ended", tally.ends)):
        for key, count in sorted(counts.items()):
            print(f"  {title:9s} {count:4d}  {key}", flush=True)
    print(f"{engine}: {sum(tally.kills.values())} kills, {len(tally.wrong)} wrong", flush=True)
    return tally.wrong


if __name__ == "__main__":
    raise SystemExit(main())
