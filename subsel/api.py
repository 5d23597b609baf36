"""The library's front door. `select` is the whole pipeline; read it top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy.typing as npt

from subsel.beforehand import neighbors, plan, validate
from subsel.config import SelectConfig, check_known
from subsel.engines.choose import choose_engine
from subsel.errors import ConfigError, option
from subsel.input.source import is_location
from subsel.objective import Score
from subsel.options import Options
from subsel.request import Location, Request, keywords_of
from subsel.run import Run
from subsel.selection import Selection
from subsel.stages.here import score_here, select_here

__all__ = ["Selection", "neighbors", "plan", "score", "score_subsets", "select", "select_sizes", "validate"]


class _RunOptions(Options, total=False):
    """What `select_sizes` and `score` hand on, beside options of the config; see `select`."""

    graph: Any
    utility: str | npt.ArrayLike | None
    engine: Any
    master: str | None
    config: SelectConfig | str | Path | None
    exclude_near: Any
    target: Any
    progress: bool | None


class _SizesOptions(_RunOptions, total=False):
    """Likewise, of `select_sizes`."""

    overwrite: bool


class _ScoreOptions(_RunOptions, total=False):
    """Likewise, of `score`."""

    points: Any
    size: int | float | str | None
    run_dir: Location | None
    storage_options: dict[str, Any] | None


def select(  # noqa: PLR0913  (everything that is not a field of the config)
    data: Any = None,
    *,
    size: int | float | str | None = None,
    graph: Any = None,
    utility: str | npt.ArrayLike | None = None,
    engine: Any = "auto",
    master: str | None = None,
    config: SelectConfig | str | Path | None = None,
    output: Location | None = None,
    audit: Location | None = None,
    overwrite: bool = False,
    include: Any = None,
    exclude: Any = None,
    exclude_near: Any = None,
    target: Any = None,
    warm_start: Any = None,
    run_dir: Location | None = None,
    resume: bool = False,
    progress: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> Selection:
    """Select k points that maximise f(S) = α Σ u(v) - β Σ s(a,b): by bounding, greedy and swaps.

    Greedy is centralised greedy, exactly; alone with ``bounding="off", greedy_direction="forward", refine=0``. The
    result does not depend on the order of rows, the layout of files, nor on the number of threads or parts.

    Args:
        data: points: a path, address or pattern of Parquet files, or a list of these; Arrow, pandas, polars, a Hugging
            Face dataset, or a numpy (n, d) array; on Spark also a DataFrame or the name of a table
            (`subsel.input.source.open_source`). May be None where ``graph`` is given.
        size: an int is a count, a float in (0, 1] a fraction, "10%" a fraction.
        graph: the user's own graph instead of embeddings, see `subsel.input.edges.as_neighbor_graph`, or what has one,
            as results of `neighbors` do.
        utility: what makes a point good (`subsel.input.utility.Utility`): "density", "constant", a column's name; of
            ``probabilities`` "easy", "margin", "entropy", "least_confidence"; a mix such as "density+quality"; or one
            number per input row. Without: the column `utility` if there is one, else density.
        engine: "local" runs in this process; "spark" in the active Spark session, or one of its own; a SparkSession in
            that; "auto" is local where memory is enough, else spark, and says so.
        master: where a session of its own runs; "local[*]" by default.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        output: folder to write (or a single file, if it ends in .parquet), a path or an address; it must not exist.
        audit: likewise; one row for every point of the input that says why it was selected or not (docs/limits.md).
        overwrite: replace ``output`` and ``audit`` if subsel wrote them.
        include: points that are in the subset whatever their gain, which counts from there: ids, anything with an id
            column (such as last time's subset), or the name of a boolean column of ``data``
            (`subsel.input.wishes`).
        exclude: points that are not, likewise.
        exclude_near: data that no point may be near to (more similar than ``near``) but those that are included:
            whatever ``data`` may be, with the same embedding column; it needs no ids.
        target: under coverage data that is covered instead of the points, likewise: points are selected that are like
            it (docs/coverage.md).
        warm_start: an old subset, as ``include``: greedy takes what limits allow of it, adds what is missing, and
            chooses anew what adds least, until the subset is worth no less than what greedy selects without it
            (docs/guides/monthly.md). On one machine.
        run_dir: a folder in which finished stages are kept, on Spark also boards; there, one that driver and executors
            share.
        resume: go on from what ``run_dir`` has; another config or input is refused.
        progress: show progress on stderr; None: if that is a terminal.
        storage_options: credentials, endpoint and region of storage that is not on this machine, besides what the
            environment says (`subsel.storage.place_of`); Spark has its own.
        **options: fields of `SelectConfig`: diversity, neighbors, recall, metric, seed, …; ``cost`` and ``importance``
            may also be one number per input row, and ``groups`` one value per row, or several such arrays by name;
            with a target ``importance`` is of its rows.

    Returns:
        The subset in rank order, and a report.

    Raises:
        InputError: the data, the graph or an option is wrong; nothing was written.
        OutputError: the subset could not be written; nothing was left behind.
    """
    check_known(options, keywords_of(select))
    request = Request.of(
        data,
        [(size, None)],
        purpose="select from",
        output=output,
        audit=audit,
        graph=graph,
        utility=utility,
        engine=engine,
        master=master,
        config=config,
        overwrite=overwrite,
        include=include,
        exclude=exclude,
        exclude_near=exclude_near,
        target=target,
        warm_start=warm_start,
        run_dir=run_dir,
        resume=resume,
        progress=progress,
        storage_options=storage_options,
        **options,
    )
    return _select(request)[0]


def select_sizes(
    data: Any = None,
    *,
    sizes: Sequence[int | float | str],
    output: Location | None = None,
    audit: Location | None = None,
    include: Any = None,
    exclude: Any = None,
    run_dir: Location | None = None,
    resume: bool = False,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[_SizesOptions],
) -> list[Selection]:
    """Select a subset of each of several sizes, on one graph.

    Args:
        data: see `select`.
        sizes: see ``size`` of `select`; all different.
        output: folder; each size has a folder of its name in it, ``10pct`` for "10%".
        audit: likewise.
        include: see `select`.
        exclude: see `select`.
        run_dir: keeps the graph only.
        resume: takes the graph over.
        storage_options: see `select`.
        **options: all else that `select` takes.

    Raises:
        InputError: see `select`; sizes repeat.
        OutputError: see `select`.
    """
    check_known(options, [*keywords_of(select_sizes), *keywords_of(select)])
    given: dict[str, Any] = {**options}
    if "size" in given:
        sizes_, size = option("sizes"), option("size", given["size"])
        raise ConfigError(f"{size} where {sizes_} are given: name all of them in {sizes_}.")
    names = [str(size).strip().replace("%", "pct") for size in sizes]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{option('sizes')} {', '.join(map(str, sizes))}: give one or more, all different.")
    request = Request.of(
        data,
        list(zip(sizes, names, strict=True)),
        purpose="select from",
        output=output,
        audit=audit,
        include=include,
        exclude=exclude,
        run_dir=run_dir,
        resume=resume,
        storage_options=storage_options,
        **options,
    )
    return _select(request)


def _select(request: Request) -> list[Selection]:
    """Choose the engine, and run the pipeline on its stages."""
    run, request = Run(request.progress), _on_engine(request)
    if request.engine == "local":
        return [Selection(*one) for one in select_here(request, run)]
    from subsel.stages.on_spark import select_on_spark  # noqa: PLC0415  (needs pyspark)

    return [Selection(*one) for one in select_on_spark(request, run)]


def _on_engine(request: Request) -> Request:
    """Return the request with the engine that it gets, which must be able to do what is asked."""
    sizes = [config.size for config, _ in request.sizes]
    given = request.data, request.graph, request.config, sizes
    engine = choose_engine(request.engine, *given, request.storage_options)
    if engine != "local" and request.warm_start is not None:
        raise ConfigError(
            f"{option('warm_start')} goes on from an old subset on one machine only: give {option('include')} what is "
            f"to stay, or {option('engine', 'local')}."
        )
    for name in ("utility", "cost", "groups", "importance"):
        if engine != "local" and getattr(request, name) is not None:
            raise ConfigError(f"on Spark {option(name)} is a column's name: arrays have no place there.")
    return replace(request, engine=engine)


def score(subset: Any, **options: Unpack[_ScoreOptions]) -> Score:
    """Compute f of any subset of a graph's points.

    Args:
        subset: the subset's ids: an array or list, or anything with an id column that `select` reads.
        **options: graph, points, utility, engine, master, run_dir, config, progress, storage_options and fields of
            `SelectConfig`, see `score_subsets`.

    Raises:
        InputError: see `score_subsets`.
    """
    return score_subsets([subset], **options)[0]


def score_subsets(  # noqa: PLR0913  (everything that is not a field of the config)
    subsets: Sequence[Any],
    *,
    points: Any = None,
    graph: Any = None,
    size: int | float | str | None = None,
    utility: str | npt.ArrayLike | None = None,
    engine: Any = "auto",
    master: str | None = None,
    run_dir: Location | None = None,
    config: SelectConfig | str | Path | None = None,
    exclude_near: Any = None,
    target: Any = None,
    progress: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> list[Score]:
    """Compute f of several subsets on one graph, which is made or read once; on Spark its parts are loaded for each.

    Args:
        subsets: the ids of each, see `score`.
        points: the points' ids and utilities; None: ids are the graph's, and utility an array or density.
        graph: see `subsel.input.edges.as_neighbor_graph`; None: the neighbours of ``points``, or what ``run_dir`` has.
        size: of the selection whose neighbours, density and diversity are meant.
        utility: see `select`.
        engine: see `select`.
        master: see `select`.
        run_dir: a run directory that has a graph of ``points``.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        exclude_near: see `select`.
        target: see `select`.
        progress: show progress on stderr; None: if that is a terminal.
        storage_options: see `select`.
        **options: fields of `SelectConfig`: diversity, alpha, beta, …

    Raises:
        InputError: a subset names unknown or repeated ids, or something else of the input is wrong.
    """
    check_known(options, keywords_of(score_subsets))
    if is_location(subsets):
        raise ConfigError(f"subsets is one place, {str(subsets)!r}: give a list of subsets, or use score.")
    request = Request.of(
        points,
        [(size, None)],
        purpose="score on",
        graph=graph,
        utility=utility,
        engine=engine,
        master=master,
        config=config,
        run_dir=run_dir,
        exclude_near=exclude_near,
        target=target,
        progress=progress,
        storage_options=storage_options,
        **options,
    )
    request = _on_engine(request)
    if request.engine == "local":
        return score_here(request, subsets)
    from subsel.stages.on_spark import score_on_spark  # noqa: PLC0415  (needs pyspark)

    return score_on_spark(request, subsets, Run(request.progress))
