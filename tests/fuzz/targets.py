"""What is fuzzed: for each target bytes to begin with, bytes made of random structure, and what is done with them.

Whatever the bytes are, the outcome is a correct run or an error of subsel's, in one line.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import subsel
from subsel.config import SelectConfig
from subsel.config_file import default_toml
from subsel.errors import SubselError
from tests import formats

QUIET = {"progress": False, "recall_sample": 0, "coverage_sample": 0}
HERE = formats.FOLDER / subsel.__version__
EDGES = {"src": [0, 1, 2, 3], "dst": [1, 2, 3, 4], "similarity": [0.5, 0.4, 0.3, 0.2]}


@dataclass(frozen=True)
class Target:
    """Something that takes bytes from outside.

    Attributes:
        seeds: right ones.
        make: makes some by structure.
        run: gives them to subsel, in an empty working directory.
    """

    seeds: Callable[[], list[bytes]]
    make: Callable[[random.Random], bytes]
    run: Callable[[bytes], Any]


def outcome(target: Target, content: bytes) -> str:
    """Return how a run ended: "right", or "refused".

    Raises:
        AssertionError: it was refused in several lines.
        Exception: what no caller could foresee: a finding.
    """
    try:
        target.run(content)
    except SubselError as error:
        assert str(error) and "\n" not in str(error), f"several lines: {error}"
        return "refused"
    return "right"


# ---------------------------------------------------------------------------------------------------------- values
_NUMBERS = [
    0,
    1,
    -1,
    2,
    0.5,
    1e-320,
    1e308,
    -1e308,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**70,
    float("nan"),
    float("inf"),
]
_TEXTS = [
    "",
    "a",
    "id",
    "1",
    "10%",
    "-0",
    "nan",
    "1e400",
    "\x00",
    "\n",
    "é",
    "\ud7ff",
    "x" * 300,
    "../x",
    "a=1",
    "column:id",
]


def value(r: random.Random, depth: int = 0) -> Any:
    """Return something that JSON or TOML could have brought."""
    kind = r.randrange(6 if depth < 2 else 4)
    if kind == 0:
        return r.choice(_NUMBERS)
    if kind == 1:
        return r.choice(_TEXTS)
    if kind == 2:
        return r.choice([True, False, None])
    if kind == 3:
        return r.randrange(-5, 200)
    if kind == 4:
        return [value(r, depth + 1) for _ in range(r.randrange(3))]
    return {r.choice(_TEXTS): value(r, depth + 1) for _ in range(r.randrange(3))}


def mutated(r: random.Random, content: bytes) -> bytes:
    """Return bytes that are changed in a few places; of Parquet half of the time only where it says what is in it."""
    if content.endswith(b"PAR1") and len(content) > 12 and r.random() < 0.5:
        begin = max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
        return content[:begin] + _mutated(r, content[begin:-8]) + content[-8:]
    return _mutated(r, content)


def _mutated(r: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(r.choice([1, 1, 2, 4, 16])):
        at = r.randrange(len(changed) + 1)
        kind = r.randrange(5)
        if kind == 0 and changed:
            changed[min(at, len(changed) - 1)] ^= 1 << r.randrange(8)
        elif kind == 1:
            changed[at : at + r.randrange(1, 9)] = r.randbytes(r.randrange(9))
        elif kind == 2:
            del changed[at : at + r.randrange(1, 64)]
        elif kind == 3:
            changed[at:at] = changed[at : at + r.randrange(1, 64)]
        else:
            changed = changed[: max(at, 1)]
    return bytes(changed)


# ---------------------------------------------------------------------------------------------------------- tables
_KINDS: list[pa.DataType] = [
    *(
        pa.int8(),
        pa.int32(),
        pa.int64(),
        pa.uint64(),
        pa.float16(),
        pa.float32(),
        pa.float64(),
        pa.bool_(),
        pa.string(),
    ),
    *(pa.large_string(), pa.binary(), pa.binary(4), pa.date32(), pa.timestamp("us"), pa.decimal128(20, 0), pa.null()),
    *(
        pa.decimal128(38, 10),
        pa.list_(pa.float32()),
        pa.list_(pa.float32(), 2),
        pa.list_(pa.int8()),
        pa.list_(pa.string()),
    ),
    *(pa.large_list(pa.float64()), pa.list_(pa.list_(pa.float32())), pa.struct([("x", pa.float32())])),
    *(pa.dictionary(pa.int32(), pa.string()), pa.map_(pa.string(), pa.int32()), pa.duration("us"), pa.time64("us")),
]


def column(r: random.Random, kind: pa.DataType, n: int) -> pa.Array:
    """Return n random values of a type."""
    if pa.types.is_dictionary(kind):
        return column(r, kind.value_type, n).dictionary_encode()
    return pa.array([None if r.random() < 0.01 else _one(r, kind) for _ in range(n)], kind)


def _integer(r: random.Random, kind: pa.DataType) -> int:
    signed = pa.types.is_signed_integer(kind)
    most = 2 ** (kind.bit_width - signed) - 1
    return r.choice([0, 1, 2, 3, most, -most - 1 if signed else most, r.randrange(most)])


def _float(r: random.Random, kind: pa.DataType) -> Any:
    strange = [0.0, -0.0, 1e-7, 65504.0, float("nan"), float("inf")]
    if not pa.types.is_float16(kind):
        strange += [1e-40, 3e38, -1e17]
    number = r.choice(strange) if r.random() < 0.04 else r.choice([1.0, r.random(), r.random()])
    return np.float16(number) if pa.types.is_float16(kind) else number


def _list(r: random.Random, kind: pa.DataType) -> list[Any]:
    length = kind.list_size if pa.types.is_fixed_size_list(kind) else 2 if r.random() < 0.98 else r.choice([0, 3])
    return [None if r.random() < 0.01 else _one(r, kind.value_type) for _ in range(length)]


_MAKERS: list[tuple[Callable[[pa.DataType], bool], Callable[[random.Random, pa.DataType], Any]]] = [
    (pa.types.is_boolean, lambda r, kind: r.random() < 0.5),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, lambda r, kind: r.choice([0, 1, -1, 10**19, r.randrange(10**18)])),
    (pa.types.is_string, lambda r, kind: r.choice(_TEXTS).replace("\ud7ff", "")),
    (pa.types.is_large_string, lambda r, kind: str(r.random())),
    (pa.types.is_fixed_size_binary, lambda r, kind: r.randbytes(kind.byte_width)),
    (pa.types.is_binary, lambda r, kind: r.randbytes(r.randrange(5))),
    (pa.types.is_list, _list),
    (pa.types.is_large_list, _list),
    (pa.types.is_fixed_size_list, _list),
    (pa.types.is_struct, lambda r, kind: {"x": 1.0}),
    (pa.types.is_map, lambda r, kind: [("a", 1)]),
    (pa.types.is_null, lambda r, kind: None),
]


def _one(r: random.Random, kind: pa.DataType) -> Any:
    return next((make(r, kind) for fits, make in _MAKERS if fits(kind)), r.randrange(1000))


def parquet(table: pa.Table, r: random.Random | None = None) -> bytes:
    """Return a table as a Parquet file."""
    out = io.BytesIO()
    more = {} if r is None else {"row_group_size": r.choice([1, 2, 100]), "use_dictionary": r.random() < 0.5}
    pq.write_table(table, out, **more)
    return out.getvalue()


def _table(r: random.Random, wanted: dict[str, list[pa.DataType]]) -> bytes:
    """Return a file of columns that are mostly of a type that is right."""
    n, columns, names = r.choice([0, 1, 2, 5, 12]), [], []
    for name, right in wanted.items():
        if r.random() < 0.02:
            continue
        kind = r.choice(right) if r.random() < 0.9 else r.choice(_KINDS)
        names.append(name if r.random() < 0.99 else r.choice(_TEXTS))
        columns.append(
            pa.array(range(n)).cast(kind) if name == "id" and kind in right and r.random() < 0.9 else column(r, kind, n)
        )
    try:
        return parquet(pa.table(columns, names=names) if columns else pa.table({"x": range(n)}), r)
    except (pa.ArrowException, NotImplementedError):  # types that Parquet does not have
        return parquet(pa.table({"x": range(n)}))


@cache
def _points() -> bytes:
    x = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
    return parquet(
        pa.table({"id": range(12), "embedding": list(x), "utility": np.linspace(0, 1, 12), "tag": list("aabbccddeeff")})
    )


def _written(name: str, content: bytes) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    return name


def _select_points(content: bytes) -> None:
    data, r = _written("p.parquet", content), random.Random(len(content))
    subsel.validate(data)
    more: dict[str, Any] = r.choice(
        [{}, {"on_bad_rows": "drop"}, {"metric": "l2"}, {"objective": "coverage"}, {"keep_columns": ["tag"]}]
    )
    if r.random() < 0.2:
        more |= {"cost": "utility", "budget": "50%"} if r.random() < 0.5 else {"groups": ["tag"], "quotas": "balanced"}
    found = subsel.select(data, size=1, engine="local", output="out", **(QUIET | more))
    assert len(found) <= 1 and pq.read_table("out").num_rows == len(found)


def _make_points(r: random.Random) -> bytes:
    lists = [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64()), pa.list_(pa.float16())]
    return _table(
        r, {"id": [pa.int64(), pa.string()], "embedding": lists, "utility": [pa.float64()], "tag": [pa.string()]}
    )


def _select_edges(content: bytes) -> None:
    edges, points = _written("g.parquet", content), _written("p.parquet", _points())
    r = random.Random(len(content))
    more: dict[str, Any] = r.choice([{}, {"on_bad_rows": "drop"}, {"objective": "coverage"}, {"max_similarity": 0.5}])
    subsel.select(points if r.random() < 0.7 else None, graph=edges, size=1, engine="local", **(QUIET | more))


def _make_edges(r: random.Random) -> bytes:
    ends = [pa.int8(), pa.int64(), pa.int32(), pa.uint64()]
    return _table(r, {"src": ends, "dst": ends, "similarity": [pa.float32(), pa.float64()]})


# ---------------------------------------------------------------------------------------------------------- JSON, TOML
def _config(content: bytes) -> None:
    SelectConfig.load(_written("c.toml", content))


def _make_config(r: random.Random) -> bytes:
    names = [*SelectConfig.model_fields, "nope"]
    lines = []
    for name in r.sample(names, r.randrange(1, 6)):
        given = value(r)
        with contextlib.suppress(TypeError):
            lines.append(f"{name} = {_toml(given)}")
    return "\n".join(lines).encode("utf-8", "replace")


def _toml(given: Any) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in given.items()) + "}"
    if isinstance(given, list):
        return "[" + ", ".join(map(_toml, given)) + "]"
    return '""' if given is None else json.dumps(given) if isinstance(given, str) else repr(given)


def _altered(r: random.Random, content: Any) -> Any:
    """Return JSON with one value of it replaced, or one key gone."""
    if isinstance(content, dict) and content and r.random() < 0.9:
        key = r.choice(list(content))
        if r.random() < 0.1:
            return {name: one for name, one in content.items() if name != key}
        return content | {key: _altered(r, content[key])}
    if isinstance(content, list) and content and r.random() < 0.8:
        at = r.randrange(len(content))
        return [*content[:at], _altered(r, content[at]), *content[at + 1 :]]
    return value(r)


def _manifest(content: bytes) -> None:
    shutil.copytree(HERE / "subset", "out")
    _written("out/_manifest.json", content)
    with contextlib.suppress(SubselError):
        subsel.score("out", graph=HERE / "graph.parquet", progress=False)
    with contextlib.suppress(SubselError):
        subsel.make_page("out")
    table = formats.points()
    subsel.select(table, size=2, output="out", overwrite=True, **QUIET, neighbors=2)
    assert len(json.loads(Path("out/_manifest.json").read_text())["files"]) == 1


def _placed(folder: str, content: bytes) -> bool:
    """Copy a folder of this version's here; bytes are JSON: which file of it is replaced, and by what."""
    try:
        change = json.loads(content)
        name, inside = str(change["file"]), base64.b64decode(change["bytes"])
    except (ValueError, TypeError, KeyError):
        return False
    if name not in _files_of(folder):
        return False
    shutil.copytree(HERE / folder, folder)
    _written(f"{folder}/{name}", inside)
    return True


