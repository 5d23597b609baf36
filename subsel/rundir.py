"""The run directory: what a long run has finished, so that it can go on after a crash or with other sizes.

    .subsel-run.json                       whose it is: only folders that it names are ever removed
    graph/ points/                         the assembled graph and the ids of its points, by part
    copies/                                who was merged into which of the points, if anybody was
    target/                                which points are near to those of a target set, if there is one
    neighbors/                             lists of neighbours by groups of parts, until the graph is there
    bounding/ greedy/ refine/ certify/     the last boards of each stage, and boards.json, which names the whole ones;
                                           until it is done answers-*.json (`subsel.engines.replay`);
                                           under limits greedy/room.json says what these have left
    _report.html _report.json              of the selection, once it is done
    manifest.json                          one entry per finished stage, written last

A stage is done when its entry is there. Entries hold the options that the stage depends on, as `SelectConfig`
declares them, and what the run is of: identities of input, graph, utilities and wishes. A run with others is refused,
by name and values; and so is one whose files are not as many, or not as large, as when their stage was done.
"""

from __future__ import annotations

import json
import logging
import operator
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from subsel import declare
from subsel.config import SelectConfig
from subsel.declare import Stage
from subsel.errors import InputError, option
from subsel.storage import LOCK, TEMPORARY, Kind, Place, lock
from subsel.version import __version__

log = logging.getLogger(__name__)

NAME = "manifest.json"
MARK = ".subsel-run.json"
BOARDS = "boards.json"
#: In the folder of greedy's boards: what limits have left, where there are some.
ROOM = "room.json"
#: Raised whenever a run directory's content changes its meaning.
FORMAT = 3

#: Stages whose results are kept, in their order.
STAGES: tuple[Stage, ...] = tuple(stage for stage in declare.STAGES if stage != "output")
#: Lists of neighbours, and the note beside them.
NEIGHBORS = "neighbors"
#: Points that were merged into others of equal vectors, see `subsel.input.copies`.
COPIES = "copies"
#: Who is near to which point of a target set, see `subsel.parts.target`.
TARGET = "target"
_OURS = {MARK, NAME, LOCK, NEIGHBORS, COPIES, TARGET, "points", *STAGES}
#: Folders that stages without boards leave.
_FOLDERS = {"graph": ("graph", "points", COPIES, TARGET), "utility": ("utility",)}
#: What the graph does not depend on, but see `RunDirectory.include_matters`.
_WISHES = {"include", "exclude"}
#: Options that say how much is selected: whoever only scores has none.
_HOW_MUCH = ("size", "budget")


