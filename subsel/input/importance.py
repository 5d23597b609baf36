"""How much it counts that points are covered: a column of which type, and which of its values are bad."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.errors import InputError
from subsel.input.types import is_numeric

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


def check_importance_type(column: str, kind: pa.DataType, name: str) -> None:
    """Refuse a column of importances that is not of numbers (or null throughout).

    Raises:
        InputError: see above.
    """
    if not (is_numeric(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)):
        raise InputError(f"column {column!r} of {name} is {kind}, but importances are numbers from 0: cast it.")


def importances_of(column: pa.Array) -> tuple[FloatArray, dict[str, BoolArray]]:
    """Return importances, float64, (b,), 0.0 where they are bad; and by reason which those are: bool, (b,) each."""
    value = np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64) + 0.0  # not -0.0
    null = column.is_null().to_numpy(zero_copy_only=False)
    reasons = {
        "null importance": null,
        "NaN importance": np.isnan(value) & ~null,
        "infinite importance": np.isinf(value),
        "negative importance": np.isfinite(value) & (value < 0),
    }
    value[np.logical_or.reduce(list(reasons.values()))] = 0.0
    return value, reasons