@cache
def _files_of(folder: str) -> tuple[str, ...]:
    root = HERE / folder
    return tuple(sorted(str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()))


def _make_file(folder: str, r: random.Random) -> bytes:
    name = r.choice(_files_of(folder))
    content = (HERE / folder / name).read_bytes()
    content = (
        json.dumps(_altered(r, json.loads(content))).encode()
        if name.endswith(".json") and r.random() < 0.8
        else mutated(r, content)
    )
    return _as_file(name, content)


def _as_file(name: str, content: bytes) -> bytes:
    return json.dumps({"file": name, "bytes": base64.b64encode(content).decode()}).encode()


def _as_they_are(folder: str) -> list[bytes]:
    return [_as_file(name, (HERE / folder / name).read_bytes()) for name in _files_of(folder)[:2]]


def _subset(content: bytes) -> None:
    if not _placed("subset", content):
        return
    before, table = str(HERE / "subset"), formats.points()
    asked: list[Callable[[], Any]] = [
        lambda: subsel.compare("subset", before),
        lambda: subsel.changes(before, "subset"),
        lambda: subsel.make_page("subset"),
        lambda: subsel.select(table, include="subset", size=10, neighbors=2, **QUIET),
    ]
    for ask in asked:
        with contextlib.suppress(SubselError):
            ask()
    subsel.changes("subset", before)


