"""The library's front door. `select` is the whole pipeline; read it top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads

from subsel import schema
from subsel.config import MISSING_SIZE, SelectConfig
from subsel.embeddings.neighbors import NeighborResult, neighbor_graph
from subsel.engines.choose import choose_engine
from subsel.errors import ConfigError, SubselError, option
from subsel.graph import NeighborGraph
from subsel.input.points import Points, read_points
from subsel.input.rows import may_be_read
from subsel.input.source import open_source
from subsel.input.wishes import Wishes
from subsel.objective import Score
from subsel.pipeline import run_pipeline
from subsel.report import Report
from subsel.run import Run
from subsel.rundir import STAGES, RunDirectory, source_name, wishes_name
from subsel.stages.local import LocalStages
from subsel.storage import LocalPlace, Place, check_new, place_of

__all__ = ["Selection", "neighbors", "score", "score_subsets", "select", "select_sizes", "validate"]

_ARRAY_ON_SPARK = f"on Spark {option('utility')} is a column's name: arrays have no place there."


@dataclass(frozen=True)
class Selection:
    """A selected subset.

    Attributes:
        report: what was done, and how good it is.
        path: where it was written, the address as text if that is not on a local disk; None if it was not.
        graph: the neighbour graph it was selected on; None from Spark, where it is never in one place.
    """

    report: Report
    path: Path | str | None
    graph: NeighborGraph | None = None
    _table: pa.Table | None = None

    @property
    def dataset(self) -> pads.Dataset:
        """The subset as an Arrow dataset: from Spark a lazy reader of ``path``, in rank order."""
        return pads.dataset(self.path if self._table is None else self._table)

    @cached_property
    def table(self) -> pa.Table:
        """One row per selected point in rank order: `id`, `rank`, `gain`, `decided_by`, kept columns.

        After Spark this reads all of it into memory; `dataset` does not.
        """
        return self.dataset.to_table() if self._table is None else self._table

    @property
    def ids(self) -> npt.NDArray[Any]:
        """The selected ids in rank order, in their integer type, or object for strings."""
        return np.asarray(self.table[schema.ID].to_numpy())

    @property
    def upper_bound(self) -> float:
        """What no subset of as many points can exceed, see `subsel.report.CertificateReport`."""
        return self.report.certificate.upper_bound

    @property
    def objective(self) -> float:
        """f of the subset, from the original utilities and similarities, in float64."""
        return self.report.objective.total


def select(  # noqa: PLR0913  (everything that is not a field of the config)
    data: Any = None,
    *,
    size: int | float | str | None = None,
    graph: Any = None,
    utility: str | npt.ArrayLike | None = None,
    engine: Any = "auto",
    master: str | None = None,
    config: SelectConfig | str | Path | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    include: Any = None,
    exclude: Any = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Selection:
    """Select k points that maximise f(S) = α Σ u(v) - β Σ s(a,b): by bounding, greedy and swaps.

    Greedy is centralised greedy, exactly; alone with ``bounding="off", greedy_direction="forward", refine=0``. The
    result does not depend on the order of rows, the layout of files, nor on the number of threads or parts.

    Args:
        data: points: a Parquet path, Arrow, pandas, polars, a Hugging Face dataset, or a numpy (n, d) array of
            float16/32/64. May be None where ``graph`` is given.
        size: an int is a count, a float in (0, 1] a fraction, "10%" a fraction.
        graph: the user's own graph instead of embeddings, see `subsel.embeddings.user_graph`.
        utility: a column's name, or one number per input row. Without: the column `utility` if there is one,
            else 1.0, which selects for diversity alone.
        engine: "local" runs in this process; "spark" in the active Spark session, or one of its own; a SparkSession in
            that; "auto" is local where memory is enough, else spark, and says so.
        master: where a session of its own runs; "local[*]" by default.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        output: folder to write (or a single file, if it ends in .parquet); it must not exist.
        overwrite: replace ``output`` if subsel wrote it.
        include: points that are in the subset whatever their gain, which counts from there: ids, anything with an id
            column (such as last time's subset), or the name of a boolean column of ``data``.
        exclude: points that are not, likewise.
        run_dir: on Spark, a folder that driver and executors share, in which finished stages and boards are kept.
        resume: go on from what ``run_dir`` has; another config or input is refused.
        progress: show progress on stderr; None: if that is a terminal.
        **options: fields of `SelectConfig`: alpha, beta, neighbors, metric, seed, …

    Returns:
        The subset in rank order, and a report.

    Raises:
        InputError: the data, the graph or an option is wrong; nothing was written.
        OutputError: the subset could not be written; nothing was left behind.
    """
    path = None if output is None else place_of(output)
    return _select(
        data,
        [(size, path)],
        graph=graph,
        utility=utility,
        engine=engine,
        master=master,
        config=config,
        overwrite=overwrite,
        wishes=Wishes(include, exclude),
        run_dir=run_dir,
        resume=resume,
        progress=progress,
        options=options,
    )[0]


def select_sizes(
    data: Any = None,
    *,
    sizes: Sequence[int | float | str],
    output: str | Path | None = None,
    include: Any = None,
    exclude: Any = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    **options: Any,
) -> list[Selection]:
    """Select a subset of each of several sizes, on one graph.

    Args:
        data: see `select`.
        sizes: see ``size`` of `select`; all different.
        output: folder; each size has a folder of its name in it, ``10pct`` for "10%".
        include: see `select`.
        exclude: see `select`.
        run_dir: on Spark, keeps the graph only.
        resume: takes the graph over.
        **options: all else that `select` takes.

    Raises:
        InputError: see `select`; sizes repeat.
        OutputError: see `select`.
    """
    names = [str(size).strip().replace("%", "pct") for size in sizes]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{option('sizes')} {', '.join(map(str, sizes))}: give one or more, all different.")
    folder = None if output is None else place_of(output)
    places = [None if folder is None else folder.join(name) for name in names]
    if folder is not None:
        _make_folder(folder)
    named = {name: options.pop(name, None) for name in ("graph", "utility", "master", "config", "progress")}
    return _select(
        data,
        list(zip(sizes, places, strict=True)),
        engine=options.pop("engine", "auto"),
        overwrite=options.pop("overwrite", False),
        wishes=Wishes(include, exclude),
        run_dir=run_dir,
        resume=resume,
        options=options,
        **named,
    )


def _select(  # noqa: PLR0913  (what select was given)
    data: Any,
    sizes: list[tuple[int | float | str | None, Place | None]],
    *,
    graph: Any,
    utility: str | npt.ArrayLike | None,
    engine: Any,
    master: str | None,
    config: SelectConfig | str | Path | None,
    overwrite: bool,
    wishes: Wishes,
    run_dir: str | Path | None,
    resume: bool,
    progress: bool | None,
    options: dict[str, Any],
) -> list[Selection]:
    """Check the request, choose the engine, and run the pipeline."""
    column = utility if isinstance(utility, str) else None
    given = None if isinstance(utility, str) else utility
    wanted = [(load_config(config, size=size, utility=column, **options), path) for size, path in sizes]
    settings = wanted[0][0]
    if data is None and graph is None:
        raise ConfigError(f"there is nothing to select from: give {option('data')}, or a {option('graph')}.")
    if settings.size is None:
        raise ConfigError(MISSING_SIZE)
    for _, path in wanted:
        if path is not None:
            check_new(path, overwrite=overwrite, inputs=_places(data, graph))
    run = Run(progress)
    where = choose_engine(engine, data, graph, settings)
    if resume and run_dir is None:
        raise ConfigError(f"{option('resume')} goes on from a run directory: give {option('run_dir')}.")
    if where == "local":
        if run_dir is not None:
            spark = option("engine", "spark")
            raise ConfigError(f"{option('run_dir')} is for Spark, where runs are long: leave it out, or give {spark}.")
        stages = LocalStages(data, graph, given, settings, wishes)
        tables: list[pa.Table] = []
        stages.written = tables.append
        reports = run_pipeline(stages, wanted, run, overwrite=overwrite)
        found = zip(reports, wanted, tables, strict=True)
        return [Selection(report, _shown(path), stages.graph, table) for report, (_, path), table in found]
    if given is not None:
        raise ConfigError(_ARRAY_ON_SPARK)
    from subsel.stages.spark import select_on_spark  # noqa: PLC0415  (needs pyspark)

    rundir = None
    if run_dir is not None:
        source, kept = source_name(data, graph), STAGES if len(wanted) == 1 else ["graph"]
        rundir = RunDirectory(run_dir, settings, source, resume=resume, wishes=wishes_name(wishes), stages=kept)
    reports = select_on_spark(
        where, master, data, graph, wanted, run, overwrite=overwrite, rundir=rundir, wishes=wishes
    )
    return [Selection(report, _shown(path)) for report, (_, path) in zip(reports, wanted, strict=True)]


def _make_folder(folder: Place) -> None:
    """Make a folder, but not the one that it would be in.

    Raises:
        InputError: that does not exist, or there is a file.
    """
    if isinstance(folder, LocalPlace) and not folder.exists():
        check_new(folder, overwrite=False)
    folder.make_folder()


def _places(*inputs: Any) -> list[Place]:
    """Return the places that inputs are read from; nothing for tables and for what only Spark knows."""
    found = []
    for given in inputs:
        if isinstance(given, str | Path):
            with suppress(SubselError):
                found.append(place_of(given))
    return found


def _shown(place: Place | None) -> Path | str | None:
    """Return where a result is, as callers take it."""
    if not isinstance(place, LocalPlace):
        return None if place is None else place.uri
    return place.local if place.uri.lower().startswith("file:") else Path(place.uri)


def neighbors(
    data: Any,
    *,
    config: SelectConfig | str | Path | None = None,
    progress: bool | None = None,
    **options: Any,
) -> NeighborResult:
    """Compute the symmetrised nearest-neighbour graph that `select` would select on.

    Args:
        data: points, see `select`.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        progress: show progress on stderr; None: if that is a terminal.
        **options: fields of `SelectConfig`: neighbors, metric, probes, descent_passes, seed, …

    Raises:
        InputError: the data or an option is wrong.
    """
    settings = load_config(config, **options)
    run = Run(progress)
    with run.stage("read") as tell:
        source = open_source(data, may_be_read(settings), settings)
        points = read_points(source, settings, with_embeddings=True, progress=lambda share: tell("rows", share))
    with run.stage("neighbors") as tell:
        return neighbor_graph(points, settings, tell)


def score(subset: Any, **options: Any) -> Score:
    """Compute f of any subset of a graph's points.

    Args:
        subset: the subset's ids: an array or list, or anything with an id column that `select` reads.
        **options: graph, data, utility, engine, master, run_dir, config, progress and fields of `SelectConfig`, see
            `score_subsets`.

    Raises:
        InputError: see `score_subsets`.
    """
    return score_subsets([subset], **options)[0]


def score_subsets(
    subsets: Sequence[Any],
    *,
    graph: Any = None,
    data: Any = None,
    utility: str | npt.ArrayLike | None = None,
    engine: Any = "auto",
    master: str | None = None,
    run_dir: str | Path | None = None,
    config: SelectConfig | str | Path | None = None,
    progress: bool | None = None,
    **options: Any,
) -> list[Score]:
    """Compute f of several subsets on one graph, which is made or read once; on Spark its parts are loaded for each.

    Args:
        subsets: the ids of each, see `score`.
        graph: see `subsel.embeddings.user_graph`; None: the neighbours of ``data``, or what ``run_dir`` has.
        data: the points' ids and utilities; None: ids are the graph's, and utility an array or 1.0.
        utility: see `select`.
        engine: see `select`.
        master: see `select`.
        run_dir: on Spark, a run directory that has a graph of ``data``.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        progress: show progress on stderr; None: if that is a terminal.
        **options: fields of `SelectConfig`: alpha, beta, …

    Raises:
        InputError: a subset names unknown or repeated ids, or something else of the input is wrong.
    """
    if isinstance(subsets, str):
        raise ConfigError(f"subsets is one string, {subsets!r}: give a list of subsets, or use score.")
    column = utility if isinstance(utility, str) else None
    given = None if isinstance(utility, str) else utility
    settings = load_config(config, utility=column, **options)
    if data is None and graph is None:
        raise ConfigError(f"there is nothing to score on: give a {option('graph')}, or {option('data')}.")
    where = choose_engine(engine, data, graph, settings)
    if where == "local":
        if run_dir is not None:
            spark = option("engine", "spark")
            raise ConfigError(f"{option('run_dir')} is for Spark: leave it out, or give {spark}.")
        stages = LocalStages(data, graph, given, settings)
        stages.read(lambda what, share: None)
        stages.neighbors(lambda what, share: None)
        stages.engine(1)
        return [stages.score_ids(subset) for subset in subsets]
    if given is not None:
        raise ConfigError(_ARRAY_ON_SPARK)
    from subsel.stages.spark import score_on_spark  # noqa: PLC0415  (needs pyspark)

    rundir = None
    if run_dir is not None:
        rundir = RunDirectory(run_dir, settings, source_name(data, graph), resume=True, stages=["graph"])
    return score_on_spark(where, master, subsets, data, graph, settings, Run(progress), rundir)


def validate(data: Any, *, config: SelectConfig | str | Path | None = None, **options: Any) -> Points:
    """Read and check every row of an input as `select` would, and return the points.

    Raises:
        InputError: something is wrong with it; the message counts each kind of bad row.
    """
    settings = load_config(config, **options)
    return read_points(open_source(data, may_be_read(settings), settings), settings, with_embeddings=True)


def load_config(config: SelectConfig | str | Path | None, **options: Any) -> SelectConfig:
    """Return a config with options that are not None on top.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    if isinstance(config, SelectConfig):
        changes = {key: value for key, value in options.items() if value is not None}
        return SelectConfig.of(config.model_dump() | changes)
    return SelectConfig.load(config, **options)
