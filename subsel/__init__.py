"""subsel: select the best k of n data points by submodular optimisation, larger than memory."""

from subsel.api import Selection, neighbors, score, score_subsets, select, select_sizes, validate
from subsel.config import SelectConfig
from subsel.errors import ConfigError, InputError, MissingPackageError, OutputError, SubselError
from subsel.graph import NeighborGraph
from subsel.report import Report
from subsel.version import __version__

__all__ = [
    "ConfigError",
    "InputError",
    "MissingPackageError",
    "NeighborGraph",
    "OutputError",
    "Report",
    "SelectConfig",
    "Selection",
    "SubselError",
    "__version__",
    "neighbors",
    "score",
    "score_subsets",
    "select",
    "select_sizes",
    "validate",
]