class RunDirectory:
    """A run directory, new or to be resumed; see `open_run`.

    Args:
        place: the folder; made if it does not exist.
        config: of this run.
        run_id: of this run.
        resume: whether finished stages are taken over; if not, the folder must be new or empty.
        stages: those that this run is about; others in the folder are left alone.

    Attributes:
        include_matters: whether the graph depends on who is included: where points are drawn, and where copies stay
            only because they are.

    Raises:
        InputError: the folder has a run and ``resume`` is False, or it is not subsel's, or of another version.
    """

    def __init__(
        self, place: Place, config: SelectConfig, run_id: str, *, resume: bool, stages: Iterable[str] = tuple(STAGES)
    ) -> None:
        self.place, self.config, self.stages = place, config, tuple(stages)
        self.include_matters = config.thin is not None
        self.of: dict[str, Any] = {}
        self._checked: set[str] = set()
        self.entries: dict[str, Any] = {}
        there = set(place.children())
        if MARK in there:
            self._mark = _versioned(place.join(MARK), place)
            if not isinstance(self._mark.get("folders"), list):
                raise InputError(
                    f"{place.join(MARK)} is damaged: it names no folders. Choose another {option('run_dir')}."
                )
            if not resume and there & (_OURS - {MARK, LOCK}):
                raise InputError(
                    f"run directory {place} holds a run: resume it ({option('resume', True)}), or choose another."
                )
            if NAME in there:
                self.entries = read_manifest(place)
            return
        strange = sorted(name for name in there if name != LOCK and not name.startswith(TEMPORARY))
        if strange:
            raise InputError(
                f"run directory {place} has other things in it, such as {strange[0]}: choose another, or an empty one."
            )
        made = datetime.now(UTC).isoformat(timespec="seconds")
        self._mark = {"subsel": __version__, "format": FORMAT, "run": run_id, "made": made, "folders": []}
        place.make_folder()
        self._write(MARK, self._mark)

    def identify(self, **of: Any) -> None:
        """Say what this run is of, by ``engine``, ``input``, ``graph``, ``utility``, ``include``, ``exclude`` and such.

        Raises:
            InputError: a finished stage is of something else, or was made with other options.
        """
        self.of |= json.loads(json.dumps(of))
        for stage in self.stages:
            if stage in self.entries:
                difference = self._difference(stage, self.entries[stage])
                if difference:
                    raise InputError(f"run directory {self.place}: its {stage} {difference}")
                self._check_files(stage)

    def _difference(self, stage: str, made: dict[str, Any]) -> str | None:
        """Say in what a stage that was made differs from what this run would make, as far as that is known."""
        for name, then in made["of"].items():
            if name in self.of and self.of[name] != then:
                return f"is of {_told(name, then, self.of[name])}: choose another {option('run_dir')}."
        options = self._options(stage)
        for field, now in options.items():
            then = made["options"].get(field)
            if field in _HOW_MUCH and not self.config.sized:
                continue  # nothing is selected, only scored
            if then != now:
                was, do = f"with {option(field, then)}", f"give {option(field, then)}"
                if then is None:
                    was, do = f"without {option(field)}", f"leave {option(field)} out"
                return f"was made {was}, now it is {option(field, now)}: {do}, or choose another {option('run_dir')}."
        for name, now in self._of(stage).items():  # what did not matter then, and does now
            if name not in made["of"] and now is not None:
                return f"is of {_told(name, None, now)}: choose another {option('run_dir')}."
        return None

    def _files(self, folder: str) -> list[int]:
        """Return how many Parquet files are in a folder, and their bytes."""
        sizes = [file.size for file in self.place.join(folder).files() if file.name.endswith(".parquet")]
        return [len(sizes), sum(sizes)]

    def _written(self, stage: str) -> dict[str, list[int]]:
        """Return the files of each folder that a stage leaves: of boards, of the last."""
        folders: Iterable[str] = _FOLDERS.get(stage) or [_board(stage, max(self.boards(stage)))]
        return {name: self._files(name) for name in folders if name.partition("/")[0] in self._mark["folders"]}

    def _check_files(self, stage: str) -> None:
        """Refuse a stage whose files are not those that were there when it was done; once, since listings take time."""
        for folder, written in self.entries[stage].get("files", {}).items():
            there = written if folder in self._checked else self._files(folder)
            self._checked.add(folder)
            if there != written:
                told, of = (f"{count:,} files of {size:,} bytes" for count, size in (there, written))
                said = f"is damaged: {folder} has {told}, and {of} were written. Choose another, or make the run anew."
                raise InputError(f"run directory {self.place} {said}")

    def finished(self, stage: str) -> dict[str, Any] | None:
        """Return what a finished stage recorded, or None."""
        entry = self.entries.get(stage) if stage in self.stages else None
        return None if entry is None else dict(entry["result"])

    def begin(self, *names: str) -> list[Place]:
        """Return the places of folders, removed as an unfinished run left them. Write them in one go, or append.

        Raises:
            InputError: a folder is there that no run has made.
        """
        folders = [self.place.join(name) for name in names]
        for name, folder in zip(names, folders, strict=True):
            if name in self._mark["folders"]:
                folder.remove()
            elif folder.exists():
                raise InputError(
                    f"{folder} was not made by a run: move it away, or choose another {option('run_dir')}."
                )
        self._mark["folders"] = sorted({*self._mark["folders"], *names})
        self._write(MARK, self._mark)
        return folders

    def finish(self, stage: str, result: dict[str, Any], scale: dict[str, Any] | None = None) -> None:
        """Record that a stage is done, and the scale of its boards' keys."""
        assert stage in self.stages, f"this run is not about {stage}"
        entry = self._about(stage) | {"result": result, "files": self._written(stage)}
        self.entries[stage] = entry if scale is None else entry | {"scale": scale}
        self._write(NAME, {"subsel": __version__, "format": FORMAT, "stages": self.entries})

    def note(self, folder: str, name: str, **what: Any) -> None:
        """Write down in a folder how far an unfinished stage is, with what that depends on."""
        stage = "graph" if folder == NEIGHBORS else folder
        place = self.place.join(folder)
        place.make_folder()
        self._write_to(place.join(name), self._about(stage) | what)

    def noted(self, folder: str, name: str) -> dict[str, Any] | None:
        """Return what was noted in a folder by a run with the same options and of the same; None if there is none."""
        note = self.place.join(folder, name)
        if folder not in self._mark["folders"] or not note.exists():
            return None
        found: dict[str, Any] = note.read_json()
        if not _is_entry(found):
            raise InputError(f"{note} is damaged: it is not what subsel writes. Choose another {option('run_dir')}.")
        stage = "graph" if folder == NEIGHBORS else folder
        difference = self._difference(stage, found)
        if difference:
            log.warning("run directory %s: %s is made anew, since it %s", self.place, folder, difference)
        return None if difference else found

    def keep_room(self, room: dict[str, Any]) -> None:
        """Note what limits have left of a run of all stages (`subsel.audit.Room`)."""
        if "greedy" in self.stages:
            self.note("greedy", ROOM, room=room)

    @property
    def has_pages(self) -> bool:
        """Whether a selection's report is kept here: where one is, not several."""
        return "greedy" in self.stages

    def keep_pages(self, pages: Mapping[str, str]) -> None:
        """Write a report here: texts by name."""
        if self.has_pages:
            for name, text in pages.items():
                self.place.join(name).write_text(text)

    def boards(self, stage: str) -> list[int]:
        """Return the numbers of the boards that were written whole in a stage and are kept, oldest first."""
        found = self.noted(stage, BOARDS) if stage in self.stages else None
        if found is None:
            return []
        with reading_run(self.place):
            return [operator.index(number) for number in found["boards"]]

    def board(self, stage: str, number: int) -> Place:
        """Return where a board is."""
        return self.place.join(_board(stage, number))

    def _about(self, stage: str) -> dict[str, Any]:
        return {"options": self._options(stage), "of": self._of(stage)}

    def _options(self, stage: str) -> dict[str, Any]:
        options: dict[str, Any] = json.loads(json.dumps(self.config.stage_options(stage)))
        return options

    def _of(self, stage: str) -> dict[str, Any]:
        others = _WISHES - {"include"} if self.include_matters else _WISHES
        tables = {"quotas"} if self.config.thin is None else set()  # points are drawn by them
        left_out = {"graph": others | tables | {"exclude_near"}, "utility": tables}.get(stage, set())
        if STAGES.index(stage) < STAGES.index("greedy"):
            left_out |= {"warm_start"}
        return {name: value for name, value in self.of.items() if name not in left_out}

    def _write(self, name: str, content: dict[str, Any]) -> None:
        self._write_to(self.place.join(name), content)

    def _write_to(self, place: Place, content: dict[str, Any]) -> None:
        place.write_text(json.dumps(content, indent=2) + "\n")


