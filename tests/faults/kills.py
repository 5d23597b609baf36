"""SIGKILL of the driver, of Python workers and of executors, at random moments of random stages."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.runs import STAGES, Run, bytes_of, command

#: Whom to kill: a word of its command line, and the engine where there is one.
ROLES = {
    "driver": ("", "spark"),
    "worker": ("pyspark.daemon", "spark"),
    "executor": ("CoarseGrainedExecutorBackend", "cluster"),
    "executor without a run directory": ("CoarseGrainedExecutorBackend", "cluster"),
}
#: Which stage of a run directory is done where these are.
DONE = {"read": "graph", "neighbors": "graph"}
#: Longer than any run takes.
LIMIT = 400.0


@dataclass
class Tally:
    """What came of the kills, by engine, role and kind of run."""

    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Lane:
    """Runs of one kind on one engine, which are killed until they have gone through."""

    def __init__(self, points: Path, folder: Path, kind: str, engine: str, tally: Tally, draw: random.Random) -> None:
        self.points, self.folder, self.kind, self.engine = points, folder, kind, engine
        self.tally, self.draw = tally, draw
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.prepare()
        whole = self.start(run_dir=False)
        begin = time.monotonic()
        if whole.finish(LIMIT) != 0:
            raise SystemExit(f"an undisturbed run failed: {whole.said()}\n" + "\n".join(whole.lines[-30:]))
        self.expected = self.found()
        ends = [*list(whole.seen.values())[1:], time.monotonic()]
        self.lasts = {stage: end - at for (stage, at), end in zip(whole.seen.items(), ends, strict=True)}
        print(f"{engine} {kind}: {time.monotonic() - begin:.0f} s undisturbed", flush=True)
        self.reset()

    def prepare(self) -> None:
        """Make what runs begin with."""

    def start(self, *, run_dir: bool = True) -> Run:
        """Start or resume a run."""
        return command(self.points, self.folder, self.kind, self.engine, run_dir=run_dir)

    def found(self) -> str | None:
        """Return a digest of what a run has made; None: nothing."""
        return bytes_of(self.folder / "out")

    def reset(self) -> None:
        """Begin with a new run."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        shutil.rmtree(self.folder / "run", ignore_errors=True)

    def kill(self, role: str) -> None:
        """Start or resume a run, and kill in it; where a role other than the driver is killed it may go on."""
        word, _ = ROLES[role]
        kept = "without" not in role
        stage = self.draw.choice(self._stages())
        run = self.start(run_dir=kept)
        if run.wait_for(stage, LIMIT):
            time.sleep(self.draw.random() * self.lasts[stage])
        if run.process.poll() is None:
            if role == "driver":
                run.kill()
                self._count(role, run.seen)
                self._look("killed")
                return
            victims = run.descendants(word)
            if victims:
                victim = self.draw.choice(victims)
                run.end_one(victim)
                self._count(role, run.seen)
        status = run.finish(LIMIT)
        said = run.said()
        how = "went on" if status == 0 else "one line" if self._is_one_line(said) else f"status {status}: {said}"
        self.tally.ends[f"{self.engine} {role}: {how}"] += 1
        if how not in ("went on", "one line"):
            self.tally.wrong.append(
                f"{self.engine} {self.kind} {role} in {list(run.seen)[-1:]}: {how}\n{run.lines[-5:]}"
            )
        self._look(how)

    def finish(self) -> None:
        """Resume until the end."""
        run = self.start()
        status = run.finish(LIMIT)
        if status != 0 or self.found() != self.expected:
            self.tally.wrong.append(f"{self.engine} {self.kind} after {self.folder}: status {status}: {run.said()}")
        self.tally.ends[f"{self.engine} {self.kind}: {'equal bytes' if status == 0 else status} in the end"] += 1
        self.reset()

    def _stages(self) -> list[str]:
        """Return stages to be killed in: those that are not done yet, and twice those that keep boards."""
        manifest = self.folder / "run" / "manifest.json"
        done = json.loads(manifest.read_text())["stages"] if manifest.exists() else {}
        left = [one for one in STAGES if one in self.lasts and DONE.get(one, one) not in done]
        return [*left, *(one for one in left if one in ("neighbors", "bounding", "greedy", "refine", "certify"))]

    def _count(self, role: str, seen: dict[str, float]) -> None:
        self.tally.kills[f"{self.engine} {self.kind} {role}"] += 1
        self.tally.stages[(list(seen) or ["start"])[-1]] += 1

    def _look(self, how: str) -> None:
        """Compare what is there now, if anything; begin a new run where one has ended."""
        found = self.found()
        if found not in (None, self.expected):
            self.tally.wrong.append(f"{self.engine} {self.kind}: other bytes, {how}")
        if found is not None:
            self.tally.ends[f"{self.engine} {self.kind}: equal bytes"] += found == self.expected
            self.reset()

    @staticmethod
    def _is_one_line(said: str) -> bool:
        return len(said.splitlines()) == 1 and "Traceback" not in said
