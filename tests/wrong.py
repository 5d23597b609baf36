"""What can be wrong, one line each: the table of docs/errors.md, and what tests/test_wrong.py tries everywhere.

python -m tests.wrong            # the table, as Markdown
python -m tests.wrong --write    # into docs/errors.md
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from annotated_types import Ge, Gt, Le, Lt
from click.testing import CliRunner

import subsel
from subsel.cli import main
from subsel.config import SelectConfig
from subsel.errors import SubselError
from tests.made import Made

MADE = Made("errors.md", "tests.wrong")
N = 6
X = np.array([[1, 0], [0, 1], [1, 1], [0.5, 1], [-1, 1], [2, 1]], np.float32)
EDGES = {"src": [0, 1, 2, 3, 4], "dst": [1, 2, 3, 4, 5], "similarity": [0.5, 0.4, 0.3, 0.2, 0.1]}
NAN, INF = float("nan"), float("inf")

Make = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Wrong:
    """A wrong request.

    Attributes:
        what: is wrong.
        make: makes it in the working directory; returns the arguments of `subsel.select`.
        reads: whether data are looked at, so that each engine judges by itself.
        spark: what Spark says instead, where that is another thing.
        shell: whether a command line can ask for it.
    """

    what: str
    make: Make
    reads: bool = True
    spark: str | None = None
    shell: bool = True


SECTIONS: dict[str, list[Wrong]] = {}


def section(title: str) -> None:
    SECTIONS[title] = []


def wrong(what: str, make: Make, **more: Any) -> None:
    next(reversed(SECTIONS.values())).append(Wrong(what, make, **more))


def points(**columns: Any) -> str:
    """Write six points, some columns of which are others, or None for left out; return the path."""
    base: dict[str, Any] = {"id": range(N), "embedding": pa.array(X.tolist(), pa.list_(pa.float32()))}
    base |= {"utility": [0.1 * i for i in range(N)]}
    table = {name: value for name, value in (base | columns).items() if value is not None}
    pq.write_table(pa.table(table), "p.parquet")
    return "p.parquet"


def of(make: Callable[[], dict[str, Any]] | None = None, **columns: Any) -> Make:
    """Points with other columns, to be selected from."""
    return lambda: {"data": points(**columns), "size": 2} | (make() if make else {})


def asked(**options: Any) -> Make:
    """Good points, and options that are wrong; what is called makes a value."""
    return lambda: (
        {"data": points(), "size": 2} | {name: one() if callable(one) else one for name, one in options.items()}
    )


def file(name: str, content: bytes | str = "") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def table(name: str, **columns: Any) -> str:
    pq.write_table(pa.table(columns), name)
    return name


def vectors(**at: Any) -> Any:
    rows = X.tolist()
    for number, value in at.items():
        rows[int(number.removeprefix("row"))] = value
    return pa.array(rows, pa.list_(pa.float32()))


# ---------------------------------------------------------------------------------------------------------- places
section("Places")
wrong("nothing there", lambda: {"data": "none.parquet", "size": 2})
wrong("a text file", lambda: {"data": file("p.parquet", "id,embedding\n"), "size": 2})
wrong("a file cut off", lambda: {"data": file("q.parquet", Path(points()).read_bytes()[:-9]), "size": 2})
wrong("a file of no bytes", lambda: {"data": file("p.parquet"), "size": 2})
wrong("an empty folder", lambda: {"data": Path("in").mkdir() or "in", "size": 2})
wrong("a folder of other files", lambda: {"data": file("in/a.csv", "1,2") and "in", "size": 2})
wrong("a pattern that nothing matches", lambda: {"data": "in/*.arrow", "size": 2})
wrong("a credential in an address", lambda: {"data": "s3://me:secret@bucket/p.parquet", "size": 2})
wrong("no rows", lambda: {"data": table("p.parquet", id=pa.array([], pa.int64()), embedding=vectors()[:0]), "size": 2})
wrong("an output in a folder that does not exist", asked(output="no/where/out"), reads=False)
wrong("an output that is there", lambda: {"data": points(), "size": 2, "output": str(Path(file("out/mine")).parent)})
wrong(
    "an output that is there and not ours",
    lambda: {"data": points(), "size": 2, "output": str(Path(file("out/mine")).parent), "overwrite": True},
)
wrong("an output that is the input", lambda: {"data": points(), "size": 2, "output": "p.parquet", "overwrite": True})
wrong(
    "an input in the output",
    lambda: {"data": str(Path("out").mkdir() or Path(points()).rename("out/p.parquet")), "size": 2, "overwrite": True},
)
wrong("an output through a link to nothing", lambda: Path("out").symlink_to("gone") or asked()())
wrong("a run directory with other things in it", asked(run_dir=lambda: str(Path(file("run/mine")).parent)))
wrong("a run directory that is the output", asked(run_dir="out"))
wrong("--resume without a run directory", asked(resume=True))
wrong(
    "a mark of a run directory that is no JSON",
    asked(run_dir=lambda: str(Path(file("run/.subsel-run.json", "{")).parent)),
)
wrong("an audit that is the output", asked(audit="out"))
wrong("a config file that is not there", asked(config="none.toml"), reads=False)
wrong("a config file that is no TOML", asked(config=lambda: file("c.toml", "size = = 3")), reads=False)
wrong("a config file with an unknown key", asked(config=lambda: file("c.toml", "nieghbors = 3")), reads=False)
wrong("a config file of bytes", asked(config=lambda: file("c.toml", b"\xff\xfe\x00")), reads=False)
wrong("a config file with a table for a number", asked(config=lambda: file("c.toml", "[alpha]\nx = 1")), reads=False)

# ---------------------------------------------------------------------------------------------------------- columns
section("Columns")
wrong("no id column", of(id=None))
wrong("no embedding column", of(embedding=None))
wrong("ids that are floats", of(id=[0.5 * i for i in range(N)]))
wrong("ids that are lists", of(id=[[i] for i in range(N)]))
wrong("embeddings that are numbers", of(embedding=[1.0] * N))
wrong("embeddings that are text", of(embedding=[["a", "b"]] * N))
wrong("embeddings of no values", of(embedding=pa.array([[]] * N, pa.list_(pa.float32()))))
wrong("utilities that are text", of(utility=list("abcdef")))
wrong("a utility column that is not there", asked(utility="qualty"))
wrong("a misspelled embedding column", asked(embedding_column="embeding"))
wrong("a kept column that is not there", asked(keep_columns=["url"]))
wrong("a kept column that the subset has", asked(keep_columns=["rank"]), reads=False)
wrong("a cost column that is not there", asked(budget=10, cost="cost"))
wrong("costs that are text", of(lambda: {"budget": 10, "cost": "cost"}, cost=list("abcdef")))
wrong("a group column that is not there", asked(quotas="balanced", groups=["source"]))
wrong("quotas of unknown groups", of(lambda: {"quotas": "wbe=1", "groups": ["source"]}, source=["web"] * N))
wrong("importance that is text", of(lambda: {"objective": "coverage", "importance": "w"}, w=list("abcdef")))
wrong("probabilities that do not sum to 1", of(lambda: {"utility": "margin", "probabilities": "q"}, q=[[0.9, 0.3]] * N))
wrong("probabilities of one class", of(lambda: {"utility": "margin", "probabilities": "q"}, q=[[1.0]] * N))

# ---------------------------------------------------------------------------------------------------------- rows
section("Rows")
wrong("an id that is null", of(id=[0, None, 2, 3, 4, 5]))
wrong("an id twice", of(id=[0, 1, 1, 3, 4, 5]))
wrong("a text id twice", of(id=list("aabcde")))
wrong("an embedding that is null", of(embedding=vectors(row1=None)))
wrong("a null in an embedding", of(embedding=vectors(row1=[None, 1.0])))
wrong("NaN in an embedding", of(embedding=vectors(row1=[NAN, 1.0])))
wrong("infinity in an embedding", of(embedding=vectors(row1=[INF, 1.0])))
wrong("a zero vector under cosine", of(embedding=vectors(row1=[0.0, 0.0])))
wrong("a vector of another length", of(embedding=vectors(row1=[1.0])))
wrong("a vector too long for float32", of(lambda: {"metric": "l2"}, embedding=vectors(row1=[1e30, 0.0])))
wrong("a utility that is null", of(utility=[None, 1, 2, 3, 4, 5]))
wrong("a utility that is NaN", of(utility=[NAN, 1, 2, 3, 4, 5]))
wrong("a utility that is infinite", of(utility=[INF, 1, 2, 3, 4, 5]))
wrong("a utility beside which others would not count", of(utility=[1e30, 1, 2, 3, 4, 5]))
wrong("utilities whose sums are no finite numbers", of(lambda: {"alpha": 1e9, "beta": 1.0}, utility=[1.7e308] * N))
wrong("a cost below 0", of(lambda: {"budget": 10, "cost": "cost"}, cost=[-1, 1, 1, 1, 1, 1]))
wrong("a cost that is null", of(lambda: {"budget": 10, "cost": "cost"}, cost=[None, 1, 1, 1, 1, 1]))
wrong("a cost beyond 2^63", of(lambda: {"budget": 10, "cost": "cost"}, cost=pa.array([2**63] + [1] * 5, pa.uint64())))
wrong("an importance below 0", of(lambda: {"objective": "coverage", "importance": "w"}, w=[-1.0, 1, 1, 1, 1, 1]))
wrong("no importance anywhere", of(lambda: {"objective": "coverage", "importance": "w"}, w=[0.0] * N))
wrong("only bad rows, dropped", of(lambda: {"on_bad_rows": "drop"}, utility=[NAN] * N))

# ---------------------------------------------------------------------------------------------------------- graphs
section("Graphs, wishes and other data")


def graph(**columns: Any) -> Make:
    given = {name: value for name, value in (EDGES | columns).items() if value is not None}
    return lambda: {"data": points(), "size": 2, "graph": table("g.parquet", **given)}


wrong("a graph that is not there", asked(graph="none.parquet"))
wrong("edges without similarity", graph(similarity=None))
wrong("edges with text as similarity", graph(similarity=list("abcde")))
wrong("edges with a negative similarity", graph(similarity=[-1.0, 1, 1, 1, 1]))
wrong("edges with a NaN", graph(similarity=[NAN, 1, 1, 1, 1]))
wrong("an edge from a point to itself", graph(dst=[0, 2, 3, 4, 5]))
wrong("an end that is null", graph(dst=[None, 2, 3, 4, 5]))
wrong("an end that is no point", graph(dst=[99, 2, 3, 4, 5]))
wrong("ends of another type", graph(src=list("abcde"), dst=list("bcdef")))
wrong("a similarity beside which others would not count", graph(similarity=[1e30, 1, 1, 1, 1]))
wrong("no edges", graph(**{name: pa.array(values)[:0] for name, values in EDGES.items()}))
wrong("wishes that are neither path nor column", asked(include="nowhere"))
wrong("wishes of a column that is not boolean", asked(include="utility"))
wrong("unknown ids", asked(include=lambda: table("w.parquet", id=[1, 99])))
wrong("ids of another type", asked(include=lambda: table("w.parquet", id=["a"])))
wrong("more included than selected", asked(include=lambda: table("w.parquet", id=[1, 2, 3])))
wrong("included and excluded", asked(include=lambda: table("w.parquet", id=[1]), exclude="w.parquet"))
wrong(
    "a target of another dimension", asked(objective="coverage", target=lambda: table("t.parquet", embedding=[[1.0]]))
)
wrong("a target that is not there", asked(objective="coverage", target="none.parquet"))
wrong("`exclude_near` of another dimension", asked(exclude_near=lambda: table("t.parquet", embedding=[[1.0]])))

# ---------------------------------------------------------------------------------------------------------- options
section("Options")


def never(what: str, shell: bool = True, **options: Any) -> None:
    wrong(what, asked(**options), reads=False, shell=shell)


wrong("more than there are", asked(size=7))
never("no size", size=None)
never("a size of 0", size=0)
never("a fraction above 1", size=1.5)
never("a share of nothing", size="0%")
never("a size in words", size="many")
never("a size below 0", size=-3)
never("a size that is no number", size="nan")
never("an unknown option", shell=False, nieghbors=3)
never("an unknown metric", metric="hamming")
never("an unknown engine", engine="abacus")
never("text for a number", alpha="much")
never("a number that is not finite", alpha=NAN)
never("alpha above 1 without beta", alpha=2.0)
never("a budget without costs", budget=5)
never("costs without a budget", cost="utility")
never("quotas without groups", quotas="balanced")
never("minima without groups", at_least="web=1")
never("an amount by a name twice", quotas="a=1,a=2", groups=["utility"])
never("a mix with an empty name", utility="density+")
never("a utility of probabilities that are not named", utility="margin")
never("probabilities that no utility reads", utility="constant", probabilities="p")
never("partitioned greedy without partitions", greedy="partitioned")
never("a direction of partitioned greedy", greedy="partitioned", partitions=2, greedy_direction="reverse")
never("limits of partitioned greedy", greedy="partitioned", partitions=2, max_similarity=0.9)
never("an option of the other objective", objective="coverage", diversity=0.3)
never("an option of bounding under coverage", objective="coverage", bounding_rank="paper")
never("a utility that does not count", objective="coverage", utility="density")
never("nearness to nothing", near=0.9)
never("a nearness that no point has", exclude_near="p.parquet", near=1.5)


def _beyond_limits() -> None:
    """Every numeric option has a least and a most: just beyond each."""
    for name, described in SelectConfig.model_fields.items():
        limits = [one for one in described.metadata if isinstance(one, Ge | Gt | Le | Lt)]
        for limit in limits:
            value = next(iter(vars_of(limit).values()))
            step = 1 if isinstance(value, int) and described.annotation is not float else 0.5
            up = isinstance(limit, Le | Lt)
            step = max(step, abs(value) if isinstance(value, float) else 0)
            past = value if isinstance(limit, Gt | Lt) else value + step if up else value - step
            never(f"`{name}` {'above' if up else 'below'} what it may be", **{name: past})


def vars_of(limit: Any) -> dict[str, Any]:
    return {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}


section("Numbers beyond their limits")
never("`neighbors` below what it may be", neighbors=0)
never("`neighbors` above what it may be", neighbors=1001)
never("an integer beyond 64 bits", certify=2**70)
_beyond_limits()


# ---------------------------------------------------------------------------------------------------------- running
def cases() -> list[Wrong]:
    return [one for rows in SECTIONS.values() for one in rows]


@contextlib.contextmanager
def in_folder() -> Iterator[None]:
    """Work in a new folder."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)


