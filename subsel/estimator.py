"""`SubsetSelector`: selecting in the shape of scikit-learn's estimators, which need not be installed."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from subsel.api import select
from subsel.config import SelectConfig
from subsel.errors import ConfigError, InputError
from subsel.fixedpoint import Int64Array

if TYPE_CHECKING:
    from subsel.selection import Selection

try:  # where scikit-learn is installed its own bases say what it asks estimators
    from sklearn.base import BaseEstimator
except ImportError:

    class BaseEstimator:  # type: ignore[no-redef]
        """Parameters as scikit-learn's estimators have them: those that ``__init__`` names, by their names."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """Return the parameters."""
            return {
                name: getattr(self, name)
                for name in inspect.signature(type(self).__init__).parameters
                if name != "self"
            }

        def set_params(self, **params: Any) -> Self:
            """Set some of the parameters."""
            known = self.get_params()
            for name, value in params.items():
                if name not in known:
                    raise ConfigError(f"unknown parameter {name!r}: known are {', '.join(sorted(known))}.")
                setattr(self, name, value)
            return self


class SubsetSelector(BaseEstimator):  # type: ignore[misc, unused-ignore]
    """Selects rows of a matrix: ``SubsetSelector(size=100).fit(X, utility)``.

    It selects rows, not columns: in a pipeline it has no place, as the labels would not follow.

    Args:
        size: how many rows, see `subsel.select`.
        diversity: what similar rows cost, from 0 up to 1.
        metric: "cosine", "inner_product" or "l2"; cosine refuses rows of zeros.
        neighbors: neighbours per row in the graph, or "auto".
        random_state: seed of what is random, an integer; None is 0. The same seed gives the same rows.
        options: further options of `subsel.SelectConfig`, by name.

    Attributes:
        indices_: selected rows, best first: int64, (k,).
        ranks_: of each row its rank, -1 if it is not selected: int64, (n,).
        gains_: what each selected row adds, best first: float64, (k,).
        selection_: what `subsel.select` returned, with its report.
        n_features_in_: columns of X.
    """

    def __init__(
        self,
        size: int | float | str = 0.1,
        *,
        diversity: float = 0.5,
        metric: str = "cosine",
        neighbors: int | str = "auto",
        random_state: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.size = size
        self.diversity = diversity
        self.metric = metric
        self.neighbors = neighbors
        self.random_state = random_state
        self.options = options

    def __sklearn_tags__(self) -> Any:
        """Say that there is a transform, though of rows."""
        from sklearn.utils import TransformerTags  # noqa: PLC0415  (it asks, so it is there)

        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags(preserves_dtype=["float64", "float32"])
        return tags

    def fit(self, X: npt.ArrayLike, y: Any = None, *, utility: npt.ArrayLike | None = None) -> Self:
        """Select rows.

        Args:
            X: (n, d), numbers.
            y: utilities, (n,), if there are any; None: rows count by their density. Not labels.
            utility: likewise, by its name.

        Raises:
            InputError: X is no such matrix, or has NaN or infinite values; or an option is wrong.
        """
        matrix = _matrix(X)
        if y is not None and utility is not None:
            raise ConfigError("utility is given twice: as y, and by its name. Leave one out.")
        given = y if utility is None else utility
        values: dict[str, Any] = {"diversity": self.diversity, "metric": self.metric, "neighbors": self.neighbors}
        values |= {"size": self.size, "seed": 0 if self.random_state is None else self.random_state}
        config = SelectConfig.of(values | (self.options or {}))
        self.selection_: Selection = select(
            matrix, config=config, utility=given if given is None else np.asarray(given), engine="local", progress=False
        )
        self.indices_: Int64Array = self.selection_.rows
        self.gains_ = np.asarray(self.selection_.table["gain"].to_numpy())
        self.ranks_ = np.full(len(matrix), -1, np.int64)
        self.ranks_[self.indices_] = np.arange(len(self.indices_))
        self.n_features_in_ = matrix.shape[1]
        return self

    def transform(self, X: Any) -> Any:
        """Return the selected rows of what was fitted, or of what has as many rows, in their order; in the type given.

        Raises:
            InputError: it has more or fewer rows, or columns, or nothing has been fitted.
        """
        if not hasattr(self, "selection_"):
            raise MatrixError("SubsetSelector is not fitted: call fit first.")
        columns: tuple[int, ...] = tuple(getattr(X, "shape", ()))[1:]
        if len(columns) == 1 and columns[0] != self.n_features_in_:
            raise MatrixError(
                f"X has {columns[0]} features, but SubsetSelector is expecting {self.n_features_in_} features as input."
            )
        return self.selection_.filter(X)

    def fit_transform(self, X: Any, y: Any = None, *, utility: npt.ArrayLike | None = None) -> Any:
        """Select rows, and return them in their order."""
        return self.fit(X, y, utility=utility).transform(X)


class MatrixError(InputError, ValueError):
    """What was given to a `SubsetSelector` is wrong; a ValueError, too, as scikit-learn's callers expect."""


def _matrix(X: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return a matrix of finite numbers.

    Raises:
        MatrixError: it is none.
    """
    if hasattr(X, "tocsr"):
        raise MatrixError("X is sparse, which is not supported: sparse input has to become dense, by X.toarray().")
    matrix = np.asarray(X)
    if matrix.ndim != 2:
        raise MatrixError(f"X has shape {matrix.shape}, but must be (rows, columns). Reshape your data.")
    if matrix.dtype == object:
        try:
            matrix = matrix.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise MatrixError(f"X has values that are no numbers ({error}): convert them.") from error
    if np.iscomplexobj(matrix):
        raise MatrixError(
            "X has complex numbers. Complex data not supported: give real and imaginary parts as columns."
        )
    if 0 in matrix.shape:
        rows, columns = matrix.shape
        raise MatrixError(
            f"X has {rows} sample(s) and {columns} feature(s) (shape={matrix.shape}) while a minimum of 1 is required."
        )
    if not np.isfinite(matrix).all():
        raise MatrixError("X has NaN or inf: leave these rows out, or fill them in.")
    return matrix
