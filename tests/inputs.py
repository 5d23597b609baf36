"""Prints the table "What may come in" of docs/inputs.md: every kind of input, tried on both engines.

    python -m tests.inputs            # the whole of it, as Markdown
    python -m tests.inputs --write    # into docs/inputs.md
    python -m tests.inputs Delta …    # rows with these words

A cell is "accepted" where all six points arrive, else what was left out, or the one line of the refusal.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

import subsel
from subsel.errors import SubselError
from subsel.request import Request
from subsel.stages.local import LocalStages
from tests.made import Made

MADE = Made("inputs.md", "tests.inputs")
N = 6
X = np.array([[1, 0], [0, 1], [1, 1], [0.5, 1], [-1, 1], [2, 1]], np.float32)
EDGES = {"src": [0, 1, 2, 3, 4], "dst": [1, 2, 3, 4, 5], "similarity": [0.5, 0.4, 0.3, 0.2, 0.1]}


@dataclass(frozen=True)
class Given:
    """What is given to `subsel.select`."""

    data: Any = None
    graph: Any = None
    utility: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    whole: bool = False  # shows only while the graph is made


@dataclass(frozen=True)
class Row:
    """A kind of input: what makes one, given a folder (and a session, for Spark)."""

    what: str
    make: Callable[..., Given] | None
    spark: Callable[..., Given] | None
    needs_spark: bool


SECTIONS: list[tuple[str, list[Row]]] = []


def section(title: str) -> None:
    SECTIONS.append((title, []))


def row(what: str, make: Callable[..., Any], spark: Any = "same", needs_spark: bool = False) -> None:
    SECTIONS[-1][1].append(Row(what, make, make if spark == "same" else spark, needs_spark))


def table(**columns: Any) -> pa.Table:
    base = {"id": pa.array(range(N)), "embedding": pa.array(X.tolist(), pa.list_(pa.float32()))}
    return pa.table({name: value for name, value in (base | columns).items() if value is not None})


def written(place: Path, rows: pa.Table | None = None) -> str:
    place.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table() if rows is None else rows, place)
    return str(place)


def file_of(**columns: Any) -> Callable[[Path], Given]:
    return lambda t: Given(written(t / "p.parquet", table(**columns)))


def halves(t: Path, first: str, second: str) -> None:
    written(t / first, table().slice(0, 3))
    written(t / second, table().slice(3))


def ids_of(kind: pa.DataType, values: Any = None) -> Callable[[Path], Given]:
    return file_of(id=pa.array(range(N) if values is None else values, kind))


# ---------------------------------------------------------------------------------------------------------- places
section("Places")
row("a Parquet file", lambda t: Given(written(t / "p.parquet")))
row("`pathlib.Path`", lambda t: Given(Path(written(t / "p.parquet"))))
row("`file://` URI", lambda t: Given("file://" + written(t / "p.parquet")))


def _on_s3(t: Path) -> Given:
    return Given(os.environ["SUBSEL_TEST_BUCKET"] + "/p.parquet")


row("`s3://` URI (Spark: without `hadoop-aws`)", _on_s3)


def _layout(first: str, second: str, where: str = "", **options: Any) -> Callable[[Path], Given]:
    def make(t: Path) -> Given:
        halves(t / "in", first, second)
        return Given(str(t / "in") + where, options=options)

    return make


row("a folder", _layout("a.parquet", "b.parquet"))
row("a folder with subfolders", _layout("a.parquet", "x/y/b.parquet"))
row("hive partitions, one of them kept", _layout("c=1/a.parquet", "c=2/b.parquet", keep_columns=["c"]))
row("hive partition `_c=1`", _layout("_c=1/a.parquet", "_c=2/b.parquet", keep_columns=["_c"]))
row("a pattern `in/*.parquet`", _layout("a.parquet", "b.parquet", "/*.parquet"))
row("a pattern `in/{a,b}.parquet`", _layout("a.parquet", "b.parquet", "/{a,b}.parquet"))
row("a pattern that nothing matches", _layout("a.parquet", "b.parquet", "/*.arrow"))


def _list(t: Path) -> Given:
    halves(t / "in", "a.parquet", "b.parquet")
    return Given([str(t / "in" / "b.parquet"), str(t / "in" / "a.parquet")])


row("a list of paths", _list)
row("a name with brackets, `p[1].parquet`", lambda t: Given(written(t / "p[1].parquet")))
row("nothing there", lambda t: Given(str(t / "none")))


def _empty(t: Path) -> Given:
    (t / "in").mkdir()
    return Given(str(t / "in"))


row("an empty folder", _empty)


def _zero_bytes(t: Path) -> Given:
    halves(t / "in", "a.parquet", "b.parquet")
    (t / "in" / "c.parquet").touch()
    return Given(str(t / "in"))


row("a file of no bytes among others", _zero_bytes)


def _text(t: Path) -> Given:
    halves(t / "in", "a.parquet", "b.parquet")
    (t / "in" / "notes.txt").write_text("no Parquet")
    return Given(str(t / "in"))


row("a text file among others", _text)
row("files without rows only", lambda t: Given(written(t / "p.parquet", table().slice(0, 0))))


def _null_first(t: Path) -> Given:
    written(t / "in" / "a.parquet", pa.table({"id": pa.nulls(0), "embedding": pa.nulls(0)}))
    written(t / "in" / "b.parquet")
    return Given(str(t / "in"))


row("an empty first file, its columns of type null", _null_first)


def _several(first: dict[str, Any], second: dict[str, Any], **options: Any) -> Callable[[Path], Given]:
    def make(t: Path) -> Given:
        written(t / "in" / "a.parquet", table(**first).slice(0, 3))
        written(t / "in" / "b.parquet", table(**second).slice(3))
        return Given(str(t / "in"), options=options)

    return make


F16 = pa.array([[np.float16(v) for v in one] for one in X.tolist()], pa.list_(pa.float16()))
row("float16 in one file, float32 in another", _several({"embedding": F16}, {}))
row("int32 and int64 ids", _several({"id": pa.array(range(N), pa.int32())}, {}))
row("int and double utilities", _several({"utility": pa.array(range(N))}, {"utility": pa.array([0.5] * N)}))
row("int and string ids", _several({}, {"id": pa.array(list("abcdef"))}))
row("a utility column in one file only", _several({}, {"utility": pa.array([0.5] * N)}))
row("a kept column in one file only", _several({}, {"tag": pa.array(list("abcdef"))}, keep_columns=["tag"]))
row("a wish's column in one file only", _several({}, {"in": pa.array([True] * N)}, include="in"))
row("other columns of clashing types", _several({"o": pa.array(range(N))}, {"o": pa.array(list("abcdef"))}))


def _delta(t: Path) -> Given:
    import deltalake

    deltalake.write_deltalake(str(t / "t"), table())
    deltalake.write_deltalake(str(t / "t"), table(), mode="overwrite")
    return Given(str(t / "t"))


row("a Delta table (Spark: without `delta-spark`)", _delta)


def _mark(*names: str) -> Callable[[Path], Given]:
    def make(t: Path) -> Given:
        written(t / "t" / "data" / "p.parquet")
        (t / "t").joinpath(*names).parent.mkdir(parents=True, exist_ok=True)
        (t / "t").joinpath(*names).write_text("{}")
        return Given(str(t / "t"))

    return make


row("an Iceberg table (Spark: without its package)", _mark("metadata", "v1.metadata.json"))
row("a Hudi table (Spark: without its package)", _mark(".hoodie", "hoodie.properties"))


def _npy(t: Path) -> Given:
    np.save(t / "x.npy", X)
    return Given(str(t / "x.npy"))


def _npz(t: Path) -> Given:
    np.savez(t / "x.npz", X=X)
    return Given(str(t / "x.npz"))


row("a `.npy` file", _npy)
row("a `.npz` file", _npz)


def _open(t: Path) -> Given:
    return Given((Path(written(t / "p.parquet"))).open("rb"))


row("an open file", _open)

# ---------------------------------------------------------------------------------------------------------- numpy
section("numpy arrays")
for kind in ("f2", "f4", "f8", ">f4", "g", "i1", "i8", "u1"):
    row(f"`{np.dtype(kind)}`" + (" (big-endian)" if kind[0] == ">" else ""), lambda t, kind=kind: Given(X.astype(kind)))
row("`bool`", lambda t: Given(X > 0))
row("`complex64`", lambda t: Given(X.astype("c8")))
row("`object`", lambda t: Given(X.astype(object)))
row("shape (n,)", lambda t: Given(X[:, 0]))
row("shape (n, 0)", lambda t: Given(X[:, :0]))
row("a list of lists", lambda t: Given(X.tolist()))


def _masked(t: Path) -> Given:
    masked = np.ma.masked_array(X)
    masked[2, 1] = np.ma.masked
    return Given(masked, options={"on_bad_rows": "drop"})


row('masked: what is masked is no value (`on_bad_rows="drop"`)', _masked)
row("`utility=` as an array", lambda t: Given(X, utility=np.arange(N)))
row("`utility=` of another length", lambda t: Given(X, utility=np.arange(N - 1)))
row("`utility=` complex", lambda t: Given(X, utility=np.arange(N) * 1j))
row("`utility=` dates", lambda t: Given(X, utility=np.arange(N).astype("M8[s]")))

# ---------------------------------------------------------------------------------------------------------- Arrow
section("Arrow")
row("table", lambda t: Given(table()))
row("record batch", lambda t: Given(table().to_batches()[0]))
row(
    "record batch reader, with kept columns",
    lambda t: Given(
        pa.RecordBatchReader.from_batches(
            table(tag=pa.array(list("abcdef"))).schema, table(tag=pa.array(list("abcdef"))).to_batches()
        ),
        options={"keep_columns": ["tag"]},
    ),
)
row("in-memory dataset", lambda t: Given(pads.dataset(table())))
row("dataset of files", lambda t: Given(pads.dataset(written(t / "p.parquet"))))
WORDS = pa.array(list("abcdef"))


def _kept(values: pa.Array) -> Callable[[Path], Given]:
    return lambda t: Given(table(tag=values), options={"keep_columns": ["tag"]})


row("string_view, kept", _kept(WORDS.cast(pa.string_view())))
row("binary_view, kept", _kept(WORDS.cast(pa.binary()).cast(pa.binary_view())))
row("string_view ids", lambda t: Given(table(id=WORDS.cast(pa.string_view()))))
row(
    "run-end-encoded ids",
    lambda t: Given(table(id=pa.RunEndEncodedArray.from_arrays(pa.array(range(1, N + 1), pa.int32()), WORDS))),
)
row("dictionary ids", lambda t: Given(table(id=WORDS.dictionary_encode())))
row(
    "large_string ids, large_list embeddings",
    lambda t: Given(
        table(id=WORDS.cast(pa.large_string()), embedding=pa.array(X.tolist(), pa.large_list(pa.float32())))
    ),
)
row("list_view embeddings", lambda t: Given(table(embedding=pa.array(X.tolist(), pa.list_view(pa.float32())))))
row(
    "large_list_view embeddings",
    lambda t: Given(table(embedding=pa.array(X.tolist(), pa.large_list_view(pa.float32())))),
)
row("fixed-size-list embeddings", lambda t: Given(table(embedding=pa.array(X.tolist(), pa.list_(pa.float32(), 2)))))
row(
    "tensors as embeddings",
    lambda t: Given(table(embedding=pa.FixedShapeTensorArray.from_numpy_ndarray(X[:, :, None].copy()))),
)
row("two columns `id`", lambda t: Given(table().append_column("id", pa.array(range(N)))))

# ---------------------------------------------------------------------------------------------------------- frames
section("pandas, polars, Hugging Face")


def _pandas(**columns: Any) -> Any:
    import pandas as pd

    return pd.DataFrame({"id": range(N), "embedding": list(X)} | columns)


row("pandas, embeddings as an object column of arrays", lambda t: Given(_pandas()))
row("pandas, arrays of shape (1, d)", lambda t: Given(_pandas(embedding=[one[None] for one in X])))
row("pandas, categorical ids", lambda t: Given(_pandas(id=__import__("pandas").Categorical(list("abcdef")))))
row("pandas, nullable ids (`Int64`)", lambda t: Given(_pandas(id=__import__("pandas").array(range(N), "Int64"))))
row("pandas, ids of several types", lambda t: Given(_pandas(id=[1, "a", 2, "b", 3, "c"])))


def _twins(t: Path) -> Given:
    frame = _pandas(other=range(N))
    frame.columns = ["id", "embedding", "id"]
    return Given(frame)


row("pandas, two columns `id`", _twins)
row("pandas, `utility=` a series of the same index", lambda t: Given(_pandas(), utility=_pandas()["id"]))
row("pandas, `utility=` a series of another index", lambda t: Given(_pandas(), utility=_pandas()["id"].iloc[::-1]))
row("polars", lambda t: Given(__import__("polars").from_arrow(table())))
row("polars, lazy", lambda t: Given(__import__("polars").from_arrow(table()).lazy()))


def _hugging(**columns: Any) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"id": list(range(N)), "embedding": X.tolist()} | columns)


row("Hugging Face, map-style", lambda t: Given(_hugging()))
row("Hugging Face, iterable", lambda t: Given(_hugging().to_iterable_dataset()))


def _array2d(t: Path) -> Given:
    import datasets

    features = datasets.Features({"id": datasets.Value("int64"), "embedding": datasets.Array2D((1, 2), "float32")})
    rows = {"id": list(range(N)), "embedding": X[:, None].tolist()}
    return Given(datasets.Dataset.from_dict(rows, features=features))


row("Hugging Face, `Array2D`", _array2d)


def _lazy_column(t: Path) -> Given:
    data = _hugging(u=[0.5] * N)
    return Given(data, utility=data["u"])


row("Hugging Face, `utility=` a column", _lazy_column)
row("anything else, such as a dict", lambda t: Given({"id": [1]}))

# ---------------------------------------------------------------------------------------------------------- columns
section("Ids, embeddings, utilities (in Parquet)")
for kind in (pa.int8(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32()):
    row(f"{kind} ids", ids_of(kind))
row("uint64 ids beyond 2^63 (Spark writes decimal(20,0))", ids_of(pa.uint64(), [2**63 + i for i in range(N)]))
row("decimal ids without fraction", ids_of(pa.decimal128(12, 2), [Decimal(i) for i in range(N)]))
row("decimal ids with fractions", ids_of(pa.decimal128(12, 2), [Decimal(i) / 2 for i in range(N)]))
row("decimal ids beyond 64 bits", ids_of(pa.decimal128(38, 0), [Decimal(2**70 + i) for i in range(N)]))
row("string ids", ids_of(pa.string(), list("abcdef")))
row("binary ids", ids_of(pa.binary(), [b"%d" % i for i in range(N)]))
row("fixed-size binary ids", ids_of(pa.binary(2), [b"x%d" % i for i in range(N)]))
row(
    "UUID ids",
    lambda t: Given(
        written(t / "p.parquet", table(id=pa.array([uuid.UUID(int=i).bytes for i in range(N)], pa.uuid())))
    ),
)
row("double ids", ids_of(pa.float64()))
row("bool ids", ids_of(pa.bool_(), [True] * N))
row("date ids", ids_of(pa.date32()))
row("struct ids", ids_of(pa.struct([("a", pa.int64())]), [{"a": i} for i in range(N)]))
row("ids of type null", ids_of(pa.null(), [None] * N))
row("no id column", file_of(id=None))
NO_IDS = {"id_column": None}
row(
    'no ids: `id_column=None` (TOML, command line: `""`)',
    lambda t: Given(written(t / "p.parquet", table(id=None)), options=NO_IDS),
)
row("no ids, several files", lambda t: Given(_layout("a.parquet", "b.parquet")(t).data, options=NO_IDS))
row('`id_column=""`', lambda t: Given(written(t / "p.parquet", table(id=None)), options={"id_column": ""}))
for kind in (pa.float16(), pa.float64(), pa.int8(), pa.uint64()):
    values = [
        [
            np.float16(v) if pa.types.is_float16(kind) else v if pa.types.is_floating(kind) else int(abs(v) + 1)
            for v in one
        ]
        for one in X.tolist()
    ]
    row(f"{kind} embeddings", file_of(embedding=pa.array(values, pa.list_(kind))))
row("embeddings as lists of lists", file_of(embedding=pa.array(X[:, None].tolist(), pa.list_(pa.list_(pa.float32())))))
row("bool embeddings", file_of(embedding=pa.array((X > 0).tolist(), pa.list_(pa.bool_()))))
row("string embeddings", file_of(embedding=pa.array([["a"]] * N)))
row("scalar embeddings", file_of(embedding=pa.array([1.0] * N)))
row("embeddings of no values", file_of(embedding=pa.array([[]] * N, pa.list_(pa.float32()))))
row("no embedding column", file_of(embedding=None))
for kind, values in (
    (pa.float16(), [np.float16(i) for i in range(N)]),
    (pa.int64(), range(N)),
    (pa.uint64(), range(N)),
    (pa.decimal128(5, 2), [Decimal(i) for i in range(N)]),
    (pa.bool_(), [True] * N),
    (pa.string(), list("abcdef")),
    (pa.timestamp("us"), range(N)),
):
    row(f"{kind} utilities", file_of(utility=pa.array(list(values), kind)))
row(
    "columns nobody asks for: ns times, halves, structs",
    file_of(
        a=pa.array(range(N), pa.timestamp("ns")),
        b=pa.array([np.float16(i) for i in range(N)], pa.float16()),
        c=pa.array([{"x": 1}] * N),
    ),
)
row(
    "a kept column of ns times",
    lambda t: Given(
        written(t / "p.parquet", table(when=pa.array(range(N), pa.timestamp("ns")))), options={"keep_columns": ["when"]}
    ),
)
row("columns `id` and `ID`", file_of(ID=pa.array(range(N))))
row(
    "`id.x` and backticks in names",
    lambda t: Given(
        written(t / "p.parquet", pa.table({"id.x": range(N), "e`m": table()["embedding"]})),
        options={"id_column": "id.x", "embedding_column": "e`m"},
    ),
)
row("a line break in a name", lambda t: Given(written(t / "p.parquet", pa.table({"id\n": range(N)}))))

# ---------------------------------------------------------------------------------------------------------- Spark
section("Spark")


def frame(query: Callable[[Any], Any], **given: Any) -> Callable[..., Given]:
    return lambda t, spark: Given(query(spark), **given)


def spark_row(what: str, query: Callable[[Any], Any], **given: Any) -> None:
    row(what, frame(query, **given), needs_spark=True)


def _frame(spark: Any, columns: str = "id, embedding") -> Any:
    rows = [(i, one) for i, one in enumerate(X.tolist())]
    return spark.createDataFrame(rows, "id bigint, embedding array<float>").selectExpr(*columns.split(", "))


spark_row("DataFrame", _frame)
spark_row(
    "DataFrame, dots and backticks in names",
    lambda spark: _frame(spark).toDF("doc.id", "e`m"),
    options={"id_column": "doc.id", "embedding_column": "e`m"},
)
spark_row("DataFrame, columns `id` and `ID`", lambda spark: _frame(spark).selectExpr("id", "embedding", "id as ID"))
spark_row("DataFrame, two columns `id`", lambda spark: _frame(spark).selectExpr("id", "embedding", "id"))
spark_row(
    "DataFrame, decimal ids", lambda s: _frame(s, "cast(id as decimal(20 - 0)) id, embedding".replace(" - ", ","))
)
spark_row("DataFrame, double ids", lambda spark: _frame(spark, "double(id) id, embedding"))


def _vectors(spark: Any) -> Any:
    from pyspark.ml.functions import array_to_vector

    return _frame(spark).select("id", array_to_vector("embedding").alias("embedding"))


spark_row("DataFrame, ML vectors", _vectors)
spark_row("DataFrame, calendar intervals nobody asks for", lambda s: _frame(s, "id, embedding, make_interval(1) other"))
spark_row("DataFrame, ids that are calendar intervals", lambda s: _frame(s, "make_interval(1) id, embedding"))


def _stream(spark: Any) -> Any:
    return spark.readStream.format("rate").load().selectExpr("value as id", "array(float(value)) as embedding")


def _random_ids(spark: Any) -> Any:
    from pyspark.sql import functions

    random = functions.udf(lambda: uuid.uuid4().hex, "string").asNondeterministic()
    return spark.range(3000).select(
        random().alias("id"), functions.expr("array(float(id % 7), 1f, float(id % 11))").alias("embedding")
    )


spark_row("DataFrame, streaming", _stream)
row("DataFrame, ids that change from scan to scan", frame(_random_ids, whole=True), needs_spark=True)
spark_row("DataFrame without ids: `id_column=None`", _frame, options=NO_IDS)
spark_row("DataFrame with `utility=` an array", _frame, utility=np.arange(N))


def _named_table(t: Path, spark: Any) -> Given:
    _frame(spark).createOrReplaceTempView("subsel_points")
    return Given("subsel_points")


row("the name of a table or view", _named_table, needs_spark=True)

# ---------------------------------------------------------------------------------------------------------- graphs
section("Own graphs (points in a file, or none)")


def graph(make: Callable[[Path], Any], with_data: bool = True, **options: Any) -> Callable[[Path], Given]:
    data = table(embedding=None)
    return lambda t: Given(written(t / "p.parquet", data) if with_data else None, graph=make(t), options=options)


def edges_file(t: Path, **columns: Any) -> str:
    return written(t / "g.parquet", pa.table(EDGES | columns))


INDICES = np.array([[i, (i + 1) % N, (i + 2) % N] for i in range(N)])
NEAR = np.tile(np.array([1.0, 0.6, 0.3]), (N, 1))


def _csr() -> Any:
    import scipy.sparse as sp

    return sp.csr_matrix((EDGES["similarity"], (EDGES["src"], EDGES["dst"])), (N, N))


row("edges `src, dst, similarity` in a file", graph(edges_file))
row("edges alone, without points", graph(edges_file, with_data=False))
row("an Arrow table of edges", graph(lambda t: pa.table(EDGES)))
row("edges of uint64, points of int64", graph(lambda t: edges_file(t, src=pa.array(EDGES["src"], pa.uint64()))))
row(
    "edges in integers, decimals or halves",
    graph(lambda t: edges_file(t, similarity=pa.array([np.float16(1)] * 5, pa.float16()))),
)
row(
    "edges with string ends, points with integers", graph(lambda t: edges_file(t, src=list("abcde"), dst=list("bcdef")))
)
row("edges with an unknown end", graph(lambda t: edges_file(t, dst=[1, 2, 3, 4, 99])))
row(
    'edges with a loop, dropped (`on_bad_rows="drop"`)',
    graph(lambda t: edges_file(t, dst=[0, 2, 3, 4, 5]), on_bad_rows="drop"),
)
row("edges with negative similarity", graph(lambda t: edges_file(t, similarity=[-0.5, 0.4, 0.3, 0.2, 0.1])))
row(
    "edges without `similarity`",
    graph(lambda t: written(t / "g.parquet", pa.table(EDGES).drop_columns(["similarity"]))),
)
row("edges with text as similarity", graph(lambda t: edges_file(t, similarity=list("abcde"))))
row("no edges", graph(lambda t: written(t / "g.parquet", pa.table(EDGES).slice(0, 0))))
row("scipy sparse (n, n)", graph(lambda t: _csr()))
row("scipy sparse, complex", graph(lambda t: _csr().astype("c16")))
row("scipy sparse, not square", graph(lambda t: _csr()[:, :4]))
row(
    "scipy sparse of more points than the data",
    graph(lambda t: __import__("scipy.sparse", fromlist=["x"]).eye(9).tocsr()),
)
row("`(indices, similarities)`, (n, k) arrays", graph(lambda t: (INDICES, NEAR)))
row("`(similarities, indices)`, as faiss returns them", graph(lambda t: (NEAR, INDICES)))
row("`(indices, distances)`, a point itself at 0", graph(lambda t: (INDICES, 1 - NEAR)))
row("float indices", graph(lambda t: (INDICES + 0.5, NEAR)))
row("indices beyond the points", graph(lambda t: (INDICES + 9, NEAR)))
row("arrays of unequal shapes", graph(lambda t: (INDICES, NEAR[:, :2])))


def _neighbor_graph(t: Path) -> Any:
    return subsel.neighbors(X, neighbors=2, progress=False).graph


row("`NeighborGraph`, as `subsel.neighbors` returns it", graph(_neighbor_graph))
row("`NeighborGraph` of other points", graph(lambda t: subsel.neighbors(X[:4], neighbors=2, progress=False).graph))

# ---------------------------------------------------------------------------------------------------------- wishes
section("Wishes (`include`, likewise `exclude`)")


def wish(make: Callable[[Path], Any], data: pa.Table | None = None, **options: Any) -> Callable[[Path], Given]:
    return lambda t: Given(written(t / "p.parquet", data), options={"include": make(t), "size": 4} | options)


row("a list of ids", wish(lambda t: [1, 2]))
row("a set, a range", wish(lambda t: range(2)))
row("an array", wish(lambda t: np.array([1, 2])))
row("an Arrow array", wish(lambda t: pa.array([1, 2])))
row("a pandas series", wish(lambda t: __import__("pandas").Series([1, 2])))
row("a polars series", wish(lambda t: __import__("polars").Series([1, 2])))
row("an Arrow table with the id column", wish(lambda t: pa.table({"id": [1, 2]})))
row("a path to one", wish(lambda t: written(t / "w.parquet", pa.table({"id": [1, 2]}))))
row("a boolean column's name", wish(lambda t: "in", table(**{"in": pa.array([True] + [None] * 5)})))
row("`column:NAME`", wish(lambda t: "column:in", table(**{"in": pa.array([True] + [None] * 5)})))
row("a column that is not boolean", wish(lambda t: "embedding"))
row("`column:NAME` that is not there", wish(lambda t: "column:none"))
row("a string that is neither path nor column", wish(lambda t: "nowhere"))
row("unknown ids", wish(lambda t: [1, 99]))
row("2^63, 2^70", wish(lambda t: [1, 2**63]))
row("2^70", wish(lambda t: [1, 2**70]))
row("repeated ids", wish(lambda t: [1, 1]))
row("null ids", wish(lambda t: [1, None]))
row("strings for integer ids", wish(lambda t: ["a"]))
row("nested lists", wish(lambda t: [[1], [2]]))
row("an array of two dimensions", wish(lambda t: np.array([[1], [2]])))
row("a number", wish(lambda t: 3))
row("more than `size`", wish(lambda t: [1, 2, 3], size=2))
row("in both", wish(lambda t: [1, 2], exclude=[2]))


# ---------------------------------------------------------------------------------------------------------- running
def cell(engine: Any, make: Callable[..., Given] | None, needs_spark: bool = False) -> str:
    """Return what an engine says to an input: one cell of the table."""
    if make is None:
        return "—"
    with tempfile.TemporaryDirectory() as folder:
        t = Path(folder)
        session = engine if engine != "local" else None
        try:
            if needs_spark:
                from pyspark.sql import SparkSession

                session = session or SparkSession.getActiveSession()
                given = make(t, session)
            else:
                given = make(t)
            text = _accepted(engine, given, t)
        except SubselError as error:
            text = "refused: " + str(error)
        except Exception as error:
            text = f"RAISES {type(error).__name__}: {error}"
    bucket = os.environ.get("SUBSEL_TEST_BUCKET")
    text = text.replace(f"{folder}/", "").replace(folder, "").replace(bucket or folder, "s3://bucket")
    return re.sub(r"\s*\n\s*", " ⏎ ", text).replace("|", "\\|")


def _accepted(engine: Any, given: Given, t: Path) -> str:
    options = {"size": 3, "recall_sample": 0, "neighbors": 2} | given.options
    if given.whole:
        subsel.select(given.data, engine=engine, output=t / "out", progress=False, **options)
        return "accepted"
    request = Request.of(
        given.data, purpose="select from", graph=given.graph, utility=given.utility, engine=engine, **options
    )
    if engine == "local":
        stages: Any = LocalStages(request)
    else:
        from subsel.api import _on_engine
        from subsel.stages.spark import SparkStages

        request = _on_engine(request)

        stages = SparkStages(engine, request, "run")

    def quiet(what: str, share: float) -> None:
        pass

    report = stages.read(quiet)
    stages.check_wishes([int(options["size"])])
    dropped = report.dropped_rows
    if given.graph is not None:
        dropped = dropped | _dropped_edges(engine, stages, quiet)
    left = "; ".join(f"{count} {reason}" for reason, count in dropped.items())
    assert report.points == N - sum(report.dropped_rows.values()), f"{report.points} points"
    return f"accepted, without {left}" if left else "accepted"


def _dropped_edges(engine: Any, stages: Any, quiet: Any) -> dict[str, int]:
    if engine == "local":
        return stages.neighbors(quiet, None).dropped_edges
    from subsel.engines.spark.neighbors import Rules, check_edges, known_ids
    from subsel.engines.spark.parcels import plain_errors

    points, config = stages.points, stages.config
    with plain_errors():
        known = known_ids(points, Rules.of(points, config))
        return check_edges(stages.inputs.edges, known, points.columns.id_type, config)[1]


def lines(spark: Any, local_only: bool = False, only: Sequence[str] = ()) -> Iterator[str]:
    """Yield the table's lines; without Spark, rows that need none, their local cells only; or rows that have words."""
    for title, rows in SECTIONS:
        if not local_only:
            yield f"\n### {title}\n"
            yield "| input | one machine | Spark |"
            yield "|---|---|---|"
        for one in rows:
            if only and not any(word in one.what for word in only):
                continue
            if local_only:
                if not one.needs_spark:
                    yield f"| {one.what} | {cell('local', one.make)} |"
                continue
            print(one.what, file=sys.stderr)
            here = cell("local", one.make, one.needs_spark)
            yield f"| {one.what} | {here} | {_short(here, cell(spark, one.spark, one.needs_spark))} |"