def there() -> dict[str, Any]:
    """What is in the working directory: names, and the content of files."""
    return {
        str(one): str(one.readlink()) if one.is_symlink() else one.read_bytes() if one.is_file() else None
        for one in sorted(Path().rglob("*"))
    }


def refused(case: Wrong, call: Callable[[dict[str, Any]], str]) -> str:
    """Return what is said to a request in a folder of its own, and check that nothing was left behind there."""
    with in_folder():
        request = {"output": "out", "recall_sample": 0} | case.make()
        before = there()
        text = call(request)
        assert "\n" not in text, text
        left = [name for name, content in there().items() if before.get(name, 0) != content]
        assert not left and len(there()) == len(before), f"{left} were left behind"
        return text.replace(f"{Path.cwd()}/", "")


def said(case: Wrong, engine: Any = None) -> tuple[str, SubselError]:
    """Return what the library says to a request, and the error."""
    raised: list[SubselError] = []

    def call(request: dict[str, Any]) -> str:
        try:
            subsel.select(
                request.pop("data"), **request, progress=False, **({} if engine is None else {"engine": engine})
            )
        except SubselError as error:
            raised.append(error)
            assert error.exit_code == 2
            return str(error)
        raise AssertionError(f"{case.what} was accepted")

    return refused(case, call), raised[0]