def _board(stage: str, number: int) -> str:
    return f"{stage}/board-{number:06d}"


@contextmanager
def open_run(
    place: Place | None, config: SelectConfig, run_id: str, *, resume: bool, stages: Iterable[str] = tuple(STAGES)
) -> Iterator[RunDirectory | None]:
    """Hold a run directory for one run; None if there is none. Arguments and errors are those of `RunDirectory`.

    Raises:
        InputError: another run holds it.
    """
    if place is None:
        yield None
        return
    if place.kind() == "file":
        raise InputError(f"run directory {place} is a file: choose another.")
    RunDirectory(place, config, run_id, resume=resume, stages=stages)  # refuses before anything is written into it
    with lock(place, "run directory"):
        yield RunDirectory(place, config, run_id, resume=resume, stages=stages)


@contextmanager
def open_to_score(place: Place | None, config: SelectConfig, run_id: str) -> Iterator[RunDirectory | None]:
    """Hold a run directory to score on its graph, which is made if need be, and by its utilities if a run kept them.

    The size and the budget that the config names, if any, are not compared with the run's: nothing is selected. See
    `open_run`.
    """
    stages = ["graph"]
    if place is not None and place.join(NAME).exists() and "utility" in read_manifest(place):
        stages.append("utility")
    with open_run(
        place, config.model_copy(update=dict.fromkeys(_HOW_MUCH)), run_id, resume=True, stages=stages
    ) as found:
        yield found


