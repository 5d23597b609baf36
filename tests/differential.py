"""Dirty inputs, and what each engine makes of them before anything long: the front of a selection, run on both."""

from __future__ import annotations

import math
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from subsel.errors import SubselError
from subsel.input.edges import KnownPoints, as_neighbor_graph
from subsel.input.ids import shown, storage_type
from subsel.input.rows import RowChecker
from subsel.input.taking import kept_columns
from subsel.input.types import as_plain, plain_type
from subsel.input.wishes import Constraints
from subsel.request import Request
from subsel.schema import Status
from subsel.stages.local import LocalStages

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Case:
    """Files of points, files of edges (None: the graph would be made), and options."""

    files: list[tuple[str, pa.Table]]
    edges: list[tuple[str, pa.Table]] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def written(self):
        """Write the files; yield the request's arguments. Both engines are asked inside, for messages name paths."""
        with tempfile.TemporaryDirectory() as folder:
            places = {}
            for what, files in (("points", self.files), ("edges", self.edges or [])):
                for name, table in files:
                    place = Path(folder, what, name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    pq.write_table(table, place)
                    places[what] = str(Path(folder, what))
            yield places["points"], places.get("edges")

    def shuffled(self, seed: int) -> Case:
        """Return the same rows in other files, in another order; types go with their rows' files."""
        rng = np.random.default_rng(seed)

        def turned(files):
            names = rng.permutation(len(files))
            mixed = []
            for i, (name, table) in zip(names, files, strict=True):
                rows = table.take(pa.array(rng.permutation(len(table)), pa.int64()))
                folder, _, _ = name.rpartition("/")
                cut = int(rng.integers(0, len(rows) + 1))
                for j, piece in enumerate((rows.slice(0, cut), rows.slice(cut))):
                    mixed.append((f"{folder}/{i}-{j}.parquet".lstrip("/"), piece))
            return mixed

        return Case(turned(self.files), None if self.edges is None else turned(self.edges), self.options)


@dataclass(frozen=True)
class Outcome:
    """What came of a case: an error's message, or the points, and what was left out."""

    error: str | None = None
    kind: str | None = None
    utility: dict[Any, float] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    dropped_edges: dict[str, int] = field(default_factory=dict)
    edges: int | None = None
    wished: dict[str, frozenset[Any]] = field(default_factory=dict)


def outcome_of(call, *args) -> Outcome:
    try:
        return call(*args)
    except SubselError as error:
        assert "\n" not in str(error), f"more than one line: {error}"
        return Outcome(error=str(error))


def _request(case: Case, data: Any, graph: Any, engine: Any) -> Request:
    options = {"size": 1, "recall_sample": 0} | case.options
    return Request.of(data, purpose="select from", graph=graph, engine=engine, **options)


def _plain(value: Any) -> Any:
    """Return what a value is, whatever type holds it: NaN is itself, and halves are numbers."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _named(ids: pa.Array, kind: pa.DataType) -> list[Any]:
    return [one.bytes if hasattr(one, "bytes") else one for one in shown(ids, kind)]


def locally(case: Case, data: Any, graph: Any) -> Outcome:
    stages = LocalStages(_request(case, data, graph, "local"))
    stages.read(lambda what, share: None)
    stages.check_wishes([1])
    points = stages.points
    names = _named(points.ids, points.id_type)
    dropped_edges, edges = {}, None
    if graph is not None:
        known = KnownPoints(points.ids, points.id_type, points.rows, points.source_rows)
        found = as_neighbor_graph(stages.user_graph, known, stages.config)
        dropped_edges, edges = found.dropped, found.graph.n_edges
    keep = list(stages.config.keep_columns)
    kept = kept_columns(stages.source, keep, points.rows).to_pylist() if keep else [{}] * len(names)
    return Outcome(
        kind=str(storage_type(points.id_type)),
        utility=dict(zip(names, points.utility.tolist(), strict=True)),
        kept={name: tuple(map(_plain, row.values())) for name, row in zip(names, kept, strict=True)},
        dropped=points.dropped,
        dropped_edges=dropped_edges,
        edges=edges,
        wished={status.name: frozenset(names[i] for i in rows) for status, rows in stages.wished.items() if len(rows)},
    )


def on_spark(spark: Any, case: Case, data: Any, graph: Any) -> Outcome:
    from pyspark.sql import functions as F

    from subsel.engines.spark.neighbors import Rules, check_edges, known_ids
    from subsel.engines.spark.parcels import plain_errors
    from subsel.stages.spark import SparkStages

    stages = SparkStages(spark, _request(case, data, graph, spark), "run")
    stages.read(lambda what, share: None)
    stages.check_wishes([1])
    points, config = stages.points, stages.config
    dropped_edges, edges = {}, None
    with plain_errors():
        if graph is not None:
            rules = Rules.of(points, config)
            good, dropped_edges = check_edges(
                stages.inputs.edges, known_ids(points, rules), points.columns.id_type, config
            )
            ends = F.least("src", "dst"), F.greatest("src", "dst")
            edges = good.select(*ends).distinct().count()
        rows = points.wide.toArrow().combine_chunks()
        wished = {
            status.name: _named(
                as_plain(one.ids.toArrow().column(0).combine_chunks(), storage_type(stages.inputs.id_type)),
                stages.inputs.id_type,
            )
            for status, one in stages.wished.items()
        }
    kinds = [(one.name, plain_type(one.type)) for one in rows.schema]
    batch = pa.RecordBatch.from_arrays(
        [
            as_plain(pa.concat_arrays(rows.column(name).chunks) if len(rows) else pa.array([], kind), kind)
            for name, kind in kinds
        ],
        names=[name for name, _ in kinds],
    )
    good = RowChecker(points.columns, config, points.lengths).check(batch)
    assert len(good.ids) == points.n, "the frame has other rows than were counted"
    names = _named(good.ids, points.columns.id_type)
    keep = list(config.keep_columns)
    kept = batch.select(keep).take(pa.array(good.kept)).to_pylist() if keep else [{}] * len(names)
    assert len(set(names)) == len(names), "an id stands twice"
    wished = {name: frozenset(ids) & set(names) for name, ids in wished.items() if set(ids) & set(names)}
    inside, outside = (wished.get(status.name, frozenset()) for status in (Status.INCLUDED, Status.EXCLUDED))
    # Where rows were dropped Spark does so later, for only then it knows whose.
    Constraints(len(inside), len(outside)).check(points.n, 1, 0, None)
    return Outcome(
        kind=str(storage_type(points.columns.id_type)),
        utility=dict(zip(names, good.utility.tolist(), strict=True)),
        kept={name: tuple(map(_plain, row.values())) for name, row in zip(names, kept, strict=True)},
        dropped=points.dropped,
        dropped_edges=dropped_edges,
        edges=edges,
        wished=wished,
    )


# ------------------------------------------------------------------ dirty inputs
_VECTORS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, -1.0], [1.0, 0.0], [-0.0, 1.0]]
_ODD = [
    None,
    [],
    [0.0, 0.0],
    [NAN, 1.0],
    [INF, 0.0],
    [1.0],
    [1.0, 2.0, 3.0],
    [None, 1.0],
    [1e300, 1.0],
    [1e30, 1e30],
    [1e-45, 0.0],
    [1e-320, 0.0],
]

_IDS = {
    "int": ([0, 1, 2, 3, 4, 5, -1, 7], [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32()]),
    "signs": ([0, 1, 2, 2**63, 2**64 - 1, -1, -(2**63)], [pa.uint64(), pa.int64()]),
    "uint64": ([0, 1, 2, 2**63, 2**63 + 1, 2**64 - 1], [pa.uint64()]),
    "text": (
        ["a", "b", "c", "é", "", "\U0001f600", "\uffff"],
        [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())],
    ),
    "bytes": ([b"a", b"b", b"\xff\x00", b"", b"\x80"], [pa.binary(), pa.large_binary()]),
    "fixed": ([b"aa", b"bb", b"\xff\x00", b"\x80\x00"], [pa.binary(2)]),
    "decimal": (
        [Decimal(1), Decimal(2), Decimal(-3), Decimal(44), Decimal("1.5")],
        [pa.decimal128(10, 0), pa.decimal128(12, 2), pa.decimal128(18, 0)],
    ),
    "wide": (
        [Decimal(1), Decimal(2**63), Decimal(2**64 - 1), Decimal(7), Decimal(2**70)],
        [pa.decimal128(20, 0), pa.decimal128(38, 0)],
    ),
    "mixed": ([0, 1, 2, 3, 5], [pa.int16(), pa.uint64(), pa.decimal128(12, 0), pa.int64()]),
    "strange": ([1, 2, 3], [pa.float64(), pa.bool_(), pa.date32(), pa.null()]),
}
_UTILITIES = {
    "double": ([None, NAN, INF, 0.0, -0.0, 1.0, 1.0, 2.5], [pa.float64(), pa.float32(), pa.float16()]),
    "int": ([None, 0, 1, 1, 2], [pa.int8(), pa.int64(), pa.uint16(), pa.uint64(), pa.float32(), pa.null()]),
    "large": ([2**60 + 1, 2**60, 1], [pa.int64(), pa.uint64()]),
    "decimal": (
        [None, Decimal("0.5"), Decimal("1.1"), Decimal("0.07")],
        [pa.decimal128(5, 2), pa.decimal128(9, 4), pa.float64(), pa.decimal128(5, 2)],
    ),
    "bool": ([None, True, False], [pa.bool_()]),
    "text": (["1", "2"], [pa.string()]),
}
_LISTS = [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16())]
_PROBABILITIES = [
    [0.5, 0.5],
    [0.9, 0.1],
    [0.25, 0.75],
    [1.0, 0.0],
    None,
    [NAN, 1.0],
    [0.9, 0.3],
    [-0.5, 1.5],
    [1.0],
    [],
]


def _good(value: Any) -> bool:
    return isinstance(value, str) or (value is not None and math.isfinite(value))


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return values as a column of a type, null where it cannot hold one."""
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array([_held(value, kind) for value in values], kind)


def _held(value: Any, kind: pa.DataType) -> Any:
    """Return a value as a type takes it, None where it cannot."""
    if pa.types.is_null(kind) or value is None:
        return None
    try:
        for holds, convert in (
            (pa.types.is_boolean, bool),
            (pa.types.is_decimal, Decimal),
            (pa.types.is_date, int),
            (pa.types.is_float16, np.float16),
            (pa.types.is_floating, float),
        ):
            if holds(kind):
                value = convert(value)
                break
        pa.array([value], kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError, ArithmeticError):
        return None
    return value


def _lists(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return lists as a column of a type; of fixed size where all are as long."""
    item = kind.value_type
    if pa.types.is_integer(item):
        least = 0 if pa.types.is_unsigned_integer(item) else -100

        def whole(v: float | None) -> int | None:
            return int(v) if v is not None and least <= v < 100 else None

        values = [None if one is None else list(map(whole, one)) for one in values]
    elif pa.types.is_float16(item):
        with np.errstate(over="ignore"):
            values = [None if one is None else [None if v is None else np.float16(v) for v in one] for one in values]
    return pa.array(values, kind)


@st.composite
def cases(draw: Any, with_edges: bool | None = None) -> Case:
    """Small folders of files in which much is wrong."""
    dirt = draw(st.sampled_from([0, 0, 1, 3, 3]))  # how many of four vectors are odd
    pool, id_kinds = _IDS[draw(st.sampled_from([*["int", "text"] * 3, *_IDS]))]
    edges = draw(st.sampled_from([False, False, True])) if with_edges is None else with_edges
    utility = draw(st.sampled_from([None, None, *["double", "int", "large", "decimal", "bool"] * 3, "text"]))
    probabilities = utility is None and draw(st.booleans())
    options: dict[str, Any] = {
        "on_bad_rows": draw(st.sampled_from(["drop", "drop", "drop", "error"])),
        "metric": draw(st.sampled_from(["cosine", "inner_product", "l2"])),
    }
    if probabilities:
        options |= {
            "probabilities": "p",
            "utility_from": draw(st.sampled_from(["margin", "entropy", "least_confidence"])),
        }
    keep = draw(st.booleans())
    flag = draw(st.sampled_from([False, False, True]))
    layout = draw(st.sampled_from(["flat", "flat", "sub", "hive"]))
    if keep or layout == "hive":
        options["keep_columns"] = (["tag"] if keep else []) + (["part"] if layout == "hive" else [])
    if flag:
        options[draw(st.sampled_from(["include", "exclude"]))] = "flag"
    files, whole = [], []
    for i in range(draw(st.integers(1, 3))):
        n = draw(st.integers(0, 3 if i else 7))
        ids = draw(st.lists(st.sampled_from([*pool, *pool, None] if dirt else pool), min_size=n, max_size=n))
        some = st.sampled_from([*_VECTORS * 2, *_ODD[: 4 * dirt]] if dirt else _VECTORS)
        vectors = draw(st.lists(some, min_size=n, max_size=n))
        kind = draw(st.sampled_from([*_LISTS, pa.list_(pa.float32(), 2), pa.list_(pa.int16()), pa.list_(pa.uint64())]))
        if pa.types.is_fixed_size_list(kind):
            vectors = [v if v is None or len(v) == 2 else None for v in vectors]
        columns = {
            "id": _column(ids, draw(st.sampled_from(id_kinds))),
            "embedding": _lists(vectors, kind),
            "tag": pa.array(draw(st.lists(st.sampled_from(["x", "y", None]), min_size=n, max_size=n)), pa.string()),
            "flag": pa.array(draw(st.lists(st.sampled_from([True, False, None]), min_size=n, max_size=n)), pa.bool_()),
            "other": pa.array(range(n), pa.timestamp("ns")),
        }
        if utility is not None:
            values, kinds = _UTILITIES[utility]
            good = [one for one in values if _good(one)]
            chosen = draw(st.lists(st.sampled_from(values if dirt else good), min_size=n, max_size=n))
            columns["utility"] = _column(chosen, draw(st.sampled_from(kinds)))
        if probabilities:
            some = st.sampled_from([*_PROBABILITIES[:4] * 2, *_PROBABILITIES[4:]] if dirt else _PROBABILITIES[:4])
            columns["p"] = _lists(draw(st.lists(some, min_size=n, max_size=n)), draw(st.sampled_from(_LISTS)))
        if layout == "hive":
            columns.pop("part", None)
        lost = draw(st.sampled_from([None] * 40 + ["utility", "tag", "flag", "id", "embedding"]))
        names = draw(st.permutations([name for name in columns if name != lost]))
        folder = {"flat": "", "sub": f"d{i}/" if i % 2 else "", "hive": f"part={'ab'[i % 2] if dirt else i}/"}[layout]
        files.append((f"{folder}{i}.parquet", pa.table({name: columns[name] for name in names})))
        whole += [one for one in ids if one is not None]
    graph = None
    if edges:
        kinds = st.sampled_from(id_kinds)
        graph = [_edges(draw, i, [*(whole or pool), *pool, *([None] if dirt else [])], kinds, dirt) for i in (0, 1)]
        graph = graph[: draw(st.integers(1, 2))]
    return Case(files, graph, options)


def _edges(draw: Any, number: int, ends: list[Any], kinds: Any, dirt: int) -> tuple[str, pa.Table]:
    n = draw(st.integers(0, 8))
    src, dst = (draw(st.lists(st.sampled_from(ends), min_size=n, max_size=n)) for _ in range(2))
    values, value_kinds = _UTILITIES[draw(st.sampled_from(["double", "double", "int", "decimal"]))]
    some = [*values, -1] if dirt else [one for one in values if _good(one)]
    similarity = _column(
        draw(st.lists(st.sampled_from(some), min_size=n, max_size=n)), draw(st.sampled_from(value_kinds))
    )
    table = pa.table({"src": _column(src, draw(kinds)), "dst": _column(dst, draw(kinds)), "similarity": similarity})
    return f"{number}.parquet", table