def typed(name: str, value: Any) -> list[str]:
    """Return an option as it is typed."""
    option = next(one for one in main.commands["select"].params if one.name == name)
    if isinstance(value, bool):
        return [option.opts[0] if value else option.secondary_opts[0]]
    return [option.opts[0], ",".join(value) if isinstance(value, list) else str(value)]


def said_in_shell(case: Wrong) -> str:
    """Return what the command line says to a request."""

    def call(request: dict[str, Any]) -> str:
        places = [request.pop("data"), request.pop("output")]
        options = [typed(name, value) for name, value in request.items() if value is not None]
        done = CliRunner().invoke(main, ["select", "--quiet", *places, *(text for one in options for text in one)])
        assert done.exit_code == 2, done.output
        assert done.output.startswith("subsel: ") and not done.stdout
        return done.output.removeprefix("subsel: ").rstrip("\n")

    return refused(case, call)


def lines() -> Iterator[str]:
    for title, rows in SECTIONS.items():
        yield f"\n## {title}\n"
        yield "| what is wrong | what is said |"
        yield "|---|---|"
        for case in rows:
            text = said(case)[0].replace("|", "\\|")
            yield f"| {case.what} | {text}{f' On Spark: {case.spark}' if case.spark else ''} |"


def committed() -> str:
    return MADE.committed()


def write() -> None:
    text = "\n".join(lines()).strip()
    MADE.show(text)


if __name__ == "__main__":
    write()
