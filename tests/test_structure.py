"""The layout holds: imports go down or stay on their floor, only Spark's rooms know pyspark, files stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import subsel

ROOT = Path(subsel.__file__).parent

#: The floors of subsel from the top, by module or package; the longest name that fits a module is its floor.
#: Rooms in one tuple do not see each other.
FLOORS: list[list[tuple[str, ...]]] = [
    [("cli",), ("__main__",)],
    [("__init__",), ("estimator",)],
    [("changed",)],
    [
        ("api",),
        ("beforehand",),
        ("growth",),
        ("demo",),
        ("testing",),
        ("warming",),
        ("measuring",),
        ("explaining",),
        ("explain_cover",),
        ("reports",),
    ],
    [("stages.here", "stages.on_spark")],
    [("stages.local", "stages.spark")],
    [("pipeline",), ("drivers",)],
    [("stages",), ("selection",)],
    [("request",)],
    [("covering",)],
    [("greedy", "bounding")],
    [("engines",)],
    [("planning",), ("cost",), ("sketching",)],
    [("weighing",), ("coverage",), ("covering.value",)],
    [("growing",)],
    [("parts",), ("embeddings",)],
    [("input",)],
    [("notebook",)],
    [("pages",)],
    [("audit",), ("limits",), ("objective",), ("board",), ("graph",), ("results",), ("ranks",)],
    [("rundir",), ("output",), ("kept_rows",)],
    [("sketch",)],
    [("told",)],
    [("report",), ("run",)],
    [("config_file",), ("keywords",)],
    [("config",)],
    [("method",), ("aim",), ("beside",), ("limits.options",)],
    [("limits.amounts",)],
    [("declare",), ("sizes",)],
    [("storage",)],
    [
        ("fixedpoint",),
        ("text",),
        ("memory",),
        ("kernels",),
        ("halves",),
        ("compiling",),
        ("threads",),
        ("options",),
        ("codes",),
        ("schema",),
        ("errors",),
        ("version",),
    ],
]
PLACE = {name: (floor, room) for floor, rooms in enumerate(FLOORS) for room in rooms for name in room}

MOST_LINES = 400

LONG: set[str] = set()


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import in a file, also inside functions; what is not of subsel by its first name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in found:
            top, _, inside = full.partition(".")
            if top != "subsel":
                yield node.lineno, top
                continue
            while inside and not is_module(inside):  # a name in a module
                inside = inside.rpartition(".")[0]
            yield node.lineno, f"subsel.{inside or '__init__'}"


def placed(name: str) -> str:
    """Return the room that a module is in."""
    whole = name
    while name not in PLACE:
        assert name, f"{whole} has no floor: give it one in FLOORS"
        name = name.rpartition(".")[0]
    return name


def test_every_module_has_a_floor_and_no_import_goes_up():
    up = []
    for path in modules():
        room = placed(name_of(path))
        floor, siblings = PLACE[room]
        for line, target in imports(path):
            if not target.startswith("subsel."):
                continue
            other = placed(target.removeprefix("subsel."))
            below = PLACE[other][0]
            if below < floor or (other != room and other in siblings):
                up.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
    assert not up, "\n".join(up)


def test_only_sparks_rooms_import_pyspark():
    strangers = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules()
        if not name_of(path).startswith("engines.spark.") and name_of(path) != "stages.spark"
        for line, target in imports(path)
        if target == "pyspark"
    ]
    assert not strangers


def test_pages_know_numbers_only():
    """They are made of reports and what is drawn beside them: no engine, no points, no graph."""
    known = {"pages", "report", "told", "sketch", "limits", "config", "declare", "errors", "storage", "text"}
    strange = {
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for path in (ROOT / "pages").glob("*.py")
        for line, target in imports(path)
        if target.startswith("subsel.") and target.split(".")[1] not in known
    }
    assert not strange


def test_one_door_to_functions_on_arrow_data():
    """What goes around `parcels.map_in_arrow` and `groups_in_arrow` misses the session's width of offsets."""
    doors = ("mapInArrow", "applyInArrow", "mapInPandas", "applyInPandas")
    around = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        if name_of(path) != "engines.spark.parcels"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in doors
    ]
    assert not around


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_are_short(path):
    if str(path.relative_to(ROOT)) not in LONG:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
