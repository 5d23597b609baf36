"""subsel: select the best k of n data points by submodular optimisation, larger than memory.

Names are imported when they are first used: ``import subsel`` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from subsel.kernels import find_room
from subsel.version import __version__

find_room()

if TYPE_CHECKING:
    from subsel.api import neighbors, plan, score, score_subsets, select, select_sizes, validate
    from subsel.changed import changes
    from subsel.config import SelectConfig
    from subsel.errors import ConfigError, InputError, MissingPackageError, OutputError, SubselError
    from subsel.estimator import SubsetSelector
    from subsel.explaining import explain
    from subsel.graph import NeighborGraph
    from subsel.growth import GrowingGraph, grow_graph, growing_graph, open_graph
    from subsel.report import Report
    from subsel.reports import compare, make_page
    from subsel.selection import Selection

#: Where the names are; a test holds it against the imports above, which type checkers and editors read.
_HOMES = {
    "api": ("neighbors", "plan", "score", "score_subsets", "select", "select_sizes", "validate"),
    "changed": ("changes",),
    "config": ("SelectConfig",),
    "errors": ("ConfigError", "InputError", "MissingPackageError", "OutputError", "SubselError"),
    "estimator": ("SubsetSelector",),
    "explaining": ("explain",),
    "graph": ("NeighborGraph",),
    "growth": ("GrowingGraph", "grow_graph", "growing_graph", "open_graph"),
    "report": ("Report",),
    "reports": ("compare", "make_page"),
    "selection": ("Selection",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ConfigError",
    "GrowingGraph",
    "InputError",
    "MissingPackageError",
    "NeighborGraph",
    "OutputError",
    "Report",
    "SelectConfig",
    "Selection",
    "SubselError",
    "SubsetSelector",
    "__version__",
    "changes",
    "compare",
    "explain",
    "grow_graph",
    "growing_graph",
    "make_page",
    "neighbors",
    "open_graph",
    "plan",
    "score",
    "score_subsets",
    "select",
    "select_sizes",
    "validate",
]


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'subsel' has no attribute {name!r}")
    return getattr(import_module(f"subsel.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
