"""What is asked of this process, from a request to the result: selections and scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from subsel.graph import NeighborGraph
from subsel.objective import Score
from subsel.pipeline import run_pipeline
from subsel.report import Report
from subsel.request import Request, places_for
from subsel.run import Run
from subsel.rundir import open_run, open_to_score
from subsel.selection import Chosen
from subsel.stages.base import make_ready
from subsel.stages.local import LocalStages
from subsel.storage import Place, place_of


def select_here(request: Request, run: Run) -> list[tuple[Report, Place | None, Place | None, NeighborGraph, Chosen]]:
    """Run the pipeline in this process; return for each size the report, where it and its audit are, graph and subset.

    Raises:
        InputError: the input or the request is wrong; nothing was written.
        OutputError: the subset could not be written; nothing was left behind.
    """
    places = places_for(request, partial(place_of, storage_options=request.storage_options))
    with open_run(places.run_dir, request.kept_config, run.id, resume=request.resume, stages=request.stages) as rundir:
        stages = LocalStages(request, rundir)
        chosen: list[Chosen] = []
        stages.written = chosen.append
        reports = run_pipeline(stages, places.of_sizes(request), run, overwrite=request.overwrite)
    found = zip(reports, places.outputs, places.audits, chosen, strict=True)
    return [(report, place, audit, stages.graph, one) for report, place, audit, one in found]


def score_here(request: Request, subsets: Sequence[Any]) -> list[Score]:
    """Return f of each of some subsets, on one graph in memory.

    Raises:
        InputError: a subset is empty or names unknown or repeated ids, or something of the input is wrong.
    """
    places = places_for(request, partial(place_of, storage_options=request.storage_options))
    with open_to_score(places.run_dir, request.kept_config, "score") as rundir:
        stages = LocalStages(request, rundir)
        make_ready(stages, request.config)
        stages.engine(1)
        return [stages.score_ids(subset) for subset in subsets]