def _run_directory(content: bytes) -> None:
    if not _placed("run", content):
        return
    expected = json.loads((HERE / "expected.json").read_text())
    with contextlib.suppress(SubselError):
        subsel.explain("run", expected["ids"][0])
    subsel.select(formats.points(), run_dir="run", resume=True, **expected["asked"])


def _growing(content: bytes) -> None:
    if not _placed("growing", content):
        return
    table = formats.points()
    with contextlib.suppress(SubselError):
        subsel.select(table, graph="growing", size=2, **QUIET)
    graph = subsel.open_graph("growing")
    graph.remove(table["id"].slice(0, 3), progress=False)
    graph.add(table.slice(0, 3), progress=False)
    graph.save()
    assert len(subsel.open_graph("growing")) == len(graph)


# ---------------------------------------------------------------------------------------------------------- addresses
_PARTS = [
    "file:",
    "file://",
    "///",
    "s3://",
    "s3a:",
    "gs://",
    "hdfs://h",
    "memory://",
    "ftp://",
    "http://",
    "@",
    "%2e%2e",
    "%00",
    "%",
    "..",
]
_PARTS += [
    "/",
    "*",
    "**",
    "{a,b}",
    "[",
    "]",
    "?",
    "#",
    ":",
    "a",
    "p.parquet",
    "\x00",
    "\n",
    "\ud800",
    "~",
    "-",
    " ",
    "é",
    "localhost",
    "C:\\",
]


