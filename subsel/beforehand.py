"""What can be asked before anything is selected: what it takes, whether rows are good, the neighbour graph alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from subsel.config import SelectConfig, check_known
from subsel.cost import REFERENCE, Rates
from subsel.embeddings.neighbors import NeighborResult, neighbor_graph
from subsel.embeddings.recipe import Search
from subsel.engines.choose import is_spark
from subsel.errors import ConfigError, option
from subsel.fixedpoint import exact_sum
from subsel.input.points import Points, read_points
from subsel.input.reference import NEAR
from subsel.input.rows import may_be_read
from subsel.input.source import open_source
from subsel.options import Options
from subsel.planning import Plan, estimate, plan_input, planned_count, reference_rows
from subsel.request import Location, Request, given_data, keywords_of, load_config, place_option
from subsel.run import Run
from subsel.stages.base import known_count, note_graph
from subsel.stages.near import read_reference
from subsel.stages.target import read_target


def neighbors(
    data: Any,
    *,
    size: int | float | str | None = None,
    utility: str | None = None,
    engine: Any = "local",
    master: str | None = None,
    run_dir: Location | None = None,
    output: Location | None = None,
    overwrite: bool = False,
    config: SelectConfig | str | Path | None = None,
    progress: bool | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> NeighborResult:
    """Compute the symmetrised nearest-neighbour graph of all points, as `select` does of those that differ.

    Copies are points of it, as of every graph that is given: only `select` itself merges them.

    Args:
        data: points, see `select`.
        size: of the subset that it is for, by which the number of neighbours goes where that is "auto".
        utility: see `select`; only its column is checked.
        engine: "local", "spark" or a SparkSession. On Spark the graph stays by parts in ``run_dir``, from which
            `select` goes on; copies are merged first, as there.
        master: see `select`.
        run_dir: on Spark, where the graph is kept for `select` to go on from.
        output: on Spark instead, a folder: the graph as `subsel.growing_graph` makes it on one machine, which can grow
            (`subsel.grow_graph`); copies are points of it.
        overwrite: replace ``output`` if subsel wrote it.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        progress: show progress on stderr; None: if that is a terminal.
        storage_options: see `select`.
        **options: fields of `SelectConfig`: neighbors, metric, probes, descent_passes, seed, …

    Raises:
        InputError: the data or an option is wrong.
    """
    check_known(options, keywords_of(neighbors))
    settings = load_config(config, size=size, utility=utility, **options)
    if settings.thin is not None:
        raise ConfigError(f"{option('thin')} draws so many times the points to select, and nothing is selected here.")
    if is_spark(engine):
        if (output is None) == (run_dir is None):
            told = f"give a {option('run_dir')}, or {option('output')}, a folder"
            raise ConfigError(f"on Spark the graph stays in its parts, it is never collected: {told}.")
        if output is not None:
            return _growing_on_spark(data, settings, engine, master, output, progress, overwrite=overwrite)
        return _neighbors_on_spark(data, settings, engine, master, run_dir, progress)
    if output is not None:
        raise ConfigError(
            f"{option('output')} is for {option('engine', 'spark')}: here growing_graph makes such a graph."
        )
    if run_dir is not None:
        raise ConfigError(f"{option('run_dir')} is for {option('engine', 'spark')}: give that, too, or leave it out.")
    run = Run(progress)
    with run.stage("read") as tell:
        source = open_source(data, may_be_read(settings), settings, storage_options)
        points = read_points(source, settings, with_embeddings=True, progress=lambda share: tell("rows", share))
    k = known_count(settings, points.n, points.name, None if points.cost is None else exact_sum(points.cost))
    how = Search.of(settings, points.n, k)
    with run.stage("neighbors") as tell:
        found = neighbor_graph(points, how, tell)
    note_graph(found.report)
    return found


def _neighbors_on_spark(
    data: Any, config: SelectConfig, engine: Any, master: str | None, run_dir: Location | None, progress: bool | None
) -> NeighborResult:
    """Compute the graph by parts into a run directory."""
    request = Request.of(
        data, purpose="score on", engine=engine, master=master, run_dir=run_dir, config=config, progress=progress
    )
    from subsel.stages.on_spark import build_graph  # noqa: PLC0415  (needs pyspark)

    return NeighborResult(build_graph(request, Run(progress)))


def _growing_on_spark(
    data: Any,
    config: SelectConfig,
    engine: Any,
    master: str | None,
    output: Location,
    progress: bool | None,
    *,
    overwrite: bool,
) -> NeighborResult:
    """Make a graph's place."""
    if config.size is None and config.budget is not None:
        raise ConfigError(f"a graph that grows is of points, whatever they cost: give {option('size')}.")
    from subsel.stages.on_spark import make_graph  # noqa: PLC0415  (needs pyspark)

    return NeighborResult(make_graph(output, data, config, Run(progress), engine, master, overwrite=overwrite))