def _versioned(file: Place, place: Place) -> dict[str, Any]:
    """Return a JSON file of a run directory whose format is ours.

    Raises:
        InputError: it is truncated, of something else, or of another version.
    """
    found = file.read_json()
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise InputError(f"{file} is not of subsel: choose another {option('run_dir')}.")
    for name, ours in (("format", FORMAT), ("subsel", __version__)):
        if found.get(name) != ours:
            told = "subsel" if name == "subsel" else "run directories' format"
            raise InputError(
                f"run directory {place} is of {told} {found.get(name)}, this is {ours}: choose another, or go on with "
                "that one."
            )
    return found


def kind_there(place: Place) -> Kind:
    """Return what a subset or a run directory is, which whoever asks for it wants to be there.

    Raises:
        InputError: nothing is there.
    """
    kind = place.kind()
    if kind is None:
        raise InputError(f"there is nothing at {place}: give a subset's folder, or a run directory.")
    return kind


def read_manifest(place: Place) -> dict[str, Any]:
    """Return the entries of a run directory's finished stages.

    Raises:
        InputError: it is no run directory, or of another version, or damaged.
    """
    if not place.join(NAME).exists():
        raise InputError(f"{place} is no run directory: it has no {NAME}. Give the {option('run_dir')} of a run.")
    stages = _versioned(place.join(NAME), place).get("stages")
    if not isinstance(stages, dict) or not all(map(_is_done, stages.values())):
        raise InputError(f"{place.join(NAME)} is damaged: its stages are not what subsel writes.")
    return stages


def _is_entry(found: Any) -> bool:
    """Return whether JSON says of what something was made, as entries of stages and notes do."""
    return isinstance(found, dict) and all(isinstance(found.get(name), dict) for name in ("options", "of"))


def _is_done(found: Any) -> bool:
    """Return whether JSON says what a finished stage has left."""
    files = found.get("files", {}) if _is_entry(found) and isinstance(found.get("result"), dict) else None
    counts = files.values() if isinstance(files, dict) else [None]
    return all(isinstance(one, list) and [*map(type, one)] == [int, int] for one in counts)


@contextmanager
def reading_run(place: Place) -> Iterator[None]:
    """Tell in one line what files of a run directory bring about that are not as they were written.

    Raises:
        InputError: something is missing in them, of another type, or cannot be read.
    """
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"run directory {place} is damaged ({said}): choose another, or make the run anew.") from error


def _told(name: str, then: Any, now: Any) -> str:
    """Say what something was and is, in few words: of files those that differ."""
    if isinstance(then, dict) and isinstance(now, dict) and "files" in then and "files" in now:
        before, after = ({file[0]: file[1:] for file in one["files"]} for one in (then, now))
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        if changed:
            key = changed[0]
            how = "is new" if key not in before else "is gone" if key not in after else "has changed"
            return (
                f"another {name}: {then['rows']:,} rows of {len(before):,} files then, {now['rows']:,} of "
                f"{len(after):,} now, and {key} {how}"
            )
    return f"{name} {_short(then)}, not {_short(now)}"


def _short(value: Any) -> str:
    if isinstance(value, dict) and "files" in value:
        return f"{len(value['files']):,} files of {value['rows']:,} rows"
    text = "none" if value is None else str(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"