def _address(content: bytes) -> None:
    text = content.decode("utf-8", "surrogateescape")
    from subsel.storage import place_of

    if any(
        scheme in text.lower() for scheme in ("s3", "gs:", "gcs", "hdfs", "viewfs", "abfs", "http", "ftp", "github")
    ):
        place_of(text)  # nothing is asked of a network
        return
    _written("p.parquet", _points())
    Path("there").mkdir()
    before = sorted(map(str, Path().iterdir()))
    try:
        subsel.select(text, size=1, engine="local", output="there/out", **QUIET)
    except SubselError:
        assert sorted(map(str, Path().iterdir())) == before and not list(Path("there").iterdir())
        raise


def _make_address(r: random.Random) -> bytes:
    return "".join(r.choice(_PARTS) for _ in range(r.randrange(1, 7))).encode("utf-8", "surrogatepass")


TARGETS = {
    "config": Target(lambda: [default_toml().encode()], _make_config, _config),
    "points": Target(lambda: [_points()], _make_points, _select_points),
    "edges": Target(lambda: [parquet(pa.table(EDGES))], _make_edges, _select_edges),
    "manifest": Target(
        lambda: [(HERE / "subset" / "_manifest.json").read_bytes()],
        lambda r: json.dumps(_altered(r, json.loads((HERE / "subset" / "_manifest.json").read_bytes()))).encode(),
        _manifest,
    ),
    "subset": Target(lambda: _as_they_are("subset"), partial(_make_file, "subset"), _subset),
    "run": Target(lambda: _as_they_are("run"), partial(_make_file, "run"), _run_directory),
    "growing": Target(lambda: _as_they_are("growing"), partial(_make_file, "growing"), _growing),
    "address": Target(lambda: [b"p.parquet", b"*.parquet"], _make_address, _address),
}
