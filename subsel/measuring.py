"""How fast this machine is: `subsel.cost.Rates`, from a few selections of generated points that take half a minute."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from subsel import api
from subsel.config import SelectConfig
from subsel.cost import REFERENCE, Job, LocalRates, Rates, SparkRates, local_work, products
from subsel.demo import write_demo

#: Points, dimensions and passes of the selections: far enough apart to tell what goes by points from what goes by
#: values, or passes.
JOBS = ((60_000, 32, 0), (60_000, 160, 0), (300_000, 32, 0), (100_000, 64, 2))
#: How: probes are fixed, as passes are, so that all machines do the same.
OPTIONS: dict[str, Any] = {
    "alpha": 0.9,
    "neighbors": 10,
    "probes": 8,
    "coverage_sample": 0,
    "refine": 1,
    "copies": "keep",
}
_SIZE, _RUNS = 0.1, 2
#: By which rates of Spark are scaled: a job of the usual size.
_USUAL = (1_000_000, 128, 0)


class Took(NamedTuple):
    """Seconds that one selection took: reading, the search, swaps, and all else from the graph to what is written."""

    read: float
    neighbors: float
    refine: float
    selection: float


def measure(tell: Callable[[str], None] = lambda what: None, jobs: Sequence[tuple[int, int, int]] = JOBS) -> Rates:
    """Return the rates of this machine, as busy as it is now.

    Args:
        tell: called with what is measured next.
        jobs: points, dimensions and passes.
    """
    with tempfile.TemporaryDirectory(prefix="subsel-rates-") as folder:
        tell("compiling kernels")
        _selected(Path(folder), 3000, 8, 1)
        took = []
        for n, dimension, passes in jobs:
            tell(f"selecting from {n:,} points of {dimension} dimensions")
            took.append(_selected(Path(folder), n, dimension, passes))
    local = fitted([job_of(*one) for one in jobs], took)
    cores = os.cpu_count() or 1
    return Rates(machine=f"{cores} cores", cores=cores, local=local, spark=scaled(local, cores))


def job_of(n: int, dimension: int, passes: int) -> Job:
    """Return what one of the selections does."""
    return Job(n, n, dimension, round(_SIZE * n), SelectConfig(size=_SIZE, descent_passes=passes, **OPTIONS))


def _selected(folder: Path, n: int, dimension: int, passes: int) -> Took:
    """Return the least seconds of each stage of a selection, Parquet to Parquet."""
    points = folder / f"points-{n}-{dimension}"
    write_demo(points, n, dimension)
    runs = []
    for run in range(_RUNS):
        output = folder / f"subset-{n}-{dimension}-{run}"
        how: dict[str, Any] = OPTIONS | {"descent_passes": passes, "progress": False, "engine": "local"}
        took = api.select(points, size=_SIZE, output=output, **how).report.seconds
        rest = sum(took.values()) - took["read"] - took["neighbors"] - took["refine"]
        runs.append(Took(took["read"], took["neighbors"], took["refine"], rest))
    return Took(*(min(stage) for stage in zip(*runs, strict=True)))


def fitted(jobs: Sequence[Job], took: Sequence[Took]) -> LocalRates:
    """Return the rates by which jobs take about these seconds, errors being shares of them; none is negative."""
    millions = np.array([job.n / 1e6 for job in jobs])
    values = np.array([job.n / 1e6 * job.dimension / 100 for job in jobs])
    ranked = np.array([job.ranked for job in jobs])
    scores = np.array([products(job) for job in jobs])
    lists = millions * np.array([job.listed for job in jobs])
    passes = lists * np.array([job.passes for job in jobs])
    seconds = np.maximum(np.array(took, np.float64), 1e-6)
    read, read_values = _least(seconds[:, 0], millions, values)
    by_list, by_values, by_products, by_pass = _least(seconds[:, 1], lists, values, scores, passes)
    (refine,), (fixed, selection) = _least(seconds[:, 2], ranked), _least(seconds[:, 3], np.ones(len(jobs)), ranked)
    return LocalRates(
        read=read,
        read_values=read_values,
        lists=by_list,
        values=by_values,
        products=by_products,
        passes=by_pass,
        fixed=fixed,
        selection=selection,
        refine=refine,
    )


def _least(seconds: npt.NDArray[np.float64], *amounts: npt.NDArray[np.float64]) -> list[float]:
    found, _ = nnls(np.stack(amounts, axis=1) / seconds[:, None], np.ones(len(seconds)))
    return [float(f"{rate:.4g}") for rate in found]


def scaled(local: LocalRates, cores: int) -> SparkRates:
    """Return Spark's rates for cores that are as much faster or slower as the local engine is, on so many of them."""
    usual = job_of(*_USUAL)
    pace = local_work(usual, local).total * cores / (local_work(usual).total * REFERENCE.cores)
    known = REFERENCE.spark.model_dump()
    return SparkRates(**{name: float(f"{pace * rate:.4g}") for name, rate in known.items()})