def _short(here: str, there: str) -> str:
    return "the same" if here == there else there


def committed() -> str:
    """Return the table that docs/inputs.md has."""
    return MADE.committed()


@contextlib.contextmanager
def bucket(address: str) -> Iterator[None]:
    """Let a bucket with a file of points be on an S3 server, and the environment say so."""
    import pyarrow.fs as pafs

    host = address.removeprefix("http://")
    client = pafs.S3FileSystem(
        endpoint_override=host,
        access_key="k",
        secret_key="s",
        region="us-east-1",
        scheme="http",
        allow_bucket_creation=True,
    )
    client.create_dir("guarantees")
    pq.write_table(table(), "guarantees/p.parquet", filesystem=client)
    said = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    said |= {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "SUBSEL_TEST_BUCKET": "s3://guarantees"}
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def main() -> None:
    from moto.server import ThreadedMotoServer

    from tests.spark_fixtures import build_session

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    with bucket("http://{}:{}".format(*server.get_host_and_port())):
        if "--local" in sys.argv:
            print("\n".join(lines(None, local_only=True)))
            return
        spark = build_session("local[2]")
        spark.sparkContext.setLogLevel("OFF")
        spark.conf.set("spark.sql.shuffle.partitions", "2")
        only = [word for word in sys.argv[1:] if not word.startswith("--")]
        text = "\n".join(lines(spark, only=only)).strip()
    MADE.show(text)


if __name__ == "__main__":
    main()
