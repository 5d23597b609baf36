"""Points that are near given data (``exclude_near``): what is told of them, and what their vectors must be."""

from __future__ import annotations

import logging

from subsel.config import SelectConfig
from subsel.errors import InputError, in_library, option
from subsel.input.findings import Findings
from subsel.input.reference import NEAR, ReferenceRows, other_dimension

log = logging.getLogger(__name__)


def mark_of(reference: ReferenceRows, config: SelectConfig) -> str:
    """Return what tells a reference and the limit from others, whatever the order of the rows."""
    return f"{reference.checksum()} above {config.near_limit:g}"


def refuse_bad_vectors(findings: Findings, n: int, name: str, config: SelectConfig, dimension: int) -> None:
    """Say that some points of a given graph have no good vector: nobody knows what they are near to.

    Args:
        findings: of the vectors of all points.
        n: points.
        name: of their data.
        config: names the column.
        dimension: of the reference.

    Raises:
        InputError: see above.
    """
    length = findings.length_of_most().get(config.embedding_column, dimension)
    if length != dimension:
        raise other_dimension(option(NEAR), dimension, name, length)
    if findings.counts:
        findings.examples = {reason: [] for reason in findings.counts}
        raise InputError(
            f"{option(NEAR)} compares vectors, and {name} has points without good ones: "
            f"{findings.describe(n)}. Mend them, or leave these points out of data and {option('graph')}."
        )


def warn_of_included(count: int, config: SelectConfig) -> None:
    """Warn of included points that stay though they are near."""
    if count:
        near = f"nearer than {config.near_limit:g} to {config.exclude_near} ({option(NEAR)})"
        log.warning("%s", in_library(f"{option('include')} has {count:,} points that are {near}: all of them stay"))