def plan(
    data: Any = None,
    *,
    points: int | None = None,
    dimension: int | None = None,
    size: int | float | str | None = None,
    exclude_near: str | None = None,
    target: str | None = None,
    rates: str | Path | None = None,
    growing: bool = False,
    config: SelectConfig | str | Path | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> Plan:
    """Say what selecting takes, from the input's metadata only: memory, disk, time, parts on Spark.

    Args:
        data: points, see `select`; or None, and how many there will be:
        points: their number.
        dimension: of their embeddings; 0 where a graph is given.
        size: see `select`.
        exclude_near: a place, see `select`.
        target: likewise.
        rates: file of rates that `subsel doctor --rates` measured; those of another machine by default.
        growing: plan `growing_graph` instead, a graph that points can join later.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        storage_options: see `select`.
        **options: fields of `SelectConfig`.

    Raises:
        InputError: the input cannot be opened; or there is neither an input, nor a number and a dimension, or both.
    """
    check_known(options, keywords_of(plan))
    if (data is None) == (points is None) or (points is None) != (dimension is None):
        raise ConfigError(f"plan needs either {option('data')} or {option('points')} and {option('dimension')}.")
    settings = load_config(config, size=size, exclude_near=exclude_near, target=target, **options)
    known = REFERENCE if rates is None else Rates.load(rates, storage_options)
    how: dict[str, Any] = {"rates": known, "growing": growing}
    if points is None or dimension is None:
        return plan_input(data, settings, storage_options=storage_options, **how)
    if points < 1 or dimension < 0:
        raise ConfigError(f"{option('points')} is at least 1 and {option('dimension')} at least 0: correct them.")
    k = planned_count(settings, points, "the plan")
    return estimate(points, dimension, k, settings, reference_rows(settings, storage_options), **how)


def validate(
    data: Any,
    *,
    size: int | float | str | None = None,
    utility: str | None = None,
    exclude_near: Any = None,
    target: Any = None,
    config: SelectConfig | str | Path | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> Points:
    """Read and check every row of an input as `select` would, and return the points.

    Args:
        data: points, see `select`; a Spark DataFrame is checked by `select` itself, which never collects it.
        size: see `select`; as much as it says of the other options is checked.
        utility: see `select`.
        exclude_near: see `select`; its rows are checked, too.
        target: likewise.
        config: a `SelectConfig`, or a TOML file of one; ``options`` override it.
        storage_options: see `select`.
        **options: fields of `SelectConfig`.

    Raises:
        InputError: something is wrong with it; the message counts each kind of bad row.
    """
    check_known(options, keywords_of(validate))
    places = {"exclude_near": place_option(exclude_near), "target": place_option(target)}
    settings = load_config(config, size=size, utility=utility, **options, **places)
    source = open_source(data, may_be_read(settings), settings, storage_options)
    points = read_points(source, settings, with_embeddings=True)
    about = source, points, settings, storage_options, None
    read_reference(NEAR, given_data("exclude_near", exclude_near, settings), *about)
    read_target(given_data("target", target, settings), None, *about)
    return points
