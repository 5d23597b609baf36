"""The run directory: what a long run has finished, so that it can go on after a crash or with other sizes.

    graph/ points/          the assembled graph and the ids of its points, by part
    bounding/ greedy/ refine/ certify/      the last boards of each stage
    manifest.json           one entry per finished stage, written last, with fingerprints

A stage is done when its entry is there. Entries carry the fingerprint of all options that the stage depends on, and the
input's name; a run with others is refused. Boards of an unfinished stage carry the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from subsel import declare
from subsel.config import SelectConfig
from subsel.input.wishes import Wishes
from subsel.declare import Stage
from subsel.errors import ConfigError, InputError
from subsel.output import remove

NAME = "manifest.json"

#: Stages whose results are kept, in their order.
STAGES: tuple[Stage, ...] = tuple(stage for stage in declare.STAGES if stage != "output")
_FOLDERS = ("points", *STAGES)
_BEGUN = "begun.json"


def wishes_name(wishes: Wishes) -> str:
    """Say what is included and excluded: paths and columns by name, ids by what they hash to."""
    names = []
    for what, value in (("include", wishes.include), ("exclude", wishes.exclude)):
        if hasattr(value, "columns"):
            raise ConfigError(
                f"with run_dir, {what} must be a path, a column or a list of ids, to be told from others."
            )
        if isinstance(value, str | Path):
            names.append(f"{what} {Path(value).absolute() if Path(value).exists() else value}")
        elif value is not None:
            names.append(f"{what} {hashlib.sha256(repr(list(value)).encode()).hexdigest()[:16]}")
    return ", ".join(names)


def source_name(data: Any, graph: Any) -> str:
    """Say what a run reads: the paths, absolute, or that it is a DataFrame."""
    given = [one for one in (data, graph) if one is not None]
    names = [str(Path(one).absolute()) if isinstance(one, str | Path) else "a DataFrame" for one in given]
    return " with graph ".join(names)


class RunDirectory:
    """A run directory, new or to be resumed.

    Args:
        path: the folder; made if it does not exist.
        config: of this run.
        source: the input's name, and the graph's if one is given.
        wishes: what is included and excluded, in words; the graph does not depend on it.
        resume: whether finished stages are taken over; if not, the folder must be new or empty.
        stages: those that this run is about; others in the folder are left alone.

    Raises:
        InputError: the folder has a run and ``resume`` is False, or its run is of another config or input.
    """

    def __init__(
        self,
        path: str | Path,
        config: SelectConfig,
        source: str,
        *,
        resume: bool,
        wishes: str = "",
        stages: Iterable[str] = STAGES,
    ) -> None:
        self.path, self.config, self.source, self.stages = Path(path), config, source, tuple(stages)
        self.wishes = wishes
        self.entries: dict[str, Any] = {}
        if (self.path / NAME).is_file():
            if not resume:
                raise InputError(f"run directory {self.path} holds a run: resume it (resume), or choose another.")
            self.entries = json.loads((self.path / NAME).read_text(encoding="utf-8"))["stages"]
            self._check()
        elif self.path.is_dir() and any(self.path.iterdir()):
            for left in _FOLDERS:  # of a run that finished no stage
                if not resume and (self.path / left).exists():
                    raise InputError(
                        f"run directory {self.path} holds an unfinished run: resume it, or choose another."
                    )
            strange = [p.name for p in self.path.iterdir() if p.name not in _FOLDERS]
            if strange:
                raise InputError(
                    f"run directory {self.path} has other things in it, such as {strange[0]}: choose another."
                )
        self.path.mkdir(parents=True, exist_ok=True)

    def finished(self, stage: str) -> dict[str, Any] | None:
        """Return what a finished stage recorded, or None."""
        entry = self.entries.get(stage) if stage in self.stages else None
        return None if entry is None else dict(entry["result"])

    def begin(self, stage: str, *names: str) -> list[Path]:
        """Return the stage's folders, emptied of what an unfinished run of it left."""
        places = [self.path / name for name in names or (stage,)]
        for place in places:
            remove(place)
        return places

    def mark_begun(self, stage: str) -> None:
        """Note in a stage's folder what its boards are made with, before the first of them."""
        place = self.path / stage
        place.mkdir(exist_ok=True)
        (place / _BEGUN).write_text(json.dumps([self._fingerprint(stage), self.source]), encoding="utf-8")

    def begun_alike(self, stage: str) -> bool:
        """Return whether the boards of an unfinished stage were made with this config, input and wishes."""
        note = self.path / stage / _BEGUN
        return note.is_file() and json.loads(note.read_text(encoding="utf-8")) == [
            self._fingerprint(stage),
            self.source,
        ]

    def finish(self, stage: str, result: dict[str, Any], scale: dict[str, Any] | None = None) -> None:
        """Record that a stage is done, and the scale of its boards' keys."""
        assert stage in self.stages, f"this run is not about {stage}"
        self.entries[stage] = {"fingerprint": self._fingerprint(stage), "source": self.source, "result": result}
        self.entries[stage]["options"] = self.config.stage_options(stage)
        if scale is not None:
            self.entries[stage]["scale"] = scale
        temporary = self.path / f".{NAME}.tmp"
        temporary.write_text(json.dumps({"stages": self.entries}, indent=2) + "\n", encoding="utf-8")
        temporary.rename(self.path / NAME)

    def forget(self, *stages: str) -> None:
        """Drop entries of stages that will run anew."""
        for stage in stages:
            self.entries.pop(stage, None)

    def boards(self, stage: str) -> list[Path]:
        """Return the boards that were written whole in a stage, oldest first."""
        if stage not in self.stages:
            return []
        return sorted(place.parent for place in (self.path / stage).glob("board-*/_SUCCESS"))

    def _check(self) -> None:
        for stage, entry in self.entries.items():
            if entry["source"] != self.source:
                raise InputError(
                    f"run directory {self.path} is of {entry['source']}, not of {self.source}: choose another."
                )
            if stage in self.stages and entry["fingerprint"] != self._fingerprint(stage):
                if stage == "graph":
                    raise InputError(f"run directory {self.path} was made with other graph options: choose another.")
                raise InputError(
                    f"run directory {self.path} has a {stage} of another size or objective: choose another, or copy "
                    "its graph/, points/ and manifest.json without the later stages' entries."
                )

    def _fingerprint(self, stage: str) -> str:
        chosen = self.config.stage_options(stage)
        if self.wishes and stage != "graph":
            chosen["wishes"] = self.wishes
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
