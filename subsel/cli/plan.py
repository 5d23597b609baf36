"""`subsel plan`: what a selection will take."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

import subsel
from subsel.cli import options as opt
from subsel.cli.shell import Command, show
from subsel.errors import ConfigError
from subsel.text import amount, count

if TYPE_CHECKING:
    from subsel.cost import Work


@click.command("plan", cls=Command)
@click.argument("data", metavar="[INPUT]", required=False)
@opt.config_fields("size", "budget", "cost", "exclude_near", "near", "Input", "Neighbour graph", "part_points")
@click.option("--points", type=click.IntRange(min=1), help="Plan for so many points; there is no INPUT then.")
@click.option("--dimension", type=click.IntRange(min=0), help="Of their embeddings, 0 if a graph is given.")
@click.option("--executor-cores", type=click.IntRange(min=1), default=4, show_default=True, help="Tasks per executor.")
@click.option("--cores", type=click.IntRange(min=1), help="Of all executors.  [default: those of this machine]")
@click.option(
    "--rates", metavar="FILE", help="What subsel doctor --rates FILE measured.  [default: two cores of a kind]"
)
@click.option("--growing", is_flag=True, help="Plan subsel neighbors INPUT GRAPH/ instead, a graph that can grow.")
@opt.config_file
def plan_command(
    data: str | None,
    points: int | None,
    dimension: int | None,
    executor_cores: int,
    cores: int | None,
    rates: str | None,
    growing: bool,
    **options: Any,
) -> None:
    """Say what selecting from INPUT takes, from its metadata only: memory, disk, time, parts, Spark settings."""
    options = opt.checked(options)
    if (data is None) == (points is None) or (points is None) != (dimension is None):
        raise ConfigError("plan needs either INPUT or --points and --dimension.")
    opt.look_for(data, options)
    from subsel.cli.tables import duration

    found = subsel.plan(data, points=points, dimension=dimension, rates=rates, growing=growing, **options)
    task_bytes = None if cores is None else found.worker_bytes
    together = found.in_one_task(task_bytes)
    work = found.work_alone if together else found.work
    cores = cores or os.cpu_count() or 1
    took = found.seconds_on_spark(cores, task_bytes)
    where = "fits" if found.fits else "does not fit"
    selected = "a number that is not known" if found.k is None else f"{found.k:,}"
    overhead = found.worker_bytes * executor_cores
    rows = {
        "points": f"{found.n:,} x {found.dimension}, {selected} to select by {found.neighbors} neighbours",
        "on one machine": f"{amount(found.local_bytes)} of memory, {amount(found.available_bytes)} are available: "
        f"{where}",
        "time on one machine": f"about {duration(found.local_work.total)} on {found.rates.machine}: "
        f"{_stages(found.local_work)}",
        "on Spark": f"{count(found.parts, 'part')} of about {found.part_points:,} points"
        f"{', selected from in one task' if together and not growing else ''}",
        "time on Spark": f"about {duration(took)} on {count(cores, 'core')}, "
        f"{duration(found.rates.spark.fixed)} of it however few points there are; a certificate takes more",
        "work of one core": _stages(work),
        "one Python worker": f"{amount(found.worker_bytes)} while it searches a part",
        "disk, all executors": f"{amount(found.shuffle_bytes)} shuffled, graph {amount(found.graph_bytes)}",
        "spark.executor.cores": f"{executor_cores}, one task each (spark.task.cpus 1)",
        "spark.executor.memory": "2g or more: the JVM holds only what is on its way",
        "spark.executor.memoryOverhead": f"{overhead / 2**30:.1f}g: {count(executor_cores, 'Python worker')}",
        "spark.driver.memory": "2g: no data, graph or subset ever reaches the driver",
    }
    show(rows, asdict(found) | {"fits": found.fits, "in_one_task": together, "seconds_on_spark": took})


def _stages(work: Work) -> str:
    """Return what stages take, those that take nothing left out."""
    from subsel.cli.tables import duration

    return ", ".join(f"{name} {duration(value)}" for name, value in asdict(work).items() if value)
